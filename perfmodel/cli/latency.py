"""``perfmodel latency``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import Parameter

from perfmodel.cli.common import (
    OutFile,
    check_picture,
    pick_machine,
    print_json,
    progress_bar,
    result,
    say,
    write_figure,
)
from perfmodel.errors import InputError, Problem
from perfmodel.host import processor
from perfmodel.specs.catalog import load_published_latencies
from perfmodel.specs.machine import Machine


def latency(
    machine: str | None = None,
    *,
    published: Annotated[bool, Parameter(negative=())] = False,
    measured: Annotated[bool, Parameter(negative=())] = False,
    evidence: Path | None = None,
    save_evidence: OutFile = None,
    seconds: float = 20.0,
    draws: int = 30,
    seed: int = 1,
    json: Annotated[bool, Parameter(negative=())] = False,
    out: OutFile = None,
) -> None:
    """Latency of a random pointer chase against its working set: TLBs, page walks and caches.

    Parameters
    ----------
    machine
        Name or path of a machine or profile; the best for this processor without it. With
        --published only the CPUs that it stands for; all without it.
    published
        Compare with published matrices: errors by CPU and size.
    measured
        Measure 16 to 65536 pages on this machine and compare. Needs no root, changes no setting.
    evidence
        Compare with this file of an earlier measurement and measure nothing.
    save_evidence
        New file for the measurement.
    seconds
        About how long measuring may take.
    draws
        Machines drawn from the spreads behind the interval of the first prediction.
    seed
        The same seed gives the same chases.
    json
        Print one JSON document.
    out
        Also draw the figure to this file, PNG or SVG.
    """
    _check(published, measured, evidence, save_evidence, seconds, draws, seed, out)
    if published:
        document, lines, figure = _published(machine, seed)
    elif measured or evidence is not None:
        document, lines, figure = _measured(
            pick_machine(machine), evidence, save_evidence, seconds, draws, seed
        )
    else:
        document, lines, figure = _predicted(pick_machine(machine), seed)
    if json:
        print_json(result("latency", document))
    else:
        sys.stdout.write("\n".join(lines) + "\n")
    if out is not None:
        write_figure(figure(), out)


def _check(
    published: bool,
    measured: bool,
    evidence: Path | None,
    save_evidence: Path | None,
    seconds: float,
    draws: int,
    seed: int,
    out: Path | None,
) -> None:
    """Refuse what cannot be meant before anything takes time."""
    problems = []
    if sum((published, measured, evidence is not None)) > 1:
        message = "choose one of --published, --measured and --evidence"
        problems.append(Problem(message, key="latency"))
    if save_evidence is not None and not measured:
        problems.append(Problem("needs --measured", key="--save-evidence"))
    if save_evidence is not None and save_evidence.exists():
        message = "exists already; measurements are never overwritten, choose another name"
        problems.append(Problem(message, file=str(save_evidence)))
    if not 1 <= seconds <= 600:
        problems.append(Problem("must be from 1 to 600", key="--seconds"))
    if not 0 <= draws <= 1000:
        problems.append(Problem("must be from 0 to 1000", key="--draws"))
    if seed < 0:
        problems.append(Problem("must not be negative", key="--seed"))
    problems += check_picture(out)
    if problems:
        raise InputError(problems)


def _published(machine: str | None, seed: int) -> tuple[Any, Any, Any]:
    from perfmodel.report.latency import published_lines
    from perfmodel.studies.published_latency import compare_published

    found = load_published_latencies()
    known = sorted({cpu.machine for cpu in found.cpus})
    if machine is not None and machine not in known:
        message = f"nothing was published for {machine[:80]!r}; there is {', '.join(known)}"
        raise InputError(Problem(message, key="machine"))
    with progress_bar("predicting") as progress:
        comparisons = compare_published(machine, seed=seed, progress=progress)

    def figure() -> Any:
        from perfmodel.plot.latency import matrix_figure

        return matrix_figure(comparisons)

    document = {
        "cpus": [comparison.to_json() for comparison in comparisons],
        "left_out": list(found.left_out),
    }
    return document, published_lines(comparisons, found.left_out), figure


def _measured(
    machine: Machine,
    evidence: Path | None,
    save_evidence: Path | None,
    seconds: float,
    draws: int,
    seed: int,
) -> tuple[Any, Any, Any]:
    from perfmodel.report.latency import chase_lines
    from perfmodel.results.chase import load_chase, save_chase
    from perfmodel.studies import chase as study

    if evidence is not None:
        measurement = load_chase(evidence)
        guest = measurement.host.get("virtualisation") == "guest"
    else:
        from perfmodel.measure.chase import measure_chase

        with progress_bar("measuring") as progress:
            measurement = measure_chase(seconds=seconds, seed=seed, progress=progress)
        guest = processor().guest
        if save_evidence is not None:
            save_chase(measurement, save_evidence)
            say(f"measurements written to {save_evidence}")
    for line in measurement.skipped:
        say(f"not measured: {line}")
    pages = sorted({point.pages for point in measurement.points})
    assumptions = study.GUEST if guest else study.ON_METAL
    with progress_bar("predicting") as progress:
        curves = study.predict_curves(
            machine, pages, assumptions, draws=draws, seed=seed, progress=progress
        )

    def figure() -> Any:
        from perfmodel.plot.latency import chase_figure

        return chase_figure(curves, measurement)

    document = {
        "machine": machine.name,
        "host": measurement.host,
        "started": measurement.started,
        "skipped": list(measurement.skipped),
        "measured": [
            {
                "pages": point.pages,
                "page_size": point.page_size.value,
                "least_ns": point.ns(0.0),
                "measured_ns": point.ns(),
                "median_ns": point.ns(0.5),
            }
            for point in measurement.points
        ],
        "predicted": [
            curve.to_json()
            | {"relative_errors": [e.relative_error for e in study.errors(curve, measurement)]}
            for curve in curves
        ],
    }
    return document, chase_lines(machine.name, curves, measurement), figure


def _predicted(machine: Machine, seed: int) -> tuple[Any, Any, Any]:
    from perfmodel.report.latency import predicted_lines
    from perfmodel.studies.latency import DEFAULT_SIZES, predict_sizes

    with progress_bar("predicting") as progress:
        latencies = predict_sizes(machine.translation, DEFAULT_SIZES, seed=seed, progress=progress)

    def figure() -> Any:
        from perfmodel.plot.latency import latency_by_size
        from perfmodel.plot.style import new_figure

        drawn, (ax,) = new_figure(width_inches=7.0)
        latency_by_size(latencies, ax)
        ax.set_title(machine.name)
        return drawn

    document = {
        "machine": machine.name,
        "page_sizes": {
            size.value: [attrs.asdict(point) for point in row] for size, row in latencies.items()
        },
    }
    return document, predicted_lines(machine.name, latencies), figure
