"""Measured shootdowns: how they are counted, taken apart, kept and printed. No time is asserted."""

from __future__ import annotations

import json
import os

import attrs
import numpy as np
import pytest

from perfmodel import host
from perfmodel.errors import CapabilityError, InputError
from perfmodel.kernels import shootdown as kernels
from perfmodel.measure import shootdown as probe
from perfmodel.models.shootdown import shootdown_cost
from perfmodel.results.shootdown import (
    Change,
    Remote,
    ShootdownMeasurement,
    ShootdownPoint,
    load_shootdowns,
    save_shootdowns,
)
from perfmodel.specs.quantity import How
from perfmodel.studies import shootdown as study
from tests.hardware import shootdown as specified
from tests.unit.test_cli import call, call_json

# What a made-up machine costs, in ns.
CALL, ENTRY, RANGE, PAGE, FULL, FIRST, TAKEN = 500.0, 40.0, 700.0, 150.0, 300.0, 20000.0, 16000.0
FAULT = 900.0
TURNS = 10
RATE = 0.06  # turns of the other thread's loop in a ns


def flush_ns(pages, entries):
    if not entries:
        return 0.0
    return FULL if entries > 33 else RANGE + PAGE * entries


def made_up_point(change, remote, pages, interrupts=None):
    """What that machine would show: a clock that never drifts."""
    entries = {"nothing": 0, "protect-huge": 1}.get(change, pages)
    flush = flush_ns(pages, entries)
    flushes = 1 if change == "drop" else 2
    turn = FAULT + flush if change == "drop" else 2 * (CALL + ENTRY * entries + flush)
    reached = remote == "busy" and entries > 0
    if reached:
        turn += flushes * FIRST
    time = turn * TURNS
    repetitions = 4
    taken = flushes * TURNS * (TAKEN + flush) if reached else 0.0
    busy = (round(RATE * (time - taken) * 1000) / 1000,) * repetitions
    counted = flushes * TURNS if reached else 0
    return ShootdownPoint(
        change=Change(change),
        remote=Remote(remote),
        pages=pages,
        turns=TURNS,
        repetitions_ns=(time,) * repetitions,
        reference_ns=(9.0,) * repetitions,
        interrupts=(counted,) * repetitions if interrupts is None else interrupts,
        responder_turns=tuple(round(turns) for turns in busy) if remote == "busy" else (),
    )


def made_up(**more):
    kinds = [("drop", 1), ("nothing", 1), *(("protect", n) for n in probe.RANGES)]
    kinds.append(("protect-huge", 512))
    points = tuple(
        made_up_point(change, remote, pages) for change, pages in kinds for remote in Remote
    )
    given = {"host": {"virtualisation": "guest", "kernel": "6.18"}, "started": "2026-01-01T00:00"}
    return ShootdownMeasurement(**{**given, "points": points, **more})


# The model


def test_a_range_costs_something_beside_its_pages_and_everything_does_not():
    spec = specified()
    dear = attrs.evolve(spec, local_range_ns=attrs.evolve(spec.local_range_ns, value=50.0))
    pages = [0, 1, 33, 34]
    plain, more = (shootdown_cost(s, 2, pages, batched=True) for s in (spec, dear))
    assert (more.initiator_ns - plain.initiator_ns).tolist() == [0, 50, 50, 0]
    assert (more.responder_ns - plain.responder_ns).tolist() == [0, 50, 50, 0]
    single = shootdown_cost(dear, 1, 10).initiator_ns - shootdown_cost(spec, 1, 10).initiator_ns
    assert single == 10 * 50


# The study


def test_a_run_is_taken_apart_into_what_it_was_made_of():
    parts = study.take_apart(made_up())
    found = attrs.astuple(parts)
    wanted = (CALL, ENTRY, RANGE, PAGE, FULL, FIRST, TAKEN)
    assert found == pytest.approx(wanted, rel=1e-3)


def test_numbers_of_a_run_predict_its_other_ranges():
    run = made_up()
    spec = study.measured_shootdown([run], specified())
    rows = study.flush_rows(run, spec)
    assert [(row.change, row.pages) for row in rows][:2] == [(Change.DROP, 1), (Change.PROTECT, 1)]
    for row in rows:
        for error in row.errors().values():
            assert error == pytest.approx(0, abs=2e-3)
        assert row.idle_ns == pytest.approx(0)
        assert row.deferred_ns is None
    assert sum(row.fitted for row in rows) == len(study.FITTED_PAGES)
    assert spec.local_page_ns.how is How.MEASURED
    assert spec.local_page_ns.spread == pytest.approx(0.1 * PAGE, rel=1e-3)
    # With two CPUs nobody can tell what a third one adds.
    assert spec.next_responder_ns == specified().next_responder_ns


