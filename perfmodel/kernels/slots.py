"""Swap slots in clusters of 512: allocation by order as in Linux 6.18, counts, and freeing."""

import numpy as np

from perfmodel.constants import PAGES_PER_PMD, PMD_ORDER, Event, Fallback
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import charge, hold_cluster
from perfmodel.kernels.layout import (
    CLUSTER_DETAILED,
    LIST_FRAG,
    LIST_FREE,
    LIST_FULL,
    LIST_NONE,
    LIST_NONFULL,
    N_LISTS,
    SLOT_COUNT,
    SLOT_FOLIO_SHIFT,
    SLOT_HEADER,
    SLOT_NEIGHBOUR,
    SLOT_ZERO,
    SLOT_ZSWAP,
    SPARE_FOLIOS,
    SPARE_ROWS,
    Cell,
)
from perfmodel.kernels.lru import is_limited


@inner_kernel
def fill_pools(m):
    """All folios and rows are there to be taken."""
    m.state[Cell.FREE_FOLIO] = -1
    m.state[Cell.FREE_ROW] = -1
    m.state[Cell.FOLIOS_LEFT] = m.folios.shape[0]
    m.state[Cell.ROWS_LEFT] = m.rows.shape[0]


@inline_kernel
def runs_short(m):
    """Whether the pools might not last for one more 2 MiB; the run must end then.

    Asked before each 2 MiB and each fault, so that nobody who takes from a pool has to.
    """
    short = m.state[Cell.ROWS_LEFT] < SPARE_ROWS or m.state[Cell.FOLIOS_LEFT] < SPARE_FOLIOS
    if short:
        m.state[Cell.EXHAUSTED] = 1
    return short


@inner_kernel
def take_row(m):
    """A row of 512 words from the pool; its words are undefined."""
    m.state[Cell.ROWS_LEFT] -= 1
    row = m.state[Cell.FREE_ROW]
    if row >= 0:
        m.state[Cell.FREE_ROW] = m.rows[row, 0]
        return row
    row = m.state[Cell.FRESH_ROW]
    m.state[Cell.FRESH_ROW] = row + 1
    return row


@inline_kernel
def release_row(m, row):
    """Give a row back to the pool."""
    m.state[Cell.ROWS_LEFT] += 1
    m.rows[row, 0] = m.state[Cell.FREE_ROW]
    m.state[Cell.FREE_ROW] = row


@inline_kernel
def unlink_cluster(m, cluster):
    """Take a cluster off its list."""
    c = m.clusters[cluster]
    which = np.int64(c["list"])
    if which == LIST_NONE:
        return
    before = np.int64(c["previous"])
    after = np.int64(c["next"])
    if before >= 0:
        m.clusters[before]["next"] = after
    else:
        m.state[Cell.HEADS + which] = after
    if after >= 0:
        m.clusters[after]["previous"] = before
    else:
        m.state[Cell.TAILS + which] = before
    c["list"] = LIST_NONE


@inner_kernel
def move_cluster(m, cluster, which):
    """Put a cluster at the tail of a list, unless it stands on that list already."""
    c = m.clusters[cluster]
    if np.int64(c["list"]) == which:
        return
    unlink_cluster(m, cluster)
    tail = m.state[Cell.TAILS + which]
    c["previous"] = tail
    c["next"] = -1
    c["list"] = which
    if tail >= 0:
        m.clusters[tail]["next"] = cluster
    else:
        m.state[Cell.HEADS + which] = cluster
    m.state[Cell.TAILS + which] = cluster


