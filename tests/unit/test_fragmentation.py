"""Aged memory: what a few numbers make of it, and what an order-9 page costs there."""

import attrs
import numpy as np
import pytest

from perfmodel.kernels.buddy import Cell, allocate, release
from perfmodel.kernels.compaction import Effort, Result, allocate_trying, compact
from perfmodel.models.fragmentation import (
    aged_frames,
    effort,
    extfrag_index,
    fragmentation,
    free_blocks,
    unusable_index,
    watermarks,
)
from perfmodel.specs.catalog import load_kernel_costs
from perfmodel.specs.memory import Defrag, PhysicalMemory
from tests.oracles import buddy as oracle
from tests.property.test_buddy import check, fresh_frames, held_blocks, invariants

COSTS = load_kernel_costs("linux-6.18-x86")
AGED = PhysicalMemory(1 << 30, used_share=0.9, unmovable_share=0.1, age_rounds=200)


def scattered(frames, keep_every, unmovable_at=()):
    """Kernel and oracle with single pages, of which every so many are left."""
    zone = oracle.Zone(frames, 10, 12)
    f = fresh_frames(frames, 10, 12)
    for owner in range(frames):
        movable = owner not in unmovable_at
        frame = zone.allocate(0, owner, movable)
        assert allocate(f, 0, owner, int(movable)) == frame
        if frame < 0:
            break
    for owner in sorted(zone.frame_of):
        if owner % keep_every and owner not in unmovable_at:
            zone.release(owner)
            release(f, owner)
    return zone, f


@pytest.mark.parametrize("keep_every", [2, 3, 9])
@pytest.mark.parametrize("sync", [0, 1])
@pytest.mark.parametrize("unmovable_at", [(), (0, 600, 1200), tuple(range(0, 4096, 300))])
def test_compaction_makes_large_blocks_of_scattered_pages(keep_every, sync, unmovable_at):
    zone, f = scattered(8 * 1024, keep_every, unmovable_at)
    assert not free_blocks(f)[9:].any()
    for owner in range(10_000, 10_005):
        frame = zone.compact(9, owner, True, bool(sync))
        assert compact(f, 9, owner, 1, sync) == frame
        check(f, zone)
        invariants(zone)
    # Every second page held: the asynchronous free scanner's steps of 32 meet none that is free.
    if not unmovable_at and (sync or keep_every != 2):
        assert f.state[Cell.COMPACT_SUCCESS] > 0
        assert f.state[Cell.PGMIGRATE_SUCCESS] > 0


def test_compaction_that_fails_again_and_again_is_left_out_for_longer_and_longer():
    # Unmovable pages in each pageblock: no block of order 9 can come of it.
    zone, f = scattered(8 * 1024, 1, range(8192))
    for owner in set(range(0, 8192, 2)) & set(zone.frame_of):
        zone.release(owner)
        release(f, owner)
    for owner in range(10_000, 10_300):
        frame = zone.compact(9, owner, True, sync=True)
        assert compact(f, 9, owner, 1, 1) == frame == -1
    check(f, zone)
    assert f.state[Cell.DEFER_SHIFT] == 6
    assert f.state[Cell.RESULTS + Result.DEFERRED] > 200


def test_what_moves_keeps_its_owner():
    zone, f = scattered(8 * 1024, 3)
    before = {owner for _, owner, _ in held_blocks(f).values()}
    assert compact(f, 9, 9000, 1, 1) >= 0
    assert f.state[Cell.PGMIGRATE_SUCCESS] > 0
    assert {owner for _, owner, _ in held_blocks(f).values()} == before | {9000}
    assert zone.held  # the oracle was left where it was


@pytest.mark.parametrize(
    ("defrag", "with_hint", "without"),
    [
        (Defrag.ALWAYS, Effort.FULL, Effort.NO_RETRY),
        (Defrag.DEFER, Effort.LIGHT, Effort.LIGHT),
        (Defrag.DEFER_MADVISE, Effort.FULL, Effort.LIGHT),
        (Defrag.MADVISE, Effort.FULL, Effort.LIGHT),
        (Defrag.NEVER, Effort.LIGHT, Effort.LIGHT),
    ],
)
def test_who_compacts(defrag, with_hint, without):
    assert effort(defrag, madvised=True) is with_hint
    assert effort(defrag, madvised=False) is without


