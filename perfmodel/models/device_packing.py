"""Turns a service model and a block layer into what the device's kernels take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PICOSECONDS_PER_NANOSECOND
from perfmodel.kernels import device_layout as layout
from perfmodel.kernels.device_layout import Cell, Device, Distribution, Placement
from perfmodel.specs.service import BlockLayer, Completion, Latency, Service

_PS_PER_S = 1e12
_NO_LIMIT = 1 << 40
MOST_MEAN_NS = 2e7  # of an exponential time, so that it stays in 63 bits
MOST_REQUEST_BYTES = 1 << 26


def picoseconds(nanoseconds: float) -> int:
    """Whole picoseconds."""
    return round(nanoseconds * PICOSECONDS_PER_NANOSECOND)


def _rate(bytes_per_s: float) -> int:
    """Picoseconds for each byte, with binary places."""
    return round(_PS_PER_S / bytes_per_s * (1 << layout.RATE_SHIFT))


def knot_fields(kind: str, knots_ps: Sequence[int]) -> dict[str, int]:
    """A distribution's fields from its knots, least first, in picoseconds."""
    fields = dict(zip(layout.KNOTS, knots_ps, strict=True))
    for index in range(len(knots_ps) - 1):
        rise = knots_ps[index + 1] - knots_ps[index]
        run = layout.EDGES[index + 1] - layout.EDGES[index]
        fields[f"slope_{index}"] = (rise << layout.SLOPE_SHIFT) // run
    return {f"{kind}_{name}": value for name, value in fields.items()}


def _knots(latency: Latency) -> list[int]:
    return [picoseconds(knot) for knot in latency.knots]


def build_device(fields: dict[str, int]) -> Device:
    """A device at rest: places of everything in its state, and every unit's channel."""
    units, channels = fields["units"], fields["channels"]
    at = Cell.UNITS + 2 * units
    places = {"queues_at": at}
    at += fields["queues"] * (fields["queue_depth"] + 1)
    for name in ("front_at", "read_link_at", "write_link_at"):
        places[name] = at
        at += layout.CALENDAR_CELLS
    calendars = at + np.arange(units, dtype=np.int64) % channels * layout.CALENDAR_CELLS
    state = np.zeros(at + channels * layout.CALENDAR_CELLS, dtype=np.int64)
    state[Cell.UNITS + 1 : Cell.UNITS + 2 * units : 2] = calendars
    parameters = np.zeros(1, dtype=layout.PARAMETERS)[0]
    for name, value in {**fields, **places}.items():
        parameters[name] = value
    return Device(parameters, state)


def pack_device(
    service: Service,
    block_layer: BlockLayer,
    *,
    completion: Completion | str = Completion.INTERRUPT,
    fill: float = 0.0,
) -> Device:
    """A device at rest.

    Parameters
    ----------
    service : Service
    block_layer : BlockLayer
    completion : Completion
    fill : float
        Used share of the device; matters only to one with `garbage_collection`.

    Returns
    -------
    Device
    """
    if not 0.0 <= fill <= 1.0:
        raise ValueError("fill must be from 0 to 1")
    collection = service.garbage_collection
    slowdown = 1.0 if collection is None else collection.slowdown(fill)
    drain_rate = _rate(service.write_bytes_per_s.value / slowdown)
    buffer_bytes = int(service.buffer_bytes.value)
    polling = Completion(completion) is Completion.POLLING
    notify = block_layer.polling_ns if polling else block_layer.interrupt_ns
    most = (service.command_bytes, block_layer.driver_bytes, block_layer.request_bytes)
    return build_device(
        {
            "queues": int(service.queues.value),
            "queue_depth": int(service.queue_depth.value),
            "command_bytes": int(min(limit.value for limit in most)),
            "command_segments": int(block_layer.segments.value),
            "submit": picoseconds(block_layer.submit_ns.value),
            "complete": picoseconds(block_layer.complete_ns.value),
            "notify": picoseconds(notify.value),
            "front_read": picoseconds(service.front_end_read_ns.value),
            "front_write": picoseconds(service.front_end_write_ns.value),
            "controller_read": picoseconds(service.controller_read_ns.value),
            "controller_write": picoseconds(service.controller_write_ns.value),
            "units": service.units,
            "channels": int(service.channels.value),
            "stripe_bytes": int(service.piece_bytes.value),
            **knot_fields("read", _knots(service.read)),
            **knot_fields("write", _knots(service.write)),
            "channel_rate": _rate(service.channel_bytes_per_s.value),
            "read_link_rate": _rate(service.read_link_bytes_per_s.value),
            "write_link_rate": _rate(service.write_link_bytes_per_s.value),
            "buffer": (buffer_bytes * drain_rate) >> layout.RATE_SHIFT,
            "drain_rate": drain_rate,
            "drain_command": picoseconds(service.write_command_ns.value * slowdown),
            "stall_threshold": round(service.stall_share.value * (layout.ONE - 1)),
            "stall": picoseconds(service.stall_ns.value),
        }
    )


def plain_device(
    service_ns: float,
    *,
    servers: int = 1,
    placement: Placement = Placement.FREE,
    exponential: bool = False,
    delay_ns: float = 0.0,
    bytes_per_s: float | None = None,
    queue_depth: int = 1023,
) -> Device:
    """Servers and nothing else: what queueing theory knows, and a loop device's workers.

    Parameters
    ----------
    service_ns : float
        Time of one request on its server; of an exponential one the mean.
    servers : int
    placement : Placement
        FREE for servers that take from one queue, ADDRESS for a queue before each, chosen at
        random.
    exponential : bool
        Whether times are exponential and not all alike.
    delay_ns : float
        Before the servers, for any number of requests at a time.
    bytes_per_s : float, optional
        One transfer at a time behind the servers, of reads and of writes before them.
    queue_depth : int
        Requests in flight; more wait outside.

    Returns
    -------
    Device
    """
    if servers < 1 or queue_depth < 1:
        raise ValueError("servers and queue_depth must be at least 1")
    if not 0 <= service_ns <= MOST_MEAN_NS:
        raise ValueError(f"service_ns must be from 0 to {MOST_MEAN_NS:g}")
    time = picoseconds(service_ns)
    rate = 0 if bytes_per_s is None else _rate(bytes_per_s)
    return build_device(
        {
            "queues": 1,
            "queue_depth": queue_depth,
            "command_bytes": _NO_LIMIT,
            "command_segments": _NO_LIMIT,
            "controller_read": picoseconds(delay_ns),
            "controller_write": picoseconds(delay_ns),
            "placement": int(placement),
            "units": servers,
            "channels": 1,
            "stripe_bytes": _NO_LIMIT,
            "distribution": int(Distribution.EXPONENTIAL if exponential else 0),
            **knot_fields("read", [time] * len(layout.KNOTS)),
            **knot_fields("write", [time] * len(layout.KNOTS)),
            "read_link_rate": rate,
            "write_link_rate": rate,
        }
    )


def pack_plan(
    *, byte_count: int, segments: int, read_share: float, pause_ns: float, seed: int
) -> np.void:
    """Requests that all look alike, as the drivers take them."""
    plan: np.void = np.zeros(1, dtype=layout.PLAN)[0]
    plan["byte_count"] = byte_count
    plan["segments"] = segments
    plan["write_threshold"] = round((1.0 - read_share) * layout.ONE)
    plan["pause"] = picoseconds(pause_ns)
    plan["seed"] = seed
    return plan


def empty_rows(requests: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Room for the begins, ends and kinds of so many requests."""
    begins, ends, writes = (np.zeros(requests, dtype=np.int64) for _ in range(3))
    return begins, ends, writes