def test_spreads_come_from_several_runs():
    run = made_up()
    slow = attrs.evolve(
        run,
        points=tuple(
            attrs.evolve(p, repetitions_ns=tuple(2 * t for t in p.repetitions_ns))
            for p in run.points
        ),
    )
    spec = study.measured_shootdown([run, run, slow], specified())
    assert spec.local_page_ns.value == pytest.approx(PAGE, rel=1e-3)
    assert spec.local_page_ns.spread == pytest.approx(PAGE / np.sqrt(3), rel=1e-3)
    with pytest.raises(InputError, match="at least one run"):
        study.measured_shootdown([], specified())


def test_repetitions_that_did_not_reach_the_other_cpu_do_not_count():
    whole = made_up_point("protect", "busy", 1)
    short = whole.repetitions_ns[0] / 10
    point = attrs.evolve(
        whole,
        repetitions_ns=(*whole.repetitions_ns[:2], short, short),
        interrupts=(20, 19, 0, 8),
    )
    assert (point.count(), point.count(interrupted=False)) == (2, 1)
    assert point.turn_ns() == whole.turn_ns()
    assert point.turn_ns(interrupted=False) == short / TURNS
    # A kernel that does not count them leaves all repetitions.
    uncounted = attrs.evolve(point, interrupts=())
    assert uncounted.count() == 4
    none = attrs.evolve(point, interrupts=(8, 8, 8, 8))
    assert none.turn_ns() is None
    assert none.taken_ns(RATE) is None


def test_what_is_taken_is_what_the_other_loop_does_not_do():
    # 25 us in each of which the loop does 60 turns, but for 10 us; and one in which it never ran.
    point = ShootdownPoint(
        change=Change.PROTECT,
        remote=Remote.BUSY,
        pages=1,
        turns=5,
        repetitions_ns=(25000.0,) * 5,
        reference_ns=(9.0,) * 5,
        interrupts=(10,) * 4 + (0,),
        responder_turns=(900,) * 4 + (0,),
    )
    assert point.taken_ns(0.06) == pytest.approx(10000 / 10)
    assert point.taken_ns(0.0) is None
    assert point.responder_rate() == 900 / 25000
    assert attrs.evolve(point, responder_turns=()).responder_rate() == 0


def test_what_makes_a_run_worth_less_is_said():
    run = made_up()
    assert run.warnings() == []
    first = attrs.evolve(run.points[0], reference_ns=(9.0, 20.0, 20.0, 20.0))
    wild = attrs.evolve(run, points=(first,))
    assert "unstable" in wild.warnings()[0]
    away = attrs.evolve(made_up_point("protect", "busy", 1), interrupts=(0, 0, 0, 20))
    assert "not always running" in attrs.evolve(run, points=(away,)).warnings()[0]


def test_a_run_without_the_needed_changes_is_refused():
    run = made_up()
    with pytest.raises(InputError, match="has no protect of 64 pages"):
        study.take_apart(attrs.evolve(run, points=tuple(p for p in run.points if p.pages != 64)))


# The probe


def test_the_other_thread_counts_its_turns_and_stops():
    words = np.ones(8, dtype=np.int64)
    stop, progress = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    found = kernels.work_until(words, stop, progress, 100)
    assert progress[0] == 100
    assert kernels.work_until.py_func(words, stop, progress, 100) == found
    stop[0] = 1
    kernels.work_until(words, stop, progress, 100)
    assert progress[0] == 100
    assert len(kernels.work_until.signatures) == 1


def test_calls_that_the_kernel_refuses_are_counted():
    # No mapping can begin in the middle of a page.
    assert kernels.flip_protection(1, 4096, 3) == 6
    assert kernels.flip_protection(0, 0, 3) == 0


INTERRUPTS = """           CPU0       CPU2
 LOC:         10         20   Local timer interrupts
 TLB:          7         11   TLB shootdowns
"""


@pytest.mark.parametrize(
    ("text", "cpu", "count"),
    [
        (INTERRUPTS, 0, 7),
        (INTERRUPTS, 2, 11),
        (INTERRUPTS, 1, None),
        (INTERRUPTS.replace("TLB:", "RES:"), 0, None),
        ("", 0, None),
        ("CPU0 CPU1\n TLB: 3\n", 1, None),
    ],
)
def test_interrupts_are_read_by_cpu(tmp_path, text, cpu, count):
    file = tmp_path / "interrupts"
    file.write_text(text)
    assert probe.read_interrupts(cpu, file) == count
    assert probe.read_interrupts(cpu, tmp_path / "none") is None


def test_what_the_hypervisor_offers_is_read_where_it_can_be(tmp_path, monkeypatch):
    leaves = {
        0x40000000: b"\x01\x00\x00\x40KVMKVMKVM\0\0\0",
        0x40000001: (1 << 9 | 1 << 11).to_bytes(4, "little") + b"\0" * 12,
    }
    file = tmp_path / "cpuid"
    assert host.kvm_features(file) == ()
    file.write_bytes(b"")
    monkeypatch.setattr(os, "pread", lambda _file, _size, at: leaves[at])
    assert host.kvm_features(file) == ("pv-tlb-flush", "pv-send-ipi")
    leaves[0x40000000] = b"\0" * 4 + b"Microsoft Hv"
    assert host.kvm_features(file) == ()


