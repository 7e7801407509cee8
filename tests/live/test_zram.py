"""zsmalloc's model beside the live kernel's zram, page by page."""

import pytest

from perfmodel.measure.system import System
from perfmodel.measure.zram_probe import ZramProbe, age, observe_classes, prefix_page, time_contents
from perfmodel.models.zsmalloc import SizeClasses, Zsmalloc
from perfmodel.specs.catalog import load_device

SLOTS = 300


@pytest.fixture
def probe():
    with ZramProbe(load_device("zram-lz4"), 512) as opened:
        yield opened


def test_memory_is_that_of_the_model_through_stores_frees_and_compaction(probe):
    pool = Zsmalloc(SLOTS)
    for step in age(probe, SLOTS, batch=200, seed=7):
        if step.action == "compact":
            pool.compact()
            assert pool.pages == step.pages[-1]
        for index, slot in enumerate(step.slots):
            pool.store([slot], [step.sizes[index] if step.action == "store" else 0])
            assert pool.pages == step.pages[index]
    assert probe.statistics().mem_used_total == 0


def test_classes_are_those_of_the_model(probe):
    classes = SizeClasses()
    for observed in observe_classes(probe):
        for size in observed.sizes:
            assert (observed.pages, observed.objects) == classes.of(size)[1:]


def test_contents_are_timed_and_freed(probe):
    timings = time_contents(probe, {"page": prefix_page(1000)[None]}, repetitions=3)
    assert [len(timing.write_ns) for timing in timings] == [3]
    assert timings[0].mm_stat[0] == 512 * 4096
    assert probe.statistics().orig_data_size == 0


def test_the_device_is_gone_after_an_error():
    before = System().zram_numbers()
    seen = []

    def fail():
        with ZramProbe(load_device("zram-lz4"), 512):
            seen.extend(System().zram_numbers())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert len(seen) == len(before) + 1
    assert System().zram_numbers() == before
