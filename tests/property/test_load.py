"""Several CPUs: what they count together, where their time goes, and who holds a lock when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from perfmodel import abi
from perfmodel.constants import N_EVENTS, N_MAPPING, PMD_BYTES, Event
from perfmodel.kernels import layout
from perfmodel.kernels.layout import Cell
from perfmodel.models.devices import pack
from perfmodel.models.memory import fresh_memory, run_one_step
from perfmodel.models.prices import draw_prices
from perfmodel.models.simulated import Ending, run_steps
from perfmodel.specs.catalog import load_device, load_policy
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.policy import Policy
from perfmodel.specs.scenario import Backing, PageContent, Region, Scenario, Settings
from perfmodel.specs.step import Step, StepAction, Workload
from tests import strategies

ZRAM = load_device("zram-lz4")
SERVED = load_device("kioxia-cd7")
POLICIES = [load_policy(entry) for entry in ("pte", "mthp-64k", "pmd")]
# They depend on whose TLB it is that an access finds its translation in.
OF_TLBS = (Event.STLB_HIT, Event.WALK_PMD, Event.WALK_PTE)
FILL = Step("fill", StepAction.FILL)


@attrs.frozen
class Load:
    """Everything that decides about a run."""

    scenario: Scenario
    policy: Policy
    device: SwapDevice
    seed: int

    @property
    def prices(self) -> Any:
        """One of them for every event, in picoseconds."""
        scenario = self.scenario
        machine = strategies.published_machine
        drawn = draw_prices(machine, self.device, 20, self.seed, scenario.region.content)[1]
        if self.device.service is not None:
            drawn[[Event.READ_REQUEST, Event.WRITE_REQUEST]] = 0
        return drawn

    def memory(self) -> layout.Memory:
        """Before the first step, for as many CPUs as any step has."""
        scenario, served = self.scenario, self.device.service is not None
        seeds = range(self.seed, self.seed + 1)
        parameters = abi.pack_parameters(scenario, self.policy, self.device.kind, seeds)
        parameters["device_model"] = int(served)
        return fresh_memory(
            parameters[0],
            abi.state_sizes(scenario, 1, 1 << 30),
            strategies.published_machine.translation,
            self.prices,
            max(step.threads for step in scenario.steps),
            pack(self.device) if served else None,
        )

    def run(self) -> tuple[Ending, Any, Any, Any]:
        """Counts and time of each step, and the mapping at the end."""
        steps = self.scenario.steps
        counts = np.zeros((len(steps), layout.N_COUNTS), dtype=np.int64)
        elapsed = np.zeros(len(steps), dtype=np.int64)
        mapping = np.zeros(N_MAPPING, dtype=np.int64)
        return run_steps(self.memory(), steps, counts, elapsed, mapping), counts, elapsed, mapping

    def steps(self) -> Iterator[tuple[Step, layout.Memory, int]]:
        """Each step that has just been done, the memory, and when it began."""
        memory = self.memory()
        for step in self.scenario.steps:
            begin = int(memory.state[Cell.NOW])
            memory.counts[:] = 0
            run_one_step(memory, step)
            assume(not memory.state[Cell.EXHAUSTED])
            yield step, memory, begin


@st.composite
def loads(draw: st.DrawFn) -> Load:
    """Some CPUs use more memory than they may have."""
    backing = draw(st.sampled_from(Backing))
    scenario = Scenario(
        "load",
        "several CPUs under a limit",
        Region(draw(st.sampled_from((5, 6, 8))) * PMD_BYTES, PageContent.HALF_RANDOM, backing),
        (
            FILL,
            *(
                Step(
                    f"s{number}",
                    StepAction.ACCESS,
                    workload=draw(st.sampled_from((Workload.UNIFORM, Workload.CYCLIC))),
                    accesses=draw(st.sampled_from((300, 1, 1000, 3000))),
                    threads=draw(st.sampled_from((3, 2, 1, 5))),
                    write=draw(st.booleans()),
                    seed=number,
                )
                for number in range(draw(st.integers(1, 3)))
            ),
            Step("last", StepAction.TOUCH, 20, threads=draw(st.sampled_from((4, 1)))),
        ),
        settings=Settings(memory_limit_bytes=draw(st.sampled_from((8 << 20, None)))),
    )
    return Load(
        scenario,
        draw(st.sampled_from(POLICIES)),
        draw(st.sampled_from((ZRAM, SERVED))),
        draw(st.integers(0, 5)),
    )


def with_threads(scenario: Scenario, threads: int) -> Scenario:
    """All touches by so many CPUs."""
    steps = [
        attrs.evolve(step, threads=threads) if step.action is StepAction.TOUCH else step
        for step in scenario.steps
    ]
    return attrs.evolve(scenario, steps=tuple(steps))


@settings(max_examples=40)
@given(
    scenario=strategies.plain_scenarios(),
    policy=strategies.policies,
    threads=st.integers(2, 5),
    seed=st.integers(0, 5),
)
def test_cpus_with_shares_of_their_own_count_what_one_does(scenario, policy, threads, seed):
    one = Load(scenario, policy, ZRAM, seed)
    several = attrs.evolve(one, scenario=with_threads(scenario, threads))
    (_, counts, _, mapping), (_, found, _, found_mapping) = one.run(), several.run()
    counts[:, OF_TLBS] = found[:, OF_TLBS] = 0
    assert (found[:, : layout.WAITS] == counts[:, : layout.WAITS]).all()
    assert (found_mapping == mapping).all()


@settings(max_examples=25)
@given(loads())
def test_a_run_is_the_same_when_it_is_repeated(load):
    for first, second in zip(load.run(), load.run(), strict=True):
        assert np.array_equal(first, second)


@settings(max_examples=40)
@given(loads())
def test_all_time_is_that_of_an_event_or_waited(load):
    for step, memory, begin in load.steps():
        accounted = memory.counts[:N_EVENTS] @ memory.prices[:N_EVENTS]
        accounted += memory.counts[layout.WAITS : layout.SHARES].sum()
        elapsed = memory.state[Cell.NOW] - begin
        if step.action is StepAction.FILL:
            assert elapsed == accounted
            continue
        cpus = range(min(step.threads, load.scenario.region.count))
        took = [int(memory.state[layout.CPU_BASE + cpu * layout.CPU_CELLS]) - begin for cpu in cpus]
        assert sum(took) == accounted
        assert max(took) == elapsed


@settings(max_examples=40)
@given(loads())
def test_nobody_holds_a_lock_that_another_one_holds(load):
    for _, memory, _ in load.steps():
        for row in memory.locks[memory.locks[:, layout.LOCK_NAME] > 0]:
            count = int(row[layout.LOCK_COUNT])
            begins, ends, owners = (
                row[first : first + count]
                for first in (layout.LOCK_BEGINS, layout.LOCK_ENDS, layout.LOCK_OWNERS)
            )
            assert (np.diff(begins) >= 0).all()
            overlap = ends[:, np.newaxis] > begins
            earlier = np.tri(count, k=-1, dtype=bool).T
            assert not (overlap & earlier & (owners[:, np.newaxis] != owners)).any()
