"""Small programs and page layouts to judge runtime models with.

A program's accesses are known beforehand, so that the same ones can be timed on a machine and run
through the translation simulator. A layout says which 2 MiB of the program's memory are huge pages;
the rest are 4 KiB pages. Shares of the memory in different places of it are the method of Mosmodel
(see `perfmodel.models.runtime`).
"""

from __future__ import annotations

from enum import StrEnum

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.constants import CACHE_LINES_PER_PAGE, PAGE_BYTES, PMD_BYTES
from perfmodel.studies.latency import one_line_per_page

DEFAULT_FOOTPRINTS = (8 << 20, 64 << 20, 256 << 20, 1 << 30)
DEFAULT_ACCESSES = 1 << 19
MOST_FOOTPRINT = 1 << 34
SMALL_LAYOUT, HUGE_LAYOUT = "4k", "2m"
_EIGHTHS = (1, 2, 4, 6)
_ZIPF_EXPONENT = 0.99
_RUN_LINES = 16 * CACHE_LINES_PER_PAGE
_STRIDE_LINES = CACHE_LINES_PER_PAGE + 1  # a page and a line: every set of the caches gets its turn


class Workload(StrEnum):
    """In which order a program uses its memory."""

    UNIFORM = "uniform"  # reads of lines drawn from all of them
    ZIPF = "zipf"  # pages by Zipf's law with exponent 0.99, the hottest first; any line of a page
    CHASE = "chase"  # one line of each page, in a random cycle: each read waits for the last
    STRIDED = "strided"  # reads 4160 bytes apart, round and round
    UPDATE = "update"  # adds 1 to lines drawn from all of them, as GUPS does
    SEQUENTIAL = "sequential"  # reads of 64 KiB in a row, evenly spread over all of the memory

    @property
    def dependent(self) -> bool:
        """Whether an access needs what the one before it read."""
        return self is Workload.CHASE

    @property
    def stores(self) -> bool:
        """Whether every access is a load and a store of one line."""
        return self is Workload.UPDATE


def _whole_regions(_: object, __: attrs.Attribute[int], value: int) -> None:
    if type(value) is not int or not 0 < value <= MOST_FOOTPRINT or value % PMD_BYTES:
        raise ValueError(
            f"must be a multiple of {PMD_BYTES} bytes from {PMD_BYTES} to {MOST_FOOTPRINT}"
        )


@attrs.frozen
class Program:
    """A workload over so much memory.

    Parameters
    ----------
    workload : Workload
    footprint_bytes : int
        A multiple of 2 MiB.
    accesses : int
        In one run, a multiple of 8. A run repeats the same accesses.
    seed : int
    """

    workload: Workload = attrs.field(validator=attrs.validators.instance_of(Workload))
    footprint_bytes: int = attrs.field(validator=_whole_regions)
    accesses: int = DEFAULT_ACCESSES
    seed: int = 1

    def __attrs_post_init__(self) -> None:
        if not 8 <= self.accesses <= 1 << 26 or self.accesses % 8:
            raise ValueError("accesses must be a multiple of 8 from 8 to 2^26")
        if self.seed < 0:
            raise ValueError("seed must not be negative")

    @property
    def pages(self) -> int:
        """Pages of 4 KiB."""
        return self.footprint_bytes // PAGE_BYTES

    @property
    def regions(self) -> int:
        """Ranges of 2 MiB."""
        return self.footprint_bytes // PMD_BYTES

    def cycle(self) -> npt.NDArray[np.int64]:
        """Pages in the order of a chase."""
        return self._generator().permutation(self.pages)

    def lines(self) -> npt.NDArray[np.int64]:
        """Line number of each access: int64 array, shape (accesses,)."""
        count, total = self.accesses, self.pages * CACHE_LINES_PER_PAGE
        generator = self._generator()
        if self.workload is Workload.CHASE:
            return one_line_per_page(self.pages).lines(np.resize(self.cycle(), count))
        if self.workload is Workload.ZIPF:
            weights = np.cumsum(np.arange(1, self.pages + 1) ** -_ZIPF_EXPONENT)
            drawn = generator.random(count) * weights[-1]
            pages = np.minimum(np.searchsorted(weights, drawn), self.pages - 1).astype(np.int64)
            within = generator.integers(CACHE_LINES_PER_PAGE, size=count)
            lines: npt.NDArray[np.int64] = pages * CACHE_LINES_PER_PAGE + within
            return lines
        if self.workload is Workload.STRIDED:
            return np.arange(count, dtype=np.int64) * _STRIDE_LINES % total
        if self.workload is Workload.SEQUENTIAL:
            return _runs(count, total)
        return generator.integers(total, size=count)

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.pages, list(Workload).index(self.workload)])


def _runs(count: int, total: int) -> npt.NDArray[np.int64]:
    """Lines of runs of 64 KiB; where there are more places than runs, in equal distances."""
    run, within = np.divmod(np.arange(count, dtype=np.int64), _RUN_LINES)
    runs, places = -(-count // _RUN_LINES), total // _RUN_LINES
    place = run * places // runs if places > runs else run % places
    return place * _RUN_LINES + within


def layouts(regions: int) -> dict[str, npt.NDArray[np.bool_]]:
    """Page layouts of so many 2 MiB regions: for each name, which regions are huge pages.

    ``4k`` and ``2m`` first, then an eighth, a quarter, a half and three quarters as huge pages, as
    far as they are whole regions: at the front, in the middle, at the back, and spread in equal
    distances. A layout that is the same as one before it is left out.
    """
    found = {
        SMALL_LAYOUT: np.zeros(regions, dtype=np.bool_),
        HUGE_LAYOUT: np.ones(regions, dtype=np.bool_),
    }
    for eighths in _EIGHTHS:
        count, rest = divmod(regions * eighths, 8)
        if rest:
            continue
        numbers = np.arange(regions)
        # As evenly as whole regions can be, none of them at the very front.
        spread = (numbers + 1) * eighths // 8 > numbers * eighths // 8
        for place, mask in (
            ("front", numbers < count),
            ("middle", (numbers >= (regions - count) // 2) & (numbers < (regions + count) // 2)),
            ("back", numbers >= regions - count),
            ("spread", spread),
        ):
            if not any((mask == other).all() for other in found.values()):
                found[f"{12.5 * eighths:g}%-{place}"] = mask
    return found
