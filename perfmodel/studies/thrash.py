"""Where a PMD swap entry starts to lose: a program that uses a part of every 2 MiB under a limit.

With PTE entries only the pages that are used come back, and may all fit under the limit; with PMD
entries all 2 MiB come back and push others out. The program touches the same pages of every 2 MiB,
evenly spread, in order, round after round; the last round is what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGES_PER_PMD, PICOSECONDS_PER_NANOSECOND, PMD_BYTES
from perfmodel.errors import InputError, OutOfMemoryError, Problem
from perfmodel.models.simulated import simulate_draws
from perfmodel.results.provenance import provenance
from perfmodel.specs.catalog import load_device, load_machine, load_policy
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import SIMULATED_ENTRIES, check_entry
from perfmodel.specs.scenario import PageContent, Region, Scenario, Settings
from perfmodel.specs.step import Step, StepAction
from perfmodel.studies.crossing import interval, last_crossings

PMD_ARM = "pmd"
DEFAULT_RIVALS = ("pte", "mthp-64k")
DEFAULT_PAGES = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512)
DEFAULT_SIZES = (1.125, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
DEFAULT_LIMIT = 32 << 20
# Costs do not change any more after the second round.
DEFAULT_ROUNDS = 3
DEFAULT_RESOLUTION = 8
# As many as the engine runs where statistics age by the clock; more would repeat these.
_DRAWS = 32
_LOW, _HIGH = 0.05, 0.95
Costs = npt.NDArray[np.float64]


@attrs.frozen(eq=False)
class Cell:
    """One use of one region.

    Parameters
    ----------
    size : float
        Region over memory limit.
    pages : int
        Of every 2 MiB that the program uses.
    cost_ns : dict
        By arm: time of a touch in the last round; first at the best prices, then for each draw.
        Infinite where the kernel kills the program in at least one of the draws.
    major_faults : dict
        By arm: for each touch of the last round, at the best prices.
    """

    size: float
    pages: int
    cost_ns: dict[str, Costs]
    major_faults: dict[str, float]

    def killed(self, arm: str) -> bool:
        """Whether the kernel kills the program for lack of memory in its cgroup."""
        return bool(np.isinf(self.cost_ns[arm][0]))

    def ratios(self, rival: str) -> Costs:
        """Cost under `pmd` over that under another entry; NaN where both are killed."""
        with np.errstate(invalid="ignore"):
            return self.cost_ns[PMD_ARM] / self.cost_ns[rival]

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel thrash --json`` prints it."""
        arms: dict[str, Any] = {}
        for arm, cost in self.cost_ns.items():
            if self.killed(arm):
                arms[arm] = {"killed": True}
                continue
            low, high = np.quantile(cost[1:], [_LOW, _HIGH])
            arms[arm] = {
                "ns_per_touch": round(float(cost[0]), 3),
                "interval_ns": [round(float(low), 3), round(float(high), 3)],
                "major_faults_per_touch": round(self.major_faults[arm], 6),
            }
        return {"region_over_limit": self.size, "pages_per_2mib": self.pages, "arms": arms}


@attrs.frozen
class Crossing:
    """From how many used pages of every 2 MiB on a PMD entry costs no more.

    Infinite: never. 0: always.

    Parameters
    ----------
    size : float
        Region over memory limit.
    pages : float
        At the best prices.
    low, high : float
        90 % interval, both arms with the same draws.
    """

    size: float
    pages: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel thrash --json`` prints it; null: never."""
        numbers = {"pages": self.pages, "low": self.low, "high": self.high}
        return {"region_over_limit": self.size} | {
            name: round(value, 3) if np.isfinite(value) else None for name, value in numbers.items()
        }


@attrs.frozen(eq=False)
class ThrashStudy:
    """All cells, and the crossing lines between `pmd` and each rival."""

    machine: str
    device: str
    limit_bytes: int
    rounds: int
    rivals: tuple[str, ...]
    pages: tuple[int, ...]
    sizes: tuple[float, ...]
    cells: tuple[Cell, ...]
    provenance: dict[str, Any]

    def row(self, size: float) -> list[Cell]:
        """Cells of one region, the least used one first."""
        return sorted((c for c in self.cells if c.size == size), key=lambda cell: cell.pages)

    def crossings(self, rival: str) -> list[Crossing]:
        """The crossing line."""
        found = []
        for size in self.sizes:
            row = self.row(size)
            at = crossing_pages(
                [cell.pages for cell in row], np.array([cell.ratios(rival) for cell in row])
            )
            found.append(Crossing(size, float(at[0]), *interval(at[1:])))
        return found

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel thrash --json`` prints it."""
        return {
            "machine": self.machine,
            "device": self.device,
            "limit_bytes": self.limit_bytes,
            "rounds": self.rounds,
            "crossings": {
                rival: [crossing.to_json() for crossing in self.crossings(rival)]
                for rival in self.rivals
            },
            "cells": [cell.to_json() for cell in self.cells],
            "provenance": self.provenance,
        }


