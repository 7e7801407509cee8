"""Figure of runtime models. It takes what was calculated and computes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from perfmodel.plot.style import MEASURED, PREDICTED, new_figure
from perfmodel.studies.runtime import (
    REPEATED,
    ModelRow,
    ProgramRuntimes,
)
from perfmodel.studies.runtime_workloads import Workload

_GRID = "#DDDDDD"
_OTHER = "#888888"
_LEAST = 0.001
_TICKS = (0.001, 0.01, 0.1, 1, 10)
_WORKLOAD_COLOURS = dict(
    zip(Workload, ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"), strict=True)
)


def errors_by_model(rows: Sequence[ModelRow], ax: Axes) -> Axes:
    """Size of every error, dots for each model; the bar is the median, the cross the worst.

    Parameters
    ----------
    rows : sequence of ModelRow
    ax : Axes

    Returns
    -------
    Axes
    """
    for place, row in enumerate(reversed(rows)):
        sizes = np.maximum(np.abs(row.errors), _LEAST)
        # Dots of one model lie above one another in a fixed pattern, so that all can be seen.
        beside = place + 0.3 * np.sin(np.arange(sizes.size) * 2.4)
        colour = PREDICTED if row.model.startswith("perfmodel") else _OTHER
        colour = MEASURED if row.model.startswith(REPEATED) else colour
        ax.plot(sizes, beside, color=colour, marker=".", markersize=4, linestyle="none", alpha=0.4)
        ax.plot([row.median] * 2, [place - 0.4, place + 0.4], color="black", linewidth=2)
        ax.plot([row.worst], [place], color="black", marker="x", markersize=7)
    ax.set_yticks(range(len(rows)), [row.model for row in reversed(rows)])
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(_TICKS))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(left=_LEAST / 1.3)
    ax.set_xlabel("relative error at mixed layouts (bar: median, cross: worst)")
    ax.grid(axis="x", color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


def predicted_over_measured(programs: Sequence[ProgramRuntimes], ax: Axes) -> Axes:
    """Our prediction of every layout against its measured runtime, both relative to 4k.

    Parameters
    ----------
    programs : sequence of ProgramRuntimes
    ax : Axes

    Returns
    -------
    Axes
    """
    named: set[Workload] = set()
    for program in programs:
        base = program.samples.layout.index("4k")
        measured = program.samples.runtime_cycles / program.samples.runtime_cycles[base]
        predicted = program.predicted_cycles / program.predicted_cycles[base]
        label = None if program.workload in named else program.workload.value
        named.add(program.workload)
        ax.plot(
            measured, predicted, color=_WORKLOAD_COLOURS[program.workload], marker="o",
            markersize=4, linestyle="none", alpha=0.7, label=label,
        )  # fmt: skip
    ax.axline((1, 1), slope=1, color=_OTHER, linewidth=1)
    ax.set_xlabel("measured runtime, 4k = 1")
    ax.set_ylabel("predicted runtime, 4k = 1")
    ax.grid(color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(loc="lower right", frameon=False, fontsize="small")
    return ax


def runtime_figure(programs: Sequence[ProgramRuntimes], rows: Sequence[ModelRow]) -> Figure:
    """Errors by model, and our prediction over what was measured."""
    figure, (left, right) = new_figure(
        2, width_inches=11.0, height_inches=5.0, share_x=False, share_y=False
    )
    errors_by_model(rows, left)
    predicted_over_measured(programs, right)
    return figure
