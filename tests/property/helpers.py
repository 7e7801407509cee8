"""Brings specs, the engine and the oracle into the same words, so that they can be compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from perfmodel import abi
from perfmodel.constants import PAGE_BYTES, Event, Mapping
from perfmodel.models.fragmentation import aged_frames, effort
from perfmodel.models.simulated import count_events
from perfmodel.models.zswap_pool import stored_bytes
from perfmodel.specs.device import DeviceKind, SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import Policy
from perfmodel.specs.quantity import Quantity
from perfmodel.specs.scenario import Backing, Scenario, Settings
from perfmodel.specs.step import Step, StepAction
from perfmodel.traces.generator import trace_of
from tests.hardware import described
from tests.oracles.mechanism import Mechanism
from tests.oracles.mechanism.slots import Given
from tests.oracles.murmur import WORD, uniform
from tests.property.zones import zone_of

KINDS = ("counters", "events", "fallbacks", "observed", "holds")
# What one step counted, by kind and name; zeros are left out.
Counts = dict[str, dict[str, Any]]


@attrs.frozen
class Story:
    """Everything that decides about the counts."""

    scenario: Scenario
    policy: Policy
    device: DeviceKind | SwapDevice = attrs.field(
        repr=lambda device: device.label if isinstance(device, SwapDevice) else str(device)
    )
    machine: Machine = attrs.field(
        repr=lambda machine: f"<{machine.name}, {described(machine.translation)}>"
    )
    seed: int


def run_engine(story: Story) -> tuple[list[Counts], dict[str, int]]:
    """Counts of each step, and the mapping at the end."""
    seeds = range(story.seed, story.seed + 1)
    runs = count_events(story.scenario, story.machine, story.policy, story.device, seeds)
    counts, mapping = runs.counts, runs.mapping
    steps = []
    for row in counts[0]:
        counters, events = abi.name_counters(abi.counters_of(row)), abi.events_of(row)
        steps.append(
            {
                "counters": {name: count for name, count in counters.items() if count},
                "events": {event.name: int(events[event]) for event in Event if events[event]},
                "fallbacks": abi.name_fallbacks(row),
                "observed": abi.name_observed(row),
                "holds": {name: tuple(hold.values()) for name, hold in abi.name_holds(row).items()},
            }
        )
    return steps, {kind.name.lower(): int(mapping[0, kind]) for kind in Mapping}


def run_oracle(story: Story) -> tuple[list[Counts], dict[str, int]]:
    """As `run_engine`, from the definition."""
    oracle = oracle_of(story)
    pages = story.scenario.region.pages
    steps = [counts_of(oracle.step(fields_of(step, pages))) for step in story.scenario.steps]
    return steps, oracle.mapping()


def oracle_of(story: Story) -> Mechanism:
    """The oracle before the first step."""
    scenario, policy, settings = story.scenario, story.policy, story.scenario.settings

    def drawn(probability: float, first_stream: int) -> Callable[[int, int], bool]:
        threshold = round(probability * WORD)
        return lambda step, number: uniform(story.seed, first_stream + step, number) < threshold

    return Mechanism(
        regions=scenario.region.count,
        content=str(scenario.region.content),
        level=policy.swap_entry,
        swapin_order=policy.swapin_order,
        lazy_deposit=policy.lazy_page_table_deposit,
        batched_unmap=policy.batched_unmap,
        **devices_of(story),
        page_cluster=settings.page_cluster,
        vma_readahead=settings.vma_readahead,
        zswap=str(settings.zswap),
        **zswap_of(story),
        order9_fails=drawn(max(policy.order9_failure, settings.order9_failure), 0),
        charge_fails=drawn(settings.charge_failure, 1000),
        tlbs=described(story.machine.translation),
        memory_limit=(settings.memory_limit_bytes or 0) // PAGE_BYTES,
        backing=str(scenario.region.backing),
        **khugepaged_of(settings),
        **frames_of(story),
    )


def devices_of(story: Story) -> dict[str, Any]:
    """The swap device, or devices, as the oracle takes them."""
    scenario = story.scenario
    if isinstance(story.device, SwapDevice):
        devices = story.device.all
        spaces = scenario.spaces(len(devices))
        return {
            "devices": tuple(
                Given(
                    **attrs.asdict(space),
                    priority=device.priority or 0,
                    synchronous=device.kind.synchronous,
                    block_device=device.kind.block_device,
                )
                for device, space in zip(devices, spaces, strict=True)
            )
        }
    return {
        "synchronous": story.device.synchronous,
        "block_device": story.device.block_device,
        "clusters": scenario.clusters,
        "free_clusters": scenario.swap.free_clusters,
        "neighbour_slots": scenario.swap.neighbour_slots,
    }


def zswap_of(story: Story) -> dict[str, Any]:
    """zswap's pool as the oracle takes it, if it has a limit."""
    limits = story.scenario.settings.zswap_pool
    if limits is None:
        return {}
    assert isinstance(story.device, SwapDevice), "it says how large compressed pages are"
    return {
        "zswap_limits": (limits.most_pages, limits.accept_pages),
        "zswap_writeback": limits.writeback,
        "zswap_sizes": stored_bytes(story.scenario, story.device),
    }


