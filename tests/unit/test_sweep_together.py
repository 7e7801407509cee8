"""Axes that set several fields, and what CPUs wait for."""

import attrs
import pytest

from perfmodel.abi import waits_of
from perfmodel.constants import Wait
from perfmodel.errors import InputError
from perfmodel.models.simulated import draw_arm
from perfmodel.specs.catalog import load_device, load_machine, load_policy
from perfmodel.specs.step import Step, StepAction
from perfmodel.specs.study import Axis, Output, OutputKind
from perfmodel.studies.plan import make_plan
from perfmodel.studies.sweep import sweep
from tests.unit.studies import limited_scenario, limited_study, small_study

SECOND = "scenario.steps.second.pages_per_2mib"


def two_rounds(*, also):
    first = Step("touch", StepAction.TOUCH)
    scenario = limited_scenario()
    steps = (scenario.steps[0], first, attrs.evolve(first, name="second"))
    axis = Axis(field="scenario.steps.touch.pages_per_2mib", also=also, values=(4, 16))
    return small_study(scenario=attrs.evolve(scenario, steps=steps), axes=(axis,))


def test_an_axis_sets_all_its_fields():
    plan = make_plan(two_rounds(also=(SECOND,)))
    for cell, pages in enumerate((4, 16)):
        steps = plan.case(plan.values(cell)).scenario.steps
        assert [step.pages_per_2mib for step in steps] == [512, pages, pages]


def test_a_wrong_field_among_them_is_told():
    with pytest.raises(InputError, match="pages_per_2mib"):
        make_plan(two_rounds(also=("scenario.steps.second.pages_per_2mb",)))
    with pytest.raises(InputError, match="spec's name"):
        make_plan(two_rounds(also=("steps.second.pages_per_2mib",)))


@pytest.mark.parametrize("changes", [{"field": "device"}, {"relative": True}])
def test_only_single_fields_go_together(changes):
    with pytest.raises(ValueError, match="also"):
        Axis(**{"field": "machine.kernel.fault_ns", "also": (SECOND,), "values": (1,)} | changes)


def test_what_cpus_wait_for_is_what_the_engine_says():
    scenario = limited_scenario()
    steps = (scenario.steps[0], attrs.evolve(scenario.steps[1], threads=2))
    scenario = attrs.evolve(scenario, steps=steps)
    waited = Output(name="waited", kind=OutputKind.WAITED, of="interrupted", steps=("access",))
    study = attrs.evolve(limited_study(cells=2), scenario=scenario, axes=(), outputs=(waited,))
    data = sweep(study, jobs=1).dataset["waited"]
    machine = load_machine(study.machine)
    arm = draw_arm(
        scenario, machine, load_device("zram-lz4", machine), load_policy("pte"), seed=1, draws=0
    )
    expected = waits_of(arm.runs.counts[0, 1])[Wait.INTERRUPTED] / 1000 / scenario.region.count
    assert expected > 0
    assert float(data.sel(entry="pte", bound="best")) == pytest.approx(expected, rel=1e-12)


def test_nobody_waits_where_nothing_overlaps():
    waited = Output(name="waited", kind=OutputKind.WAITED, of="cluster_lock")
    data = sweep(small_study(outputs=(waited,)), jobs=1).dataset["waited"]
    assert float(abs(data).max()) == 0
