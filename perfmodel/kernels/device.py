"""A block device: a request's time of completion, from what was submitted before it.

Every shared server works on the older command first and is preempted for it, so that what comes
later never changes what was returned before. docs/devices.md is the specification.
"""

import numpy as np

from perfmodel.kernels._jit import inline_kernel, inner_kernel, kernel
from perfmodel.kernels.device_layout import (
    HALF,
    LN_2,
    LOG_BITS,
    LOG_SHIFT,
    LOGARITHMS,
    ONE,
    P99,
    P99_9,
    P99_99,
    P99_999,
    RATE_SHIFT,
    SLOPE_SHIFT,
    STRETCHES,
    Cell,
    Distribution,
    Placement,
)
from perfmodel.kernels.random import uniform_32

_MASK = ONE - 1


@inner_kernel
def exponential(mean, draw):
    """Exponential time with this mean: minus mean x ln((draw + 1) / 2^32).

    Allocates: no. Mutates: nothing.
    """
    number = draw + 1
    doublings = np.int64(1)
    while number < HALF:
        number <<= 1
        doublings += 1
    if number == ONE:
        return np.int64(0)
    rest = number - HALF
    shift = 31 - LOG_BITS
    index = rest >> shift
    low = LOGARITHMS[index]
    part = ((LOGARITHMS[index + 1] - low) * (rest & ((1 << shift) - 1))) >> shift
    return (mean * (doublings * LN_2 - low - part)) >> LOG_SHIFT


@inner_kernel
def _tail(p99, p99_9, p99_99, p99_999, slope_2, slope_3, slope_4, draw):
    """The time of one piece of work in a hundred."""
    if draw < P99_9:
        return p99 + (((draw - P99) * slope_2) >> SLOPE_SHIFT)
    if draw < P99_99:
        return p99_9 + (((draw - P99_9) * slope_3) >> SLOPE_SHIFT)
    if draw < P99_999:
        return p99_99 + (((draw - P99_99) * slope_4) >> SLOPE_SHIFT)
    return p99_999


@inline_kernel
def _read_time(p, draw):
    if p["distribution"] == Distribution.EXPONENTIAL:
        return exponential(p["read_median"], draw)
    if draw < HALF:
        return p["read_least"] + ((draw * p["read_slope_0"]) >> SLOPE_SHIFT)
    if draw < P99:
        return p["read_median"] + (((draw - HALF) * p["read_slope_1"]) >> SLOPE_SHIFT)
    return _tail(
        p["read_p99"], p["read_p99_9"], p["read_p99_99"], p["read_p99_999"],
        p["read_slope_2"], p["read_slope_3"], p["read_slope_4"], draw,
    )  # fmt: skip


@inline_kernel
def _write_time(p, draw):
    if p["distribution"] == Distribution.EXPONENTIAL:
        return exponential(p["write_median"], draw)
    if draw < HALF:
        return p["write_least"] + ((draw * p["write_slope_0"]) >> SLOPE_SHIFT)
    if draw < P99:
        return p["write_median"] + (((draw - HALF) * p["write_slope_1"]) >> SLOPE_SHIFT)
    return _tail(
        p["write_p99"], p["write_p99_9"], p["write_p99_99"], p["write_p99_999"],
        p["write_slope_2"], p["write_slope_3"], p["write_slope_4"], draw,
    )  # fmt: skip


# Calendars: the stretches of time in which a server is busy, in order.


@inner_kernel
def _make_room(state, at, now):
    """Forget what is over; where all stretches lie ahead, give up the gap behind the first."""
    over = 0
    while over < STRETCHES and state[at + 2 + 2 * over] <= now:
        over += 1
    if over == 0:
        state[at + 3] = state[at + 1]
        over = 1
    kept = STRETCHES - over
    for place in range(at + 1, at + 1 + 2 * kept):
        state[place] = state[place + 2 * over]
    state[at] = kept
    return kept


@inner_kernel
def _fill(state, at, ready, work):
    """Work in the gaps from `ready` on, where the last stretch ends behind that."""
    count = state[at]
    first = count - 1
    while first > 0 and state[at + 2 * first] >= ready:
        first -= 1
    begin = ready
    end = ready
    behind = first
    if state[at + 1 + 2 * first] <= ready:
        begin = state[at + 1 + 2 * first]
        end = state[at + 2 + 2 * first]
        behind = first + 1
    while behind < count:
        gap = state[at + 1 + 2 * behind] - end
        if work <= gap:
            break
        work -= gap
        end = state[at + 2 + 2 * behind]
        behind += 1
    end += work
    # One stretch now stands where those from `first` to `behind` stood.
    if behind == first:
        for place in range(at + 2 * count, at + 2 * first, -1):
            state[place + 2] = state[place]
        state[at] = count + 1
    elif behind > first + 1:
        drop = 2 * (behind - first - 1)
        for place in range(at + 1 + 2 * behind, at + 1 + 2 * count):
            state[place - drop] = state[place]
        state[at] = count - (behind - first - 1)
    state[at + 1 + 2 * first] = begin
    state[at + 2 + 2 * first] = end
    return end


