"""What nobody calls: reclaim of the cgroup, swapoff, deferred split, memory failure, writeback."""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    CacheClass,
    Counter,
    Event,
    Fallback,
    PteKind,
    RegionState,
)
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import charge, hold_table
from perfmodel.kernels.faults import map_huge, map_ptes
from perfmodel.kernels.folios import (
    drop_folio,
    enter_cache,
    folio_order,
    folio_page,
    folio_slot,
    free_cached_folio,
    has_flag,
    is_cached,
    leave_cache,
    new_folio,
    put_slots,
    set_flag,
    try_free_cache,
)
from perfmodel.kernels.frames import FOR_FAULT, own_frames
from perfmodel.kernels.layout import (
    CARRIED,
    CLUSTER_DETAILED,
    COUNTERS,
    FOLIO_DIRTY,
    FOLIO_PARTIALLY_MAPPED,
    SLOT_FOLIO_SHIFT,
    SLOT_ZSWAP,
    Cell,
)
from perfmodel.kernels.lru import admit, is_limited, shadow_of
from perfmodel.kernels.pressure import charge_memory
from perfmodel.kernels.readahead import page_of_slot, swap_in_with_readahead
from perfmodel.kernels.reclaim import split_folio, swap_out
from perfmodel.kernels.requests import end_requests, request
from perfmodel.kernels.slots import (
    cached_folio,
    detail,
    fresh_devices,
    is_fresh,
    is_whole,
    release_row,
    runs_short,
    slot_word,
)
from perfmodel.kernels.swap_cache import NO_FALLBACK, classify, try_huge_read
from perfmodel.kernels.swap_devices import charge_write
from perfmodel.kernels.swap_io import write_folio
from perfmodel.kernels.tables import (
    is_alive,
    pmd_kind,
    pmd_number,
    pmd_value,
    shift_of,
    split_swap_entry,
    word_folio,
    word_kind,
    word_value,
)
from perfmodel.kernels.zswap import WRITEBACK_LOGGED, choose_cold
from perfmodel.kernels.zswap_pool import forget_stored, is_shrink_queued

_ONE = 1


@inner_kernel
def _folio_at(m, q, entry):
    """Folio that an entry maps, or -1."""
    kind = pmd_kind(m, q)
    if kind == RegionState.PMD_MAPPED:
        return pmd_value(m, q)
    if kind == RegionState.PTE_TABLE:
        word = m.rows[pmd_value(m, q), entry]
        if word_kind(word) == PteKind.PRESENT:
            return word_folio(word)
    return -1


@inner_kernel
def _step_in_cluster(m, cluster):
    """Slots of which only the first has to be looked at: all of a cluster whose slots are alike."""
    return PAGES_PER_PMD if is_whole(m, cluster) else _ONE


@inner_kernel
def reclaim(m):
    """Reclaim of the whole memory cgroup, until the swap cache holds nothing of it."""
    for process in range(m.state[Cell.PROCESSES]):
        if not is_alive(m, process):
            continue
        for span in range(m.state[Cell.RANGES]):
            if runs_short(m):
                return
            q = pmd_number(m, process, span)
            if pmd_kind(m, q) == RegionState.PMD_MAPPED:
                swap_out(m, pmd_value(m, q))
                continue
            for entry in range(PAGES_PER_PMD):
                folio = _folio_at(m, q, entry)
                if folio >= 0:
                    swap_out(m, folio)
    for write in range(2):
        for cluster in range(m.state[Cell.CLUSTERS] + 1):
            if is_fresh(m, cluster):
                continue
            if runs_short(m):
                return
            offset = 0
            while offset < PAGES_PER_PMD:
                folio = cached_folio(m, cluster * PAGES_PER_PMD + offset)
                offset += _step_in_cluster(m, cluster)
                if folio < 0 or np.int64(m.folios[folio]["mapcount"]) > 0:
                    continue
                dirty = has_flag(m, folio, np.int64(FOLIO_DIRTY))
                if write == 0 and dirty:
                    write_folio(m, folio)
                elif write == 1 and not dirty:
                    free_cached_folio(m, folio)


