"""The device's kernels against the oracle, completion by completion, and what always holds."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perfmodel.kernels import device as kernels
from perfmodel.kernels import device_layout as layout
from perfmodel.kernels.device_layout import Cell, Device
from perfmodel.models.device_packing import build_device, empty_rows, knot_fields
from tests.oracles import device as oracle

_TIMES = st.sampled_from([0, 1, 1000]) | st.integers(0, 5000)
_RATES = st.sampled_from([0, 1 << 16]) | st.integers(0, 5 << 16)


@st.composite
def parameters(draw: st.DrawFn) -> dict[str, int]:
    """Small devices of every kind; some numbers are such that everything collides."""

    def knots() -> list[int]:
        if draw(st.booleans()):
            return [draw(_TIMES)] * len(layout.KNOTS)
        return sorted(draw(st.lists(_TIMES, min_size=6, max_size=6)))

    channels = draw(st.integers(1, 3))
    buffered = draw(st.booleans())
    return {
        "queues": draw(st.integers(1, 2)),
        "queue_depth": draw(st.sampled_from([1, 2, 3, 70])),
        "command_bytes": draw(st.sampled_from([512, 4096, 1 << 17])),
        "command_segments": draw(st.sampled_from([1, 2, 128])),
        "submit": draw(_TIMES),
        "complete": draw(_TIMES),
        "notify": draw(_TIMES),
        "front_read": draw(_TIMES),
        "front_write": draw(_TIMES),
        "controller_read": draw(_TIMES),
        "controller_write": draw(_TIMES),
        "placement": draw(st.integers(0, 1)),
        "units": channels * draw(st.integers(1, 3)),
        "channels": channels,
        "stripe_bytes": draw(st.sampled_from([512, 1000, 4096])),
        "distribution": draw(st.sampled_from([0, 0, 1])),
        **knot_fields("read", knots()),
        **knot_fields("write", knots()),
        "channel_rate": draw(_RATES),
        "read_link_rate": draw(_RATES),
        "write_link_rate": draw(_RATES),
        "buffer": draw(st.integers(1, 20_000)) if buffered else 0,
        "drain_rate": draw(_RATES),
        "drain_command": draw(_TIMES),
        "stall_threshold": draw(st.sampled_from([0, 0, layout.HALF, layout.ONE - 1])),
        "stall": draw(_TIMES),
    }


@st.composite
def requests(draw: st.DrawFn, queues: int = 2) -> list[tuple[int, int, int, int, int, int]]:
    """Time, queue, write, bytes, segments, draw; often several at one time."""
    now, found = 0, []
    for _ in range(draw(st.integers(1, 25))):
        now += draw(st.sampled_from([0, 0, 1]) | st.integers(0, 20_000))
        found.append(
            (
                now,
                draw(st.integers(0, queues - 1)),
                draw(st.integers(0, 1)),
                draw(st.sampled_from([1, 512, 4096, 5000, 9000])),
                draw(st.sampled_from([1, 1, 2, 9, 600])),
                draw(st.integers(0, layout.ONE - 1) | st.sampled_from(EXTREMES)),
            )
        )
    return found


EXTREMES = [0, layout.HALF - 1, layout.HALF, layout.P99, layout.P99_999, layout.ONE - 1]


def replay(device: Device, given_requests: list[Any]) -> np.ndarray:
    rows = np.array([request[:5] for request in given_requests], dtype=np.int64)
    draws = np.array([request[5] for request in given_requests], dtype=np.int64)
    ends = np.zeros(len(rows), dtype=np.int64)
    kernels.submit_each(device, rows, draws, ends)
    return ends


@settings(max_examples=150, deadline=None)
@given(fields=parameters(), data=st.data())
def test_every_completion_is_the_oracles(fields, data):
    wanted = data.draw(requests(fields["queues"]))
    device, expected = build_device(fields), oracle.OracleDevice(fields)
    ends = replay(device, wanted)
    times = [expected.submit(*request) for request in wanted]
    assert ends.tolist() == times
    state = device.state
    assert [state[Cell.BYTES_READ], state[Cell.BYTES_WRITTEN]] == expected.bytes
    assert sum(expected.bytes) == sum(request[3] for request in wanted)
    assert state[Cell.COMMANDS] == expected.commands
    assert state[Cell.READS] + state[Cell.WRITES] == len(wanted)
    assert state[Cell.READ_LINK_BUSY] == expected.read_link.worked
    assert state[Cell.WRITE_LINK_BUSY] == expected.write_link.worked
    assert state[Cell.FRONT_BUSY] == expected.front.worked
    assert state[Cell.CHANNEL_BUSY] == sum(server.worked for server in expected.channels)
    assert expected.most_in_flight <= fields["queue_depth"]
    least = fields["submit"] + fields["notify"] + fields["complete"]
    for request, end in zip(wanted, times, strict=True):
        kind = "write" if request[2] else "read"
        own = fields[f"front_{kind}"] + fields[f"controller_{kind}"]
        if fields["distribution"] == 0:
            own += fields[f"{kind}_least"]
        assert end >= request[0] + least + own


@settings(max_examples=60, deadline=None)
@given(
    fields=parameters(),
    depth=st.integers(1, 20),
    write_share=st.sampled_from([0.0, 0.5, 1.0]),
    pause=st.sampled_from([0, 7, 3000]),
    seed=st.integers(0, 1 << 55),
    open_loop=st.booleans(),
)
def test_both_drivers_are_the_oracles(fields, depth, write_share, pause, seed, open_loop):
    plan = np.zeros(1, dtype=layout.PLAN)[0]
    plan["byte_count"], plan["segments"], plan["pause"] = 4096, 1, pause
    plan["write_threshold"], plan["seed"] = round(write_share * layout.ONE), seed
    device, expected = build_device(fields), oracle.OracleDevice(fields)
    named = {name: int(plan[name]) for name in layout.PLAN.names}
    rows = empty_rows(60)
    if open_loop:
        kernels.open_loop(device, plan, *rows)
        wanted = oracle.open_loop(expected, named, 60)
    else:
        kernels.closed_loop(device, plan, np.zeros(depth, dtype=np.int64), *rows)
        wanted = oracle.closed_loop(expected, named, depth, 60)
    assert [row.tolist() for row in rows] == list(wanted)
    if not open_loop:
        begins, ends = rows[0], rows[1]
        for index in range(60):
            assert np.count_nonzero(ends[:index] > begins[index]) < depth


@settings(max_examples=60, deadline=None)
@given(fields=parameters(), data=st.data())
def test_later_requests_never_change_what_was_returned(fields, data):
    wanted = data.draw(requests(fields["queues"]))
    half = len(wanted) // 2
    first = replay(build_device(fields), wanted)
    if half:
        assert replay(build_device(fields), wanted[:half]).tolist() == first[:half].tolist()


@settings(max_examples=100, deadline=None)
@given(
    jobs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400), st.integers(1, 30))),
    crowded=st.booleans(),
)
@example(jobs=[(3, 400 - 5 * i, 2) for i in range(80)], crowded=False)
@example(jobs=[(0, 2000 - 10 * i, 2) for i in range(200)], crowded=True)
def test_a_calendar_never_does_two_things_at_a_time(jobs, crowded):
    """Work through the kernel's channel: many short stretches, more than it remembers."""
    fields = _one_channel()
    device, expected = build_device(fields), oracle.OracleDevice(fields)
    now, wanted = 0, []
    for step, ahead, work in jobs:
        now += step if not crowded else 0
        # The unit's time puts the transfer anywhere ahead.
        wanted.append((now, 0, 0, work, 1, ahead * (layout.HALF // 1001)))
    if not wanted:
        return
    ends = replay(device, wanted)
    assert ends.tolist() == [expected.submit(*request) for request in wanted]
    busy = sorted(expected.channels[0].busy)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(busy))


def _one_channel() -> dict[str, int]:
    fields = dict.fromkeys(layout.PARAMETERS.names, 0)
    for name in [name for name in fields if name.endswith("_at")]:
        del fields[name]
    return fields | {
        "queues": 1,
        "queue_depth": 1000,
        "command_bytes": 1 << 20,
        "command_segments": 128,
        "units": 64,
        "channels": 1,
        "stripe_bytes": 1 << 20,
        **knot_fields("read", [0, 100_000, 100_000, 100_000, 100_000, 100_000]),
        "channel_rate": 10 << 16,
    }
