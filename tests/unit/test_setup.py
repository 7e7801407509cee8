"""What a machine is set up as, and that runs of different set-ups are not thrown together."""

import importlib.metadata
from pathlib import Path

import pyperf
import pytest

from perfmodel.errors import InputError
from perfmodel.measure.pyperf_hook import SetupHook, complaints, merge, setups
from perfmodel.measure.setup import differences, require_same, setup
from perfmodel.measure.system import System

THP = "sys/kernel/mm/transparent_hugepage"


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, f"{THP}/enabled", "always [madvise] never\n")
    write(tmp_path, f"{THP}/hugepages-64kB/enabled", "always inherit madvise [never]\n")
    write(tmp_path, f"{THP}/hugepages-64kB/stats/swpin", "3\n")
    write(tmp_path, "proc/sys/vm/page-cluster", "3\n")
    write(tmp_path, "proc/vmstat", "pgfault 7\nthp_swpout 1\nnr_free_pages 100\n")
    write(tmp_path, "proc/stat", "cpu  1 2 3 4 5 6 7 42 0 0\n")
    write(tmp_path, "proc/swaps", "Filename Type Size Used Priority\n/dev/sdb2 partition 1 0 5\n")
    driver = "sys/devices/system/cpu/cpu0/cpufreq"
    write(tmp_path, f"{driver}/scaling_driver", "acpi-cpufreq\n")
    write(tmp_path, f"{driver}/scaling_governor", "schedutil\n")
    return tmp_path


def test_setup_reads_the_active_values(root: Path) -> None:
    found = setup(System(root))
    assert found["thp_enabled"] == "madvise"
    assert found["hugepages-64kB/enabled"] == "never"
    assert found["page_cluster"] == "3"
    assert found["swap"] == "/dev/sdb2"
    assert found["frequency_driver"] == "acpi-cpufreq"
    assert found["zswap"] == found["thp_defrag"] == "unknown"
    assert found["virtualisation"] in ("guest", "bare metal")
    assert {"cpu_family", "kernel", "architecture"} <= set(found)


def test_an_empty_machine_has_a_setup_too(tmp_path: Path) -> None:
    found = setup(System(tmp_path))
    assert found["swap"] == "none"
    assert found["thp_enabled"] == "unknown"


def test_runs_of_different_setups_are_refused_with_what_differs(root: Path) -> None:
    one = setup(System(root))
    write(root, "proc/sys/vm/page-cluster", "0\n")
    other = setup(System(root))
    assert differences(one, one) == []
    assert differences(one, other) == ["page_cluster: 3, 0"]
    require_same({"a": one, "b": dict(one)})
    with pytest.raises(InputError, match="than a \\(page_cluster: 3, 0\\)") as caught:
        require_same({"a": one, "b": other, "c": one})
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith("b: evidence")


def recorded(root: Path, values: tuple[float, ...] = (1.0, 1.1)) -> pyperf.BenchmarkSuite:
    """A suite of one benchmark that ran with the hook, while a fault and a swap-in happened."""
    hook = SetupHook(System(root))
    with hook:
        write(root, "proc/vmstat", "pgfault 9\nthp_swpout 1\nnr_free_pages 90\npswpin 5\n")
        write(root, f"{THP}/hugepages-64kB/stats/swpin", "4\n")
        write(root, "proc/stat", "cpu  1 2 3 4 5 6 7 45 0 0\n")
    metadata: dict[str, object] = {}
    hook.teardown(metadata)
    run = pyperf.Run(values, metadata={"name": "swap", **metadata}, collect_metadata=False)
    return pyperf.BenchmarkSuite([pyperf.Benchmark([run])])


def test_hook_records_setup_and_what_moved(root: Path) -> None:
    metadata = recorded(root).get_benchmarks()[0].get_runs()[0].get_metadata()
    assert metadata["perfmodel_moved_pgfault"] == 2
    assert metadata["perfmodel_moved_nr_free_pages"] == -10
    assert metadata["perfmodel_moved_hugepages-64kB/stats/swpin"] == 1
    assert "perfmodel_moved_thp_swpout" not in metadata
    assert "perfmodel_moved_pswpin" not in metadata, "it was not there before"
    assert metadata["perfmodel_steal_ticks"] == 3
    assert metadata["perfmodel_setup_thp_enabled"] == "madvise"


def test_hook_is_an_entry_point() -> None:
    found = importlib.metadata.entry_points(group="pyperf.hook")
    names = {point.name: point.value for point in found}
    if "perfmodel" not in names:
        pytest.skip("perfmodel is installed without its entry points; install it again")
    assert names["perfmodel"] == "perfmodel.measure.pyperf_hook:SetupHook"


def test_merge_takes_the_same_setup_only(root: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.json" for name in "abc"]
    recorded(root).dump(str(files[0]))
    recorded(root).dump(str(files[1]))
    write(root, f"{THP}/hugepages-64kB/enabled", "[always] inherit madvise never\n")
    recorded(root).dump(str(files[2]))
    merged = merge(files[:2])
    assert len(merged.get_benchmarks()[0].get_runs()) == 2
    with pytest.raises(InputError, match="hugepages-64kB/enabled: never, always") as caught:
        merge(files)
    assert "c.json" in str(caught.value)


def test_runs_without_the_hook_are_refused() -> None:
    run = pyperf.Run((1.0,), metadata={"name": "bare"}, collect_metadata=False)
    with pytest.raises(InputError, match="bare: does not say its set-up; run it with --hook"):
        setups([pyperf.Benchmark([run])])


def test_complaints_say_why(root: Path) -> None:
    (steady,) = recorded(root, (1.0, 1.01)).get_benchmarks()
    said = "\n".join(complaints(steady))
    assert "the hypervisor gave CPU time to others in 1 of 1 runs" in said
    assert "governor schedutil" in said
    assert "standard deviation" not in said
    (shaky,) = recorded(root, (1.0, 2.0)).get_benchmarks()
    assert "swap is unstable: the standard deviation is 47% of the mean" in complaints(shaky)[0]
