"""Direct compaction: one scanner finds movable blocks from below, one free blocks from above.

docs/buddy.md says what exactly is simulated. Works on the zone of buddy.py; what moves keeps its
owner, and the owner need not be asked.
"""

from enum import IntEnum

import numpy as np

from perfmodel.kernels._jit import inline_kernel, inner_kernel, kernel
from perfmodel.kernels.buddy import (
    BLOCK,
    BLOCK_ORDER,
    MOVABLE,
    N_ORDERS,
    UNMOVABLE,
    Cell,
    above,
    allocate_block,
    claims,
    free_blocks,
    give,
    take,
)
from perfmodel.kernels.scanners import (
    COSTLY_ORDER,
    NO_MEMORY,
    drain,
    isolate_source,
    migrate,
    release_isolated,
    reset_hints,
)

MAX_DEFER_SHIFT = np.int64(6)


class Result(IntEnum):
    """How a compaction ended, in the kernel's words and order of numbers."""

    SKIPPED = 1
    DEFERRED = 2
    CONTINUE = 4
    COMPLETE = 5
    PARTIAL_SKIPPED = 6
    CONTENDED = 7
    SUCCESS = 8


class Effort(IntEnum):
    """How hard an allocation tries when the lists have no block for it."""

    LIGHT = 0  # not at all
    NO_RETRY = 1  # two asynchronous compactions
    FULL = 2  # and a synchronous one


_CONTINUE = np.int64(Result.CONTINUE.value)

# One run


