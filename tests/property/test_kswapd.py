"""kswapd and direct reclaim for want of page frames: the engine against the oracle, in time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel import abi
from perfmodel.constants import N_EVENTS, N_PRICES, Counter, Event, Wait
from perfmodel.kernels import layout
from perfmodel.kernels.layout import Cell
from perfmodel.models.devices import pack
from perfmodel.models.engine_prices import engine_prices
from perfmodel.models.memory import SimulatedMemory, fresh_memory, run_one_step
from perfmodel.models.physical import physical_frames
from perfmodel.specs.catalog import load_device, load_policy
from perfmodel.specs.memory import Defrag, PhysicalMemory
from perfmodel.specs.scenario import Backing, PageContent, Region, Scenario
from perfmodel.specs.step import Step, StepAction, Workload
from tests.oracles.buddy import Zone
from tests.oracles.mechanism import Mechanism, OutOfMemoryError
from tests.oracles.translation import TlbGeometry
from tests.property.helpers import Story, oracle_of
from tests.property.lockstep import in_lockstep
from tests.property.stories import tell_limited
from tests.strategies import published_machine

MIB = 1 << 20
Pick = Callable[[Sequence[Any]], Any]
TLBS = tuple(TlbGeometry(name, level, ("4k", "2m"), 1, 1) for level, name in ((1, "L1"), (2, "L2")))
# Nanoseconds; kswapd and the program get on alike, so that they meet often.
PRICES = {
    Event.FAULT: 500,
    Event.SCAN_FOLIO: 100,
    Event.UNMAP_PTE: 50,
    Event.COMPRESS_PAGE: 1500,
    Event.DECOMPRESS_PAGE: 700,
    Event.CLEAR_PAGE: 100,
    Event.ACCESS_MEMORY: 90,
    Event.WALK_PTE: 40,
    Event.COMPACT_SCAN_PAGE: 3,
    Event.MIGRATE_PAGE: 400,
}


def short_memory(pick: Pick, region_bytes: int) -> PhysicalMemory:
    """Mostly less than the region needs."""
    used = pick((0.5, 0.2, 0.0))
    share = pick((0.6, 0.8, 1.2, 0.4))
    size = int(region_bytes * share / (1 - used))
    return PhysicalMemory(
        max(-(-max(size, region_bytes) // (4 * MIB)) * 4 * MIB, 16 * MIB),
        used_share=used,
        unmovable_share=pick((0.3, 0.1)),
        age_rounds=pick((10, 100)),
        turnover_share=pick((0.9, 0.5)),
        largest_run_order=pick((9, 4)),
        remnant_share=pick((0.5, 0.1)),
        defrag=pick(tuple(Defrag)),
        extfrag_threshold=pick((500, 0)),
        kswapd=True,
        kswapd_cpu=pick((-1, -1, 0)),
        min_free_kbytes=pick((400, 0, 2000)),
        watermark_scale_factor=pick((10, 100, 500)),
    )


def tell_short(pick: Pick, most_steps: int) -> Story:
    """A story of a region that finds too little memory, with a limit now and then."""
    told = tell_limited(pick, most_steps)
    scenario = told.scenario
    memory = short_memory(pick, scenario.region.size_bytes)
    # So that page frames are what is short.
    used = pick((0.0, 0.3))
    spare = memory.size_bytes - int(memory.size_bytes * memory.used_share)
    if spare > scenario.region.size_bytes * 0.9:
        share = 1 - scenario.region.size_bytes * pick((0.5, 0.7, 0.9)) / memory.size_bytes
        memory = attrs.evolve(memory, used_share=max(share, used))
    limit = scenario.settings.memory_limit_bytes if pick((False, False, True)) else None
    scenario = attrs.evolve(
        scenario,
        settings=attrs.evolve(
            scenario.settings, order9_failure=0.0, memory_limit_bytes=limit, khugepaged=None
        ),
        memory=memory,
    )
    return attrs.evolve(told, scenario=scenario, policy=attrs.evolve(told.policy, order9_failure=0))


def compare(story: Story, prices: dict[Event, int]) -> dict[str, int]:
    """Do the steps of a story twice; what was counted in all of them."""
    picoseconds = np.zeros(N_PRICES, dtype=np.int64)
    for event, price in prices.items():
        picoseconds[event] = price * 1000
    oracle = oracle_of(story, prices={event.name: price * 1000 for event, price in prices.items()})
    engine = SimulatedMemory(
        story.scenario,
        story.policy,
        story.device,
        story.machine,
        seed=story.seed,
        prices=picoseconds,
    )
    total: dict[str, int] = {}
    for expected in in_lockstep(story, oracle, engine):
        for name, count in expected["counters"].items():
            total[name] = total.get(name, 0) + count
    return total


@st.composite
def short_stories(draw: st.DrawFn, most_steps: int = 4) -> Story:
    return tell_short(lambda options: draw(st.sampled_from(options)), most_steps)


@settings(max_examples=30, deadline=None)
@given(short_stories(), st.booleans())
def test_engine_equals_oracle_where_kswapd_reclaims(story: Story, timed: bool) -> None:
    compare(story, PRICES if timed else {})


@pytest.mark.parametrize("seed", range(8))
def test_engine_equals_oracle_in_long_stories_with_kswapd(seed: int) -> None:
    compare(tell_short(random.Random(seed).choice, 8), PRICES if seed % 2 else {})


# By hand, from docs/kswapd.md


def short_of_frames(frames: int, **rules: Any) -> Mechanism:
    """Four THPs' worth of memory, and watermarks of 100, 200 and 300 pages."""
    given = {"regions": 4, "content": "random", "tlbs": TLBS, "clusters": 40, "kswapd": True}
    return Mechanism(zone=lambda: Zone(frames, 100, 200, 500, 300), **(given | rules))


