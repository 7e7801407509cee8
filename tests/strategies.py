"""Hypothesis strategies: one for each spec class, and the cases that the engine is tested with.

`FOR_CLASS` is complete: a test fails if a spec class has no strategy.
"""

from __future__ import annotations

import datetime
from typing import Any

import attrs
from hypothesis import strategies as st

from perfmodel.constants import PMD_BYTES
from perfmodel.specs.catalog import load_machine
from perfmodel.specs.device import DeviceKind, SwapDevice
from perfmodel.specs.machine import (
    Cpu,
    Evidence,
    FitArm,
    FitRecord,
    HostMatch,
    KernelCosts,
    Machine,
    TlbLevel,
)
from perfmodel.specs.policy import MTHP_SIZES_KIB, SIMULATED_ENTRIES, Policy, mthp_order
from perfmodel.specs.quantity import How, Quantity
from perfmodel.specs.scenario import PageContent, Region, Scenario
from perfmodel.specs.step import Step, StepAction

texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12
).filter(lambda text: text.strip() != "")
names = st.from_regex(r"[a-z][a-z0-9-]{0,11}", fullmatch=True)


def quantities(
    unit: str = "ns", *, minimum: float = 0.0, maximum: float = 1e6, whole: bool = False
) -> st.SearchStrategy[Quantity]:
    numbers: st.SearchStrategy[float] = st.floats(minimum, maximum, allow_subnormal=False)
    if whole:
        numbers = st.integers(int(minimum), int(maximum)).map(float)
    return st.builds(
        Quantity,
        value=numbers,
        spread=st.floats(0, min(100, maximum), allow_subnormal=False),
        unit=st.just(unit),
        source=texts,
        how=st.sampled_from(How),
    )


def _priced(kind: type, /, **given_fields: Any) -> st.SearchStrategy[Any]:
    """A spec whose remaining fields are quantities in the unit that each field names."""
    fields = {
        attribute.name: quantities(attribute.metadata["unit"])
        for attribute in attrs.fields(kind)
        if "unit" in attribute.metadata
    }
    return st.builds(kind, **(fields | given_fields))


def count(value: int) -> Quantity:
    """A number of sets or ways, known for certain."""
    return Quantity(float(value), 0.0, "1", "test", How.ASSUMED)


@st.composite
def tlb_levels(draw: st.DrawFn, most_sets: int = 7, most_ways: int = 5) -> TlbLevel:
    """Small geometries; odd numbers of sets count as much as powers of two."""
    sets, ways = st.integers(1, most_sets), st.integers(1, most_ways)
    shared = draw(st.booleans())
    sets_4k, ways_4k = draw(sets), draw(ways)
    sets_2m, ways_2m = (sets_4k, ways_4k) if shared else (draw(sets), draw(ways))
    return TlbLevel(
        shared=shared,
        entries_4k=count(sets_4k * ways_4k),
        ways_4k=count(ways_4k),
        entries_2m=count(sets_2m * ways_2m),
        ways_2m=count(ways_2m),
    )


cpus = _priced(Cpu, l1_tlb=tlb_levels(), stlb=tlb_levels())
kernel_costs = _priced(KernelCosts)
devices = _priced(SwapDevice, name=names, kind=st.sampled_from(DeviceKind), algorithm=texts)
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
)

regions = st.builds(
    Region,
    size_bytes=st.integers(1, 3).map(lambda count: count * PMD_BYTES),
    content=st.sampled_from(PageContent),
)
pages_touched = st.sampled_from([1, 2, 3, 16, 511, 512]) | st.integers(1, 512)


def _step(name: str, action: StepAction, pages: int) -> Step:
    return Step(name, action, pages) if action is StepAction.TOUCH else Step(name, action)


steps = st.builds(_step, names, st.sampled_from(StepAction), pages_touched)


@st.composite
def scenarios(draw: st.DrawFn, most_steps: int = 6) -> Scenario:
    """Fill, then page-outs and touches in any order."""
    actions = st.sampled_from([StepAction.PAGEOUT, StepAction.TOUCH])
    later = draw(st.lists(st.tuples(actions, pages_touched), max_size=most_steps - 1))
    return Scenario(
        name="generated",
        description="generated",
        region=draw(regions),
        steps=(
            Step("fill", StepAction.FILL),
            *(_step(f"s{index}", action, pages) for index, (action, pages) in enumerate(later)),
        ),
        held_out=draw(st.booleans()),
    )


FOR_CLASS: dict[type, st.SearchStrategy[Any]] = {
    Quantity: quantities(),
    SwapDevice: devices,
    TlbLevel: tlb_levels(),
    Cpu: cpus,
    KernelCosts: kernel_costs,
    HostMatch: host_matches,
    FitArm: fit_arms,
    Evidence: evidence,
    FitRecord: fit_records(),
    Machine: machines,
    Policy: policies,
    Region: regions,
    Step: steps,
    Scenario: scenarios(),
}

# Cases of the engine

seeds = st.integers(0, (1 << 56) - 1)
entries = st.sampled_from(SIMULATED_ENTRIES)
published_machine = load_machine("amd-zen3")


@st.composite
def machines_with_small_tlbs(draw: st.DrawFn) -> Machine:
    """A published machine whose TLBs are so small that they overflow in a test."""
    cpu = attrs.evolve(
        published_machine.cpu, l1_tlb=draw(tlb_levels(3, 4)), stlb=draw(tlb_levels(9, 4))
    )
    return attrs.evolve(published_machine, cpu=cpu)


# Without lazy deposit, as in every policy that is shipped.
engine_policies = policies.map(lambda policy: attrs.evolve(policy, lazy_page_table_deposit=False))

# Contents of files

toml_scalars = (
    st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=12)
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.just(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    | st.sampled_from(["ns", "1", "MiB", "64 MiB", "fill", "zero", "pte", "measured", "$x"])
)
_KEYS = sorted(
    {attribute.name for kind in FOR_CLASS for attribute in attrs.fields(kind)} | {"size"}
)
toml_keys = st.sampled_from(_KEYS) | st.text(max_size=8)
toml_values = st.recursive(
    toml_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(toml_keys, inner, max_size=5),
    max_leaves=12,
)
toml_tables = st.dictionaries(toml_keys, toml_values, max_size=8)
