"""Touching memory, and the page faults that this takes (section 5)."""

from __future__ import annotations

from dataclasses import replace

from tests.oracles.mechanism.blocks import (
    classify,
    is_own,
    map_page,
    put,
    split_mapping,
    split_swap_entry,
    try_free_cache,
    unmap_rmap,
)
from tests.oracles.mechanism.callers import discard_second_half
from tests.oracles.mechanism.memory import (
    HUGE,
    PAGES,
    WHOLE,
    WRITABLE,
    Entry,
    Folio,
    Process,
    Range,
)
from tests.oracles.mechanism.transfer import read, read_ahead, try_huge_read
from tests.oracles.mechanism.world import Block, Call, World

MOST_HITS = 63
MOST_FAULTS = 8  # of one access; more means that the oracle is wrong


def fill(world: World) -> None:
    """First write of every 2 MiB."""
    process = world.processes[0]
    for memory in process.ranges[: world.rules.regions]:
        world.event("WRITE_PAGE", PAGES)
        for j in range(PAGES):
            if memory.page_entry(j).kind != "N":
                continue
            world.event("FAULT")
            world.counter("pgfault")
            if memory.table is None and world.rules.backing == "thp":
                fault_in_huge(world, process, memory, write=True)
            else:
                if memory.table is None:
                    make_table(world, memory)
                pte_fault(world, process, memory, j, write=True)
            world.after_work()
        for entry in memory.table or ():
            entry.dirty = entry.kind == "P"


def touch(world: World, call: Call) -> None:
    process = world.processes[call.process]
    for block in range(world.rules.regions):
        world.warm = range(0)
        for page in call.touched():
            access(world, process, block * PAGES + page, call)


def make_table(world: World, memory: Range) -> None:
    memory.make_table()
    world.allocate_table()


def access_pages(world: World, call: Call) -> None:
    """An access step: single pages, in the order of its trace."""
    process = world.processes[call.process]
    world.warm = range(0)
    reading, writing = (replace(call, write=write) for write in (False, True))
    for page, write in call.trace:
        access(world, process, page, writing if write else reading)


def access(world: World, process: Process, region_page: int, call: Call) -> None:
    memory, j = process.place(region_page)
    faults = 0
    while not hardware_can(memory, j, call.write):
        world.event("WALK_PMD" if memory.table is None else "WALK_PTE")
        world.event("FAULT")
        world.counter("pgfault")
        fault(world, process, memory, j, call)
        world.unlock_all()
        world.after_work()
        faults += 1
        assert faults < MOST_FAULTS, f"page {region_page} faults for ever"
    size = translation_size(memory, j)
    source = world.translations.access(process.number, memory.number, j, size, call.write)
    if source == "stlb":
        world.event("STLB_HIT")
    elif source == "walk":
        world.event("WALK_PMD" if size == "2m" else "WALK_PTE")
        memory.page_entry(j).young = True
    world.event("ACCESS_CACHED" if region_page in world.warm else "ACCESS_MEMORY")


def translation_size(memory: Range, j: int) -> str:
    """What one TLB entry may translate: a leaf, a run of PTEs of one folio, or a page."""
    if memory.table is None:
        return "2m"
    for pages, size in ((16, "64k"), (4, "16k")):
        first = j // pages * pages
        run = memory.table[first : first + pages]
        head = run[0]
        if head.kind != "P" or head.folio.order < pages.bit_length() - 1 or head.page % pages:
            continue
        if all(
            entry.kind == "P"
            and (entry.folio, entry.page) == (head.folio, head.page + index)
            and (entry.writable, entry.uffd_wp) == (head.writable, head.uffd_wp)
            and memory.protection[first + index] == memory.protection[first]
            for index, entry in enumerate(run)
        ):
            return size
    return "4k"


def hardware_can(memory: Range, j: int, write: bool) -> bool:
    """Whether the access succeeds; a write leaves its mark."""
    entry = memory.page_entry(j)
    if not write:
        return entry.has_translation
    if entry.kind != "P" or not entry.writable:
        return False
    entry.dirty = True
    return True


