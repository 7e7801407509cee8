"""A calibration that is interrupted or killed goes on, and leaves the machine as it found it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfmodel.calibrate.run import run_file
from perfmodel.measure.blockdevice import FIRST_BYTE, BlockDevice
from perfmodel.measure.journal import Journal
from perfmodel.measure.requests_probe import DEVICES, time_requests
from perfmodel.measure.system import System
from perfmodel.results.requests import Operation
from perfmodel.results.store import load_evidence
from perfmodel.results.unfinished import load_unfinished
from perfmodel.specs.catalog import load_device

from .conftest import machine_state

PLAN = """
name = "live"
description = "Two arms, so many repetitions that there is time to be interrupted."
repetitions = 60
quick_repetitions = 3
minutes = 5
quick_minutes = 4
turns = 10

[[arms]]
scenario = "probe-discard-swapped"
entries = ["pte", "mthp-64k"]
"""
ARMS, REPETITIONS, BEFORE_THE_SIGNAL = 2, 60, 8


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "live.toml"
    path.write_text(PLAN)
    return path


@pytest.fixture
def command(perfmodel_command: list[str], plan: Path) -> list[str]:
    return [*perfmodel_command, "calibrate", "--measure-only", "--plan", str(plan)]


@pytest.fixture
def running(command: list[str], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A calibration in another process, with some repetitions on disk."""
    file = tmp_path / "evidence.json"
    process = subprocess.Popen(
        [*command, "--save-evidence", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 60
        unfinished = run_file(file)
        while not unfinished.exists() or unfinished.read_text().count("\n") < BEFORE_THE_SIGNAL:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline, "nothing was measured within a minute"
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.communicate()
        Journal(System()).restore()


def stop_while_swap_is_used(running: subprocess.Popen[bytes]) -> None:
    """Stop it at a moment other than between two arms, when no swap device is there."""
    deadline = time.monotonic() + 30
    while True:
        running.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, running.pid, os.WSTOPPED)
        if System().active_swaps():
            return
        assert time.monotonic() < deadline, "it swaps to no device"
        running.send_signal(signal.SIGCONT)
        time.sleep(0.05)


def journal() -> Path:
    return Path(os.environ["PERFMODEL_STATE_DIR"]) / "journal.json"


def go_on(command: list[str], file: Path) -> str:
    done = subprocess.run(
        [*command, "--resume", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_costs_nothing(
    running: subprocess.Popen[bytes], number: signal.Signals, command: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "evidence.json"
    if number is signal.SIGKILL:
        stop_while_swap_is_used(running)
    during = machine_state()
    running.send_signal(number)
    _, errors = running.communicate(timeout=60)
    assert not file.exists()
    kept = load_unfinished(run_file(file))
    assert sum(map(len, kept.repetitions)) >= BEFORE_THE_SIGNAL - 2
    if number is signal.SIGKILL:
        assert System().active_swaps(), "the kill left nothing to put back"
    else:
        assert b"go on with --resume" in errors
        assert b"Traceback" not in errors
        assert not journal().exists()
        assert machine_state() != during
        assert System().active_swaps() == []
    said = go_on(command, file)
    assert ("a killed run had left" in said) == (number is signal.SIGKILL)
    assert not run_file(file).exists()
    assert System().active_swaps() == []
    results = load_evidence(file).results
    assert len(results) == ARMS
    for result, before in zip(results, kept.repetitions, strict=True):
        assert result.steps[1].counters["thp_swpout"] == result.regions
        assert len(result.reference_ns["kernel"]) == REPETITIONS
        times = [float(done.steps[0].elapsed_ns) for _, done in before]
        assert list(result.steps[0].repetitions_ns[: len(times)]) == times


def test_a_changed_setup_is_refused(
    running: subprocess.Popen[bytes], command: list[str], tmp_path: Path
) -> None:
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    unfinished = run_file(tmp_path / "evidence.json")
    head, _, rest = unfinished.read_text().partition("\n")
    changed = json.loads(head)
    changed["setup"]["page_cluster"] = "5"
    unfinished.write_text(json.dumps(changed) + "\n" + rest)
    done = subprocess.run(
        [*command, "--resume", str(unfinished)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "page_cluster: 5, 3" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("device", DEVICES)
def test_requests_leave_no_device(device: str) -> None:
    for operation in Operation:
        latencies = time_requests(device, operation, 1 << 16, 4)
        assert len(latencies) >= 4
        assert min(latencies) > 0


KILLED = """
import os, sys
from perfmodel.measure.zram_probe import ZramProbe, prefix_page
from perfmodel.specs.catalog import load_device

with ZramProbe(load_device("zram-lz4"), 512) as probe:
    for page in range(512):
        probe.write(page, prefix_page(4096))
    os.kill(os.getpid(), 9)
"""


def test_a_device_full_of_anything_is_removed_after_a_kill(perfmodel_command: list[str]) -> None:
    before = System().zram_numbers()
    done = subprocess.run([perfmodel_command[0], "-c", KILLED], check=False)
    assert done.returncode == -signal.SIGKILL
    assert System().zram_numbers() != before, "the kill left nothing to put back"
    subprocess.run([*perfmodel_command, "doctor", "--restore"], check=True, capture_output=True)
    assert System().zram_numbers() == before


def test_what_is_written_begins_behind_the_label() -> None:
    with BlockDevice(load_device("zram-lz4"), 1) as block:
        assert os.pwrite(block.descriptor, b"", FIRST_BYTE) == 0
        assert (block.folder / "disksize").read_text().strip() == str(2 * FIRST_BYTE)
