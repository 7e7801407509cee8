"""Figure of TLB shootdowns: measured costs over predicted ones. It computes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfmodel.plot.style import MEASURED, PREDICTED, new_figure
from perfmodel.results.shootdown import Change
from perfmodel.studies.shootdown import FlushRow

_GRID = "#DDDDDD"
_TITLES = {
    "here": "flush here, alone",
    "remote": "a second CPU adds",
    "taken": "taken from the second CPU",
}


def shootdown_by_pages(rows: Sequence[FlushRow], part: str, ax: Axes) -> Axes:
    """One part of the cost of a flush against the pages of its range.

    Parameters
    ----------
    rows : sequence of FlushRow
        Those of 4 KiB pages are a line, one of a 2 MiB page stands alone.
    part : str
        ``here``, ``remote`` or ``taken``.
    ax : Axes

    Returns
    -------
    Axes
    """
    ranges = sorted(
        (row for row in rows if row.change is Change.PROTECT), key=lambda row: row.pages
    )
    places = list(range(len(ranges)))
    huge = [row for row in rows if row.change is Change.PROTECT_HUGE]
    ax.plot(
        places,
        [getattr(row, f"predicted_{part}_ns") / 1000 for row in ranges],
        color=PREDICTED,
        label="predicted",
    )
    for number, row in enumerate([*ranges, *huge]):
        measured = getattr(row, f"{part}_ns")
        if number >= len(ranges):
            predicted = getattr(row, f"predicted_{part}_ns") / 1000
            ax.plot([number], [predicted], color=PREDICTED, marker="_", markersize=14)
        if measured is not None:
            ax.plot(
                [number],
                [measured / 1000],
                color=MEASURED,
                marker="o",
                markersize=6,
                linestyle="none",
                fillstyle="none" if row.fitted else "full",
            )
    ax.plot([], [], color=MEASURED, marker="o", linestyle="none", label="measured, held out")
    ax.plot(
        [], [], color=MEASURED, marker="o", linestyle="none", fillstyle="none",
        label="measured; a fitted machine's numbers rest on it",
    )  # fmt: skip
    names = [str(row.pages) for row in ranges] + ["2 MiB" for _ in huge]
    ax.set_xticks(range(len(names)), names, fontsize="small")
    ax.set_title(_TITLES[part], fontsize="medium")
    ax.set_xlabel("pages flushed")
    ax.grid(axis="y", color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_ylabel("us per flush")
    ax.set_ylim(min(0.0, ax.dataLim.y0 - 0.1), 1.08 * ax.dataLim.y1)
    return ax


def shootdown_figure(rows: Sequence[FlushRow]) -> Figure:
    """The three parts side by side, each on its own scale."""
    figure, axes = new_figure(3, width_inches=11.0, height_inches=4.2, share_x=False, share_y=False)
    for ax, part in zip(axes, _TITLES, strict=True):
        shootdown_by_pages(rows, part, ax)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure
