"""Swap-out of one folio: slots, unmapping, writing, and the splitting that stands in its way."""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    PMD_ORDER,
    Counter,
    Event,
    OrderCounter,
    PteKind,
    RegionState,
    SwapEntryLevel,
)
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import charge, fall_back, hold_cluster, hold_pmd, hold_table
from perfmodel.kernels.folios import (
    add_mappings,
    clear_flag,
    drop_folio,
    enter_cache,
    folio_order,
    folio_page,
    folio_slot,
    free_cached_folio,
    has_flag,
    is_cached,
    new_folio,
    set_flag,
)
from perfmodel.kernels.frames import forget_frames, hand_frame_over
from perfmodel.kernels.layout import (
    CARRIED,
    COLLECTED,
    COUNTERS,
    DIRTY,
    FOLIO_DIRTY,
    FOLIO_LAZYFREE,
    FOLIO_PARTIALLY_MAPPED,
    SLOT_COUNT,
    SLOT_FOLIO_SHIFT,
    SPLIT_QUEUE,
    VALUE_SHIFT,
    Cell,
    SplitQueue,
)
from perfmodel.kernels.lru import is_limited, replace
from perfmodel.kernels.slots import (
    add_counts,
    allocate_slots,
    allocation_failure,
    detail,
    free_slot,
)
from perfmodel.kernels.swap_io import count_order, write_folio
from perfmodel.kernels.tables import (
    forget_leaf,
    forget_table,
    keep_protection,
    mapped_here,
    pmd_flags,
    pmd_kind,
    pmd_number,
    pmd_value,
    set_pmd,
    shift_of,
    split_mapping,
    word_folio,
    word_kind,
    word_value,
)

# Folios that one call has collected stand below, those that a split has left from here on.
PIECES = PAGES_PER_PMD


