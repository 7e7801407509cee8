"""All LRU sizes in one pass, from how deep in the recency order every access finds its page.

LRU has the inclusion property: what m ways hold, m + 1 ways hold. So one list of the most recent
pages says for every number of ways whether an access hits.
"""

import numpy as np

from perfmodel.kernels._jit import inline_kernel, kernel
from perfmodel.kernels._lanes import count_bits, equal_lanes, lowest_bit, push_lanes
from perfmodel.kernels.recency import up_to

DEPTHS = 16  # lanes of a block of uint32
POSITIONS_PER_WORD = 64


@kernel
def histogram_depths(pages, base, sets, rows, histogram):
    """Count accesses by their depth in the recency list of their set, DEPTHS where not found.

    `rows` is uint32 of shape (sets x DEPTHS,), all ones where empty. Pages are told apart by their
    distance from `base`, which must be below 2^32 - 1. Allocates: no. Mutates: rows, histogram.
    """
    mask = sets - 1 if sets & (sets - 1) == 0 else np.int64(-1)
    for index in range(pages.size):
        page = pages[index]
        if mask >= 0:
            first = (page & mask) * DEPTHS
        else:
            first = np.int64(np.uint64(page) % np.uint64(sets)) * DEPTHS
        tag = np.uint32(page - base)
        equal = equal_lanes(rows, first, tag)
        push_lanes(rows, first, up_to(equal), tag)
        histogram[np.uint64(lowest_bit(equal) if equal != 0 else np.int64(DEPTHS))] += 1


@inline_kernel
def _add(sums, word, change):
    """Fenwick tree: change one word's count."""
    node = word + 1
    while node < sums.size:
        sums[np.uint64(node)] += change
        node += node & -node


@inline_kernel
def _before(sums, word):
    """Fenwick tree: counts of all words before this one, together."""
    total = np.int64(0)
    node = word
    while node > 0:
        total += sums[np.uint64(node)]
        node &= node - 1
    return total


@inline_kernel
def _close_gaps(last, owners, live, sums, used):
    """Move all last uses to the first positions, in their order. Returns the next free one."""
    position = np.int64(0)
    for old in range(used):
        owner = np.int64(owners[old])
        if last[owner] == old:
            last[owner] = position
            owners[position] = owner
            position += 1
    live[:] = np.uint64(0)
    sums[:] = 0
    for word in range(position // POSITIONS_PER_WORD):
        live[word] = ~np.uint64(0)
        _add(sums, word, POSITIONS_PER_WORD)
    rest = position % POSITIONS_PER_WORD
    if rest > 0:
        word = position // POSITIONS_PER_WORD
        live[word] = (np.uint64(1) << np.uint64(rest)) - np.uint64(1)
        _add(sums, word, rest)
    return position


@kernel
def measure_reuse(pages, base, last, owners, live, sums, reached, distances):
    """How many other pages were used since the last use of each access's page; -1 at the first.

    Uses stand at positions, one behind the other. `last` holds every page's last position, or -1;
    `owners` the page of each position; `live` has a bit for each position that is a last use, and
    `sums` is a Fenwick tree over the counts of its words. Where the positions end, the gaps are
    closed. Pages count from `base`. `reached`, zeros at first, holds the next position and how many
    pages there are, so that another call goes on.
    Allocates: no. Mutates: last, owners, live, sums, reached, distances.
    """
    position = reached[0]
    present = reached[1]
    one, low = np.uint64(1), np.uint64(POSITIONS_PER_WORD - 1)
    for index in range(pages.size):
        page = pages[index] - base
        before = last[np.uint64(page)]
        if before == position - 1 and before >= 0:
            distances[index] = 0
            continue
        if position == owners.size:
            position = _close_gaps(last, owners, live, sums, position)
            before = last[np.uint64(page)]
        if before >= 0:
            word = before // POSITIONS_PER_WORD
            bit = one << (np.uint64(before) & low)
            older = _before(sums, word) + count_bits(live[np.uint64(word)] & (bit - one))
            distances[index] = present - older - 1
            live[np.uint64(word)] &= ~bit
            _add(sums, word, -1)
        else:
            distances[index] = -1
            present += 1
        word = position // POSITIONS_PER_WORD
        live[np.uint64(word)] |= one << (np.uint64(position) & low)
        _add(sums, word, 1)
        last[np.uint64(page)] = position
        owners[np.uint64(position)] = page
        position += 1
    reached[0] = position
    reached[1] = present
