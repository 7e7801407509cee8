"""Calculates cells of a plan: every output of every entry, with the draws of all of them paired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel import abi
from perfmodel.constants import (
    COUNTER_NAMES,
    N_EVENTS,
    PICOSECONDS_PER_NANOSECOND,
    Lock,
    Mapping,
    Wait,
)
from perfmodel.errors import OutOfMemoryError
from perfmodel.kernels.layout import COUNTERS, FALLBACKS, OBSERVED
from perfmodel.models.closed_form import Counted, Counter, NotClosed, mixture
from perfmodel.models.engine_prices import engine_prices
from perfmodel.models.prices import common_factors, draw_model_errors, with_model_errors
from perfmodel.models.simulated import chance_decides, draw_arm
from perfmodel.specs import fields
from perfmodel.specs.machine import Machine
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.study import Model, Output, OutputKind, Per
from perfmodel.studies.crossing import HIGH, LOW
from perfmodel.studies.plan import Case, Plan, ResolvedAxis, accesses, step_indices

# So many cells with all their draws stay in the caches of a core.
_BATCH = 64
Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]
Arrays = dict[str, Floats]


@attrs.frozen(eq=False)
class _Price:
    """An axis that only sets prices: in which columns, and its values in the cells at hand."""

    columns: tuple[int, ...]
    values: Floats


class Calculator:
    """Calculates chunks of one plan; what scenarios count is kept from chunk to chunk.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.counter = Counter()
        self._last_prices: tuple[tuple[Any, ...], npt.NDArray[np.int64], Floats] | None = None

    def chunk(self, first: int, end: int) -> Arrays:
        """All arrays of the cells from `first` to before `end`; see `array_shapes`."""
        return self.at([self.plan.values(cell) for cell in range(first, end)])

    def at(self, values: Sequence[tuple[Any, ...]]) -> Arrays:
        """The same for any values of the axes, a cell for each of them."""
        arrays = {
            name: np.full((len(values), *shape), np.nan)
            for name, shape in array_shapes(self.plan).items()
        }
        for rows in self._groups(values):
            self._group(np.array(rows), [values[row] for row in rows], arrays)
        return arrays

    def _groups(self, values: Sequence[tuple[Any, ...]]) -> list[list[int]]:
        """Cells that differ in nothing but prices."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for row, own in enumerate(values):
            # A price that stays at its own value is no value to be set.
            key = tuple(
                ("set",) if axis.is_price and value is not None else value
                for axis, value in zip(self.plan.axes, own, strict=True)
            )
            groups.setdefault(key, []).append(row)
        return list(groups.values())

    def _group(
        self, rows: npt.NDArray[np.int64], values: list[tuple[Any, ...]], arrays: Arrays
    ) -> None:
        plan = self.plan
        counting = tuple(
            None if axis.is_price else value
            for axis, value in zip(plan.axes, values[0], strict=True)
        )
        case = plan.case(counting)
        if not case.needs_engine:
            prices = self._prices(case, values)
            counted = self._counted(case)
            if prices is not None and counted is not None:
                self._by_algebra(case, counted, prices, rows, arrays)
                return
        for row, own in zip(rows, values, strict=True):
            case = plan.case(own)
            counted = None if case.needs_engine else self._counted(case)
            if counted is not None:
                self._by_algebra(case, counted, [], np.array([row]), arrays)
            else:
                self._by_engine(case, int(row), arrays)

    def _counted(self, case: Case) -> dict[str, Counted] | None:
        """Expected counts of every entry; None where they are no algebra."""
        found = {}
        for entry, policy in case.policies.items():
            chance = any(chance_decides(story, policy) for story in case.stories)
            if self.plan.study.model is Model.ENGINE and chance:
                return None
            try:
                counted = [
                    self.counter.expect(story, case.machine, case.device, policy)
                    for story in case.stories
                ]
            except NotClosed:
                return None
            if case.mixture is None:
                found[entry] = counted[0]
            else:
                found[entry] = self._mixed(case, counted)
        return found

    def _mixed(self, case: Case, counted: list[Counted]) -> Counted:
        """The counts of both scenarios, step by step of the first one by their names."""
        assert case.mixture is not None
        ours, other = case.stories
        names = [step.name for step in other.steps]
        counts = np.zeros_like(counted[0].counts)
        for number, step in enumerate(ours.steps):
            if step.name in names:
                counts[number] = counted[1].counts[names.index(step.name)]
        share = case.mixture.share
        return mixture([(1.0 - share, counted[0]), (share, Counted(counts, counted[1].mapping))])

    def _prices(self, case: Case, values: list[tuple[Any, ...]]) -> list[_Price] | None:
        """The axes of prices; None if one of them is more than that for this device or content."""
        found = []
        for number, axis in enumerate(self.plan.axes):
            if not axis.is_price or values[0][number] is None:
                continue
            columns = _columns(case, axis)
            if columns is None:
                return None
            found.append(_Price(columns, np.array([own[number] for own in values], dtype=float)))
        return found

    def _by_algebra(
        self,
        case: Case,
        counted: dict[str, Counted],
        prices: list[_Price],
        rows: npt.NDArray[np.int64],
        arrays: Arrays,
    ) -> None:
        study = self.plan.study
        base, common = self._drawn_prices(case)
        for first in range(0, len(rows), _BATCH):
            batch = rows[first : first + _BATCH]
            here = slice(first, first + _BATCH)
            changes = [
                (column, _column(column, price.values[here], common) - base[:, column])
                for price in prices
                for column in price.columns
            ]
            for output in study.outputs:
                steps = step_indices(case.scenario, output.steps)
                divisor = _divisor(output, case.scenario)
                times = {}
                for entry, own in counted.items():
                    if not output.kind.is_time:
                        arrays[output.name][batch, self._at(entry)] = (
                            _number(output, own, steps) / divisor
                        )
                        continue
                    total: Numbers = np.zeros((len(batch), len(base)), dtype=np.int64)
                    for coefficients, factors in self._parts(output, own, steps, case.machine):
                        part = (base @ coefficients)[None, :]
                        for column, change in changes:
                            if coefficients[column]:
                                part = part + change * coefficients[column]
                        total = total + _spread(part, factors)
                    times[entry] = total / (PICOSECONDS_PER_NANOSECOND * divisor)
                if times:
                    self._store(output, batch, times, arrays)

    def _parts(
        self, output: Output, counted: Counted, steps: Sequence[int], machine: Machine
    ) -> list[tuple[Numbers, Floats | None]]:
        """Coefficients of the prices, and a factor for each draw; step by step where a fit has one.

        What a fit says that prices miss, it says of a step's time; of locks nobody knows it.
        """
        if output.kind is not OutputKind.TIME or not _misses(machine):
            return [(_coefficients(output, counted, steps), None)]
        study = self.plan.study
        return [
            (
                counted.time([step]),
                draw_model_errors(machine, counted.events([step])[0], study.draws, study.seed),
            )
            for step in steps
        ]

    def _drawn_prices(self, case: Case) -> tuple[npt.NDArray[np.int64], Floats]:
        """All rows of prices, and what each row has in common; the last ones are kept."""
        study = self.plan.study
        content = case.scenario.region.content
        key = (case.machine, case.device, content)
        last = self._last_prices
        if last is None or any(old is not new for old, new in zip(last[0], key, strict=True)):
            draws, seed = study.draws, study.seed
            base = engine_prices(case.machine, case.device, draws, seed, content)
            factors = common_factors(case.machine, case.device, draws, seed)
            # One assignment, as threads share this.
            self._last_prices = last = (key, base, factors)
        return last[1:]

    def _by_engine(self, case: Case, row: int, arrays: Arrays) -> None:
        study = self.plan.study
        arms: dict[str, Any] = {}
        for entry, policy in case.policies.items():
            try:
                arms[entry] = draw_arm(
                    case.scenario, case.machine, case.device, policy,
                    seed=study.seed, draws=study.draws, at_once=1,
                )  # fmt: skip
            except OutOfMemoryError:
                arms[entry] = None
        for output in study.outputs:
            steps = step_indices(case.scenario, output.steps)
            divisor = _divisor(output, case.scenario)
            times = {}
            for entry, arm in arms.items():
                if arm is None:
                    if output.kind.is_time:
                        times[entry] = np.full((1, study.draws + 1), np.inf)
                    continue
                own = Counted(arm.runs.counts[0], arm.runs.mapping[0])
                if not output.kind.is_time:
                    mean = Counted(arm.runs.counts.mean(axis=0), arm.runs.mapping.mean(axis=0))
                    arrays[output.name][row, self._at(entry)] = (
                        _number(output, mean, steps) / divisor
                    )
                    continue
                if output.kind is OutputKind.TIME:
                    events = abi.events_of(arm.runs.counts[0])[steps]
                    spread = with_model_errors(
                        case.machine, events, arm.elapsed[:, steps], study.seed
                    )
                    total = spread.sum(axis=1)
                elif output.kind is OutputKind.WAITED:
                    total = _waited(output, arm.runs.counts, steps, study.draws + 1)
                else:
                    total = arm.prices @ _coefficients(output, own, steps)
                times[entry] = total[None, :] / (PICOSECONDS_PER_NANOSECOND * divisor)
            if times:
                self._store(output, np.array([row]), times, arrays)

    def _at(self, entry: str) -> int:
        return self.plan.study.entries.index(entry)

    def _store(
        self, output: Output, rows: npt.NDArray[np.int64], times: dict[str, Floats], arrays: Arrays
    ) -> None:
        for entry, time in times.items():
            arrays[output.name][rows, self._at(entry)] = self._kept(time)
        for number, pair in enumerate(self.plan.study.pairs):
            above, below = times[pair.above], times[pair.below]
            with np.errstate(invalid="ignore", divide="ignore"):
                difference, ratio = above - below, above / below
            arrays[f"{output.name}_difference"][rows, number] = self._kept(difference)
            arrays[f"{output.name}_ratio"][rows, number] = self._kept(ratio)

    def _kept(self, drawn: Floats) -> Floats:
        """All draws, or the best value and the 90 % interval."""
        if self.plan.study.keep_draws:
            return drawn
        kept = np.empty((len(drawn), 3))
        kept[:, 0] = drawn[:, 0]
        kept[:, 1:] = quantiles(drawn[:, 1:] if drawn.shape[1] > 1 else drawn)
        return kept


def _misses(machine: Machine) -> bool:
    return machine.fit is not None and machine.fit.model_error.value > 0


def _spread(times: Numbers, factors: Floats | None) -> Numbers:
    """Times of a step with what prices miss of it, in whole picoseconds; the best as they are."""
    if factors is None:
        return times
    spread = np.rint(times * factors)
    spread[:, 0] = times[:, 0]
    return spread


def quantiles(drawn: Floats) -> Floats:
    """The 5 % and 95 % quantiles of every row; between two draws linearly, if both are finite."""
    last = drawn.shape[1] - 1
    found = np.empty((len(drawn), 2))
    at = [LOW * last, HIGH * last]
    ordered = np.sort(drawn, axis=1)
    for number, place in enumerate(at):
        below, above = ordered[:, int(np.floor(place))], ordered[:, int(np.ceil(place))]
        with np.errstate(invalid="ignore"):
            between = below + (above - below) * (place - np.floor(place))
        found[:, number] = np.where(np.isfinite(below) & np.isfinite(above), between, above)
    return found


def _columns(case: Case, axis: ResolvedAxis) -> tuple[int, ...] | None:
    """Columns of the prices that an axis sets to its very value; None if it changes others."""
    trial = (1.0, 3.0)
    found: list[set[int]] = []
    before = _quantities(case)
    for value in trial:
        owner = case.machine if axis.root == "machine" else case.device
        place = fields.find(owner, axis.path)
        try:
            new = fields.replace(owner, axis.path, fields.setting(place, value, "trial"))
        except ValueError:
            return None
        changes: dict[str, Any] = {axis.root: new}
        after = _quantities(attrs.evolve(case, **changes))
        changed = {
            column
            for column, (old, now) in enumerate(zip(before, after, strict=True))
            if (old.value, old.spread) != (now.value, now.spread)
        }
        if any(after[column].value != value or after[column].spread for column in changed):
            return None
        found.append(changed)
    # One of the trials may be what stands there already.
    return tuple(sorted(found[0] | found[1]))


def _quantities(case: Case) -> list[Any]:
    content = case.scenario.region.content
    return [
        *abi.event_quantities(case.machine, case.device, content),
        *abi.delay_quantities(case.machine),
    ]


def _column(column: int, values: Floats, factors: Floats) -> npt.NDArray[np.int64]:
    """Prices that have been set, for every row of prices; shape (values, rows)."""
    if column >= N_EVENTS:
        factors = np.ones_like(factors)
    return abi.picoseconds(values[:, None] * factors[None, :])


def _coefficients(output: Output, counted: Counted, steps: Sequence[int]) -> Numbers:
    if output.kind is OutputKind.TIME:
        return counted.time(steps)
    if output.kind is OutputKind.WAITED:
        # Where nothing overlaps nobody waits.
        return np.zeros_like(counted.time(steps))
    lock = Lock[output.of.upper()]
    if output.kind is OutputKind.HELD:
        return counted.held(steps, lock)
    return counted.longest_hold(steps, lock)


def _waited(output: Output, counts: Numbers, steps: Sequence[int], rows: int) -> Numbers:
    """What all CPUs have waited for one reason, for every row of prices."""
    waits: Numbers = abi.waits_of(counts)[:, list(steps), Wait[output.of.upper()]].sum(axis=1)
    return waits[np.arange(rows) % len(waits)]


def _number(output: Output, counted: Counted, steps: Sequence[int]) -> float:
    if output.kind is OutputKind.MAPPING:
        return float(counted.mapping[Mapping[output.of.upper()]])
    counts = counted.counts[list(steps)]
    if output.kind is OutputKind.FALLBACKS:
        return float(counts[:, FALLBACKS:OBSERVED].sum())
    return float(counts[:, COUNTERS + COUNTER_NAMES.index(output.of)].sum())


def _divisor(output: Output, scenario: Scenario) -> float:
    if output.per is Per.RUN or output.kind is OutputKind.LONGEST_HOLD:
        return 1.0
    if output.per is Per.RANGE:
        return float(scenario.region.count)
    return float(accesses(scenario, output.steps))


def array_shapes(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Shape of every array for one cell."""
    study = plan.study
    kept = study.draws + 1 if study.keep_draws else 3
    shapes: dict[str, tuple[int, ...]] = {}
    for output in study.outputs:
        if not output.kind.is_time:
            shapes[output.name] = (len(study.entries),)
            continue
        shapes[output.name] = (len(study.entries), kept)
        if study.pairs:
            shapes[f"{output.name}_difference"] = (len(study.pairs), kept)
            shapes[f"{output.name}_ratio"] = (len(study.pairs), kept)
    return shapes
