"""Tables of block devices under load, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from perfmodel.models.devices import LoadPoint
from perfmodel.specs.published_devices import Use
from perfmodel.studies.published_devices import ComparedValue, DeviceComparison
from perfmodel.units import format_bytes

_MEASURES = {
    "mean_us": "mean, us",
    "median_us": "median, us",
    "p99_us": "p99, us",
    "p99_999_us": "p99.999, us",
    "iops": "IOPS",
    "mb_per_s": "MB/s",
}


def device_lines(
    sweeps: Mapping[str, Sequence[LoadPoint]], comparisons: Sequence[DeviceComparison]
) -> Iterator[str]:
    """For each device its table by queue depth, and what was published beside the model."""
    published = {comparison.device: comparison for comparison in comparisons}
    for number, (name, points) in enumerate(sweeps.items()):
        if number:
            yield ""
        yield from _sweep_lines(name, points)
        if name in published:
            yield from _published_lines(published[name])


def _sweep_lines(name: str, points: Sequence[LoadPoint]) -> Iterator[str]:
    load = points[0].workload
    what = {1.0: "reads", 0.0: "writes"}.get(load.read_share, f"{load.read_share:.0%} reads")
    yield f"{name}: {format_bytes(load.block_bytes)} {what}, simulated"
    yield (
        f"  {'QD':>5s} {'IOPS':>9s} {'MB/s':>8s} {'mean us':>9s} {'median':>9s} {'p99':>9s} "
        f"{'p99.999':>9s}  busiest"
    )
    for point in points:
        times = point.all
        part, share = max(point.utilisation.items(), key=lambda item: item[1])
        yield (
            f"  {point.queue_depth:5d} {point.iops:9.0f} {point.bytes_per_s / 1e6:8.0f} "
            f"{times.mean_ns / 1e3:9.1f} {times.median_ns / 1e3:9.1f} {times.p99_ns / 1e3:9.1f} "
            f"{times.p99_999_ns / 1e3:9.1f}  {part.replace('_', ' ')} {share:.0%}"
        )


def _published_lines(comparison: DeviceComparison) -> Iterator[str]:
    yield "  published, and simulated under the same load:"
    yield (
        f"  {'QD':>5s} {'block':>8s} {'reads':>5s}  {'measure':12s} {'use':6s} {'published':>10s} "
        f"{'simulated':>10s} {'error':>7s}"
    )
    for value in comparison.values:
        yield _value_line(value)
    worst = comparison.worst(Use.CHECK)
    if worst is None:
        yield "  nothing is left to check it: all that was published is in the device file"
    else:
        yield (
            f"  worst of what is left to check it: {_MEASURES[worst.measure]} at "
            f"QD{worst.queue_depth}, {worst.relative_error:+.1%}"
        )


def _value_line(value: ComparedValue) -> str:
    return (
        f"  {value.queue_depth:5d} {format_bytes(value.block_bytes):>8s} {value.read_share:5.0%}  "
        f"{_MEASURES[value.measure]:12s} {value.use:6s} {value.published:10.6g} "
        f"{value.simulated:10.{0 if value.simulated >= 1000 else 1}f} {value.relative_error:+7.1%}"
    )
