"""The page fault, from the read of the PMD to the entry that lets the access succeed."""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    Backing,
    CacheClass,
    Counter,
    Event,
    Fallback,
    OrderCounter,
    PteKind,
    RegionState,
    Wait,
    Zswap,
)
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import charge, fall_back, hold_cluster, hold_pmd, hold_table
from perfmodel.kernels.folios import (
    add_mappings,
    folio_order,
    folio_slot,
    is_cached,
    new_folio,
    put_huge,
    put_slots,
    try_free_cache,
)
from perfmodel.kernels.frames import (
    FOR_FAULT,
    own_frames,
)
from perfmodel.kernels.large_folios import OWN, find_large, keep_warm, new_thp, page_number
from perfmodel.kernels.layout import (
    CARRIED,
    COUNTERS,
    EXCLUSIVE,
    PROTECTION_MASK,
    PROTECTION_SHIFT,
    SLOT_COUNT,
    SLOT_FOLIO_SHIFT,
    SLOT_ZERO,
    SLOT_ZSWAP,
    SOFT_DIRTY,
    VALUE_SHIFT,
    WRITABLE,
    WRITABLE_PAGE,
    Cell,
)
from perfmodel.kernels.lru import admit, is_limited, make_leaf_young, shadow_of, take_in_hand
from perfmodel.kernels.pressure import charge_memory
from perfmodel.kernels.readahead import note_cache_hit, swap_in_with_readahead
from perfmodel.kernels.requests import end_requests, wait_for_read
from perfmodel.kernels.rmap import mappings_in, remove_mappings
from perfmodel.kernels.slots import cached_folio, more_than_half_used, slot_word
from perfmodel.kernels.swap_cache import NO_FALLBACK, classify, try_huge_read
from perfmodel.kernels.swap_devices import is_synchronous
from perfmodel.kernels.swap_io import count_order, read_folio
from perfmodel.kernels.tables import (
    is_armed,
    keep_protection,
    make_table,
    may_be_writable,
    one_vma,
    page_protection,
    pmd_flags,
    pmd_kind,
    pmd_value,
    set_pmd,
    shift_of,
    split_mapping,
    split_swap_entry,
    word_folio,
    word_kind,
    word_value,
)


@inline_kernel
def _writable_by(m, q, entry, flags):
    """WRITABLE if an entry with these flags may be written to."""
    if may_be_writable(flags) and page_protection(m, q, entry) == WRITABLE_PAGE:
        return np.int64(WRITABLE)
    return np.int64(0)


@inline_kernel
def map_huge(m, q, was_cached, may_write, write):
    """Map the one folio that the cache holds for a PMD swap entry, and drop 512 counts at once."""
    cluster = pmd_value(m, q)
    slot = cluster * PAGES_PER_PMD
    folio = cached_folio(m, slot)
    wait_for_read(m, folio, np.int64(Wait.PAGE_IN_FLIGHT if was_cached == 1 else Wait.DEVICE))
    flags = pmd_flags(m, q) & CARRIED
    if may_write == 1:
        flags |= _writable_by(m, q, np.int64(0), flags)
    set_pmd(m, q, np.int64(RegionState.PMD_MAPPED.value), flags, folio)
    take_in_hand(m, folio)
    make_leaf_young(m, q)
    others = add_mappings(m, folio, np.int64(1)) - 1
    charge(m, Event.MAP_PMD, 1)
    hold_pmd(m, q, np.int64(1))
    if was_cached == 1:
        charge(m, Event.PUT_SLOT, PAGES_PER_PMD)
    # A synchronous device is asked again at little cost; a device that fills up needs its slots.
    leaves = is_synchronous(m, slot) or (write == 1 and others == 0)
    put_huge(m, cluster, folio, leaves or more_than_half_used(m))


@inline_kernel
def swap_entry_fault(m, process, q, entry, write):
    """Fault on a PMD swap entry: 2 MiB at once; true if it has to go on with PTEs instead."""
    cluster = pmd_value(m, q)
    found = classify(m, cluster)
    reason = np.int64(Fallback.SPLIT_CACHE.value)
    if found == CacheClass.EMPTY:
        page = page_number(m, q, np.int64(0)) - shift_of(m, process)
        reason = try_huge_read(m, q, cluster, page)
        if reason == NO_FALLBACK:
            m.counts[COUNTERS + Counter.PGMAJFAULT] += 1
            keep_warm(m, q, np.int64(0), np.int64(PAGES_PER_PMD))
            map_huge(m, q, np.int64(0), np.int64(1), write)
    elif found == CacheClass.HUGE:
        reason = np.int64(NO_FALLBACK)
        map_huge(m, q, np.int64(1), np.int64(1), write)
    if reason != NO_FALLBACK:
        split_swap_entry(m, q, reason)
        return True
    if write == 1 and not pmd_flags(m, q) & WRITABLE:
        leaf_write_fault(m, process, q, entry)
    return False


