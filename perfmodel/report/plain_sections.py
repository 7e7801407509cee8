"""Documents without sentences of their own: facts, tables, and a figure where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from perfmodel.report.parts import Json, Picture, Section, Table, heading, picture, records
from perfmodel.report.reading import made, shaped, without
from perfmodel.results.documents import Document


def nested_tables(document: Document, value: Any, title: str) -> list[Table]:
    """Lists of JSON objects, wherever they stand, as tables."""
    if isinstance(value, list):
        if value and all(isinstance(inner, Mapping) for inner in value):
            found = [records(title, value)]
            for at, inner in enumerate(value[:8]):
                name = next((str(v) for v in inner.values() if isinstance(v, str)), str(at + 1))
                for key, deeper in inner.items():
                    found += nested_tables(
                        document, deeper, f"{title}, {name[:60]}: {heading(key)}"
                    )
            return found
        return []
    if isinstance(value, Mapping):
        return [
            one
            for key, inner in value.items()
            for one in nested_tables(
                document, inner, f"{title}: {heading(key)}" if title else heading(key)
            )
        ]
    return []


PLAIN = {
    "latency": "Load latency against working set",
    "shootdown": "What flushing TLBs costs",
    "runtime": "Runtime models, judged by measured programs",
    "trace": "What a program accesses",
    "doctor": "What this machine can measure",
}


def _shootdown_picture(document: Document) -> tuple[Picture, ...]:
    from perfmodel.plot.shootdown import shootdown_figure
    from perfmodel.studies.shootdown import FlushRow

    flushes = without(document.table["flushes"], "relative_errors")
    shape = shaped(attrs.evolve(document, table={"flushes": flushes}), flushes=tuple[FlushRow, ...])
    if not shape.flushes:
        return ()
    caption = "Cost of a flush in three parts, each on its own scale: measured and predicted."
    return (picture(shootdown_figure(shape.flushes), caption, "Three charts of microseconds."),)


def _latency_picture(document: Document) -> tuple[Picture, ...]:
    from perfmodel.plot.latency import latency_by_size
    from perfmodel.plot.style import new_figure
    from perfmodel.specs.translation import PageSize
    from perfmodel.studies.latency import Latency

    sizes = document.table["page_sizes"]
    if isinstance(sizes, Mapping):  # specs read sizes as texts, under another key
        sizes = {
            name: [point | {"size": f"{point['size_bytes']} B"} for point in row]
            for name, row in sizes.items()
        }
        sizes = {name: without(row, "size_bytes") for name, row in sizes.items()}
    shape = shaped(
        attrs.evolve(document, table={"page_sizes": sizes}),
        page_sizes=dict[str, tuple[Latency, ...]],
    )
    found = {}
    for name, row in shape.page_sizes.items():
        if name not in (PageSize.SIZE_4K, PageSize.SIZE_2M):
            raise document.problem("must be 4k or 2m", f"page_sizes.{name}")
        if not row or any(point.ns <= 0 or point.size_bytes < 1 for point in row):
            raise document.problem("must be positive latencies", f"page_sizes.{name}")
        found[PageSize(name)] = list(row)
    if not found:
        return ()
    figure, (ax,) = new_figure(width_inches=7.0)
    latency_by_size(found, ax)
    caption = "Predicted latency of a chase through every line of a buffer."
    return (picture(figure, caption, "Line chart of nanoseconds against buffer size."),)


def plain_section(document: Document) -> Section:
    """Documents without sentences of their own: facts, tables, and a figure where there is one."""
    told: Json = document.table
    pictures: tuple[Picture, ...] = ()
    if "flushes" in told:
        pictures = _shootdown_picture(document)
    elif "page_sizes" in told:
        pictures = _latency_picture(document)
    facts = {
        heading(key): str(value)[:300]
        for key, value in told.items()
        if isinstance(value, str | int | float)
    }
    for key, value in told.items():
        if isinstance(value, Mapping) and key != "provenance":
            facts |= {
                f"{heading(key)}: {heading(name)}": str(inner)[:300]
                for name, inner in value.items()
                if isinstance(inner, str | int | float)
            }
    shown = {key: value for key, value in told.items() if key not in ("provenance", "host")}
    return made(
        document,
        PLAIN[document.kind],
        facts=facts,
        pictures=pictures,
        tables=tuple(nested_tables(document, shown, "")),
    )