@attrs.frozen(eq=False)
class StoredThrash(ThrashStudy):
    """A study read back from what was printed: crossings as they were, draws as their bounds.

    `cost_ns` of a cell is best, low and high.
    """

    lines: dict[str, list[Crossing]]

    def crossings(self, rival: str) -> list[Crossing]:
        """The crossing line as it was printed."""
        return self.lines[rival]


def crossing_pages(pages: Sequence[int], ratios: Costs) -> Costs:
    """Where a ratio falls to 1 for good, on straight lines between logarithms.

    Parameters
    ----------
    pages : sequence of int
        Ascending.
    ratios : float array, shape (pages, draws)
        Infinite or 0 where one of both is killed: then the middle between its neighbours counts.
        NaN, both killed, counts as a loss.

    Returns
    -------
    float array, shape (draws,)
        0 where it is never above 1, infinite where it is above 1 at the last.
    """
    # From minus infinity, never above 1, to 0.
    return np.exp2(last_crossings(np.log2(np.asarray(pages, dtype=float)), ratios))


def thrash_scenario(size: float, pages: int, limit_bytes: int, rounds: int) -> Scenario:
    """Write `pages` of every 2 MiB of a region that is `size` times the limit, in order."""
    ranges = round(size * limit_bytes / PMD_BYTES)
    touches = [
        Step(f"round-{number}", StepAction.TOUCH, pages_per_2mib=pages, write=True)
        for number in range(1, rounds + 1)
    ]
    return Scenario(
        name="thrash-study",
        description="writes the same pages of every 2 MiB, round after round, under a limit",
        region=Region(ranges * PMD_BYTES, PageContent.HALF_RANDOM),
        steps=(Step("fill", StepAction.FILL), *touches),
        settings=Settings(memory_limit_bytes=limit_bytes),
    )


@attrs.frozen
class _Arms:
    """What all cells have in common."""

    machine: Machine
    device: SwapDevice
    entries: tuple[str, ...]
    limit_bytes: int
    rounds: int
    seed: int
    order9_failure: float

    def cell(self, size: float, pages: int) -> Cell:
        scenario = thrash_scenario(size, pages, self.limit_bytes, self.rounds)
        touches = scenario.region.count * pages
        cost, faults = {}, {}
        for entry in self.entries:
            policy = load_policy(entry, order9_failure=self.order9_failure)
            try:
                elapsed, result = simulate_draws(
                    scenario, self.machine, self.device, policy,
                    entry=entry, seed=self.seed, draws=_DRAWS,
                )  # fmt: skip
            except OutOfMemoryError:
                cost[entry], faults[entry] = np.full(_DRAWS + 1, np.inf), np.nan
                continue
            cost[entry] = elapsed[:, -1] / (touches * PICOSECONDS_PER_NANOSECOND)
            faults[entry] = result.steps[-1].counters["pgmajfault"] / touches
        return Cell(size, pages, cost, faults)


def _middle(row: list[Cell], rival: str, resolution: int) -> int | None:
    """A number of pages that halves the stretch in which the best prices cross."""
    ratios = np.array([cell.ratios(rival)[:1] for cell in row])
    at = crossing_pages([cell.pages for cell in row], ratios)[0]
    if not np.isfinite(at) or at == 0:
        return None
    below = max(cell.pages for cell in row if cell.pages <= at)
    above = min(cell.pages for cell in row if cell.pages > at)
    return (below + above) // 2 if above - below > max(1, resolution) else None


