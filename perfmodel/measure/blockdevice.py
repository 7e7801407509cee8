"""A swap device of our own that nobody swaps to, to be read and written directly."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from perfmodel.constants import PMD_BYTES
from perfmodel.errors import CapabilityError
from perfmodel.measure.capabilities import capabilities, missing_for
from perfmodel.measure.journal import Journal
from perfmodel.measure.session import put_back_left_over
from perfmodel.measure.swapdevice import LiveSwapDevice
from perfmodel.measure.system import System
from perfmodel.specs.device import SwapDevice

# Nothing is written before this: what stands where a swap header has its label would be taken for
# somebody else's, and the device would be left alone when it is to be removed.
FIRST_BYTE = PMD_BYTES


class BlockDevice:
    """Such a device, open for direct I/O, as a context; it is gone at the end.

    Whoever writes to it begins at `FIRST_BYTE`; behind that is all the room that was asked for.

    Parameters
    ----------
    device : SwapDevice
        Its kind and algorithm are what counts.
    clusters : int
        Its size in units of 2 MiB.
    report : callable
        Gets a line for each thing worth telling.
    """

    def __init__(
        self, device: SwapDevice, clusters: int, *, report: Callable[[str], None] = lambda _: None
    ) -> None:
        self._system = System()
        self._journal = Journal(self._system)
        self._device = device
        self._clusters = clusters
        self._report = report
        self.descriptor = -1
        self.folder = Path()

    def __enter__(self) -> Self:
        put_back_left_over(self._journal, self._report)
        missing = missing_for("pte", capabilities(self._system), self._device.kind)
        if missing:
            raise CapabilityError(dict.fromkeys(missing))
        self._journal.acquire()
        try:
            live = LiveSwapDevice(
                self._system,
                self._journal,
                self._device,
                self._clusters,
                self._clusters * PMD_BYTES,
            )
            live.make()
            self.folder = self._system.path(f"/sys/block/{live.path.name}")
            self.descriptor = os.open(live.path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        except BaseException:
            self._tear_down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tear_down()

    def _tear_down(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        try:
            self._journal.restore()
        finally:
            self._journal.release()
