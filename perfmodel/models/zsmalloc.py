"""The memory that compressed pages take: zsmalloc's size classes, and a pool that ages.

The rules are those of mm/zsmalloc.c in Linux 6.18; the live kernel's mm_stat is the judge, see
docs/zram.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES
from perfmodel.kernels import zsmalloc as kernels
from perfmodel.kernels.zsmalloc import NONE, Zspages

_Integers = npt.NDArray[np.int64]

HANDLE_BYTES = 8
_LEAST_BYTES = 32
_CLASS_BITS = 8
DEFAULT_CHAIN_PAGES = 8
MOST_CHAIN_PAGES = 16
# Slab objects beside the pages: what a handle points to, and a zspage's descriptor.
ZSPAGE_DESCRIPTOR_BYTES = 56


class SizeClass(NamedTuple):
    """Objects of one size, several of which make a zspage."""

    object_bytes: int
    pages: int
    objects: int

    @property
    def waste_bytes(self) -> int:
        """What stays unused at the end of each zspage."""
        return self.pages * PAGE_BYTES - self.objects * self.object_bytes

    @property
    def huge(self) -> bool:
        """Whether each object has a page of its own."""
        return self.pages == self.objects == 1


def _chain(object_bytes: int, block_bytes: int, longest: int) -> int:
    """Blocks of a zspage: the fewest that leave the least at its end."""
    if object_bytes & (object_bytes - 1) == 0:
        return 1
    return min(range(1, longest + 1), key=lambda blocks: blocks * block_bytes % object_bytes)


@attrs.frozen
class SizeClasses:
    """The size classes of a pool.

    Parameters
    ----------
    chain_pages : int
        CONFIG_ZSMALLOC_CHAIN_SIZE: the most pages that a zspage has; 4 to 16, 8 by default.
    unit_pages : int
        Pages that are compressed together. Stock kernels have 1; with more, sizes beyond a page are
        as in the multi-page series of T. Zheng and B. Song (2024): as many classes again,
        `unit_pages` times as far apart, and their zspages are chains of blocks of `unit_pages`.

    Examples
    --------
    >>> classes = SizeClasses()
    >>> len(classes.classes), classes.huge_bytes
    (123, 3625)
    >>> classes.of(2000)
    SizeClass(object_bytes=2016, pages=1, objects=2)
    """

    chain_pages: int = attrs.field(default=DEFAULT_CHAIN_PAGES)
    unit_pages: int = attrs.field(default=1)
    classes: tuple[SizeClass, ...] = attrs.field(init=False)
    huge_bytes: int = attrs.field(init=False)
    _by_step: _Integers = attrs.field(init=False, eq=False, repr=False)

    @chain_pages.validator
    def _is_a_chain(self, _: object, value: object) -> None:
        if type(value) is not int or not 4 <= value <= MOST_CHAIN_PAGES:
            raise ValueError(f"must be a whole number from 4 to {MOST_CHAIN_PAGES}")

    @unit_pages.validator
    def _is_a_unit(self, _: object, value: object) -> None:
        if type(value) is not int or value not in (1, 2, 4, 8, 16, 32):
            raise ValueError("must be 1, 2, 4, 8, 16 or 32")

    def __attrs_post_init__(self) -> None:
        sizes = self._sizes()
        merged: list[SizeClass] = []
        by_step = np.zeros(len(sizes), dtype=np.int64)
        huge = 0
        for step in reversed(range(len(sizes))):
            size = sizes[step]
            block_pages = 1 if size <= PAGE_BYTES else self.unit_pages
            blocks = _chain(size, block_pages * PAGE_BYTES, self.chain_pages)
            pages = blocks * block_pages
            objects = pages * PAGE_BYTES // size
            if blocks != 1 and objects != 1 and not huge:
                # A handle comes to each object before its class is looked up.
                huge = size - (HANDLE_BYTES - 1)
            if not merged or merged[-1][1:] != (pages, objects):
                merged.append(SizeClass(size, pages, objects))
            by_step[step] = len(merged) - 1
        by_step = len(merged) - 1 - by_step
        by_step.flags.writeable = False
        object.__setattr__(self, "classes", tuple(reversed(merged)))
        object.__setattr__(self, "huge_bytes", huge)
        object.__setattr__(self, "_by_step", by_step)

    @property
    def unit_bytes(self) -> int:
        """What is compressed together, and the size of the largest object."""
        return self.unit_pages * PAGE_BYTES

    @property
    def step_bytes(self) -> int:
        """Distance of neighbouring sizes up to a page."""
        return PAGE_BYTES >> _CLASS_BITS

    def _sizes(self) -> list[int]:
        """Every size before classes are merged."""
        sizes = list(range(_LEAST_BYTES, PAGE_BYTES + 1, self.step_bytes))
        if self.unit_pages > 1:
            step = self.unit_bytes >> _CLASS_BITS
            sizes += range(PAGE_BYTES + step, self.unit_bytes + 1, step)
        return sizes

    def index(self, sizes: npt.ArrayLike) -> _Integers:
        """Class of each stored size in bytes, without the handle; int64, shape as given."""
        with_handle = np.asarray(sizes, dtype=np.int64) + HANDLE_BYTES
        if with_handle.size and not (
            with_handle.min() > HANDLE_BYTES and with_handle.max() <= self.unit_bytes + HANDLE_BYTES
        ):
            raise ValueError(f"sizes must be from 1 to {self.unit_bytes} bytes")
        # An object of a whole unit needs no room for its handle.
        with_handle = np.minimum(with_handle, self.unit_bytes)
        step = -(-np.maximum(with_handle - _LEAST_BYTES, 0) // self.step_bytes)
        if self.unit_pages > 1:
            small = (PAGE_BYTES - _LEAST_BYTES) // self.step_bytes
            beyond = -(-(with_handle - PAGE_BYTES) // (self.unit_bytes >> _CLASS_BITS))
            step = np.where(with_handle > PAGE_BYTES + HANDLE_BYTES, small + beyond, step)
            step = np.where(with_handle <= PAGE_BYTES + HANDLE_BYTES, np.minimum(step, small), step)
        found: _Integers = self._by_step[step]
        return found

    def of(self, size: int) -> SizeClass:
        """Class of one stored size in bytes."""
        return self.classes[int(self.index(size))]

    def stored_bytes(self, compressed: npt.ArrayLike) -> _Integers:
        """What zram stores of units that compress to so many bytes.

        From `huge_bytes` on it keeps a unit as it is.
        """
        sizes = np.asarray(compressed, dtype=np.int64)
        return np.where(sizes >= self.huge_bytes, self.unit_bytes, sizes)


class Zsmalloc:
    """A pool of compressed objects, each behind a slot that the caller numbers.

    Parameters
    ----------
    slots : int
        Slots are 0 to `slots` - 1.
    classes : SizeClasses, optional

    Examples
    --------
    >>> pool = Zsmalloc(slots=4)
    >>> pool.store([0, 1, 2], [2000, 2000, 2000])
    >>> pool.pages
    2
    """

    def __init__(self, slots: int, classes: SizeClasses | None = None) -> None:
        self.classes = SizeClasses() if classes is None else classes
        self.slots = slots
        self.state = fresh_zspages(self.classes, slots)

    def store(self, slots: Iterable[int], sizes: Iterable[int]) -> None:
        """Store objects in order; 0 bytes free a slot and store nothing.

        Parameters
        ----------
        slots, sizes
            Slot and size in bytes of each object.
        """
        numbers = self._numbers(slots)
        stored = np.array(list(sizes), dtype=np.int64)
        if stored.shape != numbers.shape:
            raise ValueError("there must be a size for each slot")
        classes = np.full(len(stored), NONE, dtype=np.int64)
        classes[stored > 0] = self.classes.index(stored[stored > 0])
        if stored.size and stored.min() < 0:
            raise ValueError("sizes must not be negative")
        self._run(numbers, stored, classes)

    def free(self, slots: Iterable[int]) -> None:
        """Free slots in order; those that hold nothing stay so."""
        numbers = self._numbers(slots)
        zeros = np.zeros(len(numbers), dtype=np.int64)
        self._run(numbers, zeros, zeros + NONE)

    def compact(self) -> int:
        """Compact all classes, as writing to zram's ``compact`` does; the number of freed pages."""
        return int(kernels.compact(self.state))

    def _numbers(self, slots: Iterable[int]) -> _Integers:
        numbers = np.array(list(slots), dtype=np.int64)
        if numbers.size and not (numbers.min() >= 0 and numbers.max() < self.slots):
            raise ValueError(f"slots must be from 0 to {self.slots - 1}")
        return numbers

    def _run(self, slots: _Integers, sizes: _Integers, classes: _Integers) -> None:
        done = 0
        while True:
            done = int(kernels.store_objects(self.state, slots, sizes, classes, done))
            if done == len(slots):
                return
            self.state = enlarged(self.state)

    @property
    def pages(self) -> int:
        """Pages that the pool takes."""
        return int(self.state.totals[kernels.PAGES])

    @property
    def bytes(self) -> int:
        """Bytes that the pool's pages take: mem_used_total of zram's mm_stat."""
        return self.pages * PAGE_BYTES

    @property
    def objects(self) -> int:
        """Stored objects."""
        return int(self.state.totals[kernels.OBJECTS])

    @property
    def stored_bytes(self) -> int:
        """Sum of the objects' sizes: compr_data_size of zram's mm_stat."""
        return int(self.state.totals[kernels.STORED_BYTES])

    @property
    def zspages(self) -> int:
        """Zspages that are not empty."""
        counts = self.state.class_allocated // self.state.class_objects
        return int(counts.sum())

    @property
    def overhead_bytes(self) -> int:
        """Slab memory beside the pages: a handle for each object, a descriptor for each zspage."""
        return HANDLE_BYTES * self.objects + ZSPAGE_DESCRIPTOR_BYTES * self.zspages

    @property
    def freeable_pages(self) -> int:
        """Pages that compaction would free."""
        state = self.state
        spare = (state.class_allocated - state.class_in_use) // state.class_objects
        return int((spare * state.class_pages).sum())


