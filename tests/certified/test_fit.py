"""The fitter is tried on data whose answer is known: invented prices, invented noise."""

import attrs
import numpy as np
import pytest

from perfmodel.abi import PRICES, event_quantities, events_of
from perfmodel.calibrate.fit import Fit, fit, observe
from perfmodel.calibrate.profile import FIT_ENTRIES, fit_arms, fit_scenarios
from perfmodel.constants import PICOSECONDS_PER_NANOSECOND, Event
from perfmodel.errors import InputError
from perfmodel.models.prices import draw_prices, price_name
from perfmodel.models.simulated import count_events
from perfmodel.results.provenance import provenance
from perfmodel.results.result import Result, StepResult
from perfmodel.specs.catalog import load_device, load_machine, load_policy, load_scenario
from perfmodel.specs.io import to_table
from perfmodel.specs.scenario import Scenario

BASE = load_machine("amd-zen3")
DEVICE = load_device("zram-lz4")
REPETITIONS = 40


def count(scenario: Scenario, entry: str) -> np.ndarray:
    counts = count_events(scenario, BASE, load_policy(entry), DEVICE.kind, range(1, 2)).counts
    return events_of(counts)


def invented_run(
    prices_ns: np.ndarray, generator: np.random.Generator, noise: float
) -> list[Result]:
    """Measurements of a machine with these prices, noise adding time only, as neighbours do."""
    results = []
    for name, entry in fit_arms():
        scenario = load_scenario(name)
        events = count(scenario, entry)
        steps = []
        for index, step in enumerate(scenario.steps):
            exact = float(events[0, index] @ prices_ns)
            times = exact * (1 + generator.exponential(noise, REPETITIONS) if noise else 1.0)
            times = tuple(np.broadcast_to(times, REPETITIONS).tolist())
            steps.append(StepResult(step.name, times[0], (0.0, 0.0), {}, {}, times))
        results.append(
            Result(
                scenario=name,
                machine="invented",
                device=DEVICE.name,
                entry=entry,
                regions=scenario.region.count,
                steps=tuple(steps),
                mapping={},
                provenance=provenance(
                    "measured", {"scenario": scenario}, scenario=to_table(scenario)
                ),
            )
        )
    return results


def true_prices(seed: int) -> np.ndarray:
    """Prices that the prior calls possible."""
    drawn = draw_prices(BASE, DEVICE, 20, seed)[1, : len(Event)] / PICOSECONDS_PER_NANOSECOND
    return np.maximum(drawn, 1.0)


def run_fit(prices: np.ndarray, seed: int, noise: float) -> Fit:
    generator = np.random.Generator(np.random.Philox(seed))
    run = invented_run(prices, generator, noise)
    return fit(observe([run], fit_arms(), BASE, DEVICE), BASE, DEVICE)


def predicted_touch(outcome: Fit, entry: str) -> tuple[float, float]:
    """Time of the touch step and its standard deviation, from a fit."""
    scenario = load_scenario("thp-roundtrip")
    events = count(scenario, entry)
    counts = events[0, 2].astype(float)
    best = np.array([quantity.value for quantity in event_quantities(BASE, DEVICE)])
    spread = np.array([quantity.spread for quantity in event_quantities(BASE, DEVICE)])
    used = list(outcome.events)
    others = [event for event in Event if event not in used]
    mean = counts[used] @ outcome.values + counts[others] @ best[others]
    weights = counts[used] * outcome.spreads
    variance = weights @ outcome.correlation @ weights + np.sum((counts * spread)[others] ** 2)
    return float(mean), float(np.sqrt(variance))


def test_fit_sees_pte_and_two_mthp_sizes_only() -> None:
    assert FIT_ENTRIES == ("pte", "mthp-16k", "mthp-1024k")
    assert fit_scenarios() == ["thp-roundtrip", "thp-zero-roundtrip"]


@pytest.mark.parametrize("seed", range(5))
def test_noiseless_times_are_explained_and_predicted(seed: int) -> None:
    prices = true_prices(seed)
    outcome = run_fit(prices, seed, noise=0.0)
    # Without noise only the prior pulls, by less than what the model itself may miss (3 %).
    assert max(abs(error) for error in outcome.residuals.values()) < 0.03
    scenario = load_scenario("thp-roundtrip")
    for entry in ("mthp-32k", "mthp-64k", "mthp-256k"):
        events = count(scenario, entry)
        assert predicted_touch(outcome, entry)[0] == pytest.approx(
            float(events[0, 2] @ prices), rel=0.03
        )


def test_intervals_hold_as_often_as_they_claim() -> None:
    """Over many invented machines, 90 % intervals of unseen arms hold for about 90 %."""
    scenario = load_scenario("thp-roundtrip")
    inside = []
    for seed in range(60):
        prices = true_prices(seed)
        outcome = run_fit(prices, seed, noise=0.05)
        for entry in ("mthp-64k", "pmd"):
            events = count(scenario, entry)
            mean, deviation = predicted_touch(outcome, entry)
            inside.append(abs(float(events[0, 2] @ prices) - mean) < 1.645 * deviation)
    # One-sided noise moves the quantile up, which the assumed model error has to cover.
    assert 0.8 <= np.mean(inside) <= 1.0


def test_what_the_data_cannot_tell_stays_uncertain_and_is_said() -> None:
    outcome = run_fit(true_prices(3), 3, noise=0.02)
    spread = dict(zip(outcome.names, outcome.spreads, strict=True))
    # One large folio more or less per fault: faults and folios always come together.
    prior = event_quantities(BASE, DEVICE)[Event.SPLIT_PMD_MAPPING].spread
    assert spread["kernel.split_pmd_mapping_ns"] > 0.5 * prior
    assert any("next to nothing" in warning for warning in outcome.warnings)
    assert np.allclose(np.diag(outcome.correlation), 1.0)
    assert np.linalg.eigvalsh(outcome.correlation).min() > -1e-9


def test_names_lead_back_to_the_fields() -> None:
    outcome = run_fit(true_prices(1), 1, noise=0.02)
    for event, name in zip(outcome.events, outcome.names, strict=True):
        assert name == price_name(event, DEVICE)
        assert name.split(".")[-1] == PRICES[event][0].split(".")[-1]


def test_runs_that_drift_apart_widen_the_drift() -> None:
    generator = np.random.Generator(np.random.Philox(5))
    prices = true_prices(5)
    runs = [invented_run(prices * factor, generator, 0.02) for factor in (1.0, 1.1, 0.95)]
    outcome = fit(observe(runs, fit_arms(), BASE, DEVICE), BASE, DEVICE)
    assert outcome.run_to_run_measured
    assert 0.05 < outcome.run_to_run < 0.11
    alone = fit(observe(runs[:1], fit_arms(), BASE, DEVICE), BASE, DEVICE)
    assert not alone.run_to_run_measured


def test_missing_arm_and_changed_scenario_are_said() -> None:
    run = invented_run(true_prices(1), np.random.Generator(np.random.Philox(1)), 0.02)
    with pytest.raises(InputError, match="has no measurement of thp-zero-roundtrip with pte"):
        observe([[r for r in run if r.scenario == "thp-roundtrip"]], fit_arms(), BASE, DEVICE)
    other = attrs.evolve(run[0], provenance={"scenario": to_table(load_scenario("thp-two-trips"))})
    with pytest.raises(InputError, match="another version of scenario"):
        observe([[other, *run[1:]]], fit_arms(), BASE, DEVICE)
