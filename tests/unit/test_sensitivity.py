"""Indices, tornado and break-even against what can be said by hand."""

import attrs
import numpy as np
import pytest

from perfmodel.errors import InputError
from perfmodel.models.closed_form import Counter
from perfmodel.plot.style import to_svg
from perfmodel.plot.sweep import study_figure
from perfmodel.report.sweep import sweep_lines
from perfmodel.specs.catalog import load_device, load_machine, load_policy
from perfmodel.specs.study import Axis, BreakEven, Design, DesignKind, Ladder, Range
from perfmodel.studies.break_even import break_even
from perfmodel.studies.crossing import last_crossings
from perfmodel.studies.findings import find
from perfmodel.studies.sensitivity import sobol_indices, tornado
from perfmodel.studies.sweep import sweep
from tests.unit.studies import FAULT_COST, PAGES, TOUCH, small_study

PRICES = {
    "machine.kernel.fault_ns": (100.0, 2000.0),
    "device.decompress_page_ns": (500.0, 1500.0),
    "machine.kernel.swapin_folio_ns": (100.0, 500.0),
}
AXES = tuple(Axis(field=f, range=Range(low=low, high=high)) for f, (low, high) in PRICES.items())


def coefficients(study, entry):
    """Events of the touch for each price, per 2 MiB, and the time at the machine's own prices."""
    from perfmodel.abi import PRICES as NAMES
    from perfmodel.constants import N_EVENTS, Event
    from perfmodel.models.prices import draw_prices

    machine = load_machine(study.machine)
    device = load_device(study.device, machine)
    counted = Counter().expect(study.scenario, machine, device, load_policy(entry))
    events = counted.time([2])[:N_EVENTS] / study.scenario.region.count
    by_field = {}
    for field in PRICES:
        name = field.removeprefix("machine.")
        by_field[field] = sum(events[event] for event in Event if NAMES[event][0] == name)
    return by_field, events @ draw_prices(machine, device, 0, 1)[0, :N_EVENTS] / 1000


def test_indices_of_a_linear_cost_are_shares_of_its_variance():
    design = Design(kind=DesignKind.SOBOL_INDICES, count=512)
    study = small_study(axes=AXES, design=design, draws=0, pairs=(), entries=("pte",))
    found = sobol_indices(sweep(study))
    slopes, _ = coefficients(study, "pte")
    variances = {f: (slopes[f] * (high - low)) ** 2 / 12 for f, (low, high) in PRICES.items()}
    assert found.standard_deviation == pytest.approx(sum(variances.values()) ** 0.5, rel=0.02)
    assert len(found.indices) == 3
    for index in found.indices:
        wanted = variances[index.label] / sum(variances.values())
        # They are the same for a sum, without interaction.
        assert index.first == pytest.approx(wanted, abs=0.02)
        assert index.total == pytest.approx(wanted, abs=0.02)
        assert index.first_low <= wanted <= index.first_high
        assert index.total_low <= wanted <= index.total_high
    totals = [index.total for index in found.indices]
    assert totals == sorted(totals, reverse=True)


def test_indices_are_the_same_every_time():
    design = Design(kind=DesignKind.SOBOL_INDICES, count=64)
    study = small_study(axes=AXES, design=design, draws=0)
    assert sobol_indices(sweep(study, jobs=1)) == sobol_indices(sweep(study, jobs=2))


def test_a_tornado_is_slope_times_range():
    study = small_study(axes=AXES, design=Design(kind=DesignKind.ONE_AT_A_TIME), draws=0)
    found = tornado(sweep(study), "touch", "pte")
    slopes, base = coefficients(study, "pte")
    assert found.base == pytest.approx(base, rel=1e-9)
    for bar in found.bars:
        assert bar.swing == pytest.approx(slopes[bar.label] * (bar.high - bar.low), rel=1e-9)


