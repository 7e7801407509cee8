"""``perfmodel trace``: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import html
import io
import json
import lzma
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from perfmodel.cli.main import main
from perfmodel.plot.traces import draw_map, draw_misses, draw_touched, trace_figure
from perfmodel.specs.catalog import find_trace, load_scenario, names
from perfmodel.specs.step import StepAction
from perfmodel.traces.generator import accesses_of
from perfmodel.traces.statistics import trace_statistics
from perfmodel.traces.store import TraceFile
from tests.oracles.programs import reuse_distances
from tests.trace_strategies import ListedAccesses, compacted, words


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    printed = capsys.readouterr()
    return int(end.value.code or 0), printed.out, printed.err


LACKEY = b"==7== Lackey\n" + b"".join(b" S %x,8\n" % (page << 12) for page in range(900)) * 2


def test_a_recording_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "program.lackey").write_bytes(LACKEY)
    trace = tmp_path / "program.trace"
    status, out, _ = run(
        capsys,
        *("trace", "import", str(tmp_path / "program.lackey"), str(trace), "--json"),
        *("--description", "a program", "--command", "valgrind program"),
    )
    assert status == 0
    said = json.loads(out)
    assert said["accesses"] == 1800
    assert said["format"] == "lackey"
    assert said["complete"]
    status, out, _ = run(capsys, "trace", "stat", str(trace), "--json")
    assert status == 0
    said = json.loads(out)
    assert said["footprint"]["pages"] == said["footprint"]["written_pages"] == 900
    assert said["footprint"]["ranges_2mib"] == 2
    assert said["reuse_distance"]["quantiles_pages"] == {"0.5": 899, "0.9": 899, "0.99": 899}
    assert said["touched_pages_per_2mib"]["all_512"] == 1
    assert said["head"]["command"] == "valgrind program"
    report = tmp_path / "report"
    status, out, _ = run(capsys, "trace", "stat", str(trace), "--report", str(report))
    assert status == 0
    assert "recorded by          valgrind program" in out
    assert sorted(path.name for path in report.iterdir()) == [
        *("trace.json", "trace.png", "trace.svg"),
    ]


def lackey_text(trace: TraceFile) -> bytes:
    """A recorded program's accesses as valgrind wrote them, with their addresses."""
    lines = ["==1== Lackey, an example Valgrind tool"]
    for block in trace.blocks_of_words():
        for word in block.tolist():
            page = word >> 1
            address = (int(trace.ranges[page // 512]) << 21) + (page % 512 << 12)
            lines.append(f" {'LS'[word & 1]} {address:08x},8")
    return ("\n".join(lines) + "\n").encode()


RECORDED = """
name = "recorded"
description = "A program, as recorded, in memory that is too small for it."
region = { size = "REGION", content = "half-random" }
settings = { memory_limit = "8 MiB" }
steps = [
    { name = "fill", action = "fill" },
    { name = "run", action = "access", workload = "trace", trace = "program.trace", rounds = 1 },
]
"""


def test_a_recorded_program_is_imported_looked_at_compared_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite, from valgrind's text to the page, by nothing but commands."""
    recorded = TraceFile(find_trace("sqlite"))
    with lzma.open(tmp_path / "program.lackey.xz", "wb") as file:
        file.write(lackey_text(recorded))
    trace = tmp_path / "program.trace"
    command = recorded.head["command"]
    status, out, _ = run(
        capsys,
        *("trace", "import", str(tmp_path / "program.lackey.xz"), str(trace)),
        *("--command", command, "--json"),
    )
    assert status == 0
    said = json.loads(out)
    assert said["complete"]
    assert said["accesses"] == recorded.accesses
    status, out, _ = run(capsys, "trace", "stat", str(trace), "--json")
    assert status == 0
    (tmp_path / "stat.json").write_text(out)
    footprint = json.loads(out)["footprint"]
    assert footprint["region_bytes"] == said["region_bytes"] == recorded.pages * 4096
    assert footprint["bytes"] == trace_statistics(recorded).pages * 4096

    size = f"{said['region_bytes'] >> 20} MiB"
    (tmp_path / "recorded.toml").write_text(RECORDED.replace("REGION", size))
    status, out, _ = run(
        capsys,
        *("compare", str(tmp_path / "recorded.toml"), "--machine", "intel-emerald-rapids-guest"),
        *("--entries", "pte,pmd", "--draws", "20", "--json"),
    )
    assert status == 0
    (tmp_path / "compare.json").write_text(out)
    arms = json.loads(out)["arms"]
    faults = {entry: arm["steps"][1]["counters"]["pgmajfault"] for entry, arm in arms.items()}
    assert faults["pmd"] > 0
    assert 0 < faults["pte"] <= said["accesses"]

    page = tmp_path / "page"
    status, _, _ = run(
        capsys,
        *("report", str(tmp_path / "stat.json"), str(tmp_path / "compare.json")),
        *("--out", str(page)),
    )
    assert status == 0
    shown = (page / "index.html").read_text()
    assert "recorded" in shown
    assert html.escape(command) in shown or command in shown


def test_a_damaged_recording_is_kept_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "program.lackey"
    file.write_bytes(LACKEY[:5000] + b"\0\0\n")
    trace = tmp_path / "program.trace"
    status, out, err = run(capsys, "trace", "import", str(file), str(trace))
    assert status == 2
    assert f"{trace}: " in out
    assert f"{file}: byte " in err
    assert "was kept" in err
    status, out, _ = run(capsys, "trace", "stat", str(trace))
    assert status == 0
    assert "NOT COMPLETE" in out


def test_standard_input_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").write_bytes(LACKEY)
    with (tmp_path / "in").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        status, _, _ = run(capsys, "trace", "import", "-", str(tmp_path / "in.trace"))
    assert status == 0
    assert TraceFile(tmp_path / "in.trace").accesses == 1800


def test_a_workload_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "store.trace"
    status, out, _ = run(
        capsys,
        *("trace", "generate", "key-value", str(trace), "--mix", "e", "--size", "4 MiB"),
        *("--accesses", "70000", "--seed", "3", "--json"),
    )
    assert status == 0
    assert json.loads(out)["accesses"] == 70000
    file = TraceFile(trace)
    assert file.accesses == 70000
    assert file.pages == 1024
    assert file.head["mix"] == "e"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "lru", "{}/a.trace"), "'lru' is none of cyclic, "),
        (("generate", "zipf", "{}/a.txt"), "must end in .trace"),
        (("generate", "zipf", "{}/none/a.trace"), "is no folder"),
        (("generate", "zipf", "{}/a.trace", "--size", "5 s"), "s"),
        (("generate", "zipf", "{}/a.trace", "--stride", "4"), "stride does not belong"),
        (("generate", "key-value", "{}/a.trace", "--mix", "z"), "--mix"),
        (("generate", "gups", "{}/a.trace", "--write"), "says itself what it writes"),
        (("generate", "cyclic", "{}/a.trace", "--accesses", "0"), "at least 1"),
        (("import", "{}/none", "{}/a.trace"), "cannot be read"),
        (("import", "{}/none", "{}/a.trace", "--format", "elf"), "'elf' is none of lackey, "),
        (("import", "{}/none", "{}/a.trace", "--recent", "-1"), "--recent"),
        (("import", "{}/none", "{}/a.trace", "--most", "0"), "--most"),
        (("import", "-"), "say where to"),
        (("stat", "no-such-trace"), "installed: compiler, "),
        (("stat", "{}/none.trace"), "cannot be read"),
    ],
)
def test_wrong_input_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    filled = [argument.replace("{}", str(tmp_path)) for argument in arguments]
    status, out, err = run(capsys, "trace", *filled)
    assert status == 2
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1


