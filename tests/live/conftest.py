"""Live tests change swap and THP settings; each must leave the machine as it found it."""

import sys
from pathlib import Path

import pytest

from perfmodel.measure.capabilities import capabilities, missing_for
from perfmodel.measure.journal import Journal
from perfmodel.measure.swapdevice import folder_for
from perfmodel.measure.system import System
from perfmodel.specs.device import DeviceKind

SYSTEM = System()


def machine_state() -> dict[str, str]:
    """Everything that a measurement may change."""
    files = [
        *SYSTEM.thp.glob("*enabled"),
        *SYSTEM.thp.glob("hugepages-*/*enabled"),
        SYSTEM.thp / "defrag",
        SYSTEM.thp / "khugepaged" / "scan_sleep_millisecs",
        SYSTEM.thp / "khugepaged" / "pages_to_scan",
        Path("/proc/sys/vm/page-cluster"),
        Path("/sys/kernel/mm/swap/vma_ra_enabled"),
        Path("/sys/module/zswap/parameters/enabled"),
        # Of disks; a loop device takes it over from the file that it last had.
        *Path("/sys/block").glob("[!lz]*/queue/rotational"),
    ]
    state = {str(file): file.read_text() for file in files if file.is_file()}
    state["swaps"] = " ".join(SYSTEM.active_swaps())
    state["zram"] = str(SYSTEM.zram_numbers())
    state["loop"] = str([(n, SYSTEM.loop_file(n)) for n in SYSTEM.loop_numbers()])
    folders = [folder_for(kind) for kind in (DeviceKind.RAM_DISK, DeviceKind.DISK)]
    folders.append(Path("/sys/fs/cgroup/memory"))
    state["ours"] = str([str(path) for folder in folders for path in folder.glob("perfmodel-*")])
    return state


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    missing = missing_for("pte", capabilities())
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.live)
            if missing:
                item.add_marker(pytest.mark.skip(reason="; ".join(missing)))


@pytest.fixture(autouse=True)
def machine_as_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The journal of the test stands in a folder of its own; the machine is the same afterwards."""
    monkeypatch.setenv("PERFMODEL_STATE_DIR", str(tmp_path / "state"))
    before = machine_state()
    yield
    try:
        assert machine_state() == before
        assert not (tmp_path / "state" / "journal.json").exists()
    finally:
        # One test that leaves something must not be the end of all others.
        Journal(SYSTEM, tmp_path / "state").restore()


@pytest.fixture
def perfmodel_command() -> list[str]:
    return [sys.executable, "-m", "perfmodel"]
