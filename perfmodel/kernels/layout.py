"""How the state of one run lies in memory: record types, bit masks and the `Memory` that holds all.

A 2 MiB range that nothing has split costs one PMD record, one folio record and two cluster records
(the slots that it has and those it had before): 64 bytes. Rows of 512 words are taken from a pool
only for a PTE table, and for a cluster whose slots differ from one another.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from perfmodel.constants import (
    MOST_SWAP_DEVICES,
    N_COUNTERS,
    N_EVENTS,
    N_FALLBACKS,
    N_HOLDS,
    N_LOCKS,
    N_OBSERVED,
    N_SHARES,
    N_WAITS,
    PAGES_PER_PMD,
)
from perfmodel.kernels._jit import inline_kernel
from perfmodel.kernels.buddy import Frames
from perfmodel.kernels.device_layout import Device
from perfmodel.kernels.zswap import ZswapState

PMD = np.dtype(
    [
        ("value", np.int32),  # folio, cluster or row of the PTE table, as `kind` says
        ("kind", np.int8),  # RegionState
        ("flags", np.int8),
        ("protection", np.int8),
        ("translated", np.int8),  # TRANSLATED_PAGES, TRANSLATED_LEAF: the TLB may hold such
    ],
    align=True,
)
FOLIO = np.dtype(
    [
        ("cluster", np.int32),  # of its first slot in the swap cache, -1 if it is not cached
        ("range", np.int32),  # 2 MiB range of its first region page
        ("offset", np.int16),  # of the first slot in the cluster
        ("index", np.int16),  # of the first region page in the range
        ("mapcount", np.int16),
        ("order", np.int8),
        ("flags", np.int8),
    ],
    align=True,
)
CLUSTER = np.dtype(
    [
        ("value", np.int32),  # cached order-9 folio or -1; row of slot words where DETAILED
        ("previous", np.int32),
        ("next", np.int32),
        ("used", np.int16),
        ("list", np.int8),
        ("order", np.int8),
        ("count", np.int8),  # of every slot, unless DETAILED
        ("flags", np.int8),
    ],
    align=True,
)

# What LRU lists need to know of a folio.
LINK = np.dtype(
    [
        ("previous", np.int32),  # the one that is newer
        ("next", np.int32),
        ("place", np.int16),
        ("flags", np.int16),
        ("locked", np.int32),  # by which fault or call, 0 by none
        ("in_hand", np.int64),  # where there are several CPUs: fault x MOST_CPUS + CPU, 0 by none
    ],
    align=True,
)

# A folio's neighbours on the deferred split queue; one higher, 0 for none.
QUEUED = np.dtype([("previous", np.int32), ("next", np.int32)], align=True)

# Flags of PMD records and of PTE words alike.
WRITABLE = 4
DIRTY = 8
EXCLUSIVE = 16
UFFD_WP = 32
SOFT_DIRTY = 64
# What a page keeps on its way to swap and back.
CARRIED = EXCLUSIVE | UFFD_WP | SOFT_DIRTY
# A PTE word: kind, flags, protection of the page, and the slot, or folio x 512 + page of the folio.
KIND_MASK = 3
PROTECTION_SHIFT = 7
PROTECTION_MASK = 3 << PROTECTION_SHIFT
# Accessed by a walk since reclaim looked last; only where there is a memory limit.
YOUNG = 512
VALUE_SHIFT = 10
# Protection of pages; MIXED means that the words of the row say it.
WRITABLE_PAGE = 0
READ_ONLY_PAGE = 1
UNMAPPED_PAGE = 2
MIXED = 3
# What the TLB may hold of a range.
TRANSLATED_PAGES = 1
TRANSLATED_LEAF = 2
# In the same byte: the leaf is young.
YOUNG_LEAF = 4
# Flags of folios.
FOLIO_DIRTY = 1
FOLIO_LAZYFREE = 2
FOLIO_READAHEAD = 4
FOLIO_PARTIALLY_MAPPED = 8
FOLIO_QUEUED = 16  # on the deferred split queue
# Flags of links.
LINK_ACTIVE = 1
LINK_REFERENCED = 2
LINK_WORKINGSET = 4
# Flags of clusters.
CLUSTER_ZERO = 1
CLUSTER_ZSWAP = 2
CLUSTER_DETAILED = 4
# A slot word: count, flags, and cached folio + 1.
SLOT_COUNT = 255
SLOT_ZERO = 256
SLOT_ZSWAP = 512
SLOT_NEIGHBOUR = 1024
SLOT_HEADER = 2048
SLOT_FOLIO_SHIFT = 16
# Lists that a cluster may stand on.
LIST_NONE = 0
LIST_FREE = 1
LIST_FULL = 2
LIST_NONFULL = 3  # plus the order, 0 to 9
LIST_FRAG = 13  # plus the order, 0 to 9
N_LISTS = 23


class Cell(IntEnum):
    """Single numbers of a run, in `Memory.state`."""

    REGIONS = 0
    RANGES = 1  # per process: the regions and one more, for memory that is not aligned
    CLUSTERS = 2  # of all swap devices, behind cluster 0
    PROCESSES = 3  # ever alive
    STEP = 4
    REFUSE_WRITE = 5
    USED_SLOTS = 6  # of all swap devices
    CHARGED_PAGES = 7
    ROTATIONS = 8  # of swap devices of equal priority
    FRESH_FOLIO = 9
    FREE_FOLIO = 10
    FRESH_ROW = 11
    FREE_ROW = 12
    EXHAUSTED = 13
    SLOT_READAHEAD_PREVIOUS = 14
    SLOT_READAHEAD_HITS = 15
    SLOT_READAHEAD_WINDOW = 16
    FLUSH_WANTED = 17
    ROWS_LEFT = 18  # in the pools
    FOLIOS_LEFT = 19
    # khugepaged; docs/khugepaged.md.
    KHUGEPAGED_WAKES = 20  # picoseconds, when its next pass begins or has begun; -1 before all
    KHUGEPAGED_PASSING = 21  # whether it is in the middle of a pass
    KHUGEPAGED_PROCESS = 22  # that it looks at next, -1 when it has been through all
    KHUGEPAGED_SPAN = 23  # and the range in it
    KHUGEPAGED_INSIDE = 24  # whether it holds that process's memory map
    KHUGEPAGED_PROGRESS = 25  # pages of this pass
    KHUGEPAGED_BEGINNINGS = 26  # how often this pass has begun with the first process
    KHUGEPAGED_FAILURES = 27  # of its allocations in this pass
    KHUGEPAGED_REFUSED = 28  # whether the last range that it looked at found no memory
    SWAP_DEVICE = 30  # the one that was asked for slots last
    CPUS = 78  # that run this step
    CPU = 79  # the one that runs now; its own cells follow
    NOW = 80  # its clock, picoseconds
    WARM_UNTIL = 81  # pages from WARM_FROM on, up to here, came with the last fault of this step
    LAST_TRANSLATION = 82  # what its TLB was asked for last, -1 if it forgot something since
    POSITION = 83  # how many of its accesses are done
    READY = 84  # how many are known
    TOTAL = 85  # how many there are
    SPAN = 86  # 2 MiB range of the next one
    TURN = 87  # and which one it is in the range; more by HAS_FAULTED if one before it faulted
    HINTS = 88  # next slot for each order, 10 cells
    STOCK = 98  # pages charged in advance
    WARM_FROM = 99
    # The memory cgroup; nothing of it is used where LIMIT is 0. Sizes in pages.
    LIMIT = 100
    USAGE = 101
    YOUNG = 102  # what new entries get: YOUNG, or 0
    NONRESIDENT_AGE = 103
    ANON_COST = 104
    ACTIVATED = 105  # ever, at a refault
    FLUSHED_INACTIVE = 106  # as the statistics said when they were flushed last
    FLUSHED_ACTIVE = 107
    FLUSHED_ACTIVATED = 108
    FLUSHED_AT = 109  # picoseconds
    SNAPSHOT = 110  # FLUSHED_ACTIVATED at the end of the last reclaim
    RECLAIMING = 111
    OUT_OF_MEMORY = 112
    SPLITS = 113  # of folios, ever
    FLUSH_ALL = 114  # reclaim has taken translations away
    TLB_GENERATION = 115  # what was translated in an earlier one is forgotten
    STARTED = 116  # CPUs that have begun a step and not ended it
    CALL = 117  # number of the fault or call that runs
    PENDING_FOLIOS = 118  # of a request that is being collected
    PENDING_PAGES = 119
    PENDING_NEXT = 120  # the slot that would go on
    PENDING_WRITE = 121
    REQUESTS = 123
    WRITTEN_HEAD = 124  # of `Memory.written`
    WRITTEN_TAIL = 125
    PROCESS = 128  # PROCESS_CELLS for each process


class SwapCell(IntEnum):
    """One swap device, in its row of `Memory.swap`: what it is, and how it stands."""

    FIRST_CLUSTER = 0  # its slot 0 is the header
    END_CLUSTER = 1
    PRIORITY = 2
    SYNCHRONOUS = 3
    BLOCK_DEVICE = 4
    DEVICE_MODEL = 5
    NEIGHBOUR_SLOTS = 6  # as the scenario finds it
    FREE_CLUSTERS = 7
    PRICES = 8  # of `DEVICE_EVENTS`, picoseconds
    FRESH_CLUSTER = 16  # this one and those behind have never been used
    USED_SLOTS = 17  # with the header
    TURN = 18  # of those with equal priority the least is next
    LAST_SUBMISSION = 19  # picoseconds
    HEADS = 20  # of each list of clusters
    TAILS = 44


SWAP_COLUMNS = 68

# What belongs to one CPU: the cells from NOW to WARM_FROM. Those of the one that runs stand there,
# those of the others wait behind the processes.
CPU_CELLS = Cell.WARM_FROM + 1 - Cell.NOW
# One more than programs may have: kswapd's own.
MOST_CPUS = 65
KSWAPD_CPU = MOST_CPUS - 1
HAS_FAULTED = 1024
PROCESS_CELLS = 8
ALIVE = 0
SHIFT = 1
ARMED = 2
READAHEAD_ADDRESS = 3
READAHEAD_WINDOW = 4
READAHEAD_HITS = 5
TRACKED = 6  # its VMAs have lost VM_SOFTDIRTY: writes to clean entries fault
MOST_PROCESSES = 8
# Why a run is out of memory: its cgroup's limit, or no page frame is left.
LIMIT_REACHED = 1
NO_FRAMES = 2
MOST_WINDOW = 32  # pages of readahead, 2**page_cluster
CPU_BASE = Cell.PROCESS + PROCESS_CELLS * MOST_PROCESSES
# Where a folio is: nowhere, on a list, or in a CPU's batch of those that go to the lists together.
NOWHERE = 0
INACTIVE = 1
ACTIVE = 2
BATCH = 3  # plus the CPU
KEPT = BATCH + MOST_CPUS  # isolated and looked at, on the way back to the lists
N_PLACES = KEPT + 1
LRU_HEADS = CPU_BASE + CPU_CELLS * MOST_CPUS
LRU_TAILS = LRU_HEADS + N_PLACES
LRU_FOLIOS = LRU_TAILS + N_PLACES
LRU_PAGES = LRU_FOLIOS + N_PLACES
# Folios that one call has collected, and behind them those that a split has left.
COLLECTED = LRU_PAGES + N_PLACES
# Folios of a request that is being collected.
PENDING = COLLECTED + 2 * PAGES_PER_PMD
MOST_PENDING = 128
# What each CPU's last fault was, as LINK's `in_hand` says it; where there are several.
LAST_FAULTS = PENDING + MOST_PENDING
# What all CPUs of a touch or access step do.
TASK = LAST_FAULTS + MOST_CPUS
TASK_PROCESS = TASK
TASK_TRACED = TASK + 1  # whether `Memory.trace` says which pages
TASK_WRITE = TASK + 2
TASK_FIRST_PAGE = TASK + 3
TASK_PAGE_COUNT = TASK + 4
TASK_TOUCHES = TASK + 5  # of every 2 MiB
TASK_CELLS = 6
# kswapd, by `Kswapd`; docs/kswapd.md.
KSWAPD = TASK + TASK_CELLS


class Kswapd(IntEnum):
    """What kswapd remembers, in `Memory.state` from KSWAPD on."""

    CLOCK = 0  # when it goes on, picoseconds; far away while it sleeps
    PHASE = 1
    WANTED = 2  # order that somebody has asked for since it looked last
    HAD = 3  # order that this run of it began with
    ORDER = 4  # and the one that it is content with by now
    PRIORITY = 5
    TOTAL = 6  # pages freed in this run
    ROUND_FREED = 7  # at this priority
    ROUND_SCANNED = 8
    INACTIVE = 9  # pages left to look at
    ACTIVE = 10
    DEACTIVATE = 11
    FREED = 12  # since the lists were measured
    FAILURES = 13
    RESTED_AT = 14  # when it went to sleep
    WOKEN = 15  # whether its short sleep was interrupted
    STOP = 16  # whether it has something to do that it had not when a CPU's turn began
    SNAPSHOT = 17  # FLUSHED_ACTIVATED at the end of the last reclaim for want of page frames
    RANGE = 18  # what the CPU that it has interrupted worked on
    SPARED = 19  # whether direct reclaim has left active pages alone


# What a turn of it finds counted.
KSWAPD_BEFORE = KSWAPD + len(Kswapd)
SPLIT_QUEUE = KSWAPD_BEFORE + N_EVENTS + N_WAITS


class SplitQueue(IntEnum):
    """The deferred split queue, in `Memory.state` from SPLIT_QUEUE on; folios are one higher."""

    HEAD = 0
    TAIL = 1
    LENGTH = 2
    LEFT = 3  # what its shrinker has not looked at, though it should have
    UNMAPPED = 4  # pages that splits have ever freed because nobody maps them


STATE_CELLS = SPLIT_QUEUE + len(SplitQueue)

# What the pools must hold before anything is done to one 2 MiB: a row for its table in each process
# and for every cluster that its 512 pages may have slots in; folios for what splits leave, and for
# 512 windows of readahead.
SPARE_ROWS = PAGES_PER_PMD + 2 * MOST_PROCESSES
SPARE_FOLIOS = (MOST_WINDOW + 8) * PAGES_PER_PMD

# Where each kind of count begins in `Memory.counts`; events begin at 0.
COUNTERS = N_EVENTS
FALLBACKS = COUNTERS + N_COUNTERS
OBSERVED = FALLBACKS + N_FALLBACKS
HOLDS = OBSERVED + N_OBSERVED
WAITS = HOLDS + N_LOCKS * N_HOLDS
SHARES = WAITS + N_WAITS
# What of the events and waits is kswapd's.
KSWAPD_EVENTS = SHARES + MOST_SWAP_DEVICES * N_SHARES
KSWAPD_WAITS = KSWAPD_EVENTS + N_EVENTS
N_COUNTS = KSWAPD_WAITS + N_WAITS

# A row of `Memory.locks`: which lock it is about, and its last holds in order of time.
LOCK_SETS = 1024
MOST_BOOKED = 16
LOCK_NAME = 0
LOCK_COUNT = 1
LOCK_BEGINS = 2
LOCK_ENDS = LOCK_BEGINS + MOST_BOOKED
LOCK_OWNERS = LOCK_ENDS + MOST_BOOKED
LOCK_COLUMNS = LOCK_OWNERS + MOST_BOOKED


# A row of `Memory.timeline`, and what stands in the first one instead.
ROW_KIND = 0  # a `Happening`
ROW_WHAT = 1
ROW_CPU = 2
ROW_BEGIN = 3  # picoseconds, as is the end
ROW_END = 4
ROW_COUNT = 5  # events, entries under the lock, pages of the request, the page of a fault
ROW_RANGE = 6  # number of the PMD record at work
TIMELINE_COLUMNS = 7
NEXT_ROW = 0
ONLY_RANGE = 1  # -1 for all
RANGE_AT_WORK = 2


@inline_kernel
def cpu_cell(cpu):
    """First cell of a CPU that does not run now."""
    return CPU_BASE + cpu * CPU_CELLS


class Memory(NamedTuple):
    """Everything that a run reads and changes.

    Parameters
    ----------
    parameters : record of `abi.PARAMETERS`
    pmds : PMD records, shape (processes x ranges,)
    folios : FOLIO records
    clusters : CLUSTER records, shape (clusters + 1,)
    rows : int64, shape (rows, 512), PTE tables and slot words
    links : LINK records, one for each folio
    queued : QUEUED records, one for each folio
    shadows : int64, one for each slot: age x 2 + workingset + 1, or 0
    cluster_shadows : int64, one for each cluster, where all its slots are alike
    frames : Frames, if memory is finite
    swap : int64, shape (swap devices, SWAP_COLUMNS), by `SwapCell`
    device : Device, its arrays with a row for each swap device; at work only for those that work
        beside the CPUs and have a service model
    zswap : ZswapState, if its pool has a limit
    done : int64, picoseconds, one for each folio: when its read is complete, or minus its write
    written : int64, folios that have been written, for reclaim; a ring
    state : int64, shape (STATE_CELLS,), by `Cell`, then processes, then collected folios
    prices : int64, shape (N_PRICES,), picoseconds: of events, then by `Delay`
    counts : int64, shape (N_COUNTS,), of one step: events, counters, fallbacks, observed, holds,
        picoseconds waited, each swap device's share, and what of the events and waits is kswapd's
    locks : int64, shape (LOCK_SETS, LOCK_COLUMNS)
    trace : int64, shape (CPUs, accesses), accesses of an access step: 2 x page of the CPU's share
        + (1 for a write)
    tlb_arrays, tlb_paths : int64, tables of `translation_layout`
    tlb : int64, shape (CPUs, entries), entries of the TLBs, rows aligned to 64 bytes
    timeline : int64, shape (1 + rows, TIMELINE_COLUMNS), what happened when; no rows, no timeline
    """

    parameters: np.void
    pmds: np.ndarray
    folios: np.ndarray
    clusters: np.ndarray
    rows: np.ndarray
    links: np.ndarray
    queued: np.ndarray
    shadows: np.ndarray
    cluster_shadows: np.ndarray
    frames: Frames
    swap: np.ndarray
    device: Device
    zswap: ZswapState
    done: np.ndarray
    written: np.ndarray
    state: np.ndarray
    prices: np.ndarray
    counts: np.ndarray
    locks: np.ndarray
    trace: np.ndarray
    tlb_arrays: np.ndarray
    tlb_paths: np.ndarray
    tlb: np.ndarray
    timeline: np.ndarray
