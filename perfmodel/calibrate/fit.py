"""Fits the prices of events to measured times.

The engine says how many events of each kind a step has, so time is linear in the prices, and the
fit is a weighted least-squares problem with the published or assumed prices as a prior. What the
measurements cannot tell apart stays as uncertain, and as correlated, as it is.
"""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt
from scipy.optimize import lsq_linear

from perfmodel.abi import event_quantities, events_of
from perfmodel.constants import Event
from perfmodel.errors import InputError, Problem
from perfmodel.models.prices import price_name
from perfmodel.models.simulated import count_events
from perfmodel.results.result import Result
from perfmodel.results.store import measured_scenario
from perfmodel.specs.catalog import load_policy, load_scenario
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.scenario import PageContent

LOCATION_QUANTILE = 0.25
# How well a sum of constant prices can describe a kernel at all (assumed; the fit checks it by its
# chi-square and widens the covariance where it was too hopeful).
_MODEL_ERROR = 0.03
# Quantiles of separate runs on shared machines drift by about a tenth. What few runs show by chance
# is averaged with this assumption, which counts as much as two runs more.
_ASSUMED_RUN_TO_RUN = 0.10
_ASSUMED_RUNS = 2
_BOOTSTRAP_DRAWS = 200
_Floats = npt.NDArray[np.float64]


@attrs.frozen
class Observation:
    """Time of one step of one arm, in nanoseconds per 2 MiB, over all runs that have it."""

    scenario: str
    entry: str
    step: str
    value: float
    standard_error: float
    by_run: tuple[float, ...]
    events: _Floats = attrs.field(eq=False)


@attrs.frozen
class Fit:
    """Outcome of a fit.

    Parameters
    ----------
    names : tuple of str
        Full names of the prices.
    values, spreads : float arrays, shape (parameters,), ns
    correlation : float array, shape (parameters, parameters)
    chi_square, degrees_of_freedom : float
        Of the observations alone.
    run_to_run, run_to_run_measured : float, bool
        Relative spread between runs, and whether more than one run told it.
    residuals : dict
        (scenario, entry, step) to predicted over measured, minus 1.
    warnings : tuple of str
        Why the fit should not be trusted blindly.
    """

    names: tuple[str, ...]
    events: tuple[Event, ...]
    values: _Floats = attrs.field(eq=False)
    spreads: _Floats = attrs.field(eq=False)
    correlation: _Floats = attrs.field(eq=False)
    chi_square: float
    degrees_of_freedom: float
    run_to_run: float
    run_to_run_measured: bool
    residuals: dict[tuple[str, str, str], float]
    warnings: tuple[str, ...]


def _standard_error(repetitions: _Floats, generator: np.random.Generator) -> float:
    draws = generator.choice(repetitions, (_BOOTSTRAP_DRAWS, len(repetitions)))
    return float(np.quantile(draws, LOCATION_QUANTILE, axis=1).std())


def _factors(machine: Machine, device: SwapDevice, content: PageContent) -> _Floats:
    """Price of every event for one content over that for half-random pages."""
    prices, reference = (
        np.array([quantity.value for quantity in event_quantities(machine, device, held)])
        for held in (content, PageContent.HALF_RANDOM)
    )
    factors: _Floats = np.ones_like(prices)
    np.divide(prices, reference, out=factors, where=reference > 0)
    return factors


def observe(
    runs: list[list[Result]],
    arms: list[tuple[str, str]],
    machine: Machine,
    device: SwapDevice,
) -> list[Observation]:
    """Observations of the given arms from several runs, with the events of each.

    Parameters
    ----------
    runs : list of list of Result
        Results of each measuring run.
    arms : list of (scenario name, entry)
    machine : Machine
        Its TLBs decide how many walks there are.
    device : SwapDevice
        Its kind decides what is read ahead and cached.
    """
    generator = np.random.Generator(np.random.Philox(0))
    observations = []
    for name, entry in arms:
        scenario = load_scenario(name)
        policy = load_policy("pmd" if entry.endswith("pmd") else entry)
        counts = count_events(scenario, machine, policy, device.kind, range(1, 2)).counts
        # A page of another content counts as so many half-random ones as its price says.
        events = events_of(counts) * _factors(machine, device, scenario.region.content)
        found = [r for run in runs for r in run if (r.scenario, r.entry) == (name, entry)]
        if not found:
            raise InputError(Problem(f"has no measurement of {name} with {entry}", key="evidence"))
        for result in found:
            if not measured_scenario(result).does_the_same_as(scenario):
                message = f"was measured with another version of scenario {name}; measure again"
                raise InputError(Problem(message, key="evidence"))
        for index, step in enumerate(scenario.steps):
            values, errors = [], []
            for result in found:
                times = np.array(result.steps[index].repetitions_ns) / result.regions
                values.append(float(np.quantile(times, LOCATION_QUANTILE)))
                errors.append(_standard_error(times, generator))
            observations.append(
                Observation(
                    scenario=name,
                    entry=entry,
                    step=step.name,
                    value=float(np.exp(np.mean(np.log(values)))),
                    standard_error=float(np.sqrt(np.mean(np.square(errors)) / len(errors))),
                    by_run=tuple(values),
                    events=events[0, index] / scenario.region.count,
                )
            )
    return observations


