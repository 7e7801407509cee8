import attrs
import numpy as np
import pytest

from perfmodel import abi
from perfmodel.constants import (
    COUNTER_NAMES,
    LIVE_COUNTER_NAMES,
    N_COUNTERS,
    N_EVENTS,
    PAGES_PER_PMD,
    SWPIN_BASE,
    SWPOUT_BASE,
    Counter,
    Event,
)
from perfmodel.specs.catalog import load_device, load_machine, load_policy, load_scenario


@pytest.fixture(scope="module")
def machine():
    return load_machine("intel-sapphire-rapids")


def test_counters_have_the_kernels_names_each_once():
    assert len(set(COUNTER_NAMES)) == N_COUNTERS
    assert "" not in COUNTER_NAMES
    assert COUNTER_NAMES[Counter.PGMAJFAULT] == "pgmajfault"
    assert COUNTER_NAMES[SWPIN_BASE + 4] == "hugepages-64kB/stats/swpin"
    assert COUNTER_NAMES[SWPIN_BASE + 9] == "hugepages-2048kB/stats/swpin"
    assert COUNTER_NAMES[SWPOUT_BASE + 2] == "hugepages-16kB/stats/swpout"
    assert COUNTER_NAMES[Counter.SWPIN_FALLBACK_2048K] == "hugepages-2048kB/stats/swpin_fallback"


def test_anonymous_memory_has_no_order_1_counters():
    counts = np.arange(N_COUNTERS)
    named = abi.name_counters(counts)
    assert tuple(named) == LIVE_COUNTER_NAMES
    assert set(COUNTER_NAMES) - set(named) == {
        "hugepages-8kB/stats/swpin",
        "hugepages-8kB/stats/swpout",
    }
    assert all(named[name] == COUNTER_NAMES.index(name) for name in named)
    assert {type(count) for count in named.values()} == {int}


def test_records_are_aligned_words():
    for dtype in (abi.PARAMETERS, abi.STEPS):
        assert dtype.isalignedstruct
        assert {dtype[name] for name in dtype.names} == {np.dtype(np.int64)}


def test_every_event_has_a_price_and_a_part(machine):
    device = load_device("zram-lz4")
    assert set(abi.PRICES) == set(Event)
    quantities = abi.event_quantities(machine, device)
    assert len(quantities) == N_EVENTS
    assert quantities[Event.FAULT] is machine.kernel.fault_ns
    assert quantities[Event.WALK_PMD] is machine.cpu.walk_pmd_ns
    assert quantities[Event.FREE_SLOT] is device.free_slot_ns
    assert {part for _, part in abi.PRICES.values()} == set(abi.BREAKDOWN_PARTS)


def test_every_price_of_a_spec_belongs_to_one_event(machine):
    # A number in a machine file that no event uses would be read by people and by nothing else.
    owners = {"kernel": machine.kernel, "cpu": machine.cpu, "device": load_device("zram-lz4")}
    in_files = {
        f"{owner}.{field.name}"
        for owner, spec in owners.items()
        for field in attrs.fields(type(spec))
        if field.metadata.get("unit") == "ns"
    }
    used = [price for price, _ in abi.PRICES.values()]
    assert sorted(used) == sorted(in_files)


def test_parameters(machine):
    scenario = load_scenario("thp-zero-roundtrip")
    policy = attrs.evolve(load_policy("mthp-64k"), order9_failure=0.25)
    records = abi.pack_parameters(scenario, machine, policy, range(5, 8))
    assert records["seed"].tolist() == [5, 6, 7]
    assert len(set(records[[name for name in records.dtype.names if name != "seed"]].tolist())) == 1
    record = records[0]
    assert record["swap_entry_level"] == 0
    assert record["swapin_order"] == 4
    assert record["order9_failure_threshold"] == 1 << 30
    assert record["content"] == 1
    levels = {"l1": machine.cpu.l1_tlb, "stlb": machine.cpu.stlb}
    for name, level in levels.items():
        assert record[f"{name}_shared"] == level.shared
        for size in ("4k", "2m"):
            sets, ways = record[f"{name}_sets_{size}"], record[f"{name}_ways_{size}"]
            assert ways == getattr(level, f"ways_{size}").value
            assert sets * ways == getattr(level, f"entries_{size}").value


@pytest.mark.parametrize(("failure", "threshold"), [(0.0, 0), (1.0, 1 << 32), (0.5, 1 << 31)])
def test_failure_threshold_reaches_never_and_always(machine, failure, threshold):
    policy = load_policy("pmd", order9_failure=failure)
    records = abi.pack_parameters(load_scenario("thp-roundtrip"), machine, policy, range(1))
    assert records["order9_failure_threshold"] == threshold
    assert records["swap_entry_level"] == 1


def test_steps():
    records = abi.pack_steps(load_scenario("thp-sparse-touch", pages_touched=3))
    assert records.tolist() == [(0, PAGES_PER_PMD), (1, PAGES_PER_PMD), (2, 3), (2, 3)]


def test_tlb_columns_hold_the_largest_level(machine):
    levels = (machine.cpu.l1_tlb, machine.cpu.stlb)
    entries = [getattr(level, f"entries_{size}").value for level in levels for size in ("4k", "2m")]
    assert abi.tlb_columns(machine) == max(entries)


def test_times_are_whole_picoseconds():
    picoseconds = abi.picoseconds(np.array([0.0, 1.0, 0.0004, 0.0006, 112.3]))
    assert picoseconds.tolist() == [0, 1000, 0, 1, 112300]
    assert picoseconds.dtype == np.int64


def test_state_is_one_byte_for_a_page_and_a_word_for_a_range():
    scenario = load_scenario("thp-roundtrip")
    assert abi.state_bytes(scenario) == 32 * (8 + 512)
