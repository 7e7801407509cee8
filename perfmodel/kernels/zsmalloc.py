"""zsmalloc: objects of a few size classes in zspages of a few pages each.

One zspage has objects of one class; it stands in one of twelve lists by how full it is. An object
goes to the fullest zspage that has room, and moves when its class is compacted. Where each object
of a zspage is free, its links make a list, last freed first, as in the kernel.

A zspage that has been freed keeps its number and its place in the arena for the next one of its
class. Nothing here allocates: `models.zsmalloc` makes the arrays and enlarges them.
"""

from typing import NamedTuple

import numpy as np

from perfmodel.kernels._jit import inline_kernel, inner_kernel, kernel

# Lists by fullness: empty, tenths of the objects in use, all of them.
GROUPS = 12
EMPTY_GROUP = 0
FULL_GROUP = GROUPS - 1
NONE = -1

# Cells of `totals`.
PAGES = 0
ZSPAGES_MADE = 1
ARENA_USED = 2
OBJECTS = 3
STORED_BYTES = 4
PAGES_COMPACTED = 5
N_TOTALS = 6


class Zspages(NamedTuple):
    """State of a pool; every array is int64.

    ``class_*`` have an element for each class, ``heads`` one for each class and group;
    ``in_use`` to ``following`` one for each zspage; ``owners`` and ``links`` one for each object;
    ``slot_*`` one for each slot, which is whatever the caller numbers what it stores by.
    """

    class_pages: np.ndarray
    class_objects: np.ndarray
    class_allocated: np.ndarray
    class_in_use: np.ndarray
    class_spare: np.ndarray
    heads: np.ndarray
    in_use: np.ndarray
    group: np.ndarray
    size_class: np.ndarray
    first_free: np.ndarray
    base: np.ndarray
    before: np.ndarray
    following: np.ndarray
    owners: np.ndarray
    links: np.ndarray
    slot_zspage: np.ndarray
    slot_object: np.ndarray
    slot_bytes: np.ndarray
    totals: np.ndarray


@inline_kernel
def _fullness(z, zspage):
    used = z.in_use[zspage]
    objects = z.class_objects[z.size_class[zspage]]
    if used == 0:
        return np.int64(EMPTY_GROUP)
    if used == objects:
        return np.int64(FULL_GROUP)
    return 100 * used // objects // 10 + 1


@inner_kernel
def _insert(z, zspage, group):
    head = z.size_class[zspage] * GROUPS + group
    first = z.heads[head]
    z.before[zspage] = NONE
    z.following[zspage] = first
    if first != NONE:
        z.before[first] = zspage
    z.heads[head] = zspage
    z.group[zspage] = group


@inner_kernel
def _remove(z, zspage):
    before, following = z.before[zspage], z.following[zspage]
    if before == NONE:
        z.heads[z.size_class[zspage] * GROUPS + z.group[zspage]] = following
    else:
        z.following[before] = following
    if following != NONE:
        z.before[following] = before


@inner_kernel
def _fix_fullness(z, zspage):
    group = _fullness(z, zspage)
    if group != z.group[zspage]:
        _remove(z, zspage)
        _insert(z, zspage, group)
    return group


@inline_kernel
def _take(z, zspage, slot):
    """Give a zspage's first free object to a slot."""
    index = z.first_free[zspage]
    place = z.base[zspage] + index
    z.first_free[zspage] = z.links[place]
    z.owners[place] = slot
    z.in_use[zspage] += 1
    z.slot_zspage[slot] = zspage
    z.slot_object[slot] = index


@inline_kernel
def _release(z, zspage, index):
    place = z.base[zspage] + index
    z.owners[place] = NONE
    z.links[place] = z.first_free[zspage]
    z.first_free[zspage] = index
    z.in_use[zspage] -= 1


@inner_kernel
def _new_zspage(z, size_class):
    """An empty zspage in no list; NONE if the arrays are too short."""
    objects = z.class_objects[size_class]
    zspage = z.class_spare[size_class]
    if zspage != NONE:
        z.class_spare[size_class] = z.following[zspage]
    else:
        zspage = z.totals[ZSPAGES_MADE]
        place = z.totals[ARENA_USED]
        if zspage >= z.in_use.shape[0] or place + objects > z.owners.shape[0]:
            return np.int64(NONE)
        z.totals[ZSPAGES_MADE] += 1
        z.totals[ARENA_USED] += objects
        z.size_class[zspage] = size_class
        z.base[zspage] = place
    start = z.base[zspage]
    for index in range(objects):
        z.owners[start + index] = NONE
        z.links[start + index] = index + 1 if index + 1 < objects else NONE
    z.first_free[zspage] = 0
    z.in_use[zspage] = 0
    z.class_allocated[size_class] += objects
    z.totals[PAGES] += z.class_pages[size_class]
    return zspage