@inner_kernel
def detail(m, cluster):
    """Row of a cluster's slot words, made if all slots were alike so far."""
    c = m.clusters[cluster]
    if np.int64(c["flags"]) & CLUSTER_DETAILED:
        return np.int64(c["value"])
    row = take_row(m)
    word = 0
    if np.int64(c["used"]) > 0:
        # CLUSTER_ZERO and CLUSTER_ZSWAP are SLOT_ZERO and SLOT_ZSWAP, 8 bits lower.
        word = np.int64(c["count"]) | (np.int64(c["flags"]) << 8)
        word |= (np.int64(c["value"]) + 1) << SLOT_FOLIO_SHIFT
    for offset in range(PAGES_PER_PMD):
        m.rows[row, offset] = word
    if is_limited(m):
        for offset in range(PAGES_PER_PMD):
            m.shadows[cluster * PAGES_PER_PMD + offset] = m.cluster_shadows[cluster]
        m.cluster_shadows[cluster] = 0
    c["flags"] = CLUSTER_DETAILED
    c["value"] = row
    return row


@inline_kernel
def _is_usable(m, cluster, order):
    c = m.clusters[cluster]
    return np.int64(c["used"]) == 0 or order == 0 or np.int64(c["order"]) == order


@inner_kernel
def _scan(m, cluster, offset, order):
    """Take the first free aligned slots of a cluster from `offset` on; -1 if there are none."""
    size = 1 << order
    c = m.clusters[cluster]
    found = -1
    hint = -1
    used = np.int64(c["used"])
    if used + size <= PAGES_PER_PMD:
        if order == PMD_ORDER:
            found = 0
            c["flags"] = 0
            c["count"] = 0
            c["value"] = -1
        else:
            row = detail(m, cluster)
            while offset + size <= PAGES_PER_PMD and found < 0:
                free = True
                for part in range(size):
                    if m.rows[row, offset + part] != 0:
                        free = False
                        break
                if free:
                    found = offset
                offset += size
        if found >= 0:
            if used == 0:
                c["order"] = order
            c["used"] = used + size
            m.state[Cell.USED_SLOTS] += size
            if used + size < PAGES_PER_PMD and offset + size <= PAGES_PER_PMD:
                hint = cluster * PAGES_PER_PMD + offset
            hold_cluster(m, cluster, size)
            found += cluster * PAGES_PER_PMD
    m.state[Cell.HINTS + order] = hint
    _place(m, cluster)
    return found


@inline_kernel
def _place(m, cluster):
    """Put a scanned cluster on the list where it belongs."""
    c = m.clusters[cluster]
    used = np.int64(c["used"])
    if used == PAGES_PER_PMD:
        move_cluster(m, cluster, np.int64(LIST_FULL))
    elif used == 0:
        _make_free(m, cluster)
    else:
        move_cluster(m, cluster, np.int64(LIST_FRAG) + np.int64(c["order"]))


@inline_kernel
def _make_free(m, cluster):
    c = m.clusters[cluster]
    if np.int64(c["flags"]) & CLUSTER_DETAILED:
        release_row(m, np.int64(c["value"]))
    c["flags"] = 0
    c["value"] = -1
    c["count"] = 0
    move_cluster(m, cluster, np.int64(LIST_FREE))


@inner_kernel
def _scan_list(m, which, order, most):
    """Scan at most `most` clusters of a list, from its head on, until one yields."""
    found = -1
    # A scanned cluster may come back to the same list at its tail: each is scanned once.
    last = m.state[Cell.TAILS + which]
    turns = 0
    while found < 0 and turns < most and m.state[Cell.HEADS + which] >= 0:
        cluster = m.state[Cell.HEADS + which]
        unlink_cluster(m, cluster)
        found = _scan(m, cluster, np.int64(0), order)
        turns += 1
        if cluster == last:
            break
    return found


@inner_kernel
def _take_free_cluster(m):
    """The head of the free list, -1 if it is empty; clusters that were never used come first."""
    cluster = m.state[Cell.FRESH_CLUSTER]
    if cluster <= m.state[Cell.CLUSTERS]:
        m.state[Cell.FRESH_CLUSTER] = cluster + 1
        c = m.clusters[cluster]
        c["value"] = -1
        c["used"] = 0
        c["list"] = LIST_NONE
        c["order"] = 0
        c["count"] = 0
        c["flags"] = 0
        return cluster
    cluster = m.state[Cell.HEADS + LIST_FREE]
    if cluster >= 0:
        unlink_cluster(m, cluster)
    return cluster


