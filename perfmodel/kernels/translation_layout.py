"""How the state of one translating CPU lies in memory: tables, counts and the `Mmu` that holds all.

All arrays of translations (TLBs, walk caches, the nested cache) lie behind one another in `entries`
and the data caches in `lines` and `short_lines`; row n of `arrays` says where array n lies and what
it looks like. A tag of `entries` is number << NUMBER_SHIFT | address space << SPACE_SHIFT | order,
where the entry translates 2^order pages of 4 KiB from page number x 2^order on. A tag of `lines` is
the line number without the low bits that the set's index has in common with it. Where all tags of a
cache can do with 16 bits they stand in `short_lines`: the last level is read at random, and twice
as much would not stay in the host's own caches.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

MOST_TLBS = 8
MOST_LEVELS = 5
MOST_CACHES = 3
MOST_WALKERS = 64
MOST_PAGES = 1 << 45
PAGE_SHIFT = 12
REGION_SHIFT = 21
LINE_SHIFT = 6
LINES_SHIFT = REGION_SHIFT - LINE_SHIFT
LINES_PER_REGION = 1 << LINES_SHIFT
LINES_MASK = LINES_PER_REGION - 1
LINES_PER_PAGE_SHIFT = PAGE_SHIFT - LINE_SHIFT
TABLE_SHIFT = 9  # 512 entries per page table
ENTRIES_PER_LINE_SHIFT = 3
LINES_PER_TABLE = 64

# Tags of translations: 45 bits of page number, 12 of address space, 5 of order.
SPACE_SHIFT = 5
NUMBER_SHIFT = 17
ORDER_MASK = 31
SPACE_MASK = 4095

# Rows of `Mmu.arrays`, COLUMNS wide; walk caches by the level of the entries that they hold.
GUEST_WALK_CACHES = MOST_TLBS - 2
HOST_WALK_CACHES = GUEST_WALK_CACHES + 4
NESTED_CACHE = HOST_WALK_CACHES + MOST_LEVELS + 1
CACHES = NESTED_CACHE + 1
MEMORY = CACHES + MOST_CACHES  # DRAM; it has a latency and nothing else
N_ARRAYS = MEMORY + 1

# Columns of `Mmu.arrays`. Tables have one dimension, because the width of a row is known then.
OFFSET = 0  # of set 0
SETS = 1
WAYS = 2  # 0: there is no such array
MASK = 3  # sets - 1 where that is a bit mask, else -1
STRIDE = 4  # from one set to the next
TREE = 5  # from the set to its tree under tree-PLRU, 0 under LRU
SHORT = 5  # of a data cache: 1 where it lies in `short_lines`, else 0
TAG_SHIFT = 6  # of a line
LATENCY = 7  # picoseconds; in `Mmu.paths` the ARRAY's row instead
ARRAY = 7
COLUMNS = 8

# Columns of `Mmu.paths`, whose row is 12 x (level - 1) + 6 x store + kind of mapping.
ORDER = 0  # of the entry
HELD = 1  # how many arrays of the level share the size
CHOICES = 8  # COLUMNS of each of them, as in `Mmu.arrays`
PATH_COLUMNS = CHOICES + MOST_TLBS * COLUMNS

# Columns of `Mmu.tables`, whose row is the level, plus MOST_LEVELS for the host's tables.
FIRST_LINE = 0  # of entry 0; may be negative
LINES = 1  # of one address space
TABLE_COLUMNS = 2


class Kind(IntEnum):
    """How a 2 MiB region is mapped."""

    SMALL = 0
    SMALL_CONTIGUOUS = 1
    CONTIGUOUS_16K = 2
    CONTIGUOUS_64K = 3
    HUGE_2M = 4
    HUGE_1G = 5


N_KINDS = 6


class Count(IntEnum):
    """Cells of `Mmu.counts`; those that are a range say how long it is."""

    ACCESSES = 0
    NESTED_HITS = 1
    HOST_WALKS = 2
    STLB_LOOKUPS = 3
    WAIT_PS = 4
    WALKS = 8  # by kind, 6
    TLB_HITS = 16  # by array, 8
    WALK_CACHE_HITS = 24  # by level, 6
    HOST_WALK_CACHE_HITS = 30  # by level, 6
    REFERENCES = 40  # 4 x class + where


N_COUNT_CELLS = 56
# Classes of references.
DATA = 0
TABLE = 1
HOST = 2
N_CLASSES = 3
CLASS_SHIFT = 2  # of a reference, whose upper bits are its line
DRAM = MOST_CACHES  # where a reference ends that no cache had

# Cells of `Mmu.clock`, in picoseconds but for TURN.
TURN = 0  # which of the overlapping accesses is next
LATEST = 1
WALKERS = 2  # free from then on
COMPLETED = WALKERS + MOST_WALKERS  # of each of the overlapping accesses

PARAMETERS = np.dtype(
    [
        (name, np.int64)
        for name in (
            "levels",
            "host_leaf",  # level of the host's leaves, 0 where there is no host
            "walkers",
            "overlap",
            "stlb_hit_ps",
            "first_region",
            "regions",  # of one address space
        )
    ],
    align=True,
)


# Scratch space of `run`, which takes so many accesses at a time, and of `access`.
BATCH = 1024
PLAIN = 0  # what is known of each path, in short
PLAIN_COLUMNS = 8
KEYS = (
    PLAIN + 4 * N_KINDS * PLAIN_COLUMNS
)  # of what is looked up or walked: tags with a path for the order
INDICES = KEYS + BATCH  # of their accesses in the batch, and one behind
READ = INDICES + BATCH + 8  # references of each access, its own not counted
STREAM = READ + BATCH  # references in their order
# A nested walk of 5 + 5 levels and the data; one more access's worth may be written behind the end.
MOST_REFERENCES = (MOST_LEVELS + 1) ** 2
SCRATCH_CELLS = STREAM + (BATCH + 1) * MOST_REFERENCES


class Mmu(NamedTuple):
    """Everything that translating reads and changes.

    Parameters
    ----------
    parameters : record of `PARAMETERS`
    arrays : int64, shape (N_ARRAYS x COLUMNS,)
    paths : int64, shape (24 x PATH_COLUMNS,)
    tables : int64, shape ((2 x MOST_LEVELS + 1) x TABLE_COLUMNS,)
    kinds : uint8, shape (address spaces x regions,), by `Kind`
    entries : int64, aligned to 64 bytes
    lines : uint32, aligned to 64 bytes
    short_lines : uint16, aligned to 64 bytes
    counts : int64, shape (N_COUNT_CELLS,), by `Count`
    clock : int64, shape (COMPLETED + overlap,)
    scratch : int64, shape (SCRATCH_CELLS,), means nothing between calls
    """

    parameters: np.void
    arrays: np.ndarray
    paths: np.ndarray
    tables: np.ndarray
    kinds: np.ndarray
    entries: np.ndarray
    lines: np.ndarray
    short_lines: np.ndarray
    counts: np.ndarray
    clock: np.ndarray
    scratch: np.ndarray
