"""Table of runtime models, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from perfmodel.studies.runtime import SEES, Judgement, ModelRow, ProgramRuntimes
from perfmodel.studies.runtime_workloads import Workload


def runtime_lines(machine: str, host: dict[str, Any], judgement: Judgement) -> Iterator[str]:
    """Worst and median error of each model, then the same by workload."""
    rows = judgement.rows
    yield (
        f"{host.get('cpu_name') or 'this machine'}, {host.get('virtualisation', '')}, Linux "
        f"{host.get('kernel', '')}"
    )
    yield f"STLB hits, STLB misses and walk cycles are simulated on {machine}, not counted."
    if rows:
        yield f"Relative errors at {rows[0].errors.size} mixed layouts that no model has seen:"
        yield ""
        yield f"{'model':<22s} {'median':>7s} {'worst':>7s}  {'worst at':<30s} has seen"
    for row in rows:
        yield (
            f"{row.model:<22s} {row.median:7.1%} {row.worst:7.1%}  {row.worst_label:<30s} "
            f"{SEES[row.model]}"
        )
    workloads = [each for each in Workload if any(each in row.workloads for row in rows)]
    yield ""
    yield "worst error by workload (median)"
    yield f"{'':<22s}" + "".join(f" {each.value:>12s}" for each in workloads)
    for row in rows:
        yield f"{row.model:<22s}" + "".join(f" {_cell(row, each):>12s}" for each in workloads)
    if judgement.left_out:
        yield ""
        yield "left out, so that all models are judged by the same programs:"
        yield from (f"  {label}: {why}" for label, why in judgement.left_out.items())


def _cell(row: ModelRow, workload: Workload) -> str:
    sizes = row.of(workload)
    return f"{sizes.max():.0%} ({np.median(sizes):.0%})" if sizes.size else "-"


def program_lines(programs: Sequence[ProgramRuntimes], accesses: int) -> Iterator[str]:
    """Measured and predicted nanoseconds of an access under 4k and 2m."""
    yield ""
    yield "ns per access: measured (predicted without any measurement)"
    yield f"{'program':<22s} {'4k':>16s} {'2m':>16s}"
    for program in programs:
        cells = []
        for name in ("4k", "2m"):
            row = program.samples.layout.index(name)
            scale = accesses * program.clock_ghz
            measured = program.samples.runtime_cycles[row] / scale
            cells.append(f"{measured:7.1f} ({program.predicted_cycles[row] / scale:6.1f})")
        yield f"{program.label:<22s} " + " ".join(f"{cell:>16s}" for cell in cells)
