"""zsmalloc and zswap against their oracles, operation by operation."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perfmodel.constants import PAGE_BYTES
from perfmodel.models.zsmalloc import MOST_CHAIN_PAGES, SizeClasses, Zsmalloc
from perfmodel.models.zswap import Zswap
from tests.oracles import zsmalloc as oracle

SLOTS = 40
# A few sizes, so that objects share classes: two large classes, some small, and whole pages.
SIZES = st.sampled_from((1, 24, 25, 100, 700, 1300, 1305, 2040, 3000, 3624, 3625, 4088, 4096))
POOL_STEPS = st.lists(
    st.tuples(st.just("store"), st.integers(0, SLOTS - 1), SIZES | st.integers(1, PAGE_BYTES))
    | st.tuples(st.just("free"), st.integers(0, SLOTS - 1), st.just(0))
    | st.tuples(st.just("compact"), st.just(0), st.just(0)),
    max_size=150,
)


@given(steps=POOL_STEPS, chain=st.sampled_from((4, 8, 9, 16)))
def test_pool_takes_the_pages_that_the_oracle_says(steps, chain):
    pool, slow = Zsmalloc(SLOTS, SizeClasses(chain)), oracle.Pool(chain)
    for action, slot, size in steps:
        if action == "store":
            pool.store([slot], [size])
            slow.store(slot, size)
        elif action == "free":
            pool.free([slot])
            slow.drop(slot)
        else:
            before = pool.freeable_pages
            assert pool.compact() == slow.compact() == before
            assert pool.freeable_pages == 0
        assert pool.pages == slow.pages
        assert pool.stored_bytes == slow.stored_bytes
        assert pool.objects == len(slow.place)
        places = [int(place) for place in pool.state.slot_object]
        assert all(places[slot] == found[2] for slot, found in slow.place.items())


@given(steps=POOL_STEPS)
def test_one_call_does_what_single_ones_do(steps):
    stores = [(slot, size) for action, slot, size in steps if action != "compact"]
    whole, single = Zsmalloc(SLOTS), Zsmalloc(SLOTS)
    whole.store([slot for slot, _ in stores], [size for _, size in stores])
    for slot, size in stores:
        single.store([slot], [size])
    assert whole.pages == single.pages
    assert (whole.state.slot_zspage == single.state.slot_zspage).all()


@given(steps=POOL_STEPS)
def test_an_emptied_pool_takes_nothing(steps):
    pool = Zsmalloc(SLOTS)
    for _, slot, size in steps:
        pool.store([slot], [size])
    pool.free(range(SLOTS))
    assert (pool.pages, pool.objects, pool.stored_bytes, pool.overhead_bytes) == (0, 0, 0, 0)


@given(
    chain=st.integers(4, MOST_CHAIN_PAGES),
    sizes=st.lists(st.integers(1, PAGE_BYTES), min_size=1, max_size=50),
)
def test_classes_are_those_of_the_oracle(chain, sizes):
    classes = SizeClasses(chain)
    table = oracle.class_table(chain)
    assert [tuple(found) for found in classes.classes] == table
    assert classes.huge_bytes == oracle.huge_threshold(table)
    slow = oracle.Pool(chain)
    assert classes.index(sizes).tolist() == [slow.class_of(size) for size in sizes]


@given(
    chain=st.integers(4, MOST_CHAIN_PAGES),
    unit=st.sampled_from((1, 2, 4, 8, 16, 32)),
    data=st.data(),
)
def test_an_object_fits_its_class_and_no_smaller_one(chain, unit, data):
    classes = SizeClasses(chain, unit)
    size = data.draw(st.integers(1, classes.unit_bytes))
    index = int(classes.index(size))
    found = classes.classes[index]
    # A whole page, or unit, keeps its handle elsewhere.
    whole = size + oracle.HANDLE > PAGE_BYTES and found.object_bytes in (
        PAGE_BYTES,
        classes.unit_bytes,
    )
    assert size + (0 if whole else oracle.HANDLE) <= found.object_bytes
    assert found.objects * found.object_bytes <= found.pages * PAGE_BYTES
    assert found.waste_bytes < found.object_bytes
    if index and not whole:
        assert classes.classes[index - 1].object_bytes < size + oracle.HANDLE


FOLIOS = st.tuples(
    st.just("store"),
    st.sampled_from((0, 1, 2, 4, 8, 16, 24, 32)),
    st.lists(st.sampled_from((90, 1300, 2082, 3700, 4096, 5000)), min_size=1, max_size=8),
)
ZSWAP_STEPS = st.lists(
    FOLIOS
    | st.tuples(
        st.sampled_from(("load", "free", "shrink")), st.integers(0, SLOTS - 1), st.just([])
    ),
    max_size=80,
)


@given(
    steps=ZSWAP_STEPS,
    max_pages=st.integers(0, 12),
    accept=st.integers(0, 100),
    writeback=st.booleans(),
    keeps=st.booleans(),
    scan=st.sampled_from((1, 3, 32)),
    at_once=st.booleans(),
)
def test_zswap_does_what_the_oracle_does(steps, max_pages, accept, writeback, keeps, scan, at_once):
    zswap = Zswap(
        SLOTS,
        max_pages * PAGE_BYTES,
        max_pool_percent=100,
        accept_threshold_percent=accept,
        writeback=writeback,
        keeps_incompressible=keeps,
        scan_pages=scan,
    )
    slow = oracle.Zswap(
        max_pages,
        max_pages * accept // 100,
        writeback=writeback,
        keeps_incompressible=keeps,
        scan=scan,
    )
    for action, slot, sizes in steps:
        if action == "store":
            outcome = zswap.store(slot, sizes, shrink=at_once)
            assert outcome.accepted is slow.store(slot, sizes)
            written = slow.shrink() if at_once and slow.queued else []
            assert outcome.written_back == tuple(written)
            assert zswap.shrink_queued is slow.queued
        elif action == "load":
            assert zswap.load(slot) is slow.load(slot)
        elif action == "free":
            zswap.free(slot)
            slow.free(slot)
        else:
            assert zswap.shrink() == tuple(slow.shrink())
        assert zswap.counters() == slow.counters()
        assert zswap.coldest_first() == tuple(slow.lru)
        assert zswap.pages == slow.pool.pages
        assert zswap.stored_bytes == slow.pool.stored_bytes


@given(sizes=st.lists(st.integers(1, PAGE_BYTES), min_size=1, max_size=SLOTS))
def test_zswap_without_a_limit_is_a_pool(sizes):
    zswap, pool = Zswap(SLOTS, 1 << 40), Zsmalloc(SLOTS)
    for slot, size in enumerate(sizes):
        assert zswap.store(slot, [size]).accepted
    pool.store(np.arange(len(sizes)), sizes)
    assert zswap.bytes == pool.bytes
    assert zswap.counters()["zswpout"] == len(sizes)
