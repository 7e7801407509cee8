"""Sets the machine up for measuring, keeps the worker, and puts everything back."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import FrameType, TracebackType
from typing import Any, Self

from perfmodel.constants import PMD_ORDER, hugepage_directory
from perfmodel.errors import CapabilityError
from perfmodel.measure.capabilities import require
from perfmodel.measure.journal import Journal
from perfmodel.measure.system import (
    SWAP_LABEL,
    System,
    chosen,
    mkswap_program,
    swap_on,
    write_setting,
)
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.policy import MTHP_ENTRIES, SHMEM_ENTRY, mthp_order
from perfmodel.specs.scenario import Scenario

# One repetition moves at most the region a few times; a machine that needs longer is not well.
_SECONDS_PER_REPETITION = 60
_SECONDS_PER_GIB = 120
_TRIES = 3
_KHUGEPAGED_PAUSE_MS = 3_600_000


class _Worker:
    """The process that owns the measured memory."""

    def __init__(self) -> None:
        # A session of its own: Ctrl-C reaches us, and we end it in order.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "perfmodel.measure.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._buffer = b""

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send one request and wait for its reply, so long and no longer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise CapabilityError("the measuring process ended; is memory too low?") from None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(seconds):
                    raise CapabilityError(f"a repetition took more than {seconds:.0f} seconds")
                part = os.read(self._process.stdout.fileno(), 1 << 16)
                if not part:
                    raise CapabilityError("the measuring process ended; is memory too low?")
                self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise CapabilityError(f"the kernel refused a step: {reply['error']}")
        return reply

    def end(self) -> None:
        """Kill the process; its memory and swap go with it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                # What a dead process has not read cannot be flushed, and need not be.
                with suppress(OSError):
                    stream.close()


class LiveSession:
    """A machine that is set up for measuring, as a context.

    Everything that is changed is written to the journal before, and put back at the end: after
    success, an error, Ctrl-C or SIGTERM. What a killed run left behind is put back at the start.

    Parameters
    ----------
    scenarios : list of Scenario
        All that will be run; the largest decides the size of the swap device.
    device : SwapDevice
    entries : list of str
    report : callable
        Gets a line for each thing worth telling.
    """

    def __init__(
        self,
        scenarios: list[Scenario],
        device: SwapDevice,
        entries: list[str],
        *,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._system = System()
        self._journal = Journal(self._system)
        self._largest = max(scenarios, key=lambda scenario: scenario.region.size_bytes)
        self._device = device
        self._entries = entries
        self._report = report
        self._worker: _Worker | None = None
        self._enabled_order: int | None = None
        self._old_handler: Any = None

    def __enter__(self) -> Self:
        put_back_left_over(self._journal, self._report)
        require(self._entries, self._largest, self._system)
        self._journal.acquire()
        try:
            if threading.current_thread() is threading.main_thread():
                self._old_handler = signal.signal(signal.SIGTERM, _interrupt)
            self._set_up()
        except OSError as error:  # a kernel file that root itself may not use, as in a container
            self._tear_down()
            raise CapabilityError(f"{error.filename}: {error.strerror}") from None
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

    def _set_up(self) -> None:
        self._add_zram()
        huge = hugepage_directory(PMD_ORDER)
        self._set(f"{huge}/enabled", "madvise")
        if SHMEM_ENTRY in self._entries:
            by_size = self._system.has_size(PMD_ORDER, "shmem_enabled")
            self._set(f"{huge}/shmem_enabled" if by_size else "shmem_enabled", "advise")
        # khugepaged would collapse what a swap-in has left in pieces while we still look at it.
        self._set("khugepaged/scan_sleep_millisecs", str(_KHUGEPAGED_PAUSE_MS))
        for entry in MTHP_ENTRIES:
            if self._system.has_size(mthp_order(entry)):
                self._set(f"{hugepage_directory(mthp_order(entry))}/enabled", "never")
        self._worker = _Worker()

    def _set(self, name: str, value: str) -> None:
        previous = chosen((self._system.thp / name).read_text())
        self._journal.change_setting(name, value, previous)

    def _add_zram(self) -> None:
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
        size = self._largest.region.size_bytes
        write_setting(block / "disksize", str(2 * size + (64 << 20)))
        write_setting(block / "mem_limit", str(size + (64 << 20)))
        device = self._system.path(f"/dev/zram{number}")
        made = subprocess.run(
            [mkswap_program() or "mkswap", "-L", SWAP_LABEL, str(device)],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise CapabilityError(f"mkswap {device} failed: {made.stderr.strip()[:200]}")
        swap_on(device)

    def _tear_down(self) -> None:
        """Put everything back; a second Ctrl-C does not stop it half-way."""
        main_thread = threading.current_thread() is threading.main_thread()
        if main_thread:
            old_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with ExitStack() as always:
            # Called in reverse order, each of them whatever the others come to.
            if main_thread:
                always.callback(signal.signal, signal.SIGINT, old_interrupt)
                always.callback(signal.signal, signal.SIGTERM, self._old_handler or signal.SIG_DFL)
            always.callback(self._journal.release)
            always.callback(self._journal.restore)
            if self._worker is not None:
                always.callback(self._worker.end)
                self._worker = None

    def _enable(self, order: int) -> None:
        """Let swap-in use folios of one mTHP order, or of none for order 0."""
        if order == self._enabled_order:
            return
        for entry in MTHP_ENTRIES:
            size = mthp_order(entry)
            if self._system.has_size(size):
                value = "madvise" if size == order else "never"
                write_setting(self._system.thp / hugepage_directory(size) / "enabled", value)
        self._enabled_order = order

    def run(self, scenario: Scenario, entry: str) -> dict[str, Any]:
        """One repetition of a scenario under an entry, as `worker.run_repetition` returns it.

        Raises
        ------
        CapabilityError
            If the memory could not be mapped by THPs, or the kernel refused a step.
        """
        assert self._worker is not None, "use the session as a context"
        self._enable(mthp_order(entry))
        size = scenario.region.size_bytes
        request = {
            "size_bytes": size,
            "content": scenario.region.content.value,
            "memfd": entry == SHMEM_ENTRY,
            "steps": [(step.action.value, step.pages_per_2mib) for step in scenario.steps],
        }
        seconds = _SECONDS_PER_REPETITION + _SECONDS_PER_GIB * size / (1 << 30)
        for _ in range(_TRIES):
            reply = self._worker.ask(request, seconds)
            if reply["thp_bytes"] == size:
                return reply
            # Nothing to put back: compaction moves pages once, and the repetition is not counted.
            write_setting(self._system.path("/proc/sys/vm/compact_memory"), "1")
        raise CapabilityError(
            f"only {reply['thp_bytes'] >> 20} of {size >> 20} MiB got THPs, even after compaction: "
            "too little memory is free, or the THP defrag setting forbids it; set it to 'madvise'"
        )


def put_back_left_over(
    journal: Journal | None = None, report: Callable[[str], None] = lambda _: None
) -> None:
    """Undo what a killed run left behind, if there is anything and we may.

    Raises
    ------
    CapabilityError
        If that run is still alive.
    """
    journal = Journal(System()) if journal is None else journal
    if not journal.system.is_root() or not journal.left_over():
        return
    journal.acquire()
    try:
        undone = journal.restore()
    finally:
        journal.release()
    report(f"put back {undone} changes that a killed run had left")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