def _refine(arms: _Arms, row: list[Cell], rival: str, resolution: int) -> None:
    while (pages := _middle(row, rival, resolution)) is not None:
        row.append(arms.cell(row[0].size, pages))
        row.sort(key=lambda cell: cell.pages)


def _check(
    pages: Sequence[int], sizes: Sequence[float], rivals: Sequence[str], limit: int, rounds: int
) -> None:
    problems = []
    if not pages or not all(1 <= count <= PAGES_PER_PMD for count in pages):
        problems.append(Problem("must be whole numbers from 1 to 512", key="pages"))
    if not sizes or not all(1.0 < size <= 64.0 for size in sizes):
        problems.append(Problem("must be numbers above 1 and at most 64", key="sizes"))
    if PMD_ARM in rivals or not rivals:
        problems.append(Problem("must be other entries than pmd, at least one", key="entries"))
    if limit < 16 << 20 or limit % PMD_BYTES:
        problems.append(Problem("must be a multiple of 2 MiB, and at least 16 MiB", key="limit"))
    if not 2 <= rounds <= 100:
        problems.append(Problem("must be from 2 to 100", key="rounds"))
    if problems:
        raise InputError(problems)
    for rival in rivals:
        check_entry(rival, SIMULATED_ENTRIES, key="entries")


def study_thrash(
    machine: Machine | str,
    *,
    device: SwapDevice | str = "zram-lz4",
    rivals: Sequence[str] = DEFAULT_RIVALS,
    pages: Sequence[int] = DEFAULT_PAGES,
    sizes: Sequence[float] = DEFAULT_SIZES,
    limit_bytes: int = DEFAULT_LIMIT,
    rounds: int = DEFAULT_ROUNDS,
    resolution: int = DEFAULT_RESOLUTION,
    seed: int = 1,
    order9_failure: float = 0.0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ThrashStudy:
    """Cost of a touch in the steady state, and where `pmd` starts to lose.

    Parameters
    ----------
    machine, device : spec or name of one
    rivals : sequence of str
        Entries that `pmd` is compared with.
    pages : sequence of int
        Used pages of every 2 MiB.
    sizes : sequence of float
        Regions over the memory limit.
    limit_bytes : int
    rounds : int
        The last one counts.
    resolution : int
        Between the two numbers of pages where a rival crosses, more cells are simulated,
        until they are so many pages apart.
    seed : int
    order9_failure : float
        See `perfmodel.simulate`.
    progress : callable
        Called with rows done and rows in all.

    Returns
    -------
    ThrashStudy
    """
    machine = machine if isinstance(machine, Machine) else load_machine(machine)
    device = device if isinstance(device, SwapDevice) else load_device(device, machine)
    _check(pages, sizes, rivals, limit_bytes, rounds)
    pages, sizes = sorted(set(pages)), sorted(set(sizes))
    # Only a device that answers on the spot is asked for folios of several pages behind PTEs.
    rivals = tuple(
        rival
        for rival in dict.fromkeys(rivals)
        if device.kind.synchronous or not rival.startswith("mthp")
    ) or (rivals[0],)
    arms = _Arms(
        machine, device, (PMD_ARM, *rivals), limit_bytes, rounds, seed, order9_failure
    )  # fmt: skip
    cells: list[Cell] = []
    for number, size in enumerate(sizes):
        row = [arms.cell(size, count) for count in pages]
        for rival in rivals:
            _refine(arms, row, rival, resolution)
        cells += row
        progress(number + 1, len(sizes))
    return ThrashStudy(
        machine=machine.name,
        device=device.name,
        limit_bytes=limit_bytes,
        rounds=rounds,
        rivals=rivals,
        pages=tuple(pages),
        sizes=tuple(sizes),
        cells=tuple(cells),
        provenance=provenance(
            "simulated",
            {"machine": machine, "device": device},
            seed=seed,
            draws=_DRAWS,
            order9_failure=order9_failure,
        ),
    )
