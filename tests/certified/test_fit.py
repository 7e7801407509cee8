"""The fitter is tried on data whose answer is known: invented prices, the noise of real runs."""

import attrs
import numpy as np
import pytest
from scipy.stats import binom

from perfmodel.abi import PRICES, event_quantities
from perfmodel.calibrate.fit import Fit, fit, fit_closely, free_events
from perfmodel.calibrate.intervals import bootstrap, profile_intervals
from perfmodel.calibrate.observations import Observations, drifts_of, observe
from perfmodel.calibrate.profile import fit_arms, fit_scenarios
from perfmodel.constants import Event
from perfmodel.errors import InputError
from perfmodel.models.prices import price_name
from perfmodel.specs.catalog import load_scenario
from perfmodel.specs.io import to_table
from perfmodel.specs.problem import Limits, Loss, ObservedArms
from tests.certified.fit_helpers import (
    BASE,
    DEVICE,
    PROBLEM,
    count,
    generator_of,
    invented_run,
    noisy,
    real_noise,
    template,
    true_prices,
)


def run_fit(prices: np.ndarray, seed: int, noise: float) -> Fit:
    run = invented_run(prices, generator_of(seed), noise)
    return fit(observe([run], PROBLEM, BASE, DEVICE), PROBLEM, BASE, DEVICE)


def predicted_touch(outcome: Fit, events: np.ndarray) -> tuple[float, float]:
    """Time of a step with these events and its standard deviation, from a fit."""
    counts = events.astype(float)
    best = np.array([quantity.value for quantity in event_quantities(BASE, DEVICE)])
    spread = np.array([quantity.spread for quantity in event_quantities(BASE, DEVICE)])
    used = list(outcome.events)
    others = [event for event in Event if event not in used]
    mean = counts[used] @ outcome.values + counts[others] @ best[others]
    variance = counts[used] @ outcome.covariance @ counts[used]
    variance += np.sum((counts * spread)[others] ** 2)
    return float(mean), float(np.sqrt(variance))


@pytest.fixture(scope="module")
def observations() -> Observations:
    return template()


@pytest.fixture(scope="module")
def noise() -> list[np.ndarray]:
    return real_noise()


def test_fit_sees_pte_and_two_mthp_sizes_only() -> None:
    assert {entry for _, entry in fit_arms()} == {"pte", "mthp-16k", "mthp-1024k"}
    assert fit_scenarios() == ["thp-roundtrip", "thp-zero-roundtrip"]
    assert not any(load_scenario(name).held_out for name in fit_scenarios())


@pytest.mark.parametrize("seed", range(5))
def test_noiseless_times_are_explained_and_predicted(seed: int) -> None:
    prices = true_prices(seed)
    outcome = run_fit(prices, seed, noise=0.0)
    # Without noise only the prior pulls, by less than what the model itself may miss (3 %).
    assert max(abs(error) for error in outcome.residuals.values()) < 0.03
    for entry in ("mthp-32k", "mthp-64k", "mthp-256k"):
        events = count(load_scenario("thp-roundtrip"), entry)[0, 2]
        assert predicted_touch(outcome, events)[0] == pytest.approx(
            float(events @ prices), rel=0.03
        )


def test_the_noise_is_that_of_real_runs(noise: list[np.ndarray]) -> None:
    whole = np.concatenate(noise)
    above = np.quantile(whole, 0.95) - np.median(whole)
    below = np.median(whole) - np.quantile(whole, 0.05)
    assert above > 2 * below, "the tail is heavy on the right"


MACHINES = 150


