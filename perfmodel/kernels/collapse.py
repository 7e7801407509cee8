"""MADV_COLLAPSE and khugepaged: 512 PTEs become one PMD leaf again."""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    PMD_ORDER,
    Counter,
    Event,
    PteKind,
    RegionState,
)
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import charge, hold_pmd, hold_table
from perfmodel.kernels.compaction import Effort
from perfmodel.kernels.faults import swap_in_pte
from perfmodel.kernels.folios import add_mappings, new_folio
from perfmodel.kernels.frames import FOR_COLLAPSE, give_back_frames, own_frames
from perfmodel.kernels.layout import (
    COUNTERS,
    DIRTY,
    EXCLUSIVE,
    LINK_REFERENCED,
    PROTECTION_MASK,
    PROTECTION_SHIFT,
    SOFT_DIRTY,
    UFFD_WP,
    WRITABLE,
    WRITABLE_PAGE,
    YOUNG,
    Cell,
)
from perfmodel.kernels.lru import admit, is_limited, link_flags, make_leaf_young, uncharge_table
from perfmodel.kernels.pressure import charge_memory
from perfmodel.kernels.rmap import mappings_in, remove_mappings
from perfmodel.kernels.room import find_room
from perfmodel.kernels.slots import release_row
from perfmodel.kernels.split_queue import enqueue
from perfmodel.kernels.tables import (
    forget_table,
    is_armed,
    one_vma,
    pmd_kind,
    pmd_number,
    pmd_value,
    set_pmd,
    shift_of,
    word_folio,
    word_kind,
)
from perfmodel.kernels.zap import clear_entries, folio_run

_FULL = np.int64(Effort.FULL.value)
# Of 512: with anything swapped out so many others must have been used.
_LEAST_REFERENCED = 256


@inline_kernel
def _is_referenced(m, word, folio):
    """Whether a present page has been used; nothing grows old but under a memory limit."""
    return not is_limited(m) or (word & YOUNG) != 0 or (link_flags(m, folio) & LINK_REFERENCED) != 0


@inner_kernel
def _within_limits(m, process, q):
    """Whether khugepaged goes on after its scan of a table."""
    row = pmd_value(m, q)
    swapped = 0
    nothing = 0
    shared = 0
    referenced = 0
    for entry in range(PAGES_PER_PMD):
        word = m.rows[row, entry]
        kind = word_kind(word)
        if kind == PteKind.SWAP:
            swapped += 1
            if swapped > m.parameters["max_ptes_swap"]:
                m.counts[COUNTERS + Counter.THP_SCAN_EXCEED_SWAP_PTE] += 1
                return False
        elif kind == PteKind.PRESENT:
            folio = word_folio(word)
            if mappings_in(m, folio, process) != np.int64(m.folios[folio]["mapcount"]):
                shared += 1
                if shared > m.parameters["max_ptes_shared"]:
                    m.counts[COUNTERS + Counter.THP_SCAN_EXCEED_SHARE_PTE] += 1
                    return False
            if _is_referenced(m, word, folio):
                referenced += 1
        else:
            nothing += 1
            if nothing > m.parameters["max_ptes_none"]:
                m.counts[COUNTERS + Counter.THP_SCAN_EXCEED_NONE_PTE] += 1
                return False
    return referenced > 0 and (swapped == 0 or referenced >= _LEAST_REFERENCED)


