"""Studies: which what-ifs are calculated, and what of each is kept.

docs/sweep.md says what every key means, with examples.
"""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Any

import attrs

from perfmodel.constants import COUNTER_NAMES, Lock, Mapping, Wait
from perfmodel.errors import nearest
from perfmodel.specs.policy import SIMULATED_ENTRIES
from perfmodel.specs.quantity import text, tuple_of, whole_number
from perfmodel.specs.scenario import Scenario

_MOST_CELLS = 10_000_000
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
ROOTS = ("machine", "device", "policy", "scenario", "mixture")


class DesignKind(StrEnum):
    """Which combinations of the axes' values are calculated.

    ``grid``: all of them. ``latin-hypercube`` and ``sobol``: `count` points of the axes' ranges.
    ``sobol-indices``: the (axes + 2) x `count` points that variance-based indices need.
    ``one-at-a-time``: everything at its own value, then each axis alone at both ends of its range.
    """

    GRID = "grid"
    LATIN_HYPERCUBE = "latin-hypercube"
    SOBOL = "sobol"
    SOBOL_INDICES = "sobol-indices"
    ONE_AT_A_TIME = "one-at-a-time"

    @property
    def samples(self) -> bool:
        """Whether points are drawn from ranges."""
        return self in _SAMPLES


_SAMPLES = frozenset({DesignKind.LATIN_HYPERCUBE, DesignKind.SOBOL, DesignKind.SOBOL_INDICES})


class Model(StrEnum):
    """How a cell is calculated.

    ``closed-form``: one engine run counts the events, algebra does the rest; a probability becomes
    a mixture. ``engine``: 32 runs with all that is random. Where the clock decides what happens (a
    memory limit, several CPUs, a device with a service model) every cell is run anyway.
    """

    CLOSED_FORM = "closed-form"
    ENGINE = "engine"


class OutputKind(StrEnum):
    """What of a cell is kept."""

    TIME = "time"
    COUNTER = "counter"
    FALLBACKS = "fallbacks"
    LONGEST_HOLD = "longest-hold"
    HELD = "held"
    WAITED = "waited"
    MAPPING = "mapping"

    @property
    def is_time(self) -> bool:
        """Whether it is nanoseconds with an interval."""
        return self not in (OutputKind.COUNTER, OutputKind.FALLBACKS, OutputKind.MAPPING)


class Per(StrEnum):
    """What an output is divided by: nothing, the 2 MiB ranges, or pages that the steps access."""

    RUN = "run"
    RANGE = "2mib"
    ACCESS = "access"


def _finite(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _number(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not _finite(value):
        raise ValueError(f"{attribute.name} must be a number")


def _values(_: object, attribute: attrs.Attribute[Any], value: tuple[Any, ...]) -> None:
    if not isinstance(value, tuple) or not all(
        isinstance(member, str | bool) or _finite(member) for member in value
    ):
        raise ValueError(f"{attribute.name} must be a list of numbers or texts")
    if len({(type(member) is bool, member) for member in value}) < len(value):
        raise ValueError(f"{attribute.name} has one twice")


@attrs.frozen(kw_only=True)
class Ladder:
    """So many values from the first to the last, at equal distances or ratios."""

    first: float = attrs.field(validator=_number)
    last: float = attrs.field(validator=_number)
    count: int = whole_number(2, 100_000)
    whole: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))

    def __attrs_post_init__(self) -> None:
        if self.first == self.last:
            raise ValueError("first and last must differ")

    def values(self, logarithmic: bool) -> tuple[float | int, ...]:
        """The values; whole ones are rounded, and each is there once."""
        steps = self.count - 1
        if logarithmic:
            ratio = self.last / self.first
            found = [self.first * ratio ** (turn / steps) for turn in range(self.count)]
        else:
            span = self.last - self.first
            found = [self.first + span * turn / steps for turn in range(self.count)]
        found[-1] = self.last
        return tuple(dict.fromkeys(map(round, found) if self.whole else map(float, found)))


