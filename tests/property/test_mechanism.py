"""The engine against the oracle, step by step: all counts, the whole state, and the invariants."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings

from perfmodel.models.memory import SimulatedMemory
from tests.property.helpers import Story, fields_of, oracle_of
from tests.property.lockstep import in_lockstep
from tests.property.stories import limited_stories, stories, tell, tell_limited


def engine_of(story: Story) -> SimulatedMemory:
    return SimulatedMemory(
        story.scenario, story.policy, story.device, story.machine, seed=story.seed
    )


def compare(story: Story) -> None:
    """Do the steps of a story twice, and fail at the first one that ends differently."""
    for _ in in_lockstep(story, oracle_of(story), engine_of(story)):
        pass


@settings(max_examples=150)
@given(stories())
def test_engine_equals_oracle(story):
    compare(story)


@pytest.mark.parametrize("seed", range(20))
def test_engine_equals_oracle_in_long_stories(seed):
    generator = random.Random(seed)
    for _ in range(3):
        compare(tell(generator.choice, 30))


@settings(max_examples=25)
@given(limited_stories())
def test_engine_equals_oracle_under_a_limit(story):
    compare(story)


@pytest.mark.parametrize("seed", range(6))
def test_engine_equals_oracle_in_long_stories_under_a_limit(seed):
    compare(tell_limited(random.Random(seed).choice, 12))


@settings(max_examples=100)
@given(stories())
def test_the_oracle_keeps_its_invariants(story):
    oracle = oracle_of(story)
    for step in story.scenario.steps:
        counts = oracle.step(fields_of(step, story.scenario.region.pages))
        oracle.check()
        events, counters = counts.events, counts.counters
        # Nothing is counted but what happened, and everything that happened once.
        assert counters["pgfault"] == events["FAULT"]
        assert (
            counters["swap_ra"] <= counters["pswpin"] + counters["swpin_zero"] + counters["zswpin"]
        )
        assert events["ACCESS_CACHED"] + events["ACCESS_MEMORY"] == (
            len(step.pages()) * story.scenario.region.count if step.action == "touch" else 0
        )
        for number, total, longest in counts.holds.values():
            assert 0 < longest <= total <= number * longest
