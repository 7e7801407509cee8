"""The engine against the oracle, step by step: all counts, the whole state, and the invariants."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings

from perfmodel.models.memory import SimulatedMemory
from perfmodel.specs.step import Step
from tests.property.differences import describe
from tests.property.stories import Story, fields_of, oracle_of, stories, tell

KINDS = ("counters", "events", "fallbacks", "observed", "holds")


def engine_of(story: Story) -> SimulatedMemory:
    return SimulatedMemory(
        story.scenario, story.policy, story.device, story.machine, seed=story.seed
    )


def counts_of(step: Any) -> dict[str, dict[str, Any]]:
    return {kind: dict(getattr(step, kind)) for kind in KINDS}


def in_words(step: Step) -> str:
    """The step without what is as usual."""
    usual = attrs.asdict(Step("usual", step.action))
    fields = {name: value for name, value in attrs.asdict(step).items() if value != usual[name]}
    del fields["name"]
    return " ".join([f"{step.action}", *(f"{name}={value}" for name, value in fields.items())])


def report(story: Story, done: int, lines: list[str]) -> str:
    """What was done, with what, and what came of it."""
    scenario, policy = story.scenario, story.policy
    return "\n".join(
        [
            f"{scenario.region.count} x 2 MiB of {scenario.region.content}, {story.device}, "
            f"{policy.swap_entry}, swap-in order {policy.swapin_order}"
            f"{', lazy deposit' * policy.lazy_page_table_deposit}"
            f"{', batched unmap' * policy.batched_unmap}, seed {story.seed}",
            f"{scenario.swap}, {scenario.settings}",
            *(f"  {number}: {in_words(step)}" for number, step in enumerate(scenario.steps[:done])),
            "differs in:",
            *(f"  {line}" for line in lines),
        ]
    )


def compare(story: Story) -> None:
    """Do the steps of a story twice, and fail at the first one that ends differently."""
    oracle, engine = oracle_of(story), engine_of(story)
    for done, step in enumerate(story.scenario.steps, 1):
        expected, found = counts_of(oracle.step(fields_of(step))), counts_of(engine.step(step))
        oracle.check()
        lines = (
            describe(expected, found)
            + describe(oracle.snapshot(), engine.snapshot())
            + describe(oracle.mapping(), engine.mapping())
        )
        if lines:
            pytest.fail(report(story, done, lines), pytrace=False)


@settings(max_examples=150)
@given(stories())
def test_engine_equals_oracle(story):
    compare(story)


@pytest.mark.parametrize("seed", range(20))
def test_engine_equals_oracle_in_long_stories(seed):
    generator = random.Random(seed)
    for _ in range(3):
        compare(tell(generator.choice, 30))


@settings(max_examples=100)
@given(stories())
def test_the_oracle_keeps_its_invariants(story):
    oracle = oracle_of(story)
    for step in story.scenario.steps:
        counts = oracle.step(fields_of(step))
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
