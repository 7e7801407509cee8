"""Pointer chases over pages, one line used of each: predicted, and judged by measured ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from perfmodel.results.chase import ChaseMeasurement
from perfmodel.specs.machine import Machine
from perfmodel.specs.translation import PageSize, Translation
from perfmodel.studies.latency import draw_translation, one_line_per_page, predict_chase

DEFAULT_DRAWS = 30
INTERVAL = (0.05, 0.95)
_ACCESSES = 1 << 11


@attrs.frozen
class Assumption:
    """What of a machine's surroundings its file does not say.

    Parameters
    ----------
    host_page_size : PageSize, optional
        The host's pages where the machine is a guest, or None.
    neighbours : bool
        Whether other programs, or a host's other guests, take all of the last-level cache.
    """

    host_page_size: PageSize | None = None
    neighbours: bool = False

    @property
    def label(self) -> str:
        """In a few words."""
        own = "bare metal" if self.host_page_size is None else f"host pages {self.host_page_size}"
        return f"{own}, L3 lost to neighbours" if self.neighbours else own

    def applied_to(self, translation: Translation) -> Translation:
        """The hardware that is left."""
        if not self.neighbours or len(translation.caches) < 2:
            return translation
        return attrs.evolve(translation, caches=translation.caches[:-1])


BARE_METAL = Assumption()
ON_METAL = (BARE_METAL, Assumption(neighbours=True))
GUEST = (
    Assumption(PageSize.SIZE_4K),
    Assumption(PageSize.SIZE_4K, neighbours=True),
    Assumption(PageSize.SIZE_2M),
)


@attrs.frozen
class Curve:
    """Predicted nanoseconds of one access by number of pages, with bounds from drawn machines."""

    page_size: PageSize
    assumption: Assumption
    pages: tuple[int, ...]
    ns: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel latency --json`` prints it."""
        host = self.assumption.host_page_size
        return {
            "page_size": self.page_size.value,
            "host_page_size": None if host is None else host.value,
            "l3_lost_to_neighbours": self.assumption.neighbours,
            "points": [
                {"pages": pages, "predicted_ns": ns, "interval_ns": [low, high]}
                for pages, ns, low, high in zip(
                    self.pages, self.ns, self.lows, self.highs, strict=True
                )
            ],
        }


def predict_curve(
    machine: Machine,
    pages: Sequence[int],
    page_size: PageSize | str,
    assumption: Assumption = BARE_METAL,
    *,
    draws: int = DEFAULT_DRAWS,
    seed: int = 1,
) -> Curve:
    """Latency of chases over so many pages.

    Parameters
    ----------
    machine : Machine
    pages : sequence of int
        Of 4 KiB, whatever `page_size` maps them by.
    page_size : PageSize
    assumption : Assumption
    draws : int
        Machines drawn from the spreads of the machine's numbers, for the bounds; with none the
        bounds are the prediction.
    seed : int
        Of cycles and draws: the same for all curves.
    """
    generator = np.random.default_rng(seed)
    hardware = [machine.translation]
    hardware += [draw_translation(machine.translation, generator) for _ in range(draws)]
    table = np.array(
        [
            [
                predict_chase(
                    assumption.applied_to(translation),
                    one_line_per_page(count),
                    page_size=page_size,
                    host_page_size=assumption.host_page_size,
                    accesses=max(count, _ACCESSES),
                    seed=seed,
                ).ns
                for count in pages
            ]
            for translation in hardware
        ]
    )
    low, high = np.quantile(table[1:] if draws else table, INTERVAL, axis=0)
    return Curve(
        page_size=PageSize(page_size),
        assumption=assumption,
        pages=tuple(pages),
        ns=tuple(table[0].tolist()),
        lows=tuple(low.tolist()),
        highs=tuple(high.tolist()),
    )


def predict_curves(
    machine: Machine,
    pages: Sequence[int],
    assumptions: Sequence[Assumption],
    *,
    draws: int = DEFAULT_DRAWS,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Curve]:
    """Curves of 4 KiB and 2 MiB pages under each of some assumptions; the first one with bounds."""
    arms = [
        (size, assumption, draws if number == 0 else 0)
        for size in (PageSize.SIZE_4K, PageSize.SIZE_2M)
        for number, assumption in enumerate(assumptions)
    ]
    total, done = sum(each + 1 for _, _, each in arms), 0
    curves = []
    for size, assumption, each in arms:
        curves.append(predict_curve(machine, pages, size, assumption, draws=each, seed=seed))
        done += each + 1
        progress(done, total)
    return curves


@attrs.frozen
class ChaseError:
    """One measured point beside its prediction."""

    pages: int
    measured_ns: float
    predicted_ns: float
    inside: bool

    @property
    def relative_error(self) -> float:
        """Of the prediction."""
        return self.predicted_ns / self.measured_ns - 1


def errors(curve: Curve, measured: ChaseMeasurement) -> list[ChaseError]:
    """Errors of a curve at the measured points of its page size, by number of pages."""
    found = []
    for point in measured.of(curve.page_size):
        if point.pages in curve.pages:
            at = curve.pages.index(point.pages)
            ns = point.ns()
            inside = curve.lows[at] <= ns <= curve.highs[at]
            found.append(ChaseError(point.pages, ns, curve.ns[at], inside))
    return found
