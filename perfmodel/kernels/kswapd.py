"""Reclaim for want of page frames: what it looks at, and kswapd, which does it in the background.

docs/kswapd.md says what exactly is simulated. kswapd goes on by turns, each on a CPU and clock of
its own; what it has begun is in the cells of `layout.Kswapd`.
"""

import numpy as np

from perfmodel.constants import (
    N_EVENTS,
    N_WAITS,
    PAGES_PER_PMD,
    PICOSECONDS_PER_MILLISECOND,
    PMD_ORDER,
    Counter,
    Event,
    Happening,
    Wait,
)
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.buddy import N_ORDERS, above, free_blocks
from perfmodel.kernels.buddy import Cell as Zone
from perfmodel.kernels.clock import charge, is_recorded, record, switch_to
from perfmodel.kernels.compaction import daemon_compact, fragmentation_index
from perfmodel.kernels.deferred_split import shrink_split_queue
from perfmodel.kernels.layout import (
    ACTIVE,
    COUNTERS,
    INACTIVE,
    KSWAPD,
    KSWAPD_BEFORE,
    KSWAPD_CPU,
    KSWAPD_EVENTS,
    KSWAPD_WAITS,
    RANGE_AT_WORK,
    WAITS,
    Cell,
    Kswapd,
    cpu_cell,
)
from perfmodel.kernels.lru import flush_in_time, pages_on
from perfmodel.kernels.pressure import (
    FIRST_PRIORITY,
    RECLAIM_BATCH,
    inactive_is_low,
    scan_count,
    shrink_active,
    shrink_inactive,
)
from perfmodel.kernels.requests import end_requests
from perfmodel.kernels.scanners import COSTLY_ORDER, reset_hints

# What its next turn begins with.
_ASLEEP = 0
_DOZING = 1
_BEGIN = 2
_PRIORITY = 3
_LISTS = 4
_PART = 5
_END = 6
_NEVER = 1 << 62
_DOZE = 100 * PICOSECONDS_PER_MILLISECOND
_MOST_FAILURES = 16


@inline_kernel
def has_kswapd(m):
    """Whether memory is reclaimed for want of page frames."""
    return m.parameters["kswapd"] == 1


@inner_kernel
def prepare_kswapd(m):
    """It sleeps."""
    m.state[KSWAPD + Kswapd.CLOCK] = _NEVER
    for order in range(PMD_ORDER + 1):
        m.state[cpu_cell(np.int64(KSWAPD_CPU)) + Cell.HINTS - Cell.NOW + order] = -1


# The zone


@inner_kernel
def is_fine(m, mark, order):
    """Whether a request could be served above a watermark."""
    if not above(m.frames, mark, order):
        return False
    blocks = np.int64(0)
    for each in range(order, N_ORDERS):
        blocks += free_blocks(m.frames, each)
    return order == 0 or blocks > 0


@inline_kernel
def _is_balanced(m, order):
    return is_fine(m, m.frames.parameters["high"], order)


@inner_kernel
def may_compact(m, mark, order):
    """Whether compaction would have room above a watermark, and something to gain."""
    f = m.frames
    mark += 2 << order
    if order > COSTLY_ORDER:
        mark += f.parameters["low"] - f.parameters["minimum"]
    if not above(f, mark, np.int64(0)):
        return False
    if order <= COSTLY_ORDER:
        return True
    return not 0 <= fragmentation_index(f, order) <= f.parameters["extfrag_threshold"]


@inline_kernel
def has_slots(m):
    """Whether there is any room left on the swap devices, whose headers are no slots."""
    usable = (m.state[Cell.CLUSTERS] + 1) * PAGES_PER_PMD - m.swap.shape[0]
    return m.state[Cell.USED_SLOTS] < usable


# Lists


@inner_kernel
def measure(m, priority, force):
    """What to look at, of which list, and whether active pages may become inactive."""
    state = m.state
    low = inactive_is_low(m)
    changed = state[Cell.FLUSHED_ACTIVATED] != state[KSWAPD + Kswapd.SNAPSHOT]
    deactivate = force or low or changed
    state[KSWAPD + Kswapd.DEACTIVATE] = 1 if deactivate else 0
    state[KSWAPD + Kswapd.FREED] = 0
    if not has_slots(m):
        return np.int64(0), np.int64(0)
    inactive = pages_on(m, np.int64(INACTIVE)) >> priority
    short = m.frames.state[Zone.FREE_PAGES] <= m.frames.parameters["high"]
    if short and not deactivate and inactive > 0:
        # There are no file pages: all is asked of anonymous memory.
        return inactive, pages_on(m, np.int64(ACTIVE)) >> priority
    return (
        scan_count(m, np.int64(INACTIVE), priority),
        scan_count(m, np.int64(ACTIVE), priority),
    )


