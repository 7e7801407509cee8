"""Building blocks: slots, the swap cache, the reverse map and splitting (sections 3 and 4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.oracles.mechanism.memory import HUGE, PAGES, WHOLE, Entry, Folio, Process, Range
from tests.oracles.mechanism.world import World

# Slots


def free_slot(world: World, number: int) -> None:
    slot = world.device.slots[number]
    if not (slot.zero or slot.zswap or slot.neighbour):
        world.event("FREE_SLOT")
        world.share(number, "FREE_SLOT")
    elif slot.zswap:
        world.forget_stored(number)
    world.device.free(number)


def allocate(world: World, order: int, first_page: int) -> int | str:
    """The first slot, or the reason why there is none."""
    slot = world.device.allocate(order, first_page)
    if slot is None:
        whole = world.device.asked.given.block_device
        return "no_free_cluster" if whole else "not_block_device"
    world.hold("cluster", 2**order)
    return slot


def put(world: World, slots: Iterable[int]) -> None:
    """One page-table entry less names each of the slots."""
    numbers = list(slots)
    for number in numbers:
        world.device.slots[number].count -= 1
    for put_there in Counter(number // PAGES for number in numbers).values():
        world.hold("cluster", put_there)
    for number in numbers:
        slot = world.device.slots.get(number)
        if slot is None or slot.count:  # None: freed with the folio of a slot before it
            continue
        if slot.folio is None:
            free_slot(world, number)
        elif not slot.folio.mappings and no_counts(world, slot.folio):
            leave_cache(world, slot.folio)


def classify(world: World, slots: range) -> str:
    """What the swap cache holds of the slots of a PMD swap entry."""
    for position, number in enumerate(slots):
        folio = world.device.slots[number].folio
        if folio is not None:
            world.event("CLASSIFY_SLOT", position + 1)
            return "huge" if position == 0 and folio.order == HUGE else "split"
    world.event("CLASSIFY_SLOT", PAGES)
    return "empty"


# The swap cache


def enter_cache(world: World, folio: Folio, slot: int) -> None:
    folio.slot = slot
    for number in folio.slots:
        assert world.device.slots[number].folio is None, f"slot {number} is cached already"
        world.device.slots[number].folio = folio
        world.device.slots[number].shadow = None


def no_counts(world: World, folio: Folio) -> bool:
    return all(world.device.slots[number].count == 0 for number in folio.slots)


def take_from_cache(world: World, folio: Folio) -> None:
    """The folio leaves the cache; its slots stay, by their counts."""
    if world.pressure is not None and not no_counts(world, folio):
        world.pressure.evict(folio)
    for number in folio.slots:
        slot = world.device.slots[number]
        slot.folio = None
        if slot.count == 0:
            free_slot(world, number)
    folio.slot = -1
    bury(world, folio)


def leave_cache(world: World, folio: Folio) -> None:
    """Nobody names its slots any more."""
    assert no_counts(world, folio), "a folio leaves the cache while its slots are named"
    folio.dirty = True
    take_from_cache(world, folio)


def try_free_cache(world: World, folio: Folio) -> bool:
    if not no_counts(world, folio):
        return False
    leave_cache(world, folio)
    return True


def is_own(world: World, folio: Folio) -> bool:
    """Whether no slot holds it, or none has to any more."""
    return not folio.cached or try_free_cache(world, folio)


def bury(world: World, folio: Folio) -> None:
    """A folio dies that is neither mapped nor cached."""
    if not folio.mappings and not folio.cached and folio in world.folios:
        world.folios.remove(folio)
        world.unqueue_split(folio)
        world.release(folio)
        if world.pressure is not None:
            world.pressure.bury(folio)


# The reverse map


def map_page(process: Process, entry: Entry, folio: Folio, page: int) -> None:
    """A page-table entry becomes present; exclusive, uffd_wp and soft_dirty are as they were."""
    entry.set_present(folio, page)
    folio.mappings.add((process.number, page))


def unmap_rmap(world: World, folio: Folio, process: Process, pages: Iterable[int]) -> None:
    """Mappings of a process that go in one go; WHOLE is that of a PMD entry."""
    gone = {(process.number, page) for page in pages}
    assert gone <= folio.mappings, "only what is mapped can be unmapped"
    folio.mappings -= gone
    world.event("ZAP_FOLIO")
    if not folio.mappings:
        if folio.cached:
            try_free_cache(world, folio)
        world.event("FREE_PAGE", 0 if folio.cached else folio.size)
        bury(world, folio)
        return
    if not folio.order or (process.number, WHOLE) in gone or folio.partially_mapped:
        return
    if len(folio.mapped_pages()) < folio.size:
        folio.partially_mapped = True
        count_deferred_split(world, folio)
        world.queue_split(folio)


def count_deferred_split(world: World, folio: Folio) -> None:
    world.huge_counter("thp_deferred_split_page", folio.order)
    world.per_order("split_deferred", folio.order)


def mappings_of(world: World, folio: Folio) -> list[tuple[Process, Range, int]]:
    """Who maps the folio, in the order of processes and addresses."""
    found = []
    for number, page in sorted(folio.mappings):
        process = world.processes[number]
        memory, j = process.place(folio.first + max(page, 0))
        found.append((process, memory, j))
    return found


# Splitting


def split_mapping(
    world: World, process: Process, memory: Range, *, with_folio: bool = False
) -> None:
    """A MAPPED or ZERO entry becomes a table of PTEs that say the same.

    Handing on the dirty bit sets soft_dirty, too, unless the folio is being split.
    """
    before = memory.pmd.copy()
    assert before.has_translation, "only what is mapped has a mapping to split"
    memory.make_table()
    for page, entry in enumerate(memory.entries):
        if before.kind == "Z":
            entry.set_zero()
            continue
        assert before.folio is not None, "a mapped entry has a folio"
        map_page(process, entry, before.folio, page)
        entry.writable, entry.dirty = before.writable, before.dirty
        entry.exclusive, entry.uffd_wp = before.exclusive, before.uffd_wp
        entry.soft_dirty = before.soft_dirty or (before.dirty and not with_folio)
        entry.young = before.young
    if before.folio is not None:
        before.folio.mappings.remove((process.number, WHOLE))
    world.counter("thp_split_pmd")
    world.event("SPLIT_PMD_MAPPING")
    finish_split(world, memory)
    world.translations.forget(process.number, memory.number)


def split_swap_entry(world: World, memory: Range, reason: str) -> None:
    before = memory.pmd.copy()
    assert before.kind == "S", "only a swap entry is split as one"
    memory.make_table()
    for j, entry in enumerate(memory.entries):
        entry.set_swap(before.slot + j)
        entry.exclusive, entry.uffd_wp = before.exclusive, before.uffd_wp
        entry.soft_dirty = before.soft_dirty
    world.counter("thp_split_pmd")
    world.event("SPLIT_PMD_SWAP_ENTRY")
    finish_split(world, memory)
    world.fallback(reason)


def finish_split(world: World, memory: Range) -> None:
    world.hold("pmd", PAGES)
    if world.rules.lazy_deposit:
        # In the middle of something: the limit has to wait.
        world.allocate_table(by_force=True)


def split_folio(world: World, folio: Folio) -> list[Folio]:
    """Its pages become folios of their own; those that live on, in order."""
    world.huge_counter("thp_split_page", folio.order)
    world.per_order("split", folio.order)
    world.event("SPLIT_FOLIO_PAGE", folio.size)
    by_pte = any(page != WHOLE for _, page in folio.mappings)
    if by_pte and folio.order > 1 and not folio.partially_mapped:
        # The kernel unmaps page by page, and notices a folio that is mapped in part.
        count_deferred_split(world, folio)
    for process, memory, _ in mappings_of(world, folio):
        if memory.table is None:
            split_mapping(world, process, memory, with_folio=True)
    parts = []
    for page in range(folio.size):
        part = world.new_folio(0, folio.first + page)
        part.dirty, part.lazyfree = folio.dirty, folio.lazyfree
        if folio.cached:
            part.slot = folio.slot + page
            world.device.slots[part.slot].folio = part
        parts.append(part)
    world.hand_over(folio, parts)
    for process, memory, j in mappings_of(world, folio):
        entry = memory.entries[j]
        part = parts[entry.page]
        entry.folio, entry.page = part, 0
        part.mappings.add((process.number, 0))
    folio.mappings.clear()
    folio.slot = -1
    if world.pressure is not None:
        world.pressure.split(folio, parts)
    world.folios.remove(folio)
    world.unqueue_split(folio)
    world.unmapped += sum(not part.mappings and not part.cached for part in parts)
    for part in parts:
        if not part.mappings and part.cached:
            try_free_cache(world, part)
        bury(world, part)
    return [part for part in parts if part in world.folios]
