"""Tables of a study, for a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from perfmodel.studies.break_even import BreakEvenPoint, BreakEvens
from perfmodel.studies.findings import Findings
from perfmodel.studies.sensitivity import Indices, Tornado
from perfmodel.studies.sweep import Sweep

_MOST_ROWS = 60


def sweep_lines(swept: Sweep, findings: Findings) -> Iterator[str]:
    """Title, the numbers of each output (of a grid that is not too large), and the findings."""
    study = swept.study
    yield study.title
    yield (
        f"{study.machine}, {study.device}, {study.scenario.name}: {swept.plan.cells} cells, "
        f"{study.draws} draws, seed {study.seed}"
    )
    if findings.indices is None and findings.tornado is None:
        for output in study.outputs:
            yield ""
            yield from _table(swept, output.name)
    yield from finding_lines(findings)


def finding_lines(findings: Findings) -> Iterator[str]:
    """Break-even points, indices and tornado, each behind an empty line."""
    if findings.break_even is not None:
        yield ""
        yield from _break_even_lines(findings.break_even)
    if findings.indices is not None:
        yield ""
        yield from _index_lines(findings.indices)
    if findings.tornado is not None:
        yield ""
        yield from _tornado_lines(findings.tornado)


def _table(swept: Sweep, name: str) -> Iterator[str]:
    found = swept.dataset[name]
    yield f"{found.attrs['long_name']} [{found.attrs['units']}], best (90 %)"
    axes = [axis.name for axis in swept.plan.axes]
    rows = list(itertools.islice(cell_rows(swept), _MOST_ROWS))
    entries = list(swept.study.entries)
    heads = [*axes, *entries]
    lines = [heads]
    for selection, values in rows:
        cell = found.isel(selection)
        lines.append(
            [*map(_value, values), *(bounds_text(cell.sel(entry=entry)) for entry in entries)]
        )
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    for line in lines:
        yield "  " + "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
    if swept.plan.cells > _MOST_ROWS:
        yield f"  ... {swept.plan.cells - _MOST_ROWS} more; --out keeps all of them"


def cell_rows(swept: Sweep) -> Iterator[tuple[dict[str, int], list[Any]]]:
    """Every cell: where it stands in the dataset, and the values of the axes."""
    plan = swept.plan
    for cell in range(plan.cells):
        values = list(plan.values(cell))
        if not plan.is_grid:
            yield {"cell": cell}, values
            continue
        at = np.unravel_index(cell, plan.shape) if plan.axes else ()
        names = [axis.name for axis in plan.axes]
        yield {name: int(index) for name, index in zip(names, at, strict=True)}, values


def _value(value: Any) -> str:
    if value is None:
        return "own"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def bounds_text(cell: Any) -> str:
    """The best value of one cell and its interval."""
    if "draw" in cell.dims:
        cell = cell.isel(draw=0)
    if "bound" not in cell.dims:
        return _number(float(cell))
    best, low, high = (float(cell.sel(bound=bound)) for bound in ("best", "low", "high"))
    if not np.isfinite(best):
        return "killed"
    if low == high == best:
        return _number(best)
    return f"{_number(best)} ({_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _break_even_lines(found: BreakEvens) -> Iterator[str]:
    yield f"break-even in {found.label} ({found.output}), 90 % interval:"
    for point in found.points:
        others = ", ".join(f"{name} {_value(value)}" for name, value in point.others.items())
        yield f"  {others + ': ' if others else ''}{break_even_text(point, found.unit)}"


def break_even_text(point: BreakEvenPoint, unit: str = "") -> str:
    """One break-even point in words."""
    above, below = point.pair.split("/")
    if point.at == -np.inf:
        return f"{above} costs less than {below} all along"
    if point.at == np.inf:
        return f"{above} costs more than {below} all along"
    where = "from" if point.costs_less_beyond else "up to"
    more = f"; the last of {point.crossings} crossings" if point.crossings > 1 else ""
    shown = f" {unit}" if unit not in ("", "1") else ""
    return (
        f"{above} costs less than {below} {where} {_end(point.at)}{shown} "
        f"({_end(point.low)} to {_end(point.high)}){more}"
    )


def _end(value: float) -> str:
    return _number(value) if np.isfinite(value) else "beyond"


def _index_lines(found: Indices) -> Iterator[str]:
    yield (
        f"what {found.variable} of {found.of} hangs on: mean {_number(found.mean)} {found.unit}, "
        f"standard deviation {_number(found.standard_deviation)}"
    )
    width = max(len(index.label) for index in found.indices)
    yield f"  {'axis':{width}}  share of the variance alone      with all others"
    for index in found.indices:
        yield (
            f"  {index.label:{width}}  {index.first:6.3f} ({index.first_low:6.3f} to "
            f"{index.first_high:6.3f})  {index.total:6.3f} ({index.total_low:6.3f} to "
            f"{index.total_high:6.3f})"
        )


def _tornado_lines(found: Tornado) -> Iterator[str]:
    yield (
        f"{found.variable} of {found.of}: {_number(found.base)} {found.unit}; one at a time, the "
        "largest first"
    )
    width = max(len(bar.label) for bar in found.bars)
    for bar in found.bars:
        if bar.swing == 0:
            continue
        yield (
            f"  {bar.label:{width}}  {_number(bar.low)} to {_number(bar.high)} {bar.unit}: "
            f"{_number(bar.at_low)} to {_number(bar.at_high)} {found.unit}"
        )
