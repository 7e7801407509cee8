"""A region of real memory, mapped so that its page tables can be told from the process's own."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES, PMD_BYTES

_MAP_FIXED = 0x10
_MAP_NORESERVE = 0x4000
_MADV_HUGEPAGE = 14
_MADV_PAGEOUT = 21
_PUD_BYTES = 1 << 30
_FAILED = ctypes.c_void_p(-1).value


class LinuxCallError(OSError):
    """A memory system call failed."""


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc


class MappedRegion:
    """Anonymous memory, or a memfd mapped shared, aligned and advised to use THPs.

    It stands 2 MiB behind a 1 GiB boundary. A page right behind the boundary is touched before, so
    that the PMD table exists and what VmPTE gains later are the region's own PTE tables.
    """

    def __init__(self, size: int, *, memfd: bool) -> None:
        self._libc = _libc()
        self.size = size
        self._reserved = _PUD_BYTES + PMD_BYTES + size
        readable = mmap.PROT_READ | mmap.PROT_WRITE
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._base = self._map(0, self._reserved, 0, private | _MAP_NORESERVE, -1)
        boundary = -(-self._base // _PUD_BYTES) * _PUD_BYTES
        self._map(boundary, PAGE_BYTES, readable, private | _MAP_FIXED, -1)
        ctypes.memset(boundary, 1, 1)
        self.address = boundary + PMD_BYTES
        if memfd:
            descriptor = os.memfd_create("perfmodel")
            try:
                os.ftruncate(descriptor, size)
                self._map(self.address, size, readable, mmap.MAP_SHARED | _MAP_FIXED, descriptor)
            finally:
                os.close(descriptor)
        else:
            self._map(self.address, size, readable, private | _MAP_FIXED, -1)
        self._advise(_MADV_HUGEPAGE)
        crossed = (self.address + size - 1) // _PUD_BYTES - boundary // _PUD_BYTES
        self._other_tables = _page_table_bytes() + crossed * PAGE_BYTES
        memory = memoryview((ctypes.c_char * size).from_address(self.address))
        self.words: npt.NDArray[np.int64] = np.frombuffer(memory, dtype=np.int64)

    def _map(self, address: int, size: int, protection: int, flags: int, descriptor: int) -> int:
        mapped: int = self._libc.mmap(address, size, protection, flags, descriptor, 0)
        if mapped == _FAILED:
            raise LinuxCallError(ctypes.get_errno(), "mmap failed")
        return mapped

    def _advise(self, advice: int) -> None:
        if self._libc.madvise(self.address, self.size, advice) != 0:
            raise LinuxCallError(ctypes.get_errno(), f"madvise({advice}) failed")

    def page_out(self) -> None:
        """Ask the kernel to swap the whole region out (MADV_PAGEOUT)."""
        self._advise(_MADV_PAGEOUT)

    def unmap(self) -> None:
        """Give all of it back."""
        del self.words
        self._libc.munmap(self._base, self._reserved)

    def mapping(self) -> dict[str, int]:
        """Bytes mapped by PMDs and in all, swap entries, and PTE-table bytes of the region."""
        totals = dict.fromkeys(("Rss", "Swap", "AnonHugePages", "ShmemPmdMapped"), 0)
        inside = False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            header = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
            if header:
                inside = self.address <= int(header[1], 16) < self.address + self.size
            elif inside:
                name, _, value = line.partition(":")
                if name in totals:
                    totals[name] += int(value.split()[0]) * 1024
        by_pmd = totals["AnonHugePages"] + totals["ShmemPmdMapped"]
        return {
            "pmd_mapped_bytes": by_pmd,
            "pte_mapped_bytes": totals["Rss"] - by_pmd,
            "swap_entries": totals["Swap"] // PAGE_BYTES,
            "page_table_bytes": max(0, _page_table_bytes() - self._other_tables),
        }


def _page_table_bytes() -> int:
    match = re.search(r"^VmPTE:\s+([0-9]+) kB$", Path("/proc/self/status").read_text(), re.M)
    return int(match[1]) * 1024 if match else 0
