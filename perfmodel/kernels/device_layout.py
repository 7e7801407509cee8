"""What a block device's kernels read and change, and how it lies in memory.

Times are integer picoseconds. docs/devices.md says what each number does.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np


class Distribution(IntEnum):
    """How long a unit, or the buffer, takes for one piece of work."""

    QUANTILES = 0  # linear between the least, the median, p99 and each decade to p99.999
    EXPONENTIAL = 1  # the median's field holds the mean


class Placement(IntEnum):
    """Which unit does the work."""

    ADDRESS = 0  # where the data happens to lie: any unit, all alike
    FREE = 1  # the one that is free first: workers that take from one queue


class Cell(IntEnum):
    """Places in `Device.state`; behind them stand the units, the queues and the calendars."""

    QUEUE = 0  # of the CPU that submits now; whoever submits sets it
    READS = 1  # requests
    WRITES = 2
    COMMANDS = 3
    BYTES_READ = 4
    BYTES_WRITTEN = 5
    PIECES = 6  # of commands, on one unit each
    CPU = 7  # picoseconds from here on: CPU time of submission and completion
    QUEUE_WAIT = 8  # for a place in a full submission queue
    FRONT_BUSY = 9
    UNIT_BUSY = 10  # of all units together
    CHANNEL_BUSY = 11  # of all channels together
    READ_LINK_BUSY = 12
    WRITE_LINK_BUSY = 13
    DRAIN_BUSY = 14
    STALLED = 15  # reads behind a program or erase
    DRAINED = 16  # when the write buffer is empty
    UNITS = 17  # two for each unit: when it is free, and where its channel's calendar begins


# Busy stretches that one calendar remembers: their number, then begin and end of each.
STRETCHES = 64
CALENDAR_CELLS = 1 + 2 * STRETCHES

ONE = 1 << 32  # a draw is an integer from 0 to ONE - 1
HALF = ONE // 2
P99 = ONE * 99 // 100
P99_9 = ONE * 999 // 1000
P99_99 = ONE * 9_999 // 10_000
P99_999 = ONE * 99_999 // 100_000
EDGES = (0, HALF, P99, P99_9, P99_99, P99_999)
SLOPE_SHIFT = 24
RATE_SHIFT = 16  # picoseconds for each byte have so many binary places
LOG_BITS = 10
LOG_SHIFT = 24
# ln(1 + i / 1024), with LOG_SHIFT binary places.
LOGARITHMS = np.rint(
    np.log1p(np.arange((1 << LOG_BITS) + 1) / (1 << LOG_BITS)) * (1 << LOG_SHIFT)
).astype(np.int64)
LN_2 = int(LOGARITHMS[-1])

KNOTS = ("least", "median", "p99", "p99_9", "p99_99", "p99_999")
TIMES = (*KNOTS, *(f"slope_{index}" for index in range(len(KNOTS) - 1)))
PARAMETERS = np.dtype(
    [
        (name, np.int64)
        for name in (
            "queues",
            "queue_depth",
            "command_bytes",
            "command_segments",
            "submit",
            "complete",
            "notify",
            "front_read",
            "front_write",
            "controller_read",
            "controller_write",
            "placement",
            "units",
            "channels",
            "stripe_bytes",
            "distribution",
            *(f"{kind}_{time}" for kind in ("read", "write") for time in TIMES),
            "channel_rate",
            "read_link_rate",
            "write_link_rate",
            "buffer",
            "drain_rate",
            "drain_command",
            "stall_threshold",
            "stall",
            "queues_at",
            "front_at",
            "read_link_at",
            "write_link_at",
        )
    ],
    align=True,
)

# A run of requests that all look alike.
PLAN = np.dtype(
    [
        (name, np.int64)
        for name in (
            "byte_count",
            "segments",
            "write_threshold",
            "pause",  # think time in the closed loop, mean time between arrivals in the open one
            "seed",
        )
    ],
    align=True,
)


class Device(NamedTuple):
    """One block device.

    Parameters
    ----------
    parameters : record of `PARAMETERS`
    state : int64, by `Cell`, then units, queues and calendars
    """

    parameters: np.void
    state: np.ndarray
