"""The border between specs and kernels: records of fixed layout in, names out."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.constants import (
    COUNTER_NAMES,
    KHUGEPAGED_COUNTER_NAMES,
    N_HOLDS,
    PAGE_BYTES,
    PAGES_PER_PMD,
    PICOSECONDS_PER_MILLISECOND,
    PICOSECONDS_PER_NANOSECOND,
    PRESSURE_COUNTER_NAMES,
    Action,
    Backing,
    Content,
    Delay,
    Event,
    Fallback,
    Hold,
    Lock,
    Observed,
    SwapEntryLevel,
    Wait,
    Zswap,
)
from perfmodel.kernels.layout import (
    CLUSTER,
    COUNTERS,
    FALLBACKS,
    FOLIO,
    HOLDS,
    OBSERVED,
    PMD,
    SHARES,
    SPARE_FOLIOS,
    SPARE_ROWS,
    WAITS,
)
from perfmodel.specs import codec
from perfmodel.specs.device import DeviceKind, SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import Policy
from perfmodel.specs.quantity import Quantity
from perfmodel.specs.scenario import Khugepaged, PageContent, Scenario
from perfmodel.specs.step import Racing, Step

PARAMETERS = np.dtype(
    [
        (name, np.int64)
        for name in (
            "swap_entry_level",
            "swapin_order",
            "order9_failure_threshold",
            "charge_failure_threshold",
            "lazy_page_table_deposit",
            "batched_unmap",
            "content",
            "zswap",
            "zswap_pool",
            "zswap_stays",
            "zswap_bytes",
            "zswap_bytes_last",
            "page_cluster",
            "vma_readahead",
            "synchronous",
            "block_device",
            "seed",
            "device_model",
            "memory_limit",
            "other_charged_pages",
            "swappiness",
            "backing",
            "khugepaged_sleep",
            "pages_to_scan",
            "max_ptes_swap",
            "max_ptes_none",
            "max_ptes_shared",
            "alloc_sleep",
            "frames",
            "first_owner",
            "fault_effort",
        )
    ],
    align=True,
)

_STEP_FIELDS = (
    "process",
    "first_page",
    "page_count",
    "pages_per_2mib",
    "write",
    "writable",
    "shift_pages",
    "refuse_write",
    "threads",
    "accesses",
    "milliseconds",
)
STEPS = np.dtype([(name, np.int64) for name in ("action", "racing", *_STEP_FIELDS)], align=True)

# Linux's default.
_SWAPPINESS = 60
_LEVELS = {"pte": SwapEntryLevel.PTE, "pmd": SwapEntryLevel.PMD}

# Where each event's price stands, and the part of the time breakdown that it belongs to.
PRICES: dict[Event, tuple[str, str]] = {
    Event.FAULT: ("kernel.fault_ns", "fault_entry"),
    Event.SWAPIN_FOLIO: ("kernel.swapin_folio_ns", "allocation"),
    Event.SWAPIN_LARGE_FOLIO: ("kernel.swapin_large_folio_ns", "allocation"),
    Event.SWAPIN_PAGE: ("kernel.swapin_page_ns", "swap_slots"),
    Event.MAP_PTE: ("kernel.map_pte_ns", "mapping"),
    Event.MAP_PMD: ("kernel.map_pmd_ns", "mapping"),
    Event.ORDER9_ALLOCATION_FAILURE: ("kernel.order9_allocation_failure_ns", "allocation"),
    Event.SPLIT_PMD_SWAP_ENTRY: ("kernel.split_pmd_swap_entry_ns", "page_table"),
    Event.READ_REQUEST: ("device.read_request_ns", "device_wait"),
    Event.DECOMPRESS_PAGE: ("device.decompress_page_ns", "decompression"),
    Event.FREE_SLOT: ("device.free_slot_ns", "swap_slots"),
    Event.CLEAR_PAGE: ("kernel.clear_page_ns", "clear_and_copy"),
    Event.SWAPOUT_FOLIO: ("kernel.swapout_folio_ns", "swap_slots"),
    Event.SWAPOUT_PAGE: ("kernel.swapout_page_ns", "swap_slots"),
    Event.SPLIT_PMD_MAPPING: ("kernel.split_pmd_mapping_ns", "page_table"),
    Event.UNMAP_PTE: ("kernel.unmap_pte_ns", "page_table"),
    Event.SET_PMD_SWAP_ENTRY: ("kernel.set_pmd_swap_entry_ns", "page_table"),
    Event.ZERO_SCAN_PAGE: ("kernel.zero_scan_page_ns", "clear_and_copy"),
    Event.WRITE_REQUEST: ("device.write_request_ns", "device_wait"),
    Event.COMPRESS_PAGE: ("device.compress_page_ns", "compression"),
    Event.THP_ALLOCATION: ("kernel.thp_allocation_ns", "allocation"),
    Event.PAGE_TABLE_ALLOCATION: ("kernel.page_table_allocation_ns", "page_table"),
    Event.WRITE_PAGE: ("cpu.write_page_ns", "clear_and_copy"),
    Event.ACCESS_CACHED: ("cpu.cached_access_ns", "data_access"),
    Event.ACCESS_MEMORY: ("cpu.memory_access_ns", "data_access"),
    Event.STLB_HIT: ("translation.stlb_hit_ns", "tlb_misses"),
    Event.WALK_PTE: ("cpu.walk_pte_ns", "tlb_misses"),
    Event.WALK_PMD: ("cpu.walk_pmd_ns", "tlb_misses"),
    Event.SYSTEM_CALL: ("kernel.system_call_ns", "system_call"),
    Event.VISIT_PMD: ("kernel.visit_pmd_ns", "page_table_walk"),
    Event.VISIT_PTE: ("kernel.visit_pte_ns", "page_table_walk"),
    Event.SET_PTE: ("kernel.set_pte_ns", "page_table"),
    Event.ZAP_PTE: ("kernel.zap_pte_ns", "page_table"),
    Event.MOVE_PMD: ("kernel.move_pmd_ns", "page_table"),
    Event.LOOKUP_SLOT: ("kernel.lookup_slot_ns", "swap_cache"),
    Event.CLASSIFY_SLOT: ("kernel.classify_slot_ns", "swap_cache"),
    Event.DUPLICATE_SLOT: ("kernel.duplicate_slot_ns", "swap_slots"),
    Event.PUT_SLOT: ("kernel.put_slot_ns", "swap_slots"),
    Event.COPY_PAGE: ("kernel.copy_page_ns", "clear_and_copy"),
    Event.TLB_FLUSH: ("kernel.tlb_flush_ns", "page_table"),
    Event.SPLIT_FOLIO_PAGE: ("kernel.split_folio_page_ns", "split_and_collapse"),
    Event.FREE_CACHED_FOLIO: ("kernel.free_cached_folio_ns", "swap_cache"),
    Event.COLLAPSE_RANGE: ("kernel.collapse_range_ns", "split_and_collapse"),
    Event.ZSWAP_STORE_PAGE: ("kernel.zswap_store_page_ns", "compression"),
    Event.ZSWAP_LOAD_PAGE: ("kernel.zswap_load_page_ns", "decompression"),
    Event.REPORT_PAGE: ("kernel.report_page_ns", "page_table_walk"),
    Event.UNMAP_BATCH: ("kernel.unmap_batch_ns", "page_table"),
    Event.UNMAP_BATCHED_PTE: ("kernel.unmap_batched_pte_ns", "page_table"),
    Event.ANON_FOLIO: ("kernel.anon_folio_ns", "allocation"),
    Event.SCAN_FOLIO: ("kernel.scan_folio_ns", "reclaim"),
    Event.COMPACT_SCAN_PAGE: ("kernel.compact_scan_page_ns", "allocation"),
    Event.MIGRATE_PAGE: ("kernel.migrate_page_ns", "allocation"),
    Event.DUPLICATE_CALL: ("kernel.duplicate_call_ns", "swap_slots"),
}

BREAKDOWN_PARTS = (
    "fault_entry",
    "system_call",
    "allocation",
    "decompression",
    "compression",
    "swap_slots",
    "swap_cache",
    "mapping",
    "page_table",
    "page_table_walk",
    "split_and_collapse",
    "reclaim",
    "block_layer",
    "device_wait",
    "lock_wait",
    "shootdown",
    "clear_and_copy",
    "data_access",
    "tlb_misses",
    "idle",
)


# The same for what engine runs on several CPUs need to know beside the prices of events.
DELAYS: dict[Delay, str] = {
    Delay.TAKE_LOCK: "kernel.duplicate_call_ns",
    Delay.HAND_LOCK_OVER: "kernel.lock_handover_ns",
    Delay.HOLD_PTE_TABLE: "kernel.map_pte_ns",
    Delay.HOLD_PMD: "kernel.set_pte_ns",
    Delay.HOLD_CLUSTER: "kernel.put_slot_ns",
    Delay.HOLD_LRU: "kernel.lru_folio_ns",
    Delay.FIRST_RESPONDER: "shootdown.first_responder_ns",
    Delay.NEXT_RESPONDER: "shootdown.next_responder_ns",
    Delay.RESPONDER: "shootdown.responder_ns",
}

# The part of the time breakdown that each kind of waiting belongs to.
WAIT_PARTS: dict[Wait, str] = {
    Wait.PTE_TABLE_LOCK: "lock_wait",
    Wait.PMD_LOCK: "lock_wait",
    Wait.CLUSTER_LOCK: "lock_wait",
    Wait.LRU_LOCK: "lock_wait",
    Wait.DEVICE: "device_wait",
    Wait.PAGE_IN_FLIGHT: "device_wait",
    Wait.WRITEBACK: "device_wait",
    Wait.SHOOTDOWN: "shootdown",
    Wait.INTERRUPTED: "shootdown",
    Wait.BLOCK_LAYER: "block_layer",
    Wait.IDLE: "idle",
}

# Prices of pages of half-random content, and which number of a codec tells those of other contents.
_BY_CONTENT = {
    Event.COMPRESS_PAGE: "compress_page_ns",
    Event.DECOMPRESS_PAGE: "decompress_page_ns",
}
_ZSWAP = {
    Event.ZSWAP_STORE_PAGE: ("store_page_ns", "compress_page_ns"),
    Event.ZSWAP_LOAD_PAGE: ("load_page_ns", "decompress_page_ns"),
}


def event_quantities(
    machine: Machine, device: SwapDevice, content: PageContent = codec.REFERENCE
) -> list[Quantity]:
    """The price of every event, in the order of `Event`, for pages of one content."""
    owners = {
        "kernel": machine.kernel,
        "cpu": machine.cpu,
        "translation": machine.translation,
        "device": device,
    }
    quantities = []
    for event in Event:
        owner, _, name = PRICES[event][0].partition(".")
        found = getattr(owners[owner], name)
        if event in _BY_CONTENT:
            found = codec.price(found, device.codec, _BY_CONTENT[event], content)
        elif event in _ZSWAP and device.zswap is not None:
            own, by_content = _ZSWAP[event]
            found = codec.price(getattr(device.zswap, own), device.zswap.codec, by_content, content)
        quantities.append(found)
    return quantities


def delay_quantities(machine: Machine) -> list[Quantity]:
    """What waiting takes, in the order of `Delay`."""
    shootdown = machine.translation.shootdown
    if shootdown.broadcast:
        # Nobody is interrupted, and more CPUs take no longer.
        nothing = attrs.evolve(shootdown.broadcast_ns, value=0.0, spread=0.0)
        shootdown = attrs.evolve(
            shootdown,
            first_responder_ns=shootdown.broadcast_ns,
            next_responder_ns=nothing,
            responder_ns=nothing,
        )
    owners = {"kernel": machine.kernel, "shootdown": shootdown}
    quantities = []
    for delay in Delay:
        owner, _, name = DELAYS[delay].partition(".")
        quantities.append(getattr(owners[owner], name))
    return quantities


def picoseconds(nanoseconds: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Times as the whole picoseconds that all sums are made of."""
    return np.rint(nanoseconds * PICOSECONDS_PER_NANOSECOND).astype(np.int64)


