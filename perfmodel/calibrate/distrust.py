"""Why a fit should not be trusted blindly, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from perfmodel.calibrate.observations import Observation, Observations
from perfmodel.specs.policy import mthp_order
from perfmodel.specs.problem import FitProblem

if TYPE_CHECKING:
    from perfmodel.calibrate.fit import Fit

_Floats = npt.NDArray[np.float64]
_NOTHING_LEARNT = 0.9  # of the prior's spread is left
_ONE_AND_THE_SAME = 0.95
_FEW_DEGREES = 5.0
_CONSPICUOUS = 2.6  # 1 % two-sided
_DISTURBED = 0.5
_MISSED = 0.1


def reasons(
    fit: Fit,
    observations: Observations,
    prior: _Floats,
    prior_spread: _Floats,
    problem: FitProblem,
) -> tuple[str, ...]:
    """Reasons for distrust, the gravest first; an empty tuple if there are none."""
    return (
        *observations.missing,
        *_bounds(fit, problem),
        *_too_few(fit, observations),
        *_learnt_nothing(fit, prior, prior_spread),
        *_correlated(fit),
        *_left_over(fit),
        *_structure(fit, observations.members),
    )


def _bounds(fit: Fit, problem: FitProblem) -> Iterator[str]:
    for name, value in zip(fit.names, fit.values, strict=True):
        short = "device." + name.rpartition(".")[2] if name.startswith("devices.") else name
        limits = problem.limits_of(short)
        if value <= limits.lower_ns:
            yield f"{name} is at its bound of {limits.lower_ns:g}"
        elif value >= limits.upper_ns:
            yield f"{name} is at its bound of {limits.upper_ns:g}"


def _too_few(fit: Fit, observations: Observations) -> Iterator[str]:
    count = len(observations.members)
    if fit.degrees_of_freedom < _FEW_DEGREES:
        yield (
            f"too few data: {count} observations leave {fit.degrees_of_freedom:.1f} degrees of "
            f"freedom for {len(fit.names)} prices"
        )
    if not fit.run_to_run_measured:
        yield "too few data: one run alone cannot tell how far runs drift apart"


def _learnt_nothing(fit: Fit, prior: _Floats, prior_spread: _Floats) -> Iterator[str]:
    share = fit.spreads / prior_spread
    moved = np.abs(fit.values - prior) / prior_spread
    untold = [name for name, left in zip(fit.names, share, strict=True) if left > _NOTHING_LEARNT]
    if untold:
        yield f"the data say next to nothing about {', '.join(untold)}"
    still = [
        name
        for name, left, distance in zip(fit.names, share, moved, strict=True)
        if left <= _NOTHING_LEARNT and distance < 1e-3
    ]
    if still:
        yield f"still at the start, though there are data: {', '.join(still)}"


def _correlated(fit: Fit) -> Iterator[str]:
    for first in range(len(fit.names)):
        for second in range(first):
            if abs(fit.correlation[first, second]) > _ONE_AND_THE_SAME:
                yield f"{fit.names[second]} and {fit.names[first]} cannot be told apart"


def _left_over(fit: Fit) -> Iterator[str]:
    reduced = fit.chi_square / fit.degrees_of_freedom
    if reduced > 2:
        yield f"chi-square per degree of freedom is {reduced:.1f}: the model misses something"
    worst = max(fit.residuals, key=lambda key: abs(fit.residuals[key]))
    if abs(fit.residuals[worst]) > _MISSED:
        yield f"{' '.join(worst)} is missed by {fit.residuals[worst]:+.0%}"
    disturbed = [" ".join(key) for key, weight in fit.weights.items() if weight < _DISTURBED]
    if disturbed:
        yield f"far off, and counted for less than half: {', '.join(disturbed)}"


def pages_per_fault(entry: str) -> int:
    """Pages that one fault of an entry brings back at most."""
    if entry.startswith("mthp-"):
        return 1 << mthp_order(entry)
    return 512 if entry.endswith("pmd") else 1


def _structure(fit: Fit, members: tuple[Observation, ...]) -> Iterator[str]:
    """Residuals that go with the kind of step, its content or the entry's size."""
    residuals = np.array([fit.residuals[member.key] for member in members])
    spread = float(np.std(residuals))
    # Below this nobody would care, however regular it is.
    if spread < 0.005:
        return
    groups: dict[str, list[int]] = {}
    for index, member in enumerate(members):
        groups.setdefault(f"step {member.step}", []).append(index)
        groups.setdefault(f"{member.content} pages", []).append(index)
    for name, rows in groups.items():
        if 4 <= len(rows) < len(members):
            mean = float(residuals[rows].mean())
            if abs(mean) * np.sqrt(len(rows)) > _CONSPICUOUS * spread:
                yield f"residuals have structure: {name} is predicted {mean:+.1%} off throughout"
    for step in dict.fromkeys(member.step for member in members):
        rows = [index for index, member in enumerate(members) if member.step == step]
        sizes = np.log2([pages_per_fault(members[index].entry) for index in rows])
        if len(rows) >= 5 and np.ptp(sizes) > 0 and np.std(residuals[rows]) > 0:
            related = float(np.corrcoef(sizes, residuals[rows])[0, 1])
            t = related * np.sqrt((len(rows) - 2) / max(1 - related**2, 1e-9))
            if abs(t) > 4.0:
                word = "more" if t > 0 else "less"
                yield (
                    f"residuals have structure: the larger the entry, the {word} is predicted for "
                    f"step {step}"
                )
    signs = residuals[np.argsort([pages_per_fault(m.entry) for m in members], kind="stable")] > 0
    runs_of_signs = 1 + int(np.sum(signs[1:] != signs[:-1]))
    above, below = int(signs.sum()), int((~signs).sum())
    if min(above, below) >= 4:
        total = above + below
        expected = 1 + 2 * above * below / total
        variance = (expected - 1) * (expected - 2) / (total - 1)
        if (runs_of_signs - expected) / np.sqrt(variance) < -_CONSPICUOUS:
            yield (
                f"residuals have structure: {runs_of_signs} runs of one sign in the order of the "
                f"entries' sizes, where chance makes {expected:.0f}"
            )
