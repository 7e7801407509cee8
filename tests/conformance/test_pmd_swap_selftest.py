"""The 17 tests of the kernel's selftest mm/pmd_swap.c, as scenarios, with the same assertions.

Each runs on a synchronous and an asynchronous device, with zswap never on, on, and no longer on.
Where the selftest arms userfaultfd's protection against reads and writes (RWP), the scenarios arm
the one against writes; it is the entry's same bit that has to survive. That a protected page raises
a fault to its handler is beyond the model, and so is the priority of a device that comes back.
"""

import pytest

from perfmodel.specs.device import DeviceKind
from perfmodel.specs.scenario import Zswap
from tests.conformance.selftest import (
    HALF,
    World,
    assert_data,
    folios_of,
    homes,
    step,
)
from tests.conformance.worlds import IMPLEMENTATIONS, MIB_2, cached_slots, flags, places, states

ALL_SWAPPED = {"pagemap_swapped_pages": 512}
READ = step("read", "touch")
SEE = step("see", "pagemap")
SIZES = step("sizes", "smaps")
GUARD = step("guard", "write-protect")


@pytest.fixture(
    params=[
        World(kind, zswap, implementation)
        for kind in (DeviceKind.ZRAM, DeviceKind.RAM_DISK)
        for zswap in Zswap
        for implementation in IMPLEMENTATIONS
    ],
    ids=lambda world: f"{world.kind.value}-zswap-{world.zswap.value}-{world.implementation}",
)
def world(request):
    return request.param


# 1


def test_basic(world):
    done = world.swapped_out(READ)
    assert done.did["read"].counters == world.comes_back()
    assert done.did["read"].fallbacks == world.refused_by_zswap()
    assert_data(done, "read")


def test_basic_while_the_folio_is_cached(world):
    done = world.swapped_out(READ, evict=False)
    expected = {"pgfault": 1} if world.folio_stays else world.comes_back()
    assert done.did["read"].counters == expected
    assert_data(done, "read")
    world.assert_restored(done, "read")


# 2


def test_swapin_sync(world):
    done = world.swapped_out(READ, SIZES)
    assert_data(done, "read")
    world.assert_restored(done, "read")
    mapped = {"smaps_pmd_mapped_pages": 512} if world.restores else {}
    assert done.did["sizes"].observed == {"smaps_rss_pages": 512} | mapped


# 3


def test_fork(world):
    done = world.swapped_out(
        step("fork", "fork"), step("child", "touch", process=1), step("parent", "touch")
    )
    assert states(done.after["fork"], 0) == states(done.after["fork"], 1) == ["PMD_SWAP"]
    assert done.did["child"].counters == world.comes_back(shared=True)
    # What the child has brought is in the swap cache for the parent.
    split = {} if world.restores else {"thp_split_pmd": 1}
    assert done.did["parent"].counters == {"pgfault": 1 if world.restores else 512} | split
    assert done.did["parent"].fallbacks == ({} if world.restores else {"split_cache": 1})
    for process in (0, 1):
        assert_data(done, "parent", process)
        world.assert_restored(done, "parent", process)
    # Both read, so both have the same folios, and nobody may write to them as they are.
    assert folios_of(done, "parent", 0) == folios_of(done, "parent", 1)
    assert not any(writable or exclusive for writable, _, exclusive, _ in flags(done.last))


# 4


def test_fork_cow(world):
    done = world.swapped_out(
        step("fork", "fork"),
        step("parent-writes", "touch", write=True),
        step("child-reads", "touch", process=1),
        step("child-writes", "touch", process=1, write=True),
    )
    writes = done.did["parent-writes"]
    # The child's counts keep the old pages in the swap cache, so every page has to be copied: the
    # first from a huge mapping that is split, which leaves the folio partially mapped.
    assert writes.events["COPY_PAGE"] == 512
    if world.restores:
        assert writes.fallbacks == {"write_shared": 1}
        assert writes.counters == world.comes_back() | {
            "pgfault": 512,
            "thp_split_pmd": 1,
            "thp_deferred_split_page": 1,
            f"{MIB_2}/split_deferred": 1,
        }
        assert states(done.after["parent-writes"], 1) == ["PMD_SWAP"]
        assert done.did["child-reads"].counters == {"pgfault": 1}
        # By now the folio is the child's alone: one fault makes it writable.
        assert done.did["child-writes"].counters == {"pgfault": 1}
    else:
        assert writes.fallbacks == {"zswap": 1}
        assert writes.counters == world.comes_back(shared=True)
        assert done.did["child-reads"].counters == {"pgfault": 512, "thp_split_pmd": 1}
        assert done.did["child-reads"].fallbacks == {"split_cache": 1}
        assert done.did["child-writes"].counters == {"pgfault": 512}
    assert "COPY_PAGE" not in done.did["child-writes"].events
    # The child has the old data first, then its own; neither sees the other's.
    for after in ("parent-writes", "child-reads", "child-writes"):
        assert_data(done, after, 0)
        assert_data(done, after, 1)
        assert not folios_of(done, after, 0) & folios_of(done, after, 1)
    for process in (0, 1):
        assert set(flags(done.last, process)) == {(True, True, True, False)}


