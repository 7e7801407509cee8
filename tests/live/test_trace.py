"""A recorded trace under a memory limit: both worlds take the same faults."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from perfmodel.errors import CapabilityError
from perfmodel.measure.run import measure_arms
from perfmodel.models.simulated import simulate
from perfmodel.results.result import Result
from perfmodel.specs.catalog import load_device, load_scenario

MACHINE = "intel-emerald-rapids-guest"
REPETITIONS = 3
SCENARIOS = ("trace-sqlite", "trace-compiler", "trace-alternating")
ENTRY = "pte"
MOST_DIFFERENT = 0.05
# Fewer faults than that say nothing in per cent.
NOISE_FAULTS = 20


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result | str]:
    """Every scenario on this kernel, in one session; a string says why not."""
    arms = [(load_scenario(name), ENTRY) for name in SCENARIOS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERFMODEL_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        try:
            results = measure_arms(arms, load_device("zram-lz4"), repetitions=REPETITIONS)
        except CapabilityError as error:
            return dict.fromkeys(SCENARIOS, str(error))
    return dict(zip(SCENARIOS, results, strict=True))


@pytest.mark.parametrize("name", SCENARIOS)
def test_faults_per_access_are_within_five_per_cent(
    name: str, measured: dict[str, Result | str]
) -> None:
    live = measured[name]
    if isinstance(live, str):
        pytest.skip(live)
    expected = simulate(name, MACHINE, entry=ENTRY, draws=20)
    for one, other in zip(live.steps, expected.steps, strict=True):
        for counter in ("pgmajfault", "pswpin", "pswpout"):
            assert one.counters[counter] == pytest.approx(
                other.counters[counter], rel=MOST_DIFFERENT, abs=NOISE_FAULTS
            ), (one.name, counter)


RECORDED = """
name = "sort-limited"
description = "GNU sort, as just recorded, in memory that is too small for it."
region = { size = "SIZE", content = "half-random", backing = "base" }
settings = { memory_limit = "8 MiB" }
steps = [
    { name = "fill", action = "fill" },
    { name = "run", action = "access", workload = "trace", trace = "sort.trace" },
]
"""


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="no valgrind to record with")
def test_a_fresh_recording_by_commands_alone(tmp_path: Path, perfmodel_command: list[str]) -> None:
    """Recorded, imported, looked at, measured, simulated, compared and reported."""

    def command(*arguments: str, **more: Any) -> str:
        done = subprocess.run(
            [*perfmodel_command, *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=400, **more,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    generator = random.Random(1)
    (tmp_path / "records.txt").write_text(
        "".join(f"{generator.random():.12f}{'x' * 2000}\n" for _ in range(4000))
    )
    recorder = ["valgrind", "--tool=lackey", "--trace-mem=yes", "--log-fd=2"]
    program = ["sort", "--parallel=1", "-S", "16M", "records.txt"]
    with subprocess.Popen(
        [*recorder, *program], cwd=tmp_path, env=os.environ | {"LC_ALL": "C"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as recording:  # fmt: skip
        imported = json.loads(
            command(
                *("trace", "import", "-", "sort.trace", "--format", "lackey", "--recent", "64"),
                *("--most", "12000"),
                *("--command", " ".join([*recorder, *program]), "--json"),
                stdin=recording.stderr,
            )
        )
    assert imported["complete"]
    assert imported["region_bytes"] > 8 << 20
    size = f"{imported['region_bytes'] >> 20} MiB"
    (tmp_path / "sort.toml").write_text(RECORDED.replace("SIZE", size))
    arm = ("sort.toml", "--device", "zram-lz4", "--entry", ENTRY)
    documents = {
        "stat": command("trace", "stat", "sort.trace", "--json"),
        "measure": command("measure", *arm, "--repetitions", str(REPETITIONS), "--json"),
        "simulate": command("simulate", *arm, "--machine", MACHINE, "--draws", "20", "--json"),
        "compare": command(
            *("compare", "sort.toml", "--machine", MACHINE, "--draws", "20"),
            *("--entries", "pte,pmd", "--json"),
        ),
    }
    for name, text in documents.items():
        (tmp_path / f"{name}.json").write_text(text)
    command("report", *(f"{name}.json" for name in documents), "--out", "page")
    assert "sort-limited" in (tmp_path / "page" / "index.html").read_text()

    live, expected = (json.loads(documents[name])["steps"] for name in ("measure", "simulate"))
    for one, other in zip(live, expected, strict=True):
        for counter in ("pgmajfault", "pswpin", "pswpout"):
            assert one["counters"][counter] == pytest.approx(
                other["counters"][counter], rel=MOST_DIFFERENT, abs=NOISE_FAULTS
            ), (one["name"], counter)
    assert live[1]["counters"]["pgmajfault"] > 100
