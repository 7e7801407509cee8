"""The two scanners of compaction, and the moves: docs/buddy.md says what exactly is simulated."""

import numpy as np

from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.buddy import (
    BLOCK,
    BLOCK_ORDER,
    HELD_MOVABLE,
    ISOLATED,
    MAX_ORDER,
    MOVABLE,
    N_ORDERS,
    ORDER_MASK,
    SKIP,
    Cell,
    above,
    append,
    block_type,
    move_block,
    push,
    put,
    unlink,
)

COSTLY_ORDER = np.int64(3)
CLUSTER_MAX = np.int64(32)
_NOTHING = np.int64(0)
_SOME_STAYED = np.int64(1)
NO_MEMORY = np.int64(2)


@inner_kernel
def _put(f, frame, order):
    put(f, frame, order)


@inner_kernel
def _put_later(f, frame, order):
    """To the per-CPU list, where nothing merges; `link` keeps the order."""
    f.link[frame] = order
    f.back[frame] = -1
    if f.state[Cell.PER_CPU_FIRST] >= 0:
        f.back[f.state[Cell.PER_CPU_LAST]] = frame
    else:
        f.state[Cell.PER_CPU_FIRST] = frame
    f.state[Cell.PER_CPU_LAST] = frame


@inner_kernel
def drain(f):
    """The per-CPU list goes back to the free lists, the first freed first."""
    frame = f.state[Cell.PER_CPU_FIRST]
    f.state[Cell.PER_CPU_FIRST] = -1
    while frame >= 0:
        after = np.int64(f.back[frame])
        _put(f, frame, np.int64(f.link[frame]))
        frame = after


# Skip hints


@inline_kernel
def _skip(f, frame):
    return np.int64(f.block[frame >> BLOCK_ORDER]) & SKIP


@inline_kernel
def _set_skip(f, frame):
    f.block[frame >> BLOCK_ORDER] = np.int64(f.block[frame >> BLOCK_ORDER]) | SKIP


@inner_kernel
def _what_holds(f, frame):
    """Kind of the block that a frame is part of: the nearest head below, order by order."""
    for order in range(N_ORDERS):
        what = np.int64(f.kind[frame >> order << order])
        if what:
            return what
    return np.int64(0)


@inline_kernel
def _persistent(f, start):
    """Whether a pageblock is one held block, or part of one."""
    what = _what_holds(f, start)
    return what >= HELD_MOVABLE and what & ORDER_MASK >= BLOCK_ORDER


@inner_kernel
def _reset_block(f, frame, source, target):
    """Drop the hint of a pageblock where a sample says that there is something to move, or room."""
    start = frame & -BLOCK
    if _persistent(f, start):
        return False
    if source and target and not _skip(f, start):
        return True
    if not source and target and block_type(f, start) != MOVABLE:
        return False
    for page in range(start, start + BLOCK, 1 << COSTLY_ORDER):
        free_head = 0 < f.kind[page] <= N_ORDERS
        if (source and _what_holds(f, page) & HELD_MOVABLE) or (target and free_head):
            f.block[start >> BLOCK_ORDER] = np.int64(f.block[start >> BLOCK_ORDER]) & ~SKIP
            return True
    return False


@inner_kernel
def reset_hints(f):
    """What kswapd does before it sleeps: forget the skip hints, if a compaction met its end."""
    if not f.state[Cell.FLUSH]:
        return
    f.state[Cell.FLUSH] = 0
    migrate = np.int64(0)
    free = f.parameters["frames"] - 1
    lowest = free
    highest = migrate
    source = np.int64(0)
    target = np.int64(0)
    while migrate < free:
        if _reset_block(f, migrate, np.int64(1), source) and migrate < lowest:
            source = np.int64(1)
            lowest = migrate
            f.state[Cell.INIT_MIGRATE] = migrate
            f.state[Cell.CACHED_MIGRATE_ASYNC] = migrate
            f.state[Cell.CACHED_MIGRATE_SYNC] = migrate
        if _reset_block(f, free, target, np.int64(1)) and free > highest:
            target = np.int64(1)
            highest = free
            f.state[Cell.CACHED_FREE] = free
        migrate += BLOCK
        free -= BLOCK
    if lowest >= highest:
        f.state[Cell.CACHED_MIGRATE_ASYNC] = migrate
        f.state[Cell.CACHED_MIGRATE_SYNC] = migrate
        f.state[Cell.CACHED_FREE] = free


# The free scanner


