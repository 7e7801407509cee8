"""Machines: a CPU's translation hardware and the price of each event in its kernel."""

from __future__ import annotations

from typing import Any

import attrs

from perfmodel.specs.device import SwapDevice
from perfmodel.specs.quantity import (
    How,
    Quantity,
    number_between,
    quantity,
    text,
    tuple_of,
    whole_number,
)
from perfmodel.specs.translation import Translation


@attrs.frozen
class Cpu:
    """What walks and memory cost one core, as the program sees it."""

    walk_pte_ns: Quantity = quantity("ns", "exposed latency of a page walk to a PTE")
    walk_pmd_ns: Quantity = quantity("ns", "exposed latency of a page walk to a PMD leaf")
    cached_access_ns: Quantity = quantity("ns", "load of a line that was just brought in")
    memory_access_ns: Quantity = quantity("ns", "load of a line that no private cache holds")
    write_page_ns: Quantity = quantity("ns", "a program's write of one 4 KiB page")
    clear_2m_ns: Quantity = quantity("ns", "the kernel's clearing of one 2 MiB page")
    copy_2m_ns: Quantity = quantity("ns", "the kernel's copying of one 2 MiB page")


@attrs.frozen
class KernelCosts:
    """Price of each event inside the kernel."""

    fault_ns: Quantity = quantity("ns", "enter and leave the page fault handler, find the VMA")
    swapin_folio_ns: Quantity = quantity("ns", "allocate, charge and LRU-add one folio at swap-in")
    swapin_large_folio_ns: Quantity = quantity("ns", "extra for a folio of order 1 and more")
    swapin_page_ns: Quantity = quantity("ns", "check and release one slot at swap-in")
    map_pte_ns: Quantity = quantity("ns", "set one PTE and its reverse mapping")
    map_pmd_ns: Quantity = quantity("ns", "set one PMD leaf and its reverse mapping")
    order9_allocation_failure_ns: Quantity = quantity("ns", "try for an order-9 page in vain")
    split_pmd_swap_entry_ns: Quantity = quantity("ns", "turn one PMD swap entry into 512 PTEs")
    swapout_folio_ns: Quantity = quantity("ns", "isolate, give slots to and free one folio")
    swapout_page_ns: Quantity = quantity("ns", "slot words and freeing of one page at swap-out")
    split_pmd_mapping_ns: Quantity = quantity("ns", "split one PMD mapping into 512 PTEs")
    unmap_pte_ns: Quantity = quantity("ns", "replace one PTE by a swap entry")
    set_pmd_swap_entry_ns: Quantity = quantity("ns", "replace one PMD leaf by a PMD swap entry")
    zero_scan_page_ns: Quantity = quantity("ns", "find out that a page is all zero")
    clear_page_ns: Quantity = quantity("ns", "clear one 4 KiB page")
    thp_allocation_ns: Quantity = quantity("ns", "allocate and charge one THP at first touch")
    page_table_allocation_ns: Quantity = quantity("ns", "allocate one page for a PTE table")
    anon_folio_ns: Quantity = quantity("ns", "allocate and charge one small folio at first touch")
    copy_page_ns: Quantity = quantity("ns", "copy one 4 KiB page to a new one")
    system_call_ns: Quantity = quantity("ns", "enter and leave a system call, find the VMA")
    visit_pmd_ns: Quantity = quantity("ns", "read one PMD entry on a walk")
    visit_pte_ns: Quantity = quantity("ns", "read one PTE on a walk")
    report_page_ns: Quantity = quantity("ns", "write one page's record for pagemap")
    set_pte_ns: Quantity = quantity("ns", "write one entry that maps nothing new")
    zap_pte_ns: Quantity = quantity("ns", "remove one present entry")
    zap_folio_ns: Quantity = quantity("ns", "take a run of mappings from one folio, free it")
    free_page_ns: Quantity = quantity("ns", "free a folio that nothing maps: share of a page")
    move_pmd_ns: Quantity = quantity("ns", "move one PMD entry and its page table")
    unmap_batch_ns: Quantity = quantity("ns", "batched unmap: once for each run of PTEs")
    unmap_batched_pte_ns: Quantity = quantity("ns", "batched unmap: replace one PTE of the run")
    tlb_flush_ns: Quantity = quantity("ns", "flush this CPU's TLB after a change")
    lookup_slot_ns: Quantity = quantity("ns", "look one slot up in the swap cache")
    classify_slot_ns: Quantity = quantity("ns", "read one word of a cluster's 512 slots")
    free_cached_folio_ns: Quantity = quantity("ns", "drop one clean folio from the swap cache")
    duplicate_slot_ns: Quantity = quantity("ns", "count one slot up under the cluster lock")
    duplicate_call_ns: Quantity = quantity("ns", "find a cluster, take its lock and release it")
    lock_handover_ns: Quantity = quantity("ns", "pass a spinlock to a CPU that waits for it")
    lru_folio_ns: Quantity = quantity("ns", "put one folio on an LRU list or take it off")
    scan_folio_ns: Quantity = quantity("ns", "reclaim takes one folio off a list and looks at it")
    put_slot_ns: Quantity = quantity("ns", "count one slot down, its freeing not included")
    split_folio_page_ns: Quantity = quantity("ns", "split a folio: the share of one page")
    collapse_range_ns: Quantity = quantity("ns", "collapse: locks, isolation and flush of 2 MiB")
    zswap_store_page_ns: Quantity = quantity("ns", "compress one page into zswap")
    zswap_load_page_ns: Quantity = quantity("ns", "decompress one page from zswap")
    compact_scan_page_ns: Quantity = quantity("ns", "compaction: one frame that a scanner passes")
    migrate_page_ns: Quantity = quantity("ns", "compaction: isolate, unmap, copy and map one page")
    swap_cache_hit_ns: Quantity = quantity("ns", "fault: lock, check and map one cached folio")
    lookup_folio_ns: Quantity = quantity("ns", "read the folio behind one present entry")
    account_page_ns: Quantity = quantity("ns", "smaps: add one page up")
    change_folio_ns: Quantity = quantity("ns", "mprotect and fork: a run of entries of one folio")
    collapse_folio_ns: Quantity = quantity("ns", "collapse: lock and isolate one folio")
    move_pte_ns: Quantity = quantity("ns", "UFFDIO_MOVE: locks and checks for one entry")
    page_table_line_ns: Quantity = quantity("ns", "first walk in a cache line of PTEs")


