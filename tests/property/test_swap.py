"""Swap-out and swap-in of one range whose folios have any sizes, against the oracle.

A scenario keeps to one mTHP order, so it never leaves a half-present aligned range behind; the
kernels must be right about those too.
"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perfmodel.abi import PARAMETERS
from perfmodel.constants import (
    COUNTER_NAMES,
    N_COUNTERS,
    N_EVENTS,
    PTE_PRESENT,
    PTE_SWAP,
    Event,
    RegionState,
)
from perfmodel.kernels.swap import page_out_region, swap_in
from tests import strategies
from tests.oracles import engine as oracle
from tests.oracles.tlb import Geometry
from tests.property.helpers import named

ONE_ENTRY = Geometry(shared=True, sets_4k=1, ways_4k=1, sets_2m=1, ways_2m=1)
EVENT_NAMES = [event.name for event in Event]
Layout = list[tuple[int, int, bool]]


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Aligned pieces of a range: (first page, order, whether a folio is present)."""
    pieces = [(0, 8), (256, 8)]
    for _ in range(draw(st.integers(0, 12))):
        first, order = pieces.pop(draw(st.integers(0, len(pieces) - 1)))
        if order == 0:
            pieces.append((first, 0))
        else:
            pieces += [(first, order - 1), (first + (1 << order - 1), order - 1)]
    return [(first, order, draw(st.booleans())) for first, order in sorted(pieces)]


class KernelRange:
    """One range with a PTE table, in the kernel's arrays."""

    def __init__(self, layout: Layout, order: int, zeros: bool) -> None:
        record = np.zeros(1, dtype=PARAMETERS)
        record["swapin_order"] = order
        record["content"] = int(zeros)
        self.parameters = record[0]
        self.region_state = np.full(1, RegionState.PTE_TABLE, dtype=np.int64)
        self.pte_state = np.full((1, 512), PTE_SWAP, dtype=np.int8)
        for first, folio_order, present in layout:
            if present:
                self.pte_state[0, first : first + (1 << folio_order)] = PTE_PRESENT + folio_order
        self.counters = np.zeros(N_COUNTERS, dtype=np.int64)
        self.events = np.zeros(N_EVENTS, dtype=np.int64)

    def page_out(self) -> None:
        page_out_region(
            self.parameters, 0, self.region_state, self.pte_state, self.counters, self.events
        )

    def swap_in(self, page: int) -> int:
        return swap_in(
            self.parameters,
            0,
            0,
            page,
            self.region_state,
            self.pte_state,
            self.counters,
            self.events,
        )

    def counted(self) -> tuple[dict[str, int], dict[str, int]]:
        return named(self.counters, COUNTER_NAMES), named(self.events, EVENT_NAMES)


def oracle_range(layout: Layout, order: int, zeros: bool) -> oracle.Engine:
    content = "zero" if zeros else "half-random"
    world = oracle.Engine(1, content, oracle.Entry(mthp_order=order), ONE_ENTRY, ONE_ENTRY)
    for first, folio_order, present in layout:
        pages = list(range(first, first + 2**folio_order))
        holder = oracle.Folio(folio_order, pages) if present else oracle.SWAPPED
        world.ranges[0].ptes.update(dict.fromkeys(pages, holder))
    return world


def oracle_states(world: oracle.Engine) -> list[int]:
    """PTEs in the kernel's encoding."""
    ptes = world.ranges[0].ptes
    return [
        PTE_SWAP if ptes[page] is oracle.SWAPPED else PTE_PRESENT + ptes[page].order
        for page in range(512)
    ]


@given(layout=layouts(), order=strategies.mthp_orders, zeros=st.booleans(), data=st.data())
def test_swap_in_takes_the_enabled_order_or_one_page(layout, order, zeros, data):
    kernel, world = KernelRange(layout, order, zeros), oracle_range(layout, order, zeros)
    for _ in range(3):
        swapped = np.flatnonzero(kernel.pte_state[0] == PTE_SWAP)
        if not swapped.size:
            break
        page = int(data.draw(st.sampled_from(swapped.tolist())))
        returned = kernel.swap_in(page)
        world.fault(world.ranges[0], page)
        assert returned == world.ranges[0].ptes[page].order
        assert kernel.pte_state[0].tolist() == oracle_states(world)
    counts = ({**world.now.counters}, {**world.now.events})
    assert kernel.counted() == counts


@given(layout=layouts(), zeros=st.booleans())
def test_page_out_writes_every_present_folio_whole(layout, zeros):
    kernel, world = KernelRange(layout, 0, zeros), oracle_range(layout, 0, zeros)
    kernel.page_out()
    world.page_out(world.ranges[0])
    assert (kernel.pte_state == PTE_SWAP).all()
    assert kernel.counted() == ({**world.now.counters}, {**world.now.events})
    written = sum(1 << order for _, order, present in layout if present)
    assert kernel.events[Event.SWAPOUT_PAGE] == written
    assert kernel.events[Event.SWAPOUT_FOLIO] == sum(present for _, _, present in layout)
