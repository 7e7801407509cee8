"""A pointer chase through real memory: every load's address is what the load before it read."""

from perfmodel.kernels._jit import kernel

UNROLLED = 8


@kernel
def link(words, places, cycle):
    """Write a cycle: at word `places[cycle[n]]` stands the word of the next place.

    All arrays are uint64, so that no load waits for the check of a negative index.
    Allocates: no. Mutates: words.
    """
    last = cycle.shape[0] - 1
    for index in range(last):
        words[places[cycle[index]]] = places[cycle[index + 1]]
    words[places[cycle[last]]] = places[cycle[0]]


@kernel
def chase(words, place, blocks):
    """Follow a chain for `blocks` x UNROLLED loads; the place where it ends.

    Allocates: no. Mutates: nothing.
    """
    for _ in range(blocks):
        place = words[place]
        place = words[place]
        place = words[place]
        place = words[place]
        place = words[place]
        place = words[place]
        place = words[place]
        place = words[place]
    return place
