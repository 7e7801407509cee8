"""Both worlds count the same: every counter that the model and this kernel share, exactly."""

import pytest

from perfmodel.calibrate.judge import STAND_IN_COUNTERS, different_counters
from perfmodel.constants import hugepage_directory
from perfmodel.measure.capabilities import capabilities, missing_for
from perfmodel.measure.run import measure_arms
from perfmodel.models.simulated import simulate
from perfmodel.results.result import Result
from perfmodel.specs.catalog import load_device, load_scenario
from perfmodel.specs.policy import MTHP_ENTRIES, mthp_order

REQUIRED = ("pgmajfault", "pswpin", "pswpout", "thp_swpout", "thp_split_pmd", "pgfault")
ENTRIES = ["pte", *MTHP_ENTRIES, "shmem-pmd"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Result]:
    """Every scenario under every entry that this kernel offers, in one session."""
    found = capabilities()
    entries = [entry for entry in ENTRIES if not missing_for(entry, found)]
    scenarios = [
        load_scenario("thp-roundtrip"),
        load_scenario("thp-zero-roundtrip"),
        load_scenario("thp-two-trips"),
        load_scenario("thp-sparse-touch", pages_touched=1),
    ]
    arms = [(scenario, entry) for scenario in scenarios for entry in entries]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERFMODEL_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        results = measure_arms(arms, load_device("zram-lz4"), repetitions=5)
    return {(result.scenario, result.entry): result for result in results}


def pair(
    measured: dict[tuple[str, str], Result], scenario: str, entry: str
) -> tuple[Result, Result]:
    if (scenario, entry) not in measured:
        pytest.skip("; ".join(missing_for(entry, capabilities())))
    parameters = {"pages_touched": 1} if scenario == "thp-sparse-touch" else {}
    simulated = simulate(
        load_scenario(scenario, **parameters),
        "amd-zen3",
        entry="pmd" if entry == "shmem-pmd" else entry,
        draws=20,
    )
    return simulated, measured[scenario, entry]


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    "scenario", ["thp-roundtrip", "thp-zero-roundtrip", "thp-two-trips", "thp-sparse-touch"]
)
def test_counters_are_equal(
    measured: dict[tuple[str, str], Result], scenario: str, entry: str
) -> None:
    simulated, live = pair(measured, scenario, entry)
    for before, after in zip(simulated.steps, live.steps, strict=True):
        compared = STAND_IN_COUNTERS if entry == "shmem-pmd" else REQUIRED
        if entry.startswith("mthp-"):
            compared = (*compared, f"{hugepage_directory(mthp_order(entry))}/stats/swpin")
        # What the comparison rests on is there at all, in both worlds.
        assert set(compared) <= set(before.counters), "the model lacks a counter"
        assert set(compared) <= set(after.counters), "this kernel lacks a counter"
        assert different_counters(before, after, entry) == (), after.name


def test_the_kernel_really_did_something(measured: dict[tuple[str, str], Result]) -> None:
    live = measured["thp-roundtrip", "pte"]
    assert live.step("pageout").counters["thp_swpout"] == 32
    assert live.step("touch").counters["pgmajfault"] == 16384
    assert all(len(step.repetitions_ns) == 5 for step in live.steps)


@pytest.mark.parametrize("entry", ["pte", *MTHP_ENTRIES])
def test_mapping_is_equal(measured: dict[tuple[str, str], Result], entry: str) -> None:
    simulated, live = pair(measured, "thp-roundtrip", entry)
    assert live.mapping == simulated.mapping


def test_stand_in_is_mapped_by_pmds_again(measured: dict[tuple[str, str], Result]) -> None:
    simulated, live = pair(measured, "thp-roundtrip", "shmem-pmd")
    assert live.mapping["pmd_mapped_bytes"] == simulated.mapping["pmd_mapped_bytes"]
    assert live.mapping["pte_mapped_bytes"] == 0
