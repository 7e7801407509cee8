"""What can be known of the live world without one: faked machines, damaged journals, summaries."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmodel.errors import CapabilityError, InputError
from perfmodel.measure import limits
from perfmodel.measure.capabilities import capabilities, measurable, missing_for, require
from perfmodel.measure.journal import Journal
from perfmodel.measure.run import measure_arms, summarise
from perfmodel.measure.system import System, chosen
from perfmodel.specs.catalog import load_device, load_scenario
from perfmodel.specs.policy import MEASURED_ENTRIES

THP = "sys/kernel/mm/transparent_hugepage"
SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A stock machine that can measure everything but `pmd`."""
    write(tmp_path, "proc/vmstat", "pgfault 7\nthp_swpout 1\npswpin 2\nzswpout 0\n")
    write(tmp_path, "proc/swaps", "Filename Type Size Used Priority\n")
    write(tmp_path, "proc/stat", "cpu  1 2 3 4 5 6 7 42 0 0\n")
    write(tmp_path, "proc/sys/kernel/random/boot_id", "boot-1\n")
    write(tmp_path, "sys/class/zram-control/hot_add", "")
    write(tmp_path, "sys/module/zswap/parameters/enabled", "N\n")
    for size in SIZES:
        write(tmp_path, f"{THP}/hugepages-{size}kB/enabled", "always inherit madvise [never]\n")
        write(tmp_path, f"{THP}/hugepages-{size}kB/stats/swpin", f"{size}\n")
    write(tmp_path, f"{THP}/hugepages-2048kB/shmem_enabled", "[inherit] advise\n")
    write(tmp_path, f"{THP}/khugepaged/scan_sleep_millisecs", "10000\n")
    return tmp_path


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(System, "is_root", lambda _: True)
    monkeypatch.setattr(System, "has_mkswap", lambda _: True)


def missing_names(root: Path, entry: str) -> str:
    return "\n".join(missing_for(entry, capabilities(System(root))))


def test_stock_machine_measures_all_but_pmd(root: Path) -> None:
    found = capabilities(System(root))
    assert measurable(MEASURED_ENTRIES, found) == [e for e in MEASURED_ENTRIES if e != "pmd"]
    assert "shmem-pmd stands in" in missing_names(root, "pmd")


def test_kernel_with_the_series_measures_pmd(root: Path) -> None:
    write(root, "proc/vmstat", "thp_swpout 1\nthp_swpout_pmd 0\n")
    assert missing_names(root, "pmd") == ""


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("proc/swaps", "Filename\n/dev/zram0 partition 1 0 5\n", "swap is in use on /dev/zram0"),
        ("proc/vmstat", "pgfault 1\n", "CONFIG_THP_SWAP"),
        ("proc/vmstat", "thp_swpout 1\nzswpout 3\n", "zswap is or was on"),
        ("sys/module/zswap/parameters/enabled", "Y\n", "zswap.enabled=0"),
    ],
)
def test_what_is_missing_is_said_with_a_remedy(root: Path, name: str, text: str, said: str) -> None:
    write(root, name, text)
    assert said in missing_names(root, "pte")
    assert measurable(MEASURED_ENTRIES, capabilities(System(root))) == []


def test_missing_zram_and_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "sys/class/zram-control/hot_add").unlink()
    monkeypatch.setattr(System, "is_root", lambda _: False)
    said = missing_names(root, "pte")
    assert "modprobe zram" in said
    assert "run as root" in said


def test_missing_mthp_size_hits_only_that_entry(root: Path) -> None:
    (root / THP / "hugepages-64kB/enabled").unlink()
    assert "mthp-64k" in missing_names(root, "mthp-64k")
    assert missing_names(root, "mthp-16k") == ""


def test_empty_machine_measures_nothing(tmp_path: Path) -> None:
    found = capabilities(System(tmp_path))
    assert measurable(MEASURED_ENTRIES, found) == []
    assert all(capability.remedy for capability in found)


def test_require_refuses_a_scenario_larger_than_memory(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "available_memory_bytes", lambda: 600 << 20)
    scenario, device = load_scenario("thp-roundtrip"), load_device("zram-lz4")
    with pytest.raises(CapabilityError, match="too large for this machine") as caught:
        require(["pte", "mthp-64k"], [scenario], device, System(root))
    assert len(caught.value.missing) == 1


def test_counters_are_read_under_the_kernels_names(root: Path) -> None:
    counters = System(root).counters()
    assert counters["hugepages-64kB/stats/swpin"] == 64
    assert counters["pswpin"] == 2
    # Faults are the process's own, from its resource usage, and what is not there is absent.
    assert "pgfault" not in counters
    assert "thp_split_pmd" not in counters


def test_system_reads_steal_time_and_choices(root: Path) -> None:
    assert System(root).steal_ticks() == 42
    assert chosen("always [madvise] never") == "madvise"
    assert chosen("10000\n") == "10000"


