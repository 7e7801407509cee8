"""The counter-based generator with Python's unbounded integers. Imports nothing from perfmodel."""

from __future__ import annotations

WORD = 2**32


def finalise(word: int) -> int:
    """The 32-bit finaliser of MurmurHash3 (A. Appleby, public domain, function fmix32)."""
    word ^= word // 2**16
    word = word * 0x85EBCA6B % WORD
    word ^= word // 2**13
    word = word * 0xC2B2AE35 % WORD
    return word ^ word // 2**16


def uniform(seed: int, stream: int, counter: int) -> int:
    """One number for three words: each word is folded into the state, then the state is mixed."""
    state = finalise(seed % WORD ^ 0x9E3779B9)
    state = finalise(state ^ seed // WORD % 2**31)
    state = finalise(state ^ stream % WORD)
    state = finalise((state + 0x7F4A7C15) % WORD ^ counter % WORD)
    return finalise(state ^ counter // WORD % 2**31)
