"""The engine against the oracle, and what must hold for every scenario whatever the oracle says."""

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perfmodel.constants import PAGE_BYTES, PMD_BYTES
from perfmodel.models.simulated import simulate, simulate_draws
from perfmodel.specs.catalog import load_device, load_policy
from perfmodel.specs.policy import SIMULATED_ENTRIES, Policy
from perfmodel.specs.scenario import PageContent, Region, Scenario
from perfmodel.specs.step import Step, StepAction
from tests import strategies
from tests.property.helpers import prefix, run_engine, run_oracle

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


def total(counts: list[dict[str, int]], name: str) -> int:
    return sum(step.get(name, 0) for step in counts)


@settings(max_examples=120)
@given(
    scenario=strategies.scenarios(),
    machine=strategies.machines_with_small_tlbs(),
    policy=strategies.engine_policies,
    seed=strategies.seeds,
)
@example(ALL_ACTIONS, strategies.published_machine, attrs.evolve(PMD, order9_failure=0.5), 3)
# A folio faulted in from its middle, and a page of the next folio that an earlier step brought in.
@example(UNEVEN_TOUCHES, strategies.published_machine, POLICIES["mthp-512k"], 1)
def test_engine_equals_oracle(scenario, machine, policy, seed):
    counters, events, mapping = run_engine(scenario, machine, policy, seed)
    expected_counters, expected_events, expected_mapping = run_oracle(
        scenario, machine, policy, seed
    )
    assert counters == expected_counters
    assert events == expected_events
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
    case = (ALL_ACTIONS, strategies.published_machine, policy, 1)
    assert run_engine(*case) == run_oracle(*case)


@given(
    scenario=strategies.scenarios(),
    policy=strategies.engine_policies,
    seed=strategies.seeds,
)
def test_every_page_is_in_one_place_after_every_step(scenario, policy, seed):
    whole, _, _ = run_engine(scenario, strategies.published_machine, policy, seed)
    for length in range(1, len(scenario.steps) + 1):
        counters, _, mapping = run_engine(
            prefix(scenario, length), strategies.published_machine, policy, seed
        )
        # What comes later changes nothing of what came before.
        assert counters == whole[:length]
        present = mapping["pmd_mapped_bytes"] + mapping["pte_mapped_bytes"]
        swapped = PAGE_BYTES * mapping["pte_swap_entries"] + PMD_BYTES * mapping["pmd_swap_entries"]
        assert present + swapped == scenario.region.size_bytes
        # Swapped out now is what went out and has not come back.
        went_out = total(counters, "pswpout") + total(counters, "swpout_zero")
        came_back = total(counters, "pswpin") + total(counters, "swpin_zero")
        assert swapped == PAGE_BYTES * (went_out - came_back)


@given(
    scenario=strategies.scenarios(),
    policy=strategies.engine_policies,
    seed=strategies.seeds,
)
def test_pages_read_are_the_pages_of_the_folios_that_came_in(scenario, policy, seed):
    counters, events, _ = run_engine(scenario, strategies.published_machine, policy, seed)
    for count, event in zip(counters, events, strict=True):
        pages = count.get("pswpin", 0) + count.get("swpin_zero", 0)
        assert event.get("SWAPIN_PAGE", 0) == pages
        assert count.get("pgmajfault", 0) == event.get("SWAPIN_FOLIO", 0)
        if scenario.region.content is PageContent.ZERO:
            assert not any(name.endswith("/swpin") for name in count)
            continue
        large = {
            order: count.get(f"hugepages-{4 << order}kB/stats/swpin", 0) for order in range(1, 10)
        }
        single = event.get("SWAPIN_FOLIO", 0) - event.get("SWAPIN_LARGE_FOLIO", 0)
        assert sum(large.values()) == event.get("SWAPIN_LARGE_FOLIO", 0)
        assert pages == single + sum(number << order for order, number in large.items())


@given(
    scenario=strategies.scenarios(),
    entry=strategies.entries,
    order9_failure=strategies.order9_failures,
    seed=strategies.seeds,
)
def test_no_arm_needs_more_faults_than_pte(scenario, entry, order9_failure, seed):
    machine = strategies.published_machine
    pte, _, _ = run_engine(scenario, machine, POLICIES["pte"], seed)
    other, _, _ = run_engine(
        scenario, machine, attrs.evolve(POLICIES[entry], order9_failure=order9_failure), seed
    )
    for step_pte, step_other in zip(pte, other, strict=True):
        for name in ("pgfault", "pgmajfault"):
            assert step_other.get(name, 0) <= step_pte.get(name, 0)


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
    moved_in, moved_out = (
        ("swpin_zero", "swpout_zero") if content is PageContent.ZERO else ("pswpin", "pswpout")
    )
    for entry in SIMULATED_ENTRIES:
        policy = attrs.evolve(POLICIES[entry], order9_failure=order9_failure)
        counters, _, _ = run_engine(scenario, strategies.published_machine, policy, seed)
        assert total(counters, moved_in) == trips * regions * 512
        assert total(counters, moved_out) == trips * regions * 512


@given(
    scenario=strategies.scenarios(),
    machine=strategies.machines_with_small_tlbs(),
    policy=strategies.engine_policies,
    seed=strategies.seeds,
)
def test_every_access_is_counted_once(scenario, machine, policy, seed):
    _, events, _ = run_engine(scenario, machine, policy, seed)
    for step, event in zip(scenario.steps, events, strict=True):
        accesses = event.get("ACCESS_CACHED", 0) + event.get("ACCESS_MEMORY", 0)
        touched = step.pages_per_2mib if step.action is StepAction.TOUCH else 0
        assert accesses == touched * scenario.region.count


@settings(max_examples=40)
@given(
    scenario=strategies.scenarios(),
    machine=strategies.machines,
    device=strategies.devices,
    policy=strategies.engine_policies,
    seed=strategies.seeds,
)
def test_time_is_conserved(scenario, machine, device, policy, seed):
    elapsed, result = simulate_draws(
        scenario, machine, device, policy, entry="generated", seed=seed, draws=20
    )
    assert elapsed.shape == (21, len(scenario.steps))
    for index, step in enumerate(result.steps):
        # Each part is rounded to 1e-3 ns.
        rounding = 1e-3 * len(step.breakdown_ns) + 1e-12 * step.elapsed_ns
        assert sum(step.breakdown_ns.values()) == pytest.approx(step.elapsed_ns, abs=rounding)
        if policy.swap_entry == "pte" or policy.order9_failure in (0, 1):
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
    counters, _, _ = run_engine(scenario, strategies.published_machine, policy, seed=7)
    fallbacks = counters[-1]["hugepages-2048kB/stats/swpin_fallback"]
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
    counters, events, _ = run_engine(scenario, strategies.published_machine, certain, seed)
    assert all(not events[2 + index] for index in range(step))
    assert counters[-1].get("thp_split_pmd", 0) == certain.order9_failure
