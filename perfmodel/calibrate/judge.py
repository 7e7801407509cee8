"""Judges predictions by measurements: errors, intervals, counters, and how far runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from perfmodel.calibrate.observations import at_reference
from perfmodel.constants import PICOSECONDS_PER_NANOSECOND
from perfmodel.measure.run import LOCATION_QUANTILE
from perfmodel.models.prices import common_factors
from perfmodel.models.simulated import DEFAULT_DRAWS, simulate_draws
from perfmodel.results.result import Result, StepResult
from perfmodel.results.store import measured_scenario
from perfmodel.specs.catalog import load_device, load_policy
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import FitRecord, Machine
from perfmodel.specs.policy import SHMEM_ENTRY
from perfmodel.specs.problem import OTHER_ACTIONS
from perfmodel.specs.quantity import How, Quantity
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.step import StepAction

ALL_STEPS = "all steps"
_LOW, _HIGH = 0.05, 0.95
# A fill by base pages takes twice as long as one by THPs.
_HELD_UP = 3.0
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
        How much slower than at the fit the machine was: by the fit's reference loop, which ran
        beside every repetition. Where it did not, how much slower than predicted the arms are that
        the fit has seen and that were measured side by side with this one; 0 where there are none.
    beside_reference : bool
        Whether the reference loop says it.
    interval_beside_ns : tuple of float
        As `interval_ns`, but for a run that does not drift.
    noise_floor_beside : float
        As `noise_floor`, with the drift of each run taken out.
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
    beside_reference: bool = False
    interval_beside_ns: tuple[float, float] = (0.0, 0.0)
    noise_floor_beside: float = 0.0

    @property
    def relative_error(self) -> float:
        """Predicted over measured, minus 1."""
        return self.predicted_ns / self.measured_ns - 1

    @property
    def error_beside_seen(self) -> float:
        """The same with the run's own drift taken out of what was measured."""
        return self.predicted_ns / self.measured_beside_ns - 1

    @property
    def measured_beside_ns(self) -> float:
        """What would have been measured had the run not drifted."""
        return self.measured_ns / (1 + self.run_drift)

    @property
    def inside_beside(self) -> bool:
        """Whether that lies in the interval for a run that does not drift."""
        low, high = self.interval_beside_ns
        return low <= self.measured_beside_ns <= high

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
            "noise_floor_beside_seen": round(self.noise_floor_beside, 4),
            "interval_beside_seen_ns": list(self.interval_beside_ns),
            "inside_interval": self.inside_interval,
            "inside_interval_beside_seen": self.inside_beside,
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
    worst_floor, median_floor = sizes([run.noise_floor_beside for run in runs])
    worst_noise, median_noise = sizes([run.noise_floor for run in runs])
    return {
        "count": len(runs),
        "max_abs_error": worst,
        "median_abs_error": median,
        "max_noise_floor": worst_noise,
        "median_noise_floor": median_noise,
        "max_abs_error_beside_seen": worst_beside,
        "median_abs_error_beside_seen": median_beside,
        "max_noise_floor_beside_seen": worst_floor,
        "median_noise_floor_beside_seen": median_floor,
        "coverage_beside_seen": round(float(np.mean([run.inside_beside for run in runs])), 4),
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
            "the same without fills that the host held up": [
                run
                for run in self.arms
                if run.held_out and run.stands_in and (run.run, *run.key[:3]) not in self._held_up()
            ],
        }

    def _held_up(self) -> set[tuple[int, str, str, str]]:
        """Arms whose fill took far longer than fills of the same run do.

        Fills are the same work in all arms, but for the size of the folios. A guest that gives free
        memory back to its host gets it anew at the first touch, and only then.
        """
        fills: dict[int, list[ValidationRun]] = {}
        for run in self.runs:
            if run.step == "fill":
                fills.setdefault(run.run, []).append(run)
        return {
            (run.run, *run.key[:3])
            for rows in fills.values()
            for run in rows
            if run.measured_ns / run.regions
            > _HELD_UP * np.median([row.measured_ns / row.regions for row in rows])
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
    elapsed: np.ndarray[Any, Any]  # of every draw, with what measuring adds
    added_ns: tuple[float, ...]  # to each step
    drift_taken_out: np.ndarray[Any, Any]  # of every draw, by what runs beside

    def interval(self, index: int | None, *, drifts: bool = True) -> tuple[float, float]:
        elapsed = self.elapsed if drifts else self.elapsed / self.drift_taken_out[:, None]
        drawn = elapsed[1:].sum(axis=1) if index is None else elapsed[1:, index]
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
    drift = common_factors(machine, device, DEFAULT_DRAWS, _SEED)
    added = overheads_of(machine, scenario)
    generator = np.random.Generator(np.random.Philox([_SEED, len(added)]))
    # One draw for each kind of overhead, which all steps of that kind have in common.
    drawn = {name: generator.standard_normal(len(drift)) for name in dict.fromkeys(_OVERHEADS)}
    spread = np.array([drawn[step.action.value] for step in scenario.steps]).T
    spread[0] = 0.0
    values = np.array([quantity.value for quantity in added])
    spreads = np.array([quantity.spread for quantity in added])
    own = np.clip(values + spreads * spread, 0.0, None) * drift[:, None]
    return _Predicted(
        result,
        elapsed + own * PICOSECONDS_PER_NANOSECOND,
        tuple(values.tolist()),
        drift / _left_over(machine, drift),
    )


def _left_over(machine: Machine, drift: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | float:
    """What is left of the drift of every draw where a reference loop ran beside."""
    if machine.fit is None or machine.fit.run_to_run.value == 0:
        return 1.0
    return 1.0 + (drift - 1.0) * machine.fit.run_to_run_beside / machine.fit.run_to_run.value


_NOTHING = Quantity(0.0, 0.0, "ns", "nothing is known to be added", How.ASSUMED)
_OVERHEADS = [action.value for action in StepAction]


def overheads_of(machine: Machine, scenario: Scenario) -> list[Quantity]:
    """What measuring adds to every step, as the machine's fit found it."""
    known = machine.fit.overheads if machine.fit is not None else {}
    other = known.get(OTHER_ACTIONS, _NOTHING)
    return [known.get(step.action.value, other) for step in scenario.steps]


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
    seen = set()
    if machine.fit is not None:
        own = next(iter(machine.devices), "")
        seen = {(arm.scenario, arm.device or own, arm.entry) for arm in machine.fit.arms}
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
            row = _judge_arm(number, result, predicted, machine.fit, held_out=name not in seen)
            runs += row[:-1]
            arms.append(row[-1])
    return Validation(machine.name, _beside_others(runs), _beside_others(arms))


def _judge_arm(
    number: int, result: Result, predicted: _Predicted, fit: FitRecord | None, *, held_out: bool
) -> list[ValidationRun]:
    """Every step of an arm, and last the whole of it."""
    rows = []
    name, reference_ns = (fit.reference, fit.reference_ns) if fit is not None else ("", 0.0)
    has_reference = bool(name and result.reference(name))
    memfd = result.entry == SHMEM_ENTRY
    for index, (before, after) in enumerate(zip(predicted.result.steps, result.steps, strict=True)):
        comes_back = any(before.counters.get(counter, 0) for counter in _CAME_BACK)
        times = at_reference(result, after, name, reference_ns)
        at_fit = float(np.quantile(times, LOCATION_QUANTILE)) if has_reference else 0.0
        rows.append(
            ValidationRun(
                run=number,
                scenario=result.scenario,
                device=result.device,
                entry=result.entry,
                step=after.name,
                regions=result.regions,
                predicted_ns=before.elapsed_ns + predicted.added_ns[index],
                interval_ns=predicted.interval(index),
                interval_beside_ns=predicted.interval(index, drifts=False),
                run_drift=after.elapsed_ns / at_fit - 1 if has_reference else 0.0,
                beside_reference=has_reference,
                measured_ns=after.elapsed_ns,
                noise_floor=even_against_odd(after.repetitions_ns),
                noise_floor_beside=even_against_odd(times.tolist()),
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
            interval_beside_ns=predicted.interval(None, drifts=False),
            measured_ns=sum(row.measured_ns for row in rows),
            run_drift=sum(row.measured_ns for row in rows)
            / sum(row.measured_beside_ns for row in rows)
            - 1,
            noise_floor=even_against_odd(turns),
            noise_floor_beside=even_against_odd(
                np.sum(
                    [at_reference(result, step, name, reference_ns) for step in result.steps],
                    axis=0,
                ).tolist()
            ),
            stands_in=not memfd,
            comes_back=False,
            different_counters=tuple(name for row in rows for name in row.different_counters),
        )
    )
    return rows


def _beside_others(runs: Sequence[ValidationRun]) -> tuple[ValidationRun, ...]:
    """The rows with what other runs of the same, and other arms of the same run, say."""
    drifts: dict[int, list[float]] = {}
    for run in runs:
        if not run.held_out:
            drifts.setdefault(run.run, []).append(np.log(run.measured_ns / run.predicted_ns))
    shared = {number: float(np.expm1(np.median(logs))) for number, logs in drifts.items()}
    rows = [
        run if run.beside_reference else attrs.evolve(run, run_drift=shared.get(run.run, 0.0))
        for run in runs
    ]
    same: dict[tuple[str, str, str, str], list[ValidationRun]] = {}
    for run in rows:
        same.setdefault(run.key, []).append(run)
    found = []
    for run in rows:
        others = [other for other in same[run.key] if other.run != run.run]
        if others:
            run = attrs.evolve(
                run,
                noise_floor=_median_error([each.measured_ns for each in others], run.measured_ns),
                noise_floor_beside=_median_error(
                    [each.measured_beside_ns for each in others], run.measured_beside_ns
                ),
            )
        found.append(run)
    return tuple(found)


def _median_error(others: list[float], time: float) -> float:
    """Of other runs as predictors of this one."""
    return float(np.median([abs(other / time - 1) for other in others]))
