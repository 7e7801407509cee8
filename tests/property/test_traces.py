"""The generator of accesses against its plain-Python definition, and what a workload looks like."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmodel.errors import InputError
from perfmodel.kernels.recent import drop_recent
from perfmodel.specs.step import KeyValueMix, Step, StepAction, Workload
from perfmodel.traces.generator import (
    BLOCK,
    AccessTrace,
    bucket_starts,
    trace_of,
    zipf_thresholds,
)
from perfmodel.traces.programs import Churn, GraphSearch, KeyValueStore, Program
from tests.oracles import programs as oracle
from tests.oracles import workloads

exponents = st.sampled_from([0.5, 1.0, 1.2]) | st.floats(0.1, 3)
PLAIN = [workload for workload in Workload if not workload.both_reads_and_writes]
traces = st.builds(
    AccessTrace,
    workload=st.sampled_from(PLAIN),
    pages=st.sampled_from([1, 2, 4, 5, 512, 1000]) | st.integers(1, 3000),
    accesses=st.integers(1, 40),
    seed=st.integers(0, (1 << 56) - 1),
    exponent=exponents,
    scattered=st.booleans(),
    stride=st.integers(1, 40) | st.integers(1, 1 << 31),
    window=st.floats(0.0001, 1),
    phase_accesses=st.integers(1, 1 << 40),
    write=st.booleans(),
)
programs = st.one_of(
    st.builds(
        KeyValueStore,
        st.integers(2, 200),
        st.integers(1, 400),
        st.sampled_from(KeyValueMix),
        st.integers(0, (1 << 56) - 1),
        exponents,
    ),
    st.builds(GraphSearch, st.integers(1, 6), st.integers(1, 2500), st.integers(0, 1 << 40)),
    st.builds(Churn, st.integers(1, 300), st.integers(1, 2500), st.integers(0, 1 << 40)),
)


def of_oracle(program: Program) -> Iterator[oracle.Access]:
    if isinstance(program, KeyValueStore):
        return oracle.store(program.pages, program.seed, str(program.mix), program.exponent)
    if isinstance(program, GraphSearch):
        return oracle.search(program.pages, program.seed)
    assert isinstance(program, Churn)
    return oracle.heap(program.pages, program.seed)


def as_words(accesses: Iterable[oracle.Access]) -> list[int]:
    return [2 * page + write for page, write in accesses]


@given(trace=traces, first=st.integers(0, 1 << 40))
def test_accesses_are_those_of_the_definition(trace: AccessTrace, first: int) -> None:
    expected = [
        workloads.page(
            trace.workload.value,
            trace.pages,
            trace.seed,
            first + access,
            trace.exponent,
            scattered=trace.scattered,
            stride=trace.stride,
            window=trace.window,
            phase_accesses=trace.phase_accesses,
        )
        for access in range(3)
    ]
    assert trace.block(first, 3).tolist() == expected
    writes = trace.write or trace.workload is Workload.GUPS
    assert trace.words(first, 3).tolist() == [2 * page + writes for page in expected]


@given(program=programs)
def test_programs_do_what_their_definition_says(program: Program) -> None:
    expected = as_words(itertools.islice(of_oracle(program), program.accesses))
    assert program.all_words().tolist() == expected
    assert max(expected) >> 1 < program.pages


@given(program=programs, cuts=st.lists(st.integers(0, 2500), min_size=1, max_size=4))
def test_a_program_goes_on_from_anywhere(program: Program, cuts: list[int]) -> None:
    # Forwards or backwards: a block is that part of the whole.
    whole = attrs.evolve(program).all_words()
    for cut in (min(cut, program.accesses) for cut in cuts):
        assert program.words(cut, program.accesses - cut).tolist() == whole[cut:].tolist()
    assert np.concatenate([block.copy() for block in program.blocks_of_words()]).tolist() == (
        whole.tolist()
    )


def test_every_page_of_a_chase_and_of_strides_comes_once_in_a_round() -> None:
    for workload in (Workload.POINTER_CHASE, Workload.STRIDED):
        trace = AccessTrace(workload, 1000, 2000, seed=3, stride=7)
        for round_of_pages in trace.all_pages().reshape(2, 1000):
            assert sorted(round_of_pages.tolist()) == list(range(1000))


@pytest.mark.parametrize("exponent", [0.7, 1.0, 1.3])
def test_ranks_that_share_a_threshold_have_their_probability(exponent: float) -> None:
    ranks = 50_000
    alone = zipf_thresholds(ranks, exponent)
    starts = bucket_starts(ranks, most=1000, alone=512)
    together = zipf_thresholds(ranks, exponent, starts)
    assert starts[0] == 0
    assert starts[-1] == ranks
    assert (np.diff(starts) >= 1).all()
    assert together.size == starts.size - 1 < 6000
    assert together == pytest.approx(alone[starts[1:] - 1], rel=1e-5)


def test_zipf_goes_over_more_pages_than_have_thresholds() -> None:
    trace = AccessTrace(Workload.ZIPF, 1 << 27, 100_000, scattered=False)
    pages = trace.all_pages()
    assert pages.max() < trace.pages
    # Of 1 / rank, as much lies between two powers of two as between any others.
    share = np.mean((pages >= 1 << 22) & (pages < 1 << 26))
    assert share == pytest.approx(4 * np.log(2) / (np.log(1 << 27) + 0.5772), abs=0.01)


accesses = st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=80)


@given(accesses=accesses, recent=st.integers(1, 8), cut=st.integers(0, 80))
def test_recent_pages_are_dropped(accesses: list[oracle.Access], recent: int, cut: int) -> None:
    words = np.array(as_words(accesses), dtype=np.int64)
    pages = np.full(recent, -1, dtype=np.int64)
    found = []
    for part in (words[:cut], words[cut:]):
        kept = np.empty(part.size, dtype=np.int64)
        found += kept[: drop_recent(part, pages, kept)].tolist()
    assert found == as_words(oracle.without_recent(accesses, recent))


@given(accesses=accesses)
def test_an_lru_memory_that_holds_more_misses_as_often(accesses: list[oracle.Access]) -> None:
    # Exact where repeated accesses to one page are dropped; they change no order of use.
    before = [page for page, _ in accesses]
    after = [page for page, _ in oracle.without_recent(accesses, 1)]
    for size in (2, 5):
        misses = [
            sum(not 0 <= distance < size for distance in oracle.reuse_distances(pages))
            for pages in (before, after)
        ]
        assert misses[0] == misses[1]


@given(trace=traces, cut=st.integers(0, 40))
def test_a_block_may_begin_anywhere(trace: AccessTrace, cut: int) -> None:
    whole = trace.all_pages()
    assert whole.min() >= 0
    assert whole.max() < trace.pages
    cut = min(cut, trace.accesses)
    parts = [trace.block(0, cut), trace.block(cut, trace.accesses - cut)]
    assert np.concatenate(parts).tolist() == whole.tolist()


@given(
    pages=st.sampled_from([1, 2, 3, 512, 513]) | st.integers(1, 3000),
    seed=st.integers(0, 1 << 40),
)
def test_scattering_loses_no_page(pages: int, seed: int) -> None:
    trace = AccessTrace(Workload.ZIPF, pages, 1, seed=seed)
    found = {workloads.scatter(rank, pages, seed) for rank in range(pages)}
    assert found == set(range(pages))
    assert trace.all_pages()[0] in found


def test_blocks_follow_each_other() -> None:
    trace = AccessTrace(Workload.UNIFORM, 512, BLOCK + 7)
    blocks = [block.copy() for block in trace.blocks()]
    assert [block.size for block in blocks] == [BLOCK, 7]
    assert np.concatenate(blocks).tolist() == trace.all_pages().tolist()


@pytest.mark.parametrize("exponent", [0.6, 1.0, 1.4])
def test_zipf_has_the_probabilities_it_says(exponent: float) -> None:
    trace = AccessTrace(Workload.ZIPF, 8, 200_000, exponent=exponent, scattered=False)
    share = np.bincount(trace.all_pages(), minlength=8) / trace.accesses
    expected = np.arange(1, 9) ** -exponent
    expected /= expected.sum()
    assert share == pytest.approx(expected, abs=5 * (0.25 / trace.accesses) ** 0.5)


def test_a_step_says_how_many_accesses_it_makes() -> None:
    rounds = Step("a", StepAction.ACCESS, rounds=3)
    assert trace_of(rounds, 512).accesses == 1536
    some = Step("a", StepAction.ACCESS, accesses=10, workload=Workload.UNIFORM, seed=4)
    assert trace_of(some, 512) == AccessTrace(Workload.UNIFORM, 512, 10, seed=4)


@pytest.mark.parametrize(
    ("workload", "pages", "message"),
    [
        (Workload.ZIPF, (1 << 31) + 512, "at most 2147483648 pages"),
        (Workload.KEY_VALUE, (1 << 24) + 512, "at most 16777216 pages"),
        (Workload.KEY_VALUE, 1, "at least 2 pages"),
        (Workload.GRAPH_SEARCH, (1 << 24) + 512, "at most 16777216 pages"),
        (Workload.CHURN, (1 << 29) + 512, "at most 536870912 pages"),
    ],
)
def test_a_region_too_large_for_a_workload_is_refused(
    workload: Workload, pages: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        trace_of(Step("a", StepAction.ACCESS, workload=workload, accesses=1), pages)
