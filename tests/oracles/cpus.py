"""Several CPUs that bring 2 MiB folios back under a memory limit, one thing after the other.

Every CPU is a coroutine that says how long what it does takes, and goes on when that time is over:
nothing is done as a whole. It knows folios of 2 MiB behind PMD swap entries and a synchronous
device, what docs/pressure.md says of charges, lists and reclaim (statistics are never brought up to
date after the beginning), and no flushes, locks or fallbacks.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

PAGES = 512


@dataclass(frozen=True)
class Times:
    """What each thing takes, in one unit."""

    access: int
    fault: int
    scan: int
    write: int
    read: int


@dataclass
class Folio:
    number: int
    locked: bool = True
    young: bool = False
    referenced: bool = False
    active: bool = False


class RefusedError(Exception):
    """There is nothing to reclaim: the kernel would fall back to PTEs."""


class Machine:
    """Memory for `capacity` folios; each CPU goes round in its share, page by page."""

    def __init__(self, ranges: int, capacity: int, cpus: int, times: Times, rounds: int) -> None:
        self.ranges, self.capacity, self.cpus, self.times = ranges, capacity, cpus, times
        self.accesses = rounds * ranges * PAGES
        self.mapped: dict[int, Folio] = {}
        self.inactive: OrderedDict[int, Folio] = OrderedDict()
        self.active: OrderedDict[int, Folio] = OrderedDict()
        self.charged = 0
        self.cost = 0
        self.faults = 0

    def run(self) -> int:
        """When the last CPU is done."""
        waiting = [(0, cpu, self.go_through(cpu)) for cpu in range(self.cpus)]
        heapq.heapify(waiting)
        latest = 0
        while waiting:
            latest, cpu, work = heapq.heappop(waiting)
            for takes in work:
                heapq.heappush(waiting, (latest + takes, cpu, work))
                break
        return latest

    def go_through(self, cpu: int) -> Iterator[int]:
        first, end = (turn * self.ranges // self.cpus for turn in (cpu, cpu + 1))
        start, stop = (turn * self.accesses // self.cpus for turn in (cpu, cpu + 1))
        for turn in range(stop - start):
            number = first + turn // PAGES % (end - first)
            while number not in self.mapped:
                yield from self.fault(number)
            self.mapped[number].young = True
            yield self.times.access

    def fault(self, number: int) -> Iterator[int]:
        self.faults += 1
        yield self.times.fault
        yield from self.charge()
        folio = self.inactive[number] = Folio(number)
        yield self.times.read
        folio.locked, folio.young = False, True
        self.mapped[number] = folio

    def charge(self) -> Iterator[int]:
        for _ in range(18):
            if self.charged < self.capacity:
                self.charged += 1
                return
            yield from self.reclaim()
        raise RefusedError

    def reclaim(self) -> Iterator[int]:
        for priority in range(12, -1, -1):
            count = self.scan_count(len(self.inactive) * PAGES, priority)
            freed = 0
            # Each part of 32 pages takes a whole folio.
            for _ in range((count + 31) // 32):
                freed += yield from self.shrink()
                if freed:
                    break
            if freed:
                return

    def scan_count(self, pages: int, priority: int) -> int:
        count = pages >> priority
        if not priority:
            return count
        anon = 60 * (3 * self.cost + 1) // (2 * self.cost + 1)
        file = 140 * (3 * self.cost + 1) // (self.cost + 1)
        return count * anon // (anon + file)

    def shrink(self) -> Iterator[int]:
        """Look at the oldest folio; yields times and returns whether it was freed."""
        if not self.inactive:
            return 0
        _, folio = self.inactive.popitem(last=False)
        yield self.times.scan
        if not folio.locked and not folio.young:
            del self.mapped[folio.number]
            yield self.times.write
            self.charged -= 1
            self.note_cost(32 * PAGES)
            return 1
        if not folio.locked:
            folio.active = folio.referenced
            folio.referenced, folio.young = True, False
        (self.active if folio.active else self.inactive)[folio.number] = folio
        self.note_cost(PAGES)
        return 0

    def note_cost(self, cost: int) -> None:
        # The statistics know of no pages.
        self.cost = (self.cost + cost) // 2
