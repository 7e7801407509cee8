"""fork, mprotect, write-protection by userfaultfd and clear_refs."""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    Event,
    Fallback,
    PteKind,
    RegionState,
)
from perfmodel.kernels._jit import inner_kernel
from perfmodel.kernels.clock import charge, hold_cluster, hold_pmd, hold_table
from perfmodel.kernels.folios import add_mappings
from perfmodel.kernels.layout import (
    ALIVE,
    ARMED,
    EXCLUSIVE,
    PROCESS_CELLS,
    PROTECTION_MASK,
    PROTECTION_SHIFT,
    SOFT_DIRTY,
    UFFD_WP,
    WRITABLE,
    WRITABLE_PAGE,
    Cell,
)
from perfmodel.kernels.pressure import charge_memory
from perfmodel.kernels.slots import (
    add_counts,
    runs_short,
    take_row,
)
from perfmodel.kernels.tables import (
    drop_table,
    forget_leaf,
    forget_table,
    goes_on,
    has_row,
    make_row,
    may_be_writable,
    pmd_flags,
    pmd_kind,
    pmd_number,
    pmd_value,
    process_cell,
    set_pmd,
    split_mapping,
    split_swap_entry,
    word_folio,
    word_kind,
    word_value,
)

_SHARED = ~(EXCLUSIVE | WRITABLE | UFFD_WP)
_CLEARED = ~(SOFT_DIRTY | WRITABLE)


@inner_kernel
def fork(m, parent):
    """A new process with a copy of the parent's page tables; returns its number."""
    child = m.state[Cell.PROCESSES]
    m.state[Cell.PROCESSES] = child + 1
    for field in range(PROCESS_CELLS):
        m.state[process_cell(child) + field] = m.state[process_cell(parent) + field]
    m.state[process_cell(child) + ARMED] = 0
    m.state[process_cell(child) + ALIVE] = 1
    for span in range(m.state[Cell.RANGES]):
        if runs_short(m):
            return child
        q = pmd_number(m, parent, span)
        copy = pmd_number(m, child, span)
        kind = pmd_kind(m, q)
        if kind == RegionState.PTE_TABLE or (
            kind != RegionState.NONE and m.parameters["lazy_page_table_deposit"] == 0
        ):
            charge_memory(m, np.int64(1))
            kind = pmd_kind(m, q)
        m.pmds[copy]["protection"] = np.int64(m.pmds[q]["protection"])
        m.pmds[copy]["translated"] = 0
        if kind == RegionState.NONE:
            set_pmd(m, copy, kind, np.int64(0), np.int64(-1))
            if has_row(m, q):
                _copy_row(m, q, copy)
            continue
        charge(m, Event.VISIT_PMD, 1)
        if kind == RegionState.PTE_TABLE:
            _copy_row(m, q, copy)
            m.pmds[copy]["kind"] = kind
            m.pmds[copy]["flags"] = 0
            charge(m, Event.PAGE_TABLE_ALLOCATION, 1)
            _share_entries(m, q, copy)
            continue
        if m.parameters["lazy_page_table_deposit"] == 0:
            charge(m, Event.PAGE_TABLE_ALLOCATION, 1)
        flags = pmd_flags(m, q)
        value = pmd_value(m, q)
        set_pmd(m, copy, kind, flags & _SHARED, value)
        if kind == RegionState.PMD_ZERO:
            charge(m, Event.SET_PTE, 1)
            continue
        charge(m, Event.SET_PTE, 2)
        hold_pmd(m, q, np.int64(1))
        # The parent's userfaultfd keeps its bit.
        m.pmds[q]["flags"] = flags & ~(EXCLUSIVE | WRITABLE)
        if kind == RegionState.PMD_MAPPED:
            charge(m, Event.CHANGE_FOLIO, 1)
            add_mappings(m, value, np.int64(1))
            forget_leaf(m, q)
            m.state[Cell.FLUSH_WANTED] = 1
        else:
            add_counts(m, value * PAGES_PER_PMD, np.int64(PAGES_PER_PMD))
            charge(m, Event.DUPLICATE_CALL, 1)
            charge(m, Event.DUPLICATE_SLOT, PAGES_PER_PMD)
            hold_cluster(m, value, np.int64(PAGES_PER_PMD))
    return child


