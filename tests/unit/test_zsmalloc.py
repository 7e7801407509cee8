"""Size classes, pools that age, zswap's limits and units of several pages, by known answers."""

import math
from itertools import pairwise

import numpy as np
import pytest

from perfmodel.constants import PAGE_BYTES
from perfmodel.models.compression_units import ZSTD, CompressionUnit
from perfmodel.models.zsmalloc import SizeClass, SizeClasses, Zsmalloc
from perfmodel.models.zswap import Zswap
from perfmodel.report.zram import class_lines
from perfmodel.specs.catalog import load_device
from perfmodel.specs.codec import ContentCost
from perfmodel.specs.quantity import How, Quantity
from perfmodel.specs.zswap import ZswapPool


@pytest.mark.parametrize(
    ("chain", "watermark", "classes"),
    # Documentation/mm/zsmalloc.rst names the first size that takes a page of its own as the one
    # behind 3264 bytes for chains of 4, 3632 for 8, 3840 for 16.
    [(4, 3264, 69), (8, 3632, 119), (16, 3840, 192)],
)
def test_largest_class_that_shares_pages(chain, watermark, classes):
    table = SizeClasses(chain)
    assert max(found.object_bytes for found in table.classes if not found.huge) == watermark
    assert table.huge_bytes == watermark - 8 + 1
    assert len(table.classes) == classes
    assert table.stored_bytes([watermark - 8, watermark - 7]).tolist() == [watermark - 8, 4096]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, (32, 1, 128)),
        (24, (32, 1, 128)),
        (25, (48, 3, 256)),  # 3 x 4096 = 256 x 48
        (1500, (1536, 3, 8)),  # 3/8 of a page
        (2040, (2048, 1, 2)),
        (2041, (2176, 8, 15)),  # 2064 to 2176 share a form: 15 in 8 pages
        (3624, (3632, 8, 9)),
        (3625, (4096, 1, 1)),
        (4096, (4096, 1, 1)),
    ],
)
def test_known_classes(size, expected):
    assert SizeClasses().of(size) == SizeClass(*expected)


def test_every_class_is_the_densest_form_of_its_sizes():
    for found in SizeClasses().classes:
        density = found.objects / found.pages
        if found.object_bytes & (found.object_bytes - 1):
            for pages in range(1, 9):
                waste = pages * PAGE_BYTES % found.object_bytes
                assert waste >= found.waste_bytes
        assert density == pytest.approx(
            (PAGE_BYTES - found.waste_bytes / found.pages) / found.object_bytes
        )


@pytest.mark.parametrize("size", [0, -1, 4097])
def test_sizes_that_no_page_has(size):
    with pytest.raises(ValueError, match="sizes must be from 1 to 4096"):
        SizeClasses().index(size)


@pytest.mark.parametrize(
    "wrong", [{"chain_pages": 3}, {"chain_pages": 17}, {"chain_pages": 8.0}, {"unit_pages": 3}]
)
def test_pools_that_no_kernel_has(wrong):
    with pytest.raises(ValueError, match="must be"):
        SizeClasses(**wrong)


def test_the_table_covers_all_sizes_once():
    lines = class_lines(SizeClasses())[2:]
    spans = [line.split("|")[1].split(" to ") for line in lines]
    assert spans[0][0].strip() == "1"
    assert spans[-1][1].strip() == "4096"
    for before, after in pairwise(spans):
        assert int(after[0]) == int(before[1]) + 1


# Pools


