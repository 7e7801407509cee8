"""Time: what events cost the CPU that runs, and how locks make CPUs wait for one another.

Every simulated CPU has a clock in picoseconds. The CPU whose clock is furthest behind goes on, one
access at a time, so a hold that is booked later may begin earlier than one that stands already: a
lock therefore keeps its last holds as intervals, and a new hold takes the first gap that it fits.
"""

import numpy as np

from perfmodel.constants import N_EVENTS, N_HOLDS, Delay, Happening, Hold, Lock, Wait
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.layout import (
    CPU_CELLS,
    FALLBACKS,
    HOLDS,
    LOCK_BEGINS,
    LOCK_COUNT,
    LOCK_ENDS,
    LOCK_NAME,
    LOCK_OWNERS,
    LOCK_SETS,
    MOST_BOOKED,
    NEXT_ROW,
    ONLY_RANGE,
    RANGE_AT_WORK,
    ROW_BEGIN,
    ROW_COUNT,
    ROW_CPU,
    ROW_END,
    ROW_KIND,
    ROW_RANGE,
    ROW_WHAT,
    WAITS,
    Cell,
    cpu_cell,
)

_LENGTH_PRICES = N_EVENTS + Delay.HOLD_PTE_TABLE
_MIX = 0x9E3779B1


@inline_kernel
def is_recorded(m):
    """Whether somebody wants to know what happened when."""
    return m.timeline[0, NEXT_ROW] < m.timeline.shape[0]


@inner_kernel
def record(m, kind, what, cpu, begin, end, count):
    """Enter something into the timeline; asked for only where `is_recorded`."""
    only, at_work = m.timeline[0, ONLY_RANGE], m.timeline[0, RANGE_AT_WORK]
    if only >= 0 and only != at_work:
        return
    row = m.timeline[0, NEXT_ROW]
    m.timeline[0, NEXT_ROW] = row + 1
    m.timeline[row, ROW_KIND] = kind
    m.timeline[row, ROW_WHAT] = what
    m.timeline[row, ROW_CPU] = cpu
    m.timeline[row, ROW_BEGIN] = begin
    m.timeline[row, ROW_END] = end
    m.timeline[row, ROW_COUNT] = count
    m.timeline[row, ROW_RANGE] = at_work


@inline_kernel
def record_own(m, kind, what, begin, end, count):
    """The same of the CPU that runs, if it is wanted."""
    if is_recorded(m):
        row_kind = np.int64(kind)
        record(m, row_kind, np.int64(what), m.state[Cell.CPU], begin, end, np.int64(count))


@inline_kernel
def work_on(m, q):
    """From now on things happen for the sake of this 2 MiB range."""
    m.timeline[0, RANGE_AT_WORK] = q


@inline_kernel
def fall_back(m, reason):
    """Count a whole-PMD attempt that ends in PTE entries."""
    m.counts[FALLBACKS + reason] += 1
    now = m.state[Cell.NOW]
    record_own(m, Happening.FALLBACK.value, reason, now, now, 1)


@inline_kernel
def charge(m, event, count):
    """Count an event and let this CPU's clock go on by its price.

    Allocates: no. Mutates: counts, state, timeline.
    """
    m.counts[event] += count
    begin = m.state[Cell.NOW]
    end = begin + count * m.prices[event]
    m.state[Cell.NOW] = end
    record_own(m, Happening.EVENT.value, event, begin, end, count)


@inline_kernel
def wait_until(m, time, why):
    """Let this CPU's clock go on to a time, if that is still to come; `why` is a `Wait`."""
    waited = time - m.state[Cell.NOW]
    if waited > 0:
        m.counts[WAITS + why] += waited
        record_own(m, Happening.WAITING.value, why, m.state[Cell.NOW], time, 1)
        m.state[Cell.NOW] = time


@inline_kernel
def _move_hold(m, row, place, new_place):
    for column in (LOCK_BEGINS, LOCK_ENDS, LOCK_OWNERS):
        m.locks[row, column + new_place] = m.locks[row, column + place]


@inline_kernel
def _duration(m, lock, length):
    """How long nobody else may have a lock."""
    return m.prices[N_EVENTS + Delay.TAKE_LOCK] + length * m.prices[_LENGTH_PRICES + lock]