@inner_kernel
def shrink_part(m, inactive, active, scan_counter, steal_counter):
    """Both lists' next parts: pages freed and pages looked at."""
    before = m.counts[COUNTERS + Counter.PGSCAN_ANON]
    freed = shrink_inactive(m, min(inactive, RECLAIM_BATCH))
    scanned = m.counts[COUNTERS + Counter.PGSCAN_ANON] - before
    m.counts[COUNTERS + scan_counter] += scanned
    m.counts[COUNTERS + steal_counter] += freed
    if active > 0:
        if m.state[KSWAPD + Kswapd.DEACTIVATE] == 1:
            shrink_active(m, min(active, RECLAIM_BATCH))
        else:
            m.state[KSWAPD + Kswapd.SPARED] = 1
    return freed, scanned


@inner_kernel
def goes_on(m, priority, order, freed):
    """What follows once the lists have been looked at: whether a large block takes more of it."""
    if inactive_is_low(m):
        shrink_active(m, np.int64(RECLAIM_BATCH))
    shrink_split_queue(m, priority)
    if freed > 0:
        m.state[KSWAPD + Kswapd.FAILURES] = 0
    if order == 0 or (order <= COSTLY_ORDER and priority >= FIRST_PRIORITY - 2) or freed == 0:
        return False
    minimum = m.frames.parameters["minimum"]
    if is_fine(m, minimum, order) or may_compact(m, minimum, order):
        return False
    return has_slots(m) and pages_on(m, np.int64(INACTIVE)) > 2 << order


# kswapd


@inline_kernel
def _enter(m):
    """From here on it is kswapd that works."""
    end_requests(m)
    switch_to(m, np.int64(KSWAPD_CPU))
    for index in range(N_EVENTS):
        m.state[KSWAPD_BEFORE + index] = m.counts[index]
    for index in range(N_WAITS):
        m.state[KSWAPD_BEFORE + N_EVENTS + index] = m.counts[WAITS + index]
    m.state[KSWAPD + Kswapd.RANGE] = m.timeline[0, RANGE_AT_WORK]
    m.timeline[0, RANGE_AT_WORK] = -1


@inline_kernel
def _leave(m, cpu):
    """And here it lets go; what has been counted meanwhile is its own."""
    for index in range(N_EVENTS):
        m.counts[KSWAPD_EVENTS + index] += m.counts[index] - m.state[KSWAPD_BEFORE + index]
    for index in range(N_WAITS):
        # What its shootdowns have interrupted are others.
        if index != Wait.INTERRUPTED:
            begin = m.state[KSWAPD_BEFORE + N_EVENTS + index]
            m.counts[KSWAPD_WAITS + index] += m.counts[WAITS + index] - begin
    m.timeline[0, RANGE_AT_WORK] = m.state[KSWAPD + Kswapd.RANGE]
    switch_to(m, cpu)


@inner_kernel
def _compact(m, order):
    """What kcompactd does for a large block, if it looks promising."""
    state = m.frames.state
    scanned = state[Zone.COMPACT_MIGRATE_SCANNED] + state[Zone.COMPACT_FREE_SCANNED]
    migrated = state[Zone.PGMIGRATE_SUCCESS]
    if daemon_compact(m.frames, order):
        m.counts[COUNTERS + Counter.COMPACT_DAEMON_WAKE] += 1
    scanned = state[Zone.COMPACT_MIGRATE_SCANNED] + state[Zone.COMPACT_FREE_SCANNED] - scanned
    charge(m, Event.COMPACT_SCAN_PAGE, scanned)
    charge(m, Event.MIGRATE_PAGE, state[Zone.PGMIGRATE_SUCCESS] - migrated)


@inline_kernel
def _may_sleep(m, order):
    return m.state[KSWAPD + Kswapd.FAILURES] >= _MOST_FAILURES or _is_balanced(m, order)


@inner_kernel
def _wake_up(m):
    """The end of its short sleep; what comes next."""
    state = m.state
    order = state[KSWAPD + Kswapd.ORDER]
    if state[KSWAPD + Kswapd.WOKEN] == 1:
        state[KSWAPD + Kswapd.WANTED] = max(state[KSWAPD + Kswapd.WANTED], order)
        m.counts[COUNTERS + Counter.KSWAPD_LOW_WMARK_HIT_QUICKLY] += 1
        return np.int64(_BEGIN)
    if _may_sleep(m, order):
        state[KSWAPD + Kswapd.RESTED_AT] = state[Cell.NOW]
        return np.int64(_ASLEEP)
    m.counts[COUNTERS + Counter.KSWAPD_HIGH_WMARK_HIT_QUICKLY] += 1
    return np.int64(_BEGIN)