@pytest.mark.parametrize("size", [90, 1300, 2082, 3000, 4096])
@pytest.mark.parametrize("count", [1, 7, 500])
def test_equal_objects_fill_one_zspage_after_the_other(size, count):
    pool = Zsmalloc(count)
    pool.store(range(count), [size] * count)
    found = pool.classes.of(size)
    zspages = math.ceil(count / found.objects)
    assert pool.bytes == zspages * found.pages * PAGE_BYTES
    assert pool.stored_bytes == count * size
    assert pool.overhead_bytes == 8 * count + 56 * zspages
    assert pool.compact() == 0


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_random_frees_leave_zspages_behind_until_compaction(kept):
    count = 40_000
    pool = Zsmalloc(count)
    pool.store(range(count), [2082] * count)
    found = pool.classes.of(2082)
    generator = np.random.default_rng(5)
    pool.free(np.flatnonzero(generator.random(count) >= kept).tolist())
    # A zspage goes when all its objects are gone.
    zspages = count / found.objects
    expected = zspages * (1 - (1 - kept) ** found.objects)
    spread = math.sqrt(zspages * (1 - kept) ** found.objects)
    assert pool.zspages == pytest.approx(expected, abs=5 * spread + 1)
    before, freeable = pool.pages, pool.freeable_pages
    assert pool.compact() == freeable
    assert pool.pages == before - freeable
    assert pool.zspages == math.ceil(pool.objects / found.objects)


def test_writing_a_page_anew_takes_the_new_place_first():
    pool = Zsmalloc(1)
    pool.store([0], [4096])
    pool.store([0], [4096])
    # Two zspages for a moment, one in the end; the second has another number.
    assert (pool.pages, pool.objects) == (1, 1)
    assert int(pool.state.slot_zspage[0]) == 1


def test_a_size_of_nothing_frees_the_slot():
    pool = Zsmalloc(2)
    pool.store([0, 1, 0], [100, 100, 0])
    assert (pool.objects, pool.stored_bytes) == (1, 100)


@pytest.mark.parametrize(
    ("slots", "sizes", "said"),
    [([2], [1], "slots must be from 0 to 1"), ([-1], [1], "slots"), ([0], [1, 2], "a size for")],
)
def test_wrong_calls_of_a_pool(slots, sizes, said):
    with pytest.raises(ValueError, match=said):
        Zsmalloc(2).store(slots, sizes)


# zswap


def zswap_of(pages, slots=64, **changes):
    return Zswap(slots, pages * PAGE_BYTES, max_pool_percent=100, **changes)


def test_a_full_pool_rejects_until_it_has_shrunk_below_the_threshold():
    zswap = zswap_of(10, accept_threshold_percent=50)
    for slot in range(10):
        assert zswap.store(slot, [4096]).accepted
    assert zswap.bytes == 10 * PAGE_BYTES
    # The first run finds fresh entries alone: it takes 16 marks away, of 10 entries, and so writes
    # the coldest ones back on the second look at them, down to the threshold.
    outcome = zswap.store(20, [4096])
    assert not outcome.accepted
    assert outcome.written_back == (0, 1, 2, 3, 4)
    counters = zswap.counters()
    assert counters["pool_limit_hit"] == 1
    assert counters["zswpwb"] == counters["written_back_pages"] == 5
    assert counters["stored_pages"] == 5
    assert zswap.store(20, [4096]).accepted
    assert zswap.coldest_first() == (5, 6, 7, 8, 9, 20)


def test_the_shrinker_gives_up_after_sixteen_second_chances():
    zswap = zswap_of(40)
    for slot in range(40):
        assert zswap.store(slot, [4096]).accepted
    assert zswap.store(50, [4096]).written_back == ()
    assert zswap.coldest_first()[:2] == (16, 17)
    assert zswap.store(50, [4096]).written_back == ()
    # The third run takes the last 8 marks away, and then writes back to nine tenths.
    assert zswap.store(50, [4096]).written_back == (0, 1, 2, 3)
    assert zswap.counters()["pool_limit_hit"] == 3


def test_a_rejected_folio_leaves_nothing_behind():
    zswap = zswap_of(100, keeps_incompressible=False)
    assert zswap.store(0, [100, 100]).accepted
    assert not zswap.store(0, [200, 5000]).accepted
    assert (zswap.bytes, zswap.counters()["stored_pages"]) == (0, 0)
    assert zswap.counters()["reject_compress_poor"] == 1
    assert zswap.counters()["zswpout"] == 2


def test_limits_count_whole_pages_and_round_down():
    zswap = Zswap(1, 1003 * PAGE_BYTES + 5)
    assert (zswap.max_pages, zswap.accept_pages) == (200, 180)


