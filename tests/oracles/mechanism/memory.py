"""What memory is made of: folios, page-table entries, 2 MiB ranges and processes (section 1)."""

from __future__ import annotations

from dataclasses import dataclass, field

PAGES = 512
HUGE = 9
# Stands for "all pages" where a mapping is named by the page that it maps.
WHOLE = -1

WRITABLE, READ_ONLY, UNMAPPED = "w", "r", "u"
STATES = {"N": "NONE", "P": "PMD_MAPPED", "S": "PMD_SWAP", "Z": "PMD_ZERO"}


@dataclass(eq=False)
class Folio:
    order: int
    first: int  # region page
    slot: int = -1
    dirty: bool = False
    lazyfree: bool = False
    readahead: bool = False
    partially_mapped: bool = False
    # Under a memory limit: where on the LRU lists, and what is remembered there.
    active: bool = False
    referenced: bool = False
    workingset: bool = False
    # (process, page of the folio) for each PTE, (process, WHOLE) for each PMD entry that maps it.
    mappings: set[tuple[int, int]] = field(default_factory=set)

    @property
    def size(self) -> int:
        return 2**self.order

    @property
    def mapcount(self) -> int:
        return len(self.mappings)

    @property
    def cached(self) -> bool:
        return self.slot >= 0

    @property
    def slots(self) -> range:
        return range(self.slot, self.slot + self.size) if self.cached else range(0)

    @property
    def region_pages(self) -> range:
        return range(self.first, self.first + self.size)

    def mapped_pages(self) -> set[int]:
        """Pages that somebody maps."""
        pages = {page for _, page in self.mappings}
        return set(range(self.size)) if WHOLE in pages else pages

    def mapped_elsewhere(self, process: Process) -> bool:
        return any(owner != process.number for owner, _ in self.mappings)


@dataclass(eq=False)
class Entry:
    """A page-table entry, of a page or of a PMD: None, Swap, Present or Zero."""

    kind: str = "N"
    folio: Folio | None = None
    page: int = -1
    slot: int = -1
    writable: bool = False
    dirty: bool = False
    exclusive: bool = False
    uffd_wp: bool = False
    soft_dirty: bool = False
    young: bool = False

    def clear(self) -> None:
        self.kind, self.folio, self.page, self.slot = "N", None, -1, -1
        self.writable = self.dirty = self.exclusive = self.uffd_wp = self.soft_dirty = False
        self.young = False

    def set_zero(self) -> None:
        self.clear()
        self.kind = "Z"

    def set_swap(self, slot: int) -> None:
        """Name a slot; exclusive, uffd_wp and soft_dirty are carried."""
        self.kind, self.folio, self.page, self.slot = "S", None, -1, slot
        self.writable = self.dirty = self.young = False

    def set_present(self, folio: Folio, page: int) -> None:
        """Map a page of a folio (WHOLE: all of it); what swap entries have is carried."""
        self.kind, self.folio, self.page, self.slot = "P", folio, page, -1
        self.writable = self.dirty = False
        self.young = True

    def set_own(self, folio: Folio, page: int, *, dirty: bool, writable: bool = True) -> None:
        """Map a page that nobody else has."""
        self.set_present(folio, page)
        self.exclusive, self.writable, self.dirty, self.uffd_wp = True, writable, dirty, False
        self.soft_dirty = True

    def note_move(self) -> None:
        """Whoever looks for writes is to notice that the page came from elsewhere."""
        self.soft_dirty = self.kind in ("P", "S")

    def copy(self) -> Entry:
        return Entry(
            self.kind,
            self.folio,
            self.page,
            self.slot,
            self.writable,
            self.dirty,
            self.exclusive,
            self.uffd_wp,
            self.soft_dirty,
            self.young,
        )

    @property
    def has_translation(self) -> bool:
        """Whether the hardware could have cached it."""
        return self.kind in ("P", "Z")


@dataclass(eq=False)
class Range:
    """A 2 MiB range of a process: what its PMD entry says, or a table of 512 PTEs."""

    process: int
    number: int
    protection: list[str] = field(default_factory=lambda: [UNMAPPED] * PAGES)
    pmd: Entry = field(default_factory=Entry)
    table: list[Entry] | None = None

    @property
    def state(self) -> str:
        return STATES[self.pmd.kind] if self.table is None else "PTE_TABLE"

    @property
    def is_none(self) -> bool:
        return self.table is None and self.pmd.kind == "N"

    @property
    def entries(self) -> list[Entry]:
        assert self.table is not None, "the range has no table"
        return self.table

    def make_table(self) -> None:
        self.pmd.clear()
        self.table = [Entry() for _ in range(PAGES)]

    def drop_table(self) -> None:
        self.table = None

    def page_entry(self, j: int) -> Entry:
        """The entry that decides about a page: its PTE, or the PMD entry."""
        return self.pmd if self.table is None else self.table[j]

    def slot_of(self, j: int) -> int:
        """The slot that holds a page, or -1."""
        entry = self.page_entry(j)
        if entry.kind != "S":
            return -1
        return entry.slot + j if self.table is None else entry.slot

    def in_one_vma(self, start: int = 0, stop: int = PAGES) -> bool:
        """Whether the pages have one protection, and one that is not `unmapped`."""
        kinds = set(self.protection[start:stop])
        return len(kinds) == 1 and UNMAPPED not in kinds

    def vma(self, j: int) -> tuple[int, int]:
        """First page and end of the VMA around a page."""
        start = stop = j
        while start > 0 and self.protection[start - 1] == self.protection[j]:
            start -= 1
        while stop < PAGES and self.protection[stop] == self.protection[j]:
            stop += 1
        return start, stop


@dataclass(eq=False)
class Process:
    number: int
    regions: int
    shift: int = 0
    armed: bool = False
    tracked: bool = False
    address: int = 0
    window: int = 0
    hits: int = 4
    ranges: list[Range] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ranges = [Range(self.number, w) for w in range(self.regions + 1)]

    @property
    def pages(self) -> int:
        """Pages of the region."""
        return self.regions * PAGES

    def place(self, region_page: int) -> tuple[Range, int]:
        """Range and entry at which a page of the region stands."""
        w, j = divmod(self.shift + region_page, PAGES)
        return self.ranges[w], j

    def region_page(self, memory: Range, j: int) -> int:
        """The page of the region that stands at an entry; outside 0 .. pages-1 there is none."""
        return memory.number * PAGES + j - self.shift

    def is_inside(self, memory: Range, j: int) -> bool:
        return 0 <= self.region_page(memory, j) < self.pages

    def chunks(self, first: int, count: int) -> list[tuple[Range, int, int]]:
        """A span of the region cut at range boundaries: range, first entry, end."""
        start, stop = self.shift + first, self.shift + first + count
        return [
            (
                memory,
                max(start - memory.number * PAGES, 0),
                min(stop - memory.number * PAGES, PAGES),
            )
            for memory in self.ranges
            if start < (memory.number + 1) * PAGES and stop > memory.number * PAGES
        ]


def is_whole(start: int, stop: int) -> bool:
    return (start, stop) == (0, PAGES)
