"""One run of the engine that is driven step by step, and whose whole state can be looked at."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel import abi
from perfmodel.constants import (
    N_MAPPING,
    N_PRICES,
    PAGES_PER_PMD,
    PMD_ORDER,
    Event,
    Mapping,
    PteKind,
    RegionState,
)
from perfmodel.errors import CapabilityError, OutOfMemoryError, Problem
from perfmodel.kernels import layout
from perfmodel.kernels.buddy import Frames
from perfmodel.kernels.device_layout import Device
from perfmodel.kernels.frames import SPARE_OWNERS
from perfmodel.kernels.layout import Cell
from perfmodel.models.device_packing import plain_device
from perfmodel.models.fragmentation import free_blocks
from perfmodel.models.physical import no_frames, physical_frames
from perfmodel.models.translation_packing import pack_tlbs
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import Policy
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.step import Step, StepAction
from perfmodel.specs.translation import Translation
from perfmodel.traces.generator import BLOCK, AccessTrace, trace_of

_POOL_BYTES = 1 << 30
# More than any device takes at a time.
_MOST_WRITTEN = 1 << 16
_PROTECTIONS = "wru"
_ENTRY_KINDS = "NSPZ"


@attrs.frozen
class StepCounts:
    """What one step counted; what is 0 is absent."""

    counters: dict[str, int]
    events: dict[str, int]
    fallbacks: dict[str, int]
    observed: dict[str, int]
    holds: dict[str, tuple[int, int, int]]


def fresh_memory(
    record: np.void,
    sizes: npt.NDArray[np.int64],
    translation: Translation,
    prices: npt.NDArray[np.int64] | None = None,
    cpus: int = 1,
    device: Device | None = None,
    frames: Frames | None = None,
    timeline: npt.NDArray[np.int64] | None = None,
) -> layout.Memory:
    """A run's memory before its first step.

    Parameters
    ----------
    record : structured scalar
        One of those that `abi.pack_parameters` returns.
    sizes : int64 array
        As `abi.state_sizes` returns them.
    translation : Translation
        Its TLBs, which begin empty.
    prices : int64 array, shape (N_PRICES,), picoseconds, optional
        Without them nothing takes any time.
    cpus : int
        The most that run at the same time.
    device : Device, optional
        At rest; without it requests take no time but their prices.
    frames : Frames, optional
        Page frames as `physical_frames` returns them; without them memory is never short.
    timeline : int64 array, shape (1 + rows, TIMELINE_COLUMNS), optional
        Receives what happens when, as `models.timeline` prepares it.
    """
    from perfmodel.kernels.engine import prepare

    regions, clusters, neighbour, free, processes, folios, rows = (int(size) for size in sizes)
    if device is None:
        device = plain_device(1.0)
    if prices is None:
        prices = np.zeros(N_PRICES, dtype=np.int64)
    if timeline is None:
        timeline = fresh_timeline(0)
    tlb_arrays, tlb_paths, tlb = pack_tlbs(translation, cpus)
    # All zeros come from the kernel's zero page: what a run never writes is never real memory.
    memory = layout.Memory(
        parameters=record,
        pmds=np.zeros(processes * (regions + 1), dtype=layout.PMD),
        folios=np.zeros(folios, dtype=layout.FOLIO),
        clusters=np.zeros(clusters + 1, dtype=layout.CLUSTER),
        frames=no_frames() if frames is None else frames,
        device=device,
        done=np.zeros(folios, dtype=np.int64),
        written=np.zeros(_MOST_WRITTEN, dtype=np.int64),
        links=np.zeros(folios, dtype=layout.LINK),
        shadows=np.zeros((clusters + 1) * PAGES_PER_PMD, dtype=np.int64),
        cluster_shadows=np.zeros(clusters + 1, dtype=np.int64),
        rows=np.zeros((rows, PAGES_PER_PMD), dtype=np.int64),
        state=np.zeros(layout.STATE_CELLS, dtype=np.int64),
        prices=np.ascontiguousarray(prices),
        counts=np.zeros(layout.N_COUNTS, dtype=np.int64),
        locks=np.zeros((layout.LOCK_SETS, layout.LOCK_COLUMNS), dtype=np.int64),
        trace=np.zeros((1, 1), dtype=np.int64),
        tlb_arrays=tlb_arrays,
        tlb_paths=tlb_paths,
        tlb=tlb,
        timeline=timeline,
    )
    prepare(memory, regions, clusters, neighbour, free)
    return memory


@lru_cache(maxsize=64)
def _block(trace: AccessTrace, first: int, count: int) -> npt.NDArray[np.int64]:
    """Accesses of a trace; the last 4 million are kept, as many runs go over the same ones."""
    return trace.block(first, count)


def fresh_timeline(rows: int, only_range: int = -1) -> npt.NDArray[np.int64]:
    """Room for so much of what happens, for one 2 MiB range or (-1) for all."""
    timeline = np.zeros((1 + rows, layout.TIMELINE_COLUMNS), dtype=np.int64)
    timeline[0, layout.NEXT_ROW] = 1
    timeline[0, layout.ONLY_RANGE] = only_range
    return timeline


def run_one_step(memory: layout.Memory, step: Step) -> None:
    """Let the engine do one step."""
    from perfmodel.kernels.engine import run_step

    record = abi.pack_steps([step])[0]
    if step.action is not StepAction.ACCESS:
        run_step(memory, record)
        return
    regions = int(memory.state[Cell.REGIONS])
    cpus = min(step.threads, regions)
    traces = []
    for cpu in range(cpus):
        share = (cpu + 1) * regions // cpus - cpu * regions // cpus
        own = attrs.evolve(step, seed=step.seed + cpu)
        traces.append(trace_of(own, share * PAGES_PER_PMD))
    record["accesses"] = step.number_of_accesses(regions * PAGES_PER_PMD)
    blocks = np.zeros((cpus, BLOCK), dtype=np.int64)
    memory = memory._replace(trace=blocks)
    while (cpu := int(run_step(memory, record))) >= 0:
        # It runs now, so its cells stand in place.
        first, total = (int(memory.state[cell]) for cell in (Cell.POSITION, Cell.TOTAL))
        count = min(BLOCK, total - first)
        blocks[cpu, :count] = _block(traces[cpu], first, count)
        memory.state[Cell.READY] = first + count


def out_of_memory(why: int) -> OutOfMemoryError:
    """What a scenario ends with whose memory cgroup, or machine, has nothing left."""
    if why == layout.NO_FRAMES:
        return OutOfMemoryError(
            Problem(
                "the kernel would kill the process: no page frame is free. Choose a larger size, "
                "or a smaller used_share",
                key="memory.size",
            )
        )
    return OutOfMemoryError(
        Problem(
            "the kernel would kill the process: nothing can be reclaimed in its memory cgroup. "
            "Choose a larger memory_limit, or smaller folios",
            key="settings.memory_limit",
        )
    )


class SimulatedMemory:
    """The state of one simulated run.

    Parameters
    ----------
    scenario : Scenario
        Its region, swap space and settings; the steps are those that `step` is called with.
    policy : Policy
    device : DeviceKind
    machine : Machine
        Only its TLBs matter here.
    seed : int
    processes : int
        How many there may be, forked ones included.
    cpus : int
        The most that run at the same time. Nothing takes any time here: they take turns.
    """

    def __init__(
        self,
        scenario: Scenario,
        policy: Policy,
        device: DeviceKind,
        machine: Machine,
        *,
        seed: int = 1,
        processes: int = layout.MOST_PROCESSES,
        cpus: int = 1,
    ) -> None:
        sizes = abi.state_sizes(scenario, processes, _POOL_BYTES)
        parameters = abi.pack_parameters(scenario, policy, device, range(seed, seed + 1))
        self._lazy = policy.lazy_page_table_deposit
        frames = None
        if scenario.memory is not None:
            frames = physical_frames(scenario, parameters, sizes)(0)
        self._memory = fresh_memory(
            parameters[0], sizes, machine.translation, cpus=cpus, frames=frames
        )

    def step(self, step: Step) -> StepCounts:
        """Do one step and return what it counted."""
        m = self._memory
        m.counts[:] = 0
        run_one_step(m, step)
        if m.state[Cell.OUT_OF_MEMORY]:
            raise out_of_memory(int(m.state[Cell.OUT_OF_MEMORY]))
        if m.state[Cell.EXHAUSTED]:
            raise CapabilityError("the memory of this run is too small for what it splits")
        counters = abi.name_counters(abi.counters_of(m.counts))
        return StepCounts(
            counters={name: count for name, count in counters.items() if count},
            events={event.name: int(m.counts[event]) for event in Event if m.counts[event]},
            fallbacks=abi.name_fallbacks(m.counts),
            observed=abi.name_observed(m.counts),
            holds={
                name: (hold["count"], hold["total"], hold["longest"])
                for name, hold in abi.name_holds(m.counts).items()
            },
        )

    def mapping(self) -> dict[str, int]:
        """What process 0 maps how."""
        from perfmodel.kernels.engine import describe_mapping

        mapping = np.zeros(N_MAPPING, dtype=np.int64)
        describe_mapping(self._memory, mapping)
        return {kind.name.lower(): int(mapping[kind]) for kind in Mapping}

    def snapshot(self) -> dict[str, Any]:
        """The whole state, in plain Python; `docs/mechanism.md` says what it consists of.

        Folios are numbered in the order in which processes, ranges and entries, then slots, lead
        to them.
        """
        return _Snapshot(self._memory).take()


class _Snapshot:
    """Reads the records of a `Memory` into plain Python."""

    def __init__(self, memory: layout.Memory) -> None:
        self._m = memory
        self._ids: dict[int, int] = {}

    def _id(self, folio: int) -> int:
        return self._ids.setdefault(folio, len(self._ids))

    def take(self) -> dict[str, Any]:
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
            | self._pressure(slots)
            | self._frames()
        )

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
        for cluster in range(int(self._m.state[Cell.FRESH_CLUSTER])):
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

    def _list(self, which: int) -> list[int]:
        found = []
        cluster = int(self._m.state[Cell.HEADS + which])
        while cluster >= 0:
            found.append(cluster)
            cluster = int(self._m.clusters[cluster]["next"])
        return found

    def _clusters(self) -> dict[str, Any]:
        state = self._m.state
        fresh = range(int(state[Cell.FRESH_CLUSTER]), int(state[Cell.CLUSTERS]) + 1)
        return {
            "free": [*fresh, *self._list(layout.LIST_FREE)],
            "nonfull": [self._list(layout.LIST_NONFULL + order) for order in range(PMD_ORDER + 1)],
            "frag": [self._list(layout.LIST_FRAG + order) for order in range(PMD_ORDER + 1)],
            "full": self._list(layout.LIST_FULL),
            "next": [int(state[Cell.HINTS + order]) for order in range(PMD_ORDER + 1)],
        }


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
