"""Recordings in tables of text (CSV): requests for objects, or accesses to addresses."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import attrs
import numpy as np

from perfmodel.errors import InputError, Problem
from perfmodel.traces.accesses import Words
from perfmodel.traces.readers.addresses import MOST_ADDRESS, page_words
from perfmodel.traces.readers.objects import Shelf
from perfmodel.traces.readers.source import Source

_NAMES = {
    "object": {"object", "obj_id", "obj-id", "objid", "id", "key"},
    "size": {"size", "obj_size", "obj-size", "objsize", "value_size", "length"},
    "address": {"address", "addr", "vaddr"},
    "operation": {"operation", "op", "rw", "kind", "type"},
}
_WRITES = {"w", "write", "s", "store", "set", "put", "update", "add", "replace", "insert", "1"}
_MOST_SIZE = (1 << 32) - 1
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|\d{1,18}")


@attrs.frozen
class Columns:
    """Where a table has what is needed, counted from 0; -1 where it has not."""

    object: int = -1
    size: int = -1
    address: int = -1
    operation: int = -1

    @property
    def last(self) -> int:
        """The last one that is needed."""
        return max(self.object, self.size, self.address, self.operation)


def parse_columns(text: str) -> Columns:
    """Columns given as ``object=2,size=3``, counted from 1."""
    found = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        if name not in _NAMES or not number.isdecimal() or not 0 < int(number[:6]) < 1000:
            known = ", ".join(_NAMES)
            message = f"{part[:40]!r} must be name=number, with a name of {known}, counted from 1"
            raise InputError(Problem(message, key="--columns"))
        found[name] = int(number) - 1
    return _checked(Columns(**found), "--columns")


def _checked(columns: Columns, key: str) -> Columns:
    if (columns.object < 0) == (columns.address < 0):
        raise InputError(Problem("the table needs a column of objects, or of addresses", key=key))
    return columns


def _named(row: list[str]) -> Columns | None:
    """Columns by the names in the first row; none if it has no names."""
    found: dict[str, int] = {}
    for number, name in enumerate(row):
        for meaning, names in _NAMES.items():
            if name.strip().lower() in names:
                found.setdefault(meaning, number)
    return _checked(Columns(**found), "columns") if found else None


def _number(text: str) -> int:
    """A whole number; -1 if it is none."""
    if not _NUMBER.fullmatch(text):
        return -1
    return int(text, 16) if text[:2].lower() == "0x" else int(text)


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of a line; none if its quotes make no sense."""
    try:
        row = next(csv.reader([line.rstrip("\r")], delimiter=delimiter), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in row]


def read_table(source: Source, columns: Columns | None) -> Iterator[Words]:
    """Accesses of a table, as words over page numbers."""
    first_line = source.start.split(b"\n", 1)[0].decode(errors="replace")
    delimiter = max(",\t;|", key=first_line.count)
    named = _named(_cells(first_line, delimiter))
    chosen = columns or named
    if chosen is None:
        message = "has no names in its first line; say --columns object=2,size=3 or address=1"
        raise InputError(Problem(message, file=source.name))
    shelf = Shelf()
    for offset, text in source.texts():
        lines = text.split(b"\n")
        for number, line in enumerate(lines):
            header = offset == 0 and number == 0 and named is not None
            if line.strip() and not header and not line.startswith(b"#"):
                words = _access(shelf, chosen, _cells(line.decode(errors="replace"), delimiter))
                if words is None:
                    yield from shelf.rest()
                    at = offset + sum(len(before) + 1 for before in lines[:number])
                    shown = line[:60].decode(errors="replace")
                    raise source.damaged(at, f"the row that begins here is no access: {shown!r}")
                yield from words
        yield from shelf.rest()


def _access(shelf: Shelf, columns: Columns, row: list[str]) -> Iterator[Words] | None:
    """What a row says; nothing if it says nothing that can be."""
    if len(row) <= columns.last:
        return None
    size = _number(row[columns.size]) if columns.size >= 0 else 1
    write = columns.operation >= 0 and row[columns.operation].lower() in _WRITES
    if not 0 < size <= _MOST_SIZE:
        return None
    if columns.address < 0:
        return (
            shelf.request(row[columns.object], size, write=write) if row[columns.object] else None
        )
    address = _number(row[columns.address])
    if not 0 <= address < MOST_ADDRESS - _MOST_SIZE:
        return None
    rows = np.array([address], dtype=np.uint64), np.array([size], dtype=np.int64)
    return iter([page_words(*rows, np.array([write]))])
