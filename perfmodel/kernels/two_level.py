"""Hits of two levels of TLBs for pages of one size, with a geometry that the compiler knows.

The same results as `translation` gives for such hardware, without all the rest: what-ifs over long
traces need nothing but the hits. Each geometry is compiled once, on its first use.
"""

from functools import cache

import numpy as np

from perfmodel.kernels._jit import inline_kernel, kernel
from perfmodel.kernels._ways import use_ways

FREE = 0xFFFFFFFF
BATCH = 2048  # pages that missed level 1, small enough to stay in the L1 cache of the host
AHEAD = 8


@inline_kernel
def _same_page(addresses, index, page, bits):
    """Whether the next `AHEAD` addresses are all of one page."""
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


@cache
def hit_counter(sets1, ways1, sets2, ways2):
    """The kernel for one geometry; ways are powers of two.

    What a kernel finds outside of itself is a constant for the compiler, and part of the key under
    which its code is kept on disk.

    Returns
    -------
    callable
        See `count_hits` inside.
    """
    s1 = np.uint64(sets1)
    s2 = np.uint64(sets2)

    @kernel
    def count_hits(addresses, shift, level1, level2, missed, hits, seen):
        """Look every address up, in batches: all of a batch in level 1, what missed in level 2.

        Which level has a page cannot be foretold, and a wrong guess of the processor costs more
        than a lookup; so misses are collected without a branch.

        Parameters
        ----------
        addresses : uint64 array
        shift : int
            Bits of an address within its page.
        level1, level2 : uint32 array, shape (sets x ways,)
            Tags in the order of their last use, `FREE` where empty.
        missed : uint64 array, shape (BATCH,)
        hits : int64 array, shape (2,)
        seen : uint64 array, shape (1,)
            Receives the bits that any page number has; tags hold 32 above the set's.

        Allocates: no. Mutates: level1, level2, missed, hits, seen.
        """
        bits = np.uint64(shift)
        total = addresses.size
        last = np.uint64(0xFFFFFFFFFFFFFFFF)
        all_bits = np.uint64(0)
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
                    while index + AHEAD <= end and _same_page(addresses, index, page, bits):
                        index += AHEAD
                    continue
                last = page
                all_bits |= page
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
        seen[0] = all_bits

    return count_hits
