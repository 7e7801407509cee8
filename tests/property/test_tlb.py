"""The TLB kernel against the oracle, and the laws of LRU."""

import numba
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from perfmodel.abi import PARAMETERS
from perfmodel.constants import N_EVENTS, Event
from perfmodel.kernels.tlb import flush, forget_huge, forget_pages, translate
from tests.oracles.tlb import Geometry, Tlb

REGIONS = 4


@numba.njit
def look_up(parameters, tlb, page, huge, events):
    """What is inlined into its callers has no entry from Python."""
    translate(parameters, tlb, page, huge, events)


@numba.njit
def forget_range(parameters, tlb, region):
    forget_pages(tlb, region)
    forget_huge(parameters, tlb, region)


SMALL, HUGE = False, True


def parameters(l1: Geometry, stlb: Geometry) -> np.void:
    record = np.zeros(1, dtype=PARAMETERS)
    for name, level in (("l1", l1), ("stlb", stlb)):
        record[f"{name}_shared"] = level.shared
        for field in ("sets_4k", "ways_4k", "sets_2m", "ways_2m"):
            part, size = field.split("_")
            record[f"{name}_{part}_{size}"] = getattr(level, field)
    return record[0]


class KernelTlb:
    """The kernel's TLB behind the oracle's interface."""

    def __init__(self, l1: Geometry, stlb: Geometry) -> None:
        self.parameters = parameters(l1, stlb)
        columns = max(
            max(level.sets_4k * level.ways_4k, level.sets_2m * level.ways_2m)
            for level in (l1, stlb)
        )
        self.state = np.zeros((4, columns), dtype=np.int64)
        flush(self.state)

    def access(self, page: int, huge: bool) -> str:
        events = np.zeros(N_EVENTS, dtype=np.int64)
        look_up(self.parameters, self.state, page, int(huge), events)
        if events[Event.STLB_HIT]:
            return "stlb"
        walks = events[Event.WALK_PMD] if huge else events[Event.WALK_PTE]
        assert walks == events.sum()
        return "walk" if walks else "l1"

    def forget(self, region: int) -> None:
        forget_range(self.parameters, self.state, region)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    shared = draw(st.booleans())
    sizes = st.integers(1, 5)
    sets_4k, ways_4k = draw(sizes), draw(sizes)
    sets_2m, ways_2m = (sets_4k, ways_4k) if shared else (draw(sizes), draw(sizes))
    return Geometry(shared, sets_4k, ways_4k, sets_2m, ways_2m)


def fully_associative(ways: int) -> Geometry:
    return Geometry(True, 1, ways, 1, ways)


# Few pages in few ranges, so that sets overflow and translations come back.
pages = st.builds(
    lambda region, page: region * 512 + page, st.integers(0, REGIONS - 1), st.integers(0, 6)
)
accesses = st.tuples(pages, st.booleans())
traces = st.lists(accesses, max_size=80)


@given(l1=geometries(), stlb=geometries(), trace=traces)
def test_kernel_equals_oracle(l1, stlb, trace):
    kernel, oracle = KernelTlb(l1, stlb), Tlb(l1, stlb)
    assert [kernel.access(*access) for access in trace] == [
        oracle.access(*access) for access in trace
    ]


@given(l1=geometries(), stlb=geometries(), first=traces, second=traces)
def test_forgetting_every_range_equals_oracle(l1, stlb, first, second):
    kernel, oracle = KernelTlb(l1, stlb), Tlb(l1, stlb)
    for access in first:
        assert kernel.access(*access) == oracle.access(*access)
    for region in range(REGIONS):
        kernel.forget(region)
        oracle.forget(region)
    for access in second:
        assert kernel.access(*access) == oracle.access(*access)


@given(
    l1=geometries(),
    stlb=geometries(),
    trace=st.lists(accesses | st.integers(0, REGIONS - 1), max_size=80),
)
# An entry that was invalidated is free: the next insertion must take it and evict nothing.
@example(
    fully_associative(1),
    fully_associative(3),
    [(0, SMALL), (512, SMALL), (1024, SMALL), 1, (1536, SMALL), (0, SMALL)],
)
def test_forgetting_one_range_equals_oracle(l1, stlb, trace):
    kernel, oracle = KernelTlb(l1, stlb), Tlb(l1, stlb)
    for turn in trace:
        if isinstance(turn, int):
            kernel.forget(turn)
            oracle.forget(turn)
        else:
            assert kernel.access(*turn) == oracle.access(*turn)


@given(l1=geometries(), stlb=geometries(), trace=traces, region=st.integers(0, REGIONS - 1))
def test_a_forgotten_range_is_walked_again_and_no_other(l1, stlb, trace, region):
    kernel = KernelTlb(l1, stlb)
    for access in trace:
        kernel.access(*access)
    before = kernel.state.copy()
    kernel.forget(region)
    kept = before[(before >= 0) & ~np.isin(before, tags_of(region))]
    assert sorted(kernel.state[kernel.state >= 0]) == sorted(kept)
    assert kernel.access(region * 512, HUGE) == "walk"
    assert kernel.access(region * 512 + 3, SMALL) == "walk"


def tags_of(region: int) -> list[int]:
    """Every tag that a range can have in the kernel's rows."""
    return [region * 2 + 1, *(page * 2 for page in range(region * 512, region * 512 + 512))]


@given(trace=traces, sets=st.integers(1, 4), ways=st.integers(1, 4))
def test_more_ways_hold_everything_that_fewer_ways_hold(trace, sets, ways):
    fewer = KernelTlb(Geometry(True, sets, ways, sets, ways), fully_associative(1))
    more = KernelTlb(Geometry(True, sets, ways + 1, sets, ways + 1), fully_associative(1))
    for access in trace:
        hit_with_fewer = fewer.access(*access) == "l1"
        hit_with_more = more.access(*access) == "l1"
        assert hit_with_more or not hit_with_fewer
        for index in range(sets):
            small = fewer.state[0, index * ways : (index + 1) * ways]
            large = more.state[0, index * (ways + 1) : (index + 1) * (ways + 1)]
            assert (small == large[:ways]).all()


@given(trace=traces, l1=geometries(), sets=st.integers(1, 4), ways=st.integers(1, 4))
def test_walks_fall_as_the_stlb_gets_more_ways(trace, l1, sets, ways):
    walks = []
    for number in (ways, ways + 1, ways + 3):
        tlb = KernelTlb(l1, Geometry(True, sets, number, sets, number))
        walks.append([tlb.access(*access) for access in trace].count("walk"))
    assert walks == sorted(walks, reverse=True)


@given(st.integers(1, 8), st.integers(1, 3))
def test_a_cyclic_trace_that_fits_hits_and_one_that_does_not_never_does(ways, rounds):
    # The closed form of LRU on a cycle: all hits, or not a single one.
    fits = KernelTlb(fully_associative(ways), fully_associative(1))
    for page in range(ways):
        fits.access(page, SMALL)
    assert {fits.access(page, SMALL) for _ in range(rounds) for page in range(ways)} == {"l1"}
    thrashes = KernelTlb(fully_associative(ways), fully_associative(ways))
    results = [thrashes.access(page, SMALL) for _ in range(rounds + 1) for page in range(ways + 1)]
    assert set(results) == {"walk"}
