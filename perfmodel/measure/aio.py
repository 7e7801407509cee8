"""Asynchronous requests to a file or device: the kernel's own interface, io_submit(2)."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from perfmodel.measure.linux import LinuxCallError

# Numbers of io_setup, io_destroy, io_getevents and io_submit.
_NUMBERS = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}
READ, WRITE = 0, 1


def is_known() -> bool:
    """Whether this computer's system calls are known here."""
    return platform.machine() in _NUMBERS


class _Request(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("operation", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("descriptor", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("notification", ctypes.c_uint32),
        ("event_descriptor", ctypes.c_uint32),
    )


class _Completion(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_uint64),
        ("request", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("second_result", ctypes.c_int64),
    )


class Queue:
    """At most so many requests under way to one descriptor, as a context.

    Parameters
    ----------
    descriptor : int
    depth : int
    size : int
        Bytes of every request.
    """

    def __init__(self, descriptor: int, depth: int, size: int) -> None:
        setup, self._destroy, self._get, self._submit = _NUMBERS[platform.machine()]
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._context = ctypes.c_ulong(0)
        self._call(setup, ctypes.c_long(depth), ctypes.byref(self._context))
        self._requests = [
            _Request(data=slot, descriptor=descriptor, size=size) for slot in range(depth)
        ]
        self._pointers = [ctypes.pointer(request) for request in self._requests]
        self._done = (_Completion * depth)()
        self._size = size
        self._one, self._depth = ctypes.c_long(1), ctypes.c_long(depth)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Waits for what is still under way.
        self._call(self._destroy, self._context)

    def submit(self, slot: int, operation: int, buffer: int, offset: int) -> None:
        """Send the request of a slot that nothing is under way in."""
        request = self._requests[slot]
        request.operation, request.buffer, request.offset = operation, buffer, offset
        self._call(self._submit, self._context, self._one, ctypes.byref(self._pointers[slot]))

    def wait(self) -> Iterator[int]:
        """Wait for one request at least; the slots of all that are complete by then."""
        count = self._call(
            self._get, self._context, self._one, self._depth, self._done, ctypes.c_void_p(None)
        )
        for index in range(count):
            if self._done[index].result != self._size:
                raise LinuxCallError(
                    max(0, -self._done[index].result), "a request came back unfinished"
                )
            yield self._done[index].data

    def _call(self, number: int, *arguments: object) -> int:
        result = self._libc.syscall(ctypes.c_long(number), *arguments)
        if result < 0:
            code = ctypes.get_errno()
            raise LinuxCallError(code, f"asynchronous I/O failed: {os.strerror(code)}")
        return int(result)
