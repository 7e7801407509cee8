"""Fixed work beside each repetition: its time tells how fast the machine is just then.

Separate runs on a shared machine drift by some percent, all of what runs side by side alike. Times
divided by those of the same work beside them drift less; docs/calibration.md says by how much.
"""

from __future__ import annotations

import ctypes
import os
import time

import numpy as np

from perfmodel.constants import PAGE_BYTES
from perfmodel.kernels.touch import reference_loop, write_pages
from perfmodel.measure import linux

# Arithmetic shows the clock alone; the other one goes the ways of faults and system calls, too.
ARITHMETIC, KERNEL = "arithmetic", "kernel"
_TURNS = 250_000
_FAULTS = 256
_SYSTEM_CALLS = 2000
_WANTED_ADDRESS = 1 << 45  # far behind the measured region


class References:
    """The reference loops, ready to be run by the measuring process."""

    def __init__(self) -> None:
        self._size = _FAULTS * PAGE_BYTES
        self._pages = np.arange(_FAULTS, dtype=np.int64)
        self.run()

    def run(self) -> dict[str, int]:
        """Time each of them once; nanoseconds."""
        begin = time.perf_counter_ns()
        reference_loop(_TURNS)
        middle = time.perf_counter_ns()
        return {ARITHMETIC: middle - begin, KERNEL: self._kernel()}

    def _kernel(self) -> int:
        """First touches of base pages, the end of their mapping, and short system calls.

        Base pages whatever the settings are, so that it is the same work in all arms.
        """
        address = linux.free_addresses(_WANTED_ADDRESS, self._size)
        linux.map_memory(address, self._size)
        linux.advise(address, self._size, linux.MADV_NOHUGEPAGE)
        memory = memoryview((ctypes.c_char * self._size).from_address(address))
        words = np.frombuffer(memory, dtype=np.int64)
        start = time.perf_counter_ns()
        write_pages(words, 1, self._pages)
        linux.unmap(address, self._size)
        for _ in range(_SYSTEM_CALLS):
            os.getppid()
        return time.perf_counter_ns() - start
