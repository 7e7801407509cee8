"""The page allocator of one zone: free lists by order and migrate type, fallbacks, merging.

docs/buddy.md says what exactly is simulated. Nine bytes for each page frame, four for each owner;
blocks that were never taken need no memory, because all-zero arrays describe them.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from perfmodel.kernels._jit import inline_kernel, inner_kernel, kernel

MAX_ORDER = np.int64(10)
BLOCK_ORDER = np.int64(9)
BLOCK = np.int64(1 << 9)  # frames of one pageblock
LARGEST = np.int64(1 << 10)  # frames of a block of the largest order
N_ORDERS = 11

PARAMETERS = np.dtype(
    [
        ("frames", np.int64),  # whole blocks of the largest order
        ("minimum", np.int64),  # watermarks in pages
        ("low", np.int64),
        ("high", np.int64),
        ("extfrag_threshold", np.int64),  # thousandths
        # What the ageing does, see ageing.py.
        ("seed", np.int64),
        ("used", np.int64),  # pages
        ("unmovable_threshold", np.int64),  # of 2**32
        ("turnover", np.int64),  # pages
        ("largest_run", np.int64),  # order
        ("remnant_threshold", np.int64),  # of 2**32
        ("rounds", np.int64),
    ],
    align=True,
)

# Lists by migrate type and order: which = type + order. The third kind is compaction's own.
MOVABLE = np.int64(0)
UNMOVABLE = np.int64(11)
ISOLATED = np.int64(22)
N_LISTS = 33

# What stands at a frame: 0 is no head of a block, 1 + order a free block on a list, the others a
# held block.
HELD_MOVABLE = np.int64(16)
HELD_UNMOVABLE = np.int64(32)
ORDER_MASK = np.int64(15)
# A pageblock's flags.
IS_UNMOVABLE = np.int64(1)
SKIP = np.int64(2)


class Cell(IntEnum):
    """Cells of the state; counters that the kernel has carry its names."""

    FREE_PAGES = 0
    FRESH = 1  # all frames from here on are free in blocks of the largest order, never taken yet
    CLAIMED = 2
    STOLEN = 3
    # Zone fields of compaction.
    CACHED_MIGRATE_ASYNC = 4
    CACHED_MIGRATE_SYNC = 5
    CACHED_FREE = 6
    INIT_MIGRATE = 7
    FLUSH = 8
    CONSIDERED = 9
    DEFER_SHIFT = 10
    ORDER_FAILED = 11
    CAPTURE_ORDER = 12  # -1: nobody waits for a block
    CAPTURE_TYPE = 13
    CAPTURED = 14
    # The run that goes on.
    ORDER = 15
    TYPE = 16
    SYNC = 17
    FINISH = 18
    WHOLE = 19
    MIGRATE = 20
    FREE = 21
    TO_MOVE = 22
    TO_FILL = 23  # pages isolated as targets
    MOVING = 24  # head of the list of what is to move
    PER_CPU_FIRST = 43  # blocks freed by migration that wait to be merged
    PER_CPU_LAST = 44
    # Counters.
    COMPACT_MIGRATE_SCANNED = 25
    COMPACT_FREE_SCANNED = 26
    COMPACT_ISOLATED = 27
    COMPACT_STALL = 28
    COMPACT_FAIL = 29
    COMPACT_SUCCESS = 30
    PGMIGRATE_SUCCESS = 31
    PGMIGRATE_FAIL = 32
    RESULTS = 33  # one cell for each CompactResult
    HEADS = 48
    TAILS = 48 + N_LISTS
    LENGTHS = 48 + 2 * N_LISTS


STATE_CELLS = 48 + 3 * N_LISTS


class Frames(NamedTuple):
    """One zone. Frames are numbered from 0; an owner is a small integer that holds one block."""

    parameters: np.void
    state: np.ndarray  # int64, Cell
    kind: np.ndarray  # int8 per frame
    link: np.ndarray  # int32 per frame: the next free block, or the owner of a held one
    back: np.ndarray  # int32 per frame: the free block before
    block: np.ndarray  # int8 per pageblock
    frame_of: np.ndarray  # int32 per owner: its first frame + 1, 0 where it holds nothing


@inner_kernel
def start_zone(f):
    """All of it free and movable. Allocates: no. Mutates: state; the other arrays are all zero."""
    frames = f.parameters["frames"]
    for cell in range(f.state.size):
        f.state[cell] = 0
    for which in range(N_LISTS):
        f.state[Cell.HEADS + which] = -1
        f.state[Cell.TAILS + which] = -1
    f.state[Cell.FREE_PAGES] = frames
    f.state[Cell.LENGTHS + MOVABLE + MAX_ORDER] = frames // LARGEST
    f.state[Cell.CACHED_FREE] = frames - BLOCK
    f.state[Cell.CAPTURE_ORDER] = -1
    f.state[Cell.CAPTURED] = -1
    f.state[Cell.MOVING] = -1
    f.state[Cell.PER_CPU_FIRST] = -1


# Lists


@inline_kernel
def push(f, which, frame):
    """To the head of a list."""
    head = f.state[Cell.HEADS + which]
    f.link[frame] = head
    f.back[frame] = -1
    if head >= 0:
        f.back[head] = frame
    else:
        f.state[Cell.TAILS + which] = frame
    f.state[Cell.HEADS + which] = frame
    f.state[Cell.LENGTHS + which] += 1


@inline_kernel
def append(f, which, frame):
    """To the tail of a list."""
    tail = f.state[Cell.TAILS + which]
    f.back[frame] = tail
    f.link[frame] = -1
    if tail >= 0:
        f.link[tail] = frame
    else:
        f.state[Cell.HEADS + which] = frame
    f.state[Cell.TAILS + which] = frame
    f.state[Cell.LENGTHS + which] += 1


@inline_kernel
def unlink(f, which, frame):
    """Off its list; it is the head of no free block any more."""
    before = np.int64(f.back[frame])
    after = np.int64(f.link[frame])
    if before >= 0:
        f.link[before] = after
    else:
        f.state[Cell.HEADS + which] = after
    if after >= 0:
        f.back[after] = before
    else:
        f.state[Cell.TAILS + which] = before
    f.state[Cell.LENGTHS + which] -= 1
    f.kind[frame] = 0


@inline_kernel
def first(f, which):
    """Head of a list or -1; what was never taken stands behind all others of its list."""
    head = f.state[Cell.HEADS + which]
    if head < 0 and which == MOVABLE + MAX_ORDER:
        fresh = f.state[Cell.FRESH]
        if fresh < f.parameters["frames"]:
            f.state[Cell.FRESH] = fresh + LARGEST
            f.state[Cell.LENGTHS + which] -= 1
            push(f, which, fresh)
            f.kind[fresh] = MAX_ORDER + 1
            return fresh
    return head


@inline_kernel
def block_type(f, frame):
    """The lists that a frame's pageblock belongs to."""
    if np.int64(f.block[frame >> BLOCK_ORDER]) & IS_UNMOVABLE:
        return UNMOVABLE
    return MOVABLE


