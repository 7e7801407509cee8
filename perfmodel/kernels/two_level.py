"""Hits of two levels of TLBs for pages of one size, with a geometry that the compiler knows.

The same results as `translation` gives for such hardware, without all the rest: what-ifs over long
traces need nothing but the hits. Each geometry is compiled once, on its first use.
"""

import numpy as np

from perfmodel.kernels._jit import inline_kernel, kernel, literally
from perfmodel.kernels._ways import use_ways

FREE = 0xFFFFFFFF
BATCH = 2048  # pages that missed level 1, small enough to stay in the L1 cache of the host
_AHEAD = 8


@inline_kernel
def _same_page(addresses, index, page, bits):
    """Whether the next `_AHEAD` addresses are all of one page."""
    first = np.uint64(index)
    base = page << bits
    differ = addresses[first] ^ base
    differ |= addresses[first + np.uint64(1)] ^ base
    differ |= addresses[first + np.uint64(2)] ^ base
    differ |= addresses[first + np.uint64(3)] ^ base
    differ |= addresses[first + np.uint64(4)] ^ base
    differ |= addresses[first + np.uint64(5)] ^ base
    differ |= addresses[first + np.uint64(6)] ^ base
    differ |= addresses[first + np.uint64(7)] ^ base
    return differ >> bits == 0


@kernel
def count_hits(addresses, shift, sets1, ways1, sets2, ways2, level1, level2, missed, hits):
    """Look every address up, in batches: all of a batch in level 1, then what missed in level 2.

    Which level has a page cannot be foretold, and a wrong guess of the processor costs more than a
    lookup; so misses are collected without a branch.

    Parameters
    ----------
    addresses : uint64 array
    shift : int
        Bits of an address within its page.
    sets1, ways1, sets2, ways2 : int
        Geometry; constants for the compiler. `ways1` and `ways2` are powers of two.
    level1, level2 : uint32 array, shape (sets x ways,)
        Tags in the order of their last use, `FREE` where empty.
    missed : uint64 array, shape (BATCH,)
    hits : int64 array, shape (2,)

    Allocates: no. Mutates: level1, level2, missed, hits.
    """
    literally(sets1)
    literally(ways1)
    literally(sets2)
    literally(ways2)
    s1 = np.uint64(sets1)
    s2 = np.uint64(sets2)
    bits = np.uint64(shift)
    total = addresses.size
    last = np.uint64(0xFFFFFFFFFFFFFFFF)
    begin = 0
    while begin < total:
        end = min(begin + BATCH, total)
        count = 0
        index = begin
        while index < end:
            page = addresses[np.uint64(index)] >> bits
            index += 1
            if page == last:
                # The newest of its set already. Runs of the same page go by eight.
                while index + _AHEAD <= end and _same_page(addresses, index, page, bits):
                    index += _AHEAD
                continue
            last = page
            first = np.int64(page % s1) * ways1
            depth = use_ways(level1, first, np.uint32(page // s1), ways1)
            missed[np.uint64(count)] = page
            count += depth == ways1
        hits[0] += end - begin - count
        found = 0
        for index in range(count):
            page = missed[np.uint64(index)]
            first = np.int64(page % s2) * ways2
            depth = use_ways(level2, first, np.uint32(page // s2), ways2)
            found += depth < ways2
        hits[1] += found
        begin = end
