"""What holds after every step (section 8), looked up entry by entry."""

from __future__ import annotations

from collections import Counter

from tests.oracles.mechanism.memory import (
    PAGES,
    UNMAPPED,
    WHOLE,
    WRITABLE,
    Entry,
    Folio,
    Process,
    Range,
)
from tests.oracles.mechanism.slots import Device
from tests.oracles.mechanism.world import World


def check(world: World) -> None:
    counts: Counter[int] = Counter()
    mappings: dict[Folio, set[tuple[int, int]]] = {folio: set() for folio in world.folios}
    for process in world.living():
        assert len(process.ranges) == world.rules.regions + 1, f"process {process.number}: ranges"
        for memory in process.ranges:
            check_range(world, process, memory)
            collect(process, memory, counts, mappings)
    check_slots(world, counts)
    check_folios(world, mappings)
    check_exclusive(world)
    check_clusters(world)


def where(process: Process, memory: Range, j: int = WHOLE) -> str:
    return f"process {process.number}, range {memory.number}" + (f", entry {j}" * (j != WHOLE))


def check_range(world: World, process: Process, memory: Range) -> None:
    here = where(process, memory)
    if memory.table is None:
        if memory.pmd.kind != "N":
            assert memory.in_one_vma(), f"{here}: {memory.state} with several protections"
            check_entry(process, memory, 0, memory.pmd, here)
    else:
        assert memory.pmd.kind == "N", f"{here}: a table and a PMD entry"
        assert len(memory.table) == PAGES, f"{here}: the table has {len(memory.table)} entries"
    for j in range(PAGES):
        inside = process.is_inside(memory, j)
        entry = memory.page_entry(j)
        if not inside or memory.protection[j] == UNMAPPED:
            assert entry.kind == "N", f"{where(process, memory, j)}: {entry.kind} where nothing is"
        if not inside:
            assert memory.protection[j] == UNMAPPED, f"{where(process, memory, j)}: protection"
        if memory.table is not None:
            check_entry(process, memory, j, entry, where(process, memory, j))


def check_entry(process: Process, memory: Range, j: int, entry: Entry, here: str) -> None:
    assert entry.kind in "NSPZ", f"{here}: kind {entry.kind}"
    assert (entry.folio is not None) == (entry.kind == "P"), f"{here}: {entry.kind} and a folio"
    assert (entry.slot >= 0) == (entry.kind == "S"), f"{here}: {entry.kind} and a slot"
    flags = (entry.writable, entry.dirty, entry.exclusive, entry.uffd_wp, entry.soft_dirty)
    if entry.kind in "NZ":
        assert not any(flags), f"{here}: {entry.kind} with flags"
    if entry.kind == "S":
        assert not entry.writable, f"{here}: a writable swap entry"
        assert not entry.dirty, f"{here}: a dirty swap entry"
    if entry.writable:
        assert entry.exclusive, f"{here}: writable but shared"
        assert memory.protection[j] == WRITABLE, f"{here}: writable against its protection"
        assert entry.soft_dirty, f"{here}: writable, but a write would not be noticed"
    if entry.kind in "PS" and not process.tracked:
        assert entry.soft_dirty, f"{here}: not soft-dirty, though nobody has cleared it"
    if entry.uffd_wp:
        assert process.armed, f"{here}: uffd_wp without userfaultfd"
    if entry.folio is not None:
        page = 0 if entry.page == WHOLE else entry.page
        expected = process.region_page(memory, j)
        assert entry.folio.first + page == expected, f"{here}: maps another page of the region"


def collect(
    process: Process,
    memory: Range,
    counts: Counter[int],
    mappings: dict[Folio, set[tuple[int, int]]],
) -> None:
    """Slots and folios that the page table names."""
    if memory.table is None and memory.pmd.kind == "S":
        counts.update(range(memory.pmd.slot, memory.pmd.slot + PAGES))
        assert memory.pmd.slot % PAGES == 0, f"{where(process, memory)}: slot in mid-cluster"
    for entry in [memory.pmd, *(memory.table or ())]:
        if entry.kind == "S" and entry is not memory.pmd:
            counts[entry.slot] += 1
        if entry.folio is not None:
            assert entry.folio in mappings, f"{where(process, memory)}: maps a dead folio"
            name = (process.number, entry.page)
            assert name not in mappings[entry.folio], f"{where(process, memory)}: mapped twice"
            mappings[entry.folio].add(name)


