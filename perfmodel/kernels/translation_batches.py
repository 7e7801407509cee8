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
from perfmodel.kernels._lanes import cast_lane, lanes_of, prefetch
from perfmodel.kernels.data_caches import column, has_cache, latency
from perfmodel.kernels.recency import use_block, use_lru
from perfmodel.kernels.translation import (
    REFERENCES,
    TLB_HITS,
    WALKS,
    look_up,
    physical_line,
)
from perfmodel.kernels.translation_layout import (
    ARRAY,
    BATCH,
    CACHES,
    CHOICES,
    CLASS_SHIFT,
    COLUMNS,
    COMPLETED,
    DATA,
    DRAM,
    HELD,
    HOST,
    INDICES,
    KEYS,
    LATEST,
    MASK,
    MOST_CACHES,
    N_CLASSES,
    N_KINDS,
    NUMBER_SHIFT,
    OFFSET,
    ORDER,
    ORDER_MASK,
    PAGE_SHIFT,
    PATH_COLUMNS,
    PLAIN,
    PLAIN_COLUMNS,
    READ,
    REGION_SHIFT,
    SETS,
    SHORT,
    SPACE_MASK,
    SPACE_SHIFT,
    STREAM,
    STRIDE,
    TABLE,
    TABLE_SHIFT,
    TAG_SHIFT,
    TREE,
    WAYS,
    Count,
)
from perfmodel.kernels.walk import walk

LEVEL_PATHS = 2 * N_KINDS
LANES = 8  # of a block of translations

# What is known of a path of a plain level.
PLAIN_ORDER = 0
PLAIN_HALVES = 1  # 1 where two arrays share the size, else 0
PLAIN_MASK = 2
PLAIN_LAST = 3  # bit of the last way
PLAIN_FIRST = 4  # where set 0 lies
PLAIN_ARRAY = 5
PLAIN_OTHER_FIRST = 6  # from the first array's to the second's
PLAIN_OTHER_ARRAY = 7

# What a level looks like.
PLAIN_LEVEL = 1
PLAIN_WITH_HALVES = 2

AHEAD = 24  # references
BYTES_AT_HAND = 1 << 17  # that the host reads fast enough without being asked beforehand


@inline_kernel
def _make_plain(paths, scratch, level, stores):
    """Describe the paths in short that these accesses take through a level. 0 where that fails.

    It can be done where one or two alike arrays hold a size, and each set is one LRU block.
    """
    looks = np.int64(PLAIN_LEVEL)
    # Loads may be plain where stores are not.
    first = np.int64(stores[0] * N_KINDS if stores.size == 1 else 0)
    end = np.int64(first + N_KINDS if stores.size == 1 else LEVEL_PATHS)
    for path in range(level * LEVEL_PATHS + first, level * LEVEL_PATHS + end):
        way = path * PATH_COLUMNS
        row = way + CHOICES
        held = column(paths, way, HELD)
        other = row + COLUMNS if held == 2 else row
        mask, ways = column(paths, row, MASK), column(paths, row, WAYS)
        alike = mask == column(paths, other, MASK) and ways == column(paths, other, WAYS)
        tree = column(paths, row, TREE) + column(paths, other, TREE)
        if held > 2 or not alike or mask < 0 or tree > 0 or not 0 < ways <= LANES:
            return np.int64(0)
        if held == 2:
            looks = np.int64(PLAIN_WITH_HALVES)
        short = PLAIN + path * PLAIN_COLUMNS
        scratch[np.uint64(short + PLAIN_ORDER)] = column(paths, way, ORDER)
        scratch[np.uint64(short + PLAIN_HALVES)] = held - 1
        scratch[np.uint64(short + PLAIN_MASK)] = mask
        scratch[np.uint64(short + PLAIN_LAST)] = np.int64(1) << (ways - 1)
        for place, what in ((PLAIN_FIRST, OFFSET), (PLAIN_ARRAY, ARRAY)):
            here, there = column(paths, row, what), column(paths, other, what)
            scratch[np.uint64(short + place)] = here
            scratch[np.uint64(short + place + 2)] = there - here
    return looks


