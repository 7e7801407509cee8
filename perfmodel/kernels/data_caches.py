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
def set_index(arrays, array, number):
    """Set of a number that is not negative. Allocates: no. Mutates: nothing."""
    mask = arrays[array, MASK]
    if mask >= 0:
        return number & mask
    return np.int64(np.uint64(number) % np.uint64(arrays[array, SETS]))


@inline_kernel
def _use(arrays, lines, array, line):
    first = arrays[array, OFFSET] + set_index(arrays, array, line) * arrays[array, STRIDE]
    tag = np.uint32(line >> arrays[array, TAG_SHIFT])
    return use_lru(lines, first, arrays[array, WAYS], tag)


@inline_kernel
def reference(arrays, lines, line):
    """Read one line; it is filled into every level that misses. 0 to 2, or DRAM: where it was.

    Allocates: no. Mutates: lines.
    """
    if _use(arrays, lines, CACHES, line):
        return 0
    if arrays[CACHES + 1, WAYS] > 0 and _use(arrays, lines, CACHES + 1, line):
        return 1
    if arrays[CACHES + 2, WAYS] > 0 and _use(arrays, lines, CACHES + 2, line):
        return 2
    return DRAM


@inline_kernel
def latency(parameters, arrays, where):
    """Picoseconds of a reference that ended there. Allocates: no. Mutates: nothing."""
    return parameters["dram_ps"] if where == DRAM else arrays[CACHES + where, LATENCY]
