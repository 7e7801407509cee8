"""Judges predictions by measurements: errors, intervals, counters, and how far runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from perfmodel.constants import PICOSECONDS_PER_NANOSECOND
from perfmodel.measure.run import LOCATION_QUANTILE
from perfmodel.models.simulated import DEFAULT_DRAWS, simulate_draws
from perfmodel.results.result import Result, StepResult
from perfmodel.results.store import measured_scenario
from perfmodel.specs.catalog import load_device, load_policy
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import SHMEM_ENTRY
from perfmodel.specs.scenario import Scenario

ALL_STEPS = "all steps"
_LOW, _HIGH = 0.05, 0.95
_SEED = 1
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
_CAME_BACK = ("pswpin", "swpin_zero")


@attrs.frozen
class ValidationRun:
    """One step of one arm in one run, predicted and measured, for the whole region.

    Parameters
    ----------
    run : int
        Number of the measuring run.
    scenario, device, entry, step : str
        The step ``all steps`` is the whole arm.
    regions : int
    predicted_ns : float
    interval_ns : tuple of float
        90 %: prices, drift of a run, and what constant prices miss.
    measured_ns : float
    noise_floor : float
        Median error of the other runs as predictors of this one; of one run alone, the difference
        between its even and its odd repetitions.
    run_drift : float
        How much slower than predicted the arms are that the fit has seen and that were measured
        side by side with this one; 0 where there are none.
    held_out : bool
    stands_in : bool
        Whether what is measured is what is predicted, and not a memfd's own way in and out.
    comes_back : bool
        Whether the step brings memory back from swap.
    different_counters : tuple of str
    """

    run: int
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
    stands_in: bool
    comes_back: bool
    different_counters: tuple[str, ...]
    run_drift: float = 0.0

    @property
    def relative_error(self) -> float:
        """Predicted over measured, minus 1."""
        return self.predicted_ns / self.measured_ns - 1

    @property
    def error_beside_seen(self) -> float:
        """The same with the run's own drift taken out of what was measured."""
        return self.predicted_ns * (1 + self.run_drift) / self.measured_ns - 1

    @property
    def inside_interval(self) -> bool:
        """Whether the measured time lies in the predicted interval."""
        return self.interval_ns[0] <= self.measured_ns <= self.interval_ns[1]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What other runs of the same have in common."""
        return self.scenario, self.device, self.entry, self.step

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "run": self.run,
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
            "run_drift": round(self.run_drift, 4),
            "error_beside_seen": round(self.error_beside_seen, 4),
            "inside_interval": self.inside_interval,
            "held_out": self.held_out,
            "stands_in": self.stands_in,
            "counters_equal": not self.different_counters,
            "different_counters": list(self.different_counters),
        }


def summarise(runs: Sequence[ValidationRun]) -> dict[str, Any]:
    """Worst and median error and noise floor, and how often the interval held."""
    if not runs:
        empty = dict.fromkeys(("max_abs_error", "median_abs_error", "coverage"))
        return {"count": 0, **empty}

    def sizes(numbers: list[float]) -> tuple[float, float]:
        absolute = np.abs(numbers)
        return round(float(absolute.max()), 4), round(float(np.median(absolute)), 4)

    worst, median = sizes([run.relative_error for run in runs])
    worst_beside, median_beside = sizes([run.error_beside_seen for run in runs])
    worst_noise, median_noise = sizes([run.noise_floor for run in runs])
    return {
        "count": len(runs),
        "max_abs_error": worst,
        "median_abs_error": median,
        "max_noise_floor": worst_noise,
        "median_noise_floor": median_noise,
        "max_abs_error_beside_seen": worst_beside,
        "median_abs_error_beside_seen": median_beside,
        "coverage": round(float(np.mean([run.inside_interval for run in runs])), 4),
    }


@attrs.frozen
class Validation:
    """All validated steps of a machine, and all arms as a whole."""

    machine: str
    runs: tuple[ValidationRun, ...]
    arms: tuple[ValidationRun, ...]

    def held_out(self) -> list[ValidationRun]:
        """Steps that no fit has seen."""
        return [run for run in self.runs if run.held_out]

    def groups(self) -> dict[str, list[ValidationRun]]:
        """What is summarised, all of it held out."""
        steps = self.held_out()
        return {
            "steps": steps,
            "steps that bring memory back": [run for run in steps if run.comes_back],
            "shmem-pmd brought back": [
                run for run in steps if run.comes_back and run.entry == SHMEM_ENTRY
            ],
            "scenario and entry pairs, all steps together": [
                run for run in self.arms if run.held_out
            ],
            "the same without memfds, whose own way in and out nothing predicts": [
                run for run in self.arms if run.held_out and run.stands_in
            ],
        }

    def summary(self) -> dict[str, Any]:
        """Median and worst error, and how often the interval held, over what no fit has seen."""
        over_steps = summarise(self.held_out())
        return {
            "held_out": over_steps["count"],
            "median_abs_error": over_steps["median_abs_error"],
            "max_abs_error": over_steps["max_abs_error"],
            "coverage": over_steps["coverage"],
            "counters_equal": all(not run.different_counters for run in self.runs),
            "groups": {name: summarise(runs) for name, runs in self.groups().items()},
        }

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "machine": self.machine,
            "runs": [run.to_json() for run in self.runs],
            "arms": [run.to_json() for run in self.arms],
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


def even_against_odd(repetitions: Sequence[float]) -> float:
    """Relative difference of the location between the even and the odd repetitions."""
    even = float(np.quantile(repetitions[::2], LOCATION_QUANTILE))
    odd = float(np.quantile(repetitions[1::2], LOCATION_QUANTILE))
    return abs(even - odd) / min(even, odd)


@attrs.frozen(eq=False)
class _Predicted:
    """An arm of the model, with the draws behind its intervals."""

    result: Result
    elapsed: np.ndarray[Any, Any]

    def interval(self, index: int | None) -> tuple[float, float]:
        drawn = self.elapsed[1:].sum(axis=1) if index is None else self.elapsed[1:, index]
        low, high = np.quantile(drawn / PICOSECONDS_PER_NANOSECOND, [_LOW, _HIGH])
        return round(float(low), 3), round(float(high), 3)


def _predict(scenario: Scenario, machine: Machine, device: SwapDevice, entry: str) -> _Predicted:
    modelled = "pmd" if entry == SHMEM_ENTRY else entry
    elapsed, result = simulate_draws(
        scenario,
        machine,
        device,
        load_policy(modelled),
        entry=modelled,
        seed=_SEED,
        draws=DEFAULT_DRAWS,
        with_model_error=True,
    )
    return _Predicted(result, elapsed)


def judge(
    machine: Machine, measured: Sequence[Sequence[Result]], device: SwapDevice | None = None
) -> Validation:
    """Set predictions beside measurements.

    Parameters
    ----------
    machine : Machine
        What its fit has seen is not held out; of a machine without a fit everything is.
    measured : sequence of sequence of Result
        Results of each run.
    device : SwapDevice, optional
        The device behind all results; without it each one's own, as the machine knows it.
    """
    seen = {(arm.scenario, arm.entry) for arm in machine.fit.arms} if machine.fit else set()
    fitted_devices = set(machine.devices) if machine.fit else set()
    known: dict[tuple[str, str, str], tuple[Scenario, _Predicted]] = {}
    runs: list[ValidationRun] = []
    arms: list[ValidationRun] = []
    for number, run in enumerate(measured):
        for result in run:
            scenario = measured_scenario(result)
            name = (result.scenario, result.device, result.entry)
            if name not in known or not known[name][0].does_the_same_as(scenario):
                used = load_device(result.device, machine) if device is None else device
                known[name] = scenario, _predict(scenario, machine, used, result.entry)
            predicted = known[name][1]
            held_out = name[::2] not in seen or result.device not in fitted_devices
            row = _judge_arm(number, result, predicted, held_out=held_out)
            runs += row[:-1]
            arms.append(row[-1])
    return Validation(machine.name, _beside_others(runs), _beside_others(arms))


def _judge_arm(
    number: int, result: Result, predicted: _Predicted, *, held_out: bool
) -> list[ValidationRun]:
    """Every step of an arm, and last the whole of it."""
    rows = []
    memfd = result.entry == SHMEM_ENTRY
    for index, (before, after) in enumerate(zip(predicted.result.steps, result.steps, strict=True)):
        comes_back = any(before.counters.get(counter, 0) for counter in _CAME_BACK)
        rows.append(
            ValidationRun(
                run=number,
                scenario=result.scenario,
                device=result.device,
                entry=result.entry,
                step=after.name,
                regions=result.regions,
                predicted_ns=before.elapsed_ns,
                interval_ns=predicted.interval(index),
                measured_ns=after.elapsed_ns,
                noise_floor=even_against_odd(after.repetitions_ns),
                held_out=held_out,
                stands_in=comes_back or not memfd,
                comes_back=comes_back,
                different_counters=different_counters(before, after, result.entry),
            )
        )
    turns = np.sum([step.repetitions_ns for step in result.steps], axis=0)
    rows.append(
        attrs.evolve(
            rows[0],
            step=ALL_STEPS,
            predicted_ns=sum(row.predicted_ns for row in rows),
            interval_ns=predicted.interval(None),
            measured_ns=sum(row.measured_ns for row in rows),
            noise_floor=even_against_odd(turns),
            stands_in=not memfd,
            comes_back=False,
            different_counters=tuple(name for row in rows for name in row.different_counters),
        )
    )
    return rows


def _beside_others(runs: Sequence[ValidationRun]) -> tuple[ValidationRun, ...]:
    """The rows with what other runs of the same, and other arms of the same run, say."""
    times: dict[tuple[str, str, str, str], list[tuple[int, float]]] = {}
    for run in runs:
        times.setdefault(run.key, []).append((run.run, run.measured_ns))
    drifts: dict[int, list[float]] = {}
    for run in runs:
        if not run.held_out:
            drifts.setdefault(run.run, []).append(np.log(run.measured_ns / run.predicted_ns))
    shared = {number: float(np.expm1(np.median(logs))) for number, logs in drifts.items()}
    found = []
    for run in runs:
        others = [time for number, time in times[run.key] if number != run.run]
        floor = run.noise_floor
        if others:
            floor = float(np.median([abs(time / run.measured_ns - 1) for time in others]))
        found.append(attrs.evolve(run, noise_floor=floor, run_drift=shared.get(run.run, 0.0)))
    return tuple(found)