@attrs.frozen(kw_only=True)
class Range:
    """Between which values points are drawn.

    Parameters
    ----------
    low, high : float, optional
    spreads : float, optional
        Instead of both: so many of the quantity's own standard deviations to both sides, and never
        below 0.
    logarithmic : bool
        Equal ratios are equally probable, instead of equal distances.
    """

    low: float | None = attrs.field(default=None, validator=_number)
    high: float | None = attrs.field(default=None, validator=_number)
    spreads: float | None = attrs.field(default=None, validator=_number)
    logarithmic: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))

    def __attrs_post_init__(self) -> None:
        if (self.low is None) != (self.high is None) or (self.low is None) == (
            self.spreads is None
        ):
            raise ValueError("must have low and high, or spreads instead")
        if self.spreads is not None and self.spreads <= 0:
            raise ValueError("spreads must be positive")
        if self.low is not None and self.high is not None:
            if self.low >= self.high:
                raise ValueError("low must be less than high")
            if self.logarithmic and self.low <= 0:
                raise ValueError("low must be positive where the range is logarithmic")


@attrs.frozen(kw_only=True)
class Axis:
    """One thing that varies: a field, and its values or range.

    Parameters
    ----------
    field : str
        Path such as ``machine.kernel.fault_ns`` or ``scenario.steps.touch.page_count``;
        ``machine``, ``device`` or ``scenario`` alone vary whole files by name; ``mixture.share``
        the share of the other scenario; ``machine.kernel.*`` is an axis for each price there.
    also : tuple of str
        Further fields that take the same value, such as the same key of other steps.
    values, linear, logarithmic, range
        One of them.
    relative : bool
        Values are factors: of a quantity and its spread, or of all times below the path.
    name : str
        In the results; the path's last part without it.
    label : str
        On the axes of figures.
    """

    field: str = attrs.field(validator=text)
    also: tuple[str, ...] = attrs.field(default=(), validator=tuple_of(str))
    values: tuple[Any, ...] = attrs.field(default=(), validator=_values)
    linear: Ladder | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(Ladder))
    )
    logarithmic: Ladder | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(Ladder))
    )
    range: Range | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(Range))
    )
    relative: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    name: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
    label: str = attrs.field(default="", validator=attrs.validators.instance_of(str))

    def __attrs_post_init__(self) -> None:
        said = [bool(self.values), *(x is not None for x in self._ladders), self.range is not None]
        if sum(said) != 1:
            raise ValueError("must have one of values, linear, logarithmic and range")
        if self.logarithmic is not None and not (
            self.logarithmic.first > 0 and self.logarithmic.last > 0
        ):
            raise ValueError("logarithmic: first and last must be positive")
        whole = "." not in self.field or self.field.endswith("*")
        if self.also and (whole or self.relative):
            raise ValueError("also belongs to a single field that is not relative")
        if self.name and not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name[:40]!r} must be a lower-case word")

    @property
    def _ladders(self) -> tuple[Ladder | None, Ladder | None]:
        return self.linear, self.logarithmic

    @property
    def key(self) -> str:
        """Name in the results."""
        return self.name or self.field.rsplit(".", 1)[-1]

    def points(self) -> tuple[Any, ...]:
        """The values of a grid; none for a range."""
        if self.linear is not None:
            return self.linear.values(False)
        if self.logarithmic is not None:
            return self.logarithmic.values(True)
        return self.values


@attrs.frozen(kw_only=True)
class Design:
    """Which cells there are."""

    kind: DesignKind = attrs.field(
        default=DesignKind.GRID, validator=attrs.validators.instance_of(DesignKind)
    )
    count: int = whole_number(0, _MOST_CELLS, default=0)
    seed: int = whole_number(0, (1 << 56) - 1, default=1)

    def __attrs_post_init__(self) -> None:
        if self.kind.samples and self.count < 2:
            raise ValueError("count must be at least 2, the number of points")
        if not self.kind.samples and self.count:
            raise ValueError(f"count does not belong to {self.kind.value}")
        powers = (DesignKind.SOBOL, DesignKind.SOBOL_INDICES)
        if self.kind in powers and self.count & (self.count - 1):
            raise ValueError(f"count must be a power of two for {self.kind.value}")


