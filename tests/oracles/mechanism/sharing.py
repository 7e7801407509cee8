"""Protection, userfaultfd's write protection, soft-dirty bits, and fork (section 6).

A function that acts on one chunk returns whether a present entry changed, which costs a flush.
"""

from __future__ import annotations

from tests.oracles.mechanism.callers import (
    follows,
    for_each_chunk,
    split_for_part,
    visit_table,
)
from tests.oracles.mechanism.faults import may_be_writable
from tests.oracles.mechanism.memory import PAGES, READ_ONLY, WRITABLE, Entry, Process, Range
from tests.oracles.mechanism.memory import is_whole as whole
from tests.oracles.mechanism.world import Call, World

# mprotect


def protect(world: World, call: Call) -> None:
    process = world.processes[call.process]
    wanted = WRITABLE if call.writable else READ_ONLY
    for first, count in call.spans(world.rules.regions):
        world.event("SYSTEM_CALL")
        changed = False
        for memory, start, stop in process.chunks(first, count):
            pages = [j for j in range(start, stop) if memory.protection[j] != wanted]
            for j in pages:
                memory.protection[j] = wanted
            if pages and not memory.is_none:
                world.event("VISIT_PMD")
                changed |= follow_protection(world, process, memory, pages)
        if changed:
            world.event("TLB_FLUSH")


def follow_protection(world: World, process: Process, memory: Range, pages: list[int]) -> bool:
    """Entries of pages whose protection is another now."""
    changed = False
    if memory.table is None:
        entry = memory.pmd
        if len(pages) == PAGES:
            if entry.kind == "P":
                world.event("CHANGE_FOLIO")
                entry.writable = may_be_writable(process, memory, 0, entry)
                set_huge_entry(world, process, memory)
            return entry.kind == "P"
        changed = entry.has_translation
        split_for_part(world, process, memory)
    world.event("VISIT_PTE", len(pages))
    world.hold("pte_table", len(pages))
    for j in pages:
        entry = memory.entries[j]
        if entry.kind == "P":
            entry.writable = may_be_writable(process, memory, j, entry)
            world.event("SET_PTE")
            world.event("CHANGE_FOLIO", not (j - 1 in pages and follows(memory, j)))
            world.translations.forget(process.number, memory.number)
            changed = True
    return changed


def set_huge_entry(world: World, process: Process, memory: Range) -> None:
    world.event("SET_PTE")
    world.hold("pmd", 1)
    world.translations.forget(process.number, memory.number)


# UFFDIO_WRITEPROTECT


def write_protect(world: World, call: Call) -> None:
    world.processes[call.process].armed = True
    for_each_chunk(world, call, set_uffd_wp)


def set_uffd_wp(world: World, process: Process, memory: Range, start: int, stop: int) -> bool:
    changed = False
    if memory.table is None:
        entry = memory.pmd
        if whole(start, stop):
            if entry.kind != "Z":
                entry.uffd_wp, entry.writable = True, False
                set_huge_entry(world, process, memory)
            return entry.kind == "P"
        changed = entry.has_translation
        split_for_part(world, process, memory)
    visit_table(world, start, stop)
    for entry in memory.entries[start:stop]:
        if entry.kind in ("P", "S"):
            entry.uffd_wp, entry.writable = True, False
            world.event("SET_PTE")
        if entry.kind == "P":
            world.translations.forget(process.number, memory.number)
            changed = True
    return changed


# clear_refs


def clear_soft_dirty(world: World, call: Call) -> None:
    process = world.processes[call.process]
    process.tracked = True
    world.event("SYSTEM_CALL")
    for memory, start, stop in process.chunks(0, process.pages):
        if memory.is_none:
            continue
        world.event("VISIT_PMD")
        if memory.table is None:
            entries = [memory.pmd]
            world.hold("pmd", 1)
        else:
            entries = [entry for entry in memory.table[start:stop] if entry.kind != "N"]
            visit_table(world, start, stop)
        for entry in entries:
            entry.writable = entry.soft_dirty = False
        world.event("SET_PTE", len(entries))
        if any(entry.has_translation for entry in entries):
            world.translations.forget(process.number, memory.number)
    world.event("TLB_FLUSH")


# fork


def fork(world: World, call: Call) -> None:
    parent = world.processes[call.process]
    world.forks += 1
    child = Process(world.forks, world.rules.regions, parent.shift)
    child.tracked = parent.tracked
    child.address, child.window, child.hits = parent.address, parent.window, parent.hits
    world.processes[child.number] = child
    flush = False
    for memory, copy in zip(parent.ranges, child.ranges, strict=True):
        copy.protection = list(memory.protection)
        if memory.is_none:
            continue
        world.event("VISIT_PMD")
        if memory.table is None:
            present = copy_huge(world, child, memory, copy)
        else:
            present = copy_table(world, child, memory, copy)
        if present:
            world.translations.forget(parent.number, memory.number)
            flush = True
    if flush:
        world.event("TLB_FLUSH")


def share(entry: Entry, copy: Entry, child: Process) -> None:
    """Both may read it; the child's userfaultfd is nobody's."""
    entry.writable = entry.exclusive = False
    copy.kind, copy.folio, copy.page, copy.slot = entry.kind, entry.folio, entry.page, entry.slot
    copy.dirty, copy.soft_dirty = entry.dirty, entry.soft_dirty
    if entry.folio is not None:
        entry.folio.mappings.add((child.number, entry.page))


def copy_huge(world: World, child: Process, memory: Range, copy: Range) -> bool:
    entry = memory.pmd
    if not world.rules.lazy_deposit:
        world.event("PAGE_TABLE_ALLOCATION")
    share(entry, copy.pmd, child)
    if entry.kind == "Z":
        world.event("SET_PTE")
        return False
    world.event("SET_PTE", 2)
    world.event("CHANGE_FOLIO", entry.kind == "P")
    world.hold("pmd", 1)
    if entry.kind == "S":
        duplicate(world, range(entry.slot, entry.slot + PAGES))
    return entry.kind == "P"


def copy_table(world: World, child: Process, memory: Range, copy: Range) -> bool:
    present = False
    copy.make_table()
    world.event("PAGE_TABLE_ALLOCATION")
    visit_table(world, 0, PAGES)
    for j, (entry, copied) in enumerate(zip(memory.entries, copy.entries, strict=True)):
        if entry.kind == "N":
            continue
        if entry.kind == "P":
            world.event("SET_PTE", 2)
            world.event("CHANGE_FOLIO", not follows(memory, j))
            present = True
        elif entry.kind == "S":
            world.event("SET_PTE", 2 if entry.exclusive else 1)
            duplicate(world, range(entry.slot, entry.slot + 1))
        else:
            world.event("SET_PTE")
        share(entry, copied, child)
    return present


def duplicate(world: World, slots: range) -> None:
    for number in slots:
        world.device.slots[number].count += 1
    world.event("DUPLICATE_CALL")
    world.event("DUPLICATE_SLOT", len(slots))
    world.hold("cluster", len(slots))
