"""Runs a scenario step by step, and keeps what every step did and what the memory is then.

The engine and the oracle stand behind the same words, so that what a test says holds for both.
"""

from __future__ import annotations

from typing import Any

import attrs

from perfmodel.models.memory import SimulatedMemory
from perfmodel.specs.catalog import load_machine, load_policy
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.policy import Policy
from perfmodel.specs.scenario import Scenario
from tests.hardware import described
from tests.oracles.mechanism import Mechanism
from tests.property.helpers import fields_of

IMPLEMENTATIONS = ("engine", "oracle")
MACHINE = load_machine("amd-zen3")
PMD = load_policy("pmd")
PTE = load_policy("pte")
MIB_2 = "hugepages-2048kB/stats"


@attrs.frozen
class Did:
    """What one step counted, zeros left out."""

    counters: dict[str, int]
    events: dict[str, int]
    fallbacks: dict[str, int]
    observed: dict[str, int]
    holds: dict[str, tuple[int, int, int]]


@attrs.frozen
class Run:
    """A scenario that has been run: by the step's name what it did, and the memory after it."""

    did: dict[str, Did]
    after: dict[str, dict[str, Any]]

    @property
    def last(self) -> dict[str, Any]:
        """The memory at the end."""
        return list(self.after.values())[-1]


def _oracle(scenario: Scenario, policy: Policy, kind: DeviceKind) -> Mechanism:
    settings = scenario.settings
    # No test here draws: something happens always or never.
    order9, charge = settings.order9_failure >= 1, settings.charge_failure >= 1
    return Mechanism(
        regions=scenario.region.count,
        content=scenario.region.content.value,
        tlbs=described(MACHINE.translation),
        level=policy.swap_entry,
        swapin_order=policy.swapin_order,
        lazy_deposit=policy.lazy_page_table_deposit,
        batched_unmap=policy.batched_unmap,
        synchronous=kind.synchronous,
        block_device=kind.block_device,
        clusters=scenario.clusters,
        free_clusters=scenario.swap.free_clusters,
        neighbour_slots=scenario.swap.neighbour_slots,
        page_cluster=settings.page_cluster,
        vma_readahead=settings.vma_readahead,
        zswap=settings.zswap.value,
        order9_fails=lambda step, number: order9,
        charge_fails=lambda step, number: charge,
    )


def run(
    scenario: Scenario,
    kind: DeviceKind = DeviceKind.ZRAM,
    policy: Policy = PMD,
    implementation: str = "engine",
) -> Run:
    """Do all steps of a scenario."""
    memory: Any
    if implementation == "engine":
        memory = SimulatedMemory(scenario, policy, kind, MACHINE, processes=scenario.processes)
    else:
        memory = _oracle(scenario, policy, kind)
    did, after = {}, {}
    for step in scenario.steps:
        counts = memory.step(
            step if implementation == "engine" else fields_of(step, scenario.region.pages)
        )
        did[step.name] = Did(
            counters=dict(counts.counters),
            events=dict(counts.events),
            fallbacks=dict(counts.fallbacks),
            observed=dict(counts.observed),
            holds=dict(counts.holds),
        )
        after[step.name] = memory.snapshot()
    return Run(did, after)


# What the memory says


def states(snapshot: dict[str, Any], process: int = 0) -> list[str]:
    """How each range of a process is held, without the one behind the region if it is empty."""
    ranges = snapshot["processes"][process]["ranges"]
    held = [memory["state"] for memory in ranges]
    return held[:-1] if held[-1] == "NONE" else held


def flags(snapshot: dict[str, Any], process: int = 0) -> list[tuple[bool, bool, bool, bool]]:
    """Writable, dirty, exclusive and uffd_wp of everything mapped or swapped, huge or small."""
    found = []
    for memory in snapshot["processes"][process]["ranges"]:
        if memory["flags"] is not None:
            found.append(memory["flags"][:4])
        found += [entry[2:6] for entry in memory["entries"] or () if entry[0] in "SP"]
    return found


def soft_dirty(snapshot: dict[str, Any], process: int = 0) -> list[int]:
    """How many pages of each range count as written since they were last asked about."""
    found = []
    for memory in snapshot["processes"][process]["ranges"]:
        if memory["entries"] is None:
            found.append(512 * (memory["flags"] is not None and memory["flags"][4]))
        else:
            found.append(sum(entry[6] for entry in memory["entries"]))
    return found if found[-1] else found[:-1]


Place = tuple[str, int, int]


def places(snapshot: dict[str, Any], process: int, regions: int) -> list[Place]:
    """What is behind each page of the region, in order.

    A page is ("slot", slot, 0), ("folio", folio, page of it), ("zero", 0, 0) or ("none", 0, 0).
    """
    held = snapshot["processes"][process]
    found = []
    for page in range(512 * regions):
        number, j = divmod(held["shift"] + page, 512)
        found.append(_place(held["ranges"][number], j))
    return found


def _place(memory: dict[str, Any], j: int) -> Place:
    if memory["state"] == "PMD_SWAP":
        return ("slot", memory["value"] + j, 0)
    if memory["state"] == "PMD_MAPPED":
        return ("folio", memory["value"], j)
    if memory["state"] == "PMD_ZERO":
        return ("zero", 0, 0)
    if memory["state"] == "NONE":
        return ("none", 0, 0)
    kind, value = memory["entries"][j][:2]
    if kind == "S":
        return ("slot", value, 0)
    if kind == "P":
        return ("folio", *value)
    return ("zero", 0, 0) if kind == "Z" else ("none", 0, 0)


def cached_slots(snapshot: dict[str, Any]) -> dict[int, int]:
    """Folio of each slot that the swap cache holds."""
    return {slot: said[1] for slot, said in snapshot["slots"].items() if said[1] >= 0}
