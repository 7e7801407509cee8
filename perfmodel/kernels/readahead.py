"""Swap-in through the swap cache: one page, and those that the kernel reads ahead with it."""

import numpy as np

from perfmodel.constants import PAGES_PER_PMD, Counter, PteKind, RegionState, Wait
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.folios import (
    clear_flag,
    enter_cache,
    folio_order,
    has_flag,
    new_folio,
    set_flag,
)
from perfmodel.kernels.frames import FOR_FAULT, own_frames
from perfmodel.kernels.layout import (
    COUNTERS,
    FOLIO_DIRTY,
    FOLIO_READAHEAD,
    PROTECTION_MASK,
    READAHEAD_ADDRESS,
    READAHEAD_HITS,
    READAHEAD_WINDOW,
    SLOT_COUNT,
    SLOT_FOLIO_SHIFT,
    SLOT_ZERO,
    SLOT_ZSWAP,
    Cell,
    SwapCell,
)
from perfmodel.kernels.lru import admit, is_limited, shadow_of
from perfmodel.kernels.pressure import charge_memory
from perfmodel.kernels.requests import request, wait_for_read
from perfmodel.kernels.slots import detail, slot_word
from perfmodel.kernels.swap_devices import device_of, is_synchronous
from perfmodel.kernels.swap_io import read_folio
from perfmodel.kernels.tables import (
    is_alive,
    pmd_kind,
    pmd_number,
    pmd_value,
    process_cell,
    shift_of,
    word_kind,
    word_value,
)
from perfmodel.kernels.zswap_pool import forget_stored

# More hits than this do not fit into the kernel's word.
_MOST_HITS = 63
NO_SLOT = -2


