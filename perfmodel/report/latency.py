"""Tables of latency against working set, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from perfmodel.results.chase import ChaseMeasurement
from perfmodel.specs.translation import PageSize
from perfmodel.studies.chase import Curve, errors
from perfmodel.studies.latency import Latency
from perfmodel.studies.published_latency import Cell, CpuComparison
from perfmodel.units import format_bytes


def predicted_lines(machine: str, latencies: dict[PageSize, list[Latency]]) -> Iterator[str]:
    """Predicted latency of every size, and the part that translation has in it."""
    yield f"{machine}: ns of one load of a random pointer chase, every 64 bytes (predicted)"
    yield f"{'buffer':>9s}" + "".join(
        f" {f'{size} pages':>10s} {'translation':>11s}" for size in latencies
    )
    for row in zip(*latencies.values(), strict=True):
        yield f"{format_bytes(row[0].size_bytes):>9s}" + "".join(
            f" {latency.ns:10.2f} {latency.translation_ns:11.2f}" for latency in row
        )
    worst = max(latency.standard_error_ns for row in latencies.values() for latency in row)
    yield f"sampling error at most {worst:.2f} ns (standard error)"


def published_lines(comparisons: Sequence[CpuComparison], left_out: Sequence[str]) -> Iterator[str]:
    """Errors by CPU and size, the worst first."""
    for comparison in comparisons:
        yield (
            f"{comparison.cpu}, as {comparison.machine}: median error "
            f"{comparison.median_abs_error:.1%}, worst {comparison.worst.relative_error:+.1%} "
            f"at {format_bytes(comparison.worst.size_bytes)}"
        )
        yield (
            f"  {'buffer':>9s} {'published':>9s} {'predicted':>9s} {'error':>7s} {'scattered':>9s} "
            f"{'drawn':>7s}  clocks"
        )
        ranked = sorted(comparison.cells, key=lambda cell: -abs(cell.relative_error))
        yield from (_cell_line(cell, f"{cell.relative_error:+7.1%}") for cell in ranked)
        yield (
            "  random minus page-local chase, stride 128 bytes: off by at most "
            f"{comparison.worst_difference_clocks:.0f} clocks"
        )
        yield from (
            _cell_line(cell, f"{cell.predicted - cell.published:+7.1f}")
            for cell in sorted(
                comparison.differences, key=lambda cell: -abs(cell.predicted - cell.published)
            )
        )
        error = max(cell.standard_error for cell in (*comparison.cells, *comparison.differences))
        yield f"  sampling error at most {error:.2f} clocks (standard error)"
        yield ""
    yield "left out:"
    yield from (f"  {line}" for line in left_out)


def _cell_line(cell: Cell, error: str) -> str:
    return (
        f"  {format_bytes(cell.size_bytes):>9s} {cell.published:9.0f} {cell.predicted:9.1f} "
        f"{error} {cell.scattered:9.1f} {cell.drawn:7.1f}"
    )


def chase_lines(machine: str, curves: Sequence[Curve], measured: ChaseMeasurement) -> Iterator[str]:
    """Measured latencies and the errors of each prediction."""
    host = measured.host
    yield (
        f"{machine} against {host.get('cpu_name') or 'this machine'}, "
        f"{host.get('virtualisation', '')}, Linux {host.get('kernel', '')}: ns per access, "
        "one line of each 4 KiB"
    )
    for size in dict.fromkeys(curve.page_size for curve in curves):
        points = measured.of(size)
        if not points:
            continue
        mine = [curve for curve in curves if curve.page_size is size]
        yield ""
        yield f"{size} pages; predicted, with its error:"
        yield from (f"  ({number}) {c.assumption.label}" for number, c in enumerate(mine, 1))
        yield f"{'pages':>7s} {'least':>7s} {'10 %':>7s} {'median':>7s} " + " ".join(
            f"{f'({number})':>15s}" for number, _ in enumerate(mine, 1)
        )
        judged = [errors(curve, measured) for curve in mine]
        for index, point in enumerate(points):
            cells = " ".join(
                f"{row[index].predicted_ns:7.2f} {row[index].relative_error:+7.1%}"
                for row in judged
            )
            yield (
                f"{point.pages:7d} {point.ns(0.0):7.2f} {point.ns():7.2f} {point.ns(0.5):7.2f} "
                + cells
            )
    for line in measured.skipped:
        yield f"not measured: {line}"
