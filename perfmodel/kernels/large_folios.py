"""Memory for a large folio: page frames, a charge, and what is counted if there is none."""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    PMD_ORDER,
    Counter,
    Event,
    OrderCounter,
    RegionState,
)
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import charge, hold_pmd
from perfmodel.kernels.folios import (
    add_mappings,
    new_folio,
)
from perfmodel.kernels.frames import (
    FOR_FAULT,
    fault_effort,
    give_back_frames,
    own_frames,
)
from perfmodel.kernels.layout import (
    COUNTERS,
    EXCLUSIVE,
    SOFT_DIRTY,
    WRITABLE,
    Cell,
)
from perfmodel.kernels.lru import admit, is_limited, make_leaf_young
from perfmodel.kernels.pressure import charge_memory
from perfmodel.kernels.room import find_room
from perfmodel.kernels.split_queue import enqueue
from perfmodel.kernels.swap_io import count_order
from perfmodel.kernels.tables import (
    set_pmd,
    shift_of,
)

# What a write fault makes of an entry.
OWN = EXCLUSIVE | WRITABLE | SOFT_DIRTY


@inline_kernel
def page_number(m, q, entry):
    """Page of an entry, counted from the first range of its process."""
    return (q % m.state[Cell.RANGES]) * PAGES_PER_PMD + entry


@inline_kernel
def keep_warm(m, q, first, size):
    """The fault has brought these pages; their lines are still near."""
    m.state[Cell.WARM_FROM] = page_number(m, q, first)
    m.state[Cell.WARM_UNTIL] = page_number(m, q, first + size)


@inner_kernel
def _count_refused(m, statistic, order):
    """A refused charge for a large folio; its statistic stands right behind that of any refusal."""
    count_order(m, statistic, order)
    count_order(m, statistic + 1, order)


@inline_kernel
def find_large(m, order, statistic):
    """The order of a large folio if there is memory for it, and 0 if there is not."""
    if order > 0:
        if not find_room(m, order, fault_effort(m), FOR_FAULT):
            count_order(m, statistic, order)
            order = np.int64(0)
        elif not charge_memory(m, np.int64(1) << order):
            give_back_frames(m, FOR_FAULT)
            _count_refused(m, statistic, order)
            order = np.int64(0)
    return order


@inner_kernel
def new_thp(m, process, q, deposit):
    """A cleared THP for a whole range; `deposit` is 1 if its PTE table has yet to be put aside.

    False if there are no page frames for it, or the memory cgroup refuses to be charged.
    """
    if not find_room(m, np.int64(PMD_ORDER), fault_effort(m), FOR_FAULT):
        m.counts[COUNTERS + Counter.THP_FAULT_FALLBACK] += 1
        count_order(m, np.int64(OrderCounter.ANON_FAULT_FALLBACK.value), np.int64(PMD_ORDER))
        return False
    if not charge_memory(m, np.int64(PAGES_PER_PMD)):
        give_back_frames(m, FOR_FAULT)
        m.counts[COUNTERS + Counter.THP_FAULT_FALLBACK] += 1
        m.counts[COUNTERS + Counter.THP_FAULT_FALLBACK_CHARGE] += 1
        _count_refused(m, np.int64(OrderCounter.ANON_FAULT_FALLBACK.value), np.int64(PMD_ORDER))
        return False
    page = page_number(m, q, np.int64(0)) - shift_of(m, process)
    folio = new_folio(m, np.int64(PMD_ORDER), page)
    own_frames(m, folio, FOR_FAULT)
    flags = np.int64(OWN)
    if is_limited(m):
        if deposit == 1 and m.parameters["lazy_page_table_deposit"] == 0:
            charge_memory(m, np.int64(1))
        admit(m, folio, np.int64(0))
        make_leaf_young(m, q)
        enqueue(m, folio)
    set_pmd(m, q, np.int64(RegionState.PMD_MAPPED.value), flags, folio)
    add_mappings(m, folio, np.int64(1))
    m.counts[COUNTERS + Counter.THP_FAULT_ALLOC] += 1
    count_order(m, np.int64(OrderCounter.ANON_FAULT_ALLOC.value), np.int64(PMD_ORDER))
    charge(m, Event.THP_ALLOCATION, 1)
    charge(m, Event.CLEAR_PAGE, PAGES_PER_PMD)
    charge(m, Event.MAP_PMD, 1)
    if deposit == 1 and m.parameters["lazy_page_table_deposit"] == 0:
        charge(m, Event.PAGE_TABLE_ALLOCATION, 1)
    hold_pmd(m, q, np.int64(1))
    keep_warm(m, q, np.int64(0), np.int64(PAGES_PER_PMD))
    return True
