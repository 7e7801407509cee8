"""The live runner's parts that need no live kernel: what is refused, undone, read, requested."""

import json
from pathlib import Path

import attrs
import numpy as np
import pytest

from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD, PMD_BYTES
from perfmodel.errors import CapabilityError, InputError
from perfmodel.measure import cgroup, limits, observe
from perfmodel.measure.capabilities import Capability
from perfmodel.measure.content import make_content
from perfmodel.measure.journal import Journal
from perfmodel.measure.neighbour import kept_slots
from perfmodel.measure.run import summarise
from perfmodel.measure.session import _requested_steps
from perfmodel.measure.settings import KernelSettings
from perfmodel.measure.swapdevice import device_bytes, folder_for
from perfmodel.measure.system import System
from perfmodel.measure.undo import checked, describe, setting_path
from perfmodel.specs.catalog import load_device, load_scenario
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.policy import MTHP_ENTRIES
from perfmodel.specs.scenario import PageContent, Scenario, Settings, SwapSpace, Zswap
from perfmodel.specs.step import Racing, Step, StepAction

THP = "sys/kernel/mm/transparent_hugepage"


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def story(*steps: Step, **changes: object) -> Scenario:
    base = load_scenario("thp-roundtrip")
    return attrs.evolve(base, steps=(*base.steps, *steps), **changes)


# What is refused


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        (story(Step("x", StepAction.SPLIT_FOLIOS)), "only the model can do split-folios"),
        (story(Step("x", StepAction.MEMORY_FAILURE)), "only the model can do memory-failure"),
        (story(Step("x", StepAction.TOUCH, racing=Racing.UNMAP)), "only the model can have a race"),
        (story(settings=Settings(order9_failure=0.5)), "settings.order9_failure"),
        (story(settings=Settings(charge_failure=1)), "settings.charge_failure"),
        (story(settings=Settings(zswap=Zswap.OFF)), "set PERFMODEL_ALLOW_ZSWAP=1 to allow it"),
    ],
)
def test_what_only_the_model_can_do_is_named(scenario: Scenario, said: str) -> None:
    (line,) = limits.refusals(scenario)
    assert said in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("has", [True, False])
def test_soft_dirty_bits_need_a_kernel_that_has_them(
    monkeypatch: pytest.MonkeyPatch, has: bool
) -> None:
    monkeypatch.setattr(limits, "has_soft_dirty", lambda: has)
    lines = limits.refusals(story(Step("x", StepAction.CLEAR_SOFT_DIRTY)))
    assert has == (not lines)
    assert all("CONFIG_MEM_SOFT_DIRTY" in line for line in lines)


def test_nothing_is_refused_without_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits.refusals(load_scenario("thp-roundtrip")) == []
    monkeypatch.setenv("PERFMODEL_ALLOW_ZSWAP", "1")
    assert limits.refusals(story(settings=Settings(zswap=Zswap.ON))) == []


def test_memory_needed_grows_with_processes_and_devices_in_memory() -> None:
    zram, ram_disk = load_device("zram-lz4"), load_device("ram-disk")
    plain = load_scenario("thp-roundtrip")
    needed = limits.memory_needed(plain, zram)
    assert limits.memory_needed(story(Step("x", StepAction.FORK)), zram) > needed
    assert limits.memory_needed(plain, ram_disk) == needed + device_bytes(plain.clusters)
    crowded = story(swap=SwapSpace(clusters=40, neighbour_slots=1))
    assert limits.memory_needed(crowded, zram) == needed + device_bytes(40)


def test_a_disk_without_room_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PERFMODEL_DISK_DIR", str(tmp_path / "gone"))
    (line,) = limits.too_large(load_scenario("thp-roundtrip"), load_device("disk"))
    assert "PERFMODEL_DISK_DIR" in line
    assert folder_for(DeviceKind.SWAP_FILE) == tmp_path / "gone"
    assert folder_for(DeviceKind.RAM_DISK) != tmp_path / "gone"


