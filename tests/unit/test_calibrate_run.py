"""A plan is measured, interrupted and resumed: on a faked machine, with faked repetitions."""

import json
import os
import platform
from pathlib import Path

import attrs
import pytest

from perfmodel.calibrate import programs, run
from perfmodel.errors import CapabilityError, InputError
from perfmodel.measure.system import System
from perfmodel.results.store import load_evidence
from perfmodel.results.unfinished import load_unfinished
from perfmodel.specs.catalog import load_plan, names
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.plan import Plan, PlanArms, PlanProgram, Program

ARMS = (
    PlanArms("probe-discard-swapped", ("pte", "mthp-64k")),
    PlanArms("thp-roundtrip", ("pte",), "ram-disk"),
)
PLAN = Plan(
    name="small",
    description="Three arms on two devices.",
    repetitions=4,
    quick_repetitions=3,
    minutes=5,
    quick_minutes=5,
    turns=2,
    arms=ARMS,
)
MAPPING = ("pmd_mapped_bytes", "pte_mapped_bytes", "swap_entries", "page_table_bytes")


class FakeSession:
    """Stands in for a live session; `fail_after` repetitions it raises `error`."""

    runs = 0
    sessions = 0
    fail_after = -1
    error: BaseException = KeyboardInterrupt()

    def __init__(self, scenarios, device, entries, *, report):
        type(self).sessions += 1
        assert len(set(entries)) == len(entries)
        self.device = device

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def run(self, scenario, entry):
        if FakeSession.runs == FakeSession.fail_after:
            FakeSession.fail_after = -1
            raise FakeSession.error
        FakeSession.runs += 1
        step = {
            "elapsed_ns": 1000 + FakeSession.runs,
            "counters": {"pswpin": 512, "pgmajfault": 0},
            "observed": {},
        }
        return {
            "steps": [step] * len(scenario.steps),
            "mapping": dict.fromkeys(MAPPING, 0),
            "thp_bytes": 0,
            "reference_ns": {"kernel": [10, 12]},
            "steal_ticks": 0,
        }


