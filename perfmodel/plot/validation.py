"""Figure of a validation: predicted over measured times. It computes nothing but units."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfmodel.calibrate.validate import Validation
from perfmodel.plot.style import MEASURED, PREDICTED, new_figure

_GRID = "#DDDDDD"


def predicted_over_measured(validation: Validation, ax: Axes) -> Axes:
    """Predicted time with its interval against the measured one, a mark for each step.

    Parameters
    ----------
    validation : Validation
    ax : Axes

    Returns
    -------
    Axes
    """
    kinds = (
        (True, PREDICTED, "o", "never seen by a fit"),
        (False, MEASURED, "s", "seen by the fit"),
    )
    for held_out, colour, marker, label in kinds:
        runs = [run for run in validation.runs if run.held_out is held_out]
        if not runs:
            continue
        scales = [run.regions * 1000 for run in runs]
        predicted = [run.predicted_ns / scale for run, scale in zip(runs, scales, strict=True)]
        lows, highs = (
            [run.interval_ns[end] / scale for run, scale in zip(runs, scales, strict=True)]
            for end in (0, 1)
        )
        ax.errorbar(
            [run.measured_ns / scale for run, scale in zip(runs, scales, strict=True)],
            predicted,
            yerr=[
                [max(0.0, value - low) for value, low in zip(predicted, lows, strict=True)],
                [max(0.0, high - value) for value, high in zip(predicted, highs, strict=True)],
            ],
            fmt=marker, color=colour, markersize=4, elinewidth=1.0, alpha=0.75,
            label=f"{label}, 90 % interval",
        )  # fmt: skip
    ax.axline((1, 1), slope=1, color="#888888", linewidth=1)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.grid(color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xlabel("measured, µs per 2 MiB")
    ax.set_ylabel("predicted, µs per 2 MiB")
    ax.legend(loc="upper left", frameon=False)
    return ax


def validation_figure(validation: Validation) -> Figure:
    """All steps of a validation."""
    figure, (ax,) = new_figure(width_inches=7.0, height_inches=6.0)
    predicted_over_measured(validation, ax)
    return figure