@inner_kernel
def fragmentation_index(f, order):
    """Thousandths: -1000 a block is free, 0 too little memory, near 1000 too scattered."""
    blocks = np.int64(0)
    pages = np.int64(0)
    for each in range(N_ORDERS):
        count = free_blocks(f, each)
        if each >= order and count:
            return np.int64(-1000)
        blocks += count
        pages += count << each
    if not blocks:
        return np.int64(0)
    return 1000 - (1000 + pages * 1000 // (1 << order)) // blocks


@inner_kernel
def _suits(f, order):
    """Whether there is anything to gain, and room to work in."""
    minimum = f.parameters["minimum"]
    index = fragmentation_index(f, order)
    if index == -1000 and above(f, minimum, order):
        return np.int64(Result.SUCCESS.value)
    mark = minimum + (2 << order)
    if order > COSTLY_ORDER:
        mark += f.parameters["low"] - minimum
        if 0 <= index <= f.parameters["extfrag_threshold"]:
            return np.int64(Result.SKIPPED.value)
    if not above(f, mark, np.int64(0)):
        return np.int64(Result.SKIPPED.value)
    return np.int64(_CONTINUE)


@inline_kernel
def _met(f):
    return f.state[Cell.FREE] >> BLOCK_ORDER <= f.state[Cell.MIGRATE] >> BLOCK_ORDER


@inner_kernel
def _finished(f):
    state = f.state
    if _met(f):
        state[Cell.CACHED_MIGRATE_ASYNC] = 0
        state[Cell.CACHED_MIGRATE_SYNC] = 0
        state[Cell.CACHED_FREE] = f.parameters["frames"] - BLOCK
        state[Cell.FLUSH] = 1
        if state[Cell.WHOLE]:
            return np.int64(Result.COMPLETE.value)
        return np.int64(Result.PARTIAL_SKIPPED.value)
    if state[Cell.MIGRATE] % BLOCK:
        return np.int64(_CONTINUE)
    kind = state[Cell.TYPE]
    for order in range(state[Cell.ORDER], N_ORDERS):
        own = state[Cell.LENGTHS + kind + order]
        other = state[Cell.LENGTHS + UNMOVABLE - kind + order]
        if own or (other and claims(order, kind)):
            return np.int64(Result.SUCCESS.value)
    return np.int64(_CONTINUE)


@inner_kernel
def _scan(f):
    state = f.state
    order = state[Cell.ORDER]
    follow = (
        not state[Cell.SYNC] and state[Cell.CACHED_MIGRATE_ASYNC] == state[Cell.CACHED_MIGRATE_SYNC]
    )
    last = np.int64(-1)  # start of the pageblock that something moved from
    result = _finished(f)
    while result == _CONTINUE:
        state[Cell.FINISH] = last >= 0 and last == state[Cell.MIGRATE] & -BLOCK
        again = True
        while again:
            again = False
            isolate_source(f)
            if not state[Cell.TO_MOVE]:
                if follow:
                    state[Cell.CACHED_MIGRATE_SYNC] = state[Cell.CACHED_MIGRATE_ASYNC]
                break
            follow = False
            last = (state[Cell.MIGRATE] - 1) & -BLOCK
            error = migrate(f)
            if error == NO_MEMORY and not _met(f):
                return np.int64(Result.CONTENDED.value)
            if error and state[Cell.MIGRATE] % BLOCK and not state[Cell.FINISH]:
                # Something stayed: the rest of the pageblock in one go, and then no more of it.
                again = True
                state[Cell.FINISH] = 1
                if order == BLOCK_ORDER:
                    last = np.int64(-1)
            elif state[Cell.CAPTURED] >= 0:
                return np.int64(Result.SUCCESS.value)
        if last >= 0 and last < state[Cell.MIGRATE] >> order << order:
            drain(f)
            last = np.int64(-1)
        result = _finished(f)
    return result


@inner_kernel
def _compact_zone(f, order, kind, sync):
    """One run of both scanners. Allocates: no. Mutates: all but the parameters."""
    state = f.state
    suits = _suits(f, order)
    if suits != _CONTINUE:
        return suits
    limit = 1 << MAX_DEFER_SHIFT
    if order >= state[Cell.ORDER_FAILED] and state[Cell.CONSIDERED] >= limit:
        reset_hints(f)
    frames = f.parameters["frames"]
    state[Cell.ORDER] = order
    state[Cell.TYPE] = kind
    state[Cell.SYNC] = sync
    state[Cell.FREE] = state[Cell.CACHED_FREE]
    state[Cell.MIGRATE] = state[Cell.CACHED_MIGRATE_ASYNC + sync]
    if not 0 <= state[Cell.FREE] < frames:
        state[Cell.FREE] = frames - BLOCK
        state[Cell.CACHED_FREE] = frames - BLOCK
    if not 0 <= state[Cell.MIGRATE] < frames:
        state[Cell.MIGRATE] = 0
        state[Cell.CACHED_MIGRATE_ASYNC] = 0
        state[Cell.CACHED_MIGRATE_SYNC] = 0
    state[Cell.WHOLE] = state[Cell.MIGRATE] <= state[Cell.INIT_MIGRATE]
    result = _scan(f)
    drain(f)
    release_isolated(f)
    return result


@inner_kernel
def _deferred(f, order):
    """Whether this compaction is left out, because the last ones were in vain."""
    state = f.state
    if order < state[Cell.ORDER_FAILED]:
        return False
    limit = 1 << state[Cell.DEFER_SHIFT]
    state[Cell.CONSIDERED] = min(state[Cell.CONSIDERED] + 1, limit)
    return state[Cell.CONSIDERED] < limit


@inner_kernel
def compact_for(f, order, owner, kind, sync):
    """Compact, then take the block; -1 if there still is none. `sync` is 0 or 1."""
    state = f.state
    captured = np.int64(-1)
    if _deferred(f, order):
        result = np.int64(Result.DEFERRED.value)
    else:
        state[Cell.CAPTURE_ORDER] = order
        state[Cell.CAPTURE_TYPE] = kind
        state[Cell.CAPTURED] = -1
        result = _compact_zone(f, order, kind, sync)
        captured = state[Cell.CAPTURED]
        state[Cell.CAPTURE_ORDER] = -1
        state[Cell.CAPTURED] = -1
        if captured >= 0:
            result = np.int64(Result.SUCCESS.value)
        if result == Result.SUCCESS:
            state[Cell.ORDER_FAILED] = max(state[Cell.ORDER_FAILED], order + 1)
        elif sync and (result == Result.COMPLETE or result == Result.PARTIAL_SKIPPED):
            state[Cell.CONSIDERED] = 0
            state[Cell.DEFER_SHIFT] = min(state[Cell.DEFER_SHIFT] + 1, MAX_DEFER_SHIFT)
            state[Cell.ORDER_FAILED] = min(state[Cell.ORDER_FAILED], order)
    state[Cell.RESULTS + result] += 1
    if result <= Result.DEFERRED:
        return np.int64(-1)
    state[Cell.COMPACT_STALL] += 1
    frame = captured if captured >= 0 else take(f, order, kind)
    if frame < 0:
        state[Cell.COMPACT_FAIL] += 1
        return frame
    state[Cell.COMPACT_SUCCESS] += 1
    state[Cell.FLUSH] = 0
    state[Cell.CONSIDERED] = 0
    state[Cell.DEFER_SHIFT] = 0
    state[Cell.ORDER_FAILED] = max(state[Cell.ORDER_FAILED], order + 1)
    give(f, frame, order, owner, kind)
    return frame


@inner_kernel
def daemon_compact(f, order):
    """One run of kcompactd, which takes no block; false if it would not even be woken."""
    if _suits(f, order) != _CONTINUE:
        return False
    if _deferred(f, order):
        return True
    state = f.state
    result = _compact_zone(f, order, UNMOVABLE, np.int64(1))
    if result == Result.SUCCESS:
        state[Cell.ORDER_FAILED] = max(state[Cell.ORDER_FAILED], order + 1)
    elif result == Result.COMPLETE or result == Result.PARTIAL_SKIPPED:
        state[Cell.CONSIDERED] = 0
        state[Cell.DEFER_SHIFT] = min(state[Cell.DEFER_SHIFT] + 1, MAX_DEFER_SHIFT)
        state[Cell.ORDER_FAILED] = min(state[Cell.ORDER_FAILED], order)
    return True


@inner_kernel
def try_hard(f, order, owner, kind, effort):
    """A block by as many compactions as `effort` allows, or -1."""
    frame = allocate_block(f, order, owner, kind)
    if effort == Effort.LIGHT:
        return frame
    for attempt in range(1 + effort):
        if frame >= 0:
            break
        frame = compact_for(f, order, owner, kind, np.int64(attempt == 2))
    return frame


# Entries from Python


@kernel
def compact(f, order, owner, movable, sync):
    """One direct compaction for a block of `owner`: its first frame, or -1."""
    return compact_for(f, order, owner, MOVABLE if movable else UNMOVABLE, sync)


@kernel
def allocate_trying(f, order, owner, movable, effort):
    """Allocate with an `Effort`: first frame, or -1."""
    return try_hard(f, order, owner, MOVABLE if movable else UNMOVABLE, effort)


@kernel
def kswapd_sleeps(f):
    """Forget the skip hints, if it is time."""
    reset_hints(f)
