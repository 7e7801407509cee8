"""The whole state of a run, in plain Python, for tests that compare it with the oracle's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from perfmodel.constants import PAGES_PER_PMD, PMD_ORDER, PteKind, RegionState
from perfmodel.kernels import layout
from perfmodel.kernels.frames import SPARE_OWNERS
from perfmodel.kernels.layout import Cell, SwapCell
from perfmodel.kernels.zsmalloc import NONE, PAGES
from perfmodel.models.fragmentation import free_blocks

_PROTECTIONS = "wru"
_ENTRY_KINDS = "NSPZ"


class Snapshot:
    """Reads the records of a `Memory` into plain Python."""

    def __init__(self, memory: layout.Memory) -> None:
        self._m = memory
        self._ids: dict[int, int] = {}

    def _id(self, folio: int) -> int:
        return self._ids.setdefault(folio, len(self._ids))

    def take(self) -> dict[str, Any]:
        """Processes, slots, folios, clusters, lists and frames; see `docs/mechanism.md`."""
        state = self._m.state
        processes = {
            process: self._process(process)
            for process in range(int(state[Cell.PROCESSES]))
            if self._cell(process, layout.ALIVE)
        }
        slots = self._slots()
        return (
            {
                "processes": processes,
                "slots": slots,
                "folios": [self._folio(folio) for folio in self._ids],
                "clusters": self._clusters(),
                "slot_readahead": tuple(
                    int(state[cell])
                    for cell in (
                        Cell.SLOT_READAHEAD_PREVIOUS,
                        Cell.SLOT_READAHEAD_HITS,
                        Cell.SLOT_READAHEAD_WINDOW,
                    )
                ),
            }
            | self._zswap()
            | self._pressure(slots)
            | self._frames()
        )

    def _zswap(self) -> dict[str, Any]:
        """Slots that zswap's pool has pages of, coldest first, and the pages that it takes."""
        if not self._m.parameters["zswap_pool"]:
            return {}
        state = self._m.zswap
        found, slot = [], int(state.ends[0])
        while slot != NONE:
            found.append(slot)
            slot = int(state.following[slot])
        return {"zswap": (found, int(state.pool.totals[PAGES]))}

    def _frames(self) -> dict[str, Any]:
        """Where folios lie, and how much is free in blocks of each order."""
        m = self._m
        if not m.parameters["frames"]:
            return {}
        owner = int(m.parameters["first_owner"]) + SPARE_OWNERS
        return {
            "frames": [int(m.frames.frame_of[owner + folio]) - 1 for folio in self._ids],
            "free_blocks": free_blocks(m.frames).tolist(),
        }

    def _cell(self, process: int, field: int) -> int:
        return int(self._m.state[Cell.PROCESS + process * layout.PROCESS_CELLS + field])

    def _process(self, process: int) -> dict[str, Any]:
        ranges = int(self._m.state[Cell.RANGES])
        return {
            "shift": self._cell(process, layout.SHIFT),
            "armed": bool(self._cell(process, layout.ARMED)),
            "tracked": bool(self._cell(process, layout.TRACKED)),
            "readahead": (
                self._cell(process, layout.READAHEAD_ADDRESS),
                self._cell(process, layout.READAHEAD_WINDOW),
                self._cell(process, layout.READAHEAD_HITS),
            ),
            "ranges": [self._range(process * ranges + span) for span in range(ranges)],
        }

    def _range(self, number: int) -> dict[str, Any]:
        pmd = self._m.pmds[number]
        kind, value, flags = int(pmd["kind"]), int(pmd["value"]), int(pmd["flags"])
        state = RegionState(kind)
        described: dict[str, Any] = {
            "state": state.name,
            "value": -1,
            "flags": None,
            "entries": None,
        }
        if state is RegionState.PMD_MAPPED:
            described["value"] = self._id(value)
        elif state is RegionState.PMD_SWAP:
            described["value"] = value * PAGES_PER_PMD
        if state in (RegionState.PMD_MAPPED, RegionState.PMD_SWAP):
            described["flags"] = _flags(flags)
        protection = int(pmd["protection"])
        if protection == layout.MIXED:
            words = [int(word) for word in self._m.rows[value]]
            if state is RegionState.PTE_TABLE:
                described["entries"] = [self._entry(word) for word in words]
            described["protection"] = "".join(
                _PROTECTIONS[(word & layout.PROTECTION_MASK) >> layout.PROTECTION_SHIFT]
                for word in words
            )
        else:
            described["protection"] = _PROTECTIONS[protection] * PAGES_PER_PMD
        return described

    def _entry(self, word: int) -> tuple[Any, ...]:
        kind = PteKind(word & layout.KIND_MASK)
        value: Any = -1
        if kind is PteKind.SWAP:
            value = word >> layout.VALUE_SHIFT
        elif kind is PteKind.PRESENT:
            folio, page = divmod(word >> layout.VALUE_SHIFT, PAGES_PER_PMD)
            value = (self._id(folio), page)
        return (_ENTRY_KINDS[kind], value, *_flags(word))

    def _slots(self) -> dict[int, tuple[Any, ...]]:
        slots = {}
        for cluster in self._used_clusters():
            for offset, word in enumerate(self._words(cluster)):
                if word and not word & layout.SLOT_HEADER:
                    folio = (word >> layout.SLOT_FOLIO_SHIFT) - 1
                    slots[cluster * PAGES_PER_PMD + offset] = (
                        word & layout.SLOT_COUNT,
                        self._id(folio) if folio >= 0 else -1,
                        bool(word & layout.SLOT_ZERO),
                        bool(word & layout.SLOT_ZSWAP),
                        bool(word & layout.SLOT_NEIGHBOUR),
                    )
        return slots

    def _used_clusters(self) -> Iterator[int]:
        for row in self._m.swap:
            yield from range(int(row[SwapCell.FIRST_CLUSTER]), int(row[SwapCell.FRESH_CLUSTER]))

    def _words(self, cluster: int) -> list[int]:
        record = self._m.clusters[cluster]
        if record["flags"] & layout.CLUSTER_DETAILED:
            return [int(word) for word in self._m.rows[record["value"]]]
        if not record["used"]:
            return []
        word = int(record["count"]) | int(record["flags"]) << 8
        word |= (int(record["value"]) + 1) << layout.SLOT_FOLIO_SHIFT
        return [word] * PAGES_PER_PMD

    def _folio(self, number: int) -> tuple[Any, ...]:
        folio = self._m.folios[number]
        flags = int(folio["flags"])
        cluster = int(folio["cluster"])
        return (
            int(folio["order"]),
            int(folio["range"]) * PAGES_PER_PMD + int(folio["index"]),
            int(folio["mapcount"]),
            cluster * PAGES_PER_PMD + int(folio["offset"]) if cluster >= 0 else -1,
            bool(flags & layout.FOLIO_DIRTY),
            bool(flags & layout.FOLIO_LAZYFREE),
            bool(flags & layout.FOLIO_READAHEAD),
            bool(flags & layout.FOLIO_PARTIALLY_MAPPED),
        )

    def _pressure(self, slots: dict[int, tuple[Any, ...]]) -> dict[str, Any]:
        """LRU lists, oldest first, and the memory cgroup; nothing without a limit."""
        m, state = self._m, self._m.state
        if not state[Cell.LIMIT]:
            return {}
        places = {"inactive": layout.INACTIVE, "active": layout.ACTIVE, "batch": layout.BATCH}
        shadows = {}
        for slot in slots:
            record = m.clusters[slot // PAGES_PER_PMD]
            detailed = record["flags"] & layout.CLUSTER_DETAILED
            shadow = int(m.shadows[slot] if detailed else m.cluster_shadows[slot // PAGES_PER_PMD])
            if shadow:
                shadows[slot] = (shadow - 1 >> 1, bool(shadow - 1 & 1))
        return {
            "lru": {name: self._folios_in(place) for name, place in places.items()},
            "lru_flags": [_lru_flags(int(m.links[folio]["flags"])) for folio in self._ids],
            "charged": self._cells(Cell.USAGE, Cell.STOCK),
            "nonresident_age": int(state[Cell.NONRESIDENT_AGE]),
            "anon_cost": int(state[Cell.ANON_COST]),
            "activated": self._cells(Cell.ACTIVATED, Cell.SNAPSHOT),
            "statistics": self._cells(
                Cell.FLUSHED_INACTIVE, Cell.FLUSHED_ACTIVE, Cell.FLUSHED_ACTIVATED
            ),
            "shadows": shadows,
            "young": [
                self._young(process * int(state[Cell.RANGES]) + span)
                for process in range(int(state[Cell.PROCESSES]))
                if self._cell(process, layout.ALIVE)
                for span in range(int(state[Cell.RANGES]))
            ],
        }

    def _cells(self, *cells: Cell) -> tuple[int, ...]:
        return tuple(int(self._m.state[cell]) for cell in cells)

    def _folios_in(self, place: int) -> list[int]:
        found = []
        folio = int(self._m.state[layout.LRU_TAILS + place])
        while folio >= 0:
            found.append(self._ids[folio])
            folio = int(self._m.links[folio]["previous"])
        return found

    def _young(self, number: int) -> list[bool]:
        """Of each present entry of a range, whether reclaim would find it used."""
        pmd = self._m.pmds[number]
        if pmd["kind"] == RegionState.PMD_MAPPED:
            return [bool(pmd["translated"] & layout.YOUNG_LEAF)]
        if pmd["kind"] != RegionState.PTE_TABLE:
            return []
        words = self._m.rows[pmd["value"]]
        present = words[words & layout.KIND_MASK == PteKind.PRESENT]
        return [bool(word) for word in present & layout.YOUNG]

    def _list(self, device: int, which: int) -> list[int]:
        found = []
        cluster = int(self._m.swap[device, SwapCell.HEADS + which])
        while cluster >= 0:
            found.append(cluster)
            cluster = int(self._m.clusters[cluster]["next"])
        return found

    def _clusters(self) -> dict[str, Any]:
        """Lists of clusters, of several devices one behind the other, and whose turn it is."""
        m = self._m
        devices = range(len(m.swap))
        orders = range(PMD_ORDER + 1)
        free: list[int] = []
        for device, row in enumerate(m.swap):
            fresh = range(int(row[SwapCell.FRESH_CLUSTER]), int(row[SwapCell.END_CLUSTER]))
            free += [*fresh, *self._list(device, layout.LIST_FREE)]

        def every(which: int) -> list[int]:
            return [cluster for device in devices for cluster in self._list(device, which)]

        lists = {
            "free": free,
            "nonfull": [every(layout.LIST_NONFULL + order) for order in orders],
            "frag": [every(layout.LIST_FRAG + order) for order in orders],
            "full": every(layout.LIST_FULL),
            "next": [int(m.state[Cell.HINTS + order]) for order in orders],
        }
        return lists | ({"line": self._line()} if len(devices) > 1 else {})

    def _line(self) -> list[int]:
        """Swap devices that are not full, those first that are asked for slots first."""
        rows = self._m.swap
        waiting = []
        for device, row in enumerate(rows):
            clusters = int(row[SwapCell.END_CLUSTER]) - int(row[SwapCell.FIRST_CLUSTER])
            if int(row[SwapCell.USED_SLOTS]) < clusters * PAGES_PER_PMD:
                waiting.append(device)
        return sorted(
            waiting, key=lambda d: (-int(rows[d, SwapCell.PRIORITY]), int(rows[d, SwapCell.TURN]))
        )


def _lru_flags(flags: int) -> tuple[bool, bool, bool]:
    return (
        bool(flags & layout.LINK_ACTIVE),
        bool(flags & layout.LINK_REFERENCED),
        bool(flags & layout.LINK_WORKINGSET),
    )


def _flags(word: int) -> tuple[bool, bool, bool, bool, bool]:
    return (
        bool(word & layout.WRITABLE),
        bool(word & layout.DIRTY),
        bool(word & layout.EXCLUSIVE),
        bool(word & layout.UFFD_WP),
        bool(word & layout.SOFT_DIRTY),
    )
