"""Figure of the thrash study. It takes what was calculated and computes nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from perfmodel.constants import PAGES_PER_PMD
from perfmodel.plot.style import new_figure
from perfmodel.specs.policy import mthp_order
from perfmodel.studies.thrash import Crossing, ThrashStudy

# Blue: pmd costs less, brown: more; told apart by colour-blind readers. Beyond it saturates.
_COLOURS = "BrBG_r"
_MOST = 5.0
_BAND = "#000000"
_KILLED = "#999999"
_Edges = npt.NDArray[np.float64]


def _edges(values: tuple[float, ...]) -> _Edges:
    """Borders of columns or rows around values, half-way on a logarithmic scale."""
    logs: _Edges = np.log2(np.asarray(values, dtype=float))
    if logs.size == 1:
        return np.exp2([logs[0] - 0.5, logs[0] + 0.5])
    middles = (logs[1:] + logs[:-1]) / 2
    first, last = 2 * logs[0] - middles[0], 2 * logs[-1] - middles[-1]
    edges: _Edges = np.exp2(np.concatenate(([first], middles, [last])))
    return edges


def cost_ratio_map(study: ThrashStudy, rival: str, ax: Axes) -> QuadMesh:
    """Cost under `pmd` over that under a rival, with the crossing line and its band.

    Returns
    -------
    QuadMesh
        What is coloured, for a colour bar.
    """
    levels = np.full((len(study.sizes), len(study.pages)), np.nan)
    dead = []
    for cell in study.cells:
        if cell.pages not in study.pages:
            continue
        if cell.killed("pmd") or cell.killed(rival):
            dead.append(cell)
            continue
        row, column = study.sizes.index(cell.size), study.pages.index(cell.pages)
        levels[row, column] = np.log2(cell.ratios(rival)[0])
    columns, rows = _edges(tuple(map(float, study.pages))), _edges(study.sizes)
    mesh = ax.pcolormesh(
        columns, rows, np.ma.masked_invalid(levels), cmap=_COLOURS, vmin=-_MOST, vmax=_MOST,
        edgecolors="white", linewidth=0.4,
    )  # fmt: skip
    for cell in dead:
        row, column = study.sizes.index(cell.size), study.pages.index(cell.pages)
        box = (columns[column], columns[column + 1]), (rows[row], rows[row + 1])
        ax.fill_between(
            box[0], *box[1], facecolor="white", edgecolor=_KILLED, hatch="////", linewidth=0.0
        )  # fmt: skip
    _crossing_line(study.crossings(rival), columns[-1], ax)
    # One page used brings back its folio; when there is one in every folio, all of the region.
    folios = PAGES_PER_PMD >> mthp_order(rival)
    fits = np.geomspace(max(1.0, rows[0]), rows[-1], 50)
    ax.plot(folios / fits, fits, color=_BAND, linestyle=":", linewidth=1.4)
    _axes(study, columns, rows, ax)
    ax.set_title(f"pmd against {rival}")
    return mesh


def _crossing_line(crossings: list[Crossing], right: float, ax: Axes) -> None:
    sizes = [crossing.size for crossing in crossings]
    # What never crosses leaves the axes on the right.
    lows, pages, highs = (
        [min(getattr(crossing, name), 2 * right) for crossing in crossings]
        for name in ("low", "pages", "high")
    )
    ax.fill_betweenx(sizes, lows, highs, color=_BAND, alpha=0.22, linewidth=0)
    ax.plot(pages, sizes, color=_BAND, marker="o", markersize=4, linewidth=1.8)


def _axes(
    study: ThrashStudy, columns: npt.NDArray[np.float64], rows: npt.NDArray[np.float64], ax: Axes
) -> None:
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ticks = [1 << power for power in range(0, 10, 1 if len(study.pages) < 6 else 2)]
    ticks = [tick for tick in ticks if columns[0] <= tick <= columns[-1]]
    if PAGES_PER_PMD in study.pages:
        ticks = [*(tick for tick in ticks if tick < PAGES_PER_PMD // 2), PAGES_PER_PMD]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.set_xticklabels([f"{tick}\n{_share(tick)}" for tick in ticks])
    ax.yaxis.set_major_locator(FixedLocator(study.sizes))
    ax.set_yticklabels([f"{size:g}" for size in study.sizes])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())
    ax.set_xlim(columns[0], columns[-1])
    ax.set_ylim(rows[0], rows[-1])
    ax.set_xlabel("pages used of every 2 MiB (of 512, share)")
    ax.set_ylabel("region / memory limit")


def _share(pages: int) -> str:
    return f"{100 * pages / PAGES_PER_PMD:.3g} %"


def thrash_figure(study: ThrashStudy) -> Figure:
    """A panel for each rival, one colour scale and one legend."""
    figure, axes = new_figure(
        len(study.rivals), width_inches=1.8 + 4.4 * len(study.rivals), height_inches=5.2
    )
    mesh = None
    for ax, rival in zip(axes, study.rivals, strict=True):
        mesh = cost_ratio_map(study, rival, ax)
    for ax in axes[1:]:
        ax.set_ylabel("")
    bar = figure.colorbar(mesh, ax=axes, extend="both", pad=0.02)  # type: ignore[arg-type]
    ticks = list(range(-int(_MOST), int(_MOST) + 1))
    bar.set_ticks(ticks, labels=[f"{2**t}" if t >= 0 else f"1/{2**-t}" for t in ticks])
    bar.set_label("cost of a touch, pmd / other entry")
    handles: list[Artist] = [
        Line2D([], [], color=_BAND, marker="o", markersize=4, linewidth=1.8),
        Patch(facecolor=_BAND, alpha=0.22),
        Line2D([], [], color=_BAND, linestyle=":", linewidth=1.4),
    ]
    labels = [
        "both cost the same",
        "90 % interval",
        "what the other entry brings back fills the limit",
    ]
    if any(cell.killed(arm) for cell in study.cells for arm in cell.cost_ns):
        handles.append(Patch(facecolor="white", edgecolor=_KILLED, hatch="////"))
        labels.append("killed: out of memory")
    figure.legend(
        handles, labels, loc="outside lower center", ncols=2 * len(study.rivals), frameon=False
    )
    figure.suptitle(
        f"{study.machine}, {study.device}, limit {study.limit_bytes >> 20} MiB", fontsize="medium"
    )
    return figure
