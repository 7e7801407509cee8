"""What a page is made of: sections with sentences, facts, figures and tables."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
from matplotlib.figure import Figure

from perfmodel.plot.style import to_svg

Json = dict[str, Any]
ProvenanceRow = tuple[str, str, list[tuple[str, str]]]
_LONGEST_TEXT = 300
_MOST_ROWS = 2000
_ABSENT = "-"


@attrs.frozen
class Cell:
    """One cell of a table.

    Parameters
    ----------
    text : str
    key : float or str
        What it is sorted by; the text without it. None: unknown, always last.
    style : str
        Class of the text: ``zero``, ``equal`` or ``different``.
    mark, mark_style, mark_title : str
        What stands behind the text.
    """

    text: str
    key: float | str | None = ""
    style: str = ""
    mark: str = ""
    mark_style: str = ""
    mark_title: str = ""
    unstable: bool = False


@attrs.frozen
class Column:
    """Heading of a column; `below` is a second line of it."""

    title: str
    is_text: bool = False
    below: str = ""


@attrs.frozen
class Row:
    """Cells, and the row's class: ``first``, ``measured`` or none."""

    cells: tuple[Cell, ...]
    style: str = ""


@attrs.frozen
class Table:
    """A table that readers can sort."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    summary: str = ""
    legend: tuple[str, ...] = ()
    name: str = "numbers"


@attrs.frozen
class Picture:
    """A figure as SVG in base64, its caption, and what it shows in words."""

    data: str
    caption: str
    alt: str


@attrs.frozen
class Section:
    """One result.

    Parameters
    ----------
    title, description : str
    sentences : tuple of str
        What it says, in a box.
    facts : dict
        What was run, on what.
    pictures, tables : tuple
    notes : tuple of str
    provenance : list
        World, key, and each value with the arms it holds for.
    command, source : str
        What made the result, and where it was read from; empty where that is not known.
    """

    title: str
    description: str = ""
    sentences: tuple[str, ...] = ()
    facts: dict[str, str] = attrs.field(factory=dict)
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: list[ProvenanceRow] = attrs.field(factory=list)
    command: str = ""
    source: str = ""


def picture(figure: Figure, caption: str, alt: str) -> Picture:
    """A drawn figure for the page."""
    data = base64.b64encode(to_svg(figure)).decode("ascii")
    return Picture(data, caption, f"{alt} The numbers are in the table below.")


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    facts: dict[str, str] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            facts.update(_flat(value, f"{prefix}{key}."))
        elif isinstance(value, list):
            facts[prefix + key] = f"{len(value)} values, in the JSON document"
        else:
            facts[prefix + key] = str(value)
    return facts


def provenance_rows(worlds: Mapping[str, Mapping[str, Json]]) -> list[ProvenanceRow]:
    """World, key, and each value with the arms that it holds for (none: all of that world)."""
    rows: list[ProvenanceRow] = []
    for world, arms in worlds.items():
        flat = {arm: _flat(provenance) for arm, provenance in arms.items()}
        for key in {key: None for facts in flat.values() for key in facts if key != "world"}:
            holders: dict[str, list[str]] = {}
            for arm, facts in flat.items():
                if key in facts:
                    holders.setdefault(facts[key], []).append(arm)
            values = [
                ("" if len(names) == len(flat) else ", ".join(names), value)
                for value, names in holders.items()
            ]
            rows.append((world, key, values))
    return rows


def number(value: float | None, form: str = "") -> Cell:
    """A number as a reader likes it, sorted by its value."""
    if value is None:
        return Cell(_ABSENT, None, "zero")
    if form:
        text = format(value, form)
    elif value == int(value) and abs(value) < 1e15:
        text = f"{int(value):,}"
    else:
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return Cell(text, float(value), "" if value else "zero")


def cell(value: Any) -> Cell:
    """Any value of a JSON document; a pair of numbers is an interval."""
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if value is None or isinstance(value, int | float):
        return number(value)
    if isinstance(value, list | tuple):
        parts = [cell(inner).text for inner in value]
        are_numbers = bool(value) and all(type(inner) in (int, float) for inner in value)
        text = (" to " if are_numbers and len(value) == 2 else ", ").join(parts)
        return Cell(_short(text), float(value[0]) if are_numbers else "")
    if isinstance(value, Mapping):
        said = (f"{name} {cell(inner).text}" for name, inner in value.items())
        return Cell(_short("; ".join(said)))
    return Cell(_short(str(value)))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."


def heading(name: str) -> str:
    """A key as a heading: the unit in brackets."""
    for end, unit in (("_ns", "ns"), ("_us", "us"), ("_bytes", "B"), ("_ghz", "GHz")):
        if name.endswith(end):
            return f"{name.removesuffix(end).replace('_', ' ')} [{unit}]"
    return name.replace("_", " ")


def table(
    title: str,
    columns: Mapping[str, Callable[[Any], Any]],
    found: Iterable[Any],
    *,
    note: str = "",
    style: Callable[[Any], str] = lambda _: "",
) -> Table:
    """A table with a row for each thing found.

    Parameters
    ----------
    title : str
    columns : dict
        What each column holds of a thing, by heading: a `Cell`, or a value for `cell`.
    found : iterable
    note : str
    style : callable
        Class of a thing's row.
    """
    rows = []
    for thing in found:
        values = (take(thing) for take in columns.values())
        made = tuple(value if isinstance(value, Cell) else cell(value) for value in values)
        rows.append(Row(made, style(thing)))
    shown = tuple(rows[:_MOST_ROWS])
    if len(rows) > len(shown):
        note += f" The first {len(shown):,} of {len(rows):,} rows; the rest is in the document."
    heads = tuple(
        Column(name, any(type(row.cells[at].key) is str for row in shown))
        for at, name in enumerate(columns)
    )
    return Table(title, heads, shown, note=note.strip())


def records(title: str, found: Sequence[Mapping[str, Any]], *, note: str = "") -> Table:
    """A table of JSON objects with about the same keys; their tables have columns of their own."""
    flat = [dict(_columns(record)) for record in found]
    names = list(dict.fromkeys(name for record in flat for name in record))

    def taker(name: str) -> Callable[[Any], Any]:
        return lambda record: record.get(name)

    return table(title, {heading(name): taker(name) for name in names}, flat, note=note)


def _columns(record: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, Mapping) and len(prefix) < 40:
            yield from _columns(value, f"{prefix}{name} ")
        elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
            yield prefix + name, f"{len(value)} values, in the JSON document"
        else:
            yield prefix + name, value
