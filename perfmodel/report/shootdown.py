"""Tables of TLB shootdowns, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from perfmodel.results.shootdown import Change, Remote, ShootdownMeasurement
from perfmodel.studies.shootdown import FlushRow, Parts, label


def predicted_lines(machine: str, table: Sequence[dict[str, Any]]) -> Iterator[str]:
    """One flush by pages and CPUs."""
    cpus = list(dict.fromkeys(cell["cpus"] for cell in table))
    yield f"{machine}: ns of one flush, who asks / taken from each other CPU (predicted)"
    yield f"{'pages':>6s}" + "".join(f" {f'{count} CPUs':>17s}" for count in cpus)
    for first in range(0, len(table), len(cpus)):
        row = table[first : first + len(cpus)]
        yield f"{row[0]['pages']:6d}" + "".join(
            f" {cell['initiator_ns']:8.0f} /{cell['responder_ns']:7.0f}" for cell in row
        )


def _cell(measured: float | None, predicted: float, error: float | None) -> str:
    if measured is None:
        return f"{'-':>7s} {predicted:7.0f} {'':>7s}"
    said = "" if error is None else f"{min(error, 99.99):+7.0%}"
    return f"{measured:7.0f} {predicted:7.0f} {said:>7s}"


def flush_lines(
    machine: str, rows: Sequence[FlushRow], parts: Parts, measured: ShootdownMeasurement
) -> Iterator[str]:
    """Every kind of flush: measured, predicted and the prediction's error."""
    host = measured.host
    offered = ", ".join(measured.hypervisor) or "nothing that can be read"
    yield (
        f"{machine} against {host.get('cpu_name') or 'this machine'}, "
        f"{host.get('virtualisation', '')}, Linux {host.get('kernel', '')}: ns of one flush"
    )
    if host.get("virtualisation") == "guest":
        yield f"the hypervisor offers: {offered}"
    yield (
        f"beside the flush: mprotect {parts.call_ns:.0f} ns, {parts.entry_ns:.0f} ns for each "
        "entry that it changes"
    )
    yield ""
    yield (
        f"{'pages':>10s} {'flush here':^23s} {'second CPU adds':^23s} {'taken from it':^23s} "
        f"{'idle':>6s} {'away':>6s}"
    )
    titles = " ".join(f"{'measured':>7s} {'pred.':>6s} {'error':>7s}" for _ in range(3))
    yield f"{'':>10s} {titles}"
    for row in rows:
        errors = row.errors()
        cells = " ".join(
            (
                _cell(row.here_ns, row.predicted_here_ns, errors.get("here")),
                _cell(row.remote_ns, row.predicted_remote_ns, errors.get("remote")),
                _cell(row.taken_ns, row.predicted_taken_ns, errors.get("taken")),
            )
        )
        more = " ".join(
            f"{'-' if value is None else format(value, '+.0f'):>6s}"
            for value in (row.idle_ns, row.deferred_ns)
        )
        mark = "*" if row.fitted else ""
        yield f"{label(row.change, row.pages) + mark:>10s} {cells} {more}"
    yield "* a fitted machine's numbers come from these rows; all others judge them"
    busy = [point for point in measured.points if point.remote is Remote.BUSY]
    busy = [point for point in busy if point.change is not Change.NOTHING]
    full = sum(point.count() for point in busy)
    away = sum(point.count(interrupted=False) for point in busy)
    total = sum(len(point.repetitions_ns) for point in busy)
    if any(point.interrupts for point in busy):
        yield (
            f"{total} repetitions beside a busy thread: in {full} every flush interrupted its CPU, "
            f"in {away} none did (away)"
        )
