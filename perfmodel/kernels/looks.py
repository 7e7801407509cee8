"""mincore, pagemap and smaps: what they read, and what reading costs."""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    CacheClass,
    Event,
    Observed,
    PteKind,
    RegionState,
)
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import charge, hold_pmd, hold_table
from perfmodel.kernels.layout import OBSERVED, UNMAPPED_PAGE
from perfmodel.kernels.slots import cached_folio
from perfmodel.kernels.swap_cache import classify
from perfmodel.kernels.tables import (
    goes_on,
    page_protection,
    pmd_kind,
    pmd_number,
    pmd_value,
    word_kind,
    word_value,
)


@inner_kernel
def mincore_chunk(m, process, span, first, end):
    """Mincore of pages of one range: resident, or in the swap cache. Never splits anything."""
    q = pmd_number(m, process, span)
    kind = pmd_kind(m, q)
    if kind == RegionState.NONE:
        return
    charge(m, Event.VISIT_PMD, 1)
    resident = 0
    if kind == RegionState.PMD_SWAP:
        slot = pmd_value(m, q) * PAGES_PER_PMD
        found = classify(m, pmd_value(m, q))
        if found == CacheClass.HUGE:
            resident = end - first
        elif found == CacheClass.SPLIT:
            charge(m, Event.LOOKUP_SLOT, end - first)
            for entry in range(first, end):
                if cached_folio(m, slot + entry) >= 0:
                    resident += 1
    elif kind == RegionState.PTE_TABLE:
        charge(m, Event.VISIT_PTE, end - first)
        hold_table(m, q, end - first)
        row = pmd_value(m, q)
        for entry in range(first, end):
            word = m.rows[row, entry]
            if word_kind(word) == PteKind.SWAP:
                charge(m, Event.LOOKUP_SLOT, 1)
                if cached_folio(m, word_value(word)) >= 0:
                    resident += 1
            elif word_kind(word) != PteKind.NONE:
                resident += 1
    else:
        resident = end - first
    m.counts[OBSERVED + Observed.MINCORE_RESIDENT_PAGES] += resident


@inline_kernel
def _look_up(m, word, last):
    """A present entry's folio is read, which the entry before may have done; returns its page."""
    if word_kind(word) != PteKind.PRESENT:
        return np.int64(-1)
    if not goes_on(last, word_value(word)):
        charge(m, Event.LOOKUP_FOLIO, 1)
    return word_value(word)


@inner_kernel
def pagemap_chunk(m, process, span, first, end):
    """/proc/PID/pagemap of pages of one range."""
    q = pmd_number(m, process, span)
    kind = pmd_kind(m, q)
    for entry in range(first, end):
        if page_protection(m, q, entry) != UNMAPPED_PAGE:
            charge(m, Event.REPORT_PAGE, 1)
    if kind == RegionState.NONE:
        return
    charge(m, Event.VISIT_PMD, 1)
    if kind == RegionState.PTE_TABLE:
        charge(m, Event.VISIT_PTE, end - first)
        hold_table(m, q, end - first)
        row = pmd_value(m, q)
        last = np.int64(-1)
        for entry in range(first, end):
            word = m.rows[row, entry]
            if word_kind(word) == PteKind.SWAP:
                m.counts[OBSERVED + Observed.PAGEMAP_SWAPPED_PAGES] += 1
            elif word_kind(word) != PteKind.NONE:
                m.counts[OBSERVED + Observed.PAGEMAP_PRESENT_PAGES] += 1
            last = _look_up(m, word, last)
        return
    hold_pmd(m, q, np.int64(1))
    if kind == RegionState.PMD_SWAP:
        m.counts[OBSERVED + Observed.PAGEMAP_SWAPPED_PAGES] += end - first
    else:
        m.counts[OBSERVED + Observed.PAGEMAP_PRESENT_PAGES] += end - first


@inner_kernel
def smaps_chunk(m, process, span, first, end):
    """/proc/PID/smaps of pages of one range."""
    q = pmd_number(m, process, span)
    kind = pmd_kind(m, q)
    if kind == RegionState.NONE:
        return
    charge(m, Event.VISIT_PMD, 1)
    if kind == RegionState.PTE_TABLE:
        charge(m, Event.VISIT_PTE, end - first)
        hold_table(m, q, end - first)
        row = pmd_value(m, q)
        last = np.int64(-1)
        for entry in range(first, end):
            kind = word_kind(m.rows[row, entry])
            last = _look_up(m, m.rows[row, entry], last)
            if kind == PteKind.SWAP:
                charge(m, Event.LOOKUP_SLOT, 1)
                charge(m, Event.ACCOUNT_PAGE, 1)
                m.counts[OBSERVED + Observed.SMAPS_SWAP_PAGES] += 1
            elif kind == PteKind.PRESENT:
                charge(m, Event.ACCOUNT_PAGE, 1)
                m.counts[OBSERVED + Observed.SMAPS_RSS_PAGES] += 1
        return
    hold_pmd(m, q, np.int64(1))
    if kind == RegionState.PMD_SWAP:
        charge(m, Event.LOOKUP_SLOT, 1)
        m.counts[OBSERVED + Observed.SMAPS_SWAP_PAGES] += end - first
    elif kind == RegionState.PMD_MAPPED:
        m.counts[OBSERVED + Observed.SMAPS_RSS_PAGES] += end - first
        m.counts[OBSERVED + Observed.SMAPS_PMD_MAPPED_PAGES] += end - first
