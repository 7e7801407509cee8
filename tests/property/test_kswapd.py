"""kswapd and direct reclaim for want of page frames: the engine against the oracle, in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel.constants import N_PRICES, PMD_BYTES, Event
from perfmodel.errors import InputError
from perfmodel.models.memory import SimulatedMemory
from perfmodel.specs.memory import Defrag, PhysicalMemory
from tests.oracles.mechanism import OutOfMemoryError
from tests.property.differences import describe
from tests.property.helpers import Story, counts_of, fields_of, oracle_of, report
from tests.property.stories import tell_limited

MIB = 1 << 20
Pick = Callable[[Sequence[Any]], Any]
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
    from tests.oracles.mechanism import Mechanism  # noqa: F401

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
    pages = story.scenario.region.pages
    total: dict[str, int] = {}
    for done, step in enumerate(story.scenario.steps, 1):
        try:
            expected = counts_of(oracle.step(fields_of(step, pages)))
        except OutOfMemoryError:
            with pytest.raises(InputError, match="would kill the process"):
                engine.step(step)
            return total
        try:
            found = counts_of(engine.step(step))
        except InputError as error:
            pytest.fail(report(story, done, [str(error)]), pytrace=False)
        oracle.check()
        lines = (
            describe(expected, found)
            + describe(oracle.snapshot(), engine.snapshot())
            + describe(oracle.mapping(), engine.mapping())
        )
        if lines:
            pytest.fail(report(story, done, lines), pytrace=False)
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
