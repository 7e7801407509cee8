"""The comparison as one HTML page that needs nothing else: no network, no script."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import jinja2

from perfmodel.errors import InputError, Problem
from perfmodel.plot.figures import breakdown_figure, cost_by_swapin_size
from perfmodel.plot.style import new_figure, to_svg
from perfmodel.report.notes import comparison_notes
from perfmodel.report.table import PREDICTED, cells, legend, sentences, setting
from perfmodel.results.result import Result
from perfmodel.specs.policy import SHMEM_ENTRY
from perfmodel.studies.compare import Comparison

PAGE_NAME = "index.html"


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


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    facts = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            facts.update(_flat(value, f"{prefix}{key}."))
        elif isinstance(value, list):
            facts[prefix + key] = f"{len(value)} values, in the JSON document"
        else:
            facts[prefix + key] = str(value)
    return facts


def provenance_rows(comparison: Comparison) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """World, key, and each value with the arms that it holds for (none: all of that world)."""
    rows = []
    for world, results in (("predicted", comparison.arms), ("measured", comparison.measured)):
        flat = {entry: _flat(result.provenance) for entry, result in results.items()}
        for key in {key: None for facts in flat.values() for key in facts if key != "world"}:
            holders: dict[str, list[str]] = {}
            for entry, facts in flat.items():
                if key in facts:
                    holders.setdefault(facts[key], []).append(entry)
            values = [
                ("" if len(entries) == len(flat) else ", ".join(entries), value)
                for value, entries in holders.items()
            ]
            rows.append((world, key, values))
    return rows


def _figures(comparison: Comparison) -> list[dict[str, str]]:
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
    return [
        {
            "data": base64.b64encode(to_svg(figure)).decode("ascii"),
            "caption": caption,
            "alt": f"{alt} The numbers are in the table below.",
        }
        for figure, caption, alt in drawn
    ]


def render(comparison: Comparison, command: str) -> str:
    """The page's text, the same for the same comparison and command."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("perfmodel.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    headings, body = cells(comparison)
    counters = counter_rows(comparison)
    stands_in = {
        entry: measured.entry
        for entry in comparison.arms
        if (measured := comparison.measured_for(entry)) is not None and measured.entry != entry
    }
    return environment.get_template("report.html").render(
        scenario=comparison.scenario,
        sentences=sentences(comparison),
        setting=setting(comparison),
        figures=_figures(comparison),
        headings=headings,
        body=body,
        predicted=PREDICTED,
        legend=[*legend(comparison), *comparison_notes(comparison)],
        entries=list(comparison.arms),
        stands_in=stands_in,
        counters=counters,
        summary=counter_summary(comparison, counters),
        measured=bool(comparison.measured),
        provenance=provenance_rows(comparison),
        command=command,
    )


def write_report(comparison: Comparison, folder: Path, command: str) -> Path:
    """Write the comparison as one self-contained HTML page.

    Parameters
    ----------
    comparison : Comparison
    folder : Path
        Where to put it; made if it is not there. A report that stands there is replaced.
    command : str
        What the reader runs to make the page again.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If `folder` is a file or cannot be written.
    """
    page = folder / PAGE_NAME
    text = render(comparison, command).encode("utf-8", "replace")
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(Problem(f"{folder} is a file; name a folder", key="--report"))
        folder.mkdir(parents=True, exist_ok=True)
        page.write_bytes(text)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        message = f"cannot write {page}: {reason}; name a folder that you can write"
        raise InputError(Problem(message, key="--report")) from None
    return page