def do(mechanism: Mechanism, **step: Any) -> Any:
    counts = mechanism.step(step)
    mechanism.check()
    return counts.counters


def test_above_the_low_watermark_nobody_wakes() -> None:
    assert do(short_of_frames(3072, backing="base"), action="fill") == {"pgfault": 2048}


def test_kswapd_works_up_to_the_high_watermark() -> None:
    mechanism = short_of_frames(2048, backing="base")
    counters = do(mechanism, action="fill")
    # Woken when 200 are free, for page 1849; 1829 pages are on the list, the others in a batch. So
    # little is free that all is asked of them: priorities 10 to 1 look at 1 3 7 14 28 57 114 228
    # 457 914 pages, each of them young. Without a pause, again: of 1 3 7 14 28 55, six have not
    # been looked at before, and 102 are freed, so that 301 are free. Sleeping for so short a time
    # it is woken when 200 are, and frees the 108 that it looks at.
    assert counters["pageoutrun"] == 3
    assert counters["kswapd_high_wmark_hit_quickly"] == 1
    assert counters["kswapd_low_wmark_hit_quickly"] == 1
    assert counters["pgscan_kswapd"] == counters["pgscan_anon"] == 1823 + 108 + 108
    assert counters["pgsteal_kswapd"] == counters["pgsteal_anon"] == 102 + 108
    assert "allocstall_movable" not in counters
    # 210 are free. After 100 ms it finds that too little, and then it sleeps.
    assert mechanism.world.zone is not None
    assert mechanism.world.zone.free_pages() == 210
    counters = do(mechanism, action="wait", milliseconds=99)
    assert counters == {}
    counters = do(mechanism, action="wait", milliseconds=102)
    assert counters["kswapd_high_wmark_hit_quickly"] == counters["pageoutrun"] == 1
    assert mechanism.world.zone.free_pages() > 300
    assert do(mechanism, action="wait", milliseconds=10_000) == {}


def test_who_is_too_fast_for_kswapd_reclaims() -> None:
    prices = {"COMPRESS_PAGE": 50 * 10**9, "CLEAR_PAGE": 1000}
    mechanism = short_of_frames(2048, backing="base", prices=prices)
    counters = do(mechanism, action="fill")
    assert counters["allocstall_movable"] == 1
    # As many as the lists hold at the first priorities, since kswapd has made them old.
    assert counters["pgscan_direct"] == counters["pgsteal_direct"] >= 32
    assert counters["pgscan_anon"] == counters["pgscan_direct"] + counters["pgscan_kswapd"]


def test_a_thp_reclaims_between_compactions() -> None:
    # Three fit, and compaction has no room to work in. Priorities 10, 9 and 8 find a young one
    # each, 7 the first one again; it is freed, and the fourth one gets its frames.
    counters = do(short_of_frames(2048), action="fill")
    assert counters["thp_fault_alloc"] == 4
    assert counters["allocstall_movable"] == counters["thp_swpout"] == 1
    assert counters["pgscan_direct"] == 4 * 512
    assert counters["pgsteal_direct"] == 512
    assert "pageoutrun" not in counters


