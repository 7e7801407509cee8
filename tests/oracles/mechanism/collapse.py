"""MADV_COLLAPSE and khugepaged: a table of pages becomes a THP (section 6)."""

from __future__ import annotations

from collections.abc import Callable

from tests.oracles.mechanism.callers import run_of, visit_table, zap_present
from tests.oracles.mechanism.faults import swap_in
from tests.oracles.mechanism.memory import HUGE, PAGES, WHOLE, WRITABLE, Process, Range
from tests.oracles.mechanism.memory import is_whole as whole
from tests.oracles.mechanism.world import Call, World

LEAST_USED_WITH_SWAP = 256
# Of compaction.
FULL = 2


def collapse_step(world: World, call: Call) -> None:
    process = world.processes[call.process]
    world.event("SYSTEM_CALL")
    visit_ranges(world, process, lambda memory: any(entry.kind != "N" for entry in memory.entries))


def khugepaged(world: World) -> None:
    for process in world.living():

        def is_chosen(memory: Range, process: Process = process) -> bool:
            return is_worth_it(world, process, memory)

        visit_ranges(world, process, is_chosen)


def visit_ranges(world: World, process: Process, is_chosen: Callable[[Range], bool]) -> None:
    """Collapse what can be and is chosen of the ranges that are wholly in the region."""
    collapsed = False
    for memory, start, stop in process.chunks(0, process.pages):
        if memory.is_none or not whole(start, stop):
            continue
        world.event("VISIT_PMD")
        if memory.table is None:
            continue
        visit_table(world, start, stop)
        if may_collapse(process, memory) and is_chosen(memory):
            collapsed |= collapse(world, process, memory)
    if collapsed:
        world.event("TLB_FLUSH")


def may_collapse(process: Process, memory: Range) -> bool:
    protected = any(entry.uffd_wp for entry in memory.entries)
    return memory.in_one_vma() and not process.armed and not protected


def is_worth_it(world: World, process: Process, memory: Range) -> bool:
    """What khugepaged thinks of a table."""
    rules = world.rules
    swapped = empty = shared = used = 0
    for entry in memory.entries:
        if entry.kind == "S":
            swapped += 1
            if swapped > rules.max_ptes_swap:
                world.counter("thp_scan_exceed_swap_pte")
                return False
        elif entry.folio is None:
            empty += 1
            if empty > rules.max_ptes_none:
                world.counter("thp_scan_exceed_none_pte")
                return False
        else:
            shared += entry.folio.mapped_elsewhere(process)
            if shared > rules.max_ptes_shared:
                world.counter("thp_scan_exceed_share_pte")
                return False
            # Only reclaim ever makes an entry old.
            used += world.pressure is None or entry.young or entry.folio.referenced
    return used >= (LEAST_USED_WITH_SWAP if swapped else 1)


def collapse(world: World, process: Process, memory: Range) -> bool:
    """Whether it came to that: there may be no memory, or the memory cgroup may be against it."""
    block = world.find_frames(HUGE, FULL)
    world.khugepaged.refused = block is None
    if block is None:
        world.counter("thp_collapse_alloc_failed")
        world.event("ORDER9_ALLOCATION_FAILURE")
        return False
    world.counter("thp_collapse_alloc")
    world.event("COLLAPSE_RANGE")
    world.event("THP_ALLOCATION")
    if not world.charge(PAGES):
        world.give_back(block)
        return False
    for j in range(PAGES):
        if memory.entries[j].kind == "S":
            world.unlock_all()
            swap_in(world, process, memory, j, write=False, is_fault=False)
    if any(entry.kind == "S" for entry in memory.entries):
        # What was read first has been reclaimed for what was read last.
        world.uncharge(PAGES)
        world.give_back(block)
        return False
    copied = sum(entry.kind == "P" for entry in memory.entries)
    world.event("COPY_PAGE", copied)
    world.event("CLEAR_PAGE", PAGES - copied)
    j = 0
    while j < PAGES:
        length = run_of(memory, j, PAGES) if memory.entries[j].folio is not None else 1
        if memory.entries[j].folio is not None:
            world.event("COLLAPSE_FOLIO")
            zap_present(world, process, memory, range(j, j + length))
        j += length
    memory.drop_table()
    huge = world.new_folio(HUGE, process.region_page(memory, 0))
    world.own(huge, block)
    world.admit(huge)
    world.queue_split(huge)
    if world.rules.lazy_deposit:
        world.forget_table()
    huge.mappings.add((process.number, WHOLE))
    memory.pmd.set_own(huge, WHOLE, dirty=True, writable=memory.protection[0] == WRITABLE)
    world.event("MAP_PMD")
    world.hold("pmd", 1)
    world.translations.forget(process.number, memory.number)
    return True
