"""Swap slots in clusters of 512: allocation by order as in Linux 6.18, counts, and freeing."""

import numpy as np

from perfmodel.constants import PAGES_PER_PMD, PMD_ORDER, Fallback
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import hold_cluster
from perfmodel.kernels.layout import (
    CLUSTER_DETAILED,
    CLUSTER_ZSWAP,
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
    SwapCell,
)
from perfmodel.kernels.lru import is_limited
from perfmodel.kernels.swap_devices import (
    charge_free,
    count_slots,
    device_of,
    line_up,
    next_device,
)
from perfmodel.kernels.zswap_pool import forget_stored


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
        m.swap[device_of(m, cluster), SwapCell.HEADS + which] = after
    if after >= 0:
        m.clusters[after]["previous"] = before
    else:
        m.swap[device_of(m, cluster), SwapCell.TAILS + which] = before
    c["list"] = LIST_NONE


@inner_kernel
def move_cluster(m, cluster, which):
    """Put a cluster at the tail of its device's list, unless it stands on that list already."""
    c = m.clusters[cluster]
    if np.int64(c["list"]) == which:
        return
    unlink_cluster(m, cluster)
    row = m.swap[device_of(m, cluster)]
    tail = row[SwapCell.TAILS + which]
    c["previous"] = tail
    c["next"] = -1
    c["list"] = which
    if tail >= 0:
        m.clusters[tail]["next"] = cluster
    else:
        row[SwapCell.HEADS + which] = cluster
    row[SwapCell.TAILS + which] = cluster


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
            count_slots(m, cluster, size)
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
def _scan_list(m, device, which, order, most):
    """Scan at most `most` clusters of a list, from its head on, until one yields."""
    found = -1
    row = m.swap[device]
    # A scanned cluster may come back to the same list at its tail: each is scanned once.
    last = row[SwapCell.TAILS + which]
    turns = 0
    while found < 0 and turns < most and row[SwapCell.HEADS + which] >= 0:
        cluster = row[SwapCell.HEADS + which]
        unlink_cluster(m, cluster)
        found = _scan(m, cluster, np.int64(0), order)
        turns += 1
        if cluster == last:
            break
    return found


@inner_kernel
def _take_free_cluster(m, device):
    """The head of the free list, -1 if it is empty; clusters that were never used come first."""
    row = m.swap[device]
    cluster = row[SwapCell.FRESH_CLUSTER]
    if cluster < row[SwapCell.END_CLUSTER]:
        row[SwapCell.FRESH_CLUSTER] = cluster + 1
        c = m.clusters[cluster]
        c["value"] = -1
        c["used"] = 0
        c["list"] = LIST_NONE
        c["order"] = 0
        c["count"] = 0
        c["flags"] = 0
        return cluster
    cluster = row[SwapCell.HEADS + LIST_FREE]
    if cluster >= 0:
        unlink_cluster(m, cluster)
    return cluster


@inline_kernel
def allocate_slots(m, order):
    """First of 2**order slots for a folio; -1 if none can be had.

    The cluster that this CPU had last, on whichever device, comes first; then the device whose turn
    it is. A page finds a slot on every device that is not full. A large folio is not tried on a
    second one.
    """
    found = -1
    m.state[Cell.SWAP_DEVICE] = 0
    hint = m.state[Cell.HINTS + order]
    if hint >= 0:
        cluster = hint // PAGES_PER_PMD
        if _is_usable(m, cluster, order):
            offset = hint % PAGES_PER_PMD
            if np.int64(m.clusters[cluster]["used"]) == 0:
                offset = 0
            found = _scan(m, cluster, offset, order)
    if found < 0:
        device = next_device(m)
        if device >= 0:
            found = _search(m, device, order)
    return found


@inner_kernel
def _search(m, device, order):
    """The same on one device, whose clusters are looked at by the lists that they stand on."""
    if order > 0 and m.swap[device, SwapCell.BLOCK_DEVICE] == 0:
        return np.int64(-1)
    every = m.state[Cell.CLUSTERS] + 1
    found = np.int64(-1)
    if order < PMD_ORDER:
        found = _scan_list(m, device, np.int64(LIST_NONFULL) + order, order, every)
    if found < 0:
        cluster = _take_free_cluster(m, device)
        if cluster >= 0:
            found = _scan(m, cluster, np.int64(0), order)
    if found < 0 and order < PMD_ORDER:
        found = _scan_list(m, device, np.int64(LIST_FRAG) + order, order, np.int64(1))
    if found < 0 and order == 0:
        for other in range(1, PMD_ORDER + 1):
            if found < 0:
                found = _scan_list(m, device, np.int64(LIST_FRAG) + other, order, every)
            if found < 0:
                found = _scan_list(m, device, np.int64(LIST_NONFULL) + other, order, every)
    return found