@inner_kernel
def _unuse_table(m, process, q):
    row = pmd_value(m, q)
    # The part of the range that the region covers.
    number = (q % m.state[Cell.RANGES]) * PAGES_PER_PMD
    start = shift_of(m, process)
    end = start + m.state[Cell.REGIONS] * PAGES_PER_PMD
    first = max(start - number, 0)
    last = min(end - number, PAGES_PER_PMD)
    charge(m, Event.VISIT_PTE, last - first)
    hold_table(m, q, last - first)
    for entry in range(first, last):
        word = m.rows[row, entry]
        if word_kind(word) != PteKind.SWAP:
            continue
        slot = word_value(word)
        folio = cached_folio(m, slot)
        if folio < 0:
            folio = swap_in_with_readahead(m, process, q, entry, slot)
        part = slot - folio_slot(m, folio)
        flags = word & CARRIED
        map_ptes(m, q, entry, np.int64(1), folio, part, flags, np.int64(0))
        charge(m, Event.PUT_SLOT, 1)
        put_slots(m, slot, np.int64(1))
        try_free_cache(m, folio)


@inner_kernel
def _unuse_range(m, process, q):
    kind = pmd_kind(m, q)
    if kind == RegionState.NONE:
        return
    charge(m, Event.VISIT_PMD, 1)
    if kind == RegionState.PMD_SWAP:
        cluster = pmd_value(m, q)
        found = classify(m, cluster)
        reason = np.int64(Fallback.SPLIT_CACHE.value)
        if found == CacheClass.HUGE:
            map_huge(m, q, np.int64(1), np.int64(0), np.int64(0))
            return
        if found == CacheClass.EMPTY:
            page = (q % m.state[Cell.RANGES]) * PAGES_PER_PMD - shift_of(m, process)
            reason = try_huge_read(m, q, cluster, page)
            if reason == NO_FALLBACK:
                map_huge(m, q, np.int64(0), np.int64(0), np.int64(0))
                return
        split_swap_entry(m, q, reason)
    elif kind != RegionState.PTE_TABLE:
        return
    _unuse_table(m, process, q)


@inner_kernel
def swapoff(m):
    """Everything comes back from the device, which is then on again and empty."""
    for process in range(m.state[Cell.PROCESSES]):
        if is_alive(m, process):
            for span in range(m.state[Cell.RANGES]):
                if runs_short(m):
                    return
                _unuse_range(m, process, pmd_number(m, process, span))
    for cluster in range(m.state[Cell.CLUSTERS] + 1):
        if is_fresh(m, cluster):
            continue
        offset = 0
        while offset < PAGES_PER_PMD:
            folio = cached_folio(m, cluster * PAGES_PER_PMD + offset)
            offset += _step_in_cluster(m, cluster)
            if folio >= 0:
                leave_cache(m, folio)
                set_flag(m, folio, np.int64(FOLIO_DIRTY))
                if np.int64(m.folios[folio]["mapcount"]) == 0:
                    drop_folio(m, folio)
        c = m.clusters[cluster]
        if np.int64(c["flags"]) & CLUSTER_DETAILED:
            release_row(m, np.int64(c["value"]))
    fresh_devices(m)


@inner_kernel
def _split_large(m, folio, first, end):
    """Deferred split of a folio that holds a page of the part; true if it was split."""
    order = folio_order(m, folio)
    if order == 0:
        return False
    if not is_cached(m, folio) and not has_flag(m, folio, np.int64(FOLIO_PARTIALLY_MAPPED)):
        return False
    page = folio_page(m, folio)
    for part in range(1 << order):
        if first <= (page + part) % PAGES_PER_PMD < end:
            split_folio(m, folio)
            return True
    return False


@inner_kernel
def split_folios(m, first, end):
    """The shrinker of the deferred-split queue takes cached and partially mapped folios."""
    for cluster in range(m.state[Cell.CLUSTERS] + 1):
        if is_fresh(m, cluster):
            continue
        if runs_short(m):
            return
        offset = 0
        while offset < PAGES_PER_PMD:
            step = _step_in_cluster(m, cluster)
            folio = cached_folio(m, cluster * PAGES_PER_PMD + offset)
            if folio >= 0:
                _split_large(m, folio, first, end)
            offset += step
    for process in range(m.state[Cell.PROCESSES]):
        if not is_alive(m, process):
            continue
        for span in range(m.state[Cell.RANGES]):
            if runs_short(m):
                return
            q = pmd_number(m, process, span)
            for entry in range(PAGES_PER_PMD):
                folio = _folio_at(m, q, entry)
                if folio >= 0:
                    _split_large(m, folio, first, end)


