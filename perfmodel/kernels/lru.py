"""The LRU lists of one memory cgroup, and what is remembered of pages that reclaim has thrown out.

docs/pressure.md says how they work. Only where the cgroup has a limit.
"""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    PICOSECONDS_PER_NANOSECOND,
    Counter,
    Lock,
    RegionState,
)
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import hold_lock
from perfmodel.kernels.layout import (
    ACTIVE,
    BATCH,
    CLUSTER_DETAILED,
    COUNTERS,
    INACTIVE,
    LAST_FAULTS,
    LINK_ACTIVE,
    LINK_WORKINGSET,
    LRU_FOLIOS,
    LRU_HEADS,
    LRU_PAGES,
    LRU_TAILS,
    MOST_CPUS,
    N_PLACES,
    NOWHERE,
    YOUNG,
    YOUNG_LEAF,
    Cell,
    cpu_cell,
)

# Pages that are charged together; no CPU has more of them in advance.
CHARGE_BATCH = 64
_MOST_IN_BATCH = 31
_FLUSH_PERIOD = 2 * 10**9 * PICOSECONDS_PER_NANOSECOND
_SWAP_IN_COST = 32


@inline_kernel
def is_limited(m):
    """Whether the memory cgroup has a limit."""
    return m.state[Cell.LIMIT] > 0


@inner_kernel
def prepare_lists(m):
    """Empty lists, no charges, nothing remembered."""
    for place in range(N_PLACES):
        m.state[LRU_HEADS + place] = -1
        m.state[LRU_TAILS + place] = -1
    limit = m.parameters["memory_limit"]
    m.state[Cell.LIMIT] = limit
    if limit > 0:
        m.state[Cell.YOUNG] = YOUNG
        other = m.parameters["other_charged_pages"]
        if other > 0:
            m.state[Cell.USAGE] = max(other, CHARGE_BATCH)
            m.state[Cell.STOCK] = m.state[Cell.USAGE] - other


@inline_kernel
def link_flags(m, folio):
    """LINK_ACTIVE, LINK_REFERENCED and LINK_WORKINGSET of a folio."""
    return np.int64(m.links[folio]["flags"])


@inline_kernel
def pages_on(m, place):
    """Pages of all folios in one place."""
    return m.state[LRU_PAGES + place]


@inline_kernel
def _insert(m, folio, place, newer, older):
    """Put a folio that is nowhere between two on a list; -1 stands for none."""
    link = m.links[folio]
    link["previous"] = newer
    link["next"] = older
    link["place"] = place
    if newer >= 0:
        m.links[newer]["next"] = folio
    else:
        m.state[LRU_HEADS + place] = folio
    if older >= 0:
        m.links[older]["previous"] = folio
    else:
        m.state[LRU_TAILS + place] = folio
    m.state[LRU_FOLIOS + place] += 1
    m.state[LRU_PAGES + place] += 1 << np.int64(m.folios[folio]["order"])


@inline_kernel
def push(m, folio, place):
    """Put a folio that is nowhere at the head of a list."""
    _insert(m, folio, place, np.int64(-1), m.state[LRU_HEADS + place])


@inline_kernel
def push_oldest(m, folio, place):
    """Put a folio that is nowhere at the tail of a list."""
    _insert(m, folio, place, m.state[LRU_TAILS + place], np.int64(-1))


@inline_kernel
def pull(m, folio):
    """Take a folio off its list, if it is on one."""
    link = m.links[folio]
    place = np.int64(link["place"])
    if place == NOWHERE:
        return
    newer = np.int64(link["previous"])
    older = np.int64(link["next"])
    if newer >= 0:
        m.links[newer]["next"] = older
    else:
        m.state[LRU_HEADS + place] = older
    if older >= 0:
        m.links[older]["previous"] = newer
    else:
        m.state[LRU_TAILS + place] = newer
    link["place"] = NOWHERE
    m.state[LRU_FOLIOS + place] -= 1
    m.state[LRU_PAGES + place] -= 1 << np.int64(m.folios[folio]["order"])


@inline_kernel
def put_back(m, folio):
    """Put a folio at the head of the list that its flag says."""
    push(m, folio, np.int64(ACTIVE if link_flags(m, folio) & LINK_ACTIVE else INACTIVE))


