"""Whatever a file of evidence holds, its loader yields a measurement or clear printable lines."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perfmodel.errors import InputError
from perfmodel.results.chase import ChaseMeasurement, ChasePoint, load_chase, save_chase
from perfmodel.results.requests import (
    Operation,
    RequestPoint,
    RequestsMeasurement,
    load_requests,
    save_requests,
)
from perfmodel.results.result import Result, StepResult
from perfmodel.results.runtime import (
    LayoutTimes,
    RuntimeMeasurement,
    load_runtimes,
    save_runtimes,
)
from perfmodel.results.shootdown import (
    Change,
    Remote,
    ShootdownMeasurement,
    ShootdownPoint,
    load_shootdowns,
    save_shootdowns,
)
from perfmodel.results.store import Measurements, load_evidence, save_measurements
from perfmodel.specs.translation import PageSize
from perfmodel.studies.shootdown import flush_rows, take_apart
from tests.hardware import shootdown
from tests.property.test_loaders import assert_clear, mutate, places

HOST = {"virtualisation": "guest", "cpu_family": 6}
TIMES = {"repetitions_ns": (3.0, 2.0), "reference_ns": (1.0, 1.0)}
COMMON: dict[str, Any] = {"host": HOST, "started": "2026-01-01T00:00"}
LOADERS = {
    "chase": (load_chase, ChaseMeasurement),
    "shootdown": (load_shootdowns, ShootdownMeasurement),
    "runtime": (load_runtimes, RuntimeMeasurement),
    "requests": (load_requests, RequestsMeasurement),
    "measurements": (load_evidence, Measurements),
}


def measured(entry: str, pswpin: int) -> Result:
    step = StepResult(
        name="touch",
        elapsed_ns=2.5,
        interval_ns=(1.0, 3.0),
        counters={"pswpin": pswpin, "pgfault": 0},
        repetitions_ns=(2.0, 3.5),
        unstable_counters=("pswpin",),
    )
    return Result(
        scenario="trip",
        machine="this machine",
        device="zram-lz4",
        entry=entry,
        regions=1,
        steps=(step,),
        mapping={"swap_entries": None},
        provenance={"world": "measured", "host": HOST, "entry": entry},
        reference_ns={"kernel": ((1.0, 2.0), (3.0, 4.0))},
    )


def write_valid(kind: str, path: Path) -> None:
    if kind == "chase":
        chase = ChasePoint(pages=16, page_size=PageSize.SIZE_4K, loads=16, **TIMES)
        save_chase(ChaseMeasurement(points=(chase,), **COMMON), path)
    elif kind == "shootdown":
        points = tuple(
            ShootdownPoint(
                change=change,
                remote=remote,
                pages=pages,
                turns=2,
                interrupts=(0, 4),
                responder_turns=(7, 8),
                **TIMES,
            )
            for change, pages in ((Change.PROTECT, 1), (Change.NOTHING, 1), (Change.DROP, 1))
            for remote in Remote
        )
        save_shootdowns(ShootdownMeasurement(points=points, **COMMON), path)
    elif kind == "requests":
        point = RequestPoint(
            device="ram-disk",
            operation=Operation.READ,
            request_bytes=4096,
            depth=2,
            latencies_ns=(5.0, 6.0, 7.5),
            requests=(1, 2),
            rounds_ns=(6.0, 8.0),
            reference_ns=(1.0, 1.0),
        )
        save_requests(RequestsMeasurement(points=(point,), overhead_ns=1.5, **COMMON), path)
    elif kind == "measurements":
        save_measurements(
            [measured("pte", 3), measured("mthp-64k", 0)],
            path,
            setup={"kernel": "6.18"},
            missing=["not measured"],
        )
    else:
        times = tuple(
            LayoutTimes(workload="chase", footprint_bytes=1 << 23, layout=layout, **TIMES)
            for layout in ("4k", "2m", "50%-front")
        )
        save_runtimes(RuntimeMeasurement(accesses=64, seed=1, times=times, **COMMON), path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A valid document of each kind, and a file to write changed ones to."""
    folder = tmp_path_factory.mktemp("evidence")
    for kind in LOADERS:
        write_valid(kind, folder / f"{kind}.json")
    return {kind: json.loads((folder / f"{kind}.json").read_text()) for kind in LOADERS}, folder


def assert_measurement_or_input_error(kind: str, path: Path) -> Any:
    load, result = LOADERS[kind]
    try:
        found = load(path)
    except InputError as error:
        assert_clear(error, str(path))
        return None
    assert isinstance(found, result)
    return found


@pytest.mark.parametrize("kind", LOADERS)
@given(content=st.binary(max_size=200))
@example(content=b"")
@example(content=b"[" * 100_000)
@example(content=b'{"format": "perfmodel-shootdown", "version": 1}')
@example(content=b'{"format": "perfmodel-runtime", "version": 1, "measurement": []}')
def test_any_bytes(kind, content, files):
    path = files[1] / "bytes.json"
    path.write_bytes(content)
    assert_measurement_or_input_error(kind, path)


@pytest.mark.parametrize("kind", LOADERS)
@settings(max_examples=150)
@given(data=st.data())
def test_mutated_evidence(kind, data, files):
    documents, folder = files
    document = copy.deepcopy(documents[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        if places(document):
            mutate(data.draw, document)
    path = folder / "mutated.json"
    try:
        path.write_text(json.dumps(document))
    except (TypeError, ValueError):  # a value that TOML has and JSON has not
        return
    found = assert_measurement_or_input_error(kind, path)
    if kind == "shootdown" and found is not None:
        # What loads can be taken apart, or says what it lacks.
        found.warnings()
        try:
            take_apart(found)
            flush_rows(found, shootdown())
        except InputError as error:
            assert_clear(error)


@pytest.mark.parametrize("kind", LOADERS)
def test_every_cut_of_evidence_is_refused_in_one_line(kind, files):
    documents, folder = files
    whole = json.dumps(documents[kind]).encode()
    path = folder / "cut.json"
    for length in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError) as caught:
            LOADERS[kind][0](path)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", LOADERS)
def test_evidence_of_another_kind_is_refused(kind, files, tmp_path):
    for other in set(LOADERS) - {kind}:
        path = tmp_path / "other.json"
        path.write_text(json.dumps(files[0][other]))
        with pytest.raises(InputError, match=f"is no file of perfmodel-{kind}"):
            LOADERS[kind][0](path)


def test_what_results_share_comes_back(files):
    loaded = load_evidence(files[1] / "measurements.json")
    assert loaded.results == (measured("pte", 3), measured("mthp-64k", 0))
    assert loaded.setup == {"kernel": "6.18"}
    assert loaded.missing == ("not measured",)
    document = files[0]["measurements"]
    assert set(document["provenance"]) == {"world", "host"}
    assert document["counters"] == ["pgfault", "pswpin"]
    assert [r["steps"][0]["counters"] for r in document["results"]] == [{"pswpin": 3}, {}]


@pytest.mark.parametrize("pairs", [[], [[1, 2]], [[1, 2], [0, 1]], [[1, 2], [3]]])
def test_reference_loops_belong_to_repetitions(files, pairs):
    document = copy.deepcopy(files[0]["measurements"])
    document["results"][0]["reference_ns"]["kernel"] = pairs
    path = files[1] / "pairs.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="reference_ns"):
        load_evidence(path)