_FIRST_ZSPAGES = 64
_FIRST_ARENA = 2048
_BY_ZSPAGE = ("in_use", "group", "size_class", "first_free", "base", "before", "following")
_BY_OBJECT = ("owners", "links")


def fresh_zspages(classes: SizeClasses, slots: int, zspages: int = 0) -> Zspages:
    """State of an empty pool, as the kernels take it; with room for so many zspages, or a few."""
    most = max(found.objects for found in classes.classes)
    arena = zspages * most or _FIRST_ARENA
    zspages = zspages or _FIRST_ZSPAGES

    def numbers(size: int, value: int = 0) -> _Integers:
        return np.full(size, value, dtype=np.int64)

    count = len(classes.classes)
    return Zspages(
        class_pages=np.array([found.pages for found in classes.classes], dtype=np.int64),
        class_objects=np.array([found.objects for found in classes.classes], dtype=np.int64),
        class_allocated=numbers(count),
        class_in_use=numbers(count),
        class_spare=numbers(count, NONE),
        heads=numbers(count * kernels.GROUPS, NONE),
        # Zeros come from the kernel's zero page: what is never used is never real memory.
        **{name: np.zeros(zspages, dtype=np.int64) for name in _BY_ZSPAGE},
        **{name: np.zeros(arena, dtype=np.int64) for name in _BY_OBJECT},
        slot_zspage=numbers(slots, NONE),
        slot_object=numbers(slots, NONE),
        slot_bytes=numbers(slots),
        totals=numbers(kernels.N_TOTALS),
    )


def enlarged(state: Zspages) -> Zspages:
    """The same pool with room for twice as many zspages and objects."""
    changes = {
        name: np.concatenate([array, np.zeros_like(array)])
        for name in (*_BY_ZSPAGE, *_BY_OBJECT)
        for array in (getattr(state, name),)
    }
    return state._replace(**changes)