@inner_kernel
def _copy_row(m, q, copy):
    source = pmd_value(m, q)
    row = take_row(m)
    for entry in range(PAGES_PER_PMD):
        m.rows[row, entry] = m.rows[source, entry]
    m.pmds[copy]["value"] = row


@inner_kernel
def _share_entries(m, q, copy):
    """Each entry of a table is named by two processes from now on, and exclusive to none."""
    row = pmd_value(m, q)
    other = pmd_value(m, copy)
    charge(m, Event.VISIT_PTE, PAGES_PER_PMD)
    hold_table(m, q, np.int64(PAGES_PER_PMD))
    present = False
    last = np.int64(-1)
    for entry in range(PAGES_PER_PMD):
        word = m.rows[row, entry]
        kind = word_kind(word)
        before = last
        last = word_value(word) if kind == PteKind.PRESENT else np.int64(-1)
        if kind == PteKind.NONE:
            continue
        m.rows[other, entry] = word & _SHARED
        if kind == PteKind.ZERO:
            charge(m, Event.SET_PTE, 1)
            continue
        m.rows[row, entry] = word & ~(EXCLUSIVE | WRITABLE)
        if kind == PteKind.PRESENT:
            add_mappings(m, word_folio(word), np.int64(1))
            charge(m, Event.SET_PTE, 2)
            if not goes_on(before, last):
                charge(m, Event.CHANGE_FOLIO, 1)
            present = True
        else:
            add_counts(m, word_value(word), np.int64(1))
            charge(m, Event.DUPLICATE_CALL, 1)
            charge(m, Event.DUPLICATE_SLOT, 1)
            hold_cluster(m, word_value(word) // PAGES_PER_PMD, np.int64(1))
            charge(m, Event.SET_PTE, 1)
            if word & EXCLUSIVE:
                charge(m, Event.SET_PTE, 1)
    if present:
        forget_table(m, q)
        m.state[Cell.FLUSH_WANTED] = 1


@inner_kernel
def protected_flags(flags, protection):
    """Flags of a present entry whose page gets a protection."""
    if protection == WRITABLE_PAGE and may_be_writable(flags):
        return flags | WRITABLE
    if protection != WRITABLE_PAGE:
        return flags & ~WRITABLE
    return flags


@inner_kernel
def protect_chunk(m, process, span, first, end, protection):
    """Mprotect of pages of one range; pages that have the protection already are no part of it."""
    q = pmd_number(m, process, span)
    kind = pmd_kind(m, q)
    if not has_row(m, q):
        if np.int64(m.pmds[q]["protection"]) == protection:
            return
        if kind != RegionState.NONE:
            charge(m, Event.VISIT_PMD, 1)
        if first == 0 and end == PAGES_PER_PMD:
            m.pmds[q]["protection"] = protection
            if kind == RegionState.PMD_MAPPED:
                m.pmds[q]["flags"] = protected_flags(pmd_flags(m, q), protection)
                charge(m, Event.CHANGE_FOLIO, 1)
                charge(m, Event.SET_PTE, 1)
                hold_pmd(m, q, np.int64(1))
                forget_leaf(m, q)
                m.state[Cell.FLUSH_WANTED] = 1
            return
        split_leaf(m, q)
    row = pmd_value(m, q)
    table = pmd_kind(m, q) == RegionState.PTE_TABLE
    visited = np.int64(0)
    last = np.int64(-1)
    changed = False
    for entry in range(first, end):
        word = m.rows[row, entry]
        if (word & PROTECTION_MASK) >> PROTECTION_SHIFT == protection:
            last = np.int64(-1)
            continue
        visited += 1
        word = (word & ~PROTECTION_MASK) | (protection << PROTECTION_SHIFT)
        if word_kind(word) == PteKind.PRESENT:
            word = protected_flags(word, protection)
            charge(m, Event.SET_PTE, 1)
            if not goes_on(last, word_value(word)):
                charge(m, Event.CHANGE_FOLIO, 1)
            last = word_value(word)
            changed = True
        else:
            last = np.int64(-1)
        m.rows[row, entry] = word
    if table and visited > 0:
        if kind == RegionState.PTE_TABLE:
            charge(m, Event.VISIT_PMD, 1)
        charge(m, Event.VISIT_PTE, visited)
        hold_table(m, q, visited)
    if changed:
        forget_table(m, q)
        m.state[Cell.FLUSH_WANTED] = 1
    if not table:
        drop_table(m, q)


@inner_kernel
def split_leaf(m, q):
    """Whatever stands at the PMD level becomes 512 entries, because a call wants a part of it."""
    kind = pmd_kind(m, q)
    if kind == RegionState.PMD_SWAP:
        split_swap_entry(m, q, np.int64(Fallback.UNALIGNED_OR_PARTIAL.value))
    elif kind == RegionState.NONE:
        make_row(m, q, np.int64(0))
    elif kind != RegionState.PTE_TABLE:
        split_mapping(m, q, np.int64(0))
        m.state[Cell.FLUSH_WANTED] = 1


@inner_kernel
def write_protect_chunk(m, process, span, first, end):
    """UFFDIO_WRITEPROTECT of entries of one range."""
    q = pmd_number(m, process, span)
    kind = pmd_kind(m, q)
    if kind == RegionState.NONE:
        return
    charge(m, Event.VISIT_PMD, 1)
    if kind != RegionState.PTE_TABLE:
        if first == 0 and end == PAGES_PER_PMD:
            if kind == RegionState.PMD_ZERO:
                return
            m.pmds[q]["flags"] = (pmd_flags(m, q) | UFFD_WP) & ~WRITABLE
            charge(m, Event.SET_PTE, 1)
            hold_pmd(m, q, np.int64(1))
            if kind == RegionState.PMD_MAPPED:
                forget_leaf(m, q)
                m.state[Cell.FLUSH_WANTED] = 1
            return
        split_leaf(m, q)
    charge(m, Event.VISIT_PTE, end - first)
    hold_table(m, q, end - first)
    row = pmd_value(m, q)
    changed = False
    for entry in range(first, end):
        word = m.rows[row, entry]
        kind = word_kind(word)
        if kind == PteKind.PRESENT or kind == PteKind.SWAP:
            m.rows[row, entry] = (word | UFFD_WP) & ~WRITABLE
            charge(m, Event.SET_PTE, 1)
            changed = changed or kind == PteKind.PRESENT
    if changed:
        forget_table(m, q)
        m.state[Cell.FLUSH_WANTED] = 1


@inner_kernel
def clear_soft_dirty_chunk(m, process, span, first, end):
    """Write to clear_refs for entries of one range: the next write to each of them faults."""
    q = pmd_number(m, process, span)
    kind = pmd_kind(m, q)
    if kind == RegionState.NONE:
        return
    charge(m, Event.VISIT_PMD, 1)
    if kind != RegionState.PTE_TABLE:
        m.pmds[q]["flags"] = pmd_flags(m, q) & _CLEARED
        charge(m, Event.SET_PTE, 1)
        hold_pmd(m, q, np.int64(1))
        forget_leaf(m, q)
        return
    charge(m, Event.VISIT_PTE, end - first)
    hold_table(m, q, end - first)
    row = pmd_value(m, q)
    for entry in range(first, end):
        word = m.rows[row, entry]
        if word_kind(word) != PteKind.NONE:
            m.rows[row, entry] = word & _CLEARED
            charge(m, Event.SET_PTE, 1)
    forget_table(m, q)
