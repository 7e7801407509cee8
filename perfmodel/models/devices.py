"""What a block device does under load: latencies and rates at a queue depth or an arrival rate.

The service model stands in docs/devices.md. A device without one of its own is a server that takes
its prices.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.errors import InputError, Problem
from perfmodel.kernels import device as kernels
from perfmodel.kernels.device_layout import Cell, Device
from perfmodel.models.device_packing import (
    MOST_MEAN_NS,
    MOST_REQUEST_BYTES,
    empty_rows,
    pack_device,
    pack_plan,
    plain_device,
)
from perfmodel.specs.catalog import load_block_layer
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.quantity import whole_number
from perfmodel.specs.service import BlockLayer, Completion

DEFAULT_REQUESTS = 400_000
DEFAULT_DEPTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MOST_REQUESTS = 1 << 28
_WARM_UP = 10  # one in so many requests comes before anything is counted


def _share(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{attribute.name} must be from 0 to 1")


def _time(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0.0 <= value <= MOST_MEAN_NS:
        raise ValueError(f"{attribute.name} must be from 0 to {MOST_MEAN_NS:g}")


@attrs.frozen(kw_only=True)
class Workload:
    """Requests that all look alike.

    Parameters
    ----------
    block_bytes : int
        Of each request.
    segments : int
        Stretches of contiguous memory in each; a huge page is one, scattered 4 KiB pages are one
        each.
    read_share : float
        Probability that a request is a read.
    think_ns : float
        What a submitter does between completion and its next request.
    requests : int
        How many; the first tenth is not counted.
    seed : int
    """

    block_bytes: int = whole_number(1, MOST_REQUEST_BYTES, 4096)
    segments: int = whole_number(1, MOST_REQUEST_BYTES, 1)
    read_share: float = attrs.field(default=1.0, validator=_share)
    think_ns: float = attrs.field(default=0.0, validator=_time)
    requests: int = whole_number(100, _MOST_REQUESTS, DEFAULT_REQUESTS)
    seed: int = whole_number(0, (1 << 56) - 1, 1)


@attrs.frozen
class Latencies:
    """Latencies of many requests, in nanoseconds."""

    count: int
    mean_ns: float
    median_ns: float
    p99_ns: float
    p99_999_ns: float


def _latencies(times: npt.NDArray[np.int64]) -> Latencies | None:
    if not times.size:
        return None
    median, p99, most = np.quantile(times, (0.5, 0.99, 0.99999), method="inverted_cdf") / 1000
    return Latencies(times.size, float(times.mean()) / 1000, median, p99, most)


@attrs.frozen(kw_only=True)
class LoadPoint:
    """A device under one load.

    Parameters
    ----------
    device : str
    queue_depth : int
        Requests that are outstanding at any time but for think time; 0 for Poisson arrivals.
    workload : Workload
    iops, bytes_per_s : float
        Requests and bytes, each second.
    all, reads, writes : Latencies
        From submission to completion; None where there was none.
    in_flight : float
        Mean number of requests that are outstanding.
    commands_per_request, cpu_ns_per_request : float
    utilisation : dict
        Busy share of front end, units, channels, links and drain.
    """

    device: str
    queue_depth: int
    workload: Workload
    iops: float
    bytes_per_s: float
    all: Latencies
    reads: Latencies | None
    writes: Latencies | None
    in_flight: float
    commands_per_request: float
    cpu_ns_per_request: float
    utilisation: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel device --json`` prints it."""
        return attrs.asdict(self)


def pack(
    device: SwapDevice,
    block_layer: BlockLayer | None = None,
    *,
    completion: Completion | str = Completion.INTERRUPT,
    fill: float = 0.0,
) -> Device:
    """The device at rest, as kernels take it.

    Parameters
    ----------
    device : SwapDevice
        With a service model; or without one, and then a server that takes `read_request_ns` for a
        request and transfers pages at the rate of `decompress_page_ns`.
    block_layer : BlockLayer, optional
        The installed one without it. Only for devices with a service model: the prices of others
        have it in them.
    completion, fill
        See `perfmodel.models.device_packing.pack_device`.

    Returns
    -------
    Device

    Raises
    ------
    InputError
        For a device whose I/O is done by the CPU that asks for it: it has no queue.
    """
    if device.service is not None:
        layer = load_block_layer() if block_layer is None else block_layer
        return pack_device(device.service, layer, completion=completion, fill=fill)
    if device.kind.synchronous:
        message = f"{device.name} does its I/O on the CPU that asks for it and has no queue"
        raise InputError(Problem(message, key="device"))
    page_ns = max(device.decompress_page_ns.value, device.compress_page_ns.value)
    rate = 4096e9 / page_ns if page_ns > 0 else None
    slower = max(device.read_request_ns.value, device.write_request_ns.value)
    return plain_device(min(slower, MOST_MEAN_NS), bytes_per_s=rate)


