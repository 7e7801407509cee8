"""Pages that a workload accesses, from docs/pressure.md, one by one in plain Python."""

from __future__ import annotations

import math

from tests.oracles.murmur import uniform

SCALE = 1 << 62
ROUNDS = 4


def page(
    workload: str, pages: int, seed: int, access: int, exponent: float, *, scattered: bool
) -> int:
    """The page of the region that an access goes to."""
    if workload == "cyclic":
        return access % pages
    draw = uniform(seed, 0, access)
    if workload == "uniform":
        return draw * pages // 2**32
    fine = draw // 2 * 2**31 + uniform(seed, 1, access) // 2
    rank = zipf_rank(pages, exponent, fine / SCALE)
    return scatter(rank, pages, seed) if scattered else rank


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
