"""Page numbers of a workload's accesses; access k depends on nothing but k and the workload."""

import numpy as np

from perfmodel.constants import Workload
from perfmodel.kernels._jit import inner_kernel, kernel
from perfmodel.kernels.random import uniform_32

# Streams of random numbers: the two draws of an access, and the rounds of the scattering.
_FIRST, _SECOND, _ROUNDS = 0, 1, 2
_N_ROUNDS = 4


@inner_kernel
def _rank(thresholds, draw):
    """The first rank whose threshold is above a draw."""
    low, high = np.int64(0), np.int64(thresholds.shape[0] - 1)
    while low < high:
        middle = (low + high) >> 1
        if thresholds[middle] > draw:
            high = middle
        else:
            low = middle + 1
    return low


@inner_kernel
def _scatter(rank, pages, half_bits, seed):
    """A permutation of 0 .. pages-1: a Feistel network that is walked until it stays below."""
    mask = (np.int64(1) << half_bits) - 1
    page = rank
    while True:
        left, right = page >> half_bits, page & mask
        for turn in range(_N_ROUNDS):
            stream = np.int64(_ROUNDS + turn)
            left, right = right, left ^ (uniform_32(seed, stream, right) & mask)
        page = (left << half_bits) | right
        if page < pages:
            return page


@kernel
def fill_with_pages(workload, pages, seed, thresholds, half_bits, first, block):
    """Write the pages of accesses `first`, `first` + 1 .. into `block`.

    `thresholds` are those of the Zipf ranks on a scale of 2**62; `half_bits` is half the width of
    a page number, or 0 where ranks are pages.
    Allocates: no. Mutates: block.
    """
    for index in range(block.shape[0]):
        access = first + index
        if workload == Workload.CYCLIC:
            block[index] = access % pages
            continue
        draw = uniform_32(seed, np.int64(_FIRST), access)
        if workload == Workload.UNIFORM:
            block[index] = (draw * pages) >> 32
            continue
        fine = uniform_32(seed, np.int64(_SECOND), access)
        rank = _rank(thresholds, ((draw >> 1) << 31) | (fine >> 1))
        block[index] = rank if half_bits == 0 else _scatter(rank, pages, half_bits, seed)
