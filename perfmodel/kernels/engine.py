"""The engine: runs one step of a scenario after the other on the `Memory` of one run."""

import numpy as np

from perfmodel.constants import (
    PAGE_BYTES,
    PAGES_PER_PMD,
    PMD_BYTES,
    PTE_TABLE_BYTES,
    Action,
    Counter,
    Event,
    Fallback,
    Happening,
    Mapping,
    PteKind,
    RegionState,
)
from perfmodel.kernels._jit import inline_kernel, kernel, refer
from perfmodel.kernels.access import (
    begin_access,
    end_access,
    go_through,
    needs_fault,
    next_access,
)
from perfmodel.kernels.advice import pageout_chunk, willneed_chunk
from perfmodel.kernels.background import (
    memory_failure,
    reclaim,
    shrink_zswap,
    split_folios,
    swapoff,
    zswap_writeback,
)
from perfmodel.kernels.clock import charge, fall_back, record_own, work_on
from perfmodel.kernels.collapse import collapse_range
from perfmodel.kernels.faults import handle_fault
from perfmodel.kernels.khugepaged import sleep
from perfmodel.kernels.kswapd import is_stopped, keep_up, own_turn, prepare_kswapd
from perfmodel.kernels.layout import (
    ALIVE,
    ARMED,
    COUNTERS,
    DIRTY,
    READAHEAD_HITS,
    TASK_TRACED,
    TASK_WRITE,
    TRACKED,
    UNMAPPED_PAGE,
    Cell,
    SwapCell,
)
from perfmodel.kernels.looks import mincore_chunk, pagemap_chunk, smaps_chunk
from perfmodel.kernels.lru import (
    flush_statistics,
    is_limited,
    note_last_fault,
    prepare_lists,
)
from perfmodel.kernels.moves import move, remap
from perfmodel.kernels.requests import end_requests
from perfmodel.kernels.slots import (
    add_neighbours,
    fill_pools,
    fresh_devices,
    runs_short,
)
from perfmodel.kernels.spaces import (
    clear_soft_dirty_chunk,
    fork,
    protect_chunk,
    write_protect_chunk,
)
from perfmodel.kernels.swap_devices import note_shares
from perfmodel.kernels.tables import (
    is_alive,
    pmd_flags,
    pmd_kind,
    pmd_number,
    pmd_value,
    process_cell,
    set_pmd,
    shift_of,
    word_kind,
)
from perfmodel.kernels.tlb import flush
from perfmodel.kernels.turns import end_cpus, next_cpu, start_cpus
from perfmodel.kernels.zap import drop_empty_table, end_call, free_chunk, unmap_pages, zap_chunk

_RACED_FIRST = PAGES_PER_PMD // 2


@kernel
def prepare(memory, regions):
    """A process with an empty region, and the swap devices as the scenario finds them."""
    m = refer(memory)
    m.state[:] = 0
    m.state[Cell.REGIONS] = regions
    m.state[Cell.CPUS] = 1
    m.state[Cell.RANGES] = regions + 1
    m.state[Cell.CLUSTERS] = m.swap[m.swap.shape[0] - 1, SwapCell.END_CLUSTER] - 1
    m.state[Cell.PROCESSES] = 1
    m.state[Cell.KHUGEPAGED_WAKES] = -1
    m.state[Cell.KHUGEPAGED_PROCESS] = -1
    fill_pools(m)
    m.state[Cell.SLOT_READAHEAD_HITS] = 4
    m.state[process_cell(np.int64(0)) + ALIVE] = 1
    m.state[process_cell(np.int64(0)) + READAHEAD_HITS] = 4
    for span in range(regions + 1):
        set_pmd(m, span, np.int64(RegionState.NONE.value), np.int64(0), np.int64(-1))
        m.pmds[span]["protection"] = 0
        m.pmds[span]["translated"] = 0
    m.pmds[regions]["protection"] = UNMAPPED_PAGE
    flush(m)
    prepare_lists(m)
    prepare_kswapd(m)
    fresh_devices(m)
    add_neighbours(m)


@inline_kernel
def _race(m, process, span):
    """Another thread discards half of a range whose PMD swap entry a fault has just read."""
    zap_chunk(m, process, span, np.int64(_RACED_FIRST), np.int64(PAGES_PER_PMD))
    end_call(m)
    fall_back(m, np.int64(Fallback.SLOT_FREED.value))