def _run_to_run(observations: list[Observation]) -> tuple[float, bool]:
    """Relative spread between runs, and whether more than one run told it."""
    runs = min(len(observation.by_run) for observation in observations)
    if runs < 2:
        return _ASSUMED_RUN_TO_RUN, False
    logs = np.array([np.log(observation.by_run[:runs]) for observation in observations])
    shown = float(logs.var(axis=1, ddof=1).mean())
    weighted = _ASSUMED_RUNS * _ASSUMED_RUN_TO_RUN**2 + (runs - 1) * shown
    return float(np.sqrt(weighted / (_ASSUMED_RUNS + runs - 1))), True


def fit(observations: list[Observation], machine: Machine, device: SwapDevice) -> Fit:
    """Find the prices that explain the observations, starting from the machine's as a prior.

    Parameters
    ----------
    observations : list of Observation
    machine, device : Machine, SwapDevice
        Prior: best value and spread of every price.

    Returns
    -------
    Fit
    """
    counts = np.array([observation.events for observation in observations])
    quantities = event_quantities(machine, device)
    used = [event for event in Event if counts[:, event].any() and quantities[event].spread > 0]
    prior = np.array([quantities[event].value for event in used])
    prior_spread = np.array([quantities[event].spread for event in used])
    fixed = [event for event in Event if event not in used]
    offset = counts[:, fixed] @ np.array([quantities[event].value for event in fixed])
    measured = np.array([observation.value for observation in observations]) - offset
    errors = np.array(
        [
            np.hypot(observation.standard_error, _MODEL_ERROR * observation.value)
            for observation in observations
        ]
    )
    # In units of the prior's spreads, so that all columns have the same scale.
    design = counts[:, used] * prior_spread / errors[:, None]
    stacked = np.vstack([design, np.eye(len(used))])
    target = np.concatenate([(measured - counts[:, used] @ prior) / errors, np.zeros(len(used))])
    solution = lsq_linear(stacked, target, bounds=(-prior / prior_spread, np.inf), method="bvls")
    values = prior + prior_spread * solution.x
    information = stacked.T @ stacked
    inverse = np.linalg.inv(information)
    residual = design @ solution.x - target[: len(measured)]
    chi_square = float(residual @ residual)
    effective = float(np.trace(design @ inverse @ design.T))
    freedom = max(len(measured) - effective, 1.0)
    covariance = inverse * max(1.0, chi_square / freedom)
    scaled = np.sqrt(np.diag(covariance))
    spreads = scaled * prior_spread
    correlation = covariance / np.outer(scaled, scaled)
    run_to_run, run_to_run_measured = _run_to_run(observations)
    names = tuple(price_name(event, device) for event in used)
    relative = {
        (o.scenario, o.entry, o.step): float(r * e / o.value)
        for o, r, e in zip(observations, residual, errors, strict=True)
    }
    return Fit(
        names=names,
        events=tuple(used),
        values=values,
        spreads=spreads,
        correlation=correlation,
        chi_square=chi_square,
        degrees_of_freedom=freedom,
        run_to_run=run_to_run,
        run_to_run_measured=run_to_run_measured,
        residuals=relative,
        warnings=_warnings(
            names, values, spreads, prior_spread, correlation, relative, chi_square / freedom
        ),
    )


def _warnings(
    names: tuple[str, ...],
    values: _Floats,
    spreads: _Floats,
    prior_spread: _Floats,
    correlation: _Floats,
    residuals: dict[tuple[str, str, str], float],
    reduced: float,
) -> tuple[str, ...]:
    """Why the fit should not be trusted blindly, in words."""
    warnings = [
        f"{name} is at its bound of 0" for name, v in zip(names, values, strict=True) if v <= 0
    ]
    unknown = [name for name, s, p in zip(names, spreads, prior_spread, strict=True) if s > 0.9 * p]
    if unknown:
        warnings.append(f"the data say next to nothing about {', '.join(unknown)}")
    for first in range(len(names)):
        warnings.extend(
            f"{names[second]} and {names[first]} cannot be told apart"
            for second in range(first)
            if abs(correlation[first, second]) > 0.95
        )
    if reduced > 2:
        warnings.append(
            f"chi-square per degree of freedom is {reduced:.1f}: the model misses something"
        )
    worst = max(residuals, key=lambda key: abs(residuals[key]))
    if abs(residuals[worst]) > 0.1:
        warnings.append(f"{' '.join(worst)} is missed by {residuals[worst]:+.0%}")
    return tuple(warnings)