def pack_parameters(
    scenario: Scenario,
    policy: Policy,
    device: DeviceKind,
    seeds: range,
) -> npt.NDArray[np.void]:
    """One record for each seed, as the engine takes them; shape (seeds,)."""
    settings = scenario.settings
    khugepaged = settings.khugepaged or Khugepaged()
    order9_failure = max(policy.order9_failure, settings.order9_failure)
    fields = {
        "swap_entry_level": int(_LEVELS[policy.swap_entry]),
        "swapin_order": policy.swapin_order,
        "order9_failure_threshold": round(order9_failure * (1 << 32)),
        "charge_failure_threshold": round(settings.charge_failure * (1 << 32)),
        "lazy_page_table_deposit": int(policy.lazy_page_table_deposit),
        "batched_unmap": int(policy.batched_unmap),
        "content": int(Content[scenario.region.content.name]),
        "zswap": int(Zswap[settings.zswap.name]),
        "zswap_pool": int(settings.zswap_pool is not None),
        "zswap_stays": int(settings.zswap_pool is not None and not settings.zswap_pool.writeback),
        "page_cluster": settings.page_cluster,
        "vma_readahead": int(settings.vma_readahead),
        "synchronous": int(device.synchronous),
        "block_device": int(device.block_device),
        "memory_limit": (settings.memory_limit_bytes or 0) // PAGE_BYTES,
        # The page with the PMD entries.
        "other_charged_pages": 1,
        "swappiness": _SWAPPINESS,
        "backing": int(Backing[scenario.region.backing.name]),
        # Picoseconds; 0 where it never wakes by itself.
        "khugepaged_sleep": khugepaged.scan_sleep_millisecs * PICOSECONDS_PER_MILLISECOND
        if settings.khugepaged
        else 0,
        "alloc_sleep": khugepaged.alloc_sleep_millisecs * PICOSECONDS_PER_MILLISECOND,
        "pages_to_scan": khugepaged.pages_to_scan,
        "max_ptes_swap": khugepaged.max_ptes_swap,
        "max_ptes_none": khugepaged.max_ptes_none,
        "max_ptes_shared": khugepaged.max_ptes_shared,
    }
    records = np.zeros(len(seeds), dtype=PARAMETERS)
    for name, value in fields.items():
        records[name] = value
    records["seed"] = np.asarray(seeds, dtype=np.int64)
    return records


