"""The swap mechanism for anonymous THPs on a synchronous device: which events happen, never what
they cost.

State of a run, all mutated in place:

region_state : int64, shape (regions,), a `RegionState` for every 2 MiB range
pte_state : int8, shape (regions, 512), `PTE_SWAP`, or `PTE_PRESENT` + order of the folio;
    meaningful only where the range has a PTE table
counters : int64, shape (N_COUNTERS,), what the kernel would have counted in this step
events : int64, shape (N_EVENTS,), what costs time in this step

Constant orders are passed as np.int64: numba would compile the callee once more for a literal.
"""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    PMD_ORDER,
    PTE_PRESENT,
    PTE_SWAP,
    SWPIN_BASE,
    SWPOUT_BASE,
    Content,
    Counter,
    Event,
    RegionState,
    SwapEntryLevel,
)
from perfmodel.kernels._jit import kernel
from perfmodel.kernels.random import uniform_32


@kernel
def fill_region(parameters, region, region_state, counters, events):
    """First write to a range: one fault brings a cleared THP, then the program writes 512 pages.

    The fault also deposits the PTE table that a later split will need; with lazy deposit the split
    allocates it.
    Allocates: no. Mutates: region_state, counters, events.
    """
    region_state[region] = RegionState.PMD_MAPPED
    counters[Counter.PGFAULT] += 1
    counters[Counter.THP_FAULT_ALLOC] += 1
    events[Event.FAULT] += 1
    events[Event.THP_ALLOCATION] += 1
    if parameters["lazy_page_table_deposit"] == 0:
        events[Event.PAGE_TABLE_ALLOCATION] += 1
    events[Event.CLEAR_PAGE] += PAGES_PER_PMD
    events[Event.MAP_PMD] += 1
    events[Event.WRITE_PAGE] += PAGES_PER_PMD


@kernel
def _write_folio(parameters, order, counters, events):
    """Slots, zero check and I/O of one folio that is being swapped out."""
    pages = 1 << order
    events[Event.SWAPOUT_FOLIO] += 1
    events[Event.SWAPOUT_PAGE] += pages
    if parameters["content"] == Content.ZERO:
        # All or nothing: a folio of zeros sets 2**order zero flags and does no I/O.
        events[Event.ZERO_SCAN_PAGE] += pages
        counters[Counter.SWPOUT_ZERO] += pages
        return
    events[Event.WRITE_REQUEST] += 1
    events[Event.COMPRESS_PAGE] += pages
    counters[Counter.PSWPOUT] += pages
    if order == PMD_ORDER:
        counters[Counter.THP_SWPOUT] += 1
    if order > 0:
        counters[SWPOUT_BASE + order] += 1


@kernel
def _split_to_swap_entries(parameters, region, region_state, pte_state, counters, events):
    """The range gets a PTE table of 512 swap entries, from the deposit or newly allocated."""
    region_state[region] = RegionState.PTE_TABLE
    for page in range(PAGES_PER_PMD):
        pte_state[region, page] = PTE_SWAP
    if parameters["lazy_page_table_deposit"] == 1:
        events[Event.PAGE_TABLE_ALLOCATION] += 1
    counters[Counter.THP_SPLIT_PMD] += 1


@kernel
def page_out_region(parameters, region, region_state, pte_state, counters, events):
    """MADV_PAGEOUT of one range: every present folio goes out whole, swapped ones stay.

    Allocates: no. Mutates: region_state, pte_state, counters, events.
    """
    if region_state[region] == RegionState.PMD_MAPPED:
        if parameters["swap_entry_level"] == SwapEntryLevel.PMD:
            region_state[region] = RegionState.PMD_SWAP
            events[Event.SET_PMD_SWAP_ENTRY] += 1
            counters[Counter.THP_SWPOUT_PMD] += 1
        else:
            _split_to_swap_entries(parameters, region, region_state, pte_state, counters, events)
            events[Event.SPLIT_PMD_MAPPING] += 1
            events[Event.UNMAP_PTE] += PAGES_PER_PMD
        _write_folio(parameters, np.int64(PMD_ORDER), counters, events)
    elif region_state[region] == RegionState.PTE_TABLE:
        page = 0
        while page < PAGES_PER_PMD:
            if pte_state[region, page] == PTE_SWAP:
                page += 1
                continue
            order = int(pte_state[region, page]) - PTE_PRESENT
            for part in range(1 << order):
                pte_state[region, page + part] = PTE_SWAP
            events[Event.UNMAP_PTE] += 1 << order
            _write_folio(parameters, order, counters, events)
            page += 1 << order


@kernel
def _read_folio(parameters, order, counters, events):
    """Allocation and I/O of one folio that is being swapped in."""
    pages = 1 << order
    events[Event.SWAPIN_FOLIO] += 1
    events[Event.SWAPIN_PAGE] += pages
    if order > 0:
        events[Event.SWAPIN_LARGE_FOLIO] += 1
    if parameters["content"] == Content.ZERO:
        # No I/O: the folio is cleared, and the mTHP statistics do not count it as a swap-in.
        events[Event.CLEAR_PAGE] += pages
        counters[Counter.SWPIN_ZERO] += pages
        return
    events[Event.READ_REQUEST] += 1
    events[Event.DECOMPRESS_PAGE] += pages
    events[Event.FREE_SLOT] += pages
    counters[Counter.PSWPIN] += pages
    if order > 0:
        counters[SWPIN_BASE + order] += 1


@kernel
def _largest_swapped_order(parameters, region, page, pte_state):
    """Order to swap in: the enabled one if its aligned range is all swap entries, else 0."""
    order = parameters["swapin_order"]
    first = page >> order << order
    for part in range(1 << order):
        if pte_state[region, first + part] != PTE_SWAP:
            return 0
    return order


@kernel
def swap_in(parameters, step_index, region, page, region_state, pte_state, counters, events):
    """One major fault on a swapped-out page of a range.

    Returns the order of the folio that it brought in. Behind a PMD swap entry the swap cache of a
    synchronous device is always EMPTY, so the whole range is tried first; if no order-9 page can be
    had, the entry is split and the same fault goes on with one PTE.
    Allocates: no. Mutates: region_state, pte_state, counters, events.
    """
    counters[Counter.PGFAULT] += 1
    counters[Counter.PGMAJFAULT] += 1
    events[Event.FAULT] += 1
    if region_state[region] == RegionState.PMD_SWAP:
        draw = uniform_32(parameters["seed"], step_index, region)
        if draw >= parameters["order9_failure_threshold"]:
            region_state[region] = RegionState.PMD_MAPPED
            _read_folio(parameters, np.int64(PMD_ORDER), counters, events)
            events[Event.MAP_PMD] += 1
            return PMD_ORDER
        _split_to_swap_entries(parameters, region, region_state, pte_state, counters, events)
        events[Event.ORDER9_ALLOCATION_FAILURE] += 1
        events[Event.SPLIT_PMD_SWAP_ENTRY] += 1
        counters[Counter.SWPIN_FALLBACK_2048K] += 1
    order = _largest_swapped_order(parameters, region, page, pte_state)
    first = page >> order << order
    for part in range(1 << order):
        pte_state[region, first + part] = PTE_PRESENT + order
    _read_folio(parameters, order, counters, events)
    events[Event.MAP_PTE] += 1 << order
    return order
