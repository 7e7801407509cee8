"""The swap mechanism from its definition, page by page and folio by folio, slowly.

Ranges, folios and page tables are objects here, counts are dicts by name, and nothing is imported
from perfmodel: only the names of counters and events are shared with the engine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.oracles.tlb import Geometry, Tlb

HUGE_PAGES = 512
HUGE_ORDER = 9
KIB_PER_PAGE = 4


@dataclass(frozen=True)
class Entry:
    """The modelled kernel's choices.

    `order9_fails` says for (step, region) whether no order-9 page can be had. `lazy_deposit` means
    that a PTE table is allocated when a range first needs one, and not with the THP.
    """

    level: str = "pte"
    mthp_order: int = 0
    order9_fails: Callable[[int, int], bool] = lambda step, region: False
    lazy_deposit: bool = False


@dataclass(eq=False)
class Folio:
    order: int
    pages: list[int]


class Swapped:
    """What a page-table entry of a swapped-out page says."""


SWAPPED = Swapped()


@dataclass
class Range:
    """One 2 MiB range: a PMD entry (a folio or swapped), or a table of 512 PTEs, or nothing."""

    number: int
    pmd: Folio | Swapped | None = None
    ptes: dict[int, Folio | Swapped] = field(default_factory=dict)

    def holder(self, page: int) -> Folio | Swapped | None:
        return self.ptes[page] if self.ptes else self.pmd

    def folios(self) -> list[Folio]:
        """Present folios in the order of their addresses, each once."""
        entries = [self.pmd] if not self.ptes else [self.ptes[page] for page in sorted(self.ptes)]
        return list(dict.fromkeys(entry for entry in entries if isinstance(entry, Folio)))


@dataclass
class StepCounts:
    counters: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)


def mthp_directory(order: int) -> str:
    return f"hugepages-{KIB_PER_PAGE * 2**order}kB/stats"


class Engine:
    """Runs steps one after the other; `steps` are (action, pages per 2 MiB)."""

    def __init__(
        self, regions: int, content: str, entry: Entry, l1: Geometry, stlb: Geometry
    ) -> None:
        self.ranges = [Range(number) for number in range(regions)]
        self.zeros = content == "zero"
        self.entry = entry
        self.tlb = Tlb(l1, stlb)
        self.step_index = 0
        self.now = StepCounts()
        # Pages of one range that this step brought in: their lines are still in the caches.
        self.warm: set[int] = set()

    def run(self, steps: list[tuple[str, int]]) -> list[StepCounts]:
        results = []
        for index, (action, pages) in enumerate(steps):
            self.step_index = index
            self.now = StepCounts()
            for memory in self.ranges:
                self.warm = set()
                if action == "fill":
                    self.fill(memory)
                elif action == "pageout":
                    self.page_out(memory)
                else:
                    for turn in range(pages):
                        self.read(memory, HUGE_PAGES * turn // pages)
            results.append(self.now)
        return results

    # First touch

    def fill(self, memory: Range) -> None:
        memory.pmd = Folio(HUGE_ORDER, list(range(HUGE_PAGES)))
        self.now.counters.update(pgfault=1, thp_fault_alloc=1)
        self.now.events.update(
            FAULT=1, THP_ALLOCATION=1, CLEAR_PAGE=HUGE_PAGES, MAP_PMD=1, WRITE_PAGE=HUGE_PAGES
        )
        if not self.entry.lazy_deposit:
            self.now.events.update(PAGE_TABLE_ALLOCATION=1)

    # Swap-out

    def page_out(self, memory: Range) -> None:
        for folio in memory.folios():
            if not memory.ptes and self.entry.level == "pmd":
                memory.pmd = SWAPPED
                self.now.counters.update(thp_swpout_pmd=1)
                self.now.events.update(SET_PMD_SWAP_ENTRY=1)
            else:
                if not memory.ptes:
                    self.split(memory, folio, "SPLIT_PMD_MAPPING")
                for page in folio.pages:
                    memory.ptes[page] = SWAPPED
                    self.now.events.update(UNMAP_PTE=1)
            self.write(folio)
        self.tlb.forget(memory.number)

    def split(self, memory: Range, entry: Folio | Swapped, event: str) -> None:
        """Replace what the PMD says by 512 PTEs that say the same."""
        memory.ptes = dict.fromkeys(range(HUGE_PAGES), entry)
        memory.pmd = None
        self.now.counters.update(thp_split_pmd=1)
        self.now.events.update({event: 1})
        if self.entry.lazy_deposit:
            self.now.events.update(PAGE_TABLE_ALLOCATION=1)

    def write(self, folio: Folio) -> None:
        size = len(folio.pages)
        self.now.events.update(SWAPOUT_FOLIO=1, SWAPOUT_PAGE=size)
        if self.zeros:
            self.now.events.update(ZERO_SCAN_PAGE=size)
            self.now.counters.update(swpout_zero=size)
            return
        self.now.events.update(WRITE_REQUEST=1, COMPRESS_PAGE=size)
        self.now.counters.update(pswpout=size)
        if folio.order == HUGE_ORDER:
            self.now.counters.update(thp_swpout=1)
        if folio.order:
            self.now.counters[f"{mthp_directory(folio.order)}/swpout"] += 1

    # Access and swap-in

    def read(self, memory: Range, page: int) -> None:
        if memory.holder(page) is SWAPPED:
            # The hardware walks before the kernel learns of the fault.
            self.now.events["WALK_PTE" if memory.ptes else "WALK_PMD"] += 1
            self.fault(memory, page)
        source = self.tlb.access(memory.number * HUGE_PAGES + page, huge=not memory.ptes)
        if source == "stlb":
            self.now.events["STLB_HIT"] += 1
        elif source == "walk":
            self.now.events["WALK_PTE" if memory.ptes else "WALK_PMD"] += 1
        self.now.events["ACCESS_CACHED" if page in self.warm else "ACCESS_MEMORY"] += 1

    def fault(self, memory: Range, page: int) -> None:
        self.now.counters.update(pgfault=1, pgmajfault=1)
        self.now.events.update(FAULT=1)
        if not memory.ptes:
            if not self.entry.order9_fails(self.step_index, memory.number):
                folio = Folio(HUGE_ORDER, list(range(HUGE_PAGES)))
                memory.pmd = folio
                self.now.events.update(MAP_PMD=1)
                self.fetch(folio)
                return
            self.now.events.update(ORDER9_ALLOCATION_FAILURE=1)
            self.now.counters[f"{mthp_directory(HUGE_ORDER)}/swpin_fallback"] += 1
            self.split(memory, SWAPPED, "SPLIT_PMD_SWAP_ENTRY")
        folio = self.choose_folio(memory, page)
        for part in folio.pages:
            memory.ptes[part] = folio
            self.now.events.update(MAP_PTE=1)
        self.fetch(folio)

    def choose_folio(self, memory: Range, page: int) -> Folio:
        """The enabled order if its naturally aligned range is swapped out entirely, else a page."""
        order = self.entry.mthp_order
        size = 2**order
        neighbours = [part for part in range(HUGE_PAGES) if part // size == page // size]
        if all(memory.ptes[part] is SWAPPED for part in neighbours):
            return Folio(order, neighbours)
        return Folio(0, [page])

    def fetch(self, folio: Folio) -> None:
        size = len(folio.pages)
        self.warm.update(folio.pages)
        self.now.events.update(SWAPIN_FOLIO=1, SWAPIN_PAGE=size)
        if folio.order:
            self.now.events.update(SWAPIN_LARGE_FOLIO=1)
        if self.zeros:
            self.now.events.update(CLEAR_PAGE=size)
            self.now.counters.update(swpin_zero=size)
            return
        self.now.events.update(READ_REQUEST=1, DECOMPRESS_PAGE=size, FREE_SLOT=size)
        self.now.counters.update(pswpin=size)
        if folio.order:
            self.now.counters[f"{mthp_directory(folio.order)}/swpin"] += 1

    def mapping(self) -> dict[str, int]:
        """What is mapped how, in the words of the results."""
        found = dict.fromkeys(
            (
                "pmd_mapped_bytes",
                "pte_mapped_bytes",
                "pmd_swap_entries",
                "pte_swap_entries",
                "page_table_bytes",
            ),
            0,
        )
        page_bytes = KIB_PER_PAGE * 1024
        for memory in self.ranges:
            if memory.ptes:
                swapped = sum(entry is SWAPPED for entry in memory.ptes.values())
                found["pte_swap_entries"] += swapped
                found["pte_mapped_bytes"] += (HUGE_PAGES - swapped) * page_bytes
                found["page_table_bytes"] += page_bytes
            elif memory.pmd is not None:
                if memory.pmd is SWAPPED:
                    found["pmd_swap_entries"] += 1
                else:
                    found["pmd_mapped_bytes"] += HUGE_PAGES * page_bytes
                if not self.entry.lazy_deposit:
                    found["page_table_bytes"] += page_bytes
        return found
