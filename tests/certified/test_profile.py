"""Shipped profiles are what the committed evidence says, and predictions are judged by the rest."""

import hashlib
import json
from pathlib import Path

import pytest

from perfmodel.calibrate.fit import OVERHEADS
from perfmodel.calibrate.profile import build_profile, fit_arms, fit_evidence, write_profile
from perfmodel.constants import PMD_BYTES
from perfmodel.errors import InputError
from perfmodel.results.requests import load_requests
from perfmodel.results.result import Result
from perfmodel.results.runtime import load_runtimes
from perfmodel.results.shootdown import Remote, load_shootdowns
from perfmodel.results.store import (
    load_evidence,
    load_measurements,
    measured_scenario,
    save_measurements,
)
from perfmodel.results.zram import load_zram
from perfmodel.specs.catalog import load_machine, load_problem, load_scenario, names
from perfmodel.specs.io import to_table
from perfmodel.studies.runtime_workloads import DEFAULT_FOOTPRINTS, Workload, layouts

ROOT = Path(__file__).parents[2]
PROFILES = sorted((ROOT / "calibration" / "profiles").glob("*.toml"))
MEASURED = ROOT / "calibration" / "measured"


def by_name(path: Path) -> str:
    return path.stem


def evidence_of(profile: Path) -> list[Path]:
    fit = load_machine(profile).fit
    assert fit is not None
    return [MEASURED / profile.stem / evidence.file for evidence in fit.evidence]


def shootdowns_of(profile: Path) -> list[Path]:
    fit = load_machine(profile).fit
    assert fit is not None
    return [MEASURED / profile.stem / evidence.file for evidence in fit.shootdown_evidence]


def leaves(table: object, path: str = "") -> dict[str, object]:
    if isinstance(table, dict):
        pairs = table.items()
    elif isinstance(table, list):
        pairs = enumerate(table)
    else:
        return {path: table}
    found: dict[str, object] = {}
    for key, value in pairs:
        found |= leaves(value, f"{path}.{key}")
    return found


def test_a_fitted_profile_is_shipped() -> None:
    assert PROFILES


@pytest.mark.parametrize("path", PROFILES, ids=by_name)
def test_evidence_is_unchanged(path: Path) -> None:
    fit = load_machine(path).fit
    assert fit is not None
    named = (*fit.evidence, *fit.shootdown_evidence)
    for evidence, file in zip(named, evidence_of(path) + shootdowns_of(path), strict=True):
        assert hashlib.sha256(file.read_bytes()).hexdigest() == evidence.sha256


@pytest.mark.parametrize("path", PROFILES, ids=by_name)
def test_profile_is_rebuilt_from_its_evidence_figure_for_figure(path: Path, tmp_path: Path) -> None:
    rebuilt, _ = build_profile(evidence_of(path), name=path.stem, shootdowns=shootdowns_of(path))
    write_profile(rebuilt, tmp_path / "rebuilt.toml")
    wanted = leaves(to_table(load_machine(path)))
    found = leaves(to_table(load_machine(tmp_path / "rebuilt.toml")))
    assert list(found) == list(wanted)
    for key, value in wanted.items():
        # Another linear algebra library may round the sixth digit the other way.
        close = pytest.approx(value, rel=1e-4, abs=1e-4) if isinstance(value, float) else value
        assert found[key] == close, key


@pytest.mark.parametrize("path", PROFILES, ids=by_name)
def test_fit_has_seen_pte_and_two_mthp_sizes_only(path: Path) -> None:
    machine = load_machine(path)
    fit = machine.fit
    assert fit is not None
    problem = load_problem(fit.problem)
    assert [(arm.scenario, arm.entry) for arm in fit.arms] == fit_arms(problem)
    entries = {entry for _, entry in fit_arms(problem)}
    assert "pte" in entries
    assert "shmem-pmd" not in entries
    assert len(entries) == 3
    assert fit_evidence(machine) == evidence_of(path)
    assert all(not load_scenario(arm.scenario).held_out for arm in fit.arms)
    for file in evidence_of(path):
        assert {result.entry for result in load_measurements(file)} <= entries


@pytest.mark.parametrize("path", PROFILES, ids=by_name)
def test_profile_intervals_hold_the_prices(path: Path) -> None:
    machine = load_machine(path)
    fit = machine.fit
    assert fit is not None
    assert len(fit.lower_ns) == len(fit.upper_ns) == len(fit.parameters)
    owners = {"kernel": machine.kernel, "cpu": machine.cpu, "translation": machine.translation}
    owners |= {f"devices.{name}": device for name, device in machine.devices.items()}
    for name, low, high in zip(fit.parameters, fit.lower_ns, fit.upper_ns, strict=True):
        owner, _, field = name.rpartition(".")
        found = fit.overheads[field] if owner == OVERHEADS else getattr(owners[owner], field)
        assert 0 <= low <= found.value <= high, name


HOST_FACTS = {
    "cpu_vendor",
    "cpu_family",
    "cpu_model",
    "cpu_name",
    "cpus",
    "virtualisation",
    "kernel",
    "architecture",
    "memory_gib",
}
CHASES = sorted([*MEASURED.rglob("*-chase-*.json"), *MEASURED.rglob("*-chase.json")])
SHOOTDOWNS = sorted([*MEASURED.rglob("*-shootdown-*.json"), *MEASURED.rglob("*-shootdown.json")])
RUNTIMES = sorted(MEASURED.rglob("*-runtime-*.json"))
# Of zram itself and of codec libraries; other tests are about them.
OTHERS = [path for kind in ("zram", "user") for path in MEASURED.rglob(f"*-{kind}-*.json")]
# What the programs of a plan leave beside the scenarios of a run.
CODECS = sorted(MEASURED.rglob("*-codec.json"))
REQUESTS = sorted(MEASURED.rglob("*-requests.json"))
OTHERS += [*CODECS, *REQUESTS]
SCENARIOS = sorted(set(MEASURED.rglob("*.json")) - {*CHASES, *SHOOTDOWNS, *RUNTIMES, *OTHERS})