@inner_kernel
def leaf_write_fault(m, process, q, entry):
    """Write to a PMD leaf that is not writable."""
    folio = pmd_value(m, q)
    flags = pmd_flags(m, q)
    if flags & EXCLUSIVE:
        m.pmds[q]["flags"] = flags | WRITABLE | SOFT_DIRTY
    elif np.int64(m.folios[folio]["mapcount"]) == 1 and (
        not is_cached(m, folio) or try_free_cache(m, folio)
    ):
        m.pmds[q]["flags"] = flags | OWN
    else:
        split_mapping(m, q, np.int64(0))
        fall_back(m, np.int64(Fallback.WRITE_SHARED.value))
        pte_write_fault(m, process, q, entry)


@inline_kernel
def _swapin_order(m, process, q, entry, slot):
    """Order that a PTE swap-in from a synchronous device reads at once."""
    order = m.parameters["swapin_order"]
    if order == 0 or m.parameters["zswap"] != Zswap.NEVER or is_armed(m, process):
        return np.int64(0)
    if m.parameters["backing"] == Backing.BASE:
        return np.int64(0)
    size = 1 << order
    first = entry >> order << order
    if (slot - entry) % size != 0 or not one_vma(m, q, first, size):
        return np.int64(0)
    row = pmd_value(m, q)
    slot -= entry - first
    like = m.rows[row, first] & ((1 << VALUE_SHIFT) - 1)
    zero = slot_word(m, slot) & SLOT_ZERO
    for part in range(size):
        if m.rows[row, first + part] != like | ((slot + part) << VALUE_SHIFT):
            return np.int64(0)
        word = slot_word(m, slot + part)
        if word >> SLOT_FOLIO_SHIFT or word & SLOT_ZERO != zero:
            return np.int64(0)
    if word_kind(like) != PteKind.SWAP:
        return np.int64(0)
    return order


@inline_kernel
def map_ptes(m, q, first, size, folio, part, flags, may_write):
    """Entries from `first` on map the pages of a folio from `part` on."""
    row = pmd_value(m, q)
    value = folio * PAGES_PER_PMD + part
    upgrade = may_write == 1 and may_be_writable(flags)
    young = m.state[Cell.YOUNG]
    for offset in range(size):
        word = m.rows[row, first + offset]
        entry_flags = flags
        if upgrade and word & PROTECTION_MASK == WRITABLE_PAGE << PROTECTION_SHIFT:
            entry_flags |= WRITABLE
        m.rows[row, first + offset] = keep_protection(
            word, PteKind.PRESENT | entry_flags | young | ((value + offset) << VALUE_SHIFT)
        )
    take_in_hand(m, folio)
    charge(m, Event.MAP_PTE, size)
    hold_table(m, q, size)
    return add_mappings(m, folio, size) - size


