"""``perfmodel shootdown``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from perfmodel.cli.common import (
    OutFile,
    check_evidence,
    check_picture,
    pick_machine,
    print_json,
    progress_bar,
    result,
    say,
    write_figure,
)
from perfmodel.errors import InputError, Problem
from perfmodel.specs.machine import Machine


def shootdown(
    machine: str | None = None,
    *,
    measured: Annotated[bool, Parameter(negative=())] = False,
    evidence: Path | None = None,
    save_evidence: OutFile = None,
    seconds: float = 30.0,
    json: Annotated[bool, Parameter(negative=())] = False,
    out: OutFile = None,
) -> None:
    """What it costs to flush translations here and on other CPUs: predicted, beside measured.

    Parameters
    ----------
    machine
        Name or path of a machine or profile; the best for this processor without it.
    measured
        Measure on two CPUs of this machine and compare. Needs no root, changes no setting.
    evidence
        Compare with this file of an earlier measurement and measure nothing.
    save_evidence
        New file for the measurement.
    seconds
        Measuring takes at most about so long.
    json
        Print one JSON document.
    out
        Also draw the figure to this file, PNG or SVG.
    """
    problems = check_evidence(measured, evidence, save_evidence)
    if not 1 <= seconds <= 600:
        problems.append(Problem("must be from 1 to 600", key="--seconds"))
    problems += check_picture(out)
    if out is not None and not measured and evidence is None:
        problems.append(Problem("needs --measured or --evidence", key="--out"))
    if problems:
        raise InputError(problems)
    chosen = pick_machine(machine)
    if not measured and evidence is None:
        document, lines = _predicted(chosen)
        figure = None
    else:
        document, lines, figure = _measured(chosen, evidence, save_evidence, seconds)
    if json:
        print_json(result("shootdown", document))
    else:
        sys.stdout.write("\n".join(lines) + "\n")
    if out is not None and figure is not None:
        write_figure(figure(), out)


def _predicted(machine: Machine) -> tuple[Any, Any]:
    from perfmodel.report.shootdown import predicted_lines
    from perfmodel.studies.shootdown import predict_table

    table = predict_table(machine.translation.shootdown)
    document = {"machine": machine.name, "predicted": table}
    return document, predicted_lines(machine.name, table)


def _measured(
    machine: Machine, evidence: Path | None, save_evidence: Path | None, seconds: float
) -> tuple[Any, Any, Any]:
    from perfmodel.report.shootdown import flush_lines
    from perfmodel.results.shootdown import load_shootdowns, save_shootdowns
    from perfmodel.studies.shootdown import flush_rows, take_apart

    if evidence is not None:
        measurement = load_shootdowns(evidence)
    else:
        from perfmodel.measure.shootdown import measure_shootdown

        with progress_bar("measuring") as progress:
            measurement = measure_shootdown(seconds=seconds, progress=progress)
        if save_evidence is not None:
            save_shootdowns(measurement, save_evidence)
            say(f"measurements written to {save_evidence}")
    for line in measurement.skipped:
        say(f"not measured: {line}")
    for line in measurement.warnings():
        say(f"warning: {line}")
    rows, parts = flush_rows(measurement, machine.translation.shootdown), take_apart(measurement)

    def figure() -> Any:
        from perfmodel.plot.shootdown import shootdown_figure

        return shootdown_figure(rows)

    import attrs

    document = {
        "machine": machine.name,
        "host": measurement.host,
        "hypervisor": list(measurement.hypervisor),
        "started": measurement.started,
        "skipped": list(measurement.skipped),
        "warnings": measurement.warnings(),
        "parts": attrs.asdict(parts),
        "flushes": [row.to_json() for row in rows],
    }
    return document, flush_lines(machine.name, rows, parts, measurement), figure
