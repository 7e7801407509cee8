"""The world that a step changes: processes, folios, the swap device, the TLB, and the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.oracles.buddy import Zone
from tests.oracles.mechanism.memory import HUGE, PAGES, WRITABLE, Folio, Process
from tests.oracles.mechanism.slots import Devices, Given
from tests.oracles.translation import Hardware, Mmu, TlbGeometry
from tests.oracles.zsmalloc import Zswap

KIB_PER_PAGE = 4


def never(step: int, number: int) -> bool:
    return False


@dataclass(frozen=True)
class Rules:
    """The policy, the device and the settings; the names are those of `Mechanism`."""

    regions: int
    content: str
    tlbs: tuple[TlbGeometry, ...]
    level: str = "pte"
    swapin_order: int = 0
    lazy_deposit: bool = False
    batched_unmap: bool = False
    synchronous: bool = True
    block_device: bool = True
    clusters: int = 40
    free_clusters: int = 0
    neighbour_slots: int = 0
    # Several devices, instead of the five above.
    devices: tuple[Given, ...] = ()
    page_cluster: int = 3
    vma_readahead: bool = True
    zswap: str = "never"
    # Most pages of zswap's pool, and those at which a full one stores again; none for no limit.
    zswap_limits: tuple[int, int] | None = None
    zswap_writeback: bool = True
    # Compressed bytes of a page, and of page 511 of each 2 MiB.
    zswap_sizes: tuple[int, int] = (0, 0)
    order9_fails: Callable[[int, int], bool] = never
    charge_fails: Callable[[int, int], bool] = never
    # Pages; 0 for no limit.
    memory_limit: int = 0
    swappiness: int = 60
    other_charged_pages: int = 1
    # What the region is filled with: thp, mthp (folios of swapin_order) or base pages.
    backing: str = "thp"
    # khugepaged; milliseconds between its passes, 0 if it never wakes.
    scan_sleep: int = 0
    alloc_sleep: int = 60_000
    pages_to_scan: int = 4096
    max_ptes_swap: int = 64
    max_ptes_none: int = 511
    max_ptes_shared: int = 256
    # Makes the machine's page frames; and how hard a fault tries for a large folio.
    zone: Callable[[], Zone] | None = None
    fault_effort: int = 2
    # Whether what is short is reclaimed, and whether who wants a large folio wakes kswapd for it.
    kswapd: bool = False
    wakes_kswapd: bool = False
    kswapd_cpu: int = -1
    # Picoseconds by event; what is not named takes no time.
    prices: Mapping[str, int] = field(default_factory=dict)

    @property
    def swap_devices(self) -> tuple[Given, ...]:
        alone = Given(
            self.clusters,
            self.free_clusters,
            self.neighbour_slots,
            synchronous=self.synchronous,
            block_device=self.block_device,
        )
        return self.devices or (alone,)


@dataclass(frozen=True)
class Call:
    """One step; the fields are those of `specs.step.Step`."""

    action: str
    name: str = ""
    pages_per_2mib: int = PAGES
    process: int = 0
    first_page: int = 0
    page_count: int = PAGES
    write: bool = False
    writable: bool = False
    shift_pages: int = 0
    refuse_write: bool = False
    racing: str = "none"
    # How many CPUs take turns; in which order they do does not show in what is counted.
    threads: int = 1
    # Of a wait.
    milliseconds: int = 0
    # Region pages that an access step goes to, one after the other, and whether it writes there.
    trace: tuple[tuple[int, bool], ...] = ()

    @property
    def is_whole(self) -> bool:
        return self.page_count == PAGES

    def spans(self, regions: int) -> list[tuple[int, int]]:
        """First page and number of pages of each call that the step is."""
        if self.is_whole:
            return [(0, regions * PAGES)]
        return [(block * PAGES + self.first_page, self.page_count) for block in range(regions)]

    def touched(self) -> list[int]:
        """Pages of each 2 MiB that a touch accesses."""
        number = min(self.pages_per_2mib, self.page_count)
        return [self.first_page + turn * self.page_count // number for turn in range(number)]


@dataclass
class Counts:
    """What one step counted; zeros are left out."""

    counters: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)
    observed: Counter[str] = field(default_factory=Counter)
    # How often each lock was held, the sum of the lengths, and the longest.
    holds: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    # Events by the number of the device that they happened on.
    shares: Counter[tuple[int, str]] = field(default_factory=Counter)


class Translations:
    """The TLBs; a process is an address space. Nothing walks here, nor are there caches."""

    def __init__(self, rules: Rules) -> None:
        hardware = Hardware(
            tlbs=rules.tlbs,
            levels=4,
            walkers=1,
            walk_caches={},
            nested=(1, 1),
            caches=(),
            latencies=(),
            dram=0,
            stlb_hit=0,
        )
        self.mmu = Mmu(hardware, [["4k"]])
        # Ranges that were looked up since they were last forgotten: of no other is there anything.
        self.used: set[tuple[int, int]] = set()

    def forget(self, process: int, number: int) -> None:
        if (process, number) in self.used:
            self.used.remove((process, number))
            self.mmu.invalidate_range(number * PAGES, PAGES, process)

    def forget_everything(self) -> None:
        self.used.clear()
        self.mmu.invalidate_all()

    def access(self, process: int, number: int, j: int, size: str, write: bool) -> str:
        self.used.add((process, number))
        page = number * PAGES + j
        for level, name in ((1, "l1"), (2, "stlb")):
            if self.mmu.look_up(level, page, size, write, process) is not None:
                return name
        return "walk"


class OutOfMemoryError(Exception):
    """The kernel would kill the process: nothing can be reclaimed."""


@dataclass(frozen=True)
class Block:
    """Page frames that have been found; `owner` is the zone's name for who holds them."""

    owner: int


