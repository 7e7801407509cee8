"""One access after the other through TLBs, page walk and data caches; docs/translation.md says how.

`access` is for use inside another kernel, `run` takes whole arrays.
"""

import numpy as np

from perfmodel.kernels._jit import inline_kernel, kernel
from perfmodel.kernels.data_caches import latency, reference, set_index
from perfmodel.kernels.recency import FREE, use_lru, use_tree
from perfmodel.kernels.translation_layout import (
    CACHES,
    CHOICES,
    COMPLETED,
    GUEST_WALK_CACHES,
    HELD,
    LATEST,
    LINE_SHIFT,
    LINES_PER_REGION,
    MOST_LEVELS,
    MOST_TLBS,
    N_KINDS,
    NUMBER_SHIFT,
    OFFSET,
    ORDER,
    ORDER_MASK,
    PAGE_SHIFT,
    REGION_SHIFT,
    SETS,
    SPACE_MASK,
    SPACE_SHIFT,
    STRIDE,
    TREE,
    TURN,
    WALKERS,
    WAYS,
    Count,
)
from perfmodel.kernels.walk import walk


@inline_kernel
def look_up(arrays, paths, entries, path, page, space):
    """Use a translation in the array of one level that may hold it. The array, or -1 on a miss.

    Allocates: no. Mutates: entries.
    """
    held = paths[path, HELD]
    if held == 0:
        return np.int64(-1)
    order = paths[path, ORDER]
    number = page >> order
    tag = number << NUMBER_SHIFT | space << SPACE_SHIFT | order
    choice = np.int64(0)
    if held == 2:
        choice = number & 1
        number >>= 1
    elif held > 2:
        choice = np.int64(np.uint64(number) % np.uint64(held))
        number = np.int64(np.uint64(number) // np.uint64(held))
    array = paths[path, np.uint64(CHOICES + choice)]
    first = arrays[array, OFFSET] + set_index(arrays, array, number) * arrays[array, STRIDE]
    ways = arrays[array, WAYS]
    tree = arrays[array, TREE]
    if tree == 0:
        hit = use_lru(entries, first, ways, tag)
    else:
        hit = use_tree(entries, first, ways, first + tree, tag)
    return array if hit else np.int64(-1)


@inline_kernel
def complete(clock, walkers, overlap, stlb_ps, walk_ps, data_ps, counts):
    """Enter one access into the clock; `walk_ps` is negative where there was no walk.

    Allocates: no. Mutates: clock, counts.
    """
    turn = clock[TURN]
    ready = clock[COMPLETED + turn] + stlb_ps
    if walk_ps >= 0:
        walker = 0
        for other in range(1, walkers):
            if clock[WALKERS + other] < clock[WALKERS + walker]:
                walker = other
        start = max(ready, clock[WALKERS + walker])
        counts[Count.WAIT_PS] += start - ready
        ready = start + walk_ps
        clock[WALKERS + walker] = ready
    ready += data_ps
    clock[COMPLETED + turn] = ready
    clock[LATEST] = max(clock[LATEST], ready)
    clock[TURN] = turn + 1 if turn + 1 < overlap else 0


@inline_kernel
def access(mmu, address, store, space):
    """One load (0) or store (1). The TLB array that had the translation, or -1 after a walk.

    Allocates: no. Mutates: mmu.entries, mmu.lines, mmu.counts, mmu.clock.
    """
    parameters, counts = mmu.parameters, mmu.counts
    page = address >> PAGE_SHIFT
    region = (address >> REGION_SHIFT) - parameters["first_region"] + space * parameters["regions"]
    data = region * LINES_PER_REGION + (address >> LINE_SHIFT) % LINES_PER_REGION
    kind = np.int64(mmu.kinds[np.uint64(region)])
    path = kind + N_KINDS * store
    stlb_ps = np.int64(0)
    walk_ps = np.int64(-1)
    array = look_up(mmu.arrays, mmu.paths, mmu.entries, path, page, space)
    if array < 0:
        # A walk begins when level 2 has been asked in vain, which takes as long as a hit there.
        stlb_ps = parameters["stlb_hit_ps"]
        counts[Count.STLB_PS] += stlb_ps
        array = look_up(mmu.arrays, mmu.paths, mmu.entries, path + 2 * N_KINDS, page, space)
        if array < 0:
            walk_ps = walk(
                parameters,
                mmu.arrays,
                mmu.tables,
                mmu.entries,
                mmu.lines,
                counts,
                page,
                space,
                kind,
                data,
            )
            counts[Count.WALKS + kind] += 1
            counts[Count.WALK_PS] += walk_ps
    if array >= 0:
        counts[Count.TLB_HITS + array] += 1
    where = reference(mmu.arrays, mmu.lines, data)
    data_ps = latency(parameters, mmu.arrays, where)
    counts[Count.ACCESSES] += 1
    counts[Count.DATA + where] += 1
    counts[Count.DATA_PS] += data_ps
    complete(
        mmu.clock, parameters["walkers"], parameters["overlap"], stlb_ps, walk_ps, data_ps, counts
    )
    return array


@kernel
def run(mmu, addresses, stores, spaces):
    """Access after access; `stores` and `spaces` may have one member that holds for all.

    Allocates: no. Mutates: mmu.entries, mmu.lines, mmu.counts, mmu.clock.
    """
    every_store = np.int64(-1 if stores.size > 1 else 0)
    every_space = np.int64(-1 if spaces.size > 1 else 0)
    for index in range(addresses.size):
        store = np.int64(stores[index & every_store])
        space = np.int64(spaces[index & every_space])
        access(mmu, addresses[index], store, space)


@kernel
def invalidate(mmu, first_page, last_page, space):
    """Drop one space's translations that touch pages first to last, and its walk-cache entries.

    Allocates: no. Mutates: mmu.entries.
    """
    for array in range(GUEST_WALK_CACHES + MOST_LEVELS + 1):
        ways = mmu.arrays[array, WAYS]
        keeps_order = mmu.arrays[array, TREE] == 0
        for index in range(mmu.arrays[array, SETS]):
            first = mmu.arrays[array, OFFSET] + index * mmu.arrays[array, STRIDE]
            kept = first
            for entry in range(first, first + ways):
                tag = mmu.entries[entry]
                order = tag & ORDER_MASK
                begin = tag >> NUMBER_SHIFT << order
                goes = tag >= 0 and (tag >> SPACE_SHIFT & SPACE_MASK) == space
                if goes and array < MOST_TLBS:
                    goes = begin <= last_page and first_page < begin + (1 << order)
                if goes:
                    mmu.entries[entry] = FREE
                elif keeps_order:
                    mmu.entries[entry] = FREE
                    mmu.entries[kept] = tag
                    kept += 1


@kernel
def invalidate_all(mmu):
    """Drop every translation, the host's too. Allocates: no. Mutates: mmu.entries."""
    for array in range(CACHES):
        for index in range(mmu.arrays[array, SETS]):
            first = mmu.arrays[array, OFFSET] + index * mmu.arrays[array, STRIDE]
            mmu.entries[first : first + mmu.arrays[array, WAYS]] = FREE
