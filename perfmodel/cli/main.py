"""The command line: names of commands, exit statuses, and nothing that takes time to import."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, get_args

from cyclopts import App, CycloptsError, Parameter, Token, convert

from perfmodel import __version__
from perfmodel.cli.given import remember
from perfmodel.errors import InputError, PerfmodelError

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9][0-9_]*")


def _converted(kind: Any, tokens: Sequence[Token]) -> Any:
    """As cyclopts converts, but 1.5 is no whole number, and not taken for 2."""
    kinds = get_args(kind) or (kind,)
    if int in kinds and float not in kinds:
        for token in tokens:
            if not _WHOLE_NUMBER.fullmatch(token.value.strip()):
                raise ValueError(f'unable to convert "{token.value[:40]}" into int')
    return convert(kind, tokens)


_PARAMETER = Parameter(converter=_converted)
app = App(
    name="perfmodel",
    help="What a huge page costs on its way to swap and back: PMD-level against PTE-level swap "
    "entries, predicted for a machine and measured on this one.",
    version=__version__,
    exit_on_error=False,
    print_error=False,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
    default_parameter=_PARAMETER,
)

# Commands are imported when they are called, so that --help answers at once.
for _name, _help in {
    "compare": "Compare swap entries: what falling back to PTEs costs.",
    "simulate": "Run a scenario in the model.",
    "measure": "Run a scenario on the live kernel of this machine (root).",
    "calibrate": "Measure this machine and fit a profile to it (root).",
    "validate": "Judge predictions by measurements that no fit has seen (root).",
    "latency": "Predict load latency against working set, beside published or measured ones.",
    "shootdown": "Predict what flushing TLBs on one or more CPUs costs, beside measured flushes.",
    "runtime": "Judge published runtime models and our own by programs under page layouts.",
    "device": "Simulate block devices under load, beside what was published.",
    "thrash": "Predict where a PMD entry starts to lose: used share of 2 MiB against memory limit.",
    "sweep": "Calculate all what-ifs of a study: grids, samples, break-even, sensitivity.",
    "experiment": "Set published swap experiments beside the same ones, scaled down, in the model.",
    "report": "Make one HTML page of any results: figures, tables, what they rest on.",
    "doctor": "Say what this machine can measure, and put back what a killed run left.",
    "show": "List machines, devices and scenarios, or show one with its sources.",
}.items():
    app.command(f"perfmodel.cli.{_name}:{_name}", name=_name, help=_help)

# Commands of `perfmodel trace`.
_trace = App(
    name="trace",
    help="Import recordings of what programs access, generate some, and look at them.",
    help_format="plaintext",
    default_parameter=_PARAMETER,
)
for _name, _function, _help in (
    ("import", "import_trace", "Read a recording of another program, and write it as a trace."),
    ("generate", "generate", "Write the accesses of a generated workload as a trace."),
    ("stat", "stat", "Footprint, reuse distances and used share of every 2 MiB of a trace."),
):
    _trace.command(f"perfmodel.cli.trace:{_function}", name=_name, help=_help)
app.command(_trace)


def _print_error(text: str) -> None:
    for line in text.splitlines() or [""]:
        sys.stderr.write(f"perfmodel: {line}\n")


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 wrong input, 3 this machine cannot do it."""
    status = 0
    remember(arguments)
    try:
        app(arguments)
        sys.stdout.flush()
    except CycloptsError as error:
        message = " ".join(str(error).split())
        _print_error(f"{message} (see 'perfmodel --help')")
        status = InputError.exit_status
    except PerfmodelError as error:
        _print_error(str(error))
        status = error.exit_status
    except KeyboardInterrupt:
        _print_error("interrupted; everything was put back")
        status = 130
    except BrokenPipeError:
        # The reader has gone, as with `| head`; say nothing, and let the exit not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except OSError as error:
        # A disk that is full, a terminal that has gone: where it was not told by who wrote.
        where = f"{error.filename}: " if error.filename else "output: "
        _print_error(f"{where}{error.strerror or error}")
        status = InputError.exit_status
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


if __name__ == "__main__":
    main()
