"""What a simulated run keeps in memory: 64 bytes for a range, more only for what is split."""

import attrs
import numpy as np
import pytest

from perfmodel import abi
from perfmodel.constants import PAGES_PER_PMD, PMD_BYTES
from perfmodel.errors import CapabilityError
from perfmodel.kernels import layout
from perfmodel.kernels.layout import Cell
from perfmodel.models.memory import SimulatedMemory
from perfmodel.models.simulated import count_events, simulate
from perfmodel.specs.catalog import load_policy, load_scenario, names
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.scenario import PageContent, Region, SwapSpace
from perfmodel.specs.step import Step, StepAction

from .arms import DEVICE, MACHINE, ONE_RANGE

FILL = Step("fill", StepAction.FILL)
OUT = Step("pageout", StepAction.PAGEOUT)
TOUCH = Step("touch", StepAction.TOUCH)
ONE_PAGE = Step("one-page", StepAction.TOUCH, 1)
ONE_PAGE_OF_EACH = (FILL, OUT, ONE_PAGE)


def with_ranges(ranges, *steps, scenario=ONE_RANGE, content=PageContent.HALF_RANDOM, **changes):
    return attrs.evolve(
        scenario,
        region=Region(ranges * PMD_BYTES, content),
        steps=steps or scenario.steps,
        **changes,
    )


def memory_after(scenario, entry, kind=DeviceKind.ZRAM, **options):
    memory = SimulatedMemory(scenario, load_policy(entry), kind, MACHINE, **options)
    for step in scenario.steps:
        memory.step(step)
    return memory


def cells(memory):
    return {cell: int(memory._memory.state[cell]) for cell in Cell}


# 64 bytes for a range that nothing has split

MANY = 1 << 13


@pytest.mark.parametrize("content", [PageContent.HALF_RANDOM, PageContent.ZERO])
@pytest.mark.parametrize("kind", [DeviceKind.ZRAM, DeviceKind.DISK])
@pytest.mark.parametrize("entry", ["pmd", "pmd-lazy"])
def test_unsplit_ranges_take_64_bytes_each_and_no_row(entry, kind, content):
    scenario = with_ranges(
        MANY,
        *ONE_PAGE_OF_EACH,
        *(attrs.evolve(step, name=f"{step.name}-2") for step in ONE_PAGE_OF_EACH[1:]),
        content=content,
    )
    memory = SimulatedMemory(scenario, load_policy(entry), kind, MACHINE, processes=1)
    fresh = cells(memory)
    # The slot words of cluster 0, in which the header stands.
    assert fresh[Cell.FRESH_ROW] == 1
    for step in scenario.steps:
        memory.step(step)
    assert memory.mapping()["pmd_mapped_bytes"] == MANY * PMD_BYTES
    used = cells(memory)
    assert used[Cell.FRESH_ROW] == 1
    assert used[Cell.FREE_ROW] == -1
    assert used[Cell.FRESH_FOLIO] <= MANY
    fresh_cluster = int(memory._memory.swap[0, layout.SwapCell.FRESH_CLUSTER])
    assert fresh_cluster <= 2 * MANY + 1
    taken = (
        memory._memory.pmds.nbytes
        + used[Cell.FRESH_FOLIO] * layout.FOLIO.itemsize
        + fresh_cluster * layout.CLUSTER.itemsize
    )
    assert taken <= abi.compact_bytes(scenario, 1) <= 64 * MANY + 4096


def test_a_range_that_is_split_takes_a_table_and_slot_words_and_folios():
    used = cells(memory_after(with_ranges(16, *ONE_PAGE_OF_EACH), "pte"))
    assert used[Cell.FRESH_ROW] == 1 + 2 * 16
    used = cells(memory_after(with_ranges(16, FILL, OUT, TOUCH), "pte"))
    assert used[Cell.FRESH_FOLIO] == 16 * PAGES_PER_PMD


def test_one_partial_call_splits_its_own_process_ranges_only():
    part = Step("discard", StepAction.DISCARD, first_page=0, page_count=1)
    used = cells(memory_after(with_ranges(4, FILL, OUT, part), "pmd"))
    assert used[Cell.FRESH_ROW] == 1 + 2 * 4


def test_rows_and_folios_are_used_again():
    trips = [
        attrs.evolve(step, name=f"{step.name}-{trip}") for trip in range(4) for step in (OUT, TOUCH)
    ]
    once = cells(memory_after(with_ranges(2, FILL, *trips[:2]), "pte"))
    often = cells(memory_after(with_ranges(2, FILL, *trips), "pte"))
    assert often[Cell.FRESH_FOLIO] <= once[Cell.FRESH_FOLIO] + 1
    # Two tables and the slot words of two clusters, and of those that the second trip fills.
    assert often[Cell.FRESH_ROW] <= once[Cell.FRESH_ROW] + 2


