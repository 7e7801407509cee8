"""Figures of a comparison. They scale units and add up steps, and compute nothing new."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from perfmodel.constants import PAGE_BYTES, PMD_BYTES
from perfmodel.plot.style import MEASURED, PARTS, PREDICTED, new_figure
from perfmodel.results.result import Result
from perfmodel.specs.policy import SHMEM_ENTRY, mthp_order
from perfmodel.specs.step import StepAction
from perfmodel.studies.compare import PMD_ARM, Comparison

TIME_LABEL = "µs per 2 MiB"
_MICROSECOND_NS = 1000


def swapin_kib(entry: str) -> int:
    """KiB that one swap fault of an arm reads when all goes well."""
    whole = entry in (PMD_ARM, "pmd-lazy", SHMEM_ENTRY)
    size = PMD_BYTES if whole else PAGE_BYTES << mthp_order(entry)
    return size // 1024


def _summed_us(result: Result, steps: Iterable[str]) -> tuple[float, float, float]:
    """Time and bounds of some steps together, per 2 MiB; bounds are added up."""
    chosen = [result.step(name) for name in steps]
    scale = result.regions * _MICROSECOND_NS
    return (
        sum(step.elapsed_ns for step in chosen) / scale,
        sum(step.interval_ns[0] for step in chosen) / scale,
        sum(step.interval_ns[1] for step in chosen) / scale,
    )


def _stack(comparison: Comparison, ax: Axes, steps: tuple[str, ...]) -> None:
    entries = list(comparison.arms)
    ends = [0.0] * len(entries)
    for part, (label, colour) in PARTS.items():
        widths = [
            sum(result.step(name).breakdown_ns.get(part, 0.0) for name in steps)
            / result.regions
            / _MICROSECOND_NS
            for result in comparison.arms.values()
        ]
        if not any(widths):
            continue
        ax.barh(
            range(len(entries)), widths, left=ends, height=0.7, color=colour, label=label,
            edgecolor="white", linewidth=0.4,
        )  # fmt: skip
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    for row, end in enumerate(ends):
        ax.annotate(
            f"{end:.0f}" if abs(end) >= 100 else f"{end:.3g}",
            (max(end, 0.0), row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
    ax.set_yticks(range(len(entries)), entries)
    ax.set_ylim(len(entries) - 0.5, -0.5)
    ax.margins(x=0.15)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(TIME_LABEL)


def breakdown_by_entry(
    comparison: Comparison, ax: Axes, steps: tuple[str, ...] | None = None
) -> Axes:
    """Where the predicted time goes: one stacked bar for each simulated entry.

    Parameters
    ----------
    comparison : Comparison
    ax : Axes
    steps : tuple of str, optional
        Steps to add up; by default those of the fallback, from swap-in on. The page-out is mostly
        compression, the same for all entries, and would hide what differs.

    Returns
    -------
    Axes
    """
    _stack(comparison, ax, comparison.fallback.steps if steps is None else steps)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True, frameon=False)
    return ax


def breakdown_figure(comparison: Comparison) -> Figure:
    """The breakdown of the page-out, of what follows and of all else, on one scale."""
    steps = comparison.scenario.steps
    known = (StepAction.FILL, StepAction.PAGEOUT)
    others = [step for step in steps if step.action not in known and not step.action.touches]
    panels = {
        "Page out": tuple(step.name for step in steps if step.action is StepAction.PAGEOUT),
        "Bring back and use": comparison.fallback.steps,
        "Other steps": tuple(step.name for step in others),
    }
    panels = {title: names for title, names in panels.items() if names}
    height = 1.6 + 0.38 * len(comparison.arms)
    figure, axes = new_figure(len(panels), height_inches=height)
    used: dict[str, Artist] = {}
    for ax, (title, names) in zip(axes, panels.items(), strict=True):
        _stack(comparison, ax, names)
        ax.set_title(title)
        handles, labels = ax.get_legend_handles_labels()
        used.update((str(label), handle) for label, handle in zip(labels, handles, strict=True))
    if used:
        labels = [name for name, _ in PARTS.values() if name in used]
        figure.legend(
            [used[label] for label in labels],
            labels,
            loc="outside lower center",
            ncols=5,
            frameon=False,
        )
    return figure


def _plot_measured(comparison: Comparison, ax: Axes) -> dict[int, float]:
    """Points with their spread; the times by swap-in size."""
    points: dict[int, float] = {}
    for stand_in in (False, True):
        entries = [entry for entry in comparison.measured if (entry == SHMEM_ENTRY) is stand_in]
        if not entries:
            continue
        x = [swapin_kib(entry) for entry in entries]
        y = [_summed_us(comparison.measured[entry], comparison.fallback.steps) for entry in entries]
        # A quantile of sums need not lie between sums of quantiles; a bar must not be negative.
        below = [max(value - low, 0.0) for value, low, _ in y]
        above = [max(high - value, 0.0) for value, _, high in y]
        ax.errorbar(
            x,
            [value for value, _, _ in y],
            yerr=[below, above],
            fmt="D" if stand_in else "o",
            markerfacecolor="white" if stand_in else MEASURED,
            color=MEASURED,
            markersize=7,
            capsize=4,
            zorder=4,
            label="measured shmem-pmd (stand-in)" if stand_in else "measured",
        )
        points.update((size, value) for size, (value, _, _) in zip(x, y, strict=True))
    return points


def cost_by_swapin_size(comparison: Comparison, ax: Axes) -> Axes:
    """Time from swap-in on against the size that one fault swaps in, predicted and measured.

    All steps of the fallback are added up, so the first point minus the last one is the fallback's
    cost. Of several steps only each one's own bounds are known, and these are added up too.

    Parameters
    ----------
    comparison : Comparison
    ax : Axes

    Returns
    -------
    Axes
    """
    entries = sorted(comparison.arms, key=swapin_kib)
    x = [swapin_kib(entry) for entry in entries]
    y = [_summed_us(comparison.arms[entry], comparison.fallback.steps) for entry in entries]
    values, lows, highs = zip(*y, strict=True)
    if len(x) > 1:
        ax.fill_between(
            x, lows, highs, color=PREDICTED, alpha=0.15, linewidth=0, label="90 % interval"
        )
    else:
        ax.vlines(x, lows, highs, color=PREDICTED, alpha=0.3, lw=8, label="90 % interval")
    ax.plot(x, values, color=PREDICTED, marker="o", markersize=4, label="predicted")
    if PMD_ARM in entries:
        at = entries.index(PMD_ARM)
        ax.plot(
            [x[at]], [values[at]], color=PREDICTED, marker="s", markersize=11, linestyle="none",
            markerfacecolor="none", markeredgewidth=2, label="predicted, PMD swap entry",
        )  # fmt: skip
    points = _plot_measured(comparison, ax)
    sizes = sorted({*x, *points})
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [f"{size // 1024}M" if size >= 1024 else f"{size}K" for size in sizes])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(sizes[0] / 1.5, sizes[-1] * 1.5)
    # All points and the band are inside; a bar of disturbed repetitions may leave at the top, or it
    # would press everything else flat.
    top = 1.15 * max(*highs, *points.values(), 0.0)
    ax.set_ylim(min(ax.get_ylim()[0], 0.0) if min(lows) < 0 else 0.0, top if top > 0 else 1.0)
    ax.grid(axis="y", color="#DDDDDD", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xlabel("swap-in size (bytes read by one fault)")
    ax.set_ylabel(f"swap-in and later touches, {TIME_LABEL}")
    # Above the axes, where it covers no data whichever way the curve goes.
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, frameon=False)
    return ax