@pytest.mark.parametrize("device", ["zram-lz4", "ram-disk"])
def test_memory_is_charged_apart_where_it_must_be_reclaimed(device: str) -> None:
    loaded = load_device(device)
    asynchronous = device != "zram-lz4"
    assert limits.needs_cgroup(load_scenario("thp-roundtrip"), loaded) is asynchronous
    assert limits.needs_cgroup(story(Step("x", StepAction.RECLAIM)), loaded)


def test_a_capability_can_belong_to_a_kind_of_device() -> None:
    loop = Capability("loop", False, "none", kinds=(DeviceKind.DISK,))
    assert loop.blocks("pte", DeviceKind.DISK)
    assert not loop.blocks("pte")


# What is undone


GOOD = [
    {"undo": "loop", "number": 3, "file": "/dev/shm/perfmodel-swap-12", "added": True},
    {"undo": "file", "file": "/var/tmp/perfmodel-swap-12"},
    {"undo": "cgroup", "folder": "/sys/fs/cgroup/memory/perfmodel-12"},
    {"undo": "setting", "name": "page-cluster", "value": "3"},
    {"undo": "setting", "name": "rotational/vda", "value": "1"},
    {"undo": "setting", "name": "zswap", "value": "N"},
]
BAD = [
    {"undo": "loop", "number": 3, "file": "/etc/passwd", "added": True},
    {"undo": "loop", "number": "3", "file": "/tmp/perfmodel-swap-1", "added": True},
    {"undo": "loop", "number": 3, "file": "/tmp/perfmodel-swap-1", "added": "yes"},
    {"undo": "file", "file": "/tmp/../etc/perfmodel-swap-1"},
    {"undo": "file", "file": "perfmodel-swap-1"},
    {"undo": "file", "file": "/tmp/perfmodel-swap-1/other"},
    {"undo": "cgroup", "folder": "/sys/fs/cgroup/memory"},
    {"undo": "cgroup", "folder": "/sys/fs/cgroup/../perfmodel-1"},
    {"undo": "setting", "name": "rotational/../../vda", "value": "1"},
    {"undo": "setting", "name": "vm/swappiness", "value": "1"},
]


@pytest.mark.parametrize("change", GOOD, ids=lambda change: str(list(change.values())[1]))
def test_what_we_change_can_be_undone(change: dict[str, object]) -> None:
    assert checked(dict(change) | {"more": 1}) == change
    assert len(describe(change).splitlines()) == 1


@pytest.mark.parametrize("change", BAD, ids=str)
def test_nothing_else_is_undone(tmp_path: Path, change: dict[str, object]) -> None:
    write(tmp_path, "proc/sys/kernel/random/boot_id", "boot-1\n")
    document = {"version": 1, "boot_id": "boot-1", "pid": 1, "changes": [change]}
    write(tmp_path, "state/journal.json", json.dumps(document))
    with pytest.raises(InputError, match="is damaged"):
        Journal(System(tmp_path), tmp_path / "state").restore()


def test_a_name_that_could_not_be_undone_is_not_used(tmp_path: Path) -> None:
    journal = Journal(System(tmp_path), tmp_path / "state")
    journal.acquire()
    with pytest.raises(CapabilityError, match="is no plain name"):
        journal.note_file(Path("/a folder/perfmodel-swap-1"))
    assert not journal.file.exists()
    journal.release()


def test_files_and_cgroups_that_were_never_made_are_no_failure(tmp_path: Path) -> None:
    journal = Journal(System(tmp_path), tmp_path / "state")
    journal.acquire()
    file = tmp_path / "perfmodel-swap-1"
    journal.note_file(file)
    journal.note_loop(99, file, added=False)
    journal.note_cgroup(tmp_path / "perfmodel-1")
    file.write_text("there")
    assert journal.restore() == 3
    assert not file.exists()
    journal.release()


# What is set


@pytest.fixture
def machine(tmp_path: Path) -> System:
    """The settings of a machine."""
    for size in (16, 32, 64, 128, 256, 512, 1024, 2048):
        write(tmp_path, f"{THP}/hugepages-{size}kB/enabled", "always inherit madvise [never]\n")
    write(tmp_path, f"{THP}/hugepages-2048kB/shmem_enabled", "[inherit] advise\n")
    write(tmp_path, f"{THP}/khugepaged/scan_sleep_millisecs", "10000\n")
    write(tmp_path, f"{THP}/khugepaged/pages_to_scan", "4096\n")
    write(tmp_path, "proc/sys/vm/page-cluster", "3\n")
    write(tmp_path, "sys/kernel/mm/swap/vma_ra_enabled", "true\n")
    write(tmp_path, "sys/module/zswap/parameters/enabled", "N\n")
    return System(tmp_path)


