"""What several commands share: output, progress, and the choice of a machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from perfmodel.cli.given import given_command
from perfmodel.errors import InputError, Problem
from perfmodel.host import processor
from perfmodel.results.documents import stamped
from perfmodel.specs.catalog import default_machine, load_machine
from perfmodel.specs.machine import Machine


def say(line: str) -> None:
    """A message for the person at the terminal; never mixed with the output."""
    sys.stderr.write(f"perfmodel: {line}\n")


def say_if_compiling() -> None:
    """Tell what takes so long where the engine has not been compiled on this computer yet."""
    from numba import config

    from perfmodel.kernels._jit import CACHE_FOLDER

    if config.DISABLE_JIT or (  # type: ignore[attr-defined]
        CACHE_FOLDER and any(CACHE_FOLDER.glob("*/engine.run_step-*.nbc"))
    ):
        return
    if CACHE_FOLDER:
        say("compiling the engine; that takes a minute or two, this once")
    else:
        say("compiling the engine; that takes a minute or two every time: no cache folder is yours")


def result(kind: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a result, with its kind and the command, so that `report` can take it."""
    return stamped(kind, document, given_command())


def print_json(document: Any) -> None:
    """One JSON document on standard output and nothing else."""
    sys.stdout.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


def write_json(document: Any, path: Path) -> None:
    """The same document as `print_json` prints, in a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise InputError(Problem(f"cannot be written: {error.strerror}", file=str(path))) from None


def pick_machine(name: str | None) -> Machine:
    """The machine of that name or, without one, the best for the processor at hand."""
    if name is not None:
        return load_machine(name)
    cpu = processor()
    machine, matches = default_machine(cpu.vendor, cpu.family, cpu.model)
    if not matches:
        say(
            f"no profile for this processor ({cpu.vendor} family {cpu.family} model {cpu.model}); "
            f"using {machine.name}. 'perfmodel calibrate' makes one"
        )
    return machine


def _to_be_written(path: Path, *, folder: bool) -> None:
    """Refuse what nothing can be written to, before anything takes time."""
    try:
        if not folder and not path.name:
            raise ValueError("It is no file name.")
        if path.exists():
            if path.is_dir() is not folder:
                raise ValueError("It is a file." if folder else "It is a folder.")
            above = path
        else:
            above = next(each for each in path.parents if each.exists() or each.is_symlink())
            if not above.is_dir():
                raise ValueError(f"{above} is no folder.")
        if not os.access(above, os.W_OK):
            raise ValueError(f"{above} cannot be written to.")
    except OSError as error:
        raise ValueError(f"{error.strerror}.") from None


def _file_to_be_written(_: object, path: Path | None) -> None:
    if path is not None:
        _to_be_written(path, folder=False)


def _folder_to_be_written(_: object, path: Path | None) -> None:
    if path is not None:
        _to_be_written(path, folder=True)


# Types of options that say where results go; they are looked at before a command begins.
OutFile = Annotated[Path | None, Parameter(validator=_file_to_be_written)]
OutFolder = Annotated[Path | None, Parameter(validator=_folder_to_be_written)]
NewFile = Annotated[Path, Parameter(validator=_file_to_be_written)]
NewFolder = Annotated[Path, Parameter(validator=_folder_to_be_written)]

PICTURES = (".png", ".svg")


def check_picture(out: Path | None, key: str = "--out") -> list[Problem]:
    """What is wrong with the file for a figure, before anything takes time."""
    if out is None:
        return []
    if out.suffix not in PICTURES:
        return [Problem(f"{out.name[:80]!r} must end in {' or '.join(PICTURES)}", key=key)]
    if not out.parent.is_dir():
        return [Problem("is no folder", file=str(out.parent), key=key)]
    return []


def check_evidence(
    measured: bool, evidence: Any, save_evidence: Path | None, option: str = "--measured"
) -> list[Problem]:
    """What is wrong with the choice of measuring anew or not."""
    problems = []
    if measured and evidence:
        problems.append(Problem(f"choose one of {option} and --evidence", key=option))
    if save_evidence is not None and not measured:
        problems.append(Problem(f"needs {option}", key="--save-evidence"))
    if save_evidence is not None and save_evidence.exists():
        message = "exists already; measurements are never overwritten, choose another name"
        problems.append(Problem(message, file=str(save_evidence)))
    return problems


def write_figure(figure: Any, out: Path) -> None:
    """Write a figure to a file that the user named, and say so."""
    from perfmodel.plot.style import save_figure

    try:
        save_figure(figure, out)
    except OSError as error:
        raise InputError(Problem(f"cannot be written: {error.strerror}", file=str(out))) from None
    say(f"figure written to {out}")


def write_report(figure: Any, document: Any, folder: Path, name: str) -> None:
    """Figure as PNG and SVG, and numbers as JSON, in a folder that the user named."""
    from perfmodel.plot.style import save_figure

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix in PICTURES:
            save_figure(figure, folder / f"{name}{suffix}")
    except OSError as error:
        message = f"cannot be written: {error.strerror}"
        raise InputError(Problem(message, file=str(folder))) from None
    write_json(document, folder / f"{name}.json")
    say(f"figure and numbers written to {folder}")


def split_entries(text: str) -> list[str]:
    """Entries of a comma-separated list."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def parse_parameters(texts: list[str] | None) -> dict[str, int]:
    """Scenario parameters given as ``name=value``."""
    parameters = {}
    for text in texts or []:
        name, _, value = text.partition("=")
        if not name.isidentifier() or not value.isdecimal() or len(value) > 15:
            message = f"{text[:40]!r} must be name=value with a whole number"
            raise InputError(Problem(message, key="--parameter"))
        parameters[name] = int(value)
    return parameters


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error where that is a terminal, and a line now and then where it is not."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        last = -1

        def tell(done: int, total: int) -> None:
            nonlocal last
            quarter = 4 * done // total
            if quarter != last:
                last = quarter
                say(f"{label}: {done} of {total}")

        yield tell
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(label, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