@inner_kernel
def _isolate_one(f, frame, order):
    """A free block becomes a target; a pageblock that is half taken by it becomes movable."""
    unlink(f, block_type(f, frame) + order, frame)
    f.state[Cell.FREE_PAGES] -= 1 << order
    if order >= BLOCK_ORDER - 1:
        for start in range(frame & -BLOCK, frame + (1 << order), BLOCK):
            if block_type(f, start) != MOVABLE:
                move_block(f, start, np.int64(MOVABLE))
    append(f, ISOLATED + order, frame)
    f.state[Cell.TO_FILL] += 1 << order


@inner_kernel
def _isolate_free(f, at, end, stride):
    """Scan part of a pageblock for targets; returns where it stopped."""
    state = f.state
    scanned = np.int64(0)
    before = state[Cell.TO_FILL]
    while at < end:
        scanned += 1
        what = np.int64(f.kind[at])
        if what >= HELD_MOVABLE:
            pages = 1 << (what & ORDER_MASK)
            if at + pages <= end:
                at += pages - 1
                scanned += pages - 1
        elif what:
            pages = 1 << (what - 1)
            if not above(f, f.parameters["minimum"] + pages, np.int64(0)):
                break
            _isolate_one(f, at, what - 1)
            scanned += pages - 1
            if state[Cell.TO_MOVE] <= state[Cell.TO_FILL]:
                at += pages
                break
            at += pages - 1
        at += stride
    state[Cell.COMPACT_FREE_SCANNED] += scanned
    state[Cell.COMPACT_ISOLATED] += state[Cell.TO_FILL] - before
    return min(at, end)


@inner_kernel
def _isolate_targets(f):
    """From where the free scanner stands downwards, until there is room for what is to move."""
    state = f.state
    at = state[Cell.FREE]
    start = at & -BLOCK
    lowest = (state[Cell.MIGRATE] & -BLOCK) + BLOCK
    stride = np.int64(1) if state[Cell.SYNC] else CLUSTER_MAX
    while start >= lowest:
        what = np.int64(f.kind[start])
        large = what <= N_ORDERS and what > state[Cell.ORDER]
        if not large and block_type(f, start) == MOVABLE and not _skip(f, start):
            end = start + BLOCK
            before = state[Cell.TO_FILL]
            at = _isolate_free(f, at, end, stride)
            if at == end:
                _set_skip(f, start)
                if start - BLOCK < state[Cell.CACHED_FREE]:
                    state[Cell.CACHED_FREE] = start - BLOCK
            if state[Cell.TO_FILL] >= state[Cell.TO_MOVE]:
                if at >= end:
                    at = start - BLOCK
                break
            if at < end:
                break
            found = state[Cell.TO_FILL] > before
            stride = np.int64(1) if found else min(CLUSTER_MAX, stride * 2)
        start -= BLOCK
        at = start
    state[Cell.FREE] = at


@inner_kernel
def _find_target(f, order):
    """A block for what moves, or -1."""
    for attempt in range(2):
        current = order
        while current <= MAX_ORDER:
            frame = f.state[Cell.HEADS + ISOLATED + current]
            if frame >= 0:
                unlink(f, ISOLATED + current, frame)
                while current > order:
                    current -= 1
                    push(f, ISOLATED + current, frame + (1 << current))
                f.state[Cell.TO_MOVE] -= 1 << order
                f.state[Cell.TO_FILL] -= 1 << order
                return frame
            current += 1
        if attempt == 0:
            _isolate_targets(f)
    return np.int64(-1)


@inner_kernel
def release_isolated(f):
    """Targets that nothing moved to are freed, and the free scanner starts no lower than they."""
    highest = np.int64(-1)
    for order in range(N_ORDERS):
        which = ISOLATED + order
        while f.state[Cell.HEADS + which] >= 0:
            frame = f.state[Cell.HEADS + which]
            unlink(f, which, frame)
            highest = max(highest, frame)
            _put(f, frame, np.int64(order))
    f.state[Cell.TO_FILL] = 0
    if highest >= 0 and highest & -BLOCK > f.state[Cell.CACHED_FREE]:
        f.state[Cell.CACHED_FREE] = highest & -BLOCK


# The migrate scanner


@inner_kernel
def _update_cached(f, frame):
    end = (frame & -BLOCK) + BLOCK
    f.state[Cell.CACHED_MIGRATE_ASYNC] = max(f.state[Cell.CACHED_MIGRATE_ASYNC], end)
    if f.state[Cell.SYNC]:
        f.state[Cell.CACHED_MIGRATE_SYNC] = max(f.state[Cell.CACHED_MIGRATE_SYNC], end)


