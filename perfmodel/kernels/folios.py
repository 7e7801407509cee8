"""Folios, their place in the swap cache, and what happens when nothing names a slot any more."""

import numpy as np

from perfmodel.constants import PAGES_PER_PMD, PMD_ORDER, Event
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import charge, hold_cluster
from perfmodel.kernels.frames import release_frames
from perfmodel.kernels.layout import (
    FOLIO_DIRTY,
    SLOT_COUNT,
    SLOT_FOLIO_SHIFT,
    SLOT_ZERO,
    SLOT_ZSWAP,
    Cell,
)
from perfmodel.kernels.lru import bury, is_limited, leave_shadows
from perfmodel.kernels.requests import is_under_writeback
from perfmodel.kernels.slots import (
    any_count,
    detail,
    free_slot,
    free_whole_cluster,
    is_whole,
)
from perfmodel.kernels.split_queue import dequeue


@inline_kernel
def new_folio(m, order, page):
    """A folio for 2**order region pages from `page` on, neither mapped nor cached.

    Its page frames come from `own_frames`, or from the folio that it is a part of.
    """
    m.state[Cell.FOLIOS_LEFT] -= 1
    folio = m.state[Cell.FREE_FOLIO]
    if folio >= 0:
        m.state[Cell.FREE_FOLIO] = np.int64(m.folios[folio]["cluster"])
    else:
        folio = m.state[Cell.FRESH_FOLIO]
        m.state[Cell.FRESH_FOLIO] = folio + 1
    if m.parameters["synchronous"] == 0:
        m.done[folio] = 0
    f = m.folios[folio]
    f["cluster"] = -1
    f["range"] = page // PAGES_PER_PMD
    f["offset"] = 0
    f["index"] = page % PAGES_PER_PMD
    f["mapcount"] = 0
    f["order"] = order
    f["flags"] = 0
    m.state[Cell.CHARGED_PAGES] += 1 << order
    return folio


@inline_kernel
def drop_folio(m, folio):
    """A folio that is neither mapped nor cached dies."""
    m.state[Cell.FOLIOS_LEFT] += 1
    release_frames(m, folio)
    if is_limited(m):
        dequeue(m, folio)
        bury(m, folio)
    f = m.folios[folio]
    m.state[Cell.CHARGED_PAGES] -= 1 << np.int64(f["order"])
    f["cluster"] = m.state[Cell.FREE_FOLIO]
    f["order"] = -1
    m.state[Cell.FREE_FOLIO] = folio


@inline_kernel
def folio_order(m, folio):
    """Order of a folio."""
    return np.int64(m.folios[folio]["order"])


@inline_kernel
def folio_page(m, folio):
    """First region page of a folio."""
    f = m.folios[folio]
    return np.int64(f["range"]) * PAGES_PER_PMD + np.int64(f["index"])


@inline_kernel
def folio_slot(m, folio):
    """First slot of a folio in the swap cache, -1 if it is not there."""
    f = m.folios[folio]
    cluster = np.int64(f["cluster"])
    if cluster < 0:
        return -1
    return cluster * PAGES_PER_PMD + np.int64(f["offset"])


@inline_kernel
def is_cached(m, folio):
    """Whether a folio is in the swap cache."""
    return np.int64(m.folios[folio]["cluster"]) >= 0


@inline_kernel
def has_flag(m, folio, flag):
    """Whether a folio carries a flag."""
    return (np.int64(m.folios[folio]["flags"]) & flag) != 0


@inline_kernel
def set_flag(m, folio, flag):
    """Give a folio a flag."""
    m.folios[folio]["flags"] = np.int64(m.folios[folio]["flags"]) | flag


@inline_kernel
def clear_flag(m, folio, flag):
    """Take a flag from a folio."""
    m.folios[folio]["flags"] = np.int64(m.folios[folio]["flags"]) & ~flag


@inline_kernel
def add_mappings(m, folio, change):
    """Add to a folio's mapcount; returns the new one."""
    count = np.int64(m.folios[folio]["mapcount"]) + change
    m.folios[folio]["mapcount"] = count
    return count


@inline_kernel
def enter_cache(m, folio, slot):
    """Put a folio into the swap cache at its slots."""
    f = m.folios[folio]
    cluster = slot // PAGES_PER_PMD
    f["cluster"] = cluster
    f["offset"] = slot % PAGES_PER_PMD
    order = np.int64(f["order"])
    if order == PMD_ORDER and is_whole(m, cluster):
        m.clusters[cluster]["value"] = folio
        if is_limited(m):
            m.cluster_shadows[cluster] = 0
        return
    row = detail(m, cluster)
    if is_limited(m):
        for number in range(slot, slot + (1 << order)):
            m.shadows[number] = 0
    first = slot % PAGES_PER_PMD
    for part in range(1 << order):
        word = m.rows[row, first + part]
        word &= (1 << SLOT_FOLIO_SHIFT) - 1
        m.rows[row, first + part] = word | ((folio + 1) << SLOT_FOLIO_SHIFT)


