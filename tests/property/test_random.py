"""The counter-based generator against unbounded integers, and roughly uniform."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perfmodel.kernels.random import uniform_32
from tests.oracles.murmur import finalise, uniform

WORDS = st.integers(0, (1 << 63) - 1)


def test_oracle_has_the_published_finaliser():
    # fmix32 of MurmurHash3 maps 0 to 0 and 1 to 0x514E28B7; it is a bijection.
    assert finalise(0) == 0
    assert finalise(1) == 0x514E28B7
    assert len({finalise(word) for word in range(1 << 12)}) == 1 << 12


@given(seed=WORDS, stream=st.integers(0, (1 << 32) - 1), counter=WORDS)
@example(0, 0, 0)
@example((1 << 62) - 1, 5, (1 << 26) - 1)
@example((1 << 63) - 1, (1 << 32) - 1, (1 << 63) - 1)
def test_kernel_equals_unbounded_integers(seed, stream, counter):
    assert int(uniform_32(seed, stream, counter)) == uniform(seed, stream, counter)


@pytest.mark.parametrize("moving", ["seed", "stream", "counter"])
def test_roughly_uniform_along_each_word(moving):
    draws, bins = 1 << 15, 64
    words = {"seed": 1, "stream": 2, "counter": 3}
    found = [0] * bins
    ones = [0] * 32
    for value in range(draws):
        words[moving] = value
        drawn = int(uniform_32(words["seed"], words["stream"], words["counter"]))
        assert 0 <= drawn < 1 << 32
        found[drawn * bins >> 32] += 1
        for bit in range(32):
            ones[bit] += drawn >> bit & 1
    expected = draws / bins
    chi_square = sum((count - expected) ** 2 / expected for count in found)
    # 63 degrees of freedom: 63 on average, above 130 with a probability of about 1e-6.
    assert chi_square < 130
    # Five standard deviations of a fair coin.
    assert all(abs(count - draws / 2) < 5 * (draws / 4) ** 0.5 for count in ones)


def test_the_words_do_not_stand_for_each_other():
    drawn = {uniform_32(a, b, c) for a in range(8) for b in range(8) for c in range(8)}
    # 512 draws from 2**32 numbers meet with a probability of 3e-5; with these words they do not.
    assert len(drawn) == 512
