"""Every option of every command, given what cannot be: one clear line, and nothing else.

Commands and options are taken from the command line itself, so that new ones are tried as well.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from perfmodel.cli import common, main
from tests.unit.test_cli import call

# What each command needs before it looks at an option.
NEEDED: dict[str, tuple[str, ...]] = {
    "simulate": ("thp-roundtrip",),
    "show": ("amd-zen3", "--influence"),
    "measure": ("thp-roundtrip",),
    "sweep": ("page-tables",),
    "report": ("cut.json", "--out", "page"),
    "trace import": ("text", "out.trace"),
    "trace generate": ("cyclic", "out.trace"),
    "trace stat": ("sqlite",),
}
# Options that take any text, or an address.
FREE = {"description", "command", "scheduler", "parameter"}
# Where several problems of a file are told, a line each; every other mistake has one line.
EMPTY = "empty.toml"
NO_NUMBERS = ("x", "1.5", "nan", "", "1e3", "0x10", "--")
WRONG_NAMES = ("no-such", "no/such.toml", "folder.toml", "junk.toml", "half.toml", "loop.toml", "")
TO_READ = ("no-such.json", "folder", "junk.json", "cut.json", "list.json", "text", "loop", "")
TO_WRITE_FILES = ("folder", "text/x", "x" * 300, "", "folder/text/x", "loop/x")
TO_WRITE_FOLDERS = ("text", "text/x", "x" * 300, "folder/text", "loop/x")


def commands() -> Iterator[tuple[str, Any]]:
    for name in main.app:
        if not name.startswith("-") and name != "trace":
            yield name, getattr(import_module(f"perfmodel.cli.{name}"), name)
    trace = import_module("perfmodel.cli.trace")
    for name in ("import_trace", "generate", "stat"):
        yield f"trace {name.removesuffix('_trace')}", getattr(trace, name)


COMMANDS = dict(commands())


def wrong_values(name: str, hint: Any) -> tuple[str, ...]:
    """What an option of this name and type cannot be."""
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
    text = repr(hint)
    if hint in (common.OutFile, common.NewFile):
        return TO_WRITE_FILES
    if hint in (common.OutFolder, common.NewFolder):
        return TO_WRITE_FOLDERS
    if "Path" in text:
        return TO_READ
    if bool in kinds or "bool" in text:
        return ()
    if int in kinds:
        return NO_NUMBERS
    if float in kinds:
        return ("x", "", "1,5")
    if "Literal" in text:
        return ("no-such", "")
    return () if name in FREE else WRONG_NAMES


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that are none of ours, and nobody who may measure."""
    junk = bytes(range(256)) * 20
    for name in ("folder", "folder.toml"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "text").write_text("x")
    for name, content in {
        "junk.toml": junk,
        "junk.json": junk,
        "cut.json": b'{"format": "perfmodel-measurements", "version": 1, "results": [{"scen',
        "list.json": b"[1, 2]",
        "half.toml": b'name = "x"\n[regio',
        "text": b"nothing of ours\n",
    }.items():
        (tmp_path / name).write_bytes(content)
    for name in ("loop", "loop.toml"):
        (tmp_path / name).symlink_to(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_value_is_refused_in_one_line(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name for path in folder.iterdir()}
    hints = get_type_hints(COMMANDS[name], include_extras=True)
    wrong = []
    for place, option in enumerate(inspect.signature(COMMANDS[name]).parameters.values()):
        for value in wrong_values(option.name, hints[option.name]):
            needed = list(NEEDED.get(name, ()))
            if option.kind is option.KEYWORD_ONLY:
                flag = f"--{option.name.replace('_', '-')}"
                if flag in needed:
                    del needed[needed.index(flag) :]
                arguments = [*needed, f"{flag}={value}"]
            else:
                arguments = [*needed[:place], value, *needed[place + 1 :]]
            status, output, errors = call(capsys, *name.split(), *arguments)
            lines = [line for line in errors.splitlines() if "no profile for this" not in line]
            if status != 2 or output or len(lines) != 1 or not lines[0].startswith("perfmodel: "):
                wrong.append((arguments, status, output[:80], lines[:3]))
    assert not wrong
    assert {path.name for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_option_is_named(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, output, errors = call(capsys, *name.split(), *NEEDED.get(name, ()), "--no-such-option")
    assert (status, output) == (2, "")
    assert "--no-such-option" in errors
    assert len(errors.splitlines()) == 1
