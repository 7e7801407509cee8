"""What it costs to make translations disappear on all CPUs that may hold them."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.specs.translation import Shootdown


@attrs.frozen(eq=False)
class ShootdownCost:
    """Times in nanoseconds, of the shapes that the arguments broadcast to.

    Parameters
    ----------
    initiator_ns : float64 array
        Until the flush is complete, on the CPU that asks for it.
    responder_ns : float64 array
        Taken from each of the other CPUs.
    total_ns : float64 array
        CPU time of all together.
    """

    initiator_ns: npt.NDArray[np.float64]
    responder_ns: npt.NDArray[np.float64]
    total_ns: npt.NDArray[np.float64]


def shootdown_cost(
    shootdown: Shootdown,
    cpus: npt.ArrayLike,
    pages: npt.ArrayLike,
    *,
    entries: npt.ArrayLike | None = None,
    batched: bool = False,
) -> ShootdownCost:
    """Cost of invalidating some pages of one address space on some CPUs.

    A flush of more entries than the ceiling drops the whole address space instead. With IPIs, the
    initiator and the others flush at the same time; the others lose the interrupt and the flush.
    With `broadcast` nobody is interrupted, and a flush is one broadcast however long its range.

    Parameters
    ----------
    shootdown : Shootdown
    cpus : integer array
        CPUs that use the address space, the initiator among them; 1 is a local flush.
    pages : integer array
        Pages unmapped; 0 flushes nothing.
    entries : integer array, optional
        TLB entries that have to be named for them, by default one for each page. One 2 MiB
        leaf is one entry.
    batched : bool
        One flush for all pages together. Otherwise each entry is a flush of its own, which is what
        unmapping page by page does.

    Returns
    -------
    ShootdownCost
    """
    on = np.asarray(cpus)
    named = np.asarray(pages if entries is None else entries)
    if (on < 1).any() or (named < 0).any():
        raise ValueError("cpus must be at least 1, pages and entries not negative")
    flushes, each = (np.minimum(named, 1), named) if batched else (named, np.minimum(named, 1))
    ceiling = shootdown.full_flush_ceiling.value
    local = np.where(
        each > ceiling,
        shootdown.local_full_ns.value,
        np.minimum(each, 1) * shootdown.local_range_ns.value + each * shootdown.local_page_ns.value,
    )
    others = on - 1
    remote = np.where(
        others > 0,
        shootdown.first_responder_ns.value
        + np.maximum(others - 1, 0) * shootdown.next_responder_ns.value,
        0.0,
    )
    answer = np.where(others > 0, shootdown.responder_ns.value + local, 0.0)
    if shootdown.broadcast:
        remote = np.where(others > 0, shootdown.broadcast_ns.value, 0.0)
        answer = np.zeros_like(answer)
    # The broadcast reaches the initiator's own TLB as well.
    own = np.where(shootdown.broadcast & (others > 0), 0.0, local)
    initiator = flushes * (own + remote)
    responder = flushes * answer
    initiator, responder, others = np.broadcast_arrays(initiator, responder, others)
    return ShootdownCost(initiator, responder, initiator + others * responder)