@inner_kernel
def _book(m, lock, which, length):
    """Hold a lock from the first moment on at which nobody else does."""
    name = which * 8 + lock + 1
    row = (name * _MIX >> 8) % LOCK_SETS
    if m.locks[row, LOCK_NAME] != name:
        # Another lock had this row; what nobody has taken for so long makes nobody wait.
        m.locks[row, LOCK_NAME] = name
        m.locks[row, LOCK_COUNT] = 0
    duration = _duration(m, lock, length)
    count = m.locks[row, LOCK_COUNT]
    begin = m.state[Cell.NOW]
    place = 0
    while place < count and m.locks[row, LOCK_BEGINS + place] < begin + duration:
        behind = m.locks[row, LOCK_ENDS + place]
        # What this CPU does under the lock is part of its own time anyhow.
        if behind > begin and m.locks[row, LOCK_OWNERS + place] != m.state[Cell.CPU]:
            begin = behind + m.prices[N_EVENTS + Delay.HAND_LOCK_OVER]
        place += 1
    if count == MOST_BOOKED:
        if place == 0:
            # Older than all that is known.
            return
        for other in range(1, place):
            _move_hold(m, row, other, other - 1)
        place -= 1
    else:
        for other in range(count, place, -1):
            _move_hold(m, row, other - 1, other)
        m.locks[row, LOCK_COUNT] = count + 1
    m.locks[row, LOCK_OWNERS + place] = m.state[Cell.CPU]
    m.locks[row, LOCK_BEGINS + place] = begin
    m.locks[row, LOCK_ENDS + place] = begin + duration
    wait_until(m, begin, np.int64(Wait.PTE_TABLE_LOCK) + lock)


@inline_kernel
def hold_lock(m, lock, which, length):
    """One hold of a lock: counted, and waited for where several CPUs run.

    Parameters
    ----------
    lock : int
        The kind: a `Lock`.
    which : int
        The one of its kind: a PMD record, a cluster.
    length : int
        Page-table entries, slot words or folios handled in it.
    """
    base = HOLDS + lock * N_HOLDS
    m.counts[base + Hold.COUNT] += 1
    m.counts[base + Hold.TOTAL] += length
    if m.counts[base + Hold.LONGEST] < length:
        m.counts[base + Hold.LONGEST] = length
    if m.state[Cell.CPUS] > 1 or m.parameters["kswapd"] == 1:
        _book(m, lock, which, length)
    if is_recorded(m):
        now = m.state[Cell.NOW]
        end = now + _duration(m, lock, length)
        record(m, np.int64(Happening.HOLD.value), lock, m.state[Cell.CPU], now, end, length)


@inline_kernel
def hold_cluster(m, cluster, length):
    """One hold of a cluster's lock."""
    hold_lock(m, np.int64(Lock.CLUSTER.value), cluster, length)


@inline_kernel
def hold_pmd(m, q, length):
    """One hold of the lock of a PMD entry."""
    hold_lock(m, np.int64(Lock.PMD.value), q, length)


@inline_kernel
def hold_table(m, q, length):
    """One hold of a PTE table's lock."""
    hold_lock(m, np.int64(Lock.PTE_TABLE.value), q, length)


@inline_kernel
def switch_to(m, cpu):
    """Let another CPU run: its clock and what it remembers come, the other's stay behind."""
    old = m.state[Cell.CPU]
    if old == cpu:
        return
    for cell in range(Cell.NOW, Cell.NOW + CPU_CELLS):
        m.state[cpu_cell(old) + cell - Cell.NOW] = m.state[cell]
        m.state[cell] = m.state[cpu_cell(cpu) + cell - Cell.NOW]
    m.state[Cell.CPU] = cpu


@inline_kernel
def interrupt_others(m):
    """Other CPUs that use the address space drop translations, and this one waits for them."""
    cpus = m.state[Cell.CPUS]
    # kswapd's own CPU is none of them.
    others = cpus - 1 if m.state[Cell.CPU] < cpus else cpus
    if others < 1:
        return
    first = m.prices[N_EVENTS + Delay.FIRST_RESPONDER]
    wait = first + (others - 1) * m.prices[N_EVENTS + Delay.NEXT_RESPONDER]
    wait_until(m, m.state[Cell.NOW] + wait, np.int64(Wait.SHOOTDOWN))
    for cpu in range(cpus):
        if cpu != m.state[Cell.CPU]:
            begin = m.state[cpu_cell(cpu)]
            end = begin + m.prices[N_EVENTS + Delay.RESPONDER]
            m.state[cpu_cell(cpu)] = end
            m.counts[WAITS + Wait.INTERRUPTED] += end - begin
            if is_recorded(m):
                kind, why = np.int64(Happening.WAITING.value), np.int64(Wait.INTERRUPTED.value)
                record(m, kind, why, np.int64(cpu), begin, end, np.int64(1))
