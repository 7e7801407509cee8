"""The TLBs of the simulated CPU: which translations of which process they hold.

docs/translation.md says how the arrays work and docs/mechanism.md when they forget. `m.tlb_arrays`
and `m.tlb_paths` are the tables of `translation_layout`, `m.tlb` the entries; a process is an
address space.
"""

import numpy as np

from perfmodel.constants import PAGES_PER_PMD, Event
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.data_caches import column, set_begin
from perfmodel.kernels.layout import Cell
from perfmodel.kernels.recency import FREE, find
from perfmodel.kernels.translation import forget, look_up
from perfmodel.kernels.translation_layout import (
    ARRAY,
    CHOICES,
    COLUMNS,
    HELD,
    MOST_TLBS,
    N_KINDS,
    NUMBER_SHIFT,
    OFFSET,
    ORDER,
    PATH_COLUMNS,
    SETS,
    SPACE_SHIFT,
    STRIDE,
    TREE,
    WAYS,
    Kind,
)

_LEVEL = 2 * N_KINDS  # paths of one level
_ORDER_OF_A_LEAF = 9


@inner_kernel
def flush(m):
    """Forget every translation."""
    m.tlb[:] = FREE
    for array in range(MOST_TLBS):
        row = array * COLUMNS
        tree = column(m.tlb_arrays, row, TREE)
        if tree > 0:
            for index in range(column(m.tlb_arrays, row, SETS)):
                first = column(m.tlb_arrays, row, OFFSET)
                m.tlb[first + index * column(m.tlb_arrays, row, STRIDE) + tree] = 0
    m.state[Cell.LAST_TRANSLATION] = -1


@inline_kernel
def translate(m, space, page, kind, write):
    """One access's translation through L1 and STLB; counts the STLB hit or the walk.

    `page` is a 4 KiB page number, `kind` says how it is mapped: `translation_layout.Kind`.
    Allocates: no. Mutates: tlb, counts, state.
    """
    path = kind + N_KINDS * write
    # Right after itself a translation is the newest of its set, and nothing changes.
    number = page >> column(m.tlb_paths, path * PATH_COLUMNS, ORDER)
    last = (number << NUMBER_SHIFT | space << SPACE_SHIFT | kind) * 2 + write
    if m.state[Cell.LAST_TRANSLATION] == last:
        return
    m.state[Cell.LAST_TRANSLATION] = last
    _, hit = look_up(m.tlb_arrays, m.tlb_paths, m.tlb, path, page, space)
    if hit:
        return
    _, hit = look_up(m.tlb_arrays, m.tlb_paths, m.tlb, path + _LEVEL, page, space)
    if hit:
        m.counts[Event.STLB_HIT] += 1
    elif kind == Kind.HUGE_2M:
        m.counts[Event.WALK_PMD] += 1
    else:
        m.counts[Event.WALK_PTE] += 1


@inline_kernel
def _choice(m, path, span):
    """Row of the array that may hold a range's leaf on a path, and the number in it."""
    row = path * PATH_COLUMNS + CHOICES
    held = column(m.tlb_paths, path * PATH_COLUMNS, HELD)
    if held > 1:
        return row + span % held * COLUMNS, span // held
    return row, span


@inline_kernel
def _forget_at(m, row, number, tag):
    """Drop a tag from the array that a row of `tlb_paths` describes."""
    ways = column(m.tlb_paths, row, WAYS)
    first = set_begin(m.tlb_paths, row, number)
    way = find(m.tlb, first, ways, tag)
    if way < 0:
        return
    if column(m.tlb_paths, row, TREE) == 0:
        # What is older moves up, so that free ways stand behind.
        while way + 1 < ways and m.tlb[first + way + 1] != FREE:
            m.tlb[first + way] = m.tlb[first + way + 1]
            way += 1
    m.tlb[first + way] = FREE


@inner_kernel
def forget_huge(m, space, span):
    """Invalidate the 2 MiB translation of one range."""
    m.state[Cell.LAST_TRANSLATION] = -1
    tag = span << NUMBER_SHIFT | space << SPACE_SHIFT | _ORDER_OF_A_LEAF
    for path in (np.int64(Kind.HUGE_2M.value), np.int64(Kind.HUGE_2M.value + _LEVEL)):
        row, number = _choice(m, path, span)
        store_row, store_number = _choice(m, path + N_KINDS, span)
        # Where a level holds no 2 MiB pages, its row has no ways.
        _forget_at(m, row, number, tag)
        if column(m.tlb_paths, store_row, ARRAY) != column(m.tlb_paths, row, ARRAY):
            _forget_at(m, store_row, store_number, tag)


@inner_kernel
def forget_pages(m, space, span):
    """Invalidate every translation of one 2 MiB range's pages."""
    m.state[Cell.LAST_TRANSLATION] = -1
    first_page = span * PAGES_PER_PMD
    last_page = first_page + PAGES_PER_PMD - 1
    orders = np.int64(_ORDER_OF_A_LEAF)
    for array in range(MOST_TLBS):
        forget(m.tlb_arrays, m.tlb, array, space, first_page, last_page, orders)
