"""Which numbers an answer hangs on."""

import attrs
import numpy as np
import pytest

from perfmodel.abi import PRICES, events_of
from perfmodel.constants import Event
from perfmodel.models.prices import draw, draw_model_errors, draw_prices
from perfmodel.models.simulated import count_events
from perfmodel.report.calibration import influence_lines
from perfmodel.specs.catalog import load_device, load_machine, load_policy, load_scenario
from perfmodel.specs.machine import Machine
from perfmodel.studies.influence import DRIFT, MODEL, advice, influence

PUBLISHED = load_machine("amd-zen3")
PROFILE = load_machine("intel-emerald-rapids-guest")
SCENARIO = load_scenario("thp-roundtrip")
DEVICE = load_device("zram-lz4")


def slopes() -> np.ndarray:
    """What each price adds to the fallback's cost per 2 MiB, by the events alone."""
    arms = []
    for entry in ("pte", "pmd"):
        runs = count_events(SCENARIO, PUBLISHED, load_policy(entry), DEVICE.kind, range(1, 2))
        arms.append(events_of(runs.counts)[0, 2:].sum(axis=0))
    return (arms[0] - arms[1]) / SCENARIO.region.count


def test_shares_of_independent_numbers_are_their_variances() -> None:
    found = influence(SCENARIO, PUBLISHED, DEVICE)
    spreads = {
        event: getattr(
            {"kernel": PUBLISHED.kernel, "cpu": PUBLISHED.cpu, "device": DEVICE}.get(
                PRICES[event][0].split(".")[0], PUBLISHED.translation
            ),
            PRICES[event][0].partition(".")[2],
        ).spread
        for event in Event
    }
    variance = {event: float(slopes()[event] * spreads[event]) ** 2 for event in Event}
    total = sum(variance.values())
    shares = {number.name.rpartition(".")[2]: number for number in found.numbers}
    for event, part in variance.items():
        name = PRICES[event][0].partition(".")[2]
        if part / total > 0.02:
            # Draws are cut off at zero, which takes a little of their variance.
            assert shares[name].share == pytest.approx(part / total, abs=0.03)
            assert shares[name].own == pytest.approx(shares[name].share, abs=0.03)
    assert sum(number.share for number in found.numbers) == pytest.approx(1.0, abs=0.05)
    assert [n.share for n in found.numbers] == sorted(n.share for n in found.numbers)[::-1]


def test_a_number_without_spread_has_no_share() -> None:
    name = "swapin_folio_ns"
    known = attrs.evolve(getattr(PUBLISHED.kernel, name), spread=0.0)
    machine = attrs.evolve(PUBLISHED, kernel=attrs.evolve(PUBLISHED.kernel, **{name: known}))
    before = influence(SCENARIO, PUBLISHED, DEVICE, draws=2000)
    after = influence(SCENARIO, machine, DEVICE, draws=2000)
    assert f"kernel.{name}" in {number.name for number in before.numbers}
    assert f"kernel.{name}" not in {number.name for number in after.numbers}
    gone = next(n.share for n in before.numbers if n.name == f"kernel.{name}")
    assert (after.spread_ns / before.spread_ns) ** 2 == pytest.approx(1 - gone, abs=0.06)


def test_what_a_fit_knows_together_shows_in_both() -> None:
    found = influence(SCENARIO, PROFILE, load_device("zram-lz4", PROFILE))
    by_name = {number.name: number for number in found.numbers}
    assert by_name[DRIFT].share > 0.2
    assert 0.05 < by_name[MODEL].share < 0.5
    # Fault and request always come together: one can make up for the other.
    request = by_name["devices.zram-lz4.read_request_ns"]
    assert request.own > request.share
    assert found.spread_ns > 0
    best = found.candidates[0]
    assert best.step == "touch"
    assert 0 < best.gain < 1
    assert [c.gain for c in found.candidates] == sorted(c.gain for c in found.candidates)[::-1]
    text = "\n".join(influence_lines(found))
    assert "measure next" in text
    assert "more runs on other days" in text
    assert found.to_json()["numbers"][0]["name"] == found.numbers[0].name


def test_advice_says_what_helps() -> None:
    found = influence(SCENARIO, PUBLISHED, DEVICE, draws=1000)
    assert advice(found.numbers[0]) == "nobody has measured it"
    fitted = attrs.evolve(found.numbers[0], how="fitted", share=0.4, own=0.01)
    assert "alone" in advice(fitted)
    assert advice(attrs.evolve(fitted, own=0.4)) == "more repetitions"


# Draws


def with_model_error(size: float) -> Machine:
    assert PROFILE.fit is not None
    error = attrs.evolve(PROFILE.fit.model_error, value=size)
    return attrs.evolve(PROFILE, fit=attrs.evolve(PROFILE.fit, model_error=error))


def test_prices_are_drawn_as_their_parts_say() -> None:
    device = load_device("zram-lz4", PROFILE)
    parts = draw(PROFILE, device, 50, 3)
    whole = draw_prices(PROFILE, device, 50, 3)
    prices = np.rint(parts.events * parts.common[:, None] * 1000)
    assert np.array_equal(whole[:, : len(Event)], prices)
    assert parts.common[0] == 1.0
    assert (draw(PUBLISHED, DEVICE, 20, 1).common == 1.0).all()


def test_steps_with_the_same_events_miss_the_same_and_with_nearly_the_same_nearly() -> None:
    machine = with_model_error(0.05)
    events = np.arange(len(Event), dtype=np.int64)
    once = draw_model_errors(machine, events, 4000, 1)
    assert once[0] == 1.0
    assert np.array_equal(once, draw_model_errors(machine, events.copy(), 4000, 1))
    near = draw_model_errors(machine, events * 1.01, 4000, 1)
    assert np.corrcoef(once[1:], near[1:])[0, 1] > 0.98
    other = draw_model_errors(machine, 3 * events, 4000, 1)
    assert abs(np.corrcoef(once[1:], other[1:])[0, 1]) < 0.3
    assert once[1:].std() == pytest.approx(0.05, rel=0.05)
    assert (draw_model_errors(with_model_error(0.0), events, 20, 1) == 1.0).all()
    assert (draw_model_errors(PUBLISHED, events, 20, 1) == 1.0).all()