@inline_kernel
def _reserve(state, at, now, ready, work):
    """When a shared server has done the work, in the time that older commands leave it."""
    if work == 0:
        return ready
    count = state[at]
    if count == STRETCHES:
        count = _make_room(state, at, now)
    last = at + 2 * count
    if count > 0 and ready <= state[last]:
        if ready < state[last]:
            return _fill(state, at, ready, work)
        state[last] = ready + work
        return ready + work
    if count > 0 and state[last] <= now:
        count = 0
        last = at
    state[last + 1] = ready
    state[last + 2] = ready + work
    state[at] = count + 1
    return ready + work


# Submission queues


@inner_kernel
def _wait_for_place(d, queue, now, at):
    """Forget what a full queue has completed by now; if that is nothing, wait for the earliest.

    The queue then holds the latest completions, one fewer than its depth.
    """
    state = d.state
    depth = d.parameters["queue_depth"]
    kept = 0
    for place in range(queue + 1, queue + 1 + depth):
        if state[place] > now:
            kept += 1
            state[queue + kept] = state[place]
    if kept == depth:
        earliest = queue + 1
        for place in range(queue + 2, queue + 1 + depth):
            if state[place] < state[earliest]:
                earliest = place
        if state[earliest] > at:
            state[Cell.QUEUE_WAIT] += state[earliest] - at
            at = state[earliest]
        state[earliest] = state[queue + depth]
        kept -= 1
    state[queue] = kept
    return at


# Media


@inline_kernel
def _choose_unit(d, unit):
    if d.parameters["placement"] == Placement.FREE:
        unit = np.int64(0)
        for other in range(1, d.parameters["units"]):
            if d.state[Cell.UNITS + 2 * other] < d.state[Cell.UNITS + 2 * unit]:
                unit = other
    return unit


@inline_kernel
def _stall(d, at, draw, piece):
    """How long a read waits for the program or erase that it may find in its unit."""
    threshold = d.parameters["stall_threshold"]
    if threshold == 0 or d.state[Cell.DRAINED] <= at:
        return np.int64(0)
    chance = uniform_32(draw, np.int64(2), piece)
    if chance >= threshold:
        return np.int64(0)
    return d.parameters["stall"] * (chance >> 12) // ((threshold >> 12) + 1)


@inline_kernel
def _media(d, now, ready, write, size, draw):
    """All pieces of one command, each on its unit; when the last one is done.

    A read senses in the unit, then takes channel and link; a write comes through the channel.
    """
    p = d.parameters
    state = d.state
    units = p["units"]
    stripe = p["stripe_bytes"]
    scaled = draw * units
    unit = scaled >> 32
    chance = scaled & _MASK
    finish = ready
    piece = np.int64(0)
    while True:
        part = min(stripe, size)
        size -= part
        unit = _choose_unit(d, unit)
        free = Cell.UNITS + 2 * unit
        channel = state[free + 1]
        transfer = (part * p["channel_rate"]) >> RATE_SHIFT
        state[Cell.CHANNEL_BUSY] += transfer
        if write == 1:
            done = _reserve(state, channel, now, ready, transfer)
            time = _write_time(p, chance)
            done = max(done, state[free]) + time
            state[free] = done
        else:
            time = _read_time(p, chance)
            stall = _stall(d, ready, draw, piece)
            state[Cell.STALLED] += stall
            time += stall
            done = max(ready, state[free]) + time
            state[free] = done
            done = _reserve(state, channel, now, done, transfer)
            link = (part * p["read_link_rate"]) >> RATE_SHIFT
            state[Cell.READ_LINK_BUSY] += link
            done = _reserve(state, p["read_link_at"], now, done, link)
        state[Cell.UNIT_BUSY] += time
        finish = max(finish, done)
        piece += 1
        if size <= 0:
            break
        unit += 1
        if unit == units:
            unit = np.int64(0)
        chance = uniform_32(draw, np.int64(1), piece)
    state[Cell.PIECES] += piece
    return finish


@inline_kernel
def _buffered(d, ready, size, draw):
    """A write that is complete when the buffer has it; the buffer drains in order of submission."""
    p = d.parameters
    state = d.state
    drain = max((size * p["drain_rate"]) >> RATE_SHIFT, p["drain_command"])
    state[Cell.DRAIN_BUSY] += drain
    drained = max(state[Cell.DRAINED], ready) + drain
    state[Cell.DRAINED] = drained
    # In the buffer is what takes drained - t to drain at time t; no more than `buffer`.
    return max(ready, drained - p["buffer"]) + _write_time(p, draw)


