"""All formats of recordings: their names, how to tell them, and who reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum

import attrs

from perfmodel.errors import InputError, Problem
from perfmodel.traces.accesses import Words
from perfmodel.traces.readers import text
from perfmodel.traces.readers.binary import read_champsim, read_oracle_general
from perfmodel.traces.readers.source import Source
from perfmodel.traces.readers.table import Columns, read_table
from perfmodel.traces.store import MAGIC


class Format(StrEnum):
    """Who wrote a recording."""

    LACKEY = "lackey"  # valgrind --tool=lackey --trace-mem=yes
    CHAMPSIM = "champsim"
    DYNAMORIO = "dynamorio"  # memtrace_simple, or what drcachesim's view tool prints
    PERF = "perf"  # perf script -F event,addr
    DAMON = "damon"  # perf script of damon:damon_aggregated
    ORACLE_GENERAL = "oracle-general"  # libCacheSim
    CSV = "csv"
    PERFMODEL = "perfmodel"  # our own


@attrs.frozen
class Options:
    """What a reader is told.

    Parameters
    ----------
    instructions : bool
        Whether fetches of instructions count.
    columns : Columns, optional
        Of a table.
    """

    instructions: bool = False
    columns: Columns | None = None


# A recording that begins as text is one, whatever comes later.
_TEXT = 512
_MARKS = (
    (Format.DAMON, re.compile(rb"damon_aggregated: target_id=")),
    (Format.DYNAMORIO, re.compile(rb"^Format: <data address>|byte\(s\) @ 0x", re.MULTILINE)),
    (Format.DYNAMORIO, re.compile(rb"^ *0x[0-9a-f]+: +\d+, \w+$", re.MULTILINE)),
    (Format.LACKEY, re.compile(rb"^(?:I | [LSM]) [0-9a-fA-F]+,\d+\r?$", re.MULTILINE)),
    (
        Format.PERF,
        re.compile(rb"^(?:.*\s)?[A-Za-z][^\s,]*[^\s]*: +[0-9a-f]+(?:\s.*)?$", re.MULTILINE),
    ),
    (Format.CSV, re.compile(rb"\A[^\n]*[,;\t|][^\n]*\n")),
)


def find_format(source: Source, name: str) -> Format:
    """The format of a recording, by its first bytes or its name.

    Raises
    ------
    InputError
        If neither tells.
    """
    start = source.start
    if start.startswith(MAGIC):
        return Format.PERFMODEL
    lower = name.lower()
    if "oraclegeneral" in lower.replace("_", "").replace("-", ""):
        return Format.ORACLE_GENERAL
    if "champsim" in lower:
        return Format.CHAMPSIM
    if b"\0" not in start[:_TEXT]:
        for form, mark in _MARKS:
            if mark.search(start):
                return form
    known = ", ".join(form.value for form in Format)
    message = f"is of no format that can be told by looking; say which with --format: {known}"
    raise InputError(Problem(message, file=source.name))


def read_accesses(source: Source, form: Format, options: Options) -> Iterator[Words]:
    """Accesses of a recording, as words over page numbers, of any number in each array.

    Raises
    ------
    DamagedTraceError
        Behind the last access that can be read.
    """
    if form is Format.LACKEY:
        lines = text.LACKEY_WITH_CODE if options.instructions else text.LACKEY
        return text.read_lines(source, lines)
    if form is Format.CHAMPSIM:
        return read_champsim(source, instructions=options.instructions)
    if form is Format.DYNAMORIO:
        return text.read_lines(source, text.DYNAMORIO)
    if form is Format.PERF:
        return text.read_lines(source, text.PERF)
    if form is Format.DAMON:
        return text.read_lines(source, text.DAMON)
    if form is Format.ORACLE_GENERAL:
        return read_oracle_general(source)
    return read_table(source, options.columns)
