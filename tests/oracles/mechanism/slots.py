"""Swap devices: slots, clusters and the lists that they stand on (sections 2 and 2a)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.oracles.mechanism.memory import HUGE, PAGES, Folio

FREE = ("free", 0)
FULL = ("full", 0)


@dataclass(eq=False)
class Slot:
    """A slot that is used; free slots have no object."""

    page: int = -1  # the region page that it holds; a neighbour's holds none
    count: int = 0
    folio: Folio | None = None
    zero: bool = False
    zswap: bool = False
    neighbour: bool = False
    shadow: Any = None


@dataclass(eq=False)
class Cluster:
    number: int
    used: int = 0
    order: int = 0
    place: tuple[str, int] | None = None  # the list that it stands on

    @property
    def first(self) -> int:
        return self.number * PAGES


@dataclass(frozen=True)
class Given:
    """A swap device as the run finds it."""

    clusters: int
    free_clusters: int = 0
    neighbour_slots: int = 0
    priority: int = 0
    synchronous: bool = True
    block_device: bool = True


class Device:
    """One swap device; numbers of slots and clusters are those of all devices together."""

    def __init__(self, all_devices: Devices, given: Given, first_cluster: int) -> None:
        self.all = all_devices
        self.given = given
        numbers = range(first_cluster, first_cluster + given.clusters + 1)
        self.clusters = [Cluster(number) for number in numbers]
        self.lists: dict[tuple[str, int], list[Cluster]] = {FREE: [], FULL: []}
        for order in range(HUGE + 1):
            self.lists["nonfull", order] = []
            self.lists["frag", order] = []
        header, *others = self.clusters
        header.used = 1
        if not given.neighbour_slots:
            self.move(header, ("nonfull", 0))
            for cluster in others:
                self.move(cluster, FREE)
            return
        self.occupy(header, range(header.first + 1, header.first + PAGES))
        taken = given.clusters - given.free_clusters
        for cluster in others[:taken]:
            self.occupy(cluster, range(cluster.first, cluster.first + given.neighbour_slots))
        for cluster in others[taken:]:
            self.move(cluster, FREE)

    def occupy(self, cluster: Cluster, slots: range) -> None:
        """Give slots to the neighbour."""
        for slot in slots:
            self.all.slots[slot] = Slot(neighbour=True)
        cluster.used += len(slots)
        self.move(cluster, FULL if cluster.used == PAGES else ("nonfull", 0))

    @property
    def header(self) -> int:
        return self.clusters[0].first

    @property
    def end(self) -> int:
        return self.clusters[-1].first + PAGES

    @property
    def is_full(self) -> bool:
        return all(cluster.used == PAGES for cluster in self.clusters)

    def move(self, cluster: Cluster, place: tuple[str, int]) -> None:
        """To the tail of another list; a cluster that stands there already keeps its place."""
        if cluster.place == place:
            return
        self.take_off(cluster)
        self.lists[place].append(cluster)
        cluster.place = place

    def take_off(self, cluster: Cluster) -> None:
        if cluster.place is not None:
            self.lists[cluster.place].remove(cluster)
            cluster.place = None

    # Allocation

    def search(self, order: int) -> int | None:
        found = None
        if order < HUGE:
            found = self.scan_each(self.lists["nonfull", order], order)  # step 2
        if found is None:
            found = self.scan_each(self.lists[FREE][:1], order)  # 3
        if found is None and order < HUGE:
            found = self.scan_each(self.lists["frag", order][:1], order)  # 4
        if order == 0:
            for larger in range(1, HUGE + 1):  # 5
                for kind in ("frag", "nonfull"):
                    if found is None:
                        found = self.scan_each(self.lists[kind, larger], order)
        return found

    def scan_at_hint(self, hint: int, order: int) -> int | None:
        cluster = self.cluster_of(hint)
        if cluster.used == 0:
            return self.scan(cluster, cluster.first, order)
        if order == 0 or cluster.order == order:
            return self.scan(cluster, hint, order)
        return None

    def cluster_of(self, slot: int) -> Cluster:
        return self.clusters[(slot - self.header) // PAGES]

    def scan_each(self, clusters: list[Cluster], order: int) -> int | None:
        """Scan clusters, each at most once, until one yields."""
        for cluster in list(clusters):
            self.take_off(cluster)
            found = self.scan(cluster, cluster.first, order)
            if found is not None:
                return found
        return None

    def scan(self, cluster: Cluster, start: int, order: int) -> int | None:
        """The first free slots at `start` or a whole number of sizes behind it; takes them."""
        size = 2**order
        end = cluster.first + PAGES
        found = None
        self.all.next[order] = -1
        if cluster.used + size <= PAGES:
            for position in range(start, end - size + 1, size):
                if all(self.is_free(slot) for slot in range(position, position + size)):
                    found = position
                    break
        if found is not None:
            if cluster.used == 0:
                cluster.order = order
            cluster.used += size
            behind = found + size
            if cluster.used < PAGES and behind + size <= end:
                self.all.next[order] = behind
        if cluster.used == PAGES:
            self.move(cluster, FULL)
        elif cluster.used == 0:
            self.move(cluster, FREE)
        else:
            self.move(cluster, ("frag", cluster.order))
        return found

    def is_free(self, slot: int) -> bool:
        return slot != self.header and slot not in self.all.slots

    # Freeing

    def free(self, slot: int) -> None:
        cluster = self.cluster_of(slot)
        cluster.used -= 1
        if cluster.used == 0:
            self.move(cluster, FREE)
        elif cluster.place is None or cluster.place[0] != "nonfull":
            self.move(cluster, ("nonfull", cluster.order))


class Devices:
    """All that is swapped to; `line` has those that are not full, the next one to ask first."""

    def __init__(self, given: Sequence[Given]) -> None:
        self.slots: dict[int, Slot] = {}
        self.next: list[int] = [-1] * (HUGE + 1)
        self.devices: list[Device] = []
        self.line: list[Device] = []
        first = 0
        for one in given:
            self.devices.append(Device(self, one, first))
            first += one.clusters + 1
        for device in self.devices:
            if not device.is_full:
                self.join(device)
        # That was asked for slots last, whether it had any or not.
        self.asked = self.devices[0]

    def join(self, device: Device) -> None:
        """Behind all devices of its priority, before those of a lower one."""
        priorities = [other.given.priority for other in self.line]
        behind = [place for place, other in enumerate(priorities) if other < device.given.priority]
        self.line.insert(behind[0] if behind else len(self.line), device)

    def of(self, slot: int) -> Device:
        return next(device for device in self.devices if slot < device.end)

    @property
    def clusters(self) -> list[Cluster]:
        return [cluster for device in self.devices for cluster in device.clusters]

    @property
    def end(self) -> int:
        return self.devices[-1].end

    @property
    def more_than_half_used(self) -> bool:
        headers = len(self.devices)
        used = sum(cluster.used for cluster in self.clusters) - headers  # they are no slots
        return 2 * used > self.end - headers

    def allocate(self, order: int, first_page: int) -> int | None:
        """First of 2**order slots for the region pages from `first_page` on, or None."""
        slot = self.search(order)
        if slot is not None:
            for offset in range(2**order):
                self.slots[slot + offset] = Slot(page=first_page + offset)
            if self.of(slot).is_full:
                self.line.remove(self.of(slot))
        return slot

    def search(self, order: int) -> int | None:
        self.asked = self.devices[0]
        if self.next[order] >= 0:  # step 1
            found = self.of(self.next[order]).scan_at_hint(self.next[order], order)
            if found is not None:
                return found
        if not self.line:
            return None
        # Only the first of the line: a page finds a slot there, and a large folio gets no second.
        device = self.asked = self.line.pop(0)
        self.join(device)
        if order and not device.given.block_device:
            return None
        return device.search(order)

    def free(self, slot: int) -> None:
        device = self.of(slot)
        was_full = device.is_full
        del self.slots[slot]
        device.free(slot)
        if was_full:
            self.join(device)
