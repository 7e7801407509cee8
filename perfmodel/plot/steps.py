"""Figure of one result, step by step. It scales units and computes nothing new."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfmodel.plot.figures import TIME_LABEL
from perfmodel.plot.style import MEASURED, PARTS, new_figure
from perfmodel.results.result import Result


def time_by_step(result: Result, ax: Axes) -> Axes:
    """A bar for each step with its interval: where the time went, or every measured repetition.

    Parameters
    ----------
    result : Result
    ax : Axes

    Returns
    -------
    Axes
    """
    scale = result.regions * 1000
    steps = result.steps
    places = range(len(steps))
    ends = [0.0] * len(steps)
    for part, (label, colour) in PARTS.items():
        widths = [step.breakdown_ns.get(part, 0.0) / scale for step in steps]
        if any(widths):
            ax.barh(places, widths, left=ends, height=0.6, color=colour, label=label)
            ends = [end + width for end, width in zip(ends, widths, strict=True)]
    for place, step in enumerate(steps):
        for repetition in step.repetitions_ns:
            ax.plot(
                repetition / scale, place + 0.25, color=MEASURED, marker="|", alpha=0.4,
                linestyle="none",
            )  # fmt: skip
    times = [step.elapsed_ns / scale for step in steps]
    errors = [
        [
            max(0.0, time - step.interval_ns[0] / scale)
            for time, step in zip(times, steps, strict=True)
        ],
        [
            max(0.0, step.interval_ns[1] / scale - time)
            for time, step in zip(times, steps, strict=True)
        ],
    ]
    is_measured = any(step.repetitions_ns for step in steps)
    ax.errorbar(
        times, places, xerr=errors, fmt="o", color=MEASURED if is_measured else "black",
        markersize=4, capsize=4,
        label="measured, 5 % to 75 % quantile" if is_measured else "90 % interval",
    )  # fmt: skip
    ax.set_yticks(places, [step.name for step in steps])
    ax.set_ylim(len(steps) - 0.5, -0.5)
    ax.set_xlim(left=0.0)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(TIME_LABEL)
    return ax


def step_figure(result: Result) -> Figure:
    """All steps of a result."""
    figure, (ax,) = new_figure(height_inches=2.0 + 0.4 * len(result.steps))
    time_by_step(result, ax)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return figure
