"""Readahead at every vm.page-cluster: the model reads what the kernel reads."""

import pytest

from perfmodel.errors import CapabilityError
from perfmodel.measure.run import measure_arms
from perfmodel.models.simulated import simulate
from perfmodel.results.result import Result
from perfmodel.specs.catalog import load_device, load_machine
from perfmodel.specs.scenario import PageContent, Region, Scenario, Settings
from perfmodel.specs.step import Step, StepAction, Workload

REPETITIONS = 3
REGION = Region(8 << 20, PageContent.HALF_RANDOM)
EQUAL = ("pgmajfault", "pswpin", "swap_ra", "swap_ra_hit")
ORDERS = {
    "in order": Step("swap-in", StepAction.TOUCH),
    "at random": Step(
        "swap-in", StepAction.ACCESS, workload=Workload.UNIFORM, accesses=6000, seed=7
    ),
}
CASES = [(order, cluster) for order in ORDERS for cluster in range(6)]


def scenario(order: str, cluster: int) -> Scenario:
    return Scenario(
        f"{order}-{cluster}",
        "swap-in with readahead, from an empty swap cache",
        REGION,
        (
            Step("fill", StepAction.FILL),
            Step("pageout", StepAction.PAGEOUT),
            Step("reclaim", StepAction.RECLAIM),
            ORDERS[order],
        ),
        settings=Settings(page_cluster=cluster),
    )


@pytest.fixture(scope="module", params=["ram-disk", "disk"])
def measured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, int], Result | str]:
    """Every case on this kernel, in one session; a string says why not."""
    arms = [(scenario(*case), "pte") for case in CASES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERFMODEL_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        try:
            results = measure_arms(arms, load_device(request.param), repetitions=REPETITIONS)
        except CapabilityError as error:
            return dict.fromkeys(CASES, str(error))
    return dict(zip(CASES, results, strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_kernel_reads_as_many_pages_ahead(
    case: tuple[str, int], measured: dict[tuple[str, int], Result | str]
) -> None:
    live = measured[case]
    if isinstance(live, str):
        pytest.skip(live)
    machine = load_machine("intel-sapphire-rapids")
    expected = simulate(scenario(*case), machine, device=live.device, draws=20)
    for step in ("reclaim", "swap-in"):
        counters = live.step(step).counters
        wanted = expected.step(step).counters
        assert {name: counters[name] for name in EQUAL} == {name: wanted[name] for name in EQUAL}