@inner_kernel
def _slot_of_page(m, page):
    """Slot that the first process with a swap entry for a region page names, or -1."""
    for process in range(m.state[Cell.PROCESSES]):
        if not is_alive(m, process):
            continue
        number = shift_of(m, process) + page
        q = pmd_number(m, process, number // PAGES_PER_PMD)
        entry = number % PAGES_PER_PMD
        kind = pmd_kind(m, q)
        if kind == RegionState.PMD_SWAP:
            return pmd_value(m, q) * PAGES_PER_PMD + entry
        if kind == RegionState.PTE_TABLE:
            word = m.rows[pmd_value(m, q), entry]
            if word_kind(word) == PteKind.SWAP:
                return word_value(word)
    return np.int64(-1)


@inner_kernel
def memory_failure(m, first):
    """The memory under one page of every 2 MiB fails, where the swap cache holds that page."""
    for region in range(m.state[Cell.REGIONS]):
        if runs_short(m):
            return
        slot = _slot_of_page(m, region * PAGES_PER_PMD + first)
        if slot < 0:
            continue
        folio = cached_folio(m, slot)
        if folio < 0 or np.int64(m.folios[folio]["mapcount"]) > 0:
            continue
        if folio_order(m, folio) > 0:
            split_folio(m, folio)
            folio = cached_folio(m, slot)
        if not has_flag(m, folio, np.int64(FOLIO_DIRTY)):
            leave_cache(m, folio)
            drop_folio(m, folio)


@inner_kernel
def zswap_writeback(m, first, end):
    """Zswap writes pages of every 2 MiB to the device, each by a folio of its own in the cache."""
    for region in range(m.state[Cell.REGIONS]):
        if runs_short(m):
            return
        for entry in range(first, end):
            page = region * PAGES_PER_PMD + entry
            slot = _slot_of_page(m, page)
            if slot < 0:
                continue
            word = slot_word(m, slot)
            if not word & SLOT_ZSWAP or word >> SLOT_FOLIO_SHIFT:
                continue
            folio = new_folio(m, np.int64(0), page)
            own_frames(m, folio, FOR_FAULT)
            enter_cache(m, folio, slot)
            m.rows[detail(m, slot // PAGES_PER_PMD), slot % PAGES_PER_PMD] &= ~SLOT_ZSWAP
            forget_stored(m, slot)
            _write_back(m, folio, slot)


@inline_kernel
def _write_back(m, folio, slot):
    charge(m, Event.ZSWAP_LOAD_PAGE, 1)
    charge(m, Event.SWAPIN_FOLIO, 1)
    request(m, folio, slot, np.int64(1))
    charge_write(m, slot, np.int64(1))
    m.counts[COUNTERS + Counter.PSWPOUT] += 1
    m.counts[COUNTERS + Counter.ZSWPWB] += 1


@inner_kernel
def _shrink_zswap(m):
    """Zswap's worker: the coldest pages go to the device, each by a folio in the swap cache.

    It chooses first and writes then.
    """
    # It is no part of the fault or call before it, whose folios it may have reclaimed.
    m.state[Cell.CALL] += 1
    chosen = choose_cold(m.zswap)
    for index in range(chosen):
        if runs_short(m):
            return
        slot = m.zswap.log[index]
        charge_memory(m, np.int64(1))
        page = page_of_slot(m, slot, m.zswap.region_pages[slot])
        shadow = shadow_of(m, slot)
        folio = new_folio(m, np.int64(0), page)
        own_frames(m, folio, FOR_FAULT)
        enter_cache(m, folio, slot)
        if is_limited(m):
            admit(m, folio, shadow)
        m.rows[detail(m, slot // PAGES_PER_PMD), slot % PAGES_PER_PMD] &= ~SLOT_ZSWAP
        _write_back(m, folio, slot)
    m.zswap.counts[WRITEBACK_LOGGED] = 0
    end_requests(m)


@inline_kernel
def shrink_zswap(m):
    """Let zswap's worker run if it was asked for."""
    if is_shrink_queued(m):
        _shrink_zswap(m)
