"""Hypothesis strategies: one for each spec class, and the cases that the engine is tested with.

`FOR_CLASS` is complete: a test fails if a spec class has no strategy.
"""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st

from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD, PMD_BYTES
from perfmodel.specs.callers import CALLERS, Caller
from perfmodel.specs.catalog import load_machine
from perfmodel.specs.codec import PLAIN_CONTENTS, REFERENCE, ContentCost
from perfmodel.specs.device import DeviceKind, SwapDevice
from perfmodel.specs.machine import (
    Cpu,
    Evidence,
    FitArm,
    FitRecord,
    HostMatch,
    KernelCosts,
    Machine,
)
from perfmodel.specs.memory import PhysicalMemory
from perfmodel.specs.policy import MTHP_SIZES_KIB, SIMULATED_ENTRIES, Policy, mthp_order
from perfmodel.specs.published import Part, PublishedCpu, PublishedLatencies
from perfmodel.specs.quantity import How, Quantity
from perfmodel.specs.scenario import (
    Khugepaged,
    PageContent,
    Region,
    Scenario,
    Settings,
    SwapSpace,
    Zswap,
)
from perfmodel.specs.step import Racing, Step, StepAction
from perfmodel.specs.translation import (
    Accesses,
    Cache,
    PageSize,
    Replacement,
    Shootdown,
    Tlb,
    Translation,
    Walk,
    WalkCache,
)
from perfmodel.specs.zswap import ZswapPool
from tests import (
    calibration_strategies,
    device_strategies,
    experiment_strategies,
    plan_strategies,
    strategies_of_pressure,
    study_strategies,
)
from tests.base_strategies import names, priced, quantities, texts
from tests.strategies_of_pressure import access_steps, with_any_backing, with_any_limit


def count(value: int) -> Quantity:
    """A number of sets or ways, known for certain."""
    return Quantity(float(value), 0.0, "1", "test", How.ASSUMED)


def tlb_arrays(level: int, shared: bool, sizes: list[tuple[int, int]]) -> tuple[Tlb, ...]:
    """Arrays of one level from (sets, ways): one for all page sizes, or one for 4 KiB alone."""
    held = [("4k", "2m", "1g")] if shared else [("4k",), ("2m", "1g")]
    return tuple(
        Tlb(
            name=f"{level} {page_sizes[0]}",
            level=level,
            page_sizes=tuple(map(PageSize, page_sizes)),
            entries=count(sets * ways),
            ways=count(ways),
        )
        for page_sizes, (sets, ways) in zip(held, sizes, strict=True)
    )


@st.composite
def tlb_levels(
    draw: st.DrawFn, level: int, most_sets: int = 7, most_ways: int = 5
) -> tuple[Tlb, ...]:
    """Small geometries; odd numbers of sets count as much as powers of two."""
    shared = draw(st.booleans())
    size = st.tuples(st.integers(1, most_sets), st.integers(1, most_ways))
    return tlb_arrays(level, shared, [draw(size) for _ in range(1 if shared else 2)])


@st.composite
def tlbs(draw: st.DrawFn, level: int, name: str) -> Tlb:
    """One array that holds all page sizes."""
    replacement = draw(st.sampled_from(Replacement))
    ways = draw(st.sampled_from((1, 2, 4)) if replacement is not Replacement.LRU else st.just(3))
    return Tlb(
        name=name,
        level=level,
        page_sizes=tuple(draw(st.permutations(list(PageSize)))),
        entries=count(ways * draw(st.integers(1, 9))),
        ways=count(ways),
        accesses=draw(st.sampled_from(Accesses)),
        replacement=replacement,
        coalesced_pages=draw(st.sampled_from((1, 2, 4, 8, 16))),
    )


@st.composite
def walk_caches(draw: st.DrawFn, level: int = 2) -> WalkCache:
    ways = draw(st.integers(1, 4))
    return WalkCache(level=level, entries=count(ways * draw(st.integers(1, 9))), ways=count(ways))


