"""Checks the keys of a document and begins its section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from perfmodel.report.parts import Section, provenance_rows
from perfmodel.results.documents import Document
from perfmodel.specs import io


def shaped(document: Document, **fields: Any) -> Any:
    """The named keys of a document, each checked to be of its type; other keys are left alone."""
    kind = attrs.make_class(
        "_Shape",
        {name: attrs.field(type=kind) for name, kind in fields.items()},
        kw_only=True,
        frozen=True,
    )
    known = {name: value for name, value in document.table.items() if name in fields}
    return io.structure(kind, known, str(document.source))


def without(rows: Any, *names: str) -> Any:
    """JSON objects without what follows from their other keys."""
    if not isinstance(rows, list):
        return rows
    return [
        {name: value for name, value in row.items() if name not in names}
        if isinstance(row, Mapping)
        else row
        for row in rows
    ]


def made(document: Document, title: str, **more: Any) -> Section:
    """A section with what every document says of its making."""
    told = document.table.get("provenance", {})
    provenance = provenance_rows({"": {"": told}}) if isinstance(told, dict) and told else []
    return Section(
        title=title,
        provenance=provenance,
        command=document.command,
        source=str(document.source),
        **more,
    )