@pytest.mark.parametrize("pages", [64, 192])
def test_break_even_of_a_price_is_where_two_lines_meet(pages):
    axes = (
        attrs.evolve(PAGES, values=(pages,)),
        attrs.evolve(FAULT_COST, linear=Ladder(first=10.0, last=50_000.0, count=6)),
    )
    study = small_study(axes=axes, break_even=BreakEven(axis="fault_ns", output="touch"))
    (found,) = break_even(study).points
    touch = attrs.evolve(study.scenario.steps[2], pages_per_2mib=pages)
    scenario = attrs.evolve(
        study.scenario, steps=(*study.scenario.steps[:2], touch, *study.scenario.steps[3:])
    )
    own = load_machine(study.machine).kernel.fault_ns.value
    lines = {}
    for entry in ("pte", "pmd"):
        slopes, time = coefficients(attrs.evolve(study, scenario=scenario), entry)
        slope = slopes["machine.kernel.fault_ns"]
        lines[entry] = slope, time - slope * own
    (pte_slope, pte), (pmd_slope, pmd) = lines["pte"], lines["pmd"]
    wanted = (pmd - pte) / (pte_slope - pmd_slope)
    assert found.at == pytest.approx(wanted, rel=2e-3)
    assert found.low < found.at < found.high
    assert found.costs_less_beyond
    assert found.crossings == 1
    assert found.others == {"pages": pages}


def test_break_even_in_whole_numbers_ends_between_neighbours():
    study = small_study(axes=(PAGES,), break_even=BreakEven(axis="pages", output="touch"))
    (found,) = break_even(study).points
    below, above = int(found.at), int(found.at) + 1
    data = sweep(attrs.evolve(study, axes=(attrs.evolve(PAGES, values=(below, above)),))).dataset
    ratios = data["touch_ratio"].sel(bound="best").values.ravel()
    assert ratios[0] > 1 > ratios[1]


@pytest.mark.parametrize(("pages", "at"), [((1, 2, 4), np.inf), ((400, 512), -np.inf)])
def test_break_even_may_be_nowhere(pages, at):
    axes = (attrs.evolve(PAGES, values=pages),)
    study = small_study(axes=axes, break_even=BreakEven(axis="pages", output="touch"))
    (found,) = break_even(study).points
    assert (found.at, found.low, found.high) == (at, at, at)
    assert found.to_json()["at"] is None
    assert found.to_json()["always"] == ("above" if at > 0 else "below")


def test_crossings_lie_on_straight_lines():
    ratios = np.array([[4.0, 2.0, 0.5], [2.0, 0.5, 0.5], [0.5, 2.0, 0.5]])
    assert list(last_crossings([0.0, 1.0, 2.0], ratios)) == [1.5, np.inf, -np.inf]


def test_break_even_wants_an_axis_of_numbers():
    study = small_study(axes=(Axis(field="device", values=("zram-lz4", "zram-zstd")),))
    with pytest.raises(InputError, match=r"break_even.axis.*must be an axis of numbers"):
        break_even(study, axis="device", output="touch")


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": (PAGES,), "break_even": BreakEven(axis="pages", output="touch")},
        {"axes": (Axis(field="device", values=("zram-lz4", "zram-zstd")), PAGES)},
        {"axes": (), "figure": "bars"},
        {"axes": (Axis(field="device", values=("zram-lz4", "zram-zstd")),), "figure": "bars"},
        {"axes": AXES, "design": Design(kind=DesignKind.ONE_AT_A_TIME)},
        {"axes": AXES, "design": Design(kind=DesignKind.SOBOL_INDICES, count=16)},
    ],
    ids=["lines", "panels", "bars", "bars-over-axis", "tornado", "indices"],
)
def test_every_kind_of_study_has_a_figure_and_a_table(changes):
    swept = sweep(small_study(outputs=(TOUCH,), **changes))
    findings = find(swept)
    assert to_svg(study_figure(swept, findings)).startswith(b"<?xml")
    lines = list(sweep_lines(swept, findings))
    assert lines[0] == "A small study"
    assert len(lines) > 3
