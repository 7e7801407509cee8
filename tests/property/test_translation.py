"""Address translation: kernels against the oracle, and the laws of LRU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmodel.kernels import translation as kernels
from perfmodel.kernels import translation_layout as layout
from perfmodel.models.translation import (
    Mapping,
    TranslationCounts,
    TranslationSimulation,
    mapping_kind,
)
from tests.hardware import plain_hardware, specified
from tests.oracles.translation import Array, Hardware, Mmu, TlbGeometry

REGIONS = 3
SPACES = 2
KINDS = ("4k", "4k-contiguous", "16k", "64k", "2m")

sizes_of_sets = st.integers(1, 5)
# More ways than a block of 8 translations has, and more than one of 16 lines.
ways = st.integers(1, 4) | st.sampled_from((6, 8, 9, 17))


@st.composite
def arrays(
    draw: st.DrawFn, name: str, level: int, sizes: tuple[str, ...], coalesced: int, **fields: Any
) -> TlbGeometry:
    replacement = draw(st.sampled_from(("lru", "lru", "tree-plru")))
    number = draw(ways if replacement == "lru" else st.sampled_from((1, 2, 4, 16)))
    return TlbGeometry(
        name, level, sizes, draw(sizes_of_sets), number, "all", replacement, coalesced, **fields
    )


@st.composite
def levels_of_tlbs(draw: st.DrawFn, level: int) -> tuple[TlbGeometry, ...]:
    """A level as CPUs have it: unified, split by size, by access, or in halves."""
    coalesced = draw(st.sampled_from((1, 1, 2, 4, 16)))
    contiguous = draw(st.sampled_from(((), ("16k",), ("64k",), ("16k", "64k"))))
    giant = ("1g",) if level == 1 or draw(st.booleans()) else ()
    small, huge = ("4k", *contiguous), ("2m", *giant)

    def named(part: str, sizes: tuple[str, ...]) -> TlbGeometry:
        return draw(arrays(f"L{level} {part}", level, sizes, coalesced))

    def serving(array: TlbGeometry, accesses: str) -> TlbGeometry:
        return TlbGeometry(**{**vars(array), "accesses": accesses})

    match draw(st.sampled_from(("unified", "split", "accesses", "halves", "thirds"))):
        case "unified":
            return (named("all", small + huge),)
        case "split":
            return (named("small", small), named("huge", huge))
        case "accesses":
            return (
                serving(named("loads 4k", small), "loads"),
                serving(named("loads 2m", huge), "loads"),
                serving(named("stores", small + huge), "stores"),
            )
        case "halves":
            return (named("left", (*small, "2m")), named("right", (*small, *giant)))
        case _:
            parts = (named(f"third {part}", small) for part in range(3))
            return (*parts, named("huge", huge))


@st.composite
def hardware(draw: st.DrawFn) -> Hardware:
    levels = draw(st.sampled_from((4, 5)))
    walk_caches = {
        level: (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        for level in draw(st.sets(st.integers(2, 5)))
    }
    caches = tuple(
        (draw(sizes_of_sets), number) for number in draw(st.lists(ways, min_size=1, max_size=3))
    )
    return Hardware(
        tlbs=draw(levels_of_tlbs(1)) + draw(levels_of_tlbs(2)),
        levels=levels,
        walkers=draw(st.integers(1, 3)),
        walk_caches=walk_caches,
        nested=(draw(st.integers(1, 3)), draw(st.integers(1, 9))),
        caches=caches,
        latencies=(1_500, 5_001, 20_011)[: len(caches)],
        dram=90_101,
        stlb_hit=draw(st.sampled_from((0, 3_500))),
    )


addresses = st.builds(
    lambda region, page, line: region << 21 | page << 12 | line << 6,
    st.integers(0, REGIONS - 1),
    st.integers(0, 9) | st.integers(0, 511),
    st.integers(0, 3),
)
accesses = st.tuples(addresses, st.booleans(), st.integers(0, SPACES - 1))
invalidations = st.one_of(
    st.tuples(st.just("page"), addresses, st.just(1), st.integers(0, SPACES - 1)),
    st.tuples(st.just("range"), addresses, st.integers(1, 1 << 21), st.integers(0, SPACES - 1)),
    st.tuples(st.just("space"), st.just(0), st.just(0), st.integers(0, SPACES - 1)),
    st.just(("all", 0, 0, 0)),
)
# Runs of accesses with at most one invalidation behind each.
stories = st.lists(
    st.tuples(st.lists(accesses, min_size=1, max_size=40), st.none() | invalidations),
    min_size=1,
    max_size=4,
)


def kernel_kind(kind: str) -> int:
    return mapping_kind(kind.removesuffix("-contiguous"), contiguous=kind.endswith("contiguous"))


def contents(array: Array) -> list[list[Any]]:
    return array.contents()


def walk_cache_contents(simulation: TranslationSimulation, row: int) -> list[list[Any]]:
    return [
        [(entry[0], entry[2]) for entry in entries if entry is not None]
        for entries in simulation.array_contents(row)
    ]


def assert_same_state(simulation: TranslationSimulation, oracle: Mmu) -> None:
    assert simulation.tlb_contents() == {
        name: contents(array) for name, array in oracle.tlbs.items()
    }
    for level, array in oracle.walk_caches.items():
        row = layout.GUEST_WALK_CACHES + level
        assert walk_cache_contents(simulation, row) == contents(array)
    for level, array in oracle.host_walk_caches.items():
        row = layout.HOST_WALK_CACHES + level
        held = [[number for number, _ in one] for one in walk_cache_contents(simulation, row)]
        assert held == contents(array)
    nested = walk_cache_contents(simulation, layout.NESTED_CACHE)
    assert [[number for number, _ in one] for one in nested] == contents(oracle.nested)
    for level, cache in enumerate(oracle.caches):
        assert simulation.cache_contents(level) == contents(cache)
    assert simulation.elapsed_ps == oracle.elapsed()


def present(counts: dict[Any, int]) -> dict[Any, int]:
    return {key: count for key, count in counts.items() if count}


def assert_same_counts(total: list[TranslationCounts], oracle: Mmu, caches: int) -> None:
    def summed(field: str) -> Any:
        values = [getattr(counts, field) for counts in total]
        if isinstance(values[0], dict):
            return present({key: sum(value[key] for value in values) for key in values[0]})
        return sum(values)

    expected = oracle.counts
    where = {**{level: f"L{level + 1}" for level in range(caches)}, 3: "dram"}
    for field in ("tlb_hits", "walks", "walk_cache_hits", "host_walk_cache_hits"):
        assert summed(field) == present(getattr(expected, field)), field
    for field in ("table_references", "host_references", "data_references"):
        named = {where[level]: count for level, count in getattr(expected, field).items()}
        assert summed(field) == present(named), field
    for field in ("nested_hits", "host_walks", "stlb_ps", "walk_ps", "wait_ps", "data_ps"):
        assert summed(field) == getattr(expected, field), field
    assert summed("elapsed_ps") == oracle.elapsed()
    assert summed("accesses") == len(oracle.completed)


def run_one_by_one(
    simulation: TranslationSimulation, addresses: Any, stores: Any, spaces: Any
) -> None:
    kernels.run(
        simulation.mmu,
        np.array(addresses, dtype=np.int64),
        np.array(stores, dtype=np.uint8),
        np.array(spaces, dtype=np.int64),
    )


def assert_same_memory(one: TranslationSimulation, other: TranslationSimulation) -> None:
    for field in ("entries", "lines", "counts"):
        assert (getattr(one.mmu, field) == getattr(other.mmu, field)).all(), field
    assert one.elapsed_ps == other.elapsed_ps


def tell(
    hardware: Hardware,
    kinds: list[list[str]],
    first_region: int,
    overlap: int,
    host: str | None,
    story: Any,
) -> None:
    """One story in both worlds; everything must be equal at every invalidation and at the end."""
    oracle = Mmu(hardware, kinds, first_region, overlap, host)
    mapping = Mapping(
        np.array([[kernel_kind(kind) for kind in space] for space in kinds]), first_region
    )
    simulation = TranslationSimulation(
        specified(hardware), mapping, overlap=overlap, host_page_size=host
    )
    # Without overlap the accesses are taken in batches; this one takes them one by one.
    single = TranslationSimulation(specified(hardware), mapping, host_page_size=host)
    begin, total = first_region << 21, []
    for trace, invalidation in story:
        for address, store, space in trace:
            oracle.access(begin + address, store, space)
        offsets, stores, spaces = zip(*trace, strict=True)
        total.append(simulation.run(begin + np.array(offsets), stores, spaces))
        run_one_by_one(single, begin + np.array(offsets), stores, spaces)
        match invalidation:
            case ("page", address, _, space):
                oracle.invalidate_range(begin + address >> 12, 1, space)
                for one in (simulation, single):
                    one.invalidate_page(begin + address, space)
            case ("range", address, size, space):
                first, last = (begin + address) >> 12, (begin + address + size - 1) >> 12
                oracle.invalidate_range(first, last - first + 1, space)
                for one in (simulation, single):
                    one.invalidate_range(begin + address, size, space)
            case ("space", _, _, space):
                oracle.invalidate_space(space)
                for one in (simulation, single):
                    one.invalidate_space(space)
            case ("all", *_):
                oracle.invalidate_all()
                for one in (simulation, single):
                    one.invalidate_all()
        assert_same_state(simulation, oracle)
        if overlap == 1:
            assert_same_memory(simulation, single)
    if total:
        assert_same_counts(total, oracle, len(hardware.caches))


@given(
    hardware=hardware(),
    kinds=st.lists(
        st.lists(st.sampled_from(KINDS), min_size=REGIONS, max_size=REGIONS),
        min_size=SPACES,
        max_size=SPACES,
    ),
    first_region=st.integers(0, 4) | st.just(0x3FF_FFF),
    overlap=st.integers(1, 4),
    host=st.sampled_from((None, "4k", "2m")),
    story=stories,
)
def test_kernel_equals_oracle(hardware, kinds, first_region, overlap, host, story):
    tell(hardware, kinds, first_region, overlap, host, story)


@given(
    hardware=hardware(),
    host=st.sampled_from((None, "4k", "2m")),
    story=stories,
    overlap=st.integers(1, 2),
)
def test_kernel_equals_oracle_with_1g_pages(hardware, host, story, overlap):
    kinds = [["1g"] * 512 + ["2m"] * 512] * SPACES
    spread = [
        ([((a << 9) % (1 << 31) | a & 0xFFF, s, p) for a, s, p in trace], None)
        for trace, _ in story
    ]
    tell(hardware, kinds, 512, overlap, host, spread)


@pytest.mark.parametrize("host", [None, "4k", "2m"])
@pytest.mark.parametrize("length", [1, layout.BATCH, 3 * layout.BATCH + 1])
def test_batches_equal_one_access_at_a_time(host, length):
    generator = np.random.default_rng(length)
    kinds = generator.integers(0, 5, (SPACES, 64)).astype(np.uint8)
    hardware = specified(plain_hardware(caches=((8, 12), (15, 16), (64, 20))))
    simulations = [
        TranslationSimulation(hardware, Mapping(kinds, 7), host_page_size=host) for _ in range(2)
    ]
    # Pages that come back, lines that are repeated, and a sequential part.
    pages = generator.zipf(1.2, length) * 7919 % (64 * 512)
    addresses = (7 << 21) + (pages << 12) + generator.integers(0, 3, length) * 64
    addresses[: length // 3] = (7 << 21) + np.arange(length // 3) * 24
    stores, spaces = generator.random(length) < 0.3, generator.integers(0, SPACES, length)
    counts = simulations[0].run(addresses, stores, spaces)
    run_one_by_one(simulations[1], addresses, stores, spaces)
    assert_same_memory(*simulations)
    assert counts.accesses == length
