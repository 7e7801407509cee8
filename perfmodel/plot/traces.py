"""What a trace is like, as a figure."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD
from perfmodel.plot.style import MEASURED, PREDICTED, new_figure
from perfmodel.traces.statistics import TraceStatistics

_MIB = 1 << 20
_POINTS = 400
_BINS = 32


def trace_figure(statistics: TraceStatistics, name: str) -> Figure:
    """LRU misses against memory, used pages of every 2 MiB, and where the trace is when."""
    figure, axes = new_figure(3, width_inches=13.0, height_inches=4.2, share_x=False, share_y=False)
    draw_misses(statistics, axes[0])
    draw_touched(statistics, axes[1])
    draw_map(statistics, axes[2])
    figure.suptitle(f"{name}: {statistics.accesses:,} accesses to {statistics.pages:,} pages")
    return figure


def draw_misses(statistics: TraceStatistics, axes: Axes) -> Axes:
    """Share of accesses that miss in an LRU memory, against its size."""
    misses = statistics.misses()
    sizes = np.unique(np.linspace(1, misses.size - 1, _POINTS).astype(np.int64))
    shares = misses[sizes] / statistics.accesses
    axes.plot(sizes * PAGE_BYTES / _MIB, shares, color=PREDICTED)
    axes.axhline(statistics.pages / statistics.accesses, color="0.6", linewidth=1, linestyle="--")
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.set_title("LRU misses (dashed: first accesses)", fontsize="medium")
    axes.set_xlabel("memory [MiB]")
    axes.set_ylabel("misses per access")
    return axes


def draw_touched(statistics: TraceStatistics, axes: Axes) -> Axes:
    """How many 2 MiB ranges have how many of their pages accessed."""
    used = statistics.touched[statistics.touched > 0]
    edges = np.linspace(0, PAGES_PER_PMD, _BINS + 1)
    axes.hist(used, bins=edges.tolist(), color=MEASURED)
    axes.set_xlim(0, PAGES_PER_PMD)
    axes.set_title(f"used share of {used.size} ranges of 2 MiB", fontsize="medium")
    axes.set_xlabel("accessed pages of 512")
    axes.set_ylabel("ranges of 2 MiB")
    return axes


def draw_map(statistics: TraceStatistics, axes: Axes) -> Axes:
    """Where the accesses go, from the first to the last."""
    grid = statistics.map.astype(np.float64)
    extent = (
        0.0,
        statistics.accesses / 1e6,
        0.0,
        statistics.touched.size * PAGES_PER_PMD * PAGE_BYTES / _MIB,
    )
    image = axes.imshow(
        np.where(grid > 0, grid, np.nan),
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap="viridis",
        norm=LogNorm(vmin=1, vmax=max(2.0, float(grid.max()))),
        interpolation="nearest",
    )
    axes.figure.colorbar(image, ax=axes, label="accesses")
    axes.set_title("where and when", fontsize="medium")
    axes.set_xlabel("access [million]")
    axes.set_ylabel("place in the region [MiB]")
    return axes
