"""Requests to a swap device that works beside the CPUs: merged, submitted and waited for.

`Memory.done` says of each folio when its last request is complete: a read as it is, a write as a
negative number. Where the device has no service model, a price stands for all of a request and it
is complete at once.
"""

import numpy as np

from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD, Happening, Wait
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import record_own, wait_until
from perfmodel.kernels.device import submit
from perfmodel.kernels.device_layout import Cell as DeviceCell
from perfmodel.kernels.device_layout import Device
from perfmodel.kernels.layout import (
    MOST_PENDING,
    PENDING,
    Cell,
    SwapCell,
)
from perfmodel.kernels.random import uniform_32
from perfmodel.kernels.swap_devices import device_of

_STREAM = 5000
_NOT_YET = -((1 << 63) - 1)
_AT_ONCE = -1


@inline_kernel
def is_asynchronous(m):
    """Whether I/O of any swap device goes on while a CPU does something else."""
    return m.parameters["synchronous"] == 0


@inline_kernel
def _has_model(m, slot):
    """Whether requests for a slot take their time in a model of its device, not by a price."""
    if m.parameters["device_model"] == 0:
        return False
    return m.swap[device_of(m, slot // PAGES_PER_PMD), SwapCell.DEVICE_MODEL] == 1


@inline_kernel
def _is_served(m, folio):
    """The same for the slots of a folio in the swap cache."""
    return _has_model(m, np.int64(m.folios[folio]["cluster"]) * PAGES_PER_PMD)


@inner_kernel
def _note_written(m, folio):
    """Remember a folio whose write has been submitted, for reclaim to look at when it is done."""
    m.written[m.state[Cell.WRITTEN_TAIL] % m.written.shape[0]] = folio
    m.state[Cell.WRITTEN_TAIL] += 1
    if m.state[Cell.WRITTEN_TAIL] - m.state[Cell.WRITTEN_HEAD] > m.written.shape[0]:
        m.state[Cell.WRITTEN_HEAD] += 1


@inner_kernel
def submit_pending(m):
    """Submit the run of adjacent slots that has been collected. Allocates: no."""
    count = m.state[Cell.PENDING_FOLIOS]
    if count == 0:
        return
    write = m.state[Cell.PENDING_WRITE]
    swap = device_of(m, (m.state[Cell.PENDING_NEXT] - 1) // PAGES_PER_PMD)
    d = Device(m.device.parameters[swap], m.device.state[swap])
    d.state[DeviceCell.QUEUE] = m.state[Cell.CPU] % d.parameters["queues"]
    # Another CPU, whose clock is behind, may have submitted something later.
    now = max(m.state[Cell.NOW], m.swap[swap, SwapCell.LAST_SUBMISSION])
    m.swap[swap, SwapCell.LAST_SUBMISSION] = now
    draw = uniform_32(m.parameters["seed"], np.int64(_STREAM), m.state[Cell.REQUESTS])
    m.state[Cell.REQUESTS] += 1
    commands = d.state[DeviceCell.COMMANDS]
    end = submit(d, now, write, m.state[Cell.PENDING_PAGES] * PAGE_BYTES, count, draw)
    record_own(m, Happening.REQUEST.value, write, now, end, m.state[Cell.PENDING_PAGES])
    commands = d.state[DeviceCell.COMMANDS] - commands
    work = commands * d.parameters["submit"]
    if write == 1:
        # Nobody waits for it, but some CPU handles its interrupt.
        work += commands * d.parameters["complete"]
    wait_until(m, m.state[Cell.NOW] + work, np.int64(Wait.BLOCK_LAYER))
    for index in range(count):
        folio = m.state[PENDING + index]
        m.done[folio] = -end if write == 1 else end
        if write == 1:
            _note_written(m, folio)
    m.state[Cell.PENDING_FOLIOS] = 0
    m.state[Cell.PENDING_PAGES] = 0


@inner_kernel
def request(m, folio, slot, write):
    """Read or write a folio of the swap cache at its slots.

    Adjacent slots share a request until somebody waits, or the call ends. Allocates: no.
    """
    if not _has_model(m, slot):
        if write == 1:
            m.done[folio] = _AT_ONCE
            _note_written(m, folio)
        return
    count = m.state[Cell.PENDING_FOLIOS]
    if count > 0 and (
        m.state[Cell.PENDING_WRITE] != write
        or m.state[Cell.PENDING_NEXT] != slot
        or count == MOST_PENDING
    ):
        submit_pending(m)
        count = np.int64(0)
    pages = 1 << np.int64(m.folios[folio]["order"])
    m.state[PENDING + count] = folio
    m.state[Cell.PENDING_FOLIOS] = count + 1
    m.state[Cell.PENDING_PAGES] += pages
    m.state[Cell.PENDING_NEXT] = slot + pages
    m.state[Cell.PENDING_WRITE] = write
    m.done[folio] = _NOT_YET


@inline_kernel
def end_requests(m):
    """A call or fault ends, and with it the plug that held its requests back."""
    if m.state[Cell.PENDING_FOLIOS] > 0:
        submit_pending(m)


@inline_kernel
def wait_for_read(m, folio, why):
    """Wait until a folio of the swap cache has been read."""
    if _is_served(m, folio):
        end_requests(m)
        wait_until(m, m.done[folio], why)


@inline_kernel
def is_under_writeback(m, folio):
    """Whether a folio is still being written."""
    if m.parameters["device_model"] == 0:
        return False
    return m.done[folio] < 0 and -m.done[folio] > m.state[Cell.NOW]


@inline_kernel
def wait_for_writeback(m, folio):
    """Wait until a folio has been written."""
    if is_under_writeback(m, folio):
        end_requests(m)
        wait_until(m, -m.done[folio], np.int64(Wait.WRITEBACK))
