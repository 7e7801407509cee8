"""Reading folios from swap and writing them there: zero pages, zswap, device."""

import numpy as np

from perfmodel.constants import (
    ORDER_BASE,
    PAGES_PER_PMD,
    PMD_ORDER,
    Content,
    Counter,
    Event,
    OrderCounter,
    Zswap,
)
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import charge
from perfmodel.kernels.folios import (
    clear_flag,
    drop_folio,
    folio_order,
    folio_page,
    folio_slot,
    leave_cache,
    set_slot_flags,
)
from perfmodel.kernels.layout import COUNTERS, FOLIO_DIRTY, SLOT_ZERO, SLOT_ZSWAP, Cell
from perfmodel.kernels.lru import is_limited, leave_shadows
from perfmodel.kernels.requests import request
from perfmodel.kernels.swap_devices import charge_read, charge_write, is_synchronous
from perfmodel.kernels.zswap_pool import store_in_zswap


@inline_kernel
def count_order(m, statistic, order):
    """Count one in a statistic that the kernel keeps for each order above 0."""
    if order > 0:
        m.counts[COUNTERS + ORDER_BASE + statistic * PMD_ORDER + order - 1] += 1


@inline_kernel
def read_folio(m, order, slot, flags, requests):
    """Allocation and I/O of one folio that is swapped in.

    `slot` is its first one, `flags` are that one's; `requests` says how many the I/O takes.
    Allocates: no. Mutates: counters, events.
    """
    pages = 1 << order
    charge(m, Event.SWAPIN_FOLIO, 1)
    charge(m, Event.SWAPIN_PAGE, pages)
    if order > 0:
        charge(m, Event.SWAPIN_LARGE_FOLIO, 1)
    if flags & SLOT_ZERO:
        # No I/O: the folio is cleared, and the statistics of its order do not count it.
        charge(m, Event.CLEAR_PAGE, pages)
        m.counts[COUNTERS + Counter.SWPIN_ZERO] += pages
    elif flags & SLOT_ZSWAP:
        charge(m, Event.ZSWAP_LOAD_PAGE, pages)
        m.counts[COUNTERS + Counter.ZSWPIN] += pages
    else:
        charge_read(m, slot, requests, pages)
        m.counts[COUNTERS + Counter.PSWPIN] += pages
        count_order(m, np.int64(OrderCounter.SWPIN.value), order)


@inline_kernel
def _all_zero(m, page, pages):
    content = m.parameters["content"]
    if content == Content.ZERO:
        return True
    if content == Content.ONE_NON_ZERO:
        last = page + pages - 1
        # Holds the last page of a 2 MiB range, the one that is not zero?
        return (last + 1) // PAGES_PER_PMD == page // PAGES_PER_PMD
    return False


@inner_kernel
def write_folio(m, folio):
    """Write a dirty, unmapped folio of the swap cache; it dies if that is done at once.

    Allocates: no. Mutates: folios, slots, counters, events.
    """
    order = folio_order(m, folio)
    pages = 1 << order
    slot = folio_slot(m, folio)
    if _all_zero(m, folio_page(m, folio), pages):
        # All or nothing: a folio of zeros sets 2**order zero flags and does no I/O.
        charge(m, Event.ZERO_SCAN_PAGE, pages)
        m.counts[COUNTERS + Counter.SWPOUT_ZERO] += pages
        set_slot_flags(m, slot, pages, np.int64(SLOT_ZERO))
    elif m.parameters["zswap"] == Zswap.ON and m.state[Cell.REFUSE_WRITE] == 1:
        set_slot_flags(m, slot, pages, np.int64(0))
        return
    elif m.parameters["zswap"] == Zswap.ON and store_in_zswap(m, slot, folio_page(m, folio), pages):
        m.counts[COUNTERS + Counter.ZSWPOUT] += pages
        count_order(m, np.int64(OrderCounter.ZSWPOUT.value), order)
        set_slot_flags(m, slot, pages, np.int64(SLOT_ZSWAP))
    elif m.parameters["zswap_stays"] == 1:
        # The cgroup lets nothing go to the device: rejected, and dirty as before.
        set_slot_flags(m, slot, pages, np.int64(0))
        return
    else:
        charge_write(m, slot, pages)
        m.counts[COUNTERS + Counter.PSWPOUT] += pages
        if order == PMD_ORDER:
            m.counts[COUNTERS + Counter.THP_SWPOUT] += 1
        count_order(m, np.int64(OrderCounter.SWPOUT.value), order)
        set_slot_flags(m, slot, pages, np.int64(0))
        if not is_synchronous(m, slot):
            # Under writeback, then clean: the cache keeps it in one piece.
            clear_flag(m, folio, np.int64(FOLIO_DIRTY))
            request(m, folio, slot, np.int64(1))
            return
    if is_limited(m):
        leave_shadows(m, folio, slot, pages)
    leave_cache(m, folio)
    drop_folio(m, folio)
