"""A touch of every 2 MiB: its accesses, and the cache lines of page-table entries for them."""

from __future__ import annotations

from tests.oracles.mechanism.faults import access
from tests.oracles.mechanism.memory import PAGES
from tests.oracles.mechanism.world import Call, World

ENTRIES_PER_LINE = 8  # page-table entries in a cache line


def touch(world: World, call: Call) -> None:
    process = world.processes[call.process]
    for block in range(world.rules.regions):
        world.warm = range(0)
        lines: set[int] = set()
        # A fault leaves what it writes of the page table in the caches.
        has_faulted = False
        for page in call.touched():
            region_page = block * PAGES + page
            walks, faults = (world.now.events[name] for name in ("WALK_PTE", "FAULT"))
            access(world, process, region_page, call)
            line = (process.shift + region_page) // ENTRIES_PER_LINE
            walked = world.now.events["WALK_PTE"] > walks
            faulted = world.now.events["FAULT"] > faults
            comes = walked and line not in lines and (faulted or not has_faulted)
            world.event("PAGE_TABLE_LINE", comes)
            lines.add(line)
            has_faulted |= faulted
