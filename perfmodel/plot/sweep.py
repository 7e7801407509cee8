"""Figures of studies. They take what was calculated and compute nothing."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import seaborn as sns
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from perfmodel.plot.style import new_figure
from perfmodel.studies.break_even import BreakEvens
from perfmodel.studies.findings import Findings
from perfmodel.studies.plan import ResolvedAxis
from perfmodel.studies.sensitivity import Indices, Tornado
from perfmodel.studies.sweep import Sweep

_MARKERS = "osD^vPX*"
_MOST_PANELS = 4
_MOST_BARS = 15
# Times and sizes are shown in a unit in which the largest number has few digits.
_SCALES = {
    "ns": ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")),
    "byte": ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "byte")),
}


def _scale(values: Any, unit: str) -> tuple[float, str]:
    finite = np.abs(np.asarray(values, dtype=float))
    finite = finite[np.isfinite(finite)]
    if unit not in _SCALES or finite.size == 0:
        return 1.0, unit
    scales = _SCALES[unit]
    return next((pair for pair in scales if finite.max() >= 10 * pair[0]), scales[-1])


def _colours(names: list[str]) -> dict[str, Any]:
    return dict(zip(names, sns.color_palette("colorblind", max(len(names), 3)), strict=False))


def _label(text: str, unit: str) -> str:
    return text if unit in ("", "1") else f"{text} [{unit}]"


def cost_lines(
    found: xarray.DataArray, axis: ResolvedAxis, ax: Axes, *, all_panels: Any = None
) -> Axes:
    """One line and 90 % band for each entry over an axis of numbers.

    Parameters
    ----------
    found : DataArray, dimensions of the axis, ``entry`` and, for a time, ``bound``
    axis : ResolvedAxis
    ax : Axes
    all_panels : array, optional
        The values of all panels, where several share the scale.
    """
    entries = [str(entry) for entry in found["entry"].values]
    everything = found.values if all_panels is None else np.asarray(all_panels)
    factor, unit = _scale(everything, found.attrs["units"])
    for number, (entry, colour) in enumerate(_colours(entries).items()):
        line = found.sel(entry=entry) / factor
        places = np.asarray(line[axis.name].values, dtype=float)
        best = line.sel(bound="best") if "bound" in line.dims else line
        if "bound" in line.dims:
            low, high = (np.asarray(line.sel(bound=bound).values) for bound in ("low", "high"))
            ax.fill_between(places, low, high, color=colour, alpha=0.22, linewidth=0)
        ax.plot(
            places, best.values, color=colour, marker=_MARKERS[number % len(_MARKERS)],
            # Where lines lie on one another, all of them can be seen.
            markersize=max(3.0, 6.5 - number), linewidth=max(1.0, 3.0 - 0.7 * number), label=entry,
        )  # fmt: skip
    _scales(everything, axis, ax)
    ax.set_ylabel(_label(found.attrs["long_name"], unit))
    return ax


def _scales(values: Any, axis: ResolvedAxis, ax: Axes) -> None:
    """Logarithmic where values go over more than one order of magnitude."""
    places = np.asarray(axis.values, dtype=float)
    factor, unit = _scale(places, axis.unit) if axis.unit == "byte" else (1.0, axis.unit)
    if factor > 1:
        ax.set_xticks(places, [f"{place / factor:g}" for place in places])
    elif places.min() > 0 and places.max() / places.min() > 30:
        ax.set_xscale("log", base=2 if (places % 1 == 0).all() else 10)
        if (places % 1 == 0).all():
            shown = [place for place in places if np.log2(place) % 1 == 0]
            ax.set_xticks(shown, [f"{place:.0f}" for place in shown])
            ax.minorticks_off()
    finite = values[np.isfinite(values) & (values > 0)]
    if finite.size and finite.size == values.size and finite.max() / finite.min() > 20:
        ax.set_yscale("log")
    ax.set_xlabel(_label(axis.axis.label or axis.axis.field, "" if unit == "1" else unit))


def break_even_marks(found: BreakEvens, others: dict[str, Any], ax: Axes) -> Axes:
    """Where the entries of each pair cost the same, as a line in the interval's band."""
    pairs = list(dict.fromkeys(point.pair for point in found.points))
    for point in found.points:
        if any(point.others.get(name) != value for name, value in others.items()):
            continue
        if not np.isfinite(point.at):
            continue
        style = ("--", ":", "-.")[pairs.index(point.pair) % 3]
        ax.axvline(
            point.at, color="0.25", linestyle=style, linewidth=1.2, label=f"{point.pair} = 1"
        )
        if np.isfinite([point.low, point.high]).all():
            ax.axvspan(point.low, point.high, color="0.5", alpha=0.15, linewidth=0)
    return ax


