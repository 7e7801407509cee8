"""What an order-9 page costs on a machine whose memory other programs have used for a while."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD, PMD_ORDER
from perfmodel.kernels import ageing, buddy
from perfmodel.kernels.buddy import Cell, Frames
from perfmodel.kernels.compaction import Effort, allocate_trying
from perfmodel.specs.machine import KernelCosts
from perfmodel.specs.memory import Defrag, PhysicalMemory

Integers = npt.NDArray[np.int64]
_MIGRATE_TYPES = 3  # of those on per-CPU lists
_SCALE_FACTOR = 10  # vm.watermark_scale_factor, of 10,000


@attrs.frozen
class Watermarks:
    """Free pages below which kswapd wakes (low), up to which it works (high), and the reserve."""

    minimum: int
    low: int
    high: int


def watermarks(
    pages: int, min_free_kbytes: int = 0, scale_factor: int = _SCALE_FACTOR
) -> Watermarks:
    """Watermarks of a machine that has one zone, with THP enabled.

    The square root rule of vm.min_free_kbytes, raised to what khugepaged wants with THP on: two
    pageblocks, and one for each pair of migrate types, but no more than a twentieth of memory.

    Parameters
    ----------
    pages : int
    min_free_kbytes : int
        What somebody has written to vm.min_free_kbytes, in the place of the rule; 0 for nothing.
    scale_factor : int
        vm.watermark_scale_factor, ten-thousandths of memory.

    Sources
    -------
    Linux 6.18: calculate_min_free_kbytes and __setup_per_zone_wmarks in mm/page_alloc.c,
    set_recommended_min_free_kbytes in mm/khugepaged.c.
    """
    kib = pages * PAGE_BYTES // 1024
    by_size = min(max(isqrt(16 * kib), 128), 262144) * 1024 // PAGE_BYTES
    by_thp = min(PAGES_PER_PMD * (2 + _MIGRATE_TYPES**2), pages // 20)
    minimum = max(by_size, by_thp)
    if min_free_kbytes:
        minimum = min_free_kbytes * 1024 // PAGE_BYTES
    gap = max(minimum // 4, pages * scale_factor // 10_000)
    return Watermarks(minimum, minimum + gap, minimum + 2 * gap)


def effort(defrag: Defrag, *, madvised: bool) -> Effort:
    """How hard a THP fault, or the swap-in of a large anonymous folio, tries for its pages.

    Both take their flags from the same function (vma_thp_gfp_mask). `defer` wakes a daemon, which
    is not simulated, and itself does not compact.

    Parameters
    ----------
    defrag : Defrag
    madvised : bool
        Whether the range is MADV_HUGEPAGE.
    """
    if defrag is Defrag.ALWAYS:
        return Effort.FULL if madvised else Effort.NO_RETRY
    asks = defrag in (Defrag.MADVISE, Defrag.DEFER_MADVISE)
    return Effort.FULL if asks and madvised else Effort.LIGHT


def wakes_kswapd(defrag: Defrag, *, madvised: bool) -> bool:
    """Whether a THP fault that finds no page wakes kswapd, and with it kcompactd."""
    return defrag is Defrag.DEFER or (defrag is Defrag.DEFER_MADVISE and not madvised)


def aged_frames(memory: PhysicalMemory, *, seed: int = 0, owners: int = 0) -> Frames:
    """The page frames of a machine as other programs left them.

    Parameters
    ----------
    memory : PhysicalMemory
    seed : int
    owners : int
        More owners than the other programs need; these are the last ones of `frame_of`.

    Returns
    -------
    Frames
        State of the allocator's kernels. Where `used_share` goes below the minimum watermark, the
        programs hold less.
    """
    frames = memory.size_bytes // PAGE_BYTES
    used = int(memory.used_share * frames)
    marks = watermarks(frames, memory.min_free_kbytes, memory.watermark_scale_factor)
    record = np.zeros(1, dtype=buddy.PARAMETERS)[0]
    given = {
        "frames": frames,
        "minimum": marks.minimum,
        "low": marks.low,
        "high": marks.high,
        "extfrag_threshold": memory.extfrag_threshold,
        "seed": seed,
        "used": used,
        "unmovable_threshold": round(memory.unmovable_share * (1 << 32)),
        "turnover": int(memory.turnover_share * used),
        "largest_run": memory.largest_run_order,
        "remnant_threshold": round(memory.remnant_share * (1 << 32)),
        "rounds": memory.age_rounds,
    }
    for name, value in given.items():
        record[name] = value
    # Zeros that nobody touches take no memory.
    f = Frames(
        record,
        np.zeros(buddy.STATE_CELLS, dtype=np.int64),
        np.zeros(frames, dtype=np.int8),
        np.zeros(frames, dtype=np.int32),
        np.zeros(frames, dtype=np.int32),
        np.zeros(frames // PAGES_PER_PMD, dtype=np.int8),
        np.zeros(used + owners, dtype=np.int32),
    )
    buddy.prepare(f)
    ageing.age(f, np.zeros(used, dtype=np.int32), np.zeros(used, dtype=np.int32))
    return f


def free_blocks(f: Frames) -> Integers:
    """Free blocks of each order from 0 to 10, as /proc/buddyinfo has them."""
    lengths: Integers = f.state[Cell.LENGTHS :][: 2 * buddy.N_ORDERS]
    both: Integers = lengths.reshape(2, buddy.N_ORDERS).sum(axis=0)
    return both


def extfrag_index(blocks: npt.ArrayLike, order: int) -> float:
    """Fragmentation index: why an allocation would fail.

    Parameters
    ----------
    blocks : integer array, shape (orders,)
        Free blocks of each order.
    order : int

    Returns
    -------
    float
        -1 where it would not fail, near 0 for want of memory, near 1 for fragmentation.
    """
    counts = np.asarray(blocks, dtype=np.int64)
    total = int(counts.sum())
    if not total:
        return 0.0
    if counts[order:].any():
        return -1.0
    pages = int((counts << np.arange(counts.size)).sum())
    return (1000 - (1000 + pages * 1000 // (1 << order)) // total) / 1000


def unusable_index(blocks: npt.ArrayLike, order: int) -> float:
    """Unusable free space index: the share of free memory in blocks smaller than an order.

    Parameters
    ----------
    blocks : integer array, shape (orders,)
        Free blocks of each order.
    order : int
    """
    counts = np.asarray(blocks, dtype=np.int64)
    pages = counts << np.arange(counts.size)
    free = int(pages.sum())
    return int(pages[:order].sum()) * 1000 // free / 1000 if free else 1.0


@attrs.frozen(eq=False)
class Fragmentation:
    """Order-9 requests one after the other, each keeping what it gets.

    Parameters
    ----------
    free_blocks : int64 array, shape (seeds, 11)
        Of each order before the first request.
    granted, compacted : bool array, shape (seeds, requests)
        Whether there was a page in the end; whether the free lists had none.
    scanned, migrated : int64 array, shape (seeds, requests), pages
        Looked at by both scanners; moved.
    cost_ns : float64 array, shape (seeds, requests)
        Of the compaction; without it an allocation costs what `thp_allocation_ns` says.
    """

    free_blocks: Integers
    granted: npt.NDArray[np.bool_]
    compacted: npt.NDArray[np.bool_]
    scanned: Integers
    migrated: Integers
    cost_ns: npt.NDArray[np.float64]

    @property
    def chance(self) -> float:
        """Share of the requests that got a page."""
        return float(self.granted.mean())

    @property
    def direct_chance(self) -> float:
        """Share of the requests that got a page off the free lists."""
        return float((self.granted & ~self.compacted).mean())

    @property
    def unusable(self) -> npt.NDArray[np.float64]:
        """Unusable free space index for order 9, shape (seeds,)."""
        return np.array([unusable_index(blocks, PMD_ORDER) for blocks in self.free_blocks])


_SCANNED = [Cell.COMPACT_MIGRATE_SCANNED, Cell.COMPACT_FREE_SCANNED]


def fragmentation(
    memory: PhysicalMemory,
    costs: KernelCosts,
    *,
    seeds: Sequence[int] = range(8),
    requests: int = 64,
    madvised: bool = True,
) -> Fragmentation:
    """Chance of an order-9 page on an aged machine, and what compaction does for it.

    Nothing is reclaimed between the requests, and no daemon compacts: this is what a fault can do
    by itself.

    Parameters
    ----------
    memory : PhysicalMemory
    costs : KernelCosts
        Prices of a scanned and of a migrated page.
    seeds : sequence of int
        One machine for each.
    requests : int
        Order-9 pages asked for, one after the other.
    madvised : bool
        Whether the requests come from MADV_HUGEPAGE ranges, see `effort`.

    Returns
    -------
    Fragmentation
    """
    hard = int(effort(memory.defrag, madvised=madvised))
    shape = len(seeds), requests
    granted = np.zeros(shape, dtype=np.bool_)
    compacted = np.zeros(shape, dtype=np.bool_)
    scanned = np.zeros(shape, dtype=np.int64)
    migrated = np.zeros(shape, dtype=np.int64)
    blocks = np.zeros((len(seeds), buddy.N_ORDERS), dtype=np.int64)
    for row, seed in enumerate(seeds):
        f = aged_frames(memory, seed=seed, owners=requests)
        blocks[row] = free_blocks(f)
        owner = f.frame_of.size - requests
        for request in range(requests):
            before = f.state.copy()
            compacted[row, request] = not free_blocks(f)[PMD_ORDER:].any()
            frame = allocate_trying(f, PMD_ORDER, owner + request, 1, hard)
            granted[row, request] = frame >= 0
            done = f.state - before
            scanned[row, request] = done[_SCANNED].sum()
            migrated[row, request] = done[Cell.PGMIGRATE_SUCCESS]
    cost_ns = scanned * costs.compact_scan_page_ns.value + migrated * costs.migrate_page_ns.value
    return Fragmentation(blocks, granted, compacted, scanned, migrated, cost_ns)
