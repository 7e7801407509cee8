"""The model's mechanism is the live kernel's: every counter that both worlds have, exactly."""

import collections
import os

import pytest

from perfmodel.constants import LIVE_COUNTER_NAMES
from perfmodel.errors import CapabilityError
from perfmodel.measure.run import measure_arms
from perfmodel.models.simulated import simulate
from perfmodel.results.result import Result
from perfmodel.specs.catalog import load_device

from .cases import CASES, ZSWAP_CASES, Case

REPETITIONS = 3
# Only a kernel with PMD swap entries has this one.
NOT_ON_STOCK_KERNELS = {"thp_swpout_pmd"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result | str]:
    """Every case on this kernel, in one session for each device; a string says why not."""
    by_device = collections.defaultdict(list)
    for case in CASES:
        by_device[case.device].append(case)
    found: dict[str, Result | str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERFMODEL_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        for device, cases in by_device.items():
            arms = [(case.scenario, case.entry) for case in cases]
            try:
                results = measure_arms(arms, load_device(device), repetitions=REPETITIONS)
            except CapabilityError as error:
                found.update({case.name: str(error) for case in cases})
            else:
                found.update(zip([case.name for case in cases], results, strict=True))
    return found


def compare(case: Case, live: Result) -> Result:
    """Compare what was counted, step by step; returns what was simulated."""
    simulated = simulate(case.scenario, "amd-zen3", device=case.device, entry=case.entry, draws=20)
    differences = []
    for before, after in zip(simulated.steps, live.steps, strict=True):
        assert set(before.counters) - set(after.counters) <= NOT_ON_STOCK_KERNELS
        differences += [
            (after.name, name, before.counters[name], after.counters[name])
            for name in set(before.counters) & set(after.counters) - set(case.left_out)
            if before.counters[name] != after.counters[name]
        ]
        differences += [
            (after.name, name, before.observed.get(name, 0), after.observed.get(name, 0))
            for name in set(before.observed) | set(after.observed)
            if before.observed.get(name, 0) != after.observed.get(name, 0)
        ]
    differences += [
        ("at the end", name, value, live.mapping[name])
        for name, value in simulated.mapping.items()
        if live.mapping[name] != value
    ]
    assert not differences, "step, what, simulated, measured"
    return simulated


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_counter_is_equal(case: Case, measured: dict[str, Result | str]) -> None:
    live = measured[case.name]
    if isinstance(live, str):
        pytest.skip(live)
    compare(case, live)


@pytest.mark.parametrize("case", ZSWAP_CASES, ids=lambda case: case.name)
def test_every_counter_is_equal_with_zswap(case: Case) -> None:
    if os.environ.get("PERFMODEL_ALLOW_ZSWAP") != "1":
        pytest.skip(
            "zswap cannot be switched on without a trace: the kernel reads no large folios from "
            "swap until it restarts; PERFMODEL_ALLOW_ZSWAP=1 allows it"
        )
    arms = [(case.scenario, case.entry)]
    (live,) = measure_arms(arms, load_device(case.device), repetitions=REPETITIONS)
    compare(case, live)


def test_cases_are_enough_and_leave_little_out() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40
    for case in CASES:
        assert set(case.left_out) <= set(LIVE_COUNTER_NAMES)
    assert sum(bool(case.left_out) for case in CASES) <= 1
