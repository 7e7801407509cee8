"""mremap and UFFDIO_MOVE: memory goes to another place in its address space."""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    CacheClass,
    Event,
    Fallback,
    Observed,
    PteKind,
    RegionState,
)
from perfmodel.kernels._jit import inner_kernel
from perfmodel.kernels.clock import charge, hold_cluster, hold_pmd
from perfmodel.kernels.folios import folio_order
from perfmodel.kernels.layout import (
    EXCLUSIVE,
    OBSERVED,
    PROTECTION_MASK,
    PROTECTION_SHIFT,
    SHIFT,
    SLOT_FOLIO_SHIFT,
    SOFT_DIRTY,
    UNMAPPED_PAGE,
    Cell,
)
from perfmodel.kernels.lru import force_charge_table, uncharge_table
from perfmodel.kernels.reclaim import split_folio
from perfmodel.kernels.slots import (
    runs_short,
    slot_word,
)
from perfmodel.kernels.spaces import protected_flags, split_leaf
from perfmodel.kernels.swap_cache import classify
from perfmodel.kernels.tables import (
    drop_table,
    forget_leaf,
    forget_table,
    has_row,
    pmd_flags,
    pmd_kind,
    pmd_number,
    pmd_value,
    process_cell,
    shift_of,
    split_swap_entry,
    word_folio,
    word_kind,
    word_value,
)


@inner_kernel
def _in_region(m, process, span):
    """Whether a range lies wholly in the region."""
    shift = shift_of(m, process)
    number = span * PAGES_PER_PMD
    end = m.state[Cell.REGIONS] * PAGES_PER_PMD + shift
    return number >= shift and number + PAGES_PER_PMD <= end


@inner_kernel
def _move_same_shift(m, process, by_call):
    """Ranges keep their alignment: records move whole. What the engine knows stays in place."""
    for span in range(m.state[Cell.RANGES]):
        q = pmd_number(m, process, span)
        kind = pmd_kind(m, q)
        if kind == RegionState.NONE:
            continue
        charge(m, Event.VISIT_PMD, 1)
        if kind == RegionState.PTE_TABLE and (by_call == 0 or not _in_region(m, process, span)):
            _count_moved_entries(m, q, by_call)
        else:
            charge(m, Event.MOVE_PMD, 1)
            hold_pmd(m, q, np.int64(1))
            if by_call == 0:
                hold_pmd(m, q, np.int64(1))
        if kind == RegionState.PMD_MAPPED or kind == RegionState.PMD_SWAP:
            m.pmds[q]["flags"] = pmd_flags(m, q) | SOFT_DIRTY
        if kind == RegionState.PMD_MAPPED or kind == RegionState.PMD_ZERO:
            forget_leaf(m, q)
            m.state[Cell.FLUSH_WANTED] = 1
            if by_call == 0 and kind == RegionState.PMD_MAPPED:
                protection = np.int64(m.pmds[q]["protection"])
                m.pmds[q]["flags"] = protected_flags(pmd_flags(m, q), protection)
        elif pmd_kind(m, q) == RegionState.PTE_TABLE:
            forget_table(m, q)
            if _any_present(m, q):
                m.state[Cell.FLUSH_WANTED] = 1


@inner_kernel
def _any_present(m, q):
    row = pmd_value(m, q)
    present = False
    for entry in range(PAGES_PER_PMD):
        present |= word_kind(m.rows[row, entry]) >= PteKind.PRESENT
    return present


@inner_kernel
def _count_moved_entries(m, q, by_call):
    """Entry-by-entry move of one table within the same alignment."""
    row = pmd_value(m, q)
    forget_table(m, q)
    moved = False
    for entry in range(PAGES_PER_PMD):
        word = m.rows[row, entry]
        kind = word_kind(word)
        if kind == PteKind.NONE:
            continue
        moved = True
        charge(m, Event.VISIT_PTE, 1)
        charge(m, Event.SET_PTE, 2)
        if kind != PteKind.SWAP:
            m.state[Cell.FLUSH_WANTED] = 1
        m.rows[row, entry] = _moved_word(m, word, by_call)
    if moved:
        charge(m, Event.PAGE_TABLE_ALLOCATION, 1)
    else:
        drop_table(m, q)


@inner_kernel
def _moved_word(m, word, by_call):
    """What mremap or UFFDIO_MOVE makes of one entry: whoever looks for writes sees the move."""
    kind = word_kind(word)
    if kind == PteKind.SWAP or kind == PteKind.PRESENT:
        word |= SOFT_DIRTY
    if by_call == 0:
        charge(m, Event.MOVE_PTE, 1)
        if kind == PteKind.SWAP:
            charge(m, Event.LOOKUP_SLOT, 1)
        elif kind == PteKind.PRESENT:
            protection = (word & PROTECTION_MASK) >> PROTECTION_SHIFT
            word = protected_flags(word, protection)
    return word