@inner_kernel
def collapse_range(m, process, span, by_call):
    """Collapse one range if that is possible; `by_call` is 1 for MADV_COLLAPSE.

    Returns whether that was tried: khugepaged has let go of the memory map then.
    """
    m.state[Cell.KHUGEPAGED_REFUSED] = 0
    q = pmd_number(m, process, span)
    kind = pmd_kind(m, q)
    if kind == RegionState.NONE:
        return False
    charge(m, Event.VISIT_PMD, 1)
    if kind != RegionState.PTE_TABLE:
        return False
    charge(m, Event.VISIT_PTE, PAGES_PER_PMD)
    hold_table(m, q, np.int64(PAGES_PER_PMD))
    if is_armed(m, process) or not one_vma(m, q, np.int64(0), np.int64(PAGES_PER_PMD)):
        return False
    row = pmd_value(m, q)
    anything = False
    for entry in range(PAGES_PER_PMD):
        word = m.rows[row, entry]
        if word_kind(word) == PteKind.NONE:
            continue
        anything = True
        if word & UFFD_WP:
            return False
    if by_call == 0:
        if not _within_limits(m, process, q):
            return False
    elif not anything:
        return False
    if not find_room(m, np.int64(PMD_ORDER), _FULL, FOR_COLLAPSE):
        m.counts[COUNTERS + Counter.THP_COLLAPSE_ALLOC_FAILED] += 1
        charge(m, Event.ORDER9_ALLOCATION_FAILURE, 1)
        m.state[Cell.KHUGEPAGED_REFUSED] = 1
        return True
    m.counts[COUNTERS + Counter.THP_COLLAPSE_ALLOC] += 1
    charge(m, Event.COLLAPSE_RANGE, 1)
    charge(m, Event.THP_ALLOCATION, 1)
    if not charge_memory(m, np.int64(PAGES_PER_PMD)):
        give_back_frames(m, FOR_COLLAPSE)
        return True
    for entry in range(PAGES_PER_PMD):
        if word_kind(m.rows[row, entry]) == PteKind.SWAP:
            m.state[Cell.CALL] += 1
            swap_in_pte(m, process, q, entry, np.int64(0), np.int64(0))
    if is_limited(m):
        for entry in range(PAGES_PER_PMD):
            if word_kind(m.rows[row, entry]) == PteKind.SWAP:
                # What was read first has been reclaimed for what was read last.
                m.state[Cell.USAGE] -= PAGES_PER_PMD
                give_back_frames(m, FOR_COLLAPSE)
                return True
    _replace(m, process, q, row)
    return True


@inner_kernel
def _replace(m, process, q, row):
    """Copy 512 pages into a new THP and map it."""
    entry = np.int64(0)
    while entry < PAGES_PER_PMD:
        word = m.rows[row, entry]
        run = 1
        if word_kind(word) == PteKind.PRESENT:
            run = folio_run(m, row, entry, np.int64(PAGES_PER_PMD))
            clear_entries(m, row, entry, entry + run)
            charge(m, Event.COPY_PAGE, run)
            charge(m, Event.COLLAPSE_FOLIO, 1)
            charge(m, Event.ZAP_PTE, run)
            remove_mappings(m, word_folio(word), run, np.int64(1))
        else:
            charge(m, Event.CLEAR_PAGE, 1)
        entry += run
    forget_table(m, q)
    protection = (m.rows[row, 0] & PROTECTION_MASK) >> PROTECTION_SHIFT
    release_row(m, row)
    page = (q % m.state[Cell.RANGES]) * PAGES_PER_PMD - shift_of(m, process)
    folio = new_folio(m, np.int64(PMD_ORDER), page)
    own_frames(m, folio, FOR_COLLAPSE)
    if is_limited(m):
        admit(m, folio, np.int64(0))
        make_leaf_young(m, q)
        enqueue(m, folio)
        if m.parameters["lazy_page_table_deposit"] == 1:
            uncharge_table(m)
    flags = np.int64(EXCLUSIVE | DIRTY | SOFT_DIRTY)
    if protection == WRITABLE_PAGE:
        flags |= WRITABLE
    set_pmd(m, q, np.int64(RegionState.PMD_MAPPED.value), flags, folio)
    m.pmds[q]["protection"] = protection
    add_mappings(m, folio, np.int64(1))
    charge(m, Event.MAP_PMD, 1)
    hold_pmd(m, q, np.int64(1))
    m.state[Cell.FLUSH_WANTED] = 1
