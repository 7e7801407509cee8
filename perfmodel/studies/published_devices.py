"""Published speeds of storage devices beside what the model says of the same load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from perfmodel.models.devices import LoadPoint, Workload, at_queue_depth
from perfmodel.specs.catalog import load_device, load_published_devices
from perfmodel.specs.published_devices import Measure, PublishedLoad, PublishedValue, Use
from perfmodel.specs.service import BlockLayer

_REQUEST_BYTES = 4096
_LEAST_REQUESTS = 20_000


@attrs.frozen(kw_only=True)
class ComparedValue:
    """One published number and the model's."""

    queue_depth: int
    block_bytes: int
    read_share: float
    think_us: float
    source: str
    measure: Measure
    use: Use
    published: float
    simulated: float

    @property
    def relative_error(self) -> float:
        """Of the model, against what was published."""
        return self.simulated / self.published - 1

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel device --json`` prints it."""
        return attrs.asdict(self) | {"relative_error": self.relative_error}


@attrs.frozen
class DeviceComparison:
    """All values of one device."""

    device: str
    values: tuple[ComparedValue, ...]

    def of(self, use: Use) -> tuple[ComparedValue, ...]:
        """The values of one use."""
        return tuple(value for value in self.values if value.use == use)

    def worst(self, use: Use) -> ComparedValue | None:
        """The value of a use with the largest error; None where there is none."""
        return max(self.of(use), key=lambda value: abs(value.relative_error), default=None)


def _simulated(point: LoadPoint, measure: Measure) -> float:
    latencies = point.all
    return {
        Measure.MEAN_US: latencies.mean_ns / 1e3,
        Measure.MEDIAN_US: latencies.median_ns / 1e3,
        Measure.P99_US: latencies.p99_ns / 1e3,
        Measure.P99_999_US: latencies.p99_999_ns / 1e3,
        Measure.IOPS: point.iops,
        Measure.MB_PER_S: point.bytes_per_s / 1e6,
    }[measure]


def _workload(load: PublishedLoad, requests: int, seed: int) -> Workload:
    # A large block is many pieces of work; means and rates need fewer of them.
    fewer = max(_LEAST_REQUESTS, requests * _REQUEST_BYTES // load.block_bytes)
    return Workload(
        block_bytes=load.block_bytes,
        read_share=load.read_share,
        think_ns=load.think_us * 1e3,
        requests=min(fewer, requests),
        seed=seed,
    )


def compare_device(
    name: str,
    loads: tuple[PublishedLoad, ...],
    block_layer: BlockLayer | None = None,
    *,
    requests: int = 1_000_000,
    seed: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> DeviceComparison:
    """Every published value of one device.

    Parameters
    ----------
    name : str
        In the catalog.
    loads : tuple of PublishedLoad
    block_layer : BlockLayer, optional
    requests : int
        Of 4 KiB, for each load.
    seed : int
    progress : callable
        Called after each load.
    """
    device = load_device(name)
    found = []
    for load in loads:
        workload = _workload(load, requests, seed)
        point = at_queue_depth(device, load.queue_depth, workload, block_layer)
        found += [_compared(load, value, point) for value in load.values]
        progress()
    return DeviceComparison(name, tuple(found))


def _compared(load: PublishedLoad, value: PublishedValue, point: LoadPoint) -> ComparedValue:
    return ComparedValue(
        queue_depth=load.queue_depth,
        block_bytes=load.block_bytes,
        read_share=load.read_share,
        think_us=load.think_us,
        source=load.source,
        measure=value.measure,
        use=value.use,
        published=value.value,
        simulated=_simulated(point, value.measure),
    )


def compare_published_devices(
    names: list[str] | None = None,
    *,
    requests: int = 1_000_000,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[DeviceComparison]:
    """All devices of which something was published, or those of `names` among them.

    Parameters
    ----------
    names : list of str, optional
    requests, seed
        See `compare_device`.
    progress : callable
        Called with loads done and loads in all.

    Returns
    -------
    list of DeviceComparison
    """
    chosen = [
        device
        for device in load_published_devices().devices
        if names is None or device.device in names
    ]
    total = sum(len(device.loads) for device in chosen)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    return [
        compare_device(device.device, device.loads, requests=requests, seed=seed, progress=advance)
        for device in chosen
    ]
