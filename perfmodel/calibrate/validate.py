"""Judges a machine's predictions by measurements that its fit has never seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from perfmodel.errors import CapabilityError, InputError, Problem
from perfmodel.measure.capabilities import capabilities, measurable, missing_for
from perfmodel.measure.run import LOCATION_QUANTILE, Progress, measure_arms
from perfmodel.measure.session import put_back_left_over
from perfmodel.models.simulated import simulate
from perfmodel.results.result import Result, StepResult
from perfmodel.results.store import measured_scenario
from perfmodel.specs.catalog import load_device, load_scenario, names
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import MEASURED_ENTRIES, SHMEM_ENTRY
from perfmodel.specs.scenario import Scenario, Settings, SwapSpace
from perfmodel.specs.step import Racing, StepAction

# A memfd THP is filled and swapped out by other code than an anonymous one; what makes it a
# stand-in for a PMD swap entry is how it comes back.
STAND_IN_COUNTERS = (
    "pgfault",
    "pgmajfault",
    "pswpin",
    "pswpout",
    "swpin_zero",
    "swpout_zero",
    "hugepages-2048kB/stats/swpin",
    "hugepages-2048kB/stats/swpin_fallback",
)


@attrs.frozen
class ValidationRun:
    """One step of one arm, predicted and measured, for the whole region."""

    scenario: str
    device: str
    entry: str
    step: str
    regions: int
    predicted_ns: float
    interval_ns: tuple[float, float]
    measured_ns: float
    noise_floor: float
    held_out: bool
    different_counters: tuple[str, ...]

    @property
    def relative_error(self) -> float:
        """Predicted over measured, minus 1."""
        return self.predicted_ns / self.measured_ns - 1

    @property
    def inside_interval(self) -> bool:
        """Whether the measured time lies in the predicted interval."""
        return self.interval_ns[0] <= self.measured_ns <= self.interval_ns[1]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "scenario": self.scenario,
            "device": self.device,
            "entry": self.entry,
            "step": self.step,
            "regions": self.regions,
            "predicted_ns": self.predicted_ns,
            "interval_ns": list(self.interval_ns),
            "measured_ns": self.measured_ns,
            "relative_error": round(self.relative_error, 4),
            "noise_floor": round(self.noise_floor, 4),
            "inside_interval": self.inside_interval,
            "held_out": self.held_out,
            "counters_equal": not self.different_counters,
            "different_counters": list(self.different_counters),
        }


@attrs.frozen
class Validation:
    """All validated steps of a machine."""

    machine: str
    runs: tuple[ValidationRun, ...]

    def summary(self) -> dict[str, Any]:
        """Median and worst error, and how often the interval held, over what no fit has seen."""
        held_out = [run for run in self.runs if run.held_out]
        errors = [abs(run.relative_error) for run in held_out]
        return {
            "held_out": len(held_out),
            "median_abs_error": round(float(np.median(errors)), 4) if errors else None,
            "max_abs_error": round(max(errors), 4) if errors else None,
            "coverage": round(float(np.mean([run.inside_interval for run in held_out])), 4)
            if held_out
            else None,
            "counters_equal": all(not run.different_counters for run in self.runs),
        }

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "machine": self.machine,
            "runs": [run.to_json() for run in self.runs],
            "summary": self.summary(),
        }


def different_counters(predicted: StepResult, measured: StepResult, entry: str) -> tuple[str, ...]:
    """Counters that both worlds have and that differ, as ``name simulated/measured``."""
    shared = [name for name in measured.counters if name in predicted.counters]
    if entry == SHMEM_ENTRY:
        shared = [name for name in shared if name in STAND_IN_COUNTERS]
    return tuple(
        f"{name} {predicted.counters[name]}/{measured.counters[name]}"
        for name in shared
        if predicted.counters[name] != measured.counters[name]
    )


def _noise_floor(repetitions: tuple[float, ...]) -> float:
    """Relative difference of the location between the even and the odd repetitions."""
    even = float(np.quantile(repetitions[::2], LOCATION_QUANTILE))
    odd = float(np.quantile(repetitions[1::2], LOCATION_QUANTILE))
    return abs(even - odd) / min(even, odd)


def judge(machine: Machine, device: SwapDevice, measured: list[Result]) -> Validation:
    """Set predictions beside measurements.

    Parameters
    ----------
    machine : Machine
        What its fit has seen is not held out; of a machine without a fit everything is.
    device : SwapDevice
    measured : list of Result
    """
    seen = {(arm.scenario, arm.entry) for arm in machine.fit.arms} if machine.fit else set()
    runs = []
    for result in measured:
        scenario = measured_scenario(result)
        entry = "pmd" if result.entry == SHMEM_ENTRY else result.entry
        predicted = simulate(scenario, machine, device=device, entry=entry)
        for before, after in zip(predicted.steps, result.steps, strict=True):
            runs.append(
                ValidationRun(
                    scenario=result.scenario,
                    device=result.device,
                    entry=result.entry,
                    step=after.name,
                    regions=result.regions,
                    predicted_ns=before.elapsed_ns,
                    interval_ns=before.interval_ns,
                    measured_ns=after.elapsed_ns,
                    noise_floor=_noise_floor(after.repetitions_ns),
                    held_out=(result.scenario, result.entry) not in seen,
                    different_counters=different_counters(before, after, result.entry),
                )
            )
    return Validation(machine.name, tuple(runs))


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
    return judge(machine, loaded, measured), measured
