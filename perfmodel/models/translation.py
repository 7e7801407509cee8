"""Address translation on whole traces: TLB hits, page walks, where references end, time.

The semantics stand in docs/translation.md. Memory is described by a `Mapping`, the CPU by a
`specs.translation.Translation`.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.kernels import translation as kernels
from perfmodel.kernels import translation_layout as layout
from perfmodel.kernels.recency import FREE
from perfmodel.kernels.translation_batches import run_batches
from perfmodel.kernels.translation_layout import Count, Kind, Mmu
from perfmodel.models.translation_packing import pack
from perfmodel.specs.translation import PageSize, Translation

_KINDS = {
    PageSize.SIZE_4K: Kind.SMALL,
    PageSize.SIZE_16K: Kind.CONTIGUOUS_16K,
    PageSize.SIZE_64K: Kind.CONTIGUOUS_64K,
    PageSize.SIZE_2M: Kind.HUGE_2M,
    PageSize.SIZE_1G: Kind.HUGE_1G,
}
_REGION_BYTES = 1 << layout.REGION_SHIFT
_REGIONS_PER_1G = 512
_MOST_ADDRESS = 1 << 57
_MOST_SPACES = layout.SPACE_MASK + 1


def mapping_kind(page_size: PageSize | str, *, contiguous: bool = False) -> int:
    """How a region is mapped, as a number for `Mapping.kinds`.

    Parameters
    ----------
    page_size : PageSize
    contiguous : bool
        Whether the region's 4 KiB pages are physically contiguous; larger sizes always are, as far
        as they reach.

    Returns
    -------
    int
    """
    kind = _KINDS[PageSize(page_size)]
    return int(Kind.SMALL_CONTIGUOUS if kind == Kind.SMALL and contiguous else kind)


def _as_kinds(kinds: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    return np.atleast_2d(np.ascontiguousarray(kinds, dtype=np.uint8))


def _are_kinds(_: object, __: attrs.Attribute[Any], kinds: npt.NDArray[np.uint8]) -> None:
    if kinds.ndim != 2 or not kinds.size or kinds.max() >= layout.N_KINDS:
        raise ValueError("kinds must have the shape (address spaces, regions) and hold kinds")
    if kinds.shape[0] > _MOST_SPACES:
        raise ValueError(f"at most {_MOST_SPACES} address spaces")


@attrs.frozen(eq=False)
class Mapping:
    """How a window of virtual addresses is mapped, 2 MiB by 2 MiB.

    Parameters
    ----------
    kinds : uint8 array, shape (address spaces, regions) or (regions,)
        By `mapping_kind`.
    first_region : int
        Number of the first region: its address in bytes divided by 2 MiB.
    """

    kinds: npt.NDArray[np.uint8] = attrs.field(converter=_as_kinds, validator=_are_kinds)
    first_region: int = attrs.field(default=0, validator=attrs.validators.ge(0))

    def __attrs_post_init__(self) -> None:
        if (self.first_region + self.kinds.shape[1]) * _REGION_BYTES > _MOST_ADDRESS:
            raise ValueError("addresses must be below 2^57")
        huge = self.kinds == Kind.HUGE_1G
        if not huge.any():
            return
        before = self.first_region % _REGIONS_PER_1G
        behind = -(self.first_region + huge.shape[1]) % _REGIONS_PER_1G
        per_page = np.pad(huge, ((0, 0), (before, behind))).reshape(-1, _REGIONS_PER_1G)
        if not (per_page.all(axis=1) | ~per_page.any(axis=1)).all():
            raise ValueError("1g pages must be whole and aligned: 512 regions each")

    @property
    def spaces(self) -> int:
        """Address spaces."""
        return int(self.kinds.shape[0])

    @property
    def regions(self) -> int:
        """Regions of each address space."""
        return int(self.kinds.shape[1])


def map_window(
    size_bytes: int,
    page_size: PageSize | str = PageSize.SIZE_4K,
    *,
    first_address: int = 0,
    contiguous: bool = False,
    spaces: int = 1,
) -> Mapping:
    """Map a window with pages of one size.

    Parameters
    ----------
    size_bytes : int
        At least so much from `first_address` on; whole pages and 2 MiB regions are mapped.
    page_size : PageSize
    first_address : int
        In bytes.
    contiguous : bool
        See `mapping_kind`.
    spaces : int
        Address spaces, all mapped alike.

    Returns
    -------
    Mapping
    """
    step = _REGIONS_PER_1G if PageSize(page_size) is PageSize.SIZE_1G else 1
    first = first_address // _REGION_BYTES // step * step
    regions = -(-(first_address + size_bytes) // (_REGION_BYTES * step)) * step - first
    kind = mapping_kind(page_size, contiguous=contiguous)
    return Mapping(np.full((spaces, regions), kind, dtype=np.uint8), first)


@attrs.frozen
class TranslationCounts:
    """What a number of accesses did.

    References are counted by where they ended: the name of a data cache, or ``dram``. Times are in
    picoseconds; with overlap, those of single accesses add up to more than `elapsed_ps`.

    Parameters
    ----------
    accesses : int
    tlb_hits : dict
        By name of the TLB array.
    walks : dict
        By page size of the leaf.
    walk_cache_hits, host_walk_cache_hits : dict
        By level of the entry that was found.
    nested_hits, host_walks : int
        Translations of guest-physical addresses that the nested cache had, and that it had not.
    table_references, host_references, data_references : dict
        Page-table entries of the (guest's) walks, of the host's walks, and the accesses' own data.
    stlb_ps, walk_ps, data_ps : int
        Added by lookups in level 2, by the references of walks and by the data references.
    wait_ps : int
        Waited for a free walker.
    elapsed_ps : int
        From the start until the last of these accesses is complete.
    """

    accesses: int
    tlb_hits: dict[str, int]
    walks: dict[PageSize, int]
    walk_cache_hits: dict[int, int]
    host_walk_cache_hits: dict[int, int]
    nested_hits: int
    host_walks: int
    table_references: dict[str, int]
    host_references: dict[str, int]
    data_references: dict[str, int]
    stlb_ps: int
    walk_ps: int
    wait_ps: int
    data_ps: int
    elapsed_ps: int


def _canonical(values: npt.ArrayLike, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """One contiguous, writable row: anything else would compile the kernels again."""
    given = np.asarray(values)
    if given.size and not np.can_cast(given.dtype, dtype, casting="same_kind"):
        raise ValueError(f"{given.dtype} values cannot stand for {np.dtype(dtype)}")
    row = np.ascontiguousarray(given, dtype=dtype).reshape(-1)
    return row if row.flags.writeable else row.copy()


class TranslationSimulation:
    """One CPU that translates, with its state from one call to the next.

    Parameters
    ----------
    translation : Translation
        The CPU's hardware.
    mapping : Mapping
        May change between calls through `remap`.
    overlap : int
        Accesses that are outstanding at the same time: access i begins when access i - overlap is
        complete; 1 is a pointer chase.
    host_page_size : PageSize, optional
        4k or 2m: run as a guest whose memory the host maps with pages of this size.
    """

    def __init__(
        self,
        translation: Translation,
        mapping: Mapping,
        *,
        overlap: int = 1,
        host_page_size: PageSize | str | None = None,
    ) -> None:
        self.translation = translation
        self.mapping = mapping
        host = None if host_page_size is None else PageSize(host_page_size)
        self.mmu: Mmu = pack(translation, mapping.kinds, mapping.first_region, overlap, host)

    def run(
        self,
        addresses: npt.ArrayLike,
        stores: npt.ArrayLike = False,
        spaces: npt.ArrayLike = 0,
        *,
        line_numbers: bool = False,
    ) -> TranslationCounts:
        """Access after access.

        Parameters
        ----------
        addresses : integer array, shape (n,)
            Virtual byte addresses; with `line_numbers`, numbers of 64-byte lines.
        stores : bool array, shape (n,), or one for all
            Whether an access is a store.
        spaces : integer array, shape (n,), or one for all
            Address space of each access.
        line_numbers : bool

        Returns
        -------
        TranslationCounts
            Of these accesses alone.
        """
        trace = _canonical(addresses, np.int64)
        if line_numbers:
            trace = trace << layout.LINE_SHIFT
        kinds = _canonical(stores, np.bool_).view(np.uint8)
        owners = _canonical(spaces, np.int64)
        self._check(trace, kinds, owners)
        before = self.mmu.counts.copy()
        elapsed_before = int(self.mmu.clock[layout.LATEST])
        one_by_one = self.mmu.parameters["overlap"] > 1
        (kernels.run if one_by_one else run_batches)(self.mmu, trace, kinds, owners)
        elapsed = int(self.mmu.clock[layout.LATEST]) - elapsed_before
        return self._counts(self.mmu.counts - before, elapsed)

    def _check(
        self,
        trace: npt.NDArray[np.int64],
        stores: npt.NDArray[np.uint8],
        spaces: npt.NDArray[np.int64],
    ) -> None:
        if {stores.size, spaces.size} - {1, trace.size}:
            raise ValueError("stores and spaces must be as long as addresses, or one for all")
        if not trace.size:
            return
        first = self.mapping.first_region * _REGION_BYTES
        end = first + self.mapping.regions * _REGION_BYTES
        least, largest = kernels.extent(trace)
        if least < first or largest >= end:
            raise ValueError(f"addresses must be mapped: from {first:#x} to {end - 1:#x}")
        if int(spaces.min()) < 0 or int(spaces.max()) >= self.mapping.spaces:
            raise ValueError(f"spaces must be from 0 to {self.mapping.spaces - 1}")

    def access(self, address: int, *, store: bool = False, space: int = 0) -> str:
        """One access.

        Parameters
        ----------
        address : int
            In bytes.
        store : bool
        space : int

        Returns
        -------
        str
            Name of the TLB array that had the translation, or ``walk``.
        """
        counts = self.run([address], store, space)
        return next((name for name, hits in counts.tlb_hits.items() if hits), "walk")

    def invalidate_page(self, address: int, space: int = 0) -> None:
        """Drop the translation of one address, and the space's walk-cache entries."""
        page = address >> layout.PAGE_SHIFT
        kernels.invalidate(self.mmu, np.int64(page), np.int64(page), np.int64(space))

    def invalidate_range(self, address: int, size_bytes: int, space: int = 0) -> None:
        """Drop what translates any byte of a range, and the space's walk-cache entries."""
        if size_bytes <= 0:
            raise ValueError("size_bytes must be positive")
        first = address >> layout.PAGE_SHIFT
        last = (address + size_bytes - 1) >> layout.PAGE_SHIFT
        kernels.invalidate(self.mmu, np.int64(first), np.int64(last), np.int64(space))

    def invalidate_space(self, space: int = 0) -> None:
        """Drop every translation and walk-cache entry of an address space."""
        last = (_MOST_ADDRESS >> layout.PAGE_SHIFT) - 1
        kernels.invalidate(self.mmu, np.int64(0), np.int64(last), np.int64(space))

    def invalidate_all(self) -> None:
        """Drop every translation, walk-cache entry and host translation."""
        kernels.invalidate_all(self.mmu)

    @property
    def elapsed_ps(self) -> int:
        """Picoseconds until the last access so far is complete."""
        return int(self.mmu.clock[layout.LATEST])

    def tlb_contents(self) -> dict[str, list[list[tuple[int, int, int] | None]]]:
        """What stands in every TLB array.

        Returns
        -------
        dict
            By array, a list of sets, each a list of entries: number, order (an entry translates
            2^order pages of 4 KiB from number x 2^order on) and address space. Under LRU the last
            used entry stands first and free ways are left out; under tree-PLRU every way stands in
            its place, and None is a free one.
        """
        return {
            tlb.name: self.array_contents(index) for index, tlb in enumerate(self.translation.tlbs)
        }

    def _array(self, array: int) -> npt.NDArray[np.int64]:
        row: npt.NDArray[np.int64] = self.mmu.arrays.reshape(-1, layout.COLUMNS)[array]
        return row

    def array_contents(self, array: int) -> list[list[tuple[int, int, int] | None]]:
        """The same of one row of `Mmu.arrays` that is no data cache."""
        row = self._array(array)
        contents: list[list[tuple[int, int, int] | None]] = []
        for index in range(int(row[layout.SETS])):
            first = int(row[layout.OFFSET] + index * row[layout.STRIDE])
            tags = self.mmu.entries[first : first + int(row[layout.WAYS])].tolist()
            contents.append(
                [
                    None
                    if tag == FREE
                    else (
                        tag >> layout.NUMBER_SHIFT,
                        tag & layout.ORDER_MASK,
                        tag >> layout.SPACE_SHIFT & layout.SPACE_MASK,
                    )
                    for tag in tags
                    if tag != FREE or row[layout.TREE]
                ]
            )
        return contents

    def cache_contents(self, level: int) -> list[list[int]]:
        """Lines in data cache `level` (0 is the first), by set, the last used one first."""
        row = self._array(layout.CACHES + level)
        shift = int(row[layout.TAG_SHIFT])
        lines = self.mmu.short_lines if row[layout.SHORT] else self.mmu.lines
        free = int(np.array(FREE).astype(lines.dtype))
        contents = []
        for index in range(int(row[layout.SETS])):
            first = int(row[layout.OFFSET] + index * row[layout.STRIDE])
            tags = lines[first : first + int(row[layout.WAYS])].tolist()
            low = index & (1 << shift) - 1
            contents.append([tag << shift | low for tag in tags if tag != free])
        return contents

    def _counts(self, cells: npt.NDArray[np.int64], elapsed_ps: int) -> TranslationCounts:
        def one(cell: int) -> int:
            return int(cells[cell])

        def by_level(first: int) -> dict[int, int]:
            levels = sorted(cache.level for cache in self.translation.walk.caches)
            return {level: one(first + level) for level in levels}

        def by_place(kind: int) -> dict[str, int]:
            first = Count.REFERENCES + 4 * kind
            places = {name: one(first + level) for level, name in enumerate(names)}
            return {**places, "dram": one(first + layout.DRAM)}

        def picoseconds(*kinds: int) -> int:
            places = cells[Count.REFERENCES : Count.REFERENCES + 4 * layout.N_CLASSES]
            return int((places.reshape(-1, 4)[list(kinds)] * latencies).sum())

        names = [cache.name for cache in self.translation.caches]
        latencies = self.mmu.arrays.reshape(-1, layout.COLUMNS)[layout.CACHES :, layout.LATENCY]
        walks = {size: one(Count.WALKS + kind) for size, kind in _KINDS.items()}
        walks[PageSize.SIZE_4K] += one(Count.WALKS + Kind.SMALL_CONTIGUOUS)
        return TranslationCounts(
            accesses=one(Count.ACCESSES),
            tlb_hits={
                tlb.name: one(Count.TLB_HITS + index)
                for index, tlb in enumerate(self.translation.tlbs)
            },
            walks=walks,
            walk_cache_hits=by_level(Count.WALK_CACHE_HITS),
            host_walk_cache_hits=by_level(Count.HOST_WALK_CACHE_HITS),
            nested_hits=one(Count.NESTED_HITS),
            host_walks=one(Count.HOST_WALKS),
            table_references=by_place(layout.TABLE),
            host_references=by_place(layout.HOST),
            data_references=by_place(layout.DATA),
            stlb_ps=one(Count.STLB_LOOKUPS) * int(self.mmu.parameters["stlb_hit_ps"]),
            walk_ps=picoseconds(layout.TABLE, layout.HOST),
            wait_ps=one(Count.WAIT_PS),
            data_ps=picoseconds(layout.DATA),
            elapsed_ps=elapsed_ps,
        )


def translate(
    addresses: npt.ArrayLike,
    translation: Translation,
    mapping: Mapping | None = None,
    *,
    stores: npt.ArrayLike = False,
    spaces: npt.ArrayLike = 0,
    overlap: int = 1,
    host_page_size: PageSize | str | None = None,
    line_numbers: bool = False,
) -> TranslationCounts:
    """Run a trace on a CPU that starts with everything empty.

    Parameters
    ----------
    addresses, stores, spaces, line_numbers
        See `TranslationSimulation.run`.
    translation : Translation
    mapping : Mapping, optional
        By default 4 KiB pages from the first to the last address.
    overlap, host_page_size
        See `TranslationSimulation`.

    Returns
    -------
    TranslationCounts
    """
    trace = np.asarray(addresses)
    if mapping is None:
        unit = 1 << layout.LINE_SHIFT if line_numbers else 1
        first, last = (int(trace.min()) * unit, int(trace.max()) * unit) if trace.size else (0, 0)
        count = int(np.max(spaces, initial=0)) + 1
        mapping = map_window(last - first + unit, first_address=first, spaces=count)
    simulation = TranslationSimulation(
        translation, mapping, overlap=overlap, host_page_size=host_page_size
    )
    return simulation.run(trace, stores, spaces, line_numbers=line_numbers)
