"""How a block device serves requests, and what the kernel's block layer does to them first.

docs/devices.md says what a request does with each of these numbers.
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from perfmodel.specs.quantity import Quantity, quantity, text

_MOST_QUEUES = 4096
_MOST_UNITS = 1024
_MOST_NS = 1e8  # a tenth of a second, so that all products of the kernels stay in 63 bits
_LEAST_RATE = 1e6
_MOST_BYTES = float(1 << 26)


class Completion(StrEnum):
    """How a CPU learns that a request is complete."""

    INTERRUPT = "interrupt"
    POLLING = "polling"


def _count(doc: str, most: int, least: int = 1) -> Quantity:
    found: Quantity = quantity("1", doc, minimum=least, maximum=most, whole=True)
    return found


def _time(doc: str) -> Quantity:
    found: Quantity = quantity("ns", doc, maximum=_MOST_NS)
    return found


def _rate(doc: str) -> Quantity:
    found: Quantity = quantity("byte/s", doc, minimum=_LEAST_RATE, maximum=1e14)
    return found


def _size(doc: str, least: int = 512, most: float = _MOST_BYTES) -> Quantity:
    found: Quantity = quantity("byte", doc, minimum=least, maximum=most, whole=True)
    return found


@attrs.frozen(kw_only=True)
class Latency:
    """Distribution of a time by four of its quantiles.

    Linear between the least, the median and p99; from p99 to p99.999 each decade is longer by the
    same factor, and linear in itself. Nothing takes less than `least_ns` or more than `p99_999_ns`.
    """

    least_ns: Quantity = _time("the least")
    median_ns: Quantity = _time("not exceeded by half of all")
    p99_ns: Quantity = _time("not exceeded by 99 in 100")
    p99_999_ns: Quantity = _time("not exceeded by 99999 in 100000")

    def __attrs_post_init__(self) -> None:
        if list(self.values) != sorted(self.values):
            raise ValueError("least_ns, median_ns, p99_ns and p99_999_ns must not decrease")
        if self.p99_ns.value == 0 < self.p99_999_ns.value:
            raise ValueError("p99_ns must be positive where p99_999_ns is")

    @property
    def values(self) -> tuple[float, float, float, float]:
        """The four quantiles in nanoseconds."""
        return (
            self.least_ns.value,
            self.median_ns.value,
            self.p99_ns.value,
            self.p99_999_ns.value,
        )

    @property
    def knots(self) -> tuple[float, ...]:
        """Least, median, p99, p99.9, p99.99 and p99.999 in nanoseconds."""
        least, median, p99, most = self.values
        decade = (most / p99) ** (1 / 3) if p99 > 0 else 1.0
        return least, median, p99, p99 * decade, p99 * decade * decade, most

    @property
    def mean_ns(self) -> float:
        """Mean of the distribution."""
        knots = self.knots
        shares = (0.5, 0.49, 0.009, 0.0009, 0.00009)
        parts = zip(shares, knots, knots[1:], strict=False)
        return sum(share * (low + high) / 2 for share, low, high in parts) + 0.00001 * knots[-1]


@attrs.frozen(kw_only=True)
class GarbageCollection:
    """How much slower the write buffer drains the fuller the device is."""

    begins_at_fill: Quantity = quantity("1", "used share from which it is slower", maximum=1.0)
    slowdown_when_full: Quantity = quantity(
        "1", "how many times slower a full device drains", minimum=1.0, maximum=1000.0
    )

    def slowdown(self, fill: float) -> float:
        """Factor at a used share of the device; linear from the beginning to full."""
        begin = self.begins_at_fill.value
        if fill <= begin:
            return 1.0
        return 1.0 + (self.slowdown_when_full.value - 1.0) * (fill - begin) / (1.0 - begin)


@attrs.frozen(kw_only=True)
class Service:
    """An NVMe-like device: queues, front end, units on channels, link, write buffer.

    `write` is the time that the buffer takes to accept a command; without a buffer
    (`buffer_bytes` 0), the time of a unit. `stall_share` and `stall_ns` are what a read suffers
    while the buffer drains.
    """

    queues: Quantity = _count("submission queues, one for each CPU", _MOST_QUEUES)
    queue_depth: Quantity = _count("commands in flight in one queue", 65535)
    command_bytes: Quantity = _size("maximum data of one command (MDTS)", 4096)
    front_end_read_ns: Quantity = _time("front end, one read command: one over the most IOPS")
    front_end_write_ns: Quantity = _time("front end, one write command")
    controller_read_ns: Quantity = _time("firmware and tables, any number of reads at a time")
    controller_write_ns: Quantity = _time("the same, writes")
    channels: Quantity = _count("channels, each for its own units", 256)
    units_per_channel: Quantity = _count("units that work at the same time on a channel", 256)
    piece_bytes: Quantity = _size("consecutive bytes of a command on one unit")
    channel_bytes_per_s: Quantity = _rate("transfer between a unit and the controller")
    read: Latency = attrs.field(validator=attrs.validators.instance_of(Latency))
    write: Latency = attrs.field(validator=attrs.validators.instance_of(Latency))
    read_link_bytes_per_s: Quantity = _rate("controller to host, all reads together")
    write_link_bytes_per_s: Quantity = _rate("host to controller, all writes together")
    buffer_bytes: Quantity = _size(
        "writes that are complete before they are on the media", 0, float(1 << 40)
    )
    write_bytes_per_s: Quantity = _rate("steady state: how fast the buffer drains")
    write_command_ns: Quantity = _time("steady state: least time between two commands")
    stall_share: Quantity = quantity(
        "1", "reads that find their unit busy while the buffer drains", maximum=1.0
    )
    stall_ns: Quantity = quantity(
        "ns", "most that such a read waits for the program or erase", maximum=2e6
    )
    garbage_collection: GarbageCollection | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.instance_of(GarbageCollection)),
    )

    def __attrs_post_init__(self) -> None:
        if self.units > _MOST_UNITS:
            raise ValueError(f"channels x units_per_channel must be at most {_MOST_UNITS}")
        collection = self.garbage_collection
        slowest = 1.0 if collection is None else collection.slowdown_when_full.value
        if self.write_bytes_per_s.value / slowest < _LEAST_RATE:
            raise ValueError("write_bytes_per_s of a full device must be at least 1 MB/s")

    @property
    def units(self) -> int:
        """Units of all channels."""
        return int(self.channels.value * self.units_per_channel.value)


@attrs.frozen(kw_only=True)
class BlockLayer:
    """What a kernel's block layer and driver do to a request, and what they cost the CPU."""

    name: str = attrs.field(validator=text)
    description: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
    segments: Quantity = _count("stretches of contiguous memory in one command", 65535)
    driver_bytes: Quantity = _size("most bytes of one command that the driver allows", 4096)
    request_bytes: Quantity = _size("max_sectors_kb: most bytes of one request", 4096)
    submit_ns: Quantity = _time("CPU time until one command is in its queue")
    complete_ns: Quantity = _time("CPU time from its completion entry to the waiting task")
    interrupt_ns: Quantity = _time("from the completion entry to the interrupt's handler")
    polling_ns: Quantity = _time("from the completion entry to the poll that sees it")
