"""A memory cgroup of our own, so that a reclaim hits the measured memory and nothing else."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import attrs

from perfmodel.errors import CapabilityError
from perfmodel.measure.system import System

_MOST_SECONDS = 10.0
_EVERYTHING = 1 << 40
_REMEDY = "mount the cgroup v1 memory controller, or give this cgroup v2 its memory controller"


@attrs.frozen
class MemoryCgroup:
    """A memory cgroup by its folder, of version 1 or 2."""

    folder: Path

    def _file(self) -> Path:
        old = self.folder / "memory.force_empty"
        return old if old.exists() else self.folder / "memory.reclaim"

    def usable(self) -> bool:
        """Whether its memory can be reclaimed."""
        return self._file().exists()

    def enter(self, process: int) -> None:
        """Put a process into it; what it maps from now on is charged here."""
        try:
            (self.folder / "cgroup.procs").write_text(str(process))
        except OSError as error:
            message = f"{self.folder} takes no process: {error.strerror}; {_REMEDY}"
            raise CapabilityError(message) from None

    def set_limit(self, size: int) -> None:
        """Limit its memory to so many bytes; swap is not limited."""
        old = self.folder / "memory.limit_in_bytes"
        file = old if old.exists() else self.folder / "memory.max"
        try:
            file.write_text(str(size))
        except OSError as error:
            message = f"{file} cannot be set to {size}: {error.strerror}; {_REMEDY}"
            raise CapabilityError(message) from None

    def add_up(self) -> None:
        """Have the kernel add up its statistics; going by old ones it may spare memory for ever."""
        self.swap_cached_bytes()

    def reclaim(self) -> None:
        """Have the kernel reclaim all that it can."""
        file = self._file()
        text = "0" if file.name == "memory.force_empty" else str(_EVERYTHING)
        # Version 2 says EAGAIN where less than asked for could be had, which is always.
        with suppress(BlockingIOError, InterruptedError):
            file.write_text(text)

    def swap_cached_bytes(self) -> int:
        """Bytes of its memory that stand in the swap cache."""
        text = (self.folder / "memory.stat").read_text()
        match = re.search(r"^swapcached ([0-9]+)$", text, re.MULTILINE)
        return int(match[1]) if match else 0

    def remove(self) -> None:
        """End what is left in it, and remove it; nothing happens if it is not there."""
        deadline = time.monotonic() + _MOST_SECONDS
        while self.folder.exists():
            for process in (self.folder / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
            try:
                self.folder.rmdir()
            except OSError as error:
                if time.monotonic() > deadline:
                    message = f"{self.folder} cannot be removed: {error.strerror}"
                    raise CapabilityError(message) from None
                time.sleep(0.02)


def limited_beside(folder: Path) -> Path:
    """Where the limited cgroup stands, next to that of the measuring process."""
    return folder.with_name(f"{folder.name}-limited")


def folder_for(system: System) -> Path:
    """Where a memory cgroup of our own is to stand.

    Raises
    ------
    CapabilityError
        If the kernel has no memory controller for us.
    """
    name = f"perfmodel-{os.getpid()}"
    mounts = [line.split() for line in (system.read("/proc/mounts") or "").splitlines()]
    for mount in mounts:
        if mount[2] == "cgroup" and "memory" in mount[3].split(","):
            return system.path(mount[1]) / name
    own = re.search(r"^0::/(\S*)$", system.read("/proc/self/cgroup") or "", re.MULTILINE)
    for mount in mounts:
        if mount[2] == "cgroup2" and own:
            below = system.read(f"{mount[1]}/{own[1]}/cgroup.subtree_control") or ""
            if "memory" in below.split():
                return system.path(mount[1]) / own[1] / name
    raise CapabilityError(f"no memory cgroup can be made here: {_REMEDY}")


def make(folder: Path) -> MemoryCgroup:
    """Make a memory cgroup.

    Raises
    ------
    CapabilityError
        If that cannot be done, or its memory cannot be reclaimed.
    """
    try:
        folder.mkdir()
    except OSError as error:
        message = f"{folder} cannot be made: {error.strerror}; {_REMEDY}"
        raise CapabilityError(message) from None
    group = MemoryCgroup(folder)
    if not group.usable():
        raise CapabilityError(f"{folder} has no way to reclaim its memory: {_REMEDY}")
    return group