@st.composite
def walks(draw: st.DrawFn) -> Walk:
    levels = draw(st.integers(4, 5))
    held = draw(st.lists(st.integers(2, levels), max_size=4, unique=True))
    return Walk(
        levels=levels,
        walkers=count(draw(st.integers(1, 8))),
        caches=tuple(draw(walk_caches(level)) for level in held),
        nested_entries=count(32),
        nested_ways=count(draw(st.sampled_from((1, 4, 32)))),
    )


@st.composite
def caches(draw: st.DrawFn, name: str = "L1") -> Cache:
    ways = draw(st.integers(1, 16))
    size = Quantity(64.0 * 64 * ways * draw(st.integers(1, 99)), 0.0, "byte", "test", How.ASSUMED)
    return Cache(name=name, size_bytes=size, ways=count(ways), latency_ns=draw(quantities()))


shootdowns = priced(
    Shootdown,
    full_flush_ceiling=quantities("1", minimum=1, maximum=1000, whole=True),
    broadcast=st.booleans(),
)


@st.composite
def translations(draw: st.DrawFn) -> Translation:
    extra = draw(st.lists(tlbs(1, "extra") | tlbs(2, "extra"), max_size=1))
    arrays = (*draw(tlb_levels(1)), *draw(tlb_levels(2)), *extra)
    coalesced = draw(st.sampled_from((1, 2, 4, 8, 16)))
    return Translation(
        stlb_hit_ns=draw(quantities()),
        tlbs=tuple(attrs.evolve(tlb, coalesced_pages=coalesced) for tlb in arrays),
        walk=draw(walks()),
        caches=tuple(draw(caches(f"L{i}")) for i in range(1, draw(st.integers(2, 4)))),
        dram_ns=draw(quantities()),
        shootdown=draw(shootdowns),
    )


cpus = priced(Cpu)
kernel_costs = priced(KernelCosts)
device_kinds = st.sampled_from(DeviceKind)
content_costs = priced(
    ContentCost, compressed_bytes=quantities("byte", maximum=PAGE_BYTES, whole=True)
)
reference_costs = priced(
    ContentCost,
    compress_page_ns=quantities(minimum=1),
    decompress_page_ns=quantities(minimum=1),
    compressed_bytes=quantities("byte", maximum=PAGE_BYTES, whole=True),
)
codecs = st.just({}) | st.fixed_dictionaries(
    {c: reference_costs if c is REFERENCE else content_costs for c in PLAIN_CONTENTS}
)
zswap_pools = priced(
    ZswapPool,
    compressor=texts,
    codec=codecs,
    max_pool_percent=st.integers(1, 100),
    accept_threshold_percent=st.integers(0, 100),
)
devices = device_kinds.flatmap(
    lambda kind: priced(
        SwapDevice,
        name=names,
        kind=st.just(kind),
        algorithm=texts if kind is DeviceKind.ZRAM else st.just(""),
        codec=codecs if kind is DeviceKind.ZRAM else st.just({}),
        zswap=st.none() if kind is DeviceKind.ZRAM else st.none() | zswap_pools,
        service=device_strategies.services if kind is DeviceKind.NVME else st.none(),
    )
)
host_matches = st.builds(
    HostMatch,
    vendor=texts,
    family=st.integers(0, 1 << 16),
    models=st.lists(st.integers(0, 255), min_size=1, max_size=3).map(tuple),
)
fit_arms = st.builds(FitArm, scenario=names, entry=st.sampled_from(SIMULATED_ENTRIES))
evidence = st.builds(Evidence, file=texts, sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True))
FITTED_NAMES = ("kernel.fault_ns", "kernel.map_pte_ns", "cpu.walk_pte_ns", "devices.z.free_slot_ns")


