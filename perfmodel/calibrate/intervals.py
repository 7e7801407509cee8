"""How sure a fit is of its prices, without trust in its covariance.

Two ways that share no formula with it: the profile interval of a price (held anywhere inside, the
others can make up for it), which sees bounds and the loss; and the bootstrap, which draws the
repetitions anew, turn by turn, because what disturbs one arm disturbs its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import chi2

from perfmodel.calibrate.fit import Fitted, build_system, solve
from perfmodel.calibrate.observations import Observations, average, repetitions_of
from perfmodel.results.result import Result
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.problem import FitProblem

CONFIDENCE = 0.9
_Floats = npt.NDArray[np.float64]


def profile_intervals(fitted: Fitted, confidence: float = CONFIDENCE) -> tuple[_Floats, _Floats]:
    """Ends of the interval of every price, in nanoseconds.

    A price is inside as long as the best fit with it held there is not worse than the best one by
    more than chance allows, after the scale that the covariance has been widened by.

    Returns
    -------
    lower, upper : float arrays, shape (parameters,)
    """
    allowed = float(chi2.ppf(confidence, 1)) * fitted.scale
    system, best = fitted.system, fitted.solution
    # How far the quadratic goes, which the search starts from.
    reach = np.sqrt(allowed * np.diag(best.covariance(system)))

    def excess(index: int, price: float) -> float:
        held = solve(system, fitted.fit.model_error, held=(index, price))
        return held.objective - best.objective - allowed

    ends = []
    for side in (-1.0, 1.0):
        row = []
        for index, value in enumerate(best.values):
            bound = float(system.lower[index] if side < 0 else system.upper[index])
            step = max(float(reach[index]), 1e-9)
            far, inside = float(value), float(value)
            for stretch in (1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0):
                far = float(value) + side * stretch * step
                far = max(far, bound) if side < 0 else min(far, bound)
                if excess(index, far) > 0:
                    row.append(
                        float(
                            brentq(
                                lambda price, i=index: excess(i, price),
                                inside,
                                far,
                                xtol=1e-3 * step,
                            )
                        )
                    )
                    break
                inside = far
                if far == bound:
                    row.append(bound)
                    break
            else:
                row.append(far)
        ends.append(np.array(row))
    return ends[0], ends[1]


def bootstrap(
    observations: Observations,
    runs: Sequence[Sequence[Result]],
    problem: FitProblem,
    machine: Machine,
    device: SwapDevice,
    *,
    model_error: float,
    run_to_run: float,
    draws: int = 100,
    seed: int = 0,
) -> _Floats:
    """Prices fitted to repetitions that are drawn with replacement.

    All arms of a run get the same turns, so that what they had in common stays in common.

    Returns
    -------
    float array, shape (draws, parameters), ns
    """
    generator = np.random.Generator(np.random.Philox(seed))
    times = repetitions_of(runs, problem, observations.members)
    drawn = []
    for _ in range(draws):
        turns: dict[tuple[int, int], npt.NDArray[np.int64]] = {}
        resampled = []
        for by_run in times:
            taken = {}
            for run, repetitions in by_run.items():
                count = len(repetitions)
                chosen = turns.setdefault((run, count), generator.integers(0, count, count))
                taken[run] = repetitions[chosen]
            resampled.append(taken)
        again = average(observations, resampled, problem, len(runs), standard_errors=False)
        system = build_system(again, problem, machine, device, run_to_run)
        drawn.append(solve(system, model_error).values)
    return np.array(drawn)


@attrs.frozen
class BootstrapLine:
    """One price: its spread in the fit, and by the repetitions alone."""

    name: str
    value: float
    spread: float
    bootstrap_spread: float


def bootstrap_lines(fitted: Fitted, drawn: _Floats) -> list[BootstrapLine]:
    """Spreads of a bootstrap beside those of the fit."""
    spreads = drawn.std(axis=0, ddof=1)
    return [
        BootstrapLine(name, float(value), float(claimed), float(shown))
        for name, value, claimed, shown in zip(
            fitted.fit.names, fitted.fit.values, fitted.fit.spreads, spreads, strict=True
        )
    ]
