"""The engine on a machine whose page frames run short, against the oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel.constants import PMD_BYTES
from perfmodel.errors import InputError
from perfmodel.models.simulated import draw_arm, simulate
from perfmodel.results.result import Result
from perfmodel.specs.catalog import load_device, load_machine, load_policy, load_study
from perfmodel.specs.memory import Defrag, PhysicalMemory
from perfmodel.specs.scenario import (
    Khugepaged,
    PageContent,
    Region,
    Scenario,
    Settings,
)
from perfmodel.specs.step import Step, StepAction
from tests.property.helpers import Story
from tests.property.stories import FILL, tell, tell_limited
from tests.property.test_mechanism import compare

MIB = 1 << 20
Pick = Callable[[Sequence[Any]], Any]


def memories(pick: Pick, least: int) -> PhysicalMemory:
    """Enough for so many bytes, mostly in pieces that are too small for what comes."""
    used = pick((0.7, 0.5, 0.0))
    # A twentieth is the reserve.
    size = int((least + pick((2, 1, 6)) * MIB) / (0.95 - used))
    return PhysicalMemory(
        max((size + 4 * MIB - 1) // (4 * MIB) * 4 * MIB, 16 * MIB),
        used_share=used,
        unmovable_share=pick((0.3, 0.1)),
        age_rounds=pick((100, 10)),
        turnover_share=pick((0.9, 0.5)),
        largest_run_order=pick((9, 4)),
        remnant_share=pick((0.5, 0.1)),
        defrag=pick((Defrag.MADVISE, Defrag.ALWAYS, Defrag.NEVER)),
        extfrag_threshold=pick((500, 0)),
    )


@st.composite
def short_stories(draw: st.DrawFn, *, limited: bool = False, most_steps: int = 8) -> Story:
    def pick(options: Sequence[Any]) -> Any:
        return draw(st.sampled_from(options))

    told = tell_limited(pick, most_steps) if limited else tell(pick, most_steps)
    scenario = told.scenario
    most = scenario.region.size_bytes
    limit = scenario.settings.memory_limit_bytes
    memory = memories(pick, most if limit is None else min(most, limit))
    memory = attrs.evolve(
        memory, size_bytes=max(memory.size_bytes, -(-most // (4 * MIB)) * 4 * MIB)
    )
    scenario = attrs.evolve(
        scenario,
        settings=attrs.evolve(scenario.settings, order9_failure=0.0),
        memory=memory,
    )
    policy = attrs.evolve(told.policy, order9_failure=0.0)
    return attrs.evolve(told, scenario=scenario, policy=policy)


@settings(max_examples=60, deadline=None)
@given(short_stories())
def test_engine_equals_oracle_where_memory_is_short(story: Story) -> None:
    compare(story)


@settings(max_examples=15, deadline=None)
@given(short_stories(limited=True, most_steps=4))
def test_engine_equals_oracle_under_a_limit_where_memory_is_short(story: Story) -> None:
    compare(story)


# Of the 19 MiB that are free there are few 2 MiB in one piece, if any, and pages that cannot move
# stand between the others.
SCATTERED = PhysicalMemory(
    64 * MIB,
    used_share=0.7,
    unmovable_share=0.3,
    age_rounds=100,
    turnover_share=0.9,
    remnant_share=0.5,
)
RANGES = 4
OUT, IN = Step("out", StepAction.PAGEOUT), Step("in", StepAction.TOUCH)
WAIT = Step("wait", StepAction.WAIT, milliseconds=100_000)


def run(memory: PhysicalMemory | None, *steps: Step, entry: str = "pmd") -> Result:
    scenario = Scenario(
        "short",
        "short",
        Region(RANGES * PMD_BYTES, PageContent.HALF_RANDOM),
        (FILL, *(attrs.evolve(step, name=f"s{n}") for n, step in enumerate(steps))),
        settings=Settings(page_cluster=0, khugepaged=Khugepaged(alloc_sleep_millisecs=40_000)),
        memory=memory,
    )
    return simulate(scenario, "amd-zen3", entry=entry, draws=20)


def test_memory_in_one_piece_changes_nothing() -> None:
    plenty = run(PhysicalMemory(128 * MIB, used_share=0.0), OUT, IN)
    endless = run(None, OUT, IN)
    for before, after in zip(endless.steps, plenty.steps, strict=True):
        assert before.counters.items() <= after.counters.items()
    assert plenty.steps[-1].events == endless.steps[-1].events


def test_compaction_makes_thps_and_is_paid_for() -> None:
    full = run(SCATTERED).steps[0]
    light = run(attrs.evolve(SCATTERED, defrag=Defrag.NEVER)).steps[0]
    assert full.events["compact_scan_page"] > full.events["migrate_page"] > 0
    assert light.counters["thp_fault_alloc"] < full.counters["thp_fault_alloc"] < RANGES
    for step in (full, light):
        granted = step.counters["thp_fault_alloc"]
        assert granted + step.counters["thp_fault_fallback"] == RANGES
        assert step.counters["pgfault"] == granted + (RANGES - granted) * 512
    assert "compact_scan_page" not in light.events


def test_khugepaged_gives_up_after_two_failures() -> None:
    filled, waited = run(attrs.evolve(SCATTERED, defrag=Defrag.NEVER), WAIT, entry="pte").steps
    missing = RANGES - filled.counters["thp_fault_alloc"]
    assert missing >= 2
    # At 0 and 40, where the pass ends, and at 50 and 90.
    failed = waited.counters["thp_collapse_alloc_failed"]
    assert 0 < failed <= 4
    assert waited.counters["thp_collapse_alloc"] <= missing
    assert waited.elapsed_ns == pytest.approx(1e11)


def test_too_little_memory_is_an_error() -> None:
    with pytest.raises(InputError, match=r"memory.size: the kernel would kill"):
        run(PhysicalMemory(16 * MIB, used_share=0.5))


def test_what_memory_says_is_not_drawn_as_well() -> None:
    with pytest.raises(ValueError, match="not both"):
        Scenario(
            "both",
            "both",
            Region(PMD_BYTES, PageContent.ZERO),
            (FILL,),
            settings=Settings(order9_failure=0.5),
            memory=SCATTERED,
        )


def test_the_best_value_is_the_mean_of_what_runs_find() -> None:
    study = load_study("order9-memory")
    memory = attrs.evolve(study.scenario.memory, used_share=0.8, defrag=Defrag.NEVER)
    scenario = attrs.evolve(study.scenario, memory=memory)
    machine, device = load_machine("amd-zen3"), load_device("zram-lz4")
    arm = draw_arm(scenario, machine, device, load_policy("pmd"), seed=1, draws=40)
    touched = arm.by_run[:, -1]
    assert len(touched) == 32
    assert len(set(touched.tolist())) > 1, "every run finds the same memory"
    assert (arm.elapsed[0] == np.rint(arm.by_run.mean(axis=0))).all()
