"""Several CPUs under a memory limit, against CPUs of which nothing is done as a whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel import abi
from perfmodel.constants import N_PRICES, PAGES_PER_PMD, PMD_BYTES, Counter, Event
from perfmodel.models.simulated import Runs, count_events
from perfmodel.specs.catalog import load_device, load_policy
from perfmodel.specs.scenario import PageContent, Region, Scenario, Settings
from perfmodel.specs.step import Step, StepAction
from tests import strategies
from tests.oracles.cpus import Machine, Times

# Picoseconds.
TIMES = Times(access=80_000, fault=1_000_000, scan=200_000, write=1_536_000_000, read=512_000_000)


def engine(ranges: int, capacity: int, cpus: int, times: Times, rounds: int) -> Runs:
    """Swap all out, and let CPUs go round in their shares in order, where so many THPs fit."""
    access = Step("access", StepAction.ACCESS, threads=cpus, write=True, rounds=rounds)
    # Half a folio more: page tables and what is charged in advance.
    limit = capacity * PMD_BYTES + PMD_BYTES // 2
    scenario = Scenario(
        "shares",
        "several CPUs bring back what was swapped out",
        Region(ranges * PMD_BYTES, PageContent.RANDOM),
        (
            Step("fill", StepAction.FILL),
            Step("pageout", StepAction.PAGEOUT),
            Step("evict", StepAction.RECLAIM),
            access,
        ),
        settings=Settings(memory_limit_bytes=limit),
    )
    prices = np.zeros((1, N_PRICES), dtype=np.int64)
    for event, price in {
        Event.ACCESS_MEMORY: times.access,
        Event.ACCESS_CACHED: times.access,
        Event.FAULT: times.fault,
        Event.SCAN_FOLIO: times.scan,
        Event.COMPRESS_PAGE: times.write // PAGES_PER_PMD,
        Event.DECOMPRESS_PAGE: times.read // PAGES_PER_PMD,
    }.items():
        prices[0, event] = price
    machine, device = strategies.published_machine, load_device("zram-lz4")
    return count_events(scenario, machine, load_policy("pmd"), device.kind, range(1), prices)


def faults(runs: Runs) -> int:
    return int(abi.counters_of(runs.counts[0, 3])[Counter.PGMAJFAULT])


@settings(max_examples=30)
@given(data=st.data())
def test_cpus_that_are_done_fault_by_fault_are_as_fast_as_those_that_are_not(data) -> None:
    capacity = data.draw(st.integers(4, 16), label="capacity")
    ranges = data.draw(st.integers(capacity + 4, 3 * capacity), label="ranges")
    cpus = data.draw(st.integers(1, capacity - 2), label="cpus")
    machine = Machine(ranges, capacity, cpus, TIMES, rounds=1)
    expected = machine.run()
    runs = engine(ranges, capacity, cpus, TIMES, rounds=1)
    assert faults(runs) == pytest.approx(machine.faults, rel=0.1)
    assert runs.elapsed[0, 3] == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 6, 8, 10, 12])
def test_a_huge_page_is_not_thrown_out_before_its_cpu_has_gone_through_it(cpus) -> None:
    # 15 of 32 fit. A fault takes 2 ms and its use 41 us, in which the young bit is set again.
    # A share of the accesses may end in the middle of a huge page.
    uses = cpus * -(-3 * 32 // cpus)
    assert faults(engine(32, 15, cpus, TIMES, rounds=3)) <= uses