@inner_kernel
def _begin(m):
    state = m.state
    m.counts[COUNTERS + Counter.PAGEOUTRUN] += 1
    order = state[KSWAPD + Kswapd.WANTED]
    state[KSWAPD + Kswapd.WANTED] = 0
    state[KSWAPD + Kswapd.HAD] = order
    state[KSWAPD + Kswapd.ORDER] = order
    state[KSWAPD + Kswapd.PRIORITY] = FIRST_PRIORITY
    state[KSWAPD + Kswapd.TOTAL] = 0
    return np.int64(_PRIORITY)


@inner_kernel
def _next_priority(m):
    state = m.state
    if state[KSWAPD + Kswapd.PRIORITY] < 1:
        if state[KSWAPD + Kswapd.TOTAL] == 0:
            state[KSWAPD + Kswapd.FAILURES] += 1
        return np.int64(_END)
    if _is_balanced(m, state[KSWAPD + Kswapd.ORDER]):
        return np.int64(_END)
    if inactive_is_low(m):
        shrink_active(m, np.int64(RECLAIM_BATCH))
    state[KSWAPD + Kswapd.ROUND_FREED] = 0
    state[KSWAPD + Kswapd.ROUND_SCANNED] = 0
    return np.int64(_LISTS)


@inline_kernel
def _target(m):
    return max(m.frames.parameters["high"], RECLAIM_BATCH)


@inner_kernel
def _shrink_next(m):
    """32 pages of the inactive list and as many of the active one."""
    state = m.state
    inactive = state[KSWAPD + Kswapd.INACTIVE]
    active = state[KSWAPD + Kswapd.ACTIVE]
    freed, scanned = shrink_part(
        m,
        inactive,
        active,
        np.int64(Counter.PGSCAN_KSWAPD.value),
        np.int64(Counter.PGSTEAL_KSWAPD.value),
    )
    state[KSWAPD + Kswapd.INACTIVE] = inactive - min(inactive, RECLAIM_BATCH)
    state[KSWAPD + Kswapd.ACTIVE] = active - min(active, RECLAIM_BATCH)
    state[KSWAPD + Kswapd.FREED] += freed
    state[KSWAPD + Kswapd.ROUND_FREED] += freed
    state[KSWAPD + Kswapd.ROUND_SCANNED] += scanned
    if state[KSWAPD + Kswapd.FREED] >= _target(m):
        state[KSWAPD + Kswapd.INACTIVE] = 0


@inner_kernel
def _end_priority(m):
    """The lists have been looked at; whether it goes on with them, or with what."""
    state = m.state
    order = state[KSWAPD + Kswapd.ORDER]
    if goes_on(m, state[KSWAPD + Kswapd.PRIORITY], order, state[KSWAPD + Kswapd.FREED]):
        return np.int64(_LISTS)
    freed = state[KSWAPD + Kswapd.ROUND_FREED]
    state[KSWAPD + Kswapd.TOTAL] += freed
    if state[KSWAPD + Kswapd.TOTAL] >= 2 << order:
        state[KSWAPD + Kswapd.ORDER] = 0
    if max(freed, state[KSWAPD + Kswapd.ROUND_SCANNED]) < _target(m) or freed == 0:
        state[KSWAPD + Kswapd.PRIORITY] -= 1
    return np.int64(_PRIORITY)


@inner_kernel
def _end(m):
    """It has done what it could; whether it sleeps."""
    state = m.state
    state[KSWAPD + Kswapd.SNAPSHOT] = state[Cell.FLUSHED_ACTIVATED]
    if state[KSWAPD + Kswapd.ORDER] >= state[KSWAPD + Kswapd.HAD]:
        state[KSWAPD + Kswapd.HAD] = state[KSWAPD + Kswapd.WANTED]
        state[KSWAPD + Kswapd.ORDER] = state[KSWAPD + Kswapd.WANTED]
    if not _may_sleep(m, state[KSWAPD + Kswapd.ORDER]):
        m.counts[COUNTERS + Counter.KSWAPD_HIGH_WMARK_HIT_QUICKLY] += 1
        return np.int64(_BEGIN)
    reset_hints(m.frames)
    if state[KSWAPD + Kswapd.HAD] > 0:
        _compact(m, state[KSWAPD + Kswapd.HAD])
    state[KSWAPD + Kswapd.WOKEN] = 0
    state[KSWAPD + Kswapd.RESTED_AT] = state[Cell.NOW]
    return np.int64(_DOZING)


