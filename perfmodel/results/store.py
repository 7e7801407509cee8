"""Measurements on disk: JSON that keeps every repetition, written once and never edited."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from perfmodel.errors import InputError, Problem
from perfmodel.results.result import Result
from perfmodel.specs import io
from perfmodel.specs.quantity import text
from perfmodel.specs.scenario import Scenario

FORMAT = "perfmodel-measurements"
VERSION = 2
# Of version 1 every result says all of its provenance and every counter itself.
READABLE = (1, 2)
M = TypeVar("M")


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
            "measurement": _shortened(io.to_table(measurement)),
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


def read_versioned(path: Path, format_name: str, *versions: int) -> dict[str, Any]:
    """Read a document of one format and of a version that is known.

    Raises
    ------
    InputError
        If the file is damaged or something else.
    """
    document = io.read_json(path)
    if not isinstance(document, dict) or document.get("format") != format_name:
        raise InputError(Problem(f"is no file of {format_name}", file=str(path)))
    if document.get("version") not in versions:
        message = f"must be {versions[-1]}; another perfmodel wrote this file"
        raise InputError(Problem(message, file=str(path), key="version"))
    return document


def save_measurements(
    results: list[Result],
    path: Path,
    *,
    setup: dict[str, str] | None = None,
    missing: Sequence[str] = (),
) -> None:
    """Write results of one run to a file; an existing one is not overwritten.

    What all results have in common stands there once: the head has what their provenance shares,
    and the counters that all of them know, so that one which did not move is left out.

    Parameters
    ----------
    results : list of Result
    path : Path
    setup : dict of str to str, optional
        What the machine was set up as.
    missing : sequence of str
        What the machine could not measure, and why.
    """
    documents = [result.to_json() for result in results]
    shared = _shared_provenance(documents)
    counters = _shared_counters(documents)
    for document in documents:
        own = document["provenance"].items()
        document["provenance"] = {key: value for key, value in own if key not in shared}
        for step in document["steps"]:
            step["counters"] = {
                name: count
                for name, count in step["counters"].items()
                if count or name not in counters
            }
            step["repetitions_ns"] = [_shortest(time) for time in step["repetitions_ns"]]
        document["reference_ns"] = {
            name: [[_shortest(time) for time in pair] for pair in pairs]
            for name, pairs in document.get("reference_ns", {}).items()
        }
    write_new(
        {
            "format": FORMAT,
            "version": VERSION,
            "setup": setup or {},
            "missing": list(missing),
            "provenance": shared,
            "counters": sorted(counters),
            "results": documents,
        },
        path,
    )


def _shortened(value: Any) -> Any:
    """The same document, whole numbers without a fraction: a loader takes them for floats."""
    if isinstance(value, dict):
        return {key: _shortened(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    return _shortest(value) if type(value) is float else value


def _shortest(time: float) -> float:
    return int(time) if time == int(time) else time


def _shared_provenance(documents: list[dict[str, Any]]) -> dict[str, Any]:
    if not documents:
        return {}
    first, *others = (document["provenance"] for document in documents)
    document_of = {key: json.dumps(value) for key, value in first.items()}
    return {
        key: first[key]
        for key, text in document_of.items()
        if all(key in other and json.dumps(other[key]) == text for other in others)
    }


def _shared_counters(documents: list[dict[str, Any]]) -> set[str]:
    known = [set(step["counters"]) for document in documents for step in document["steps"]]
    return set.intersection(*known) if known else set()


@attrs.frozen
class Measurements:
    """One file of measurements.

    Parameters
    ----------
    results : tuple of Result
    setup : dict of str to str
        What the machine was set up as; empty in older files.
    missing : tuple of str
        What the machine could not measure, and why.
    """

    results: tuple[Result, ...]
    setup: dict[str, str] = attrs.field(factory=dict)
    missing: tuple[str, ...] = ()


@attrs.frozen
class _File:
    format: str = attrs.field(validator=text)
    version: int = attrs.field()
    results: tuple[Result, ...] = attrs.field()
    setup: dict[str, str] = attrs.field(factory=dict)
    missing: tuple[str, ...] = ()
    provenance: dict[str, Any] = attrs.field(factory=dict)
    counters: tuple[str, ...] = ()


def _with_shared(result: Result, file: _File) -> Result:
    zeros = dict.fromkeys(file.counters, 0)
    return attrs.evolve(
        result,
        provenance=file.provenance | result.provenance,
        steps=tuple(attrs.evolve(step, counters=zeros | step.counters) for step in result.steps),
    )


def load_evidence(path: Path) -> Measurements:
    """Read a file of measurements, with what it says about the machine.

    Raises
    ------
    InputError
        If the file is damaged, truncated or something else.
    """
    document = read_versioned(path, FORMAT, *READABLE)
    file = io.structure(_File, document, str(path))
    results = tuple(_with_shared(result, file) for result in file.results)
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
    return Measurements(results=results, setup=file.setup, missing=file.missing)


def load_measurements(path: Path) -> list[Result]:
    """Results of a file of measurements, see `load_evidence`."""
    return list(load_evidence(path).results)