def test_defer_wakes_kswapd_instead() -> None:
    rules = {"fault_effort": 0, "wakes_kswapd": True}
    counters = do(short_of_frames(2048, **rules), action="fill")
    assert counters["thp_fault_alloc"] == 3
    assert counters["thp_fault_fallback"] == counters["thp_swpout"] == 1
    assert counters["pgsteal_kswapd"] == 512
    assert "allocstall_movable" not in counters


def test_a_limit_never_wakes_kswapd() -> None:
    mechanism = short_of_frames(8192, backing="base", memory_limit=2048 - 256)
    counters = do(mechanism, action="fill")
    assert counters["pgsteal_anon"] > 256
    assert not {"pageoutrun", "pgscan_direct", "pgscan_kswapd"} & set(counters)


def test_no_slot_is_left() -> None:
    # 1024 slots; what they hold may be had back from memory, and no more.
    mechanism = short_of_frames(1024, backing="base", clusters=1)
    with pytest.raises(OutOfMemoryError):
        do(mechanism, action="fill")
    assert not mechanism.world.device.has_room


def test_compaction_is_kcompactds_once_kswapd_has_freed_enough() -> None:
    rules = {"fault_effort": 0, "wakes_kswapd": True, "swapin_order": 4, "backing": "mthp"}
    mechanism = short_of_frames(2048, **rules)
    reclaim = mechanism.world.global_reclaim
    do(mechanism, action="fill")
    assert reclaim.failures == 0
    assert mechanism.world.now.counters["pgsteal_kswapd"] > 0


# The engine's time


def run_alone(threads: int, cpu: int, device: str) -> Iterator[tuple[Any, Any, int]]:
    """Each step of a short run, its memory, and when it began."""
    memory = PhysicalMemory(24 * MIB, 0.25, kswapd=True, kswapd_cpu=cpu, min_free_kbytes=1000)
    scenario = Scenario(
        "short",
        "short of page frames",
        Region(20 * MIB, PageContent.HALF_RANDOM, Backing.BASE),
        (
            Step("fill", StepAction.FILL),
            Step(
                "use",
                StepAction.ACCESS,
                workload=Workload.UNIFORM,
                accesses=4000,
                threads=threads,
                write=True,
            ),
            Step("wait", StepAction.WAIT, milliseconds=300),
        ),
        memory=memory,
    )
    model, policy = load_device(device), load_policy("pte")
    machine = published_machine
    prices = engine_prices(machine, model, 20, 1, scenario.region.content)[1]
    served = model.service is not None
    parameters = abi.pack_parameters(scenario, policy, model.kind, range(3, 4))
    parameters["device_model"] = int(served)
    sizes = abi.state_sizes(scenario, 1, 1 << 30)
    frames = physical_frames(scenario, parameters, sizes)(0)
    given = fresh_memory(
        parameters[0],
        sizes,
        machine.translation,
        prices,
        threads,
        pack(model) if served else None,
        frames,
    )
    for step in scenario.steps:
        begin = int(given.state[Cell.NOW])
        given.counts[:] = 0
        run_one_step(given, step)
        assert not given.state[Cell.EXHAUSTED]
        yield step, given, begin


@pytest.mark.parametrize("device", ["zram-lz4", "kioxia-cd7"])
@pytest.mark.parametrize(("threads", "cpu"), [(1, -1), (1, 0), (3, -1), (3, 1), (3, 5)])
def test_programs_and_kswapd_have_their_own_time(threads: int, cpu: int, device: str) -> None:
    stolen = 0
    for step, memory, begin in run_alone(threads, cpu, device):
        counts = memory.counts
        own = abi.kswapd_events_of(counts) @ memory.prices[:N_EVENTS]
        own += abi.kswapd_waits_of(counts).sum()
        all_time = abi.events_of(counts) @ memory.prices[:N_EVENTS] + abi.waits_of(counts).sum()
        stolen += int(counts[layout.COUNTERS + Counter.PGSTEAL_KSWAPD])
        assert (own > 0) == (counts[layout.COUNTERS + Counter.PGSCAN_KSWAPD] > 0)
        preempted = abi.waits_of(counts)[Wait.PREEMPTED]
        assert preempted == (own if 0 <= cpu < min(step.threads, 10) else 0)
        elapsed = int(memory.state[Cell.NOW]) - begin
        took = [elapsed]
        if step.action is StepAction.ACCESS:
            cells = (layout.CPU_BASE + n * layout.CPU_CELLS for n in range(threads))
            took = [int(memory.state[cell]) - begin for cell in cells]
            assert max(took) <= elapsed
        assert sum(took) == all_time - own
    assert stolen > 0
