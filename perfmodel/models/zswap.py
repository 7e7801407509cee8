"""zswap as a model of its own: what it takes, rejects and writes back, and the memory it needs.

The engine counts a zswap without limits; this is what it can ask instead. The rules are those of
mm/zswap.c in Linux 6.18, with one node and one memory cgroup.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES
from perfmodel.kernels import zswap as kernels
from perfmodel.kernels.zsmalloc import NONE
from perfmodel.models.zsmalloc import (
    HANDLE_BYTES,
    ZSPAGE_DESCRIPTOR_BYTES,
    SizeClasses,
    enlarged,
    fresh_zspages,
)
from perfmodel.specs.zswap import ZswapPool

COUNTER_NAMES = (
    "zswpout",
    "zswpin",
    "zswpwb",
    "pool_limit_hit",
    "reject_compress_poor",
    "reject_compress_fail",
    "written_back_pages",
    "stored_pages",
    "stored_incompressible_pages",
)
# struct zswap_entry on a 64-bit machine; its tree's nodes are not counted.
ENTRY_BYTES = 56


@attrs.frozen
class StoreOutcome:
    """What became of a folio.

    Parameters
    ----------
    accepted : bool
        If not, it goes to the device, or stays in memory where writeback is off.
    written_back : tuple of int
        Slots whose pages the shrinker wrote to the device meanwhile, the coldest first.
    """

    accepted: bool
    written_back: tuple[int, ...] = ()


def fresh_zswap(
    classes: SizeClasses, slots: int, limits: npt.NDArray[np.int64], zspages: int = 0
) -> kernels.ZswapState:
    """State of an empty zswap, as the kernels take it.

    Parameters
    ----------
    classes : SizeClasses
    slots : int
    limits : int64 array, shape (N_LIMITS,)
    zspages : int
        Room for so many, of as many objects as a zspage can have; little, to be enlarged, without.
    """
    class_of_size = np.zeros(PAGE_BYTES + 1, dtype=np.int64)
    class_of_size[1:] = classes.index(np.arange(1, PAGE_BYTES + 1))
    zeros = np.zeros(slots, dtype=np.int64)
    return kernels.ZswapState(
        pool=fresh_zspages(classes, slots, zspages),
        class_of_size=class_of_size,
        limits=limits,
        marked=zeros.copy(),
        before=zeros + NONE,
        following=zeros + NONE,
        region_pages=zeros.copy(),
        ends=np.array([NONE, NONE], dtype=np.int64),
        log=zeros.copy(),
        counts=np.zeros(kernels.N_COUNTS, dtype=np.int64),
    )


class Zswap:
    """zswap in front of a device, with slots as numbers.

    Parameters
    ----------
    slots : int
        Slots are 0 to `slots` - 1.
    memory_bytes : int
        Memory of the machine, of which the pool may take a part.
    max_pool_percent, accept_threshold_percent : int
        As in /sys/module/zswap/parameters.
    writeback : bool
        memory.zswap.writeback of the cgroup.
    keeps_incompressible : bool
        Whether a page that does not compress is stored as it is (since Linux 6.18, where writeback
        is on) or rejected (before).
    scan_pages : int
        Entries that the shrinker looks at in one turn: 1 in Linux 6.18, 32 later.
    classes : SizeClasses, optional

    Examples
    --------
    >>> zswap = Zswap(slots=8, memory_bytes=20 * 4096)
    >>> zswap.store(0, [2000, 4096])
    StoreOutcome(accepted=True, written_back=())
    >>> zswap.bytes, zswap.counters()["stored_incompressible_pages"]
    (8192, 1)
    """

    def __init__(
        self,
        slots: int,
        memory_bytes: int,
        *,
        max_pool_percent: int = 20,
        accept_threshold_percent: int = 90,
        writeback: bool = True,
        keeps_incompressible: bool = True,
        scan_pages: int = 1,
        classes: SizeClasses | None = None,
    ) -> None:
        if not 0 <= max_pool_percent <= 100 or not 0 <= accept_threshold_percent <= 100:
            raise ValueError("percentages must be from 0 to 100")
        if scan_pages < 1:
            raise ValueError("scan_pages must be at least 1")
        self.classes = SizeClasses() if classes is None else classes
        if self.classes.unit_pages != 1:
            raise ValueError("zswap compresses single pages: unit_pages must be 1")
        self.slots = slots
        self.max_pages = memory_bytes // PAGE_BYTES * max_pool_percent // 100
        self.accept_pages = self.max_pages * accept_threshold_percent // 100
        limits = np.array(
            [self.max_pages, self.accept_pages, writeback, keeps_incompressible, scan_pages],
            dtype=np.int64,
        )
        self.state = fresh_zswap(self.classes, slots, limits)

    @classmethod
    def of(cls, spec: ZswapPool, slots: int, memory_bytes: int) -> Zswap:
        """Zswap with the limits of a device's preset."""
        return cls(
            slots,
            memory_bytes,
            max_pool_percent=spec.max_pool_percent,
            accept_threshold_percent=spec.accept_threshold_percent,
        )

    def store(self, first: int, sizes: Sequence[int], *, shrink: bool = True) -> StoreOutcome:
        """Store a folio, all of its pages or none.

        Parameters
        ----------
        first : int
            Slot of its first page; the others follow.
        sizes : sequence of int
            Compressed size of each page in bytes; 4096 and more is incompressible.
        shrink : bool
            Whether a queued shrinker runs at once, or waits for `shrink`.
        """
        compressed = np.array(sizes, dtype=np.int64)
        self._check(first, len(compressed))
        if compressed.size and compressed.min() < 1:
            raise ValueError("sizes must be at least 1 byte")
        while (done := kernels.store_folio(self.state, first, compressed)) == kernels.TOO_SMALL:
            self.state = self.state._replace(pool=enlarged(self.state.pool))
        written = self.shrink() if shrink and self.shrink_queued else ()
        return StoreOutcome(bool(done == kernels.STORED), written)

    def load(self, slot: int) -> bool:
        """Swap a page in: whether zswap had it; it has it no more."""
        self._check(slot, 1)
        return bool(kernels.load_page(self.state, slot))

    def free(self, first: int, pages: int = 1) -> None:
        """Free slots with what is stored behind them."""
        self._check(first, pages)
        kernels.free_pages(self.state, first, pages)

    def shrink(self) -> tuple[int, ...]:
        """Run the shrinker once; the slots that it wrote back, the coldest first."""
        written = int(kernels.run_shrinker(self.state))
        logged: npt.NDArray[np.int64] = self.state.log[:written]
        self.state.counts[kernels.WRITEBACK_LOGGED] = 0
        return tuple(int(slot) for slot in logged)

    def _check(self, first: int, pages: int) -> None:
        if not 0 <= first <= first + pages <= self.slots:
            raise ValueError(f"slots must be from 0 to {self.slots - 1}")

    @property
    def shrink_queued(self) -> bool:
        """Whether a rejection has asked for the shrinker."""
        return bool(self.state.counts[kernels.SHRINK_QUEUED])

    @property
    def pages(self) -> int:
        """Pages that the pool takes."""
        return int(self.state.pool.totals[0])

    @property
    def bytes(self) -> int:
        """Memory that the pool takes now: what a memory limit must leave room for."""
        return self.pages * PAGE_BYTES

    @property
    def stored_bytes(self) -> int:
        """Sum of the compressed sizes, which is what a memory cgroup is charged."""
        return int(self.state.pool.totals[4])

    @property
    def overhead_bytes(self) -> int:
        """Slab memory beside the pool: entries, handles and descriptors of zspages."""
        pool = self.state.pool
        entries = int(pool.totals[3])
        zspages = int((pool.class_allocated // pool.class_objects).sum())
        return (ENTRY_BYTES + HANDLE_BYTES) * entries + ZSPAGE_DESCRIPTOR_BYTES * zspages

    def counters(self) -> dict[str, int]:
        """The kernel's counters: of /proc/vmstat, then of /sys/kernel/debug/zswap."""
        counts = self.state.counts[: kernels.N_COUNTERS]
        return {name: int(count) for name, count in zip(COUNTER_NAMES, counts, strict=True)}

    def coldest_first(self) -> tuple[int, ...]:
        """Slots in the order of the LRU list."""
        found = []
        slot = int(self.state.ends[0])
        while slot != NONE:
            found.append(slot)
            slot = int(self.state.following[slot])
        return tuple(found)