def fault(world: World, process: Process, memory: Range, j: int, call: Call) -> None:
    if memory.table is not None:
        pte_fault(world, process, memory, j, call.write)
    elif memory.pmd.kind == "S":
        if call.racing == "unmap":
            discard_second_half(world, process, memory)
            world.fallback("slot_freed")
        else:
            pmd_swap_fault(world, process, memory, j, call.write)
    elif memory.pmd.kind == "P":
        write_huge(world, process, memory, j)
    elif memory.pmd.kind == "Z" or memory.in_one_vma():
        fault_in_huge(world, process, memory, j, write=call.write)
    else:
        make_table(world, memory)
        pte_fault(world, process, memory, j, call.write)


# 2 MiB


def fault_in_huge(
    world: World, process: Process, memory: Range, j: int = 0, *, write: bool
) -> None:
    """The first touch of a range, or the first write to the huge zero page."""
    block = world.find_frames(HUGE, world.rules.fault_effort) if write else None
    if write and block is None:
        world.counter("thp_fault_fallback")
        world.per_order("anon_fault_fallback", HUGE)
    elif write and not world.charge(PAGES):
        assert block is not None, "it has been found"
        world.give_back(block)
        block = None
        world.counter("thp_fault_fallback")
        world.counter("thp_fault_fallback_charge")
        count_refused_charge(world, "anon_fault_fallback", HUGE)
    if write and block is None:
        if memory.pmd.kind == "N":
            make_table(world, memory)
        else:
            split_mapping(world, process, memory)
        pte_fault(world, process, memory, j, write=True)
        return
    if memory.pmd.kind == "N" and not world.rules.lazy_deposit:
        world.allocate_table()
    world.event("MAP_PMD")
    world.hold("pmd", 1)
    if not write:
        memory.pmd.set_zero()
        return
    folio = world.new_folio(HUGE, process.region_page(memory, 0))
    world.own(folio, block)
    world.admit(folio)
    memory.pmd.set_own(folio, WHOLE, dirty=True)
    folio.mappings.add((process.number, WHOLE))
    world.warm = folio.region_pages
    world.counter("thp_fault_alloc")
    world.per_order("anon_fault_alloc", HUGE)
    world.event("THP_ALLOCATION")
    world.event("CLEAR_PAGE", PAGES)


def pmd_swap_fault(world: World, process: Process, memory: Range, j: int, write: bool) -> None:
    first = memory.pmd.slot
    kind = classify(world, range(first, first + PAGES))
    if kind == "huge":
        map_huge(world, process, memory, world.device.slots[first].folio, "hit", write=write)
    elif kind == "split":
        split_swap_entry(world, memory, "split_cache")
    else:
        result = try_huge_read(world, process, memory)
        if isinstance(result, Folio):
            world.counter("pgmajfault")
            world.warm = result.region_pages
            map_huge(world, process, memory, result, "read", write=write)
        else:
            split_swap_entry(world, memory, result)
    if memory.table is not None:
        pte_fault(world, process, memory, j, write)
    elif write:
        if not memory.pmd.writable:
            write_huge(world, process, memory, j)
        else:
            memory.pmd.dirty = memory.pmd.soft_dirty = True


def map_huge(
    world: World,
    process: Process,
    memory: Range,
    folio: Folio | None,
    how: str,
    *,
    write: bool = False,
    may_write: bool = True,
) -> None:
    """A PMD swap entry maps a folio that was in the cache (``hit``) or has just been ``read``."""
    assert folio is not None, "there is a folio to map"
    slots = folio.slots
    map_page(process, memory.pmd, folio, WHOLE)
    memory.pmd.writable = may_write and may_be_writable(process, memory, 0, memory.pmd)
    world.event("MAP_PMD")
    world.hold("pmd", 1)
    if how == "hit":
        world.event("PUT_SLOT", PAGES)
    put(world, slots)
    alone = write and folio.mapcount == 1
    if world.is_synchronous(slots[0]) or world.device.more_than_half_used or alone:
        try_free_cache(world, folio)


def may_be_writable(process: Process, memory: Range, j: int, entry: Entry) -> bool:
    """Whether an entry may be writable before anybody writes to it."""
    watched = entry.uffd_wp or (process.tracked and not entry.soft_dirty)
    return entry.exclusive and memory.protection[j] == WRITABLE and not watched


def write_huge(world: World, process: Process, memory: Range, j: int) -> None:
    """A write to a mapped 2 MiB that is not writable."""
    entry, folio = memory.pmd, memory.pmd.folio
    assert folio is not None, "a mapped entry has a folio"
    if entry.exclusive or (folio.mapcount == 1 and is_own(world, folio)):
        entry.exclusive = entry.writable = entry.dirty = entry.soft_dirty = True
        return
    split_mapping(world, process, memory)
    world.fallback("write_shared")
    write_page(world, process, memory, j)