@inline_kernel
def allocate_slots(m, order):
    """First of 2**order slots for a folio; -1 if none can be had."""
    if order > 0 and m.parameters["block_device"] == 0:
        return -1
    found = -1
    every = m.state[Cell.CLUSTERS] + 1
    hint = m.state[Cell.HINTS + order]
    if hint >= 0:
        cluster = hint // PAGES_PER_PMD
        if _is_usable(m, cluster, order):
            offset = hint % PAGES_PER_PMD
            if np.int64(m.clusters[cluster]["used"]) == 0:
                offset = 0
            found = _scan(m, cluster, offset, order)
    if found < 0 and order < PMD_ORDER:
        found = _scan_list(m, np.int64(LIST_NONFULL) + order, order, every)
    if found < 0:
        cluster = _take_free_cluster(m)
        if cluster >= 0:
            found = _scan(m, cluster, np.int64(0), order)
    if found < 0 and order < PMD_ORDER:
        found = _scan_list(m, np.int64(LIST_FRAG) + order, order, np.int64(1))
    if found < 0 and order == 0:
        for other in range(1, PMD_ORDER + 1):
            if found < 0:
                found = _scan_list(m, np.int64(LIST_FRAG) + other, order, every)
            if found < 0:
                found = _scan_list(m, np.int64(LIST_NONFULL) + other, order, every)
    return found


@inner_kernel
def allocation_failure(m):
    """Reason why a folio of order > 0 got no slots."""
    if m.parameters["block_device"] == 0:
        return np.int64(Fallback.NOT_BLOCK_DEVICE.value)
    return np.int64(Fallback.NO_FREE_CLUSTER.value)


@inline_kernel
def is_whole(m, cluster):
    """Whether all slots of a cluster are alike."""
    return (np.int64(m.clusters[cluster]["flags"]) & CLUSTER_DETAILED) == 0


@inline_kernel
def slot_word(m, slot):
    """Count, flags and cached folio of one slot, without making a row."""
    cluster = slot // PAGES_PER_PMD
    if cluster >= m.state[Cell.FRESH_CLUSTER]:
        return np.int64(0)
    c = m.clusters[cluster]
    if np.int64(c["flags"]) & CLUSTER_DETAILED:
        return m.rows[np.int64(c["value"]), slot % PAGES_PER_PMD]
    if np.int64(c["used"]) == 0:
        return np.int64(0)
    word = np.int64(c["count"]) | (np.int64(c["flags"]) << 8)
    return np.int64(word | ((np.int64(c["value"]) + 1) << SLOT_FOLIO_SHIFT))


@inline_kernel
def cached_folio(m, slot):
    """Folio that the swap cache holds for a slot, or -1."""
    return (slot_word(m, slot) >> SLOT_FOLIO_SHIFT) - 1


@inline_kernel
def free_slot(m, slot):
    """Free one slot that nothing names and nothing caches."""
    cluster = slot // PAGES_PER_PMD
    row = detail(m, cluster)
    word = m.rows[row, slot % PAGES_PER_PMD]
    if word & (SLOT_ZERO | SLOT_ZSWAP | SLOT_NEIGHBOUR) == 0:
        charge(m, Event.FREE_SLOT, 1)
    m.rows[row, slot % PAGES_PER_PMD] = 0
    if is_limited(m):
        m.shadows[slot] = 0
    c = m.clusters[cluster]
    c["used"] = np.int64(c["used"]) - 1
    m.state[Cell.USED_SLOTS] -= 1
    _place_freed(m, cluster)


