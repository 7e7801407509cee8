"""Where one cost falls below another, draw by draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Costs = npt.NDArray[np.float64]
LOW, HIGH = 0.05, 0.95


def last_crossings(places: Sequence[float] | Costs, ratios: Costs) -> Costs:
    """Where a ratio falls to 1 for good, on straight lines between logarithms of ratios.

    Parameters
    ----------
    places : sequence of float
        Ascending.
    ratios : float array, shape (places, draws)
        Infinite or 0 where one of both cannot be: then the middle between its neighbours counts.
        NaN, neither can be, counts as above 1.

    Returns
    -------
    float array, shape (draws,)
        Minus infinity where it is never above 1, infinity where it is above 1 at the last.
    """
    at = np.asarray(places, dtype=float)
    with np.errstate(divide="ignore"):
        levels = np.where(np.isnan(ratios), np.inf, np.log2(ratios))
    found = np.full(ratios.shape[1], -np.inf)
    for draw in range(found.size):
        column = levels[:, draw]
        losses = np.flatnonzero(column > 0)
        if losses.size == 0:
            continue
        last = int(losses[-1])
        if last == len(at) - 1:
            found[draw] = np.inf
            continue
        above, below = column[last], column[last + 1]
        share = above / (above - below) if np.isfinite([above, below]).all() else 0.5
        found[draw] = at[last] + share * (at[last + 1] - at[last])
    return found


def interval(at: Costs) -> tuple[float, float]:
    """The 90 % interval of crossings.

    By order statistics: a crossing may be infinite, and then has no mean with another.
    """
    low, high = np.quantile(at, [LOW, HIGH], method="nearest")
    return float(low), float(high)
