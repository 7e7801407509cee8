"""Measures what no fit has seen on this machine, for its predictions to be judged by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from perfmodel.calibrate.judge import Validation, judge
from perfmodel.errors import CapabilityError, InputError, Problem
from perfmodel.measure.capabilities import capabilities, measurable, missing_for
from perfmodel.measure.run import Progress, measure_arms
from perfmodel.measure.session import put_back_left_over
from perfmodel.results.result import Result
from perfmodel.specs.catalog import load_device, load_scenario, names
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import MEASURED_ENTRIES
from perfmodel.specs.scenario import Scenario, Settings, SwapSpace
from perfmodel.specs.step import Racing, StepAction

_ROUND_TRIP = (StepAction.FILL, StepAction.PAGEOUT, StepAction.TOUCH)


def is_round_trip(scenario: Scenario) -> bool:
    """Whether one process swaps memory out and reads it back, under settings as they are."""
    usual = scenario.settings == Settings() and scenario.swap == SwapSpace()
    return usual and all(
        step.action in _ROUND_TRIP
        and not step.write
        and not step.refuse_write
        and step.racing is Racing.NONE
        for step in scenario.steps
    )


def find_scenarios(folder: Path | None) -> list[Scenario]:
    """All scenarios of a folder, or the installed round trips.

    The other installed scenarios show how PMD swap entries fall back: some of it no live kernel can
    be made to do, and a memfd THP does not stand in for it.
    """
    if folder is None:
        installed = [load_scenario(name) for name in names("scenario")]
        return [scenario for scenario in installed if is_round_trip(scenario)]
    if not folder.is_dir():
        raise InputError(Problem("is no folder", file=str(folder), key="scenarios"))
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        message = "holds no scenario (*.toml)"
        raise InputError(Problem(message, file=str(folder), key="scenarios"))
    return [load_scenario(path) for path in paths]


def validate(
    machine: Machine,
    *,
    device: str = "zram-lz4",
    scenarios: Path | None = None,
    repetitions: int = 15,
    report: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda _done, _total: None,
) -> tuple[Validation, list[Result]]:
    """Measure every scenario with every entry that this machine can, and judge the predictions.

    Returns
    -------
    validation : Validation
    measured : list of Result
    """
    put_back_left_over(report=report)
    found = capabilities()
    entries = measurable(MEASURED_ENTRIES, found)
    if not entries:
        raise CapabilityError(missing_for("pte", found))
    loaded = load_device(device, machine)
    arms = [(scenario, entry) for scenario in find_scenarios(scenarios) for entry in entries]
    measured = measure_arms(arms, loaded, repetitions=repetitions, report=report, progress=progress)
    return judge(machine, [measured], loaded), measured
