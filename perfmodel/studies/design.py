"""Points of a study's axes that are not a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from perfmodel.specs.study import Design, DesignKind

if TYPE_CHECKING:
    from perfmodel.studies.plan import ResolvedAxis

Points = npt.NDArray[np.float64]


def sample(design: Design, axes: Sequence[ResolvedAxis]) -> Points:
    """The points of a design; shape (cells, axes).

    NaN where an axis stays at its own value; for an axis with a list of values, the number of one.
    Empty for a grid.
    """
    if design.kind is DesignKind.GRID:
        return np.empty((0, len(axes)))
    if design.kind is DesignKind.ONE_AT_A_TIME:
        points = np.full((1 + 2 * len(axes), len(axes)), np.nan)
        for number, axis in enumerate(axes):
            points[1 + 2 * number, number] = axis.low
            points[2 + 2 * number, number] = axis.high
        return points
    return placed(unit_points(design, len(axes)), axes)


def unit_points(design: Design, dimensions: int) -> Points:
    """Points of the unit cube that fill it evenly.

    For indices first the points A, then B, then A with column i from B for each axis i.
    """
    from scipy.stats import qmc

    if design.kind is DesignKind.LATIN_HYPERCUBE:
        engine = qmc.LatinHypercube(dimensions, rng=np.random.default_rng(design.seed))
        return np.asarray(engine.random(design.count))
    if design.kind is DesignKind.SOBOL:
        cube = qmc.Sobol(dimensions, rng=np.random.default_rng(design.seed))
        return np.asarray(cube.random(design.count))
    cube = qmc.Sobol(2 * dimensions, rng=np.random.default_rng(design.seed))
    both = np.asarray(cube.random(design.count))
    first, second = both[:, :dimensions], both[:, dimensions:]
    mixed = []
    for number in range(dimensions):
        points = first.copy()
        points[:, number] = second[:, number]
        mixed.append(points)
    return np.concatenate([first, second, *mixed])


def placed(points: Points, axes: Sequence[ResolvedAxis]) -> Points:
    """Points of the unit cube in the axes' ranges."""
    found = np.empty_like(points)
    for number, axis in enumerate(axes):
        column = points[:, number]
        if axis.values:
            size = len(axis.values)
            found[:, number] = np.minimum(np.floor(column * size), size - 1)
        elif axis.axis.range is not None and axis.axis.range.logarithmic:
            found[:, number] = axis.low * (axis.high / axis.low) ** column
        else:
            found[:, number] = axis.low + column * (axis.high - axis.low)
        if not axis.values and type(axis.own) is int and not axis.axis.relative:
            found[:, number] = np.rint(found[:, number])
    return found
