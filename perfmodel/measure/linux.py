"""System calls on memory, by address; each raises a `LinuxCallError` when the kernel refuses."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

MADV_WILLNEED = 3
MADV_DONTNEED = 4
MADV_FREE = 8
MADV_HUGEPAGE = 14
MADV_NOHUGEPAGE = 15
MADV_COLD = 20
MADV_PAGEOUT = 21
MADV_COLLAPSE = 25
READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_MAP_FIXED = 0x10
_MAP_NORESERVE = 0x4000
_MAP_FIXED_NOREPLACE = 0x100000
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_MREMAP_MAYMOVE_FIXED = 3
_FAILED = ctypes.c_void_p(-1).value
_PR_SET_PDEATHSIG = 1
_PR_SET_THP_DISABLE = 41
_PR_GET_THP_DISABLE = 42
_SIGKILL = 9


class LinuxCallError(OSError):
    """A memory system call failed."""


def _load() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    address, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.mmap.restype = libc.mremap.restype = address
    libc.mmap.argtypes = [address, size, number, number, number, ctypes.c_long]
    libc.mremap.argtypes = [address, size, size, number, address]
    libc.munmap.argtypes = libc.mlock.argtypes = [address, size]
    libc.madvise.argtypes = libc.mprotect.argtypes = [address, size, number]
    libc.mincore.argtypes = [address, size, address]
    return libc


_LIBC = _load()


def _check(result: int, call: str) -> None:
    if result != 0:
        raise _error(call)


def _error(call: str) -> LinuxCallError:
    number = ctypes.get_errno()
    return LinuxCallError(number, f"{call} failed: {os.strerror(number)}")


def map_memory(address: int, size: int, descriptor: int = -1) -> None:
    """Map zeroed memory, or a file's shared, at an address, whatever was there."""
    kind = _PRIVATE if descriptor < 0 else mmap.MAP_SHARED
    if _LIBC.mmap(address, size, READ_WRITE, kind | _MAP_FIXED, descriptor, 0) == _FAILED:
        raise _error("mmap")


def free_addresses(wanted: int, size: int) -> int:
    """Where so many addresses are free: at the wanted place, or where the kernel says."""
    for place, flags in ((wanted, _MAP_FIXED_NOREPLACE), (0, 0)):
        found = _LIBC.mmap(place, size, 0, _PRIVATE | _MAP_NORESERVE | flags, -1, 0)
        if found != _FAILED:
            unmap(found, size)
            return int(found)
    raise _error("mmap")


def unmap(address: int, size: int) -> None:
    """Unmap what is mapped in a range."""
    _check(_LIBC.munmap(address, size), "munmap")


def advise(address: int, size: int, advice: int) -> None:
    """Call madvise."""
    _check(_LIBC.madvise(address, size, advice), f"madvise({advice})")


def protect(address: int, size: int, protection: int) -> None:
    """Call mprotect."""
    _check(_LIBC.mprotect(address, size, protection), "mprotect")


def move_mapping(address: int, size: int, target: int) -> None:
    """Move one mapping to another address (mremap)."""
    if _LIBC.mremap(address, size, size, _MREMAP_MAYMOVE_FIXED, target) == _FAILED:
        raise _error("mremap")


def mincore(address: int, size: int, vector: int) -> None:
    """Have the kernel say, a byte for each page at `vector`, whether it is in memory."""
    _check(_LIBC.mincore(address, size, vector), "mincore")


def die_with_parent() -> None:
    """Be killed when the parent process ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, _SIGKILL)


@contextmanager
def out_of_khugepaged_sight() -> Iterator[None]:
    """Have khugepaged pass over this process: what it looks at here takes pages of its pace.

    Processes started meanwhile inherit it, see `allow_huge_pages`.
    """
    before = _LIBC.prctl(_PR_GET_THP_DISABLE, 0, 0, 0, 0)
    _LIBC.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    try:
        yield
    finally:
        _LIBC.prctl(_PR_SET_THP_DISABLE, before, 0, 0, 0)


def allow_huge_pages() -> None:
    """Let this process have THPs, whatever its parent has said of itself."""
    _check(_LIBC.prctl(_PR_SET_THP_DISABLE, 0, 0, 0, 0), "prctl(PR_SET_THP_DISABLE)")


@attrs.frozen
class Mapped:
    """One line of /proc/self/maps."""

    start: int
    end: int
    permissions: str
    name: str


def mappings(first: int = 0, last: int = 1 << 64) -> Iterator[Mapped]:
    """What this process has mapped with a start between two addresses."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)", line)
        if match and first <= int(match[1], 16) < last:
            yield Mapped(int(match[1], 16), int(match[2], 16), match[3], match[4])


def keep_in_memory(first: int, last: int) -> None:
    """Lock all memory of this process that stands outside a range of addresses.

    It is then neither swapped out by a reclaim that is meant for the range, nor shared with another
    process since a fork, so that no later access to it is a page fault.
    """
    for mapped in mappings():
        special = mapped.name.startswith("[") and mapped.name not in ("[heap]", "[stack]")
        if mapped.permissions[0] != "-" and not special and not first <= mapped.start < last:
            # A file that is shorter than its mapping cannot be locked to the end; that is no harm.
            _LIBC.mlock(mapped.start, mapped.end - mapped.start)
