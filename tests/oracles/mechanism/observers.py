"""What programs can ask about memory: mincore, pagemap and smaps (section 6)."""

from __future__ import annotations

from tests.oracles.mechanism.blocks import classify
from tests.oracles.mechanism.callers import follows, visit_table
from tests.oracles.mechanism.memory import PAGES, UNMAPPED, Process, Range
from tests.oracles.mechanism.world import Call, World


def mincore(world: World, process: Process, memory: Range, start: int, stop: int) -> bool:
    if memory.table is None:
        resident = resident_of_huge(world, memory, range(start, stop))
    else:
        visit_table(world, start, stop)
        resident = 0
        for j in range(start, stop):
            if memory.entries[j].kind == "S":
                resident += is_cached(world, memory, j)
            else:
                resident += memory.entries[j].has_translation
    world.observe("mincore_resident_pages", resident)
    return False


def resident_of_huge(world: World, memory: Range, span: range) -> int:
    if memory.pmd.kind != "S":
        return len(span)
    kind = classify(world, range(memory.pmd.slot, memory.pmd.slot + PAGES))
    if kind == "split":
        return sum(is_cached(world, memory, j) for j in span)
    return len(span) if kind == "huge" else 0


def is_cached(world: World, memory: Range, j: int) -> bool:
    world.event("LOOKUP_SLOT")
    return world.device.slots[memory.slot_of(j)].folio is not None


def pagemap(world: World, call: Call) -> None:
    process = world.processes[call.process]
    world.event("SYSTEM_CALL")
    for memory, start, stop in process.chunks(0, process.pages):
        mapped = sum(kind != UNMAPPED for kind in memory.protection[start:stop])
        world.event("REPORT_PAGE", mapped)
        visit(world, memory, start, stop)
        for j in range(start, stop):
            entry = memory.page_entry(j)
            world.observe("pagemap_present_pages", entry.has_translation)
            world.observe("pagemap_swapped_pages", entry.kind == "S")
        look_up(world, memory, start, stop)


def smaps(world: World, call: Call) -> None:
    process = world.processes[call.process]
    world.event("SYSTEM_CALL")
    for memory, start, stop in process.chunks(0, process.pages):
        visit(world, memory, start, stop)
        if memory.table is None:
            if memory.pmd.kind == "S":
                world.event("LOOKUP_SLOT")
                world.observe("smaps_swap_pages", PAGES)
            elif memory.pmd.kind == "P":
                world.observe("smaps_rss_pages", PAGES)
                world.observe("smaps_pmd_mapped_pages", PAGES)
            continue
        look_up(world, memory, start, stop)
        for entry in memory.entries[start:stop]:
            world.event("LOOKUP_SLOT", entry.kind == "S")
            world.event("ACCOUNT_PAGE", entry.kind in ("S", "P"))
            world.observe("smaps_swap_pages", entry.kind == "S")
            world.observe("smaps_rss_pages", entry.kind == "P")


def look_up(world: World, memory: Range, start: int, stop: int) -> None:
    """The folio behind every present PTE is read, once where consecutive PTEs name it."""
    if memory.table is None:
        return
    for j in range(start, stop):
        read_before = j > start and follows(memory, j)
        world.event("LOOKUP_FOLIO", memory.entries[j].kind == "P" and not read_before)


def visit(world: World, memory: Range, start: int, stop: int) -> None:
    if memory.is_none:
        return
    world.event("VISIT_PMD")
    if memory.table is None:
        world.hold("pmd", 1)
    else:
        visit_table(world, start, stop)
