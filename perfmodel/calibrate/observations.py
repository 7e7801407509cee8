"""What a fit is given: times of steps over several runs, and the events behind each.

On machines that others share, noise only adds: a low quantile over the repetitions stands for a
step's time, and its standard error is bootstrapped. Runs drift apart with all their steps together;
that common part is taken out before the runs are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.abi import event_quantities, events_of
from perfmodel.errors import InputError, Problem
from perfmodel.measure.run import LOCATION_QUANTILE
from perfmodel.models.simulated import count_events
from perfmodel.results.result import Result, StepResult
from perfmodel.results.store import measured_scenario
from perfmodel.specs.catalog import load_device, load_policy, load_scenario
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import SHMEM_ENTRY
from perfmodel.specs.problem import FitProblem
from perfmodel.specs.scenario import PageContent, Scenario

_BOOTSTRAP_DRAWS = 200
_Floats = npt.NDArray[np.float64]


@attrs.frozen
class Observation:
    """Time of one step of one arm, in nanoseconds per 2 MiB, over all runs that have it.

    Parameters
    ----------
    scenario, entry, step : str
    action, content : str
        What the step does, and what the pages hold.
    value : float
        Mean over the runs, without their drift.
    standard_error : float
    by_run : tuple of (int, float)
        Number of each run that has it, and its time there.
    events : float array, shape (N_EVENTS,)
        Events per 2 MiB, those on pages of another content in units of half-random ones.
    device : str
        What it was measured on; empty for the problem's own.
    overhead : str
        Which of the problem's overheads the step has; empty for none.
    overhead_share : float
        Of the overhead that falls on one 2 MiB.
    """

    scenario: str
    entry: str
    step: str
    action: str
    content: str
    value: float
    standard_error: float
    by_run: tuple[tuple[int, float], ...]
    events: _Floats = attrs.field(eq=False)
    device: str = ""
    overhead: str = ""
    overhead_share: float = 0.0

    @property
    def key(self) -> tuple[str, str, str]:
        """Scenario, entry (with its device, if it is not the problem's own) and step."""
        return *self.arm, self.step

    @property
    def arm(self) -> tuple[str, str]:
        """Scenario and entry (with its device, if it is not the problem's own)."""
        return self.scenario, f"{self.entry} on {self.device}" if self.device else self.entry


@attrs.frozen
class Observations:
    """All observations of a fit.

    Parameters
    ----------
    members : tuple of Observation
    drifts : tuple of float
        Of each run, how much slower than the mean of all runs all its steps are (logarithm).
    missing : tuple of str
        What the problem asks for and no run has, in words.
    raw_drifts : tuple of float
        The same drifts before anything was divided by a reference loop; empty where nothing was.
    reference_ns : float
        Time of the reference loop whose speed all values are at; 0 if there is none.
    """

    members: tuple[Observation, ...]
    drifts: tuple[float, ...]
    missing: tuple[str, ...] = ()
    raw_drifts: tuple[float, ...] = ()
    reference_ns: float = 0.0

    def without(self, scenario: str, entry: str | None = None) -> Observations:
        """All but those of a scenario, or of one of its entries."""
        kept = tuple(
            member
            for member in self.members
            if member.scenario != scenario or entry not in (None, member.entry)
        )
        return attrs.evolve(self, members=kept)

    def arms(self) -> list[tuple[str, str]]:
        """Every arm once, in order."""
        return list(dict.fromkeys(member.arm for member in self.members))


@cache
def _drawn_ranks(count: int, quantile: float) -> tuple[npt.NDArray[np.int64], float]:
    """Ranks of the two repetitions that a quantile of a bootstrap draw lies between.

    Returns
    -------
    ranks : int64 array, shape (draws, 2)
    share : float
        Of the upper one.
    """
    generator = np.random.Generator(np.random.Philox(count))
    draws = np.sort(generator.integers(0, count, (_BOOTSTRAP_DRAWS, count)), axis=1)
    place = quantile * (count - 1)
    below = int(place)
    return draws[:, [below, min(below + 1, count - 1)]], place - below


def _standard_error(repetitions: _Floats, quantile: float) -> float:
    """Of a quantile over repetitions, by bootstrap."""
    ranks, share = _drawn_ranks(len(repetitions), quantile)
    between = np.sort(repetitions)[ranks]
    return float((between[:, 0] * (1 - share) + between[:, 1] * share).std())


def _factors(machine: Machine, device: SwapDevice, content: PageContent) -> _Floats:
    """Price of every event for one content over that for half-random pages."""
    prices, reference = (
        np.array([quantity.value for quantity in event_quantities(machine, device, held)])
        for held in (content, PageContent.HALF_RANDOM)
    )
    factors: _Floats = np.ones_like(prices)
    np.divide(prices, reference, out=factors, where=reference > 0)
    return factors


def events_per_2mib(
    scenario: Scenario, entry: str, machine: Machine, device: SwapDevice
) -> _Floats:
    """Events of every step per 2 MiB; shape (steps, N_EVENTS).

    A page of another content counts as so many half-random ones as its price says.
    """
    policy = load_policy("pmd" if entry == SHMEM_ENTRY else entry)
    counts = count_events(scenario, machine, policy, device.kind, range(1, 2)).counts
    factors = _factors(machine, device, scenario.region.content)
    events: _Floats = events_of(counts)[0] * factors / scenario.region.count
    return events


def observe(
    runs: Sequence[Sequence[Result]],
    problem: FitProblem,
    machine: Machine,
    device: SwapDevice,
) -> Observations:
    """Observations of a problem from several runs.

    Parameters
    ----------
    runs : sequence of sequence of Result
        Results of each measuring run.
    problem : FitProblem
    machine : Machine
        Its TLBs decide how many walks there are.
    device : SwapDevice
        The problem's own. Its kind decides what is read ahead and cached. Results of devices that
        the problem does not name play no part.

    Raises
    ------
    InputError
        If nothing that the problem asks for was measured, or not in the scenario as it is now.
    """
    cells = []
    missing = []
    for arms in problem.observations:
        scenario = load_scenario(arms.scenario)
        unknown = set(arms.steps) - {step.name for step in scenario.steps}
        if unknown:
            message = f"{arms.scenario} has no step {', '.join(sorted(unknown))}"
            raise InputError(Problem(message, key="observations"))
        other = arms.device if arms.device != problem.device else ""
        used = load_device(other) if other else device
        for entry in arms.entries:
            if not _is_measured(runs, other or problem.device, scenario, entry):
                where = other or problem.device
                missing.append(f"no run has {arms.scenario} with {entry} on {where}")
                continue
            events = events_per_2mib(scenario, entry, machine, used)
            cells += [
                Observation(
                    scenario=scenario.name,
                    entry=entry,
                    step=step.name,
                    action=step.action.value,
                    content=scenario.region.content.value,
                    value=0.0,
                    standard_error=0.0,
                    by_run=(),
                    events=events[index],
                    device=other,
                    overhead=problem.overhead_of(step.action.value),
                    overhead_share=1 / scenario.region.count,
                )
                for index, step in enumerate(scenario.steps)
                if not arms.steps or step.name in arms.steps
            ]
    if not cells:
        message = f"has nothing that the problem {problem.name} asks for: {'; '.join(missing)}"
        raise InputError(Problem(message, key="evidence"))
    observations = Observations(
        tuple(cells), (), tuple(missing), reference_ns=reference_of(runs, problem.reference)
    )
    times = repetitions_of(runs, problem, cells)
    if observations.reference_ns:
        raw = _located(repetitions_of(runs, problem, cells, divided=False), problem)
        drifts, _ = drifts_of(raw, len(runs))
        observations = attrs.evolve(observations, raw_drifts=tuple(map(float, drifts)))
    return average(observations, times, problem, len(runs))


def reference_of(runs: Sequence[Sequence[Result]], name: str) -> float:
    """How long a reference loop took beside several runs, in nanoseconds; 0 if none has it."""
    logs = []
    for run in runs:
        times = [time for result in run for time in result.reference(name)]
        if times:
            logs.append(np.log(np.quantile(times, LOCATION_QUANTILE)))
    return float(np.exp(np.mean(logs))) if logs else 0.0


def at_reference(result: Result, step: StepResult, name: str, reference_ns: float) -> _Floats:
    """Repetitions of a step as they were at the speed of a reference loop of this time."""
    times = np.array(step.repetitions_ns)
    beside = np.array(result.reference(name) if name and reference_ns else ())
    if len(beside) != len(times):
        return times
    slowed: _Floats = times * reference_ns / beside
    return slowed


def _is_measured(
    runs: Sequence[Sequence[Result]], device: str, scenario: Scenario, entry: str
) -> bool:
    found = [
        result
        for run in runs
        for result in run
        if (result.scenario, result.entry, result.device) == (scenario.name, entry, device)
    ]
    for result in found:
        if not measured_scenario(result).does_the_same_as(scenario):
            message = (
                f"was measured with another version of scenario {scenario.name}; measure again"
            )
            raise InputError(Problem(message, key="evidence"))
    return bool(found)


Times = list[dict[int, _Floats]]
"""For each observation the repetitions per 2 MiB, in nanoseconds, by the number of their run."""


def repetitions_of(
    runs: Sequence[Sequence[Result]],
    problem: FitProblem,
    members: Sequence[Observation],
    *,
    divided: bool = True,
) -> Times:
    """All repetitions of each observation; of an arm that a run has twice, the last one.

    As they were at the speed of the problem's reference loop, unless they shall not be `divided`.
    """
    name = problem.reference if divided else ""
    reference_ns = reference_of(runs, name)
    found: dict[tuple[str, str, str, str], dict[int, _Floats]] = {}
    for number, run in enumerate(runs):
        for result in run:
            for step in result.steps:
                times = at_reference(result, step, name, reference_ns) / result.regions
                key = (result.scenario, result.entry, result.device, step.name)
                found.setdefault(key, {})[number] = times
    return [
        found[member.scenario, member.entry, member.device or problem.device, member.step]
        for member in members
    ]


def _located(times: Times, problem: FitProblem) -> list[tuple[tuple[int, float], ...]]:
    """The location of each observation in every run."""
    quantile = problem.location_quantile
    return [
        tuple((run, float(np.quantile(taken, quantile))) for run, taken in by_run.items())
        for by_run in times
    ]


def average(
    observations: Observations,
    times: Times,
    problem: FitProblem,
    runs: int,
    *,
    standard_errors: bool = True,
    drifts: _Floats | None = None,
) -> Observations:
    """The observations with their values from these repetitions.

    Parameters
    ----------
    observations : Observations
    times : list of dict
        As `repetitions_of` returns them.
    problem : FitProblem
    runs : int
        Number of runs.
    standard_errors : bool
        Whether to find standard errors anew; without it they stay in proportion.
    drifts : float array, shape (runs,), optional
        Of each run, where more than these observations tells it.
    """
    quantile = problem.location_quantile
    located = _located(times, problem)
    shown, own = drifts_of(located, runs)
    drifts = shown if drifts is None else drifts
    members = []
    for member, by_run, places in zip(observations.members, times, located, strict=True):
        logs = np.array([np.log(place) - drifts[run] for run, place in places])
        value = float(np.exp(logs.mean()))
        if standard_errors:
            errors = [_standard_error(by_run[run], quantile) / place for run, place in places]
            # What a step shows from run to run beyond the drift, if that is more.
            relative = max(float(np.sqrt(np.mean(np.square(errors)))), own) / np.sqrt(len(places))
        else:
            relative = member.standard_error / member.value
        members.append(
            attrs.evolve(member, value=value, standard_error=value * relative, by_run=places)
        )
    return attrs.evolve(
        observations, members=tuple(members), drifts=tuple(float(drift) for drift in drifts)
    )


def drifts_of(cells: Sequence[Sequence[tuple[int, float]]], runs: int) -> tuple[_Floats, float]:
    """How far each run lies from the mean of all, with all its steps, and what is left of a step.

    Parameters
    ----------
    cells : sequence
        For each step the runs that have it, with their times.
    runs : int

    Returns
    -------
    drifts : float array, shape (runs,)
        Logarithms; their mean is 0 over the runs that have anything.
    own : float
        Standard deviation of the logarithm of one step in one run, without the drift.
    """
    rows = [(index, run, np.log(time)) for index, times in enumerate(cells) for run, time in times]
    seen = sorted({run for _, run, _ in rows})
    drifts = np.zeros(runs)
    if len(seen) < 2:
        return drifts, 0.0
    design = np.zeros((len(rows) + 1, len(cells) + runs))
    target = np.zeros(len(rows) + 1)
    for row, (index, run, log) in enumerate(rows):
        design[row, index] = design[row, len(cells) + run] = 1.0
        target[row] = log
    design[-1, len(cells) :] = 1.0
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    drifts[seen] = solution[len(cells) :][seen]
    drifts[seen] -= drifts[seen].mean()
    left = target[:-1] - (design @ solution)[:-1]
    freedom = len(rows) - len(cells) - len(seen) + 1
    return drifts, float(np.sqrt(left @ left / freedom)) if freedom > 0 else 0.0