@attrs.frozen(kw_only=True)
class Output:
    """One thing that is kept of every cell and entry.

    Parameters
    ----------
    name : str
    kind : OutputKind
    steps : tuple of str
        Steps whose numbers are added up (for ``longest-hold`` the longest of them); all without it.
    of : str
        Which kernel counter, lock, reason of waiting or part of the mapping.
    per : Per
    label : str
        On the axes of figures.
    """

    name: str = attrs.field(validator=attrs.validators.matches_re(_NAME))
    kind: OutputKind = attrs.field(
        default=OutputKind.TIME, validator=attrs.validators.instance_of(OutputKind)
    )
    steps: tuple[str, ...] = attrs.field(default=(), validator=tuple_of(str))
    of: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
    per: Per = attrs.field(default=Per.RANGE, validator=attrs.validators.instance_of(Per))
    label: str = attrs.field(default="", validator=attrs.validators.instance_of(str))

    def __attrs_post_init__(self) -> None:
        choices = self.choices
        if choices and self.of not in choices:
            raise ValueError(f"of must be one of {', '.join(choices)}")
        if not choices and self.of:
            raise ValueError(f"of does not belong to {self.kind.value}")
        if self.kind in (OutputKind.MAPPING, OutputKind.LONGEST_HOLD) and self.per is Per.ACCESS:
            raise ValueError(f"per access does not belong to {self.kind.value}")
        if self.kind is OutputKind.MAPPING and self.steps:
            raise ValueError("steps does not belong to mapping, which is that at the end")

    @property
    def choices(self) -> tuple[str, ...]:
        """What `of` may be."""
        if self.kind is OutputKind.COUNTER:
            return COUNTER_NAMES
        if self.kind in (OutputKind.LONGEST_HOLD, OutputKind.HELD):
            return tuple(lock.name.lower() for lock in Lock)
        if self.kind is OutputKind.WAITED:
            return tuple(wait.name.lower() for wait in Wait)
        if self.kind is OutputKind.MAPPING:
            return tuple(kind.name.lower() for kind in Mapping)
        return ()

    @property
    def unit(self) -> str:
        """Unit of the numbers."""
        if self.kind.is_time:
            return "ns"
        return "byte" if self.of.endswith("bytes") else "1"


@attrs.frozen(kw_only=True)
class Pair:
    """Two entries whose times are compared: `above` minus and over `below`."""

    above: str = attrs.field(validator=attrs.validators.in_(SIMULATED_ENTRIES))
    below: str = attrs.field(validator=attrs.validators.in_(SIMULATED_ENTRIES))

    @property
    def name(self) -> str:
        """Name in the results."""
        return f"{self.above}/{self.below}"


@attrs.frozen(kw_only=True)
class Mixture:
    """What happens instead to a share of all 2 MiB ranges.

    Parameters
    ----------
    scenario : Scenario
        With all the steps that outputs name.
    share : float
    """

    scenario: Scenario = attrs.field(validator=attrs.validators.instance_of(Scenario))
    share: float = attrs.field(default=0.0)

    @share.validator
    def _is_share(self, _: object, value: object) -> None:
        if not _finite(value) or not 0 <= value <= 1:  # type: ignore[operator]
            raise ValueError("share must be a number from 0 to 1")


@attrs.frozen(kw_only=True)
class BreakEven:
    """Where on an axis the entries of a pair cost the same.

    Parameters
    ----------
    axis : str
        Name of an axis of numbers.
    output : str
        A time.
    """

    axis: str = attrs.field(validator=text)
    output: str = attrs.field(validator=text)