@attrs.frozen
class HostMatch:
    """The processors, as /proc/cpuinfo names them, that a machine file describes."""

    vendor: str = attrs.field(validator=text)
    models: tuple[int, ...] = attrs.field(validator=[tuple_of(int), attrs.validators.min_len(1)])
    family: int = whole_number(0, 1 << 16)


@attrs.frozen
class FitArm:
    """One arm whose measured times went into a fit."""

    scenario: str = attrs.field(validator=text)
    entry: str = attrs.field(validator=text)
    device: str = attrs.field(default="", validator=attrs.validators.instance_of(str))


@attrs.frozen
class Evidence:
    """A file of measurements that a fit rests on."""

    file: str = attrs.field(validator=text)
    sha256: str = attrs.field(validator=text)


def _square(instance: FitRecord, attribute: attrs.Attribute[Any], value: object) -> None:
    size = len(instance.parameters)
    rows = value if isinstance(value, tuple) else ()
    if len(rows) != size or any(len(row) != size for row in rows):
        raise ValueError(f"must have {size} rows and columns, one for each of the parameters")


def _overheads(_: object, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, dict) or any(
        not isinstance(overhead, Quantity) or overhead.unit != "ns" for overhead in value.values()
    ):
        raise ValueError("must be a table of quantities in ns")


_NOT_RECORDED = "not recorded"
_NO_MODEL_ERROR = Quantity(0.0, 0.0, "1", "the fit does not say it", How.ASSUMED)


@attrs.frozen
class FitRecord:
    """What a fit knows about its parameters together, and how far runs drift apart.

    `parameters` are dotted names such as ``kernel.fault_ns`` or ``devices.zram-lz4.free_slot_ns``;
    `correlation` has one row for each; the standard deviations stand as `spread` beside the values.
    `lower_ns` and `upper_ns` are the ends of their 90 % profile intervals: held anywhere between, a
    price can be made up for by the others. `model_error` is how far a step's time is from the sum
    of its prices. `overheads` are what the measuring itself added to a step, by its action, and
    `reference_ns` is how long the loop `reference` took beside the measurements, which all prices
    are at the speed of; 0 if it was not used. Runs that are divided by it still differ by
    `run_to_run_beside`. `shootdown_evidence` is what the shootdown's numbers
    were taken from, without any fit.
    """

    date: str = attrs.field(validator=text)
    base: str = attrs.field(validator=text)
    kernel_release: str = attrs.field(validator=text)
    chi_square: float = attrs.field(validator=attrs.validators.instance_of(float))
    degrees_of_freedom: float = attrs.field(validator=attrs.validators.instance_of(float))
    parameters: tuple[str, ...] = attrs.field(validator=tuple_of(str))
    correlation: tuple[tuple[float, ...], ...] = attrs.field(validator=_square)
    arms: tuple[FitArm, ...] = attrs.field(validator=tuple_of(FitArm))
    evidence: tuple[Evidence, ...] = attrs.field(validator=tuple_of(Evidence))
    warnings: tuple[str, ...] = attrs.field(validator=tuple_of(str))
    run_to_run: Quantity = quantity(
        "1", "relative spread between separate runs, common to all", maximum=1
    )
    shootdown_evidence: tuple[Evidence, ...] = attrs.field(default=(), validator=tuple_of(Evidence))
    problem: str = attrs.field(default=_NOT_RECORDED, validator=text)
    code_version: str = attrs.field(default=_NOT_RECORDED, validator=text)
    lower_ns: tuple[float, ...] = attrs.field(default=(), validator=tuple_of(float))
    upper_ns: tuple[float, ...] = attrs.field(default=(), validator=tuple_of(float))
    model_error: Quantity = quantity(
        "1",
        "relative spread of a step's time around the sum of its prices",
        maximum=1,
        default=_NO_MODEL_ERROR,
    )
    overheads: dict[str, Quantity] = attrs.field(factory=dict, validator=_overheads)
    reference: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
    run_to_run_beside: float = attrs.field(default=0.0, validator=number_between(0.0, 1.0))
    reference_ns: float = attrs.field(default=0.0, validator=number_between(0.0, 1e14))


@attrs.frozen
class Machine:
    """A CPU and its kernel's prices; a fitted one (a profile) also carries devices and the fit."""

    name: str = attrs.field(validator=text)
    description: str = attrs.field(validator=text)
    cpu: Cpu = attrs.field(validator=attrs.validators.instance_of(Cpu))
    translation: Translation = attrs.field(validator=attrs.validators.instance_of(Translation))
    kernel: KernelCosts = attrs.field(validator=attrs.validators.instance_of(KernelCosts))
    matches: tuple[HostMatch, ...] = attrs.field(default=(), validator=tuple_of(HostMatch))
    devices: dict[str, SwapDevice] = attrs.field(
        factory=dict,
        validator=attrs.validators.deep_mapping(
            attrs.validators.instance_of(str),
            attrs.validators.instance_of(SwapDevice),
            attrs.validators.instance_of(dict),
        ),
    )
    fit: FitRecord | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.instance_of(FitRecord)),
    )
