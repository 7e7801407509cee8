"""Small studies for tests."""

from __future__ import annotations

from typing import Any

import attrs

from perfmodel.specs.catalog import load_scenario
from perfmodel.specs.scenario import PageContent, Region, Scenario, Settings
from perfmodel.specs.step import Step, StepAction, Workload
from perfmodel.specs.study import Axis, Ladder, Output, OutputKind, Pair, Per, Study

TOUCH = Output(name="touch", steps=("touch",))
MAJOR_FAULTS = Output(
    name="faults", kind=OutputKind.COUNTER, of="pgmajfault", steps=("touch",)
)  # fmt: skip
FAULT_COST = Axis(field="machine.kernel.fault_ns", linear=Ladder(first=100.0, last=2000.0, count=5))
PAGES = Axis(
    field="scenario.steps.touch.pages_per_2mib", name="pages", values=(1, 64, 512)
)  # fmt: skip


def small_study(**changes: Any) -> Study:
    """Two entries over the cost of a fault and the pages used."""
    scenario = load_scenario("thp-sparse-touch")
    study = Study(
        name="small",
        title="A small study",
        description="for tests",
        scenario=attrs.evolve(scenario, region=Region(4 << 20, PageContent.HALF_RANDOM)),
        machine="intel-emerald-rapids-guest",
        device="zram-lz4",
        entries=("pte", "pmd"),
        pairs=(Pair(above="pmd", below="pte"),),
        axes=(PAGES, FAULT_COST),
        outputs=(TOUCH, MAJOR_FAULTS),
        draws=40,
    )
    return attrs.evolve(study, **changes)


def limited_scenario(accesses: int = 2000) -> Scenario:
    """Accesses under a memory limit, where the clock decides."""
    return Scenario(
        name="limited",
        description="for tests",
        region=Region(16 << 20, PageContent.HALF_RANDOM),
        steps=(
            Step("fill", StepAction.FILL),
            Step("access", StepAction.ACCESS, workload=Workload.UNIFORM, accesses=accesses),
        ),
        settings=Settings(memory_limit_bytes=8 << 20),
    )


def limited_study(cells: int = 12, accesses: int = 2000, **changes: Any) -> Study:
    """One engine run for each cell."""
    ladder = Ladder(first=0, last=cells - 1, count=cells, whole=True)
    seeds = Axis(field="scenario.steps.access.seed", linear=ladder)
    output = Output(name="access", steps=("access",), per=Per.ACCESS)
    return small_study(
        scenario=limited_scenario(accesses), axes=(seeds,), outputs=(output,), draws=0, **changes
    )
