"""The engine against the oracle, and what must hold for every scenario whatever the oracle says."""

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perfmodel.constants import PAGE_BYTES, PMD_BYTES
from perfmodel.models.simulated import simulate, simulate_draws
from perfmodel.specs.catalog import load_device, load_policy
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.policy import SIMULATED_ENTRIES, Policy
from perfmodel.specs.scenario import PageContent, Region, Scenario
from perfmodel.specs.step import Step, StepAction
from tests import strategies
from tests.property.differences import describe
from tests.property.helpers import Counts, Story, prefix, report, run_engine, run_oracle

# Read once: a policy's file costs more than a run of the engine.
POLICIES = {entry: load_policy(entry) for entry in SIMULATED_ENTRIES}
PMD = POLICIES["pmd"]
ALL_ACTIONS = Scenario(
    name="all",
    description="every transition of a range's state, more than once",
    region=Region(3 * PMD_BYTES, PageContent.HALF_RANDOM),
    steps=(
        Step("fill", StepAction.FILL),
        Step("before", StepAction.TOUCH, 7),
        Step("out", StepAction.PAGEOUT),
        Step("some", StepAction.TOUCH, 9),
        Step("out-2", StepAction.PAGEOUT),
        Step("all", StepAction.TOUCH),
    ),
)

UNEVEN_TOUCHES = attrs.evolve(
    ALL_ACTIONS,
    steps=(
        Step("fill", StepAction.FILL),
        Step("out", StepAction.PAGEOUT),
        Step("two", StepAction.TOUCH, 2),
        Step("five", StepAction.TOUCH, 5),
    ),
)


def on_zram(scenario: Scenario, policy: Policy, seed: int = 1) -> Story:
    return Story(scenario, policy, DeviceKind.ZRAM, strategies.published_machine, seed)


def total(steps: list[Counts], *names: str) -> int:
    return sum(step["counters"].get(name, 0) for step in steps for name in names)


any_stories = st.builds(
    Story,
    scenario=strategies.scenarios(),
    policy=strategies.policies,
    device=strategies.device_kinds,
    machine=strategies.machines_with_small_tlbs(),
    seed=strategies.seeds,
)
plain_stories = st.builds(
    on_zram, strategies.plain_scenarios(), strategies.policies, strategies.seeds
)


@settings(max_examples=120)
@given(any_stories)
@example(on_zram(ALL_ACTIONS, attrs.evolve(PMD, order9_failure=0.5), 3))
# A folio faulted in from its middle, and a page of the next folio that an earlier step brought in.
@example(on_zram(UNEVEN_TOUCHES, POLICIES["mthp-512k"]))
def test_whole_runs_equal_the_oracle(story):
    steps, mapping = run_engine(story)
    expected_steps, expected_mapping = run_oracle(story)
    for done, (expected, found) in enumerate(zip(expected_steps, steps, strict=True), 1):
        if expected != found:
            pytest.fail(report(story, done, describe(expected, found)), pytrace=False)
    assert mapping == expected_mapping


@pytest.mark.parametrize("swap_entry", ["pte", "pmd"])
@pytest.mark.parametrize("order9_failure", [0.0, 1.0])
def test_lazy_deposit_moves_the_table_from_the_fill_to_the_split(swap_entry, order9_failure):
    policy = attrs.evolve(
        PMD,
        swap_entry=swap_entry,
        order9_failure=order9_failure,
        lazy_page_table_deposit=True,
    )
    assert run_engine(on_zram(ALL_ACTIONS, policy)) == run_oracle(on_zram(ALL_ACTIONS, policy))


