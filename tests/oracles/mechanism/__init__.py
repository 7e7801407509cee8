"""The mechanism of docs/mechanism.md from its definitions, page by page and folio by folio, slowly.

Objects, lists and dicts; nothing is imported from perfmodel, whose engine says the same in arrays.
Only the names of counters, events, fallbacks, locks and observations are shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.oracles.mechanism import (
    callers,
    collapse,
    faults,
    invariants,
    khugepaged,
    moves,
    observers,
    sharing,
    snapshot,
    system,
)
from tests.oracles.mechanism.memory import PAGES
from tests.oracles.mechanism.pressure import Pressure
from tests.oracles.mechanism.world import Call, Counts, OutOfMemoryError, Rules, World

__all__ = ["Call", "Counts", "Mechanism", "OutOfMemoryError", "Rules"]

PAGE_BYTES = 4096

# By the names of specs.step.StepAction.
ACTIONS: dict[str, Callable[[World, Call], None]] = {
    "fill": lambda world, call: faults.fill(world),
    "touch": faults.touch,
    "access": faults.access_pages,
    "pageout": lambda world, call: callers.for_each_chunk(world, call, callers.page_out),
    "cold": lambda world, call: callers.for_each_chunk(world, call, callers.cold),
    "willneed": lambda world, call: callers.for_each_chunk(world, call, callers.will_need),
    "discard": lambda world, call: callers.for_each_chunk(world, call, callers.discard),
    "free": lambda world, call: callers.for_each_chunk(world, call, callers.free),
    "collapse": collapse.collapse_step,
    "unmap": callers.unmap,
    "protect": sharing.protect,
    "remap": moves.remap,
    "move": moves.move,
    "write-protect": sharing.write_protect,
    "clear-soft-dirty": sharing.clear_soft_dirty,
    "mincore": lambda world, call: callers.for_each_chunk(world, call, observers.mincore),
    "pagemap": observers.pagemap,
    "smaps": observers.smaps,
    "fork": sharing.fork,
    "exit": callers.leave,
    "reclaim": lambda world, call: system.reclaim(world),
    "swapoff": lambda world, call: system.swap_off(world),
    "khugepaged": lambda world, call: collapse.khugepaged(world),
    "split-folios": system.split_folios,
    "memory-failure": system.memory_failure,
    "zswap-writeback": system.zswap_writeback,
    "wait": khugepaged.wait,
}


class Mechanism:
    """Does steps one after the other; the keywords are the fields of `Rules`."""

    def __init__(self, **rules: Any) -> None:
        self.world = World(Rules(**rules))
        self.world.after_work = lambda: system.shrink_zswap(self.world)  # type: ignore[method-assign]
        given = self.world.rules
        if given.memory_limit:
            self.world.pressure = Pressure(
                self.world, given.memory_limit, given.swappiness, given.other_charged_pages
            )

    def step(self, step: dict[str, Any]) -> Counts:
        """Do one step; the keys are the fields of specs.step.Step."""
        world = self.world
        call = Call(**step)
        world.now = Counts()
        world.refuse_write = call.refuse_write
        if world.pressure is not None:
            world.pressure.flush()
            world.unlock_all()
        ACTIONS[call.action](world, call)
        system.shrink_zswap(world)
        world.steps_done += 1
        now = world.now
        for kind in (now.counters, now.events, now.fallbacks, now.observed):
            for name in [name for name, number in kind.items() if not number]:
                del kind[name]
        return now

    def snapshot(self) -> dict[str, Any]:
        return snapshot.take(self.world)

    def check(self) -> None:
        invariants.check(self.world)
        if self.world.pressure is not None:
            self.world.pressure.check()

    def mapping(self) -> dict[str, int]:
        """What process 0 maps how, in the words of the results."""
        process = self.world.processes[0]
        found: Counter[str] = Counter(
            pmd_mapped_bytes=0, pte_mapped_bytes=0, pmd_swap_entries=0, pte_swap_entries=0
        )
        for memory in process.ranges:
            if memory.table is None:
                found["pmd_mapped_bytes"] += PAGES * PAGE_BYTES * (memory.pmd.kind == "P")
                found["pmd_swap_entries"] += memory.pmd.kind == "S"
                continue
            for entry in memory.table:
                found["pte_mapped_bytes"] += PAGE_BYTES * (entry.kind == "P")
                found["pte_swap_entries"] += entry.kind == "S"
        found["page_table_bytes"] = self.world.page_table_bytes(process)
        return dict(found)