def pack_steps(steps: Sequence[Step]) -> npt.NDArray[np.void]:
    """Steps as the engine takes them; shape (steps,)."""
    records = np.zeros(len(steps), dtype=STEPS)
    for record, step in zip(records, steps, strict=True):
        record["action"] = int(Action[step.action.name])
        record["racing"] = int(step.racing is not Racing.NONE)
        for name in _STEP_FIELDS:
            record[name] = int(getattr(step, name))
    return records


def hidden_counters(scenario: Scenario) -> frozenset[str]:
    """Counters that no world reports for a scenario, since nothing of it moves them."""
    hidden: frozenset[str] = frozenset()
    if scenario.memory is None and not scenario.is_limited:
        hidden |= PRESSURE_COUNTER_NAMES
    if scenario.memory is None and scenario.settings.khugepaged is None:
        hidden |= KHUGEPAGED_COUNTER_NAMES
    return hidden


def name_counters(
    counts: npt.NDArray[np.int64], hidden: frozenset[str] = frozenset()
) -> dict[str, int]:
    """Counters of one step under the kernel's names, but for those that are hidden."""
    return {
        name: int(count)
        for name, count in zip(COUNTER_NAMES, counts, strict=True)
        if not name.startswith("hugepages-8kB") and name not in hidden
    }


