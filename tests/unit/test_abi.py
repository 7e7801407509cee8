import attrs
import numpy as np
import pytest

from perfmodel import abi
from perfmodel.constants import (
    COUNTER_NAMES,
    LIVE_COUNTER_NAMES,
    MOST_SWAP_DEVICES,
    N_COUNTERS,
    N_EVENTS,
    ORDER_BASE,
    PAGE_BYTES,
    PAGES_PER_PMD,
    PMD_BYTES,
    PMD_ORDER,
    Action,
    Content,
    Counter,
    Delay,
    Event,
    Fallback,
    Hold,
    Lock,
    Observed,
    OrderCounter,
    SwapEntryLevel,
    Wait,
    Zswap,
)
from perfmodel.kernels import layout
from perfmodel.models.swap_devices import shares_of
from perfmodel.specs import scenario as specs
from perfmodel.specs.catalog import load_device, load_machine, load_policy, load_scenario
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.step import Racing, Step, StepAction

ROUND_TRIP = load_scenario("thp-roundtrip")


@pytest.fixture(scope="module")
def machine():
    return load_machine("intel-sapphire-rapids")


def test_counters_have_the_kernels_names_each_once():
    assert len(set(COUNTER_NAMES)) == N_COUNTERS
    assert "" not in COUNTER_NAMES
    assert COUNTER_NAMES[Counter.PGMAJFAULT] == "pgmajfault"
    for statistic, order, name in (
        (OrderCounter.SWPIN, 4, "hugepages-64kB/stats/swpin"),
        (OrderCounter.SWPIN, 9, "hugepages-2048kB/stats/swpin"),
        (OrderCounter.SWPOUT, 2, "hugepages-16kB/stats/swpout"),
        (OrderCounter.SWPIN_FALLBACK, 9, "hugepages-2048kB/stats/swpin_fallback"),
        (OrderCounter.SPLIT_DEFERRED, 9, "hugepages-2048kB/stats/split_deferred"),
    ):
        assert COUNTER_NAMES[ORDER_BASE + statistic * PMD_ORDER + order - 1] == name


