"""The swap device: slots, clusters and the lists that they stand on (section 2)."""

from __future__ import annotations

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


class Device:
    def __init__(self, clusters: int, free_clusters: int, neighbour_slots: int) -> None:
        self.clusters = [Cluster(number) for number in range(clusters + 1)]
        self.slots: dict[int, Slot] = {}
        self.next: list[int] = [-1] * (HUGE + 1)
        self.lists: dict[tuple[str, int], list[Cluster]] = {FREE: [], FULL: []}
        for order in range(HUGE + 1):
            self.lists["nonfull", order] = []
            self.lists["frag", order] = []
        header, *others = self.clusters
        header.used = 1
        if not neighbour_slots:
            self.move(header, ("nonfull", 0))
            for cluster in others:
                self.move(cluster, FREE)
            return
        self.occupy(header, range(1, PAGES))
        for cluster in others[: clusters - free_clusters]:
            self.occupy(cluster, range(cluster.first, cluster.first + neighbour_slots))
        for cluster in others[clusters - free_clusters :]:
            self.move(cluster, FREE)

    def occupy(self, cluster: Cluster, slots: range) -> None:
        """Give slots to the neighbour."""
        for slot in slots:
            self.slots[slot] = Slot(neighbour=True)
        cluster.used += len(slots)
        self.move(cluster, FULL if cluster.used == PAGES else ("nonfull", 0))

    @property
    def end(self) -> int:
        return len(self.clusters) * PAGES

    @property
    def more_than_half_used(self) -> bool:
        used = sum(cluster.used for cluster in self.clusters) - 1  # the header is no slot
        return 2 * used > self.end - 1

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

    def allocate(self, order: int, first_page: int) -> int | None:
        """First of 2**order slots for the region pages from `first_page` on, or None."""
        slot = self.search(order)
        if slot is not None:
            for offset in range(2**order):
                self.slots[slot + offset] = Slot(page=first_page + offset)
        return slot

    @property
    def has_room(self) -> bool:
        """Whether any slot is free."""
        return sum(cluster.used for cluster in self.clusters) < len(self.clusters) * PAGES

    def search(self, order: int) -> int | None:
        found = self.scan_at_hint(order)  # step 1
        if found is None and order < HUGE:
            found = self.scan_each(self.lists["nonfull", order], order)  # 2
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

    def scan_at_hint(self, order: int) -> int | None:
        hint = self.next[order]
        if hint < 0:
            return None
        cluster = self.clusters[hint // PAGES]
        if cluster.used == 0:
            return self.scan(cluster, cluster.first, order)
        if order == 0 or cluster.order == order:
            return self.scan(cluster, hint, order)
        return None

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
        self.next[order] = -1
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
                self.next[order] = behind
        if cluster.used == PAGES:
            self.move(cluster, FULL)
        elif cluster.used == 0:
            self.move(cluster, FREE)
        else:
            self.move(cluster, ("frag", cluster.order))
        return found

    def is_free(self, slot: int) -> bool:
        return slot != 0 and slot not in self.slots  # slot 0 is the header

    # Freeing

    def free(self, slot: int) -> None:
        del self.slots[slot]
        cluster = self.clusters[slot // PAGES]
        cluster.used -= 1
        if cluster.used == 0:
            self.move(cluster, FREE)
        elif cluster.place is None or cluster.place[0] != "nonfull":
            self.move(cluster, ("nonfull", cluster.order))
