"""The closed form and the engine check each other."""

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel import abi
from perfmodel.constants import N_EVENTS, Fallback
from perfmodel.kernels.layout import FALLBACKS
from perfmodel.models.closed_form import Counted, Counter, NotClosed, elapsed, mixture
from perfmodel.models.prices import draw_prices
from perfmodel.models.simulated import draw_arm, simulate_draws
from perfmodel.specs.catalog import load_device, load_machine, load_policy, load_scenario, names

PROFILE = load_machine("intel-emerald-rapids-guest")
ZRAM = load_device("zram-lz4", PROFILE)


@pytest.mark.parametrize("entry", ["pte", "mthp-64k", "pmd"])
@pytest.mark.parametrize("name", ["thp-roundtrip", "thp-sparse-touch", "soft-dirty"])
def test_without_overlap_both_are_the_same_to_the_picosecond(name, entry):
    scenario, policy = load_scenario(name), load_policy(entry)
    expected, _ = simulate_draws(
        scenario, PROFILE, ZRAM, policy, entry=entry, seed=3, draws=40
    )  # fmt: skip
    counted = Counter().expect(scenario, PROFILE, ZRAM, policy)
    prices = draw_prices(PROFILE, ZRAM, 40, 3, scenario.region.content)
    np.testing.assert_array_equal(elapsed(counted, prices), expected)


@settings(max_examples=8, deadline=None)
@given(
    probability=st.sampled_from([0.1, 0.3, 0.7]),
    pages=st.integers(1, 512),
    seed=st.integers(1, 1000),
)
def test_a_run_with_failures_is_the_mixture_of_its_fates(probability, pages, seed):
    """What a random run counts is what its own share of failures says, but for the TLB."""
    scenario = load_scenario("thp-sparse-touch", pages_touched=pages)
    policy = load_policy("pmd", order9_failure=probability)
    arm = draw_arm(scenario, PROFILE, ZRAM, policy, seed=seed, draws=20, at_once=1)
    counter = Counter()
    prices = draw_prices(PROFILE, ZRAM, 0, seed, scenario.region.content)[0, :N_EVENTS]
    for run in range(5):
        counts = arm.runs.counts[run]
        failures = counts[:, FALLBACKS + Fallback.NO_ORDER9_PAGE].sum()
        share = float(failures) / scenario.region.count
        own = load_policy("pmd", order9_failure=share)
        expected = counter.expect(scenario, PROFILE, ZRAM, own)
        ours = abi.events_of(expected.counts)[2] @ prices
        theirs = abi.events_of(counts)[2] @ prices
        assert ours == pytest.approx(theirs, rel=5e-3)
        assert abi.counters_of(expected.counts) == pytest.approx(
            abi.counters_of(counts).astype(float)
        )


def test_a_range_that_may_try_twice_is_no_mixture():
    scenario = load_scenario("thp-two-trips")
    with pytest.raises(NotClosed):
        Counter().expect(scenario, PROFILE, ZRAM, load_policy("pmd", order9_failure=0.5))


def test_a_scenario_is_counted_once_whatever_it_is_paid():
    counter = Counter()
    scenario, policy = load_scenario("thp-roundtrip"), load_policy("pmd")
    for device in ("zram-lz4", "zram-zstd"):
        counter.expect(scenario, PROFILE, load_device(device, PROFILE), policy)
    assert counter.runs == 1
    counter.expect(scenario, PROFILE, load_device("ram-disk"), policy)
    assert counter.runs == 2


def test_mixtures_of_counts():
    ones = Counted(np.ones((2, 900), dtype=np.int64), np.ones(6, dtype=np.int64))
    nothing = Counted(np.zeros((2, 900), dtype=np.int64), np.zeros(6, dtype=np.int64))
    assert mixture([(1.0, ones), (0.0, nothing)]) is ones
    mixed = mixture([(0.25, ones), (0.75, nothing)])
    assert mixed.counts[0, 0] == 0.25
    assert mixed.mapping[0] == 0.25


def test_all_installed_scenarios_that_leave_nothing_to_chance():
    counter = Counter()
    for name in names("scenario"):
        scenario = load_scenario(name)
        if scenario.is_limited or any(step.threads > 1 for step in scenario.steps):
            continue
        policy = load_policy("pmd")
        counted = counter.expect(scenario, PROFILE, ZRAM, policy)
        arm = draw_arm(
            attrs.evolve(scenario), PROFILE, ZRAM, policy, seed=1, draws=0, at_once=1
        )  # fmt: skip
        if len(arm.runs.counts) == 1:
            prices = draw_prices(PROFILE, ZRAM, 0, 1, scenario.region.content)
            np.testing.assert_array_equal(elapsed(counted, prices), arm.elapsed)
