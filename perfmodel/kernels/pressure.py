"""Charges to a memory cgroup with a limit, and the reclaim that makes room (docs/pressure.md)."""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    Counter,
    Event,
    Lock,
    RegionState,
)
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.access import others_go_on
from perfmodel.kernels.clock import charge, hold_lock, interrupt_others
from perfmodel.kernels.deferred_split import shrink_split_queue
from perfmodel.kernels.folios import folio_order, folio_page, has_flag, is_cached
from perfmodel.kernels.layout import (
    ACTIVE,
    COLLECTED,
    COUNTERS,
    FOLIO_DIRTY,
    INACTIVE,
    KEPT,
    LIMIT_REACHED,
    LINK_ACTIVE,
    LINK_REFERENCED,
    LINK_WORKINGSET,
    LRU_FOLIOS,
    LRU_TAILS,
    SPLIT_QUEUE,
    YOUNG,
    YOUNG_LEAF,
    Cell,
    SplitQueue,
)
from perfmodel.kernels.lru import (
    CHARGE_BATCH,
    drain_batch,
    flush_in_time,
    is_in_hand,
    is_limited,
    link_flags,
    note_cost,
    pages_on,
    pull,
    push,
    push_oldest,
    put_back,
    return_stocks,
)
from perfmodel.kernels.reclaim import PIECES, swap_out
from perfmodel.kernels.requests import (
    end_requests,
    is_asynchronous,
    is_under_writeback,
    wait_for_writeback,
)
from perfmodel.kernels.slots import runs_short
from perfmodel.kernels.tables import (
    forget_leaf,
    mapped_here,
    pmd_kind,
    pmd_number,
    pmd_value,
    shift_of,
)
from perfmodel.kernels.tlb import forget_everything

RECLAIM_BATCH = 32
_RETRIES = 16
_COSTLY_PAGES = 8
FIRST_PRIORITY = 12
_PAGES_PER_GIB_SHIFT = 18
_WRITE_COST = 32


