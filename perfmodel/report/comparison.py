"""A comparison as a section of the page: its sentences, two figures, and what the kernel counts."""

from __future__ import annotations

import attrs

from perfmodel.plot.figures import breakdown_figure, cost_by_swapin_size
from perfmodel.plot.style import new_figure
from perfmodel.report.notes import comparison_notes
from perfmodel.report.parts import (
    Cell,
    Column,
    Picture,
    Row,
    Section,
    Table,
    picture,
    provenance_rows,
)
from perfmodel.report.table import PREDICTED, cells, legend, sentences, setting
from perfmodel.results.result import Result
from perfmodel.specs.policy import SHMEM_ENTRY
from perfmodel.studies.compare import Comparison


@attrs.frozen
class CounterCell:
    """A counter in one arm, predicted and measured.

    `mark` is ``equal``, ``different``, ``unknown`` (one world lacks the counter) or, without a
    measurement, empty.
    """

    predicted: int | None
    measured: int | None
    mark: str
    unstable: bool


@attrs.frozen
class CounterRow:
    """A counter of one step in all arms."""

    step: str
    name: str
    cells: tuple[CounterCell, ...]


def _counter_cell(predicted: Result, measured: Result | None, step: str, name: str) -> CounterCell:
    expected = predicted.step(step).counters.get(name)
    if measured is None:
        return CounterCell(expected, None, "", False)
    seen = measured.step(step).counters.get(name)
    mark = "equal" if expected == seen else "different"
    if expected is None or seen is None:
        mark = "unknown"
    return CounterCell(expected, seen, mark, name in measured.step(step).unstable_counters)


def counter_rows(comparison: Comparison) -> list[CounterRow]:
    """Every counter that moved in any arm, step by step, over the whole region."""
    pairs = [(arm, comparison.measured_for(entry)) for entry, arm in comparison.arms.items()]
    known = [result for pair in pairs for result in pair if result is not None]
    rows = []
    for step in comparison.scenario.steps:
        moved = {
            name: None
            for result in known
            for name, value in result.step(step.name).counters.items()
            if value
        }
        for name in moved:
            row = tuple(_counter_cell(arm, measured, step.name, name) for arm, measured in pairs)
            rows.append(CounterRow(step.name, name, row))
    return rows


def counter_summary(comparison: Comparison, rows: list[CounterRow]) -> str:
    """How many of the counters that both worlds know are equal; the stand-in apart."""
    said = []
    for title, stand_in in (("", False), (f"the stand-in {SHMEM_ENTRY}: ", True)):
        marks = [
            cell.mark == "equal"
            for row in rows
            for entry, cell in zip(comparison.arms, row.cells, strict=True)
            if cell.mark in ("equal", "different")
            and (getattr(comparison.measured_for(entry), "entry", "") == SHMEM_ENTRY) is stand_in
        ]
        if marks:
            said.append(f"{title}{sum(marks)} of {len(marks)} equal")
    return "; ".join(said)


def _pictures(comparison: Comparison) -> tuple[Picture, ...]:
    cost, (ax,) = new_figure()
    cost_by_swapin_size(comparison, ax)
    arms = ", ".join(comparison.arms)
    measured = ", ".join(comparison.measured)
    drawn = [
        (
            cost,
            "Time to bring 2 MiB back and use it, against the size that one swap fault reads. "
            "It is the time of all touches after the first page-out"
            + ("; their bounds are added up." if len(comparison.fallback.steps) > 1 else ".")
            + (
                " Points: 25 % quantile, bars from the 5 % to the 75 % quantile, "
                "cut at the figure's edge."
                if measured
                else ""
            ),
            f"Line chart of predicted microseconds per 2 MiB against swap-in size for {arms}"
            + (f", with measured points for {measured}." if measured else "."),
        ),
        (
            breakdown_figure(comparison),
            "Where the predicted time goes, per 2 MiB: all page-outs on the left, all touches "
            "after the first page-out beside them, and then all other steps but the fill, if there "
            "are any; on the same scale.",
            f"Stacked bars of predicted microseconds per 2 MiB by part of the work for {arms}.",
        ),
    ]
    return tuple(picture(*figure) for figure in drawn)


