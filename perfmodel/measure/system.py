"""The running kernel's files and the few system calls that a measurement needs.

`System` takes a root folder, so that tests can show it a machine that is not there.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import shutil
import struct
import time
from pathlib import Path

import attrs

from perfmodel.constants import (
    COUNTER_NAMES,
    LIVE_COUNTER_NAMES,
    PAGE_BYTES,
    PMD_ORDER,
    Counter,
    hugepage_directory,
)
from perfmodel.errors import CapabilityError

_SWAP_FLAG_PREFER = 0x8000
_HIGHEST_PRIORITY = 32767
_SWAP_SECONDS = 20.0
_QUIET_LOOKS = 3
# Of /sys/block/*/stat.
_SECTORS_READ, _SECTORS_WRITTEN = 2, 6
_SECTOR_BYTES = 512
_LOOP_DETACH = 0x4C01
_LOOP_REMOVE = 0x4C81
_LOOP_GET_FREE = 0x4C82
SWAP_LABEL = "perfmodel"
# mkswap's header: the label stands behind the version, two counts and the UUID.
_LABEL_OFFSET = 1024 + struct.calcsize("<3I16s")
# Counters that the process's own resource usage gives without other processes' share.
RUSAGE_COUNTERS = ("pgfault", "pgmajfault")


@attrs.frozen
class System:
    """Files of the kernel below `root`."""

    root: Path = Path("/")

    def path(self, name: str) -> Path:
        """A kernel file by its absolute name."""
        return self.root / name.lstrip("/")

    @property
    def thp(self) -> Path:
        """Where transparent huge pages are set up."""
        return self.path("/sys/kernel/mm/transparent_hugepage")

    def read(self, name: str) -> str | None:
        """Content of a kernel file without the newline; None if it cannot be read."""
        try:
            return self.path(name).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return None

    def is_root(self) -> bool:
        """Whether this process may change swap and THP settings."""
        return os.geteuid() == 0

    def active_swaps(self) -> list[str]:
        """Devices and files that the kernel swaps to."""
        lines = (self.read("/proc/swaps") or "").splitlines()[1:]
        return [line.split()[0] for line in lines if line.split()]

    def vmstat(self) -> dict[str, int]:
        """All of /proc/vmstat."""
        pairs = (line.split() for line in (self.read("/proc/vmstat") or "").splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}

    def add_up_vmstat(self) -> None:
        """Have the kernel add up what it counts for each CPU in /proc/vmstat."""
        write_setting(self.path("/proc/sys/vm/stat_refresh"), "1")

    def counters(self) -> dict[str, int]:
        """Every counter of the engine that this kernel has, but those of the process itself."""
        values = self.vmstat()
        found = {name: values[name] for name in COUNTER_NAMES if name in values}
        for name in LIVE_COUNTER_NAMES:
            if "/" in name:
                text = self.read(f"{self.thp.relative_to(self.root)}/{name}")
                if text is not None and text.isdecimal():
                    found[name] = int(text)
        for name in RUSAGE_COUNTERS:
            found.pop(name, None)
        return found

    def wait_for_swap(self, block: str) -> None:
        """Wait until all that was swapped out or in is written and read, so long and no longer.

        Parameters
        ----------
        block : str
            The swap device's name in /sys/block, or that of the disk that a swap file stands on.
        """
        deadline = time.monotonic() + _SWAP_SECONDS
        quiet = 0
        while quiet < _QUIET_LOOKS and time.monotonic() < deadline:
            quiet = quiet + 1 if self._idle(block) else 0
            time.sleep(0.001)

    def _idle(self, block: str) -> bool:
        """Whether no request is under way; the kernel counts one when it is submitted."""
        fields = (self.read(f"/sys/block/{block}/stat") or "").split()
        return len(fields) <= 8 or fields[8] == "0"

    def swapped_bytes(self) -> int:
        """Bytes that stand on swap devices."""
        lines = (self.read("/proc/swaps") or "").splitlines()[1:]
        return sum(int(line.split()[3]) * 1024 for line in lines)

    def swapped_pages(self, device: str) -> int:
        """Slots of one swap device that are used."""
        lines = (self.read("/proc/swaps") or "").splitlines()[1:]
        used = [int(line.split()[3]) for line in lines if line.split()[0] == device]
        return sum(used) * 1024 // PAGE_BYTES

    def pages_moved(self, block: str) -> tuple[int, int]:
        """Pages that a block device has ever read and written, by its name in /sys/block."""
        fields = (self.read(f"/sys/block/{block}/stat") or "").split()
        if len(fields) <= _SECTORS_WRITTEN:
            return 0, 0
        sectors = int(fields[_SECTORS_READ]), int(fields[_SECTORS_WRITTEN])
        return sectors[0] * _SECTOR_BYTES // PAGE_BYTES, sectors[1] * _SECTOR_BYTES // PAGE_BYTES

    def file_system(self, folder: Path) -> str:
        """Type of the file system that a folder stands on; empty if that is not known."""
        mounts = [line.split() for line in (self.read("/proc/mounts") or "").splitlines()]
        above = [mount for mount in mounts if folder.is_relative_to(self.path(mount[1]))]
        # What is mounted last hides what was there before.
        return max(above, key=lambda mount: len(mount[1]), default=["", "", ""])[2]

    def steal_ticks(self) -> int:
        """Time that the hypervisor gave to others, in ticks, over all CPUs."""
        fields = (self.read("/proc/stat") or "").split("\n")[0].split()
        return int(fields[8]) if len(fields) > 8 and fields[8].isdecimal() else 0

    def has_pmd_swap_entries(self) -> bool:
        """Whether this kernel leaves PMD swap entries behind."""
        return Counter.THP_SWPOUT_PMD.name.lower() in self.vmstat()

    def has_size(self, order: int, file: str = "enabled") -> bool:
        """Whether a folio order can be enabled for anonymous memory (or for what `file` rules)."""
        return (self.thp / hugepage_directory(order) / file).exists()

    def has_shmem_thp(self) -> bool:
        """Whether memfd memory can be mapped by THPs."""
        return self.has_size(PMD_ORDER, "shmem_enabled") or (self.thp / "shmem_enabled").exists()

    def zram_numbers(self) -> list[int]:
        """Numbers of the zram devices that exist."""
        return self._block_numbers("zram")

    def loop_numbers(self) -> list[int]:
        """Numbers of the loop devices that exist."""
        return self._block_numbers("loop")

    def _block_numbers(self, kind: str) -> list[int]:
        folder = self.path("/sys/block")
        found = (re.fullmatch(rf"{kind}([0-9]+)", path.name) for path in folder.glob("*"))
        return sorted(int(match[1]) for match in found if match)

    def has_loop(self) -> bool:
        """Whether files can be made block devices."""
        return self.path("/dev/loop-control").exists() and program("losetup") is not None

    def free_loop_number(self) -> int:
        """Number of a loop device that nobody uses; the kernel adds one if it has none."""
        try:
            descriptor = os.open(self.path("/dev/loop-control"), os.O_RDWR | os.O_CLOEXEC)
            try:
                return fcntl.ioctl(descriptor, _LOOP_GET_FREE)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise CapabilityError(
                f"no loop device: {error.strerror} (CONFIG_BLK_DEV_LOOP)"
            ) from None

    def remove_loop(self, number: int) -> None:
        """Remove a loop device that the kernel added for us."""
        descriptor = os.open(self.path("/dev/loop-control"), os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _LOOP_REMOVE, number)
        finally:
            os.close(descriptor)

    def loop_file(self, number: int) -> str:
        """File behind a loop device; empty if there is none."""
        return self.read(f"/sys/block/loop{number}/loop/backing_file") or ""

    def detach_loop(self, number: int) -> None:
        """Take the file from a loop device."""
        descriptor = os.open(self.path(f"/dev/loop{number}"), os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _LOOP_DETACH)
        finally:
            os.close(descriptor)

    def can_add_zram(self) -> bool:
        """Whether the kernel offers zram devices of our own."""
        return self.path("/sys/class/zram-control/hot_add").exists()

    def has_mkswap(self) -> bool:
        """Whether util-linux's mkswap is installed."""
        return mkswap_program() is not None

    def boot_id(self) -> str:
        """Identity of this boot: what a killed run left behind does not outlive it."""
        return self.read("/proc/sys/kernel/random/boot_id") or ""


