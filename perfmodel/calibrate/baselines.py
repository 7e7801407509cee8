"""Simpler predictors on the same data: what a model of the mechanism has to be better than.

None of them knows prices of events. Published runtime models (Basu and others, in `models.runtime`)
predict a program's run time from page walks and have no word about swap; they are judged by their
own data, see docs/runtime.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import numpy as np
from scipy.optimize import nnls

from perfmodel.calibrate.distrust import pages_per_fault
from perfmodel.calibrate.judge import ValidationRun, judge
from perfmodel.calibrate.observations import Observation, Observations
from perfmodel.constants import PAGES_PER_PMD
from perfmodel.models.simulated import simulate
from perfmodel.results.result import Result, StepResult
from perfmodel.results.store import measured_scenario
from perfmodel.specs.catalog import load_device, load_scenario
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import SHMEM_ENTRY
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.step import Step

Predictor = Callable[[Scenario, str, int], float | None]
"""Takes a scenario, an entry and the number of a step; nanoseconds per 2 MiB, or None."""


@attrs.frozen
class BaselineRun:
    """What a baseline says about one measured step; None where it says nothing."""

    run: ValidationRun
    predicted_ns: float | None

    @property
    def relative_error(self) -> float | None:
        """Predicted over measured, minus 1, with the drift of the run taken out."""
        if self.predicted_ns is None:
            return None
        return self.predicted_ns / self.run.measured_beside_ns - 1


@attrs.frozen
class BaselineSummary:
    """Errors of one predictor, and ours where it says something.

    Parameters
    ----------
    name : str
    predicted, left_out : int
        Steps that it predicts, and those that it has nothing to say about.
    max_abs_error, median_abs_error : float
    our_max_abs_error, our_median_abs_error : float
        Of the model, over the same steps.
    """

    name: str
    predicted: int
    left_out: int
    max_abs_error: float
    median_abs_error: float
    our_max_abs_error: float
    our_median_abs_error: float


class _Features:
    """What the linear model sees of a step: the kernel's own counters, which need no price."""

    def __init__(self, machine: Machine, device: str) -> None:
        self._machine = machine
        self._device = device
        self._known: dict[tuple[str, str], Result] = {}

    def of(self, scenario: Scenario, entry: str, index: int) -> tuple[str, float, float]:
        """Kind of the step, pages and faults per 2 MiB."""
        modelled = "pmd" if entry == SHMEM_ENTRY else entry
        name = (scenario.name, modelled)
        if name not in self._known:
            device = load_device(self._device, self._machine)
            self._known[name] = simulate(
                scenario, self._machine, device=device, entry=modelled, draws=20
            )
        simulated = self._known[name]
        step, counted = scenario.steps[index], simulated.steps[index]
        back = _brought_back(counted)
        pages = back if back else simulated.regions * _pages(step)
        kind = f"{step.action.value} {scenario.region.content.value}{' back' if back else ''}"
        faults = counted.counters.get("pgfault", 0)
        return kind, pages / simulated.regions, faults / simulated.regions


def _brought_back(step: StepResult) -> int:
    return step.counters.get("pswpin", 0) + step.counters.get("swpin_zero", 0)


def _pages(step: Step) -> int:
    return len(step.pages())


def linear(observations: Observations, machine: Machine, device: str) -> Predictor:
    """So much for each page and so much for each fault, for each kind of step and content."""
    features = _Features(machine, device)
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for member in observations.members:
        scenario = load_scenario(member.scenario)
        kind, pages, faults = features.of(scenario, member.entry, _index(scenario, member.step))
        rows.setdefault(kind, []).append((pages, faults, member.value))
    found = {}
    for kind, seen in rows.items():
        table = np.array(seen)
        found[kind] = nnls(table[:, :2] / table[:, 2:], np.ones(len(table)))[0]

    def predict(scenario: Scenario, entry: str, index: int) -> float | None:
        kind, pages, faults = features.of(scenario, entry, index)
        if kind not in found:
            return None
        return float(found[kind] @ (pages, faults))

    return predict


def nearest(observations: Observations) -> Predictor:
    """The time of the same step of the seen entry that is nearest in size."""
    members: dict[tuple[str, str], list[Observation]] = {}
    for member in observations.members:
        members.setdefault((member.content, member.step), []).append(member)

    def predict(scenario: Scenario, entry: str, index: int) -> float | None:
        step = scenario.steps[index]
        same = members.get((scenario.region.content.value, step.name), [])
        if not same or _pages(step) != PAGES_PER_PMD:
            return None
        size = np.log2(pages_per_fault(entry))
        return min(
            same, key=lambda member: abs(np.log2(pages_per_fault(member.entry)) - size)
        ).value

    return predict


def _index(scenario: Scenario, name: str) -> int:
    return next(index for index, step in enumerate(scenario.steps) if step.name == name)


LINEAR = "so much per page and per fault"
NEAREST = "the nearest entry that was measured"
UNFITTED = "this model at published prices"


def baselines(
    runs: Sequence[ValidationRun],
    measured: Sequence[Sequence[Result]],
    observations: Observations,
    base: Machine,
    device: str,
) -> dict[str, list[BaselineRun]]:
    """What every baseline says about held-out steps.

    Parameters
    ----------
    runs : sequence of ValidationRun
        The steps, as the model was judged by them.
    measured : sequence of sequence of Result
        The results behind them.
    observations : Observations
        What the fit has seen, which is all that the baselines see, too.
    base : Machine
        The published machine that the fit started from.
    device : str
        The device of the observations.
    """
    scenarios = {
        (number, result.scenario): measured_scenario(result)
        for number, run in enumerate(measured)
        for result in run
    }
    observations = attrs.evolve(
        observations, members=tuple(each for each in observations.members if not each.device)
    )
    found: dict[str, list[BaselineRun]] = {}
    for name, predict in (
        (LINEAR, linear(observations, base, device)),
        (NEAREST, nearest(observations)),
    ):
        rows = []
        for run in runs:
            scenario = scenarios[run.run, run.scenario]
            per_2mib = None
            if run.device == device:
                per_2mib = predict(scenario, run.entry, _index(scenario, run.step))
            rows.append(BaselineRun(run, None if per_2mib is None else per_2mib * run.regions))
        found[name] = rows
    unfitted = {(run.run, *run.key): run for run in judge(base, measured).runs}
    found[UNFITTED] = [BaselineRun(run, unfitted[run.run, *run.key].predicted_ns) for run in runs]
    return found


def summarise_baselines(found: dict[str, list[BaselineRun]]) -> list[BaselineSummary]:
    """Worst and median error of every baseline, with the model's over the same steps."""
    summaries = []
    for name, rows in found.items():
        said = [(row.run, row.relative_error) for row in rows if row.relative_error is not None]
        if not said:
            continue
        errors = np.abs([error for _, error in said])
        ours = np.abs([run.error_beside_seen for run, _ in said])
        summaries.append(
            BaselineSummary(
                name=name,
                predicted=len(said),
                left_out=len(rows) - len(said),
                max_abs_error=round(float(errors.max()), 4),
                median_abs_error=round(float(np.median(errors)), 4),
                our_max_abs_error=round(float(ours.max()), 4),
                our_median_abs_error=round(float(np.median(ours)), 4),
            )
        )
    return summaries
