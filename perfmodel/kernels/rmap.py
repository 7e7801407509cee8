"""Mappings of folios that go away for good: at a copy, a zap or a collapse."""

import numpy as np

from perfmodel.constants import PAGES_PER_PMD, PMD_ORDER, Counter, Event, OrderCounter, RegionState
from perfmodel.kernels._jit import inner_kernel
from perfmodel.kernels.clock import charge
from perfmodel.kernels.folios import (
    add_mappings,
    drop_folio,
    folio_order,
    folio_page,
    has_flag,
    is_cached,
    set_flag,
    try_free_cache,
)
from perfmodel.kernels.layout import COUNTERS, FOLIO_PARTIALLY_MAPPED, Cell
from perfmodel.kernels.lru import is_limited
from perfmodel.kernels.split_queue import enqueue
from perfmodel.kernels.swap_io import count_order
from perfmodel.kernels.tables import (
    mapped_here,
    pmd_kind,
    pmd_number,
    shift_of,
)


@inner_kernel
def _every_page_is_mapped(m, folio):
    first = folio_page(m, folio)
    for part in range(1 << folio_order(m, folio)):
        found = False
        for process in range(m.state[Cell.PROCESSES]):
            if mapped_here(m, folio, process, first + part):
                found = True
                break
        if not found:
            return False
    return True


@inner_kernel
def remove_mappings(m, folio, mappings, by_ptes):
    """Take mappings from a folio, which their page-table entries have already lost.

    A folio that nothing maps leaves the swap cache if no entry names its slots, and dies unless it
    stays there. A large one that is mapped in part from now on is queued for a deferred split.
    """
    count = add_mappings(m, folio, -mappings)
    charge(m, Event.ZAP_FOLIO, 1)
    if count == 0:
        if not is_cached(m, folio) or try_free_cache(m, folio):
            charge(m, Event.FREE_PAGE, np.int64(1) << folio_order(m, folio))
            drop_folio(m, folio)
        return
    order = folio_order(m, folio)
    if order == 0 or by_ptes == 0 or has_flag(m, folio, np.int64(FOLIO_PARTIALLY_MAPPED)):
        return
    if not _every_page_is_mapped(m, folio):
        set_flag(m, folio, np.int64(FOLIO_PARTIALLY_MAPPED))
        if is_limited(m) and not is_cached(m, folio):
            enqueue(m, folio)
        if order == PMD_ORDER:
            m.counts[COUNTERS + Counter.THP_DEFERRED_SPLIT_PAGE] += 1
        count_order(m, np.int64(OrderCounter.SPLIT_DEFERRED.value), order)


@inner_kernel
def mappings_in(m, folio, process):
    """How many of a process's page-table entries map a folio."""
    first = folio_page(m, folio)
    mappings = 0
    for part in range(1 << folio_order(m, folio)):
        if mapped_here(m, folio, process, first + part):
            number = shift_of(m, process) + first + part
            q = pmd_number(m, process, number // PAGES_PER_PMD)
            if pmd_kind(m, q) == RegionState.PMD_MAPPED:
                return 1
            mappings += 1
    return mappings