# 4 KiB


def pte_fault(world: World, process: Process, memory: Range, j: int, write: bool) -> None:
    kind = memory.entries[j].kind
    if kind == "S":
        swap_in(world, process, memory, j, write=write)
    elif kind == "P":
        write_page(world, process, memory, j)
    elif kind == "Z":
        world.charge(1)
        clear_pages(world, process, memory, j, 0)
    elif write:
        order = order_to_clear(world, process, memory, j)
        order, block = find_large(world, order, "anon_fault_fallback")
        world.per_order("anon_fault_alloc", order)
        clear_pages(world, process, memory, j, order, block)
    else:
        memory.entries[j].set_zero()
        world.event("MAP_PTE")
        world.hold("pte_table", 1)


def find_large(world: World, order: int, name: str) -> tuple[int, Block | None]:
    """The order that there is memory for, and what has been found for it."""
    if order:
        block = world.find_frames(order, world.rules.fault_effort)
        if block is None:
            world.per_order(name, order)
        elif world.charge(2**order):
            return order, block
        else:
            world.give_back(block)
            count_refused_charge(world, name, order)
    world.charge(1)
    return 0, None


def count_refused_charge(world: World, name: str, order: int) -> None:
    world.per_order(name, order)
    world.per_order(f"{name}_charge", order)


def aligned(j: int, order: int) -> range:
    start = j - j % 2**order
    return range(start, start + 2**order)


def order_to_clear(world: World, process: Process, memory: Range, j: int) -> int:
    order = 0 if world.rules.backing == "base" else world.rules.swapin_order
    span = aligned(j, order)
    fits = (
        not process.armed
        and memory.in_one_vma(span.start, span.stop)
        and all(memory.entries[k].kind == "N" for k in span)
    )
    return order if fits else 0


def clear_pages(
    world: World,
    process: Process,
    memory: Range,
    j: int,
    order: int,
    block: Block | None = None,
) -> None:
    """A new folio of zeros; only the page that is written becomes dirty."""
    span = aligned(j, order)
    folio = world.new_folio(order, process.region_page(memory, span.start))
    world.own(folio, block)
    world.admit(folio)
    for page, k in enumerate(span):
        memory.entries[k].set_own(folio, page, dirty=k == j)
        folio.mappings.add((process.number, page))
    world.event("ANON_FOLIO")
    world.event("CLEAR_PAGE", folio.size)
    world.event("MAP_PTE", folio.size)
    world.hold("pte_table", folio.size)
    world.warm = folio.region_pages


def write_page(world: World, process: Process, memory: Range, j: int) -> None:
    """A write to a present page that is not writable."""
    entry = memory.entries[j]
    folio = entry.folio
    assert folio is not None, "a present entry has a folio"
    if entry.exclusive or may_reuse(world, process, folio):
        entry.exclusive = entry.writable = entry.dirty = entry.soft_dirty = True
        return
    page = entry.page
    world.charge(1)
    copy = world.new_folio(0, process.region_page(memory, j))
    world.own(copy)
    world.admit(copy)
    entry.set_own(copy, 0, dirty=True)
    copy.mappings.add((process.number, 0))
    world.event("COPY_PAGE")
    world.event("MAP_PTE")
    world.hold("pte_table", 1)
    world.warm = copy.region_pages
    unmap_rmap(world, folio, process, [page])


def may_reuse(world: World, process: Process, folio: Folio) -> bool:
    if folio.order == 0:
        return folio.mapcount == 1 and is_own(world, folio)
    return not folio.cached and not folio.mapped_elsewhere(process)


def swap_in(
    world: World, process: Process, memory: Range, j: int, *, write: bool, is_fault: bool = True
) -> None:
    """A fault on a PTE swap entry, or what collapse does to one."""
    entry = memory.entries[j]
    slot = world.device.slots[entry.slot]
    folio = slot.folio
    if folio is not None:
        note_hit(world, process, memory, j, folio)
        map_cached(world, process, memory, j, folio, write=write, was_cached=True)
    else:
        if is_fault:
            world.counter("pgmajfault")
        if world.is_synchronous(entry.slot) and slot.count == 1:
            read_directly(world, process, memory, j)
        else:
            folio = read_ahead(world, process, memory, j)
            world.warm = folio.region_pages
            map_cached(world, process, memory, j, folio, write=write, was_cached=False)
    if write:
        if entry.writable:
            entry.dirty = entry.soft_dirty = True
        else:
            write_page(world, process, memory, j)


def note_hit(world: World, process: Process, memory: Range, j: int, folio: Folio) -> None:
    """A page that is cached already tells readahead how good it was."""
    if folio.order:
        return
    by_address = world.rules.vma_readahead
    if by_address:
        process.address = memory.number * PAGES + j
    if folio.readahead:
        folio.readahead = False
        world.counter("swap_ra_hit")
        if by_address:
            process.hits = min(process.hits + 1, MOST_HITS)
        else:
            previous, hits, window = world.slot_memory
            world.slot_memory = (previous, hits + 1, window)


def order_to_read(world: World, process: Process, memory: Range, j: int) -> int:
    """Order of the folio that a fault on a synchronous device reads."""
    order = 0 if world.rules.backing == "base" else world.rules.swapin_order
    span = aligned(j, order)
    entries = [memory.entries[k] for k in span]
    if process.armed or world.rules.zswap != "never":
        return 0
    if not memory.in_one_vma(span.start, span.stop):
        return 0
    if any(entry.kind != "S" for entry in entries) or entries[0].slot % 2**order:
        return 0
    if any(entry.slot != entries[0].slot + page for page, entry in enumerate(entries)):
        return 0
    slots = [world.device.slots[entry.slot] for entry in entries]
    alike = {
        (entry.exclusive, entry.uffd_wp, entry.soft_dirty, slot.zero)
        for entry, slot in zip(entries, slots, strict=True)
    }
    if len(alike) > 1 or any(slot.folio is not None for slot in slots):
        return 0
    return order


def read_directly(world: World, process: Process, memory: Range, j: int) -> None:
    """Past the swap cache, into a folio that is mapped at once."""
    order = order_to_read(world, process, memory, j)
    order, block = find_large(world, order, "swpin_fallback")
    span = aligned(j, order)
    slots = [memory.entries[k].slot for k in span]
    folio = world.new_folio(order, process.region_page(memory, span.start))
    world.own(folio, block)
    world.admit(folio, world.device.slots[slots[0]].shadow)
    read(world, folio, slots[0])
    world.hold("cluster", folio.size)
    for k in span:
        memory.entries[k].exclusive = True
    map_span(world, process, memory, span, folio)
    put(world, slots)
    world.warm = folio.region_pages


def map_cached(
    world: World,
    process: Process,
    memory: Range,
    j: int,
    folio: Folio,
    *,
    write: bool,
    was_cached: bool,
) -> None:
    span = span_to_map(memory, j, folio)
    slots = [memory.entries[k].slot for k in span]
    had_mappings = folio.mapcount > 0
    map_span(world, process, memory, span, folio)
    if was_cached:
        world.event("PUT_SLOT", len(slots))
    put(world, slots)
    if world.device.more_than_half_used or (write and not had_mappings):
        try_free_cache(world, folio)


def span_to_map(memory: Range, j: int, folio: Folio) -> range:
    """All of a cached folio if everything around the faulting entry fits, else that entry alone."""
    start = j - (memory.entries[j].slot - folio.slot)
    span = range(start, start + folio.size)
    if folio.order == 0 or start < 0 or span.stop > PAGES:
        return range(j, j + 1)
    entries = [memory.entries[k] for k in span]
    fits = (
        memory.in_one_vma(span.start, span.stop)
        and all(entry.kind == "S" for entry in entries)
        and [entry.slot for entry in entries] == list(folio.slots)
        and len({(entry.exclusive, entry.uffd_wp, entry.soft_dirty) for entry in entries}) == 1
    )
    return span if fits else range(j, j + 1)


def map_span(world: World, process: Process, memory: Range, span: range, folio: Folio) -> None:
    """Swap entries become present ones."""
    first_page = process.region_page(memory, span.start) - folio.first
    for page, k in enumerate(span, first_page):
        entry = memory.entries[k]
        map_page(process, entry, folio, page)
        entry.writable = may_be_writable(process, memory, k, entry)
    world.event("MAP_PTE", len(span))
    world.hold("pte_table", len(span))
