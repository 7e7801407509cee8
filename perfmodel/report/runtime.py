"""Table of runtime models, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from perfmodel.studies.runtime import SEES, ModelRow, ProgramRuntimes
from perfmodel.studies.runtime_workloads import Workload
from perfmodel.units import format_bytes


def runtime_lines(
    machine: str, host: dict[str, Any], programs: Sequence[ProgramRuntimes], rows: Sequence[ModelRow]
) -> Iterator[str]:
    """Worst and median error of each model, then the median by workload."""
    layouts = sum(len(program.mixed) for program in programs)
    yield (
        f"{host.get('cpu_name') or 'this machine'}, {host.get('virtualisation', '')}, Linux "
        f"{host.get('kernel', '')}: {len(programs)} programs, {layouts} mixed layouts"
    )
    yield f"STLB hits, STLB misses and walk cycles are simulated on {machine}, not counted."
    yield ""
    yield f"{'model':<18s} {'median':>7s} {'worst':>7s} {'layouts':>7s}  worst at; the model has seen"
    for row in rows:
        if not row.errors.size:
            yield f"{row.model:<18s} {'-':>7s} {'-':>7s} {0:7d}  fits no program"
            continue
        yield (
            f"{row.model:<18s} {row.median:7.1%} {row.worst:7.1%} {row.errors.size:7d}  "
            f"{row.worst_label}; {SEES[row.model]}"
        )
    workloads = [each for each in Workload if any(each in row.workloads for row in rows)]
    yield ""
    yield "worst error by workload (median)"
    yield f"{'model':<18s}" + "".join(f" {each.value:>14s}" for each in workloads)
    for row in rows:
        yield f"{row.model:<18s}" + "".join(f" {_cell(row, each):>14s}" for each in workloads)
    refused = [f"{row.model}: {line}" for row in rows for line in row.refused]
    if refused:
        yield ""
        yield "cannot be fitted:"
        yield from (f"  {line}" for line in refused)


def _cell(row: ModelRow, workload: Workload) -> str:
    import numpy as np

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
        label = f"{program.workload} {format_bytes(program.footprint_bytes)}"
        yield f"{label:<22s} " + " ".join(f"{cell:>16s}" for cell in cells)
