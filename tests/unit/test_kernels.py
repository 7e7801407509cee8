"""Kernels on small arrays, and the same results however numba runs them."""

import os
import time

import numpy as np
import pytest

from perfmodel import abi
from perfmodel.constants import (
    N_MAPPING,
    N_PRICES,
    PAGES_PER_PMD,
    PMD_BYTES,
    Mapping,
    PteKind,
    RegionState,
)
from perfmodel.kernels import _jit, layout
from perfmodel.kernels.engine import describe_mapping
from perfmodel.kernels.touch import reference_loop, touch_pages, write_pages, write_regions
from perfmodel.models.device_packing import plain_device
from perfmodel.models.memory import fresh_memory
from perfmodel.models.physical import no_frames
from perfmodel.models.simulated import Ending, count_events, run_steps
from perfmodel.models.swap_devices import stack
from perfmodel.models.zswap_pool import no_pool
from perfmodel.specs.catalog import load_machine, load_policy, load_scenario
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.scenario import PageContent, Region, Scenario, Settings, SwapSpace
from perfmodel.specs.step import Step, StepAction
from tests.property import legs

WORDS_PER_PAGE = 512
WORDS_PER_RANGE = WORDS_PER_PAGE * PAGES_PER_PMD


def spread(count):
    """So many pages of a 2 MiB range."""
    return np.arange(count, dtype=np.int64) * PAGES_PER_PMD // count


# The engine's arrays


def memory_of(states):
    """A memory whose process 0 has ranges in these states; a table is row 0."""
    state = np.zeros(layout.STATE_CELLS, dtype=np.int64)
    state[layout.Cell.RANGES] = len(states)
    pmds = np.zeros(len(states), dtype=layout.PMD)
    pmds["kind"] = states
    return layout.Memory(
        parameters=np.zeros(1, dtype=abi.PARAMETERS)[0],
        pmds=pmds,
        folios=np.zeros(1, dtype=layout.FOLIO),
        clusters=np.zeros(1, dtype=layout.CLUSTER),
        rows=np.zeros((1, PAGES_PER_PMD), dtype=np.int64),
        state=state,
        swap=np.zeros((1, layout.SWAP_COLUMNS), dtype=np.int64),
        device=stack([plain_device(1.0)]),
        zswap=no_pool(),
        frames=no_frames(),
        done=np.zeros(1, dtype=np.int64),
        written=np.zeros(1, dtype=np.int64),
        links=np.zeros(1, dtype=layout.LINK),
        queued=np.zeros(1, dtype=layout.QUEUED),
        shadows=np.zeros(PAGES_PER_PMD, dtype=np.int64),
        cluster_shadows=np.zeros(1, dtype=np.int64),
        trace=np.zeros((1, 1), dtype=np.int64),
        prices=np.zeros(N_PRICES, dtype=np.int64),
        counts=np.zeros(layout.N_COUNTS, dtype=np.int64),
        locks=np.zeros((1, 1), dtype=np.int64),
        tlb_arrays=np.zeros(8, dtype=np.int64),
        tlb_paths=np.zeros(8, dtype=np.int64),
        tlb=np.zeros((1, 8), dtype=np.int64),
        timeline=np.zeros((1, layout.TIMELINE_COLUMNS), dtype=np.int64),
    )


@pytest.mark.parametrize(("lazy", "tables"), [(0, 1 + 3), (1, 1)])
def test_mapping_is_described_range_by_range(lazy, tables):
    memory = memory_of(list(RegionState))
    memory.parameters["lazy_page_table_deposit"] = lazy
    for kind, first, behind in (
        (PteKind.PRESENT, 0, 100),
        (PteKind.SWAP, 100, 300),
        (PteKind.ZERO, 300, 307),
    ):
        # Flags and values do not matter.
        memory.rows[0, first:behind] = kind | layout.DIRTY | 77 << layout.VALUE_SHIFT
    mapping = np.zeros(N_MAPPING, dtype=np.int64)
    describe_mapping(memory, mapping)
    assert mapping[Mapping.PMD_MAPPED_BYTES] == 2 << 20
    assert mapping[Mapping.PTE_MAPPED_BYTES] == 100 * 4096
    assert mapping[Mapping.PMD_SWAP_ENTRIES] == 1
    assert mapping[Mapping.PTE_SWAP_ENTRIES] == 200
    assert mapping[Mapping.PAGE_TABLE_BYTES] == tables * 4096


