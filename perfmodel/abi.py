"""The border between specs and kernels: records of fixed layout in, names out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perfmodel.constants import (
    COUNTER_NAMES,
    PAGE_BYTES,
    PICOSECONDS_PER_NANOSECOND,
    Action,
    Content,
    Event,
    SwapEntryLevel,
)
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine, TlbLevel
from perfmodel.specs.policy import Policy
from perfmodel.specs.quantity import Quantity
from perfmodel.specs.scenario import PageContent, Scenario
from perfmodel.specs.step import StepAction

PARAMETERS = np.dtype(
    [
        (name, np.int64)
        for name in (
            "swap_entry_level",
            "swapin_order",
            "order9_failure_threshold",
            "lazy_page_table_deposit",
            "content",
            "seed",
            *(
                f"{level}_{part}_{size}"
                for level in ("l1", "stlb")
                for part in ("sets", "ways")
                for size in ("4k", "2m")
            ),
            "l1_shared",
            "stlb_shared",
        )
    ],
    align=True,
)

STEPS = np.dtype([("action", np.int64), ("pages_per_2mib", np.int64)], align=True)

_ACTIONS = {
    StepAction.FILL: Action.FILL,
    StepAction.PAGEOUT: Action.PAGEOUT,
    StepAction.TOUCH: Action.TOUCH,
}
_CONTENTS = {PageContent.HALF_RANDOM: Content.HALF_RANDOM, PageContent.ZERO: Content.ZERO}
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
    Event.STLB_HIT: ("cpu.stlb_hit_ns", "tlb_misses"),
    Event.WALK_PTE: ("cpu.walk_pte_ns", "tlb_misses"),
    Event.WALK_PMD: ("cpu.walk_pmd_ns", "tlb_misses"),
}

BREAKDOWN_PARTS = (
    "fault_entry",
    "allocation",
    "decompression",
    "compression",
    "swap_slots",
    "mapping",
    "page_table",
    "device_wait",
    "clear_and_copy",
    "data_access",
    "tlb_misses",
)


def event_quantities(machine: Machine, device: SwapDevice) -> list[Quantity]:
    """The price of every event, in the order of `Event`."""
    owners = {"kernel": machine.kernel, "cpu": machine.cpu, "device": device}
    quantities = []
    for event in Event:
        owner, _, name = PRICES[event][0].partition(".")
        quantities.append(getattr(owners[owner], name))
    return quantities


def picoseconds(nanoseconds: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Times as the whole picoseconds that all sums are made of."""
    return np.rint(nanoseconds * PICOSECONDS_PER_NANOSECOND).astype(np.int64)


def _tlb_fields(name: str, level: TlbLevel) -> dict[str, int]:
    fields: dict[str, int] = {f"{name}_shared": int(level.shared)}
    for size in ("4k", "2m"):
        ways = int(getattr(level, f"ways_{size}").value)
        fields[f"{name}_ways_{size}"] = ways
        fields[f"{name}_sets_{size}"] = int(getattr(level, f"entries_{size}").value) // ways
    return fields


def pack_parameters(
    scenario: Scenario, machine: Machine, policy: Policy, seeds: range
) -> npt.NDArray[np.void]:
    """One record for each seed, as the engine takes them; shape (seeds,)."""
    fields = {
        "swap_entry_level": int(_LEVELS[policy.swap_entry]),
        "swapin_order": policy.swapin_order,
        "order9_failure_threshold": round(policy.order9_failure * (1 << 32)),
        "lazy_page_table_deposit": int(policy.lazy_page_table_deposit),
        "content": int(_CONTENTS[scenario.region.content]),
        **_tlb_fields("l1", machine.cpu.l1_tlb),
        **_tlb_fields("stlb", machine.cpu.stlb),
    }
    records = np.zeros(len(seeds), dtype=PARAMETERS)
    for name, value in fields.items():
        records[name] = value
    records["seed"] = np.asarray(seeds, dtype=np.int64)
    return records


def tlb_columns(machine: Machine) -> int:
    """Entries of the largest TLB level."""
    levels = (machine.cpu.l1_tlb, machine.cpu.stlb)
    return max(
        int(quantity.value) for level in levels for quantity in (level.entries_4k, level.entries_2m)
    )


def pack_steps(scenario: Scenario) -> npt.NDArray[np.void]:
    """The scenario's steps as the engine takes them; shape (steps,)."""
    records = np.zeros(len(scenario.steps), dtype=STEPS)
    for index, step in enumerate(scenario.steps):
        records[index] = (int(_ACTIONS[step.action]), step.pages_per_2mib)
    return records


def name_counters(counts: npt.NDArray[np.int64]) -> dict[str, int]:
    """Counters of one step under the kernel's names."""
    return {
        name: int(count)
        for name, count in zip(COUNTER_NAMES, counts, strict=True)
        if not name.startswith("hugepages-8kB")
    }


def state_bytes(scenario: Scenario) -> int:
    """Memory that one simulated run of a scenario takes."""
    per_region = 8 + PAGE_BYTES // 8
    return scenario.region.count * per_region
