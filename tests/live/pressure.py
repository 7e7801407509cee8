"""Memory under a limit, in scenarios that both worlds run, and what the engine says of them."""

from __future__ import annotations

import functools

from perfmodel.constants import PAGE_BYTES
from perfmodel.models.simulated import simulate
from perfmodel.specs.scenario import Backing, PageContent, Region, Scenario, Settings
from perfmodel.specs.step import Step, StepAction, Workload

LIMIT_MIB = 32
ROUNDS = 3
# A random access to folios of 64 KiB brings 16 pages in. Steps are as much shorter: the kernel's
# statistics, which are brought up to date between steps, must not be so old that it finds nothing
# to reclaim and kills the process (docs/pressure.md, 10.5).
STEPS_OF_LARGE_FOLIOS = 24
EXPONENT = 0.9
# Decides which translations stay in a TLB and when two seconds are over; neither counts for much.
MACHINE = "intel-emerald-rapids-guest"
ENTRIES = {Backing.BASE: "pte", Backing.MTHP: "mthp-64k", Backing.THP: "pte"}


@functools.cache
def limited(workload: str, times: float, backing: str) -> Scenario:
    """Accesses to so many times the limit, mostly as many in each round as there are pages."""
    size = int(times * LIMIT_MIB) // 2 * (2 << 20)
    exponent = EXPONENT if workload == "zipf" else 1.0
    short = workload != "cyclic" and backing == Backing.MTHP
    rounds = [
        Step(
            f"round-{number}",
            StepAction.ACCESS,
            workload=Workload(workload),
            exponent=exponent,
            accesses=size // PAGE_BYTES // 16 if short else 0,
            seed=number,
        )
        for number in range(1, (STEPS_OF_LARGE_FOLIOS if short else ROUNDS) + 1)
    ]
    return Scenario(
        name=f"{workload}-{times}-{backing}",
        description="what a live test does under a memory limit",
        region=Region(size, PageContent.HALF_RANDOM, Backing(backing)),
        steps=(Step("fill", StepAction.FILL), *rounds),
        settings=Settings(memory_limit_bytes=LIMIT_MIB << 20),
    )


def expected_counters(scenario: Scenario, entry: str) -> list[dict[str, int]]:
    """What the engine counts in each step."""
    result = simulate(scenario, MACHINE, entry=entry, draws=20)
    return [step.counters for step in result.steps]
