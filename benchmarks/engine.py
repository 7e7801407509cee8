"""How fast the engine is, as a pyperf program.

Run with ``make benchmark``; pyperf starts the workers and keeps every repetition. Each benchmark
runs on one core, and its unit of work is named in its metadata. Compiling is no part of it.
"""

from __future__ import annotations

from time import perf_counter

import attrs
import numpy as np
import pyperf

from perfmodel import abi
from perfmodel.constants import N_MAPPING, PMD_BYTES, Counter
from perfmodel.kernels.engine import run_step
from perfmodel.kernels.layout import COUNTERS, N_COUNTS
from perfmodel.models.memory import SimulatedMemory, fresh_memory
from perfmodel.models.simulated import run_steps
from perfmodel.specs.catalog import load_machine, load_policy, load_scenario
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.step import Step, StepAction

MACHINE = load_machine("amd-zen3")
REGION_MIB = 256
# A trip is long enough that the call of a step does not count: 16 Ki faults, or 16 Ki round trips.
PTE_RANGES = 32
PMD_RANGES = 1 << 14
POOL_BYTES = 1 << 30
PAGE_OUT = Step("pageout", StepAction.PAGEOUT)


def with_ranges(count: int) -> Scenario:
    """The round trip over so many ranges of 2 MiB."""
    scenario = load_scenario("thp-roundtrip")
    return attrs.evolve(
        scenario, region=attrs.evolve(scenario.region, size_bytes=count * PMD_BYTES)
    )


class Trips:
    """Memory that goes out to zram and comes back, over and over.

    Parameters
    ----------
    entry : str
    ranges : int
    touch : Step
        What brings everything back.
    """

    def __init__(self, entry: str, ranges: int, touch: Step) -> None:
        memory = SimulatedMemory(
            with_ranges(ranges), load_policy(entry), DeviceKind.ZRAM, MACHINE, processes=1
        )
        # The first trip is different: it takes THPs apart under `pte`.
        for step in (Step("fill", StepAction.FILL), PAGE_OUT, touch):
            memory.step(step)
        self.memory = memory._memory
        self.page_out, self.touch = abi.pack_steps([PAGE_OUT, touch])

    def faults(self) -> int:
        """Major faults of one trip: what the speed is the number of."""
        self.memory.counts[:] = 0
        self.run(1)
        return int(self.memory.counts[COUNTERS + Counter.PGMAJFAULT])

    def run(self, trips: int) -> float:
        """Seconds that so many trips take."""
        start = perf_counter()
        for _ in range(trips):
            run_step(self.memory, self.page_out)
            run_step(self.memory, self.touch)
        return perf_counter() - start

    def run_touches(self, trips: int) -> float:
        """Seconds that the touches alone take, without the way out."""
        seconds = 0.0
        for _ in range(trips):
            run_step(self.memory, self.page_out)
            start = perf_counter()
            run_step(self.memory, self.touch)
            seconds += perf_counter() - start
        return seconds


def report(runner: pyperf.Runner, benchmark: pyperf.Benchmark | None, what: str) -> None:
    """Print a speed once all workers have ended; the workers themselves print nothing."""
    if benchmark is None or runner.args.worker or not benchmark.get_nvalue():
        return
    per_second = 1e-6 / benchmark.mean()
    print(f"{benchmark.get_name()}: {per_second:.2f} million {what} per second on one core")


def bench_trips(runner: pyperf.Runner) -> None:
    """PTE faults and PMD round trips in a loop."""
    all_pages = Step("touch", StepAction.TOUCH)
    one_page = Step("touch", StepAction.TOUCH, pages_per_2mib=1)
    for name, entry, ranges, touch, faults, what in (
        ("pte-fault", "pte", PTE_RANGES, all_pages, PTE_RANGES * 512, "PTE faults"),
        ("pmd-roundtrip", "pmd", PMD_RANGES, one_page, PMD_RANGES, "PMD round trips"),
    ):
        trips = Trips(entry, ranges, touch)
        if (found := trips.faults()) != faults:
            raise SystemExit(f"{name}: a trip is {found} faults, not {faults}")
        benchmark = runner.bench_time_func(
            name,
            trips.run,
            inner_loops=faults,
            metadata={"entry": entry, "work": "one fault, and the page-out that it needs"},
        )
        report(runner, benchmark, f"{what}, page-out included,")
        benchmark = runner.bench_time_func(
            f"{name}-touch",
            trips.run_touches,
            inner_loops=faults,
            metadata={"entry": entry, "work": "one fault"},
        )
        report(runner, benchmark, f"{what} without the page-out")


def _run(record, steps, sizes, counts, mapping) -> None:
    elapsed = np.zeros(len(steps), dtype=np.int64)
    run_steps(fresh_memory(record, sizes, MACHINE.translation), steps, counts, elapsed, mapping)


def bench_scenario(runner: pyperf.Runner) -> None:
    """A whole scenario, as `simulate` runs it."""
    scenario = with_ranges((REGION_MIB << 20) // PMD_BYTES)
    steps = scenario.steps
    sizes = abi.state_sizes(scenario, scenario.processes, POOL_BYTES)
    for entry in ("pte", "mthp-64k", "pmd"):
        parameters = abi.pack_parameters(scenario, load_policy(entry), DeviceKind.ZRAM, range(1, 2))
        counts = np.zeros((len(steps), N_COUNTS), dtype=np.int64)
        mapping = np.zeros(N_MAPPING, dtype=np.int64)
        runner.bench_func(
            f"roundtrip-{entry}",
            _run,
            parameters[0],
            steps,
            sizes,
            counts,
            mapping,
            inner_loops=scenario.region.count * 512,
            metadata={
                "entry": entry,
                "work": "one page: filled, swapped out, touched twice",
            },
        )


def main() -> None:
    runner = pyperf.Runner()
    bench_trips(runner)
    bench_scenario(runner)


if __name__ == "__main__":
    main()