@inner_kernel
def _young_in(m, folio, process):
    """Whether a process has used a folio since this was asked last; its young bits go."""
    page = folio_page(m, folio)
    young = False
    for part in range(1 << folio_order(m, folio)):
        if not mapped_here(m, folio, process, page + part):
            continue
        number = shift_of(m, process) + page + part
        q = pmd_number(m, process, number // PAGES_PER_PMD)
        if pmd_kind(m, q) == RegionState.PMD_MAPPED:
            translated = np.int64(m.pmds[q]["translated"])
            if translated & YOUNG_LEAF == 0:
                return False
            m.pmds[q]["translated"] = translated & ~YOUNG_LEAF
            forget_leaf(m, q)
            return True
        row = pmd_value(m, q)
        word = m.rows[row, number % PAGES_PER_PMD]
        if word & YOUNG:
            m.rows[row, number % PAGES_PER_PMD] = word & ~YOUNG
            young = True
    return young


@inner_kernel
def _look(m, folio):
    """How many processes have used a folio since this was asked last."""
    users = np.int64(0)
    for process in range(m.state[Cell.PROCESSES]):
        if _young_in(m, folio, process):
            users += 1
    return users


@inline_kernel
def _is_alive(m, folio):
    return np.int64(m.folios[folio]["order"]) >= 0


@inner_kernel
def _rotate_written(m):
    """What has been written, and is not in use again, is next to be reclaimed."""
    while m.state[Cell.WRITTEN_HEAD] < m.state[Cell.WRITTEN_TAIL]:
        folio = m.written[m.state[Cell.WRITTEN_HEAD] % m.written.shape[0]]
        if is_under_writeback(m, folio):
            return
        m.state[Cell.WRITTEN_HEAD] += 1
        if (
            _is_alive(m, folio)
            and m.done[folio] < 0
            and is_cached(m, folio)
            and np.int64(m.links[folio]["place"]) == INACTIVE
            and np.int64(m.folios[folio]["mapcount"]) == 0
            and not has_flag(m, folio, np.int64(FOLIO_DIRTY))
        ):
            pull(m, folio)
            push_oldest(m, folio, np.int64(INACTIVE))


@inner_kernel
def _isolate(m, place, most):
    """Take folios from the tail of a list until there are `most` pages; their number."""
    drain_batch(m, m.state[Cell.CPU])
    if is_asynchronous(m):
        _rotate_written(m)
    taken = np.int64(0)
    pages = np.int64(0)
    while pages < most and m.state[LRU_TAILS + place] >= 0:
        folio = m.state[LRU_TAILS + place]
        pull(m, folio)
        m.state[COLLECTED + taken] = folio
        taken += 1
        pages += 1 << folio_order(m, folio)
    if taken > 0:
        hold_lock(m, np.int64(Lock.LRU.value), np.int64(0), taken)
        charge(m, Event.SCAN_FOLIO, taken)
    return taken, pages


@inline_kernel
def _activate(m, folio):
    m.links[folio]["flags"] = link_flags(m, folio) | LINK_ACTIVE
    m.counts[COUNTERS + Counter.PGACTIVATE] += 1 << folio_order(m, folio)


@inline_kernel
def _is_stuck(m, folio):
    """Whether a folio of order 0 found no slot."""
    return folio_order(m, folio) == 0 and not is_cached(m, folio)


@inner_kernel
def _return_kept(m):
    """What reclaim has looked at and not freed goes back to the heads of the lists."""
    kept = m.state[LRU_FOLIOS + KEPT]
    if kept == 0:
        return
    while m.state[LRU_TAILS + KEPT] >= 0:
        folio = m.state[LRU_TAILS + KEPT]
        pull(m, folio)
        if link_flags(m, folio) & LINK_ACTIVE:
            m.state[Cell.NONRESIDENT_AGE] += 1 << folio_order(m, folio)
        put_back(m, folio)
    hold_lock(m, np.int64(Lock.LRU.value), np.int64(0), kept)


@inline_kernel
def _written(m):
    return (
        m.counts[COUNTERS + Counter.PSWPOUT]
        + m.counts[COUNTERS + Counter.SWPOUT_ZERO]
        + m.counts[COUNTERS + Counter.ZSWPOUT]
    )


@inline_kernel
def _keep(m, folio):
    if _is_stuck(m, folio):
        _activate(m, folio)
    push(m, folio, np.int64(KEPT))


@inner_kernel
def _evict(m, folio):
    """Swap an isolated folio out; what is left of it and found no slot becomes active."""
    splits = m.state[Cell.SPLITS]
    order = folio_order(m, folio)
    swap_out(m, folio)
    if m.state[Cell.SPLITS] != splits:
        pages = np.int64(1) << order
        for turn in range(pages):
            # In the order in which they were tried.
            piece = m.state[COLLECTED + PIECES + (pages - turn) % pages]
            if piece >= 0 and _is_alive(m, piece):
                _keep(m, piece)
    elif _is_alive(m, folio):
        _keep(m, folio)


@inline_kernel
def _let_others_go_on(m):
    """Other CPUs, but in a turn of kswapd, which is short and done as a whole."""
    if 1 < m.state[Cell.CPUS] > m.state[Cell.CPU]:
        others_go_on(m)


@inner_kernel
def shrink_inactive(m, most):
    """Look at pages from the old end of the inactive list; how many were freed."""
    taken, scanned = _isolate(m, np.int64(INACTIVE), most)
    m.counts[COUNTERS + Counter.PGSCAN_ANON] += scanned
    if scanned == 0:
        return np.int64(0)
    # What a split frees because nobody maps it is not counted as reclaimed.
    pages = m.state[Cell.CHARGED_PAGES] + m.state[SPLIT_QUEUE + SplitQueue.UNMAPPED]
    written = _written(m)
    m.state[Cell.RECLAIMING] = 1
    for index in range(taken):
        folio = m.state[COLLECTED + index]
        _let_others_go_on(m)
        if np.int64(m.links[folio]["locked"]) == m.state[Cell.CALL] or is_in_hand(m, folio):
            push(m, folio, np.int64(KEPT))
            continue
        users = _look(m, folio)
        flags = link_flags(m, folio)
        if users > 0:
            m.links[folio]["flags"] = flags | LINK_REFERENCED
            if flags & LINK_REFERENCED or users > 1:
                _activate(m, folio)
            push(m, folio, np.int64(KEPT))
            continue
        m.links[folio]["flags"] = flags & ~LINK_REFERENCED
        if runs_short(m):
            # There may be no record left for what a split leaves; the run has ended.
            push(m, folio, np.int64(KEPT))
            continue
        wait_for_writeback(m, folio)
        _evict(m, folio)
        if m.state[Cell.FLUSH_ALL] == 1:
            # Before a folio is written nobody may write to it any more; its price has the flush.
            m.state[Cell.FLUSH_ALL] = 0
            forget_everything(m)
            interrupt_others(m)
    end_requests(m)
    m.state[Cell.RECLAIMING] = 0
    _return_kept(m)
    unmapped = m.state[SPLIT_QUEUE + SplitQueue.UNMAPPED]
    reclaimed = pages - m.state[Cell.CHARGED_PAGES] - unmapped
    m.counts[COUNTERS + Counter.PGSTEAL_ANON] += reclaimed
    note_cost(m, _WRITE_COST * (_written(m) - written) + scanned - reclaimed)
    return reclaimed


@inner_kernel
def shrink_active(m, most):
    """Pages from the old end of the active list become inactive."""
    taken, pages = _isolate(m, np.int64(ACTIVE), most)
    for index in range(taken):
        folio = m.state[COLLECTED + index]
        _let_others_go_on(m)
        if not is_in_hand(m, folio):
            # Else it is mapped, and thereby young, later.
            _look(m, folio)
        m.links[folio]["flags"] = (link_flags(m, folio) & ~LINK_ACTIVE) | LINK_WORKINGSET
        push(m, folio, np.int64(KEPT))
    _return_kept(m)
    m.counts[COUNTERS + Counter.PGDEACTIVATE] += pages


@inner_kernel
def inactive_is_low(m):
    """Whether there is too little on the inactive list, by what the statistics last said."""
    inactive = m.state[Cell.FLUSHED_INACTIVE]
    active = m.state[Cell.FLUSHED_ACTIVE]
    gibibytes = (inactive + active) >> _PAGES_PER_GIB_SHIFT
    ratio = np.int64(1)
    while gibibytes > 0 and (ratio + 1) * (ratio + 1) <= 10 * gibibytes:
        ratio += 1
    return inactive * ratio < active


@inline_kernel
def scan_count(m, place, priority):
    """How many pages of a list to look at, as much as anonymous memory is to bear."""
    pages = pages_on(m, np.int64(place)) >> priority
    if priority == 0:
        return pages
    cost = m.state[Cell.ANON_COST]
    total = 3 * cost + 1
    anon = m.parameters["swappiness"] * total // (2 * cost + 1)
    file = (200 - m.parameters["swappiness"]) * total // (cost + 1)
    return pages * anon // (anon + file)


@inner_kernel
def _reclaim_at(m, priority, target, force):
    """One priority's share of a reclaim: pages freed, and whether active ones were spared."""
    low = inactive_is_low(m)
    deactivate = force or low or m.state[Cell.FLUSHED_ACTIVATED] != m.state[Cell.SNAPSHOT]
    inactive = scan_count(m, np.int64(INACTIVE), priority)
    active = scan_count(m, np.int64(ACTIVE), priority)
    freed = np.int64(0)
    skipped = False
    while inactive > 0:
        part = min(inactive, RECLAIM_BATCH)
        inactive -= part
        freed += shrink_inactive(m, part)
        if active > 0:
            part = min(active, RECLAIM_BATCH)
            active -= part
            if deactivate:
                shrink_active(m, part)
            else:
                skipped = True
        if freed >= target:
            break
    if inactive_is_low(m):
        shrink_active(m, np.int64(RECLAIM_BATCH))
    shrink_split_queue(m, priority)
    return freed, skipped


@inner_kernel
def _reclaim(m, pages):
    """Direct reclaim of the memory cgroup; pages freed."""
    target = max(pages, RECLAIM_BATCH)
    force = False
    while True:
        total = np.int64(0)
        spared = False
        for priority in range(FIRST_PRIORITY, -1, -1):
            freed, skipped = _reclaim_at(m, np.int64(priority), target, force)
            spared = spared or skipped
            total += freed
            if total >= target:
                break
        m.state[Cell.SNAPSHOT] = m.state[Cell.FLUSHED_ACTIVATED]
        if total > 0 or not spared or force:
            return total
        force = True


@inner_kernel
def _charge(m, pages):
    flush_in_time(m)
    batch = max(np.int64(CHARGE_BATCH), pages)
    retries = _RETRIES
    drained = False
    while m.state[Cell.EXHAUSTED] == 0:
        if pages <= CHARGE_BATCH and m.state[Cell.STOCK] >= pages:
            m.state[Cell.STOCK] -= pages
            return True
        if m.state[Cell.USAGE] + batch <= m.state[Cell.LIMIT]:
            m.state[Cell.USAGE] += batch
            m.state[Cell.STOCK] += batch - pages
            if m.state[Cell.STOCK] > CHARGE_BATCH:
                m.state[Cell.USAGE] -= m.state[Cell.STOCK]
                m.state[Cell.STOCK] = 0
            return True
        if batch > pages:
            batch = pages
            continue
        freed = _reclaim(m, pages)
        if m.state[Cell.LIMIT] - m.state[Cell.USAGE] >= pages:
            continue
        if not drained:
            return_stocks(m)
            drained = True
        elif freed == 0 or pages > _COSTLY_PAGES:
            if retries == 0:
                if pages > _COSTLY_PAGES:
                    return False
                # The kernel kills the process now; the run ends here.
                m.state[Cell.OUT_OF_MEMORY] = LIMIT_REACHED
                m.state[Cell.EXHAUSTED] = 1
            retries -= 1
    return True


@inline_kernel
def charge_memory(m, pages):
    """Charge pages to the memory cgroup; false if it refuses, which it does to large folios only.

    Where that takes reclaim, anything present may be swapped out by it.
    """
    if not is_limited(m):
        return True
    return _charge(m, np.int64(pages))
