"""Every way into SPLIT and every reason of a fallback, each by its installed scenario.

The scenarios have two ranges of 2 MiB. What every step counts, and why, stands in `expected`.
"""

import pytest

from perfmodel.constants import Fallback
from perfmodel.models.simulated import simulate
from perfmodel.specs.catalog import load_scenario, names
from tests.conformance.expected import BOTH, EXPECTED, FILE, ZRAM
from tests.conformance.worlds import IMPLEMENTATIONS, PTE, run, states

SHOWN = sorted(name for name in names("scenario") if name.startswith(("split-by-", "fallback-")))


def by_name(value):
    return value if isinstance(value, str) else None


def test_every_installed_scenario_is_expected_here():
    assert {name for name, _ in EXPECTED} == set(SHOWN)
    reached = {
        reason
        for (name, _), steps in EXPECTED.items()
        if name.startswith("fallback-")
        for _, reasons in steps.values()
        for reason in reasons
    }
    assert reached == {reason.name.lower() for reason in Fallback}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("name", "kind"), EXPECTED, ids=by_name)
def test_counters_and_reasons(name, kind, implementation):
    scenario = load_scenario(name)
    done = run(scenario, kind, implementation=implementation)
    assert [*done.did] == [*EXPECTED[name, kind]]
    for step, (counters, reasons) in EXPECTED[name, kind].items():
        assert done.did[step].counters == counters, step
        assert done.did[step].fallbacks == reasons, step


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        # Words that two classifications read: up to the first slot with a folio.
        ("split-by-deferred-split", 2 * 1),
        ("split-by-memory-failure", 2 * 1),
        ("split-by-forked-sharer", 2 * 1),
        ("split-by-readahead", 62 + 64),
        ("split-by-willneed", 2 * 1),
        ("split-by-zswap-writeback", 2 * 1),
    ],
)
def test_ways_into_split_end_in_two_splits(name, words, kind, implementation):
    done = run(load_scenario(name), kind, implementation=implementation)
    *before, last = done.did
    for step in before:
        assert "split_cache" not in done.did[step].fallbacks
    assert states(done.after[before[-1]]) == ["PMD_SWAP", "PMD_SWAP"]
    events = done.did[last].events
    assert events["CLASSIFY_SLOT"] == words
    assert events["SPLIT_PMD_SWAP_ENTRY"] == 2
    # Splitting writes 512 PTEs under the PMD lock, and nothing else holds it so long.
    assert done.did[last].holds["pmd"] == (2, 1024, 512)
    assert "SWAPIN_LARGE_FOLIO" not in events
    assert "MAP_PMD" not in events
    assert events["MAP_PTE"] == 1024
    assert states(done.last) == ["PTE_TABLE", "PTE_TABLE"]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [
        # EMPTY is known after 512 words.
        (
            "fallback-no-order-9-page",
            "touch",
            {"CLASSIFY_SLOT": 1024, "ORDER9_ALLOCATION_FAILURE": 2, "SWAPIN_FOLIO": 1024},
        ),
        (
            "fallback-charge-refused",
            "touch",
            {"CLASSIFY_SLOT": 1024, "ORDER9_ALLOCATION_FAILURE": 2, "SWAPIN_FOLIO": 1024},
        ),
        # The folio of 2 MiB is made and thrown away before zswap says no.
        (
            "fallback-zswap",
            "touch",
            {"SWAPIN_LARGE_FOLIO": 2, "SWAPIN_FOLIO": 1026, "SWAPIN_PAGE": 2048}
            | {"ZSWAP_LOAD_PAGE": 1024},
        ),
        # Zero flags are looked at before anything is allocated.
        (
            "fallback-mixed-zero-state",
            "touch",
            {"SWAPIN_LARGE_FOLIO": 0, "SWAPIN_FOLIO": 1024, "CLEAR_PAGE": 1022}
            | {"ORDER9_ALLOCATION_FAILURE": 0, "ZSWAP_LOAD_PAGE": 2},
        ),
        # The race is lost before the swap cache is looked at. 256 slots of each range are freed by
        # the discard, 256 when their pages have come back.
        ("fallback-slot-freed", "touch", {"CLASSIFY_SLOT": 0, "FREE_SLOT": 1024, "FAULT": 1026}),
        ("fallback-split-cache", "mincore", {"CLASSIFY_SLOT": 2, "LOOKUP_SLOT": 1024}),
        ("fallback-split-cache", "willneed-2", {"CLASSIFY_SLOT": 2, "SWAPIN_FOLIO": 0}),
        # Both THPs are tried whole; then 512 pages of one by one.
        (
            "fallback-no-free-cluster",
            "pageout",
            {"SWAPOUT_FOLIO": 2 + 512, "SWAPOUT_PAGE": 1024 + 512, "SET_PMD_SWAP_ENTRY": 1}
            | {"SPLIT_PMD_MAPPING": 1, "SPLIT_FOLIO_PAGE": 512, "WRITE_REQUEST": 1 + 512},
        ),
        ("fallback-partial-range", "discard", {"SPLIT_PMD_SWAP_ENTRY": 2, "FREE_SLOT": 512}),
        # Three tables at the new place; every entry is cleared here and set there.
        (
            "fallback-unaligned-remap",
            "remap",
            {"SPLIT_PMD_SWAP_ENTRY": 2, "SET_PTE": 2048, "MOVE_PMD": 0}
            | {"PAGE_TABLE_ALLOCATION": 3},
        ),
        (
            "fallback-write-shared",
            "write-parent",
            {"MAP_PMD": 2, "SPLIT_PMD_MAPPING": 2, "COPY_PAGE": 8, "SPLIT_PMD_SWAP_ENTRY": 0},
        ),
    ],
)
def test_events_of_a_fallback(name, step, expected, implementation):
    events = run(load_scenario(name), ZRAM, implementation=implementation).did[step].events
    assert {event: events.get(event, 0) for event in expected} == expected


