"""TLB shootdowns on this machine: what changes of mappings cost with and without another CPU.

Needs no root and changes no setting: it maps memory of its own, and pins its two threads to one CPU
each while it measures. The interrupts that the other CPU counts (the line ``TLB`` of
/proc/interrupts) tell which flushes really reached it.
"""

from __future__ import annotations

import ctypes
import datetime
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import numpy as np

from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD, PMD_BYTES
from perfmodel.errors import CapabilityError
from perfmodel.host import facts, kvm_features
from perfmodel.kernels import shootdown as kernels
from perfmodel.kernels.touch import reference_loop
from perfmodel.measure import linux
from perfmodel.measure.mapped import huge_bytes, mapped
from perfmodel.results.shootdown import Change, Remote, ShootdownMeasurement, ShootdownPoint

RANGES = (1, 2, 8, 32, 33, 34, 64, 512)
DEFAULT_SECONDS = 30.0
_TURNS = 25
_ROUNDS = 16
_MOST_REPETITIONS = 8  # in one round
_REFERENCE_TURNS = 2000
_BEFORE_SLEEP = 1000
_MOST = 1 << 60
_START_SECONDS = 5.0
_INTERRUPTS = Path("/proc/interrupts")


def read_interrupts(cpu: int, file: Path = _INTERRUPTS) -> int | None:
    """TLB interrupts that a CPU has had; None where the kernel does not count them."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    columns = [name for name in (lines[0].split() if lines else []) if name.startswith("CPU")]
    for line in lines[1:]:
        match = re.match(r"\s*TLB:((?:\s+\d+)+)", line)
        if match and f"CPU{cpu}" in columns:
            counts = match[1].split()
            at = columns.index(f"CPU{cpu}")
            return int(counts[at]) if at < len(counts) else None
    return None


@attrs.frozen
class _Arm:
    """One change, ready to be done so many times; it returns the calls that failed."""

    change: Change
    pages: int
    run: Callable[[int], int]


@attrs.define
class _Found:
    times: list[float] = attrs.field(factory=list)
    references: list[float] = attrs.field(factory=list)
    interrupts: list[int] = attrs.field(factory=list)
    turns: list[int] = attrs.field(factory=list)


class _Responder:
    """The other thread, on its CPU as long as the context lasts."""

    def __init__(self) -> None:
        self.words = np.ones(PMD_BYTES // 8 // 64, dtype=np.int64)
        self.stop = np.zeros(1, dtype=np.int64)
        self.progress = np.zeros(1, dtype=np.int64)

    @contextmanager
    def on(self, cpu: int, remote: Remote) -> Iterator[None]:
        """Busy or asleep there, or not at all."""
        if remote is Remote.NONE:
            yield
            return
        self.stop[0] = self.progress[0] = 0
        awake = threading.Event()
        most = _MOST if remote is Remote.BUSY else _BEFORE_SLEEP

        def body() -> None:
            os.sched_setaffinity(0, {cpu})
            kernels.work_until(self.words, self.stop, self.progress, most)
            awake.wait()

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        try:
            end = time.monotonic() + _START_SECONDS
            while self.progress[0] < _BEFORE_SLEEP:
                if time.monotonic() > end:
                    raise CapabilityError(f"no thread gets to run on CPU {cpu}; free that CPU")
                time.sleep(0.0005)
            time.sleep(0.001)
            yield
        finally:
            self.stop[0] = 1
            awake.set()
            thread.join()


def _flipping(address: int, size: int) -> Callable[[int], int]:
    return lambda turns: int(kernels.flip_protection(address, size, turns))


def _dropping(address: int) -> Callable[[int], int]:
    memory = memoryview((ctypes.c_char * PAGE_BYTES).from_address(address))
    words = np.frombuffer(memory, dtype=np.int64)
    return lambda turns: int(kernels.drop_and_touch(words, address, turns))


@contextmanager
def _arms(skipped: list[str]) -> Iterator[list[_Arm]]:
    """All changes, each with memory of its own that nothing is merged with."""
    room = sum(pages + 1 for pages in (*RANGES, 1, 1)) * PAGE_BYTES
    base = linux.free_addresses(1 << 44, room)
    address = base
    arms = []
    try:
        for change, pages in (
            (Change.DROP, 1),
            (Change.NOTHING, 1),
            *((Change.PROTECT, pages) for pages in RANGES),
        ):
            size = pages * PAGE_BYTES
            linux.map_memory(address, size)
            linux.advise(address, size, linux.MADV_NOHUGEPAGE)
            if change is not Change.NOTHING:
                ctypes.memset(address, 1, size)
            run = _dropping(address) if change is Change.DROP else _flipping(address, size)
            arms.append(_Arm(change, pages, run))
            address += size + PAGE_BYTES
        with mapped(PMD_BYTES, [(0, PMD_BYTES, linux.MADV_HUGEPAGE)]) as (huge, _):
            if huge_bytes(huge, PMD_BYTES) == PMD_BYTES:
                arms.append(_Arm(Change.PROTECT_HUGE, PAGES_PER_PMD, _flipping(huge, PMD_BYTES)))
            else:
                skipped.append("protect-huge: no THP; enable THP with madvise and free memory")
            yield arms
    finally:
        linux.unmap(base, room)


def _time_round(
    arm: _Arm, found: _Found, responder: _Responder, cpu: int, remote: Remote, seconds: float
) -> None:
    """Some repetitions of one change beside one state of the other CPU."""
    end = time.perf_counter() + seconds
    with responder.on(cpu, remote):
        for _ in range(_MOST_REPETITIONS):
            before, turns = read_interrupts(cpu), int(responder.progress[0])
            begin = time.perf_counter_ns()
            failed = arm.run(_TURNS)
            done = time.perf_counter_ns()
            turns = int(responder.progress[0]) - turns
            after = read_interrupts(cpu)
            middle = time.perf_counter_ns()
            reference_loop(_REFERENCE_TURNS)
            found.references.append(float(time.perf_counter_ns() - middle))
            found.times.append(float(done - begin))
            if before is not None and after is not None:
                found.interrupts.append(after - before)
            if remote is Remote.BUSY:
                found.turns.append(turns)
            if failed:
                raise CapabilityError(
                    f"{failed} of the kernel's changes of mappings failed ({arm.change}); "
                    "free memory, or raise vm.max_map_count"
                )
            if time.perf_counter() > end:
                break


def _compile(responder: _Responder) -> None:
    words = np.zeros(PAGE_BYTES // 8, dtype=np.int64)
    kernels.work_until(words, responder.stop, responder.progress, 1)
    kernels.drop_and_touch(words, 0, 0)
    kernels.flip_protection(0, 0, 0)
    reference_loop(1)


def time_changes(change: Change, pages: int, remote: Remote, repetitions: int) -> float:
    """Seconds for so many times 25 changes of a kind beside one state of the other CPU.

    Raises
    ------
    CapabilityError
        If this process may not use two CPUs, or there is no such change here.
    """
    own, other = _two_cpus()
    responder = _Responder()
    _compile(responder)
    found = _Found()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {own})
    try:
        with _arms([]) as arms:
            chosen = [arm for arm in arms if (arm.change, arm.pages) == (change, pages)]
            if not chosen:
                raise CapabilityError(f"{change} of {pages} pages is not measured here")
            for _ in range(repetitions):
                _time_round(chosen[0], found, responder, other, remote, 0.0)
    finally:
        os.sched_setaffinity(0, allowed)
    return sum(found.times) / 1e9


def _two_cpus() -> list[int]:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise CapabilityError(
            "a shootdown takes two CPUs and this process may use one; give it another (taskset)"
        )
    return allowed[:2]


def measure_shootdown(
    *,
    seconds: float = DEFAULT_SECONDS,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ShootdownMeasurement:
    """Measure changes of mappings with no, a busy and an idle second thread.

    The three take short turns beside one another, change after change, in several rounds.

    Parameters
    ----------
    seconds : float
        About how long it may take in all.
    progress : callable
        Called with points done and in all.

    Raises
    ------
    CapabilityError
        If this process may not use two CPUs, or the kernel refuses.
    """
    own, other = _two_cpus()
    allowed = os.sched_getaffinity(0)
    responder = _Responder()
    _compile(responder)
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    skipped: list[str] = []
    if read_interrupts(other) is None:
        skipped.append("interrupts: the kernel does not count TLB interrupts in /proc/interrupts")
    table: dict[tuple[Change, int, Remote], _Found] = {}
    os.sched_setaffinity(0, {own})
    try:
        with _arms(skipped) as arms:
            total = _ROUNDS * len(arms) * len(Remote)
            for turn in range(_ROUNDS):
                for number, arm in enumerate(arms):
                    for place, remote in enumerate(Remote):
                        found = table.setdefault((arm.change, arm.pages, remote), _Found())
                        _time_round(arm, found, responder, other, remote, seconds / total)
                        done = (turn * len(arms) + number) * len(Remote) + place + 1
                        progress(done, total)
    except linux.LinuxCallError as error:
        raise CapabilityError(f"the kernel refuses: {error}") from None
    finally:
        os.sched_setaffinity(0, allowed)
    return ShootdownMeasurement(
        host=facts(),
        hypervisor=kvm_features(),
        started=started,
        points=tuple(
            ShootdownPoint(
                change=change,
                remote=remote,
                pages=pages,
                turns=_TURNS,
                repetitions_ns=tuple(found.times),
                reference_ns=tuple(found.references),
                interrupts=tuple(found.interrupts),
                responder_turns=tuple(found.turns),
            )
            for (change, pages, remote), found in table.items()
        ),
        skipped=tuple(skipped),
    )
