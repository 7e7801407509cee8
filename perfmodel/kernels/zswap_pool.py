"""The engine's zswap: a pool that may fill up, or one that takes everything and has no limit."""

from perfmodel.constants import Event
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import charge
from perfmodel.kernels.layout import Cell
from perfmodel.kernels.zswap import SHRINK_QUEUED, STORED, TOO_SMALL, free_entry, store_run


@inline_kernel
def has_pool(m):
    """Whether what zswap stores takes memory, of which it may have so much."""
    return m.parameters["zswap_pool"] == 1


@inner_kernel
def store_in_zswap(m, slot, page, pages):
    """Store a folio, all of its pages or none; true if it is stored.

    Allocates: no. Mutates: the pool, events.
    """
    if not has_pool(m):
        charge(m, Event.ZSWAP_STORE_PAGE, pages)
        return True
    size, last = m.parameters["zswap_bytes"], m.parameters["zswap_bytes_last"]
    outcome, compressed = store_run(m.zswap, slot, page, pages, size, last)
    if outcome == TOO_SMALL:
        m.state[Cell.EXHAUSTED] = 1
    charge(m, Event.ZSWAP_STORE_PAGE, compressed)
    return outcome == STORED


@inline_kernel
def forget_stored(m, slot):
    """Zswap no longer has the page of a slot."""
    if has_pool(m):
        free_entry(m.zswap, slot)


@inline_kernel
def is_shrink_queued(m):
    """Whether a full pool has asked for the shrinker."""
    return has_pool(m) and m.zswap.counts[SHRINK_QUEUED] == 1