def test_intervals_of_prices_and_predictions_hold_as_often_as_they_claim(
    observations: Observations, noise: list[np.ndarray]
) -> None:
    """90 % intervals over many invented machines, with drift, model error and a heavy tail."""
    arms = [("mthp-64k", 2), ("mthp-256k", 2), ("pmd", 2), ("mthp-32k", 1), ("mthp-512k", 3)]
    scenario = load_scenario("thp-roundtrip")
    events = [count(scenario, entry)[0, index] for entry, index in arms]
    prices_inside, inside, next_run_inside = [], [], []
    for seed in range(MACHINES):
        prices, generator = true_prices(seed), generator_of(1000 + seed)
        seen, _ = noisy(
            observations, prices, generator, noise, runs=3, drift=0.08, model_error=0.03
        )
        outcome = fit(seen, PROBLEM, BASE, DEVICE)
        truth = prices[list(outcome.events)]
        prices_inside.append(np.abs(outcome.values - truth) < 1.645 * outcome.spreads)
        # One arm of each machine, so that what they have in common does not count five times.
        chosen = events[seed % len(events)]
        mean, deviation = predicted_touch(outcome, chosen)
        exact = float(chosen @ prices)
        inside.append(abs(exact - mean) < 1.645 * deviation)
        # A new run drifts by itself, and the step is off the sum of its prices.
        again = exact * (1 + 0.08 * generator.standard_normal())
        again *= 1 + 0.03 * generator.standard_normal()
        spread = mean * np.hypot(outcome.run_to_run, outcome.model_error)
        next_run_inside.append(abs(again - mean) < 1.645 * np.hypot(deviation, spread))
    low, high = binom.interval(0.99, MACHINES, 0.9)
    assert low <= sum(inside) <= high
    assert low <= sum(next_run_inside) <= high
    # The prices of one machine go together: as many as there are machines count.
    assert low <= np.mean(prices_inside) * MACHINES <= high


def test_known_prices_are_recovered_without_bias(
    observations: Observations, noise: list[np.ndarray]
) -> None:
    """Sums of prices that the data tell well, over many runs of one machine."""
    prices = true_prices(11)
    errors = []
    for seed in range(25):
        seen, truth = noisy(
            observations, prices, generator_of(seed), noise, runs=3, drift=0.05, model_error=0.0
        )
        outcome = fit(seen, PROBLEM, BASE, DEVICE)
        predicted = [predicted_touch(outcome, member.events)[0] for member in seen.members]
        errors.append(np.mean(np.log(np.array(predicted) / truth)))
    # The drift of three runs is left in each, and noise in the location of a quantile.
    assert abs(np.mean(errors)) < 3 * 0.05 / np.sqrt(3 * 25) + 0.005


def test_the_size_of_the_model_error_is_found(
    observations: Observations, noise: list[np.ndarray]
) -> None:
    found = {}
    for size in (0.0, 0.03, 0.10):
        sizes = []
        for seed in range(12):
            seen, _ = noisy(
                observations, true_prices(seed), generator_of(seed), noise,
                runs=3, drift=0.05, model_error=size,
            )  # fmt: skip
            sizes.append(fit(seen, PROBLEM, BASE, DEVICE).model_error)
        found[size] = float(np.median(sizes))
    assert found[0.0] < found[0.03] < found[0.10]
    assert found[0.03] == pytest.approx(0.03, rel=0.4)
    assert found[0.10] > 0.05  # six arms, and a guess of 3 % that counts as two more


def test_drifts_of_runs_are_found_where_runs_share_few_arms() -> None:
    exact = {"a": 100.0, "b": 2000.0, "c": 30.0}
    drifts = np.array([0.1, -0.04, -0.06])
    cells = [
        [(0, exact["a"] * np.exp(drifts[0])), (1, exact["a"] * np.exp(drifts[1]))],
        [(1, exact["b"] * np.exp(drifts[1])), (2, exact["b"] * np.exp(drifts[2]))],
        [(2, exact["c"] * np.exp(drifts[2]))],
    ]
    found, own = drifts_of(cells, 3)
    assert found == pytest.approx(drifts)
    assert own == pytest.approx(0.0, abs=1e-9)
    assert drifts_of([[(0, 5.0)]], 1)[0] == pytest.approx([0.0])


def disturb(observations: Observations, index: int, factor: float) -> Observations:
    members = list(observations.members)
    members[index] = attrs.evolve(members[index], value=members[index].value * factor)
    return attrs.evolve(observations, members=tuple(members))


def test_a_disturbed_step_moves_a_robust_fit_less_and_is_said(
    observations: Observations, noise: list[np.ndarray]
) -> None:
    seen, _ = noisy(
        observations, true_prices(4), generator_of(4), noise, runs=3, drift=0.0, model_error=0.01
    )
    key = seen.members[2].key
    moved = {}
    for loss in Loss:
        problem = attrs.evolve(PROBLEM, loss=loss)
        clean = fit(seen, problem, BASE, DEVICE)
        spoilt = fit(disturb(seen, 2, 1.6), problem, BASE, DEVICE)
        moved[loss] = np.mean(np.abs(spoilt.values - clean.values) / clean.spreads)
        if loss is Loss.HUBER:
            assert spoilt.weights[key] < 0.5
            assert any("counted for less than half" in warning for warning in spoilt.warnings)
    assert moved[Loss.HUBER] < 0.75 * moved[Loss.LINEAR]


def test_profile_intervals_are_the_quadratic_ones_where_nothing_bends_them(
    observations: Observations, noise: list[np.ndarray]
) -> None:
    seen, _ = noisy(
        observations, true_prices(5), generator_of(5), noise, runs=3, drift=0.03, model_error=0.02
    )
    problem = attrs.evolve(PROBLEM, loss=Loss.LINEAR)
    fitted = fit_closely(seen, problem, BASE, DEVICE)
    lower, upper = profile_intervals(fitted)
    values = fitted.fit.values
    # Without the drift, which stands in the covariance but not in the data.
    own = fitted.solution.covariance(fitted.system) * fitted.scale
    expected = 1.645 * np.sqrt(np.diag(own))
    assert (lower >= 0).all()
    assert (lower <= values).all()
    assert (values <= upper).all()
    free = values - expected > 1.0
    # Where no other price runs into its bound; those that do make the interval narrower.
    assert np.median(((values - lower) / expected)[free]) == pytest.approx(1.0, abs=0.05)
    assert np.median((upper - values) / expected) == pytest.approx(1.0, abs=0.05)


def test_bootstrap_sees_the_noise_of_repetitions_and_nothing_else() -> None:
    runs = [invented_run(true_prices(2), generator_of(seed), 0.05) for seed in range(2)]
    seen = observe(runs, PROBLEM, BASE, DEVICE)
    outcome = fit(seen, PROBLEM, BASE, DEVICE)
    drawn = bootstrap(
        seen, runs, PROBLEM, BASE, DEVICE,
        model_error=outcome.model_error, run_to_run=outcome.run_to_run, draws=30,
    )  # fmt: skip
    assert drawn.shape == (30, len(outcome.names))
    spreads = drawn.std(axis=0)
    assert (spreads <= outcome.spreads).mean() > 0.9
    assert spreads.max() > 0
    still = [invented_run(true_prices(2), generator_of(0), 0.0)]
    quiet = bootstrap(
        observe(still, PROBLEM, BASE, DEVICE), still, PROBLEM, BASE, DEVICE,
        model_error=0.03, run_to_run=0.1, draws=3,
    )  # fmt: skip
    assert quiet.std(axis=0) == pytest.approx(0.0, abs=1e-6)


def test_what_the_data_cannot_tell_stays_uncertain_and_is_said() -> None:
    outcome = run_fit(true_prices(3), 3, noise=0.02)
    spread = dict(zip(outcome.names, outcome.spreads, strict=True))
    # One large folio more or less per fault: faults and folios always come together.
    prior = event_quantities(BASE, DEVICE)[Event.SPLIT_PMD_MAPPING].spread
    assert spread["kernel.split_pmd_mapping_ns"] > 0.5 * prior
    assert any("next to nothing" in warning for warning in outcome.warnings)
    assert any("one run alone cannot tell" in warning for warning in outcome.warnings)
    assert np.allclose(np.diag(outcome.correlation), 1.0)
    assert np.linalg.eigvalsh(outcome.correlation).min() > -1e-9