@given(listed=words)
def test_statistics_are_those_of_their_definition(listed: list[int]) -> None:
    listed = compacted(listed)
    pages = max(listed) // 1024 * 512 + 512
    found = trace_statistics(ListedAccesses(listed, pages))
    places = [word // 2 for word in listed]
    distances = reuse_distances(places)
    assert found.accesses == len(listed)
    assert found.writes == sum(word % 2 for word in listed)
    assert found.pages == len(set(places)) == distances.count(-1)
    assert found.written_pages == len({word // 2 for word in listed if word % 2})
    assert found.distances.tolist() == [distances.count(each) for each in range(found.pages)]
    for memory, misses in enumerate(found.misses()):
        assert misses == sum(not 0 <= distance < memory for distance in distances)
    assert found.touched.tolist() == [
        len({page for page in places if page // 512 == span}) for span in range(pages // 512)
    ]
    assert int(found.map.sum()) == found.accesses
    assert json.dumps(found.to_json())


def test_the_figure_shows_what_was_counted() -> None:
    listed = [2 * page for page in (*range(300), *range(300), 700)]
    statistics = trace_statistics(ListedAccesses(listed, 1024))
    figure = trace_figure(statistics, "listed")
    axes: Any = figure.axes
    assert [ax.get_xlabel() for ax in axes[:3]] == [
        *("memory [MiB]", "accessed pages of 512", "access [million]"),
    ]
    (line, _) = draw_misses(statistics, axes[0]).lines[:2]
    assert line.get_ydata()[-1] == pytest.approx(301 / 601)
    assert sum(patch.get_height() for patch in draw_touched(statistics, axes[1]).patches) >= 2
    (image,) = draw_map(statistics, axes[2]).images[:1]
    assert np.nansum(image.get_array()) == 601
    figure.savefig(io.BytesIO())


def test_installed_traces_can_be_read_and_are_small() -> None:
    installed = names("trace")
    assert {"compiler", "python", "sort", "sqlite"} <= set(installed)
    assert sum(path.stat().st_size for path in installed.values()) < 2 << 20
    for name in installed:
        file = TraceFile(find_trace(name))
        assert file.accesses > 1000
        assert "valgrind" in file.head["command"]
        for block in file.blocks_of_words():
            assert int(block.max()) >> 1 < file.pages


@pytest.mark.parametrize("name", ["trace-alternating", "trace-compiler", "trace-sqlite"])
def test_scenarios_of_traces_have_room_for_them(name: str) -> None:
    scenario = load_scenario(name)
    steps = [step for step in scenario.steps if step.action is StepAction.ACCESS]
    assert all(accesses_of(step, scenario.region.pages) > 1000 for step in steps)


def test_a_trace_stands_where_its_path_leads_from_the_scenario(tmp_path: Path) -> None:
    text = find_trace("sqlite").read_bytes()
    (tmp_path / "mine.trace").write_bytes(text)
    scenario = (find_trace("sqlite").parents[1] / "scenarios" / "trace-sqlite.toml").read_text()
    (tmp_path / "mine.toml").write_text(scenario.replace('"sqlite"', '"mine.trace"'))
    steps = load_scenario(tmp_path / "mine.toml").steps
    assert steps[1].trace == str(tmp_path / "mine.trace")