def frames_of(story: Story) -> dict[str, Any]:
    """The machine's page frames as the engine finds them, and how hard it tries for large ones."""
    scenario = story.scenario
    if scenario.memory is None:
        return {}
    memory, owners = scenario.memory, 0
    madvised = scenario.region.backing is not Backing.BASE
    return {
        "zone": lambda: zone_of(aged_frames(memory, seed=story.seed, owners=owners)),
        "fault_effort": int(effort(memory.defrag, madvised=madvised)),
    }


def khugepaged_of(settings: Settings) -> dict[str, int]:
    """Its settings as the oracle takes them."""
    if settings.khugepaged is None:
        return {}
    fields = attrs.asdict(settings.khugepaged)
    return fields | {
        "scan_sleep": fields.pop("scan_sleep_millisecs"),
        "alloc_sleep": fields.pop("alloc_sleep_millisecs"),
    }


def fields_of(step: Step, pages: int) -> dict[str, Any]:
    """A step as the oracle takes it, for a region of so many pages."""
    fields = attrs.asdict(step)
    for name in (
        *("workload", "accesses", "rounds", "exponent", "scattered", "seed"),
        *("stride", "window", "phase_accesses", "mix", "trace"),
    ):
        del fields[name]
    if step.action is StepAction.ACCESS:
        words = trace_of(step, pages).all_words().tolist()
        fields["trace"] = tuple((word // 2, bool(word % 2)) for word in words)
    return fields | {"action": str(step.action), "racing": str(step.racing)}


def counts_of(step: Any) -> Counts:
    """The counts that a step of the oracle or of a `SimulatedMemory` returned."""
    return {kind: dict(getattr(step, kind)) for kind in KINDS}


def in_words(step: Step) -> str:
    """The step without what is as usual."""
    usual = {field.name: field.default for field in attrs.fields(Step)}
    fields = {name: value for name, value in attrs.asdict(step).items() if value != usual[name]}
    del fields["name"], fields["action"]
    return " ".join([f"{step.action}", *(f"{name}={value}" for name, value in fields.items())])


def report(story: Story, done: int, lines: list[str]) -> str:
    """What was done, with what, and what came of it."""
    scenario, policy = story.scenario, story.policy
    return "\n".join(
        [
            f"{scenario.region.count} x 2 MiB of {scenario.region.content}, "
            f"{scenario.region.backing}, {story.device}, "
            f"{policy.swap_entry}, swap-in order {policy.swapin_order}"
            f"{', lazy deposit' * policy.lazy_page_table_deposit}"
            f"{', batched unmap' * policy.batched_unmap}, seed {story.seed}",
            f"{scenario.swap}, {scenario.settings}",
            *(f"  {number}: {in_words(step)}" for number, step in enumerate(scenario.steps[:done])),
            "differs in:",
            *(f"  {line}" for line in lines),
        ]
    )


def prefix(scenario: Scenario, length: int) -> Scenario:
    """The scenario's first steps alone."""
    return attrs.evolve(scenario, steps=scenario.steps[:length])


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
        if isinstance(table.get("size_bytes"), int):
            table["size"] = f"{table.pop('size_bytes')} B"
        return table
    if isinstance(value, tuple):
        return [to_table(inner) for inner in value]
    if isinstance(value, dict):
        return {key: to_table(inner) for key, inner in value.items()}
    return str(value) if isinstance(value, str) else value