def test_bounds_and_own_priors_are_kept_and_said(observations: Observations) -> None:
    prices = true_prices(1)
    seen, _ = noisy(
        observations, prices, generator_of(1), [np.ones(3)], runs=2, drift=0.0, model_error=0.0
    )
    name = "device.compress_page_ns"
    true = float(prices[Event.COMPRESS_PAGE])
    prior = attrs.evolve(DEVICE.compress_page_ns, value=0.3 * true, spread=10.0)
    limits = {name: Limits(lower_ns=0.1 * true, upper_ns=0.5 * true)}
    bounded = fit(seen, attrs.evolve(PROBLEM, limits=limits), BASE, DEVICE)
    place = bounded.names.index("devices.zram-lz4.compress_page_ns")
    assert bounded.values[place] == pytest.approx(0.5 * true)
    assert any("compress_page_ns is at its bound" in warning for warning in bounded.warnings)
    own = {name: Limits(prior=prior)}
    narrow = fit(seen, attrs.evolve(PROBLEM, limits=own), BASE, DEVICE)
    assert narrow.values[place] == pytest.approx(0.3 * true, abs=60.0)


def test_too_few_data_and_structure_are_said(observations: Observations) -> None:
    one = attrs.evolve(
        PROBLEM, observations=(ObservedArms("thp-roundtrip", ("pte",), ("pageout", "touch")),)
    )
    run = invented_run(true_prices(6), generator_of(6), 0.02)
    few = fit(observe([run], one, BASE, DEVICE), one, BASE, DEVICE)
    assert any("degrees of freedom" in warning for warning in few.warnings)
    seen, _ = noisy(
        observations, true_prices(6), generator_of(6), [np.ones(3)],
        runs=2, drift=0.0, model_error=0.0,
    )  # fmt: skip
    # The same events take longer after a larger entry, which no price of an event can tell.
    slow = {"pte": 1.0, "mthp-16k": 1.08, "mthp-1024k": 1.3}
    members = tuple(
        attrs.evolve(member, value=member.value * slow[member.entry])
        if member.step == "touch-again"
        else member
        for member in seen.members
    )
    bent = fit(attrs.evolve(seen, members=members), PROBLEM, BASE, DEVICE)
    assert any("the larger the entry" in warning for warning in bent.warnings)


def test_names_lead_back_to_the_fields() -> None:
    outcome = run_fit(true_prices(1), 1, noise=0.02)
    for event, name in zip(outcome.events, outcome.names, strict=True):
        assert name == price_name(event, DEVICE)
        assert name.split(".")[-1] == PRICES[event][0].split(".")[-1]
    with pytest.raises(InputError, match="no event has this price"):
        free_events(attrs.evolve(PROBLEM, free=("kernel.unheard_of_ns",), follows={}))


def test_runs_that_drift_apart_widen_the_drift() -> None:
    generator = generator_of(5)
    prices = true_prices(5)
    runs = [invented_run(prices * factor, generator, 0.02) for factor in (1.0, 1.1, 0.95)]
    outcome = fit(observe(runs, PROBLEM, BASE, DEVICE), PROBLEM, BASE, DEVICE)
    assert outcome.run_to_run_measured
    assert 0.05 < outcome.run_to_run < 0.11
    alone = fit(observe(runs[:1], PROBLEM, BASE, DEVICE), PROBLEM, BASE, DEVICE)
    assert not alone.run_to_run_measured


def test_missing_arms_are_said_and_changed_scenarios_refused() -> None:
    run = invented_run(true_prices(1), generator_of(1), 0.02)
    half = [result for result in run if result.scenario == "thp-roundtrip"]
    outcome = fit(observe([half], PROBLEM, BASE, DEVICE), PROBLEM, BASE, DEVICE)
    missing = "no run has thp-zero-roundtrip with pte on zram-lz4"
    assert missing in outcome.warnings
    with pytest.raises(InputError, match="has nothing that the problem swap-round-trips asks for"):
        observe([[]], PROBLEM, BASE, DEVICE)
    other = attrs.evolve(run[0], provenance={"scenario": to_table(load_scenario("thp-two-trips"))})
    with pytest.raises(InputError, match="another version of scenario"):
        observe([[other, *run[1:]]], PROBLEM, BASE, DEVICE)
    strange = attrs.evolve(
        PROBLEM, observations=(ObservedArms("thp-roundtrip", ("pte",), ("dance",)),)
    )
    with pytest.raises(InputError, match="has no step dance"):
        observe([run], strange, BASE, DEVICE)
