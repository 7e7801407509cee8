"""The command line as a user meets it: exit status, one clear line, nothing else on stdout."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perfmodel.cli.main import main

GOOD_SCENARIO = """
name = "small"
description = "two THPs"
[region]
size = "4 MiB"
content = "half-random"
[[steps]]
name = "fill"
action = "fill"
[[steps]]
name = "pageout"
action = "pageout"
[[steps]]
name = "touch"
action = "touch"
"""


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    output, errors = capsys.readouterr()
    return int(end.value.code or 0), output, errors


def call_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    status, output, errors = call(capsys, *arguments, "--json")
    assert status == 0, errors
    return json.loads(output)


@pytest.fixture
def small(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(GOOD_SCENARIO)
    return str(path)


def test_simulate_json_has_the_keys_of_the_contract(
    capsys: pytest.CaptureFixture[str], small: str
) -> None:
    document = call_json(capsys, "simulate", small, "--machine", "amd-zen3", "--entry", "pmd")
    assert {"scenario", "machine", "device", "entry", "provenance", "steps", "mapping"} <= set(
        document
    )
    assert document["machine"] == "amd-zen3"
    for step in document["steps"]:
        assert {"name", "elapsed_ns", "interval_ns", "counters", "breakdown_ns"} <= set(step)
        assert all(type(count) is int for count in step["counters"].values())
        assert len(step["interval_ns"]) == 2
    assert set(document["mapping"]) == {
        "pmd_mapped_bytes",
        "pte_mapped_bytes",
        "pmd_swap_entries",
        "pte_swap_entries",
        "page_table_bytes",
    }


def test_compare_json_has_the_keys_of_the_contract(
    capsys: pytest.CaptureFixture[str], small: str
) -> None:
    document = call_json(capsys, "compare", small, "--entries", "pte,mthp-64k,pmd")
    assert list(document["arms"]) == ["pte", "mthp-64k", "pmd"]
    assert {"per_2mib_ns", "interval_ns", "ratio"} <= set(document["fallback"])
    assert "measured" not in document


def test_same_seed_prints_the_same_json(capsys: pytest.CaptureFixture[str], small: str) -> None:
    documents = [
        call_json(capsys, "compare", small, "--order9-failure", "0.5", "--seed", seed)
        for seed in ("7", "7", "8")
    ]
    for document in documents:
        del document["provenance"]["created"]
        for arm in document["arms"].values():
            del arm["provenance"]["created"]
    assert json.dumps(documents[0]) == json.dumps(documents[1])
    assert documents[0] != documents[2]


def test_scenario_parameter_reaches_the_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    document = call_json(capsys, "simulate", "thp-sparse-touch", "--parameter", "pages_touched=3")
    assert document["steps"][2]["counters"]["pgmajfault"] == 3 * 32


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["simulate", "no-such"],
            "'no-such' is neither installed nor a path; ",
        ),
        (["simulate", "no/such.toml"], "no/such.toml: cannot be read: No such file"),
        (["simulate", "thp-roundtrip", "--machine", "pdp11"], "machine: 'pdp11' is neither"),
        (["simulate", "thp-roundtrip", "--device", "tape"], "device: 'tape' is neither"),
        (["simulate", "thp-roundtrip", "--entry", "pud"], "entry: 'pud' is not an entry"),
        (["simulate", "thp-roundtrip", "--entry", "shmem-pmd"], "its prediction is pmd"),
        (["simulate", "thp-roundtrip", "--seed", "-1"], "seed: must be a whole number"),
        (["simulate", "thp-roundtrip", "--seed", "x"], "unable to convert"),
        (["simulate", "thp-roundtrip", "--draws", "0"], "draws: must be a whole number"),
        (["simulate", "thp-roundtrip", "--order9-failure", "nan"], "probability from 0 to 1"),
        (["simulate", "thp-roundtrip", "--order9-failure", "-0.1"], "probability from 0 to 1"),
        (["simulate", "thp-roundtrip", "--parameter", "k=1"], "k: is no parameter"),
        (["simulate", "thp-sparse-touch", "--parameter", "pages_touched=x"], "name=value"),
        (["simulate"], "requires an argument"),
        (["simulate", "thp-roundtrip", "--bogus"], "--bogus"),
        (["bogus"], 'Unknown command "bogus"'),
        (["compare", "--entries", ""], "entries: name at least one"),
        (["compare", "--entries", "pte,zzz"], "'zzz' is not an entry"),
        (["compare", "--measured", "maybe"], '"maybe"'),
        (["measure", "thp-roundtrip", "--entry", "pud"], "'pud' is not an entry"),
        (["measure", "thp-roundtrip", "--entry", "pmd-lazy"], "exists only in the model"),
        (["measure", "thp-roundtrip", "--repetitions", "1"], "from 3 to 1000"),
        (["show", "nothing"], "'nothing' is not installed"),
        (["calibrate", "--evidence", "no-such.json"], "no-such.json: cannot be read"),
        (["validate", "--scenarios", "no-such-folder"], "is no folder"),
    ],
)
def test_wrong_input_gets_one_clear_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    status, output, errors = call(capsys, *arguments)
    assert status == 2
    assert output == ""
    lines = [line for line in errors.splitlines() if "no profile for this processor" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("perfmodel: ")
    assert said in lines[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD_SCENARIO.replace("4 MiB", "3 MiB"), "region.size: must be a multiple of 2 MiB"),
        (GOOD_SCENARIO.replace("4 MiB", "4 parsec"), "region.size: unit 'parsec' does not fit"),
        (GOOD_SCENARIO.replace('"half-random"', '"noise"'), "region.content: must be one of"),
        (GOOD_SCENARIO + "bogus = 1\n", "steps[2].bogus: is not known here"),
        (GOOD_SCENARIO + "pages_per_2mib = -4\n", "steps[2].pages_per_2mib: must be a whole"),
        (GOOD_SCENARIO + "pages_per_2mib = nan\n", "steps[2].pages_per_2mib: must be a whole"),
        (GOOD_SCENARIO.replace('name = "small"\n', ""), "name: is missing"),
        (GOOD_SCENARIO[:70], "is not valid TOML"),
        ("", "name: is missing"),
    ],
)
def test_every_line_names_the_file_and_the_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    status, output, errors = call(capsys, "simulate", str(path), "--machine", "amd-zen3")
    assert status == 2
    assert output == ""
    assert any(line.startswith(f"perfmodel: {path}: {said}") for line in errors.splitlines())
    assert all(line.startswith(f"perfmodel: {path}: ") for line in errors.splitlines())


def test_scenario_larger_than_memory_gets_status_3(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "huge.toml"
    path.write_text(GOOD_SCENARIO.replace("4 MiB", "128 TiB"))
    for command in ("simulate", "measure"):
        status, output, errors = call(capsys, command, str(path))
        assert status == 3
        assert output == ""
        assert "too large for this machine" in errors


def test_truncated_evidence_gets_one_clear_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "evidence.json"
    path.write_text('{"format": "perfmodel-measurements", "version": 1, "results": [{"scen')
    status, _, errors = call(capsys, "calibrate", "--evidence", str(path))
    assert status == 2
    assert f"{path}: is not valid JSON, or not all of it" in errors


def test_report_that_cannot_be_written_gets_status_2(
    capsys: pytest.CaptureFixture[str], small: str, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    status, _, errors = call(capsys, "compare", small, "--report", str(blocked))
    assert status == 2
    assert "--report" in errors


def test_reader_that_leaves_early_causes_no_noise(small: str) -> None:
    command = f"{sys.executable} -m perfmodel compare {small} --json | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_doctor_answers_anybody(capsys: pytest.CaptureFixture[str]) -> None:
    document = call_json(capsys, "doctor")
    assert {"host", "capabilities", "measurable_entries"} <= set(document)
    assert os.uname().nodename not in json.dumps(document["host"])
    status, output, _ = call(capsys, "doctor")
    assert status == 0
    assert "can be measured here" in output


def test_show_lists_and_shows_sources(capsys: pytest.CaptureFixture[str]) -> None:
    _, output, _ = call(capsys, "show")
    assert all(name in output for name in ("amd-zen3", "zram-lz4", "thp-roundtrip"))
    _, output, _ = call(capsys, "show", "amd-zen3")
    assert "stlb_hit_ns" in output
    assert "assumed" in output
    assert "InstLatx64" in output


def test_show_prints_only_what_differs_from_the_defaults(
    capsys: pytest.CaptureFixture[str], small: str
) -> None:
    _, output, _ = call(capsys, "show", small)
    assert "page_cluster" not in output
    assert "process" not in output
    path = Path(small)
    text = GOOD_SCENARIO.replace('name = "touch"\naction = "touch"', 'name = "f"\naction = "fork"')
    text += '[[steps]]\nname = "touch"\naction = "touch"\nprocess = 1\n'
    path.write_text(text + "[settings]\npage_cluster = 5\n")
    _, output, _ = call(capsys, "show", small)
    assert "name touch, action touch, process 1" in output
    assert output.split("page_cluster")[1].split()[0] == "5"
    assert call_json(capsys, "show", small)["settings"]["page_cluster"] == 5


def test_show_mechanism_has_every_caller(capsys: pytest.CaptureFixture[str]) -> None:
    from perfmodel.specs.callers import CALLERS

    rows = call_json(capsys, "show", "mechanism")
    assert list(dict.fromkeys(row["caller"] for row in rows)) == [c.name for c in CALLERS]
    status, output, _ = call(capsys, "show", "mechanism")
    assert status == 0
    assert all(caller.name.split()[0].strip(",") in output for caller in CALLERS)


def test_simulate_says_fallbacks_and_lock_holds(
    capsys: pytest.CaptureFixture[str], small: str
) -> None:
    status, output, _ = call(capsys, "simulate", small, "--entry", "pmd", "--order9-failure", "1")
    assert status == 0
    assert "fell back to PTEs: no order9 page 2" in output
    assert "lock holds: " in output
    status, output, _ = call(capsys, "compare", small, "--entries", "pte,pmd")
    assert "Longest lock holds" in output
    assert all(len(line) <= 100 for line in output.splitlines())


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["compare", "--help"], ["--version"]):
        status, output, _ = call(capsys, *arguments)
        assert status == 0
        assert output.strip()
