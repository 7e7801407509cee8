"""How fast sweeps are: what-ifs by algebra, runs of the engine, one Dask worker against two.

Run with ``make benchmark-sweep``, or with the names of some of the three parts.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import Any

import attrs

from perfmodel.specs.catalog import load_scenario
from perfmodel.specs.scenario import PageContent, Region, Scenario, Settings
from perfmodel.specs.step import Step, StepAction, Workload
from perfmodel.specs.study import (
    Axis,
    Design,
    DesignKind,
    Ladder,
    Output,
    OutputKind,
    Pair,
    Per,
    Range,
    Study,
)
from perfmodel.studies.sweep import sweep

WHAT_IFS = 10_000
RUNS = 1000
ACCESSES = 1_000_000
CELLS_ON_DASK = 48
MIB = 1 << 20


def what_ifs(count: int) -> Study:
    """Two entries with 400 draws each, over three prices."""
    prices = {
        "machine.kernel.fault_ns": (100.0, 2000.0),
        "device.decompress_page_ns": (300.0, 3000.0),
        "machine.kernel.swapin_folio_ns": (100.0, 1000.0),
    }
    return Study(
        name="what-ifs",
        title="benchmark",
        description="benchmark",
        scenario=load_scenario("thp-sparse-touch"),
        machine="intel-emerald-rapids-guest",
        device="zram-lz4",
        entries=("pte", "pmd"),
        pairs=(Pair(above="pte", below="pmd"),),
        design=Design(kind=DesignKind.LATIN_HYPERCUBE, count=count),
        axes=tuple(
            Axis(field=field, range=Range(low=low, high=high))
            for field, (low, high) in prices.items()
        ),
        outputs=(Output(name="touch", steps=("touch",)),),
    )


def engine_runs(cells: int) -> Study:
    """Single-page Zipf writes to 1.25 times the memory limit, for so many costs of a fault."""
    access = Step(
        "access", StepAction.ACCESS, workload=Workload.ZIPF, accesses=ACCESSES, write=True
    )  # fmt: skip
    scenario = Scenario(
        name="trace",
        description="benchmark",
        region=Region(160 * MIB, PageContent.HALF_RANDOM),
        steps=(Step("fill", StepAction.FILL), access),
        settings=Settings(memory_limit_bytes=128 * MIB),
    )
    ladder = Ladder(first=100, last=1000, count=cells)
    steps = ("access",)
    return attrs.evolve(
        what_ifs(2),
        name="engine-runs",
        scenario=scenario,
        entries=("pte",),
        pairs=(),
        draws=0,
        design=Design(),
        axes=(Axis(field="machine.kernel.fault_ns", linear=ladder),),
        outputs=(
            Output(name="access", steps=steps, per=Per.ACCESS),
            Output(
                name="faults", kind=OutputKind.COUNTER, of="pgmajfault", steps=steps, per=Per.ACCESS
            ),
        ),
    )


def timed(study: Study, **options: Any) -> float:
    """Seconds that a sweep takes, planning included."""
    start = perf_counter()
    sweep(study, **options)
    return perf_counter() - start


def report_what_ifs() -> None:
    """10,000 what-ifs."""
    sweep(what_ifs(2))
    times = [timed(what_ifs(WHAT_IFS), jobs=1) for _ in range(5)]
    print(f"{WHAT_IFS} what-ifs, 2 entries, 400 draws, one thread: {min(times):.2f} s (of 5)")


def report_engine() -> None:
    """1,000 runs of the engine."""
    faults = sweep(engine_runs(2)).dataset["faults"].values.max()
    took = timed(engine_runs(RUNS), jobs=2)
    print(f"{RUNS} runs over {ACCESSES} accesses ({faults:.1%} faults), two threads: {took:.0f} s")


def report_dask() -> None:
    """One worker against two, in turns."""
    from distributed import Client, LocalCluster

    options = {"threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    found: dict[int, list[float]] = {1: [], 2: []}
    with LocalCluster(n_workers=1, **options) as one, LocalCluster(n_workers=2, **options) as two:
        clients = {1: Client(one), 2: Client(two)}
        for workers, client in clients.items():
            sweep(engine_runs(8 * workers), executor=client.get_executor())
        for _ in range(3):
            for workers, client in clients.items():
                study = engine_runs(CELLS_ON_DASK)
                found[workers].append(timed(study, executor=client.get_executor()))
        for client in clients.values():
            client.close()
    ratios = [a / b for a, b in zip(found[1], found[2], strict=True)]
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(
        f"{CELLS_ON_DASK} runs on one Dask worker over two: {min(found[1]):.2f} s / "
        f"{min(found[2]):.2f} s = {min(found[1]) / min(found[2]):.2f} (turns: {shown})"
    )


PARTS = {"what-ifs": report_what_ifs, "engine": report_engine, "dask": report_dask}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