@inline_kernel
def _read_directly(m, process, q, entry, slot):
    """Synchronous device, one user: the folio never sees the swap cache."""
    order = _swapin_order(m, process, q, entry, slot)
    order = find_large(m, order, np.int64(OrderCounter.SWPIN_FALLBACK.value))
    if order == 0:
        charge_memory(m, np.int64(1))
    size = np.int64(1) << order
    first = entry >> order << order
    slot -= entry - first
    folio = new_folio(m, order, page_number(m, q, first) - shift_of(m, process))
    own_frames(m, folio, FOR_FAULT)
    if is_limited(m):
        admit(m, folio, shadow_of(m, slot))
    flags = slot_word(m, slot) & (SLOT_ZERO | SLOT_ZSWAP)
    read_folio(m, order, slot, flags, np.int64(1))
    hold_cluster(m, slot // PAGES_PER_PMD, size)
    keep_warm(m, q, first, size)
    carried = (m.rows[pmd_value(m, q), entry] & CARRIED) | EXCLUSIVE
    map_ptes(m, q, first, size, folio, np.int64(0), carried, np.int64(1))
    put_slots(m, slot, size)


@inline_kernel
def _maps_whole(m, q, entry, folio, slot):
    """Whether a large cached folio can be mapped whole around an entry that names `slot`."""
    size = 1 << folio_order(m, folio)
    first_slot = folio_slot(m, folio)
    first = entry - (slot - first_slot)
    if first < 0 or first + size > PAGES_PER_PMD or not one_vma(m, q, first, size):
        return False
    row = pmd_value(m, q)
    like = m.rows[row, entry] & ((1 << VALUE_SHIFT) - 1)
    for part in range(size):
        if m.rows[row, first + part] != like | ((first_slot + part) << VALUE_SHIFT):
            return False
    return True


@inline_kernel
def swap_in_pte(m, process, q, entry, write, by_fault):
    """Swap in behind a PTE swap entry; `by_fault` is 0 for a collapse, which is no fault."""
    row = pmd_value(m, q)
    slot = word_value(m.rows[row, entry])
    word = slot_word(m, slot)
    folio = (word >> SLOT_FOLIO_SHIFT) - 1
    hit = folio >= 0
    if hit:
        note_cache_hit(m, process, q, entry, folio)
        wait_for_read(m, folio, np.int64(Wait.PAGE_IN_FLIGHT))
    else:
        m.counts[COUNTERS + Counter.PGMAJFAULT] += by_fault
        if is_synchronous(m, slot) and word & SLOT_COUNT == 1:
            _read_directly(m, process, q, entry, slot)
            return
        folio = swap_in_with_readahead(m, process, q, entry, slot)
        keep_warm(m, q, entry, np.int64(1))
    size = np.int64(1)
    first = entry
    part = slot - folio_slot(m, folio)
    if folio_order(m, folio) > 0 and _maps_whole(m, q, entry, folio, slot):
        size = np.int64(1) << folio_order(m, folio)
        first = entry - part
        slot -= part
        part = np.int64(0)
    flags = m.rows[row, entry] & CARRIED
    others = map_ptes(m, q, first, size, folio, part, flags, np.int64(1))
    if hit:
        charge(m, Event.PUT_SLOT, size)
    put_slots(m, slot, size)
    if (write == 1 and others == 0) or more_than_half_used(m):
        try_free_cache(m, folio)


@inner_kernel
def _copy_page(m, process, q, entry):
    """Copy on write: a page of this process's own takes the shared one's place."""
    row = pmd_value(m, q)
    page = page_number(m, q, entry) - shift_of(m, process)
    before = word_folio(m.rows[row, entry])
    charge_memory(m, np.int64(1))
    word = m.rows[row, entry]
    if word_kind(word) != PteKind.PRESENT or word_folio(word) != before:
        # Reclaim has taken it to make room for the copy: the access faults once more.
        m.state[Cell.USAGE] -= 1
        return
    folio = new_folio(m, np.int64(0), page)
    own_frames(m, folio, FOR_FAULT)
    if is_limited(m):
        admit(m, folio, np.int64(0))
    flags = np.int64(OWN)
    charge(m, Event.COPY_PAGE, 1)
    map_ptes(m, q, entry, np.int64(1), folio, np.int64(0), flags, np.int64(0))
    remove_mappings(m, word_folio(word), np.int64(1), np.int64(1))
    keep_warm(m, q, entry, np.int64(1))


@inner_kernel
def pte_write_fault(m, process, q, entry):
    """Write to a present PTE that is not writable: take the page over, or copy it."""
    row = pmd_value(m, q)
    word = m.rows[row, entry]
    if word & EXCLUSIVE:
        m.rows[row, entry] = word | WRITABLE | SOFT_DIRTY
        return
    folio = word_folio(word)
    mapcount = np.int64(m.folios[folio]["mapcount"])
    if folio_order(m, folio) == 0:
        mine = mapcount == 1 and (not is_cached(m, folio) or try_free_cache(m, folio))
    else:
        mine = not is_cached(m, folio) and mapcount == mappings_in(m, folio, process)
    if mine:
        m.rows[row, entry] = word | OWN
    else:
        _copy_page(m, process, q, entry)


@inner_kernel
def _anon_order(m, process, q, entry):
    """Order of a folio for a first write to an entry that holds nothing."""
    order = m.parameters["swapin_order"]
    if order == 0 or is_armed(m, process) or m.parameters["backing"] == Backing.BASE:
        return np.int64(0)
    size = 1 << order
    first = entry >> order << order
    if not one_vma(m, q, first, size):
        return np.int64(0)
    row = pmd_value(m, q)
    for part in range(size):
        if word_kind(m.rows[row, first + part]) != PteKind.NONE:
            return np.int64(0)
    return order


@inner_kernel
def _anon_folio(m, process, q, entry, order):
    """Cleared memory for entries that held nothing, or the zero page."""
    order = find_large(m, order, np.int64(OrderCounter.ANON_FAULT_FALLBACK.value))
    if order == 0:
        charge_memory(m, np.int64(1))
    size = np.int64(1) << order
    first = entry >> order << order
    folio = new_folio(m, order, page_number(m, q, first) - shift_of(m, process))
    own_frames(m, folio, FOR_FAULT)
    if is_limited(m):
        admit(m, folio, np.int64(0))
    count_order(m, np.int64(OrderCounter.ANON_FAULT_ALLOC.value), order)
    charge(m, Event.ANON_FOLIO, 1)
    charge(m, Event.CLEAR_PAGE, size)
    flags = np.int64(OWN)
    map_ptes(m, q, first, size, folio, np.int64(0), flags, np.int64(0))
    keep_warm(m, q, first, size)


@inline_kernel
def pte_fault(m, process, q, entry, write):
    """Fault on one entry of a PTE table; a write may still need a second look at the entry."""
    row = pmd_value(m, q)
    word = m.rows[row, entry]
    kind = word_kind(word)
    if kind == PteKind.SWAP:
        swap_in_pte(m, process, q, entry, write, np.int64(1))
        word = m.rows[row, entry]
        if write == 1 and word & WRITABLE == 0:
            pte_write_fault(m, process, q, entry)
    elif kind == PteKind.PRESENT:
        pte_write_fault(m, process, q, entry)
    elif kind == PteKind.ZERO:
        _anon_folio(m, process, q, entry, np.int64(0))
    elif write == 1:
        _anon_folio(m, process, q, entry, _anon_order(m, process, q, entry))
    else:
        m.rows[row, entry] = keep_protection(word, np.int64(PteKind.ZERO.value))
        charge(m, Event.MAP_PTE, 1)
        hold_table(m, q, np.int64(1))


@inline_kernel
def _nothing_fault(m, process, q, entry, write):
    """Fault where there is not even a page table; true if there is one now, for PTEs."""
    if m.parameters["backing"] != Backing.THP or not one_vma(
        m, q, np.int64(0), np.int64(PAGES_PER_PMD)
    ):
        charge_memory(m, np.int64(1))
        make_table(m, q)
        return True
    if write == 1:
        if not new_thp(m, process, q, np.int64(1)):
            charge_memory(m, np.int64(1))
            make_table(m, q)
            return True
    else:
        if m.parameters["lazy_page_table_deposit"] == 0:
            charge_memory(m, np.int64(1))
        set_pmd(m, q, np.int64(RegionState.PMD_ZERO.value), np.int64(0), np.int64(-1))
        charge(m, Event.MAP_PMD, 1)
        if m.parameters["lazy_page_table_deposit"] == 0:
            charge(m, Event.PAGE_TABLE_ALLOCATION, 1)
        hold_pmd(m, q, np.int64(1))
    return False


@inner_kernel
def handle_fault(m, process, q, entry, write):
    """One page fault. Allocates: no. Mutates: everything."""
    charge(m, Event.FAULT, 1)
    m.counts[COUNTERS + Counter.PGFAULT] += 1
    m.state[Cell.CALL] += 1
    kind = pmd_kind(m, q)
    by_entry = kind == RegionState.PTE_TABLE
    if kind == RegionState.PMD_SWAP:
        by_entry = swap_entry_fault(m, process, q, entry, write)
    elif kind == RegionState.PMD_MAPPED:
        leaf_write_fault(m, process, q, entry)
    elif kind == RegionState.PMD_ZERO:
        if not new_thp(m, process, q, np.int64(0)):
            split_mapping(m, q, np.int64(0))
            by_entry = True
    elif kind == RegionState.NONE:
        by_entry = _nothing_fault(m, process, q, entry, write)
    if by_entry:
        pte_fault(m, process, q, entry, write)
    end_requests(m)
