"""What a process can read about its memory: mincore, pagemap, smaps, page tables."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES

_PRESENT, _SWAPPED, _SOFT_DIRTY = 63, 62, 55
_SMAPS_PIECE = 4096
_SMAPS_BYTES = 2048  # more than it says about one mapping
_STARTS = re.compile(rb"^([0-9a-f]+)-[0-9a-f]+ ", re.MULTILINE)
_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ")
_SUMMED = ("Rss", "Swap", "AnonHugePages", "ShmemPmdMapped")


def read_pagemap(address: int, records: npt.NDArray[np.uint64]) -> None:
    """Fill in the kernel's record of every page, Documentation/admin-guide/mm/pagemap.rst."""
    view = memoryview(records.view(np.uint8).data)
    descriptor = os.open("/proc/self/pagemap", os.O_RDONLY)
    try:
        done = 0
        while done < len(view):
            got = os.preadv(descriptor, [view[done:]], address // PAGE_BYTES * 8 + done)
            if got == 0:
                break
            done += got
    finally:
        os.close(descriptor)


def pagemap_records(size: int) -> npt.NDArray[np.uint64]:
    """Room for the records of so many bytes, in memory already."""
    return np.ones(size // PAGE_BYTES, dtype=np.uint64)


def count_pagemap(records: npt.NDArray[np.uint64]) -> dict[str, int]:
    """Pages that are present and that are swapped out."""
    return {
        "pagemap_present_pages": int((records >> np.uint64(_PRESENT) & np.uint64(1)).sum()),
        "pagemap_swapped_pages": int((records >> np.uint64(_SWAPPED) & np.uint64(1)).sum()),
    }


@functools.cache
def has_soft_dirty() -> bool:
    """Whether the kernel keeps soft-dirty bits: memory that has just been written to has one."""
    written, records = np.ones(PAGE_BYTES // 8), pagemap_records(PAGE_BYTES)
    try:
        read_pagemap(written.ctypes.data, records)
    except OSError:
        return False
    return bool(records[0] >> np.uint64(_SOFT_DIRTY) & np.uint64(1))


def swap_slots(records: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The swap slot of every page; -1 where it has none."""
    swapped = (records >> np.uint64(_SWAPPED) & np.uint64(1)).astype(bool)
    slots = (records >> np.uint64(5) & np.uint64((1 << 50) - 1)).astype(np.int64)
    return np.where(swapped, slots, -1)


def smaps_room(mappings: int) -> bytearray:
    """Room for what smaps says about so many mappings, in memory already."""
    return bytearray(b"-" * (_SMAPS_BYTES * (mappings + 8)))


def read_smaps(last: int, room: bytearray) -> int:
    """Read smaps as far as a mapping that starts at `last` or behind; the number of bytes.

    The kernel goes through the mappings one by one as they are read, in order of their addresses.
    """
    done = 0
    view = memoryview(room)
    descriptor = os.open("/proc/self/smaps", os.O_RDONLY)
    try:
        while got := os.readv(descriptor, [view[done : done + _SMAPS_PIECE]]):
            starts = _STARTS.findall(room, done, done + got)
            done += got
            if starts and int(starts[-1], 16) >= last:
                break
    finally:
        os.close(descriptor)
    return done


def sum_smaps(text: str, first: int, last: int) -> dict[str, int]:
    """Bytes of the mappings that start between two addresses, under smaps' names."""
    totals = dict.fromkeys(_SUMMED, 0)
    inside = False
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            inside = first <= int(header[1], 16) < last
        elif inside:
            name, _, value = line.partition(":")
            if name in totals:
                totals[name] += int(value.split()[0]) * 1024
    return totals


def count_smaps(totals: dict[str, int]) -> dict[str, int]:
    """The sums of smaps in pages."""
    return {
        "smaps_rss_pages": totals["Rss"] // PAGE_BYTES,
        "smaps_swap_pages": totals["Swap"] // PAGE_BYTES,
        "smaps_pmd_mapped_pages": (totals["AnonHugePages"] + totals["ShmemPmdMapped"])
        // PAGE_BYTES,
    }


def page_table_bytes() -> int:
    """Page tables of this process."""
    match = re.search(r"^VmPTE:\s+([0-9]+) kB$", Path("/proc/self/status").read_text(), re.M)
    return int(match[1]) * 1024 if match else 0