@inner_kernel
def leave_cache(m, folio):
    """Take a folio out of the swap cache; slots that no entry names are freed."""
    f = m.folios[folio]
    cluster = np.int64(f["cluster"])
    first = np.int64(f["offset"])
    order = np.int64(f["order"])
    f["cluster"] = -1
    if order == PMD_ORDER and is_whole(m, cluster):
        m.clusters[cluster]["value"] = -1
        if np.int64(m.clusters[cluster]["count"]) == 0:
            free_whole_cluster(m, cluster)
        return
    row = detail(m, cluster)
    # All words first: the last freed slot gives the row away.
    for part in range(1 << order):
        m.rows[row, first + part] &= (1 << SLOT_FOLIO_SHIFT) - 1
    slot = cluster * PAGES_PER_PMD + first
    for part in range(1 << order):
        if m.rows[row, first + part] & SLOT_COUNT == 0:
            free_slot(m, slot + part)


@inner_kernel
def try_free_cache(m, folio):
    """Take a folio out of the cache if no entry names its slots; true if it is out."""
    slot = folio_slot(m, folio)
    if slot < 0:
        return True
    if is_under_writeback(m, folio):
        return False
    if any_count(m, slot, 1 << folio_order(m, folio)):
        return False
    leave_cache(m, folio)
    set_flag(m, folio, np.int64(FOLIO_DIRTY))
    return True


@inner_kernel
def _dies_unnamed(m, folio):
    """A slot of a cached folio lost its last name: the folio dies if nothing else holds it."""
    if np.int64(m.folios[folio]["mapcount"]) > 0:
        return False
    if any_count(m, folio_slot(m, folio), 1 << folio_order(m, folio)):
        return False
    leave_cache(m, folio)
    drop_folio(m, folio)
    return True


@inline_kernel
def put_slots(m, slot, size):
    """One page-table entry less names each of `size` consecutive slots."""
    while size > 0:
        cluster = slot // PAGES_PER_PMD
        first = slot % PAGES_PER_PMD
        part = min(size, PAGES_PER_PMD - first)
        hold_cluster(m, cluster, part)
        if part == PAGES_PER_PMD and is_whole(m, cluster):
            _put_whole(m, cluster)
        else:
            _put_in_cluster(m, cluster, first, part)
        slot += part
        size -= part


@inline_kernel
def _put_whole(m, cluster):
    c = m.clusters[cluster]
    count = np.int64(c["count"]) - 1
    c["count"] = count
    if count > 0:
        return
    folio = np.int64(c["value"])
    if folio < 0:
        free_whole_cluster(m, cluster)
    elif np.int64(m.folios[folio]["mapcount"]) == 0:
        leave_cache(m, folio)
        drop_folio(m, folio)


@inline_kernel
def put_huge(m, cluster, folio, leaves):
    """One PMD entry less names a cluster's slots, and maps `folio` that the cache holds for them.

    With `leaves` the folio leaves the cache if no entry names its slots any more.
    """
    if not is_whole(m, cluster):
        put_slots(m, cluster * PAGES_PER_PMD, np.int64(PAGES_PER_PMD))
        if leaves:
            try_free_cache(m, folio)
        return
    # The same for a cluster whose slots are alike, in a few lines: this is the fast path.
    hold_cluster(m, cluster, np.int64(PAGES_PER_PMD))
    c = m.clusters[cluster]
    count = np.int64(c["count"]) - 1
    c["count"] = count
    if leaves and count == 0:
        c["value"] = -1
        m.folios[folio]["cluster"] = -1
        set_flag(m, folio, np.int64(FOLIO_DIRTY))
        free_whole_cluster(m, cluster)


@inline_kernel
def _put_in_cluster(m, cluster, first, size):
    row = detail(m, cluster)
    for offset in range(first, first + size):
        m.rows[row, offset] -= 1
    offset = np.int64(first)
    end = first + size
    while offset < end:
        word = m.rows[row, offset]
        step = np.int64(1)
        if word & SLOT_COUNT == 0:
            folio = (word >> SLOT_FOLIO_SHIFT) - 1
            if folio < 0:
                free_slot(m, cluster * PAGES_PER_PMD + offset)
            else:
                # All slots of a folio that dies go with it; some may lie behind.
                behind = np.int64(m.folios[folio]["offset"]) + (1 << folio_order(m, folio))
                if _dies_unnamed(m, folio):
                    step = behind - offset
        offset += step


@inner_kernel
def set_slot_flags(m, slot, size, flags):
    """Set the zero and zswap flags of slots to exactly `flags`."""
    cluster = slot // PAGES_PER_PMD
    if size == PAGES_PER_PMD and is_whole(m, cluster):
        # SLOT_ZERO and SLOT_ZSWAP are CLUSTER_ZERO and CLUSTER_ZSWAP, 8 bits higher.
        m.clusters[cluster]["flags"] = flags >> 8
        return
    row = detail(m, cluster)
    first = slot % PAGES_PER_PMD
    for offset in range(first, first + size):
        m.rows[row, offset] = (m.rows[row, offset] & ~(SLOT_ZERO | SLOT_ZSWAP)) | flags


@inner_kernel
def free_cached_folio(m, folio):
    """Reclaim drops a clean, unmapped folio from the swap cache."""
    charge(m, Event.FREE_CACHED_FOLIO, 1)
    charge(m, Event.FREE_PAGE, np.int64(1) << folio_order(m, folio))
    if is_limited(m):
        leave_shadows(m, folio, folio_slot(m, folio), 1 << folio_order(m, folio))
    leave_cache(m, folio)
    drop_folio(m, folio)
