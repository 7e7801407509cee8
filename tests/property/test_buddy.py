"""The page allocator against its oracle: every block, list, hint and counter after every step."""

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from perfmodel.kernels import buddy, compaction
from perfmodel.kernels.buddy import Cell
from perfmodel.kernels.compaction import Result
from tests.oracles.buddy import BLOCK, LARGEST, MAX_ORDER, ORDERS, Zone

OWNERS = 1 << 14


def fresh_frames(frames, minimum=0, low=0, threshold=500, owners=OWNERS, **ageing):
    """A zone of the kernel's, as the allocator finds it after boot."""
    record = np.zeros(1, dtype=buddy.PARAMETERS)[0]
    given = {"frames": frames, "minimum": minimum, "low": low, "extfrag_threshold": threshold}
    for name, value in (given | ageing).items():
        record[name] = value
    f = buddy.Frames(
        record,
        np.zeros(buddy.STATE_CELLS, dtype=np.int64),
        np.zeros(frames, dtype=np.int8),
        np.zeros(frames, dtype=np.int32),
        np.zeros(frames, dtype=np.int32),
        np.zeros(frames // BLOCK, dtype=np.int8),
        np.zeros(owners, dtype=np.int32),
    )
    buddy.prepare(f)
    return f


def free_lists(f):
    """Every list from head to tail, its links checked on the way."""
    lists = {}
    for movable, kind in ((True, buddy.MOVABLE), (False, buddy.UNMOVABLE)):
        for order in ORDERS:
            blocks, before = [], -1
            frame = int(f.state[Cell.HEADS + kind + order])
            while frame >= 0:
                assert f.back[frame] == before
                assert f.kind[frame] == order + 1
                blocks.append(frame)
                before, frame = frame, int(f.link[frame])
            assert f.state[Cell.TAILS + kind + order] == before
            lists[movable, order] = blocks
    lists[True, MAX_ORDER] += range(int(f.state[Cell.FRESH]), f.kind.size, LARGEST)
    for (movable, order), blocks in lists.items():
        kind = buddy.MOVABLE if movable else buddy.UNMOVABLE
        assert f.state[Cell.LENGTHS + kind + order] == len(blocks)
    assert all(f.state[Cell.LENGTHS + buddy.ISOLATED + order] == 0 for order in ORDERS)
    return lists


def held_blocks(f):
    held = {}
    for frame in np.flatnonzero(f.kind >= buddy.HELD_MOVABLE).tolist():
        what = int(f.kind[frame])
        movable = bool(what & buddy.HELD_MOVABLE)
        held[frame] = what & int(buddy.ORDER_MASK), int(f.link[frame]), movable
    return held


COUNTERS = {
    "claimed": Cell.CLAIMED,
    "stolen": Cell.STOLEN,
    **{
        name: getattr(Cell, name.upper())
        for name in (
            "compact_migrate_scanned",
            "compact_free_scanned",
            "compact_isolated",
            "compact_stall",
            "compact_fail",
            "compact_success",
            "pgmigrate_success",
            "pgmigrate_fail",
        )
    },
    **{result.name.lower(): Cell.RESULTS + result for result in Result if result != 4},
}


def check(f, zone):
    """The kernel's zone and the oracle's are the same, and each is consistent."""
    assert free_lists(f) == zone.lists
    held = held_blocks(f)
    assert held == zone.held
    assert {frame: owner for frame, (_, owner, _) in held.items()} == {
        frame: owner for owner, frame in zone.frame_of.items()
    }
    owners = np.flatnonzero(f.frame_of)
    assert dict(zip(owners.tolist(), (f.frame_of[owners] - 1).tolist(), strict=True)) == (
        zone.frame_of
    )
    assert ((f.block & buddy.IS_UNMOVABLE) == 0).tolist() == zone.movable
    assert ((f.block & buddy.SKIP) != 0).tolist() == zone.skip
    assert {name: int(f.state[cell]) for name, cell in COUNTERS.items()} == {
        name: zone.counts[name] for name in COUNTERS
    }
    state = f.state
    assert state[Cell.FREE_PAGES] == zone.free_pages()
    assert state[Cell.CACHED_MIGRATE_ASYNC : Cell.CACHED_MIGRATE_SYNC + 1].tolist() == (
        zone.cached_migrate
    )
    assert [
        state[cell]
        for cell in (
            Cell.CACHED_FREE,
            Cell.INIT_MIGRATE,
            Cell.FLUSH,
            Cell.CONSIDERED,
            Cell.DEFER_SHIFT,
            Cell.ORDER_FAILED,
        )
    ] == [
        zone.cached_free,
        zone.init_migrate,
        zone.flush,
        zone.considered,
        zone.defer_shift,
        zone.order_failed,
    ]


def invariants(zone):
    """What holds of any buddy allocator."""
    spans = [(frame, 1 << order) for frame, order in zone.free.items()]
    spans += [(frame, 1 << order) for frame, (order, _, _) in zone.held.items()]
    spans.sort()
    # Every frame is part of exactly one block, and each block is aligned.
    at = 0
    for frame, pages in spans:
        assert frame == at
        assert frame % pages == 0
        at += pages
    assert at == zone.frames
    for frame, order in zone.free.items():
        # On the lists of its pageblocks' type.
        assert frame in zone.lists[zone.movable[frame // BLOCK], order]
        types = zone.movable[frame // BLOCK : (frame + (1 << order) - 1) // BLOCK + 1]
        assert len(set(types)) == 1
        # No two free buddies, but for those that compaction split: it frees them one by one.
        assert order == MAX_ORDER or zone.free.get(frame ^ 1 << order) != order


MOVABLE = st.sampled_from([True, True, True, False])
ORDER = st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 8, 9, 10])


class Buddy(RuleBasedStateMachine):
    """Programs take and give, and now and then somebody wants a large block."""

    @initialize(
        blocks=st.integers(2, 5),
        minimum=st.sampled_from([0, 7, 300]),
        gap=st.integers(0, 100),
        threshold=st.sampled_from([0, 500, 500, 999]),
    )
    def start(self, blocks, minimum, gap, threshold):
        frames = blocks * LARGEST
        self.zone = Zone(frames, minimum, minimum + gap, threshold)
        self.f = fresh_frames(frames, minimum, minimum + gap, threshold)
        self.next_owner = 0

    def owner(self):
        self.next_owner += 1
        return self.next_owner % OWNERS

    def one(self, order, movable):
        owner = self.owner()
        if owner in self.zone.frame_of:
            return -1
        frame = self.zone.allocate(order, owner, movable)
        assert buddy.allocate(self.f, order, owner, int(movable)) == frame
        return frame

    @rule(order=ORDER, movable=MOVABLE, count=st.sampled_from([1, 2, 5, 40, 300, 2000, 5000]))
    def allocate(self, order, movable, count):
        for _ in range(count):
            if self.one(order, movable) < 0:
                break

    @rule(
        first=st.integers(0, 600),
        step=st.sampled_from([1, 2, 3, 7, 31, 64, 500]),
        count=st.sampled_from([1, 10, 200, 5000]),
    )
    def release(self, first, step, count):
        owners = sorted(self.zone.frame_of)[first::step][:count]
        for owner in owners:
            self.zone.release(owner)
            buddy.release(self.f, owner)

    @rule(seed=st.integers(0, 99), share=st.floats(0.05, 0.9))
    def release_some(self, seed, share):
        random = np.random.default_rng(seed)
        owners = sorted(self.zone.frame_of)
        for owner in random.permutation(owners)[: int(share * len(owners))].tolist():
            self.zone.release(owner)
            buddy.release(self.f, owner)

    @rule(
        order=st.sampled_from([1, 2, 4, 8, 9, 9, 9]),
        movable=MOVABLE,
        sync=st.booleans(),
        times=st.sampled_from([1, 1, 1, 3, 70]),
    )
    def compact(self, order, movable, sync, times):
        for _ in range(times):
            owner = self.owner()
            if owner in self.zone.frame_of:
                return
            frame = self.zone.compact(order, owner, movable, sync)
            assert compaction.compact(self.f, order, owner, int(movable), int(sync)) == frame

    @rule(order=st.sampled_from([3, 9, 9]), movable=MOVABLE, effort=st.integers(0, 2))
    def try_hard(self, order, movable, effort):
        owner = self.owner()
        if owner not in self.zone.frame_of:
            frame = self.zone.try_hard(order, owner, movable, effort)
            made = compaction.allocate_trying(self.f, order, owner, int(movable), effort)
            assert made == frame

    @precondition(lambda self: self.zone.flush)
    @rule()
    def kswapd_sleeps(self):
        self.zone.reset_skip_hints()
        compaction.kswapd_sleeps(self.f)

    @invariant()
    def same(self):
        if hasattr(self, "zone"):
            check(self.f, self.zone)
            invariants(self.zone)


TestBuddy = Buddy.TestCase
TestBuddy.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