def counters_of(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The kernel's counters among all counts; the last axis is that of `N_COUNTS`."""
    return counts[..., COUNTERS:FALLBACKS]


def events_of(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The priced events among all counts."""
    return counts[..., :COUNTERS]


def _named(names: type[IntEnum], base: int, counts: npt.NDArray[np.int64]) -> dict[str, int]:
    return {name.name.lower(): int(counts[base + name]) for name in names if counts[base + name]}


def name_fallbacks(counts: npt.NDArray[np.int64]) -> dict[str, int]:
    """Reasons why whole-PMD attempts of one step ended in PTE entries, with their number."""
    return _named(Fallback, FALLBACKS, counts)


def name_observed(counts: npt.NDArray[np.int64]) -> dict[str, int]:
    """What one step's mincore, pagemap or smaps read, in pages."""
    return _named(Observed, OBSERVED, counts)


def waits_of(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Picoseconds waited, by `Wait`, among all counts."""
    return counts[..., WAITS:SHARES]


def name_holds(counts: npt.NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """Holds of every lock that one step took; lengths are in page-table entries or slot words."""
    return {
        lock.name.lower(): {
            hold.name.lower(): int(counts[HOLDS + lock * N_HOLDS + hold]) for hold in Hold
        }
        for lock in Lock
        if counts[HOLDS + lock * N_HOLDS + Hold.COUNT]
    }


def state_sizes(
    scenario: Scenario, processes: int, most_bytes: int, devices: int = 1
) -> npt.NDArray[np.int64]:
    """Sizes of one run's state: regions, clusters, neighbour's slots, free clusters, processes,
    folios and rows.

    `clusters` are those of all swap devices but the first one's first; the neighbour's slots and
    free clusters are those of a single device.

    The pools of folios and of rows (PTE tables and slot words) are as large as a run could ever
    need, or as `most_bytes` allows; what a run does not use never becomes real memory.
    """
    regions = scenario.region.count
    clusters = sum(1 + space.clusters for space in scenario.spaces(devices)) - 1
    pages = processes * regions * PAGES_PER_PMD
    folios = pages + SPARE_FOLIOS
    rows = processes * (regions + 1) + clusters + 1 + SPARE_ROWS
    share = most_bytes / (folios * FOLIO.itemsize + rows * PAGE_BYTES)
    if share < 1:
        folios = max(SPARE_FOLIOS + 4 * PAGES_PER_PMD, int(folios * share))
        rows = max(SPARE_ROWS + 64, int(rows * share))
    swap = scenario.swap
    return np.array(
        [regions, clusters, swap.neighbour_slots, swap.free_clusters, processes, folios, rows],
        dtype=np.int64,
    )


def compact_bytes(scenario: Scenario, processes: int, devices: int = 1) -> int:
    """Memory that one run takes before anything is split."""
    regions = scenario.region.count
    clusters = sum(1 + space.clusters for space in scenario.spaces(devices)) - 1
    return (
        processes * (regions + 1) * PMD.itemsize
        + regions * FOLIO.itemsize
        + (clusters + 1) * CLUSTER.itemsize
    )