def _point(
    name: str,
    depth: int,
    workload: Workload,
    device: Device,
    rows: tuple[npt.NDArray[np.int64], ...],
) -> LoadPoint:
    begins, ends, writes = rows
    first = len(begins) // _WARM_UP
    times = ends[first:] - begins[first:]
    is_write = writes[first:] == 1
    rate = (len(times) - 1) / max(int(begins[-1] - begins[first]), 1) * 1e12
    state, parameters = device.state, device.parameters
    elapsed = max(int(ends.max()), 1)
    busy = {
        "front_end": (Cell.FRONT_BUSY, 1),
        "units": (Cell.UNIT_BUSY, int(parameters["units"])),
        "channels": (Cell.CHANNEL_BUSY, int(parameters["channels"])),
        "read_link": (Cell.READ_LINK_BUSY, 1),
        "write_link": (Cell.WRITE_LINK_BUSY, 1),
        "drain": (Cell.DRAIN_BUSY, 1),
    }
    everything = _latencies(times)
    assert everything is not None
    return LoadPoint(
        device=name,
        queue_depth=depth,
        workload=workload,
        iops=rate,
        bytes_per_s=rate * workload.block_bytes,
        all=everything,
        reads=_latencies(times[~is_write]),
        writes=_latencies(times[is_write]),
        in_flight=float(rate * everything.mean_ns / 1e9),
        commands_per_request=float(state[Cell.COMMANDS] / len(begins)),
        cpu_ns_per_request=float(state[Cell.CPU] / len(begins) / 1000),
        utilisation={
            part: float(state[cell] / (servers * elapsed)) for part, (cell, servers) in busy.items()
        },
    )


def _plan(workload: Workload, pause_ns: float) -> np.void:
    return pack_plan(
        byte_count=workload.block_bytes,
        segments=workload.segments,
        read_share=workload.read_share,
        pause_ns=pause_ns,
        seed=workload.seed,
    )


def run_closed(
    device: Device, queue_depth: int, workload: Workload
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Every request of submitters that each wait for their own.

    Parameters
    ----------
    device : Device
        Changed by the run.
    queue_depth : int
        Submitters.
    workload : Workload

    Returns
    -------
    begins, ends, writes : int64 arrays, shape (requests,), picoseconds
    """
    begins, ends, writes = empty_rows(workload.requests)
    ready = np.zeros(queue_depth, dtype=np.int64)
    kernels.closed_loop(device, _plan(workload, workload.think_ns), ready, begins, ends, writes)
    return begins, ends, writes


def run_open(
    device: Device, arrivals_per_s: float, workload: Workload
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Every request of a Poisson process; as `run_closed`, with `arrivals_per_s` for the depth."""
    mean_ns = 1e9 / arrivals_per_s if arrivals_per_s > 0 else np.inf
    if not 0 < mean_ns <= MOST_MEAN_NS:
        raise ValueError(f"arrivals_per_s must be at least {1e9 / MOST_MEAN_NS:g}")
    begins, ends, writes = empty_rows(workload.requests)
    kernels.open_loop(device, _plan(workload, mean_ns), begins, ends, writes)
    return begins, ends, writes


def at_queue_depth(
    device: SwapDevice,
    queue_depth: int,
    workload: Workload | None = None,
    block_layer: BlockLayer | None = None,
    *,
    completion: Completion | str = Completion.INTERRUPT,
    fill: float = 0.0,
) -> LoadPoint:
    """A device with so many requests outstanding, as fio's ``iodepth`` has it.

    Parameters
    ----------
    device : SwapDevice
    queue_depth : int
    workload : Workload, optional
        4 KiB reads without it.
    block_layer, completion, fill
        See `pack`.

    Returns
    -------
    LoadPoint
    """
    if not 1 <= queue_depth <= 65536:
        raise ValueError("queue_depth must be from 1 to 65536")
    load = Workload() if workload is None else workload
    packed = pack(device, block_layer, completion=completion, fill=fill)
    return _point(device.name, queue_depth, load, packed, run_closed(packed, queue_depth, load))


def at_arrival_rate(
    device: SwapDevice,
    arrivals_per_s: float,
    workload: Workload | None = None,
    block_layer: BlockLayer | None = None,
    *,
    completion: Completion | str = Completion.INTERRUPT,
    fill: float = 0.0,
) -> LoadPoint:
    """A device under Poisson arrivals; parameters as of `at_queue_depth`."""
    load = Workload() if workload is None else workload
    packed = pack(device, block_layer, completion=completion, fill=fill)
    return _point(device.name, 0, load, packed, run_open(packed, arrivals_per_s, load))


def queue_depth_sweep(
    device: SwapDevice,
    queue_depths: Iterable[int] = DEFAULT_DEPTHS,
    workload: Workload | None = None,
    block_layer: BlockLayer | None = None,
    *,
    completion: Completion | str = Completion.INTERRUPT,
    fill: float = 0.0,
) -> list[LoadPoint]:
    """The device at every queue depth, each from rest; parameters as of `at_queue_depth`."""
    return [
        at_queue_depth(device, depth, workload, block_layer, completion=completion, fill=fill)
        for depth in queue_depths
    ]
