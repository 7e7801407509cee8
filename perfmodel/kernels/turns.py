"""Several CPUs do a touch or accesses together: which one goes on, and with what."""

import numpy as np

from perfmodel.constants import PMD_ORDER, Action
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import switch_to
from perfmodel.kernels.layout import (
    TASK_FIRST_PAGE,
    TASK_PAGE_COUNT,
    TASK_PROCESS,
    TASK_TOUCHES,
    TASK_TRACED,
    TASK_WRITE,
    Cell,
    cpu_cell,
)

_NEVER = (1 << 63) - 1


@inline_kernel
def _of_cpu(m, cpu, cell):
    """What one CPU's cell holds, whether it runs now or not."""
    if cpu == m.state[Cell.CPU]:
        return m.state[cell]
    return m.state[cpu_cell(cpu) + cell - Cell.NOW]


@inner_kernel
def next_cpu(m):
    """Let the CPU run whose clock is furthest behind; returns the time at which another one is.

    -1 if no CPU has anything left to do.
    """
    chosen = np.int64(-1)
    first = _NEVER
    second = _NEVER
    for cpu in range(m.state[Cell.CPUS]):
        if _of_cpu(m, cpu, Cell.POSITION) == _of_cpu(m, cpu, Cell.TOTAL):
            continue
        time = _of_cpu(m, cpu, Cell.NOW)
        if time < first:
            second = first
            first = time
            chosen = np.int64(cpu)
        elif time < second:
            second = time
    if chosen < 0:
        return np.int64(-1)
    switch_to(m, chosen)
    return second


@inline_kernel
def _share(m, cpu, cpus):
    """First range of a CPU's share of the region."""
    return cpu * m.state[Cell.REGIONS] // cpus


@inner_kernel
def start_cpus(m, step):
    """So many CPUs begin at the same time, each with a share of the work."""
    cpus = min(step["threads"], m.state[Cell.REGIONS])
    count = min(step["pages_per_2mib"], step["page_count"])
    m.state[Cell.STARTED] = 1
    m.state[Cell.CPUS] = cpus
    m.state[TASK_PROCESS] = step["process"]
    m.state[TASK_TRACED] = 1 if step["action"] == Action.ACCESS else 0
    m.state[TASK_WRITE] = step["write"]
    m.state[TASK_FIRST_PAGE] = step["first_page"]
    m.state[TASK_PAGE_COUNT] = step["page_count"]
    m.state[TASK_TOUCHES] = count
    for cpu in range(cpus):
        base = cpu_cell(cpu) - Cell.NOW
        if cpu == 0:
            base = np.int64(0)
        else:
            m.state[base + Cell.NOW] = m.state[Cell.NOW]
            m.state[base + Cell.LAST_TRANSLATION] = -1
            for order in range(PMD_ORDER + 1):
                m.state[base + Cell.HINTS + order] = -1
        span = _share(m, cpu, cpus)
        total = (_share(m, cpu + 1, cpus) - span) * count
        ready = total
        if step["action"] == Action.ACCESS:
            total = (cpu + 1) * step["accesses"] // cpus - cpu * step["accesses"] // cpus
            ready = np.int64(0)
        m.state[base + Cell.WARM_UNTIL] = 0
        m.state[base + Cell.POSITION] = 0
        m.state[base + Cell.READY] = ready
        m.state[base + Cell.TOTAL] = total
        m.state[base + Cell.SPAN] = span
        m.state[base + Cell.TURN] = 0


@inner_kernel
def end_cpus(m):
    """The step ends when the last CPU is done; the first one goes on alone."""
    latest = np.int64(0)
    for cpu in range(m.state[Cell.CPUS]):
        latest = max(latest, _of_cpu(m, cpu, Cell.NOW))
    switch_to(m, np.int64(0))
    # When the first one itself was done stands where it waits for others, until it does so again.
    m.state[cpu_cell(np.int64(0))] = m.state[Cell.NOW]
    m.state[Cell.NOW] = latest
    m.state[Cell.CPUS] = 1
    m.state[Cell.STARTED] = 0