@st.composite
def fit_records(draw: st.DrawFn) -> FitRecord:
    parameters = draw(st.lists(st.sampled_from(FITTED_NAMES), min_size=1, unique=True).map(tuple))
    # One common correlation keeps the matrix positive definite.
    common = draw(st.floats(0, 0.9, allow_subnormal=False))
    indices = range(len(parameters))
    return FitRecord(
        date="2026-11-22",
        base=draw(names),
        kernel_release="6.18.0",
        run_to_run=draw(quantities("1", maximum=0.2)),
        chi_square=draw(st.floats(0, 1e3, allow_subnormal=False)),
        degrees_of_freedom=draw(st.floats(0, 1e3, allow_subnormal=False)),
        parameters=parameters,
        correlation=tuple(tuple(1.0 if i == j else common for j in indices) for i in indices),
        arms=draw(st.lists(fit_arms, max_size=2).map(tuple)),
        evidence=draw(st.lists(evidence, max_size=2).map(tuple)),
        warnings=draw(st.lists(texts, max_size=2).map(tuple)),
    )


machines = st.builds(
    Machine,
    name=names,
    description=texts,
    cpu=cpus,
    translation=translations(),
    kernel=kernel_costs,
    matches=st.lists(host_matches, max_size=2).map(tuple),
    devices=st.dictionaries(names, devices, max_size=1),
    fit=st.none() | fit_records(),
)

order9_failures = st.sampled_from([0.0, 1.0]) | st.floats(0.05, 0.95)
mthp_orders = st.sampled_from([0, *(mthp_order(f"mthp-{size}k") for size in MTHP_SIZES_KIB)])
policies = st.builds(
    Policy,
    name=names,
    kernel=texts,
    swap_entry=st.sampled_from(["pte", "pmd"]),
    swapin_order=mthp_orders,
    order9_failure=order9_failures,
    lazy_page_table_deposit=st.booleans(),
    batched_unmap=st.booleans(),
)

regions = st.builds(
    Region,
    size_bytes=st.integers(1, 3).map(lambda count: count * PMD_BYTES),
    content=st.sampled_from(PageContent),
)
pages_touched = st.sampled_from([1, 2, 3, 16, 511, 512]) | st.integers(1, 512)


_PROCESSES = st.sampled_from([0, 0, 1, 1, 2, 3])
_SHIFTS = st.sampled_from([0, 0, 1, 256, 511]) | st.integers(0, 511)
_EDGES = st.sampled_from([0, 1, 3, 128, 255, 256, 257, 511, 512]) | st.integers(0, PAGES_PER_PMD)
_PARTS = st.one_of(
    st.just((0, PAGES_PER_PMD)),
    st.tuples(_EDGES, _EDGES)
    .filter(lambda edges: edges[0] != edges[1])
    .map(lambda edges: (min(edges), abs(edges[0] - edges[1]))),
)
# What turns memory over most often; the others once each.
_ACTIONS = st.sampled_from(
    [
        *(a for a in StepAction if a not in (StepAction.FILL, StepAction.ACCESS)),
        *[StepAction.TOUCH, StepAction.PAGEOUT] * 6,
        *[StepAction.FORK] * 4,
        *[StepAction.RECLAIM, StepAction.PROTECT, StepAction.WILLNEED],
    ]
)


# Most of what is worth seeing happens to memory that is swapped out, and then shared.
_BEGINNINGS = st.sampled_from(
    [
        (),
        (StepAction.PAGEOUT,),
        (StepAction.PAGEOUT, StepAction.RECLAIM),
        (StepAction.PAGEOUT, StepAction.SPLIT_FOLIOS),
        (StepAction.PAGEOUT, StepAction.WILLNEED),
        (StepAction.PAGEOUT, StepAction.FORK),
        (StepAction.FORK, StepAction.RECLAIM),
    ]
)


