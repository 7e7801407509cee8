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
PICOSECONDS_PER_MILLISECOND = 10**9
USER_ADDRESS_SPACE_BYTES = 1 << 47  # x86-64 with 4-level page tables


class Action(IntEnum):
    """What a step of a scenario does; the names are those of `specs.step.StepAction`."""

    FILL = 0
    TOUCH = 1
    PAGEOUT = 2
    COLD = 3
    WILLNEED = 4
    DISCARD = 5
    FREE = 6
    COLLAPSE = 7
    UNMAP = 8
    PROTECT = 9
    REMAP = 10
    MOVE = 11
    WRITE_PROTECT = 12
    CLEAR_SOFT_DIRTY = 13
    MINCORE = 14
    PAGEMAP = 15
    SMAPS = 16
    FORK = 17
    EXIT = 18
    RECLAIM = 19
    SWAPOFF = 20
    KHUGEPAGED = 21
    SPLIT_FOLIOS = 22
    MEMORY_FAILURE = 23
    ZSWAP_WRITEBACK = 24
    ACCESS = 25
    WAIT = 26


class Workload(IntEnum):
    """Which pages the accesses of a step go to; the names are those of `specs.step.Workload`."""

    CYCLIC = 0
    UNIFORM = 1
    ZIPF = 2
    STRIDED = 3
    POINTER_CHASE = 4
    PHASES = 5
    GUPS = 6
    KEY_VALUE = 7
    GRAPH_SEARCH = 8
    CHURN = 9
    TRACE = 10


class KeyValueMix(IntEnum):
    """Operations of a key-value workload; the names are those of `specs.step.KeyValueMix`."""

    A = 0
    B = 1
    C = 2
    D = 3
    E = 4
    F = 5


class Content(IntEnum):
    """What the pages hold; it decides codec time and whether the kernel elides the I/O."""

    HALF_RANDOM = 0
    ZERO = 1
    RANDOM = 2
    COMPRESSIBLE = 3
    ONE_NON_ZERO = 4
    SAME_FILLED = 5


class SwapEntryLevel(IntEnum):
    """Level of the swap entry that swap-out leaves behind for a whole THP."""

    PTE = 0
    PMD = 1


class Backing(IntEnum):
    """What the region is filled with."""

    THP = 0
    MTHP = 1  # folios of the policy's order
    BASE = 2  # 4 KiB pages, whatever the policy


class Zswap(IntEnum):
    """Whether zswap stores pages, or ever did: large PTE swap-in is over from then on."""

    NEVER = 0
    ON = 1
    OFF = 2


class RegionState(IntEnum):
    """How one 2 MiB range is held by the page table."""

    NONE = 0
    PMD_MAPPED = 1
    PMD_SWAP = 2
    PTE_TABLE = 3
    PMD_ZERO = 4  # the shared huge zero page


class PteKind(IntEnum):
    """What one PTE says."""

    NONE = 0
    SWAP = 1
    PRESENT = 2
    ZERO = 3  # the shared zero page


class CacheClass(IntEnum):
    """What the swap cache holds of the 512 slots behind a PMD swap entry."""

    EMPTY = 0  # nothing: a 2 MiB swap-in may be tried
    HUGE = 1  # one PMD-sized folio
    SPLIT = 2  # anything else: split the entry


class Fallback(IntEnum):
    """Why a whole-PMD attempt ended in PTE entries."""

    SPLIT_CACHE = 0
    NO_ORDER9_PAGE = 1
    CHARGE_REFUSED = 2
    SLOT_FREED = 3
    MIXED_ZERO_STATE = 4
    ZSWAP = 5
    NO_FREE_CLUSTER = 6
    NOT_BLOCK_DEVICE = 7
    UNALIGNED_OR_PARTIAL = 8
    WRITE_SHARED = 9


N_FALLBACKS = len(Fallback)


class Lock(IntEnum):
    """Locks whose holds are counted."""

    PTE_TABLE = 0  # per-table page-table lock
    PMD = 1
    CLUSTER = 2
    LRU = 3  # of one memory cgroup


