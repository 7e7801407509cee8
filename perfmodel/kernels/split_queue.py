"""The deferred split queue of the memory cgroup: THPs that are new, and what is mapped in part.

Only where memory is on LRU lists; docs/pressure.md, section 7.
"""

import numpy as np

from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.layout import FOLIO_QUEUED, SPLIT_QUEUE, SplitQueue


@inner_kernel
def enqueue(m, folio):
    """To the tail, unless it stands there already."""
    flags = np.int64(m.folios[folio]["flags"])
    if flags & FOLIO_QUEUED:
        return
    m.folios[folio]["flags"] = flags | FOLIO_QUEUED
    tail = m.state[SPLIT_QUEUE + SplitQueue.TAIL] - 1
    # Numbers are one higher, so that 0 is nobody.
    m.queued[folio]["previous"] = tail + 1
    m.queued[folio]["next"] = 0
    if tail >= 0:
        m.queued[tail]["next"] = folio + 1
    else:
        m.state[SPLIT_QUEUE + SplitQueue.HEAD] = folio + 1
    m.state[SPLIT_QUEUE + SplitQueue.TAIL] = folio + 1
    m.state[SPLIT_QUEUE + SplitQueue.LENGTH] += 1


@inner_kernel
def _take_out(m, folio):
    m.folios[folio]["flags"] = np.int64(m.folios[folio]["flags"]) & ~FOLIO_QUEUED
    before = np.int64(m.queued[folio]["previous"]) - 1
    behind = np.int64(m.queued[folio]["next"]) - 1
    if before >= 0:
        m.queued[before]["next"] = behind + 1
    else:
        m.state[SPLIT_QUEUE + SplitQueue.HEAD] = behind + 1
    if behind >= 0:
        m.queued[behind]["previous"] = before + 1
    else:
        m.state[SPLIT_QUEUE + SplitQueue.TAIL] = before + 1
    m.state[SPLIT_QUEUE + SplitQueue.LENGTH] -= 1


@inline_kernel
def dequeue(m, folio):
    """Off the queue, if it is there."""
    if np.int64(m.folios[folio]["flags"]) & FOLIO_QUEUED:
        _take_out(m, np.int64(folio))


@inline_kernel
def first_queued(m):
    """The folio at the head of the queue, which is not empty."""
    return m.state[SPLIT_QUEUE + SplitQueue.HEAD] - 1


@inline_kernel
def queue_length(m):
    """Folios on the queue."""
    return m.state[SPLIT_QUEUE + SplitQueue.LENGTH]
