"""Many accesses at a time, one structure after the other; the same results as one by one.

What one access does is a chain of lookups, each of which decides whether there is a next one. No
processor foretells these decisions, and every wrong guess costs more than several lookups. But a
structure's state depends only on the order of its own lookups: the TLBs do not know of the data
caches, and each level only sees what missed the level before. So a batch goes through level-1 TLBs
as a whole, what missed through level 2, then through the walk caches, then all references through
one data cache after the other. What goes on to the next is collected without a branch.
"""

import numpy as np

from perfmodel.kernels._jit import inline_kernel, kernel
from perfmodel.kernels._lanes import prefetch
from perfmodel.kernels.data_caches import column, has_cache, latency
from perfmodel.kernels.recency import use_lru
from perfmodel.kernels.translation import (
    CLASS_MASK,
    REFERENCES,
    TLB_HITS,
    WALKS,
    look_up,
    physical_line,
    region_kind,
)
from perfmodel.kernels.translation_layout import (
    BATCH,
    CACHES,
    CLASS_SHIFT,
    COLUMNS,
    COMPLETED,
    DATA,
    DRAM,
    HOST,
    LATEST,
    MASK,
    MISSED,
    MOST_CACHES,
    N_CLASSES,
    N_KINDS,
    OFFSET,
    PAGE_SHIFT,
    PHYSICAL,
    READ,
    SETS,
    STREAM,
    STRIDE,
    TABLE,
    TAG_SHIFT,
    WALKED,
    WAYS,
    Count,
)
from perfmodel.kernels.walk import walk

AHEAD = 12  # references
SETS_AT_HAND = 256  # that the host's first cache surely holds
CLASS_COUNT_BITS = 20  # a batch has fewer references
CLASS_COUNT_MASK = (1 << CLASS_COUNT_BITS) - 1


@inline_kernel
def _first_level(mmu, addresses, stores, spaces, begin, end, every_store, every_space):
    """Look a batch up in the level-1 TLBs; list what missed. How many."""
    scratch, counts = mmu.scratch, mmu.counts
    missed = np.int64(MISSED)
    old_page, old_path, old_space = np.int64(-1), np.int64(-1), np.int64(-1)
    array = np.int64(0)
    for index in range(begin, end):
        address = addresses[np.uint64(index)]
        store = np.int64(stores[np.uint64(index & every_store)])
        space = np.int64(spaces[np.uint64(index & every_space)])
        data = physical_line(mmu.parameters, address, space)
        scratch[np.uint64(READ + index - begin)] = 0
        scratch[np.uint64(PHYSICAL + index - begin)] = data
        page = address >> PAGE_SHIFT
        path = region_kind(mmu, data) + N_KINDS * store
        if page == old_page and path == old_path and space == old_space:
            counts[np.uint64(TLB_HITS + array)] += 1  # nothing moves
            continue
        old_page, old_path, old_space = page, path, space
        array, hit = look_up(mmu.arrays, mmu.paths, mmu.entries, path, page, space)
        counts[np.uint64(TLB_HITS + array)] += np.int64(hit)
        scratch[np.uint64(missed)] = index
        missed += np.int64(not hit)
    return missed - MISSED


@inline_kernel
def _second_level(mmu, addresses, stores, spaces, begin, missed, every_store, every_space):
    """Look up in level 2 what missed level 1; list what has to be walked. How many."""
    scratch, counts = mmu.scratch, mmu.counts
    walked = np.int64(WALKED)
    for turn in range(MISSED, MISSED + missed):
        index = scratch[np.uint64(turn)]
        address = addresses[np.uint64(index)]
        store = np.int64(stores[np.uint64(index & every_store)])
        space = np.int64(spaces[np.uint64(index & every_space)])
        kind = region_kind(mmu, scratch[np.uint64(PHYSICAL + index - begin)])
        path = kind + N_KINDS * (store + 2)
        page = address >> PAGE_SHIFT
        array, hit = look_up(mmu.arrays, mmu.paths, mmu.entries, path, page, space)
        if array >= 0:
            counts[np.uint64(TLB_HITS + array)] += np.int64(hit)
        scratch[np.uint64(walked)] = index
        walked += np.int64(not hit)
    walked -= WALKED
    counts[Count.STLB_LOOKUPS] += missed
    return walked


@inline_kernel
def _references(mmu, addresses, spaces, begin, end, walked, every_space):
    """Walk what has to be walked, and list all references of the batch in order. Where they end."""
    scratch = mmu.scratch
    read = np.int64(0)  # by the walks so far
    for turn in range(WALKED, WALKED + walked):
        index = scratch[np.uint64(turn)]
        address = addresses[np.uint64(index)]
        space = np.int64(spaces[np.uint64(index & every_space)])
        data = scratch[np.uint64(PHYSICAL + index - begin)]
        kind = region_kind(mmu, data)
        mmu.counts[np.uint64(WALKS + kind)] += 1
        first = STREAM + index - begin + read
        last = walk(
            mmu.parameters,
            mmu.arrays,
            mmu.tables,
            mmu.entries,
            mmu.counts,
            address >> PAGE_SHIFT,
            space,
            kind,
            data,
            scratch,
            first,
        )
        scratch[np.uint64(READ + index - begin)] = last - first
        read += last - first
    position = np.int64(STREAM)
    for index in range(begin, end):
        data = scratch[np.uint64(PHYSICAL + index - begin)]
        position += scratch[np.uint64(READ + index - begin)]
        scratch[np.uint64(position)] = data << CLASS_SHIFT | DATA
        position += 1
    return position