@inner_kernel
def set_types(f, frame, order, kind):
    """All pageblocks of a block of at least their order get a type; their hints stay."""
    for block in range(frame >> BLOCK_ORDER, (frame + (1 << order)) >> BLOCK_ORDER):
        flags = np.int64(f.block[block]) & ~IS_UNMOVABLE
        if kind == UNMOVABLE:
            flags |= IS_UNMOVABLE
        f.block[block] = flags


@inline_kernel
def expand(f, frame, wanted, order, kind):
    """Give the upper halves back until a block has the wanted order."""
    while order > wanted:
        order -= 1
        half = frame + (1 << order)
        f.kind[half] = order + 1
        push(f, kind + order, half)


@inner_kernel
def move_block(f, start, kind):
    """The free blocks of one pageblock go to the tails of another type's lists."""
    old = block_type(f, start)
    frame = start
    while frame < start + BLOCK:
        what = np.int64(f.kind[frame])
        order = (what & ORDER_MASK) - 1
        if 0 < what <= N_ORDERS:
            unlink(f, old + order, frame)
            f.kind[frame] = what
            append(f, kind + order, frame)
            frame += 1 << order
        else:
            frame += 1
    set_types(f, start, BLOCK_ORDER, kind)


# Allocation


@inline_kernel
def claims(order, kind):
    """Whether a fallback to a block of this order would claim its pageblock."""
    return order >= BLOCK_ORDER // 2 or kind == UNMOVABLE


@inline_kernel
def take_smallest(f, order, kind):
    """The first block of the smallest order that has one, or -1."""
    current = order
    while current <= MAX_ORDER:
        frame = first(f, kind + current)
        if frame >= 0:
            unlink(f, kind + current, frame)
            expand(f, frame, order, current, kind)
            return frame
        current += 1
    return np.int64(-1)


@inner_kernel
def _at_least_half(f, start, kind):
    """Whether half of a pageblock is free or of the type that would claim it."""
    free = np.int64(0)
    moving = np.int64(0)
    frame = start
    while frame < start + BLOCK:
        what = np.int64(f.kind[frame])
        pages = np.int64(1)
        if 0 < what <= N_ORDERS:
            pages = 1 << (what - 1)
            free += pages
        elif what & HELD_MOVABLE:
            pages = 1 << (what & ORDER_MASK)
            moving += pages
        frame += pages
    alike = moving if kind == MOVABLE else BLOCK - free - moving
    return free + alike >= BLOCK // 2


@inner_kernel
def _claim(f, order, kind):
    """Take the other type's largest block and, where the rule allows, its pageblock with it."""
    other = UNMOVABLE - kind
    current = np.int64(MAX_ORDER)
    while current >= order and claims(current, kind):
        frame = first(f, other + current)
        if frame >= 0:
            if current >= BLOCK_ORDER:
                unlink(f, other + current, frame)
                set_types(f, frame, current, kind)
                expand(f, frame, order, current, kind)
                f.state[Cell.CLAIMED] += 1
                return frame
            start = frame & -BLOCK
            if _at_least_half(f, start, kind):
                move_block(f, start, kind)
                f.state[Cell.CLAIMED] += 1
                return take_smallest(f, order, kind)
        current -= 1
    return np.int64(-1)