def test_one_cpu_is_too_few(monkeypatch, capsys):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with pytest.raises(CapabilityError, match="takes two CPUs"):
        probe.measure_shootdown()
    status, output, errors = call(capsys, "shootdown", "amd-zen3", "--measured")
    assert (status, output) == (3, "")
    assert len(errors.splitlines()) == 1


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a shootdown takes two CPUs")
def test_the_probe_measures_every_change_and_its_file_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "_ROUNDS", 1)
    monkeypatch.setattr(probe, "_MOST_REPETITIONS", 2)
    allowed = os.sched_getaffinity(0)
    found = probe.measure_shootdown(seconds=5)
    assert os.sched_getaffinity(0) == allowed
    for change, pages in (("drop", 1), ("nothing", 1), *(("protect", n) for n in probe.RANGES)):
        for remote in Remote:
            point = found.point(Change(change), remote, pages)
            assert point is not None
            assert 1 <= len(point.repetitions_ns) <= 2
            assert bool(point.responder_turns) == (remote is Remote.BUSY)
    path = tmp_path / "host" / "shootdown.json"
    save_shootdowns(found, path)
    assert load_shootdowns(path) == found
    with pytest.raises(InputError, match="never overwritten"):
        save_shootdowns(found, path)


# The command and its files


def test_shootdown_predicts_without_measuring(capsys):
    document = call_json(capsys, "shootdown", "intel-sapphire-rapids")
    cells = {(cell["pages"], cell["cpus"]): cell for cell in document["predicted"]}
    assert cells[1, 1]["initiator_ns"] == 100
    assert cells[34, 2]["initiator_ns"] == 200 + 670
    status, output, _ = call(capsys, "shootdown", "intel-sapphire-rapids")
    assert status == 0
    assert len(output.splitlines()) == 2 + len(study.DEFAULT_PAGES)


def test_shootdown_judges_a_prediction_by_evidence(capsys, tmp_path):
    path, figure = tmp_path / "shootdown.json", tmp_path / "shootdown.png"
    save_shootdowns(made_up(hypervisor=("pv-tlb-flush",)), path)
    arguments = ["shootdown", "intel-sapphire-rapids", "--evidence", str(path)]
    document = call_json(capsys, *arguments)
    assert document["hypervisor"] == ["pv-tlb-flush"]
    rows = {(row["change"], row["pages"]): row for row in document["flushes"]}
    assert rows["protect", 33]["here_ns"] == pytest.approx(RANGE + 33 * PAGE)
    assert rows["protect", 33]["predicted_here_ns"] == 3300
    errors = rows["drop", 1]["relative_errors"]
    assert errors["remote"] == pytest.approx(670 / FIRST - 1)
    assert "here" not in errors
    status, output, _ = call(capsys, *arguments, "--out", str(figure))
    assert status == 0
    assert "pv-tlb-flush" in output
    assert all(len(line) <= 100 for line in output.splitlines())
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pdp11"], "machine: 'pdp11' is neither"),
        (["--measured", "--evidence", "x.json"], "choose one of --measured and --evidence"),
        (["--save-evidence", "new.json"], "--save-evidence: needs --measured"),
        (["--measured", "--save-evidence", __file__], "exists already"),
        (["--measured", "--seconds", "0"], "--seconds: must be from 1 to 600"),
        (["--out", "figure.png"], "--out: needs --measured or --evidence"),
        (["--measured", "--out", "figure.jpg"], "--out: 'figure.jpg' must end in .png or .svg"),
        (["--evidence", "no-such.json"], "no-such.json: cannot be read"),
    ],
)
def test_wrong_input_gets_one_clear_line(capsys, arguments, said):
    status, output, errors = call(capsys, "shootdown", *arguments)
    assert (status, output) == (2, "")
    lines = [line for line in errors.splitlines() if "no profile for this processor" not in line]
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "x"}, "is no file of perfmodel-shootdown"),
        ({"version": 9}, "version: must be 1"),
        ({"measurement": {}}, "measurement.points: is missing"),
    ],
)
def test_evidence_of_another_kind_is_refused(tmp_path, change, said):
    path = tmp_path / "shootdown.json"
    save_shootdowns(made_up(), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=said):
        load_shootdowns(path)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("interrupts", [1], "one number for each repetition"),
        ("interrupts", [-1, 0, 0, 0], "must not be negative"),
        ("repetitions_ns", [], "positive numbers"),
        ("pages", 0, "pages"),
        ("change", "erase", "must be one of"),
    ],
)
def test_a_damaged_point_is_refused(tmp_path, field, value, said):
    path = tmp_path / "shootdown.json"
    save_shootdowns(made_up(), path)
    document = json.loads(path.read_text())
    document["measurement"]["points"][3][field] = value
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=said):
        load_shootdowns(path)
    document["measurement"]["points"][3] = document["measurement"]["points"][2]
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="twice"):
        load_shootdowns(path)
