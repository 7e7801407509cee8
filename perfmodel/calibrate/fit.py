"""Fits the prices of events to measured times.

The engine says how many events of each kind a step has, so time is linear in the prices, and the
fit is a weighted least-squares problem with the published or assumed prices as a prior. What the
measurements cannot tell apart stays as uncertain, and as correlated, as it is.

A disturbed step must not move all prices: with Huber's loss a residual beyond `loss_scale` spreads
counts by its size instead of its square. That keeps the problem convex, so that there is one answer
wherever one starts; it is found by reweighting.

How far the sum of constant prices is from a step's time (the model error) comes from predictions of
arms that are left out. All runs together may still have been faster or slower than the machine
usually is: that uncertainty is common to all prices and stands in their covariance.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt
from scipy.optimize import lsq_linear, minimize_scalar

from perfmodel.abi import PRICES, event_quantities
from perfmodel.calibrate.distrust import reasons
from perfmodel.calibrate.observations import Observation, Observations
from perfmodel.constants import Event
from perfmodel.errors import InputError, Problem
from perfmodel.models.prices import price_name
from perfmodel.specs.catalog import load_device
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.problem import FitProblem, Limits, Loss
from perfmodel.specs.quantity import Quantity

OVERHEADS = "overheads"
_LEAST_MODEL_ERROR, _MOST_MODEL_ERROR = 0.01, 0.3
_MOST_ROUNDS = 100
_STANDSTILL = 1e-7
_Floats = npt.NDArray[np.float64]


@attrs.frozen
class Fit:
    """Outcome of a fit.

    Parameters
    ----------
    names : tuple of str
        Full names of the prices, and of what measuring adds.
    values, spreads : float arrays, shape (parameters,), ns
    correlation : float array, shape (parameters, parameters)
    chi_square, degrees_of_freedom : float
        Of the observations alone.
    run_to_run : float
        Relative spread between runs, all steps together.
    run_to_run_measured : bool
        Whether more than one run told it.
    run_to_run_beside : float
        The same of runs that are divided by the reference that ran beside them.
    model_error : float
        Relative spread of a step's time around the sum of its prices.
    residuals : dict
        (scenario, entry, step) to predicted over measured, minus 1.
    weights : dict
        The same keys, to the weight that the loss left to the observation: 1 if undisturbed.
    warnings : tuple of str
        Why the fit should not be trusted blindly.
    """

    names: tuple[str, ...]
    values: _Floats = attrs.field(eq=False)
    spreads: _Floats = attrs.field(eq=False)
    correlation: _Floats = attrs.field(eq=False)
    chi_square: float
    degrees_of_freedom: float
    run_to_run: float
    run_to_run_measured: bool
    model_error: float
    run_to_run_beside: float
    residuals: dict[tuple[str, str, str], float]
    weights: dict[tuple[str, str, str], float]
    warnings: tuple[str, ...]

    @property
    def events(self) -> tuple[Event, ...]:
        """The event of each price, in their order; what measuring adds has none."""
        known = {name: event for event, (name, _) in PRICES.items()}
        short = (
            f"device.{name.rpartition('.')[2]}" if name.startswith("devices.") else name
            for name in self.names
        )
        return tuple(known[name] for name in short if name in known)

    @property
    def covariance(self) -> _Floats:
        """Covariance of the prices, in square nanoseconds."""
        product: _Floats = self.correlation * np.outer(self.spreads, self.spreads)
        return product


@attrs.frozen(eq=False)
class System:
    """A fit as numbers: prior, bounds, observed events and times.

    The unknowns are distances from the prior in units of its spread.
    """

    names: tuple[str, ...]
    prior: _Floats
    prior_spread: _Floats
    lower: _Floats
    upper: _Floats
    design: _Floats  # events of the free prices, shape (observations, parameters)
    fixed: _Floats  # time of all other events, ns
    measured: _Floats  # ns
    standard_error: _Floats  # ns
    drift: float  # relative spread of the mean of the runs
    loss: Loss
    loss_scale: float

    def only(self, rows: npt.NDArray[np.bool_]) -> System:
        """The system with some of its observations."""
        return attrs.evolve(
            self,
            design=self.design[rows],
            fixed=self.fixed[rows],
            measured=self.measured[rows],
            standard_error=self.standard_error[rows],
        )

    def predict(self, values: _Floats) -> _Floats:
        """Time of every observation at these prices, ns."""
        times: _Floats = self.design @ values + self.fixed
        return times


@attrs.frozen(eq=False)
class Solution:
    """The best unknowns of a system, for one size of the model error."""

    unknowns: _Floats
    values: _Floats  # prices, ns
    residual: _Floats  # in their spreads
    weights: _Floats
    objective: float  # of the loss and the prior
    information: _Floats  # of all unknowns

    def covariance(self, system: System) -> _Floats:
        """Of the prices, in square nanoseconds, without any scale."""
        inverse = np.linalg.inv(self.information)
        product: _Floats = inverse * np.outer(system.prior_spread, system.prior_spread)
        return product


def free_events(problem: FitProblem) -> dict[Event, str]:
    """The event that each free price of a problem belongs to, in the order of the events."""
    known = {name: event for event, (name, _) in PRICES.items()}
    unknown = [name for name in (*problem.free, *problem.follows) if name not in known]
    if unknown:
        message = f"{', '.join(unknown)}: no event has this price; known are {', '.join(known)}"
        raise InputError(Problem(message, file=problem.name, key="free"))
    return {known[name]: name for name in sorted(problem.free, key=lambda name: known[name])}


def build_system(
    observations: Observations,
    problem: FitProblem,
    machine: Machine,
    device: SwapDevice,
    drift: float,
) -> System:
    """The system of a problem: `machine` and `device` are its prior."""
    members = observations.members
    counts = np.array([member.events for member in members])
    devices = devices_of(observations, device)
    owner = np.array([list(devices).index(member.device) for member in members])
    prices = np.array(
        [[quantity.value for quantity in event_quantities(machine, d)] for d in devices.values()]
    )
    columns: list[tuple[str, Quantity, Limits, _Floats]] = []
    fixed = counts.copy()
    for event, name in free_events(problem).items():
        limits = problem.limits_of(name)
        shared = not name.startswith("device.")
        for index, used in enumerate([device] if shared else devices.values()):
            mine = np.ones(len(members), dtype=bool) if shared else owner == index
            prior = limits.prior or event_quantities(machine, used)[event]
            column = np.where(mine, counts[:, event], 0.0)
            if column.any() and prior.spread > 0:
                columns.append((price_name(event, used), prior, limits, column))
                fixed[mine, event] = 0.0
    for name, overhead in problem.overheads.items():
        column = np.array(
            [member.overhead_share if member.overhead == name else 0.0 for member in members]
        )
        if column.any():
            columns.append((f"{OVERHEADS}.{name}", overhead, Limits(), column))
    if not columns:
        raise InputError(Problem("has no free price that an observation tells", key="free"))
    names, priors, limited, design = zip(*columns, strict=True)
    runs = max(len({run for member in members for run, _ in member.by_run}), 1)
    return System(
        names=names,
        prior=np.array([prior.value for prior in priors]),
        prior_spread=np.array([prior.spread for prior in priors]),
        lower=np.array([limits.lower_ns for limits in limited]),
        upper=np.array([limits.upper_ns for limits in limited]),
        design=np.array(design).T,
        fixed=np.einsum("oe,oe->o", fixed, prices[owner]),
        measured=np.array([member.value for member in members]),
        standard_error=np.array([member.standard_error for member in members]),
        drift=drift / np.sqrt(runs),
        loss=problem.loss,
        loss_scale=problem.loss_scale,
    )


def devices_of(observations: Observations, device: SwapDevice) -> dict[str, SwapDevice]:
    """The devices behind some observations, by their name there; the problem's own first."""
    others = dict.fromkeys(member.device for member in observations.members if member.device)
    return {"": device} | {name: load_device(name) for name in others}