@inline_kernel
def _command(d, now, at, write, size, draw):
    """One command, from the doorbell to the completion queue entry."""
    p = d.parameters
    state = d.state
    if write == 0:
        state[Cell.FRONT_BUSY] += p["front_read"]
        at = _reserve(state, p["front_at"], now, at, p["front_read"]) + p["controller_read"]
        return _media(d, now, at, write, size, draw)
    state[Cell.FRONT_BUSY] += p["front_write"]
    at = _reserve(state, p["front_at"], now, at, p["front_write"]) + p["controller_write"]
    link = (size * p["write_link_rate"]) >> RATE_SHIFT
    state[Cell.WRITE_LINK_BUSY] += link
    at = _reserve(state, p["write_link_at"], now, at, link)
    if p["buffer"] > 0:
        return _buffered(d, at, size, draw)
    return _media(d, now, at, write, size, draw)


@inner_kernel
def submit(d, now, write, byte_count, segments, draw):
    """When a request is complete that a CPU submits at `now`.

    Parameters
    ----------
    d : Device
    now : int64, picoseconds; must not decrease from call to call
    write : int64, 0 or 1
    byte_count : int64, at least 1
    segments : int64, stretches of contiguous memory, all of one length
    draw : int64, uniform on [0, 2**32)

    Returns
    -------
    int64, picoseconds

    Allocates: no. Mutates: `d.state`.
    """
    p = d.parameters
    state = d.state
    most = p["command_bytes"]
    if segments > p["command_segments"]:
        most = min(most, p["command_segments"] * ((byte_count + segments - 1) // segments))
    queue = p["queues_at"] + state[Cell.QUEUE] * (p["queue_depth"] + 1)
    at = now
    finish = now
    chance = draw
    left = byte_count
    index = np.int64(0)
    while True:
        size = min(left, most)
        at += p["submit"]
        if state[queue] == p["queue_depth"]:
            at = _wait_for_place(d, queue, now, at)
        end = _command(d, now, at, write, size, chance)
        count = state[queue] + 1
        state[queue] = count
        state[queue + count] = end
        finish = max(finish, end)
        index += 1
        left -= size
        if left <= 0:
            break
        chance = uniform_32(draw, np.int64(0), index)
    state[Cell.COMMANDS] += index
    state[Cell.CPU] += index * (p["submit"] + p["complete"])
    if write == 1:
        state[Cell.WRITES] += 1
        state[Cell.BYTES_WRITTEN] += byte_count
    else:
        state[Cell.READS] += 1
        state[Cell.BYTES_READ] += byte_count
    return finish + p["notify"] + p["complete"]


# Drivers


@inline_kernel
def _planned(d, plan, index, now, begins, ends, writes):
    """Request `index` of a plan."""
    write = np.int64(0)
    if plan["write_threshold"] > 0:
        write = np.int64(uniform_32(plan["seed"], np.int64(1), index) < plan["write_threshold"])
    draw = uniform_32(plan["seed"], np.int64(0), index)
    end = submit(d, now, write, plan["byte_count"], plan["segments"], draw)
    begins[index] = now
    ends[index] = end
    writes[index] = write
    return end


@kernel
def closed_loop(d, plan, ready, begins, ends, writes):
    """Submitters that wait for their request, pause, and submit the next one.

    Parameters
    ----------
    d : Device
    plan : record of `PLAN`
    ready : int64, shape (queue depth,), a heap: when each submitter submits next
    begins, ends : int64, shape (requests,), picoseconds
    writes : int64, shape (requests,), 0 or 1

    Allocates: no. Mutates: `d.state`, `ready`, `begins`, `ends`, `writes`.
    """
    depth = ready.size
    for index in range(begins.size):
        end = _planned(d, plan, index, ready[0], begins, ends, writes)
        time = end + plan["pause"]
        # The root's successor sinks to its place.
        place = 0
        child = 1
        while child < depth:
            if child + 1 < depth and ready[child + 1] < ready[child]:
                child += 1
            if time <= ready[child]:
                break
            ready[place] = ready[child]
            place = child
            child = 2 * place + 1
        ready[place] = time


@kernel
def open_loop(d, plan, begins, ends, writes):
    """Requests that arrive whatever the device does, as a Poisson process.

    Parameters
    ----------
    d : Device
    plan : record of `PLAN`
    begins, ends : int64, shape (requests,), picoseconds
    writes : int64, shape (requests,), 0 or 1

    Allocates: no. Mutates: `d.state`, `begins`, `ends`, `writes`.
    """
    now = np.int64(0)
    for index in range(begins.size):
        now += exponential(plan["pause"], uniform_32(plan["seed"], np.int64(2), index))
        _planned(d, plan, index, now, begins, ends, writes)


@kernel
def submit_each(d, requests, draws, ends):
    """Requests one by one, for those who have a list of them.

    Parameters
    ----------
    d : Device
    requests : int64, shape (n, 5): time, queue, write, bytes, segments; times must not decrease
    draws, ends : int64, shape (n,)

    Allocates: no. Mutates: `d.state`, `ends`.
    """
    for index in range(ends.size):
        d.state[Cell.QUEUE] = requests[index, 1]
        ends[index] = submit(
            d,
            requests[index, 0],
            requests[index, 2],
            requests[index, 3],
            requests[index, 4],
            draws[index],
        )
