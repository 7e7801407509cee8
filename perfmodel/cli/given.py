"""The arguments of the command that runs, for results that say what made them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

_arguments: list[str] = []


def remember(arguments: Sequence[str] | None) -> None:
    """Keep the arguments; none are the process's own."""
    _arguments[:] = sys.argv[1:] if arguments is None else arguments


def given_command() -> str:
    """What was typed, to type it again."""
    return shlex.join(["perfmodel", *_arguments])
