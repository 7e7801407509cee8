"""munmap, MADV_DONTNEED, exit and MADV_FREE: page-table entries and what they named go away."""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    Event,
    Fallback,
    PteKind,
    RegionState,
)
from perfmodel.kernels._jit import inner_kernel
from perfmodel.kernels.clock import charge, hold_pmd, hold_table
from perfmodel.kernels.folios import (
    clear_flag,
    folio_order,
    is_cached,
    put_slots,
    set_flag,
    try_free_cache,
)
from perfmodel.kernels.layout import (
    DIRTY,
    FOLIO_DIRTY,
    FOLIO_LAZYFREE,
    PROTECTION_MASK,
    PROTECTION_SHIFT,
    UFFD_WP,
    UNMAPPED_PAGE,
    Cell,
)
from perfmodel.kernels.lru import uncharge_table
from perfmodel.kernels.reclaim import split_folio
from perfmodel.kernels.requests import end_requests
from perfmodel.kernels.rmap import mappings_in, remove_mappings
from perfmodel.kernels.tables import (
    drop_table,
    forget_leaf,
    forget_table,
    has_row,
    make_row,
    pmd_flags,
    pmd_kind,
    pmd_number,
    pmd_value,
    set_pmd,
    split_mapping,
    split_swap_entry,
    word_folio,
    word_kind,
    word_value,
)


@inner_kernel
def folio_run(m, row, entry, end):
    """How many PTEs from `entry` on the kernel takes together, up to `end`.

    They map consecutive pages of one folio, in one VMA, with the same userfaultfd bit.
    """
    alike = m.rows[row, entry] & (PROTECTION_MASK | UFFD_WP)
    first = word_value(m.rows[row, entry])
    run = 1
    while entry + run < end:
        word = m.rows[row, entry + run]
        if word_kind(word) != PteKind.PRESENT or word_value(word) != first + run:
            break
        if word & (PROTECTION_MASK | UFFD_WP) != alike:
            break
        # Numbers of two folios may follow one another.
        if (first + run) // PAGES_PER_PMD != first // PAGES_PER_PMD:
            break
        run += 1
    return run


@inner_kernel
def clear_entries(m, row, first, end):
    """Entries become NONE; their protection stays."""
    for entry in range(first, end):
        m.rows[row, entry] &= ~((1 << PROTECTION_SHIFT) - 1)
        m.rows[row, entry] &= (1 << (PROTECTION_SHIFT + 2)) - 1


@inner_kernel
def _slot_run(m, row, entry, end):
    """How many PTEs from `entry` on name consecutive slots, up to `end`."""
    first = word_value(m.rows[row, entry])
    run = 1
    while entry + run < end:
        word = m.rows[row, entry + run]
        if word_kind(word) != PteKind.SWAP or word_value(word) != first + run:
            break
        run += 1
    return run


@inner_kernel
def _zap_table(m, q, first, end):
    row = pmd_value(m, q)
    charge(m, Event.VISIT_PTE, end - first)
    hold_table(m, q, end - first)
    changed = False
    entry = first
    while entry < end:
        word = m.rows[row, entry]
        kind = word_kind(word)
        run = 1
        if kind == PteKind.PRESENT:
            run = folio_run(m, row, entry, end)
            clear_entries(m, row, entry, entry + run)
            charge(m, Event.ZAP_PTE, run)
            remove_mappings(m, word_folio(word), run, np.int64(1))
            changed = True
        elif kind == PteKind.SWAP:
            run = _slot_run(m, row, entry, end)
            clear_entries(m, row, entry, entry + run)
            charge(m, Event.SET_PTE, run)
            charge(m, Event.PUT_SLOT, run)
            put_slots(m, word_value(word), run)
        elif kind == PteKind.ZERO:
            clear_entries(m, row, entry, entry + run)
            charge(m, Event.SET_PTE, 1)
            changed = True
        entry += run
    if changed:
        forget_table(m, q)
        m.state[Cell.FLUSH_WANTED] = 1


@inner_kernel
def _none(m, q):
    if m.parameters["lazy_page_table_deposit"] == 0:
        uncharge_table(m)
    set_pmd(m, q, np.int64(RegionState.NONE.value), np.int64(0), np.int64(-1))


@inner_kernel
def zap_swap_entry(m, q):
    """A whole PMD swap entry and its 512 counts go away at once."""
    cluster = pmd_value(m, q)
    _none(m, q)
    charge(m, Event.PUT_SLOT, PAGES_PER_PMD)
    hold_pmd(m, q, np.int64(1))
    put_slots(m, cluster * PAGES_PER_PMD, np.int64(PAGES_PER_PMD))


@inner_kernel
def zap_chunk(m, process, span, first, end):
    """Zap entries of one range; a table stays. What wants a TLB flush sets FLUSH_WANTED."""
    q = pmd_number(m, process, span)
    kind = pmd_kind(m, q)
    if kind == RegionState.NONE:
        return
    charge(m, Event.VISIT_PMD, 1)
    whole = first == 0 and end == PAGES_PER_PMD
    if kind == RegionState.PMD_SWAP:
        if whole:
            zap_swap_entry(m, q)
            return
        split_swap_entry(m, q, np.int64(Fallback.UNALIGNED_OR_PARTIAL.value))
    elif kind != RegionState.PTE_TABLE:
        m.state[Cell.FLUSH_WANTED] = 1
        if whole:
            forget_leaf(m, q)
            folio = pmd_value(m, q)
            _none(m, q)
            if kind == RegionState.PMD_MAPPED:
                charge(m, Event.ZAP_PTE, 1)
                hold_pmd(m, q, np.int64(1))
                remove_mappings(m, folio, np.int64(1), np.int64(0))
            return
        split_mapping(m, q, np.int64(0))
    _zap_table(m, q, first, end)


@inner_kernel
def unmap_pages(m, process, span, first, end):
    """Pages that munmap took are no part of any VMA; their table goes with the last of them."""
    q = pmd_number(m, process, span)
    if not has_row(m, q):
        if np.int64(m.pmds[q]["protection"]) == UNMAPPED_PAGE:
            return
        if first == 0 and end == PAGES_PER_PMD:
            m.pmds[q]["protection"] = UNMAPPED_PAGE
            return
        make_row(m, q, np.int64(0))
    row = pmd_value(m, q)
    for entry in range(first, end):
        m.rows[row, entry] = UNMAPPED_PAGE << PROTECTION_SHIFT
    for entry in range(PAGES_PER_PMD):
        if m.rows[row, entry] != UNMAPPED_PAGE << PROTECTION_SHIFT:
            return
    drop_table(m, q)


@inner_kernel
def drop_empty_table(m, process, span):
    """A table whose entries are all NONE is freed."""
    q = pmd_number(m, process, span)
    if pmd_kind(m, q) != RegionState.PTE_TABLE:
        return
    row = pmd_value(m, q)
    for entry in range(PAGES_PER_PMD):
        if word_kind(m.rows[row, entry]) != PteKind.NONE:
            return
    drop_table(m, q)


@inner_kernel
def _lazyfree_leaf(m, q, whole):
    """MADV_FREE of a PMD leaf. True if its PTEs have to be gone through instead."""
    folio = pmd_value(m, q)
    if np.int64(m.folios[folio]["mapcount"]) > 1:
        return False
    if not whole:
        split_folio(m, folio)
        return True
    if not is_cached(m, folio) or try_free_cache(m, folio):
        set_flag(m, folio, np.int64(FOLIO_LAZYFREE))
        clear_flag(m, folio, np.int64(FOLIO_DIRTY))
        m.pmds[q]["flags"] = pmd_flags(m, q) & ~DIRTY
        m.state[Cell.FLUSH_WANTED] = 1
        forget_leaf(m, q)
    return False


@inner_kernel
def _free_table(m, process, q, first, end):
    row = pmd_value(m, q)
    charge(m, Event.VISIT_PTE, end - first)
    hold_table(m, q, end - first)
    entry = first
    while entry < end:
        word = m.rows[row, entry]
        kind = word_kind(word)
        run = 1
        if kind == PteKind.SWAP:
            run = _slot_run(m, row, entry, end)
            clear_entries(m, row, entry, entry + run)
            charge(m, Event.SET_PTE, run)
            charge(m, Event.PUT_SLOT, run)
            put_slots(m, word_value(word), run)
        elif kind == PteKind.PRESENT:
            folio = word_folio(word)
            order = folio_order(m, folio)
            mapcount = np.int64(m.folios[folio]["mapcount"])
            run = folio_run(m, row, entry, end)
            if order > 0 and run < 1 << order:
                if mapcount == mappings_in(m, folio, process):
                    split_folio(m, folio)
                    continue
            elif mapcount == 1 << order and (not is_cached(m, folio) or try_free_cache(m, folio)):
                set_flag(m, folio, np.int64(FOLIO_LAZYFREE))
                clear_flag(m, folio, np.int64(FOLIO_DIRTY))
                for part in range(run):
                    m.rows[row, entry + part] &= ~DIRTY
                m.state[Cell.FLUSH_WANTED] = 1
                forget_table(m, q)
        entry += run


@inner_kernel
def free_chunk(m, process, span, first, end):
    """MADV_FREE of entries of one range."""
    q = pmd_number(m, process, span)
    kind = pmd_kind(m, q)
    if kind == RegionState.NONE:
        return
    charge(m, Event.VISIT_PMD, 1)
    whole = first == 0 and end == PAGES_PER_PMD
    if kind == RegionState.PMD_SWAP:
        if whole:
            zap_swap_entry(m, q)
            return
        split_swap_entry(m, q, np.int64(Fallback.UNALIGNED_OR_PARTIAL.value))
    elif kind == RegionState.PMD_ZERO or (
        kind == RegionState.PMD_MAPPED and not _lazyfree_leaf(m, q, whole)
    ):
        return
    _free_table(m, process, q, first, end)


@inner_kernel
def end_call(m):
    """One TLB flush for a call that changed present entries; its requests are on their way."""
    end_requests(m)
    charge(m, Event.TLB_FLUSH, m.state[Cell.FLUSH_WANTED])
    m.state[Cell.FLUSH_WANTED] = 0