def test_loading_forgets_the_page():
    zswap = zswap_of(10)
    zswap.store(3, [1000])
    assert zswap.load(3)
    assert not zswap.load(3)
    assert zswap.counters()["zswpin"] == 1
    assert (zswap.bytes, zswap.stored_bytes, zswap.overhead_bytes) == (0, 0, 0)


def test_a_preset_says_the_limits():
    cost = Quantity(1.0, 0.0, "ns", "test", How.ASSUMED)
    spec = ZswapPool("zstd", cost, cost, max_pool_percent=50, accept_threshold_percent=80)
    zswap = Zswap.of(spec, 10, 100 * PAGE_BYTES)
    assert (zswap.max_pages, zswap.accept_pages) == (50, 40)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_pool_percent": 101},
        {"accept_threshold_percent": -1},
        {"scan_pages": 0},
        {"classes": SizeClasses(8, 16)},
    ],
)
def test_a_zswap_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="must be"):
        Zswap(10, PAGE_BYTES, **wrong)


def test_wrong_calls_of_zswap():
    zswap = zswap_of(10, slots=4)
    with pytest.raises(ValueError, match="slots must be from 0 to 3"):
        zswap.store(3, [1, 1])
    with pytest.raises(ValueError, match="at least 1 byte"):
        zswap.store(0, [0])


# Units of several pages


def cost(compress=1000.0, decompress=500.0, size=1000.0):
    def ns(value):
        return Quantity(value, 0.0, "ns", "test", How.ASSUMED)

    return ContentCost(ns(compress), ns(decompress), Quantity(size, 0.0, "byte", "t", How.ASSUMED))


def test_a_unit_of_one_page_is_a_page():
    unit = CompressionUnit(cost(), 1)
    assert (unit.compress_ns, unit.decompress_ns, unit.compressed_bytes) == (1000.0, 500.0, 1000)
    found = SizeClasses().of(1000)
    assert unit.memory_bytes == found.pages * PAGE_BYTES / found.objects
    assert unit.break_even_pages() == 1
    assert unit.access_ns(1) == 500.0


def test_published_times_and_sizes_of_64_kib_units_come_back():
    unit = CompressionUnit(cost(196_000.0, 100.0, 0.2354 * PAGE_BYTES), 16)
    assert unit.compress_ns / 16 == pytest.approx(71_600, rel=0.005)
    assert unit.compressed_bytes / (16 * PAGE_BYTES) == pytest.approx(0.1905, rel=0.005)
    assert ZSTD.compress_setup_share.how is How.MEASURED


def test_one_page_out_of_a_unit_pays_for_all_of_it():
    unit = CompressionUnit(cost(), 16)
    share = ZSTD.decompress_setup_share.value
    assert unit.access_ns(1) == pytest.approx(500 * (share + 16 * (1 - share)))
    assert unit.access_ns(16) * 16 == pytest.approx(unit.access_ns(1))
    assert unit.access_ns(16) < 500 < unit.access_ns(4)
    assert unit.break_even_pages() == pytest.approx(unit.access_ns(1) / 500)
    with pytest.raises(ValueError, match="from 1 to 16"):
        unit.access_ns(17)


def test_what_does_not_compress_is_kept_whole():
    unit = CompressionUnit(cost(size=4096.0), 16)
    assert unit.compressed_bytes == unit.memory_bytes == 16 * PAGE_BYTES
    assert unit.ratio == 1.0


def test_wide_classes_cost_larger_units_memory():
    # Classes of 64 KiB units are 256 bytes apart before they are merged, those of pages 16.
    pages, units = SizeClasses(8), SizeClasses(8, 16)
    assert units.of(40_000).object_bytes - 40_000 > pages.of(2500).object_bytes - 2500
    assert units.of(1000) == pages.of(1000)
    assert units.unit_bytes == 64 << 10


@pytest.mark.parametrize("name", ["zram-lz4"])
def test_units_of_a_preset(name):
    codec = load_device(name).codec
    for found in codec.values():
        if found.compressed_bytes.value:
            assert CompressionUnit(found, 16).ratio <= 1.0
