"""Sizes, the engine's enumerations, and the names that the kernel gives to what they count.

Kernels choose by the integer values here, files and results use the names, and `abi` is the only
place that translates between the two.
"""

from __future__ import annotations

from enum import IntEnum

PAGE_BYTES = 4096
PAGES_PER_PMD = 512
PMD_BYTES = PAGE_BYTES * PAGES_PER_PMD
PMD_ORDER = 9
PTE_TABLE_BYTES = 4096
CACHE_LINES_PER_PAGE = 64
PICOSECONDS_PER_NANOSECOND = 1000
USER_ADDRESS_SPACE_BYTES = 1 << 47  # x86-64 with 4-level page tables


class Action(IntEnum):
    """What a step of a scenario does."""

    FILL = 0
    PAGEOUT = 1
    TOUCH = 2


class Content(IntEnum):
    """What the pages hold; it decides codec time and whether the kernel elides the I/O."""

    HALF_RANDOM = 0
    ZERO = 1


class SwapEntryLevel(IntEnum):
    """Level of the swap entry that swap-out leaves behind for a whole THP."""

    PTE = 0
    PMD = 1


class RegionState(IntEnum):
    """How one 2 MiB range is held by the page table."""

    NONE = 0
    PMD_MAPPED = 1
    PMD_SWAP = 2
    PTE_TABLE = 3


# State of one PTE: swapped out, or present as part of a folio of order (state - PTE_PRESENT).
PTE_SWAP = 0
PTE_PRESENT = 1


class Event(IntEnum):
    """What costs time. A machine or device gives each one a price; the engine only counts."""

    FAULT = 0
    SWAPIN_FOLIO = 1
    SWAPIN_LARGE_FOLIO = 2
    SWAPIN_PAGE = 3
    MAP_PTE = 4
    MAP_PMD = 5
    ORDER9_ALLOCATION_FAILURE = 6
    SPLIT_PMD_SWAP_ENTRY = 7
    READ_REQUEST = 8
    DECOMPRESS_PAGE = 9
    FREE_SLOT = 10
    CLEAR_PAGE = 11
    SWAPOUT_FOLIO = 12
    SWAPOUT_PAGE = 13
    SPLIT_PMD_MAPPING = 14
    UNMAP_PTE = 15
    SET_PMD_SWAP_ENTRY = 16
    ZERO_SCAN_PAGE = 17
    WRITE_REQUEST = 18
    COMPRESS_PAGE = 19
    THP_ALLOCATION = 20
    PAGE_TABLE_ALLOCATION = 21
    WRITE_PAGE = 22
    ACCESS_CACHED = 23
    ACCESS_MEMORY = 24
    STLB_HIT = 25
    WALK_PTE = 26
    WALK_PMD = 27


N_EVENTS = len(Event)


class Counter(IntEnum):
    """Kernel counters that the engine keeps; `COUNTER_NAMES` has the kernel's spelling."""

    PGFAULT = 0
    PGMAJFAULT = 1
    PSWPIN = 2
    PSWPOUT = 3
    SWPIN_ZERO = 4
    SWPOUT_ZERO = 5
    THP_FAULT_ALLOC = 6
    THP_SWPOUT = 7
    THP_SWPOUT_PMD = 8
    THP_SPLIT_PMD = 9
    SWPIN_FALLBACK_2048K = 10


# hugepages-<size>kB/stats/swpin and /swpout for orders 1 to 9 stand at these bases plus the order.
SWPIN_BASE = 10
SWPOUT_BASE = 19
N_COUNTERS = 29


def hugepage_directory(order: int) -> str:
    """Name of the kernel's directory for one folio order, such as ``hugepages-64kB``."""
    return f"hugepages-{PAGE_BYTES // 1024 << order}kB"


def _counter_names() -> tuple[str, ...]:
    names = [""] * N_COUNTERS
    for counter in Counter:
        names[counter] = counter.name.lower()
    names[Counter.SWPIN_FALLBACK_2048K] = f"{hugepage_directory(PMD_ORDER)}/stats/swpin_fallback"
    for order in range(1, PMD_ORDER + 1):
        names[SWPIN_BASE + order] = f"{hugepage_directory(order)}/stats/swpin"
        names[SWPOUT_BASE + order] = f"{hugepage_directory(order)}/stats/swpout"
    return tuple(names)


# As in /proc/vmstat, and below /sys/kernel/mm/transparent_hugepage for the names with a slash.
COUNTER_NAMES = _counter_names()

# Anonymous memory has no folios of order 1, so the kernel has no counters for them.
LIVE_COUNTER_NAMES = tuple(name for name in COUNTER_NAMES if not name.startswith("hugepages-8kB"))


class Mapping(IntEnum):
    """What is mapped how when a scenario has ended."""

    PMD_MAPPED_BYTES = 0
    PTE_MAPPED_BYTES = 1
    PMD_SWAP_ENTRIES = 2
    PTE_SWAP_ENTRIES = 3
    PAGE_TABLE_BYTES = 4


N_MAPPING = len(Mapping)
