"""What comes over the memory by nobody's call: reclaim, swapoff, khugepaged; waiting for I/O."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from perfmodel.errors import CapabilityError
from perfmodel.host import available_memory_bytes
from perfmodel.measure.cgroup import MemoryCgroup, limited_beside, make
from perfmodel.measure.system import System, swap_off, swap_on, write_setting

_MOST_SECONDS = 20.0
_MOST_ROUNDS = 20
_PASSES = 2
_QUIET_NS = 200_000_000
_AIR_BYTES = 256 << 20


@attrs.frozen
class Pressure:
    """What the worker may do to the machine, of what the session has set up for it.

    Parameters
    ----------
    system : System
    device : Path
        The swap device.
    block : str
        Name in /sys/block of the device, or of the disk below a file, if its requests go on after
        the call that asked for them; else empty.
    cgroup : MemoryCgroup, optional
        The one that the worker and its children live in.
    limited : MemoryCgroup, optional
        The one that the region's memory is charged to, if it has a limit. The worker is in it only
        while it runs what is timed, so that nothing of its own is charged there.
    hidden : frozenset of str
        Counters that are not reported.
    scan_sleep : int
        Milliseconds between khugepaged's passes once it has been set going, 0 for never.
    swaps : tuple of (str, str)
        Of several swap devices, each one's path, and its `block` as above.
    """

    system: System
    device: Path
    block: str
    cgroup: MemoryCgroup | None
    limited: MemoryCgroup | None = None
    hidden: frozenset[str] = frozenset()
    scan_sleep: int = 0
    swaps: tuple[tuple[str, str], ...] = ()

    @contextmanager
    def charging(self) -> Iterator[None]:
        """Have what is mapped meanwhile charged to the limited cgroup, if there is one."""
        if self.limited is None or self.cgroup is None:
            yield
            return
        self.limited.enter(os.getpid())
        try:
            yield
        finally:
            self.cgroup.enter(os.getpid())

    def counters(self) -> dict[str, int]:
        """What the kernel has counted until now, but for what is a process's own."""
        if self.limited is None:
            found = self.system.counters()
        else:
            # Statistics are added up per CPU and cgroup; reclaim goes by what was added up last.
            self.limited.add_up()
            self.system.add_up_vmstat()
            found = self.system.counters()
        return {name: found[name] for name in found if name not in self.hidden}

    def settle(self) -> None:
        """Wait until what has been swapped out or in is written or read."""
        for block in dict.fromkeys([self.block, *(own for _, own in self.swaps)]):
            if block:
                self.system.wait_for_swap(block)

    def each_device(self) -> list[dict[str, int]]:
        """What each of several swap devices holds, and has ever read and written, in pages."""
        found = []
        for path, _ in self.swaps:
            read, written = self.system.pages_moved(Path(path).name)
            used = self.system.swapped_pages(path)
            found.append({"pswpout": written, "pswpin": read, "used_slots": used})
        return found

    def reclaim(self, resident: Callable[[], int]) -> int:
        """Reclaim all memory of the cgroup until nothing of it is resident; nanoseconds.

        Waiting for what is being written is not counted.
        """
        cgroup = self.limited or self.cgroup
        if cgroup is None:
            raise CapabilityError("a reclaim step needs a memory cgroup of its own")
        elapsed = 0
        for _ in range(_MOST_ROUNDS):
            cgroup.add_up()
            start = time.perf_counter_ns()
            cgroup.reclaim()
            elapsed += time.perf_counter_ns() - start
            self.settle()
            if resident() == 0 and cgroup.swap_cached_bytes() == 0:
                break
        return elapsed

    def swap_off(self) -> int:
        """Swap everything in from the device; nanoseconds. It is swapped to again afterwards."""
        needed = self.system.swapped_bytes() + _AIR_BYTES
        if needed > available_memory_bytes():
            raise CapabilityError(
                f"a swapoff step brings back {needed >> 20} MiB, more memory than is available; "
                "choose a smaller region.size"
            )
        start = time.perf_counter_ns()
        swap_off(self.device)
        return time.perf_counter_ns() - start

    def swap_on(self) -> None:
        """Use the device again."""
        swap_on(self.device)

    def khugepaged_pass(self) -> int:
        """Have khugepaged go through all memory once; nanoseconds.

        Every write to its pause wakes it for as many pages as it may scan at a time, which the
        session has made more than there are; it then goes on to where it began. That is a full pass
        only if it stood at a beginning, hence two.
        """
        folder = self.system.thp / "khugepaged"
        pause = (folder / "scan_sleep_millisecs").read_text()
        begun = seen = self._full_scans(folder)
        elapsed = 0
        deadline = time.monotonic() + _MOST_SECONDS
        while seen - begun < _PASSES:
            if time.monotonic() > deadline:
                raise CapabilityError(
                    f"khugepaged made {seen - begun} of {_PASSES} passes in "
                    f"{_MOST_SECONDS:.0f} seconds"
                )
            start = last = time.perf_counter_ns()
            write_setting(folder / "scan_sleep_millisecs", pause)
            # One call makes one pass or two. Asking again before it has ended would call for one
            # more, behind this step's back.
            while seen - begun < _PASSES and time.perf_counter_ns() - last < _QUIET_NS:
                time.sleep(0.001)
                if (now := self._full_scans(folder)) != seen:
                    seen, last = now, time.perf_counter_ns()
            elapsed += last - start
        return elapsed

    def wait(self, milliseconds: int) -> int:
        """Sleep; nanoseconds. The first time khugepaged is set going, at its scenario's pace."""
        file = self.system.thp / "khugepaged" / "scan_sleep_millisecs"
        start = time.perf_counter_ns()
        if self.scan_sleep and int(file.read_text()) != self.scan_sleep:
            # That wakes it, too.
            write_setting(file, str(self.scan_sleep))
        time.sleep(milliseconds / 1000)
        return time.perf_counter_ns() - start

    @staticmethod
    def _full_scans(folder: Path) -> int:
        return int((folder / "full_scans").read_text())


def from_request(request: dict[str, Any], system: System) -> Pressure:
    """As the session's request describes it; a limited cgroup is made, and is the caller's."""
    cgroup, limit = request["cgroup"], request["limit"]
    limited = None
    if limit:
        limited = make(limited_beside(Path(cgroup)))
        limited.set_limit(limit)
    return Pressure(
        system=system,
        device=Path(request["device"]),
        block=request["block"],
        swaps=tuple((swap["path"], swap["block"]) for swap in request.get("swaps", ())),
        cgroup=MemoryCgroup(Path(cgroup)) if cgroup else None,
        limited=limited,
        hidden=frozenset(request["hidden"]),
        scan_sleep=request["scan_sleep"],
    )
