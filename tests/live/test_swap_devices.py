"""Several swap devices: counters of all, and pages and slots of each, equal the live kernel's."""

import collections
import os
import signal
import subprocess
import time
from pathlib import Path

import attrs
import pytest

from perfmodel.errors import CapabilityError
from perfmodel.measure.journal import Journal
from perfmodel.measure.run import measure_arms
from perfmodel.measure.session import put_back_left_over
from perfmodel.measure.system import System
from perfmodel.results.result import Result
from perfmodel.specs.catalog import load_devices
from perfmodel.specs.scenario import DeviceSpace, SwapSpace

from .cases import Case
from .conftest import machine_state
from .test_mechanism import REPETITIONS, compare
from .test_putting_back import wait_until_measuring

TWO = "zram-lz4:100,zram-lz4:50"
ALIKE = "zram-lz4:5,zram-lz4:5"
ZRAM_AND_RAM_DISK = "zram-lz4:100,ram-disk"
ROUND_TRIPS = "pageout; touch n100; pageout; touch; pageout"


def case(name: str, story: str, device: str, clusters: tuple[int, ...], entry: str = "pte") -> Case:
    """A story on so many clusters of each device."""
    swap = SwapSpace(devices=tuple(DeviceSpace(number) for number in clusters))
    return Case(name, story, device, entry, swap=swap)


CASES = [
    case("the second is never needed", ROUND_TRIPS, TWO, (40, 40)),
    case("the first fills up", ROUND_TRIPS, TWO, (2, 40)),
    case("the first has no whole cluster", "pageout [0:100]; pageout; touch", TWO, (1, 40)),
    case("the first fills up, mthp-64k", ROUND_TRIPS, TWO, (2, 40), "mthp-64k"),
    case("equal priorities", ROUND_TRIPS, ALIKE, (40, 40)),
    case("equal priorities, mthp-64k", ROUND_TRIPS, ALIKE, (40, 40), "mthp-64k"),
    case("equal priorities, one is small", ROUND_TRIPS, ALIKE, (1, 40)),
    case(
        "a full one comes back",
        "pageout; discard [0:300]; touch [0:300] write; pageout; touch n9; pageout; touch",
        ALIKE,
        (1, 5),
    ),
    case("three", ROUND_TRIPS, "zram-lz4:9,zram-lz4:9,zram-lz4:1", (1, 2, 9)),
    case(
        "zram, then a RAM disk",
        "pageout; mincore; reclaim; touch n64; pageout; reclaim; touch",
        ZRAM_AND_RAM_DISK,
        (2, 40),
    ),
    case(
        "a RAM disk, then zram",
        "pageout; reclaim; touch; touch write; pageout; reclaim; touch n8",
        "ram-disk:7,zram-lz4:3",
        (2, 40),
    ),
    case("a swap file below zram", "pageout; touch", "zram-lz4:3,swap-file:1", (2, 40)),
]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result | str]:
    """Every case, in one session for each set of devices; a string says why not."""
    by_device = collections.defaultdict(list)
    for one in CASES:
        by_device[one.device].append(one)
    found: dict[str, Result | str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERFMODEL_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        for device, cases in by_device.items():
            arms = [(one.scenario, one.entry) for one in cases]
            try:
                results = measure_arms(arms, load_devices(device), repetitions=REPETITIONS)
            except CapabilityError as error:
                found.update({one.name: str(error) for one in cases})
            else:
                found.update(zip([one.name for one in cases], results, strict=True))
    return found


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_every_counter_and_every_device_is_equal(
    one: Case, measured: dict[str, Result | str]
) -> None:
    live = measured[one.name]
    if isinstance(live, str):
        pytest.skip(live)
    simulated = compare(one, live)
    for before, after in zip(simulated.steps, live.steps, strict=True):
        predicted = [{name: share[name] for name in after.devices[0]} for share in before.devices]
        if "swap-file" in one.device:
            # What its disk reads and writes is not the file's alone.
            predicted = [attrs.asdict(Slots.of(share)) for share in predicted]
            assert [attrs.asdict(Slots.of(share)) for share in after.devices] == predicted
        else:
            assert list(after.devices) == predicted, after.name


@attrs.frozen
class Slots:
    """Of a device's share, what /proc/swaps says."""

    device: str
    used_slots: int

    @staticmethod
    def of(share: dict[str, object]) -> "Slots":
        """The part of a share."""
        return Slots(share["device"], share["used_slots"])


def wait_for_devices(number: int) -> None:
    """Until so many are swapped to; each repetition switches all of them off and on."""
    for _ in range(2000):
        if len(System().active_swaps()) == number:
            return
        time.sleep(0.005)
    pytest.fail(f"never {number} swap devices at a time")


STORY = """
name = "several"
description = "two devices at once"
region = { size = "8 MiB", content = "half-random" }
swap = { devices = [{ clusters = 2 }, { clusters = 9 }] }
steps = [{ name = "fill", action = "fill" }, { name = "pageout", action = "pageout" }]
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("device", [TWO, "ram-disk:7,ram-disk:3,zram-lz4"])
def test_all_devices_are_put_back(
    tmp_path: Path, perfmodel_command: list[str], device: str, number: signal.Signals
) -> None:
    story = tmp_path / "several.toml"
    spaces = "{ clusters = 9 }, " * (device.count(",") + 1)
    story.write_text(STORY.replace("{ clusters = 2 }, { clusters = 9 }", spaces))
    before = machine_state()
    process = subprocess.Popen(
        [*perfmodel_command, "measure", str(story), "--device", device, "--repetitions", "1000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    journal = Path(os.environ["PERFMODEL_STATE_DIR"]) / "journal.json"
    try:
        wait_until_measuring(process, journal)
        wait_for_devices(device.count(",") + 1)
        process.send_signal(number)
        process.communicate(timeout=60)
        if number is signal.SIGKILL:
            assert machine_state() != before
            put_back_left_over()
        assert machine_state() == before
    finally:
        process.kill()
        process.communicate()
        Journal(System()).restore()