def test_what_has_ended_leaves_nothing_behind():
    scenario = with_ranges(
        3,
        FILL,
        Step("fork", StepAction.FORK),
        OUT,
        Step("write", StepAction.TOUCH, write=True, process=1),
        Step("exit", StepAction.EXIT, process=1),
        Step("unmap", StepAction.UNMAP),
    )
    memory = memory_after(scenario, "pmd")
    used = cells(memory)
    assert used[Cell.CHARGED_PAGES] == 0
    assert used[Cell.USED_SLOTS] == 0
    snapshot = memory.snapshot()
    assert snapshot["folios"] == []
    assert snapshot["slots"] == {}


# Runs that need more than there is


def with_memory(monkeypatch, available):
    monkeypatch.setattr("perfmodel.models.simulated.available_memory_bytes", lambda: available)


def run(scenario, entry):
    return count_events(scenario, MACHINE, load_policy(entry), DeviceKind.ZRAM, range(1))


def test_a_terabyte_is_simulated_in_less_than_a_gigabyte(monkeypatch):
    with_memory(monkeypatch, 1 << 30)
    ranges = (1 << 40) // PMD_BYTES
    scenario = with_ranges(ranges, FILL, OUT)
    counts = run(scenario, "pmd").counts
    counters = abi.name_counters(abi.counters_of(counts[0, 1]))
    assert counters["thp_swpout_pmd"] == ranges


@pytest.mark.parametrize(("entry", "order9_failure"), [("pte", 0), ("pmd", 1)])
def test_a_run_that_splits_too_much_is_refused_and_said_why(monkeypatch, entry, order9_failure):
    scenario = with_ranges(8, FILL, OUT, TOUCH)
    with_memory(monkeypatch, 1 << 18)
    with pytest.raises(CapabilityError) as caught:
        simulate(
            scenario,
            MACHINE,
            device=DEVICE,
            entry=entry,
            draws=20,
            order9_failure=order9_failure,
        )
    assert caught.value.exit_status == 3
    for part in ("'one-range' is too large", "16 MiB", "splitting", "256 KiB", "region.size"):
        assert part in str(caught.value)
    assert str(caught.value).isprintable()
    # What leaves the ranges whole fits.
    assert run(scenario, "pmd").mapping[0].any()


def test_runs_at_once_share_the_memory(monkeypatch):
    import numba

    # Several runs because chance decides; as many at once as there are threads.
    scenario = with_ranges(64, FILL, OUT)
    policy = load_policy("pmd", order9_failure=0.5)
    needed = 4 * abi.compact_bytes(scenario, 1) * min(32, numba.get_num_threads())
    for available, fits in ((needed, True), (needed - 8 * numba.get_num_threads(), False)):
        with_memory(monkeypatch, available)
        if fits:
            count_events(scenario, MACHINE, policy, DeviceKind.ZRAM, range(32))
        else:
            with pytest.raises(CapabilityError, match="too large for this machine"):
                count_events(scenario, MACHINE, policy, DeviceKind.ZRAM, range(32))


@pytest.mark.parametrize("pool_bytes", [0, 1 << 19, 1 << 20])
def test_a_run_driven_by_hand_stops_when_its_memory_is_used_up(monkeypatch, pool_bytes):
    monkeypatch.setattr("perfmodel.models.memory._POOL_BYTES", pool_bytes)
    scenario = with_ranges(128, FILL, OUT)
    memory = SimulatedMemory(scenario, load_policy("pte"), DeviceKind.ZRAM, MACHINE, processes=1)
    memory.step(FILL)
    with pytest.raises(CapabilityError, match="too small for what it splits"):
        memory.step(OUT)


@pytest.mark.parametrize(
    "name", [name for name in names("scenario") if not load_scenario(name).is_limited]
)
def test_large_pools_are_never_used_up(name):
    scenario = load_scenario(name)
    scenario = with_ranges(2, scenario=scenario)
    sizes = abi.state_sizes(scenario, scenario.processes, 1 << 40)
    for entry in ("pte", "pmd"):
        memory = memory_after(scenario, entry, DeviceKind.DISK, processes=scenario.processes)
        used = cells(memory)
        assert used[Cell.FRESH_FOLIO] <= sizes[5] - PAGES_PER_PMD
        assert used[Cell.FRESH_ROW] <= sizes[6]


def test_a_small_device_that_is_full_is_no_lack_of_memory():
    scenario = with_ranges(4, FILL, OUT, swap=SwapSpace(clusters=1))
    done = run(scenario, "pmd")
    counts, mapping = done.counts, done.mapping
    counters = abi.name_counters(abi.counters_of(counts[0, 1]))
    # One cluster takes one THP; its neighbours are split, and cluster 0 takes 511 of their pages.
    assert counters["thp_swpout_pmd"] == 1
    assert counters["pswpout"] == 512 + 511
    assert np.count_nonzero(mapping) > 0
