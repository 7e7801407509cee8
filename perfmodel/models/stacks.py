"""What-ifs of LRU arrays in one pass over a trace: every associativity, or every size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perfmodel.kernels import stacks as kernels

_MOST_DISTANCE = 0xFFFFFFFF


def _trace(pages: npt.ArrayLike) -> npt.NDArray[np.int64]:
    given = np.asarray(pages)
    if given.size and not np.issubdtype(given.dtype, np.integer):
        raise ValueError(f"page numbers must be whole, not {given.dtype}")
    row = np.ascontiguousarray(given, dtype=np.int64).reshape(-1)
    if row.size and int(row.min()) < 0:
        raise ValueError("page numbers must not be negative")
    return row if row.flags.writeable else row.copy()


def associativity_hits(pages: npt.ArrayLike, sets: int) -> npt.NDArray[np.int64]:
    """Hits of an LRU array with `sets` sets, for 1 to 16 ways.

    Parameters
    ----------
    pages : integer array, shape (n,)
        Page numbers, or any other numbers whose remainder modulo `sets` is the set.
    sets : int

    Returns
    -------
    int64 array, shape (16,)
        Hits with 1, 2, ... 16 ways.
    """
    if sets < 1:
        raise ValueError("sets must be at least 1")
    trace = _trace(pages)
    base = int(trace.min()) if trace.size else 0
    if trace.size and int(trace.max()) - base >= _MOST_DISTANCE:
        # Other numbers that differ where these differ and stand in the same sets.
        trace = np.unique(trace, return_inverse=True)[1] * sets + trace % sets
        base = int(trace.min())
        if int(trace.max()) - base >= _MOST_DISTANCE:
            raise ValueError("too many different pages for so many sets")
    rows = np.full(sets * kernels.DEPTHS, 0xFFFFFFFF, dtype=np.uint32)
    histogram = np.zeros(kernels.DEPTHS + 1, dtype=np.int64)
    kernels.histogram_depths(trace, np.int64(base), np.int64(sets), rows, histogram)
    return np.cumsum(histogram[: kernels.DEPTHS])


def reuse_distances(pages: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """How many different other pages were used since the last use of each access's page.

    A fully associative LRU array of m entries has a hit exactly where the distance is below m.

    Parameters
    ----------
    pages : integer array, shape (n,)

    Returns
    -------
    int64 array, shape (n,)
        -1 at the first use of a page.

    Notes
    -----
    O(log m) for each access over m different pages, with memory in proportion to m (or to the range
    of page numbers, where that is at most twice as large as the trace).
    """
    trace = _trace(pages)
    base = int(trace.min()) if trace.size else 0
    count = int(trace.max()) - base + 1 if trace.size else 0
    if count > 2 * trace.size:
        different, trace = np.unique(trace, return_inverse=True)
        base, count = 0, different.size
    words = -(-max(2 * min(count, trace.size), 1024) // kernels.POSITIONS_PER_WORD)
    distances = np.empty(trace.size, dtype=np.int64)
    kernels.measure_reuse(
        trace.astype(np.int64, copy=False),
        np.int64(base),
        np.full(count, -1, dtype=np.int64),
        np.zeros(words * kernels.POSITIONS_PER_WORD, dtype=np.int64),
        np.zeros(words, dtype=np.uint64),
        np.zeros(words + 1, dtype=np.int64),
        np.zeros(2, dtype=np.int64),
        distances,
    )
    return distances


def fully_associative_hits(pages: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Hits of fully associative LRU arrays of all sizes.

    Parameters
    ----------
    pages : integer array, shape (n,)

    Returns
    -------
    int64 array, shape (different pages + 1,)
        Hits with 0, 1, 2, ... entries. More entries than different pages change nothing.
    """
    distances = reuse_distances(pages)
    different = int(np.count_nonzero(distances < 0))
    counts = np.bincount(distances[distances >= 0], minlength=different)
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
