"""``perfmodel validate``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import Parameter

from perfmodel.calibrate import gates as gating
from perfmodel.calibrate import leave_one_out as leaving
from perfmodel.calibrate import validate as live
from perfmodel.calibrate.baselines import baselines, summarise_baselines
from perfmodel.calibrate.judge import Validation, judge
from perfmodel.calibrate.observations import observe
from perfmodel.calibrate.profile import fit_evidence
from perfmodel.cli.common import (
    OutFile,
    OutFolder,
    check_picture,
    pick_machine,
    print_json,
    progress_bar,
    result,
    say,
    say_if_compiling,
    write_figure,
    write_report,
)
from perfmodel.errors import InputError, Problem
from perfmodel.report.calibration import baseline_lines, left_out_lines, validation_lines
from perfmodel.results.result import Result
from perfmodel.results.store import load_measurements, save_measurements
from perfmodel.specs.catalog import load_device, load_machine, load_problem, names
from perfmodel.specs.machine import Machine


def validate(
    *,
    machine: str | None = None,
    device: str = "zram-lz4",
    scenarios: Path | None = None,
    repetitions: int = 15,
    evidence: list[Path] | None = None,
    save_evidence: OutFile = None,
    leave_one_out: Annotated[bool, Parameter(negative=())] = False,
    figure: OutFile = None,
    report: OutFolder = None,
    write_gates: OutFile = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Judge predictions by measurements that no fit has seen.

    Parameters
    ----------
    machine
        Name or path of a machine or profile; the best for this processor without it.
    device
        Name of the swap device to measure on; evidence says its own.
    scenarios
        Folder of scenarios; the installed round trips without it.
    repetitions
        Counted repetitions of each arm.
    evidence
        Judge by these files of earlier measurements, a run each, and measure nothing; may be
        repeated. Two and more of the same tell how well one run predicts another.
    save_evidence
        New file for this run's measurements.
    leave_one_out
        Also predict every scenario from a fit to all others.
    figure
        Draw predicted against measured into this file (.png or .svg).
    report
        Write figure and numbers into this folder.
    write_gates
        Make gates of the errors as they are now, and write them to this file.
    json
        Print one JSON document.
    """
    problems = check_picture(figure, "--figure")
    if write_gates is not None and not evidence:
        message = "needs --evidence: gates stand on files that are kept"
        problems.append(Problem(message, key="--write-gates"))
    if problems:
        raise InputError(problems)
    picked = pick_machine(machine)
    if not evidence:
        # Wrong names before anything that is missing here.
        load_device(device, picked)
        live.find_scenarios(scenarios)
    say_if_compiling()
    if evidence:
        runs = [load_measurements(path) for path in evidence]
        validation = judge(picked, runs)
    else:
        with progress_bar("validating") as progress:
            validation, measured = live.validate(
                picked,
                device=device,
                scenarios=scenarios,
                repetitions=repetitions,
                report=say,
                progress=progress,
            )
        runs = [measured]
        if save_evidence is not None:
            save_measurements(measured, save_evidence)
            say(f"measurements written to {save_evidence}")
    told = validation.to_json()
    lines = validation_lines(validation)
    more, more_lines = _rivals(picked, validation, runs, left_out=leave_one_out)
    document = result("validate", told | more)
    lines += more_lines
    _write(validation, document, figure, report)
    if write_gates is not None:
        gating.write_gates(gating.make_gates(validation, evidence or []), write_gates)
        say(f"gates written to {write_gates}")
    if json:
        print_json(document)
    else:
        sys.stdout.write("\n".join(lines) + "\n")


def _write(
    validation: Validation, document: dict[str, Any], figure: Path | None, report: Path | None
) -> None:
    if figure is None and report is None:
        return
    from perfmodel.plot.calibration import validation_figure

    drawn = validation_figure(validation.machine, validation.runs)
    if figure is not None:
        write_figure(drawn, figure)
    if report is not None:
        write_report(drawn, document, report, "validation")


def _rivals(
    machine: Machine, validation: Validation, runs: Sequence[Sequence[Result]], *, left_out: bool
) -> tuple[dict[str, Any], list[str]]:
    """Baselines on the same data, and every scenario left out if asked for."""
    document: dict[str, Any] = {}
    lines: list[str] = []
    if machine.fit is None or machine.fit.base not in names("machine"):
        return document, lines
    problem = load_problem(
        machine.fit.problem if machine.fit.problem in names("problem") else "swap-round-trips"
    )
    base, device = load_machine(machine.fit.base), load_device(problem.device)
    fitted = [load_measurements(path) for path in fit_evidence(machine)]
    # Where the files of the fit are not at hand, its arms may have been measured again.
    seen = fitted or runs
    try:
        observations = observe(seen, problem, base, device)
    except InputError as error:
        say(f"no baselines: {error}")
        return document, lines
    held_out = validation.held_out()
    if held_out:
        found = summarise_baselines(baselines(held_out, runs, observations, base, problem.device))
        document["baselines"] = [attrs.asdict(line) for line in found]
        lines += ["", *baseline_lines(found)]
    if left_out:
        rows = leaving.leave_one_out([*fitted, *runs], problem, base, device)
        document["leave_one_out"] = [
            attrs.asdict(row) | {"relative_error": round(row.relative_error, 4)} for row in rows
        ]
        lines += ["", *left_out_lines(rows)]
    return document, lines
