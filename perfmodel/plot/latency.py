"""Figures of latency against working set. They take what was calculated and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from perfmodel.plot.style import MEASURED, PREDICTED, new_figure
from perfmodel.results.chase import QUANTILES, ChaseMeasurement, ChasePoint
from perfmodel.specs.translation import PageSize
from perfmodel.studies.chase import Curve
from perfmodel.studies.latency import Latency
from perfmodel.studies.published_latency import CpuComparison
from perfmodel.units import format_bytes

_GRID = "#DDDDDD"
_LINES = ("-", "--", ":", "-.")
_TICKS_NS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
_SIZE_COLOURS = {PageSize.SIZE_4K: PREDICTED, PageSize.SIZE_2M: "#009E73"}


def _axes(ax: Axes, xs: Sequence[int], label: str, unit: str) -> None:
    """Logarithmic both ways, every second size named."""
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(list(xs)[::2], [str(x) for x in list(xs)[::2]])
    ax.yaxis.set_major_locator(FixedLocator(_TICKS_NS))  # set_yticks would make room for them all
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())
    ax.set_xlim(xs[0] / 1.3, xs[-1] * 1.3)
    ax.grid(axis="y", color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xlabel(label)
    ax.set_ylabel(f"{unit} per access")


def chase_by_pages(curves: Sequence[Curve], points: Sequence[ChasePoint], ax: Axes) -> Axes:
    """Predicted over measured latency of a chase with one line a page.

    Parameters
    ----------
    curves : sequence of Curve
        Of one page size, one for each assumption; the first one with its interval.
    points : sequence of ChasePoint
        Measured, of the same page size; the bar goes from the least to the median repetition.
    ax : Axes

    Returns
    -------
    Axes
    """
    ordered = sorted(points, key=lambda point: point.pages)
    for number, curve in enumerate(curves):
        if number == 0 and curve.lows != curve.highs:
            ax.fill_between(
                curve.pages, curve.lows, curve.highs, color=PREDICTED, alpha=0.15, linewidth=0,
                label="90 % of drawn machines",
            )  # fmt: skip
        ax.plot(
            curve.pages, curve.ns, color=PREDICTED, linestyle=_LINES[number % len(_LINES)],
            label=f"predicted: {curve.assumption.label}",
        )  # fmt: skip
    if ordered:
        values = [point.ns() for point in ordered]
        ax.errorbar(
            [point.pages for point in ordered],
            values,
            yerr=[
                [value - point.ns(0.0) for value, point in zip(values, ordered, strict=True)],
                [
                    point.ns(QUANTILES[-1]) - value
                    for value, point in zip(values, ordered, strict=True)
                ],
            ],
            fmt="o",
            color=MEASURED,
            markersize=5,
            capsize=3,
            zorder=4,
            label="measured: 10 % quantile, least to median",
        )
    pages = sorted({*(page for c in curves for page in c.pages), *(p.pages for p in ordered)})
    _axes(ax, pages, "pages of 4 KiB in the working set", "ns")
    return ax


def chase_figure(curves: Sequence[Curve], measured: ChaseMeasurement) -> Figure:
    """One panel for each page size, and one legend for both."""
    sizes = list(dict.fromkeys(curve.page_size for curve in curves))
    figure, axes = new_figure(len(sizes), width_inches=10.0, height_inches=5.0)
    for ax, size in zip(axes, sizes, strict=True):
        chase_by_pages(
            [curve for curve in curves if curve.page_size is size], measured.of(size), ax
        )
        ax.set_title("2 MiB pages" if size is PageSize.SIZE_2M else "4 KiB pages")
    for ax in axes[1:]:
        ax.set_ylabel("")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def matrix_by_size(comparison: CpuComparison, ax: Axes) -> Axes:
    """One CPU's published latencies and their predictions, in clocks."""
    sizes = [cell.size_bytes for cell in comparison.cells]
    ax.plot(
        sizes, [cell.predicted for cell in comparison.cells], color=PREDICTED,
        label="predicted",
    )  # fmt: skip
    ax.fill_between(
        sizes,
        [cell.drawn for cell in comparison.cells],
        [cell.scattered for cell in comparison.cells],
        color=PREDICTED,
        alpha=0.15,
        linewidth=0,
        label="pages scattered: lines drawn anew to the cycle",
    )
    ax.plot(
        sizes, [cell.published for cell in comparison.cells], color=MEASURED, marker="o",
        markersize=5, linestyle="none", label="published",
    )  # fmt: skip
    _axes(ax, sizes, "buffer", "clocks")
    ax.set_xticks(sizes[::3], [_short(size) for size in sizes[::3]])
    return ax


def matrix_figure(comparisons: Sequence[CpuComparison]) -> Figure:
    """A panel for each CPU on one scale."""
    figure, axes = new_figure(
        len(comparisons), width_inches=1.0 + 3.4 * len(comparisons), height_inches=4.2
    )
    for ax, comparison in zip(axes, comparisons, strict=True):
        matrix_by_size(comparison, ax)
        ax.set_title(comparison.cpu, fontsize="medium")
    for ax in axes[1:]:
        ax.set_ylabel("")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def latency_by_size(latencies: dict[PageSize, list[Latency]], ax: Axes) -> Axes:
    """Predicted latency of a chase through every line of a buffer, by page size."""
    for size, row in latencies.items():
        ax.plot(
            [latency.size_bytes for latency in row], [latency.ns for latency in row],
            color=_SIZE_COLOURS[size], marker="o", markersize=4, label=f"{size} pages",
        )  # fmt: skip
    sizes = [latency.size_bytes for latency in next(iter(latencies.values()))]
    _axes(ax, sizes, "buffer", "ns")
    ax.set_xticks(sizes[::2], [_short(size) for size in sizes[::2]])
    ax.legend(loc="upper left", frameon=False)
    return ax


def _short(size: int) -> str:
    return format_bytes(size).replace("iB", "").replace(" ", "")
