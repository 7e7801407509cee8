"""Published latencies against buffer size, and what the simulator says of the same part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from perfmodel.specs.catalog import load_machine, load_published_latencies
from perfmodel.specs.published import Part, PublishedCpu, PublishedLatencies
from perfmodel.specs.quantity import Quantity
from perfmodel.specs.translation import Translation
from perfmodel.studies.latency import (
    DEFAULT_ACCESSES,
    Order,
    every_stride,
    predict_chase,
)

_DIFFERENCE_STRIDE = 128
_SCATTER = 8
_MOST_SCATTERED = 4  # times the last cache


def _ns(cycles: Quantity, clock_ghz: float) -> Quantity:
    return attrs.evolve(
        cycles, value=cycles.value / clock_ghz, spread=cycles.spread / clock_ghz, unit="ns"
    )


def part_translation(translation: Translation, part: Part) -> Translation:
    """The catalog's hardware with what the measured part has instead; three levels of caches."""
    clock = part.clock_ghz.value
    cycles = (part.l1_cycles, part.l2_cycles, part.l3_cycles)
    caches = [
        attrs.evolve(cache, latency_ns=_ns(latency, clock))
        for cache, latency in zip(translation.caches, cycles, strict=True)
    ]
    caches[2] = attrs.evolve(caches[2], size_bytes=part.l3_bytes)
    return attrs.evolve(
        translation,
        stlb_hit_ns=_ns(part.stlb_hit_cycles, clock),
        dram_ns=part.dram_ns,
        caches=tuple(caches),
    )


@attrs.frozen
class Cell:
    """One published number and its predictions, in clocks.

    Parameters
    ----------
    size_bytes : int
    published : float
    predicted : float
        Of the chase's own cycle through contiguous memory.
    scattered, drawn : float
        With scattered pages: of the cycle, and with every place drawn anew (see
        `perfmodel.studies.latency`). Of contiguous pages for differences, and where the buffer is
        much larger than every cache.
    standard_error : float
        Of `predicted`, for want of a longer trace.
    """

    size_bytes: int
    published: float
    predicted: float
    scattered: float
    drawn: float
    standard_error: float

    @property
    def relative_error(self) -> float:
        """Of `predicted`, against what was published."""
        return self.predicted / self.published - 1


@attrs.frozen
class CpuComparison:
    """One CPU's matrix against the prediction, worst errors first to be told."""

    cpu: str
    machine: str
    cells: tuple[Cell, ...]
    differences: tuple[Cell, ...]

    @property
    def median_abs_error(self) -> float:
        """Over all sizes of the matrix."""
        return float(np.median([abs(cell.relative_error) for cell in self.cells]))

    @property
    def worst(self) -> Cell:
        """The cell with the largest relative error."""
        return max(self.cells, key=lambda cell: abs(cell.relative_error))

    @property
    def worst_difference_clocks(self) -> float:
        """The largest error of random minus page-local, in clocks: they are near zero."""
        return max((abs(cell.predicted - cell.published) for cell in self.differences), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel latency --published --json`` prints it."""
        cells = {
            name: [attrs.asdict(cell) | {"relative_error": cell.relative_error} for cell in row]
            for name, row in (("cells", self.cells), ("differences", self.differences))
        }
        return {
            "cpu": self.cpu,
            "machine": self.machine,
            "median_abs_error": self.median_abs_error,
            "max_abs_error": abs(self.worst.relative_error),
            "max_difference_error_clocks": self.worst_difference_clocks,
            **cells,
        }


def _cell(
    translation: Translation, size_kib: int, published: float, clock: float, **chase: Any
) -> Cell:
    working_set = every_stride(size_kib * 1024)
    last = translation.caches[-1].size_bytes.value
    reaches = working_set.size_bytes <= _MOST_SCATTERED * last
    scattered = attrs.evolve(working_set, scatter=_SCATTER if reaches else 1)
    cycle = predict_chase(translation, working_set, **chase)
    apart = predict_chase(translation, scattered, **chase) if reaches else cycle
    drawn = predict_chase(translation, scattered, order=Order.DRAWN, **chase)
    return Cell(
        size_bytes=size_kib * 1024,
        published=published,
        predicted=cycle.ns * clock,
        scattered=apart.ns * clock,
        drawn=drawn.ns * clock,
        standard_error=cycle.standard_error_ns * clock,
    )


def _difference(
    translation: Translation, size_kib: int, published: float, clock: float, **chase: Any
) -> Cell:
    """Random minus page-local chase."""
    working_set = every_stride(size_kib * 1024, _DIFFERENCE_STRIDE)
    cycle, local, drawn, local_drawn = (
        predict_chase(translation, working_set, order=order, **chase)
        for order in (Order.CYCLE, Order.PAGE_LOCAL, Order.DRAWN, Order.PAGE_LOCAL_DRAWN)
    )
    error = float(np.hypot(cycle.standard_error_ns, local.standard_error_ns))
    return Cell(
        size_bytes=size_kib * 1024,
        published=published,
        predicted=(cycle.ns - local.ns) * clock,
        scattered=(cycle.ns - local.ns) * clock,
        drawn=(drawn.ns - local_drawn.ns) * clock,
        standard_error=error * clock,
    )


def compare_cpu(
    cpu: PublishedCpu,
    published: PublishedLatencies,
    *,
    accesses: int = DEFAULT_ACCESSES,
    seed: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> CpuComparison:
    """Predict every cell of one CPU's matrix.

    Parameters
    ----------
    cpu : PublishedCpu
    published : PublishedLatencies
        Where it comes from.
    accesses, seed
        See `perfmodel.studies.latency.predict_chase`.
    progress : callable
        Called after each cell.
    """
    translation = part_translation(load_machine(cpu.machine).translation, cpu.part)
    clock = cpu.part.clock_ghz.value
    rows: list[tuple[Cell, ...]] = []
    for predict, sizes, clocks in (
        (_cell, published.sizes_kib, cpu.random_clocks),
        (_difference, published.difference_sizes_kib, cpu.random_minus_local_clocks),
    ):
        row = []
        for size, value in zip(sizes, clocks, strict=True):
            row.append(predict(translation, size, value, clock, accesses=accesses, seed=seed))
            progress()
        rows.append(tuple(row))
    return CpuComparison(cpu.name, cpu.machine, *rows)


def compare_published(
    machine: str | None = None,
    *,
    accesses: int = DEFAULT_ACCESSES,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[CpuComparison]:
    """All published CPUs, or those whose near relative in the catalog is `machine`.

    Returns
    -------
    list of CpuComparison
        Empty where nothing was published for the machine.
    """
    published = load_published_latencies()
    chosen = [cpu for cpu in published.cpus if machine in (None, cpu.machine)]
    total = len(chosen) * (len(published.sizes_kib) + len(published.difference_sizes_kib))
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    return [
        compare_cpu(cpu, published, accesses=accesses, seed=seed, progress=advance)
        for cpu in chosen
    ]