@inline_kernel
def _look_up(mmu, level, plain, path, page, space):
    """Use a translation in one level. The array that may hold it, and if it was there."""
    if plain == 0:
        path += level * LEVEL_PATHS
        return look_up(mmu.arrays, mmu.paths, mmu.entries, path, page, space)
    scratch = mmu.scratch
    row = PLAIN + (path + level * LEVEL_PATHS) * PLAIN_COLUMNS
    order = scratch[np.uint64(row + PLAIN_ORDER)]
    number = page >> order
    tag = number << NUMBER_SHIFT | space << SPACE_SHIFT | order
    array = scratch[np.uint64(row + PLAIN_ARRAY)]
    first = scratch[np.uint64(row + PLAIN_FIRST)]
    if plain == PLAIN_WITH_HALVES:
        # No branch, because nothing foretells which half the next page belongs to.
        halves = scratch[np.uint64(row + PLAIN_HALVES)]
        other = -(number & halves)
        number >>= halves
        array += scratch[np.uint64(row + PLAIN_OTHER_ARRAY)] & other
        first += scratch[np.uint64(row + PLAIN_OTHER_FIRST)] & other
    first += (number & scratch[np.uint64(row + PLAIN_MASK)]) * LANES
    return array, use_block(mmu.entries, first, scratch[np.uint64(row + PLAIN_LAST)], tag)


@inline_kernel
def _list(mmu, alike, addresses, stores, spaces, begin, end):
    """List a batch's accesses but for those that repeat the one before. How many.

    `alike` says that all are of one kind and space.
    """
    scratch, kinds = mmu.scratch, mmu.kinds
    first_region, regions = mmu.parameters["first_region"], mmu.parameters["regions"]
    every_store = np.int64(-1 if stores.size > 1 else 0)
    every_space = np.int64(-1 if spaces.size > 1 else 0)
    store, space = np.int64(stores[0]), np.int64(spaces[0])
    listed = np.int64(0)
    old = np.int64(-1)
    for index in range(begin, end):
        address = addresses[np.uint64(index)]
        if alike == 0:
            store = np.int64(stores[np.uint64(index & every_store)])
            space = np.int64(spaces[np.uint64(index & every_space)])
        key = address >> PAGE_SHIFT << NUMBER_SHIFT | space << SPACE_SHIFT | store
        if key == old:
            continue
        old = key
        region = (address >> REGION_SHIFT) - first_region + space * regions
        kind = np.int64(kinds[np.uint64(region)])
        scratch[np.uint64(INDICES + listed)] = index - begin
        scratch[np.uint64(KEYS + listed)] = key + kind + (N_KINDS - 1) * store
        listed += 1
    scratch[np.uint64(INDICES + listed)] = end - begin
    return listed


@inline_kernel
def _through_tlbs(mmu, level, plain, listed):
    """Look up what is listed in one level; what misses stays in the list. How many."""
    scratch, counts = mmu.scratch, mmu.counts
    missed = np.int64(0)
    for turn in range(listed):
        index = scratch[np.uint64(INDICES + turn)]
        key = scratch[np.uint64(KEYS + turn)]
        page, space, path = key >> NUMBER_SHIFT, key >> SPACE_SHIFT & SPACE_MASK, key & ORDER_MASK
        array, hit = _look_up(mmu, level, plain, path, page, space)
        hits = np.int64(hit)
        if level == 0:
            # Nothing moves when an access repeats the one before.
            hits += scratch[np.uint64(INDICES + turn + 1)] - index - 1
        counts[np.uint64(TLB_HITS + array)] += hits
        scratch[np.uint64(INDICES + missed)] = index
        scratch[np.uint64(KEYS + missed)] = key
        missed += np.int64(not hit)
    return missed


