"""Between memory and the swap device: reading, readahead, writing and swap-out (section 4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.oracles.mechanism.blocks import (
    allocate,
    bury,
    enter_cache,
    mappings_of,
    split_folio,
    split_mapping,
    take_from_cache,
)
from tests.oracles.mechanism.memory import HUGE, PAGES, Entry, Folio, Process, Range
from tests.oracles.mechanism.world import Block, World

PAGE_BYTES = 4096

# Reading


class Requests:
    """What one call reads from the device: one request for each run of consecutive slots."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.previous = -1

    def read(self, slot: int) -> None:
        """A page of its own is read by the faulting CPU, or joins what was read before it."""
        if self.world.is_synchronous(slot) or slot != self.previous + 1:
            self.world.event("READ_REQUEST")
            self.world.share(slot, "READ_REQUEST")
        self.previous = slot


def read(world: World, folio: Folio, slot: int, requests: Requests | None = None) -> None:
    """Fetch a folio's pages from `slot` on; it may be in the cache there or not."""
    size = folio.size
    first = world.device.slots[slot]
    world.event("SWAPIN_FOLIO")
    world.event("SWAPIN_PAGE", size)
    if folio.order:
        world.event("SWAPIN_LARGE_FOLIO")
    if first.zero:
        world.event("CLEAR_PAGE", size)
        world.counter("swpin_zero", size)
    elif first.zswap:
        assert folio.order == 0, "a large folio is never read from zswap"
        world.event("ZSWAP_LOAD_PAGE")
        world.counter("zswpin")
        if folio.cached:
            first.zswap = False
            world.forget_stored(slot)
            folio.dirty = True
    else:
        world.event("DECOMPRESS_PAGE", size)
        world.share(slot, "DECOMPRESS_PAGE", size)
        (requests or Requests(world)).read(slot)
        world.counter("pswpin", size)
        world.per_order("swpin", folio.order)


def read_page_into_cache(world: World, slot: int, requests: Requests) -> Folio:
    world.charge(1)
    shadow = world.device.slots[slot].shadow
    folio = world.new_folio(0, world.device.slots[slot].page)
    world.own(folio)
    enter_cache(world, folio, slot)
    world.admit(folio, shadow)
    world.lock(folio)
    read(world, folio, slot, requests)
    return folio


def try_huge_read(world: World, process: Process, memory: Range) -> Folio | str:
    """An order-9 folio in the cache for a PMD swap entry that has nothing cached, or the reason."""
    block = find_huge(world, process, memory)
    if isinstance(block, str):
        world.per_order("swpin_fallback", HUGE)
        return block
    slot = memory.pmd.slot
    shadow = world.device.slots[slot].shadow
    folio = world.new_folio(HUGE, process.region_page(memory, 0))
    world.own(folio, block)
    enter_cache(world, folio, slot)
    world.admit(folio, shadow)
    world.lock(folio)
    world.hold("cluster", folio.size)
    read(world, folio, slot)
    return folio


def find_huge(world: World, process: Process, memory: Range) -> Block | str:
    """Memory for it, charged; or why there is none."""
    slots = [world.device.slots[memory.pmd.slot + j] for j in range(2**HUGE)]
    number = process.number * (world.rules.regions + 1) + memory.number
    if len({slot.zero for slot in slots}) > 1:
        return "mixed_zero_state"
    fails = world.rules.order9_fails(world.steps_done, number)
    block = None if fails else world.find_frames(HUGE, world.rules.fault_effort)
    if block is None:
        world.event("ORDER9_ALLOCATION_FAILURE")
        return "no_order9_page"
    if world.rules.charge_fails(world.steps_done, number) or not world.charge(len(slots)):
        world.give_back(block)
        world.event("ORDER9_ALLOCATION_FAILURE")
        world.per_order("swpin_fallback_charge", HUGE)
        return "charge_refused"
    if any(slot.zswap for slot in slots):
        world.give_back(block)
        world.uncharge(len(slots))
        world.event("SWAPIN_FOLIO")
        world.event("SWAPIN_LARGE_FOLIO")
        world.event("SWAPIN_PAGE", len(slots))
        world.hold("cluster", len(slots))
        world.hold("cluster", len(slots))
        return "zswap"
    return block


# Readahead


