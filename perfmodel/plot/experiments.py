"""Figure of published experiments. It takes what was calculated and computes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from perfmodel.plot.style import MEASURED, PREDICTED, new_figure
from perfmodel.studies.experiments import ComparedRatio

Ratios = Mapping[str, Sequence[ComparedRatio]]

_TICKS = (0.002, 0.01, 0.05, 0.2, 0.5, 1, 2, 5, 10, 20)
_GRID = "#DDDDDD"


def ratios_by_experiment(found: Ratios, ax: Axes) -> Axes:
    """A row for each ratio, by experiment: published, and simulated with its interval."""
    rows, names = [], []
    row = 0
    for name, ratios in found.items():
        ax.annotate(
            name, (0.0, row), xycoords=("axes fraction", "data"),
            xytext=(4, 0), textcoords="offset points", va="center", weight="bold", fontsize="small",
        )  # fmt: skip
        row += 1
        for ratio in ratios:
            low, high = ratio.interval
            ax.plot([low, high], [row, row], color=PREDICTED, alpha=0.35, linewidth=6,
                    solid_capstyle="butt", label="simulated, 90 % interval")  # fmt: skip
            ax.plot(ratio.simulated, row, color=PREDICTED, marker="|", markersize=12,
                    markeredgewidth=2.5, linestyle="none", label="simulated")  # fmt: skip
            ax.plot(ratio.published.value, row, color=MEASURED, marker="o", markersize=6,
                    linestyle="none", label="published")  # fmt: skip
            rows.append(row)
            names.append(f"{ratio.label}, {ratio.published.measure.value}")
            row += 1
    ax.axvline(1.0, color="#888888", linewidth=0.8, zorder=0)
    ax.set_yticks(rows, names)
    ax.set_ylim(row - 0.4, -0.6)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(_TICKS))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(axis="x", color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("ratio of two arms (no unit)")
    return ax


def experiment_figure(found: Ratios) -> Figure:
    """All experiments under one another."""
    rows = sum(1 + len(ratios) for ratios in found.values())
    figure, (ax,) = new_figure(width_inches=9.5, height_inches=1.6 + 0.29 * rows)
    ratios_by_experiment(found, ax)
    handles: dict[str, Artist] = {}
    for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
        handles.setdefault(str(label), handle)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=3, frameon=False
    )
    return figure