def solve(system: System, model_error: float, held: tuple[int, float] | None = None) -> Solution:
    """The prices with the least loss.

    Parameters
    ----------
    system : System
    model_error : float
        Relative error of the model for each step.
    held : (int, float), optional
        A parameter that is held at a price, in nanoseconds.
    """
    count = len(system.prior)
    errors = np.hypot(system.standard_error, model_error * system.measured)
    rows = system.design * system.prior_spread / errors[:, None]
    target = (system.measured - system.predict(system.prior)) / errors
    low = (system.lower - system.prior) / system.prior_spread
    high = (system.upper - system.prior) / system.prior_spread
    moving = np.arange(count)
    unknowns = np.zeros(count)
    if held is not None:
        index, price = held
        unknowns[index] = (price - system.prior[index]) / system.prior_spread[index]
        moving = np.delete(moving, index)
    wanted = target - rows @ unknowns
    weights = np.ones(len(target))
    free = rows[:, moving]
    for _ in range(_MOST_ROUNDS):
        weighted = weights[:, None] * free
        unknowns[moving] = _least_bounded(
            free.T @ weighted + np.eye(len(moving)), weighted.T @ wanted, low[moving], high[moving]
        )
        residual = rows @ unknowns - target
        if system.loss is Loss.LINEAR:
            break
        size = np.maximum(np.abs(residual), 1e-300)
        previous, weights = weights, np.minimum(1.0, system.loss_scale / size)
        if np.abs(weights - previous).max() < _STANDSTILL:
            break
    return Solution(
        unknowns=unknowns,
        values=system.prior + system.prior_spread * unknowns,
        residual=residual,
        weights=weights,
        objective=_loss(residual, system) + float(unknowns @ unknowns),
        information=rows.T @ (weights[:, None] * rows) + np.eye(count),
    )