def test_runs_of_one_call_do_not_touch_each_other():
    scenario, machine = load_scenario("thp-roundtrip"), load_machine("amd-zen3")
    policy = load_policy("pmd", order9_failure=0.5)

    def run(seeds):
        return count_events(scenario, machine, policy, DeviceKind.ZRAM, seeds)

    together = run(range(6))
    assert together.counts.shape == (6, 4, layout.N_COUNTS)
    assert together.mapping.shape == (6, N_MAPPING)
    for seed in range(6):
        one = run(range(seed, seed + 1))
        for alone, all_runs in (
            (one.counts, together.counts),
            (one.elapsed, together.elapsed),
            (one.mapping, together.mapping),
        ):
            assert (alone[0] == all_runs[seed]).all()
    # The seeds are not all alike, or nothing was compared.
    assert len(np.unique(together.mapping, axis=0)) > 1


@pytest.mark.parametrize("processors", [1, 2, 7])
def test_a_run_does_not_depend_on_how_many_run_at_once(monkeypatch, processors):
    scenario, machine = load_scenario("fallback-no-order-9-page"), load_machine("amd-zen3")
    policy = load_policy("pmd", order9_failure=0.5)
    expected = count_events(scenario, machine, policy, DeviceKind.ZRAM, range(8))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    counted = count_events(scenario, machine, policy, DeviceKind.ZRAM, range(8))
    assert (counted.counts == expected.counts).all()
    assert (counted.mapping == expected.mapping).all()


def test_a_reclaim_that_splits_everything_asks_the_pools_first():
    # No THP finds a slot: the one reclaim that the limit takes splits them all.
    scenario = Scenario(
        "splits",
        "more THPs than the limit allows, and a device that is full at once",
        Region(90 * PMD_BYTES, PageContent.RANDOM),
        (Step("fill", StepAction.FILL),),
        swap=SwapSpace(2),
        settings=Settings(memory_limit_bytes=80 * PMD_BYTES),
    )
    record = abi.pack_parameters(scenario, load_policy("pte"), DeviceKind.ZRAM, range(1))[0]
    sizes = abi.state_sizes(scenario, 1, 1 << 40)
    for folios, ending in ((int(sizes[5]), Ending.OUT_OF_MEMORY), (21080, Ending.TOO_SMALL)):
        sizes[5] = folios
        memory = fresh_memory(record, sizes, load_machine("amd-zen3").translation)
        counts = np.zeros((1, layout.N_COUNTS), dtype=np.int64)
        elapsed, mapping = np.zeros(1, dtype=np.int64), np.zeros(N_MAPPING, dtype=np.int64)
        assert run_steps(memory, scenario.steps, counts, elapsed, mapping) is ending
        assert memory.state[layout.Cell.FOLIOS_LEFT] > 0


# What the live runner does to memory


@pytest.mark.parametrize("regions", [1, 2])
@pytest.mark.parametrize("pages", [1, 3, 8, 512])
def test_touching_ends_at_the_last_page_of_the_last_range(regions, pages):
    words = np.arange(regions * WORDS_PER_RANGE, dtype=np.int64)
    page = (pages - 1) * PAGES_PER_PMD // pages
    # The line within the page moves with the page: 64 lines of 8 words.
    expected = (regions - 1) * WORDS_PER_RANGE + page * WORDS_PER_PAGE + page % 64 * 8
    assert touch_pages(words, regions, spread(pages)) == expected


def test_every_load_waits_for_the_one_before():
    words = np.arange(WORDS_PER_RANGE, dtype=np.int64)
    # A negative word in the first of two pages moves the second load by one word.
    words[0] = -1
    second = 256 * WORDS_PER_PAGE
    assert touch_pages(words, 1, spread(2)) == second - 1


@pytest.mark.parametrize("regions", [1, 3])
@pytest.mark.parametrize("pages", [1, 2, 8, 512])
def test_writing_pages_writes_where_touching_reads(regions, pages):
    words = np.zeros(regions * WORDS_PER_RANGE, dtype=np.int64)
    write_pages(words, regions, spread(pages))
    numbers = np.tile(spread(pages), regions)
    first = np.repeat(np.arange(regions), pages) * PAGES_PER_PMD
    places = (first + numbers) * WORDS_PER_PAGE + numbers % 64 * 8
    assert (words[places] == numbers + 1).all()
    assert np.count_nonzero(words) == len(places)


@pytest.mark.parametrize("regions", [1, 3])
def test_writing_repeats_the_content(regions):
    content = np.arange(WORDS_PER_RANGE, dtype=np.int64)
    words = np.full(regions * WORDS_PER_RANGE, -1, dtype=np.int64)
    write_regions(words, content)
    assert (words.reshape(regions, -1) == content).all()


