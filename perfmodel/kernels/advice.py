"""MADV_PAGEOUT, MADV_COLD and MADV_WILLNEED."""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    CacheClass,
    Event,
    Fallback,
    PteKind,
    RegionState,
)
from perfmodel.kernels._jit import inner_kernel
from perfmodel.kernels.clock import charge, hold_table
from perfmodel.kernels.folios import folio_order
from perfmodel.kernels.layout import COLLECTED, SLOT_FOLIO_SHIFT, Cell
from perfmodel.kernels.readahead import NO_SLOT, read_into_cache
from perfmodel.kernels.reclaim import split_folio, swap_out
from perfmodel.kernels.rmap import mappings_in
from perfmodel.kernels.slots import slot_word
from perfmodel.kernels.swap_cache import NO_FALLBACK, classify, try_huge_read
from perfmodel.kernels.tables import (
    pmd_kind,
    pmd_number,
    pmd_value,
    shift_of,
    split_swap_entry,
    word_folio,
    word_kind,
    word_value,
)
from perfmodel.kernels.zap import folio_run


@inner_kernel
def _collect(m, process, q, first, end):
    """Folios of a table's entries that MADV_PAGEOUT takes; large ones in its way are split.

    Returns how many stand in `Memory.list`.
    """
    row = pmd_value(m, q)
    charge(m, Event.VISIT_PTE, end - first)
    hold_table(m, q, end - first)
    found = 0
    entry = first
    while entry < end:
        word = m.rows[row, entry]
        if word_kind(word) != PteKind.PRESENT:
            entry += 1
            continue
        folio = word_folio(word)
        size = 1 << folio_order(m, folio)
        mapcount = np.int64(m.folios[folio]["mapcount"])
        run = folio_run(m, row, entry, end)
        if run < size:
            # Not all of the folio: split it, unless somebody else uses it too.
            if mapcount == mappings_in(m, folio, process):
                split_folio(m, folio)
            else:
                entry += 1
            continue
        if mapcount == size:
            m.state[COLLECTED + found] = folio
            found += 1
        entry += run
    return found


@inner_kernel
def pageout_chunk(m, process, span, first, end, cold):
    """MADV_PAGEOUT of entries of one range, or MADV_COLD, which only splits and ages."""
    q = pmd_number(m, process, span)
    kind = pmd_kind(m, q)
    if kind == RegionState.NONE:
        return
    charge(m, Event.VISIT_PMD, 1)
    if kind == RegionState.PMD_MAPPED:
        folio = pmd_value(m, q)
        if np.int64(m.folios[folio]["mapcount"]) > 1:
            return
        if first == 0 and end == PAGES_PER_PMD:
            if cold == 0:
                swap_out(m, folio)
                m.state[Cell.FLUSH_WANTED] = 1
            return
        split_folio(m, folio)
    elif kind != RegionState.PTE_TABLE:
        return
    found = _collect(m, process, q, first, end)
    if cold == 1:
        return
    if found > 0:
        m.state[Cell.FLUSH_WANTED] = 1
    for index in range(found):
        swap_out(m, m.state[COLLECTED + index])


@inner_kernel
def willneed_chunk(m, process, span, first, end):
    """MADV_WILLNEED of entries of one range: into the swap cache, and no further."""
    # Reclaim leaves alone what is read together, which is no more than one range.
    m.state[Cell.CALL] += 1
    q = pmd_number(m, process, span)
    kind = pmd_kind(m, q)
    if kind == RegionState.NONE:
        return
    charge(m, Event.VISIT_PMD, 1)
    if kind == RegionState.PMD_SWAP:
        cluster = pmd_value(m, q)
        found = classify(m, cluster)
        if found == CacheClass.HUGE:
            return
        reason = np.int64(Fallback.SPLIT_CACHE.value)
        if found == CacheClass.EMPTY:
            page = span * PAGES_PER_PMD - shift_of(m, process)
            reason = try_huge_read(m, q, cluster, page)
            if reason == NO_FALLBACK:
                return
        split_swap_entry(m, q, reason)
    elif kind != RegionState.PTE_TABLE:
        return
    charge(m, Event.VISIT_PTE, end - first)
    hold_table(m, q, end - first)
    row = pmd_value(m, q)
    previous = np.int64(NO_SLOT)
    for entry in range(first, end):
        word = m.rows[row, entry]
        if word_kind(word) != PteKind.SWAP:
            continue
        slot = word_value(word)
        if slot_word(m, slot) >> SLOT_FOLIO_SHIFT == 0:
            page = span * PAGES_PER_PMD + entry - shift_of(m, process)
            previous = read_into_cache(m, slot, page, previous)
