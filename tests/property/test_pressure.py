"""The oracle under a memory limit, against counts derived by hand from docs/pressure.md."""

from __future__ import annotations

from typing import Any

import libcachesim
import pytest

from perfmodel.specs.step import Workload
from perfmodel.traces.generator import AccessTrace
from tests.oracles.mechanism import Counts, Mechanism
from tests.oracles.mechanism.pressure import OutOfMemoryError, Shadow
from tests.oracles.translation import TlbGeometry

# So small that nearly every access walks, and marks its entry young.
TLBS = tuple(TlbGeometry(name, level, ("4k", "2m"), 1, 1) for level, name in ((1, "L1"), (2, "L2")))
LIMIT = 2048


def limited(regions: int, **rules: Any) -> Mechanism:
    given = {"regions": regions, "content": "random", "tlbs": TLBS, "memory_limit": LIMIT}
    return Mechanism(**(given | rules))


def fill(mechanism: Mechanism) -> Counts:
    return do(mechanism, action="fill")


def do(mechanism: Mechanism, **step: Any) -> Counts:
    counts = mechanism.step(step)
    mechanism.check()
    return counts


def access(mechanism: Mechanism, pages: Any, **more: Any) -> Counts:
    trace = tuple((int(page), False) for page in pages)
    return do(mechanism, action="access", trace=trace, **more)


def test_what_fits_is_left_alone() -> None:
    mechanism = limited(3, backing="base")
    assert fill(mechanism).counters == {"pgfault": 1536}
    pressure = mechanism.world.pressure
    # One other page, three tables, and 49 batches of 31 folios; charged in batches of 64.
    assert (pressure.usage, pressure.stock) == (1600, 1600 - 1536 - 3 - 1)
    assert (pressure.inactive.pages, len(pressure.batch)) == (1519, 17)
    assert "pgmajfault" not in access(mechanism, range(1536)).counters


def test_the_first_turn_of_the_list_only_looks() -> None:
    mechanism = limited(4, backing="base")
    counters = fill(mechanism).counters
    # 2048 - 1 - 4 pages are young when the limit is met, and the five that have no room need one
    # reclaim. With anon_cost 0 and 2043 pages, p = 12 to 1 look at 0 0 0 0 2 4 9 19 38 76 153 306:
    # 30 % at first, then 17.5 %, as cost grows with every page that is spared.
    assert counters["pgfault"] == 2048
    assert counters["pgscan_anon"] - counters["pgsteal_anon"] == 2043
    assert counters["pgsteal_anon"] >= 32
    assert "pgactivate" not in counters


def test_going_round_more_than_fits_misses_every_time() -> None:
    mechanism = limited(5, backing="base")
    fill(mechanism)
    for _ in range(3):
        counters = access(mechanism, range(2560)).counters
        assert counters["pgmajfault"] == counters["workingset_refault_anon"] == 2560
        assert "workingset_activate_anon" not in counters


def test_a_thp_goes_out_whole_for_a_thp_that_comes() -> None:
    mechanism = limited(5)
    counters = fill(mechanism).counters
    # Three and their tables fit beside the other page; the fourth and fifth each take one out.
    assert counters["thp_fault_alloc"] == 5
    assert counters["thp_swpout"] == 2
    # The first look at all three spares them.
    assert counters["pgscan_anon"] == 3 * 512 + 2 * 512
    assert counters["pgsteal_anon"] == 2 * 512


def test_pmd_swap_in_takes_out_as_much_as_it_brings() -> None:
    mechanism = limited(5, level="pmd")
    fill(mechanism)
    before = mechanism.mapping()["pmd_swap_entries"]
    counters = access(mechanism, [0]).counters
    assert counters["pgmajfault"] == counters["thp_swpout"] == 1
    assert counters["pswpin"] == counters["pswpout"] == 512
    assert mechanism.mapping()["pmd_swap_entries"] == before


@pytest.mark.parametrize(
    ("young", "referenced", "spared", "active"),
    [
        (True, False, True, False),
        (True, True, True, True),
        (False, True, False, False),
        (False, False, False, False),
    ],
)
def test_what_is_used_is_spared_and_what_is_used_again_activated(
    young: bool, referenced: bool, spared: bool, active: bool
) -> None:
    mechanism = limited(2, backing="base")
    fill(mechanism)
    pressure = mechanism.world.pressure
    folio = next(iter(pressure.inactive))
    ((process, page),) = folio.mappings
    pressure.entry_of(process, folio, page).young = young
    folio.referenced = referenced
    assert pressure.spared(folio) is spared
    assert folio.active is active
    assert folio.referenced is young
    assert pressure.look(folio) == 0


@pytest.mark.parametrize(("active", "activated"), [(9, False), (10, True)])
def test_a_refault_is_activated_if_it_came_back_soon(active: int, activated: bool) -> None:
    mechanism = limited(4, backing="base")
    pressure = mechanism.world.pressure
    pressure.age, pressure.old.active = 30, active
    folio = mechanism.world.new_folio(0, 0)
    pressure.refault(folio, Shadow(20, workingset=True))
    assert folio.active is folio.workingset is activated
    assert pressure.age == 30 + activated
    assert mechanism.world.now.counters["workingset_restore_anon"] == activated


def test_costs_are_halved_beyond_a_quarter_of_the_lists() -> None:
    pressure = limited(4, backing="base").world.pressure
    pressure.old.inactive = 400
    for cost in (60, 40, 1):
        pressure.note_cost(cost)
    assert pressure.cost == 101 // 2


@pytest.mark.parametrize(
    ("inactive", "active", "low"),
    [(10, 10, False), (10, 11, True), (1 << 17, 1 << 17, False), (1 << 16, (1 << 18), True)],
)
def test_how_small_the_inactive_list_may_be(inactive: int, active: int, low: bool) -> None:
    pressure = limited(4, backing="base").world.pressure
    pressure.old.inactive, pressure.old.active = inactive, active
    assert pressure.inactive_is_low() is low


def test_old_statistics_end_in_a_kill() -> None:
    mechanism = limited(4, backing="base")
    fill(mechanism)
    pressure = mechanism.world.pressure
    pressure.empty_batch()
    for folio in list(pressure.inactive):
        pressure.inactive.remove(folio)
        folio.active = True
        pressure.active.add(folio)
    # The kernel believes in as many inactive pages as there were.
    with pytest.raises(OutOfMemoryError):
        all(pressure.charge(1) for _ in range(LIMIT))
    assert not pressure.charge(16)
    pressure.flush()
    assert pressure.charge(1)


@pytest.mark.parametrize("workload", [Workload.CYCLIC, Workload.UNIFORM])
def test_faults_are_those_of_a_cache_where_every_policy_is_alike(workload: Workload) -> None:
    regions, rounds = 6, 4
    mechanism = limited(regions, backing="base")
    fill(mechanism)
    trace = AccessTrace(workload, regions * 512, rounds * regions * 512, seed=7).all_pages()
    counters = access(mechanism, trace).counters
    pressure = mechanism.world.pressure
    pages = (pressure.inactive.pages + pressure.active.pages) + len(pressure.batch)
    cache = libcachesim.LRU(cache_size=pages)
    misses = 0
    for time, page in enumerate([*range(regions * 512), *trace.tolist()]):
        request = libcachesim.Request()
        request.clock_time, request.obj_id, request.obj_size = time, page, 1
        hit = cache.get(request)
        misses += not hit and time >= regions * 512
    assert counters["pgmajfault"] == pytest.approx(misses, rel=0.03)
