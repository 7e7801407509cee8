"""The shrinker of the deferred split queue, which reclaim asks at each priority.

docs/pressure.md, section 7.
"""

import numpy as np

from perfmodel.constants import (
    PAGES_PER_PMD,
    PMD_ORDER,
    Content,
    Counter,
    PteKind,
)
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.folios import (
    drop_folio,
    folio_order,
    folio_page,
    has_flag,
    is_cached,
)
from perfmodel.kernels.layout import (
    COLLECTED,
    COUNTERS,
    FOLIO_PARTIALLY_MAPPED,
    SPLIT_QUEUE,
    Cell,
    SplitQueue,
)
from perfmodel.kernels.reclaim import PIECES, split_folio
from perfmodel.kernels.slots import runs_short
from perfmodel.kernels.split_queue import dequeue, enqueue, first_queued, queue_length
from perfmodel.kernels.tables import (
    forget_table,
    keep_protection,
    mapped_here,
    pmd_number,
    pmd_value,
    shift_of,
)

_BATCH = 128
# 4 / seeks.
_EAGERNESS = 2


@inline_kernel
def _zero_pages(m):
    """Of the pages of a THP."""
    content = m.parameters["content"]
    if content == Content.ZERO:
        return np.int64(PAGES_PER_PMD)
    if content == Content.ONE_NON_ZERO:
        return np.int64(PAGES_PER_PMD - 1)
    return np.int64(0)


@inline_kernel
def _is_underused(m):
    most = m.parameters["max_ptes_none"]
    return most < PAGES_PER_PMD - 1 and _zero_pages(m) > most


@inner_kernel
def _is_zero(m, page):
    content = m.parameters["content"]
    last = page % PAGES_PER_PMD == PAGES_PER_PMD - 1
    return content == Content.ZERO or (content == Content.ONE_NON_ZERO and not last)


@inner_kernel
def _map_zero_page(m, folio):
    """A page of zeros that has been split off gives way to the shared one."""
    page = folio_page(m, folio)
    for process in range(m.state[Cell.PROCESSES]):
        if not mapped_here(m, folio, process, page):
            continue
        number = shift_of(m, process) + page
        q = pmd_number(m, process, number // PAGES_PER_PMD)
        row = pmd_value(m, q)
        entry = number % PAGES_PER_PMD
        m.rows[row, entry] = keep_protection(m.rows[row, entry], np.int64(PteKind.ZERO.value))
        forget_table(m, q)
    m.folios[folio]["mapcount"] = 0
    drop_folio(m, folio)


@inner_kernel
def _split(m, folio):
    pages = np.int64(1) << folio_order(m, folio)
    cached = is_cached(m, folio)
    split_folio(m, folio)
    if cached:
        return
    for part in range(pages):
        piece = m.state[COLLECTED + PIECES + part]
        if piece >= 0 and _is_zero(m, folio_page(m, piece)):
            _map_zero_page(m, piece)


@inner_kernel
def _scan(m, most):
    """Look at folios from the head of the queue; false if that was of no use at all."""
    done = 0
    for _ in range(min(most, queue_length(m))):
        folio = first_queued(m)
        partial = has_flag(m, folio, np.int64(FOLIO_PARTIALLY_MAPPED))
        locked = np.int64(m.links[folio]["locked"]) == m.state[Cell.CALL] or runs_short(m)
        if (partial or _is_underused(m)) and not locked:
            if not partial and folio_order(m, folio) == PMD_ORDER:
                m.counts[COUNTERS + Counter.THP_UNDERUSED_SPLIT_PAGE] += 1
            _split(m, folio)
            done += 1
            continue
        dequeue(m, folio)
        if partial:
            enqueue(m, folio)
    return done > 0 or queue_length(m) > 0


@inner_kernel
def _shrink(m, priority):
    waiting = queue_length(m)
    left = m.state[SPLIT_QUEUE + SplitQueue.LEFT]
    more = (waiting >> priority) * _EAGERNESS
    total = min((left >> priority) + more, 2 * waiting)
    scanned = np.int64(0)
    while total >= _BATCH or total >= waiting:
        part = min(np.int64(_BATCH), total)
        if not _scan(m, part):
            break
        total -= part
        scanned += part
    left = max(left + more - scanned, np.int64(0))
    m.state[SPLIT_QUEUE + SplitQueue.LEFT] = min(left, 2 * waiting)


@inline_kernel
def shrink_split_queue(m, priority):
    """What reclaim asks of the deferred split queue at a priority; split pages are not its own."""
    if queue_length(m) > 0:
        _shrink(m, np.int64(priority))
