"""Swap devices side by side: which one gets a folio, and what each is and has done.

Their clusters lie one behind the other, in the order in which the devices were switched on. The
first slot of each is its header, so that no run of slots ever goes from one device to the next.
"""

import numpy as np

from perfmodel.constants import N_SHARES, PAGES_PER_PMD, Event, Happening, Share
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import record_own
from perfmodel.kernels.layout import SHARES, Cell, SwapCell


@inline_kernel
def device_of(m, cluster):
    """Number of the swap device that a cluster belongs to."""
    device = np.int64(0)
    while cluster >= m.swap[device, SwapCell.END_CLUSTER]:
        device += 1
    return device


@inline_kernel
def is_synchronous(m, slot):
    """Whether the CPU that wants a slot's page does the I/O itself."""
    return m.swap[device_of(m, slot // PAGES_PER_PMD), SwapCell.SYNCHRONOUS] == 1


@inline_kernel
def total_slots(m, device):
    """Slots of a swap device, with its header."""
    row = m.swap[device]
    return (row[SwapCell.END_CLUSTER] - row[SwapCell.FIRST_CLUSTER]) * PAGES_PER_PMD


@inline_kernel
def count_slots(m, cluster, change):
    """So many more of a cluster's slots are used.

    A device that was full comes back behind all others of its priority.
    """
    device = device_of(m, cluster)
    m.state[Cell.USED_SLOTS] += change
    if change < 0 and m.swap[device, SwapCell.USED_SLOTS] == total_slots(m, device):
        line_up(m, device)
    m.swap[device, SwapCell.USED_SLOTS] += change


@inline_kernel
def line_up(m, device):
    """Put a device behind all others of its priority."""
    m.state[Cell.ROTATIONS] += 1
    m.swap[device, SwapCell.TURN] = m.state[Cell.ROTATIONS]


@inner_kernel
def next_device(m):
    """The device that is asked for slots next, -1 if all are full; it then lines up again."""
    best = np.int64(-1)
    for device in range(m.swap.shape[0]):
        if m.swap[device, SwapCell.USED_SLOTS] == total_slots(m, device):
            continue
        priority = m.swap[device, SwapCell.PRIORITY]
        if best >= 0:
            highest = m.swap[best, SwapCell.PRIORITY]
            if priority < highest:
                continue
            turn = m.swap[device, SwapCell.TURN]
            if priority == highest and turn > m.swap[best, SwapCell.TURN]:
                continue
        best = np.int64(device)
    if best >= 0:
        line_up(m, best)
    m.state[Cell.SWAP_DEVICE] = max(best, np.int64(0))
    return best


@inner_kernel
def _charge(m, slot, event, what, count):
    device = device_of(m, slot // PAGES_PER_PMD)
    m.counts[event] += count
    m.counts[SHARES + device * N_SHARES + what] += count
    begin = m.state[Cell.NOW]
    end = begin + count * m.swap[device, SwapCell.PRICES + what]
    m.state[Cell.NOW] = end
    record_own(m, Happening.EVENT.value, event, begin, end, count)


@inline_kernel
def charge_read(m, slot, requests, pages):
    """Requests and pages that a device reads, at its own prices."""
    read = np.int64(Share.READ_REQUEST.value)
    _charge(m, slot, np.int64(Event.READ_REQUEST.value), read, np.int64(requests))
    page = np.int64(Share.DECOMPRESS_PAGE.value)
    _charge(m, slot, np.int64(Event.DECOMPRESS_PAGE.value), page, np.int64(pages))


@inline_kernel
def charge_write(m, slot, pages):
    """One request to a device that writes so many pages, at its own prices."""
    write = np.int64(Share.WRITE_REQUEST.value)
    _charge(m, slot, np.int64(Event.WRITE_REQUEST.value), write, np.int64(1))
    page = np.int64(Share.COMPRESS_PAGE.value)
    _charge(m, slot, np.int64(Event.COMPRESS_PAGE.value), page, np.int64(pages))


@inline_kernel
def charge_free(m, slot, slots):
    """A device forgets what it holds for so many slots, at its own price."""
    free = np.int64(Share.FREE_SLOT.value)
    _charge(m, slot, np.int64(Event.FREE_SLOT.value), free, np.int64(slots))


@inline_kernel
def note_shares(m):
    """At the end of a step: the slots of each device that are used, but for the header."""
    for device in range(m.swap.shape[0]):
        used = m.swap[device, SwapCell.USED_SLOTS] - 1
        m.counts[SHARES + device * N_SHARES + Share.USED_SLOTS] = used
