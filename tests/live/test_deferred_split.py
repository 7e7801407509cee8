"""Partially mapped THPs under a memory limit: what reclaim splits of them, counted exactly."""

import pytest

from perfmodel.errors import CapabilityError
from perfmodel.measure.run import measure_arms
from perfmodel.results.result import Result
from perfmodel.specs.catalog import load_device
from perfmodel.specs.scenario import PageContent, Region, Scenario, Settings
from perfmodel.specs.step import Step, StepAction

from .pressure import expected_counters

MIB = 1 << 20
REPETITIONS = 3
EXACT = (
    "pgfault",
    "pgmajfault",
    "pswpin",
    "pswpout",
    "pgscan_anon",
    "pgsteal_anon",
    "thp_split_page",
    "thp_split_pmd",
    "thp_deferred_split_page",
    "thp_swpout",
    "thp_underused_split_page",
)
# 2 MiB ranges, pages of each that are discarded, MiB of the limit.
Case = tuple[int, int, int]
CASES: tuple[Case, ...] = ((12, 256, 28), (12, 511, 28), (12, 32, 25), (2, 511, 8), (40, 100, 84))


def pressed(case: Case) -> Scenario:
    """Fill what fits, discard a part of each THP, and write to that part again, in two turns."""
    ranges, pages, limit = case
    return Scenario(
        f"deferred-{ranges}-{pages}-{limit}",
        "partially mapped THPs, and then too little memory",
        Region(ranges * 2 * MIB, PageContent.HALF_RANDOM),
        (
            Step("fill", StepAction.FILL),
            Step("discard", StepAction.DISCARD, first_page=0, page_count=pages),
            Step("again", StepAction.TOUCH, first_page=0, page_count=pages, write=True),
            Step("all", StepAction.TOUCH),
        ),
        settings=Settings(memory_limit_bytes=limit * MIB),
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Result | str]:
    """Every case on this kernel, in one session; a string says why not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERFMODEL_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        try:
            results = measure_arms(
                [(pressed(case), "pte") for case in CASES],
                load_device("zram-lz4"),
                repetitions=REPETITIONS,
            )
        except CapabilityError as error:
            return dict.fromkeys(CASES, str(error))
    return dict(zip(CASES, results, strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_splits_are_counted_exactly(case: Case, measured: dict[Case, Result | str]) -> None:
    live = measured[case]
    if isinstance(live, str):
        pytest.skip(live)
    expected = expected_counters(pressed(case), "pte")
    different = [
        (step.name, name, counts[name], step.counters[name])
        for step, counts in zip(live.steps, expected, strict=True)
        for name in EXACT
        if counts[name] != step.counters[name]
    ]
    assert not different, "step, counter, engine, kernel"
