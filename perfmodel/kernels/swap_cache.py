"""The rule. A PMD swap entry is only a compact encoding of 512 ordinary swap slots and promises
nothing about the swap cache; whoever meets one asks here, and nobody else decides.
"""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    PMD_ORDER,
    CacheClass,
    Event,
    Fallback,
    OrderCounter,
)
from perfmodel.kernels._jit import inline_kernel
from perfmodel.kernels.clock import charge, hold_cluster
from perfmodel.kernels.folios import enter_cache, folio_order, new_folio
from perfmodel.kernels.frames import (
    FOR_FAULT,
    fault_effort,
    find_frames,
    give_back_frames,
    own_frames,
)
from perfmodel.kernels.layout import (
    CLUSTER_ZSWAP,
    SLOT_FOLIO_SHIFT,
    SLOT_ZERO,
    SLOT_ZSWAP,
    Cell,
)
from perfmodel.kernels.lru import admit, is_limited, shadow_of
from perfmodel.kernels.pressure import charge_memory
from perfmodel.kernels.random import uniform_32
from perfmodel.kernels.requests import request
from perfmodel.kernels.slots import is_whole
from perfmodel.kernels.swap_devices import is_synchronous
from perfmodel.kernels.swap_io import count_order, read_folio

# Random streams of the two refusals; a scenario has at most as many steps.
_CHARGE_STREAM = 1000
NO_FALLBACK = -1


@inline_kernel
def classify(m, cluster):
    """What the swap cache holds of the 512 slots of a cluster: a `CacheClass`.

    Reads slot words up to the first cached one.
    Allocates: no. Mutates: events.
    """
    if is_whole(m, cluster):
        if np.int64(m.clusters[cluster]["value"]) >= 0:
            charge(m, Event.CLASSIFY_SLOT, 1)
            return np.int64(CacheClass.HUGE.value)
        charge(m, Event.CLASSIFY_SLOT, PAGES_PER_PMD)
        return np.int64(CacheClass.EMPTY.value)
    row = np.int64(m.clusters[cluster]["value"])
    for offset in range(PAGES_PER_PMD):
        folio = (m.rows[row, offset] >> SLOT_FOLIO_SHIFT) - 1
        if folio >= 0:
            charge(m, Event.CLASSIFY_SLOT, offset + 1)
            if offset == 0 and folio_order(m, folio) == PMD_ORDER:
                return np.int64(CacheClass.HUGE.value)
            return np.int64(CacheClass.SPLIT.value)
    charge(m, Event.CLASSIFY_SLOT, PAGES_PER_PMD)
    return np.int64(CacheClass.EMPTY.value)


@inline_kernel
def _slot_flags(m, cluster, offset):
    if is_whole(m, cluster):
        return np.int64(m.clusters[cluster]["flags"]) << 8
    return m.rows[np.int64(m.clusters[cluster]["value"]), offset] & (SLOT_ZERO | SLOT_ZSWAP)


@inline_kernel
def try_huge_read(m, q, cluster, page):
    """Bring the 512 slots of a cluster, of which nothing is cached, into the cache as one folio.

    Parameters
    ----------
    q : int
        PMD record that asks; the random refusals are its own.
    cluster, page : int
        The slots, and the first region page that they hold.

    Returns
    -------
    int
        `NO_FALLBACK`, or the `Fallback` reason.
    """
    reason = np.int64(NO_FALLBACK)
    any_zswap = False
    first_flags = _slot_flags(m, cluster, np.int64(0))
    if is_whole(m, cluster):
        any_zswap = (np.int64(m.clusters[cluster]["flags"]) & CLUSTER_ZSWAP) != 0
    else:
        for offset in range(PAGES_PER_PMD):
            flags = _slot_flags(m, cluster, offset)
            if (flags ^ first_flags) & SLOT_ZERO:
                reason = np.int64(Fallback.MIXED_ZERO_STATE.value)
            any_zswap = any_zswap or (flags & SLOT_ZSWAP) != 0
    seed = m.parameters["seed"]
    step = m.state[Cell.STEP]
    if reason == NO_FALLBACK:
        no_page = m.parameters["order9_failure_threshold"]
        no_charge = m.parameters["charge_failure_threshold"]
        if (no_page > 0 and uniform_32(seed, step, q) < no_page) or not find_frames(
            m, np.int64(PMD_ORDER), fault_effort(m), FOR_FAULT
        ):
            charge(m, Event.ORDER9_ALLOCATION_FAILURE, 1)
            reason = np.int64(Fallback.NO_ORDER9_PAGE.value)
        elif (
            no_charge > 0 and uniform_32(seed, step + _CHARGE_STREAM, q) < no_charge
        ) or not charge_memory(m, np.int64(PAGES_PER_PMD)):
            give_back_frames(m, FOR_FAULT)
            charge(m, Event.ORDER9_ALLOCATION_FAILURE, 1)
            count_order(m, np.int64(OrderCounter.SWPIN_FALLBACK_CHARGE.value), np.int64(PMD_ORDER))
            reason = np.int64(Fallback.CHARGE_REFUSED.value)
        elif any_zswap:
            m.state[Cell.USAGE] -= PAGES_PER_PMD if is_limited(m) else 0
            give_back_frames(m, FOR_FAULT)
            # Found out only when the folio is in the cache: paid for and thrown away.
            charge(m, Event.SWAPIN_FOLIO, 1)
            charge(m, Event.SWAPIN_LARGE_FOLIO, 1)
            charge(m, Event.SWAPIN_PAGE, PAGES_PER_PMD)
            hold_cluster(m, cluster, np.int64(PAGES_PER_PMD))
            hold_cluster(m, cluster, np.int64(PAGES_PER_PMD))
            reason = np.int64(Fallback.ZSWAP.value)
    if reason != NO_FALLBACK:
        count_order(m, np.int64(OrderCounter.SWPIN_FALLBACK.value), np.int64(PMD_ORDER))
        return reason
    folio = new_folio(m, np.int64(PMD_ORDER), page)
    own_frames(m, folio, FOR_FAULT)
    shadow = shadow_of(m, cluster * PAGES_PER_PMD)
    enter_cache(m, folio, cluster * PAGES_PER_PMD)
    if is_limited(m):
        admit(m, folio, shadow)
        m.links[folio]["locked"] = m.state[Cell.CALL]
    hold_cluster(m, cluster, np.int64(PAGES_PER_PMD))
    slot = cluster * PAGES_PER_PMD
    read_folio(m, np.int64(PMD_ORDER), slot, first_flags, np.int64(1))
    if not is_synchronous(m, slot) and not first_flags & SLOT_ZERO:
        request(m, folio, slot, np.int64(0))
    return reason
