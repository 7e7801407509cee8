"""Tables of the thrash study, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from perfmodel.constants import PAGES_PER_PMD
from perfmodel.studies.compare import ratio_text
from perfmodel.studies.thrash import Cell, Crossing, ThrashStudy


def thrash_lines(study: ThrashStudy) -> Iterator[str]:
    """For each rival the ratios of costs, the crossing line, and one sentence."""
    limit = study.limit_bytes >> 20
    yield (
        f"{study.machine}, {study.device}, memory limit {limit} MiB: cost of a touch in round "
        f"{study.rounds}, pmd over the other entry"
    )
    for rival in study.rivals:
        yield ""
        yield from _map_lines(study, rival)
        yield from _crossing_lines(study, rival)


def _map_lines(study: ThrashStudy, rival: str) -> Iterator[str]:
    yield f"pmd / {rival}, by pages used of every 2 MiB and region over limit"
    yield "  region/limit " + " ".join(f"{pages:>6d}" for pages in study.pages)
    for size in study.sizes:
        row = {cell.pages: cell for cell in study.row(size)}
        yield f"  {size:12g} " + " ".join(_entry(row[pages], rival) for pages in study.pages)


def _entry(cell: Cell, rival: str) -> str:
    dead = cell.killed("pmd"), cell.killed(rival)
    if any(dead):
        text = "both x" if all(dead) else "pmd x" if dead[0] else f"{rival[:4]} x"
        return f"{text:>6s}"
    return f"{ratio_text(float(cell.ratios(rival)[0])):>6s}"


def _crossing_lines(study: ThrashStudy, rival: str) -> Iterator[str]:
    yield f"  pmd costs no more than {rival} from so many used pages of 512 on (90 %):"
    for crossing in study.crossings(rival):
        yield f"  {crossing.size:12g} {crossing_text(crossing)}"
    if any(cell.killed(arm) for cell in study.cells for arm in ("pmd", rival)):
        yield "  x: the kernel kills the program, since nothing can be reclaimed in its cgroup"


def crossing_text(crossing: Crossing) -> str:
    """Pages and share, with their interval."""

    def pages(value: float) -> str:
        return f"{value:.0f}" if np.isfinite(value) else "never"

    if not np.isfinite(crossing.pages):
        return f"never (from {pages(crossing.low)})"
    if crossing.pages == 0:
        return "always"
    share = 100 * crossing.pages / PAGES_PER_PMD
    return f"{crossing.pages:5.0f} ({pages(crossing.low)} to {pages(crossing.high)}), {share:.3g} %"
