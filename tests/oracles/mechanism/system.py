"""What happens to the memory of all processes by nobody's call (section 6)."""

from __future__ import annotations

from dataclasses import replace

from tests.oracles.mechanism.blocks import (
    bury,
    classify,
    enter_cache,
    leave_cache,
    map_page,
    put,
    split_folio,
    split_swap_entry,
    try_free_cache,
)
from tests.oracles.mechanism.callers import visit_table
from tests.oracles.mechanism.faults import map_huge
from tests.oracles.mechanism.memory import PAGES, Folio, Process, Range
from tests.oracles.mechanism.slots import Devices
from tests.oracles.mechanism.transfer import (
    free_cached_folio,
    read_ahead,
    swap_out,
    try_huge_read,
    write,
)
from tests.oracles.mechanism.world import Call, World


def cached_folios(world: World) -> list[Folio]:
    """In the order of their first slots."""
    found = [slot.folio for _, slot in sorted(world.device.slots.items()) if slot.folio is not None]
    return list(dict.fromkeys(found))


# Reclaim


def reclaim(world: World) -> None:
    for process in world.living():
        for memory in process.ranges:
            reclaim_range(world, memory)
    unmapped = [folio for folio in cached_folios(world) if not folio.mappings]
    for folio in unmapped:
        if folio.dirty:
            write(world, folio)
    for folio in unmapped:
        # What zswap's pool has rejected, without a writeback, is still dirty.
        if folio.cached and not folio.dirty:
            free_cached_folio(world, folio)


def reclaim_range(world: World, memory: Range) -> None:
    if memory.table is None:
        if memory.pmd.folio is not None:
            swap_out(world, memory.pmd.folio)
        return
    for entry in memory.entries:
        if entry.folio is not None:
            swap_out(world, entry.folio)


# swapoff


def swap_off(world: World) -> None:
    for process in world.living():
        for memory, start, stop in process.chunks(0, process.pages):
            if not memory.is_none:
                world.event("VISIT_PMD")
                bring_back(world, process, memory, range(start, stop))
    for folio in cached_folios(world):
        leave_cache(world, folio)
    assert all(slot.neighbour for slot in world.device.slots.values()), "a slot is still used"
    alone = world.device.devices[0].given
    assert len(world.device.devices) == 1, "swapoff of one device of several is not known"
    world.device = Devices([replace(alone, free_clusters=0, neighbour_slots=0)])


def bring_back(world: World, process: Process, memory: Range, span: range) -> None:
    if memory.table is None:
        if memory.pmd.kind != "S":
            return
        first = memory.pmd.slot
        kind = classify(world, range(first, first + PAGES))
        if kind == "huge":
            folio = world.device.slots[first].folio
            map_huge(world, process, memory, folio, "hit", may_write=False)
            return
        reason = "split_cache"
        if kind == "empty":
            result = try_huge_read(world, process, memory)
            if isinstance(result, Folio):
                map_huge(world, process, memory, result, "read", may_write=False)
                return
            reason = result
        split_swap_entry(world, memory, reason)
    visit_table(world, span.start, span.stop)
    for j in span:
        if memory.entries[j].kind == "S":
            bring_back_page(world, process, memory, j)


def bring_back_page(world: World, process: Process, memory: Range, j: int) -> None:
    entry = memory.entries[j]
    slot = entry.slot
    folio = world.device.slots[slot].folio
    if folio is None:
        folio = read_ahead(world, process, memory, j)
    map_page(process, entry, folio, slot - folio.slot)
    world.event("MAP_PTE")
    world.hold("pte_table", 1)
    world.event("PUT_SLOT")
    put(world, [slot])
    try_free_cache(world, folio)


# Deferred split


def split_folios(world: World, call: Call) -> None:
    part = set(range(call.first_page, call.first_page + call.page_count))
    mapped = [
        entry.folio
        for process in world.living()
        for memory in process.ranges
        for entry in ([memory.pmd] if memory.table is None else memory.table)
        if entry.folio is not None and entry.folio.partially_mapped and not entry.folio.cached
    ]
    for folio in [*cached_folios(world), *dict.fromkeys(mapped)]:
        if folio.order and any(page % PAGES in part for page in folio.region_pages):
            split_folio(world, folio)


# Memory failure and zswap


def slot_of_page(world: World, region_page: int) -> int:
    """The slot that the first process with a swap entry for the page names, or -1."""
    for process in world.living():
        memory, j = process.place(region_page)
        slot = memory.slot_of(j)
        if slot >= 0:
            return slot
    return -1


def memory_failure(world: World, call: Call) -> None:
    for block in range(world.rules.regions):
        number = slot_of_page(world, block * PAGES + call.first_page)
        if number < 0:
            continue
        slot = world.device.slots[number]
        folio = slot.folio
        if folio is None or folio.mappings:
            continue
        if folio.order:
            split_folio(world, folio)
            folio = slot.folio
        assert folio is not None, "a page whose slot is named stays cached"
        if not folio.dirty:
            slot.folio = None
            folio.slot = -1
            bury(world, folio)


def zswap_writeback(world: World, call: Call) -> None:
    for first, count in call.spans(world.rules.regions):
        for page in range(first, first + count):
            number = slot_of_page(world, page)
            if number < 0:
                continue
            slot = world.device.slots[number]
            if slot.zswap and slot.folio is None:
                folio = world.new_folio(0, page)
                world.own(folio)
                enter_cache(world, folio, number)
                write_back(world, number)
                slot.zswap = False
                world.forget_stored(number)


def shrink_zswap(world: World) -> None:
    """zswap's worker, if a full pool has asked for it: chooses first, and writes then."""
    if world.pool is None or not world.pool.queued:
        return
    world.unlock_all()
    for number in world.pool.shrink():
        slot = world.device.slots[number]
        world.charge(1)
        shadow = slot.shadow
        folio = world.new_folio(0, slot.page)
        world.own(folio)
        enter_cache(world, folio, number)
        world.admit(folio, shadow)
        slot.zswap = False
        write_back(world, number)
        if world.pressure is not None and not world.is_synchronous(number):
            world.pressure.written.append(folio)


def write_back(world: World, slot: int) -> None:
    """One page from zswap to the device."""
    world.event("ZSWAP_LOAD_PAGE")
    world.event("SWAPIN_FOLIO")
    world.event("WRITE_REQUEST")
    world.event("COMPRESS_PAGE")
    world.share(slot, "WRITE_REQUEST")
    world.share(slot, "COMPRESS_PAGE")
    world.counter("pswpout")
    world.counter("zswpwb")
