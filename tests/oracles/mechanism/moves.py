"""Memory that moves to another place: mremap and UFFDIO_MOVE (section 6)."""

from __future__ import annotations

from tests.oracles.mechanism.blocks import classify, split_folio, split_swap_entry
from tests.oracles.mechanism.callers import split_for_part
from tests.oracles.mechanism.faults import may_be_writable
from tests.oracles.mechanism.memory import PAGES, Process, Range
from tests.oracles.mechanism.memory import is_whole as whole
from tests.oracles.mechanism.world import Call, World


class Destination:
    """The new place, which gets tables as entries arrive."""

    def __init__(self, world: World, process: Process, shift: int) -> None:
        self.world, self.process, self.shift = world, process, shift
        self.ranges = [Range(process.number, memory.number) for memory in process.ranges]
        for page in range(process.pages):
            memory, j = process.place(page)
            to, k = self.place(page)
            to.protection[k] = memory.protection[j]

    def place(self, region_page: int) -> tuple[Range, int]:
        w, j = divmod(self.shift + region_page, PAGES)
        return self.ranges[w], j

    def take_whole(self, memory: Range) -> None:
        """The PMD entry, or the table below it, as it is."""
        to = self.ranges[memory.number]
        to.pmd, to.table = memory.pmd, memory.table
        to.pmd.note_move()
        self.world.event("MOVE_PMD")

    def take(self, memory: Range, j: int) -> None:
        to, k = self.place(self.process.region_page(memory, j))
        if to.table is None:
            to.make_table()
            self.world.event("PAGE_TABLE_ALLOCATION")
        to.entries[k] = memory.entries[j]
        to.entries[k].note_move()
        self.world.event("SET_PTE", 2)

    def become_home(self) -> None:
        """The old place is gone, with its tables and translations."""
        for memory in self.process.ranges:
            self.world.translations.forget(self.process.number, memory.number)
        self.process.ranges, self.process.shift = self.ranges, self.shift


def has_translations(memory: Range) -> bool:
    entries = [memory.pmd] if memory.table is None else memory.table
    return any(entry.has_translation for entry in entries)


# mremap


def remap(world: World, call: Call) -> None:
    process = world.processes[call.process]
    same = process.shift == call.shift_pages
    world.event("SYSTEM_CALL")
    to = Destination(world, process, call.shift_pages)
    flush = False
    for memory, start, stop in process.chunks(0, process.pages):
        if memory.is_none:
            continue
        world.event("VISIT_PMD")
        flush |= has_translations(memory)
        if same and whole(start, stop):
            to.take_whole(memory)
            world.hold("pmd", 1)
            continue
        if memory.table is None:
            split_for_part(world, process, memory)
        for j in range(start, stop):
            if memory.entries[j].kind != "N":
                world.event("VISIT_PTE")
                to.take(memory, j)
    to.become_home()
    if flush:
        world.event("TLB_FLUSH")


# UFFDIO_MOVE


def move(world: World, call: Call) -> None:
    process = world.processes[call.process]
    world.event("SYSTEM_CALL")
    if any(is_refused(world, memory) for memory in process.ranges):
        world.observe("refused_calls", 1)
        return
    aligned = process.shift == call.shift_pages == 0
    to = Destination(world, process, call.shift_pages)
    flush = False
    for memory, start, stop in process.chunks(0, process.pages):
        if memory.is_none:
            continue
        world.event("VISIT_PMD")
        flush |= has_translations(memory)
        if memory.table is None and stays_whole(world, process, memory, aligned=aligned):
            to.take_whole(memory)
            if memory.pmd.kind == "P":
                memory.pmd.writable = may_be_writable(process, memory, 0, memory.pmd)
            world.hold("pmd", 1)
            world.hold("pmd", 1)
            continue
        move_entries(world, process, memory, range(start, stop), to)
    to.become_home()
    if flush:
        world.event("TLB_FLUSH")


def is_refused(world: World, memory: Range) -> bool:
    entries = [memory.pmd] if memory.table is None else memory.table
    if any(entry.kind in ("P", "S") and not entry.exclusive for entry in entries):
        return True
    cached_by = [
        world.device.slots[entry.slot].folio for entry in memory.table or () if entry.kind == "S"
    ]
    return any(folio is not None and folio.order for folio in cached_by)


def stays_whole(world: World, process: Process, memory: Range, *, aligned: bool) -> bool:
    """Whether a PMD entry can move as it is; it is split if not."""
    if not aligned:
        split_for_part(world, process, memory)
        return False
    if memory.pmd.kind != "S":
        return True
    kind = classify(world, range(memory.pmd.slot, memory.pmd.slot + PAGES))
    if kind == "split":
        split_swap_entry(world, memory, "split_cache")
        return False
    if kind == "huge":
        world.hold("cluster", 1)  # the folio's index in the region changes
    return True


def move_entries(
    world: World, process: Process, memory: Range, span: range, to: Destination
) -> None:
    for j in span:
        entry = memory.entries[j]
        if entry.kind == "N":
            continue
        world.event("VISIT_PTE")
        world.event("MOVE_PTE")
        if entry.kind == "S":
            world.event("LOOKUP_SLOT")
        elif entry.folio is not None and entry.folio.order:
            split_folio(world, entry.folio)
        to.take(memory, j)
        if entry.folio is not None:
            entry.writable = may_be_writable(process, memory, j, entry)
