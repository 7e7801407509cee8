"""From addresses to words over page numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES
from perfmodel.traces.accesses import Words

MOST_ADDRESS = 1 << 63


def page_words(
    addresses: npt.NDArray[np.uint64], sizes: npt.NDArray[np.int64], writes: npt.NDArray[np.bool_]
) -> Words:
    """Accesses as words; one that reaches into further pages is one to each.

    Parameters
    ----------
    addresses : uint64 array, below 2**63
    sizes : int64 array, bytes, at least 1
    writes : bool array
    """
    starts = addresses.astype(np.int64)
    first = starts // PAGE_BYTES
    more = (starts % PAGE_BYTES + sizes - 1) // PAGE_BYTES
    words = first * 2 + writes
    if not more.any():
        return words
    counts = more + 1
    ends = np.cumsum(counts)
    within = np.arange(int(ends[-1])) - np.repeat(ends - counts, counts)
    found: Words = np.repeat(words, counts) + within * 2
    return found
