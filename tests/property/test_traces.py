"""The generator of accesses against its plain-Python definition, and what a workload looks like."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmodel.errors import InputError
from perfmodel.specs.step import Step, StepAction, Workload
from perfmodel.traces.generator import BLOCK, AccessTrace, trace_of
from tests.oracles import workloads

exponents = st.sampled_from([0.5, 1.0, 1.2]) | st.floats(0.1, 3)
traces = st.builds(
    AccessTrace,
    workload=st.sampled_from(Workload),
    pages=st.sampled_from([1, 2, 4, 5, 512, 1000]) | st.integers(1, 3000),
    accesses=st.integers(1, 40),
    seed=st.integers(0, (1 << 56) - 1),
    exponent=exponents,
    scattered=st.booleans(),
)


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
        )
        for access in range(3)
    ]
    assert trace.block(first, 3).tolist() == expected


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


def test_a_region_too_large_for_ranks_is_refused() -> None:
    with pytest.raises(InputError, match="at most 16777216 pages"):
        AccessTrace(Workload.ZIPF, (1 << 24) + 1, 1)
