"""Memory under a limit, in scenarios that both worlds run, and what the oracle says of them."""

from __future__ import annotations

import functools

from perfmodel.constants import PAGE_BYTES
from perfmodel.specs.policy import MTHP_ENTRIES, mthp_order
from perfmodel.specs.scenario import Backing, PageContent, Region, Scenario, Settings
from perfmodel.specs.step import Step, StepAction, Workload
from perfmodel.traces.generator import trace_of
from tests.oracles.mechanism import Mechanism
from tests.oracles.translation import TlbGeometry

LIMIT_MIB = 32
ROUNDS = 3
# A random access to folios of 64 KiB brings 16 pages in. Steps are as much shorter: the kernel's
# statistics, which are brought up to date between steps, must not be so old that it finds nothing
# to reclaim and kills the process (docs/pressure.md, 10.5).
STEPS_OF_LARGE_FOLIOS = 24
EXPONENT = 0.9
# Of the size that processors of today have; what is in them does not become young.
TLBS = (
    TlbGeometry("L1 4k", 1, ("4k",), 16, 4),
    TlbGeometry("L1 2m", 1, ("2m",), 8, 4),
    TlbGeometry("STLB", 2, ("4k", "2m"), 256, 8),
)
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
    """What the oracle counts in each step, on a synchronous device."""
    limit = scenario.settings.memory_limit_bytes
    assert limit is not None, "a scenario of this module has a limit"
    mechanism = Mechanism(
        regions=scenario.region.count,
        content=scenario.region.content.value,
        tlbs=TLBS,
        swapin_order=mthp_order(entry) if entry in MTHP_ENTRIES else 0,
        clusters=scenario.clusters,
        memory_limit=limit // PAGE_BYTES,
        backing=scenario.region.backing.value,
    )
    counted = []
    for step in scenario.steps:
        trace = ()
        if step.action is StepAction.ACCESS:
            trace = tuple(trace_of(step, scenario.region.pages).all_pages().tolist())
        call = {"action": step.action.value, "write": step.write, "trace": trace}
        counted.append(mechanism.step(call).counters)
    return counted
