"""The swap device that a session sets up for itself: zram, a loop device, or a file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from perfmodel.constants import PMD_BYTES
from perfmodel.errors import CapabilityError
from perfmodel.measure.journal import Journal
from perfmodel.measure.system import (
    SWAP_LABEL,
    System,
    mkswap_program,
    program,
    swap_off,
    swap_on,
    write_setting,
)
from perfmodel.specs.device import DeviceKind, SwapDevice

_PAGE_TABLE_AIR = 64 << 20
_RAM_FOLDER = "/dev/shm"  # noqa: S108  tmpfs is what makes it a RAM disk
_DISK_FOLDER = "/var/tmp"  # noqa: S108  a disk, where it is no tmpfs


def device_bytes(clusters: int) -> int:
    """Size of a device with so many clusters behind the first one, which holds the header."""
    return (1 + clusters) * PMD_BYTES


def folder_for(kind: DeviceKind) -> Path:
    """Where the file behind a device of a kind is made."""
    if kind is DeviceKind.RAM_DISK:
        return Path(_RAM_FOLDER)
    return Path(os.environ.get("PERFMODEL_DISK_DIR", _DISK_FOLDER)).absolute()


class LiveSwapDevice:
    """One swap device of our own; every change is in the journal before it is made.

    Parameters
    ----------
    system : System
    journal : Journal
    device : SwapDevice
    clusters : int
        Clusters of the largest scenario.
    region_bytes : int
        Largest region.
    number : int
        Of several devices, which one: 0 for the first.
    """

    def __init__(
        self,
        system: System,
        journal: Journal,
        device: SwapDevice,
        clusters: int,
        region_bytes: int,
        number: int = 0,
    ) -> None:
        self._system = system
        self._journal = journal
        self._device = device
        self._size = device_bytes(clusters)
        self._region_bytes = region_bytes
        self._clusters = 0
        self._number = number
        self.path = Path()
        # Name in /sys/block of what reads and writes behind the caller's back; empty for zram.
        self.block = ""

    def make(self) -> None:
        """Set it up, not yet swapped to."""
        kind = self._device.kind
        if kind is DeviceKind.ZRAM:
            self._make_zram()
            return
        folder = self._system.path(str(folder_for(kind)))
        in_memory = self._system.file_system(folder) in ("tmpfs", "ramfs")
        if in_memory != (kind is DeviceKind.RAM_DISK):
            raise CapabilityError(
                f"{folder} is in memory: set PERFMODEL_DISK_DIR to a folder on a disk"
                if in_memory
                else f"{folder} is not in memory: mount a tmpfs there"
            )
        if kind is DeviceKind.SWAP_FILE:
            # Before the file, so that it is put back after swapoff: the kernel counts rotating
            # swap devices, and looks again at swapoff whether this is one.
            self.block = self._disk_of(folder)
            self._call_it_not_rotating(self.block)
        file = self._make_file(folder)
        if kind is DeviceKind.SWAP_FILE:
            self.path = file
        else:
            self._attach(file, direct=kind is DeviceKind.DISK)

    def refresh(self, clusters: int) -> None:
        """Swap to it as if it had never been used: which slots are free decides what comes next."""
        self.switch_off()
        self.switch_on(clusters)

    def switch_off(self) -> None:
        """Stop swapping to it."""
        swap_off(self.path)

    def switch_on(self, clusters: int) -> None:
        """Swap to so many clusters of it, with its priority if there are several devices."""
        if clusters != self._clusters:
            self._run(
                mkswap_program() or "mkswap",
                *("--label", SWAP_LABEL, str(self.path), str(device_bytes(clusters) // 1024)),
            )
            self._clusters = clusters
        swap_on(self.path, self._device.priority)

    def _make_zram(self) -> None:
        self._journal.note_new_zram()
        number = int(self._system.path("/sys/class/zram-control/hot_add").read_text())
        self._journal.note_zram_number(number)
        block = self._system.path(f"/sys/block/zram{number}")
        offered = (block / "comp_algorithm").read_text().replace("[", "").replace("]", "").split()
        if self._device.algorithm not in offered:
            raise CapabilityError(
                f"zram on this kernel has no {self._device.algorithm}; it offers "
                f"{', '.join(offered)} (CONFIG_ZRAM_BACKEND_*)"
            )
        write_setting(block / "comp_algorithm", self._device.algorithm)
        write_setting(block / "disksize", str(self._size))
        write_setting(block / "mem_limit", str(self._region_bytes + _PAGE_TABLE_AIR))
        self.path = self._system.path(f"/dev/zram{number}")

    def _make_file(self, folder: Path) -> Path:
        file = folder / f"perfmodel-swap-{os.getpid()}{f'-{self._number}' * bool(self._number)}"
        self._journal.note_file(file)
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                # All of it now: a device that allocates while it is written to takes longer then,
                # and its pages would be charged to whoever writes.
                os.posix_fallocate(descriptor, 0, self._size)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise CapabilityError(
                f"{file} cannot be made: {error.strerror}; set PERFMODEL_DISK_DIR to a folder on a "
                "disk with room"
            ) from None
        return file

    def _attach(self, file: Path, *, direct: bool) -> None:
        before = self._system.loop_numbers()
        number = self._system.free_loop_number()
        self._journal.note_loop(number, file, added=number not in before)
        self.path, self.block = self._system.path(f"/dev/loop{number}"), f"loop{number}"
        switch = "on" if direct else "off"
        losetup = program("losetup") or "losetup"
        self._run(losetup, f"--direct-io={switch}", str(self.path), str(file))
        write_setting(self._system.path(f"/sys/block/{self.block}/queue/rotational"), "0")
        if direct and self._system.read(f"/sys/block/{self.block}/loop/dio") != "1":
            raise CapabilityError(
                f"the file system of {file.parent} has no direct I/O: set PERFMODEL_DISK_DIR to "
                "another folder on a disk"
            )

    def _disk_of(self, folder: Path) -> str:
        """Name in /sys/block of the disk that a folder stands on; empty if it has none."""
        if not folder.exists():
            return ""
        number = folder.stat().st_dev
        link = self._system.path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
        if not link.exists():
            return ""
        disk = link.resolve()
        return disk.parent.name if (disk / "partition").exists() else disk.name

    def _call_it_not_rotating(self, disk: str) -> None:
        """With any rotating swap device the kernel never reads ahead by address."""
        setting = f"rotational/{disk}"
        if disk and self._system.read(f"/sys/block/{disk}/queue/rotational") == "1":
            self._journal.change_setting(setting, "0", "1")

    def _run(self, *command: str) -> None:
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise CapabilityError(
                f"{Path(command[0]).name} {self.path} failed: {made.stderr.strip()[:200]}"
            )
