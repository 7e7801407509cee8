"""A memory limit: charges, the two LRU lists, reclaim and refaults (docs/pressure.md)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from tests.oracles.mechanism.memory import WHOLE, Entry, Folio
from tests.oracles.mechanism.transfer import split_deferred, swap_out
from tests.oracles.mechanism.world import OutOfMemoryError, World

STOCK = 64
RECLAIM_AT_LEAST = 32
SCAN_AT_MOST = 32
ADD_BATCH = 31
PRIORITIES = range(12, -1, -1)
RETRIES = 16
# A charge of more pages than that fails instead of killing somebody.
COSTLY = 8
IO_COST = 32
# Of every shrinker that says nothing else.
SEEKS = 2
SHRINK_BATCH = 128
NEVER_UNDERUSED = 511
PAGES_PER_GIB = 1 << 18
FLUSH_PERIOD = 2000 * 10**9


@dataclass(frozen=True)
class Shadow:
    age: int
    workingset: bool


@dataclass
class Statistics:
    """What the kernel steers by: it is brought up to date now and then."""

    inactive: int = 0
    active: int = 0
    activated: int = 0


class LruList:
    """Folios from the tail, what comes first to be reclaimed, to the head."""

    def __init__(self) -> None:
        self.folios: OrderedDict[Folio, None] = OrderedDict()
        self.pages = 0

    def __contains__(self, folio: Folio) -> bool:
        return folio in self.folios

    def __iter__(self) -> Iterator[Folio]:
        return iter(self.folios)

    def add(self, folio: Folio) -> None:
        """Put a folio at the head."""
        assert folio not in self.folios, "a folio is added twice"
        self.folios[folio] = None
        self.pages += folio.size

    def add_tail(self, folio: Folio) -> None:
        """Put a folio at the tail."""
        self.add(folio)
        self.folios.move_to_end(folio, last=False)

    def take(self) -> Folio:
        """Take the folio at the tail."""
        folio, _ = self.folios.popitem(last=False)
        self.pages -= folio.size
        return folio

    def remove(self, folio: Folio) -> None:
        del self.folios[folio]
        self.pages -= folio.size

    def replace(self, folio: Folio, parts: list[Folio]) -> None:
        order = list(self.folios)
        place = order.index(folio)
        order[place : place + 1] = parts
        self.folios = OrderedDict.fromkeys(order)


class Pressure:
    """The memory cgroup of all processes, with one CPU."""

    def __init__(self, world: World, limit: int, swappiness: int, other_pages: int) -> None:
        self.world = world
        self.limit = limit
        self.swappiness = swappiness
        self.usage = 0
        self.stock = 0
        self.inactive = LruList()
        self.active = LruList()
        self.batch: list[Folio] = []
        self.isolated: list[Folio] = []
        # What an asynchronous device was given; it is done with it by the next isolation.
        self.written: list[Folio] = []
        self.reclaiming = False
        # Being read, or about to be mapped, by the fault that is under way.
        self.locked: set[Folio] = set()
        self.age = 0
        self.cost = 0
        self.activated = 0
        self.snapshot = 0
        self.old = Statistics()
        # The deferred split queue, and what its shrinker has not looked at.
        self.split_queue: list[Folio] = []
        self.split_left = 0
        self.tables = 0
        self.flushed = 0
        if not self.charge(other_pages):
            raise OutOfMemoryError

    def flush(self) -> None:
        """Bring the statistics up to date."""
        self.old = Statistics(self.inactive.pages, self.active.pages, self.activated)

    def flush_in_time(self) -> None:
        """The flusher's turn comes every two seconds."""
        if self.world.clock // FLUSH_PERIOD > self.flushed:
            self.flushed = self.world.clock // FLUSH_PERIOD
            self.flush()

    # Charging

    def charge(self, pages: int, *, may_reclaim: bool = True) -> bool:
        self.flush_in_time()
        batch = max(STOCK, pages)
        retries, drained = RETRIES, False
        while not self.take(pages, batch):
            if batch > pages:
                batch = pages
                continue
            if not may_reclaim:
                return False
            got = self.reclaim(pages)
            if self.limit - self.usage >= pages:
                continue
            if not drained:
                self.drain()
                drained = True
            elif not (got and pages <= COSTLY):
                if not retries:
                    if pages > COSTLY:
                        return False
                    raise OutOfMemoryError
                retries -= 1
        return True

    def take(self, pages: int, batch: int) -> bool:
        if pages <= STOCK and self.stock >= pages:
            self.stock -= pages
            return True
        if self.usage + batch > self.limit:
            return False
        self.usage += batch
        self.refill(batch - pages)
        return True

    def refill(self, pages: int) -> None:
        self.stock += pages
        if self.stock > STOCK:
            self.drain()

    def drain(self) -> None:
        self.usage -= self.stock
        self.stock = 0

    def charge_table(self, *, by_force: bool) -> None:
        self.tables += 1
        if not by_force:
            self.charge(1)
        elif self.stock:
            self.stock -= 1
        else:
            self.usage += 1

    def forget_table(self) -> None:
        self.refill(1)
        self.tables -= 1

    # Folios come and go

    def add(self, folio: Folio) -> None:
        """A new folio, which has been charged, is on its way to the lists."""
        self.batch.append(folio)
        if folio.order or len(self.batch) == ADD_BATCH:
            self.empty_batch()

    def empty_batch(self) -> None:
        self.add_to_lists(self.batch)

    def add_to_lists(self, folios: list[Folio]) -> None:
        """To the heads of the lists, in the order given; nobody has them afterwards."""
        for folio in folios:
            self.list_of(folio).add(folio)
        if folios:
            self.world.hold("lru", len(folios))
        folios.clear()

    def list_of(self, folio: Folio) -> LruList:
        return self.active if folio.active else self.inactive

    def bury(self, folio: Folio) -> None:
        self.usage -= folio.size
        self.remove(folio)

    def remove(self, folio: Folio) -> None:
        for folios in (self.batch, self.isolated, self.inactive, self.active):
            if folio in folios:
                folios.remove(folio)

    def split(self, folio: Folio, parts: list[Folio]) -> None:
        """Parts take the place of what they were split from.

        The kernel's order: what was the folio is its first page, and each further part comes next
        to it on the newer side.
        """
        parts = [parts[0], *parts[:0:-1]]
        for part in parts:
            part.active, part.referenced = folio.active, folio.referenced
            part.workingset = folio.workingset
        for folios in (self.batch, self.isolated):
            if folio in folios:
                place = folios.index(folio)
                folios[place : place + 1] = parts
        for lru in (self.inactive, self.active):
            if folio in lru:
                lru.replace(folio, parts)

    # Shadows

    def evict(self, folio: Folio) -> None:
        """A folio leaves the swap cache for good; its slots remember when."""
        shadow = Shadow(self.age, folio.workingset)
        for number in folio.slots:
            self.world.device.slots[number].shadow = shadow
        self.age += folio.size

    def refault(self, folio: Folio, shadow: Shadow | None) -> None:
        if shadow is None:
            return
        self.world.counter("workingset_refault_anon", folio.size)
        if self.age - shadow.age > self.old.active:
            return
        folio.active = True
        self.age += folio.size
        self.activated += folio.size
        self.world.counter("workingset_activate_anon", folio.size)
        if shadow.workingset:
            folio.workingset = True
            self.note_cost(IO_COST * folio.size)
            self.world.counter("workingset_restore_anon", folio.size)

    def note_cost(self, cost: int) -> None:
        if not cost:
            return
        self.cost += cost
        if self.cost > (self.old.inactive + self.old.active) // 4:
            self.cost //= 2

    # Reclaim

    def reclaim(self, pages: int) -> int:
        target = max(pages, RECLAIM_AT_LEAST)
        for force in (False, True):
            total, skipped = self.reclaim_by_priority(target, force=force)
            self.snapshot = self.old.activated
            if total or not skipped:
                break
        return total

    def reclaim_by_priority(self, target: int, *, force: bool) -> tuple[int, bool]:
        total, skipped = 0, False
        for priority in PRIORITIES:
            deactivate = force or self.old.activated != self.snapshot or self.inactive_is_low()
            inactive = self.scan_count(self.inactive.pages, priority)
            active = self.scan_count(self.active.pages, priority)
            local = 0
            while inactive:
                part = min(inactive, SCAN_AT_MOST)
                inactive -= part
                local += self.shrink_inactive(part)
                if active:
                    part = min(active, SCAN_AT_MOST)
                    active -= part
                    if deactivate:
                        self.shrink_active(part)
                    else:
                        skipped = True
                if local >= target:
                    break
            if self.inactive_is_low():
                self.shrink_active(SCAN_AT_MOST)
            self.shrink_split_queue(priority)
            total += local
            if total >= target:
                break
        return total, skipped

    def inactive_is_low(self) -> bool:
        gib = (self.old.inactive + self.old.active) // PAGES_PER_GIB
        ratio = math.isqrt(10 * gib) if gib else 1
        return self.old.inactive * ratio < self.old.active

    def scan_count(self, pages: int, priority: int) -> int:
        count = pages >> priority
        if not priority:
            return count
        anon, file, total = 2 * self.cost, self.cost, 3 * self.cost
        anon_share = self.swappiness * (total + 1) // (anon + 1)
        file_share = (200 - self.swappiness) * (total + 1) // (file + 1)
        return count * anon_share // (anon_share + file_share)

    def isolate(self, lru: LruList, pages: int) -> int:
        """Take folios from the tail; the number of pages taken."""
        self.empty_batch()
        self.rotate_written()
        taken = 0
        while taken < pages and lru.pages:
            folio = lru.take()
            self.isolated.append(folio)
            taken += folio.size
        if taken:
            self.world.hold("lru", len(self.isolated))
            self.world.event("SCAN_FOLIO", len(self.isolated))
        return taken

    def rotate_written(self) -> None:
        """What has been written, and is not in use again, is next to be reclaimed."""
        for folio in self.written:
            if folio in self.inactive and not folio.mappings and not folio.dirty:
                self.inactive.remove(folio)
                self.inactive.add_tail(folio)
        self.written.clear()

    def shrink_inactive(self, pages: int) -> int:
        scanned = self.isolate(self.inactive, pages)
        self.world.counter("pgscan_anon", scanned)
        if not scanned:
            return 0
        written, unmapped = 0, self.world.unmapped
        for folio in list(self.isolated):
            if folio in self.locked or self.spared(folio):
                continue
            before = self.pages_written()
            self.throw_out(folio)
            written += self.pages_written() - before
        # What a split frees because nobody maps it is not counted.
        reclaimed = scanned - size(self.isolated) - (self.world.unmapped - unmapped)
        self.put_back()
        self.world.counter("pgsteal_anon", reclaimed)
        self.note_cost(IO_COST * written + scanned - reclaimed)
        return reclaimed

    def throw_out(self, folio: Folio) -> None:
        """Swap an isolated folio out; what finds no slot becomes active."""
        before = self.isolated.index(folio)
        behind = len(self.isolated) - before - 1
        self.reclaiming = True
        swap_out(self.world, folio)
        self.reclaiming = False
        for left in self.isolated[before : len(self.isolated) - behind]:
            if not left.cached:
                self.activate(left)

    def activate(self, folio: Folio) -> None:
        folio.active = True
        self.world.counter("pgactivate", folio.size)

    def put_back(self) -> None:
        self.age += size([folio for folio in self.isolated if folio.active])
        self.add_to_lists(self.isolated)

    def spared(self, folio: Folio) -> bool:
        """Whether a folio has been used since it was last looked at."""
        users, referenced = self.look(folio), folio.referenced
        folio.referenced = users > 0
        if not users:
            return False
        if referenced or users > 1:
            self.activate(folio)
        return True

    def shrink_active(self, pages: int) -> None:
        taken = self.isolate(self.active, pages)
        for folio in self.isolated:
            self.look(folio)
            folio.active = False
            folio.workingset = True
        self.put_back()
        self.world.counter("pgdeactivate", taken)

    def look(self, folio: Folio) -> int:
        """Processes that have used the folio; their marks are gone afterwards."""
        users = set()
        for number, page in folio.mappings:
            entry = self.entry_of(number, folio, page)
            if entry.young:
                users.add(number)
                entry.young = False
                if page == WHOLE:
                    process = self.world.processes[number]
                    memory, _ = process.place(folio.first)
                    self.world.translations.forget(number, memory.number)
        return len(users)

    def entry_of(self, process: int, folio: Folio, page: int) -> Entry:
        memory, j = self.world.processes[process].place(folio.first + max(page, 0))
        return memory.page_entry(j)

    def pages_written(self) -> int:
        counters = self.world.now.counters
        return sum(counters[name] for name in ("pswpout", "swpout_zero", "zswpout"))

    # Deferred splits

    def queue_split(self, folio: Folio) -> None:
        if folio not in self.split_queue and not folio.cached:
            self.split_queue.append(folio)

    def unqueue_split(self, folio: Folio) -> None:
        if folio in self.split_queue:
            self.split_queue.remove(folio)

    def shrink_split_queue(self, priority: int) -> None:
        waiting = len(self.split_queue)
        if not waiting:
            return
        more = (waiting >> priority) * 4 // SEEKS
        before, self.split_left = self.split_left, 0
        total = min((before >> priority) + more, 2 * waiting)
        scanned = 0
        while total >= SHRINK_BATCH or total >= waiting:
            part = min(SHRINK_BATCH, total)
            if not self.scan_split_queue(part):
                break
            total -= part
            scanned += part
        self.split_left = min(max(before + more - scanned, 0), 2 * waiting)

    def scan_split_queue(self, most: int) -> bool:
        """Whether it was of any use."""
        split, kept = 0, []
        for folio in self.split_queue[:most]:
            partial = folio.partially_mapped
            if (partial or self.is_underused(folio)) and folio not in self.locked:
                self.world.counter("thp_underused_split_page", not partial)
                split_deferred(self.world, folio)
                split += 1
                continue
            self.split_queue.remove(folio)
            if partial:
                kept.append(folio)
        self.split_queue += kept
        return bool(split or self.split_queue)

    def is_underused(self, folio: Folio) -> bool:
        most = self.world.rules.max_ptes_none
        zeros = sum(self.world.is_zero(page) for page in folio.region_pages)
        return most < NEVER_UNDERUSED and zeros > most

    # Checking

    def check(self) -> None:
        world = self.world
        charged = sum(folio.size for folio in world.folios) + self.tables
        if not world.rules.lazy_deposit:
            assert self.usage <= self.limit, "more is charged than may be"
        assert self.usage - self.stock >= charged, "something is not charged"
        assert len(set(self.split_queue)) == len(self.split_queue), "a folio is queued twice"
        assert set(self.split_queue) <= world.folios, "what is queued lives"
        where = [*self.inactive, *self.active, *self.batch]
        assert len(where) == len(set(where)), "a folio is on two lists"
        assert set(where) == world.folios, "the lists hold what lives"
        assert not any(folio.active for folio in self.inactive), "active on the inactive list"
        assert all(folio.active for folio in self.active), "inactive on the active list"


def size(folios: list[Folio]) -> int:
    return sum(folio.size for folio in folios)
