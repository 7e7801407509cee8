"""Hits of a two-level TLB on long traces: nothing but the hits, as fast as they can be had."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.kernels.two_level import BATCH, FREE, hit_counter

_WAYS = (2, 4, 8, 16)


@attrs.frozen
class TwoLevelHits:
    """What became of a trace's accesses.

    Parameters
    ----------
    level1, level2 : int
        Accesses whose translation level 1 had, and those that level 2 had after a miss there.
    walks : int
        Accesses that missed both.
    """

    level1: int
    level2: int
    walks: int


def two_level_hits(
    addresses: npt.ArrayLike,
    *,
    level1: tuple[int, int] = (16, 4),
    level2: tuple[int, int] = (256, 8),
    page_bytes: int = 4096,
) -> TwoLevelHits:
    """Run a trace through two levels of TLBs that begin empty, pages of one size, exact LRU.

    A miss is filled into both levels, a hit in level 2 into level 1. Each geometry is compiled on
    its first use and kept on disk. `models.translation` does what this cannot: mixed page sizes,
    any number of ways, walks, time.

    Parameters
    ----------
    addresses : uint64 array, shape (accesses,), bytes
    level1, level2 : (int, int)
        Sets, any number, and ways: 2, 4, 8 or 16.
    page_bytes : int
        A power of two.

    Returns
    -------
    TwoLevelHits

    Raises
    ------
    ValueError
        If the geometry or the page size cannot be had, or an address is too large for the tags
        of 32 bits (2^48 bytes with 16 sets of 4 KiB pages).

    Examples
    --------
    >>> two_level_hits(np.arange(0, 1 << 16, 64, dtype=np.uint64))
    TwoLevelHits(level1=1008, level2=0, walks=16)
    """
    trace = np.ascontiguousarray(addresses, dtype=np.uint64)
    if trace.ndim != 1:
        raise ValueError("addresses must have one dimension")
    if page_bytes < 1 or page_bytes & (page_bytes - 1):
        raise ValueError("page_bytes must be a power of two")
    for name, (sets, ways) in (("level1", level1), ("level2", level2)):
        if sets < 1 or ways not in _WAYS:
            raise ValueError(f"{name} must be at least one set of 2, 4, 8 or 16 ways")
    shift = page_bytes.bit_length() - 1
    states = [np.full(sets * ways, FREE, dtype=np.uint32) for sets, ways in (level1, level2)]
    hits = np.zeros(2, dtype=np.int64)
    missed = np.zeros(BATCH, dtype=np.uint64)
    seen = np.zeros(1, dtype=np.uint64)
    hit_counter(*level1, *level2)(trace, shift, *states, missed, hits, seen)
    if int(seen[0]) // min(level1[0], level2[0]) >= FREE:
        raise ValueError("addresses are too large for tags of 32 bits with so few sets")
    return TwoLevelHits(int(hits[0]), int(hits[1]), trace.size - int(hits.sum()))