@inner_kernel
def drain_batch(m, cpu):
    """The folios of a CPU's batch go to the lists, in the order in which they came."""
    place = BATCH + cpu
    moved = m.state[LRU_FOLIOS + place]
    if moved == 0:
        return
    while m.state[LRU_TAILS + place] >= 0:
        folio = m.state[LRU_TAILS + place]
        pull(m, folio)
        put_back(m, folio)
    hold_lock(m, np.int64(Lock.LRU.value), np.int64(0), moved)


@inline_kernel
def add_folio(m, folio):
    """A folio that is new on the lists; it goes there with others."""
    place = BATCH + m.state[Cell.CPU]
    push(m, folio, place)
    if m.state[LRU_FOLIOS + place] == _MOST_IN_BATCH or np.int64(m.folios[folio]["order"]) > 0:
        drain_batch(m, m.state[Cell.CPU])


@inline_kernel
def take_in_hand(m, folio):
    """Nobody else's reclaim gets a folio that a fault brings or maps before the fault is over.

    The kernel keeps it locked, or adds it to the lists when it is mapped.
    """
    if m.state[Cell.CPUS] > 1:
        m.links[folio]["in_hand"] = m.state[Cell.CALL] * MOST_CPUS + m.state[Cell.CPU]


@inline_kernel
def note_last_fault(m):
    """A fault has been done, all of it at once; it is over when this CPU's clock says so."""
    if m.state[Cell.CPUS] > 1:
        cpu = m.state[Cell.CPU]
        m.state[LAST_FAULTS + cpu] = m.state[Cell.CALL] * MOST_CPUS + cpu


@inline_kernel
def is_in_hand(m, folio):
    """Whether a fault of another CPU that is not over yet has brought or mapped a folio."""
    if m.state[Cell.CPUS] == 1:
        return False
    fault = m.links[folio]["in_hand"]
    cpu = fault % MOST_CPUS
    return (
        cpu != m.state[Cell.CPU]
        and fault == m.state[LAST_FAULTS + cpu]
        and m.state[cpu_cell(cpu)] > m.state[Cell.NOW]
    )


@inner_kernel
def bury(m, folio):
    """A folio dies: it leaves its list, and its pages are not charged any more."""
    pull(m, folio)
    m.state[Cell.USAGE] -= 1 << np.int64(m.folios[folio]["order"])


@inner_kernel
def replace(m, folio, piece, is_first):
    """A piece of a folio that is split takes its place, with its flags.

    The kernel's order: what was the folio is its first page, and each further piece comes next to
    it on the newer side.
    """
    m.links[piece]["flags"] = link_flags(m, folio)
    m.links[piece]["place"] = NOWHERE
    m.links[piece]["locked"] = m.links[folio]["locked"]
    m.links[piece]["in_hand"] = m.links[folio]["in_hand"]
    m.state[Cell.USAGE] += 1
    place = np.int64(m.links[folio]["place"])
    if place == NOWHERE:
        return
    if is_first:
        _insert(m, piece, place, np.int64(folio), np.int64(m.links[folio]["next"]))
    else:
        _insert(m, piece, place, np.int64(m.links[folio]["previous"]), np.int64(folio))


@inner_kernel
def flush_statistics(m):
    """The statistics that reclaim steers by are brought up to date."""
    m.state[Cell.FLUSHED_INACTIVE] = pages_on(m, np.int64(INACTIVE))
    m.state[Cell.FLUSHED_ACTIVE] = pages_on(m, np.int64(ACTIVE))
    m.state[Cell.FLUSHED_ACTIVATED] = m.state[Cell.ACTIVATED]


@inline_kernel
def flush_in_time(m):
    """The periodic flusher, every two seconds."""
    if m.state[Cell.NOW] - m.state[Cell.FLUSHED_AT] >= _FLUSH_PERIOD:
        late = (m.state[Cell.NOW] - m.state[Cell.FLUSHED_AT]) % _FLUSH_PERIOD
        m.state[Cell.FLUSHED_AT] = m.state[Cell.NOW] - late
        flush_statistics(m)


@inline_kernel
def note_cost(m, cost):
    """What reclaim and refaults of anonymous memory cost, forgotten by halves."""
    if cost == 0:
        return
    m.state[Cell.ANON_COST] += cost
    if m.state[Cell.ANON_COST] > (
        (m.state[Cell.FLUSHED_INACTIVE] + m.state[Cell.FLUSHED_ACTIVE]) // 4
    ):
        m.state[Cell.ANON_COST] //= 2


