"""JSON documents that commands print: which command made one, and reading any of them back."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from perfmodel import __version__
from perfmodel.errors import InputError, Problem
from perfmodel.results.store import FORMAT as MEASUREMENTS
from perfmodel.results.store import read_versioned
from perfmodel.results.sweep import FORMAT as SWEEP
from perfmodel.results.sweep import HEAD, VERSION
from perfmodel.specs import io

# Kinds by keys that only they have, for documents that do not say theirs.
_KEYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("compare", ("arms", "fallback")),
    ("simulate", ("steps", "mapping")),
    ("validate", ("runs", "summary")),
    ("device", ("devices", "published")),
    ("thrash", ("cells", "crossings")),
    ("experiment", ("experiments",)),
    ("sweep", ("study", "variables")),
    ("shootdown", ("flushes",)),
    ("runtime", ("models", "programs")),
    ("latency", ("cpus",)),
    ("latency", ("page_sizes",)),
    ("latency", ("measured", "predicted")),
    ("shootdown", ("machine", "predicted")),
    ("trace", ("trace", "head")),
    ("doctor", ("capabilities", "host")),
)
KINDS = (*dict.fromkeys(kind for kind, _ in _KEYS), "measure", "measurements", "sweep-folder")
_STAMP = ("kind", "command")
_DEEPEST = 40
_LARGEST = 1e18


@attrs.frozen
class Document:
    """A result as it was printed or saved.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    table : dict
        What it says, without `kind` and `command`.
    command : str
        What made it; empty where it does not say.
    source : Path
        File or folder.
    """

    kind: str
    table: dict[str, Any]
    command: str
    source: Path

    def problem(self, message: str, key: str = "") -> InputError:
        """What is wrong with it, for the person who named it."""
        return InputError(Problem(message, file=str(self.source), key=key))


def stamped(kind: str, document: Mapping[str, Any], command: str) -> dict[str, Any]:
    """A document that says its kind, the command that made it, and when that was."""
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    told = {"provenance": {"perfmodel": __version__, "created": created}}
    return {"kind": kind, **told, **document, "command": command}


def read_document(path: Path) -> Document:
    """Read any of our documents, or a sweep's folder; its kind's own keys are not checked here.

    Raises
    ------
    InputError
        If it is none, with file and key.
    """
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        is_folder = False
    if is_folder:
        if not (path / HEAD).is_file():
            message = "is a folder, but none that perfmodel sweep --out wrote; name a JSON document"
            raise InputError(Problem(message, file=str(path)))
        return Document("sweep-folder", read_versioned(path / HEAD, SWEEP, VERSION), "", path)
    table = io.read_json(path)
    if not isinstance(table, dict):
        raise InputError(Problem("must be a JSON object that a command printed", file=str(path)))
    _check_values(table, str(path))
    command = table.get("command", "")
    if not isinstance(command, str):
        raise InputError(Problem("must be a text", file=str(path), key="command"))
    kind = _kind_of(table, str(path))
    return Document(
        kind, {key: value for key, value in table.items() if key not in _STAMP}, command, path
    )


def _kind_of(table: Mapping[str, Any], file: str) -> str:
    if "kind" in table:
        kind = table["kind"]
        if kind not in KINDS or kind == "sweep-folder":
            message = f"must be one of {', '.join(KINDS[:-1])}, not {str(kind)[:40]!r}"
            raise InputError(Problem(message, file=file, key="kind"))
        return str(kind)
    if table.get("format") == MEASUREMENTS:
        return "measurements"
    for kind, keys in _KEYS:
        if all(key in table for key in keys):
            return kind
    message = "is no result of ours: --json of a command prints one, --out of a sweep keeps one"
    raise InputError(Problem(message, file=file))


def _check_values(value: Any, file: str, key: str = "", depth: int = 0) -> None:
    """Refuse what no result holds and no figure can show, wherever it stands."""
    if depth > _DEEPEST:
        raise InputError(Problem("is nested too deeply", file=file, key=key[:80]))
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_values(inner, file, f"{key}.{name}" if key else name, depth + 1)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            _check_values(inner, file, f"{key}[{place}]", depth + 1)
    elif isinstance(value, int | float) and not abs(value) <= _LARGEST:  # NaN is not, either
        raise InputError(Problem(f"must be a number below {_LARGEST:g}", file=file, key=key[:200]))
