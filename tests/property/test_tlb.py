"""The engine's TLBs against the oracle, and how a range is forgotten."""

from __future__ import annotations

import dataclasses

import attrs
import numba
from hypothesis import given
from hypothesis import strategies as st

from perfmodel import abi
from perfmodel.constants import PAGES_PER_PMD, Event
from perfmodel.kernels.tlb import flush, forget_huge, forget_pages, translate
from perfmodel.kernels.translation_layout import Kind
from perfmodel.models.memory import fresh_memory
from perfmodel.specs.catalog import load_machine, load_policy, load_scenario
from perfmodel.specs.device import DeviceKind
from tests.hardware import plain_hardware, specified
from tests.oracles.translation import Mmu, TlbGeometry
from tests.property.test_translation import levels_of_tlbs

REGIONS = 4
SPACES = 2
SIZES = {
    "4k": Kind.SMALL,
    "16k": Kind.CONTIGUOUS_16K,
    "64k": Kind.CONTIGUOUS_64K,
    "2m": Kind.HUGE_2M,
}


@numba.njit
def look_up(m, space, page, kind, write):
    """What is inlined into its callers has no entry from Python."""
    translate(m, space, page, kind, write)


@numba.njit
def forget_range(m, space, span):
    forget_huge(m, space, span)
    forget_pages(m, space, span)


@numba.njit
def forget_all(m):
    flush(m)


class EngineTlb:
    """The engine's TLBs behind the oracle's interface."""

    def __init__(self, tlbs: tuple[TlbGeometry, ...]) -> None:
        scenario = load_scenario("thp-roundtrip")
        record = abi.pack_parameters(scenario, load_policy("pte"), DeviceKind.ZRAM, range(1))[0]
        hardware = dataclasses.replace(plain_hardware(), tlbs=tlbs)
        translation = attrs.evolve(
            load_machine("amd-zen3").translation, tlbs=specified(hardware).tlbs
        )
        self.memory = fresh_memory(record, abi.state_sizes(scenario, 1, 1 << 24), translation)

    def access(self, page: int, size: str, write: bool, space: int) -> str:
        self.memory.counts[:] = 0
        look_up(self.memory, space, page, int(SIZES[size]), int(write))
        if self.memory.counts[Event.STLB_HIT]:
            return "stlb"
        walks = self.memory.counts[Event.WALK_PMD if size == "2m" else Event.WALK_PTE]
        assert walks == self.memory.counts.sum()
        return "walk" if walks else "l1"

    def forget(self, span: int, space: int) -> None:
        forget_range(self.memory, space, span)


class OracleTlb:
    def __init__(self, tlbs: tuple[TlbGeometry, ...]) -> None:
        self.mmu = Mmu(dataclasses.replace(plain_hardware(), tlbs=tlbs), [["4k"]])

    def access(self, page: int, size: str, write: bool, space: int) -> str:
        for level, name in ((1, "l1"), (2, "stlb")):
            if self.mmu.look_up(level, page, size, write, space) is not None:
                return name
        return "walk"

    def forget(self, span: int, space: int) -> None:
        self.mmu.invalidate_range(span * PAGES_PER_PMD, PAGES_PER_PMD, space)


spaces = st.integers(0, SPACES - 1)
spans = st.integers(0, REGIONS - 1)
# Few pages, so that they come again, and the same one twice in a row.
pages = st.builds(lambda span, entry: span * PAGES_PER_PMD + entry, spans, st.integers(0, 40))
accesses = st.tuples(pages, st.sampled_from(list(SIZES)), st.booleans(), spaces)
actions = st.lists(accesses | st.tuples(spans, spaces) | accesses.map(lambda one: [one] * 2))


@given(first=levels_of_tlbs(1), second=levels_of_tlbs(2), story=actions)
def test_engine_equals_oracle(first, second, story):
    engine, oracle = EngineTlb(first + second), OracleTlb(first + second)
    for action in story:
        for one in action if isinstance(action, list) else [action]:
            if len(one) == 2:
                engine.forget(*one)
                oracle.forget(*one)
            else:
                assert engine.access(*one) == oracle.access(*one), one


@given(first=levels_of_tlbs(1), second=levels_of_tlbs(2), trace=st.lists(accesses), one=accesses)
def test_a_forgotten_range_is_walked_again_and_no_other(first, second, trace, one):
    engine = EngineTlb(first + second)
    for access in trace:
        engine.access(*access)
    page, _, _, space = one
    engine.access(*one)
    for other in range(SPACES):
        for span in range(REGIONS):
            if (span, other) != (page // PAGES_PER_PMD, space):
                engine.forget(span, other)
    assert engine.access(*one) == "l1"
    engine.forget(page // PAGES_PER_PMD, space)
    assert engine.access(*one) == "walk"


@given(first=levels_of_tlbs(1), second=levels_of_tlbs(2), trace=st.lists(accesses, min_size=1))
def test_a_flushed_tlb_is_as_new(first, second, trace):
    engine, fresh = EngineTlb(first + second), EngineTlb(first + second)
    for access in trace:
        engine.access(*access)
    forget_all(engine.memory)
    assert [engine.access(*access) for access in trace] == [
        fresh.access(*access) for access in trace
    ]