@given(plain_stories)
def test_every_page_is_in_one_place_after_every_step(story):
    whole, _ = run_engine(story)
    for length in range(1, len(story.scenario.steps) + 1):
        steps, mapping = run_engine(attrs.evolve(story, scenario=prefix(story.scenario, length)))
        # What comes later changes nothing of what came before.
        assert steps == whole[:length]
        present = mapping["pmd_mapped_bytes"] + mapping["pte_mapped_bytes"]
        swapped = PAGE_BYTES * mapping["pte_swap_entries"] + PMD_BYTES * mapping["pmd_swap_entries"]
        assert present + swapped == story.scenario.region.size_bytes
        # Swapped out now is what went out and has not come back.
        went_out = total(steps, "pswpout", "swpout_zero")
        came_back = total(steps, "pswpin", "swpin_zero")
        assert swapped == PAGE_BYTES * (went_out - came_back)


@given(plain_stories)
def test_pages_read_are_the_pages_of_the_folios_that_came_in(story):
    steps, _ = run_engine(story)
    for step in steps:
        counters, events = step["counters"], step["events"]
        pages = counters.get("pswpin", 0) + counters.get("swpin_zero", 0)
        assert events.get("SWAPIN_PAGE", 0) == pages
        assert counters.get("pgmajfault", 0) == events.get("SWAPIN_FOLIO", 0)
        large = {
            order: counters.get(f"hugepages-{4 << order}kB/stats/swpin", 0)
            for order in range(1, 10)
        }
        if story.scenario.region.content is PageContent.ZERO:
            assert not any(large.values())
        elif story.scenario.region.content is not PageContent.ONE_NON_ZERO:
            single = events.get("SWAPIN_FOLIO", 0) - events.get("SWAPIN_LARGE_FOLIO", 0)
            assert sum(large.values()) == events.get("SWAPIN_LARGE_FOLIO", 0)
            assert pages == single + sum(number << order for order, number in large.items())


@given(
    scenario=strategies.plain_scenarios(),
    entry=strategies.entries,
    order9_failure=strategies.order9_failures,
    seed=strategies.seeds,
)
def test_no_arm_needs_more_faults_than_pte(scenario, entry, order9_failure, seed):
    policy = attrs.evolve(POLICIES[entry], order9_failure=order9_failure)
    pte, _ = run_engine(on_zram(scenario, POLICIES["pte"], seed))
    other, _ = run_engine(on_zram(scenario, policy, seed))
    for step_pte, step_other in zip(pte, other, strict=True):
        for name in ("pgfault", "pgmajfault"):
            assert step_other["counters"].get(name, 0) <= step_pte["counters"].get(name, 0)


@given(
    regions=st.integers(1, 3),
    content=st.sampled_from(PageContent),
    trips=st.integers(1, 2),
    order9_failure=strategies.order9_failures,
    seed=strategies.seeds,
)
def test_whole_regions_move_the_same_pages_under_every_entry(
    regions, content, trips, order9_failure, seed
):
    steps = [Step("fill", StepAction.FILL)]
    for trip in range(trips):
        steps += [Step(f"out{trip}", StepAction.PAGEOUT), Step(f"in{trip}", StepAction.TOUCH)]
    scenario = Scenario("whole", "whole", Region(regions * PMD_BYTES, content), tuple(steps))
    for entry in SIMULATED_ENTRIES:
        policy = attrs.evolve(POLICIES[entry], order9_failure=order9_failure)
        counts, _ = run_engine(on_zram(scenario, policy, seed))
        # Which of them are zero is found folio by folio.
        assert total(counts, "pswpin", "swpin_zero") == trips * regions * 512
        assert total(counts, "pswpout", "swpout_zero") == trips * regions * 512
        if content is PageContent.ZERO:
            assert total(counts, "pswpin", "pswpout") == 0
        elif content is not PageContent.ONE_NON_ZERO:
            assert total(counts, "swpin_zero", "swpout_zero") == 0


@given(any_stories)
def test_every_access_is_counted_once(story):
    counts, _ = run_engine(story)
    for step, count in zip(story.scenario.steps, counts, strict=True):
        events = count["events"]
        accesses = events.get("ACCESS_CACHED", 0) + events.get("ACCESS_MEMORY", 0)
        touched = len(step.pages()) if step.action is StepAction.TOUCH else 0
        assert accesses == touched * story.scenario.region.count


