"""Reads and writes a zram device of our own directly: what a codec takes, and what zram keeps.

No page fault and no swap slot stands between: the time of a request differs by content only in what
zram itself does.
"""

from __future__ import annotations

import datetime
import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES, PMD_BYTES
from perfmodel.host import facts
from perfmodel.measure.blockdevice import FIRST_BYTE, BlockDevice
from perfmodel.measure.content import make_content
from perfmodel.measure.system import write_setting
from perfmodel.results.zram import AgingStep, ContentTiming, ObservedClass, ZramMeasurement
from perfmodel.specs.catalog import load_device
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.scenario import PageContent

_BLKDISCARD = 0x1277
_RANDOM_SEED = 20261123
_WARM_UPS = 2


class MmStat(NamedTuple):
    """/sys/block/zramN/mm_stat: bytes, then pages."""

    orig_data_size: int
    compr_data_size: int
    mem_used_total: int
    mem_limit: int
    mem_used_max: int
    same_pages: int
    pages_compacted: int
    huge_pages: int
    huge_pages_since: int


class ZramProbe:
    """A zram device that nobody swaps to, as a context; it is gone at the end.

    Parameters
    ----------
    device : SwapDevice
        Its algorithm is what counts.
    pages : int
        Pages that will be written to.
    report : callable
        Gets a line for each thing worth telling.
    """

    def __init__(
        self, device: SwapDevice, pages: int, *, report: Callable[[str], None] = lambda _: None
    ) -> None:
        self._block = BlockDevice(device, -(-pages * PAGE_BYTES // PMD_BYTES), report=report)
        self._buffer = mmap.mmap(-1, PMD_BYTES)
        self.pages = pages
        self.page = np.frombuffer(self._buffer, dtype=np.uint8)

    def __enter__(self) -> Self:
        self._block.__enter__()
        self._folder = self._block.folder
        self._descriptor = self._block.descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._block.__exit__(kind, error, trace)

    def statistics(self) -> MmStat:
        """What zram says of its memory."""
        return MmStat(*map(int, (self._folder / "mm_stat").read_text().split()))

    def write(self, first_page: int, content: npt.NDArray[np.uint8]) -> int:
        """Write at most 512 pages in one request; nanoseconds."""
        size = content.nbytes
        self.page[:size] = content.reshape(-1).view(np.uint8)
        return self.write_again(first_page, size)

    def write_again(self, first_page: int, size: int) -> int:
        """Write what the buffer holds; nanoseconds."""
        view = memoryview(self._buffer)[:size]
        start = time.perf_counter_ns()
        written = os.pwritev(self._descriptor, [view], FIRST_BYTE + first_page * PAGE_BYTES)
        elapsed = time.perf_counter_ns() - start
        view.release()
        assert written == size, "zram takes a request whole"
        return elapsed

    def read(self, first_page: int, size: int) -> int:
        """Read into the buffer; nanoseconds."""
        view = memoryview(self._buffer)[:size]
        start = time.perf_counter_ns()
        count = os.preadv(self._descriptor, [view], FIRST_BYTE + first_page * PAGE_BYTES)
        elapsed = time.perf_counter_ns() - start
        view.release()
        assert count == size, "zram answers a request whole"
        return elapsed

    def discard(self, first_page: int, pages: int) -> int:
        """Free pages; nanoseconds."""
        span = struct.pack("QQ", FIRST_BYTE + first_page * PAGE_BYTES, pages * PAGE_BYTES)
        start = time.perf_counter_ns()
        fcntl.ioctl(self._descriptor, _BLKDISCARD, span)
        return time.perf_counter_ns() - start

    def compact(self) -> None:
        """Have zsmalloc compact all its classes."""
        write_setting(self._folder / "compact", "1")


def time_contents(
    probe: ZramProbe, contents: dict[str, npt.NDArray[np.uint8]], repetitions: int
) -> list[ContentTiming]:
    """Time writing, reading and freeing of each content, the contents in turns.

    Each repetition fills all pages of the probe and reads them again, request by request, so that
    what it reads has left the CPU's own caches; all are freed before the next.

    Parameters
    ----------
    probe : ZramProbe
    contents : dict
        Name to the pages of one request, at most 512 of them; uint8, shape (pages, 4096).
    repetitions : int
        Counted ones; two more warm up.
    """
    times: dict[str, tuple[list[float], ...]] = {name: ([], [], []) for name in contents}
    memory = {}
    for turn in range(_WARM_UPS + repetitions):
        for name, content in contents.items():
            firsts = range(0, probe.pages - len(content) + 1, len(content))
            probe.write(0, content)
            written = [probe.write_again(first, content.nbytes) for first in firsts]
            memory[name] = probe.statistics()
            read = [probe.read(first, content.nbytes) for first in firsts]
            freed = [probe.discard(first, len(content)) for first in firsts]
            if turn >= _WARM_UPS:
                for kept, found in zip(times[name], (written, read, freed), strict=True):
                    kept.append(sum(found) / (len(firsts) * len(content)))
    return [
        ContentTiming(
            content=name,
            write_ns=tuple(times[name][0]),
            read_ns=tuple(times[name][1]),
            discard_ns=tuple(times[name][2]),
            mm_stat=tuple(memory[name]),
        )
        for name in contents
    ]


def prefix_page(length: int) -> npt.NDArray[np.uint8]:
    """A page of so many random bytes and zeros behind them: it compresses to a little more."""
    generator = np.random.Generator(np.random.Philox(_RANDOM_SEED))
    page = np.zeros(PAGE_BYTES, dtype=np.uint8)
    # No byte is 0, so that the length is what it says.
    page[:length] = generator.integers(1, 256, PAGE_BYTES, dtype=np.uint8)[:length]
    return page


def observe_classes(probe: ZramProbe) -> tuple[ObservedClass, ...]:
    """Form of a zspage for each compressed size that pages can be made to have.

    Writes pages of one size until a second zspage is taken.
    """
    found: dict[int, tuple[int, int]] = {}
    for length in range(1, PAGE_BYTES + 1):
        before = probe.statistics()
        probe.write(0, prefix_page(length))
        after = probe.statistics()
        size = after.compr_data_size - before.compr_data_size
        written = 1
        if size not in found:
            while probe.statistics().mem_used_total == after.mem_used_total:
                probe.write_again(written, PAGE_BYTES)
                written += 1
            taken = after.mem_used_total - before.mem_used_total
            found[size] = (taken // PAGE_BYTES, written - 1)
        probe.discard(0, written)
    return tuple(
        ObservedClass(
            sizes=tuple(size for size in sorted(found) if found[size] == form),
            pages=form[0],
            objects=form[1],
        )
        for form in sorted(set(found.values()))
    )


_AGING = ("store", "free", "store", "compact", "free", "compact", "store", "free", "compact")


def age(probe: ZramProbe, slots: int, batch: int, seed: int) -> tuple[AgingStep, ...]:
    """Write pages of random compressibility over free and used ones, free some, compact.

    Parameters
    ----------
    probe : ZramProbe
        Empty; emptied again at the end.
    slots : int
        Pages of the device that are used.
    batch : int
        Pages that are written or freed in each step.
    seed : int
    """
    generator = np.random.Generator(np.random.Philox(seed))
    sizes = np.zeros(slots, dtype=np.int64)
    steps = []
    for action in _AGING:
        chosen = generator.integers(0, slots, batch if action != "compact" else 0)
        stored, pages = [], []
        for slot in chosen:
            if action == "store":
                before = probe.statistics().compr_data_size
                probe.write(int(slot), prefix_page(int(generator.integers(1, PAGE_BYTES + 1))))
                sizes[slot] += probe.statistics().compr_data_size - before
                stored.append(int(sizes[slot]))
            else:
                probe.discard(int(slot), 1)
                sizes[slot] = 0
            pages.append(probe.statistics().mem_used_total // PAGE_BYTES)
        if action == "compact":
            probe.compact()
            pages.append(probe.statistics().mem_used_total // PAGE_BYTES)
        steps.append(
            AgingStep(
                action=action,
                slots=tuple(map(int, chosen)),
                sizes=tuple(stored),
                pages=tuple(pages),
            )
        )
    probe.discard(0, slots)
    return tuple(steps)


_CONTENTS = tuple(c for c in PageContent if c is not PageContent.ONE_NON_ZERO)
_TIMED_PAGES = (64 << 20) // PAGE_BYTES
_REQUEST_PAGES = 256


def measure_codec(
    algorithm: str,
    *,
    seconds: float,
    report: Callable[[str], None] = lambda _: None,
) -> ZramMeasurement:
    """Time the contents alone, as often as the time allows.

    Parameters
    ----------
    algorithm : str
        As /sys/block/zram0/comp_algorithm names it.
    seconds : float
        About how long it may take.
    report : callable
        Gets a line for each thing worth telling.
    """
    return _measure(algorithm, report, lambda probe: _time_for(probe, seconds))


def _time_for(probe: ZramProbe, seconds: float) -> _Parts:
    contents = _contents()
    start = time.perf_counter()
    time_contents(probe, contents, 1)
    turns = (time.perf_counter() - start) / (1 + _WARM_UPS)
    timings = time_contents(probe, contents, max(3, int(seconds / turns) - 2 * _WARM_UPS))
    return tuple(timings), (), ()


def measure_zram(
    algorithm: str,
    *,
    repetitions: int = 15,
    seed: int = 1,
    report: Callable[[str], None] = lambda _: None,
) -> ZramMeasurement:
    """Time the contents over 64 MiB, and see how zram's memory goes.

    The caller sees to it that nothing else runs; it is pinned to one CPU meanwhile.

    Parameters
    ----------
    algorithm : str
        As /sys/block/zram0/comp_algorithm names it.
    repetitions : int
    seed : int
    report : callable
        Gets a line for each thing worth telling.
    """
    return _measure(
        algorithm,
        report,
        lambda probe: (
            tuple(time_contents(probe, _contents(), repetitions)),
            observe_classes(probe),
            age(probe, slots=600, batch=350, seed=seed),
        ),
    )


_Parts = tuple[tuple[ContentTiming, ...], tuple[ObservedClass, ...], tuple[AgingStep, ...]]


def _contents() -> dict[str, npt.NDArray[np.uint8]]:
    """The pages of one request, by content."""
    return {
        content.value: make_content(content).view(np.uint8).reshape(-1, PAGE_BYTES)[:_REQUEST_PAGES]
        for content in _CONTENTS
    }


def _measure(
    algorithm: str, report: Callable[[str], None], look: Callable[[ZramProbe], _Parts]
) -> ZramMeasurement:
    """Have a probe looked at, pinned to one CPU."""
    device = attrs.evolve(load_device("zram-lz4"), name=f"zram-{algorithm}", algorithm=algorithm)
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cpus)})
    try:
        with ZramProbe(device, _TIMED_PAGES, report=report) as probe:
            started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            timings, classes, aging = look(probe)
            return ZramMeasurement(
                host=facts(),
                started=started,
                algorithm=algorithm,
                pages=_TIMED_PAGES,
                timings=timings,
                classes=classes,
                aging=aging,
            )
    finally:
        os.sched_setaffinity(0, cpus)
