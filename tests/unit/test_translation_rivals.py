"""Equal to other simulators, to the last access."""

import numpy as np
import pytest

from perfmodel.models.stacks import associativity_hits, fully_associative_hits
from perfmodel.models.translation import map_window, translate
from tests.hardware import plain_hardware, specified

GIB = 1 << 30
PAGE = 4096
LENGTH = 60_000
PAGES = 1 << 13


def zipf(generator: np.random.Generator) -> np.ndarray:
    weights = 1 / np.arange(1, PAGES + 1) ** 0.99
    return generator.permutation(PAGES)[generator.choice(PAGES, LENGTH, p=weights / weights.sum())]


def chase(generator: np.random.Generator) -> np.ndarray:
    return np.tile(generator.permutation(700), LENGTH // 700)


TRACES = {
    "uniform": lambda generator: generator.integers(0, PAGES, LENGTH),
    "sequential": lambda _: np.arange(LENGTH) // 7 % PAGES,
    "zipf": zipf,
    "chase": chase,
}


@pytest.fixture(params=TRACES)
def pages(request):
    return TRACES[request.param](np.random.default_rng(11)).astype(np.int64)


def pycachesim_hits(levels, addresses):
    cachesim = pytest.importorskip("cachesim", reason="pycachesim is not installed")
    above = None
    for index in range(len(levels), 0, -1):
        sets, ways, line = levels[index - 1]
        above = cachesim.Cache(f"L{index}", sets, ways, line, "LRU", load_from=above)
        if index == len(levels):
            last = above
    memory = cachesim.MainMemory()
    memory.load_to(last)
    memory.store_from(last)
    simulator = cachesim.CacheSimulator(above, memory)
    simulator.load(addresses.tolist(), length=1)
    return [level["HIT_count"] for level in list(simulator.stats())[: len(levels)]]


def test_tlbs_equal_pycachesim(pages):
    hardware = specified(plain_hardware(l1=(16, 4), stlb=(128, 8)))
    hits = translate(pages * PAGE, hardware, map_window(PAGES * PAGE)).tlb_hits
    rival = pycachesim_hits([(16, 4, PAGE), (128, 8, PAGE)], pages * PAGE)
    assert [hits["L1"], hits["STLB"]] == rival


def test_data_caches_equal_pycachesim(pages):
    # One 1 GiB page: a single walk, whose two lines the other simulator gets to see as well.
    caches = ((64, 8), (512, 8), (1024, 16))
    hardware = plain_hardware(caches=caches, walk_caches={})
    lines = pages * 3 % (1 << 17)
    counts = translate(lines, specified(hardware), map_window(GIB, "1g"), line_numbers=True)
    data, tables = GIB // 64, (512, 1, 1)  # tables of level 1, 2 and 3 lie before the root
    pud, root = data + sum(tables[:2]) * 64, data + sum(tables) * 64
    rival = pycachesim_hits(
        [(sets, ways, 64) for sets, ways in caches],
        np.concatenate(([root, pud], lines)) * 64,
    )
    assert counts.table_references == {"L1": 0, "L2": 0, "L3": 0, "dram": 2}
    assert [counts.data_references[name] for name in ("L1", "L2", "L3")] == rival


@pytest.mark.parametrize("ways", [1, 3, 8, 16])
def test_hits_of_all_associativities_equal_pycachesim(pages, ways):
    assert (
        associativity_hits(pages, 64)[ways - 1] == pycachesim_hits([(64, ways, 64)], pages * 64)[0]
    )


@pytest.mark.parametrize("entries", [64, 1000])
def test_fully_associative_arrays_equal_libcachesim(pages, entries):
    rival = pytest.importorskip("libcachesim", reason="libcachesim is not installed")
    cache, request = rival.LRU(entries), rival.Request()
    request.obj_size = 1
    hits = 0
    for page in pages.tolist():
        request.obj_id = page + 1
        hits += cache.get(request)
    assert fully_associative_hits(pages)[min(entries, len(set(pages.tolist())))] == hits
    hardware = specified(plain_hardware(l1=(1, entries), stlb=(1, 1)))
    assert translate(pages * PAGE, hardware, map_window(PAGES * PAGE)).tlb_hits["L1"] == hits
