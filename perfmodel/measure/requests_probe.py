"""Requests to block devices of our own: how long each takes by size and by how many are under way.

Direct I/O through the kernel's asynchronous interface, past page cache, swap slots and page faults:
what is left is the block layer and the device. Needs root.
"""

from __future__ import annotations

import ctypes
import datetime
import itertools
import mmap
import os
import time
from collections.abc import Callable, Sequence

import attrs
import numpy as np

from perfmodel.constants import PMD_BYTES
from perfmodel.errors import CapabilityError
from perfmodel.host import facts
from perfmodel.kernels.touch import reference_loop
from perfmodel.measure import aio
from perfmodel.measure.blockdevice import FIRST_BYTE, BlockDevice
from perfmodel.measure.content import make_content
from perfmodel.results.requests import Operation, RequestPoint, RequestsMeasurement
from perfmodel.specs.catalog import load_device
from perfmodel.specs.scenario import PageContent

DEVICES = ("zram-lz4", "ram-disk", "disk")
DEPTHS = (1, 2, 4, 8, 16, 32)
SIZES = (4 << 10, 16 << 10, 64 << 10, 256 << 10, 2 << 20)
DEFAULT_SECONDS = 30.0
_CLUSTERS = 32
_ROUNDS = 3
_MOST_REQUESTS = 24  # in one round, or twice the depth where that is more
_REFERENCE_TURNS = 20_000
_OVERHEAD_TURNS = 2000


@attrs.define
class _Found:
    latencies: list[float] = attrs.field(factory=list)
    requests: list[int] = attrs.field(factory=list)
    rounds: list[float] = attrs.field(factory=list)
    references: list[float] = attrs.field(factory=list)


def _time_round(
    queue: aio.Queue,
    operation: Operation,
    buffers: Sequence[int],
    offsets: Sequence[int],
    found: _Found,
    seconds: float,
) -> None:
    """Keep as many requests under way as there are buffers, until time or offsets are over."""
    code = aio.WRITE if operation is Operation.WRITE else aio.READ
    before = time.perf_counter_ns()
    reference_loop(_REFERENCE_TURNS)
    begin = time.perf_counter_ns()
    found.references.append(float(begin - before))
    end = begin + int(seconds * 1e9)
    sent = [0] * len(buffers)
    under_way, at, now = 0, 0, begin
    for slot, buffer in enumerate(buffers):
        sent[slot] = time.perf_counter_ns()
        queue.submit(slot, code, buffer, offsets[at])
        under_way, at = under_way + 1, at + 1
    done = 0
    while under_way:
        for slot in queue.wait():
            now = time.perf_counter_ns()
            found.latencies.append(float(now - sent[slot]))
            done += 1
            under_way -= 1
            if now < end and at < len(offsets):
                sent[slot] = time.perf_counter_ns()
                queue.submit(slot, code, buffers[slot], offsets[at])
                under_way, at = under_way + 1, at + 1
    found.rounds.append(float(now - begin))
    found.requests.append(done)


def _overhead_ns() -> float:
    """What two looks at the clock and a system call that does nothing take."""
    start = time.perf_counter_ns()
    for _ in range(_OVERHEAD_TURNS):
        time.perf_counter_ns()
        time.perf_counter_ns()
        os.getppid()
    return (time.perf_counter_ns() - start) / _OVERHEAD_TURNS


def _buffers() -> mmap.mmap:
    """Memory that holds half-random pages, for the most and largest requests at a time."""
    memory = mmap.mmap(-1, max(DEPTHS) * max(SIZES))
    content = make_content(PageContent.HALF_RANDOM).tobytes()
    for first in range(0, len(memory), len(content)):
        memory[first : first + len(content)] = content
    return memory


def measure_requests(
    devices: Sequence[str] = DEVICES,
    *,
    seconds: float = DEFAULT_SECONDS,
    seed: int = 1,
    report: Callable[[str], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> RequestsMeasurement:
    """Measure reads and writes of 4 KiB to 2 MiB, 1 to 32 at a time.

    The process is pinned to one CPU; a device's own workers use any.

    Parameters
    ----------
    devices : sequence of str
        Names; one that this machine cannot make is skipped, and said so.
    seconds : float
        About how long it may take in all.
    seed : int
        Decides the offsets.
    report, progress : callable
        Get a line worth telling, and (points done, in all).

    Raises
    ------
    CapabilityError
        If no device can be measured.
    """
    if not aio.is_known():
        raise CapabilityError("asynchronous requests are known here on x86-64 and arm64 only")
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    cases = list(itertools.product(Operation, SIZES, DEPTHS))
    total = len(devices) * _ROUNDS * len(cases)
    points: list[RequestPoint] = []
    skipped: list[str] = []
    memory = _buffers()
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    reference_loop(1)
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cpus)})
    try:
        for index, name in enumerate(devices):
            table = {case: _Found() for case in cases}
            try:
                with BlockDevice(load_device(name), _CLUSTERS, report=report) as block:
                    _fill(block.descriptor, memory)
                    for turn in range(_ROUNDS):
                        generator = np.random.default_rng(seed + turn)
                        for number, case in enumerate(cases):
                            _time_case(
                                block.descriptor,
                                case,
                                address,
                                table[case],
                                generator,
                                seconds / total,
                            )
                            progress((index * _ROUNDS + turn) * len(cases) + number + 1, total)
            except CapabilityError as error:
                skipped += [f"{name}: {line}" for line in error.missing]
                continue
            points += [
                RequestPoint(
                    device=name,
                    operation=operation,
                    request_bytes=size,
                    depth=depth,
                    latencies_ns=tuple(found.latencies),
                    requests=tuple(found.requests),
                    rounds_ns=tuple(found.rounds),
                    reference_ns=tuple(found.references),
                )
                for (operation, size, depth), found in table.items()
            ]
    finally:
        os.sched_setaffinity(0, cpus)
    if not points:
        raise CapabilityError(skipped)
    return RequestsMeasurement(
        host=facts(),
        started=started,
        points=tuple(points),
        overhead_ns=_overhead_ns(),
        skipped=tuple(skipped),
    )


def time_requests(device: str, operation: Operation, size: int, depth: int) -> list[float]:
    """Latencies of some requests to a device that is made and removed again, in nanoseconds."""
    found = _Found()
    memory = _buffers()
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    generator = np.random.default_rng(1)
    with BlockDevice(load_device(device), _CLUSTERS) as block:
        _fill(block.descriptor, memory)
        _time_case(block.descriptor, (operation, size, depth), address, found, generator, 1.0)
    return found.latencies


def _fill(descriptor: int, memory: mmap.mmap) -> None:
    """Write all of the device once: what was never written is not read, either."""
    view = memoryview(memory)
    for first in range(0, _CLUSTERS * PMD_BYTES, PMD_BYTES):
        os.pwritev(descriptor, [view[:PMD_BYTES]], FIRST_BYTE + first)
    view.release()


def _time_case(
    descriptor: int,
    case: tuple[Operation, int, int],
    address: int,
    found: _Found,
    generator: np.random.Generator,
    seconds: float,
) -> None:
    operation, size, depth = case
    places = _CLUSTERS * PMD_BYTES // size
    count = max(_MOST_REQUESTS, 2 * depth)
    offsets = [FIRST_BYTE + int(place) * size for place in generator.integers(0, places, count)]
    buffers = [address + slot * size for slot in range(depth)]
    with aio.Queue(descriptor, depth, size) as queue:
        _time_round(queue, operation, buffers, offsets, found, seconds)