@inline_kernel
def _through_cache(mmu, cache, end):
    """Make all references in one cache; what misses stays in the list. Where it ends then.

    What is missed is counted under the next level, and no longer under this one.
    """
    scratch, lines, counts = mmu.scratch, mmu.lines, mmu.counts
    arrays, row = mmu.arrays, (CACHES + cache) * COLUMNS
    offset, stride = column(arrays, row, OFFSET), column(arrays, row, STRIDE)
    ways, shift = column(arrays, row, WAYS), column(arrays, row, TAG_SHIFT)
    mask, sets = column(arrays, row, MASK), np.uint64(column(arrays, row, SETS))
    ahead = np.int64(AHEAD if sets > SETS_AT_HAND else 0)
    kept = np.int64(STREAM)
    missed_of_class = np.int64(0)
    old_line = np.int64(-1)
    for position in range(STREAM, end):
        if ahead > 0:
            # What lies behind the end are old references, which do no harm.
            line = scratch[np.uint64(position + ahead)] >> CLASS_SHIFT
            index = line & mask if mask >= 0 else np.int64(np.uint64(line) % sets)
            prefetch(lines, offset + index * stride)
        word = scratch[np.uint64(position)]
        line = word >> CLASS_SHIFT
        if line == old_line:
            continue  # a hit, and nothing moves
        old_line = line
        index = line & mask if mask >= 0 else np.int64(np.uint64(line) % sets)
        hit = use_lru(lines, offset + index * stride, ways, np.uint32(line >> shift))
        missed = np.int64(not hit)
        scratch[np.uint64(kept)] = word
        kept += missed
        missed_of_class += missed << (word & CLASS_MASK) * CLASS_COUNT_BITS
    following = cache + 1
    if following < MOST_CACHES and not has_cache(arrays, following):
        following = np.int64(DRAM)
    for kind in range(N_CLASSES):
        missed = missed_of_class >> kind * CLASS_COUNT_BITS & CLASS_COUNT_MASK
        counts[np.uint64(REFERENCES + 4 * kind + cache)] -= missed
        counts[np.uint64(REFERENCES + 4 * kind + following)] += missed
    return kept


@inline_kernel
def _picoseconds(mmu):
    """What all hits and references so far have taken."""
    spent = mmu.counts[Count.STLB_LOOKUPS] * mmu.parameters["stlb_hit_ps"]
    for kind in range(N_CLASSES):
        for where in range(DRAM + 1):
            times = mmu.counts[np.uint64(REFERENCES + 4 * kind + where)]
            spent += times * latency(mmu.arrays, where)
    return spent


@kernel
def run_batches(mmu, addresses, stores, spaces):
    """Access after access without overlap; `stores` and `spaces` may have one member for all.

    Allocates: no. Mutates: mmu.entries, mmu.lines, mmu.counts, mmu.clock, mmu.scratch.
    """
    every_store = np.int64(-1 if stores.size > 1 else 0)
    every_space = np.int64(-1 if spaces.size > 1 else 0)
    counts = mmu.counts
    before = _picoseconds(mmu)
    for begin in range(0, addresses.size, BATCH):
        end = min(begin + BATCH, addresses.size)
        missed = _first_level(mmu, addresses, stores, spaces, begin, end, every_store, every_space)
        walked = _second_level(
            mmu, addresses, stores, spaces, begin, missed, every_store, every_space
        )
        last = _references(mmu, addresses, spaces, begin, end, walked, every_space)
        # All stand under the first cache until they miss it.
        counts[Count.ACCESSES] += end - begin
        counts[np.uint64(REFERENCES + 4 * DATA)] += end - begin
        hosts = np.int64(0)
        if mmu.parameters["host_leaf"] > 0:
            for position in range(STREAM, last):
                hosts += np.int64(mmu.scratch[np.uint64(position)] & CLASS_MASK == HOST)
        counts[np.uint64(REFERENCES + 4 * HOST)] += hosts
        counts[np.uint64(REFERENCES + 4 * TABLE)] += last - STREAM - hosts - (end - begin)
        for cache in range(MOST_CACHES):
            if has_cache(mmu.arrays, cache):
                last = _through_cache(mmu, cache, last)
    mmu.clock[COMPLETED] += _picoseconds(mmu) - before
    mmu.clock[LATEST] = mmu.clock[COMPLETED]
