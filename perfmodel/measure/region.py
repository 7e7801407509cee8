"""A region of real memory, mapped so that its page tables can be told from the process's own."""

from __future__ import annotations

import ctypes
import os

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES, PMD_BYTES
from perfmodel.measure import linux, observe
from perfmodel.measure.userfault import Userfault

_PUD_BYTES = 1 << 30
# Far below everything else: smaps comes to the region first, and where a part of it has been
# unmapped, the kernel, which fills gaps from the top, puts nothing else.
_LOW_ADDRESS = 1 << 44
_WINDOWS = 2


class MappedRegion:
    """Anonymous memory, or a memfd mapped shared, aligned and advised to use THPs, or not to.

    There are two windows of addresses, and the region moves from the one to the other. It stands
    2 MiB behind a 1 GiB boundary. One page right behind the boundary and one at the window's end
    are touched before, so that the PMD tables exist and what VmPTE gains later are the region's own
    PTE tables.
    """

    def __init__(self, size: int, *, memfd: bool, huge: bool = True) -> None:
        self.size = size
        self._window_size = -(-(2 * PMD_BYTES + PAGE_BYTES + size) // _PUD_BYTES) * _PUD_BYTES
        self._all = _WINDOWS * self._window_size
        base = linux.free_addresses(_LOW_ADDRESS, self._all + _PUD_BYTES)
        self._base = -(-base // _PUD_BYTES) * _PUD_BYTES
        self._userfault: Userfault | None = None
        self._window = 0
        for window in range(_WINDOWS):
            start = self._base + window * self._window_size
            for pin in (start, start + self._window_size - PAGE_BYTES):
                linux.map_memory(pin, PAGE_BYTES)
                ctypes.memset(pin, 1, 1)
        self.address = self._place(0)
        self.keep_all_else_in_memory()
        self._other_tables = observe.page_table_bytes()
        if memfd:
            descriptor = os.memfd_create("perfmodel")
            try:
                os.ftruncate(descriptor, size)
                linux.map_memory(self.address, size, descriptor)
            finally:
                os.close(descriptor)
        else:
            linux.map_memory(self.address, size)
        linux.advise(self.address, size, linux.MADV_HUGEPAGE if huge else linux.MADV_NOHUGEPAGE)
        self.words = self._words()

    def _place(self, shift_pages: int) -> int:
        start = self._base + self._window * self._window_size
        return start + PMD_BYTES + shift_pages * PAGE_BYTES

    def _words(self) -> npt.NDArray[np.int64]:
        memory = memoryview((ctypes.c_char * self.size).from_address(self.address))
        return np.frombuffer(memory, dtype=np.int64)

    @property
    def count(self) -> int:
        """Number of 2 MiB ranges."""
        return self.size // PMD_BYTES

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.address + self.size

    def parts(self, first_page: int, page_count: int) -> list[tuple[int, int]]:
        """Address and size of each system call: one for the whole, or one for every 2 MiB."""
        size = page_count * PAGE_BYTES
        if size == PMD_BYTES:
            return [(self.address, self.size)]
        first = self.address + first_page * PAGE_BYTES
        return [(first + index * PMD_BYTES, size) for index in range(self.count)]

    def keep_all_else_in_memory(self) -> None:
        """Lock what is not the region: this process's memory, and the pages that hold tables."""
        linux.keep_in_memory(self.address, self.end)

    def next_place(self, shift_pages: int) -> int:
        """An address in the other window, so many pages behind 2 MiB alignment."""
        self._window = 1 - self._window
        return self._place(shift_pages)

    def pieces(self) -> list[tuple[int, int]]:
        """Address and size of the mappings that the region consists of by now."""
        found = linux.mappings(self.address, self.end)
        return [(mapped.start, mapped.end - mapped.start) for mapped in found]

    def stands_at(self, address: int) -> None:
        """Take note that the memory has been moved."""
        self.address = address
        self.words = self._words()

    def stays(self) -> None:
        """Take note that the memory could not be moved to the place that `next_place` gave."""
        self._window = 1 - self._window

    def userfault(self) -> Userfault:
        """The process's userfaultfd, with all of the region registered for write protection."""
        if self._userfault is None or self._userfault.process != os.getpid():
            self._userfault = Userfault(moving=False)
        self._userfault.watch_writes(self.address, self.size)
        return self._userfault

    def unmap(self) -> None:
        """Give all of it back."""
        del self.words
        linux.unmap(self._base, self._all)
        if self._userfault is not None:
            self._userfault.close()

    def smaps(self) -> dict[str, int]:
        """Sums of smaps over the region, in bytes."""
        room = observe.smaps_room(sum(1 for _ in linux.mappings(0, self.end)))
        text = room[: observe.read_smaps(self.end, room)].decode()
        return observe.sum_smaps(text, self.address, self.end)

    def mapping(self) -> dict[str, int]:
        """Bytes mapped by PMDs and in all, swap entries, and PTE-table bytes of the region."""
        totals = self.smaps()
        by_pmd = totals["AnonHugePages"] + totals["ShmemPmdMapped"]
        # GiB between the first and the last of a window have a PMD table only with the region.
        crossed = max(0, self._window_size // _PUD_BYTES - 2)
        tables = observe.page_table_bytes() - self._other_tables - crossed * PAGE_BYTES
        return {
            "pmd_mapped_bytes": by_pmd,
            "pte_mapped_bytes": totals["Rss"] - by_pmd,
            "swap_entries": totals["Swap"] // PAGE_BYTES,
            "page_table_bytes": max(0, tables),
        }