def _least_bounded(matrix: _Floats, vector: _Floats, low: _Floats, high: _Floats) -> _Floats:
    """Where x A x / 2 - b x is least between bounds, for a positive definite A.

    Unknowns that leave their bounds are held there, and let go where that would lower the sum; in
    the few cases that this goes round in circles, scipy finds it.
    """
    found = np.clip(np.zeros(len(vector)), low, high)
    held = np.zeros(len(vector), dtype=bool)
    for _ in range(_MOST_ROUNDS):
        loose = ~held
        rest = vector[loose] - matrix[np.ix_(loose, held)] @ found[held]
        found[loose] = np.linalg.solve(matrix[np.ix_(loose, loose)], rest)
        outside = loose & ((found < low) | (found > high))
        found = np.clip(found, low, high)
        if outside.any():
            held |= outside
            continue
        slope = matrix @ found - vector
        released = held & np.where(found == low, slope < 0, slope > 0)
        if not released.any():
            return found
        held &= ~released
    root = np.linalg.cholesky(matrix)
    solved: _Floats = lsq_linear(
        root.T, np.linalg.solve(root, vector), bounds=(low, high), method="bvls"
    ).x
    return solved


def _loss(residual: _Floats, system: System) -> float:
    size = np.abs(residual)
    square = size**2
    if system.loss is Loss.HUBER:
        far = size > system.loss_scale
        square = np.where(far, system.loss_scale * (2 * size - system.loss_scale), square)
    return float(square.sum())


