"""khugepaged at its pace, while all programs sleep (docs/khugepaged.md)."""

import numpy as np

from perfmodel.constants import PAGES_PER_PMD, PICOSECONDS_PER_MILLISECOND, Wait
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import wait_until, work_on
from perfmodel.kernels.collapse import collapse_range
from perfmodel.kernels.layout import MOST_CPUS, Cell
from perfmodel.kernels.lru import drain_batch, is_limited
from perfmodel.kernels.slots import runs_short
from perfmodel.kernels.tables import is_alive, one_vma, pmd_number, shift_of
from perfmodel.kernels.zap import end_call

_IDLE = np.int64(Wait.IDLE.value)
_MOST_BEGINNINGS = 2
_MOST_FAILURES = 2


@inline_kernel
def _begin_pass(m):
    m.state[Cell.KHUGEPAGED_PASSING] = 1
    m.state[Cell.KHUGEPAGED_PROGRESS] = 0
    m.state[Cell.KHUGEPAGED_BEGINNINGS] = 0
    m.state[Cell.KHUGEPAGED_FAILURES] = 0
    m.state[Cell.KHUGEPAGED_REFUSED] = 0
    if is_limited(m):
        for cpu in range(MOST_CPUS):
            drain_batch(m, np.int64(cpu))


@inline_kernel
def _end_pass(m):
    m.state[Cell.KHUGEPAGED_PASSING] = 0
    m.state[Cell.KHUGEPAGED_INSIDE] = 0
    m.state[Cell.KHUGEPAGED_WAKES] = m.state[Cell.NOW] + m.parameters["khugepaged_sleep"]


@inline_kernel
def _next_process(m, process):
    """The next one that lives, or -1."""
    process += 1
    while process < m.state[Cell.PROCESSES]:
        if is_alive(m, process):
            return process
        process += 1
    return np.int64(-1)


@inline_kernel
def _suits(m, process, span):
    """Whether a range lies wholly in one VMA of the region."""
    first = shift_of(m, process)
    number = span * PAGES_PER_PMD
    if number < first or number + PAGES_PER_PMD > first + m.state[Cell.REGIONS] * PAGES_PER_PMD:
        return False
    return one_vma(m, pmd_number(m, process, span), np.int64(0), np.int64(PAGES_PER_PMD))


@inner_kernel
def _look(m, process):
    """Look at the next range of a process, or leave it behind its last one."""
    span = m.state[Cell.KHUGEPAGED_SPAN]
    end = m.state[Cell.RANGES] if is_alive(m, process) else span
    while span < end and not _suits(m, process, span):
        span += 1
    if span == end:
        m.state[Cell.KHUGEPAGED_PROCESS] = _next_process(m, process)
        m.state[Cell.KHUGEPAGED_SPAN] = 0
        m.state[Cell.KHUGEPAGED_INSIDE] = 0
        return
    m.state[Cell.KHUGEPAGED_SPAN] = span + 1
    work_on(m, pmd_number(m, process, span))
    tried = collapse_range(m, process, span, np.int64(0))
    end_call(m)
    m.state[Cell.KHUGEPAGED_PROGRESS] += PAGES_PER_PMD
    if tried:
        m.state[Cell.KHUGEPAGED_INSIDE] = 0


@inner_kernel
def _go_on(m):
    """One range, or one of the pages that going to a process counts as."""
    if m.state[Cell.KHUGEPAGED_PROGRESS] >= m.parameters["pages_to_scan"]:
        _end_pass(m)
        return
    if m.state[Cell.KHUGEPAGED_PROCESS] < 0:
        m.state[Cell.KHUGEPAGED_BEGINNINGS] += 1
        if m.state[Cell.KHUGEPAGED_BEGINNINGS] == _MOST_BEGINNINGS:
            _end_pass(m)
            return
        m.state[Cell.KHUGEPAGED_PROCESS] = _next_process(m, np.int64(-1))
    if m.state[Cell.KHUGEPAGED_INSIDE] == 0:
        m.state[Cell.KHUGEPAGED_INSIDE] = 1
        m.state[Cell.KHUGEPAGED_PROGRESS] += 1
    _look(m, m.state[Cell.KHUGEPAGED_PROCESS])
    refused = m.state[Cell.KHUGEPAGED_REFUSED] == 1 and m.state[Cell.KHUGEPAGED_INSIDE] == 0
    if refused and m.state[Cell.KHUGEPAGED_PROGRESS] < m.parameters["pages_to_scan"]:
        m.state[Cell.KHUGEPAGED_FAILURES] += 1
        if m.state[Cell.KHUGEPAGED_FAILURES] == _MOST_FAILURES:
            _end_pass(m)
        else:
            m.state[Cell.KHUGEPAGED_WAKES] = m.state[Cell.NOW] + m.parameters["alloc_sleep"]


@inner_kernel
def sleep(m, milliseconds):
    """All programs sleep for so long; khugepaged, if it has a pace, wakes and sleeps meanwhile.

    Allocates: no. Mutates: everything but the parameters.
    """
    end = m.state[Cell.NOW] + milliseconds * PICOSECONDS_PER_MILLISECOND
    if m.parameters["khugepaged_sleep"] > 0:
        if m.state[Cell.KHUGEPAGED_WAKES] < 0:
            m.state[Cell.KHUGEPAGED_WAKES] = m.state[Cell.NOW]
        while m.state[Cell.NOW] < end and m.state[Cell.KHUGEPAGED_WAKES] < end:
            wait_until(m, m.state[Cell.KHUGEPAGED_WAKES], _IDLE)
            if m.state[Cell.KHUGEPAGED_PASSING] == 0:
                _begin_pass(m)
            while (
                m.state[Cell.KHUGEPAGED_PASSING] == 1
                and m.state[Cell.KHUGEPAGED_WAKES] <= m.state[Cell.NOW] < end
            ):
                if runs_short(m):
                    return
                _go_on(m)
    wait_until(m, end, _IDLE)
