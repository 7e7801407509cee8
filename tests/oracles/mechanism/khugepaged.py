"""khugepaged by its clock (docs/khugepaged.md): how far it goes in a pass, and when it wakes."""

from __future__ import annotations

from collections.abc import Iterator

from tests.oracles.mechanism.callers import visit_table
from tests.oracles.mechanism.collapse import collapse, is_worth_it, may_collapse
from tests.oracles.mechanism.memory import PAGES, Process, Range
from tests.oracles.mechanism.memory import is_whole as whole
from tests.oracles.mechanism.world import Call, World

# Picoseconds.
MILLISECOND = 10**9


def wait(world: World, call: Call) -> None:
    end = world.clock + call.milliseconds * MILLISECOND
    daemon, rules = world.khugepaged, world.rules
    if rules.scan_sleep:
        if daemon.wakes is None:
            daemon.wakes = world.clock
            daemon.life = live(world)
        while daemon.wakes < end:
            world.clock = max(world.clock, daemon.wakes)
            daemon.wakes = world.clock + next(daemon.life) * MILLISECOND
    world.clock = max(world.clock, end)


def live(world: World) -> Iterator[int]:
    """How long it sleeps each time."""
    while True:
        yield from make_pass(world)
        yield world.rules.scan_sleep


def make_pass(world: World) -> Iterator[int]:
    """As far as it comes; it sleeps where memory is short."""
    daemon = world.khugepaged
    if world.pressure is not None:
        world.pressure.empty_batch()
    seen = begun = 0
    failures = 0
    daemon.refused = False
    while seen < world.rules.pages_to_scan:
        if daemon.process is None:
            begun += 1
            if begun == 2:
                return
            daemon.process, daemon.number = min(world.processes), 0
        seen += 1 + look_through(world, world.rules.pages_to_scan - seen - 1)
        if daemon.refused and seen < world.rules.pages_to_scan:
            failures += 1
            if failures == 2:
                return
            yield world.rules.alloc_sleep


def look_through(world: World, most: int) -> int:
    """Look at a process's ranges until it is enough, or until one was tried; pages looked at."""
    daemon = world.khugepaged
    assert daemon.process is not None, "there is a process to look at"
    seen = 0
    process = world.processes.get(daemon.process)
    for memory in suitable(process)[daemon.number :] if process is not None else []:
        assert process is not None, "it is alive"
        daemon.number += 1
        tried = look_at(world, process, memory)
        seen += PAGES
        if tried or seen >= most:
            return seen
    daemon.process = next((n for n in sorted(world.processes) if n > daemon.process), None)
    daemon.number = 0
    return seen


def suitable(process: Process) -> list[Range]:
    """Ranges that lie wholly in one VMA."""
    wholly = (m for m, start, stop in process.chunks(0, process.pages) if whole(start, stop))
    return [memory for memory in wholly if memory.in_one_vma()]


def look_at(world: World, process: Process, memory: Range) -> bool:
    """Whether it came to a try."""
    world.khugepaged.refused = False
    if memory.is_none:
        return False
    world.event("VISIT_PMD")
    if memory.table is None:
        return False
    visit_table(world, 0, PAGES)
    if not may_collapse(process, memory) or not is_worth_it(world, process, memory):
        return False
    if collapse(world, process, memory):
        world.event("TLB_FLUSH")
    return True