class Wait(IntEnum):
    """What makes a CPU's clock go on while it does nothing; the locks stand in their own order."""

    PTE_TABLE_LOCK = 0
    PMD_LOCK = 1
    CLUSTER_LOCK = 2
    LRU_LOCK = 3
    DEVICE = 4
    PAGE_IN_FLIGHT = 5  # a page that another fault or readahead has asked for
    WRITEBACK = 6
    SHOOTDOWN = 7  # until all others have dropped their translations
    INTERRUPTED = 8  # by another CPU's shootdown
    BLOCK_LAYER = 9  # no waiting, but the CPU's work on requests to a device with a service model
    IDLE = 10  # the program sleeps, and nothing happens behind its back


N_WAITS = len(Wait)


class Delay(IntEnum):
    """Times that a machine gives beside the prices of events."""

    TAKE_LOCK = 0
    HAND_LOCK_OVER = 1
    # One entry, slot word or folio under a lock; the locks stand in their own order.
    HOLD_PTE_TABLE = 2
    HOLD_PMD = 3
    HOLD_CLUSTER = 4
    HOLD_LRU = 5
    FIRST_RESPONDER = 6
    NEXT_RESPONDER = 7
    RESPONDER = 8


class Happening(IntEnum):
    """What a row of a timeline is about."""

    EVENT = 0  # the price of `Event`s of one kind
    WAITING = 1  # by `Wait`
    FAULT = 2  # as a whole; 1 for a major one
    HOLD = 3  # of a `Lock`
    REQUEST = 4  # to the device; 1 for a write
    FALLBACK = 5  # by `Fallback`


class Hold(IntEnum):
    """What is kept of the holds of one lock; a hold's length is the entries or words in it."""

    COUNT = 0
    TOTAL = 1
    LONGEST = 2


N_LOCKS = len(Lock)
N_HOLDS = len(Hold)


class Observed(IntEnum):
    """What a mincore, pagemap or smaps step reads, in pages."""

    MINCORE_RESIDENT_PAGES = 0
    PAGEMAP_PRESENT_PAGES = 1
    PAGEMAP_SWAPPED_PAGES = 2
    SMAPS_RSS_PAGES = 3
    SMAPS_SWAP_PAGES = 4
    SMAPS_PMD_MAPPED_PAGES = 5
    REFUSED_CALLS = 6  # UFFDIO_MOVE of memory that is shared


N_OBSERVED = len(Observed)


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
    SYSTEM_CALL = 28
    VISIT_PMD = 29
    VISIT_PTE = 30
    SET_PTE = 31
    ZAP_PTE = 32
    MOVE_PMD = 33
    LOOKUP_SLOT = 34
    CLASSIFY_SLOT = 35
    DUPLICATE_SLOT = 36
    PUT_SLOT = 37
    COPY_PAGE = 38
    TLB_FLUSH = 39
    SPLIT_FOLIO_PAGE = 40
    FREE_CACHED_FOLIO = 41
    COLLAPSE_RANGE = 42
    ZSWAP_STORE_PAGE = 43
    ZSWAP_LOAD_PAGE = 44
    REPORT_PAGE = 45
    UNMAP_BATCH = 46
    UNMAP_BATCHED_PTE = 47
    ANON_FOLIO = 48
    DUPLICATE_CALL = 49
    SCAN_FOLIO = 50
    # In a machine's memory of finite size.
    COMPACT_SCAN_PAGE = 51
    MIGRATE_PAGE = 52


N_EVENTS = len(Event)
N_PRICES = N_EVENTS + len(Delay)


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
    THP_SWPOUT_FALLBACK = 10
    THP_SPLIT_PAGE = 11
    THP_DEFERRED_SPLIT_PAGE = 12
    THP_COLLAPSE_ALLOC = 13
    THP_SCAN_EXCEED_SWAP_PTE = 14
    THP_SCAN_EXCEED_SHARE_PTE = 15
    SWAP_RA = 16
    SWAP_RA_HIT = 17
    ZSWPIN = 18
    ZSWPOUT = 19
    ZSWPWB = 20
    THP_FAULT_FALLBACK = 21
    THP_FAULT_FALLBACK_CHARGE = 22
    PGSCAN_ANON = 23
    PGSTEAL_ANON = 24
    PGACTIVATE = 25
    PGDEACTIVATE = 26
    WORKINGSET_REFAULT_ANON = 27
    WORKINGSET_ACTIVATE_ANON = 28
    WORKINGSET_RESTORE_ANON = 29
    THP_SCAN_EXCEED_NONE_PTE = 30
    THP_COLLAPSE_ALLOC_FAILED = 31


