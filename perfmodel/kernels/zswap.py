"""zswap: compressed pages in a zsmalloc pool, and writeback of the coldest when it is full.

Entries stand in one LRU list, as those of one memory cgroup on one node do. Each is marked when it
is stored; the shrinker takes marks away and moves the entry to the end before it writes it back.
"""

from typing import NamedTuple

import numpy as np

from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD
from perfmodel.kernels._jit import inline_kernel, inner_kernel, kernel
from perfmodel.kernels.zsmalloc import (
    ARENA_USED,
    NONE,
    PAGES,
    ZSPAGES_MADE,
    Zspages,
    drop_object,
    store_object,
)

# Cells of `limits`.
MAX_PAGES = 0
ACCEPT_PAGES = 1
WRITEBACK = 2
KEEPS_INCOMPRESSIBLE = 3
SCAN_PAGES = 4
N_LIMITS = 5

# Cells of `counts`, the kernel's counters first.
ZSWPOUT = 0
ZSWPIN = 1
ZSWPWB = 2
POOL_LIMIT_HIT = 3
REJECT_COMPRESS_POOR = 4
REJECT_COMPRESS_FAIL = 5
WRITTEN_BACK_PAGES = 6
STORED_PAGES = 7
STORED_INCOMPRESSIBLE_PAGES = 8
N_COUNTERS = 9
REACHED_FULL = 9
SHRINK_QUEUED = 10
WRITEBACK_LOGGED = 11
N_COUNTS = 12

# What a store comes to.
REJECTED = 0
STORED = 1
TOO_SMALL = 2

# Fruitless turns after which a run of the shrinker gives up.
_MOST_FAILURES = 16


class ZswapState(NamedTuple):
    """State of zswap; every array is int64, `marked` to `region_pages` have one element a slot.

    The list of entries runs from ``ends[0]``, the coldest, to ``ends[1]``. What has been written
    back stands in the first `WRITEBACK_LOGGED` elements of `log`, until the caller clears it.
    `region_pages` is the engine's: which page of the region was stored behind a slot.
    """

    pool: Zspages
    class_of_size: np.ndarray
    limits: np.ndarray
    marked: np.ndarray
    before: np.ndarray
    following: np.ndarray
    region_pages: np.ndarray
    ends: np.ndarray
    log: np.ndarray
    counts: np.ndarray


@inner_kernel
def _unlink(s, slot):
    before, following = s.before[slot], s.following[slot]
    if before == NONE:
        s.ends[0] = following
    else:
        s.following[before] = following
    if following == NONE:
        s.ends[1] = before
    else:
        s.before[following] = before


@inner_kernel
def _append(s, slot):
    last = s.ends[1]
    s.before[slot] = last
    s.following[slot] = NONE
    if last == NONE:
        s.ends[0] = slot
    else:
        s.following[last] = slot
    s.ends[1] = slot


@inline_kernel
def holds(s, slot):
    """Whether zswap has the page of a slot."""
    return s.pool.slot_zspage[slot] != NONE


@inner_kernel
def free_entry(s, slot):
    """Forget the page of a slot, if zswap has it.

    Allocates: no. Mutates: pool, list, counters.
    """
    if not holds(s, slot):
        return
    _unlink(s, slot)
    s.counts[STORED_PAGES] -= 1
    if s.pool.slot_bytes[slot] == PAGE_BYTES:
        s.counts[STORED_INCOMPRESSIBLE_PAGES] -= 1
    drop_object(s.pool, slot)


@inner_kernel
def _full(s):
    pages = s.pool.totals[PAGES]
    if pages >= s.limits[MAX_PAGES]:
        s.counts[POOL_LIMIT_HIT] += 1
        s.counts[REACHED_FULL] = 1
    elif s.counts[REACHED_FULL] == 1 and pages <= s.limits[ACCEPT_PAGES]:
        s.counts[REACHED_FULL] = 0
    return s.counts[REACHED_FULL] == 1


@inner_kernel
def _store_page(s, slot, size):
    if size >= PAGE_BYTES:
        if s.limits[KEEPS_INCOMPRESSIBLE] == 0:
            s.counts[REJECT_COMPRESS_POOR] += 1
            return np.int64(REJECTED)
        if s.limits[WRITEBACK] == 0:
            s.counts[REJECT_COMPRESS_FAIL] += 1
            return np.int64(REJECTED)
        size = np.int64(PAGE_BYTES)
    if holds(s, slot):
        # The page was written to since: what is stored is stale and goes once the new one is in.
        _unlink(s, slot)
        s.counts[STORED_PAGES] -= 1
        if s.pool.slot_bytes[slot] == PAGE_BYTES:
            s.counts[STORED_INCOMPRESSIBLE_PAGES] -= 1
    store_object(s.pool, slot, size, s.class_of_size[size])
    s.counts[STORED_PAGES] += 1
    if size == PAGE_BYTES:
        s.counts[STORED_INCOMPRESSIBLE_PAGES] += 1
    s.marked[slot] = 1
    _append(s, slot)
    return np.int64(STORED)


@kernel
def store_folio(s, first, sizes):
    """Store a folio in the slots from `first` on; `sizes` are its pages' compressed sizes.

    All pages or none: after a rejection zswap has nothing of any of the slots.
    Allocates: no. Mutates: pool, list, counters. Returns REJECTED or STORED, or TOO_SMALL if the
    pool's arrays may not suffice, and nothing has changed.
    """
    pages = sizes.shape[0]
    pool = s.pool
    objects = np.int64(0)
    for index in range(pages):
        objects += pool.class_objects[s.class_of_size[min(sizes[index], PAGE_BYTES)]]
    if (
        pool.totals[1] + pages > pool.in_use.shape[0]
        or pool.totals[2] + objects > pool.owners.shape[0]
    ):
        return np.int64(TOO_SMALL)
    done = not _full(s)
    if done:
        for index in range(pages):
            if _store_page(s, first + index, sizes[index]) == REJECTED:
                done = False
                break
    if done:
        s.counts[ZSWPOUT] += pages
        return np.int64(STORED)
    if s.counts[REACHED_FULL] == 1:
        s.counts[SHRINK_QUEUED] = 1
    for index in range(pages):
        free_entry(s, first + index)
    return np.int64(REJECTED)


@inner_kernel
def store_run(s, first, page, pages, size, last_size):
    """Store the region pages from `page` on, of `size` bytes each, in the slots from `first` on.

    Page 511 of every 2 MiB has `last_size` bytes. All pages or none, as `store_folio`.
    Allocates: no. Mutates: pool, list, counters. Returns REJECTED, STORED or TOO_SMALL, and how
    many pages were compressed.
    """
    pool = s.pool
    most = max(
        pool.class_objects[s.class_of_size[min(size, PAGE_BYTES)]],
        pool.class_objects[s.class_of_size[min(last_size, PAGE_BYTES)]],
    )
    if (
        pool.totals[ZSPAGES_MADE] + pages > pool.in_use.shape[0]
        or pool.totals[ARENA_USED] + pages * most > pool.owners.shape[0]
    ):
        return np.int64(TOO_SMALL), np.int64(0)
    compressed = np.int64(0)
    done = not _full(s)
    while done and compressed < pages:
        last = (page + compressed) % PAGES_PER_PMD == PAGES_PER_PMD - 1
        s.region_pages[first + compressed] = page + compressed
        outcome = _store_page(s, first + compressed, last_size if last else size)
        done = outcome == STORED
        compressed += 1
    if done:
        s.counts[ZSWPOUT] += pages
        return np.int64(STORED), compressed
    if s.counts[REACHED_FULL] == 1:
        s.counts[SHRINK_QUEUED] = 1
    for index in range(pages):
        free_entry(s, first + index)
    return np.int64(REJECTED), compressed


@kernel
def load_page(s, slot):
    """Read a page and forget it; whether zswap had it.

    Allocates: no. Mutates: pool, list, counters.
    """
    if not holds(s, slot):
        return False
    s.counts[ZSWPIN] += 1
    free_entry(s, slot)
    return True


@kernel
def free_pages(s, first, pages):
    """Forget the pages of a run of slots, as freeing the slots does.

    Allocates: no. Mutates: pool, list, counters.
    """
    for slot in range(first, first + pages):
        free_entry(s, slot)


@inner_kernel
def _walk(s):
    """One look at the cold end: entries scanned and written back."""
    scanned = np.int64(0)
    written = np.int64(0)
    slot = s.ends[0]
    while scanned < s.limits[SCAN_PAGES] and slot != NONE:
        scanned += 1
        following = s.following[slot]
        if s.marked[slot] == 1:
            s.marked[slot] = 0
            _unlink(s, slot)
            _append(s, slot)
            # The last entry comes around to itself.
            slot = following
        else:
            s.log[s.counts[WRITEBACK_LOGGED]] = slot
            s.counts[WRITEBACK_LOGGED] += 1
            free_entry(s, slot)
            s.counts[ZSWPWB] += 1
            s.counts[WRITTEN_BACK_PAGES] += 1
            written += 1
            # The list's lock was dropped for the write: the walk starts anew.
            slot = s.ends[0]
    return scanned, written


@kernel
def run_shrinker(s):
    """Run the queued shrinker, see `choose_cold`. Returns how many pages it wrote back."""
    return choose_cold(s)


@inner_kernel
def choose_cold(s):
    """Write back until the pool is below its accept threshold; the slots stand in `log`.

    It gives up after 16 looks that wrote nothing back, as the kernel's worker does.
    Allocates: no. Mutates: pool, list, counters, log. Returns how many pages it wrote back.
    """
    s.counts[SHRINK_QUEUED] = 0
    if s.limits[WRITEBACK] == 0:
        return np.int64(0)
    before = s.counts[ZSWPWB]
    failures = 0
    while True:
        scanned, written = _walk(s)
        if scanned == 0:
            break
        if written == 0:
            failures += 1
            if failures == _MOST_FAILURES:
                break
        if s.pool.totals[PAGES] <= s.limits[ACCEPT_PAGES]:
            break
    return s.counts[ZSWPWB] - before
