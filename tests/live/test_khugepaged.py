"""khugepaged at a pace of its own: what it comes to does not depend on its phase."""

import pytest

from perfmodel.measure.run import measure_arms
from perfmodel.models.simulated import simulate
from perfmodel.specs.catalog import load_device
from perfmodel.specs.scenario import Khugepaged, Scenario, Settings

from .scenarios import RANGES, scenario

# 8 MiB are looked at in one pass, and a wait is long enough for many.
PASSES = 40
FAST = {"scan_sleep_millisecs": 10}


def told(text: str, **pace: int) -> Scenario:
    settings = Settings(page_cluster=0, khugepaged=Khugepaged(**(FAST | pace)))
    return scenario(text, settings=settings)


# What a scenario's wait counts: exactly what the model does, or once for each range in every pass.
COLLAPSING = {
    "all": told("pageout; touch; wait; smaps; pageout; touch n4"),
    "as many swapped as may be": told("pageout; touch [0:448]; wait; smaps"),
    "as many empty as may be": told("discard [0:300]; wait; smaps", max_ptes_none=300),
}
REFUSED = {
    "thp_scan_exceed_swap_pte": told("pageout; touch [0:447]; wait; smaps"),
    "thp_scan_exceed_none_pte": told("discard [0:300]; wait; smaps", max_ptes_none=299),
    "thp_scan_exceed_share_pte": told("pageout; touch; fork; wait; smaps"),
}
EXCEEDED = frozenset(REFUSED)


def test_it_collapses_what_the_model_says() -> None:
    arms = [(scenario, "pte") for scenario in (*COLLAPSING.values(), *REFUSED.values())]
    results = measure_arms(arms, load_device("zram-lz4"), repetitions=5)
    for (story, _), live in zip(arms, results, strict=True):
        simulated = simulate(story, "amd-zen3", entry="pte", draws=20)
        for before, after in zip(simulated.steps, live.steps, strict=True):
            for name in set(before.counters) & set(after.counters) - EXCEEDED:
                assert before.counters[name] == after.counters[name], (after.name, name)
            # As most repetitions ended: now and then a page is on its way to the LRU lists when
            # khugepaged wants it, and the range waits for a later pass.
            assert {name: count for name, count in after.observed.items() if count} == (
                before.observed
            )
    for name, live in zip(REFUSED, results[len(COLLAPSING) :], strict=True):
        waiting = next(step for step in live.steps if "wait" in step.name)
        assert waiting.counters[name] >= PASSES * RANGES, name
        assert all(waiting.counters[other] == 0 for other in EXCEEDED - {name})


def test_one_range_in_a_pass_comes_to_one_collapse_in_a_pass() -> None:
    # The wait is as long as three pauses and a bit.
    slow = told("pageout; touch; wait", scan_sleep_millisecs=300, pages_to_scan=512)
    (live,) = measure_arms([(slow, "pte")], load_device("zram-lz4"), repetitions=5)
    simulated = simulate(slow, "amd-zen3", entry="pte", draws=20)
    expected = simulated.steps[-1].counters["thp_collapse_alloc"]
    assert expected == RANGES
    # Another process's memory may take a pass.
    assert live.steps[-1].counters["thp_collapse_alloc"] == pytest.approx(expected, abs=1)