@inline_kernel
def above(f, mark, order):
    """Whether a watermark holds for a request; that a block is there is not asked."""
    return f.state[Cell.FREE_PAGES] - ((1 << order) - 1) > mark


@inner_kernel
def _fall_back(f, order, kind):
    """What is done when no list of the type has a block: claim a pageblock, else steal a block."""
    frame = _claim(f, order, kind)
    if frame < 0:
        frame = take_smallest(f, order, UNMOVABLE - kind)
        if frame >= 0:
            f.state[Cell.STOLEN] += 1
    return frame


@inline_kernel
def take(f, order, kind):
    """A block off the lists, or -1: below the minimum watermark, or nothing large enough."""
    if not above(f, f.parameters["minimum"], order):
        return np.int64(-1)
    frame = take_smallest(f, order, kind)
    if frame < 0:
        frame = _fall_back(f, order, kind)
        if frame < 0:
            return frame
    f.state[Cell.FREE_PAGES] -= 1 << order
    return frame


@inline_kernel
def give(f, frame, order, owner, kind):
    """A block that is on no list gets an owner."""
    f.kind[frame] = order + (HELD_MOVABLE if kind == MOVABLE else HELD_UNMOVABLE)
    f.link[frame] = owner
    f.frame_of[owner] = frame + 1


@inner_kernel
def allocate_block(f, order, owner, kind):
    """First frame of a block of 2**order frames, or -1. Owners of one block each.

    Allocates: no. Mutates: all but the parameters. Steps: about one for each order split.
    """
    frame = take(f, order, kind)
    if frame >= 0:
        give(f, frame, order, owner, kind)
    return frame


# Freeing


@inline_kernel
def free_one(f, frame, order, kind):
    """Merge with free buddies as far as it goes, unless a compaction waits for just this block."""
    f.state[Cell.FREE_PAGES] += 1 << order
    while order < MAX_ORDER:
        if order == f.state[Cell.CAPTURE_ORDER]:
            wants = f.state[Cell.CAPTURE_TYPE]
            if order >= BLOCK_ORDER or kind != MOVABLE or wants == MOVABLE:
                f.state[Cell.FREE_PAGES] -= 1 << order
                f.state[Cell.CAPTURE_ORDER] = -1
                f.state[Cell.CAPTURED] = frame
                return
        buddy = frame ^ (1 << order)
        if f.kind[buddy] != order + 1:
            break
        old = kind
        if order >= BLOCK_ORDER:
            old = block_type(f, buddy)
            if old != kind:
                set_types(f, buddy, order, kind)
        unlink(f, old + order, buddy)
        frame &= buddy
        order += 1
    f.kind[frame] = order + 1
    # Where the pair's own buddy is free, two merges may follow soon: leave this one alone.
    if order < MAX_ORDER - 1:
        pair = frame & ~(1 << order)
        if f.kind[pair ^ (2 << order)] == order + 2:
            append(f, kind + order, frame)
            return
    push(f, kind + order, frame)


@inline_kernel
def put(f, frame, order):
    """A block goes back; two pageblocks go one by one, because their types may differ."""
    end = frame + (1 << order)
    piece = min(order, BLOCK_ORDER)
    while frame < end:
        free_one(f, frame, piece, block_type(f, frame))
        frame += 1 << piece


@inner_kernel
def release_block(f, owner):
    """An owner gives its block back. Allocates: no. Mutates: all but the parameters."""
    frame = np.int64(f.frame_of[owner]) - 1
    order = np.int64(f.kind[frame]) & ORDER_MASK
    f.frame_of[owner] = 0
    f.kind[frame] = 0
    put(f, frame, order)


@inline_kernel
def free_blocks(f, order):
    """Free blocks of one order, of both types, as /proc/buddyinfo has them."""
    return f.state[Cell.LENGTHS + MOVABLE + order] + f.state[Cell.LENGTHS + UNMOVABLE + order]


# Entries from Python


@kernel
def prepare(f):
    """Start a zone whose arrays are all zero."""
    start_zone(f)


@kernel
def allocate(f, order, owner, movable):
    """First frame of a new block of `owner`, or -1; compacts nothing."""
    return allocate_block(f, order, owner, MOVABLE if movable else UNMOVABLE)


@kernel
def release(f, owner):
    """Free the block of `owner`."""
    release_block(f, owner)


@kernel
def refill(f, order, owners, movable, times):
    """Free and allocate again the blocks of these owners, for measuring what one of both takes."""
    kind = MOVABLE if movable else UNMOVABLE
    for _ in range(times):
        for place in range(owners.size):
            release_block(f, owners[place])
        for place in range(owners.size):
            allocate_block(f, order, owners[place], kind)
