"""``perfmodel validate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perfmodel.calibrate import validate as judging
from perfmodel.cli.common import (
    pick_machine,
    print_json,
    progress_bar,
    result,
    say,
    say_if_compiling,
)
from perfmodel.results.store import load_measurements, save_measurements
from perfmodel.specs.catalog import load_device


def validate(
    *,
    machine: str | None = None,
    device: str = "zram-lz4",
    scenarios: Path | None = None,
    repetitions: int = 15,
    evidence: list[Path] | None = None,
    save_evidence: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Judge predictions by measurements that no fit has seen.

    Parameters
    ----------
    machine
        Name or path of a machine or profile; the best for this processor without it.
    device
        Name of the swap device.
    scenarios
        Folder of scenarios; the installed round trips without it.
    repetitions
        Counted repetitions of each arm.
    evidence
        Judge by these files of earlier measurements and measure nothing; may be repeated.
    save_evidence
        New file for this run's measurements.
    json
        Print one JSON document.
    """
    picked = pick_machine(machine)
    say_if_compiling()
    if evidence:
        measured = [result for path in evidence for result in load_measurements(path)]
        validation = judging.judge(picked, load_device(device, picked), measured)
    else:
        with progress_bar("validating") as progress:
            validation, measured = judging.validate(
                picked,
                device=device,
                scenarios=scenarios,
                repetitions=repetitions,
                report=say,
                progress=progress,
            )
        if save_evidence is not None:
            save_measurements(measured, save_evidence)
            say(f"measurements written to {save_evidence}")
    if json:
        print_json(result("validate", validation.to_json()))
    else:
        sys.stdout.write("\n".join(_lines(validation)) + "\n")


def _lines(validation: judging.Validation) -> list[str]:
    lines = [
        f"{validation.machine}: microseconds per 2 MiB, * where the fit has seen the arm",
        f"{'scenario':20s} {'entry':11s} {'step':12s} {'predicted':>9s} {'interval':>15s} "
        f"{'measured':>9s} {'error':>7s} {'noise':>6s} inside counters",
    ]
    for run in validation.runs:
        scale = run.regions * 1000
        low, high = (bound / scale for bound in run.interval_ns)
        counters = "equal" if not run.different_counters else "; ".join(run.different_counters)
        lines.append(
            f"{run.scenario:20s} {run.entry:11s} {run.step:12s} {run.predicted_ns / scale:9.1f} "
            f"{f'{low:.1f}-{high:.1f}':>15s} {run.measured_ns / scale:9.1f} "
            f"{run.relative_error:+7.1%} {run.noise_floor:6.1%} "
            f"{'yes' if run.inside_interval else 'NO ':6s} {counters}"
            f"{'' if run.held_out else ' *'}"
        )
    summary = validation.summary()
    if summary["held_out"]:
        lines.append("")
        lines.append(
            f"{summary['held_out']} steps held out: "
            f"median error {summary['median_abs_error']:.1%}, "
            f"worst {summary['max_abs_error']:.1%}, interval held for {summary['coverage']:.0%}"
        )
    lines.append(f"counters equal: {'yes' if summary['counters_equal'] else 'NO'}")
    return lines