def test_anonymous_memory_has_no_order_1_counters():
    counts = np.arange(N_COUNTERS)
    named = abi.name_counters(counts)
    assert tuple(named) == LIVE_COUNTER_NAMES
    assert set(COUNTER_NAMES) - set(named) == {
        f"hugepages-8kB/stats/{statistic.name.lower()}" for statistic in OrderCounter
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
    parts = {part for _, part in abi.PRICES.values()} | set(abi.WAIT_PARTS.values())
    assert parts == set(abi.BREAKDOWN_PARTS)
    assert set(abi.WAIT_PARTS) == set(Wait)


def test_every_delay_has_a_time(machine):
    shootdown = machine.translation.shootdown
    assert set(abi.DELAYS) == set(Delay)
    quantities = abi.delay_quantities(machine)
    assert quantities[Delay.HAND_LOCK_OVER] is machine.kernel.lock_handover_ns
    assert quantities[Delay.RESPONDER] is shootdown.responder_ns
    # A broadcast interrupts nobody, however many there are.
    shootdown = attrs.evolve(shootdown, broadcast=True)
    translation = attrs.evolve(machine.translation, shootdown=shootdown)
    quantities = abi.delay_quantities(attrs.evolve(machine, translation=translation))
    assert quantities[Delay.FIRST_RESPONDER] is shootdown.broadcast_ns
    assert quantities[Delay.NEXT_RESPONDER].value == quantities[Delay.RESPONDER].value == 0


def test_every_price_of_a_spec_belongs_to_one_event(machine):
    # A number in a machine file that no event uses would be read by people and by nothing else.
    owners = {"kernel": machine.kernel, "cpu": machine.cpu, "device": load_device("zram-lz4")}
    # The rest of the translation hardware, and these two, are for a simulation of the processor.
    not_priced = {"cpu.clear_2m_ns", "cpu.copy_2m_ns"}
    in_files = {"translation.stlb_hit_ns"} | {
        f"{owner}.{field.name}"
        for owner, spec in owners.items()
        for field in attrs.fields(type(spec))
        if field.metadata.get("unit") == "ns"
    }
    used = [price for price, _ in abi.PRICES.values()]
    # Some delays are events' prices, too.
    used += [time for time in abi.DELAYS.values() if time in in_files and time not in used]
    assert sorted(used) == sorted(in_files - not_priced)


def packed(scenario=ROUND_TRIP, policy="pte", device=DeviceKind.ZRAM, seeds=range(1)):
    policy = load_policy(policy) if isinstance(policy, str) else policy
    return abi.pack_parameters(scenario, policy, device, seeds)


def test_parameters():
    scenario = load_scenario("thp-zero-roundtrip")
    policy = attrs.evolve(load_policy("mthp-64k"), order9_failure=0.25)
    records = packed(scenario, policy, seeds=range(5, 8))
    assert records["seed"].tolist() == [5, 6, 7]
    assert len(set(records[[name for name in records.dtype.names if name != "seed"]].tolist())) == 1
    record = records[0]
    assert record["swap_entry_level"] == SwapEntryLevel.PTE
    assert record["swapin_order"] == 4
    assert record["order9_failure_threshold"] == 1 << 30
    assert record["content"] == Content.ZERO


@pytest.mark.parametrize(("failure", "threshold"), [(0.0, 0), (1.0, 1 << 32), (0.5, 1 << 31)])
def test_failure_threshold_reaches_never_and_always(failure, threshold):
    policy = load_policy("pmd", order9_failure=failure)
    records = packed(policy=policy)
    assert records["order9_failure_threshold"] == threshold
    assert records["swap_entry_level"] == SwapEntryLevel.PMD


@pytest.mark.parametrize(("by_policy", "by_scenario"), [(0.25, 0.0), (0.0, 0.25), (0.25, 0.125)])
def test_whoever_asks_for_more_failures_is_heard(by_policy, by_scenario):
    settings = specs.Settings(order9_failure=by_scenario, charge_failure=0.5)
    scenario = attrs.evolve(ROUND_TRIP, settings=settings)
    (record,) = packed(scenario, load_policy("pmd", order9_failure=by_policy))
    assert record["order9_failure_threshold"] == 1 << 30
    assert record["charge_failure_threshold"] == 1 << 31


def test_settings_reach_the_engine():
    names = ("page_cluster", "vma_readahead", "zswap")
    for page_cluster, by_address, zswap in ((0, True, "never"), (5, False, "off"), (3, True, "on")):
        settings = specs.Settings(page_cluster, by_address, specs.Zswap(zswap))
        (record,) = packed(attrs.evolve(ROUND_TRIP, settings=settings))
        found = [int(record[name]) for name in names]
        assert found == [page_cluster, by_address, Zswap[zswap.upper()]]


@pytest.mark.parametrize("content", specs.PageContent)
def test_contents_reach_the_engine(content):
    region = attrs.evolve(ROUND_TRIP.region, content=content)
    (record,) = packed(attrs.evolve(ROUND_TRIP, region=region))
    assert Content(record["content"]).name == content.name


@pytest.mark.parametrize(
    ("entry", "level", "lazy", "batched"),
    [
        ("pte", SwapEntryLevel.PTE, 0, 0),
        ("pte-batched", SwapEntryLevel.PTE, 0, 1),
        ("pmd", SwapEntryLevel.PMD, 0, 0),
        ("pmd-lazy", SwapEntryLevel.PMD, 1, 0),
    ],
)
def test_policies_reach_the_engine(entry, level, lazy, batched):
    (record,) = packed(policy=entry)
    assert record["swap_entry_level"] == level
    assert record["lazy_page_table_deposit"] == lazy
    assert record["batched_unmap"] == batched


@pytest.mark.parametrize(
    ("kind", "synchronous", "block_device"),
    [
        (DeviceKind.ZRAM, 1, 1),
        (DeviceKind.RAM_DISK, 0, 1),
        (DeviceKind.DISK, 0, 1),
        (DeviceKind.SWAP_FILE, 0, 0),
        (DeviceKind.NVME, 0, 1),
    ],
)
def test_devices_reach_the_engine(kind, synchronous, block_device):
    (record,) = packed(device=kind)
    assert (record["synchronous"], record["block_device"]) == (synchronous, block_device)


def test_steps():
    steps = (
        Step("fill", StepAction.FILL),
        Step("out", StepAction.PAGEOUT, refuse_write=True),
        Step("touch", StepAction.TOUCH, 3, 1, 16, 64, write=True, racing=Racing.UNMAP),
        Step("protect", StepAction.PROTECT, process=7, writable=True),
        Step("move", StepAction.MOVE, shift_pages=300),
        Step("wait", StepAction.WAIT, milliseconds=7),
    )
    default = {"page_count": PAGES_PER_PMD, "pages_per_2mib": PAGES_PER_PMD, "threads": 1}
    default["milliseconds"] = 1000
    expected = [
        default | {"action": Action.FILL},
        default | {"action": Action.PAGEOUT, "refuse_write": 1},
        {
            "action": Action.TOUCH,
            "pages_per_2mib": 3,
            "process": 1,
            "first_page": 16,
            "page_count": 64,
            "write": 1,
            "racing": 1,
            "threads": 1,
            "milliseconds": 1000,
        },
        default | {"action": Action.PROTECT, "process": 7, "writable": 1},
        default | {"action": Action.MOVE, "shift_pages": 300},
        default | {"action": Action.WAIT, "milliseconds": 7},
    ]
    records = abi.pack_steps(steps)
    names = abi.STEPS.names
    found = [
        {name: value for name, value in zip(names, r.item(), strict=True) if value} for r in records
    ]
    # A fill is action 0.
    assert found == [{name: value for name, value in e.items() if value} for e in expected]


def test_actions_of_specs_and_engine_have_the_same_names():
    assert [action.name for action in StepAction] == [action.name for action in Action]


def test_counts_are_taken_apart_without_gap_or_overlap():
    counts = np.arange(2 * 3 * layout.N_COUNTS).reshape(2, 3, layout.N_COUNTS)
    events, counters = abi.events_of(counts), abi.counters_of(counts)
    assert events.shape == (2, 3, N_EVENTS)
    assert counters.shape == (2, 3, N_COUNTERS)
    row = counts[1, 2]
    rest = [
        *abi.name_fallbacks(row).values(),
        *abi.name_observed(row).values(),
        *(value for hold in abi.name_holds(row).values() for value in hold.values()),
    ]
    shares = shares_of(row, MOST_SWAP_DEVICES).reshape(-1)
    assert [*events[1, 2], *counters[1, 2], *rest, *abi.waits_of(row), *shares] == row.tolist()


def test_what_was_counted_is_said_by_name_and_the_rest_is_not():
    counts = np.zeros(layout.N_COUNTS, dtype=np.int64)
    counts[layout.FALLBACKS + Fallback.WRITE_SHARED] = 3
    counts[layout.OBSERVED + Observed.SMAPS_SWAP_PAGES] = 512
    first = layout.HOLDS + Lock.CLUSTER * len(Hold)
    counts[first : first + 3] = 2, 513, 512
    assert abi.name_fallbacks(counts) == {"write_shared": 3}
    assert abi.name_observed(counts) == {"smaps_swap_pages": 512}
    assert abi.name_holds(counts) == {"cluster": {"count": 2, "total": 513, "longest": 512}}


def test_times_are_whole_picoseconds():
    picoseconds = abi.picoseconds(np.array([0.0, 1.0, 0.0004, 0.0006, 112.3]))
    assert picoseconds.tolist() == [0, 1000, 0, 1, 112300]
    assert picoseconds.dtype == np.int64


# How much memory a run takes


def with_ranges(ranges, **swap):
    return attrs.evolve(
        ROUND_TRIP,
        region=attrs.evolve(ROUND_TRIP.region, size_bytes=ranges * PMD_BYTES),
        swap=specs.SwapSpace(**swap),
    )


def test_state_has_room_for_all_that_a_run_could_split():
    scenario = with_ranges(10, clusters=40, free_clusters=7, neighbour_slots=3)
    ranges, clusters, neighbour, free, processes, folios, rows = abi.state_sizes(
        scenario, 3, 1 << 40
    )
    assert (ranges, clusters, neighbour, free, processes) == (10, 40, 3, 7, 3)
    # Every page of every process by a folio of its own, while a THP is still being split.
    assert folios >= 3 * 10 * PAGES_PER_PMD + PAGES_PER_PMD
    # A table for every range, the one behind the region too, and slot words for every cluster.
    assert rows >= 3 * (10 + 1) + 40 + 1


def test_device_has_room_for_the_region_twice_unless_told():
    assert abi.state_sizes(with_ranges(10), 1, 1 << 40)[1] == 2 * 10 + 32


@pytest.mark.parametrize("most_bytes", [1 << 22, 1 << 25, (1 << 30) + 12345])
def test_pools_share_what_memory_allows(most_bytes):
    everything = abi.state_sizes(with_ranges(1 << 19), 1, 1 << 60)
    sizes = abi.state_sizes(with_ranges(1 << 19), 1, most_bytes)
    assert sizes[:5].tolist() == everything[:5].tolist()
    folios, rows = (int(size) for size in sizes[5:])
    taken = folios * layout.FOLIO.itemsize + rows * PAGE_BYTES
    assert 0.99 * most_bytes < taken <= most_bytes
    # Both pools shrink alike.
    assert folios / everything[5] == pytest.approx(rows / everything[6], rel=0.01)


@pytest.mark.parametrize("most_bytes", [0, 1, 100_000])
def test_smallest_pools_still_hold_one_split_range(most_bytes):
    sizes = abi.state_sizes(with_ranges(64), 1, most_bytes)
    assert sizes[5] >= 2 * PAGES_PER_PMD
    assert sizes[6] >= 8


@pytest.mark.parametrize("ranges", [1 << 12, 1 << 19])
def test_an_unsplit_range_takes_64_bytes(ranges):
    # The PMD record, a folio, and the slots that it has and those that it had before.
    taken = abi.compact_bytes(with_ranges(ranges), 1)
    assert 64 * ranges <= taken <= 64 * ranges + 4096


def test_another_process_takes_its_pmd_records_only():
    scenario = with_ranges(1 << 12)
    more = abi.compact_bytes(scenario, 2) - abi.compact_bytes(scenario, 1)
    assert more == ((1 << 12) + 1) * layout.PMD.itemsize
    assert layout.PMD.itemsize == 8