# 5


def test_write(world):
    done = world.swapped_out(step("write", "touch", pages_per_2mib=1, write=True), READ)
    write, read = done.did["write"].counters, done.did["read"].counters
    together = {name: write.get(name, 0) + read.get(name, 0) for name in write | read}
    # As reading all of it, in two steps.
    assert together == world.comes_back()
    assert_data(done, "write")
    assert_data(done, "read")
    world.assert_restored(done, "read")
    written, *others = flags(done.last)
    assert written == (True, True, True, False)
    if world.restores:
        assert read == {}
        assert not others
        # Its only user has written to it: the slots are given back.
        assert not done.last["slots"]
    else:
        assert write["pgfault"] == 1
        assert set(others) == {(True, False, True, False)}


# 6


def test_rwp_swapin(world):
    done = world.swapped_out(GUARD, READ)
    # One bit for all 512 pages; the entry stays as it is.
    assert states(done.after["guard"]) == ["PMD_SWAP"]
    assert flags(done.after["guard"]) == [(False, False, True, True)]
    assert done.did["guard"].events["SET_PTE"] == 1
    assert done.did["read"].counters == world.comes_back()
    assert_data(done, "read")
    # It comes back with the bit, and not writable.
    assert set(flags(done.last)) == {(False, False, True, True)}
    world.assert_restored(done, "read")


# 7


def test_munmap(world):
    done = world.swapped_out(step("before", "smaps"), step("unmap", "unmap"), SIZES)
    assert done.did["before"].observed == {"smaps_swap_pages": 512}
    assert done.did["sizes"].observed == {}
    # 512 counts in one go, and what the device holds is freed; zswap's copies are not on it.
    assert done.did["unmap"].counters == done.did["unmap"].fallbacks == {}
    assert done.did["unmap"].events["PUT_SLOT"] == 512
    assert done.did["unmap"].events.get("FREE_SLOT", 0) == (512 if world.restores else 0)
    assert not done.last["slots"]
    assert set(places(done.last, 0, 1)) == {("none", 0, 0)}


# 8


def test_mprotect(world):
    done = world.swapped_out(step("ro", "protect"), step("rw", "protect", writable=True), SEE, READ)
    for name in ("ro", "rw"):
        # Swap entries have no protection, so there is nothing to write.
        assert done.did[name].counters == done.did[name].fallbacks == {}
        assert "SET_PTE" not in done.did[name].events
        assert states(done.after[name]) == ["PMD_SWAP"]
    assert done.did["see"].observed == ALL_SWAPPED
    assert done.did["read"].counters == world.comes_back()
    assert_data(done, "read")
    assert all(writable for writable, *_ in flags(done.last))


# 9


def test_split_mprotect(world):
    done = world.swapped_out(
        step("ro", "protect", page_count=HALF),
        SEE,
        step("rw", "protect", page_count=HALF, writable=True),
        READ,
    )
    assert done.did["ro"].counters == {"thp_split_pmd": 1}
    assert done.did["ro"].fallbacks == {"unaligned_or_partial": 1}
    assert done.did["see"].observed == ALL_SWAPPED
    # The 512 entries name the slots in order.
    assert places(done.after["ro"], 0, 1) == [("slot", slot, 0) for slot in homes(done)]
    assert done.did["rw"].counters == done.did["rw"].fallbacks == {}
    assert done.did["read"].counters == world.comes_back(small=True)
    assert_data(done, "read")
    assert all(writable for writable, *_ in flags(done.last))


# 10


