"""Figures of predictions beside measurements. They take what was calculated and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from perfmodel.calibrate.judge import ALL_STEPS, ValidationRun
from perfmodel.plot.style import new_figure
from perfmodel.specs.policy import SHMEM_ENTRY

_BANDS = ((0.05, 0.25), (0.15, 0.10))
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
_GRID = "#DDDDDD"


def _families(runs: Sequence[ValidationRun]) -> dict[str, list[ValidationRun]]:
    """Steps that go by one name but for a number, such as touch and touch-2."""
    found: dict[str, list[ValidationRun]] = {}
    for run in runs:
        stem, _, number = run.step.rpartition("-")
        found.setdefault(stem if stem and number.isdigit() else run.step, []).append(run)
    return found


def _points(runs: Sequence[ValidationRun]) -> list[list[ValidationRun]]:
    """Runs of the same step of the same arm together."""
    found: dict[tuple[str, str, str, str], list[ValidationRun]] = {}
    for run in runs:
        found.setdefault(run.key, []).append(run)
    return list(found.values())


def predicted_by_measured(runs: Sequence[ValidationRun], ax: Axes) -> Axes:
    """Predicted over measured times with the identity line and error bands, logarithmic both ways.

    Parameters
    ----------
    runs : sequence of ValidationRun
        A point for each step of each arm, at the mean of its runs; its bars are the least and most
        measured, and the 90 % interval of the prediction. Hollow where a fit has seen it, a diamond
        where a memfd stands in for a PMD swap entry.
    ax : Axes

    Returns
    -------
    Axes
    """
    edges = []
    for colour, (_, members) in zip(_COLOURS, _families(runs).items(), strict=False):
        for same in _points(members):
            measured = np.array([run.measured_ns / run.regions for run in same]) / 1000
            at = float(np.exp(np.log(measured).mean()))
            predicted = same[0].predicted_ns / same[0].regions / 1000
            low, high = (bound / same[0].regions / 1000 for bound in same[0].interval_ns)
            edges += [at, predicted, high]
            ax.errorbar(
                at,
                predicted,
                xerr=[[max(at - measured.min(), 0)], [max(measured.max() - at, 0)]],
                yerr=[[max(predicted - low, 0)], [max(high - predicted, 0)]],
                fmt="D" if same[0].entry == SHMEM_ENTRY else "o",
                color=colour,
                markerfacecolor=colour if same[0].held_out else "white",
                markersize=5,
                elinewidth=0.7,
                alpha=0.85,
                zorder=3,
            )
    _identity(ax, min(edges) / 1.5, max(edges) * 1.5)
    ax.set_xlabel("measured, us per 2 MiB")
    ax.set_ylabel("predicted, us per 2 MiB")
    return ax


def _identity(ax: Axes, low: float, high: float) -> None:
    line = np.array([low, high])
    for size, alpha in _BANDS:
        ax.fill_between(
            line, line * (1 - size), line * (1 + size), color="#000000", alpha=alpha, linewidth=0,
            zorder=1,
        )  # fmt: skip
    ax.plot(line, line, color="#333333", linewidth=1.0, zorder=2)
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_aspect("equal")
    ax.grid(color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)


def errors_by_size(runs: Sequence[ValidationRun], ax: Axes) -> Axes:
    """Relative errors of steps in the order of their size, with the noise floor of each."""
    errors = sorted((abs(run.relative_error) for run in runs), reverse=True)
    floors = sorted((run.noise_floor for run in runs), reverse=True)
    share = (np.arange(len(errors)) + 0.5) / len(errors) * 100
    ax.plot(share, np.array(errors) * 100, color=_COLOURS[0], label="error of the prediction")
    ax.plot(
        share, np.array(floors) * 100, color=_COLOURS[1], linestyle="--",
        label="noise floor: one run predicts another",
    )  # fmt: skip
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(bottom=0.5)
    ax.set_xlim(0, 100)
    ax.set_xlabel("share of the steps, worst first [%]")
    ax.set_ylabel("error, whatever its sign")
    ax.grid(axis="y", color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(loc="upper right", frameon=False)
    return ax


def validation_figure(machine: str, runs: Sequence[ValidationRun]) -> Figure:
    """Predicted against measured, and beside it the errors with the noise floor."""
    figure, axes = new_figure(2, width_inches=11.0, height_inches=5.6, share_x=False, share_y=False)
    steps = [run for run in runs if run.step != ALL_STEPS]
    predicted_by_measured(steps, axes[0])
    axes[0].set_title(f"{machine}: steps of all runs", fontsize="medium")
    errors_by_size([run for run in steps if run.held_out] or steps, axes[1])
    axes[1].set_title("what no fit has seen", fontsize="medium")
    handles = [
        Line2D([], [], color=colour, marker="o", linestyle="none", label=name)
        for colour, name in zip(_COLOURS, _families(steps), strict=False)
    ]
    handles += [
        Line2D([], [], color="#333333", marker="D", linestyle="none", label="memfd"),
        Line2D(
            [], [], color="#333333", marker="o", markerfacecolor="white", linestyle="none",
            label="seen by the fit",
        ),
        Line2D([], [], color="#333333", label="equal; bands 5 % and 15 %"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure
