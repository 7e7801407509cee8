"""The arms that several tests of the model run."""

from perfmodel.constants import (
    KHUGEPAGED_COUNTER_NAMES,
    LIVE_COUNTER_NAMES,
    PMD_BYTES,
    PRESSURE_COUNTER_NAMES,
)
from perfmodel.models.simulated import simulate
from perfmodel.specs.catalog import load_device, load_machine, load_scenario
from perfmodel.specs.scenario import PageContent, Region, Scenario
from perfmodel.specs.step import Step, StepAction

# 64 MiB: 32 ranges of 512 pages.
RANGES, PAGES = 32, 32 * 512
MIB_64 = 64 << 20
MACHINE = load_machine("amd-zen3")
DEVICE = load_device("zram-lz4")
ONE_RANGE = Scenario(
    name="one-range",
    description="one range, out and back",
    region=Region(PMD_BYTES, PageContent.HALF_RANDOM),
    steps=(
        Step("fill", StepAction.FILL),
        Step("pageout", StepAction.PAGEOUT),
        Step("touch", StepAction.TOUCH),
    ),
)


def counted(result, step):
    """Counters of a step that are not zero; all of them must be there by name."""
    counters = result.step(step).counters
    hidden = PRESSURE_COUNTER_NAMES | KHUGEPAGED_COUNTER_NAMES
    assert set(counters) == set(LIVE_COUNTER_NAMES) - hidden
    return {name: count for name, count in counters.items() if count}


def run(scenario, entry, **options):
    if isinstance(scenario, str):
        scenario = load_scenario(scenario)
    return simulate(scenario, MACHINE, device=DEVICE, entry=entry, draws=20, **options)