@inner_kernel
def _isolate_block(f, low, end):
    """Put what can move in the rest of a pageblock on the list of what is to move."""
    state = f.state
    sync = state[Cell.SYNC] != 0
    order = state[Cell.ORDER]
    boundary = (low >> order << order) + (1 << order)
    start = low if low % BLOCK == 0 else np.int64(-1)  # of the pageblock whose hint may be set
    hinted = False
    scanned = np.int64(0)
    while low < end:
        if not sync and low >= boundary:
            if state[Cell.TO_MOVE]:
                break
            boundary = (low >> order << order) + (1 << order)
        scanned += 1
        what = np.int64(f.kind[low])
        if 0 < what <= N_ORDERS:
            scanned += (1 << (what - 1)) - 1
            low += 1 << (what - 1)
            continue
        pages = 1 << (what & ORDER_MASK)
        failed = True
        if what and what & ORDER_MASK >= min(order, BLOCK_ORDER):
            scanned += pages - 1
            low += pages - 1
        elif what & HELD_MOVABLE:
            failed = False
            if start >= 0 and not hinted:
                hinted = True
                _set_skip(f, start)
            f.back[low] = state[Cell.MOVING]
            state[Cell.MOVING] = low
            state[Cell.TO_MOVE] += pages
            scanned += pages - 1
            low += pages - 1
            if state[Cell.TO_MOVE] >= CLUSTER_MAX and not state[Cell.FINISH]:
                low += 1
                break
        if failed and not sync:
            # No block of the order can come of this; what was found before it stays.
            state[Cell.MOVING] = -1
            state[Cell.TO_MOVE] = 0
            if low < boundary:
                low = boundary - 1
                boundary += 1 << order
        low += 1
    low = min(low, end)
    if low == end and (not state[Cell.TO_MOVE] or state[Cell.FINISH]):
        if start >= 0 and not hinted:
            _set_skip(f, start)
        _update_cached(f, low)
    state[Cell.COMPACT_MIGRATE_SCANNED] += scanned
    state[Cell.COMPACT_ISOLATED] += state[Cell.TO_MOVE]
    state[Cell.MIGRATE] = low


@inline_kernel
def _is_source(f, start):
    if _persistent(f, start):
        return False
    return f.state[Cell.SYNC] != 0 or block_type(f, start) == f.state[Cell.TYPE]


@inner_kernel
def isolate_source(f):
    """The next pageblock below the free scanner that is worth it."""
    state = f.state
    low = state[Cell.MIGRATE]
    end = (low & -BLOCK) + BLOCK
    while end <= state[Cell.FREE]:
        start = end - BLOCK
        if low != start or not _skip(f, start):
            if _is_source(f, start):
                _isolate_block(f, low, end)
                return
            _update_cached(f, end)
        low = end
        state[Cell.MIGRATE] = end
        end += BLOCK


@inner_kernel
def migrate(f):
    """Find each block a place, the last found first; then free where they were."""
    state = f.state
    error = np.int64(_NOTHING)
    source = state[Cell.MOVING]
    moved = np.int64(-1)  # sources in the order of their moves, linked by `back`
    last = np.int64(-1)
    while source >= 0:
        after = np.int64(f.back[source])
        order = np.int64(f.kind[source]) & ORDER_MASK
        target = _find_target(f, order)
        if target < 0:
            state[Cell.PGMIGRATE_FAIL] += 1 << order
            if order == 0:
                error = np.int64(NO_MEMORY)
                break
            error = np.int64(_SOME_STAYED)
        else:
            f.link[target] = f.link[source]
            # The source keeps its kind until it is freed, so that no scanner takes it for free.
            f.link[source] = target
            if last >= 0:
                f.back[last] = source
            else:
                moved = source
            f.back[source] = -1
            last = source
        source = after
    while moved >= 0:
        source = moved
        moved = np.int64(f.back[source])
        target = np.int64(f.link[source])
        order = np.int64(f.kind[source]) & ORDER_MASK
        f.kind[target] = f.kind[source]
        f.kind[source] = 0
        f.frame_of[f.link[target]] = target + 1
        state[Cell.PGMIGRATE_SUCCESS] += 1 << order
        if order > COSTLY_ORDER:
            _put(f, source, order)
        else:
            _put_later(f, source, order)
    state[Cell.MOVING] = -1
    state[Cell.TO_MOVE] = 0
    return error
