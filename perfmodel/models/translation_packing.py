"""From `specs.translation.Translation` to the tables and empty state that the kernels work on."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PICOSECONDS_PER_NANOSECOND
from perfmodel.kernels import translation_layout as layout
from perfmodel.kernels._lanes import lanes_in_block
from perfmodel.kernels.recency import FREE
from perfmodel.kernels.translation_layout import Kind, Mmu
from perfmodel.specs.quantity import Quantity
from perfmodel.specs.translation import (
    Accesses,
    PageSize,
    Replacement,
    Tlb,
    Translation,
)

Lane = TypeVar("Lane", np.int64, np.uint32, np.uint16)

_BLOCK_BYTES = 64
_FREE_SHORT_TAG = (1 << 16) - 1
_ORDERS = {
    Kind.SMALL: 0,
    Kind.SMALL_CONTIGUOUS: 0,
    Kind.CONTIGUOUS_16K: 2,
    Kind.CONTIGUOUS_64K: 4,
    Kind.HUGE_2M: 9,
    Kind.HUGE_1G: 18,
}
_SIZES = {
    Kind.SMALL: PageSize.SIZE_4K,
    Kind.SMALL_CONTIGUOUS: PageSize.SIZE_4K,
    Kind.CONTIGUOUS_16K: PageSize.SIZE_16K,
    Kind.CONTIGUOUS_64K: PageSize.SIZE_64K,
    Kind.HUGE_2M: PageSize.SIZE_2M,
    Kind.HUGE_1G: PageSize.SIZE_1G,
}
# Orders of the physically contiguous, aligned runs of 4 KiB pages that a region consists of.
_RUNS = {
    Kind.SMALL: 0,
    Kind.SMALL_CONTIGUOUS: 9,
    Kind.CONTIGUOUS_16K: 2,
    Kind.CONTIGUOUS_64K: 4,
}
_HOST_LEAVES = {None: 0, PageSize.SIZE_4K: 1, PageSize.SIZE_2M: 2}


def _whole(quantity: Quantity) -> int:
    return int(quantity.value)


def picoseconds(quantity: Quantity) -> int:
    """A time of the specs, rounded to whole picoseconds."""
    return round(quantity.value * PICOSECONDS_PER_NANOSECOND)


def _blocks(count: int, dtype: type[Lane]) -> npt.NDArray[Lane]:
    """Free lanes whose first one is aligned to a block."""
    size = np.dtype(dtype).itemsize
    lanes = np.zeros(count + _BLOCK_BYTES // size, dtype=dtype)
    begin = -lanes.ctypes.data % _BLOCK_BYTES // size
    aligned = lanes[begin : begin + count]
    aligned[:] = np.array(FREE).astype(dtype)
    return aligned


class _Layout:
    """Lays arrays behind one another, each set in whole blocks."""

    def __init__(self) -> None:
        self.arrays = np.zeros((layout.N_ARRAYS, layout.COLUMNS), dtype=np.int64)
        self.used = {8: 0, 4: 0, 2: 0}

    def add(self, array: int, entries: int, ways: int, itemsize: int, tree: bool = False) -> None:
        lanes = lanes_in_block(itemsize)
        stride = -(-ways // lanes) * lanes
        sets = entries // ways
        row = self.arrays[array]
        row[layout.OFFSET] = self.used[itemsize]
        row[layout.SETS] = sets
        row[layout.WAYS] = ways
        row[layout.MASK] = -1 if sets & (sets - 1) else sets - 1
        row[layout.TREE] = stride if tree else 0
        row[layout.STRIDE] = stride + lanes if tree else stride
        row[layout.TAG_SHIFT] = (sets & -sets).bit_length() - 1
        self.used[itemsize] += int(row[layout.STRIDE]) * sets

    def add_tlbs(self, tlbs: tuple[Tlb, ...]) -> None:
        for index, tlb in enumerate(tlbs):
            ways = _whole(tlb.ways)
            tree = tlb.replacement is Replacement.TREE_PLRU
            self.add(index, _whole(tlb.entries), ways, 8, tree)


def _lay_out(translation: Translation, lines: int) -> _Layout:
    arrays = _Layout()
    arrays.add_tlbs(translation.tlbs)
    walk = translation.walk
    for cache in walk.caches:
        for first in (layout.GUEST_WALK_CACHES, layout.HOST_WALK_CACHES):
            arrays.add(first + cache.level, _whole(cache.entries), _whole(cache.ways), 8)
    arrays.add(layout.NESTED_CACHE, _whole(walk.nested_entries), _whole(walk.nested_ways), 8)
    for index, data in enumerate(translation.caches):
        array, ways = layout.CACHES + index, _whole(data.ways)
        entries = _whole(data.size_bytes) // _BLOCK_BYTES
        arrays.add(array, entries, ways, 4)
        row = arrays.arrays[array]
        tags = lines >> int(row[layout.TAG_SHIFT])
        if tags >= 1 << 31:
            raise ValueError(f"too much memory for a cache of {row[layout.SETS]} sets")
        if tags < _FREE_SHORT_TAG:
            arrays.used[4] = int(row[layout.OFFSET])
            arrays.add(array, entries, ways, 2)
            row[layout.SHORT] = 1
        row[layout.LATENCY] = picoseconds(data.latency_ns)
    arrays.arrays[layout.MEMORY, layout.LATENCY] = picoseconds(translation.dram_ns)
    return arrays


def _translated(kind: Kind, host: PageSize | None) -> Kind:
    """The most that one entry may translate: no more than the guest's and the host's pages do."""
    if host is PageSize.SIZE_4K:
        return Kind.SMALL
    if host is PageSize.SIZE_2M and kind == Kind.HUGE_1G:
        return Kind.HUGE_2M
    return kind


def _paths(
    tlbs: tuple[Tlb, ...], host: PageSize | None, arrays: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    paths = np.zeros((4 * layout.N_KINDS, layout.PATH_COLUMNS), dtype=np.int64)
    for level in (1, 2):
        for store, accesses in enumerate((Accesses.LOADS, Accesses.STORES)):
            serving = [
                index
                for index, tlb in enumerate(tlbs)
                if tlb.level == level and tlb.accesses in (Accesses.ALL, accesses)
            ]
            for mapped in Kind:
                kind = _translated(mapped, host)
                order = _ORDERS[kind]
                held = [index for index in serving if _SIZES[kind] in tlbs[index].page_sizes]
                if not held and kind in (Kind.CONTIGUOUS_16K, Kind.CONTIGUOUS_64K):
                    order = 0
                    held = [
                        index for index in serving if PageSize.SIZE_4K in tlbs[index].page_sizes
                    ]
                if order == 0:
                    # The spec sees to it that all of them coalesce alike.
                    coalesced = tlbs[held[0]].coalesced_pages
                    order = min(coalesced.bit_length() - 1, _RUNS[kind])
                row = paths[12 * (level - 1) + 6 * store + mapped]
                row[layout.ORDER] = order
                row[layout.HELD] = max(len(held), 1)
                for place, index in enumerate(held):
                    begin = layout.CHOICES + place * layout.COLUMNS
                    row[begin : begin + layout.COLUMNS] = arrays[index]
                    row[begin + layout.ARRAY] = index
    return paths


def _tables(
    levels: int, spaces: int, first_region: int, regions: int
) -> tuple[npt.NDArray[np.int64], int]:
    """Where the page tables lie behind the data, and how many lines there are in all."""
    tables = np.zeros((2 * layout.MOST_LEVELS + 1, layout.TABLE_COLUMNS), dtype=np.int64)
    begin = spaces * regions * layout.LINES_PER_REGION
    first_page, last_page = first_region << 9, ((first_region + regions) << 9) - 1
    for level in range(1, levels + 1):
        first, last = (page >> (layout.TABLE_SHIFT * level) for page in (first_page, last_page))
        lines = (last - first + 1) * layout.LINES_PER_TABLE
        tables[level] = begin - first * layout.LINES_PER_TABLE, lines
        begin += spaces * lines
    last_page = (begin - 1) >> layout.LINES_PER_PAGE_SHIFT
    for level in range(1, levels + 1):
        lines = ((last_page >> (layout.TABLE_SHIFT * level)) + 1) * layout.LINES_PER_TABLE
        tables[layout.MOST_LEVELS + level] = begin, lines
        begin += lines
    return tables, begin


def pack_tlbs(
    translation: Translation, cpus: int = 1
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The TLBs alone, for the engine: `Mmu.arrays`, `Mmu.paths`, and `Mmu.entries` of each CPU."""
    arrays = _Layout()
    arrays.add_tlbs(translation.tlbs)
    paths = _paths(translation.tlbs, None, arrays.arrays)
    entries = _blocks(cpus * arrays.used[8], np.int64).reshape(cpus, arrays.used[8])
    return arrays.arrays.reshape(-1), paths.reshape(-1), entries