@inline_kernel
def _place_freed(m, cluster):
    c = m.clusters[cluster]
    if np.int64(c["used"]) == 0:
        _make_free(m, cluster)
    else:
        move_cluster(m, cluster, np.int64(LIST_NONFULL) + np.int64(c["order"]))


@inline_kernel
def free_whole_cluster(m, cluster):
    """Free all 512 slots of a cluster whose slots are alike."""
    c = m.clusters[cluster]
    if np.int64(c["flags"]) == 0:
        charge(m, Event.FREE_SLOT, PAGES_PER_PMD)
    c["used"] = 0
    if is_limited(m):
        m.cluster_shadows[cluster] = 0
    m.state[Cell.USED_SLOTS] -= PAGES_PER_PMD
    _make_free(m, cluster)


@inline_kernel
def add_counts(m, slot, size):
    """One more page-table entry names each of the slots, which lie in one cluster."""
    cluster = slot // PAGES_PER_PMD
    if size == PAGES_PER_PMD and is_whole(m, cluster):
        c = m.clusters[cluster]
        c["count"] = np.int64(c["count"]) + 1
        return
    row = detail(m, cluster)
    first = slot % PAGES_PER_PMD
    for part in range(size):
        m.rows[row, first + part] += 1


@inner_kernel
def any_count(m, slot, size):
    """Whether a page-table entry names one of the slots, which lie in one cluster."""
    cluster = slot // PAGES_PER_PMD
    if is_whole(m, cluster):
        return np.int64(m.clusters[cluster]["count"]) > 0
    row = np.int64(m.clusters[cluster]["value"])
    first = slot % PAGES_PER_PMD
    counts = np.int64(0)
    for part in range(size):
        counts |= m.rows[row, first + part]
    return counts & SLOT_COUNT != 0


@inner_kernel
def more_than_half_used(m):
    """Whether the device is so full that the kernel drops what it caches."""
    usable = (m.state[Cell.CLUSTERS] + 1) * PAGES_PER_PMD - 1
    return m.state[Cell.USED_SLOTS] * 2 > usable


@inner_kernel
def fresh_device(m):
    """An empty device: slot 0 is its header."""
    m.state[Cell.FRESH_CLUSTER] = 1
    m.state[Cell.USED_SLOTS] = 0
    for order in range(PMD_ORDER + 1):
        m.state[Cell.HINTS + order] = -1
    for which in range(N_LISTS):
        m.state[Cell.HEADS + which] = -1
        m.state[Cell.TAILS + which] = -1
    c = m.clusters[0]
    c["value"] = -1
    c["used"] = 0
    c["list"] = LIST_NONE
    c["order"] = 0
    c["count"] = 0
    c["flags"] = 0
    row = detail(m, np.int64(0))
    m.rows[row, 0] = SLOT_HEADER
    c["used"] = 1
    move_cluster(m, np.int64(0), np.int64(LIST_NONFULL))


@inner_kernel
def add_neighbour(m, slots_each, free_clusters):
    """Another program fills cluster 0 and uses the first slots of all but the last clusters."""
    row = detail(m, np.int64(0))
    for offset in range(1, PAGES_PER_PMD):
        m.rows[row, offset] = SLOT_NEIGHBOUR
    m.clusters[0]["used"] = PAGES_PER_PMD
    m.state[Cell.USED_SLOTS] += PAGES_PER_PMD - 1
    move_cluster(m, np.int64(0), np.int64(LIST_FULL))
    for _ in range(m.state[Cell.CLUSTERS] - free_clusters):
        cluster = _take_free_cluster(m)
        row = detail(m, cluster)
        for offset in range(slots_each):
            m.rows[row, offset] = SLOT_NEIGHBOUR
        m.clusters[cluster]["used"] = slots_each
        m.state[Cell.USED_SLOTS] += slots_each
        if slots_each == PAGES_PER_PMD:
            move_cluster(m, cluster, np.int64(LIST_FULL))
        else:
            move_cluster(m, cluster, np.int64(LIST_NONFULL))
