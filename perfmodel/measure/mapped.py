"""Memory of this process that is mapped with pages of a wanted size, and what really came of it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PMD_BYTES
from perfmodel.measure import linux, observe

# What has to stay free beside the memory that a probe maps.
AIR_BYTES = 256 << 20
_WANTED_ADDRESS = 1 << 45  # far from what everything else maps


@contextmanager
def mapped(
    size: int, advice: Sequence[tuple[int, int, int]]
) -> Iterator[tuple[int, npt.NDArray[np.uint64]]]:
    """Anonymous memory aligned to 2 MiB, advised before it is first written.

    Parameters
    ----------
    size : int
        In bytes.
    advice : sequence of (int, int, int)
        Offset and size in bytes and the advice (madvise) of each part.
    """
    room = size + PMD_BYTES
    base = linux.free_addresses(_WANTED_ADDRESS, room)
    address = -(-base // PMD_BYTES) * PMD_BYTES
    linux.map_memory(address, size)
    try:
        for offset, length, kind in advice:
            linux.advise(address + offset, length, kind)
        ctypes.memset(address, 0, size)
        memory = memoryview((ctypes.c_char * size).from_address(address))
        yield address, np.frombuffer(memory, dtype=np.uint64)
    finally:
        linux.unmap(address, size)


def huge_bytes(address: int, size: int) -> int:
    """How much of the mappings in a range is mapped by THPs."""
    room = observe.smaps_room(sum(1 for _ in linux.mappings(0, address + size)))
    text = room[: observe.read_smaps(address + size, room)].decode()
    return observe.sum_smaps(text, address, address + size)["AnonHugePages"]