def test_observations_of_a_split_cache():
    for kind in BOTH:
        done = run(load_scenario("fallback-split-cache"), kind)
        # Asked slot by slot, every page is in the cache, and the entries stay whole.
        assert done.did["mincore"].observed == {"mincore_resident_pages": 1024}
        assert states(done.after["mincore"]) == ["PMD_SWAP", "PMD_SWAP"]
        assert states(done.after["willneed-2"]) == ["PTE_TABLE", "PTE_TABLE"]


def test_observations_on_a_swap_file():
    scenario = load_scenario("fallback-not-a-block-device")
    assert run(scenario, FILE).did["mincore"].observed == {"mincore_resident_pages": 1024}
    assert run(scenario, ZRAM).did["mincore"].observed == {}


def test_a_child_keeps_its_entry_whole_when_the_parent_writes():
    done = run(load_scenario("fallback-write-shared"))
    assert states(done.after["write-parent"], 0) == ["PTE_TABLE", "PTE_TABLE"]
    assert states(done.after["write-parent"], 1) == ["PMD_SWAP", "PMD_SWAP"]
    assert states(done.last, 1) == ["PMD_MAPPED", "PMD_MAPPED"]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", SHOWN)
def test_without_pmd_swap_entries_only_swap_out_falls_back(name, implementation):
    kind = FILE if name == "fallback-not-a-block-device" else ZRAM
    done = run(load_scenario(name), kind, PTE, implementation)
    reasons = {reason for did in done.did.values() for reason in did.fallbacks}
    swap_out = {"fallback-not-a-block-device": {"not_block_device"}}
    swap_out["fallback-no-free-cluster"] = {"no_free_cluster"}
    assert reasons == swap_out.get(name, set())


@pytest.mark.parametrize("name", SHOWN)
def test_simulate_tells_the_reasons(name):
    kind = FILE if name == "fallback-not-a-block-device" else ZRAM
    device = "swap-file" if kind is FILE else "zram-lz4"
    result = simulate(load_scenario(name), "amd-zen3", device=device, entry="pmd", draws=20)
    for step, (counters, reasons) in EXPECTED[name, kind].items():
        told = result.step(step)
        assert told.fallbacks == reasons, step
        assert {counter: number for counter, number in told.counters.items() if number} == counters
