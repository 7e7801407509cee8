"""A recorded trace under a memory limit: both worlds take the same faults."""

from __future__ import annotations

import pytest

from perfmodel.errors import CapabilityError
from perfmodel.measure.run import measure_arms
from perfmodel.models.simulated import simulate
from perfmodel.results.result import Result
from perfmodel.specs.catalog import load_device, load_scenario

MACHINE = "intel-emerald-rapids-guest"
REPETITIONS = 3
SCENARIOS = ("trace-sqlite", "trace-compiler", "trace-alternating")
ENTRY = "pte"
MOST_DIFFERENT = 0.05
# Fewer faults than that say nothing in per cent.
NOISE_FAULTS = 20


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result | str]:
    """Every scenario on this kernel, in one session; a string says why not."""
    arms = [(load_scenario(name), ENTRY) for name in SCENARIOS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERFMODEL_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        try:
            results = measure_arms(arms, load_device("zram-lz4"), repetitions=REPETITIONS)
        except CapabilityError as error:
            return dict.fromkeys(SCENARIOS, str(error))
    return dict(zip(SCENARIOS, results, strict=True))


@pytest.mark.parametrize("name", SCENARIOS)
def test_faults_per_access_are_within_five_per_cent(
    name: str, measured: dict[str, Result | str]
) -> None:
    live = measured[name]
    if isinstance(live, str):
        pytest.skip(live)
    expected = simulate(name, MACHINE, entry=ENTRY, draws=20)
    for one, other in zip(live.steps, expected.steps, strict=True):
        for counter in ("pgmajfault", "pswpin", "pswpout"):
            assert one.counters[counter] == pytest.approx(
                other.counters[counter], rel=MOST_DIFFERENT, abs=NOISE_FAULTS
            ), (one.name, counter)