def test_each_scenario_brings_its_settings_and_all_go_back(machine: System, tmp_path: Path) -> None:
    plain = load_scenario("thp-roundtrip")
    other = story(
        Step("k", StepAction.KHUGEPAGED),
        settings=Settings(page_cluster=0, vma_readahead=False, zswap=Zswap.ON),
    )
    journal = Journal(machine, tmp_path / "state")
    journal.acquire()
    settings = KernelSettings(machine, journal, [plain, other], ["pte", "mthp-64k", "shmem-pmd"])

    def now(name: str) -> str:
        return setting_path(machine, name).read_text()

    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    settings.prepare()
    settings.adopt(other, "mthp-64k")
    assert (now("page-cluster"), now("vma_ra_enabled"), now("zswap")) == ("0", "false", "Y")
    assert now("hugepages-64kB/enabled") == "madvise"
    settings.adopt(plain, "pte")
    assert (now("page-cluster"), now("vma_ra_enabled"), now("zswap")) == ("3", "true", "N")
    for entry in MTHP_ENTRIES:
        size = entry.removeprefix("mthp-").removesuffix("k")
        assert now(f"hugepages-{size}kB/enabled") == "never"
    settings.adopt(attrs.evolve(other, settings=Settings(zswap=Zswap.OFF)), "pte")
    assert now("zswap") == "N"
    journal.restore()
    journal.release()
    for path, text in before.items():
        if path.parent != tmp_path / "state":
            assert path.read_text() in (text, text.strip(), "never", "inherit"), path


def test_zswap_is_not_touched_unless_asked_for(machine: System, tmp_path: Path) -> None:
    (tmp_path / "sys/module/zswap/parameters/enabled").unlink()
    journal = Journal(machine, tmp_path / "state")
    journal.acquire()
    plain = load_scenario("thp-roundtrip")
    settings = KernelSettings(machine, journal, [plain], ["pte"])
    settings.prepare()
    settings.adopt(plain, "pte")
    assert "zswap" not in journal.file.read_text()
    journal.release()


# What is read


def test_pagemap_records_are_counted() -> None:
    present, swapped = 1 << 63, 1 << 62 | 77 << 5 | 3
    records = np.array([present, swapped, 0, present], dtype=np.uint64)
    assert observe.count_pagemap(records) == {
        "pagemap_present_pages": 2,
        "pagemap_swapped_pages": 1,
    }
    assert observe.swap_slots(records).tolist() == [-1, 77, -1, -1]


SMAPS = """1000-2000 rw-p 00000000 00:00 0
Rss:                   4 kB
Swap:                  0 kB
2000-400000 rw-p 00000000 00:00 0
Rss:                2048 kB
Swap:                  8 kB
AnonHugePages:      2048 kB
400000-500000 rw-p 00000000 00:00 0
Rss:                 100 kB
"""


def test_smaps_are_summed_between_two_addresses() -> None:
    sums = observe.sum_smaps(SMAPS, 0x2000, 0x400000)
    assert observe.count_smaps(sums) == {
        "smaps_rss_pages": 512,
        "smaps_swap_pages": 2,
        "smaps_pmd_mapped_pages": 512,
    }


@pytest.mark.parametrize(
    ("mounts", "own", "expected"),
    [
        ("cgroup /cg/memory cgroup rw,memory 0 0\n", "", "cg/memory"),
        ("cgroup2 /cg cgroup2 rw 0 0\n", "0::/slice\n", "cg/slice"),
    ],
)
def test_where_a_cgroup_would_stand(tmp_path: Path, mounts: str, own: str, expected: str) -> None:
    write(tmp_path, "proc/mounts", mounts)
    write(tmp_path, "proc/self/cgroup", own)
    write(tmp_path, "cg/slice/cgroup.subtree_control", "cpu memory\n")
    folder = cgroup.folder_for(System(tmp_path))
    assert folder.parent == tmp_path / expected
    (tmp_path / "cg/slice/cgroup.subtree_control").write_text("cpu\n")
    if own:
        with pytest.raises(CapabilityError, match="no memory cgroup can be made here"):
            cgroup.folder_for(System(tmp_path))


