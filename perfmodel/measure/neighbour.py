"""Another program's pages on the swap device: a process that holds slots and does nothing.

It swaps single pages out to every slot there is, looks up which page has which slot, and lets go of
all that the scenario wants free, in the order of the slots. It answers once it is done, and holds
the rest until its standard input ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD, PMD_BYTES
from perfmodel.measure import linux, observe
from perfmodel.measure.system import System

_ADDRESS = 1 << 44
_MOST_SECONDS = 60.0
# Not 0, which the kernel keeps without a slot's content; zram keeps one repeated byte in no memory.
_FILLING = 0x11


def kept_slots(clusters: int, free_clusters: int, slots: int) -> npt.NDArray[np.bool_]:
    """Whether the neighbour holds each slot of the device; the header's slot 0 is nobody's."""
    kept = np.zeros((1 + clusters, PAGES_PER_PMD), dtype=bool)
    kept[0, 1:] = True
    kept[1 : 1 + clusters - free_clusters, :slots] = True
    return kept.reshape(-1)


def _swap_out_all(address: int, size: int) -> None:
    """Fill memory and have all of it swapped out, 2 MiB at a time."""
    deadline = time.monotonic() + _MOST_SECONDS
    for start in range(address, address + size, PMD_BYTES):
        part = min(PMD_BYTES, address + size - start)
        ctypes.memset(start, _FILLING, part)
        linux.advise(start, part, linux.MADV_PAGEOUT)
    while (observe.swap_slots(_records(address, size)) < 0).any():
        if time.monotonic() > deadline:
            raise OSError("not all of the neighbour's pages could be swapped out")
        linux.advise(address, size, linux.MADV_PAGEOUT)
        time.sleep(0.01)


def _records(address: int, size: int) -> npt.NDArray[np.uint64]:
    records = observe.pagemap_records(size)
    observe.read_pagemap(address, records)
    return records


def occupy(clusters: int, free_clusters: int, slots: int, block: str) -> None:
    """Hold the slots that `kept_slots` says, and no others.

    `block` is the device to wait for, see `System.wait_for_swap`.

    Raises
    ------
    OSError
        If it did not come to that.
    """
    kept = kept_slots(clusters, free_clusters, slots)
    # Every slot but the header's.
    size = (len(kept) - 1) * PAGE_BYTES
    system = System()
    address = linux.free_addresses(_ADDRESS, size)
    linux.map_memory(address, size)
    linux.advise(address, size, linux.MADV_NOHUGEPAGE)
    _swap_out_all(address, size)
    # A slot whose page is still being written cannot be let go of.
    system.wait_for_swap(block)
    found = observe.swap_slots(_records(address, size))
    order = np.argsort(found)
    if (found[order] != np.arange(1, len(kept))).any():
        raise OSError("the swap device has other slots than the neighbour could take")
    freed = order[~kept[1:]]
    # One call for each run of pages whose slots follow on one another too.
    cuts = np.flatnonzero(np.diff(freed) != 1) + 1
    for first, last in pairwise([0, *cuts.tolist(), len(freed)]):
        if last > first:
            start = address + int(freed[first]) * PAGE_BYTES
            linux.advise(start, (last - first) * PAGE_BYTES, linux.MADV_DONTNEED)
    held = np.zeros(len(kept), dtype=bool)
    left = observe.swap_slots(_records(address, size))
    held[left[left >= 0]] = True
    if (held != kept).any() or system.swapped_bytes() != kept.sum() * PAGE_BYTES:
        raise OSError("the neighbour does not hold the slots that it should")


def main() -> None:
    """Occupy the device as the one line on standard input says, and wait for its end."""
    linux.die_with_parent()
    request: dict[str, Any] = json.loads(sys.stdin.readline())
    cpus = os.sched_getaffinity(0)
    # Not where the worker runs: the kernel keeps a cluster at hand for each CPU.
    os.sched_setaffinity(0, {min(cpus)})
    try:
        if len(cpus) < 2:
            raise OSError("a neighbour needs a second CPU")
        occupy(
            request["clusters"],
            request["free_clusters"],
            request["neighbour_slots"],
            request["block"],
        )
        reply: dict[str, Any] = {}
    except OSError as error:
        reply = {"error": str(error)}
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