def entry_bars(found: xarray.DataArray, names: list[str], dimension: str, ax: Axes) -> Axes:
    """Groups of bars: a group for each member of a dimension, a bar for each entry.

    Parameters
    ----------
    found : DataArray, dimensions `dimension`, ``entry`` and, for a time, ``bound``
    names : list of str
        What stands below each group.
    dimension : str
    ax : Axes
    """
    entries = [str(entry) for entry in found["entry"].values]
    factor, unit = _scale(found.values, found.attrs["units"])
    width = 0.8 / len(entries)
    groups = np.arange(len(names))
    for number, (entry, colour) in enumerate(_colours(entries).items()):
        part = found.sel(entry=entry).transpose(dimension, ...) / factor
        best = np.asarray((part.sel(bound="best") if "bound" in part.dims else part).values)
        places = groups + (number - (len(entries) - 1) / 2) * width
        ax.bar(places, best, width, color=colour, label=entry)
        if "bound" in part.dims:
            low, high = (np.asarray(part.sel(bound=bound).values) for bound in ("low", "high"))
            # The best prices need not lie between the quantiles of the draws.
            errors = [np.maximum(0.0, best - low), np.maximum(0.0, high - best)]
            ax.errorbar(places, best, errors, fmt="none", ecolor="0.2", elinewidth=1.0, capsize=2)
    ax.set_xticks(
        groups,
        names,
        rotation=30 if len(names) > 4 else 0,
        ha="right" if len(names) > 4 else "center",
    )
    positive = found.values[np.isfinite(found.values) & (found.values > 0)]
    if positive.size and positive.max() / positive.min() > 100:
        ax.set_yscale("log")
    ax.set_ylabel(_label(found.attrs["long_name"], unit))
    return ax


def tornado_bars(found: Tornado, ax: Axes) -> Axes:
    """What each axis alone does, the longest bar on top."""
    longest = max(bar.swing for bar in found.bars)
    bars = [bar for bar in found.bars if bar.swing > longest / 1000][:_MOST_BARS]
    factor, unit = _scale(
        [value for bar in bars for value in (bar.at_low, bar.at_high)], found.unit
    )
    low_colour, high_colour = sns.color_palette("colorblind")[0], sns.color_palette("colorblind")[1]
    for row, bar in enumerate(reversed(bars)):
        for value, colour in ((bar.at_low, low_colour), (bar.at_high, high_colour)):
            ax.barh(row, (value - found.base) / factor, left=found.base / factor, color=colour)
    ax.axvline(found.base / factor, color="0.2", linewidth=1.0)
    ax.set_yticks(
        range(len(bars)),
        [f"{bar.label} ({bar.low:,.0f} to {bar.high:,.0f} {bar.unit})" for bar in reversed(bars)],
    )
    ax.set_xlabel(_label(f"{found.variable}, {found.of}".replace("_", " "), unit))
    ends = ((low_colour, "at the low end"), (high_colour, "at the high end"))
    ax.legend(handles=[Patch(color=colour, label=name) for colour, name in ends], loc="lower right")
    return ax


def index_bars(found: Indices, ax: Axes) -> Axes:
    """First-order and total indices with their 90 % intervals."""
    indices = list(reversed(found.indices[:_MOST_BARS]))
    colours = sns.color_palette("colorblind")
    rows = np.arange(len(indices), dtype=float)
    for kind, offset, colour in (("first", 0.2, colours[0]), ("total", -0.2, colours[1])):
        value, low, high = (
            np.array([getattr(index, kind + end) for index in indices])
            for end in ("", "_low", "_high")
        )
        name = "alone" if kind == "first" else "with all it interacts with"
        ax.barh(rows + offset, value, 0.38, color=colour, label=name)
        errors = [np.maximum(0.0, value - low), np.maximum(0.0, high - value)]
        ax.errorbar(
            value, rows + offset, xerr=errors, fmt="none", ecolor="0.2", elinewidth=1.0, capsize=2
        )
    ax.set_yticks(rows, [index.label for index in indices])
    ax.set_xlabel(f"share of the variance of {found.variable}, {found.of}".replace("_", " "))
    ax.legend(loc="lower right")
    return ax