@inner_kernel
def _move_to_shift(m, process, new_shift, by_call):
    """Entries move to another alignment, one by one; nothing stays at the PMD level."""
    shift = shift_of(m, process)
    pages = m.state[Cell.REGIONS] * PAGES_PER_PMD
    ranges = m.state[Cell.RANGES]
    outside = np.int64(UNMAPPED_PAGE << PROTECTION_SHIFT)
    for span in range(ranges):
        if runs_short(m):
            return
        q = pmd_number(m, process, span)
        if pmd_kind(m, q) != RegionState.NONE:
            charge(m, Event.VISIT_PMD, 1)
        if pmd_kind(m, q) == RegionState.PTE_TABLE:
            forget_table(m, q)
        if not has_row(m, q):
            split_leaf(m, q)
    # From the end that the pages move towards, so that none is overwritten before it has moved.
    for turn in range(pages):
        page = pages - 1 - turn if new_shift > shift else turn
        source = shift + page
        target = new_shift + page
        from_row = pmd_value(m, pmd_number(m, process, source // PAGES_PER_PMD))
        to = pmd_number(m, process, target // PAGES_PER_PMD)
        word = m.rows[from_row, source % PAGES_PER_PMD]
        if word_kind(word) != PteKind.NONE:
            charge(m, Event.VISIT_PTE, 1)
            charge(m, Event.SET_PTE, 2)
            if word_kind(word) != PteKind.SWAP:
                m.state[Cell.FLUSH_WANTED] = 1
            word = _moved_word(m, word, by_call)
        m.rows[from_row, source % PAGES_PER_PMD] = outside
        m.rows[pmd_value(m, to), target % PAGES_PER_PMD] = word
    m.state[process_cell(process) + SHIFT] = new_shift
    for span in range(ranges):
        q = pmd_number(m, process, span)
        row = pmd_value(m, q)
        if pmd_kind(m, q) == RegionState.PTE_TABLE:
            uncharge_table(m)
        m.pmds[q]["kind"] = RegionState.NONE
        m.pmds[q]["flags"] = 0
        m.pmds[q]["protection"] = 3  # MIXED
        for entry in range(PAGES_PER_PMD):
            if word_kind(m.rows[row, entry]) != PteKind.NONE:
                m.pmds[q]["kind"] = RegionState.PTE_TABLE
                charge(m, Event.PAGE_TABLE_ALLOCATION, 1)
                force_charge_table(m)
                break
        if pmd_kind(m, q) == RegionState.NONE:
            drop_table(m, q)


@inner_kernel
def remap(m, process, new_shift):
    """Mremap of the whole region to another place."""
    if new_shift == shift_of(m, process):
        _move_same_shift(m, process, np.int64(1))
    else:
        _move_to_shift(m, process, new_shift, np.int64(1))


@inner_kernel
def _may_move(m, process):
    """Whether UFFDIO_MOVE accepts everything: nothing shared, no large folio behind PTE entries."""
    for span in range(m.state[Cell.RANGES]):
        q = pmd_number(m, process, span)
        kind = pmd_kind(m, q)
        if kind == RegionState.PMD_MAPPED or kind == RegionState.PMD_SWAP:
            if not pmd_flags(m, q) & EXCLUSIVE:
                return False
        elif kind == RegionState.PTE_TABLE:
            row = pmd_value(m, q)
            for entry in range(PAGES_PER_PMD):
                word = m.rows[row, entry]
                kind = word_kind(word)
                if kind == PteKind.PRESENT or kind == PteKind.SWAP:
                    if not word & EXCLUSIVE:
                        return False
                    if kind == PteKind.SWAP:
                        folio = (slot_word(m, word_value(word)) >> SLOT_FOLIO_SHIFT) - 1
                        if folio >= 0 and folio_order(m, folio) > 0:
                            return False
    return True


@inner_kernel
def move(m, process, new_shift):
    """UFFDIO_MOVE of the whole region to another place."""
    if not _may_move(m, process):
        m.counts[OBSERVED + Observed.REFUSED_CALLS] += 1
        return
    aligned = new_shift == 0 and shift_of(m, process) == 0
    for span in range(m.state[Cell.RANGES]):
        if runs_short(m):
            return
        q = pmd_number(m, process, span)
        kind = pmd_kind(m, q)
        if kind == RegionState.PMD_SWAP and aligned:
            found = classify(m, pmd_value(m, q))
            if found == CacheClass.SPLIT:
                split_swap_entry(m, q, np.int64(Fallback.SPLIT_CACHE.value))
            elif found == CacheClass.HUGE:
                hold_cluster(m, pmd_value(m, q), np.int64(1))
        elif kind != RegionState.NONE and kind != RegionState.PTE_TABLE and not aligned:
            split_leaf(m, q)
        if pmd_kind(m, q) == RegionState.PTE_TABLE:
            _split_folios_of(m, q)
    if new_shift == shift_of(m, process):
        _move_same_shift(m, process, np.int64(0))
    else:
        _move_to_shift(m, process, new_shift, np.int64(0))


@inner_kernel
def _split_folios_of(m, q):
    row = pmd_value(m, q)
    for entry in range(PAGES_PER_PMD):
        word = m.rows[row, entry]
        if word_kind(word) == PteKind.PRESENT and folio_order(m, word_folio(word)) > 0:
            split_folio(m, word_folio(word))