def test_a_cgroup_without_reclaim_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CapabilityError, match="has no way to reclaim"):
        cgroup.make(tmp_path / "perfmodel-1")
    with pytest.raises(CapabilityError, match="cannot be made"):
        cgroup.make(tmp_path / "no" / "perfmodel-1")


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    write(tmp_path, "proc/mounts", "a / ext4 rw\nb /dev tmpfs rw\nc /dev/shm ramfs rw\n")
    system = System(tmp_path)
    assert system.file_system(tmp_path / "dev/shm/x") == "ramfs"
    assert system.file_system(tmp_path / "dev/shmx") == "tmpfs"
    assert system.file_system(tmp_path / "var") == "ext4"
    assert System(tmp_path / "none").file_system(tmp_path) == ""


# What is requested


@pytest.mark.parametrize("kind", PageContent)
def test_content_is_as_it_says(kind: PageContent) -> None:
    words = make_content(kind.value)
    assert words.nbytes == PMD_BYTES
    assert (words >= 0).all()
    pages = words.reshape(PAGES_PER_PMD, -1)
    distinct = len({page.tobytes() for page in pages})
    whole = kind not in (PageContent.ZERO, PageContent.ONE_NON_ZERO)
    assert distinct == (PAGES_PER_PMD if whole else 1 + (kind is PageContent.ONE_NON_ZERO))
    assert bool(words.any()) is (kind is not PageContent.ZERO)
    if kind is PageContent.COMPRESSIBLE:
        # Not one word over and over, which zram keeps without compressing it.
        assert all(len(set(page.tolist())) == 8 for page in pages)


@pytest.mark.parametrize(("clusters", "free", "slots"), [(5, 2, 100), (5, 0, 512), (4, 4, 7)])
def test_the_neighbour_keeps_the_slots_that_the_scenario_says(
    clusters: int, free: int, slots: int
) -> None:
    kept = kept_slots(clusters, free, slots).reshape(1 + clusters, PAGES_PER_PMD)
    assert kept.size * PAGE_BYTES == device_bytes(clusters)
    assert kept[0].sum() == PAGES_PER_PMD - 1  # all but the header
    assert (kept[1:].sum(axis=1) == [slots] * (clusters - free) + [0] * free).all()
    assert kept[1 : 1 + clusters - free, :slots].all()


def test_requests_say_which_process_a_fork_makes() -> None:
    steps = story(
        Step("f", StepAction.FORK),
        Step("g", StepAction.FORK, process=1),
        Step("t", StepAction.TOUCH, process=2, first_page=8, page_count=4, pages_per_2mib=2),
        Step("k", StepAction.RECLAIM),
    ).steps
    requested = _requested_steps(steps)[-4:]
    assert [step["child"] for step in requested[:2]] == [1, 2]
    assert [step["process"] for step in requested] == [0, 1, 2, 0]
    assert requested[2]["pages"] == [8, 10]
    assert requested[3]["of_the_system"]
    assert json.loads(json.dumps(requested)) == requested


def test_summary_has_what_was_observed() -> None:
    scenario = attrs.evolve(load_scenario("thp-roundtrip"))
    resident = iter([5, 7, 5])

    def repetition() -> dict[str, object]:
        step = {"elapsed_ns": 1, "counters": {}, "observed": {"x_pages": next(resident)}}
        mapping = ("pmd_mapped_bytes", "pte_mapped_bytes", "swap_entries", "page_table_bytes")
        return {
            "steps": [step] * len(scenario.steps),
            "mapping": dict.fromkeys(mapping, 0),
            "reference_ns": {"kernel": [1, 1]},
            "steal_ticks": 0,
        }

    raw = [repetition() for _ in range(3)]
    result = summarise(scenario, "pte", load_device("zram-lz4"), raw, "now")
    assert result.steps[0].observed == {"x_pages": 5}
    assert result.steps[0].unstable_counters == ("x_pages",)
