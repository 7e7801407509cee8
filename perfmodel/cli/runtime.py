"""``perfmodel runtime``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from perfmodel.cli.common import (
    OutFile,
    OutFolder,
    check_evidence,
    print_json,
    progress_bar,
    result,
    say,
    write_figure,
    write_json,
)
from perfmodel.errors import InputError, Problem
from perfmodel.specs.catalog import default_machine, load_machine, measured_files
from perfmodel.specs.machine import Machine


def runtime(
    machine: str | None = None,
    *,
    measure: Annotated[bool, Parameter(negative=())] = False,
    evidence: list[Path] | None = None,
    save_evidence: OutFile = None,
    repetitions: int = 5,
    host_pages: Literal["none", "4k", "2m"] | None = None,
    overlap: int = 12,
    json: Annotated[bool, Parameter(negative=())] = False,
    report: OutFolder = None,
) -> None:
    """Predict runtimes under page layouts, and judge published runtime models by the same ones.

    Six small programs run over 8 MiB to 1 GiB of memory, of which some 2 MiB are huge pages and the
    rest is not. Their measured runtimes come with perfmodel. STLB hits, STLB misses and walk cycles
    are simulated.

    Parameters
    ----------
    machine
        Name or path of a machine or profile; the best for the measured processor without it.
    measure
        Measure on this machine, about two and a half minutes. Needs no root, changes no setting.
    evidence
        Judge by this file of earlier measurements; may be repeated: the first one is predicted, the
        others show how well it repeats.
    save_evidence
        New file for the measurement.
    repetitions
        Runs of each program under each layout in each of two rounds.
    host_pages
        The host's pages where the measured machine is a guest; without it 4k for a guest.
    overlap
        Accesses under way at once where none waits for another.
    json
        Print one JSON document.
    report
        Folder for runtime.json and the figure runtime.svg.
    """
    problems = check_evidence(measure, evidence, save_evidence, "--measure")
    if not 1 <= repetitions <= 1000:
        problems.append(Problem("must be from 1 to 1000", key="--repetitions"))
    if not 1 <= overlap <= 64:
        problems.append(Problem("must be from 1 to 64", key="--overlap"))
    if problems:
        raise InputError(problems)
    from perfmodel.report.runtime import program_lines, runtime_lines
    from perfmodel.studies.runtime import compare_programs, judge_models

    chosen = None if machine is None else load_machine(machine)
    first, again = _measurements(measure, evidence, save_evidence, repetitions)
    guest = first.host.get("virtualisation") == "guest"
    host = host_pages or ("4k" if guest else "none")
    chosen = chosen or _machine_of(first.host)
    with progress_bar("simulating") as progress:
        programs = compare_programs(
            first,
            chosen,
            host_page_size=None if host == "none" else host,
            overlap=overlap,
            threads=os.cpu_count() or 1,
            progress=progress,
        )
    judgement = judge_models(programs, again)
    document = result(
        "runtime",
        {
            "machine": chosen.name,
            "host": first.host,
            "started": first.started,
            "host_page_size": None if host == "none" else host,
            "overlap": overlap,
            "models": [row.to_json() for row in judgement.rows],
            "left_out": judgement.left_out,
            "programs": [program.to_json() for program in programs],
        },
    )
    if json:
        print_json(document)
    else:
        lines = [
            *runtime_lines(chosen.name, first.host, judgement),
            *program_lines(programs, first.accesses),
        ]
        sys.stdout.write("\n".join(lines) + "\n")
    if report is not None:
        from perfmodel.plot.runtime import runtime_figure

        try:
            report.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"cannot be made: {error.strerror}"
            raise InputError(Problem(message, file=str(report))) from None
        write_json(document, report / "runtime.json")
        write_figure(runtime_figure(programs, judgement.rows), report / "runtime.svg")


def _measurements(
    measure: bool, evidence: list[Path] | None, save_evidence: Path | None, repetitions: int
) -> tuple[Any, list[Any]]:
    from perfmodel.results.runtime import load_runtimes, save_runtimes

    if measure:
        from perfmodel.measure.runtime import measure_runtimes

        with progress_bar("measuring") as progress:
            measured = measure_runtimes(repetitions=repetitions, progress=progress)
        for line in measured.skipped:
            say(f"not measured: {line}")
        if save_evidence is not None:
            save_runtimes(measured, save_evidence)
            say(f"measurements written to {save_evidence}")
        return measured, []
    files = evidence or measured_files("runtime")
    if not files:
        raise InputError(Problem("none is installed; give a file, or --measure", key="--evidence"))
    first, *again = [load_runtimes(file) for file in files]
    return first, again


def _machine_of(host: dict[str, Any]) -> Machine:
    """The best machine for the processor that was measured."""
    vendor, family, model = (host.get(key) for key in ("cpu_vendor", "cpu_family", "cpu_model"))
    if not isinstance(vendor, str) or type(family) is not int or type(model) is not int:
        message = "must say cpu_vendor, cpu_family and cpu_model of the measured host"
        raise InputError(Problem(message, key="host"))
    machine, matches = default_machine(vendor, family, model)
    if not matches:
        say(
            f"no profile for the measured processor ({vendor} family {family} model {model}); "
            f"using {machine.name}"
        )
    return machine
