"""One look for every figure: colours colour-blind readers tell apart, and no display needed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

# Bars are stacked in this order: what all arms have in common stands next to the axis, so that what
# differs between them shows at the far end. Colours are Paul Tol's "muted" ones, a few more of his,
# and a dark grey.
PARTS: dict[str, tuple[str, str]] = {
    "decompression": ("decompression", "#332288"),
    "compression": ("compression", "#882255"),
    "clear_and_copy": ("clear and copy", "#999933"),
    "swap_slots": ("swap slots", "#88CCEE"),
    "swap_cache": ("swap cache", "#BBCC33"),
    "data_access": ("data access", "#117733"),
    "tlb_misses": ("TLB misses", "#555555"),
    "mapping": ("mapping", "#44AA99"),
    "page_table": ("page-table work", "#AA4499"),
    "page_table_walk": ("page-table walk", "#6699CC"),
    "split_and_collapse": ("split and collapse", "#661100"),
    "reclaim": ("reclaim", "#EECC66"),
    "idle": ("idle", "#F5F5F5"),
    "block_layer": ("block layer", "#777788"),
    "device_wait": ("device wait", "#BBBBBB"),
    "lock_wait": ("lock wait", "#997700"),
    "shootdown": ("TLB shootdown", "#994455"),
    "allocation": ("allocation", "#DDCC77"),
    "system_call": ("system calls", "#EE8866"),
    "fault_entry": ("fault entry", "#CC6677"),
}
PREDICTED = "#0072B2"
MEASURED = "#D55E00"
_PALETTE = 128  # colours; text is still smooth


def _style(**more: Any) -> Any:  # matplotlib types the keys as one long Literal
    return {
        **sns.plotting_context("notebook", font_scale=0.9),
        **sns.axes_style("ticks"),
        # matplotlib brings this font along, so text is equally wide everywhere.
        "font.family": ["DejaVu Sans"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "text.usetex": False,
        **more,
    }


def new_figure(
    columns: int = 1,
    *,
    width_inches: float = 9.0,
    height_inches: float = 4.5,
    share_x: bool = True,
    share_y: bool = True,
) -> tuple[Figure, list[Axes]]:
    """A figure outside pyplot with a row of axes that share their scales, or do not."""
    with mpl.rc_context(_style()):
        figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
        grid = figure.subplots(1, columns, sharex=share_x, sharey=share_y, squeeze=False)
    return figure, list(grid[0])


def to_svg(figure: Figure) -> bytes:
    """The figure as SVG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    with mpl.rc_context(_style(**{"svg.hashsalt": "perfmodel", "svg.fonttype": "path"})):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def to_small_png(figure: Figure) -> bytes:
    """The figure as PNG with few dots and a palette: some 15 KB, for notebooks that are kept."""
    buffer, small = io.BytesIO(), io.BytesIO()
    with mpl.rc_context(_style()):
        figure.savefig(buffer, format="png", dpi=80)
    with Image.open(buffer) as picture:
        picture.convert("RGB").quantize(_PALETTE).save(small, format="png", optimize=True)
    return small.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as PNG, or as SVG where the name ends so."""
    if path.suffix == ".svg":
        path.write_bytes(to_svg(figure))
        return
    with mpl.rc_context(_style()):
        figure.savefig(path, format="png", dpi=150, metadata={"Software": None})