@inner_kernel
def _free_zspage(z, zspage):
    _remove(z, zspage)
    size_class = z.size_class[zspage]
    z.following[zspage] = z.class_spare[size_class]
    z.class_spare[size_class] = zspage
    z.class_allocated[size_class] -= z.class_objects[size_class]
    z.totals[PAGES] -= z.class_pages[size_class]


@inner_kernel
def _free_object(z, zspage, index, size):
    _release(z, zspage, index)
    z.class_in_use[z.size_class[zspage]] -= 1
    z.totals[OBJECTS] -= 1
    z.totals[STORED_BYTES] -= size
    if _fix_fullness(z, zspage) == EMPTY_GROUP:
        _free_zspage(z, zspage)


@inner_kernel
def store_object(z, slot, size, size_class):
    """Store an object behind a slot; what was there before goes after the new one has its place.

    Allocates: no. Mutates: the pool. Returns whether the arrays were long enough; if not, nothing
    has changed.
    """
    zspage = np.int64(NONE)
    for group in range(FULL_GROUP - 1, EMPTY_GROUP - 1, -1):
        zspage = z.heads[size_class * GROUPS + group]
        if zspage != NONE:
            break
    fresh = zspage == NONE
    if fresh:
        zspage = _new_zspage(z, size_class)
        if zspage == NONE:
            return False
    old_zspage, old_object = z.slot_zspage[slot], z.slot_object[slot]
    old_size = z.slot_bytes[slot]
    _take(z, zspage, slot)
    if fresh:
        _insert(z, zspage, _fullness(z, zspage))
    else:
        _fix_fullness(z, zspage)
    z.slot_bytes[slot] = size
    z.class_in_use[size_class] += 1
    z.totals[OBJECTS] += 1
    z.totals[STORED_BYTES] += size
    if old_zspage != NONE:
        _free_object(z, old_zspage, old_object, old_size)
    return True


@inner_kernel
def drop_object(z, slot):
    """Free what stands behind a slot, if anything does.

    Allocates: no. Mutates: the pool.
    """
    zspage = z.slot_zspage[slot]
    if zspage != NONE:
        _free_object(z, zspage, z.slot_object[slot], z.slot_bytes[slot])
        z.slot_zspage[slot] = NONE
        z.slot_bytes[slot] = 0


@kernel
def store_objects(z, slots, sizes, classes, first):
    """Store objects in order from the one numbered `first`; a class of NONE frees the slot.

    Allocates: no. Mutates: the pool. Returns how many of them are done; fewer than all if the
    arrays are too short.
    """
    for index in range(first, slots.shape[0]):
        if classes[index] == NONE:
            drop_object(z, slots[index])
        elif not store_object(z, slots[index], sizes[index], classes[index]):
            return index
    return slots.shape[0]


@inner_kernel
def _isolate(z, size_class, first, step):
    """Take the first zspage out of the first list that has one, from group `first` on."""
    group = first
    while EMPTY_GROUP < group < FULL_GROUP:
        zspage = z.heads[size_class * GROUPS + group]
        if zspage != NONE:
            _remove(z, zspage)
            return zspage
        group += step
    return np.int64(NONE)


@inner_kernel
def _migrate(z, source, target):
    objects = z.class_objects[z.size_class[source]]
    for index in range(objects):
        slot = z.owners[z.base[source] + index]
        if slot == NONE:
            continue
        _take(z, target, slot)
        _release(z, source, index)
        if z.in_use[target] == objects or z.in_use[source] == 0:
            return


@kernel
def compact(z):
    """Move objects out of sparse zspages into full ones, and free those that get empty.

    Allocates: no. Mutates: the pool. Returns the number of freed pages.
    """
    before = z.totals[PAGES]
    for size_class in range(z.class_pages.shape[0] - 1, -1, -1):
        target = np.int64(NONE)
        objects = z.class_objects[size_class]
        while z.class_allocated[size_class] - z.class_in_use[size_class] >= objects:
            if target == NONE:
                target = _isolate(z, size_class, np.int64(FULL_GROUP - 1), np.int64(-1))
                if target == NONE:
                    break
            source = _isolate(z, size_class, np.int64(EMPTY_GROUP + 1), np.int64(1))
            if source == NONE:
                break
            _migrate(z, source, target)
            _insert(z, source, _fullness(z, source))
            if z.in_use[source] == 0:
                _free_zspage(z, source)
            if z.in_use[target] == objects:
                _insert(z, target, np.int64(FULL_GROUP))
                target = np.int64(NONE)
        if target != NONE:
            _insert(z, target, _fullness(z, target))
    freed = before - z.totals[PAGES]
    z.totals[PAGES_COMPACTED] += freed
    return freed