@attrs.frozen(kw_only=True)
class Study:
    """A set of what-ifs.

    Parameters
    ----------
    name, title, description : str
    scenario : Scenario
        In a file: the name of an installed one, or a table.
    machine, device : str
        Names or paths.
    entries : tuple of str
        Every cell has all of them, with the same seeds and draws.
    pairs : tuple of Pair
    axes : tuple of Axis
    outputs : tuple of Output
    design : Design
    mixture : Mixture, optional
    break_even : BreakEven, optional
    model : Model
    draws : int
        From the spreads behind every interval; 0: best values only.
    seed : int
    keep_draws : bool
        Whether the results hold all draws instead of their 90 % interval.
    figure : str
        Which figure shows it, see `perfmodel.plot.sweep`.
    """

    name: str = attrs.field(validator=text)
    title: str = attrs.field(validator=text)
    description: str = attrs.field(validator=text)
    scenario: Scenario = attrs.field(validator=attrs.validators.instance_of(Scenario))
    machine: str = attrs.field(validator=text)
    device: str = attrs.field(validator=text)
    entries: tuple[str, ...] = attrs.field(validator=[tuple_of(str), attrs.validators.min_len(1)])
    axes: tuple[Axis, ...] = attrs.field(validator=tuple_of(Axis))
    outputs: tuple[Output, ...] = attrs.field(
        validator=[tuple_of(Output), attrs.validators.min_len(1)]
    )
    pairs: tuple[Pair, ...] = attrs.field(default=(), validator=tuple_of(Pair))
    design: Design = attrs.field(factory=Design, validator=attrs.validators.instance_of(Design))
    mixture: Mixture | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(Mixture))
    )
    break_even: BreakEven | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(BreakEven))
    )
    model: Model = attrs.field(
        default=Model.CLOSED_FORM, validator=attrs.validators.instance_of(Model)
    )
    draws: int = whole_number(0, 100_000, default=400)
    seed: int = whole_number(0, (1 << 48) - 1, default=1)
    keep_draws: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    figure: str = attrs.field(default="lines")

    @figure.validator
    def _is_figure(self, _: object, value: object) -> None:
        if value not in FIGURES:
            raise ValueError(f"figure must be one of {', '.join(FIGURES)}")

    def __attrs_post_init__(self) -> None:
        for entry in self.entries:
            if entry not in SIMULATED_ENTRIES:
                hint = nearest(entry, SIMULATED_ENTRIES)
                known = ", ".join(SIMULATED_ENTRIES)
                raise ValueError(f"entries: {entry!r} is none of {known}{hint}")
        _once("entries", self.entries)
        _once("pairs", [pair.name for pair in self.pairs])
        _once("outputs", [output.name for output in self.outputs])
        for pair in self.pairs:
            for entry in (pair.above, pair.below):
                if entry not in self.entries:
                    raise ValueError(
                        f"pairs: {entry!r} is none of the entries{nearest(entry, self.entries)}"
                    )
        self._check_outputs()
        self._check_axes()
        if 0 < self.draws < 20:
            raise ValueError("draws must be 0, or at least 20")

    def _check_outputs(self) -> None:
        stories = [self.scenario] + ([self.mixture.scenario] if self.mixture else [])
        for story in stories:
            known = {step.name for step in story.steps}
            for output in self.outputs:
                for step in output.steps:
                    if step not in known:
                        where = f"outputs.{output.name}.steps"
                        hint = nearest(step, known)
                        raise ValueError(f"{where}: {step!r} is no step of {story.name}{hint}")
        if self.break_even is not None:
            times = [output.name for output in self.outputs if output.kind.is_time]
            if self.break_even.output not in times or not self.pairs:
                raise ValueError("break_even.output must be a time, and there must be pairs")

    def _check_axes(self) -> None:
        for axis in self.axes:
            root = axis.field.split(".", 1)[0]
            if root not in ROOTS:
                known = f"{', '.join(ROOTS)}{nearest(root, ROOTS)}"
                raise ValueError(f"axes: {axis.field!r} must begin with {known}")
            ranged = axis.range is not None
            if self.design.kind is DesignKind.GRID and ranged:
                raise ValueError(f"axes: {axis.field} has a range, which a grid has no use for")
            if self.design.kind is DesignKind.ONE_AT_A_TIME and not ranged:
                raise ValueError(f"axes: {axis.field} must have a range to go to both ends of")
            if root == "mixture" and (axis.field != "mixture.share" or self.mixture is None):
                raise ValueError("axes: only mixture.share varies, and needs a mixture")


def _once(key: str, names: Any) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"{key} has one twice")


FIGURES = ("lines", "bars", "tornado", "indices", "map")
