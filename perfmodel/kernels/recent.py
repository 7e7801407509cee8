"""Drops accesses to pages that were accessed just before."""

import numpy as np

from perfmodel.kernels._jit import kernel


@kernel
def drop_recent(words, recent, kept):
    """Keep accesses, words of 2 x page + (1 for a write), that a small LRU list does not absorb.

    An access to one of the last pages is dropped, unless it is the first write since the page came.
    `recent` holds those pages, the latest first, as such words (1: has been written), or -1.
    Returns how many are kept. Allocates: no. Mutates: recent, kept.
    """
    count = np.int64(0)
    for index in range(words.shape[0]):
        word = words[index]
        depth = np.int64(0)
        while depth < recent.shape[0] - 1 and recent[depth] >> 1 != word >> 1:
            depth += 1
        found = recent[depth] if recent[depth] >> 1 == word >> 1 else np.int64(-1)
        for place in range(depth, 0, -1):
            recent[place] = recent[place - 1]
        if found < 0 or word & 1 > found & 1:
            kept[count] = word
            count += 1
        recent[0] = word if found < 0 else word | found
    return count