def study_figure(swept: Sweep, findings: Findings) -> Figure:
    """The figure that a study asks for."""
    study = swept.study
    if findings.indices is not None:
        figure, (ax,) = new_figure(height_inches=1.6 + 0.45 * len(findings.indices.indices))
        index_bars(findings.indices, ax)
    elif findings.tornado is not None:
        figure, (ax,) = new_figure(width_inches=10.5, height_inches=6.0)
        tornado_bars(findings.tornado, ax)
    elif study.figure == "bars":
        figure = _bars_figure(swept)
    else:
        figure = _lines_figure(swept, findings)
    vary = any(axis.field == "machine" for axis in study.axes)
    where = "" if vary else f"{study.machine}, "
    figure.suptitle(f"{study.title}\n{where}90 % intervals", fontsize="medium")
    return figure


def _lines_figure(swept: Sweep, findings: Findings) -> Figure:
    """A panel for each combination of the other axes, or for each output; lines over the numbers.

    Where those would be too many, for each value of the first of them.
    """
    study, plan = swept.study, swept.plan
    axis = [each for each in plan.axes if each.is_number and len(each.values) > 1][-1]
    panels: list[tuple[xarray.DataArray, dict[str, Any], str]] = []
    others = [each for each in plan.axes if each is not axis]
    if others:
        found = swept.dataset[study.outputs[0].name]
        if math.prod(len(each.values) for each in others) > _MOST_PANELS:
            found = found.isel({rest.name: 0 for rest in others[1:]})
            others = others[:1]
        shapes = [range(len(each.values)) for each in others]
        for places in list(itertools.product(*shapes))[:_MOST_PANELS]:
            at = {each.name: place for each, place in zip(others, places, strict=True)}
            values = {each.name: each.values[at[each.name]] for each in others}
            titles = [f"{each.axis.label or each.name}: {values[each.name]}" for each in others]
            panels.append((found.isel(at), values, "\n".join(titles)))
    else:
        panels = [(swept.dataset[output.name], {}, "") for output in study.outputs[:_MOST_PANELS]]
    figure, axes = new_figure(
        len(panels), width_inches=2.0 + 3.6 * len(panels), height_inches=4.6, share_y=bool(others)
    )
    for number, (ax, (shown, values, title)) in enumerate(zip(axes, panels, strict=True)):
        together = np.stack([each.values for each, _, _ in panels]) if others else None
        cost_lines(shown, axis, ax, all_panels=together)
        if findings.break_even is not None and findings.break_even.axis == axis.name:
            break_even_marks(findings.break_even, values, ax)
        ax.set_title(title, fontsize="medium")
        if others and number:
            ax.set_ylabel("")
    for ax in axes:
        if ax.get_yscale() == "linear":
            ax.set_ylim(bottom=0.0)
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=min(len(handles), 3 * len(panels)),
    )
    return figure


def _bars_figure(swept: Sweep) -> Figure:
    """Groups for the last axis; without axes for the outputs that have the same unit."""
    study, plan = swept.study, swept.plan
    if plan.axes:
        axis = plan.axes[-1]
        found = swept.dataset[study.outputs[0].name]
        for other in plan.axes[:-1]:
            found = found.isel({other.name: 0})
        names = [str(value) for value in axis.values]
        dimension = axis.name
        outputs = []
    else:
        unit = study.outputs[0].unit
        outputs = [output for output in study.outputs if output.unit == unit]
        found = xarray.concat([swept.dataset[output.name] for output in outputs], "output")
        found.attrs = {"units": unit, "long_name": study.outputs[0].kind.value.replace("-", " ")}
        names = [output.label or output.name for output in outputs]
        dimension = "output"
    figure, (ax,) = new_figure(width_inches=max(7.0, 1.2 + 0.9 * len(names)), height_inches=5.0)
    entry_bars(found, names, dimension, ax)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure
