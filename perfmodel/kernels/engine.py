"""The engine: runs the steps of a scenario in order, one record of parameters per run."""

import numpy as np

from perfmodel.constants import (
    N_COUNTERS,
    N_EVENTS,
    N_MAPPING,
    PAGE_BYTES,
    PAGES_PER_PMD,
    PMD_BYTES,
    PTE_SWAP,
    PTE_TABLE_BYTES,
    Action,
    Event,
    Mapping,
    RegionState,
)
from perfmodel.kernels._jit import driver, kernel, prange
from perfmodel.kernels.swap import fill_region, page_out_region, swap_in
from perfmodel.kernels.tlb import flush, forget_range, translate


@kernel
def touch_region(
    parameters, step_index, region, pages_touched, region_state, pte_state, tlb, counters, events
):
    """Read one word in each of `pages_touched` pages, evenly spread over the range, in order.

    A page that a fault of this step brought in is still in the caches (the codec wrote it), every
    other access goes to memory.
    Allocates: no. Mutates: region_state, pte_state, tlb, counters, events.
    """
    cached_until = -1
    for turn in range(pages_touched):
        page = turn * PAGES_PER_PMD // pages_touched
        number = region * PAGES_PER_PMD + page
        state = region_state[region]
        absent = state == RegionState.PMD_SWAP or (
            state == RegionState.PTE_TABLE and pte_state[region, page] == PTE_SWAP
        )
        if absent:
            # The walk that found the swap entry; it leaves nothing in the TLB.
            if state == RegionState.PMD_SWAP:
                events[Event.WALK_PMD] += 1
            else:
                events[Event.WALK_PTE] += 1
            order = swap_in(
                parameters, step_index, region, page, region_state, pte_state, counters, events
            )
            cached_until = (page >> order << order) + (1 << order)
        huge = 1 if region_state[region] == RegionState.PMD_MAPPED else 0
        translate(parameters, tlb, number, huge, events)
        if page < cached_until:
            events[Event.ACCESS_CACHED] += 1
        else:
            events[Event.ACCESS_MEMORY] += 1


@kernel
def run_step(parameters, steps, step_index, region_state, pte_state, tlb, counters, events):
    """One step over all ranges. Allocates: no. Mutates: everything but parameters and steps."""
    action = steps[step_index]["action"]
    for region in range(region_state.shape[0]):
        if action == Action.FILL:
            fill_region(parameters, region, region_state, counters, events)
        elif action == Action.PAGEOUT:
            page_out_region(parameters, region, region_state, pte_state, counters, events)
            forget_range(tlb, region)
        else:
            touch_region(
                parameters,
                step_index,
                region,
                steps[step_index]["pages_per_2mib"],
                region_state,
                pte_state,
                tlb,
                counters,
                events,
            )


@kernel
def describe_mapping(parameters, region_state, pte_state, mapping):
    """What is mapped how, summed over all ranges. Allocates: no. Mutates: mapping."""
    for region in range(region_state.shape[0]):
        state = region_state[region]
        if state == RegionState.NONE:
            continue
        if state == RegionState.PTE_TABLE:
            mapping[Mapping.PAGE_TABLE_BYTES] += PTE_TABLE_BYTES
            for page in range(PAGES_PER_PMD):
                if pte_state[region, page] == PTE_SWAP:
                    mapping[Mapping.PTE_SWAP_ENTRIES] += 1
                else:
                    mapping[Mapping.PTE_MAPPED_BYTES] += PAGE_BYTES
            continue
        if parameters["lazy_page_table_deposit"] == 0:
            mapping[Mapping.PAGE_TABLE_BYTES] += PTE_TABLE_BYTES
        if state == RegionState.PMD_MAPPED:
            mapping[Mapping.PMD_MAPPED_BYTES] += PMD_BYTES
        else:
            mapping[Mapping.PMD_SWAP_ENTRIES] += 1


@kernel
def run(parameters, steps, region_state, pte_state, tlb, counters, events, mapping):
    """All steps of one run; row s of `counters` and `events` belongs to step s.

    Allocates: no. Mutates: everything but parameters and steps.
    """
    flush(tlb)
    for index in range(steps.shape[0]):
        run_step(
            parameters,
            steps,
            index,
            region_state,
            pte_state,
            tlb,
            counters[index],
            events[index],
        )
    describe_mapping(parameters, region_state, pte_state, mapping)


@driver
def run_all(parameters, steps, regions, tlb_columns):
    """Runs that differ in their record of parameters, each independent of the others.

    Parameters
    ----------
    parameters : structured array, shape (runs,)
        As packed by `perfmodel.abi`.
    steps : structured array, shape (steps,)
    regions : int
        Number of 2 MiB ranges.
    tlb_columns : int
        Entries of the largest TLB level.

    Returns
    -------
    counters : int64 array, shape (runs, steps, N_COUNTERS)
    events : int64 array, shape (runs, steps, N_EVENTS)
    mapping : int64 array, shape (runs, N_MAPPING)
    """
    runs = parameters.shape[0]
    counters = np.zeros((runs, steps.shape[0], N_COUNTERS), dtype=np.int64)
    events = np.zeros((runs, steps.shape[0], N_EVENTS), dtype=np.int64)
    mapping = np.zeros((runs, N_MAPPING), dtype=np.int64)
    for index in prange(runs):
        region_state = np.zeros(regions, dtype=np.int64)
        pte_state = np.zeros((regions, PAGES_PER_PMD), dtype=np.int8)
        tlb = np.zeros((4, tlb_columns), dtype=np.int64)
        run(
            parameters[index],
            steps,
            region_state,
            pte_state,
            tlb,
            counters[index],
            events[index],
            mapping[index],
        )
    return counters, events, mapping
