"""At which value of an axis two entries cost the same, with its interval."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.errors import InputError, Problem
from perfmodel.specs.study import Pair, Study
from perfmodel.studies.cells import Calculator
from perfmodel.studies.crossing import interval, last_crossings
from perfmodel.studies.plan import Plan, ResolvedAxis, make_plan

Floats = npt.NDArray[np.float64]
# A stretch is halved until it is so narrow, or so often.
_NARROW = 1e-4
_ROUNDS = 14
_ROUNDS_OF_ENGINE = 4


@attrs.frozen
class BreakEvenPoint:
    """Where both entries of a pair cost the same.

    Parameters
    ----------
    others : dict
        Values of the other axes.
    pair : str
    at : float
        At the best prices. Infinite: nowhere on the axis, and the first entry costs more all along;
        minus infinity: nowhere, and it costs less.
    low, high : float
        90 % interval, both entries with the same draws.
    costs_less_beyond : bool
        Whether the first entry costs less above `at`, or below it.
    crossings : int
        How often the best prices cross; `at` is the last.
    """

    others: dict[str, Any]
    pair: str
    at: float
    low: float
    high: float
    costs_less_beyond: bool
    crossings: int

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel sweep --json`` prints it; null: nowhere on the axis."""

        def number(value: float) -> float | None:
            return value if np.isfinite(value) else None

        return attrs.asdict(self) | {
            "at": number(self.at),
            "low": number(self.low),
            "high": number(self.high),
            "always": "" if np.isfinite(self.at) else ("above" if self.at > 0 else "below"),
        }


@attrs.frozen
class BreakEvens:
    """All break-even points of a study."""

    study: str
    axis: str
    label: str
    unit: str
    output: str
    points: tuple[BreakEvenPoint, ...]

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel sweep --json`` prints it."""
        return {
            "axis": self.axis,
            "unit": self.unit,
            "output": self.output,
            "points": [point.to_json() for point in self.points],
        }


def break_even(
    study: Study | str | Path | Plan,
    *,
    axis: str = "",
    output: str = "",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> BreakEvens:
    """Solve a study of a grid for the values at which the entries of its pairs cost the same.

    Between the two values of the axis that a crossing lies between, more are calculated, until the
    crossings at the best prices and at both ends of the interval are narrow.

    Parameters
    ----------
    study : Study, or name or path of one, or a plan
    axis, output : str
        Instead of those that the study names.
    progress : callable
        Called with combinations of the other axes done, and in all.
    """
    plan = study if isinstance(study, Plan) else make_plan(study)
    told = plan.study.break_even
    axis = axis or (told.axis if told else "")
    output = output or (told.output if told else "")
    number = _check(plan, axis, output)
    plan = attrs.evolve(plan, study=attrs.evolve(plan.study, keep_draws=True))
    calculator = Calculator(plan)
    others = [each.values if at != number else (None,) for at, each in enumerate(plan.axes)]
    combinations = list(itertools.product(*others))
    points = []
    for done, values in enumerate(combinations):
        solver = _Solver(calculator, number, values, output)
        named = {
            each.name: value
            for at, (each, value) in enumerate(zip(plan.axes, values, strict=True))
            if at != number
        }
        points += [solver.solve(index, pair, named) for index, pair in enumerate(plan.study.pairs)]
        progress(done + 1, len(combinations))
    chosen = plan.axes[number]
    return BreakEvens(
        plan.study.name, axis, chosen.axis.label or chosen.axis.field, chosen.unit, output,
        tuple(points),
    )  # fmt: skip


def _check(plan: Plan, axis: str, output: str) -> int:
    numbers = {
        each.name: at
        for at, each in enumerate(plan.axes)
        if each.is_number and len(each.values) > 1
    }
    times = [each.name for each in plan.study.outputs if each.kind.is_time]
    problems = []
    if not plan.is_grid or axis not in numbers:
        known = ", ".join(numbers) or "there is none"
        message = f"{axis[:40]!r} must be an axis of numbers in a grid: {known}"
        problems.append(Problem(message, file=plan.study.name, key="break_even.axis"))
    if output not in times or not plan.study.pairs:
        message = f"{output[:40]!r} must be a time of a study with pairs: {', '.join(times)}"
        problems.append(Problem(message, file=plan.study.name, key="break_even.output"))
    if problems:
        raise InputError(problems)
    return numbers[axis]


class _Solver:
    """One combination of the other axes: ratios by value of the axis, more where wanted."""

    def __init__(
        self, calculator: Calculator, number: int, values: tuple[Any, ...], output: str
    ) -> None:
        self.calculator = calculator
        self.number = number
        self.values = values
        self.output = output
        self.ratios: dict[float, Floats] = {}
        self._calculate(sorted(self.axis.values))

    @property
    def axis(self) -> ResolvedAxis:
        return self.calculator.plan.axes[self.number]

    def _calculate(self, places: list[Any]) -> None:
        rows = [
            (*self.values[: self.number], place, *self.values[self.number + 1 :])
            for place in places
        ]
        arrays = self.calculator.at(rows)[f"{self.output}_ratio"]
        for place, ratios in zip(places, arrays, strict=True):
            self.ratios[place] = ratios

    def solve(self, index: int, pair: Pair, others: dict[str, Any]) -> BreakEvenPoint:
        """Where one pair breaks even."""
        rounds = _ROUNDS_OF_ENGINE if self.calculator.plan.runs_engine else _ROUNDS
        for _ in range(rounds):
            at, _ = self._crossings(index)
            wanted = self._middles([at[0], *interval(_drawn(at))])
            if not wanted:
                break
            self._calculate(wanted)
        at, falls = self._crossings(index)
        low, high = interval(_drawn(at))
        best = np.array([self.ratios[place][index, 0] for place in sorted(self.ratios)])
        signs = np.sign(np.log2(best[np.isfinite(best) & (best > 0)]))
        signs = signs[signs != 0]
        middle = float(at[0])
        if not falls:
            # Infinite is where the first entry always costs more, whichever way it goes.
            middle, low, high = (
                -value if np.isinf(value) else value for value in (middle, low, high)
            )
        return BreakEvenPoint(
            others, pair.name, middle, low, high, falls, int((signs[1:] != signs[:-1]).sum())
        )

    def _crossings(self, index: int) -> tuple[Floats, bool]:
        """Crossings of all draws, and whether the first entry costs less beyond them."""
        places = sorted(self.ratios)
        ratios = np.array([self.ratios[place][index] for place in places])
        falls = not ratios[-1, 0] > 1
        with np.errstate(divide="ignore"):
            return last_crossings(places, ratios if falls else 1 / ratios), falls

    def _middles(self, wanted: list[float]) -> list[Any]:
        """Values half-way between those that crossings lie between, where these are far apart."""
        places = sorted(self.ratios)
        whole = type(self.axis.own) is int and not self.axis.axis.relative
        found = set()
        for at in wanted:
            if not np.isfinite(at):
                continue
            above = min(int(np.searchsorted(places, at)), len(places) - 1)
            low, high = places[max(0, above - 1)], places[above]
            if whole:
                middle: float = (int(low) + int(high)) // 2
                narrow = high - low <= 1
            else:
                middle = (low + high) / 2
                narrow = high - low <= _NARROW * max(abs(low), abs(high))
            if not narrow and middle not in self.ratios:
                found.add(middle)
        return sorted(found)


def _drawn(at: Floats) -> Floats:
    return at[1:] if at.size > 1 else at
