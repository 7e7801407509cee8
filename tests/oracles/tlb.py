"""Two-level LRU TLB from its definition: every set is an ordered dict, the oldest entry goes first.

Imports nothing from perfmodel.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

PAGES_PER_HUGE_PAGE = 512


@dataclass(frozen=True)
class Geometry:
    """Sets and ways of one level; a shared level has one array for both page sizes."""

    shared: bool
    sets_4k: int
    ways_4k: int
    sets_2m: int
    ways_2m: int


class LruArray:
    """A set-associative array in which the least recently used entry of a full set is replaced."""

    def __init__(self, sets: int, ways: int) -> None:
        self.ways = ways
        self.sets: list[OrderedDict[tuple[int, str], None]] = [OrderedDict() for _ in range(sets)]

    def use(self, number: int, size: str) -> bool:
        """Use one translation; True if it was there."""
        entries = self.sets[number % len(self.sets)]
        hit = (number, size) in entries
        if not hit and len(entries) == self.ways:
            entries.popitem(last=False)
        entries[number, size] = None
        entries.move_to_end((number, size))
        return hit

    def drop(self, number: int, size: str) -> None:
        self.sets[number % len(self.sets)].pop((number, size), None)

    def newest_first(self, index: int) -> list[tuple[int, str]]:
        return list(reversed(self.sets[index]))


class Level:
    def __init__(self, geometry: Geometry) -> None:
        small = LruArray(geometry.sets_4k, geometry.ways_4k)
        huge = small if geometry.shared else LruArray(geometry.sets_2m, geometry.ways_2m)
        self.arrays = {"4k": small, "2m": huge}

    def use(self, number: int, size: str) -> bool:
        return self.arrays[size].use(number, size)


class Tlb:
    """L1 in front of an STLB; a translation that misses the L1 is inserted into both."""

    def __init__(self, l1: Geometry, stlb: Geometry) -> None:
        self.l1 = Level(l1)
        self.stlb = Level(stlb)

    def access(self, page: int, huge: bool) -> str:
        """Translate one 4 KiB page number; says who had it: ``l1``, ``stlb`` or ``walk``."""
        number, size = (page // PAGES_PER_HUGE_PAGE, "2m") if huge else (page, "4k")
        if self.l1.use(number, size):
            return "l1"
        return "stlb" if self.stlb.use(number, size) else "walk"

    def forget(self, region: int) -> None:
        """Drop all translations of one 2 MiB range."""
        for level in (self.l1, self.stlb):
            level.arrays["2m"].drop(region, "2m")
            for page in range(region * PAGES_PER_HUGE_PAGE, (region + 1) * PAGES_PER_HUGE_PAGE):
                level.arrays["4k"].drop(page, "4k")