def mkswap_program() -> str | None:
    """Path of mkswap."""
    return program("mkswap")


def program(name: str) -> str | None:
    """Path of a program; an ordinary user's PATH often lacks the folder that it stands in."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def chosen(text: str) -> str:
    """The active value of a setting such as ``always [madvise] never``."""
    match = re.search(r"\[(\S+)\]", text)
    return match[1] if match else text.strip()


def write_setting(path: Path, value: str) -> None:
    """Write to a kernel file.

    Raises
    ------
    CapabilityError
        If the kernel refuses, with the file and the reason.
    """
    try:
        with path.open("w") as file:
            file.write(value)
    except OSError as error:
        raise CapabilityError(f"{path} cannot be set to {value}: {error.strerror}") from None


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def swap_on(device: Path, priority: int | None = None) -> None:
    """Start swapping to a device, before any other unless a priority says otherwise.

    Below 0 the kernel chooses the priority itself: each device gets a lower one than the last.
    """
    flags = _SWAP_FLAG_PREFER | (_HIGHEST_PRIORITY if priority is None else priority)
    if priority is not None and priority < 0:
        flags = 0
    if _libc().swapon(os.fsencode(device), flags) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise CapabilityError(f"swapon {device} failed: {reason}")


def swap_off(device: Path) -> None:
    """Stop swapping to a device; nothing happens if the kernel does not swap to it."""
    if _libc().swapoff(os.fsencode(device)) != 0 and ctypes.get_errno() != errno.EINVAL:
        reason = os.strerror(ctypes.get_errno())
        raise CapabilityError(f"swapoff {device} failed: {reason}")


def swap_label(device: Path) -> str:
    """Label in a device's swap header; empty if there is none."""
    try:
        with device.open("rb") as file:
            file.seek(_LABEL_OFFSET)
            return file.read(16).split(b"\0")[0].decode("ascii", "replace")
    except OSError:
        return ""
