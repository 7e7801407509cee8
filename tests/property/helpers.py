"""Brings specs, the engine and the oracle into the same words, so that they can be compared."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from perfmodel import abi
from perfmodel.constants import COUNTER_NAMES, Event, Mapping
from perfmodel.models.simulated import count_events
from perfmodel.specs.machine import Machine, TlbLevel
from perfmodel.specs.policy import Policy
from perfmodel.specs.quantity import Quantity
from perfmodel.specs.scenario import Scenario
from tests.oracles import engine as oracle
from tests.oracles.murmur import WORD, uniform
from tests.oracles.tlb import Geometry

Counts = list[dict[str, int]]


def named(values: np.ndarray, names: tuple[str, ...] | list[str]) -> dict[str, int]:
    """Counts that are not zero, by name."""
    return {name: int(value) for name, value in zip(names, values, strict=True) if value}


def run_engine(
    scenario: Scenario, machine: Machine, policy: Policy, seed: int
) -> tuple[Counts, Counts, dict[str, int]]:
    """Counters and events of each step by name, zeros left out, and the mapping."""
    counters, events, mapping = count_events(scenario, machine, policy, range(seed, seed + 1))
    event_names = [event.name for event in Event]
    return (
        [named(row, COUNTER_NAMES) for row in counters[0]],
        [named(row, event_names) for row in events[0]],
        {kind.name.lower(): int(mapping[0, kind]) for kind in Mapping},
    )


def geometry(level: TlbLevel) -> Geometry:
    """A level as the oracle takes it."""
    ways_4k, ways_2m = int(level.ways_4k.value), int(level.ways_2m.value)
    return Geometry(
        shared=level.shared,
        sets_4k=int(level.entries_4k.value) // ways_4k,
        ways_4k=ways_4k,
        sets_2m=int(level.entries_2m.value) // ways_2m,
        ways_2m=ways_2m,
    )


def run_oracle(
    scenario: Scenario, machine: Machine, policy: Policy, seed: int
) -> tuple[Counts, Counts, dict[str, int]]:
    """As `run_engine`, from the definition."""
    entry = oracle.Entry(
        level=policy.swap_entry,
        mthp_order=policy.swapin_order,
        order9_fails=lambda step, region: (
            uniform(seed, step, region) < round(policy.order9_failure * WORD)
        ),
        lazy_deposit=policy.lazy_page_table_deposit,
    )
    world = oracle.Engine(
        regions=scenario.region.size_bytes // (2 << 20),
        content=str(scenario.region.content),
        entry=entry,
        l1=geometry(machine.cpu.l1_tlb),
        stlb=geometry(machine.cpu.stlb),
    )
    results = world.run([(str(step.action), step.pages_per_2mib) for step in scenario.steps])
    return (
        [{name: count for name, count in step.counters.items() if count} for step in results],
        [{name: count for name, count in step.events.items() if count} for step in results],
        world.mapping(),
    )


def prefix(scenario: Scenario, length: int) -> Scenario:
    """The scenario's first steps alone."""
    return attrs.evolve(scenario, steps=scenario.steps[:length])


def record(machine: Machine, policy: Policy, scenario: Scenario, seed: int = 1) -> np.void:
    """One record of parameters, as kernels take it."""
    return abi.pack_parameters(scenario, machine, policy, range(seed, seed + 1))[0]


def to_table(value: Any) -> Any:
    """A spec as its file would have it."""
    if isinstance(value, Quantity):
        return attrs.asdict(value) | {"how": str(value.how)}
    if attrs.has(type(value)):
        table = {
            field.name: to_table(getattr(value, field.name))
            for field in attrs.fields(type(value))
            if getattr(value, field.name) is not None
        }
        if "size_bytes" in table:
            table["size"] = f"{table.pop('size_bytes')} B"
        return table
    if isinstance(value, tuple):
        return [to_table(inner) for inner in value]
    if isinstance(value, dict):
        return {key: to_table(inner) for key, inner in value.items()}
    return str(value) if isinstance(value, str) else value