@inline_kernel
def _translate(mmu, plain1, plain2, addresses, stores, spaces, begin, end):
    """Look a batch up in the TLBs; list what has to be walked. How many."""
    no, yes, halves = np.int64(0), np.int64(1), np.int64(PLAIN_WITH_HALVES)
    if stores.size == 1 and spaces.size == 1:
        listed = _list(mmu, yes, addresses, stores, spaces, begin, end)
    else:
        listed = _list(mmu, no, addresses, stores, spaces, begin, end)
    if plain1 == PLAIN_LEVEL:
        missed = _through_tlbs(mmu, no, yes, listed)
    elif plain1 == PLAIN_WITH_HALVES:
        missed = _through_tlbs(mmu, no, halves, listed)
    else:
        missed = _through_tlbs(mmu, no, no, listed)
    mmu.counts[Count.STLB_LOOKUPS] += missed
    if plain2 == PLAIN_LEVEL:
        return _through_tlbs(mmu, yes, yes, missed)
    if plain2 == PLAIN_WITH_HALVES:
        return _through_tlbs(mmu, yes, halves, missed)
    return _through_tlbs(mmu, yes, no, missed)


@inline_kernel
def _references(mmu, addresses, spaces, begin, end, walked, every_space):
    """Walk what has to be walked, and list all references of the batch in order. Where they end."""
    scratch = mmu.scratch
    first_region, regions = mmu.parameters["first_region"], mmu.parameters["regions"]
    for index in range(end - begin):
        scratch[np.uint64(READ + index)] = 0
    read = np.int64(0)  # by the walks so far
    for turn in range(walked):
        index = scratch[np.uint64(INDICES + turn)]
        key = scratch[np.uint64(KEYS + turn)]
        page, space, path = key >> NUMBER_SHIFT, key >> SPACE_SHIFT & SPACE_MASK, key & ORDER_MASK
        kind = path - N_KINDS if path >= N_KINDS else path
        mmu.counts[np.uint64(WALKS + kind)] += 1
        first = STREAM + index + read
        data_page = page + (space * regions - first_region << TABLE_SHIFT)
        last = walk(
            mmu.parameters,
            mmu.arrays,
            mmu.tables,
            mmu.entries,
            mmu.counts,
            page,
            space,
            kind,
            data_page,
            scratch,
            first,
        )
        scratch[np.uint64(READ + index)] = last - first
        read += last - first
    position = np.int64(STREAM)
    for index in range(begin, end):
        space = np.int64(spaces[np.uint64(index & every_space)])
        data = physical_line(mmu.parameters, addresses[np.uint64(index)], space)
        # Meanwhile the next batch's addresses come near.
        prefetch(addresses, index + BATCH)
        position += scratch[np.uint64(READ + index - begin)]
        scratch[np.uint64(position)] = data << CLASS_SHIFT | DATA
        position += 1
    return position


@inline_kernel
def _classes(scratch, end):
    """How many references to data, to tables and of the host are in the list."""
    tables, hosts = np.int64(0), np.int64(0)
    for position in range(STREAM, end):
        word = scratch[np.uint64(position)]
        tables += word & TABLE
        hosts += word & HOST
    hosts //= HOST
    return end - STREAM - tables - hosts, tables, hosts


@inline_kernel
def _enter(counts, where, begun, missed):
    """Count the references that ended somewhere: those that began there and did not miss."""
    counts[np.uint64(REFERENCES + 4 * DATA + where)] += begun[0] - missed[0]
    counts[np.uint64(REFERENCES + 4 * TABLE + where)] += begun[1] - missed[1]
    counts[np.uint64(REFERENCES + 4 * HOST + where)] += begun[2] - missed[2]


@inline_kernel
def _set_begin(line, sets, even):
    """Where the set of a line lies; there are `odd` times a power of two sets."""
    offset, stride, mask, shift, odd, reciprocal, bits = sets
    if even > 0:
        return offset + (line & mask) * stride
    upper = line >> shift
    upper -= (upper * reciprocal >> bits) * odd
    return offset + (upper << shift | line & mask) * stride


