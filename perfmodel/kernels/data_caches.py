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
    DRAM,
    LATENCY,
    MASK,
    OFFSET,
    SETS,
    STRIDE,
    TAG_SHIFT,
    WAYS,
)


@inline_kernel
def set_begin(row, number):
    """Where the set of a number lies, by its array's row. Allocates: no. Mutates: nothing."""
    mask = row[MASK]
    if mask >= 0:
        return row[OFFSET] + (number & mask) * row[STRIDE]
    return row[OFFSET] + np.int64(np.uint64(number) % np.uint64(row[SETS])) * row[STRIDE]


@inline_kernel
def use_line(row, lines, line):
    """Use a line in one cache. True on a hit. Allocates: no. Mutates: lines."""
    tag = np.uint32(line >> row[TAG_SHIFT])
    return use_lru(lines, set_begin(row, line), row[WAYS], tag)


@inline_kernel
def reference(arrays, lines, line):
    """Read one line; it is filled into every level that misses. 0 to 2, or DRAM: where it was.

    Allocates: no. Mutates: lines.
    """
    if use_line(arrays[CACHES], lines, line):
        return np.int64(0)
    if arrays[CACHES + 1, WAYS] > 0 and use_line(arrays[CACHES + 1], lines, line):
        return np.int64(1)
    if arrays[CACHES + 2, WAYS] == 0:
        return np.int64(DRAM)
    return DRAM - np.int64(use_line(arrays[CACHES + 2], lines, line))


@inline_kernel
def latency(arrays, where):
    """Picoseconds of a reference that ended there. Allocates: no. Mutates: nothing."""
    return arrays[np.uint64(CACHES + where), LATENCY]