@st.composite
def later_steps(draw: st.DrawFn, name: str = "step", action: StepAction | None = None) -> Step:
    """Any one step but a fill, with everything that belongs to its action."""
    action = draw(_ACTIONS) if action is None else action
    given_fields: dict[str, Any] = {}
    if not action.of_the_system:
        given_fields["process"] = draw(_PROCESSES)
    if action.takes_part:
        given_fields["first_page"], given_fields["page_count"] = draw(_PARTS)
    if action is StepAction.TOUCH:
        given_fields["pages_per_2mib"] = draw(pages_touched)
        given_fields["write"] = draw(st.booleans())
        given_fields["racing"] = draw(st.sampled_from([Racing.NONE, Racing.NONE, Racing.UNMAP]))
    elif action is StepAction.PROTECT:
        given_fields["writable"] = draw(st.booleans())
    elif action in (StepAction.REMAP, StepAction.MOVE):
        given_fields["shift_pages"] = draw(_SHIFTS)
    elif action is StepAction.WAIT:
        given_fields["milliseconds"] = draw(st.sampled_from([1, 100, 3000]))
    elif action is StepAction.PAGEOUT:
        given_fields["refuse_write"] = draw(st.sampled_from([False, False, True]))
    return Step(name, action, **given_fields)


steps = names.flatmap(later_steps) | names.flatmap(access_steps)
steps |= st.builds(Step, names, st.just(StepAction.FILL))
_probabilities = st.sampled_from([0.0, 0.0, 1.0]) | st.floats(0, 1, allow_subnormal=False)
khugepaged_settings = st.builds(
    Khugepaged,
    scan_sleep_millisecs=st.integers(50, 3000),
    pages_to_scan=st.sampled_from([1, 512, 513, 1027, 4096]),
    max_ptes_swap=st.integers(0, 511),
    max_ptes_none=st.integers(0, 511),
    max_ptes_shared=st.integers(0, 511),
)
scenario_settings = st.builds(
    Settings,
    khugepaged=st.none() | khugepaged_settings,
    page_cluster=st.integers(0, 5),
    vma_readahead=st.booleans(),
    zswap=st.sampled_from(Zswap),
    order9_failure=_probabilities,
    charge_failure=_probabilities,
)


@st.composite
def swap_spaces(draw: st.DrawFn, most_clusters: int = 12) -> SwapSpace:
    """As large as the region needs, or so small that it may run full, with or without others."""
    clusters = draw(st.just(0) | st.integers(1, most_clusters))
    neighbour = draw(st.sampled_from([0, 1, 256, 511, 512]) | st.integers(0, 512))
    if not clusters or not neighbour:
        return SwapSpace(clusters)
    return SwapSpace(clusters, draw(st.integers(0, clusters)), neighbour)


def _fits(scenario: Scenario, step: Step) -> Step | None:
    """The step as it can follow on the scenario, or None if it cannot at all.

    A process that is not there gives way to the program itself, and a write that is not allowed to
    a read.
    """
    for weaker in ({}, {"process": 0}, {"write": False, "refuse_write": False}):
        step = attrs.evolve(step, **weaker)
        try:
            attrs.evolve(scenario, steps=(*scenario.steps, step))
        except ValueError:
            continue
        return step
    return None


@st.composite
def scenarios(draw: st.DrawFn, most_steps: int = 6) -> Scenario:
    """Fill, then anything that the story allows, in any order."""
    scenario = Scenario(
        name="generated",
        description="generated",
        region=draw(regions),
        steps=(Step("fill", StepAction.FILL),),
        held_out=draw(st.booleans()),
        swap=draw(st.just(SwapSpace()) | swap_spaces()),
        settings=draw(st.just(Settings()) | scenario_settings),
    )
    begun = draw(_BEGINNINGS)[: most_steps - 1]
    room = most_steps - 1 - len(begun)
    later = [
        *(Step("begun", action) for action in begun),
        *draw(st.lists(later_steps(), min_size=min(1, room), max_size=room)),
    ]
    for index, step in enumerate(later):
        fitting = _fits(scenario, attrs.evolve(step, name=f"s{index}"))
        if fitting is not None:
            scenario = attrs.evolve(scenario, steps=(*scenario.steps, fitting))
    return scenario