def window_size(position: int, previous: int, hits: int, window: int, most: int) -> int:
    """Pages that are worth reading together, from how the last ones turned out."""
    pages = hits + 2
    if pages == 2:
        adjacent = position in (previous - 1, previous + 1)
        pages = 2 if adjacent else 1
    else:
        wanted, pages = max(pages, 4), 1
        while pages < wanted:
            pages *= 2
    return max(min(pages, most), window // 2)


def read_ahead(world: World, process: Process, memory: Range, j: int) -> Folio:
    """Read the window around a PTE swap entry into the cache; the folio of the entry itself."""
    wanted = memory.entries[j].slot
    if world.rules.vma_readahead:
        slots = window_by_address(world, process, memory, j)
    else:
        slots = window_by_slot(world, wanted)
    requests = Requests(world)
    result = None
    for slot in slots:
        if world.device.slots[slot].folio is not None:
            continue
        folio = read_page_into_cache(world, slot, requests)
        if slot == wanted:
            result = folio
        else:
            folio.readahead = True
            world.counter("swap_ra")
    assert result is not None, "the faulting page is in its own window"
    return result


def window_by_address(world: World, process: Process, memory: Range, j: int) -> Iterable[int]:
    """Slots that the window names, each as it is when it is asked for.

    What is reclaimed to make room for the first of them may be among those that follow.
    """
    most = 2**world.rules.page_cluster
    alone = [memory.entries[j].slot]
    if most == 1:
        return alone
    address, before = memory.number * 2**HUGE + j, process.address
    pages = window_size(address, before, process.hits, process.window, most)
    process.address, process.window, process.hits = address, pages, 0
    if pages == 1:
        return alone
    if address == before + 1:
        start = j
    elif address == before - 1:
        start = j - pages + 1
    else:
        start = j - (pages - 1) // 2
    first, end = memory.vma(j)
    around = range(max(start, first), min(start + pages, end))
    return (memory.entries[k].slot for k in around if memory.entries[k].kind == "S")


def window_by_slot(world: World, slot: int) -> Iterable[int]:
    most = 2**world.rules.page_cluster
    if most == 1:
        return [slot]
    previous, hits, window = world.slot_memory
    device = world.device.of(slot)
    own = slot - device.header  # what it remembers is the number on whichever device
    pages = window_size(own, previous, hits, window, most)
    world.slot_memory = (previous if hits else own, 0, pages)
    if pages == 1:
        return [slot]
    start = slot - slot % pages
    block = range(max(start, device.header + 1), min(start + pages, device.end))
    slots = world.device.slots
    return (number for number in block if number in slots and slots[number].count > 0)


# Writing


def write(world: World, folio: Folio) -> None:
    """Write an unmapped folio of the cache to its slots."""
    size, order = folio.size, folio.order
    slots = [world.device.slots[number] for number in folio.slots]
    if all(world.is_zero(page) for page in folio.region_pages):
        world.event("ZERO_SCAN_PAGE", size)
        world.counter("swpout_zero", size)
        for slot in slots:
            slot.zero = True
        done = True
    else:
        for slot in slots:
            slot.zero = False
        if world.rules.zswap == "on" and world.refuse_write:
            return
        if world.rules.zswap == "on" and store_in_zswap(world, folio):
            world.counter("zswpout", size)
            world.per_order("zswpout", order)
            for slot in slots:
                slot.zswap = True
            done = True
        elif world.pool is not None and not world.pool.writeback:
            return  # nothing of this cgroup may go to the device
        else:
            world.event("WRITE_REQUEST")
            world.event("COMPRESS_PAGE", size)
            world.share(folio.slot, "WRITE_REQUEST")
            world.share(folio.slot, "COMPRESS_PAGE", size)
            world.counter("pswpout", size)
            world.per_order("swpout", order)
            world.huge_counter("thp_swpout", order)
            for slot in slots:
                slot.zswap = False
            done = world.is_synchronous(folio.slot)
    folio.dirty = False
    if done:
        take_from_cache(world, folio)
    elif world.pressure is not None:
        world.pressure.written.append(folio)


def store_in_zswap(world: World, folio: Folio) -> bool:
    """All pages of a folio or none."""
    pool = world.pool
    if pool is None:
        world.event("ZSWAP_STORE_PAGE", folio.size)
        return True
    usual, last = world.rules.zswap_sizes
    sizes = [last if page % PAGES == PAGES - 1 else usual for page in folio.region_pages]
    rejections = Counter(pool.counts)
    stored = pool.store(folio.slot, sizes)
    rejections = Counter(pool.counts) - rejections
    compressed = folio.size
    if rejections["reject_compress_fail"]:
        compressed = 1 + next(n for n, size in enumerate(sizes) if size >= PAGE_BYTES)
    elif not stored:
        compressed = 0  # it is full
    world.event("ZSWAP_STORE_PAGE", compressed)
    return stored


def unmap_for_swap(world: World, folio: Folio) -> None:
    """Every entry that maps the folio names its slots instead."""
    for process, memory, _ in mappings_of(world, folio):
        if memory.table is not None:
            continue
        if world.rules.level == "pmd":
            set_pmd_swap_entry(world, process, memory, folio)
        else:
            split_mapping(world, process, memory)
    tables: dict[tuple[int, int], list[Entry]] = {}
    for process, memory, j in mappings_of(world, folio):
        tables.setdefault((process.number, memory.number), []).append(memory.entries[j])
    for (process_number, number), entries in tables.items():
        for entry in entries:
            folio.dirty |= entry.dirty
            slot = folio.slot + entry.page
            folio.mappings.remove((process_number, entry.page))
            entry.set_swap(slot)
            world.device.slots[slot].count += 1
        world.hold("pte_table", len(entries))
        if world.rules.batched_unmap:
            world.event("UNMAP_BATCH")
            world.event("UNMAP_BATCHED_PTE", len(entries))
            world.hold("cluster", len(entries))
        else:
            world.event("UNMAP_PTE", len(entries))
            for _ in entries:
                world.hold("cluster", 1)
        world.forget_swapped(process_number, number)


def set_pmd_swap_entry(world: World, process: Process, memory: Range, folio: Folio) -> None:
    folio.dirty |= memory.pmd.dirty
    memory.pmd.set_swap(folio.slot)
    folio.mappings.remove((process.number, -1))
    for number in folio.slots:
        world.device.slots[number].count += 1
    world.hold("cluster", folio.size)
    world.event("SET_PMD_SWAP_ENTRY")
    world.hold("pmd", 1)
    world.counter("thp_swpout_pmd")
    world.forget_swapped(process.number, memory.number)


# Swap-out


def swap_out(world: World, folio: Folio) -> None:
    if folio.lazyfree:
        discard_lazyfree(world, folio)
        return
    if not folio.cached:
        if folio.partially_mapped:
            swap_out_parts(world, folio)
            return
        world.event("SWAPOUT_FOLIO")
        world.event("SWAPOUT_PAGE", folio.size)
        slot = allocate(world, folio.order, folio.first)
        if isinstance(slot, str):
            swap_out_in_pages(world, folio, slot)
            return
        enter_cache(world, folio, slot)
        folio.dirty = True
    unmap_for_swap(world, folio)
    if folio.dirty:
        write(world, folio)
    else:
        free_cached_folio(world, folio)


def swap_out_in_pages(world: World, folio: Folio, reason: str) -> None:
    """There are no slots for the folio as it is."""
    if folio.order == 0:
        return
    if folio.order == HUGE:
        world.fallback(reason)
    world.huge_counter("thp_swpout_fallback", folio.order)
    world.per_order("swpout_fallback", folio.order)
    swap_out_parts(world, folio)


def swap_out_parts(world: World, folio: Folio) -> None:
    """The first page, then from the last one backwards: so the kernel's list gives them back."""
    first_page = folio.first
    parts = split_folio(world, folio)
    head = [part for part in parts if part.first == first_page]
    tail = [part for part in parts if part.first != first_page]
    for part in head + tail[::-1]:
        swap_out(world, part)


def discard_lazyfree(world: World, folio: Folio) -> None:
    for process, memory, _ in mappings_of(world, folio):
        if memory.table is None:
            split_mapping(world, process, memory)
    mappings = mappings_of(world, folio)
    if any(memory.entries[j].dirty for _, memory, j in mappings):
        folio.lazyfree = False
        return
    for process, memory, j in mappings:
        world.event("UNMAP_PTE")
        memory.entries[j].clear()
        world.translations.forget(process.number, memory.number)
    folio.mappings.clear()
    bury(world, folio)


def free_cached_folio(world: World, folio: Folio) -> None:
    """Reclaim of a folio whose slots hold the same."""
    world.event("FREE_CACHED_FOLIO")
    take_from_cache(world, folio)
