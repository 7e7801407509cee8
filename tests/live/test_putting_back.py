"""The machine is put back after an error, Ctrl-C, SIGTERM, and a kill."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import attrs
import pytest

from perfmodel.errors import CapabilityError
from perfmodel.measure.journal import Journal
from perfmodel.measure.session import LiveSession
from perfmodel.measure.system import System, mkswap_program, swap_off, swap_on
from perfmodel.specs.catalog import load_device, load_scenario

from .conftest import machine_state

MEASURE = ["measure", "thp-roundtrip", "--entry", "mthp-64k", "--repetitions", "1000"]


def wait_until_measuring(process: subprocess.Popen[bytes], journal: Path) -> None:
    """Until the process has changed all settings and a worker runs."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        if journal.exists() and "hugepages-1024kB" in journal.read_text():
            time.sleep(2)
            return
        time.sleep(0.05)
    pytest.fail("the measurement did not start within a minute")


@pytest.fixture
def measuring(perfmodel_command: list[str]):
    """A measurement in another process, stopped in the middle."""
    process = subprocess.Popen(
        [*perfmodel_command, *MEASURE], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    journal = Path(os.environ["PERFMODEL_STATE_DIR"]) / "journal.json"
    try:
        before = machine_state()
        wait_until_measuring(process, journal)
        assert machine_state() != before, "the measurement changed nothing"
        yield process
    finally:
        process.kill()
        process.communicate()
        Journal(System()).restore()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_put_back_after_a_signal(
    measuring: subprocess.Popen[bytes], number: signal.Signals, status: int
) -> None:
    measuring.send_signal(number)
    output, errors = measuring.communicate(timeout=60)
    assert measuring.returncode == status
    assert output == b""
    assert b"Traceback" not in errors
    assert not (Path(os.environ["PERFMODEL_STATE_DIR"]) / "journal.json").exists()
    assert System().active_swaps() == []


def test_put_back_by_doctor_after_a_kill(
    measuring: subprocess.Popen[bytes], perfmodel_command: list[str]
) -> None:
    measuring.kill()
    measuring.communicate()
    assert System().active_swaps(), "the kill left nothing to put back"
    told = subprocess.run(
        [*perfmodel_command, "doctor", "--json"], capture_output=True, text=True, check=True
    )
    clean = {c["name"]: c["available"] for c in json.loads(told.stdout)["capabilities"]}["clean"]
    assert clean is False
    done = subprocess.run(
        [*perfmodel_command, "doctor", "--restore"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert System().active_swaps() == []


def test_next_measurement_puts_back_what_a_kill_left(
    measuring: subprocess.Popen[bytes], perfmodel_command: list[str]
) -> None:
    measuring.kill()
    measuring.communicate()
    done = subprocess.run(
        [*perfmodel_command, "measure", "thp-roundtrip", "--repetitions", "3", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "a killed run had left" in done.stderr
    assert json.loads(done.stdout)["steps"][2]["counters"]["pgmajfault"] == 16384


def test_only_one_measurement_at_a_time(
    measuring: subprocess.Popen[bytes], perfmodel_command: list[str]
) -> None:
    done = subprocess.run(
        [*perfmodel_command, "measure", "thp-roundtrip"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "another perfmodel measurement is running" in done.stderr
    assert measuring.poll() is None
    restore = subprocess.run(
        [*perfmodel_command, "doctor", "--restore"], capture_output=True, text=True, check=False
    )
    assert restore.returncode == 3, "a running measurement must not be pulled apart"


def run_with_a_dead_worker(wait: bool) -> None:
    scenario = load_scenario("thp-roundtrip")
    with LiveSession([scenario], load_device("zram-lz4"), ["pte"]) as session:
        assert session._worker is not None
        session._worker._process.kill()
        if wait:
            session._worker._process.wait()
        session.run(scenario, "pte")


@pytest.mark.parametrize("wait", [True, False], ids=["dead before", "dying meanwhile"])
def test_put_back_after_an_error_in_the_middle(wait: bool) -> None:
    # A request that a dead process has not read stays in the pipe's buffer until it is closed.
    with pytest.raises(CapabilityError, match="measuring process ended"):
        run_with_a_dead_worker(wait)


def test_put_back_when_the_device_cannot_be_set_up() -> None:
    device = attrs.evolve(load_device("zram-lz4"), algorithm="no-such-codec")
    session = LiveSession([load_scenario("thp-roundtrip")], device, ["pte"])
    with pytest.raises(CapabilityError, match="no no-such-codec; it offers"):
        session.__enter__()


@pytest.fixture
def foreign_swap():
    """A zram swap device that somebody else uses."""
    system = System()
    number = int(system.path("/sys/class/zram-control/hot_add").read_text())
    device = Path(f"/dev/zram{number}")
    try:
        Path(f"/sys/block/zram{number}/disksize").write_text(str(16 << 20))
        subprocess.run([str(mkswap_program()), str(device)], check=True, capture_output=True)
        swap_on(device)
        yield device
    finally:
        swap_off(device)
        Path(f"/sys/block/zram{number}/reset").write_text("1")
        Path("/sys/class/zram-control/hot_remove").write_text(str(number))


def test_refuses_while_somebody_else_swaps(
    foreign_swap: Path, perfmodel_command: list[str]
) -> None:
    before = machine_state()
    done = subprocess.run(
        [*perfmodel_command, "measure", "thp-roundtrip"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert f"swap is in use on {foreign_swap}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert machine_state() == before
    assert System().active_swaps() == [str(foreign_swap)]


def test_never_removes_a_device_that_somebody_else_has_taken(foreign_swap: Path) -> None:
    """A journal that names a device which by now carries another swap leaves it alone."""
    journal = Journal(System())
    journal.acquire()
    journal._changes = [
        {"undo": "zram", "number": int(foreign_swap.name.removeprefix("zram")), "before": []}
    ]
    journal._write()
    journal.restore()
    journal.release()
    assert System().active_swaps() == [str(foreign_swap)]


def test_says_so_when_no_thps_can_be_had() -> None:
    """THPs off for the worker: compaction is tried, and then it is said, and all is put back."""
    scenario = load_scenario("thp-roundtrip")
    with LiveSession([scenario], load_device("zram-lz4"), ["pte"]) as session:
        (session._system.thp / "hugepages-2048kB" / "enabled").write_text("never")
        with pytest.raises(CapabilityError, match="only 0 of 64 MiB got THPs, even after"):
            session.run(scenario, "pte")