@st.composite
def plain_scenarios(draw: st.DrawFn, most_steps: int = 6) -> Scenario:
    """Fill, then page-outs and touches of one process in any order, on a fresh device."""
    actions = st.sampled_from([StepAction.PAGEOUT, StepAction.TOUCH])
    later = draw(st.lists(st.tuples(actions, pages_touched), max_size=most_steps - 1))
    return Scenario(
        name="generated",
        description="generated",
        region=draw(regions),
        steps=(
            Step("fill", StepAction.FILL),
            *(
                Step(f"s{index}", action, pages if action is StepAction.TOUCH else PAGES_PER_PMD)
                for index, (action, pages) in enumerate(later)
            ),
        ),
        held_out=draw(st.booleans()),
    )


parts = priced(
    Part,
    clock_ghz=quantities("GHz", minimum=0.1, maximum=9),
    **{
        f"{name}_cycles": quantities("1", minimum=1, maximum=999)
        for name in ("l1", "l2", "l3", "stlb_hit")
    },
    l3_bytes=quantities("byte", minimum=1 << 16, maximum=1 << 30, whole=True),
)


def published_cpus(sizes: int = 2, differences: int = 1) -> st.SearchStrategy[PublishedCpu]:
    clocks = st.floats(0.5, 999)
    return st.builds(
        PublishedCpu,
        name=texts,
        machine=names,
        part=parts,
        random_clocks=st.tuples(*[clocks] * sizes),
        random_minus_local_clocks=st.tuples(*[clocks] * differences),
    )


@st.composite
def published_latencies(draw: st.DrawFn) -> PublishedLatencies:
    increasing = st.sets(st.integers(1, 1 << 20), min_size=1, max_size=4).map(sorted).map(tuple)
    sizes, differences = draw(increasing), draw(increasing)
    cpus = st.lists(published_cpus(len(sizes), len(differences)), min_size=1, max_size=2)
    return PublishedLatencies(
        left_out=tuple(draw(st.lists(texts, max_size=2))),
        sizes_kib=sizes,
        difference_sizes_kib=differences,
        cpus=tuple(draw(cpus)),
    )


FOR_CLASS: dict[type, st.SearchStrategy[Any]] = {
    Quantity: quantities(),
    ContentCost: content_costs,
    ZswapPool: zswap_pools,
    SwapDevice: devices,
    Tlb: tlbs(1, "array"),
    WalkCache: walk_caches(),
    Walk: walks(),
    Cache: caches(),
    Shootdown: shootdowns,
    Translation: translations(),
    Cpu: cpus,
    KernelCosts: kernel_costs,
    HostMatch: host_matches,
    FitArm: fit_arms,
    Evidence: evidence,
    FitRecord: fit_records(),
    Machine: machines,
    Policy: policies,
    Region: with_any_backing(regions),
    Step: steps,
    SwapSpace: swap_spaces(),
    Khugepaged: khugepaged_settings,
    Settings: with_any_limit(scenario_settings),
    Scenario: scenarios(),
    Caller: st.sampled_from(CALLERS),
    Part: parts,
    PublishedCpu: published_cpus(),
    PublishedLatencies: published_latencies(),
    PhysicalMemory: st.builds(PhysicalMemory, st.just(7 << 22), st.floats(0, 1)),
    **device_strategies.FOR_CLASS,
    **calibration_strategies.FOR_CLASS,
    **experiment_strategies.for_class(scenarios()),
    **study_strategies.for_class(scenarios()),
    **plan_strategies.FOR_CLASS,
    **strategies_of_pressure.FOR_CLASS,
}

# Cases of the engine

seeds = st.integers(0, (1 << 56) - 1)
entries = st.sampled_from(SIMULATED_ENTRIES)
published_machine = load_machine("amd-zen3")


@st.composite
def machines_with_small_tlbs(draw: st.DrawFn) -> Machine:
    """A published machine whose TLBs are so small that they overflow in a test."""
    tlbs = (*draw(tlb_levels(1, 3, 4)), *draw(tlb_levels(2, 9, 4)))
    return with_tlbs(published_machine, tlbs)


def with_tlbs(machine: Machine, tlbs: tuple[Tlb, ...]) -> Machine:
    """The machine with other TLBs."""
    return attrs.evolve(machine, translation=attrs.evolve(machine.translation, tlbs=tlbs))