def _counter(found: CounterCell) -> Cell:
    text = "?" if found.predicted is None else str(found.predicted)
    marks = {
        "": ("", "", ""),
        "equal": ("=", "equal", "measured: equal"),
        "different": (f"≠ {found.measured}", "different", "measured: different"),
        "unknown": (
            f"/ {'?' if found.measured is None else found.measured}",
            "zero",
            "not comparable",
        ),
    }
    key = None if found.predicted is None else float(found.predicted)
    return Cell(
        text, key, "" if found.predicted != 0 else "zero", *marks[found.mark], found.unstable
    )


def _counter_table(comparison: Comparison) -> Table:
    counters = counter_rows(comparison)
    stands_in = {
        entry: measured.entry
        for entry in comparison.arms
        if (measured := comparison.measured_for(entry)) is not None and measured.entry != entry
    }
    steps = [row.step for row in counters]
    note = f"Changes over the whole region ({comparison.scenario.region.count} times 2 MiB). "
    if comparison.measured:
        note += (
            "Predicted, then = where the live kernel counted the same, or ≠ and what it counted; "
            "~ where repetitions differed and the most common value stands; / ? where the live "
            "kernel does not have the counter."
        )
        if stands_in:
            note += (
                " A memfd THP is file memory: its fill and page-out count under other names than "
                "anonymous memory's."
            )
    else:
        note += "Predicted; nothing was measured."
    summary = counter_summary(comparison, counters)
    return Table(
        "Mechanism: the kernel's counters",
        (
            Column("step", is_text=True),
            Column("counter", is_text=True),
            *(Column(entry, below=stands_in.get(entry, "")) for entry in comparison.arms),
        ),
        tuple(
            Row(
                (Cell(row.step), Cell(row.name), *map(_counter, row.cells)),
                "first" if at == 0 or steps[at - 1] != row.step else "",
            )
            for at, row in enumerate(counters)
        ),
        note=note,
        summary=f"{summary}." if summary else "",
        name="counters",
    )


def _number_table(comparison: Comparison) -> Table:
    headings, body = cells(comparison)
    return Table(
        "Numbers",
        tuple(Column(heading, is_text=at < 2) for at, heading in enumerate(headings)),
        tuple(
            Row(
                (Cell(row[0]), Cell(row[1]), *(Cell(text, _leading(text)) for text in row[2:])),
                "first" if row[1] == PREDICTED else "measured",
            )
            for row in body
        ),
        legend=(*legend(comparison), *comparison_notes(comparison)),
    )


def _leading(text: str) -> float | None:
    """The number that a cell begins with."""
    first = text.split()[0] if text else ""
    scale = {"k": 1e3, "M": 1e6}.get(first[-1:], 1.0)
    try:
        return float(first.rstrip("kM")) * scale
    except ValueError:
        return None


def comparison_section(comparison: Comparison, command: str = "", source: str = "") -> Section:
    """All that a comparison says.

    Parameters
    ----------
    comparison : Comparison
    command, source : str
        What made the result, and the file it was read from; empty where it comes from nowhere else.
    """
    return Section(
        title=f"What falling back to PTEs costs: {comparison.scenario.name}",
        description=comparison.scenario.description,
        sentences=tuple(sentences(comparison)),
        facts=setting(comparison),
        pictures=_pictures(comparison),
        tables=(_number_table(comparison), _counter_table(comparison)),
        provenance=provenance_rows(
            {
                world: {entry: result.provenance for entry, result in results.items()}
                for world, results in (
                    ("predicted", comparison.arms),
                    ("measured", comparison.measured),
                )
            }
        ),
        command=command,
        source=source,
    )