def test_split_munmap(world):
    done = world.swapped_out(
        step("before", "smaps"),
        step("unmap", "unmap", page_count=HALF),
        SIZES,
        SEE,
        step("read", "touch", first_page=HALF, page_count=HALF),
    )
    assert done.did["unmap"].fallbacks == {"unaligned_or_partial": 1}
    assert done.did["before"].observed == {"smaps_swap_pages": 512}
    assert done.did["sizes"].observed == {"smaps_swap_pages": 256}
    assert done.did["see"].observed == {"pagemap_swapped_pages": 256}
    assert_data(done, "see", first=HALF, count=HALF)
    assert set(places(done.last, 0, 1)[:HALF]) == {("none", 0, 0)}
    # Alone on zram. Else 8 pages around page 256, of which 256 .. 260 are mapped, then
    # 251 = 31 x 8 + 3: 1 + 31 + 1 = 33 faults that read, and 223 pages are read ahead.
    ahead = {"pgmajfault": 33, "swap_ra": 223, "swap_ra_hit": 223}
    assert done.did["read"].counters == {
        "pgfault": 256,
        "pswpin" if world.restores else "zswpin": 256,
        **({"pgmajfault": 256} if world.kind.synchronous else ahead),
    }
    assert_data(done, "read", first=HALF, count=HALF)


# 11


def test_uffdio_move(world):
    done = world.swapped_out(step("move", "move"), SEE, GUARD, READ)
    # Moved in one piece: one entry and its page table; nothing is faulted in.
    assert done.did["move"].observed == done.did["move"].fallbacks == {}
    assert done.did["move"].counters == {}
    assert done.did["move"].events["MOVE_PMD"] == 1
    assert done.did["move"].events["CLASSIFY_SLOT"] == 512
    assert done.did["see"].observed == ALL_SWAPPED
    assert states(done.after["see"]) == ["PMD_SWAP"]
    assert_data(done, "see")
    assert flags(done.after["guard"]) == [(False, False, True, True)]
    assert done.did["read"].counters == world.comes_back()
    assert_data(done, "read")
    assert set(flags(done.last)) == {(False, False, True, True)}
    world.assert_restored(done, "read")


def test_the_rwp_bit_moves_along(world):
    done = world.swapped_out(GUARD, step("move", "move"), READ)
    assert done.did["move"].observed == {}
    assert flags(done.after["move"]) == [(False, False, True, True)]
    assert_data(done, "read")
    assert set(flags(done.last)) == {(False, False, True, True)}


def test_uffdio_move_while_the_folio_is_cached(world):
    done = world.swapped_out(step("move", "move"), READ, evict=False)
    assert done.did["move"].events["MOVE_PMD"] == 1
    # HUGE is known after one word; that the folio has moved is noted under the cluster lock.
    assert done.did["move"].events["CLASSIFY_SLOT"] == (1 if world.folio_stays else 512)
    assert done.did["move"].holds["pmd"] == (2, 2, 1)
    assert done.did["move"].holds.get("cluster", (0, 0, 0))[0] == world.folio_stays
    assert_data(done, "read")
    world.assert_restored(done, "read")


def test_uffdio_move_of_shared_memory_is_refused(world):
    done = world.swapped_out(step("fork", "fork"), step("move", "move"))
    assert done.did["move"].observed == {"refused_calls": 1}
    assert "MOVE_PMD" not in done.did["move"].events
    assert_data(done, "move", 0)
    assert_data(done, "move", 1)


# 12


def test_mremap(world):
    done = world.swapped_out(step("remap", "remap"), SEE, READ)
    assert done.did["remap"].counters == done.did["remap"].fallbacks == {}
    assert done.did["remap"].events["MOVE_PMD"] == 1
    assert done.did["see"].observed == ALL_SWAPPED
    assert states(done.after["see"]) == ["PMD_SWAP"]
    assert done.did["read"].counters == world.comes_back()
    assert_data(done, "read")


# 13


def test_pagemap(world):
    done = world.swapped_out(SEE)
    assert done.did["see"].observed == ALL_SWAPPED
    assert done.did["see"].events["REPORT_PAGE"] == 512
    # The payload of page i is first + i, and a PMD swap entry is a whole cluster.
    first = homes(done)[0]
    assert first % 512 == 0
    assert homes(done) == list(range(first, first + 512))


# 14


