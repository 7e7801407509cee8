"""Page walks: from the lowest upper entry that a walk cache holds down to the leaf.

Entries are numbered through a level: entry n of level l maps the 4 KiB pages from n x 512^(l - 1).
"""

import numpy as np

from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.data_caches import column, set_begin
from perfmodel.kernels.recency import use_lru
from perfmodel.kernels.translation_layout import (
    CLASS_SHIFT,
    COLUMNS,
    ENTRIES_PER_LINE_SHIFT,
    FIRST_LINE,
    GUEST_WALK_CACHES,
    HOST,
    HOST_WALK_CACHES,
    LINES,
    LINES_PER_PAGE_SHIFT,
    MOST_LEVELS,
    NESTED_CACHE,
    NUMBER_SHIFT,
    SPACE_SHIFT,
    TABLE,
    TABLE_COLUMNS,
    TABLE_SHIFT,
    WAYS,
    Count,
    Kind,
)

WALK_CACHE_HITS = int(Count.WALK_CACHE_HITS)
HOST_WALK_CACHE_HITS = int(Count.HOST_WALK_CACHE_HITS)


@inline_kernel
def _begin(parameters, arrays, entries, counts, caches, hits, page, space, leaf):
    """Level at which reading begins: below the lowest entry above the leaf that a cache holds.

    What a cache does not hold will be read, so it is inserted here and now.
    """
    for level in range(leaf + 1, parameters["levels"] + 1):
        row = (caches + level) * COLUMNS
        ways = column(arrays, row, WAYS)
        if ways > 0:
            number = page >> (TABLE_SHIFT * (level - 1))
            tag = number << NUMBER_SHIFT | space << SPACE_SHIFT
            first = set_begin(arrays, row, number)
            # The upper levels are nearly always the last used ones, which stay where they are.
            if (level > 2 and entries[np.uint64(first)] == tag) or use_lru(
                entries, first, ways, tag
            ):
                counts[np.uint64(hits + level)] += 1
                return level - 1
    return parameters["levels"]


@inner_kernel
def translate_on_host(parameters, arrays, tables, entries, counts, page, out, position):
    """List what translating a guest-physical page reads, in `out` from `position` on.

    Returns the position behind. Allocates: no. Mutates: entries, counts, out.
    """
    leaf = parameters["host_leaf"]
    row = NESTED_CACHE * COLUMNS
    number = page >> (TABLE_SHIFT * (leaf - 1))
    first = set_begin(arrays, row, number)
    if use_lru(entries, first, column(arrays, row, WAYS), number << NUMBER_SHIFT):
        counts[Count.NESTED_HITS] += 1
        return position
    counts[Count.HOST_WALKS] += 1
    level = _begin(
        parameters,
        arrays,
        entries,
        counts,
        HOST_WALK_CACHES,
        HOST_WALK_CACHE_HITS,
        page,
        0,
        leaf,
    )
    while level >= leaf:
        number = page >> (TABLE_SHIFT * (level - 1))
        begin = tables[np.uint64(TABLE_COLUMNS * (MOST_LEVELS + level) + FIRST_LINE)]
        line = begin + (number >> ENTRIES_PER_LINE_SHIFT)
        out[np.uint64(position)] = line << CLASS_SHIFT | HOST
        position += 1
        level -= 1
    return position


@inline_kernel
def walk(parameters, arrays, tables, entries, counts, page, space, kind, data_page, out, position):
    """List what one page walk reads, in `out` from `position` on; for a physical `data_page`.

    A reference is its line << CLASS_SHIFT | class. What a walk reads does not depend on the data
    caches, so the references can be made later. Returns the position behind. Allocates: no.
    Mutates: entries, counts, out.
    """
    leaf = np.int64(1)
    if kind >= Kind.HUGE_2M:
        leaf = kind - Kind.HUGE_2M + 2
    level = _begin(
        parameters,
        arrays,
        entries,
        counts,
        GUEST_WALK_CACHES,
        WALK_CACHE_HITS,
        page,
        space,
        leaf,
    )
    nested = parameters["host_leaf"] > 0
    while level >= leaf:
        number = page >> (TABLE_SHIFT * (level - 1))
        line = (
            tables[np.uint64(TABLE_COLUMNS * level + FIRST_LINE)]
            + space * tables[np.uint64(TABLE_COLUMNS * level + LINES)]
            + (number >> ENTRIES_PER_LINE_SHIFT)
        )
        if nested:
            position = translate_on_host(
                parameters,
                arrays,
                tables,
                entries,
                counts,
                line >> LINES_PER_PAGE_SHIFT,
                out,
                position,
            )
        out[np.uint64(position)] = line << CLASS_SHIFT | TABLE
        position += 1
        level -= 1
    if nested:
        position = translate_on_host(
            parameters, arrays, tables, entries, counts, data_page, out, position
        )
    return position
