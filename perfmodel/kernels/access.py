"""Accesses that need no fault, of the CPU that runs and of those that go on beside its reclaim."""

import numpy as np

from perfmodel.constants import (
    ENTRIES_PER_CACHE_LINE,
    PAGES_PER_PMD,
    Event,
    PteKind,
    RegionState,
)
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import charge, switch_to, work_on
from perfmodel.kernels.layout import (
    DIRTY,
    HAS_FAULTED,
    RANGE_AT_WORK,
    TASK_FIRST_PAGE,
    TASK_PAGE_COUNT,
    TASK_PROCESS,
    TASK_TOUCHES,
    TASK_TRACED,
    TASK_WRITE,
    TRANSLATED_LEAF,
    TRANSLATED_PAGES,
    WRITABLE,
    Cell,
    cpu_cell,
)
from perfmodel.kernels.lru import is_limited, make_young
from perfmodel.kernels.tables import (
    entry_size,
    pmd_flags,
    pmd_kind,
    pmd_number,
    pmd_value,
    shift_of,
    word_kind,
)
from perfmodel.kernels.tlb import translate
from perfmodel.kernels.translation_layout import Kind


@inline_kernel
def next_access(m, cpu, base):
    """Word of a CPU's next access, 2 x page of its process + (1 for a write).

    `base` is the difference between the cells where those of this CPU stand now and `Cell`. A touch
    goes to evenly spread pages of the part of every 2 MiB, in order.
    """
    begin = m.state[base + Cell.SPAN] * PAGES_PER_PMD + shift_of(m, m.state[TASK_PROCESS])
    if m.state[TASK_TRACED]:
        # As long as a power of two.
        position = m.state[base + Cell.POSITION] & (m.trace.shape[1] - 1)
        return (begin * 2 + m.trace[cpu, position]) | m.state[TASK_WRITE]
    page = _page_of_turn(m, m.state[base + Cell.TURN] % HAS_FAULTED)
    return (begin + m.state[TASK_FIRST_PAGE] + page) * 2 | m.state[TASK_WRITE]


@inline_kernel
def _page_of_turn(m, turn):
    return turn * m.state[TASK_PAGE_COUNT] // m.state[TASK_TOUCHES]


@inline_kernel
def begin_access(m):
    """A touch knows nothing of what came before in another 2 MiB."""
    if not m.state[TASK_TRACED] and m.state[Cell.TURN] == 0:
        m.state[Cell.WARM_UNTIL] = 0


@inline_kernel
def end_access(m, number, walked, faulted):
    """The CPU that runs has made its next access, with or without a fault.

    A touch that is the first in its range to walk through a cache line of page-table entries waits
    for it, unless a fault in the range has just written it.
    """
    m.state[Cell.POSITION] += 1
    if m.state[TASK_TRACED]:
        return
    turn = m.state[Cell.TURN] % HAS_FAULTED
    if walked and (faulted or m.state[Cell.TURN] < HAS_FAULTED):
        before = number + _page_of_turn(m, turn - 1) - _page_of_turn(m, turn)
        if turn == 0 or before // ENTRIES_PER_CACHE_LINE != number // ENTRIES_PER_CACHE_LINE:
            charge(m, Event.PAGE_TABLE_LINE, 1)
    if faulted:
        m.state[Cell.TURN] = turn + HAS_FAULTED
    m.state[Cell.TURN] += 1
    if turn + 1 == m.state[TASK_TOUCHES]:
        m.state[Cell.SPAN] += 1
        m.state[Cell.TURN] = 0


@inline_kernel
def needs_fault(m, q, entry, write):
    """Whether an access cannot go through the present entry; a write that can makes it dirty."""
    kind = pmd_kind(m, q)
    if kind == RegionState.PTE_TABLE:
        row = pmd_value(m, q)
        word = m.rows[row, entry]
        if write == 0:
            return word_kind(word) < PteKind.PRESENT
        if word_kind(word) != PteKind.PRESENT or word & WRITABLE == 0:
            return True
        m.rows[row, entry] = word | DIRTY
        return False
    if kind == RegionState.PMD_MAPPED:
        if write == 0:
            return False
        flags = pmd_flags(m, q)
        if flags & WRITABLE == 0:
            return True
        m.pmds[q]["flags"] = flags | DIRTY
        return False
    return write == 1 or kind != RegionState.PMD_ZERO


@inner_kernel
def go_through(m, process, q, number, write):
    """An access through an entry that is present: the translation and the data.

    Returns whether the walk went to a PTE.
    """
    entry = number % PAGES_PER_PMD
    translated = np.int64(m.pmds[q]["translated"])
    if pmd_kind(m, q) == RegionState.PTE_TABLE:
        m.pmds[q]["translated"] = translated | TRANSLATED_PAGES
        walked = translate(m, process, number, entry_size(m, q, entry), write)
    else:
        m.pmds[q]["translated"] = translated | TRANSLATED_LEAF
        walked = translate(m, process, number, np.int64(Kind.HUGE_2M.value), write)
    to_pte = walked and pmd_kind(m, q) == RegionState.PTE_TABLE
    if walked and is_limited(m):
        make_young(m, q, entry)
    if m.state[Cell.WARM_FROM] <= number < m.state[Cell.WARM_UNTIL]:
        charge(m, Event.ACCESS_CACHED, 1)
    else:
        charge(m, Event.ACCESS_MEMORY, 1)
    return to_pte


@inner_kernel
def _faults_next(m, cpu, base):
    """Whether a CPU's next access needs a fault."""
    word = next_access(m, cpu, base)
    q = pmd_number(m, m.state[TASK_PROCESS], (word >> 1) // PAGES_PER_PMD)
    return needs_fault(m, q, (word >> 1) % PAGES_PER_PMD, word & 1)


@inner_kernel
def others_go_on(m):
    """While this CPU is in a fault, the others use what is there, until it is as late for them.

    A fault is done as a whole. Without this, reclaim would find nothing used since it looked last,
    however long it takes, and would throw out what all the others are about to use.
    """
    me = m.state[Cell.CPU]
    now = m.state[Cell.NOW]
    at_work = m.timeline[0, RANGE_AT_WORK]
    process = m.state[TASK_PROCESS]
    for cpu in range(m.state[Cell.CPUS]):
        base = cpu_cell(cpu) - Cell.NOW
        if (
            cpu == me
            or m.state[base + Cell.NOW] >= now
            or m.state[base + Cell.POSITION] >= m.state[base + Cell.READY]
            or _faults_next(m, np.int64(cpu), base)
        ):
            continue
        switch_to(m, np.int64(cpu))
        while m.state[Cell.NOW] < now and m.state[Cell.POSITION] < m.state[Cell.READY]:
            if _faults_next(m, np.int64(cpu), np.int64(0)):
                break
            begin_access(m)
            word = next_access(m, np.int64(cpu), np.int64(0))
            q = pmd_number(m, process, (word >> 1) // PAGES_PER_PMD)
            work_on(m, q)
            walked = go_through(m, process, q, word >> 1, word & 1)
            end_access(m, word >> 1, walked, False)
    switch_to(m, me)
    work_on(m, at_work)