@inline_kernel
def _fault(m, process, q, entry, write):
    """One page fault, which a timeline shows as a whole."""
    begin = m.state[Cell.NOW]
    before = m.counts[COUNTERS + Counter.PGMAJFAULT]
    handle_fault(m, process, q, entry, write)
    note_last_fault(m)
    major = m.counts[COUNTERS + Counter.PGMAJFAULT] - before
    record_own(m, Happening.FAULT.value, major, begin, m.state[Cell.NOW], entry)
    shrink_zswap(m)


@inline_kernel
def access(m, process, number, write, racing):
    """One access to a page: the walk, the fault, the translation, the data.

    Returns whether a walk went to a PTE, and whether there was a fault.
    """
    walked = False
    faulted = False
    q = pmd_number(m, process, number // PAGES_PER_PMD)
    entry = number % PAGES_PER_PMD
    work_on(m, q)
    while needs_fault(m, q, entry, write):
        if runs_short(m):
            return walked, faulted
        faulted = True
        # The walk that found nothing to use; it leaves nothing in the TLB.
        kind = pmd_kind(m, q)
        if kind == RegionState.PTE_TABLE:
            charge(m, Event.WALK_PTE, 1)
            walked = True
        else:
            charge(m, Event.WALK_PMD, 1)
        if racing == 1 and kind == RegionState.PMD_SWAP:
            charge(m, Event.FAULT, 1)
            m.counts[COUNTERS + Counter.PGFAULT] += 1
            _race(m, process, number // PAGES_PER_PMD)
        else:
            _fault(m, process, q, entry, write)
    if go_through(m, process, q, number, write):
        walked = True
    return walked, faulted


@inline_kernel
def _follow_trace(m, process, limit, racing):
    """Accesses that the trace says, as `next_access` would find them, until others are due."""
    cpu = m.state[Cell.CPU]
    begin = m.state[Cell.SPAN] * PAGES_PER_PMD + shift_of(m, process)
    last = m.trace.shape[1] - 1
    while m.state[Cell.NOW] <= limit and m.state[Cell.POSITION] < m.state[Cell.READY]:
        word = begin * 2 + m.trace[cpu, m.state[Cell.POSITION] & last] | m.state[TASK_WRITE]
        access(m, process, word >> 1, word & 1, racing)
        if m.state[Cell.EXHAUSTED]:
            break
        m.state[Cell.POSITION] += 1
        if is_stopped(m):
            break


@inline_kernel
def _touch(m, process, limit, racing):
    """Accesses to evenly spread pages of the CPU's ranges, until others are due."""
    cpu = m.state[Cell.CPU]
    while m.state[Cell.NOW] <= limit and m.state[Cell.POSITION] < m.state[Cell.READY]:
        begin_access(m)
        word = next_access(m, cpu, np.int64(0))
        walked, faulted = access(m, process, word >> 1, word & 1, racing)
        if m.state[Cell.EXHAUSTED]:
            break
        end_access(m, word >> 1, walked, faulted)
        if is_stopped(m):
            break


@inline_kernel
def _run_cpus(m, step):
    """Accesses of one or more CPUs, each to its own share of the 2 MiB ranges, in order of time.

    Returns the CPU that needs to know its next accesses, -1 when all are done.
    """
    process = step["process"]
    if m.state[Cell.STARTED] == 0:
        start_cpus(m, step)
    while not m.state[Cell.EXHAUSTED]:
        limit = next_cpu(m)
        if limit < 0:
            end_cpus(m)
            break
        limit = own_turn(m, limit)
        if m.state[TASK_TRACED]:
            _follow_trace(m, process, limit, step["racing"])
        else:
            _touch(m, process, limit, step["racing"])
        if (
            m.state[Cell.POSITION] == m.state[Cell.READY] < m.state[Cell.TOTAL]
            and not m.state[Cell.EXHAUSTED]
        ):
            return m.state[Cell.CPU]
    return np.int64(-1)


@inline_kernel
def fill(m):
    """First write to every 2 MiB: one fault brings a cleared THP, then 512 pages are written.

    Where there is none to be had, or none is wanted, smaller folios fault in one by one.
    """
    for span in range(m.state[Cell.REGIONS]):
        work_on(m, span)
        charge(m, Event.WRITE_PAGE, PAGES_PER_PMD)
        entry = np.int64(0)
        while entry < PAGES_PER_PMD:
            if runs_short(m):
                return
            if pmd_kind(m, span) == RegionState.PTE_TABLE:
                word = m.rows[pmd_value(m, span), entry]
                if word_kind(word) != PteKind.NONE:
                    # Of a folio that a neighbour's fault has brought; reclaim may have taken it.
                    if word_kind(word) == PteKind.PRESENT:
                        m.rows[pmd_value(m, span), entry] = word | DIRTY
                    entry += 1
                    continue
            keep_up(m)
            _fault(m, np.int64(0), np.int64(span), entry, np.int64(1))
            if pmd_kind(m, span) == RegionState.PMD_MAPPED:
                m.pmds[span]["flags"] = pmd_flags(m, span) | DIRTY
                entry = np.int64(PAGES_PER_PMD)


@inline_kernel
def _act_on_chunk(m, step, span, first, end):
    """What a call does to its part of one range."""
    action = step["action"]
    process = step["process"]
    work_on(m, pmd_number(m, process, span))
    if action == Action.PAGEOUT:
        pageout_chunk(m, process, span, first, end, np.int64(0))
    elif action == Action.COLD:
        pageout_chunk(m, process, span, first, end, np.int64(1))
    elif action == Action.WILLNEED:
        willneed_chunk(m, process, span, first, end)
    elif action == Action.DISCARD:
        zap_chunk(m, process, span, first, end)
        if end - first == PAGES_PER_PMD:
            drop_empty_table(m, process, span)
    elif action == Action.UNMAP:
        zap_chunk(m, process, span, first, end)
        unmap_pages(m, process, span, first, end)
    elif action == Action.EXIT:
        zap_chunk(m, process, span, first, end)
        drop_empty_table(m, process, span)
    elif action == Action.FREE:
        free_chunk(m, process, span, first, end)
    elif action == Action.PROTECT:
        protect_chunk(m, process, span, first, end, 1 - step["writable"])
    elif action == Action.WRITE_PROTECT:
        write_protect_chunk(m, process, span, first, end)
    elif action == Action.CLEAR_SOFT_DIRTY:
        clear_soft_dirty_chunk(m, process, span, first, end)
    elif action == Action.MINCORE:
        mincore_chunk(m, process, span, first, end)
    elif action == Action.PAGEMAP:
        pagemap_chunk(m, process, span, first, end)
    elif action == Action.SMAPS:
        smaps_chunk(m, process, span, first, end)


@inline_kernel
def _calls(m, step):
    """The whole of the region is one call; a part is one call for every 2 MiB."""
    regions = m.state[Cell.REGIONS]
    calls = regions
    pages = step["page_count"]
    if pages == PAGES_PER_PMD:
        calls = np.int64(1)
        pages *= regions
    for call in range(calls):
        number = shift_of(m, step["process"]) + call * PAGES_PER_PMD + step["first_page"]
        end = number + pages
        m.state[Cell.CALL] += 1
        if step["action"] != Action.EXIT:
            charge(m, Event.SYSTEM_CALL, 1)
        while number < end:
            if runs_short(m):
                return
            first = number % PAGES_PER_PMD
            last = min(PAGES_PER_PMD, first + end - number)
            _act_on_chunk(m, step, number // PAGES_PER_PMD, first, last)
            number += last - first
            shrink_zswap(m)
        end_call(m)


@inline_kernel
def _collapse(m, process, by_call):
    for span in range(m.state[Cell.RANGES]):
        if runs_short(m):
            return
        number = span * PAGES_PER_PMD
        shift = shift_of(m, process)
        end = shift + m.state[Cell.REGIONS] * PAGES_PER_PMD
        if number >= shift and number + PAGES_PER_PMD <= end:
            work_on(m, pmd_number(m, process, span))
            collapse_range(m, process, span, by_call)
    end_call(m)


@inline_kernel
def _act(m, step):
    """A step that is no touch and no call over a part."""
    m.state[Cell.CALL] += 1
    action = step["action"]
    process = step["process"]
    if action == Action.FILL:
        fill(m)
    elif action == Action.FORK:
        fork(m, process)
        end_call(m)
    elif action == Action.REMAP:
        charge(m, Event.SYSTEM_CALL, 1)
        remap(m, process, step["shift_pages"])
        end_call(m)
    elif action == Action.MOVE:
        charge(m, Event.SYSTEM_CALL, 1)
        move(m, process, step["shift_pages"])
        end_call(m)
    elif action == Action.COLLAPSE:
        charge(m, Event.SYSTEM_CALL, 1)
        _collapse(m, process, np.int64(1))
    elif action == Action.KHUGEPAGED:
        for other in range(m.state[Cell.PROCESSES]):
            if is_alive(m, other):
                _collapse(m, other, np.int64(0))
    elif action == Action.RECLAIM:
        reclaim(m)
    elif action == Action.SWAPOFF:
        swapoff(m)
    elif action == Action.SPLIT_FOLIOS:
        split_folios(m, step["first_page"], step["first_page"] + step["page_count"])
    elif action == Action.MEMORY_FAILURE:
        memory_failure(m, step["first_page"])
    elif action == Action.ZSWAP_WRITEBACK:
        zswap_writeback(m, step["first_page"], step["first_page"] + step["page_count"])
    elif action == Action.WAIT:
        sleep(m, step["milliseconds"])
    end_requests(m)


@kernel
def run_step(memory, step):
    """One step. Allocates: no. Mutates: everything in `m` but the parameters.

    Ends early, with `Cell.EXHAUSTED` set, where the pools cannot hold what comes next; the counts
    are worth nothing then.

    Returns
    -------
    int
        -1 once the step is done. Else the CPU that runs now, whose next accesses have to be written
        into its row of `Memory.trace`: access n at n modulo the row, up to `Cell.READY`.
    """
    m = refer(memory)
    if m.state[Cell.EXHAUSTED]:
        return np.int64(-1)
    action = step["action"]
    m.state[Cell.REFUSE_WRITE] = step["refuse_write"]
    if is_limited(m) and m.state[Cell.STARTED] == 0:
        flush_statistics(m)
        keep_up(m)
    if action == Action.TOUCH or action == Action.ACCESS:
        waiting = _run_cpus(m, step)
        if waiting >= 0:
            return waiting
    elif (
        action == Action.PAGEOUT
        or action == Action.COLD
        or action == Action.WILLNEED
        or action == Action.DISCARD
        or action == Action.FREE
        or action == Action.UNMAP
        or action == Action.PROTECT
        or action == Action.WRITE_PROTECT
        or action == Action.CLEAR_SOFT_DIRTY
        or action == Action.MINCORE
        or action == Action.PAGEMAP
        or action == Action.SMAPS
        or action == Action.EXIT
    ):
        if action == Action.WRITE_PROTECT:
            m.state[process_cell(step["process"]) + ARMED] = 1
        elif action == Action.CLEAR_SOFT_DIRTY:
            m.state[process_cell(step["process"]) + TRACKED] = 1
            # The kernel asks nobody whether anything has changed.
            m.state[Cell.FLUSH_WANTED] = 1
        _calls(m, step)
        if action == Action.EXIT:
            m.state[process_cell(step["process"]) + ALIVE] = 0
    else:
        _act(m, step)
    keep_up(m)
    shrink_zswap(m)
    note_shares(m)
    m.state[Cell.STEP] += 1
    return np.int64(-1)


@kernel
def describe_mapping(memory, mapping):
    """What process 0 maps how. Allocates: no. Mutates: mapping."""
    m = refer(memory)
    for span in range(m.state[Cell.RANGES]):
        kind = pmd_kind(m, span)
        if kind == RegionState.NONE:
            continue
        if kind == RegionState.PTE_TABLE:
            mapping[Mapping.PAGE_TABLE_BYTES] += PTE_TABLE_BYTES
            row = pmd_value(m, span)
            for entry in range(PAGES_PER_PMD):
                kind = word_kind(m.rows[row, entry])
                if kind == PteKind.SWAP:
                    mapping[Mapping.PTE_SWAP_ENTRIES] += 1
                elif kind == PteKind.PRESENT:
                    mapping[Mapping.PTE_MAPPED_BYTES] += PAGE_BYTES
            continue
        if m.parameters["lazy_page_table_deposit"] == 0:
            mapping[Mapping.PAGE_TABLE_BYTES] += PTE_TABLE_BYTES
        if kind == RegionState.PMD_MAPPED:
            mapping[Mapping.PMD_MAPPED_BYTES] += PMD_BYTES
        elif kind == RegionState.PMD_SWAP:
            mapping[Mapping.PMD_SWAP_ENTRIES] += 1