def pack(
    translation: Translation,
    kinds: npt.NDArray[np.uint8],
    first_region: int,
    overlap: int,
    host_page_size: PageSize | None,
) -> Mmu:
    """Tables and empty state of one CPU.

    Parameters
    ----------
    translation : Translation
    kinds : uint8 array, shape (address spaces, regions)
    first_region : int
    overlap : int
        Accesses outstanding at the same time.
    host_page_size : PageSize, optional

    Returns
    -------
    Mmu
    """
    if host_page_size not in _HOST_LEAVES:
        raise ValueError("host_page_size must be 4k, 2m or None")
    if overlap < 1:
        raise ValueError("overlap must be at least 1")
    spaces, regions = kinds.shape
    levels = translation.walk.levels
    if (first_region + regions) << layout.REGION_SHIFT > 1 << (12 + 9 * levels):
        raise ValueError(f"addresses must be below 2^{12 + 9 * levels} with {levels} levels")
    tables, lines = _tables(levels, spaces, first_region, regions)
    arrays = _lay_out(translation, lines)
    parameters = np.zeros(1, dtype=layout.PARAMETERS)
    values = {
        "levels": levels,
        "host_leaf": _HOST_LEAVES[host_page_size],
        "walkers": _whole(translation.walk.walkers),
        "overlap": overlap,
        "stlb_hit_ps": picoseconds(translation.stlb_hit_ns),
        "first_region": first_region,
        "regions": regions,
    }
    for name, value in values.items():
        parameters[name] = value
    return Mmu(
        parameters=parameters[0],
        arrays=arrays.arrays.reshape(-1),
        paths=_paths(translation.tlbs, host_page_size, arrays.arrays).reshape(-1),
        tables=tables.reshape(-1),
        kinds=kinds.reshape(-1).copy(),
        entries=_blocks(arrays.used[8], np.int64),
        lines=_blocks(arrays.used[4], np.uint32),
        short_lines=_blocks(arrays.used[2], np.uint16),
        counts=np.zeros(layout.N_COUNT_CELLS, dtype=np.int64),
        clock=np.zeros(layout.COMPLETED + overlap, dtype=np.int64),
        scratch=np.zeros(layout.SCRATCH_CELLS, dtype=np.int64),
    )
