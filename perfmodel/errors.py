"""Errors that reach the user as one clear line each, and the exit status they end with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Below that share of equal letters nobody sees what two names have in common.
_NEAR = 0.5


def nearest(wrong: object, known: Iterable[str]) -> str:
    """What a message adds about a wrong name: the one that was probably meant, if one is near."""
    names = {str(name).lower(): str(name) for name in known}
    found = difflib.get_close_matches(str(wrong)[:80].lower(), names, 1, _NEAR)
    return f"; the nearest is {names[found[0]]!r}" if found else ""


class PerfmodelError(Exception):
    """Base of every error that the command line prints without a traceback."""

    exit_status = 1


class Problem:
    """One thing that is wrong with the user's input.

    Parameters
    ----------
    message : str
        What is wrong and what would be right.
    file : str, optional
        The file it stands in; empty when it came from the command line or a call.
    key : str, optional
        Dotted path of the key, or the option's name.
    """

    __slots__ = ("file", "key", "message")

    def __init__(self, message: str, *, file: str = "", key: str = "") -> None:
        self.message = message
        self.file = file
        self.key = key

    def __str__(self) -> str:
        line = ": ".join(part for part in (self.file, self.key, self.message) if part)
        # Whatever a file contains, a message stays one printable line.
        return "".join(character if character.isprintable() else "?" for character in line)


class InputError(PerfmodelError):
    """The user's input is wrong (exit status 2); carries every problem, not only the first."""

    exit_status = 2

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class OutOfMemoryError(InputError):
    """In the scenario the kernel would kill the process for lack of memory in its cgroup."""


class CapabilityError(PerfmodelError):
    """What was asked cannot be done here (exit status 3): what is missing, how to get it."""

    exit_status = 3

    def __init__(self, missing: str | Iterable[str]) -> None:
        self.missing = (missing,) if isinstance(missing, str) else tuple(missing)
        super().__init__("\n".join(self.missing))