@dataclass
class Khugepaged:
    """Where it is: its next range, or at the head of its list of processes."""

    wakes: int | None = None
    process: int | None = None
    number: int = 0
    # Whether the last range that it looked at found no memory.
    refused: bool = False
    life: Iterator[int] = field(default_factory=lambda: iter(()))


class World:
    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.processes = {0: Process(0, rules.regions)}
        for memory in self.processes[0].ranges[: rules.regions]:
            memory.protection = [WRITABLE] * PAGES
        self.forks = 0
        self.device = Devices(rules.swap_devices)
        self.folios: set[Folio] = set()  # those that live
        self.translations = Translations(rules)
        # zswap's pool, if it has a limit.
        self.pool: Zswap | None = None
        if rules.zswap_limits is not None:
            self.pool = Zswap(*rules.zswap_limits, writeback=rules.zswap_writeback)
        # Readahead by slot: previous slot, hits, window.
        self.slot_memory = (0, 4, 0)
        self.steps_done = 0
        self.now = Counts()
        self.refuse_write = False
        # Picoseconds, of who is at work.
        self.clock = 0
        # Page frames, if they can run out, and the zone's names for who holds which.
        self.zone = rules.zone() if rules.zone is not None else None
        self.owners: dict[Folio, int] = {}
        self.blocks = 0
        self.khugepaged = Khugepaged()
        # The memory cgroup, if it has a limit, and kswapd; `Mechanism` sets them.
        self.pressure: Any = None
        # Pages that splits have freed because nobody maps them.
        self.unmapped = 0
        self.global_reclaim: Any = None
        # Region pages of the folio that the last fault of this 2 MiB read, cleared or copied.
        self.warm = range(0)

    def living(self) -> list[Process]:
        return [self.processes[number] for number in sorted(self.processes)]

    def is_zero(self, region_page: int) -> bool:
        """Whether a page holds zeros only."""
        if self.rules.content == "one-non-zero":
            return region_page % PAGES != PAGES - 1
        return self.rules.content == "zero"

    # Counting

    def event(self, name: str, number: int = 1) -> None:
        self.now.events[name] += number
        self.clock += self.rules.prices.get(name, 0) * number

    def counter(self, name: str, number: int = 1) -> None:
        self.now.counters[name] += number

    def per_order(self, name: str, order: int) -> None:
        """A statistic of one folio order; the kernel has none for single pages."""
        if order:
            self.counter(f"hugepages-{KIB_PER_PAGE * 2**order}kB/stats/{name}")

    def huge_counter(self, name: str, order: int) -> None:
        """A counter of order-9 folios alone."""
        if order == HUGE:
            self.counter(name)

    def share(self, slot: int, name: str, number: int = 1) -> None:
        """An event that is a device's own."""
        self.now.shares[self.device.devices.index(self.device.of(slot)), name] += number

    def after_work(self) -> None:
        """What waits for a fault, or for a call to be done with 2 MiB; `Mechanism` sets it."""

    def forget_stored(self, number: int) -> None:
        """zswap no longer has the page of a slot."""
        if self.pool is not None:
            self.pool.free(number)

    def is_synchronous(self, slot: int) -> bool:
        return self.device.of(slot).given.synchronous

    def fallback(self, reason: str) -> None:
        self.now.fallbacks[reason] += 1

    def observe(self, name: str, number: int) -> None:
        self.now.observed[name] += number

    def hold(self, lock: str, length: int) -> None:
        number, total, longest = self.now.holds.get(lock, (0, 0, 0))
        self.now.holds[lock] = (number + 1, total + length, max(longest, length))

    # Folios

    def new_folio(self, order: int, first: int) -> Folio:
        folio = Folio(order, first)
        self.folios.add(folio)
        return folio

    # Page frames

    def find_frames(self, order: int, effort: int) -> Block | None:
        """A block for a large folio; without a zone, any amount."""
        if self.zone is None:
            return Block(-1)
        before = self.zone.counts.copy()
        self.blocks += 1
        owner = -self.blocks
        if self.global_reclaim is not None:
            wakes = self.rules.wakes_kswapd
            frame = self.global_reclaim.find_block(order, owner, effort, wakes=wakes)
        else:
            frame = self.zone.try_hard(order, owner, True, effort)
            self.pay_for_compaction(before)
        return Block(owner) if frame >= 0 else None

    def pay_for_compaction(self, before: Counter[str]) -> None:
        """For what has been scanned and moved since."""
        assert self.zone is not None, "there is a zone to compact"
        done = self.zone.counts - before
        self.event("COMPACT_SCAN_PAGE", done["compact_migrate_scanned"])
        self.event("COMPACT_SCAN_PAGE", done["compact_free_scanned"])
        self.event("MIGRATE_PAGE", done["pgmigrate_success"])

    def give_back(self, block: Block) -> None:
        if self.zone is not None:
            self.zone.release(block.owner)

    def own(self, folio: Folio, block: Block | None = None) -> None:
        """A folio gets the block that was found for it, or finds a page."""
        if self.zone is None:
            return
        if block is None:
            self.blocks += 1
            block = Block(-self.blocks)
            if self.zone.allocate(0, block.owner, True) < 0:
                raise OutOfMemoryError
        self.owners[folio] = block.owner

    def hand_over(self, folio: Folio, parts: list[Folio]) -> None:
        """Every part of a folio keeps its page frame."""
        if self.zone is None:
            return
        owner = self.owners.pop(folio)
        frame = self.zone.frame_of.pop(owner)
        del self.zone.held[frame]
        for offset, part in enumerate(parts):
            self.blocks += 1
            self.owners[part] = -self.blocks
            self.zone.give(frame + offset, 0, -self.blocks, True)

    def release(self, folio: Folio) -> None:
        if self.zone is not None:
            self.zone.release(self.owners.pop(folio))

    def allocate_table(self, *, by_force: bool = False) -> None:
        self.event("PAGE_TABLE_ALLOCATION")
        if self.pressure is not None:
            self.pressure.charge_table(by_force=by_force)

    def forget_table(self) -> None:
        """A page table is freed."""
        if self.pressure is not None:
            self.pressure.forget_table()

    def forget_swapped(self, process: int, number: int) -> None:
        """A range's entries have become swap entries; reclaim flushes all of the TLBs for that."""
        if self.pressure is not None and self.pressure.reclaiming:
            self.translations.forget_everything()
        else:
            self.translations.forget(process, number)

    def charge(self, pages: int) -> bool:
        """Whether the memory cgroup lets so many pages be had, whatever it has to give up."""
        return self.pressure is None or self.pressure.charge(pages)

    def charge_page(self) -> None:
        """The same for a page of memory, for which there has to be a page frame."""
        if self.global_reclaim is not None:
            self.global_reclaim.room_for_page()
        self.charge(1)

    def keep_up(self) -> None:
        """Let kswapd do what it has begun by now; nobody is in the middle of anything."""
        if self.global_reclaim is not None:
            self.unlock_all()
            self.global_reclaim.keep_up()

    def uncharge(self, pages: int) -> None:
        if self.pressure is not None:
            self.pressure.usage -= pages

    def admit(self, folio: Folio, shadow: Any = None) -> None:
        """A folio that has been charged goes to the LRU lists."""
        if self.pressure is not None:
            self.pressure.refault(folio, shadow)
            self.pressure.add(folio)

    def queue_split(self, folio: Folio) -> None:
        """A folio may have to be split one day."""
        if self.pressure is not None:
            self.pressure.queue_split(folio)

    def unqueue_split(self, folio: Folio) -> None:
        if self.pressure is not None:
            self.pressure.unqueue_split(folio)

    def lock(self, folio: Folio) -> None:
        """Keep a folio from reclaim until the fault, or the call, is over."""
        if self.pressure is not None:
            self.pressure.locked.add(folio)

    def unlock_all(self) -> None:
        if self.pressure is not None:
            self.pressure.locked.clear()

    def page_table_bytes(self, process: Process) -> int:
        tables = 0
        for memory in process.ranges:
            deposit = memory.pmd.kind != "N" and not self.rules.lazy_deposit
            tables += memory.table is not None or deposit
        return 4096 * tables
