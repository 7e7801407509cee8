"""Figure of block devices under load. It takes what was calculated and computes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from perfmodel.models.devices import LoadPoint
from perfmodel.plot.style import new_figure
from perfmodel.specs.published_devices import Measure, Use
from perfmodel.studies.published_devices import ComparedValue, DeviceComparison

_GRID = "#DDDDDD"
# Okabe and Ito's, dark ones first.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", ":")
_MARKERS = {Use.FIT: "s", Use.TIED: "s", Use.CHECK: "o"}
_LATENCIES = {Measure.MEAN_US: "full", Measure.P99_US: "none"}


def _axes(ax: Axes, label: str) -> None:
    ax.set_xscale("log", base=2 if label == "queue depth" else 10)
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        if axis is ax.yaxis or label != "queue depth":
            # A range may lie within one power of ten.
            axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0), numticks=20))
        axis.set_major_formatter(FuncFormatter(_short))
        axis.set_minor_locator(NullLocator())
    ax.grid(axis="y", color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xlabel(label)


def _short(value: float, _: object) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _latencies(comparison: DeviceComparison, points: Sequence[LoadPoint]) -> list[ComparedValue]:
    """What was published of the drawn kind of request: means and p99."""
    load = points[0].workload
    return [
        value
        for value in comparison.values
        if value.measure in _LATENCIES
        and (value.block_bytes, value.read_share) == (load.block_bytes, load.read_share)
    ]


def latency_by_depth(
    sweeps: Mapping[str, Sequence[LoadPoint]],
    comparisons: Sequence[DeviceComparison],
    ax: Axes,
) -> Axes:
    """Mean and p99 of the latency against queue depth, published ones as marks."""
    published = {comparison.device: comparison for comparison in comparisons}
    for number, (name, points) in enumerate(sweeps.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        depths = [point.queue_depth for point in points]
        means = [point.all.mean_ns / 1e3 for point in points]
        style = _STYLES[number // len(_COLOURS) % len(_STYLES)]
        ax.plot(depths, means, color=colour, linestyle=style, label=name)
        tails = [point.all.p99_ns / 1e3 for point in points]
        ax.fill_between(depths, means, tails, color=colour, alpha=0.12, linewidth=0)
        for value in _latencies(published[name], points) if name in published else ():
            ax.plot(
                value.queue_depth, value.published, color=colour, markersize=7,
                marker=_MARKERS[value.use], fillstyle=_LATENCIES[value.measure], linestyle="none",
            )  # fmt: skip
    _axes(ax, "queue depth")
    ax.set_ylabel("latency, us: mean, and up to p99")
    return ax


def latency_by_rate(sweeps: Mapping[str, Sequence[LoadPoint]], ax: Axes) -> Axes:
    """Mean latency against the rate that the same queue depths reach."""
    for number, (name, points) in enumerate(sweeps.items()):
        ax.plot(
            [point.iops for point in points],
            [point.all.mean_ns / 1e3 for point in points],
            color=_COLOURS[number % len(_COLOURS)],
            linestyle=_STYLES[number // len(_COLOURS) % len(_STYLES)],
            marker=".",
            label=name,
        )
    _axes(ax, "requests each second")
    return ax


def device_figure(
    sweeps: Mapping[str, Sequence[LoadPoint]], comparisons: Sequence[DeviceComparison]
) -> Figure:
    """Latency against queue depth, and against the rate; one legend for both."""
    figure, (left, right) = new_figure(2, width_inches=10.0, height_inches=5.2, share_x=False)
    latency_by_depth(sweeps, comparisons, left)
    latency_by_rate(sweeps, right)
    handles, labels = right.get_legend_handles_labels()
    for use, text in ((Use.FIT, "published, fitted to"), (Use.CHECK, "published, a check")):
        handles.append(Line2D([], [], color="#555555", marker=_MARKERS[use], linestyle="none"))
        labels.append(f"{text} (filled: mean, open: p99)")
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure
