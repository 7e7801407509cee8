"""Accesses that depend on nothing but their number, and the choice of who makes a step's."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel import constants
from perfmodel.errors import InputError, Problem
from perfmodel.kernels.access_pattern import PATTERN, fill_with_pages
from perfmodel.specs.step import Step, Workload
from perfmodel.traces.accesses import BLOCK, Accesses, Words

__all__ = ["BLOCK", "AccessTrace", "accesses_of", "half_bits", "trace_of", "zipf_thresholds"]

_SCALE = 1 << 62
# So many ranks have a threshold each; of more ranks, only the first ones have.
_MOST_THRESHOLDS = 1 << 24
_FIRST_RANKS = 1 << 20
_RANKS_PER_BUCKET = 10  # a bucket has as many as its first one, shifted by that
_MOST_PAGES = 1 << 31
_SHUFFLED = (Workload.POINTER_CHASE,)


@attrs.frozen
class AccessTrace(Accesses):
    """Accesses of one of the plain workloads to the pages of one region.

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
    stride : int
        Of a strided workload, in pages.
    window : float
        Share of the region that a phase goes to.
    phase_accesses : int
    write : bool
        Whether the accesses are writes.
    """

    workload: Workload
    pages: int
    accesses: int
    seed: int = 0
    exponent: float = 1.0
    scattered: bool = True
    stride: int = 1
    window: float = 0.1
    phase_accesses: int = 1 << 16
    write: bool = False
    _thresholds: npt.NDArray[np.int64] = attrs.field(init=False, eq=False, repr=False)
    _starts: npt.NDArray[np.int64] = attrs.field(init=False, eq=False, repr=False)
    _pattern: npt.NDArray[np.void] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_pages(self.workload, self.pages, _MOST_PAGES)
        ranks = self.pages if self.workload is Workload.ZIPF else 0
        starts = bucket_starts(ranks)
        pattern = np.zeros(1, dtype=PATTERN)
        shuffled = (self.workload is Workload.ZIPF and self.scattered) or self.workload in _SHUFFLED
        for name, value in {
            "workload": int(constants.Workload[self.workload.name]),
            "pages": self.pages,
            "seed": self.seed,
            "half_bits": half_bits(self.pages) if shuffled else 0,
            "stride": min(self.stride, self.pages),
            "window": max(1, round(self.window * self.pages)),
            "phase_accesses": self.phase_accesses,
        }.items():
            pattern[name] = value
        object.__setattr__(self, "_starts", starts)
        object.__setattr__(self, "_thresholds", zipf_thresholds(ranks, self.exponent, starts))
        object.__setattr__(self, "_pattern", pattern)

    def fill(self, first: int, block: Words) -> None:
        """Write the pages of the accesses from number `first` on into an array."""
        fill_with_pages(self._pattern[0], self._thresholds, self._starts, first, block)

    def fill_words(self, first: int, words: Words) -> None:
        """Write the accesses from number `first` on into an array."""
        self.fill(first, words)
        words <<= 1
        if self.write or self.workload is Workload.GUPS:
            words |= 1


def check_pages(workload: Workload, pages: int, most: int) -> None:
    """Raise an `InputError` for a region that is too large for a workload."""
    if pages > most:
        raise InputError(
            Problem(
                f"a {workload.value} workload goes over at most {most} pages of 4 KiB, not {pages}",
                key="region.size",
            )
        )


def trace_of(step: Step, pages: int) -> Accesses:
    """The accesses of an access step to a region of so many pages."""
    if step.workload is Workload.TRACE:
        from perfmodel.traces.recorded import recorded_accesses

        return recorded_accesses(step, pages)
    if step.workload.both_reads_and_writes:
        from perfmodel.traces.programs import program_of

        return program_of(step, pages)
    return AccessTrace(
        workload=step.workload,
        pages=pages,
        accesses=step.number_of_accesses(pages),
        seed=step.seed,
        exponent=step.exponent,
        scattered=step.scattered,
        stride=step.stride,
        window=step.window,
        phase_accesses=step.phase_accesses,
        write=step.write,
    )


def accesses_of(step: Step, pages: int) -> int:
    """How many accesses an access step makes to a region of so many pages."""
    if step.workload is Workload.TRACE:
        return trace_of(step, pages).accesses
    return step.number_of_accesses(pages)


def half_bits(pages: int) -> int:
    """Half the bits that a page number takes, rounded up; at least 1."""
    return max(1, ((pages - 1).bit_length() + 1) // 2)


def bucket_starts(
    ranks: int, most: int = _MOST_THRESHOLDS, alone: int = _FIRST_RANKS
) -> npt.NDArray[np.int64]:
    """The first rank of each group that shares a threshold, and the number of ranks.

    Empty where there are at most `most` ranks: then each has its own. Else each of the first
    `alone` has, and groups of the others are a thousandth of their first rank wide, so that the
    probabilities in a group differ by less than a thousandth times the exponent.
    """
    if ranks <= most:
        return np.zeros(0, dtype=np.int64)
    starts = list(range(alone))
    start = alone
    while start < ranks:
        starts.append(start)
        start += max(1, start >> _RANKS_PER_BUCKET)
    return np.array([*starts, ranks], dtype=np.int64)


def zipf_thresholds(
    ranks: int, exponent: float, starts: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.int64]:
    """Cumulative probabilities of the ranks, or groups of them, on a scale of 2**62.

    Whole numbers, so that a draw belongs to the same rank everywhere.
    """
    if starts is not None and starts.size:
        # Every rank of a group counts as its middle one.
        middle = (starts[:-1] + starts[1:] + 1).astype(np.float64) / 2
        weights = middle**-exponent * np.diff(starts)
    else:
        weights = np.arange(1, ranks + 1, dtype=np.float64) ** -exponent
    cumulative = np.cumsum(weights)
    if ranks:
        cumulative /= cumulative[-1]
    thresholds = np.minimum(np.ldexp(cumulative, 62), float(_SCALE)).astype(np.int64)
    if ranks:
        thresholds[-1] = _SCALE
    return thresholds
