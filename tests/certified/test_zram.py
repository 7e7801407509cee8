"""zsmalloc's model takes the pages that a live kernel's zram took, exactly; presets are rebuilt."""

from pathlib import Path

import pytest

from perfmodel.calibrate.contents import codec_times
from perfmodel.constants import PAGE_BYTES
from perfmodel.errors import InputError
from perfmodel.measure.zram_probe import MmStat
from perfmodel.models.zsmalloc import SizeClasses, Zsmalloc
from perfmodel.results.store import load_measurements
from perfmodel.results.zram import ZramMeasurement, load_zram, save_zram
from perfmodel.specs.catalog import load_device, load_machine
from perfmodel.specs.quantity import How
from perfmodel.specs.scenario import PageContent

MEASURED = Path(__file__).parents[2] / "calibration" / "measured"
PROBES = sorted(MEASURED.rglob("*-zram-*.json"))
PROFILE = "intel-emerald-rapids-guest"
ALGORITHMS = ("lz4", "lzo-rle", "lzo")
MEASURED_PRESETS = ("zram-lz4", "zram-lzo-rle", "zram-lzo")


def by_name(path: Path) -> str:
    return path.stem


@pytest.fixture(params=PROBES, ids=by_name)
def seen(request: pytest.FixtureRequest) -> ZramMeasurement:
    return load_zram(request.param)


def test_every_algorithm_was_seen() -> None:
    assert {load_zram(path).algorithm for path in PROBES} == set(ALGORITHMS)


def test_size_classes_are_those_of_the_kernel(seen: ZramMeasurement) -> None:
    classes = SizeClasses()
    for observed in seen.classes:
        for size in observed.sizes:
            found = classes.of(size)
            assert (found.pages, found.objects) == (observed.pages, observed.objects), size
    # Where zram begins to keep pages as they are.
    stored = [size for observed in seen.classes for size in observed.sizes if size < PAGE_BYTES]
    assert max(stored) < classes.huge_bytes


def test_almost_every_class_was_seen() -> None:
    classes = SizeClasses()
    found = {
        classes.of(size)
        for path in PROBES
        for observed in load_zram(path).classes
        for size in observed.sizes
    }
    # No page compresses to 24 bytes.
    assert set(classes.classes) - found == {classes.of(1)}


def test_memory_over_its_life_is_that_of_the_kernel(seen: ZramMeasurement) -> None:
    pool = Zsmalloc(1 + max(slot for step in seen.aging for slot in step.slots))
    for step in seen.aging:
        if step.action == "compact":
            pool.compact()
            assert pool.pages == step.pages[-1]
        for index, slot in enumerate(step.slots):
            pool.store([slot], [step.sizes[index] if step.action == "store" else 0])
            assert pool.pages == step.pages[index]
    assert sum(len(step.pages) for step in seen.aging) > 2000


def test_memory_of_each_content_is_that_of_the_kernel(seen: ZramMeasurement) -> None:
    assert len(seen.timings) == 5
    for timing in seen.timings:
        stat = MmStat(*timing.mm_stat)
        stored = seen.pages - stat.same_pages
        assert stat.orig_data_size == seen.pages * PAGE_BYTES
        if not stored:
            assert (stat.compr_data_size, stat.mem_used_total) == (0, 0)
            continue
        # Sizes of one content differ by a byte or two, and stay in one class.
        size = round(stat.compr_data_size / stored)
        pool = Zsmalloc(stored)
        pool.store(range(stored), [size] * stored)
        assert pool.bytes == stat.mem_used_total
        assert stat.huge_pages == (stored if size == PAGE_BYTES else 0)


@pytest.mark.parametrize("name", MEASURED_PRESETS)
def test_presets_say_what_was_measured(name: str) -> None:
    device = load_device(name)
    files = sorted((MEASURED / PROFILE).glob(f"*-content-{device.algorithm}-[0-9].json"))
    assert len(files) >= 2
    times = codec_times([load_measurements(file) for file in files], load_machine(PROFILE))
    for content, time in times.items():
        cost = device.codec[content]
        assert cost.compress_page_ns.value == pytest.approx(time.compress_ns, abs=1)
        assert cost.decompress_page_ns.value == pytest.approx(time.decompress_ns, abs=1)
        assert cost.compress_page_ns.spread == pytest.approx(time.compress_spread_ns, abs=1)
        assert cost.decompress_page_ns.spread == pytest.approx(time.decompress_spread_ns, abs=1)
        assert cost.compress_page_ns.how is cost.decompress_page_ns.how is How.MEASURED
    probe = next(p for p in map(load_zram, PROBES) if p.algorithm == device.algorithm)
    for timing in probe.timings:
        size = MmStat(*timing.mm_stat).compr_data_size / probe.pages
        found = device.codec[PageContent(timing.content)].compressed_bytes
        assert found.value == pytest.approx(size, abs=0.5)
        assert found.how is How.MEASURED


def test_codec_times_need_pages_of_zeros() -> None:
    file = sorted((MEASURED / PROFILE).glob("*-content-lz4-1.json"))[0]
    run = [result for result in load_measurements(file) if "zero" not in result.scenario]
    with pytest.raises(InputError, match="no round trip with pages of zeros"):
        codec_times([run], load_machine(PROFILE))


def test_a_probe_is_read_back_as_it_was(tmp_path: Path) -> None:
    seen = load_zram(PROBES[0])
    save_zram(seen, tmp_path / "copy.json")
    assert load_zram(tmp_path / "copy.json") == seen
    with pytest.raises(InputError, match="never overwritten"):
        save_zram(seen, tmp_path / "copy.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "is no file of perfmodel-zram"),
        ('{"format": "perfmodel-zram", "version": 2}', "version: must be 1"),
        ('{"format": "perfmodel-zram", "version": 1}', "measurement: is missing"),
    ],
)
def test_foreign_probes_are_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(InputError, match=said):
        load_zram(tmp_path / "file.json")
