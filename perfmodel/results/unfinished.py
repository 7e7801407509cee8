"""A run that has not ended: every repetition on disk as soon as it is measured.

JSON, a line each: a head, then repetitions, failures and finished programs as they come. Whoever
kills the run loses at most the line that is just being written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs

from perfmodel.errors import InputError, Problem
from perfmodel.specs import io
from perfmodel.specs.quantity import text, tuple_of, whole_number

FORMAT = "perfmodel-unfinished-run"
VERSION = 1
Spec = TypeVar("Spec")


@attrs.frozen(kw_only=True)
class PlannedArm:
    """One arm of the run."""

    scenario: str = attrs.field(validator=text)
    entry: str = attrs.field(validator=text)
    device: str = attrs.field(validator=text)


@attrs.frozen(kw_only=True)
class Head:
    """What the run is.

    Parameters
    ----------
    plan, sha256 : str
        Name of the plan, and a digest of it and of all its scenarios.
    repetitions : int
        Wanted of each arm.
    quick : bool
    setup : dict of str to str
        What the machine was set up as.
    missing : tuple of str
        What it cannot measure, and why.
    arms : tuple of PlannedArm
        What it can.
    programs : tuple of str
    started : str
    """

    format: str = attrs.field(default=FORMAT, validator=attrs.validators.in_((FORMAT,)))
    version: int = attrs.field(default=VERSION, validator=attrs.validators.in_((VERSION,)))
    plan: str = attrs.field(validator=text)
    sha256: str = attrs.field(validator=text)
    repetitions: int = whole_number(1, 1000)
    quick: bool = attrs.field(validator=attrs.validators.instance_of(bool))
    setup: dict[str, str] = attrs.field(factory=dict)
    missing: tuple[str, ...] = attrs.field(validator=tuple_of(str))
    arms: tuple[PlannedArm, ...] = attrs.field(validator=tuple_of(PlannedArm))
    programs: tuple[str, ...] = attrs.field(validator=tuple_of(str))
    started: str = attrs.field(validator=text)


def _positive(_: object, attribute: attrs.Attribute[Any], value: int) -> None:
    if value <= 0:
        raise ValueError(f"{attribute.name} must be above 0")


@attrs.frozen(kw_only=True)
class DoneStep:
    """One step of one repetition, as the measuring process replies."""

    elapsed_ns: int = attrs.field(validator=_positive)
    counters: dict[str, int]
    observed: dict[str, int] = attrs.field(factory=dict)


def _pairs(_: object, attribute: attrs.Attribute[Any], value: dict[str, Any]) -> None:
    if any(min(pair) <= 0 for pair in value.values()):
        raise ValueError("must be two positive numbers for each loop")


@attrs.frozen(kw_only=True)
class DoneRepetition:
    """One repetition, as the measuring process replies."""

    steps: tuple[DoneStep, ...] = attrs.field(validator=tuple_of(DoneStep))
    mapping: dict[str, int]
    thp_bytes: int
    reference_ns: dict[str, tuple[float, float]] = attrs.field(validator=_pairs)
    steal_ticks: int


@attrs.frozen(kw_only=True)
class Line:
    """One line behind the head: a repetition of an arm, why an arm failed, or a program's end."""

    arm: int = whole_number(-1, 1 << 20, default=-1)
    session: int = whole_number(0, 1 << 30, default=0)
    repetition: DoneRepetition | None = None
    failed: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
    program: str = attrs.field(default="", validator=attrs.validators.instance_of(str))


@attrs.frozen
class Unfinished:
    """What a run has come to.

    Parameters
    ----------
    head : Head
    repetitions : tuple of tuple of (session, DoneRepetition)
        Of each arm of the head.
    failed : dict of int to str
        Why an arm failed.
    programs : frozenset of str
        Those that are done.
    complete_bytes : int
        Length of the file up to the last whole line.
    """

    head: Head
    repetitions: tuple[tuple[tuple[int, DoneRepetition], ...], ...]
    failed: dict[int, str]
    programs: frozenset[str]
    complete_bytes: int

    @property
    def sessions(self) -> int:
        """Sessions so far."""
        numbers = [number for arm in self.repetitions for number, _ in arm]
        return max(numbers, default=-1) + 1


def load_unfinished(path: Path) -> Unfinished:
    """Read what a run has left; a last line that is not whole is none.

    Raises
    ------
    InputError
        If the file is damaged or something else.
    """
    whole, newline, _ = io.read_bytes(path).rpartition(b"\n")
    lines = whole.split(b"\n") if newline else []
    if not lines:
        raise InputError(Problem(f"is no file of {FORMAT}", file=str(path)))
    head_table = _parse(lines[0], path, 1)
    if not isinstance(head_table, dict) or head_table.get("format") != FORMAT:
        raise InputError(Problem(f"is no file of {FORMAT}", file=str(path)))
    head = _structured(Head, head_table, path, 1)
    repetitions: list[list[tuple[int, DoneRepetition]]] = [[] for _ in head.arms]
    failed: dict[int, str] = {}
    programs = set()
    for number, content in enumerate(lines[1:], start=2):
        line = _structured(Line, _parse(content, path, number), path, number)
        if line.arm >= len(head.arms):
            message = f"must be less than {len(head.arms)}, the number of arms"
            raise InputError(Problem(message, file=str(path), key=f"line {number}: arm"))
        if line.program:
            programs.add(line.program)
        elif line.arm >= 0 and line.failed:
            failed[line.arm] = line.failed
        elif line.arm >= 0 and line.repetition is not None:
            repetitions[line.arm].append((line.session, line.repetition))
    for arm, done in enumerate(repetitions):
        if len({_shape(repetition) for _, repetition in done}) > 1:
            message = f"repetitions of arm {arm} differ in their steps or reference loops"
            raise InputError(Problem(message, file=str(path)))
    return Unfinished(
        head=head,
        repetitions=tuple(map(tuple, repetitions)),
        failed=failed,
        programs=frozenset(programs),
        complete_bytes=len(whole) + 1,
    )


def _shape(repetition: DoneRepetition) -> tuple[int, tuple[str, ...]]:
    return len(repetition.steps), tuple(sorted(repetition.reference_ns))


def _parse(content: bytes, path: Path, number: int) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        problem = Problem("is not valid JSON", file=str(path), key=f"line {number}")
        raise InputError(problem) from None


def _structured(kind: type[Spec], table: Any, path: Path, number: int) -> Spec:
    """A line of a file, with its number in every problem."""
    try:
        return io.structure(kind, table, str(path))
    except InputError as error:
        raise InputError(
            Problem(
                problem.message,
                file=problem.file,
                key=": ".join(filter(None, (f"line {number}", problem.key))),
            )
            for problem in error.problems
        ) from None


class RunFile:
    """The file of a run, open to write behind what is there, as a context."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def begin(self, head: Head) -> Self:
        """Make a new file; an existing one is not overwritten."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o644)
        except FileExistsError:
            message = "exists already: a run that has not ended; go on with --resume"
            raise InputError(Problem(message, file=str(self.path))) from None
        except OSError as error:
            message = f"cannot be written: {error.strerror}"
            raise InputError(Problem(message, file=str(self.path))) from None
        self.append(io.to_table(head))
        return self

    def go_on(self, complete_bytes: int) -> Self:
        """Write behind the last whole line."""
        try:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            os.truncate(self._descriptor, complete_bytes)
        except OSError as error:
            message = f"cannot be written: {error.strerror}"
            raise InputError(Problem(message, file=str(self.path))) from None
        return self

    def append(self, line: dict[str, Any]) -> None:
        """Write a line at once."""
        os.write(self._descriptor, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
