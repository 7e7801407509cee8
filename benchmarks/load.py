"""How fast the engine is under memory pressure, on several CPUs, and for more of everything.

Run with ``make benchmark-load``; a pyperf program. Ratios are of the 10 % quantiles of all values.
With a number of GiB as the only argument it prints the peak memory of one run, as
``benchmarks/memory.py`` does.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from functools import cache
from time import perf_counter

import numpy as np
import pyperf

from perfmodel import abi
from perfmodel.constants import Event
from perfmodel.kernels.layout import Cell
from perfmodel.models.devices import pack
from perfmodel.models.memory import fresh_memory, run_one_step
from perfmodel.models.prices import draw_prices
from perfmodel.specs.catalog import load_device, load_machine, load_policy
from perfmodel.specs.scenario import Backing, PageContent, Region, Scenario, Settings
from perfmodel.specs.step import Step, StepAction, Workload

MACHINE = load_machine("amd-zen3")
MIB, GIB = 1 << 20, 1 << 30
LIMIT = 64 * MIB
POOL_BYTES = 1 << 30
SERVED = [
    Event.READ_REQUEST, Event.WRITE_REQUEST, Event.DECOMPRESS_PAGE, Event.COMPRESS_PAGE
]  # fmt: skip
ACCESSES = 1 << 18
FEW = 1 << 18
MOST_CPUS = 3.0
MOST_ACCESSES = 11.0
MOST_MEMORY = 1.5
LEAST_FAULTS = 3e6


def region(
    size: int, limit: int | None, backing: Backing, steps: tuple[Step, ...] = ()
) -> Scenario:
    """Memory that is filled, and under a limit or not."""
    return Scenario(
        name="load",
        description="memory under load",
        region=Region(size, PageContent.HALF_RANDOM, backing),
        steps=(Step("fill", StepAction.FILL), *steps),
        settings=Settings(memory_limit_bytes=limit),
    )


class Load:
    """A run of the engine in its steady state.

    Parameters
    ----------
    scenario : Scenario
    access : Step
        What is timed; it is done once before.
    entry, device : str
    """

    def __init__(self, scenario: Scenario, access: Step, entry: str, device: str) -> None:
        swap = load_device(device)
        prices = draw_prices(MACHINE, swap, 20, 1, scenario.region.content)[0]
        if swap.service is not None:
            prices[SERVED] = 0
        parameters = abi.pack_parameters(scenario, load_policy(entry), swap.kind, range(1, 2))
        parameters["device_model"] = int(swap.service is not None)
        self.memory = fresh_memory(
            parameters[0],
            abi.state_sizes(scenario, 1, POOL_BYTES),
            MACHINE.translation,
            prices,
            access.threads,
            None if swap.service is None else pack(swap),
        )
        self.access = access
        run_one_step(self.memory, scenario.steps[0])
        self.run(1)
        self.faults = int(self.memory.counts[Event.FAULT])

    def run(self, loops: int) -> float:
        """Seconds that so many steps take."""
        self.memory.counts[:] = 0
        start = perf_counter()
        for _ in range(loops):
            run_one_step(self.memory, self.access)
        seconds = perf_counter() - start
        if self.memory.state[Cell.OUT_OF_MEMORY] or self.memory.state[Cell.EXHAUSTED]:
            raise SystemExit("the run has ended early; its time is worth nothing")
        return seconds


def accessing(accesses: int, workload: Workload, threads: int = 1) -> Step:
    """Writes of single pages."""
    return Step(
        "access", StepAction.ACCESS, workload=workload, accesses=accesses, write=True,
        threads=threads,
    )  # fmt: skip


@cache
def thrash(device: str, threads: int = 1, accesses: int = ACCESSES, size: int = 80 * MIB) -> Load:
    """4 KiB pages of more than the limit, one after the other."""
    scenario = region(size, LIMIT, Backing.BASE)
    return Load(scenario, accessing(accesses, Workload.CYCLIC, threads), "pte", device)


@cache
def resident(gib: int) -> Load:
    """THPs that nothing splits, used at random."""
    scenario = region(gib * GIB, None, Backing.THP)
    return Load(scenario, accessing(ACCESSES, Workload.UNIFORM), "pmd", "zram-lz4")


@cache
def swapping(gib: int) -> Load:
    """THPs of twice the limit under PMD swap entries: one page of each 2 MiB, in order."""
    scenario = region(gib * GIB, gib * GIB // 2, Backing.THP)
    touch = Step("touch", StepAction.TOUCH, pages_per_2mib=1, write=True)
    return Load(scenario, touch, "pmd", "zram-lz4")


@cache
def mixed() -> Load:
    """THPs that nothing splits, read and written by turns."""
    scenario = region(GIB, None, Backing.THP)
    step = Step("access", StepAction.ACCESS, workload=Workload.CHURN, accesses=ACCESSES)
    return Load(scenario, step, "pmd", "zram-lz4")


# Every CPU's share is larger than the limit; else some would keep all of theirs, and never fault.
SHARED = 640 * MIB
CASES = {
    "thrash-zram": (lambda: thrash("zram-lz4"), ACCESSES, "one access, each a major fault"),
    "thrash-nvme": (lambda: thrash("samsung-pm9a3"), ACCESSES, "one access, with readahead"),
    "cpus-1": (lambda: thrash("zram-lz4", 1, ACCESSES, SHARED), ACCESSES, "one access"),
    "cpus-8": (lambda: thrash("zram-lz4", 8, ACCESSES, SHARED), ACCESSES, "one access"),
    "accesses": (lambda: thrash("zram-lz4", 1, FEW), 1, "256 Ki accesses"),
    "accesses-times-10": (lambda: thrash("zram-lz4", 1, 10 * FEW), 1, "2560 Ki accesses"),
    "resident-1-gib": (lambda: resident(1), ACCESSES, "one access of a THP"),
    "resident-1-tib": (lambda: resident(1024), ACCESSES, "one access of a THP"),
    "reads-and-writes": (mixed, ACCESSES, "one access of a THP, some of them writes"),
    "swapping-1-gib": (lambda: swapping(1), 512, "one major fault behind a PMD swap entry"),
    "swapping-1-tib": (lambda: swapping(1024), 512 << 10, "one major fault of a PMD swap entry"),
}


def timed(loops: int, name: str) -> float:
    """What pyperf times; prepared where it is first asked for."""
    return CASES[name][0]().run(loops)


def low(benchmark: pyperf.Benchmark) -> float:
    """The 10 % quantile of all values."""
    return float(np.quantile(benchmark.get_values(), 0.1))


def say_ratio(found: dict[str, pyperf.Benchmark], above: str, below: str, most: float) -> None:
    """Print a ratio beside what it should be at most."""
    if above in found and below in found:
        ratio = low(found[above]) / low(found[below])
        print(f"{above} / {below}: {ratio:.2f} (at most {most:g})")


def main() -> None:
    runner = pyperf.Runner(values=5, processes=3, warmups=1)
    found = {}
    for name, (_, units, work) in CASES.items():
        benchmark = runner.bench_time_func(
            name, timed, name, inner_loops=units, metadata={"work": work}
        )
        if benchmark is not None and not runner.args.worker and benchmark.get_nvalue():
            found[name] = benchmark
    if runner.args.worker:
        return
    for name in ("thrash-zram", "thrash-nvme"):
        if name in found:
            load = CASES[name][0]()
            per_second = load.faults / ACCESSES / low(found[name])
            print(
                f"{name}: {per_second / 1e6:.2f} million faults per second on one core "
                f"(at least {LEAST_FAULTS / 1e6:g})"
            )
    say_ratio(found, "cpus-8", "cpus-1", MOST_CPUS)
    say_ratio(found, "accesses-times-10", "accesses", MOST_ACCESSES)
    say_ratio(found, "resident-1-tib", "resident-1-gib", MOST_MEMORY)
    say_ratio(found, "swapping-1-tib", "swapping-1-gib", MOST_MEMORY)
    for name in CASES:
        print(f"{name}: peak of the process {peak(name) / MIB:.0f} MiB")


def peak(name: str) -> int:
    """Peak of the resident memory of a process that does one case, in bytes."""
    command = [sys.executable, __file__, "--peak", name]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        timed(1, sys.argv[2])
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    else:
        main()
