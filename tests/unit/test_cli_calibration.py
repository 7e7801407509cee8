"""Commands about calibration, as a user types them."""

import json
from pathlib import Path

import pytest

from perfmodel.cli.main import main
from tests.certified.fit_helpers import MEASURED

PROFILE = "intel-emerald-rapids-guest"
EVIDENCE = MEASURED / PROFILE / "2026-11-22-validation-1.json"


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        status = main(list(arguments))
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    return int(status or 0), captured.out, captured.err


def test_influence_is_told_in_words_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "show", PROFILE, "--influence", "--json")
    assert status == 0
    document = json.loads(out)
    assert document["scenario"] == "thp-roundtrip"
    assert document["numbers"][0]["share"] >= document["numbers"][-1]["share"]
    status, out, _ = call(
        capsys, "show", "amd-zen3", "--influence", "--scenario", "thp-zero-roundtrip"
    )
    assert status == 0
    assert "falling back to PTEs costs" in out


def test_two_profiles_are_set_beside_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "show", PROFILE, "--agreement", PROFILE)
    assert status == 0
    assert "100% of all" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", PROFILE, "--influence", "--agreement", PROFILE], "choose one of"),
        (["show", PROFILE, "--agreement", "amd-zen3"], "is no fitted profile"),
        (["show", PROFILE, "--influence", "--scenario", "no-such"], "neither installed nor"),
        (["validate", "--figure", "v.gif", "--evidence", "x.json"], "must end in .png or .svg"),
        (["validate", "--write-gates", "g.toml"], "needs --evidence"),
    ],
)
def test_mistakes_are_told_in_a_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, errors = call(capsys, *arguments)
    assert status == 2
    assert said in errors


def test_validation_of_evidence_draws_writes_and_prints(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    figure, gates, report = tmp_path / "v.svg", tmp_path / "g.toml", tmp_path / "report"
    status, out, errors = call(
        capsys, "validate", "--machine", PROFILE, "--evidence", str(EVIDENCE), "--json",
        "--leave-one-out", "--figure", str(figure), "--write-gates", str(gates),
        "--report", str(report),
    )  # fmt: skip
    assert status == 0, errors
    document = json.loads(out)
    assert {"runs", "summary", "baselines", "leave_one_out"} <= set(document)
    assert figure.read_bytes().startswith(b"<?xml")
    assert "[[gates]]" in gates.read_text()
    assert {path.name for path in report.iterdir()} == {
        "validation.png", "validation.svg", "validation.json",
    }  # fmt: skip
