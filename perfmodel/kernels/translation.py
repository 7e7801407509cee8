"""One access after the other through TLBs, page walk and data caches; docs/translation.md says how.

`access` is for use inside another kernel, `run` takes whole arrays.
"""

import numpy as np

from perfmodel.kernels._jit import inline_kernel, kernel
from perfmodel.kernels._lanes import count_bits
from perfmodel.kernels.data_caches import column, latency, reference, set_begin
from perfmodel.kernels.recency import FREE, use_lru, use_tree
from perfmodel.kernels.translation_layout import (
    ARRAY,
    CACHES,
    CHOICES,
    CLASS_SHIFT,
    COLUMNS,
    COMPLETED,
    DATA,
    GUEST_WALK_CACHES,
    HELD,
    LATEST,
    LINE_SHIFT,
    LINES_PER_PAGE_SHIFT,
    LINES_SHIFT,
    MOST_LEVELS,
    MOST_PAGES,
    MOST_TLBS,
    N_KINDS,
    NUMBER_SHIFT,
    OFFSET,
    ORDER,
    ORDER_MASK,
    PAGE_SHIFT,
    PATH_COLUMNS,
    SETS,
    SPACE_MASK,
    SPACE_SHIFT,
    STREAM,
    STRIDE,
    TREE,
    TURN,
    WALKERS,
    WAYS,
    Count,
)
from perfmodel.kernels.walk import walk

WALKS = int(Count.WALKS)
TLB_HITS = int(Count.TLB_HITS)
REFERENCES = int(Count.REFERENCES)
CLASS_MASK = (1 << CLASS_SHIFT) - 1