def test_watermarks_are_those_of_a_machine_with_one_zone():
    # 16 GiB: the square root rule gives 16 MiB, khugepaged wants 11 pageblocks of 2 MiB.
    marks = watermarks((16 << 30) // 4096)
    assert marks.minimum == 11 * 512
    assert marks.low - marks.minimum == marks.high - marks.low
    # 64 MiB: no more than a twentieth.
    assert watermarks(1 << 14).minimum == (1 << 14) // 20
    # 1 TiB: the square root of 16 x 2**30 KiB is 128 MiB.
    assert watermarks(1 << 28).minimum == (128 << 20) // 4096


@pytest.mark.parametrize("order", [0, 3, 9])
def test_indices_are_the_oracles(order):
    random = np.random.default_rng(order)
    for _ in range(50):
        blocks = random.integers(0, 40, 11) * random.integers(0, 2, 11)
        blocks[random.integers(0, 11) :] = 0
        counts = blocks.tolist()
        assert extfrag_index(blocks, order) * 1000 == oracle.fragmentation_index(counts, order)
        assert unusable_index(blocks, order) * 1000 == pytest.approx(
            oracle.unusable_index(counts, order)
        )


def test_index_as_the_kernel_prints_it():
    # 10 single pages: an order-3 request fails for fragmentation, an order-9 one for memory too.
    assert extfrag_index([10, 0, 0, 0], 3) == 0.775
    assert unusable_index([8, 0, 1, 0], 2) == 0.666
    assert extfrag_index([0] * 11, 9) == 0
    assert unusable_index([0] * 11, 9) == 1


def test_other_programs_hold_what_was_asked_for():
    f = aged_frames(AGED, seed=1)
    frames = AGED.size_bytes // 4096
    held = held_blocks(f)
    assert len(held) == int(0.9 * frames)
    assert f.state[Cell.FREE_PAGES] == frames - len(held)
    blocks = free_blocks(f)
    assert int((blocks << np.arange(11)).sum()) == f.state[Cell.FREE_PAGES]
    assert (f.frame_of > 0).all()
    unmovable = sum(not movable for _, _, movable in held.values())
    assert unmovable / len(held) == pytest.approx(0.1, abs=0.03)


def test_other_programs_stop_at_the_minimum_watermark():
    f = aged_frames(attrs.evolve(AGED, used_share=1.0, age_rounds=2))
    assert f.state[Cell.FREE_PAGES] == watermarks(AGED.size_bytes // 4096).minimum


def test_age_fragments():
    found = [
        fragmentation(attrs.evolve(AGED, age_rounds=rounds), COSTS, seeds=range(2), requests=16)
        for rounds in (0, 20, 200)
    ]
    unusable = [each.unusable.mean() for each in found]
    assert unusable == sorted(unusable)
    assert unusable[2] > unusable[0] + 0.3
    direct = [each.direct_chance for each in found]
    assert direct == sorted(direct, reverse=True)


def test_compaction_helps_and_costs():
    hard = fragmentation(AGED, COSTS, seeds=range(2), requests=40)
    light = fragmentation(AGED, COSTS, seeds=range(2), requests=40, madvised=False)
    assert (hard.free_blocks == light.free_blocks).all()
    assert hard.chance > light.chance == light.direct_chance
    assert not light.cost_ns.any()
    assert (hard.cost_ns[hard.compacted & hard.granted] > 0).all()
    assert not hard.cost_ns[~hard.compacted].any()
    prices = COSTS.compact_scan_page_ns.value, COSTS.migrate_page_ns.value
    np.testing.assert_allclose(hard.cost_ns, hard.scanned * prices[0] + hard.migrated * prices[1])


def test_memory_that_was_never_touched_takes_none():
    # 4 TiB; its arrays would be 9 GiB.
    f = aged_frames(PhysicalMemory(1 << 42, used_share=0.0), owners=4)
    assert [allocate_trying(f, 9, owner, 1, 2) for owner in range(4)] == [0, 512, 1024, 1536]
    assert f.state[Cell.FRESH] == 2048


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_bytes": 15 << 20},
        {"size_bytes": 8 << 20},
        {"used_share": 1.5},
        {"used_share": float("nan")},
        {"unmovable_share": True},
        {"age_rounds": -1},
        {"largest_run_order": 10},
        {"defrag": "sometimes"},
    ],
)
def test_wrong_memory_is_refused(wrong):
    with pytest.raises(ValueError):
        attrs.evolve(AGED, **wrong)
