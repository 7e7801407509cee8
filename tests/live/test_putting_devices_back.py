"""Loop devices, files, memory cgroup and neighbour are gone after whatever ends a measurement."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from perfmodel.errors import CapabilityError
from perfmodel.measure.cgroup import MemoryCgroup
from perfmodel.measure.journal import Journal
from perfmodel.measure.session import LiveSession
from perfmodel.measure.swapdevice import folder_for
from perfmodel.measure.system import System
from perfmodel.specs.catalog import load_device
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.scenario import Scenario, Settings, SwapSpace

from .conftest import machine_state
from .scenarios import scenario
from .test_putting_back import wait_until_measuring

DEVICES = ["zram-lz4", "ram-disk", "disk", "swap-file"]
EVERYTHING = """
name = "everything"
description = "every kind of change at once"

[region]
size = "4 MiB"
content = "half-random"

[swap]
clusters = 12
free_clusters = 4
neighbour_slots = 100

[settings]
page_cluster = 1
vma_readahead = false

"""
STEPS = ("fill", "pageout", "fork", "reclaim", "touch", "khugepaged", "swapoff")


@pytest.fixture
def story(tmp_path: Path) -> Path:
    file = tmp_path / "everything.toml"
    steps = [f'[[steps]]\nname = "{action}"\naction = "{action}"\n' for action in STEPS]
    file.write_text(EVERYTHING + "\n".join(steps))
    return file


@pytest.fixture(params=DEVICES)
def measuring(request: pytest.FixtureRequest, story: Path, perfmodel_command: list[str]):
    """A measurement in another process, stopped in the middle."""
    command = [*perfmodel_command, "measure", str(story), "--device", request.param]
    before = machine_state()
    process = subprocess.Popen(
        [*command, "--repetitions", "1000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    journal = Path(os.environ["PERFMODEL_STATE_DIR"]) / "journal.json"
    try:
        wait_until_measuring(process, journal)
        assert "cgroup" in journal.read_text()
        assert machine_state() != before, "the measurement changed nothing"
        yield process
    finally:
        process.kill()
        process.communicate()
        Journal(System()).restore()


def helpers() -> list[str]:
    """Processes of ours: worker, its children, neighbour."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"perfmodel.measure.worker" in words or b"perfmodel.measure.neighbour" in words:
            found.append(file.parent.name)
    return found


def wait_for_the_neighbour() -> None:
    """Until it stands beside the worker; each repetition begins with another one."""
    for _ in range(600):
        if len(helpers()) >= 2:
            return
        time.sleep(0.05)
    pytest.fail("no neighbour beside the worker")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_put_back_after_a_signal(
    measuring: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    wait_for_the_neighbour()
    measuring.send_signal(number)
    _, errors = measuring.communicate(timeout=120)
    assert b"Traceback" not in errors
    assert not (Path(os.environ["PERFMODEL_STATE_DIR"]) / "journal.json").exists()
    assert System().active_swaps() == []
    assert helpers() == []


def test_put_back_by_doctor_after_a_kill(
    measuring: subprocess.Popen[bytes], perfmodel_command: list[str]
) -> None:
    measuring.kill()
    measuring.communicate()
    done = subprocess.run(
        [*perfmodel_command, "doctor", "--restore"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "removed the memory cgroup" in done.stderr
    assert System().active_swaps() == []
    assert helpers() == []


def test_put_back_when_the_device_cannot_be_set_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PERFMODEL_DISK_DIR", str(tmp_path / "no such folder"))
    tmp_path.joinpath("no such folder").mkdir()
    session = LiveSession([scenario("pageout")], load_device("disk"), ["pte"])
    with pytest.raises(CapabilityError, match="is no plain name; choose another"):
        session.__enter__()


def test_a_disk_in_memory_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFMODEL_DISK_DIR", str(folder_for(DeviceKind.RAM_DISK)))
    session = LiveSession([scenario("pageout")], load_device("disk"), ["pte"])
    with pytest.raises(CapabilityError, match="is in memory: set PERFMODEL_DISK_DIR"):
        session.__enter__()


def run_with_a_stopped_worker(story: Scenario) -> None:
    with LiveSession([story], load_device("ram-disk"), ["pte"]) as session:
        session.run(story, "pte")
        assert session._worker is not None
        session._worker._process.kill()
        session.run(story, "pte")


def test_put_back_after_an_error_in_the_middle() -> None:
    swap = SwapSpace(clusters=12, neighbour_slots=10)
    story = scenario("pageout; fork; reclaim", swap=swap, settings=Settings(page_cluster=0))
    with pytest.raises(CapabilityError, match="measuring process ended"):
        run_with_a_stopped_worker(story)
    assert helpers() == []


def test_removes_a_cgroup_with_what_still_lives_in_it() -> None:
    folder = Path("/sys/fs/cgroup/memory/perfmodel-1")
    if not folder.parent.joinpath("memory.force_empty").exists():
        pytest.skip("no cgroup v1 memory controller here")
    folder.mkdir()
    sleeper = subprocess.Popen(["sleep", "100"])
    MemoryCgroup(folder).enter(sleeper.pid)
    journal = Journal(System())
    journal.acquire()
    journal.note_cgroup(folder)
    journal.restore()
    journal.release()
    assert sleeper.wait(timeout=10) == -signal.SIGKILL
    assert not folder.exists()


def test_never_detaches_a_loop_device_that_somebody_else_has_taken(tmp_path: Path) -> None:
    file = tmp_path / "theirs"
    file.write_bytes(bytes(1 << 20))
    number = System().free_loop_number()
    subprocess.run(["losetup", f"/dev/loop{number}", str(file)], check=True)
    try:
        journal = Journal(System())
        journal.acquire()
        journal.note_loop(number, tmp_path / "perfmodel-swap-1", added=False)
        journal.restore()
        journal.release()
        assert System().loop_file(number) == str(file)
    finally:
        System().detach_loop(number)
