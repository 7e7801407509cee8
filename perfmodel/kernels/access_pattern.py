"""Page numbers of a workload's accesses; access k depends on nothing but k and the workload."""

import numpy as np

from perfmodel.constants import Workload
from perfmodel.kernels._jit import inner_kernel, kernel
from perfmodel.kernels.random import uniform_32

# Streams of random numbers: the two draws of an access, the rounds of the scattering, where a
# phase begins, and which rank of many that share a threshold.
_FIRST, _SECOND, _ROUNDS, _PHASE, _WITHIN = 0, 1, 2, 6, 7
_N_ROUNDS = 4

# One workload. `half_bits` is half the width of a page number, or 0 where Zipf ranks are pages.
PATTERN = np.dtype(
    [
        ("workload", np.int64),
        ("pages", np.int64),
        ("seed", np.int64),
        ("half_bits", np.int64),
        ("stride", np.int64),
        ("window", np.int64),  # pages
        ("phase_accesses", np.int64),
    ],
    align=True,
)


@inner_kernel
def find_rank(thresholds, draw):
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
def scatter(rank, pages, half_bits, seed):
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


@inner_kernel
def _strided_page(position, pages, stride):
    """Every stride-th page from 0 on, then every stride-th one from 1 on, until all were there."""
    short, longer = pages // stride, pages % stride
    in_longer = longer * (short + 1)
    if position < in_longer:
        return position // (short + 1) + position % (short + 1) * stride
    rest = position - in_longer
    return longer + rest // short + rest % short * stride


@kernel
def fill_with_pages(pattern, thresholds, starts, first, block):
    """Write the pages of accesses `first`, `first` + 1 .. into `block`.

    `pattern` is a record of PATTERN. `thresholds` are those of the Zipf ranks on a scale of 2**62;
    where `starts` is not empty, threshold i is that of the ranks from starts[i] to below
    starts[i + 1], which are equally likely.
    Allocates: no. Mutates: block.
    """
    workload, pages, seed = pattern["workload"], pattern["pages"], pattern["seed"]
    half_bits = pattern["half_bits"]
    for index in range(block.shape[0]):
        access = first + index
        if workload == Workload.CYCLIC:
            block[index] = access % pages
            continue
        if workload == Workload.STRIDED:
            block[index] = _strided_page(access % pages, pages, pattern["stride"])
            continue
        if workload == Workload.POINTER_CHASE:
            block[index] = scatter(access % pages, pages, half_bits, seed)
            continue
        draw = uniform_32(seed, np.int64(_FIRST), access)
        if workload == Workload.UNIFORM or workload == Workload.GUPS:
            block[index] = (draw * pages) >> 32
            continue
        if workload == Workload.PHASES:
            phase = access // pattern["phase_accesses"]
            begin = (uniform_32(seed, np.int64(_PHASE), phase) * pages) >> 32
            block[index] = (begin + ((draw * pattern["window"]) >> 32)) % pages
            continue
        fine = uniform_32(seed, np.int64(_SECOND), access)
        rank = find_rank(thresholds, ((draw >> 1) << 31) | (fine >> 1))
        if starts.shape[0] > 0:
            many = starts[rank + 1] - starts[rank]
            rank = starts[rank] + ((uniform_32(seed, np.int64(_WITHIN), access) * many) >> 32)
        block[index] = rank if half_bits == 0 else scatter(rank, pages, half_bits, seed)