def _model_error(system: System, arms: list[tuple[str, str]], problem: FitProblem) -> float:
    """Relative error of the model for a step, from predictions of the arms that are left out.

    The most likely size, where the errors of a prediction are this size, what the prices leave
    open, and the observation's own; the problem's guess counts as so many arms more.
    """
    guess, weight = problem.model_error.value, problem.model_error_weight
    errors, known = [], []
    for arm in dict.fromkeys(arms):
        inside = np.array([other == arm for other in arms])
        if inside.all():
            break
        rest, left = system.only(~inside), system.only(inside)
        solution = solve(rest, guess)
        predicted = left.predict(solution.values)
        variance = np.einsum("oi,ij,oj->o", left.design, solution.covariance(rest), left.design)
        error = np.log(np.maximum(predicted, 1e-3) / left.measured)
        # Steps of one arm share what disturbed it, so that an arm counts once.
        errors.append((error, 1 / len(error)))
        known.append(
            variance / np.maximum(predicted, 1e-3) ** 2 + (left.standard_error / left.measured) ** 2
        )

    def unlikeliness(log_size: float) -> float:
        own = float(np.exp(2 * log_size))
        total = weight * (2 * log_size + guess**2 / own)
        for (error, share), variance in zip(errors, known, strict=True):
            # A normal distribution would let one disturbed step rule.
            scaled = np.minimum(error**2 / (variance + own), 9.0)
            total += share * float(np.sum(np.log(variance + own) + scaled))
        return total

    bounds = (np.log(_LEAST_MODEL_ERROR), np.log(_MOST_MODEL_ERROR))
    found = minimize_scalar(unlikeliness, bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def _run_to_run(
    observations: Observations, problem: FitProblem, drifts: Sequence[float]
) -> tuple[float, bool]:
    """Relative spread between runs that drift so, and whether more than one run told it."""
    seen = {run for member in observations.members for run, _ in member.by_run}
    guess, weight = problem.drift.value, problem.drift_weight
    if len(seen) < 2:
        return guess, False
    shown = sum(drifts[run] ** 2 for run in seen)
    return float(np.sqrt((weight * guess**2 + shown) / (weight + len(seen) - 1))), True


@attrs.frozen(eq=False)
class Fitted:
    """A fit with the system that it solved, for whoever looks closer."""

    fit: Fit
    system: System
    solution: Solution
    scale: float  # of the covariance


def fit_closely(
    observations: Observations, problem: FitProblem, machine: Machine, device: SwapDevice
) -> Fitted:
    """As `fit`, with the system and its solution."""
    members = observations.members
    # What is left of the drift beside a reference is what the prices are unsure of.
    left_over, run_to_run_measured = _run_to_run(observations, problem, observations.drifts)
    raw = observations.raw_drifts or observations.drifts
    run_to_run, _ = _run_to_run(observations, problem, raw)
    system = build_system(observations, problem, machine, device, left_over)
    model_error = _model_error(system, [member.arm for member in members], problem)
    solution = solve(system, model_error)
    weighted = np.sqrt(solution.weights) * solution.residual
    chi_square = float(weighted @ weighted)
    unscaled = solution.covariance(system)
    errors = np.hypot(system.standard_error, model_error * system.measured)
    scaled_design = np.sqrt(solution.weights)[:, None] * system.design / errors[:, None]
    effective = float(np.trace(scaled_design @ unscaled @ scaled_design.T))
    freedom = max(len(members) - effective, 1.0)
    # Only where the errors were too hopeful; the prior's own part is left as it is.
    scale = max(1.0, chi_square / freedom)
    covariance = unscaled * scale + system.drift**2 * np.outer(solution.values, solution.values)
    spreads = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(spreads, spreads)
    outcome = Fit(
        names=system.names,
        values=solution.values,
        spreads=spreads,
        correlation=correlation,
        chi_square=chi_square,
        degrees_of_freedom=freedom,
        run_to_run=run_to_run,
        run_to_run_measured=run_to_run_measured,
        model_error=model_error,
        run_to_run_beside=left_over,
        residuals=_by_key(members, system.predict(solution.values) / system.measured - 1),
        weights=_by_key(members, solution.weights),
        warnings=(),
    )
    said = reasons(outcome, observations, system.prior, system.prior_spread, problem)
    return Fitted(attrs.evolve(outcome, warnings=said), system, solution, scale)


def fit(
    observations: Observations, problem: FitProblem, machine: Machine, device: SwapDevice
) -> Fit:
    """Find the prices that explain the observations, starting from the machine's as a prior.

    Parameters
    ----------
    observations : Observations
    problem : FitProblem
    machine, device : Machine, SwapDevice
        Prior: best value and spread of every price.

    Returns
    -------
    Fit
    """
    return fit_closely(observations, problem, machine, device).fit


def _by_key(
    members: tuple[Observation, ...], numbers: _Floats
) -> dict[tuple[str, str, str], float]:
    return {member.key: float(number) for member, number in zip(members, numbers, strict=True)}