@inner_kernel
def _split_leaves(m, folio, frozen):
    """Every PMD leaf that maps a folio becomes a PTE table, as `split_mapping` does it."""
    page = folio_page(m, folio)
    for process in range(m.state[Cell.PROCESSES]):
        if mapped_here(m, folio, process, page):
            number = shift_of(m, process) + page
            q = pmd_number(m, process, number // PAGES_PER_PMD)
            if pmd_kind(m, q) == RegionState.PMD_MAPPED:
                split_mapping(m, q, frozen)


@inner_kernel
def _notice_ptes(m, folio, order):
    """Splitting unmaps PTE by PTE, and counts a folio that is mapped in part meanwhile."""
    page = folio_page(m, folio)
    for process in range(m.state[Cell.PROCESSES]):
        for part in range(1 << order):
            if not mapped_here(m, folio, process, page + part):
                continue
            number = shift_of(m, process) + page + part
            q = pmd_number(m, process, number // PAGES_PER_PMD)
            if pmd_kind(m, q) == RegionState.PTE_TABLE:
                if order == PMD_ORDER:
                    m.counts[COUNTERS + Counter.THP_DEFERRED_SPLIT_PAGE] += 1
                count_order(m, np.int64(OrderCounter.SPLIT_DEFERRED.value), order)
                return
            break


@inner_kernel
def _hand_over(m, folio, piece, page):
    """Map and cache one page by its own folio where the large folio held it."""
    for process in range(m.state[Cell.PROCESSES]):
        if mapped_here(m, folio, process, page):
            number = shift_of(m, process) + page
            q = pmd_number(m, process, number // PAGES_PER_PMD)
            row = pmd_value(m, q)
            entry = number % PAGES_PER_PMD
            low = m.rows[row, entry] & ((1 << VALUE_SHIFT) - 1)
            m.rows[row, entry] = low | ((piece * PAGES_PER_PMD) << VALUE_SHIFT)
            add_mappings(m, piece, np.int64(1))


@inner_kernel
def split_folio(m, folio):
    """Split a folio into folios of order 0, which stay where their pages were mapped and cached.

    `Memory.list` has them from PIECES on, -1 for those that nothing holds.
    Allocates: no. Mutates: everything but the TLB's other ranges.
    """
    order = folio_order(m, folio)
    pages = 1 << order
    m.state[Cell.SPLITS] += 1
    charge(m, Event.SPLIT_FOLIO_PAGE, pages)
    if order > 1 and not has_flag(m, folio, np.int64(FOLIO_PARTIALLY_MAPPED)):
        _notice_ptes(m, folio, order)
    count_order(m, np.int64(OrderCounter.SPLIT.value), order)
    if order == PMD_ORDER:
        m.counts[COUNTERS + Counter.THP_SPLIT_PAGE] += 1
        _split_leaves(m, folio, np.int64(1))
    first = folio_page(m, folio)
    slot = folio_slot(m, folio)
    if slot >= 0:
        detail(m, slot // PAGES_PER_PMD)
    dirty = has_flag(m, folio, np.int64(FOLIO_DIRTY))
    lazyfree = has_flag(m, folio, np.int64(FOLIO_LAZYFREE))
    for part in range(pages):
        piece = new_folio(m, np.int64(0), first + part)
        hand_frame_over(m, folio, piece, part)
        if is_limited(m):
            replace(m, folio, piece, part == 0)
        if dirty:
            set_flag(m, piece, np.int64(FOLIO_DIRTY))
        if lazyfree:
            set_flag(m, piece, np.int64(FOLIO_LAZYFREE))
        _hand_over(m, folio, piece, first + part)
        m.state[COLLECTED + PIECES + part] = piece
        if slot >= 0:
            if not _cache_piece(m, piece, slot + part):
                m.state[COLLECTED + PIECES + part] = -1
        elif np.int64(m.folios[piece]["mapcount"]) == 0:
            m.state[SPLIT_QUEUE + SplitQueue.UNMAPPED] += 1
            drop_folio(m, piece)
            m.state[COLLECTED + PIECES + part] = -1
    m.folios[folio]["cluster"] = -1
    forget_frames(m, folio)
    drop_folio(m, folio)


@inner_kernel
def _cache_piece(m, piece, slot):
    """A page of a split folio stays in the cache while it is mapped or its slot is named."""
    row = detail(m, slot // PAGES_PER_PMD)
    named = m.rows[row, slot % PAGES_PER_PMD] & SLOT_COUNT != 0
    if named or np.int64(m.folios[piece]["mapcount"]) > 0:
        enter_cache(m, piece, slot)
        return True
    m.rows[row, slot % PAGES_PER_PMD] &= (1 << SLOT_FOLIO_SHIFT) - 1
    free_slot(m, slot)
    drop_folio(m, piece)
    return False


@inline_kernel
def _swap_pmd(m, q, folio, slot):
    """The series: one PMD swap entry takes the leaf's place."""
    flags = pmd_flags(m, q)
    if flags & DIRTY:
        set_flag(m, folio, np.int64(FOLIO_DIRTY))
    if m.state[Cell.RECLAIMING] == 1:
        m.state[Cell.FLUSH_ALL] = 1
    forget_leaf(m, q)
    set_pmd(m, q, np.int64(RegionState.PMD_SWAP.value), flags & CARRIED, slot // PAGES_PER_PMD)
    add_counts(m, slot, np.int64(PAGES_PER_PMD))
    hold_cluster(m, slot // PAGES_PER_PMD, np.int64(PAGES_PER_PMD))
    hold_pmd(m, q, np.int64(1))
    charge(m, Event.SET_PMD_SWAP_ENTRY, 1)
    m.counts[COUNTERS + Counter.THP_SWPOUT_PMD] += 1
    add_mappings(m, folio, np.int64(-1))


@inline_kernel
def _swap_ptes(m, q, entry, folio, slot):
    """PTE swap entries take the place of a folio's PTEs in one table, from `entry` on.

    `slot` belongs to that entry. Returns how many entries were looked at.
    """
    row = pmd_value(m, q)
    order = folio_order(m, folio)
    page = word_value(m.rows[row, entry]) % PAGES_PER_PMD
    most = min((1 << order) - page, PAGES_PER_PMD - entry)
    changed = np.int64(0)
    for part in range(most):
        word = m.rows[row, entry + part]
        if word_kind(word) != PteKind.PRESENT or word_folio(word) != folio:
            continue
        if word & DIRTY:
            set_flag(m, folio, np.int64(FOLIO_DIRTY))
        m.rows[row, entry + part] = keep_protection(
            word, PteKind.SWAP | (word & CARRIED) | ((slot + part) << VALUE_SHIFT)
        )
        add_counts(m, slot + part, np.int64(1))
        changed += 1
    if m.parameters["batched_unmap"] == 1:
        charge(m, Event.UNMAP_BATCH, 1)
        charge(m, Event.UNMAP_BATCHED_PTE, changed)
        hold_cluster(m, slot // PAGES_PER_PMD, changed)
    else:
        charge(m, Event.UNMAP_PTE, changed)
        for _ in range(changed):
            hold_cluster(m, slot // PAGES_PER_PMD, np.int64(1))
    hold_table(m, q, changed)
    add_mappings(m, folio, -changed)
    if m.state[Cell.RECLAIMING] == 1:
        m.state[Cell.FLUSH_ALL] = 1
    else:
        forget_table(m, q)


@inline_kernel
def unmap_for_swap(m, folio):
    """Every mapping of a cached folio becomes a swap entry. Allocates: no."""
    slot = folio_slot(m, folio)
    page = folio_page(m, folio)
    pages = 1 << folio_order(m, folio)
    for process in range(m.state[Cell.PROCESSES]):
        if np.int64(m.folios[folio]["mapcount"]) == 0:
            return
        part = 0
        while part < pages:
            if not mapped_here(m, folio, process, page + part):
                part += 1
                continue
            number = shift_of(m, process) + page + part
            q = pmd_number(m, process, number // PAGES_PER_PMD)
            if pmd_kind(m, q) == RegionState.PMD_MAPPED:
                if m.parameters["swap_entry_level"] == SwapEntryLevel.PMD:
                    _swap_pmd(m, q, folio, slot)
                    break
                split_mapping(m, q, np.int64(0))
            _swap_ptes(m, q, number % PAGES_PER_PMD, folio, slot + part)
            # The rest of the folio in the next table, if it reaches that far.
            part += PAGES_PER_PMD - number % PAGES_PER_PMD


@inner_kernel
def _any_dirty(m, folio):
    """Whether a PTE that maps a folio is dirty."""
    page = folio_page(m, folio)
    for process in range(m.state[Cell.PROCESSES]):
        for part in range(1 << folio_order(m, folio)):
            if mapped_here(m, folio, process, page + part):
                number = shift_of(m, process) + page + part
                q = pmd_number(m, process, number // PAGES_PER_PMD)
                if m.rows[pmd_value(m, q), number % PAGES_PER_PMD] & DIRTY:
                    return True
    return False


@inner_kernel
def _drop_lazyfree(m, folio):
    """A folio that MADV_FREE has marked is dropped unless it was written to again."""
    _split_leaves(m, folio, np.int64(0))
    if _any_dirty(m, folio):
        clear_flag(m, folio, np.int64(FOLIO_LAZYFREE))
        return
    page = folio_page(m, folio)
    for process in range(m.state[Cell.PROCESSES]):
        for part in range(1 << folio_order(m, folio)):
            if not mapped_here(m, folio, process, page + part):
                continue
            number = shift_of(m, process) + page + part
            q = pmd_number(m, process, number // PAGES_PER_PMD)
            row = pmd_value(m, q)
            entry = number % PAGES_PER_PMD
            m.rows[row, entry] = keep_protection(m.rows[row, entry], np.int64(PteKind.NONE.value))
            charge(m, Event.UNMAP_PTE, 1)
            forget_table(m, q)
    m.folios[folio]["mapcount"] = 0
    drop_folio(m, folio)


@inline_kernel
def _write_or_free(m, folio):
    """A cached folio that nothing maps any more: write it if it is dirty, else drop it."""
    if has_flag(m, folio, np.int64(FOLIO_DIRTY)):
        write_folio(m, folio)
    else:
        free_cached_folio(m, folio)


@inner_kernel
def _swap_out_page(m, folio):
    """Swap out a folio of order 0 that is not cached; it stays if there is no slot."""
    charge(m, Event.SWAPOUT_FOLIO, 1)
    charge(m, Event.SWAPOUT_PAGE, 1)
    slot = allocate_slots(m, np.int64(0))
    if slot < 0:
        return
    enter_cache(m, folio, slot)
    set_flag(m, folio, np.int64(FOLIO_DIRTY))
    unmap_for_swap(m, folio)
    _write_or_free(m, folio)


@inner_kernel
def swap_out(m, folio):
    """Swap a folio out: what shrink_folio_list does to it. Allocates: no. Mutates: everything."""
    if has_flag(m, folio, np.int64(FOLIO_LAZYFREE)):
        _drop_lazyfree(m, folio)
        return
    if not is_cached(m, folio):
        order = folio_order(m, folio)
        if order == 0:
            _swap_out_page(m, folio)
            return
        if has_flag(m, folio, np.int64(FOLIO_PARTIALLY_MAPPED)):
            split_folio(m, folio)
            _swap_out_pieces(m, np.int64(1) << order)
            return
        charge(m, Event.SWAPOUT_FOLIO, 1)
        charge(m, Event.SWAPOUT_PAGE, 1 << order)
        slot = allocate_slots(m, order)
        if slot < 0:
            if order == PMD_ORDER:
                fall_back(m, allocation_failure(m))
                m.counts[COUNTERS + Counter.THP_SWPOUT_FALLBACK] += 1
            count_order(m, np.int64(OrderCounter.SWPOUT_FALLBACK.value), order)
            split_folio(m, folio)
            _swap_out_pieces(m, np.int64(1) << order)
            return
        enter_cache(m, folio, slot)
        set_flag(m, folio, np.int64(FOLIO_DIRTY))
    unmap_for_swap(m, folio)
    _write_or_free(m, folio)


@inner_kernel
def _swap_out_pieces(m, pages):
    """Swap out, page by page, what `split_folio` has just left.

    The kernel's list gives back the first page first, and then the last one, backwards.
    """
    for turn in range(pages):
        part = (pages - turn) % pages
        piece = m.state[COLLECTED + PIECES + part]
        if piece >= 0:
            _swap_out_page(m, piece)
