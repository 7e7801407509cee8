"""khugepaged's pace: engine against oracle, and what the clock says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel.constants import PMD_BYTES
from perfmodel.models.simulated import simulate
from perfmodel.specs.catalog import load_policy
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.scenario import Khugepaged, PageContent, Region, Scenario, Settings
from perfmodel.specs.step import Step, StepAction
from tests.property.helpers import Story, run_engine
from tests.property.stories import FILL, MOST_PROCESSES
from tests.property.test_mechanism import compare
from tests.strategies import published_machine

RANGES = 6
# A THP in pieces, and what may stand between it and khugepaged.
OUT, IN = Step("out", StepAction.PAGEOUT), Step("in", StepAction.TOUCH)
PACES = (4096, 1, 512, 513, 514, 1026, 1027, 3000, 1 << 20)


def story(later: Sequence[Step], pace: Khugepaged | None, regions: int = RANGES) -> Story:
    steps = (FILL, *(attrs.evolve(step, name=f"s{index}") for index, step in enumerate(later)))
    scenario = Scenario(
        "paced",
        "paced",
        Region(regions * PMD_BYTES, PageContent.HALF_RANDOM),
        steps,
        settings=Settings(khugepaged=pace, page_cluster=0),
    )
    return Story(scenario, load_policy("pte"), DeviceKind.ZRAM, published_machine, 1)


def wait(milliseconds: int) -> Step:
    return Step("wait", StepAction.WAIT, milliseconds=milliseconds)


paces = st.builds(
    Khugepaged,
    scan_sleep_millisecs=st.sampled_from((100, 70)),
    pages_to_scan=st.sampled_from(PACES),
    max_ptes_swap=st.sampled_from((64, 0, 511)),
    max_ptes_none=st.sampled_from((511, 0, 200)),
    max_ptes_shared=st.sampled_from((256, 0, 511)),
)


@st.composite
def paced_stories(draw: st.DrawFn) -> Story:
    told = story((OUT, IN), draw(paces), draw(st.sampled_from((2, 1, 5))))
    actions = (
        *(StepAction.WAIT,) * 3,
        *(StepAction.TOUCH, StepAction.PAGEOUT, StepAction.DISCARD, StepAction.FORK),
        *(StepAction.EXIT, StepAction.PROTECT, StepAction.REMAP, StepAction.KHUGEPAGED),
    )
    for number in range(draw(st.integers(1, 8))):
        action = draw(st.sampled_from(actions))
        fields: dict[str, Any] = {}
        if not action.of_the_system:
            fields["process"] = draw(st.integers(0, told.scenario.processes - 1))
        if action.takes_part and draw(st.booleans()):
            fields |= {"first_page": draw(st.sampled_from((0, 300, 448))), "page_count": 64}
        if action is StepAction.WAIT:
            fields["milliseconds"] = draw(st.sampled_from((100, 1, 99, 350)))
        elif action is StepAction.TOUCH:
            fields["write"] = draw(st.booleans())
        elif action is StepAction.REMAP:
            fields["shift_pages"] = draw(st.sampled_from((0, 5)))
        if action is StepAction.FORK and told.scenario.processes == MOST_PROCESSES:
            continue
        step = Step(f"more{number}", action, **fields)
        try:
            scenario = attrs.evolve(told.scenario, steps=(*told.scenario.steps, step))
        except ValueError:
            continue
        told = attrs.evolve(told, scenario=scenario)
    return told


@settings(max_examples=120)
@given(paced_stories())
def test_engine_equals_oracle_at_any_pace(told: Story) -> None:
    compare(told)


def collapses(told: Story) -> list[int]:
    """THPs that each wait has brought about."""
    steps, _ = run_engine(told)
    return [
        counts["counters"].get("thp_collapse_alloc", 0)
        for counts, step in zip(steps, told.scenario.steps, strict=True)
        if step.action is StepAction.WAIT
    ]


def test_one_pass_at_the_beginning_and_one_after_each_pause() -> None:
    pace = Khugepaged(scan_sleep_millisecs=100, pages_to_scan=512)
    waits = (wait(1), wait(99), wait(1), wait(199), wait(1000))
    assert collapses(story((OUT, IN, *waits), pace)) == [1, 0, 1, 1, 3]


@pytest.mark.parametrize(("pages", "ranges"), [(1, 1), (513, 1), (514, 2), (1026, 2), (1027, 3)])
def test_every_collapse_lets_go_of_the_memory_map(pages: int, ranges: int) -> None:
    # Going back into the process is a page more each time.
    pace = Khugepaged(scan_sleep_millisecs=100, pages_to_scan=pages)
    assert collapses(story((OUT, IN, wait(1)), pace)) == [ranges]


def test_it_never_wakes_without_a_pace() -> None:
    assert collapses(story((OUT, IN, wait(3_600_000)), None)) == [0]


def test_thps_take_as_much_of_a_pass_as_tables() -> None:
    pace = Khugepaged(scan_sleep_millisecs=100, pages_to_scan=4 * 512)
    last = Step("last", StepAction.PAGEOUT, first_page=0, page_count=1)
    told = story((OUT, IN, wait(150), last, Step("in2", StepAction.TOUCH), wait(100)), pace)
    # 4 and 2 and, since it then begins anew, the first 2 again; they are THPs already.
    assert collapses(told)[0] == RANGES


def test_a_wait_is_its_length_and_ends_the_walks_of_small_pages() -> None:
    pace = Khugepaged(scan_sleep_millisecs=50, pages_to_scan=8 * 512)
    told = story((OUT, IN, IN, wait(500), IN), pace, regions=16)
    result = simulate(told.scenario, "amd-zen3", entry="pte", draws=20)
    waiting = result.steps[4]
    assert waiting.elapsed_ns == pytest.approx(500e6)
    assert waiting.breakdown_ns["idle"] < 500e6
    assert sum(waiting.breakdown_ns.values()) == pytest.approx(500e6)
    assert waiting.counters["thp_collapse_alloc"] == 16
    small, large = (result.steps[index].breakdown_ns["tlb_misses"] for index in (3, 5))
    assert large < small / 10
    assert result.mapping["pmd_mapped_bytes"] == 16 * PMD_BYTES


def test_a_collapse_that_has_begun_is_finished() -> None:
    pace = Khugepaged(scan_sleep_millisecs=1000)
    told = story((OUT, IN, wait(1)), pace, regions=16)
    waiting = simulate(told.scenario, "amd-zen3", entry="pte", draws=20).steps[-1]
    assert 0 < waiting.counters["thp_collapse_alloc"] < 8
    assert 1e6 <= waiting.elapsed_ns < 1.5e6