@pytest.fixture(autouse=True)
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that can measure everything."""
    FakeSession.runs = FakeSession.sessions = 0
    FakeSession.fail_after, FakeSession.error = -1, KeyboardInterrupt()
    monkeypatch.setattr(run, "LiveSession", FakeSession)
    monkeypatch.setattr(run, "require", lambda *_: None)
    monkeypatch.setattr(run, "setup", lambda: {"kernel": "6.18"})
    monkeypatch.setattr(run, "put_back_left_over", lambda **_: None)


def interrupted(file: Path, after: int, plan: Plan = PLAN) -> None:
    FakeSession.fail_after = after
    with pytest.raises(KeyboardInterrupt):
        run.start(plan, file)


def test_a_run_has_all_repetitions_of_all_arms_in_turns(tmp_path: Path) -> None:
    file = tmp_path / "evidence.json"
    seen = []
    results = run.start(PLAN, file, progress=lambda done, total: seen.append((done, total)))
    assert [(r.scenario, r.entry, r.device) for r in results] == [
        ("probe-discard-swapped", "pte", "zram-lz4"),
        ("probe-discard-swapped", "mthp-64k", "zram-lz4"),
        ("thp-roundtrip", "pte", "ram-disk"),
    ]
    assert all(len(step.repetitions_ns) == 4 for r in results for step in r.steps)
    assert results[0].reference("kernel") == (10.0,) * 4
    # Two turns, then the other device: four sessions.
    assert FakeSession.sessions == 4
    assert results[0].provenance["session_repetitions"] == [2, 2]
    assert seen[-1] == (12, 12)
    loaded = load_evidence(file)
    assert loaded.setup == {"kernel": "6.18"}
    assert list(loaded.results) == results
    assert not run.run_file(file).exists()


@pytest.mark.parametrize("after", range(18))
def test_a_run_goes_on_wherever_it_was_interrupted(tmp_path: Path, after: int) -> None:
    file = tmp_path / "evidence.json"
    interrupted(file, after)
    assert not file.exists()
    kept = load_unfinished(run.run_file(file)).repetitions
    results = run.resume(run.run_file(file) if after % 2 else file, plan=PLAN)
    for result, before in zip(results, kept, strict=True):
        assert len(result.steps[0].repetitions_ns) == 4
        times = [float(done.steps[0].elapsed_ns) for _, done in before]
        assert list(result.steps[0].repetitions_ns[: len(times)]) == times
        assert result.steps[0].counters == {"pswpin": 512, "pgmajfault": 0}
    assert load_evidence(file).results == tuple(results)


@pytest.mark.parametrize("cut", [1, 7, 60])
def test_a_line_that_a_kill_has_cut_is_measured_again(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "evidence.json"
    interrupted(file, 9)
    path = run.run_file(file)
    path.write_bytes(path.read_bytes()[:-cut])
    results = run.resume(file, plan=PLAN)
    assert {len(r.steps[0].repetitions_ns) for r in results} == {4}


def test_two_runs_do_not_share_a_file(tmp_path: Path) -> None:
    file = tmp_path / "evidence.json"
    interrupted(file, 5)
    with pytest.raises(InputError, match="has not ended; go on with --resume"):
        run.start(PLAN, file)
    file.write_text("{}")
    with pytest.raises(InputError, match="exists already; measurements are never overwritten"):
        run.start(PLAN, file)


def test_another_setup_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "evidence.json"
    interrupted(file, 5)
    monkeypatch.setattr(run, "setup", lambda: {"kernel": "6.19"})
    with pytest.raises(InputError, match=r"another set-up than .*\(kernel: 6.18, 6.19\)"):
        run.resume(file, plan=PLAN)


def test_another_plan_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "evidence.json"
    interrupted(file, 5)
    with pytest.raises(InputError, match="has changed since; start anew"):
        run.resume(file, plan=attrs.evolve(PLAN, repetitions=9))


def test_what_cannot_be_measured_any_more_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "evidence.json"
    interrupted(file, 5)
    monkeypatch.setattr(run, "require", refuse_kind(DeviceKind.RAM_DISK))
    with pytest.raises(CapabilityError, match="cannot measure what the run began with") as caught:
        run.resume(file, plan=PLAN)
    assert "no such device" in caught.value.missing[1]


def refuse_kind(kind: DeviceKind):
    def require(entries, scenarios, device, system):
        if device.kind is kind:
            raise CapabilityError("no such device; load it")

    return require


def test_a_refused_step_costs_its_arm_alone(tmp_path: Path) -> None:
    file = tmp_path / "evidence.json"
    FakeSession.fail_after = 1  # the second arm's warming up
    FakeSession.error = CapabilityError("the kernel refused step 'discard': no")
    said: list[str] = []
    results = run.start(PLAN, file, report=said.append)
    assert [r.entry for r in results] == ["pte", "pte"]
    assert {len(r.steps[0].repetitions_ns) for r in results} == {4}
    (line,) = load_evidence(file).missing
    assert "probe-discard-swapped with mthp-64k on zram-lz4" in line
    assert any("refused step 'discard'" in text for text in said)


def test_any_other_failure_ends_the_run_and_it_can_go_on(tmp_path: Path) -> None:
    file = tmp_path / "evidence.json"
    FakeSession.fail_after = 4
    FakeSession.error = CapabilityError("the measuring process ended; is memory too low?")
    with pytest.raises(CapabilityError, match="memory too low"):
        run.start(PLAN, file)
    assert len(run.resume(file, plan=PLAN)) == 3


def test_time_that_is_over_ends_all_arms_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10**9, 17))
    monkeypatch.setattr(run.time, "monotonic", lambda: next(clock))
    said: list[str] = []
    plan = attrs.evolve(PLAN, repetitions=900, minutes=10)
    results = run.start(plan, tmp_path / "evidence.json", report=said.append)
    counts = {len(r.steps[0].repetitions_ns) for r in results}
    assert 3 <= min(counts) <= max(counts) < 900
    assert max(counts) == min(counts)
    assert any("time is over" in line for line in said)


# What this machine can do


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> System:
    """A kernel with nothing that a swap measurement needs, and no root."""
    from perfmodel.measure import capabilities

    monkeypatch.setattr(run, "require", capabilities.require)
    monkeypatch.setattr(System, "is_root", lambda _: False)
    return System(tmp_path)


def test_without_root_and_zram_the_rest_is_measured(
    faked: System, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = run.possible(load_plan("calibration"), system=faked)
    assert found.arms == ()
    kinds = {program.program for program in found.programs}
    assert kinds == {Program.CHASE, Program.SHOOTDOWN} or len(os.sched_getaffinity(0)) < 2
    text = "\n".join(found.missing)
    assert "run as root" in text
    assert "modprobe zram" in text
    assert "modprobe loop" in text
    assert all(line.startswith("not measured: ") and ";" in line for line in found.missing)
    # And a run does just that.
    done: list[Program] = []

    def record(program, file, *, report):
        done.append(program.program)
        file.write_text("{}")

    monkeypatch.setattr(programs, "record", record)
    monkeypatch.setattr(run, "possible", lambda *_, **__: found)
    said: list[str] = []
    assert run.start(load_plan("calibration"), tmp_path / "e.json", report=said.append) == []
    assert set(done) == kinds
    assert said[: len(found.missing)] == list(found.missing)
    assert not (tmp_path / "e.json").exists()


def test_without_zram_the_ram_disk_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "require", refuse_kind(DeviceKind.ZRAM))
    found = run.possible(PLAN)
    assert [arm.device for arm in found.arms] == ["ram-disk"]
    assert found.missing == (
        "not measured: probe-discard-swapped with pte on zram-lz4 and 1 more: "
        "no such device; load it",
    )


def test_on_arm_everything_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert programs.missing(Program.CHASE) == []
    assert "x86-64 and arm64" not in "\n".join(programs.missing(Program.REQUESTS))
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "x86-64 and arm64 only" in programs.missing(Program.REQUESTS)[0]


def test_one_cpu_has_no_shootdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert "two CPUs" in programs.missing(Program.SHOOTDOWN)[0]


def test_nothing_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "require", refuse_kind(DeviceKind.ZRAM))
    plan = attrs.evolve(PLAN, arms=ARMS[:1])
    with pytest.raises(CapabilityError, match="can measure nothing of this plan"):
        run.start(plan, tmp_path / "e.json")
    assert list(tmp_path.iterdir()) == []


def test_programs_are_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    monkeypatch.setattr(programs, "missing", lambda *_: [])
    monkeypatch.setattr(
        programs, "record", lambda program, file, *, report: done.append((program.seconds, file))
    )
    plan = attrs.evolve(PLAN, programs=(PlanProgram(Program.CHASE, 20, 5),))
    file = tmp_path / "evidence.json"
    interrupted(file, 3, plan)
    run.resume(file, plan=plan)
    assert done == [(20, tmp_path / "evidence-chase.json")]


def test_what_a_program_has_measured_before_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "missing", lambda *_: [])
    monkeypatch.setattr(programs, "record", lambda _, file, *, report: file.write_text("new"))
    plan = attrs.evolve(PLAN, programs=(PlanProgram(Program.CHASE, 20, 5),))
    older = tmp_path / "evidence-chase.json"
    older.write_text("precious")
    with pytest.raises(InputError, match=r"evidence-chase\.json: exists already"):
        run.start(plan, tmp_path / "evidence.json")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [
        (older.name, "precious")
    ]
    # A run's own is no hindrance to going on with it.
    file = tmp_path / "another.json"
    interrupted(file, 3, plan)
    with pytest.raises(InputError, match="has not ended; go on with --resume"):
        run.start(plan, file)
    run.resume(file, plan=plan)


@pytest.mark.parametrize("name", names("plan"))
def test_installed_plans_are_measured_in_time(name: str) -> None:
    plan = load_plan(name)
    assert plan.name == name
    assert run.plan_digest(plan) == run.plan_digest(load_plan(name))
    assert plan.quick_minutes < 5
    assert plan.minutes < 30


def test_validation_measures_nothing_that_the_calibration_does() -> None:
    def arms(name: str) -> set[tuple[str, str, str]]:
        return {(a.scenario, e, a.device) for a in load_plan(name).arms for e in a.entries}

    held_out = arms("validation")
    assert len(held_out) >= 30
    assert not held_out & arms("calibration")
    assert {device for _, _, device in held_out} == {"zram-lz4", "ram-disk"}
    assert not any(entry == "shmem-pmd" for _, entry, _ in arms("calibration"))


def test_lines_are_plain_json(tmp_path: Path) -> None:
    file = tmp_path / "evidence.json"
    interrupted(file, 9)
    lines = run.run_file(file).read_text().splitlines()
    assert json.loads(lines[0])["format"] == "perfmodel-unfinished-run"
    assert all(set(json.loads(line)) == {"arm", "session", "repetition"} for line in lines[1:])
