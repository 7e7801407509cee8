"""Pages that a workload accesses, from docs/pressure.md, one by one in plain Python."""

from __future__ import annotations

import math

from tests.oracles.murmur import uniform

SCALE = 1 << 62
ROUNDS = 4


def page(
    workload: str,
    pages: int,
    seed: int,
    access: int,
    exponent: float = 1.0,
    *,
    scattered: bool = True,
    stride: int = 1,
    window: float = 0.1,
    phase_accesses: int = 1 << 16,
) -> int:
    """The page of the region that an access goes to."""
    position = access % pages
    if workload == "cyclic":
        return position
    if workload == "strided":
        return strided(pages, min(stride, pages))[position]
    if workload == "pointer-chase":
        return scatter(position, pages, seed)
    draw = uniform(seed, 0, access)
    if workload in ("uniform", "gups"):
        return draw * pages // 2**32
    if workload == "phases":
        begin = uniform(seed, 6, access // phase_accesses) * pages // 2**32
        return (begin + draw * max(1, round(window * pages)) // 2**32) % pages
    fine = draw // 2 * 2**31 + uniform(seed, 1, access) // 2
    rank = zipf_rank(pages, exponent, fine / SCALE)
    return scatter(rank, pages, seed) if scattered else rank


def strided(pages: int, stride: int) -> list[int]:
    """All pages in the order of a strided workload."""
    return [page for first in range(stride) for page in range(first, pages, stride)]


def zipf_rank(ranks: int, exponent: float, probability: float) -> int:
    """The rank at which the cumulative probability exceeds a given one."""
    weights = [(rank + 1) ** -exponent for rank in range(ranks)]
    total, below = math.fsum(weights), 0.0
    for rank, weight in enumerate(weights):
        below += weight / total
        if below > probability:
            return rank
    return ranks - 1


def scatter(rank: int, pages: int, seed: int) -> int:
    """Four rounds of a Feistel network over an even number of bits, until the page exists."""
    bits = 1
    while 4**bits < pages:
        bits += 1
    half = 2**bits
    while True:
        left, right = divmod(rank, half)
        for turn in range(ROUNDS):
            left, right = right, left ^ (uniform(seed, 2 + turn, right) % half)
        rank = left * half + right
        if rank < pages:
            return rank
