"""A counter-based generator: the same (seed, stream, counter) gives the same number everywhere.

All arithmetic stays below 2**63 in int64, so that the results with and without the JIT are the
same bit for bit. The mixer is the 32-bit finalizer of MurmurHash3, used on the three words in turn.
"""

import numpy as np

from perfmodel.kernels._jit import kernel

_MASK = 0xFFFFFFFF


@kernel
def _multiply_32(a, b):
    low = a * (b & 0xFFFF)
    high = (a * (b >> 16)) & _MASK
    return (low + ((high & 0xFFFF) << 16)) & _MASK


@kernel
def _mix_32(word):
    # np.int64: numba would compile the callee once more for each literal.
    word ^= word >> 16
    word = _multiply_32(word, np.int64(0x85EBCA6B))
    word ^= word >> 13
    word = _multiply_32(word, np.int64(0xC2B2AE35))
    return word ^ (word >> 16)


@kernel
def uniform_32(seed, stream, counter):
    """Integer, uniform on [0, 2**32), that depends on nothing but the three arguments.

    Allocates: no. Mutates: nothing.
    """
    word = _mix_32((seed & _MASK) ^ 0x9E3779B9)
    word = _mix_32(word ^ ((seed >> 32) & 0x7FFFFFFF))
    word = _mix_32(word ^ (stream & _MASK))
    word = _mix_32((word + 0x7F4A7C15) & _MASK ^ (counter & _MASK))
    return _mix_32(word ^ ((counter >> 32) & 0x7FFFFFFF))
