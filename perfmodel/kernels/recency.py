"""Sets of a set-associative array: look a tag up, and make room for it.

A set is a row of whole blocks (see `_lanes`). Under LRU its ways stand in the order of their last
use, free ones (`FREE`) behind, and lanes beyond the ways are never touched. Under tree-PLRU a tag
stays in its way, and one more block holds the tree: bit n - 1 is node n (1 the root, 2n and 2n + 1
the halves of node n), and is 1 where the right half is the older one.
"""

import numpy as np

from perfmodel.kernels._jit import inline_kernel
from perfmodel.kernels._lanes import equal_lanes, lanes_of, lowest_bit, push_lanes

FREE = -1  # unsigned, all ones


@inline_kernel
def up_to(equal):
    """Bits up to the lowest one that is set, all where none is. Allocates: no. Mutates: nothing."""
    return equal ^ (equal - 1)


@inline_kernel
def use_lru(row, first, ways, tag):
    """Move a tag to the front of the set at `first`, inserting it on a miss. True on a hit.

    What stands behind shifts by one until the tag's old place is filled, or the last way falls out.
    Allocates: no. Mutates: row.
    """
    lanes = lanes_of(row)
    equal = equal_lanes(row, first, tag)
    if ways <= lanes:
        held = (1 << ways) - 1  # nothing where there is no array
        equal &= held
        push_lanes(row, first, up_to(equal) & held, tag)
        return equal != 0
    displaced = row[np.uint64(first + lanes - 1)]
    if ways <= 2 * lanes:
        # No branch, because nothing foretells where a tag is found.
        behind = equal_lanes(row, first + lanes, tag)
        push_lanes(row, first, up_to(equal), tag)
        moves = up_to(behind) & ((1 << (ways - lanes)) - 1)
        push_lanes(row, first + lanes, moves if equal == 0 else np.int64(0), displaced)
        return (equal | behind) != 0
    push_lanes(row, first, up_to(equal), tag)
    while equal == 0 and ways > lanes:
        first += lanes
        ways -= lanes
        pushed = displaced
        displaced = row[np.uint64(first + lanes - 1)]
        equal = equal_lanes(row, first, tag)
        push_lanes(row, first, up_to(equal) & ((1 << min(ways, lanes)) - 1), pushed)
    return equal != 0


@inline_kernel
def use_block(row, first, last, tag):
    """The same for a set that is one block; `last` is the bit of its last way.

    Allocates: no. Mutates: row.
    """
    equal = equal_lanes(row, first, tag)
    push_lanes(row, first, up_to(equal | last), tag)
    return equal != 0


@inline_kernel
def find(row, first, ways, tag):
    """Way that holds a tag, or -1. Allocates: no. Mutates: nothing."""
    lanes = lanes_of(row)
    for begin in range(0, ways, lanes):
        equal = equal_lanes(row, first + begin, tag)
        if equal != 0:
            way = begin + lowest_bit(equal)
            return way if way < ways else -1
    return -1


@inline_kernel
def use_tree(row, first, ways, tree, tag):
    """Make a tag the newest of its set under tree-PLRU, inserting it on a miss. True on a hit.

    A miss takes the first free way, else the one that the tree names; `tree` is the tree's index.
    Allocates: no. Mutates: row.
    """
    way = find(row, first, ways, tag)
    hit = way >= 0
    if not hit:
        way = find(row, first, ways, FREE)
    bits = row[tree]
    if way < 0:
        node = 1
        while node < ways:
            node = 2 * node + (bits >> (node - 1) & 1)
        way = node - ways
    row[first + way] = tag
    node = way + ways
    while node > 1:
        half = node >> 1
        bits = bits & ~(1 << (half - 1)) | ((node & 1) ^ 1) << (half - 1)
        node = half
    row[tree] = bits
    return hit