@inline_kernel
def _refer_to_all(scratch, lines, end, sets, ways, even, ahead, block):
    """Make all references in one cache; what misses stays in the list. Where it ends then."""
    shift = sets[3]
    last = np.int64(1) << (ways - 1)
    kept = np.int64(STREAM)
    old_line = np.int64(-1)
    for position in range(STREAM, end):
        if ahead > 0:
            # What lies behind the end are old references, which do no harm.
            line = scratch[np.uint64(position + ahead)] >> CLASS_SHIFT
            prefetch(lines, _set_begin(line, sets, even))
        word = scratch[np.uint64(position)]
        line = word >> CLASS_SHIFT
        if line == old_line:
            continue  # a hit, and nothing moves
        old_line = line
        first = _set_begin(line, sets, even)
        if block > 0:
            hit = use_block(lines, first, last, cast_lane(lines, line >> shift))
        else:
            hit = use_lru(lines, first, ways, cast_lane(lines, line >> shift))
        scratch[np.uint64(kept)] = word
        kept += np.int64(not hit)
    return kept


@inline_kernel
def _through_cache(arrays, scratch, lines, cache, end):
    """The same, by the loop that does the least for this cache."""
    row = (CACHES + cache) * COLUMNS
    ways, shift = column(arrays, row, WAYS), column(arrays, row, TAG_SHIFT)
    count = column(arrays, row, SETS)
    odd = count >> shift
    # Exact for all tags below 2^31, and less to do than a division.
    bits = np.int64(31)
    while odd >> (bits - 31) > 0:
        bits += 1
    reciprocal = (np.int64(1) << bits) // odd + 1
    lanes = lanes_of(lines)
    block = ways <= lanes
    sets = (
        column(arrays, row, OFFSET),
        lanes if block else column(arrays, row, STRIDE),
        (np.int64(1) << shift) - 1,
        shift,
        odd,
        reciprocal,
        bits,
    )
    no, yes, ahead = np.int64(0), np.int64(1), np.int64(AHEAD)
    if not block:
        return _refer_to_all(scratch, lines, end, sets, ways, no, ahead, no)
    if odd > 1:
        return _refer_to_all(scratch, lines, end, sets, ways, no, ahead, yes)
    if count * lanes * lines.itemsize > BYTES_AT_HAND:
        return _refer_to_all(scratch, lines, end, sets, ways, yes, ahead, yes)
    return _refer_to_all(scratch, lines, end, sets, ways, yes, no, yes)


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

    Allocates: no.
    Mutates: mmu.entries, mmu.lines, mmu.short_lines, mmu.counts, mmu.clock, mmu.scratch.
    """
    every_space = np.int64(-1 if spaces.size > 1 else 0)
    counts = mmu.counts
    before = _picoseconds(mmu)
    plain1 = _make_plain(mmu.paths, mmu.scratch, np.int64(0), stores)
    plain2 = _make_plain(mmu.paths, mmu.scratch, np.int64(1), stores)
    nothing = (np.int64(0), np.int64(0), np.int64(0))
    for begin in range(0, addresses.size, BATCH):
        end = min(begin + BATCH, addresses.size)
        walked = _translate(mmu, plain1, plain2, addresses, stores, spaces, begin, end)
        last = _references(mmu, addresses, spaces, begin, end, walked, every_space)
        counts[Count.ACCESSES] += end - begin
        begun = _classes(mmu.scratch, last)
        for cache in range(MOST_CACHES):
            if has_cache(mmu.arrays, cache):
                if column(mmu.arrays, (CACHES + cache) * COLUMNS, SHORT) > 0:
                    last = _through_cache(mmu.arrays, mmu.scratch, mmu.short_lines, cache, last)
                else:
                    last = _through_cache(mmu.arrays, mmu.scratch, mmu.lines, cache, last)
                missed = _classes(mmu.scratch, last)
                _enter(counts, cache, begun, missed)
                begun = missed
        _enter(counts, np.int64(DRAM), begun, nothing)
    mmu.clock[COMPLETED] += _picoseconds(mmu) - before
    mmu.clock[LATEST] = mmu.clock[COMPLETED]