@inner_kernel
def allocation_failure(m):
    """Reason why a folio of order > 0 got no slots, from the device that was asked last."""
    if m.swap[m.state[Cell.SWAP_DEVICE], SwapCell.BLOCK_DEVICE] == 0:
        return np.int64(Fallback.NOT_BLOCK_DEVICE.value)
    return np.int64(Fallback.NO_FREE_CLUSTER.value)


@inline_kernel
def is_whole(m, cluster):
    """Whether all slots of a cluster are alike."""
    return (np.int64(m.clusters[cluster]["flags"]) & CLUSTER_DETAILED) == 0


@inline_kernel
def is_fresh(m, cluster):
    """Whether a cluster has not been used since its device was switched on."""
    return cluster >= m.swap[device_of(m, cluster), SwapCell.FRESH_CLUSTER]


@inline_kernel
def slot_word(m, slot):
    """Count, flags and cached folio of one slot, without making a row."""
    cluster = slot // PAGES_PER_PMD
    if is_fresh(m, cluster):
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
        charge_free(m, slot, np.int64(1))
    elif word & SLOT_ZSWAP:
        forget_stored(m, slot)
    m.rows[row, slot % PAGES_PER_PMD] = 0
    if is_limited(m):
        m.shadows[slot] = 0
    c = m.clusters[cluster]
    c["used"] = np.int64(c["used"]) - 1
    count_slots(m, cluster, np.int64(-1))
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
        charge_free(m, cluster * PAGES_PER_PMD, np.int64(PAGES_PER_PMD))
    elif np.int64(c["flags"]) & CLUSTER_ZSWAP:
        for offset in range(PAGES_PER_PMD):
            forget_stored(m, cluster * PAGES_PER_PMD + offset)
    c["used"] = 0
    if is_limited(m):
        m.cluster_shadows[cluster] = 0
    count_slots(m, cluster, np.int64(-PAGES_PER_PMD))
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
    """Whether all devices together are so full that the kernel drops what it caches."""
    usable = (m.state[Cell.CLUSTERS] + 1) * PAGES_PER_PMD - m.swap.shape[0]
    return m.state[Cell.USED_SLOTS] * 2 > usable


@inner_kernel
def fresh_devices(m):
    """All devices are empty: slot 0 of each is its header."""
    m.state[Cell.USED_SLOTS] = 0
    m.state[Cell.ROTATIONS] = 0
    for order in range(PMD_ORDER + 1):
        m.state[Cell.HINTS + order] = -1
    for device in range(m.swap.shape[0]):
        row = m.swap[device]
        header = row[SwapCell.FIRST_CLUSTER]
        row[SwapCell.FRESH_CLUSTER] = header + 1
        row[SwapCell.USED_SLOTS] = 0
        line_up(m, device)
        for which in range(N_LISTS):
            row[SwapCell.HEADS + which] = -1
            row[SwapCell.TAILS + which] = -1
        c = m.clusters[header]
        c["value"] = -1
        c["used"] = 0
        c["list"] = LIST_NONE
        c["order"] = 0
        c["count"] = 0
        c["flags"] = 0
        m.rows[detail(m, header), 0] = SLOT_HEADER
        c["used"] = 1
        # No slot that anybody could use.
        row[SwapCell.USED_SLOTS] = 1
        move_cluster(m, header, np.int64(LIST_NONFULL))


@inner_kernel
def add_neighbours(m):
    """Another program fills a device's first cluster and the first slots of all but the last."""
    for device in range(m.swap.shape[0]):
        slots_each = m.swap[device, SwapCell.NEIGHBOUR_SLOTS]
        if slots_each == 0:
            continue
        first = m.swap[device, SwapCell.FIRST_CLUSTER]
        row = detail(m, first)
        for offset in range(1, PAGES_PER_PMD):
            m.rows[row, offset] = SLOT_NEIGHBOUR
        _occupy(m, first, np.int64(PAGES_PER_PMD))
        end = m.swap[device, SwapCell.END_CLUSTER] - m.swap[device, SwapCell.FREE_CLUSTERS]
        for _ in range(first + 1, end):
            cluster = _take_free_cluster(m, device)
            row = detail(m, cluster)
            for offset in range(slots_each):
                m.rows[row, offset] = SLOT_NEIGHBOUR
            _occupy(m, cluster, slots_each)


@inner_kernel
def _occupy(m, cluster, slots):
    """So many slots of a cluster are a neighbour's, or the header."""
    c = m.clusters[cluster]
    count_slots(m, cluster, slots - np.int64(c["used"]))
    c["used"] = slots
    full = slots == PAGES_PER_PMD
    move_cluster(m, cluster, np.int64(LIST_FULL if full else LIST_NONFULL))