@pytest.mark.parametrize("file", SCENARIOS, ids=by_name)
def test_evidence_names_no_host_and_keeps_all_repetitions(file: Path) -> None:
    evidence = load_evidence(file)
    assert not any("/" in value for value in evidence.setup.values())
    for result in evidence.results:
        assert set(result.provenance["host"]) == HOST_FACTS
        for step in result.steps:
            assert len(step.repetitions_ns) == result.provenance["repetitions"]
        for pairs in result.reference_ns.values():
            assert len(pairs) == result.provenance["repetitions"]


@pytest.mark.parametrize("file", CODECS, ids=by_name)
def test_codec_times_name_no_host(file: Path) -> None:
    measurement = load_zram(file)
    assert set(measurement.host) == HOST_FACTS
    assert all(len(timing.write_ns) >= 20 for timing in measurement.timings)


@pytest.mark.parametrize("file", REQUESTS, ids=by_name)
def test_requests_name_no_host_and_grow_slower_with_depth(file: Path) -> None:
    measurement = load_requests(file)
    assert set(measurement.host) == HOST_FACTS
    assert measurement.skipped == ()
    by_depth: dict[tuple[str, str, int], dict[int, float]] = {}
    for point in measurement.points:
        key = (point.device, point.operation, point.request_bytes)
        by_depth.setdefault(key, {})[point.depth] = point.ns()
    assert all(latencies[32] > latencies[1] for latencies in by_depth.values())


@pytest.mark.parametrize("file", CHASES, ids=by_name)
def test_chases_name_no_host_and_keep_all_repetitions(file: Path) -> None:
    measurement = json.loads(file.read_text())["measurement"]
    assert set(measurement["host"]) == HOST_FACTS
    for point in measurement["points"]:
        # A large working set gets fewer turns in its time, each with a reference loop beside it.
        assert len(point["repetitions_ns"]) == len(point["reference_ns"]) >= 20


@pytest.mark.parametrize("file", SHOOTDOWNS, ids=by_name)
def test_shootdowns_name_no_host_and_count_their_interrupts(file: Path) -> None:
    measurement = load_shootdowns(file)
    assert set(measurement.host) == HOST_FACTS
    for point in measurement.points:
        assert len(point.repetitions_ns) == len(point.interrupts) >= 20
        # An idle CPU is in lazy TLB mode: nobody interrupts it. A rare one may come all the same.
        if point.remote is not Remote.BUSY:
            assert sum(point.interrupts) <= 0.02 * max(point.flushes, 1) * len(point.interrupts)
        else:
            assert point.count() >= 10


@pytest.mark.parametrize("file", RUNTIMES, ids=by_name)
def test_runtimes_name_no_host_and_keep_all_repetitions(file: Path) -> None:
    measurement = load_runtimes(file)
    assert set(measurement.host) == HOST_FACTS
    assert measurement.skipped == ()
    known = {
        (workload.value, footprint, name)
        for workload in Workload
        for footprint in DEFAULT_FOOTPRINTS
        for name in layouts(footprint // PMD_BYTES)
    }
    assert {(t.workload, t.footprint_bytes, t.layout) for t in measurement.times} == known
    assert all(len(t.repetitions_ns) == len(t.reference_ns) >= 10 for t in measurement.times)


def test_the_default_machine_is_a_fitted_one() -> None:
    assert any(load_machine(name).fit for name in names("machine"))


# Files of measurements


@pytest.fixture
def results() -> list[Result]:
    return load_measurements(SCENARIOS[0])


def test_measurements_are_read_back_as_they_were(results: list[Result], tmp_path: Path) -> None:
    path = tmp_path / "copy.json"
    save_measurements(results, path)
    assert load_measurements(path) == results
    assert measured_scenario(results[0]).does_the_same_as(load_scenario(results[0].scenario))


def test_measurements_are_never_overwritten(results: list[Result], tmp_path: Path) -> None:
    path = tmp_path / "copy.json"
    path.write_text("precious")
    with pytest.raises(InputError, match="never overwritten"):
        save_measurements(results, path)
    assert path.read_text() == "precious"


def test_every_cut_of_a_file_is_refused_in_one_line(results: list[Result], tmp_path: Path) -> None:
    path = tmp_path / "whole.json"
    save_measurements(results[:1], path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 2, len(whole) // 40):
        cut = tmp_path / "cut.json"
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError) as caught:
            load_measurements(cut)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "is no file of perfmodel-measurements"),
        ({"version": 99}, "version: must be 2"),
        ({"results": 3}, "results: must be a list"),
        ({"extra": 3}, "extra: is not known here"),
    ],
)
def test_foreign_files_are_refused(
    results: list[Result], tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = tmp_path / "file.json"
    save_measurements(results[:1], path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=said):
        load_measurements(path)


def test_evidence_of_two_hosts_is_not_mixed(results: list[Result], tmp_path: Path) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        save_measurements(results, file)
    document = json.loads(files[1].read_text())
    document["provenance"]["host"]["cpu_model"] += 1
    files[1].write_text(json.dumps(document))
    with pytest.raises(InputError, match="another host than in the rest"):
        build_profile(files, name="mixed")
