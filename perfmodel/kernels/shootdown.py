"""Changes of mappings in a tight loop, and what another CPU gets done in the meantime.

The calls go from compiled code straight into the C library: no interpreter between two of them.
"""

import numpy as np

from perfmodel.constants import PAGE_BYTES
from perfmodel.kernels._jit import kernel, memory_call

_madvise = memory_call("madvise")
_mprotect = memory_call("mprotect")
_DONTNEED = 4
_READ = 1
_READ_WRITE = 3
_STEPS = 4


@kernel
def drop_and_touch(words, address, turns):
    """Write to a page and drop it (MADV_DONTNEED), so many times; calls that failed.

    `words` stands at `address`. Each turn is a page fault and, for one page, a flush.
    Allocates: no. Mutates: words.
    """
    failed = 0
    for turn in range(turns):
        words[0] = turn + 1
        failed += _madvise(address, PAGE_BYTES, np.int32(_DONTNEED)) != 0
    return failed


@kernel
def flip_protection(address, size, turns):
    """Make a range read-only and writable again, so many times; calls that failed.

    Each turn is two changes of all present entries in the range, each with a flush.
    Allocates: no. Mutates: nothing.
    """
    failed = 0
    for _ in range(turns):
        failed += _mprotect(address, size, np.int32(_READ)) != 0
        failed += _mprotect(address, size, np.int32(_READ_WRITE)) != 0
    return failed


@kernel
def work_until(words, stop, progress, most):
    """Read and compute until `stop` is set, or for `most` turns; where the arithmetic stands.

    `progress` counts the turns, for others to read while this runs. `stop` and `progress` are
    arrays of their own: the compiler cannot tell that they are, and reads `stop` again each turn.
    Allocates: no. Mutates: progress.
    """
    state = 1
    turn = 0
    while stop[0] == 0 and turn < most:
        for _ in range(_STEPS):
            state = state * 48271 % 2147483647
        state += words[turn % words.shape[0]] & 1
        turn += 1
        progress[0] = turn
    return state