@inner_kernel
def read_into_cache(m, slot, page, previous):
    """Read one slot into the swap cache as a folio of order 0.

    `previous` is the slot that the same call read from the device before: neighbours share a
    request on an asynchronous device. Returns the slot if this one came from the device, else
    `previous`.
    """
    charge_memory(m, np.int64(1))
    flags = slot_word(m, slot) & (SLOT_ZERO | SLOT_ZSWAP)
    shadow = shadow_of(m, slot)
    folio = new_folio(m, np.int64(0), page)
    own_frames(m, folio, FOR_FAULT)
    enter_cache(m, folio, slot)
    if is_limited(m):
        admit(m, folio, shadow)
        m.links[folio]["locked"] = m.state[Cell.CALL]
    asynchronous = not is_synchronous(m, slot)
    merged = asynchronous and slot == previous + 1
    read_folio(m, np.int64(0), slot, flags, np.int64(0) if merged else np.int64(1))
    if asynchronous and not flags & (SLOT_ZERO | SLOT_ZSWAP):
        request(m, folio, slot, np.int64(0))
    if flags & SLOT_ZERO:
        return previous
    if flags & SLOT_ZSWAP:
        # The cache is the only owner from now on.
        set_flag(m, folio, np.int64(FOLIO_DIRTY))
        m.rows[detail(m, slot // PAGES_PER_PMD), slot % PAGES_PER_PMD] &= ~SLOT_ZSWAP
        forget_stored(m, slot)
        return previous
    return slot


@inner_kernel
def _window_pages(previous, number, hits, most, last_window):
    """How many pages to read, from how well that went before."""
    pages = hits + 2
    if pages == 2:
        if number != previous + 1 and number != previous - 1:
            pages = 1
    else:
        power = 4
        while power < pages:
            power *= 2
        pages = power
    pages = min(pages, most)
    return max(pages, last_window // 2)


@inline_kernel
def _mark_ahead(m, slot):
    folio = (slot_word(m, slot) >> SLOT_FOLIO_SHIFT) - 1
    set_flag(m, folio, np.int64(FOLIO_READAHEAD))
    m.counts[COUNTERS + Counter.SWAP_RA] += 1


@inner_kernel
def _by_address(m, process, q, entry, slot):
    """Readahead around the address of a fault, in one PTE table and one VMA."""
    most = 1 << m.parameters["page_cluster"]
    number = (q % m.state[Cell.RANGES]) * PAGES_PER_PMD + entry
    shift = shift_of(m, process)
    previous_read = np.int64(NO_SLOT)
    if most > 1:
        address = process_cell(process) + READAHEAD_ADDRESS
        before = m.state[address]
        window = m.state[process_cell(process) + READAHEAD_WINDOW]
        hits = m.state[process_cell(process) + READAHEAD_HITS]
        pages = _window_pages(before, number, hits, most, window)
        m.state[address] = number
        m.state[process_cell(process) + READAHEAD_WINDOW] = pages
        m.state[process_cell(process) + READAHEAD_HITS] = 0
        if pages > 1:
            if number == before + 1:
                first = entry
            elif number == before - 1:
                first = entry - pages + 1
            else:
                first = entry - (pages - 1) // 2
            last = min(first + pages, PAGES_PER_PMD)
            first = max(first, 0)
            row = pmd_value(m, q)
            vma = m.rows[row, entry] & PROTECTION_MASK
            low = entry
            while low > first and m.rows[row, low - 1] & PROTECTION_MASK == vma:
                low -= 1
            high = entry + 1
            while high < last and m.rows[row, high] & PROTECTION_MASK == vma:
                high += 1
            for other in range(low, high):
                word = m.rows[row, other]
                if word_kind(word) != PteKind.SWAP:
                    continue
                target = word_value(word)
                if slot_word(m, target) >> SLOT_FOLIO_SHIFT:
                    continue
                page = number - entry + other - shift
                previous_read = read_into_cache(m, target, page, previous_read)
                if other != entry:
                    _mark_ahead(m, target)
    if slot_word(m, slot) >> SLOT_FOLIO_SHIFT == 0:
        read_into_cache(m, slot, number - shift, previous_read)


@inner_kernel
def _names(m, q, entry, slot):
    """Whether a page-table entry names a slot."""
    kind = pmd_kind(m, q)
    if kind == RegionState.PMD_SWAP:
        return pmd_value(m, q) * PAGES_PER_PMD + entry == slot
    if kind == RegionState.PTE_TABLE:
        word = m.rows[pmd_value(m, q), entry]
        return word_kind(word) == PteKind.SWAP and word_value(word) == slot
    return False


@inner_kernel
def page_of_slot(m, slot, guess):
    """Region page that a slot holds, -1 if no entry names it; `guess` is looked at first."""
    for process in range(m.state[Cell.PROCESSES]):
        number = guess + shift_of(m, process)
        if not is_alive(m, process) or not 0 <= number < m.state[Cell.RANGES] * PAGES_PER_PMD:
            continue
        q = pmd_number(m, process, number // PAGES_PER_PMD)
        if _names(m, q, number % PAGES_PER_PMD, slot):
            return guess
    for process in range(m.state[Cell.PROCESSES]):
        if not is_alive(m, process):
            continue
        for number in range(m.state[Cell.RANGES] * PAGES_PER_PMD):
            q = pmd_number(m, process, number // PAGES_PER_PMD)
            if _names(m, q, number % PAGES_PER_PMD, slot):
                return number - shift_of(m, process)
    return np.int64(-1)


@inner_kernel
def _by_slot(m, slot, page):
    """Readahead of the aligned block of slots around the one that a fault names.

    What it remembers of the last fault is the slot's number on its own device, whichever that was.
    """
    most = 1 << m.parameters["page_cluster"]
    previous_read = np.int64(NO_SLOT)
    if most > 1:
        hits = m.state[Cell.SLOT_READAHEAD_HITS]
        m.state[Cell.SLOT_READAHEAD_HITS] = 0
        before = m.state[Cell.SLOT_READAHEAD_PREVIOUS]
        window = m.state[Cell.SLOT_READAHEAD_WINDOW]
        device = device_of(m, slot // PAGES_PER_PMD)
        header = m.swap[device, SwapCell.FIRST_CLUSTER] * PAGES_PER_PMD
        pages = _window_pages(before, slot - header, hits, most, window)
        if hits == 0:
            m.state[Cell.SLOT_READAHEAD_PREVIOUS] = slot - header
        m.state[Cell.SLOT_READAHEAD_WINDOW] = pages
        if pages > 1:
            first = max(slot // pages * pages, header + 1)
            end = m.swap[device, SwapCell.END_CLUSTER] * PAGES_PER_PMD
            for other in range(first, min(slot // pages * pages + pages, end)):
                word = slot_word(m, other)
                if word >> SLOT_FOLIO_SHIFT or word & SLOT_COUNT == 0:
                    continue
                owner = page_of_slot(m, other, page + other - slot)
                previous_read = read_into_cache(m, other, owner, previous_read)
                if other != slot:
                    _mark_ahead(m, other)
    if slot_word(m, slot) >> SLOT_FOLIO_SHIFT == 0:
        read_into_cache(m, slot, page, previous_read)


@inner_kernel
def swap_in_with_readahead(m, process, q, entry, slot):
    """Bring a slot into the swap cache, and its neighbours with it; returns its folio."""
    if m.parameters["vma_readahead"] == 1:
        _by_address(m, process, q, entry, slot)
    else:
        number = (q % m.state[Cell.RANGES]) * PAGES_PER_PMD + entry
        _by_slot(m, slot, number - shift_of(m, process))
    folio = (slot_word(m, slot) >> SLOT_FOLIO_SHIFT) - 1
    wait_for_read(m, folio, np.int64(Wait.DEVICE))
    return folio


@inline_kernel
def note_cache_hit(m, process, q, entry, folio):
    """A fault found its page in the cache: readahead learns from that. Large folios never teach."""
    if folio_order(m, folio) > 0:
        return
    ahead = has_flag(m, folio, np.int64(FOLIO_READAHEAD))
    if ahead:
        clear_flag(m, folio, np.int64(FOLIO_READAHEAD))
        m.counts[COUNTERS + Counter.SWAP_RA_HIT] += 1
    if m.parameters["vma_readahead"] == 1:
        number = (q % m.state[Cell.RANGES]) * PAGES_PER_PMD + entry
        m.state[process_cell(process) + READAHEAD_ADDRESS] = number
        if ahead:
            hits = process_cell(process) + READAHEAD_HITS
            m.state[hits] = min(m.state[hits] + 1, _MOST_HITS)
    elif ahead:
        m.state[Cell.SLOT_READAHEAD_HITS] += 1
