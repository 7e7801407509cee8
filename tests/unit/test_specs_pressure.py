"""What scenarios may say about a memory limit and accesses, and what they may not."""

from pathlib import Path

import attrs
import pytest

from perfmodel.errors import InputError
from perfmodel.measure.cgroup import MemoryCgroup, limited_beside
from perfmodel.measure.undo import checked
from perfmodel.models.simulated import simulate
from perfmodel.specs.catalog import load_scenario, names
from perfmodel.specs.io import structure, to_table
from perfmodel.specs.scenario import Scenario, Settings
from perfmodel.specs.step import Racing, Step, StepAction, Workload

THRASHING = [name for name in names("scenario") if name.startswith("thrash-")]


@pytest.mark.parametrize("name", THRASHING)
def test_scenarios_that_thrash_say_so_and_are_not_fitted(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.is_limited
    assert scenario.held_out
    table = to_table(scenario)
    assert table["settings"]["memory_limit"] == f"{64 << 20} B"
    assert structure(Scenario, table, "test") == scenario


def test_no_limit_is_no_key() -> None:
    assert "memory_limit" not in to_table(load_scenario("thp-roundtrip"))["settings"]


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("settings", "memory_limit", "1 MiB", "at least 8 MiB"),
        ("settings", "memory_limit", "8388609 B", "multiple of 4 KiB"),
        ("settings", "memory_limit", 8, 'such as "64 MiB"'),
        ("region", "backing", "2m", '"thp", "mthp", "base"'),
        ("step", "workload", "lru", '"cyclic", "uniform", "zipf"'),
        ("step", "exponent", 0.0, "above 0 and at most 10"),
        ("step", "exponent", 2.0, "exponent does not belong"),
        ("step", "scattered", False, "scattered does not belong"),
        ("step", "rounds", 0, "from 1 to"),
        ("step", "stride", 2, "stride does not belong"),
        ("step", "window", 0.5, "window does not belong"),
        ("step", "window", 1.5, "window must be a share above 0 and at most 1"),
        ("step", "phase_accesses", 5, "phase_accesses does not belong"),
        ("step", "mix", "b", "mix does not belong"),
        ("step", "mix", "g", '"a", "b", "c", "d", "e", "f"'),
        ("step", "trace", "sqlite", 'trace and workload = "trace" belong together'),
        ("step", "workload", "trace", 'trace and workload = "trace" belong together'),
        ("step", "pages_per_2mib", 8, "pages_per_2mib does not belong to a access step"),
        ("fill", "seed", 1, "seed does not belong to a fill step"),
        ("fill", "accesses", 1, "accesses does not belong to a fill step"),
        ("fill", "action", "access", "the first step must be a fill"),
        ("step", "action", "free", "free is not known under a memory_limit"),
    ],
)
def test_wrong_tables(part: str, key: str, value: object, message: str) -> None:
    table = to_table(load_scenario("thrash-cyclic-1.2"))
    places = {"fill": table["steps"][0], "step": table["steps"][1]}
    (places | table)[part][key] = value
    with pytest.raises(InputError, match=message):
        structure(Scenario, table, "test")


def test_a_cycle_over_more_than_the_limit_misses_every_time() -> None:
    scenario = load_scenario("thrash-base-cyclic-1.2")
    last = simulate(scenario, "amd-zen3").steps[-1].counters
    accesses = scenario.steps[-1].number_of_accesses(scenario.region.pages)
    assert last["pgmajfault"] == last["workingset_refault_anon"] == accesses
    limitless = attrs.evolve(scenario, settings=Settings())
    assert simulate(limitless, "amd-zen3").steps[-1].counters["pgmajfault"] == 0


def test_the_kernel_kills_what_cannot_be_reclaimed() -> None:
    # Everything becomes active between two flushes of the statistics: docs/pressure.md, 10.5.
    with pytest.raises(InputError, match=r"settings.memory_limit: the kernel would kill"):
        simulate("thrash-zipf-2.0", "amd-zen3", entry="mthp-64k")


def test_accesses_are_rounds_over_the_region_or_as_many_as_are_said() -> None:
    step = Step("a", StepAction.ACCESS, workload=Workload.ZIPF, exponent=0.5, rounds=2)
    assert step.number_of_accesses(512) == 1024
    assert attrs.evolve(step, accesses=3).number_of_accesses(512) == 3


@pytest.mark.parametrize("file", ["memory.limit_in_bytes", "memory.max"])
def test_a_limit_is_set_in_both_versions_of_cgroups(file: str, tmp_path: Path) -> None:
    (tmp_path / file).touch()
    MemoryCgroup(tmp_path).set_limit(1 << 23)
    assert (tmp_path / file).read_text() == "8388608"


def test_a_limited_cgroup_can_be_put_back() -> None:
    folder = limited_beside(Path("/sys/fs/cgroup/memory/perfmodel-123"))
    change = {"undo": "cgroup", "folder": str(folder)}
    assert checked(change) == change
    with pytest.raises(ValueError, match="not a change of ours"):
        checked({"undo": "cgroup", "folder": "/sys/fs/cgroup/memory/perfmodel-123-other"})


def test_nothing_is_discarded_in_a_race_under_a_limit() -> None:
    scenario = load_scenario("thrash-cyclic-1.2")
    racing = Step("race", StepAction.TOUCH, racing=Racing.UNMAP)
    with pytest.raises(ValueError, match="racing is not known under a memory_limit"):
        attrs.evolve(scenario, steps=(*scenario.steps, racing))
