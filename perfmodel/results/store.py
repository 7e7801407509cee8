"""Measurements on disk: JSON that keeps every repetition, written once and never edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from perfmodel.errors import InputError, Problem
from perfmodel.results.result import Result
from perfmodel.specs import io
from perfmodel.specs.quantity import text
from perfmodel.specs.scenario import Scenario

FORMAT = "perfmodel-measurements"
VERSION = 1
M = TypeVar("M")


@attrs.frozen
class _Measurements:
    format: str = attrs.field(validator=text)
    version: int = attrs.field()
    results: tuple[Result, ...] = attrs.field()


def measured_scenario(result: Result) -> Scenario:
    """The scenario that a measurement ran, as it was then."""
    table = result.provenance.get("scenario")
    if not isinstance(table, dict):
        raise InputError(Problem("does not say which scenario ran", key="provenance.scenario"))
    return io.structure(Scenario, table, "provenance.scenario")


def write_new(document: Any, path: Path) -> None:
    """Write evidence as JSON to a new file; an existing one is not overwritten."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            json.dump(document, file, separators=(",", ":"))
            file.write("\n")
    except FileExistsError:
        message = "exists already; measurements are never overwritten, choose another name"
        raise InputError(Problem(message, file=str(path))) from None
    except OSError as error:
        raise InputError(Problem(f"cannot be written: {error.strerror}", file=str(path))) from None


@attrs.frozen
class EvidenceFormat(Generic[M]):
    """Files of one kind of measurement: a head with format and version, and one run.

    Parameters
    ----------
    name : str
        The format, as it stands in the file.
    version : int
    kind : type
        Spec class of a run.
    """

    name: str
    version: int
    kind: type[M]

    def save(self, measurement: M, path: Path) -> None:
        """Write a run to a new file; an existing one is not overwritten."""
        document = {
            "format": self.name,
            "version": self.version,
            "measurement": io.to_table(measurement),
        }
        write_new(document, path)

    def load(self, path: Path) -> M:
        """Read a run back.

        Raises
        ------
        InputError
            If the file is damaged or something else.
        """
        document = read_versioned(path, self.name, self.version)
        fields = {"format": str, "version": int, "measurement": self.kind}
        file = attrs.make_class(
            "_File",
            {field: attrs.field(type=kind) for field, kind in fields.items()},
            kw_only=True,
            frozen=True,
        )
        measurement: M = io.structure(file, document, str(path)).measurement
        return measurement


def read_versioned(path: Path, format_name: str, version: int) -> dict[str, Any]:
    """Read a document of one format and version.

    Raises
    ------
    InputError
        If the file is damaged or something else.
    """
    document = io.read_json(path)
    if not isinstance(document, dict) or document.get("format") != format_name:
        raise InputError(Problem(f"is no file of {format_name}", file=str(path)))
    if document.get("version") != version:
        message = f"must be {version}; another perfmodel wrote this file"
        raise InputError(Problem(message, file=str(path), key="version"))
    return document


def save_measurements(results: list[Result], path: Path) -> None:
    """Write results of one run to a file; an existing one is not overwritten."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "results": [result.to_json() for result in results],
    }
    write_new(document, path)


def load_measurements(path: Path) -> list[Result]:
    """Read results back.

    Raises
    ------
    InputError
        If the file is damaged, truncated or something else.
    """
    document = read_versioned(path, FORMAT, VERSION)
    results = list(io.structure(_Measurements, document, str(path)).results)
    for index, result in enumerate(results):
        for step in result.steps:
            if not step.repetitions_ns or min(step.repetitions_ns) <= 0:
                key = f"results[{index}].steps.{step.name}.repetitions_ns"
                raise InputError(
                    Problem("must be a list of positive numbers", file=str(path), key=key)
                )
            for name, pairs in result.reference_ns.items():
                if len(pairs) != len(step.repetitions_ns) or min(map(min, pairs)) <= 0:
                    key = f"results[{index}].reference_ns.{name}"
                    message = "must be two positive numbers for each repetition"
                    raise InputError(Problem(message, file=str(path), key=key))
        if result.regions < 1:
            key = f"results[{index}].regions"
            raise InputError(Problem("must be at least 1", file=str(path), key=key))
    return results
