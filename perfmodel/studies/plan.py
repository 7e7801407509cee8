"""From a study to its cells: axes found in the specs, and all specs of a cell, loaded here.

Workers elsewhere read no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.errors import InputError, PerfmodelError, Problem, nearest
from perfmodel.models.simulated import RUNS_PER_SEED, runs_decide
from perfmodel.specs import catalog, fields
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import Policy
from perfmodel.specs.quantity import Quantity
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.study import Axis, DesignKind, Mixture, Model, Per, Study
from perfmodel.studies.design import sample
from perfmodel.traces.generator import accesses_of

_WHOLE_SPECS = ("machine", "device", "scenario")
_RESERVED = frozenset({"cell", "entry", "pair", "bound", "draw"})
# A chunk is what one worker does at a time, and what is lost at most when it is killed.
_CELLS_PER_CHUNK = 2048
_COUNTS_PER_CHUNK = 64
_RUNS_PER_CHUNK = 8


@attrs.frozen(eq=False)
class ResolvedAxis:
    """An axis that has been found in the specs.

    Parameters
    ----------
    axis : Axis
    name : str
    root, path : str
        Which spec, and where in it; an empty path is the whole spec.
    own : object
        What stands there where nothing is set; 1 for a factor.
    unit : str
    values : tuple
        Those of a grid; none for a range.
    low, high : float
        Ends of a range.
    is_price : bool
        Whether it sets a time that is a price and nothing else, unless the clock decides.
    also : tuple of ResolvedAxis
        The other fields that take its values.
    """

    axis: Axis
    name: str
    root: str
    path: str
    own: Any
    unit: str
    values: tuple[Any, ...]
    low: float
    high: float
    is_price: bool
    also: tuple[ResolvedAxis, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return all(type(value) in (int, float) for value in self.values)


@attrs.frozen(eq=False)
class Case:
    """The specs of one cell."""

    scenario: Scenario
    mixture: Mixture | None
    machine: Machine
    device: SwapDevice
    policies: dict[str, Policy]

    @property
    def needs_engine(self) -> bool:
        """Whether every cell has to be run: no algebra tells what happens."""
        return any(runs_decide(story, self.device) for story in self.stories)

    @property
    def stories(self) -> list[Scenario]:
        """The scenario and what happens instead."""
        return [self.scenario] + ([self.mixture.scenario] if self.mixture else [])


@attrs.frozen(eq=False)
class Plan:
    """A study, ready to be calculated anywhere.

    Parameters
    ----------
    study : Study
    axes : tuple of ResolvedAxis
    machines : dict
        By name.
    devices : dict
        By machine's name and own.
    scenarios : dict
        By name.
    policies : dict
        By entry.
    points : float array, shape (cells, axes)
        What was sampled, NaN where an axis stays at its own value; empty for a grid.
    """

    study: Study
    axes: tuple[ResolvedAxis, ...]
    machines: dict[str, Machine]
    devices: dict[tuple[str, str], SwapDevice]
    scenarios: dict[str, Scenario]
    policies: dict[str, Policy]
    points: npt.NDArray[np.float64]

    @property
    def is_grid(self) -> bool:
        """Whether all combinations of the axes' values are calculated."""
        return self.study.design.kind is DesignKind.GRID

    @property
    def shape(self) -> tuple[int, ...]:
        """Values of each axis of a grid, or the number of points."""
        if self.is_grid:
            return tuple(len(axis.values) for axis in self.axes)
        return (len(self.points),)

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return int(np.prod(self.shape, dtype=np.int64))

    def values(self, cell: int) -> tuple[Any, ...]:
        """The axes' values in one cell; None where an axis stays at its own value."""
        if self.is_grid:
            at = np.unravel_index(cell, self.shape) if self.axes else ()
            return tuple(axis.values[index] for axis, index in zip(self.axes, at, strict=True))
        return tuple(
            self._sampled(axis, value)
            for axis, value in zip(self.axes, self.points[cell].tolist(), strict=True)
        )

    @staticmethod
    def _sampled(axis: ResolvedAxis, value: float) -> Any:
        if np.isnan(value):
            return None
        return axis.values[int(value)] if axis.values else value

    def case(self, values: Sequence[Any]) -> Case:
        """The specs with the axes' values in them.

        Raises
        ------
        InputError
            If they do not go together.
        """
        chosen = {"machine": self.study.machine, "device": self.study.device, "scenario": ""}
        changes: list[tuple[ResolvedAxis, Any]] = []
        for axis, value in zip(self.axes, values, strict=True):
            if value is None:
                continue
            if not axis.path and axis.root in chosen:
                chosen[axis.root] = value
            else:
                changes += [(each, value) for each in (axis, *axis.also)]
        parts: dict[str, Any] = {
            "machine": self.machines[chosen["machine"]],
            "device": self.devices[chosen["machine"], chosen["device"]],
            "scenario": self.scenarios[chosen["scenario"]],
            "mixture": self.study.mixture,
        }
        policies = dict(self.policies)
        for axis, value in changes:
            try:
                if axis.root == "policy":
                    policies = {
                        entry: self._changed(policy, axis, value)
                        for entry, policy in policies.items()
                    }
                else:
                    parts[axis.root] = self._changed(parts[axis.root], axis, value)
                if axis.root == "scenario" and parts["mixture"] is not None:
                    parts["mixture"] = self._changed_too(parts["mixture"], axis, value)
            except ValueError as error:
                message = f"{value!r} cannot be: {error}"
                raise InputError(
                    Problem(message, file=self.study.name, key=axis.axis.field)
                ) from None
        return Case(policies=policies, **parts)

    def _changed(self, spec: Any, axis: ResolvedAxis, value: Any) -> Any:
        place = fields.find(spec, axis.path)
        source = f"study {self.study.name}"
        make = fields.scaling if axis.axis.relative else fields.setting
        return fields.replace(spec, axis.path, make(place, value, source))

    def _changed_too(self, mixture: Mixture, axis: ResolvedAxis, value: Any) -> Mixture:
        """What happens instead varies as well, where it has that field."""
        try:
            fields.find(mixture.scenario, axis.path)
        except ValueError:
            return mixture
        return attrs.evolve(mixture, scenario=self._changed(mixture.scenario, axis, value))

    @cached_property
    def runs_engine(self) -> bool:
        """Whether cells are so expensive that each is work enough for a worker."""
        if self.study.model is Model.ENGINE:
            return True
        if any(axis.path.endswith((".threads", "memory_limit")) for axis in self.axes):
            return True
        stories = [*self.scenarios.values()]
        if self.study.mixture is not None:
            stories.append(self.study.mixture.scenario)
        return any(
            runs_decide(story, device) for story in stories for device in self.devices.values()
        )

    @cached_property
    def chunks(self) -> tuple[tuple[int, int], ...]:
        """First cells and ends of the chunks, whoever does them."""
        if self.runs_engine:
            runs = len(self.study.entries) * min(RUNS_PER_SEED, self.study.draws + 1)
            return self._even_chunks(max(1, _RUNS_PER_CHUNK // runs))
        counting = [number for number, axis in enumerate(self.axes) if not axis.is_price]
        if not counting:
            return self._even_chunks(_CELLS_PER_CHUNK)
        found: list[tuple[int, int]] = []
        seen: set[tuple[Any, ...]] = set()
        first = 0
        for cell in range(self.cells):
            values = self.values(cell)
            key = tuple(values[number] for number in counting)
            full = len(seen) == _COUNTS_PER_CHUNK and key not in seen
            if full or cell - first == _CELLS_PER_CHUNK:
                found.append((first, cell))
                first, seen = cell, set()
            seen.add(key)
        found.append((first, self.cells))
        return tuple(found)

    def _even_chunks(self, size: int) -> tuple[tuple[int, int], ...]:
        cells = self.cells
        return tuple((first, min(first + size, cells)) for first in range(0, cells, size))


def make_plan(study: Study | str | Path) -> Plan:
    """Find everything that a study names, and check it.

    Raises
    ------
    InputError
        With every problem, each with the file and the key; a field that is none with the nearest
        right name.
    """
    file = "" if isinstance(study, Study) else str(study)
    if not isinstance(study, Study):
        study = catalog.load_study(study)
        file = file if file.endswith(".toml") else study.name
    else:
        file = study.name
    return _Maker(study, file).plan()


class _Maker:
    def __init__(self, study: Study, file: str) -> None:
        self.study = study
        self.file = file
        self.problems: list[Problem] = []

    def plan(self) -> Plan:
        study = self.study
        named = self._named()
        machines = {name: self._load(catalog.load_machine, name) for name in named["machine"]}
        self._stop()
        devices = {
            (machine, device): self._load(catalog.load_device, device, machines[machine])
            for machine in named["machine"]
            for device in named["device"]
        }
        scenarios = {"": study.scenario} | {
            name: self._load(catalog.load_scenario, name) for name in named["scenario"]
        }
        policies = {entry: catalog.load_policy(entry) for entry in study.entries}
        self._stop()
        base: dict[str, Any] = {
            "machine": machines[study.machine],
            "device": devices[study.machine, study.device],
            "scenario": study.scenario,
            "policy": policies[study.entries[0]],
            "mixture": study.mixture,
        }
        axes = self._axes(base)
        self._stop()
        points = sample(study.design, axes)
        plan = Plan(study, tuple(axes), machines, devices, scenarios, policies, points)
        self._check(plan)
        self._stop()
        return plan

    def _stop(self) -> None:
        if self.problems:
            raise InputError(self.problems)

    def _named(self) -> dict[str, list[str]]:
        """All machines, devices and scenarios that may be used, the study's own first."""
        study = self.study
        named = {"machine": [study.machine], "device": [study.device], "scenario": []}
        for number, axis in enumerate(study.axes):
            if axis.field not in named:
                continue
            if axis.relative or not axis.values or not all(type(v) is str for v in axis.values):
                self._complain(number, "values", "must be names, as it is a whole file that varies")
                continue
            named[axis.field] += axis.values
        self._stop()
        return {root: list(dict.fromkeys(found)) for root, found in named.items()}

    def _load(self, load: Any, *arguments: Any) -> Any:
        try:
            return load(*arguments)
        except InputError as error:
            self.problems += [
                problem
                if problem.file
                else Problem(problem.message, file=self.file, key=problem.key)
                for problem in error.problems
            ]
            return None

    def _complain(self, number: int, key: str, message: str) -> None:
        self.problems.append(Problem(message, file=self.file, key=f"axes[{number}].{key}"))

    def _axes(self, base: dict[str, Any]) -> list[ResolvedAxis]:
        found = []
        for number, axis in enumerate(self.study.axes):
            root, _, path = axis.field.partition(".")
            try:
                if path.endswith("*"):
                    found += self._every_price(axis, root, path, base[root])
                else:
                    found.append(self._with_others(axis, base))
            except ValueError as error:
                self._complain(number, "field", f"{axis.field!r} {error}")
        names, taken = [axis.name for axis in found], {each.name for each in self.study.outputs}
        for name in names:
            if names.count(name) > 1 or name in taken or name in _RESERVED:
                message = f"an axis must not be called {name!r} as well; give it another name"
                self.problems.append(Problem(message, file=self.file, key="axes"))
                break
        return found

    def _every_price(self, axis: Axis, root: str, path: str, spec: Any) -> list[ResolvedAxis]:
        above = path.removesuffix("*").removesuffix(".")
        if path not in ("*", f"{above}.*"):
            raise ValueError("may have a * only for the last part of its path")
        prefix = f"{above}." if above else ""
        owner = fields.find(spec, above).value if above else spec
        found = []
        for inner in fields.paths(owner):
            if "." in inner:
                continue
            place = fields.find(spec, prefix + inner)
            if isinstance(place.value, Quantity) and place.unit == "ns" and place.value.value:
                single = attrs.evolve(axis, field=f"{root}.{prefix}{inner}", name="")
                found.append(self._axis(single, root, prefix + inner, spec))
        if not found:
            raise ValueError("has no prices directly below it")
        return found

    def _with_others(self, axis: Axis, base: dict[str, Any]) -> ResolvedAxis:
        """An axis of one field, or of several with the same value."""
        resolved = []
        for field in (axis.field, *axis.also):
            root, _, path = field.partition(".")
            if root not in base:
                raise ValueError(f"goes with {field!r}, which does not begin with a spec's name")
            own = attrs.evolve(axis, field=field, also=())
            resolved += [self._axis(own, root, path, base[root])]
        if not axis.also:
            return resolved[0]
        return attrs.evolve(resolved[0], axis=axis, is_price=False, also=tuple(resolved[1:]))

    def _axis(self, axis: Axis, root: str, path: str, spec: Any) -> ResolvedAxis:
        values = axis.points()
        if not path:
            if root == "policy":
                raise ValueError("is no single field; entries say which policies there are")
            own = {"machine": self.study.machine, "device": self.study.device}.get(root, "")
            return ResolvedAxis(axis, axis.key, root, "", own, "", values, 0.0, 0.0, False)
        place = fields.find(spec, path)
        held = place.value.value if isinstance(place.value, Quantity) else place.value
        low, high = self._ends(axis, place)
        make = fields.scaling if axis.relative else fields.setting
        for value in values or ((low, high) if axis.range is not None else ()):
            fields.replace(spec, path, make(place, value, "check"))
        is_price = (
            root in ("machine", "device")
            and isinstance(place.value, Quantity)
            and place.unit == "ns"
            and not axis.relative
            and all(type(value) in (int, float) for value in values)
        )
        return ResolvedAxis(
            axis, axis.key, root, path, 1.0 if axis.relative else held,
            "1" if axis.relative else place.unit, values, low, high, is_price,
        )  # fmt: skip

    def _ends(self, axis: Axis, place: fields.Place) -> tuple[float, float]:
        span = axis.range
        if span is None:
            return 0.0, 0.0
        if span.low is not None and span.high is not None:
            return float(span.low), float(span.high)
        if not isinstance(place.value, Quantity) or span.spreads is None:
            raise ValueError("is no quantity with a spread; say low and high")
        if axis.relative:
            raise ValueError("has spreads, and cannot be relative as well")
        middle, half = place.value.value, span.spreads * place.value.spread
        low = max(0.0, middle - half)
        if span.logarithmic and low == 0:
            raise ValueError("reaches down to 0, where no ratio leads; say low and high")
        return low, middle + half

    def _check(self, plan: Plan) -> None:
        """All combinations that change more than a price must be possible."""
        study = self.study
        counting = [number for number, axis in enumerate(plan.axes) if not axis.is_price]
        seen = set()
        for cell in range(plan.cells if counting else 1):
            values = plan.values(cell)
            key = tuple(value if n in counting else None for n, value in enumerate(values))
            if key in seen:
                continue
            seen.add(key)
            try:
                case = plan.case(key)
                self._check_case(case)
            except PerfmodelError as error:
                self.problems.append(Problem(str(error), file=self.file))
                return
        known = [axis.name for axis in plan.axes if axis.is_number and len(axis.values) > 1]
        if study.break_even is not None and (
            study.break_even.axis not in known or not plan.is_grid
        ):
            message = f"must be an axis of numbers in a grid: {', '.join(known) or 'there is none'}"
            self.problems.append(Problem(message, file=self.file, key="break_even.axis"))

    def _check_case(self, case: Case) -> None:
        for story in case.stories:
            for output in self.study.outputs:
                missing = [name for name in output.steps if name not in _step_names(story)]
                if missing:
                    hint = nearest(missing[0], _step_names(story))
                    message = f"{missing[0]!r} is no step of {story.name}{hint}"
                    raise InputError(Problem(message, key=f"outputs.{output.name}.steps"))
                if output.per is Per.ACCESS and accesses(story, output.steps) == 0:
                    message = "these steps access nothing that could be divided by"
                    raise InputError(Problem(message, key=f"outputs.{output.name}.per"))
        if case.mixture is not None:
            ours, other = case.scenario, case.mixture.scenario
            if ours.region != other.region:
                message = "must have the same region as the scenario"
                raise InputError(Problem(message, key="mixture.scenario"))
            if case.needs_engine:
                message = "ranges under a memory limit, on several CPUs or on a busy device are "
                message += "not independent, so that there is no mixture of them"
                raise InputError(Problem(message, key="mixture"))


def _step_names(story: Scenario) -> set[str]:
    return {step.name for step in story.steps}


def step_indices(story: Scenario, names: Sequence[str]) -> list[int]:
    """Numbers of the steps of these names; of all without names."""
    return [n for n, step in enumerate(story.steps) if not names or step.name in names]


def accesses(story: Scenario, names: Sequence[str]) -> int:
    """Pages that these steps access, each as often as they do."""
    total = 0
    for number in step_indices(story, names):
        step = story.steps[number]
        if step.action.value == "touch":
            total += story.region.count * min(step.pages_per_2mib, step.page_count)
        elif step.action.value == "access":
            total += accesses_of(step, story.region.pages)
    return total