@inline_kernel
def shadow_of(m, slot):
    """Shadow of one slot: age x 2 + workingset + 1, or 0."""
    cluster = slot // PAGES_PER_PMD
    if np.int64(m.clusters[cluster]["flags"]) & CLUSTER_DETAILED:
        return m.shadows[slot]
    return m.cluster_shadows[cluster]


@inner_kernel
def leave_shadows(m, folio, slot, pages):
    """Reclaim throws a folio out of memory: its slots remember when."""
    age = m.state[Cell.NONRESIDENT_AGE]
    workingset = 1 if link_flags(m, folio) & LINK_WORKINGSET else 0
    shadow = age * 2 + workingset + 1
    cluster = slot // PAGES_PER_PMD
    if np.int64(m.clusters[cluster]["flags"]) & CLUSTER_DETAILED:
        for number in range(slot, slot + pages):
            m.shadows[number] = shadow
    else:
        m.cluster_shadows[cluster] = shadow
    m.state[Cell.NONRESIDENT_AGE] = age + pages


@inner_kernel
def admit(m, folio, shadow):
    """A charged folio goes to the lists; a shadow says whether it has been there not long ago."""
    m.links[folio]["flags"] = 0
    m.links[folio]["place"] = NOWHERE
    m.links[folio]["locked"] = 0
    m.links[folio]["in_hand"] = 0
    take_in_hand(m, folio)
    if shadow > 0:
        pages = 1 << np.int64(m.folios[folio]["order"])
        m.counts[COUNTERS + Counter.WORKINGSET_REFAULT_ANON] += pages
        age = (shadow - 1) >> 1
        if m.state[Cell.NONRESIDENT_AGE] - age <= m.state[Cell.FLUSHED_ACTIVE]:
            flags = LINK_ACTIVE
            m.state[Cell.NONRESIDENT_AGE] += pages
            m.counts[COUNTERS + Counter.WORKINGSET_ACTIVATE_ANON] += pages
            m.state[Cell.ACTIVATED] += pages
            if (shadow - 1) & 1:
                flags |= LINK_WORKINGSET
                note_cost(m, _SWAP_IN_COST * pages)
                m.counts[COUNTERS + Counter.WORKINGSET_RESTORE_ANON] += pages
            m.links[folio]["flags"] = flags
    add_folio(m, folio)


@inline_kernel
def make_leaf_young(m, q):
    """A PMD leaf is new."""
    if is_limited(m):
        m.pmds[q]["translated"] = np.int64(m.pmds[q]["translated"]) | YOUNG_LEAF


@inline_kernel
def make_young(m, q, entry):
    """A walk has used a present entry."""
    pmd = m.pmds[q]
    if np.int64(pmd["kind"]) == RegionState.PTE_TABLE:
        m.rows[np.int64(pmd["value"]), entry] |= YOUNG
    elif np.int64(pmd["kind"]) == RegionState.PMD_MAPPED:
        pmd["translated"] = np.int64(pmd["translated"]) | YOUNG_LEAF


@inner_kernel
def return_stocks(m):
    """All CPUs give back what they have charged in advance."""
    m.state[Cell.USAGE] -= m.state[Cell.STOCK]
    m.state[Cell.STOCK] = 0
    for cpu in range(m.state[Cell.CPUS]):
        if cpu != m.state[Cell.CPU]:
            cell = cpu_cell(cpu) + Cell.STOCK - Cell.NOW
            m.state[Cell.USAGE] -= m.state[cell]
            m.state[cell] = 0


@inline_kernel
def uncharge_table(m):
    """A page table is freed: this CPU's stock has one more page."""
    if is_limited(m):
        m.state[Cell.STOCK] += 1
        if m.state[Cell.STOCK] > CHARGE_BATCH:
            m.state[Cell.USAGE] -= m.state[Cell.STOCK]
            m.state[Cell.STOCK] = 0


@inline_kernel
def force_charge_table(m):
    """One page for a page table, whatever the limit says."""
    if is_limited(m):
        if m.state[Cell.STOCK] > 0:
            m.state[Cell.STOCK] -= 1
        else:
            m.state[Cell.USAGE] += 1
