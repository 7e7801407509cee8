"""The data caches, which hold data and page tables alike.

Physical addresses: the data of address space 0, 1, ... lie behind one another, then the page tables
level by level, within a level by address space, then the host's page tables. Tables of one level
and space are contiguous, in the order of what they map.
"""

import numpy as np

from perfmodel.kernels._jit import inline_kernel
from perfmodel.kernels.recency import use_lru
from perfmodel.kernels.translation_layout import (
    CACHES,
    COLUMNS,
    DRAM,
    LATENCY,
    MASK,
    MOST_CACHES,
    OFFSET,
    SETS,
    SHORT,
    STRIDE,
    TAG_SHIFT,
    WAYS,
)


@inline_kernel
def column(table, row, number):
    """One number of a row of `Mmu.arrays`, or of such a row elsewhere; `row` is where it begins.

    Allocates: no. Mutates: nothing.
    """
    return table[np.uint64(row + number)]


@inline_kernel
def set_begin(table, row, number):
    """Where the set of a number lies, by its array's row. Allocates: no. Mutates: nothing."""
    mask = column(table, row, MASK)
    index = number & mask
    if mask < 0:
        index = np.int64(np.uint64(number) % np.uint64(column(table, row, SETS)))
    return column(table, row, OFFSET) + index * column(table, row, STRIDE)


@inline_kernel
def use_line(mmu, cache, line):
    """Use a line in one cache. True on a hit.

    Allocates: no. Mutates: mmu.lines, mmu.short_lines.
    """
    arrays, row = mmu.arrays, (CACHES + cache) * COLUMNS
    tag = line >> column(arrays, row, TAG_SHIFT)
    first, ways = set_begin(arrays, row, line), column(arrays, row, WAYS)
    if column(arrays, row, SHORT) > 0:
        return use_lru(mmu.short_lines, first, ways, np.uint16(tag))
    return use_lru(mmu.lines, first, ways, np.uint32(tag))


@inline_kernel
def has_cache(arrays, cache):
    """Whether there is such a level. Allocates: no. Mutates: nothing."""
    return column(arrays, (CACHES + cache) * COLUMNS, WAYS) > 0


@inline_kernel
def reference(mmu, line):
    """Read one line; it is filled into every level that misses. 0 to 2, or DRAM: where it was.

    Allocates: no. Mutates: mmu.lines, mmu.short_lines.
    """
    for cache in range(MOST_CACHES):
        if has_cache(mmu.arrays, cache) and use_line(mmu, cache, line):
            return cache
    return np.int64(DRAM)


@inline_kernel
def latency(arrays, where):
    """Picoseconds of a reference that ended there. Allocates: no. Mutates: nothing."""
    return column(arrays, (CACHES + where) * COLUMNS, LATENCY)
