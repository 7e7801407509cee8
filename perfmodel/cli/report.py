"""``perfmodel report``."""

from __future__ import annotations

from pathlib import Path

from perfmodel.cli.common import NewFolder, say
from perfmodel.cli.given import given_command
from perfmodel.errors import InputError, Problem


def report(*results: Path, out: NewFolder) -> None:
    """Results as one HTML page: figures, tables that sort, and what everything rests on.

    Parameters
    ----------
    results
        JSON documents that --json of any command printed, files of measurements, and folders that
        sweep --out wrote.
    out
        Folder for index.html, which needs no other file.
    """
    if not results:
        message = "name at least one document, as 'perfmodel compare --json > FILE' writes one"
        raise InputError(Problem(message, key="RESULT"))
    from perfmodel.results.documents import read_document

    documents = []
    problems: list[Problem] = []
    for path in results:
        try:
            documents.append(read_document(path))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    from perfmodel.report.page import write_sections
    from perfmodel.report.sections import section

    page = write_sections([section(one) for one in documents], out, given_command(), "--out")
    say(f"page written to {page}")