@inline_kernel
def look_up(arrays, paths, entries, path, page, space):
    """Use a translation in the array of one level that may hold it. The array, and if it was there.

    Allocates: no. Mutates: entries.
    """
    way = path * PATH_COLUMNS
    held = column(paths, way, HELD)
    order = column(paths, way, ORDER)
    number = page >> order
    tag = number << NUMBER_SHIFT | space << SPACE_SHIFT | order
    row = way + CHOICES
    others = held - 1
    if held & others == 0:
        # No branch, because nothing foretells the size of the next page.
        row += (number & others) * COLUMNS
        number >>= count_bits(np.uint64(others))
    else:
        row += np.int64(np.uint64(number) % np.uint64(held)) * COLUMNS
        number = np.int64(np.uint64(number) // np.uint64(held))
    array = column(paths, row, ARRAY)
    first = set_begin(paths, row, number)
    ways = column(paths, row, WAYS)
    tree = column(paths, row, TREE)
    if tree == 0:
        return array, use_lru(entries, first, ways, tag)
    return array, use_tree(entries, first, ways, first + tree, tag)


@inline_kernel
def physical_line(parameters, address, space):
    """The line of a virtual address. Allocates: no. Mutates: nothing."""
    regions = space * parameters["regions"] - parameters["first_region"]
    return (address >> LINE_SHIFT) + (regions << LINES_SHIFT)


@inline_kernel
def region_kind(mmu, data):
    """How the region of a physical data line is mapped. Allocates: no. Mutates: nothing."""
    return np.int64(mmu.kinds[np.uint64(data >> LINES_SHIFT)])


@inline_kernel
def complete(clock, walkers, overlap, stlb_ps, walk_ps, data_ps, counts):
    """Enter one access into the clock; `walk_ps` is negative where there was no walk.

    Allocates: no. Mutates: clock, counts.
    """
    turn = clock[TURN]
    ready = clock[np.uint64(COMPLETED + turn)] + stlb_ps
    if walk_ps >= 0:
        walker = np.int64(WALKERS)
        for other in range(WALKERS + 1, WALKERS + walkers):
            if clock[np.uint64(other)] < clock[np.uint64(walker)]:
                walker = other
        start = max(ready, clock[np.uint64(walker)])
        counts[Count.WAIT_PS] += start - ready
        ready = start + walk_ps
        clock[np.uint64(walker)] = ready
    ready += data_ps
    clock[np.uint64(COMPLETED + turn)] = ready
    clock[LATEST] = max(clock[LATEST], ready)
    clock[TURN] = turn + 1 if turn + 1 < overlap else 0


@inline_kernel
def refer(mmu, line, kind):
    """One reference of a class, counted. Its picoseconds. Allocates: no.

    Mutates: mmu.lines, mmu.short_lines, mmu.counts.
    """
    where = reference(mmu, line)
    mmu.counts[np.uint64(REFERENCES + 4 * kind + where)] += 1
    return latency(mmu.arrays, where)


@inline_kernel
def access(mmu, address, store, space):
    """One load (0) or store (1). The TLB array that had the translation, or -1 after a walk.

    Allocates: no.
    Mutates: mmu.entries, mmu.lines, mmu.short_lines, mmu.counts, mmu.clock, mmu.scratch.
    """
    parameters, arrays, counts = mmu.parameters, mmu.arrays, mmu.counts
    page = address >> PAGE_SHIFT
    data = physical_line(parameters, address, space)
    kind = region_kind(mmu, data)
    path = kind + N_KINDS * store
    stlb_ps = np.int64(0)
    walk_ps = np.int64(-1)
    array, hit = look_up(arrays, mmu.paths, mmu.entries, path, page, space)
    if not hit:
        # A walk begins when level 2 has been asked in vain, which takes as long as a hit there.
        stlb_ps = parameters["stlb_hit_ps"]
        counts[Count.STLB_LOOKUPS] += 1
        array, hit = look_up(arrays, mmu.paths, mmu.entries, path + 2 * N_KINDS, page, space)
        if not hit:
            array = np.int64(-1)
            counts[np.uint64(WALKS + kind)] += 1
            end = walk(
                parameters,
                arrays,
                mmu.tables,
                mmu.entries,
                counts,
                page,
                space,
                kind,
                data >> LINES_PER_PAGE_SHIFT,
                mmu.scratch,
                np.int64(STREAM),
            )
            walk_ps = np.int64(0)
            for position in range(STREAM, end):
                word = mmu.scratch[np.uint64(position)]
                walk_ps += refer(mmu, word >> CLASS_SHIFT, word & CLASS_MASK)
    counts[Count.ACCESSES] += 1
    if hit:
        counts[np.uint64(TLB_HITS + array)] += 1
    data_ps = refer(mmu, data, DATA)
    complete(
        mmu.clock, parameters["walkers"], parameters["overlap"], stlb_ps, walk_ps, data_ps, counts
    )
    return array


@kernel
def extent(values):
    """Least and largest of some numbers, at least one. Allocates: no. Mutates: nothing."""
    least = largest = values[0]
    for index in range(values.size):
        value = values[np.uint64(index)]
        least = min(least, value)
        largest = max(largest, value)
    return least, largest


@kernel
def run(mmu, addresses, stores, spaces):
    """Access after access; `stores` and `spaces` may have one member that holds for all.

    Allocates: no.
    Mutates: mmu.entries, mmu.lines, mmu.short_lines, mmu.counts, mmu.clock, mmu.scratch.
    """
    every_store = np.int64(-1 if stores.size > 1 else 0)
    every_space = np.int64(-1 if spaces.size > 1 else 0)
    for index in range(addresses.size):
        store = np.int64(stores[np.uint64(index & every_store)])
        space = np.int64(spaces[np.uint64(index & every_space)])
        access(mmu, addresses[np.uint64(index)], store, space)


@inline_kernel
def forget(arrays, entries, array, space, first_page, last_page, orders):
    """Drop one space's entries of an array that have an order below and touch pages first to last.

    Allocates: no. Mutates: entries.
    """
    row = array * COLUMNS
    ways = column(arrays, row, WAYS)
    keeps_order = column(arrays, row, TREE) == 0
    for index in range(column(arrays, row, SETS)):
        first = column(arrays, row, OFFSET) + index * column(arrays, row, STRIDE)
        kept = first
        for entry in range(first, first + ways):
            tag = entries[entry]
            order = tag & ORDER_MASK
            begin = tag >> NUMBER_SHIFT << order
            if (
                tag >= 0
                and (tag >> SPACE_SHIFT & SPACE_MASK) == space
                and order < orders
                and begin <= last_page
                and first_page < begin + (1 << order)
            ):
                entries[entry] = FREE
            elif keeps_order:
                entries[entry] = FREE
                entries[kept] = tag
                kept += 1


@kernel
def invalidate(mmu, first_page, last_page, space):
    """Drop one space's translations that touch pages first to last, and its walk-cache entries.

    Allocates: no. Mutates: mmu.entries.
    """
    orders = np.int64(ORDER_MASK)
    for array in range(GUEST_WALK_CACHES + MOST_LEVELS + 1):
        if array == MOST_TLBS:
            first_page, last_page = np.int64(0), np.int64(MOST_PAGES)
        forget(mmu.arrays, mmu.entries, array, space, first_page, last_page, orders)


@kernel
def invalidate_all(mmu):
    """Drop every translation, the host's too. Allocates: no. Mutates: mmu.entries."""
    for array in range(CACHES):
        row = array * COLUMNS
        for index in range(column(mmu.arrays, row, SETS)):
            first = column(mmu.arrays, row, OFFSET) + index * column(mmu.arrays, row, STRIDE)
            mmu.entries[first : first + column(mmu.arrays, row, WAYS)] = FREE