def test_mincore(world):
    done = world.swapped_out(step("ask", "mincore"), SEE)
    assert done.did["ask"].observed == {}
    assert done.did["ask"].events["CLASSIFY_SLOT"] == 512
    assert done.did["ask"].counters == done.did["ask"].fallbacks == {}
    assert done.did["see"].observed == ALL_SWAPPED
    assert states(done.last) == ["PMD_SWAP"]
    assert not cached_slots(done.last)


def test_mincore_while_the_folio_is_cached(world):
    done = world.swapped_out(step("ask", "mincore"), evict=False)
    resident = {"mincore_resident_pages": 512} if world.folio_stays else {}
    assert done.did["ask"].observed == resident
    assert done.did["ask"].events["CLASSIFY_SLOT"] == (1 if world.folio_stays else 512)


# 15


def test_madvise_free(world):
    done = world.swapped_out(step("before", "smaps"), step("free", "free"), SEE, SIZES, READ)
    assert done.did["free"].fallbacks == {}
    assert done.did["free"].events["PUT_SLOT"] == 512
    assert done.did["see"].observed == {}
    assert done.did["before"].observed == {"smaps_swap_pages": 512}
    assert done.did["sizes"].observed == {}
    assert not done.last["slots"]
    # One fault brings the huge zero page.
    assert done.did["read"].counters == {"pgfault": 1}
    assert set(places(done.last, 0, 1)) == {("zero", 0, 0)}


# 16


def test_madvise_willneed(world):
    done = world.swapped_out(step("ahead", "willneed"), SEE, READ)
    if world.restores:
        assert done.did["ahead"].counters == {"pswpin": 512, f"{MIB_2}/swpin": 1}
        assert states(done.after["ahead"]) == ["PMD_SWAP"]
    else:
        assert done.did["ahead"].counters == {
            "zswpin": 512,
            "thp_split_pmd": 1,
            f"{MIB_2}/swpin_fallback": 1,
        }
    assert done.did["ahead"].fallbacks == world.refused_by_zswap()
    # All of it is in the swap cache now, and still swapped out.
    assert len(cached_slots(done.after["ahead"])) == 512
    assert done.did["see"].observed == ALL_SWAPPED
    assert_data(done, "ahead")
    assert done.did["read"].counters == {"pgfault": 1 if world.restores else 512}
    assert_data(done, "read")
    world.assert_restored(done, "read")


# 17


def test_swapoff(world):
    done = world.swapped_out(GUARD, step("off", "swapoff"), SEE, SIZES, READ)
    if world.restores:
        assert done.did["off"].counters == {"pswpin": 512, f"{MIB_2}/swpin": 1}
    else:
        # Even zram reads ahead here. Pages that are found do not count as hits, so the window
        # shrinks: 0 .. 4, then 5 .. 7, then 8 and 9, and from page 10 on one alone and two in turn:
        # 502 = 167 x 3 + 1. Ahead: 4 + 2 + 1 + 167.
        assert done.did["off"].counters == {
            "zswpin": 512,
            "swap_ra": 174,
            "thp_split_pmd": 1,
            f"{MIB_2}/swpin_fallback": 1,
        }
    assert done.did["off"].fallbacks == world.refused_by_zswap()
    # All is back before anybody touches it, mapped as it was, with its bit.
    world.assert_restored(done, "off")
    assert set(flags(done.after["off"])) == {(False, False, True, True)}
    assert not done.after["off"]["slots"]
    assert done.did["see"].observed == {"pagemap_present_pages": 512}
    mapped = {"smaps_pmd_mapped_pages": 512} if world.restores else {}
    assert done.did["sizes"].observed == {"smaps_rss_pages": 512} | mapped
    assert done.did["read"].counters == {}
    assert_data(done, "read")


def test_swapoff_leaves_the_right_to_write_to_the_next_write(world):
    done = world.swapped_out(
        step("off", "swapoff"), step("write", "touch", write=True), evict=False
    )
    if world.folio_stays:
        # What is in the swap cache still is only mapped.
        assert done.did["off"].counters == {}
        assert done.did["off"].events["CLASSIFY_SLOT"] == 1
    world.assert_restored(done, "off")
    # Brought back for nobody's write: read-only, though exclusive.
    assert set(flags(done.after["off"])) == {(False, False, True, False)}
    assert done.did["write"].counters == {"pgfault": 1 if world.restores else 512}
    assert "COPY_PAGE" not in done.did["write"].events
    assert set(flags(done.last)) == {(True, True, True, False)}
    assert_data(done, "write")
