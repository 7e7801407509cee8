"""Address translation from its definition in docs/translation.md, slowly and in plain Python.

Every array is a list of sets, every set a list of entries; nothing is packed, nothing is hoisted.
Imports nothing from perfmodel.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

# Pages of 4 KiB that a mapping of each kind makes contiguous, and its page size.
RUN = {"4k": 1, "4k-contiguous": 512, "16k": 4, "64k": 16}
SIZE = {"4k-contiguous": "4k"}
ORDER = {"4k": 0, "16k": 2, "64k": 4, "2m": 9, "1g": 18}
LEAF = {"4k": 1, "4k-contiguous": 1, "16k": 1, "64k": 1, "2m": 2, "1g": 3}
PAGES_PER_REGION = 512
LINES_PER_REGION = 32768
LINES_PER_TABLE = 64


@dataclass(frozen=True)
class TlbGeometry:
    name: str
    level: int
    sizes: tuple[str, ...]
    sets: int
    ways: int
    accesses: str = "all"
    replacement: str = "lru"
    coalesced: int = 1


@dataclass(frozen=True)
class Hardware:
    """All latencies in picoseconds; `caches` and `walk_caches` hold (sets, ways)."""

    tlbs: tuple[TlbGeometry, ...]
    levels: int
    walkers: int
    walk_caches: dict[int, tuple[int, int]]
    nested: tuple[int, int]
    caches: tuple[tuple[int, int], ...]
    latencies: tuple[int, ...]
    dram: int
    stlb_hit: int


class LruSet:
    """Entries of one set, the most recently used first."""

    def __init__(self, ways: int) -> None:
        self.ways = ways
        self.entries: list[object] = []

    def use(self, entry: object) -> bool:
        hit = self.find(entry)
        if hit:
            self.entries.remove(entry)
        self.entries.insert(0, entry)
        del self.entries[self.ways :]
        return hit

    def find(self, entry: object) -> bool:
        return entry in self.entries

    def drop(self, goes: object) -> None:
        self.entries = [entry for entry in self.entries if not goes(entry)]  # type: ignore[operator]


class PlruSet:
    """A set whose victim a binary tree finds; every inner node points to its older half."""

    def __init__(self, ways: int) -> None:
        self.ways = ways
        self.entries: list[object] = [None] * ways
        self.points_right: dict[tuple[int, int], bool] = {}

    def halves(self, way: int | None) -> list[tuple[tuple[int, int], bool]]:
        """From the root down to one way, or to the victim: the nodes and the turns taken."""
        low, high, path = 0, self.ways, []
        while high - low > 1:
            middle = (low + high) // 2
            node = (low, high)
            right = self.points_right.get(node, False) if way is None else way >= middle
            path.append((node, right))
            low, high = (middle, high) if right else (low, middle)
        return path

    def use(self, entry: object) -> bool:
        hit = entry in self.entries
        if hit:
            way = self.entries.index(entry)
        elif None in self.entries:
            way = self.entries.index(None)
        else:
            way = 0
            for (low, high), right in self.halves(None):
                way += (high - low) // 2 if right else 0
        self.entries[way] = entry
        for node, right in self.halves(way):
            self.points_right[node] = not right
        return hit

    def drop(self, goes: object) -> None:
        self.entries = [
            None if entry is not None and goes(entry) else entry  # type: ignore[operator]
            for entry in self.entries
        ]


class Array:
    def __init__(self, sets: int, ways: int, replacement: str = "lru") -> None:
        kind = LruSet if replacement == "lru" else PlruSet
        self.sets = [kind(ways) for _ in range(sets)]

    def use(self, number: int, entry: object) -> bool:
        return self.sets[number % len(self.sets)].use(entry)

    def drop(self, goes: object) -> None:
        for one in self.sets:
            one.drop(goes)

    def contents(self) -> list[list[object]]:
        return [list(one.entries) for one in self.sets]


@dataclass
class Counts:
    """Everything that is counted; `where` is 0, 1, 2 for a cache level and 3 for DRAM."""

    tlb_hits: Counter[str] = field(default_factory=Counter)
    walks: Counter[str] = field(default_factory=Counter)
    walk_cache_hits: Counter[int] = field(default_factory=Counter)
    host_walk_cache_hits: Counter[int] = field(default_factory=Counter)
    nested_hits: int = 0
    host_walks: int = 0
    table_references: Counter[int] = field(default_factory=Counter)
    host_references: Counter[int] = field(default_factory=Counter)
    data_references: Counter[int] = field(default_factory=Counter)
    stlb_ps: int = 0
    walk_ps: int = 0
    wait_ps: int = 0
    data_ps: int = 0


class Mmu:
    """One CPU that translates; `regions` holds the mapping kind of each 2 MiB region per space."""

    def __init__(
        self,
        hardware: Hardware,
        regions: list[list[str]],
        first_region: int = 0,
        overlap: int = 1,
        host: str | None = None,
    ) -> None:
        self.hardware, self.regions, self.first_region = hardware, regions, first_region
        self.host = host
        self.tlbs = {tlb.name: Array(tlb.sets, tlb.ways, tlb.replacement) for tlb in hardware.tlbs}
        self.walk_caches = {level: Array(*hardware.walk_caches[level]) for level in self.cached()}
        self.host_walk_caches = {
            level: Array(*hardware.walk_caches[level]) for level in self.cached()
        }
        self.nested = Array(*hardware.nested)
        self.caches = [Array(*geometry) for geometry in hardware.caches]
        self.counts = Counts()
        self.overlap = overlap
        self.completed: list[int] = []
        self.walker_free = [0] * hardware.walkers
        # Guest-physical memory: data of every space, then its tables level by level; then the host.
        count = len(regions[0])
        begin = count * len(regions) * LINES_PER_REGION
        pages = (first_region * PAGES_PER_REGION, (first_region + count) * PAGES_PER_REGION - 1)
        self.tables = {}
        for level in range(1, hardware.levels + 1):
            first, last = (page >> (9 * level) for page in pages)
            self.tables[level] = (begin, first, last - first + 1)
            begin += len(regions) * (last - first + 1) * LINES_PER_TABLE
        last_page = (begin - 1) // 64
        self.host_tables = {}
        for level in range(1, hardware.levels + 1):
            tables = (last_page >> (9 * level)) + 1
            self.host_tables[level] = begin
            begin += tables * LINES_PER_TABLE

    def cached(self) -> list[int]:
        return [level for level in self.hardware.walk_caches if level <= self.hardware.levels]

    # One access

    def access(self, address: int, store: bool = False, space: int = 0) -> str:
        """Translate and reference; says which TLB array had it, or ``walk``."""
        page = address >> 12
        region = (address >> 21) - self.first_region
        kind = self.regions[space][region]
        ready = self.completed[-self.overlap] if len(self.completed) >= self.overlap else 0
        source = self.look_up(1, page, kind, store, space)
        if source is None:
            source = self.look_up(2, page, kind, store, space)
            self.counts.stlb_ps += self.hardware.stlb_hit
            ready += self.hardware.stlb_hit
        data = (space * len(self.regions[0]) + region) * LINES_PER_REGION + (
            address >> 6
        ) % LINES_PER_REGION
        if source is None:
            source = "walk"
            self.counts.walks[SIZE.get(kind, kind)] += 1
            spent = self.walk(page, kind, space, data)
            walker = self.walker_free.index(min(self.walker_free))
            start = max(ready, self.walker_free[walker])
            self.counts.wait_ps += start - ready
            self.counts.walk_ps += spent
            ready = self.walker_free[walker] = start + spent
        else:
            self.counts.tlb_hits[source] += 1
        spent = self.reference(data, self.counts.data_references)
        self.counts.data_ps += spent
        self.completed.append(ready + spent)
        return source

    def elapsed(self) -> int:
        return max(self.completed, default=0)

    # TLBs

    def look_up(self, level: int, page: int, kind: str, store: bool, space: int) -> str | None:
        """Use the translation in the array of one level that may hold it; its name on a hit."""
        kind = self.as_translated(kind)
        size = SIZE.get(kind, kind)
        serving = [
            tlb
            for tlb in self.hardware.tlbs
            if tlb.level == level and tlb.accesses in ("all", "stores" if store else "loads")
        ]
        holding = [tlb for tlb in serving if size in tlb.sizes]
        order = ORDER[size]
        if not holding and size in ("16k", "64k"):
            holding, order = [tlb for tlb in serving if "4k" in tlb.sizes], 0
        if not holding:
            return None
        if order == 0:
            order = min(holding[0].coalesced, RUN[kind]).bit_length() - 1
        number = page >> order
        tlb = holding[number % len(holding)]
        hit = self.tlbs[tlb.name].use(number // len(holding), (number, order, space))
        return tlb.name if hit else None

    def as_translated(self, kind: str) -> str:
        """What one entry may translate at most, when the host maps the guest with its pages."""
        if self.host == "4k":
            return "4k"
        if self.host == "2m" and kind == "1g":
            return "2m"
        return kind

    # Walks

    def walk(self, page: int, kind: str, space: int, data: int) -> int:
        leaf, spent = LEAF[kind], 0
        first = self.hardware.levels
        for level in range(leaf + 1, self.hardware.levels + 1):
            number = page >> (9 * (level - 1))
            cache = self.walk_caches.get(level)
            if cache and (number, space) in cache.sets[number % len(cache.sets)].entries:
                cache.use(number, (number, space))
                self.counts.walk_cache_hits[level] += 1
                first = level - 1
                break
        for level in range(first, leaf - 1, -1):
            number = page >> (9 * (level - 1))
            begin, first_table, tables = self.tables[level]
            line = (
                begin
                + (space * tables + (number >> 9) - first_table) * LINES_PER_TABLE
                + (number % 512) // 8
            )
            spent += self.host_translation(line)
            spent += self.reference(line, self.counts.table_references)
            if level > leaf and level in self.walk_caches:
                self.walk_caches[level].use(number, (number, space))
        return spent + self.host_translation(data)

    def host_translation(self, line: int) -> int:
        """Time to translate the guest-physical address of one line."""
        if self.host is None:
            return 0
        page, leaf = line // 64, LEAF[self.host]
        number = page >> ORDER[self.host]
        if self.nested.use(number, number):
            self.counts.nested_hits += 1
            return 0
        self.counts.host_walks += 1
        first, spent = self.hardware.levels, 0
        for level in range(leaf + 1, self.hardware.levels + 1):
            number = page >> (9 * (level - 1))
            cache = self.host_walk_caches.get(level)
            if cache and number in cache.sets[number % len(cache.sets)].entries:
                cache.use(number, number)
                self.counts.host_walk_cache_hits[level] += 1
                first = level - 1
                break
        for level in range(first, leaf - 1, -1):
            number = page >> (9 * (level - 1))
            entry = self.host_tables[level] + number // 8
            spent += self.reference(entry, self.counts.host_references)
            if level > leaf and level in self.host_walk_caches:
                self.host_walk_caches[level].use(number, number)
        return spent

    def reference(self, line: int, counts: Counter[int]) -> int:
        """Read one line through the data caches; it is filled into every level that missed."""
        for where, cache in enumerate(self.caches):
            if cache.use(line, line):
                counts[where] += 1
                return self.hardware.latencies[where]
        counts[3] += 1
        return self.hardware.dram

    # Invalidation

    def invalidate_range(self, first_page: int, pages: int, space: int) -> None:
        """Drop what overlaps the range, and all walk-cache entries of the address space."""
        for tlb in self.tlbs.values():
            tlb.drop(
                lambda entry: (
                    entry[2] == space
                    and entry[0] << entry[1] < first_page + pages
                    and first_page < (entry[0] + 1) << entry[1]
                )
            )
        for cache in self.walk_caches.values():
            cache.drop(lambda entry: entry[1] == space)

    def invalidate_space(self, space: int) -> None:
        for tlb in self.tlbs.values():
            tlb.drop(lambda entry: entry[2] == space)
        for cache in self.walk_caches.values():
            cache.drop(lambda entry: entry[1] == space)

    def invalidate_all(self) -> None:
        for array in (
            *self.tlbs.values(),
            *self.walk_caches.values(),
            *self.host_walk_caches.values(),
            self.nested,
        ):
            array.drop(lambda _: True)


def associativity_hits(pages: list[int], sets: int, most: int = 16) -> list[int]:
    """Hits of `sets` sets with 1, 2 ... `most` ways, each simulated on its own."""
    hits = []
    for ways in range(1, most + 1):
        array = Array(sets, ways)
        hits.append(sum(array.use(page, page) for page in pages))
    return hits


def reuse_distances(pages: list[int]) -> list[int]:
    """How many different other pages were used since the last use of each; -1 at its first."""
    distances = []
    for index, page in enumerate(pages):
        before = [other for other in range(index) if pages[other] == page]
        distances.append(len(set(pages[before[-1] + 1 : index])) if before else -1)
    return distances
