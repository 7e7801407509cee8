"""Programs under page layouts: what they touch, what is simulated, and how models are judged."""

from __future__ import annotations

import json

import attrs
import numpy as np
import pytest

from perfmodel.constants import CACHE_LINES_PER_PAGE, PMD_BYTES
from perfmodel.errors import CapabilityError, InputError
from perfmodel.kernels import workloads as kernels
from perfmodel.measure import runtime as probe
from perfmodel.models.runtime import RUNTIME_MODELS
from perfmodel.results.runtime import (
    LayoutTimes,
    RuntimeMeasurement,
    load_runtimes,
    save_runtimes,
)
from perfmodel.specs.catalog import load_machine, measured_files
from perfmodel.studies import runtime as study
from perfmodel.studies.runtime_workloads import DEFAULT_FOOTPRINTS, Program, Workload, layouts
from tests.hardware import plain_hardware, specified
from tests.unit.test_cli import call, call_json

MIB = 1 << 20
PLAIN = specified(plain_hardware())
SMALL = 16 * MIB
ACCESSES = 1 << 12


# Programs and layouts


@pytest.mark.parametrize("workload", Workload)
@pytest.mark.parametrize("footprint", [2 * MIB, SMALL])
def test_a_program_uses_its_memory_and_nothing_else(workload, footprint):
    program = Program(workload, footprint, ACCESSES)
    lines = program.lines()
    assert lines.shape == (ACCESSES,)
    assert lines.dtype == np.int64
    assert (lines >= 0).all()
    assert (lines < footprint // 64).all()
    assert (program.lines() == lines).all()
    pages = np.unique(lines // CACHE_LINES_PER_PAGE)
    # Every quarter of the memory is used.
    assert len(np.unique(pages * 4 // program.pages)) == 4


def test_seeds_change_what_is_drawn():
    first, other = (Program(Workload.UNIFORM, SMALL, ACCESSES, seed).lines() for seed in (1, 2))
    assert (first != other).any()


def test_what_programs_are_named_after():
    chase = Program(Workload.CHASE, SMALL, 2 * SMALL // 4096)
    pages = chase.lines().reshape(2, -1) // CACHE_LINES_PER_PAGE
    assert (pages[0] == pages[1]).all()
    assert sorted(pages[0].tolist()) == list(range(chase.pages))
    zipf = Program(Workload.ZIPF, SMALL, 1 << 16).lines() // CACHE_LINES_PER_PAGE
    counts = np.bincount(zipf, minlength=4096)
    assert counts[0] == pytest.approx(10 * counts[9], rel=0.25)
    assert counts[:512].sum() > 0.6 * zipf.size
    strided = Program(Workload.STRIDED, SMALL, ACCESSES).lines()
    assert set(np.diff(strided)[np.diff(strided) > 0].tolist()) == {65}
    sequential = Program(Workload.SEQUENTIAL, SMALL, ACCESSES).lines().reshape(-1, 1024)
    assert (np.diff(sequential, axis=1) == 1).all()
    assert sequential[:, 0].tolist() == [0, 65536, 131072, 196608]


def test_a_short_memory_is_read_in_a_row_over_and_over():
    lines = Program(Workload.SEQUENTIAL, 2 * MIB, 1 << 17).lines()
    assert (lines == np.arange(1 << 17) % (2 * MIB // 64)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"footprint_bytes": 0},
        {"footprint_bytes": 3 * MIB},
        {"footprint_bytes": 1 << 40},
        {"accesses": 12},
        {"accesses": 0},
        {"seed": -1},
    ],
)
def test_programs_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError):
        Program(**{"workload": Workload.CHASE, "footprint_bytes": SMALL, **wrong})


@pytest.mark.parametrize("regions", [1, 4, 8, 32, 512])
def test_layouts_have_the_share_that_they_are_named_after(regions):
    found = layouts(regions)
    assert list(found)[:2] == ["4k", "2m"]
    for name, huge in found.items():
        share = {"4k": 0.0, "2m": 1.0}.get(name)
        if share is None:
            share = float(name.split("%")[0]) / 100
        assert huge.sum() == share * regions, name
    assert len({mask.tobytes() for mask in found.values()}) == len(found)
    if regions >= 32:
        assert len(found) == 2 + 4 * 4
        spread = np.flatnonzero(found["12.5%-spread"])
        assert set(np.diff(spread).tolist()) == {8}
        middle = np.flatnonzero(found["25%-middle"])
        assert middle[0] == regions - 1 - middle[-1]


def test_every_default_footprint_has_layouts_enough_for_every_model():
    needed = max(model.fewest_samples for model in RUNTIME_MODELS.values())
    for footprint in DEFAULT_FOOTPRINTS:
        assert len(layouts(footprint // PMD_BYTES)) > needed


# The probe


def test_kernels_of_programs_by_hand():
    words = np.arange(64, dtype=np.int64)
    lines = np.array([0, 3, 7, 3], dtype=np.int64)
    assert kernels.read_lines(words, lines) == 8 * (3 + 7 + 3) == sum(8 * lines)
    kernels.update_lines(words, lines)
    assert words[[0, 24, 56]].tolist() == [1, 26, 57]
    plain = np.arange(64, dtype=np.int64)
    kernels.update_lines.py_func(plain, lines)
    assert (plain == words).all()
    assert kernels.read_lines.py_func(words, lines) == kernels.read_lines(words, lines)
    assert len(kernels.read_lines.signatures) == len(kernels.update_lines.signatures) == 1


def test_a_chase_follows_the_lines_that_are_simulated():
    program = Program(Workload.CHASE, 2 * MIB, 512)
    words = np.zeros(2 * MIB // 8, dtype=np.uint64)
    probe._prepare(program, words)()
    place, seen = int(program.lines()[0]) * 8, []
    for _ in range(512):
        seen.append(place // 8)
        place = int(words[place])
    assert seen == program.lines().tolist()


def test_the_probe_keeps_every_repetition_and_its_file_comes_back(tmp_path, monkeypatch):
    wanted = []
    monkeypatch.setattr(probe, "huge_bytes", lambda _address, _size: wanted.pop(0))
    # As if the kernel had given every page that it was asked for; but none in the last layout.
    masks = [int(mask.sum()) * PMD_BYTES for mask in layouts(4).values()]
    wanted += 2 * [*masks[:-1], 0]
    steps = []
    found = probe.measure_runtimes(
        (8 * MIB,), accesses=64, repetitions=2, progress=lambda *step: steps.append(step)
    )
    names = list(layouts(4))
    assert {each.layout for each in found.times} == set(names[:-1])
    assert {each.workload for each in found.times} == set(Workload)
    assert all(len(each.repetitions_ns) == 4 for each in found.times)
    assert len(found.skipped) == 1
    assert names[-1] in found.skipped[0]
    assert steps[-1] == (2 * len(names), 2 * len(names))
    path = tmp_path / "host" / "runtime.json"
    save_runtimes(found, path)
    assert load_runtimes(path) == found
    with pytest.raises(InputError, match="never overwritten"):
        save_runtimes(found, path)


def test_the_probe_says_what_it_cannot_do(monkeypatch):
    monkeypatch.setattr(probe, "available_memory_bytes", lambda: 100 * MIB)
    with pytest.raises(CapabilityError, match=r"take .* of memory and .* are available"):
        probe.measure_runtimes((8 * MIB,))
    monkeypatch.setattr(probe, "available_memory_bytes", lambda: 1 << 40)
    monkeypatch.setattr(probe, "huge_bytes", lambda _address, _size: 1)
    with pytest.raises(CapabilityError, match="THPs instead of"):
        probe.measure_runtimes((2 * MIB,), accesses=8, repetitions=1)


# The study


def test_a_layout_is_simulated_as_a_program_that_repeats():
    # One line in each of 4096 pages: four times the STLB, all of it walked, and no line twice.
    program = Program(Workload.CHASE, SMALL, 4096)
    all_small, all_huge = (layouts(8)[name] for name in ("4k", "2m"))
    hits, misses, walk_ns, ns = study.simulate_layout(program, all_small, PLAIN)
    assert (hits, misses) == (0, 4096)
    assert walk_ns > 0
    assert study.simulate_layout(program, all_huge, PLAIN)[1] == 0
    half = study.simulate_layout(program, layouts(8)["50%-front"], PLAIN)
    # Its four huge pages are driven out of the STLB, too.
    assert half[1] == 2048 + 4
    assert study.simulate_layout(program, all_huge, PLAIN)[3] < half[3] < ns


def test_a_chase_does_not_overlap_and_others_do():
    mask = layouts(8)["4k"]
    for workload in (Workload.CHASE, Workload.UNIFORM):
        program = Program(workload, SMALL, ACCESSES)
        alone, many = (
            study.simulate_layout(program, mask, PLAIN, overlap=overlap)[3] for overlap in (1, 8)
        )
        assert (alone == many) == (workload is Workload.CHASE)


def test_an_update_is_a_load_and_a_store():
    mask = layouts(8)["4k"]
    read, update = (
        study.simulate_layout(Program(w, SMALL, ACCESSES), mask, PLAIN, overlap=1)[3]
        for w in (Workload.UNIFORM, Workload.UPDATE)
    )
    assert update > read


def measured(runtime=None, **more):
    """Runs of two programs; by default an access costs 5 ns and as much again on small pages."""
    times = []
    for workload in (Workload.UNIFORM, Workload.CHASE):
        for name, huge in layouts(SMALL // PMD_BYTES).items():
            ns = ACCESSES * 5 * (2 - huge.mean()) if runtime is None else runtime(workload, huge)
            times.append(
                LayoutTimes(
                    workload=workload.value,
                    footprint_bytes=SMALL,
                    layout=name,
                    repetitions_ns=(ns,) * 4,
                    reference_ns=(9.0,) * 4,
                )
            )
    given = {
        "host": {
            "virtualisation": "bare metal",
            "cpu_vendor": "AuthenticAMD",
            "cpu_family": 25,
            "cpu_model": 1,
        },
        "started": "2026-01-01T00:00",
        "accesses": ACCESSES,
        "seed": 1,
        "times": tuple(times),
    }
    return RuntimeMeasurement(**given | more)


ZEN3 = attrs.evolve(load_machine("amd-zen3"), translation=PLAIN)


@pytest.fixture(scope="module")
def programs():
    return study.compare_programs(measured(), ZEN3, overlap=1)


def test_measured_runtimes_become_cycles_beside_their_metrics(programs):
    assert [program.workload for program in programs] == [Workload.UNIFORM, Workload.CHASE]
    ghz = study.clock_ghz(PLAIN)
    assert ghz == pytest.approx(7 / PLAIN.stlb_hit_ns.value)
    for program in programs:
        assert program.samples.layout == tuple(layouts(8))
        assert program.samples.runtime_cycles[0] == pytest.approx(ACCESSES * 10 * ghz)
        # What more huge pages do to misses.
        assert program.samples.stlb_misses[0] > program.samples.stlb_misses[1]
        assert len(program.mixed) == len(program.samples.layout) - 2


def test_threads_change_nothing(programs):
    again = study.compare_programs(measured(), ZEN3, overlap=1, threads=3)
    for one, other in zip(programs, again, strict=True):
        assert one.to_json() == other.to_json()


def test_a_prediction_that_comes_true_has_no_errors(programs):
    own = [
        attrs.evolve(
            program,
            samples=attrs.evolve(program.samples, runtime_cycles=program.predicted_cycles),
        )
        for program in programs
    ]
    rows = {row.model: row for row in study.judge_models(own).rows}
    assert rows[study.OWN_MODEL].worst == 0
    assert rows[study.SCALED_MODEL].worst == pytest.approx(0)
    assert rows[study.LINE_MODEL].worst == pytest.approx(0)
    assert rows[study.CONSTANT_MODEL].worst > 0.05
    # Without overlap, runtime is a line over walk cycles and STLB hits.
    assert rows["linear"].worst < 0.05


def test_scale_is_all_that_one_layout_gives(programs):
    doubled = [
        attrs.evolve(
            program,
            samples=attrs.evolve(program.samples, runtime_cycles=2 * program.predicted_cycles),
        )
        for program in programs
    ]
    rows = {row.model: row for row in study.judge_models(doubled).rows}
    assert rows[study.OWN_MODEL].errors == pytest.approx(-0.5)
    assert rows[study.SCALED_MODEL].errors == pytest.approx(0)
    assert rows[study.LINE_MODEL].errors == pytest.approx(0)


def test_rows_say_what_was_worst_and_who_could_not_be_fitted(programs):
    rows = {row.model: row for row in study.judge_models(programs).rows}
    assert set(rows) == {
        study.CONSTANT_MODEL,
        *RUNTIME_MODELS,
        study.OWN_MODEL,
        study.SCALED_MODEL,
        study.LINE_MODEL,
    }
    constant = rows[study.CONSTANT_MODEL]
    # With three quarters in huge pages an access costs 6.25 ns instead of 10.
    assert constant.worst == pytest.approx(10 / 6.25 - 1)
    assert "75%" in constant.worst_label
    assert constant.errors.size == sum(len(program.mixed) for program in programs)
    assert constant.of(Workload.ZIPF).size == 0
    none = [
        attrs.evolve(
            p, samples=attrs.evolve(p.samples, walk_cycles=np.zeros(len(p.samples.layout)))
        )
        for p in programs
    ]
    judgement = study.judge_models([programs[0], none[1]])
    assert list(judgement.left_out) == ["chase 16 MiB"]
    assert "yaniv" in judgement.left_out["chase 16 MiB"]
    assert {len(row.errors) for row in judgement.rows} == {len(programs[0].mixed)}
    assert study.judge_models(none).rows == ()


def test_a_second_run_says_how_well_the_first_repeats(programs):
    slower = measured(lambda _, huge: ACCESSES * 5.5 * (2 - huge.mean()))
    noise, scaled = study.judge_models(programs, [slower]).rows[-2:]
    assert (noise.model, scaled.model) == (study.REPEATED, study.REPEATED_SCALED)
    assert scaled.errors == pytest.approx(0)
    assert noise.errors == pytest.approx(0.1)
    assert noise.errors.size == sum(len(program.mixed) for program in programs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"workload": "quicksort"}, "is no workload"),
        ({"layout": "33%-front"}, "is no layout of 8 regions"),
        ({"footprint_bytes": 5}, "must be a multiple"),
    ],
)
def test_runs_that_nobody_can_simulate_are_refused(change, said):
    run = measured()
    times = tuple(
        attrs.evolve(each, **change) if each.layout == "25%-back" or "foot" in str(change) else each
        for each in run.times
        if each.workload == "uniform"
    )
    with pytest.raises(InputError, match=said):
        study.compare_programs(attrs.evolve(run, times=times), ZEN3)


def test_a_run_without_both_ends_is_refused():
    run = measured()
    times = tuple(each for each in run.times if each.layout != "2m")
    with pytest.raises(InputError, match="no program with 4k, 2m"):
        study.compare_programs(attrs.evolve(run, times=times), ZEN3)


# The command and its files


def test_runtime_judges_models_by_evidence(capsys, tmp_path):
    path, again, folder = tmp_path / "runtime.json", tmp_path / "again.json", tmp_path / "report"
    save_runtimes(measured(), path)
    save_runtimes(measured(lambda _, huge: ACCESSES * 6 * (2 - huge.mean())), again)
    arguments = ["runtime", "amd-zen3", "--evidence", str(path), "--evidence", str(again)]
    document = call_json(capsys, *arguments)
    rows = {row["model"]: row for row in document["models"]}
    assert rows["measured again"]["median_abs_error"] == pytest.approx(0.2)
    assert rows["constant"]["max_abs_error"] == pytest.approx(0.6)
    assert document["machine"] == "amd-zen3"
    assert document["host_page_size"] is None
    assert len(document["programs"]) == 2
    status, output, _ = call(capsys, *arguments, "--report", str(folder))
    assert status == 0
    assert "simulated on amd-zen3" in output
    assert (folder / "runtime.svg").read_bytes().startswith(b"<?xml")
    written = json.loads((folder / "runtime.json").read_text())
    for made in (written, document):
        del made["provenance"]["created"], made["command"]
    assert written == document


def test_the_shipped_runs_are_found():
    files = measured_files("runtime")
    assert len(files) >= 2
    assert measured_files("nothing-of-that-name") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pdp11"], "machine: 'pdp11' is neither"),
        (["--measure", "--evidence", "x.json"], "choose one of --measure and --evidence"),
        (["--save-evidence", "new.json"], "--save-evidence: needs --measure"),
        (["--repetitions", "0"], "--repetitions: must be from 1 to 1000"),
        (["--overlap", "0"], "--overlap: must be from 1 to 64"),
        (["--evidence", "no-such.json"], "no-such.json: cannot be read"),
    ],
)
def test_wrong_input_gets_one_clear_line(capsys, arguments, said):
    status, output, errors = call(capsys, "runtime", *arguments)
    assert (status, output) == (2, "")
    assert len(errors.splitlines()) == 1
    assert said in errors


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "x"}, "is no file of perfmodel-runtime"),
        ({"version": 9}, "version: must be 1"),
        ({"measurement": {}}, "measurement.times: is missing"),
    ],
)
def test_evidence_of_another_kind_is_refused(tmp_path, change, said):
    path = tmp_path / "runtime.json"
    save_runtimes(measured(), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=said):
        load_runtimes(path)


def test_a_layout_twice_is_refused():
    run = measured()
    with pytest.raises(ValueError, match="twice"):
        attrs.evolve(run, times=(*run.times, run.times[0]))