class OrderCounter(IntEnum):
    """Statistics that the kernel keeps for each folio order from 1 to 9."""

    SWPIN = 0
    SWPIN_FALLBACK = 1
    SWPIN_FALLBACK_CHARGE = 2
    SWPOUT = 3
    SWPOUT_FALLBACK = 4
    ZSWPOUT = 5
    ANON_FAULT_ALLOC = 6
    SPLIT = 7
    SPLIT_DEFERRED = 8
    ANON_FAULT_FALLBACK = 9
    ANON_FAULT_FALLBACK_CHARGE = 10


# Counter of statistic s of order o stands at ORDER_BASE + s * PMD_ORDER + o - 1.
ORDER_BASE = len(Counter)
N_COUNTERS = ORDER_BASE + len(OrderCounter) * PMD_ORDER


def hugepage_directory(order: int) -> str:
    """Name of the kernel's directory for one folio order, such as ``hugepages-64kB``."""
    return f"hugepages-{PAGE_BYTES // 1024 << order}kB"


def _counter_names() -> tuple[str, ...]:
    return (
        *(counter.name.lower() for counter in Counter),
        *(
            f"{hugepage_directory(order)}/stats/{statistic.name.lower()}"
            for statistic in OrderCounter
            for order in range(1, PMD_ORDER + 1)
        ),
    )


# As in /proc/vmstat, and below /sys/kernel/mm/transparent_hugepage for the names with a slash.
COUNTER_NAMES = _counter_names()

# Anonymous memory has no folios of order 1, so the kernel has no counters for them.
LIVE_COUNTER_NAMES = tuple(name for name in COUNTER_NAMES if not name.startswith("hugepages-8kB"))


# Only a memory limit moves these. Without one the kernel still counts some of them, for a reclaim
# that the model does in one go, and neither world reports them.
PRESSURE_COUNTER_NAMES = frozenset(
    {
        *(name for name in COUNTER_NAMES if name.startswith(("thp_fault_fallback", "pgscan"))),
        *(name for name in COUNTER_NAMES if name.startswith(("pgsteal", "pgactivate"))),
        *(name for name in COUNTER_NAMES if name.startswith(("pgdeactivate", "workingset"))),
        *(name for name in COUNTER_NAMES if "/anon_fault_fallback" in name),
    }
)

# Reported only for scenarios that let khugepaged run at a pace of their own.
KHUGEPAGED_COUNTER_NAMES = frozenset({"thp_scan_exceed_none_pte", "thp_collapse_alloc_failed"})


class Mapping(IntEnum):
    """What is mapped how when a scenario has ended."""

    PMD_MAPPED_BYTES = 0
    PTE_MAPPED_BYTES = 1
    PMD_SWAP_ENTRIES = 2
    PTE_SWAP_ENTRIES = 3
    PAGE_TABLE_BYTES = 4


N_MAPPING = len(Mapping)


class Share(IntEnum):
    """What each swap device has done in a step, and how full it is after it.

    The first ones are the events that a device has prices of its own for, see `DEVICE_EVENTS`.
    """

    READ_REQUEST = 0
    WRITE_REQUEST = 1
    DECOMPRESS_PAGE = 2
    COMPRESS_PAGE = 3
    FREE_SLOT = 4
    USED_SLOTS = 5


N_SHARES = len(Share)
DEVICE_EVENTS = tuple(Event[share.name] for share in Share if share is not Share.USED_SLOTS)
# Swapped to at the same time; the kernel itself has room for about twenty.
MOST_SWAP_DEVICES = 8
