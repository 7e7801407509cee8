"""All sizes in one pass against each size simulated on its own."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perfmodel.models.stacks import associativity_hits, fully_associative_hits, reuse_distances
from tests.oracles import translation as oracle

pages = st.lists(st.integers(0, 40) | st.integers(0, 1 << 50), max_size=120)


@given(pages=pages, sets=st.integers(1, 9))
@example(list(range(17)) * 3, 1)
def test_hits_of_all_associativities_equal_one_simulation_each(pages, sets):
    expected = oracle.associativity_hits(pages, sets)
    assert associativity_hits(pages, sets).tolist() == expected


@given(pages=pages)
@example([0, 1, 2, 0, 0, 2, 1])
def test_reuse_distances_equal_their_definition(pages):
    assert reuse_distances(pages).tolist() == oracle.reuse_distances(pages)


@given(st.lists(st.integers(0, 30), max_size=100))
def test_hits_of_all_sizes_equal_one_simulation_each(pages):
    hits = fully_associative_hits(pages)
    assert len(hits) == len(set(pages)) + 1
    for entries in range(1, len(hits)):
        array = oracle.Array(1, entries)
        assert hits[entries] == sum(array.use(page, page) for page in pages)


@pytest.mark.parametrize("different", [1, 700, 5000])
def test_distances_stay_right_when_gaps_are_closed(different):
    # Longer than the positions that there are, many times over; compared with a list that is kept.
    pages = np.random.default_rng(different).zipf(1.2, 40_000) % different
    recent: list[int] = []
    expected = []
    for page in pages.tolist():
        depth = recent.index(page) if page in recent else -1
        expected.append(depth)
        if depth >= 0:
            del recent[depth]
        recent.insert(0, page)
    assert reuse_distances(pages).tolist() == expected


@given(pages=pages, sets=st.integers(1, 5))
def test_one_set_of_both_is_the_same(pages, sets):
    hits = fully_associative_hits(pages)
    ways = associativity_hits(pages, 1)
    assert ways.tolist() == [int(hits[min(way, len(hits) - 1)]) for way in range(1, 17)]
    assert (np.diff(associativity_hits(pages, sets)) >= 0).all()


@pytest.mark.parametrize("wrong", [[-1], [0.5]])
def test_what_is_no_page_number_is_refused(wrong):
    with pytest.raises(ValueError, match="page numbers"):
        reuse_distances(wrong)
    with pytest.raises(ValueError, match="page numbers"):
        associativity_hits(wrong, 1)


def test_an_empty_trace_has_no_hits():
    assert associativity_hits([], 4).tolist() == [0] * 16
    assert fully_associative_hits([]).tolist() == [0]
    with pytest.raises(ValueError, match="sets"):
        associativity_hits([1], 0)
