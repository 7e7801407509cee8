"""The userfaultfd of one process: write-protects memory and moves it."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from perfmodel.measure.linux import LinuxCallError

# linux/userfaultfd.h; every request is _IOWR or _IOR of type 0xAA.
_NEW = 0xAA00
_API = 0xC018AA3F
_REGISTER = 0xC020AA00
_UNREGISTER = 0x8010AA01
_MOVE = 0xC028AA05
_WRITE_PROTECT = 0xC018AA06
_API_NUMBER = 0xAA
_FEATURE_WRITE_PROTECT = 1 << 0
_FEATURE_MOVE = 1 << 16
_MODE_MISSING = 1
_MODE_WRITE_PROTECT = 2
_WRITE_PROTECT_ON = 1
_MOVE_ALLOW_HOLES = 2
_MOST_TRIES = 1000


class Userfault:
    """One userfaultfd; what is registered with it ends with `close`.

    Nobody answers its messages: a scenario never writes to what it has write-protected.
    """

    def __init__(self, *, moving: bool) -> None:
        features = _FEATURE_MOVE if moving else _FEATURE_WRITE_PROTECT
        self.process = os.getpid()
        try:
            device = os.open("/dev/userfaultfd", os.O_RDWR | os.O_CLOEXEC)
            try:
                self._descriptor = fcntl.ioctl(device, _NEW, os.O_CLOEXEC | os.O_NONBLOCK)
            finally:
                os.close(device)
            fcntl.ioctl(self._descriptor, _API, struct.pack("3Q", _API_NUMBER, features, 0))
        except OSError as error:
            message = f"userfaultfd failed: {error.strerror} (CONFIG_USERFAULTFD, Linux 6.8)"
            raise LinuxCallError(error.errno, message) from None

    def _register(self, address: int, size: int, mode: int) -> None:
        try:
            fcntl.ioctl(self._descriptor, _REGISTER, struct.pack("4Q", address, size, mode, 0))
        except OSError as error:
            raise LinuxCallError(error.errno, f"UFFDIO_REGISTER failed: {error.strerror}") from None

    def watch_writes(self, address: int, size: int) -> None:
        """Register memory, so that parts of it can be write-protected."""
        self._register(address, size, _MODE_WRITE_PROTECT)

    def watch_missing(self, address: int, size: int) -> None:
        """Register memory that something is to be moved to."""
        self._register(address, size, _MODE_MISSING)

    def forget(self, address: int, size: int) -> None:
        """Take registered memory out again."""
        fcntl.ioctl(self._descriptor, _UNREGISTER, struct.pack("2Q", address, size))

    def write_protect(self, address: int, size: int) -> None:
        """Write-protect registered memory."""
        request = struct.pack("3Q", address, size, _WRITE_PROTECT_ON)
        try:
            fcntl.ioctl(self._descriptor, _WRITE_PROTECT, request)
        except OSError as error:
            raise LinuxCallError(
                error.errno, f"UFFDIO_WRITEPROTECT failed: {error.strerror}"
            ) from None

    def move(self, source: int, target: int, size: int) -> None:
        """Move pages and swap entries to registered memory; goes on where the kernel says so."""
        done = 0
        for _ in range(_MOST_TRIES):
            request = bytearray(
                struct.pack("4Qq", target + done, source + done, size - done, _MOVE_ALLOW_HOLES, 0)
            )
            try:
                fcntl.ioctl(self._descriptor, _MOVE, request)
            except OSError as error:
                moved = struct.unpack("4Qq", request)[4]
                done += max(0, moved)
                if error.errno != errno.EAGAIN:
                    message = f"UFFDIO_MOVE failed: {error.strerror}"
                    raise LinuxCallError(error.errno, message) from None
            else:
                return
        raise LinuxCallError(errno.EAGAIN, "UFFDIO_MOVE failed: asked to try again for ever")

    def close(self) -> None:
        """End all that is registered."""
        os.close(self._descriptor)
