"""What programs ask for with madvise and munmap: pageout, cold, willneed, zap and free (section 6).

A function that acts on one chunk returns whether a present entry changed, which costs a flush.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.oracles.mechanism.blocks import (
    classify,
    is_own,
    put,
    split_folio,
    split_mapping,
    split_swap_entry,
    unmap_rmap,
)
from tests.oracles.mechanism.memory import PAGES, UNMAPPED, WHOLE, Entry, Folio, Process, Range
from tests.oracles.mechanism.memory import is_whole as whole
from tests.oracles.mechanism.transfer import (
    Requests,
    read_page_into_cache,
    swap_out,
    try_huge_read,
)
from tests.oracles.mechanism.world import Call, World

# Acts on entries start .. stop-1 of a range that is not NONE.
Chunk = Callable[[World, Process, Range, int, int], bool]


def for_each_chunk(world: World, call: Call, act: Chunk) -> None:
    """The step as one call, or as one for each 2 MiB."""
    process = world.processes[call.process]
    for first, count in call.spans(world.rules.regions):
        world.event("SYSTEM_CALL")
        visit_span(world, process, first, count, act)


def visit_span(world: World, process: Process, first: int, count: int, act: Chunk) -> None:
    changed = False
    for memory, start, stop in process.chunks(first, count):
        changed |= visit_chunk(world, process, memory, start, stop, act)
        world.after_work()
    if changed:
        world.event("TLB_FLUSH")


def visit_chunk(
    world: World, process: Process, memory: Range, start: int, stop: int, act: Chunk
) -> bool:
    if memory.is_none:
        return False
    world.event("VISIT_PMD")
    return act(world, process, memory, start, stop)


def visit_table(world: World, start: int, stop: int) -> None:
    world.event("VISIT_PTE", stop - start)
    world.hold("pte_table", stop - start)


# MADV_PAGEOUT and MADV_COLD


def page_out(world: World, process: Process, memory: Range, start: int, stop: int) -> bool:
    if memory.table is None and memory.pmd.kind == "P" and whole(start, stop):
        folio = memory.pmd.folio
        assert folio is not None, "a mapped entry has a folio"
        if folio.mapcount > 1:
            return False
        swap_out(world, folio)
        return True
    found = separate(world, process, memory, start, stop)
    for folio in found:
        swap_out(world, folio)
    return bool(found)


def cold(world: World, process: Process, memory: Range, start: int, stop: int) -> bool:
    if memory.table is not None or not whole(start, stop):
        separate(world, process, memory, start, stop)
    return False


def separate(world: World, process: Process, memory: Range, start: int, stop: int) -> list[Folio]:
    """Folios of the chunk that nobody shares; those that reach out of it are split."""
    if memory.table is None:
        folio = memory.pmd.folio
        if folio is None or folio.mapcount > 1:
            return []
        split_folio(world, folio)
    visit_table(world, start, stop)
    found = []
    j = start
    while j < stop:
        entry = memory.entries[j]
        folio = entry.folio
        if folio is not None and folio.order and run_of(memory, j, stop) < folio.size:
            if folio.mapped_elsewhere(process):
                j += 1
                continue
            split_folio(world, folio)
            folio = entry.folio
        if folio is None:
            j += 1
            continue
        if folio.mapcount == folio.size:
            found.append(folio)
        j += folio.size
    return found


def run_of(memory: Range, j: int, stop: int) -> int:
    """How many PTEs from here map consecutive pages of one folio, alike in every other way."""
    length = 1
    while j + length < stop and goes_on(memory, j + length):
        length += 1
    return length


def goes_on(memory: Range, j: int) -> bool:
    """Whether an entry belongs to the run of the one before it."""
    before, entry = memory.entries[j - 1], memory.entries[j]
    return (
        entry.folio is before.folio
        and entry.page == before.page + 1
        and entry.uffd_wp == before.uffd_wp
        and memory.protection[j] == memory.protection[j - 1]
    )


# MADV_WILLNEED


def will_need(world: World, process: Process, memory: Range, start: int, stop: int) -> bool:
    world.unlock_all()
    if memory.table is None:
        if memory.pmd.kind != "S":
            return False
        kind = classify(world, range(memory.pmd.slot, memory.pmd.slot + PAGES))
        if kind == "huge":
            return False
        reason = "split_cache"
        if kind == "empty":
            result = try_huge_read(world, process, memory)
            if isinstance(result, Folio):
                return False
            reason = result
        split_swap_entry(world, memory, reason)
    visit_table(world, start, stop)
    requests = Requests(world)
    for entry in memory.entries[start:stop]:
        if entry.kind == "S" and world.device.slots[entry.slot].folio is None:
            read_page_into_cache(world, entry.slot, requests)
    return False


# Zap: MADV_DONTNEED, munmap, exit


def discard(world: World, process: Process, memory: Range, start: int, stop: int) -> bool:
    changed = zap(world, process, memory, start, stop)
    if whole(start, stop):
        memory.drop_table()
    return changed


def discard_second_half(world: World, process: Process, memory: Range) -> None:
    """Another thread's MADV_DONTNEED in the middle of a fault."""
    if visit_chunk(world, process, memory, PAGES // 2, PAGES, discard):
        world.event("TLB_FLUSH")


def unmap(world: World, call: Call) -> None:
    process = world.processes[call.process]
    for first, count in call.spans(world.rules.regions):
        world.event("SYSTEM_CALL")
        visit_span(world, process, first, count, zap)
        for memory, start, stop in process.chunks(first, count):
            memory.protection[start:stop] = [UNMAPPED] * (stop - start)
            if set(memory.protection) == {UNMAPPED}:
                memory.drop_table()


def leave(world: World, call: Call) -> None:
    """A process exits."""
    process = world.processes[call.process]
    visit_span(world, process, 0, process.pages, zap)
    del world.processes[call.process]


def zap(world: World, process: Process, memory: Range, start: int, stop: int) -> bool:
    """What the entries say is gone."""
    changed = False
    if memory.table is None:
        changed = memory.pmd.has_translation
        if whole(start, stop):
            zap_huge(world, process, memory)
            return changed
        split_for_part(world, process, memory)
    visit_table(world, start, stop)
    return changed | zap_entries(world, process, memory, start, stop)


def split_for_part(world: World, process: Process, memory: Range) -> None:
    """A call that concerns only a part of a PMD entry needs a table."""
    if memory.pmd.kind == "S":
        split_swap_entry(world, memory, "unaligned_or_partial")
    else:
        split_mapping(world, process, memory)


def zap_huge(world: World, process: Process, memory: Range) -> None:
    before = memory.pmd.copy()
    memory.pmd.clear()
    if before.kind == "S":
        world.event("PUT_SLOT", PAGES)
        world.hold("pmd", 1)
        put(world, range(before.slot, before.slot + PAGES))
        return
    if before.folio is not None:
        world.event("ZAP_PTE")
        world.hold("pmd", 1)
        unmap_rmap(world, before.folio, process, [WHOLE])
    world.translations.forget(process.number, memory.number)


class SlotRun:
    """Consecutive entries that name consecutive slots are put together."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.slots: list[int] = []

    def zap(self, entry: Entry) -> None:
        if self.slots and entry.slot != self.slots[-1] + 1:
            self.end()
        self.world.event("SET_PTE")
        self.slots.append(entry.slot)
        entry.clear()

    def end(self) -> None:
        if self.slots:
            self.world.event("PUT_SLOT", len(self.slots))
            put(self.world, self.slots)
            self.slots = []


def zap_entries(world: World, process: Process, memory: Range, start: int, stop: int) -> bool:
    """Every entry becomes NONE, in order."""
    changed = False
    run = SlotRun(world)
    j = start
    while j < stop:
        entry = memory.entries[j]
        if entry.kind == "S":
            run.zap(entry)
            j += 1
            continue
        run.end()
        if entry.folio is not None:
            length = run_of(memory, j, stop)
            zap_present(world, process, memory, range(j, j + length))
            changed = True
            j += length
            continue
        if entry.kind == "Z":
            world.event("SET_PTE")
            world.translations.forget(process.number, memory.number)
            entry.clear()
            changed = True
        j += 1
    run.end()
    return changed


def zap_present(world: World, process: Process, memory: Range, span: range) -> None:
    """Entries that map consecutive pages of one folio."""
    folio = memory.entries[span.start].folio
    assert folio is not None, "only present entries are zapped as such"
    pages = [memory.entries[j].page for j in span]
    for j in span:
        memory.entries[j].clear()
    world.event("ZAP_PTE", len(span))
    unmap_rmap(world, folio, process, pages)
    world.translations.forget(process.number, memory.number)


# MADV_FREE


def free(world: World, process: Process, memory: Range, start: int, stop: int) -> bool:
    if memory.table is None:
        folio = memory.pmd.folio
        if memory.pmd.kind == "S":
            if whole(start, stop):
                zap_huge(world, process, memory)
                return False
            split_for_part(world, process, memory)
        elif folio is None or folio.mapcount > 1:
            return False
        elif whole(start, stop):
            return make_lazyfree(world, process, memory, folio, [memory.pmd])
        else:
            split_folio(world, folio)
    visit_table(world, start, stop)
    return free_entries(world, process, memory, start, stop)


def free_entries(world: World, process: Process, memory: Range, start: int, stop: int) -> bool:
    changed = False
    run = SlotRun(world)
    j = start
    while j < stop:
        entry = memory.entries[j]
        if entry.kind == "S":
            run.zap(entry)
        else:
            run.end()
        folio = entry.folio
        if folio is not None and run_of(memory, j, stop) < folio.size:
            if folio.mapped_elsewhere(process):
                j += 1
                continue
            split_folio(world, folio)
            folio = entry.folio
        if folio is None:
            j += 1
            continue
        if folio.mapcount == folio.size:
            entries = memory.entries[j : j + folio.size]
            changed |= make_lazyfree(world, process, memory, folio, entries)
        j += folio.size
    run.end()
    return changed


def make_lazyfree(
    world: World, process: Process, memory: Range, folio: Folio, entries: list[Entry]
) -> bool:
    """Reclaim may drop the folio, unless somebody writes to it before."""
    if not is_own(world, folio):
        return False
    folio.lazyfree, folio.dirty = True, False
    for entry in entries:
        entry.dirty = False
    world.translations.forget(process.number, memory.number)
    return True
