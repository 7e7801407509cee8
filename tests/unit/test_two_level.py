"""The fast pass over long traces: the same hits as the oracle and as pycachesim."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel.models.two_level import TwoLevelHits, two_level_hits
from tests.oracles.translation import Array
from tests.unit.test_translation_rivals import PAGE, TRACES, pycachesim_hits

# Few geometries, because each is compiled.
GEOMETRIES = [((16, 4), (256, 8)), ((3, 2), (5, 16))]


def by_oracle(pages, level1, level2):
    arrays, hits = [Array(*level1), Array(*level2)], [0, 0, 0]
    for page in pages:
        found = next((i for i, array in enumerate(arrays) if array.use(page, page)), 2)
        hits[found] += 1
    return TwoLevelHits(*hits)


# Runs of one page are longer than what goes by at once, and cross batches.
runs = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), max_size=60)


@pytest.mark.parametrize(("level1", "level2"), GEOMETRIES)
@settings(max_examples=60)
@given(runs=runs, ahead=st.integers(0, 3))
def test_hits_equal_the_oracle(level1, level2, runs, ahead):
    pages = np.repeat([page for page, _ in runs], [length for _, length in runs]).astype(np.uint64)
    pages = np.tile(pages, ahead)
    addresses = pages * PAGE + np.arange(pages.size, dtype=np.uint64) * 8 % PAGE
    found = two_level_hits(addresses, level1=level1, level2=level2)
    assert found == by_oracle(pages.tolist(), level1, level2)


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("page_bytes", [4096, 1 << 21])
def test_hits_equal_pycachesim(trace, page_bytes):
    addresses = TRACES[trace](np.random.default_rng(3)).astype(np.int64) * PAGE
    rival = pycachesim_hits([(16, 4, page_bytes), (256, 8, page_bytes)], addresses)
    found = two_level_hits(addresses, page_bytes=page_bytes)
    assert [found.level1, found.level2] == rival
    assert found.level1 + found.level2 + found.walks == addresses.size


def test_nothing_has_no_hits():
    assert two_level_hits([]) == TwoLevelHits(0, 0, 0)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"level1": (16, 6)}, "level1 must be"),
        ({"level2": (0, 8)}, "level2 must be"),
        ({"page_bytes": 5000}, "power of two"),
        ({"addresses": np.zeros((2, 2), dtype=np.uint64)}, "one dimension"),
        ({"addresses": [1 << 60]}, "too large"),
    ],
)
def test_what_cannot_be_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        two_level_hits(**{"addresses": [0], **wrong})
