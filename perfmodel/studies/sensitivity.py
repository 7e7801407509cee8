"""Which of a study's axes its result hangs on: variance-based indices, and a tornado."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.errors import InputError, Problem
from perfmodel.specs.study import DesignKind, Study
from perfmodel.studies.sweep import Sweep

Floats = npt.NDArray[np.float64]
CONFIDENCE = 0.9
_RESAMPLES = 500


@attrs.frozen
class Index:
    """How much of the variance an axis explains, with 90 % intervals by bootstrap.

    Parameters
    ----------
    axis, label : str
    first, first_low, first_high : float
        Alone.
    total, total_low, total_high : float
        Together with all others that it interacts with.
    """

    axis: str
    label: str
    first: float
    first_low: float
    first_high: float
    total: float
    total_low: float
    total_high: float


@attrs.frozen
class Indices:
    """Sobol indices of one variable, the largest total first."""

    variable: str
    of: str
    unit: str
    mean: float
    standard_deviation: float
    indices: tuple[Index, ...]

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel sweep --json`` prints it."""
        return attrs.asdict(self)


@attrs.frozen
class Bar:
    """What one axis alone does.

    Parameters
    ----------
    axis, label, unit : str
    low, high : float
        Ends of its range.
    at_low, at_high : float
        The variable there, all others at their own values.
    """

    axis: str
    label: str
    unit: str
    low: float
    high: float
    at_low: float
    at_high: float

    @property
    def swing(self) -> float:
        """How far it moves the variable."""
        return abs(self.at_high - self.at_low)


@attrs.frozen
class Tornado:
    """One axis at a time, the longest bar first."""

    variable: str
    of: str
    unit: str
    base: float
    bars: tuple[Bar, ...]

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel sweep --json`` prints it."""
        return attrs.asdict(self)


def headline(study: Study) -> tuple[str, str]:
    """The variable that a study is about, and which entry or pair of it.

    The difference of the first pair in the first time; without pairs that time of the last entry.
    """
    for output in study.outputs:
        if output.kind.is_time:
            if study.pairs:
                return f"{output.name}_difference", study.pairs[0].name
            return output.name, study.entries[-1]
    raise InputError(Problem("has no time among its outputs", file=study.name, key="outputs"))


def column(swept: Sweep, variable: str, of: str) -> Floats:
    """Best values of a variable for one entry or pair, cell by cell."""
    found = swept.dataset[variable]
    dimension = "pair" if "pair" in found.dims else "entry"
    found = found.sel({dimension: of})
    if "bound" in found.dims:
        found = found.sel(bound="best")
    elif "draw" in found.dims:
        found = found.sel(draw=0)
    return np.asarray(found.values, dtype=float).ravel()


def sobol_indices(swept: Sweep, variable: str = "", of: str = "") -> Indices:
    """First-order and total indices of a study with the design ``sobol-indices``.

    Parameters
    ----------
    swept : Sweep
    variable, of : str
        Instead of `headline`.
    """
    study = swept.study
    if study.design.kind is not DesignKind.SOBOL_INDICES:
        message = f"must be {DesignKind.SOBOL_INDICES.value} for indices"
        raise InputError(Problem(message, file=study.name, key="design.kind"))
    if not variable:
        variable, of = headline(study)
    values = column(swept, variable, of)
    axes, count = swept.plan.axes, study.design.count
    if not np.isfinite(values).all():
        raise InputError(Problem(f"{variable} is not finite everywhere", file=study.name))
    blocks = values.reshape(2 + len(axes), 1, count)
    spread = float(blocks[:2].std())
    if spread == 0:
        raise InputError(Problem(f"{variable} is the same everywhere", file=study.name))
    first, total = _estimated(blocks)
    # scipy's own bootstrap draws from numpy's global generator; this one can be repeated.
    random = np.random.default_rng(study.design.seed)
    drawn = np.array(
        [_estimated(blocks[:, :, random.integers(0, count, count)]) for _ in range(_RESAMPLES)]
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    found = [
        Index(
            axis.name, axis.axis.label or axis.axis.field,
            float(first[n]), float(low[0, n]), float(high[0, n]),
            float(total[n]), float(low[1, n]), float(high[1, n]),
        )
        for n, axis in enumerate(axes)
    ]  # fmt: skip
    found.sort(key=lambda index: -index.total)
    unit = swept.dataset[variable].attrs["units"]
    return Indices(variable, of, unit, float(blocks[:2].mean()), spread, tuple(found))


def _estimated(blocks: Floats) -> tuple[Floats, Floats]:
    """First-order and total indices from values at the points A, B and A with one column of B."""
    from scipy import stats

    found = stats.sobol_indices(
        func={"f_A": blocks[0], "f_B": blocks[1], "f_AB": blocks[2:]}, n=blocks.shape[-1]
    )
    return np.ravel(found.first_order), np.ravel(found.total_order)


def tornado(swept: Sweep, variable: str = "", of: str = "") -> Tornado:
    """What each axis alone does, from a study with the design ``one-at-a-time``."""
    study = swept.study
    if study.design.kind is not DesignKind.ONE_AT_A_TIME:
        message = f"must be {DesignKind.ONE_AT_A_TIME.value} for a tornado"
        raise InputError(Problem(message, file=study.name, key="design.kind"))
    if not variable:
        variable, of = headline(study)
    values = column(swept, variable, of)
    bars = [
        Bar(
            axis.name, axis.axis.label or axis.axis.field, axis.unit, axis.low, axis.high,
            float(values[1 + 2 * number]), float(values[2 + 2 * number]),
        )
        for number, axis in enumerate(swept.plan.axes)
    ]  # fmt: skip
    bars.sort(key=lambda bar: -bar.swing)
    unit = swept.dataset[variable].attrs["units"]
    return Tornado(variable, of, unit, float(values[0]), tuple(bars))