def test_journal_puts_settings_back_in_reverse_order(root: Path, tmp_path: Path) -> None:
    journal = Journal(System(root), tmp_path / "state")
    journal.acquire()
    setting = "hugepages-64kB/enabled"
    journal.change_setting(setting, "madvise", "never")
    journal.change_setting(setting, "always", "madvise")
    assert (root / THP / setting).read_text() == "always"
    # Another process, as after a kill, finds the same changes.
    assert len(Journal(System(root), tmp_path / "state").left_over()) == 2
    assert journal.restore() == 2
    assert (root / THP / setting).read_text() == "never"
    assert not journal.file.exists()
    journal.release()


def test_journal_of_an_earlier_boot_is_void(root: Path, tmp_path: Path) -> None:
    journal = Journal(System(root), tmp_path / "state")
    journal.acquire()
    journal.change_setting("hugepages-64kB/enabled", "madvise", "never")
    write(root, "proc/sys/kernel/random/boot_id", "boot-2\n")
    assert journal.left_over() == []
    assert journal.restore() == 0
    assert (root / THP / "hugepages-64kB/enabled").read_text() == "madvise"


def test_journal_keeps_what_could_not_be_put_back(root: Path, tmp_path: Path) -> None:
    journal = Journal(System(root), tmp_path / "state")
    journal.acquire()
    journal.change_setting("hugepages-64kB/enabled", "madvise", "never")
    journal.change_setting("hugepages-32kB/enabled", "madvise", "never")
    broken = root / THP / "hugepages-64kB/enabled"
    broken.unlink()
    broken.mkdir()
    with pytest.raises(CapabilityError, match="hugepages-64kB"):
        journal.restore()
    assert [change["name"] for change in journal.left_over()] == ["hugepages-64kB/enabled"]
    assert (root / THP / "hugepages-32kB/enabled").read_text() == "never"


def test_second_journal_cannot_acquire(root: Path, tmp_path: Path) -> None:
    first, second = (Journal(System(root), tmp_path / "state") for _ in range(2))
    first.acquire()
    with pytest.raises(CapabilityError, match="another perfmodel measurement"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


@pytest.mark.parametrize(
    "change",
    [
        {"undo": "setting", "name": "../../../../etc/passwd", "value": "x"},
        {"undo": "setting", "name": "hugepages-64kB/enabled", "value": "a b;c"},
        {"undo": "zram", "number": "0; reboot", "before": []},
        {"undo": "zram", "number": -1, "before": []},
        {"undo": "format", "name": "/dev/vda"},
    ],
)
def test_journal_undoes_nothing_that_is_not_ours(
    root: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    folder = tmp_path / "state"
    text = json.dumps({"version": 1, "boot_id": "boot-1", "pid": 1, "changes": [change]})
    write(folder, "journal.json", text)
    with pytest.raises(InputError, match=r"journal\.json: is damaged"):
        Journal(System(root), folder).restore()
    assert (folder / "journal.json").exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["changes", "boot_id", "undo", "name", "value", "number", "before"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode())))
def test_any_journal_ends_in_one_clear_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("state")
    (folder / "journal.json").write_bytes(content)
    journal = Journal(System(folder), folder)
    told = ""
    try:
        assert isinstance(journal.left_over(), list)
    except InputError as error:
        told = str(error)
    assert len(told.splitlines()) <= 1


def repetition(elapsed: int, pswpin: int) -> dict[str, object]:
    step = {"elapsed_ns": elapsed, "counters": {"pswpin": pswpin, "pgmajfault": 3}}
    return {
        "steps": [step] * 4,
        "mapping": {
            "pmd_mapped_bytes": 0,
            "pte_mapped_bytes": 64 << 20,
            "swap_entries": 0,
            "page_table_bytes": 131072,
        },
        "reference_ns": {"kernel": [4, 6]},
        "steal_ticks": 0,
    }


def test_summary_keeps_all_repetitions_and_names_what_moved() -> None:
    raw = [repetition(100 + i, pswpin) for i, pswpin in enumerate([512, 512, 515, 512, 513])]
    result = summarise(load_scenario("thp-roundtrip"), "pte", load_device("zram-lz4"), raw, "now")
    step = result.step("touch")
    assert step.elapsed_ns == 101.0  # the 25 % quantile of 100 ... 104
    assert step.interval_ns == (100.2, 103.0)
    assert step.repetitions_ns == (100.0, 101.0, 102.0, 103.0, 104.0)
    assert step.counters["pswpin"] == 512
    assert step.unstable_counters == ("pswpin",)
    assert step.breakdown_ns == {}
    assert result.reference("kernel") == (4.0,) * 5
    assert result.reference("none") == ()


@pytest.mark.parametrize("repetitions", [0, 2, 1001, -5])
def test_repetitions_are_bounded(repetitions: int) -> None:
    with pytest.raises(InputError, match="repetitions: must be a whole number from 3 to 1000"):
        measure_arms(
            [(load_scenario("thp-roundtrip"), "pte")],
            load_device("zram-lz4"),
            repetitions=repetitions,
        )