def check_slots(world: World, counts: Counter[int]) -> None:
    slots = world.device.slots
    assert not counts.keys() - slots.keys(), "a page-table entry names a free slot"
    for number, slot in slots.items():
        assert 0 < number < world.device.end, f"slot {number} is not on the device"
        assert slot.count == counts[number], f"slot {number}: {slot.count} for {counts[number]}"
        used = slot.count > 0 or slot.folio is not None or slot.neighbour
        assert used, f"slot {number} is used by nobody"
        if slot.neighbour:
            assert slot.folio is None, f"slot {number}: the neighbour's slot is cached"
        if slot.folio is not None:
            assert slot.folio in world.folios, f"slot {number}: cached by a dead folio"
            assert number in slot.folio.slots, f"slot {number}: cached by a folio of other slots"
            page = slot.folio.first + number - slot.folio.slot
            assert page == slot.page, f"slot {number}: cached by a folio of another page"
            assert not slot.zswap, f"slot {number}: cached and in zswap"


def check_folios(world: World, mappings: dict[Folio, set[tuple[int, int]]]) -> None:
    pages = 0
    for folio in world.folios:
        name = f"folio of order {folio.order} at region page {folio.first}"
        assert folio.mappings == mappings[folio], f"{name}: mapcount {folio.mapcount}"
        assert folio.mappings or folio.cached, f"{name}: neither mapped nor cached"
        for number in folio.slots:
            slot = world.device.slots.get(number)
            assert slot is not None, f"{name}: its slot {number} is free"
            assert slot.folio is folio, f"{name}: slot {number} has another folio"
        if folio.cached:
            assert folio.slot % folio.size == 0, f"{name}: slot {folio.slot} is not aligned"
            assert not folio.lazyfree, f"{name}: lazyfree and cached"
        if folio.cached and not folio.mappings:
            named = any(world.device.slots[number].count for number in folio.slots)
            assert named, f"{name}: cached, but nobody can want it"
        if folio.partially_mapped:
            assert folio.order, f"{name}: a part of one page is mapped"
        pages += folio.size
    in_cache = {slot.folio for slot in world.device.slots.values() if slot.folio is not None}
    charged = {folio for folio, named in mappings.items() if named} | in_cache
    assert pages == sum(folio.size for folio in charged), "charged pages"


def check_exclusive(world: World) -> None:
    """Nobody else maps the page of an exclusive entry, or names its slot."""
    mapped: Counter[tuple[Folio, int]] = Counter()
    for folio in world.folios:
        for _, page in folio.mappings:
            mapped.update((folio, part) for part in (range(PAGES) if page == WHOLE else [page]))
    for process in world.living():
        for memory in process.ranges:
            for j in range(PAGES):
                entry = memory.page_entry(j)
                if not entry.exclusive:
                    continue
                here, slot = where(process, memory, j), memory.slot_of(j)
                names = 1
                if entry.folio is not None:
                    page = j if entry.page == WHOLE else entry.page
                    assert mapped[entry.folio, page] == 1, f"{here}: exclusive, but shared"
                    slot = entry.folio.slot + page if entry.folio.cached else -1
                    names = 0
                if slot >= 0:
                    count = world.device.slots[slot].count
                    assert count == names, f"{here}: exclusive, but {count} entries name its slot"


def check_clusters(world: World) -> None:
    used = Counter(number // PAGES for number in world.device.slots)
    for device in world.device.devices:
        used[device.clusters[0].number] += 1  # the header
        check_lists(device, used)
        assert (device in world.device.line) != device.is_full, "who is full takes no part"
    ranks = [device.given.priority for device in world.device.line]
    assert ranks == sorted(ranks, reverse=True), "the highest priority comes first"
    assert sum(used.values()) + sum(PAGES - cluster.used for cluster in world.device.clusters) == (
        world.device.end
    ), "used and free slots are not all slots"


def check_lists(device: Device, used: Counter[int]) -> None:
    for cluster in device.clusters:
        here = f"cluster {cluster.number}"
        assert cluster.used == used[cluster.number], f"{here}: {cluster.used} slots used"
        assert cluster.place is not None, f"{here}: on no list"
        assert device.lists[cluster.place].count(cluster) == 1, f"{here}: not on its list once"
        kind, order = cluster.place
        if kind == "free":
            assert cluster.used == 0, f"{here}: on FREE with {cluster.used} used"
        elif kind == "full":
            assert cluster.used == PAGES, f"{here}: on FULL with {cluster.used} used"
        else:
            assert 0 < cluster.used < PAGES, f"{here}: on {kind} with {cluster.used} used"
            assert cluster.order == order, f"{here}: of order {cluster.order} on list {order}"
    on_lists = sum(len(clusters) for clusters in device.lists.values())
    assert on_lists == len(device.clusters), "a cluster is on two lists"
