"""Page walks: from the lowest upper entry that a walk cache holds down to the leaf.

Entries are numbered through a level: entry n of level l maps the 4 KiB pages from n x 512^(l - 1).
"""

import numpy as np

from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.data_caches import latency, reference, set_index
from perfmodel.kernels.recency import find, use_lru
from perfmodel.kernels.translation_layout import (
    ENTRIES_PER_LINE_SHIFT,
    FIRST_LINE,
    GUEST_WALK_CACHES,
    HOST_WALK_CACHES,
    LINES,
    LINES_PER_PAGE_SHIFT,
    MOST_LEVELS,
    NESTED_CACHE,
    NUMBER_SHIFT,
    OFFSET,
    SPACE_SHIFT,
    STRIDE,
    TABLE_SHIFT,
    WAYS,
    Count,
    Kind,
)


@inline_kernel
def _use(arrays, entries, array, number, space):
    """Use an entry of a walk cache or of the nested cache."""
    first = arrays[array, OFFSET] + set_index(arrays, array, number) * arrays[array, STRIDE]
    tag = number << NUMBER_SHIFT | space << SPACE_SHIFT
    return use_lru(entries, first, arrays[array, WAYS], tag)


@inline_kernel
def _holds(arrays, entries, array, number, space):
    first = arrays[array, OFFSET] + set_index(arrays, array, number) * arrays[array, STRIDE]
    tag = number << NUMBER_SHIFT | space << SPACE_SHIFT
    return find(entries, first, arrays[array, WAYS], tag) >= 0


@inline_kernel
def _begin(parameters, arrays, entries, counts, caches, hits, page, space, leaf):
    """Level at which reading begins; the walk cache that says so has its entry used."""
    for level in range(leaf + 1, parameters["levels"] + 1):
        array = caches + level
        if arrays[array, WAYS] > 0:
            number = page >> (TABLE_SHIFT * (level - 1))
            if _holds(arrays, entries, array, number, space):
                _use(arrays, entries, array, number, space)
                counts[hits + level] += 1
                return level - 1
    return parameters["levels"]


@inner_kernel
def translate_on_host(parameters, arrays, tables, entries, lines, counts, line):
    """Picoseconds to translate the guest-physical address of a line.

    Allocates: no. Mutates: entries, lines, counts.
    """
    page = line >> LINES_PER_PAGE_SHIFT
    leaf = parameters["host_leaf"]
    if _use(arrays, entries, NESTED_CACHE, page >> (TABLE_SHIFT * (leaf - 1)), 0):
        counts[Count.NESTED_HITS] += 1
        return np.int64(0)
    counts[Count.HOST_WALKS] += 1
    spent = np.int64(0)
    level = _begin(
        parameters,
        arrays,
        entries,
        counts,
        HOST_WALK_CACHES,
        Count.HOST_WALK_CACHE_HITS,
        page,
        0,
        leaf,
    )
    while level >= leaf:
        number = page >> (TABLE_SHIFT * (level - 1))
        entry = tables[MOST_LEVELS + level, FIRST_LINE] + (number >> ENTRIES_PER_LINE_SHIFT)
        where = reference(arrays, lines, entry)
        counts[Count.HOST + where] += 1
        spent += latency(parameters, arrays, where)
        if level > leaf and arrays[HOST_WALK_CACHES + level, WAYS] > 0:
            _use(arrays, entries, HOST_WALK_CACHES + level, number, 0)
        level -= 1
    return spent


@inline_kernel
def walk(parameters, arrays, tables, entries, lines, counts, page, space, kind, data):
    """Picoseconds of one page walk; `data` is the physical line that it is for.

    Allocates: no. Mutates: entries, lines, counts.
    """
    leaf = np.int64(1)
    if kind >= Kind.HUGE_2M:
        leaf = kind - Kind.HUGE_2M + 2
    spent = np.int64(0)
    level = _begin(
        parameters,
        arrays,
        entries,
        counts,
        GUEST_WALK_CACHES,
        Count.WALK_CACHE_HITS,
        page,
        space,
        leaf,
    )
    nested = parameters["host_leaf"] > 0
    while level >= leaf:
        number = page >> (TABLE_SHIFT * (level - 1))
        entry = (
            tables[level, FIRST_LINE]
            + space * tables[level, LINES]
            + (number >> ENTRIES_PER_LINE_SHIFT)
        )
        if nested:
            spent += translate_on_host(parameters, arrays, tables, entries, lines, counts, entry)
        where = reference(arrays, lines, entry)
        counts[Count.TABLE + where] += 1
        spent += latency(parameters, arrays, where)
        if level > leaf and arrays[GUEST_WALK_CACHES + level, WAYS] > 0:
            _use(arrays, entries, GUEST_WALK_CACHES + level, number, space)
        level -= 1
    if nested:
        spent += translate_on_host(parameters, arrays, tables, entries, lines, counts, data)
    return spent