def test_reference_loop_is_the_published_generator():
    # C++ [rand.predef]: the 10000th value of minstd_rand is 399268537.
    assert reference_loop(10_000) == 399268537


# The compiler's settings


def test_compiled_code_is_kept_only_where_nobody_else_can_write(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = _jit._cache_folder()
    assert folder is not None
    assert folder.is_relative_to(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert _jit._cache_folder() is None
    folder.chmod(0o700)
    assert _jit._cache_folder() == folder
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert _jit._cache_folder() is None


def test_compiled_code_is_not_kept_where_no_folder_can_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert _jit._cache_folder() is None


def test_compiled_code_of_other_versions_goes_when_nobody_uses_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = _jit._cache_folder()
    kept, old = folder.parent / ("a" * 16), folder.parent / ("b" * 16)
    foreign, linked = folder.parent / "something", folder.parent / ("c" * 16)
    for one in (kept, old, foreign):
        one.mkdir()
        (one / "code.nbc").write_bytes(b"code")
    linked.symlink_to(foreign)
    long_ago = time.time() - 8 * 24 * 60 * 60
    for one in (folder, old, foreign):
        os.utime(one, (long_ago, long_ago))
    os.utime(linked, (long_ago, long_ago), follow_symlinks=False)
    assert _jit._cache_folder() == folder
    assert folder.stat().st_mtime > long_ago + 1
    assert {one.name for one in folder.parent.iterdir()} == {
        folder.name, kept.name, foreign.name, linked.name
    }  # fmt: skip
    assert (foreign / "code.nbc").exists()


def test_compiled_code_is_keyed_by_every_kernel_source():
    # 16 hex digits, and the same ones while nothing changes.
    digest = _jit._source_digest()
    assert len(digest) == 16
    assert int(digest, 16) >= 0
    assert _jit._source_digest() == digest


# The same results however numba runs the kernels

COMPARED = (
    *("results", "stories", "by_hand", "live", "frames", "compressed", "devices"),
    "behind_and_beside",
)


@pytest.fixture(scope="module")
def in_process():
    return {part: legs.PARTS[part]() for part in COMPARED}


@pytest.mark.parametrize("part", COMPARED)
def test_without_the_jit_the_results_are_the_same(in_process, part, without_jit):
    assert without_jit[part] == in_process[part]


@pytest.fixture(scope="module")
def without_jit():
    leg = legs.run_leg(NUMBA_DISABLE_JIT="1")
    assert leg["signatures"] == {}
    return leg


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder for kernels compiled with bounds checks; a warm cache would hide them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def checked_leg(cache):
    return legs.run_leg(*legs.ALWAYS, "out_of_range", cache=cache, NUMBA_BOUNDSCHECK="1")


@pytest.mark.parametrize("part", COMPARED)
def test_with_bounds_checks_the_results_are_the_same(in_process, part, checked_leg):
    assert checked_leg[part] == in_process[part]


def test_the_bounds_checks_were_on(checked_leg):
    assert checked_leg["out_of_range"] == {"kernel": True, "engine": True}


# Each is part of its callers: for rows of both widths, or with a constant of theirs.
INLINED_WITH_CONSTANTS = (
    "access.end_access",
    "clock.charge",
    "clock.record_own",
    "data_caches.column",
    "frames.find_frames",
    "frames.give_back_frames",
    "frames.own_frames",
    "recency.find",
    "recency.use_block",
    "recency.use_lru",
    "room.find_room",
    "stacks._add",
    "translation.refer",
    "translation_batches._refer_to_all",
    "translation_batches._through_cache",
    "walk._begin",
)


def test_every_kernel_has_one_specialisation(checked_leg):
    # Scenarios, entries and contents enter as data, so none of them compiles anything again. Inner
    # and inlined kernels count, too.
    counts = checked_leg["signatures"]
    for name in ("engine.prepare", "engine.run_step", "translation.look_up", "slots.take_row"):
        assert f"perfmodel.kernels.{name}" in counts
    several = {name for name, count in counts.items() if count != 1}
    assert several == {f"perfmodel.kernels.{name}" for name in INLINED_WITH_CONSTANTS}


def test_a_run_that_outgrows_its_memory_says_so_and_stays_within(checked_leg, cache):
    assert checked_leg["signatures"]
    outcomes = legs.run_leg("little_memory", cache=cache, NUMBA_BOUNDSCHECK="1")["little_memory"]
    # Either it says that its counts are worth nothing, or they are the right ones.
    wrong = {name: outcome for name, outcome in outcomes.items() if 1 not in outcome}
    assert wrong == {}
    assert {exhausted for exhausted, _ in outcomes.values()} == {0, 1}
