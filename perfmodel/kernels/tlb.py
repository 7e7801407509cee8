"""Two-level TLB with exact LRU: ways of a set stand in the order of their last use.

`tlb` is one int64 array of four rows of tags, -1 where empty: L1 for 4 KiB pages, L1 for 2 MiB
pages, STLB for 4 KiB, STLB for 2 MiB. A level that both page sizes share uses only its first row.
A level has `sets` x `ways` entries, set s in columns s * ways to (s + 1) * ways - 1.
"""

from perfmodel.constants import PAGES_PER_PMD, Event
from perfmodel.kernels._jit import inline_kernel, kernel

L1 = 0
STLB = 2
HUGE = 1  # added to a level's row for 2 MiB pages


@inline_kernel
def _lookup(row, sets, ways, tag, index):
    """Look a tag up and move it to the front of its set, inserting it on a miss. True on a hit.

    A miss takes an invalidated way where there is one, else the least recently used.
    """
    first = (index % sets) * ways
    way = 0
    victim = ways - 1
    while way < ways and row[first + way] != tag:
        if row[first + way] < 0:
            victim = way
        way += 1
    hit = way < ways
    if not hit:
        way = victim
    while way > 0:
        row[first + way] = row[first + way - 1]
        way -= 1
    row[first] = tag
    return hit


@kernel
def flush(tlb):
    """Forget every translation. Allocates: no. Mutates: tlb."""
    for level in range(tlb.shape[0]):
        for entry in range(tlb.shape[1]):
            tlb[level, entry] = -1


@kernel
def forget_pages(tlb, region):
    """Invalidate every 4 KiB translation of one 2 MiB range. Allocates: no. Mutates: tlb."""
    first = region * PAGES_PER_PMD
    for level in (L1, STLB):
        for entry in range(tlb.shape[1]):
            tag = tlb[level, entry]
            if tag >= 0 and tag & 1 == 0 and first <= tag >> 1 < first + PAGES_PER_PMD:
                tlb[level, entry] = -1


@inline_kernel
def _forget_one(row, sets, ways, tag, index):
    first = (index % sets) * ways
    for way in range(ways):
        if row[first + way] == tag:
            row[first + way] = -1


@inline_kernel
def forget_huge(parameters, tlb, region):
    """Invalidate the 2 MiB translation of one range. Allocates: no. Mutates: tlb."""
    tag = region * 2 + 1
    l1_row = L1 if parameters["l1_shared"] == 1 else L1 + HUGE
    stlb_row = STLB if parameters["stlb_shared"] == 1 else STLB + HUGE
    _forget_one(tlb[l1_row], parameters["l1_sets_2m"], parameters["l1_ways_2m"], tag, region)
    _forget_one(tlb[stlb_row], parameters["stlb_sets_2m"], parameters["stlb_ways_2m"], tag, region)


@inline_kernel
def translate(parameters, tlb, page, huge, events):
    """One access's translation through L1 and STLB; counts the STLB hit or the walk.

    `page` is the 4 KiB page number, `huge` is 1 where a 2 MiB leaf maps it.
    Allocates: no. Mutates: tlb, events.
    """
    if huge == 1:
        number = page // PAGES_PER_PMD
        l1_row = L1 if parameters["l1_shared"] == 1 else L1 + HUGE
        stlb_row = STLB if parameters["stlb_shared"] == 1 else STLB + HUGE
        l1_sets, l1_ways = parameters["l1_sets_2m"], parameters["l1_ways_2m"]
        stlb_sets, stlb_ways = parameters["stlb_sets_2m"], parameters["stlb_ways_2m"]
    else:
        number = page
        l1_row = L1
        stlb_row = STLB
        l1_sets, l1_ways = parameters["l1_sets_4k"], parameters["l1_ways_4k"]
        stlb_sets, stlb_ways = parameters["stlb_sets_4k"], parameters["stlb_ways_4k"]
    tag = number * 2 + huge
    if _lookup(tlb[l1_row], l1_sets, l1_ways, tag, number):
        return
    if _lookup(tlb[stlb_row], stlb_sets, stlb_ways, tag, number):
        events[Event.STLB_HIT] += 1
    elif huge == 1:
        events[Event.WALK_PMD] += 1
    else:
        events[Event.WALK_PTE] += 1