@settings(max_examples=40)
@given(
    scenario=strategies.scenarios(),
    machine=strategies.machines,
    device=strategies.devices,
    policy=strategies.policies,
    seed=strategies.seeds,
)
def test_time_is_conserved(scenario, machine, device, policy, seed):
    elapsed, result = simulate_draws(
        scenario, machine, device, policy, entry="generated", seed=seed, draws=20
    )
    assert elapsed.shape == (21, len(scenario.steps))
    order9_failure = max(policy.order9_failure, scenario.settings.order9_failure)
    draws_are_random = any(
        0 < chance < 1 for chance in (order9_failure, scenario.settings.charge_failure)
    )
    for index, step in enumerate(result.steps):
        # Each part is rounded to 1e-3 ns.
        rounding = 1e-3 * len(step.breakdown_ns) + 1e-12 * step.elapsed_ns
        assert sum(step.breakdown_ns.values()) == pytest.approx(step.elapsed_ns, abs=rounding)
        if policy.swap_entry == "pte" or not draws_are_random:
            assert step.elapsed_ns == pytest.approx(elapsed[0, index] / 1000, abs=1e-3)
        low, high = step.interval_ns
        assert elapsed[1:, index].min() / 1000 - 1e-3 <= low <= high
        assert high <= elapsed[1:, index].max() / 1000 + 1e-3


@settings(max_examples=20)
@given(
    scenario=strategies.scenarios(),
    entry=strategies.entries,
    order9_failure=strategies.order9_failures,
    seed=strategies.seeds,
)
def test_same_seed_same_result(scenario, entry, order9_failure, seed):
    def run():
        document = simulate(
            scenario,
            strategies.published_machine,
            device=load_device("zram-lz4"),
            entry=entry,
            seed=seed,
            draws=20,
            order9_failure=order9_failure,
        ).to_json()
        del document["provenance"]["created"]
        return document

    assert run() == run()


def test_fallbacks_come_at_the_rate_that_was_asked_for():
    regions, rate = 4096, 0.3
    scenario = Scenario(
        "many",
        "one page of each of many ranges",
        Region(regions * PMD_BYTES, PageContent.HALF_RANDOM),
        (
            Step("fill", StepAction.FILL),
            Step("out", StepAction.PAGEOUT),
            Step("touch", StepAction.TOUCH, 1),
        ),
    )
    policy = attrs.evolve(PMD, order9_failure=rate)
    counts, _ = run_engine(on_zram(scenario, policy, seed=7))
    fallbacks = counts[-1]["counters"]["hugepages-2048kB/stats/swpin_fallback"]
    # Five standard deviations of a binomial; the seed is fixed, so this passes or fails for good.
    assert abs(fallbacks - regions * rate) < 5 * (regions * rate * (1 - rate)) ** 0.5


@given(policy=strategies.policies, seed=strategies.seeds, step=st.integers(1, 3))
def test_failure_draws_depend_on_the_step(policy: Policy, seed: int, step: int):
    # A draw belongs to a step, so an idle step in between may change who falls back, but never
    # whether a certain outcome happens.
    certain = attrs.evolve(
        policy,
        swap_entry="pmd",
        order9_failure=float(round(policy.order9_failure)),
        lazy_page_table_deposit=False,
    )
    idle = tuple(Step(f"idle{index}", StepAction.PAGEOUT) for index in range(step))
    scenario = Scenario(
        "idle",
        "page-outs of what is already out",
        Region(PMD_BYTES, PageContent.HALF_RANDOM),
        (
            Step("fill", StepAction.FILL),
            Step("out", StepAction.PAGEOUT),
            *idle,
            Step("touch", StepAction.TOUCH, 1),
        ),
    )
    counts, _ = run_engine(on_zram(scenario, certain, seed))
    for index in range(step):
        assert counts[2 + index]["events"] == {"SYSTEM_CALL": 1, "VISIT_PMD": 1}
    assert total(counts[-1:], "thp_split_pmd") == certain.order9_failure
