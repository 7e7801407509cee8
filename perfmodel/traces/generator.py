"""Generates the pages that an access step goes to."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel import constants
from perfmodel.errors import InputError, Problem
from perfmodel.kernels.access_pattern import fill_with_pages
from perfmodel.specs.step import Step, Workload

BLOCK = 1 << 16
_SCALE = 1 << 62
# Every page needs a threshold.
_MOST_ZIPF_PAGES = 1 << 24
_MOST_PAGES = 1 << 31


@attrs.frozen
class AccessTrace:
    """Accesses to the pages of one region.

    Parameters
    ----------
    workload : Workload
    pages : int
        Pages of the region.
    accesses : int
        How many accesses there are.
    seed : int
    exponent : float
        Of a Zipf workload.
    scattered : bool
        Whether Zipf ranks are dealt out over the region at random.
    """

    workload: Workload
    pages: int
    accesses: int
    seed: int = 0
    exponent: float = 1.0
    scattered: bool = True
    _thresholds: npt.NDArray[np.int64] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        most = _MOST_ZIPF_PAGES if self.workload is Workload.ZIPF else _MOST_PAGES
        if self.pages > most:
            raise InputError(
                Problem(
                    f"a {self.workload.value} workload goes over at most {most} pages of 4 KiB, "
                    f"not {self.pages}",
                    key="region.size",
                )
            )
        ranks = self.pages if self.workload is Workload.ZIPF else 0
        object.__setattr__(self, "_thresholds", zipf_thresholds(ranks, self.exponent))

    def block(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """Pages of `count` accesses from number `first` on."""
        found = np.empty(count, dtype=np.int64)
        self.fill(first, found)
        return found

    def fill(self, first: int, block: npt.NDArray[np.int64]) -> None:
        """Write the pages of the accesses from number `first` on into an array."""
        fill_with_pages(
            int(constants.Workload[self.workload.name]),
            self.pages,
            self.seed,
            self._thresholds,
            half_bits(self.pages) if self.scattered else 0,
            first,
            block,
        )

    def blocks(self) -> Iterator[npt.NDArray[np.int64]]:
        """All accesses, a block after the other; each is valid until the next one is asked for."""
        room = np.empty(min(BLOCK, self.accesses), dtype=np.int64)
        for first in range(0, self.accesses, BLOCK):
            block = room[: min(BLOCK, self.accesses - first)]
            self.fill(first, block)
            yield block

    def all_pages(self) -> npt.NDArray[np.int64]:
        """All accesses in one array."""
        return self.block(0, self.accesses)


def trace_of(step: Step, pages: int) -> AccessTrace:
    """The accesses of an access step to a region of so many pages."""
    return AccessTrace(
        workload=step.workload,
        pages=pages,
        accesses=step.number_of_accesses(pages),
        seed=step.seed,
        exponent=step.exponent,
        scattered=step.scattered,
    )


def half_bits(pages: int) -> int:
    """Half the bits that a page number takes, rounded up; at least 1."""
    return max(1, ((pages - 1).bit_length() + 1) // 2)


def zipf_thresholds(ranks: int, exponent: float) -> npt.NDArray[np.int64]:
    """Cumulative probabilities of the ranks, on a scale of 2**62; shape (ranks,).

    Whole numbers, so that a draw belongs to the same rank everywhere.
    """
    weights = np.arange(1, ranks + 1, dtype=np.float64) ** -exponent
    cumulative = np.cumsum(weights)
    if ranks:
        cumulative /= cumulative[-1]
    thresholds = np.minimum(np.ldexp(cumulative, 62), float(_SCALE)).astype(np.int64)
    if ranks:
        thresholds[-1] = _SCALE
    return thresholds
