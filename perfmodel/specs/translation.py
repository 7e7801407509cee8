"""A CPU's translation hardware: TLBs, page walks, the caches behind them, and shootdown.

Nobody publishes how an entry to replace is chosen or which pages are coalesced; a machine file says
in a comment that `replacement` and `coalesced_pages` are its choice.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import attrs

from perfmodel.specs.quantity import How, Quantity, quantity, text, tuple_of, whole_number

MOST_TLBS = 8
MOST_WALK_CACHES = 4
MOST_CACHES = 3
_MOST_TREE_WAYS = 64  # inner nodes of the tree in one word


class PageSize(StrEnum):
    """What one TLB entry may translate; 16 KiB and 64 KiB are runs of contiguous 4 KiB pages."""

    SIZE_4K = "4k"
    SIZE_16K = "16k"
    SIZE_64K = "64k"
    SIZE_2M = "2m"
    SIZE_1G = "1g"


class Accesses(StrEnum):
    """Which accesses look an array up."""

    ALL = "all"
    LOADS = "loads"
    STORES = "stores"


class Replacement(StrEnum):
    """Which way of a full set goes."""

    LRU = "lru"
    TREE_PLRU = "tree-plru"


def _members(kind: type) -> Any:
    return [tuple_of(kind), attrs.validators.min_len(1)]


def _instance(kind: type) -> Any:
    return attrs.validators.instance_of(kind)


def _ways_divide(instance: Tlb | WalkCache) -> None:
    entries, ways = int(instance.entries.value), int(instance.ways.value)
    if entries % ways:
        raise ValueError(f"ways ({ways}) must divide entries ({entries})")
    if getattr(instance, "replacement", None) is Replacement.TREE_PLRU and ways & (ways - 1):
        raise ValueError(f"ways ({ways}) must be a power of two where replacement is tree-plru")


@attrs.frozen(kw_only=True)
class Tlb:
    """One TLB array; all page sizes that it holds compete for its entries.

    Parameters
    ----------
    level : int
        1, or 2 for the STLB.
    page_sizes : tuple of PageSize
        The sizes that may stand in it. Contiguous 16 KiB or 64 KiB pages that no array of a level
        holds are looked up there as 4 KiB pages.
    accesses : Accesses
    coalesced_pages : int
        Contiguous, aligned 4 KiB pages that one entry may hold together (1: no coalescing).
    """

    name: str = attrs.field(validator=text)
    level: int = whole_number(1, 2)
    page_sizes: tuple[PageSize, ...] = attrs.field(validator=_members(PageSize))
    entries: Quantity = quantity("1", "entries", minimum=1, maximum=65536, whole=True)
    ways: Quantity = quantity("1", "associativity", minimum=1, maximum=65536, whole=True)
    accesses: Accesses = attrs.field(default=Accesses.ALL, validator=_instance(Accesses))
    replacement: Replacement = attrs.field(
        default=Replacement.LRU, validator=_instance(Replacement)
    )
    coalesced_pages: int = whole_number(1, 16, default=1)

    def __attrs_post_init__(self) -> None:
        _ways_divide(self)
        if self.replacement is Replacement.TREE_PLRU and self.ways.value > _MOST_TREE_WAYS:
            raise ValueError(
                f"ways must be at most {_MOST_TREE_WAYS} where replacement is tree-plru"
            )
        if self.coalesced_pages & (self.coalesced_pages - 1):
            raise ValueError("coalesced_pages must be a power of two")


@attrs.frozen(kw_only=True)
class WalkCache:
    """Cache of upper page-table entries: a hit lets the walk begin below that level.

    Parameters
    ----------
    level : int
        Of the entries held: 2 for PMD entries that name a PTE table, 3 PUD, 4 P4D or PGD, 5 PGD.
    """

    level: int = whole_number(2, 5)
    entries: Quantity = quantity("1", "entries", minimum=1, maximum=65536, whole=True)
    ways: Quantity = quantity("1", "associativity", minimum=1, maximum=65536, whole=True)

    def __attrs_post_init__(self) -> None:
        _ways_divide(self)


@attrs.frozen(kw_only=True)
class Walk:
    """The page walkers."""

    levels: int = whole_number(4, 5)
    walkers: Quantity = quantity("1", "walks at the same time", minimum=1, maximum=64, whole=True)
    caches: tuple[WalkCache, ...] = attrs.field(
        validator=[tuple_of(WalkCache), attrs.validators.max_len(MOST_WALK_CACHES)]
    )
    nested_entries: Quantity = quantity(
        "1",
        "entries of the guest's cache of host translations",
        minimum=1,
        maximum=65536,
        whole=True,
    )
    nested_ways: Quantity = quantity("1", "its associativity", minimum=1, maximum=65536, whole=True)

    def __attrs_post_init__(self) -> None:
        held = [cache.level for cache in self.caches]
        if len(set(held)) < len(held):
            raise ValueError("caches must be of different levels")
        entries, ways = int(self.nested_entries.value), int(self.nested_ways.value)
        if entries % ways:
            raise ValueError(f"nested_ways ({ways}) must divide nested_entries ({entries})")


@attrs.frozen(kw_only=True)
class Cache:
    """One level of the data caches, 64-byte lines, LRU."""

    name: str = attrs.field(validator=text)
    size_bytes: Quantity = quantity(
        "byte", "capacity that one core can use", minimum=64, whole=True
    )
    ways: Quantity = quantity("1", "associativity", minimum=1, maximum=64, whole=True)
    latency_ns: Quantity = quantity("ns", "load-to-use latency")

    def __attrs_post_init__(self) -> None:
        if int(self.size_bytes.value) % (64 * int(self.ways.value)):
            raise ValueError("size_bytes must be a multiple of 64 bytes x ways")


_NO_RANGE_COST = Quantity(
    0.0,
    100.0,
    "ns",
    "no published number; a flush page by page costs its pages and nothing beside them",
    How.ASSUMED,
)


@attrs.frozen(kw_only=True)
class Shootdown:
    """What it takes to make translations disappear, here and on other CPUs.

    With `broadcast` the hardware invalidates on all CPUs at once (INVLPGB, Arm TLBI), without IPI.
    """

    local_page_ns: Quantity = quantity("ns", "invalidate one page here")
    local_full_ns: Quantity = quantity("ns", "invalidate everything of the address space here")
    full_flush_ceiling: Quantity = quantity(
        "1", "pages beyond which the kernel flushes everything", minimum=1, whole=True
    )
    first_responder_ns: Quantity = quantity(
        "ns", "what the first remote CPU adds for the initiator"
    )
    next_responder_ns: Quantity = quantity(
        "ns", "what every other remote CPU adds for the initiator"
    )
    responder_ns: Quantity = quantity("ns", "time taken from each responding CPU")
    broadcast: bool = attrs.field(validator=_instance(bool))
    broadcast_ns: Quantity = quantity("ns", "one broadcast invalidation and its synchronisation")
    local_range_ns: Quantity = quantity(
        "ns", "what a flush page by page takes beside its pages", default=_NO_RANGE_COST
    )


@attrs.frozen(kw_only=True)
class Translation:
    """Everything between a virtual address and its data."""

    stlb_hit_ns: Quantity = quantity("ns", "extra latency of an STLB hit over an L1 hit")
    tlbs: tuple[Tlb, ...] = attrs.field(
        validator=[*_members(Tlb), attrs.validators.max_len(MOST_TLBS)]
    )
    walk: Walk = attrs.field(validator=_instance(Walk))
    caches: tuple[Cache, ...] = attrs.field(
        validator=[*_members(Cache), attrs.validators.max_len(MOST_CACHES)]
    )
    dram_ns: Quantity = quantity(
        "ns", "load-to-use latency of local DRAM, translation not included"
    )
    shootdown: Shootdown = attrs.field(validator=_instance(Shootdown))

    def __attrs_post_init__(self) -> None:
        for kind, members in (("tlbs", self.tlbs), ("caches", self.caches)):
            names = [member.name for member in members]
            if len(set(names)) < len(names):
                raise ValueError(f"two of the {kind} have the same name")
        for level in (1, 2):
            for access in (Accesses.LOADS, Accesses.STORES):
                serving = [
                    tlb
                    for tlb in self.tlbs
                    if tlb.level == level and tlb.accesses in (Accesses.ALL, access)
                ]
                small = [tlb for tlb in serving if PageSize.SIZE_4K in tlb.page_sizes]
                if len({tlb.coalesced_pages for tlb in small}) > 1:
                    raise ValueError(
                        f"TLBs of level {level} that hold 4k for {access} must coalesce alike"
                    )
                held = {size for tlb in serving for size in tlb.page_sizes}
                needed = {PageSize.SIZE_4K, PageSize.SIZE_2M}
                if level == 1:
                    needed.add(PageSize.SIZE_1G)
                if missing := sorted(needed - held):
                    raise ValueError(
                        f"no TLB of level {level} holds {', '.join(missing)} for {access}"
                    )