@inner_kernel
def _go_on(m):
    """Until it has looked at a part of the lists, or sleeps; when it goes on then."""
    state = m.state
    phase = state[KSWAPD + Kswapd.PHASE]
    if phase == _DOZING:
        phase = _wake_up(m)
    elif phase == _ASLEEP:
        phase = np.int64(_BEGIN)
    while phase != _ASLEEP:
        if phase == _BEGIN:
            phase = _begin(m)
        elif phase == _PRIORITY:
            phase = _next_priority(m)
        elif phase == _LISTS:
            inactive, active = measure(m, state[KSWAPD + Kswapd.PRIORITY], np.bool_(False))
            state[KSWAPD + Kswapd.INACTIVE] = inactive
            state[KSWAPD + Kswapd.ACTIVE] = active
            phase = np.int64(_PART)
        elif phase == _PART:
            if state[KSWAPD + Kswapd.INACTIVE] > 0:
                _shrink_next(m)
                break
            phase = _end_priority(m)
        else:
            phase = _end(m)
            if phase == _DOZING:
                break
    state[KSWAPD + Kswapd.PHASE] = phase
    if phase == _ASLEEP:
        return np.int64(_NEVER)
    return state[Cell.NOW] + (_DOZE if phase == _DOZING else 0)


@inner_kernel
def _share_cpu(m, took):
    """A program's CPU is kswapd's for half of the time, as long as both want it."""
    cpu = m.parameters["kswapd_cpu"]
    if took == 0 or not 0 <= cpu < m.state[Cell.CPUS]:
        return
    cell = Cell.NOW if cpu == m.state[Cell.CPU] else cpu_cell(cpu)
    begin = m.state[cell]
    m.state[cell] = begin + took
    m.counts[WAITS + Wait.PREEMPTED] += took
    if is_recorded(m):
        kind, why = np.int64(Happening.WAITING.value), np.int64(Wait.PREEMPTED.value)
        record(m, kind, why, cpu, begin, begin + took, np.int64(1))
    if m.state[KSWAPD + Kswapd.CLOCK] < _NEVER:
        m.state[KSWAPD + Kswapd.CLOCK] += took


@inner_kernel
def _take_turn(m):
    """One turn of kswapd, at its own time."""
    cpu = m.state[Cell.CPU]
    _enter(m)
    begin = m.state[KSWAPD + Kswapd.CLOCK]
    m.state[Cell.NOW] = begin
    flush_in_time(m)
    m.state[KSWAPD + Kswapd.CLOCK] = _go_on(m)
    took = m.state[Cell.NOW] - begin
    _leave(m, cpu)
    _share_cpu(m, took)


@inner_kernel
def catch_up(m):
    """Let kswapd do what it has begun by now, in the middle of a fault."""
    while m.state[KSWAPD + Kswapd.CLOCK] <= m.state[Cell.NOW] and m.state[Cell.EXHAUSTED] == 0:
        _take_turn(m)


@inner_kernel
def _catch_up_between(m):
    # What the last fault has read is in its page table by now.
    m.state[Cell.CALL] += 1
    catch_up(m)


@inline_kernel
def keep_up(m):
    """Let kswapd do what it has begun by now; nobody is in the middle of anything."""
    if has_kswapd(m) and m.state[KSWAPD + Kswapd.CLOCK] <= m.state[Cell.NOW]:
        _catch_up_between(m)


@inline_kernel
def own_turn(m, limit):
    """Let kswapd go first if it is behind; returns when it, or another CPU by `limit`, is again."""
    if not has_kswapd(m):
        return limit
    keep_up(m)
    m.state[KSWAPD + Kswapd.STOP] = 0
    return min(limit, m.state[KSWAPD + Kswapd.CLOCK] - 1)


@inline_kernel
def is_stopped(m):
    """Whether kswapd has been woken since `own_turn`."""
    return m.state[KSWAPD + Kswapd.STOP] == 1


@inline_kernel
def _dozes(m):
    return m.state[KSWAPD + Kswapd.PHASE] == _DOZING and m.state[KSWAPD + Kswapd.WOKEN] == 0


@inner_kernel
def wake(m, order):
    """Somebody is below the low watermark, or found no block."""
    state = m.state
    state[KSWAPD + Kswapd.WANTED] = max(state[KSWAPD + Kswapd.WANTED], order)
    if _dozes(m) and state[KSWAPD + Kswapd.CLOCK] <= state[Cell.NOW]:
        # Its short sleep was over before.
        _take_turn(m)
    dozes = _dozes(m)
    if not dozes and state[KSWAPD + Kswapd.CLOCK] < _NEVER:
        return
    begin = max(state[Cell.NOW], state[KSWAPD + Kswapd.RESTED_AT])
    if state[KSWAPD + Kswapd.FAILURES] >= _MOST_FAILURES or _is_balanced(m, order):
        if order > 0:
            # Enough is free, but in pieces.
            cpu = state[Cell.CPU]
            _enter(m)
            state[Cell.NOW] = begin
            _compact(m, order)
            state[KSWAPD + Kswapd.RESTED_AT] = state[Cell.NOW]
            _leave(m, cpu)
        return
    state[KSWAPD + Kswapd.CLOCK] = begin
    state[KSWAPD + Kswapd.WOKEN] = 1 if dozes else 0
    state[KSWAPD + Kswapd.STOP] = 1
