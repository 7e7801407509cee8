"""The TLBs of the simulated CPU: which translations of which process they hold.

docs/translation.md says how the arrays work and docs/mechanism.md when they forget. `m.tlb_arrays`
and `m.tlb_paths` are the tables of `translation_layout`, `m.tlb` the entries; a process is an
address space.
"""

import numpy as np

from perfmodel.constants import PAGES_PER_PMD, Event
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import charge
from perfmodel.kernels.data_caches import column, set_begin
from perfmodel.kernels.layout import MOST_PROCESSES, Cell, cpu_cell
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
    SPACE_MASK,
    SPACE_SHIFT,
    STRIDE,
    TREE,
    WAYS,
    Kind,
)

_LEVEL = 2 * N_KINDS  # paths of one level
_ORDER_OF_A_LEAF = 9
_GENERATIONS = (SPACE_MASK + 1) // MOST_PROCESSES


@inner_kernel
def flush(m):
    """Forget every translation."""
    m.tlb[:, :] = FREE
    _forget_last(m)
    for array in range(MOST_TLBS):
        row = array * COLUMNS
        tree = column(m.tlb_arrays, row, TREE)
        if tree > 0:
            for index in range(column(m.tlb_arrays, row, SETS)):
                first = column(m.tlb_arrays, row, OFFSET)
                m.tlb[:, first + index * column(m.tlb_arrays, row, STRIDE) + tree] = 0


@inner_kernel
def forget_everything(m):
    """Flush all TLBs in one go: what they hold is of a generation that nobody asks for again.

    It stays there until it is the oldest of its set, as free ways would. A tree does not know what
    is oldest, so that its ways have to be free.
    """
    m.state[Cell.TLB_GENERATION] += 1
    if m.state[Cell.TLB_GENERATION] == _GENERATIONS or _has_tree(m):
        m.state[Cell.TLB_GENERATION] = 0
        flush(m)
    _forget_last(m)


@inline_kernel
def _has_tree(m):
    last = np.int64(0)
    for array in range(MOST_TLBS):
        last = max(last, column(m.tlb_arrays, array * COLUMNS, TREE))
    return last > 0


@inline_kernel
def _space_of(m, process):
    """Address space of a process in the tags of this generation."""
    return m.state[Cell.TLB_GENERATION] * MOST_PROCESSES + process


@inline_kernel
def translate(m, process, page, kind, write):
    """One access's translation through L1 and STLB; counts the STLB hit or the walk.

    `page` is a 4 KiB page number, `kind` says how it is mapped: `translation_layout.Kind`.
    True if it was a walk. Allocates: no. Mutates: tlb, counts, state.
    """
    space = _space_of(m, process)
    path = kind + N_KINDS * write
    # Right after itself a translation is the newest of its set, and nothing changes.
    number = page >> column(m.tlb_paths, path * PATH_COLUMNS, ORDER)
    last = (number << NUMBER_SHIFT | space << SPACE_SHIFT | kind) * 2 + write
    if m.state[Cell.LAST_TRANSLATION] == last:
        return False
    m.state[Cell.LAST_TRANSLATION] = last
    entries = m.tlb[m.state[Cell.CPU]]
    _, hit = look_up(m.tlb_arrays, m.tlb_paths, entries, path, page, space)
    if hit:
        return False
    _, hit = look_up(m.tlb_arrays, m.tlb_paths, entries, path + _LEVEL, page, space)
    if hit:
        charge(m, Event.STLB_HIT, 1)
        return False
    if kind == Kind.HUGE_2M:
        charge(m, Event.WALK_PMD, 1)
    else:
        charge(m, Event.WALK_PTE, 1)
    return True


@inline_kernel
def _choice(m, path, span):
    """Row of the array that may hold a range's leaf on a path, and the number in it."""
    row = path * PATH_COLUMNS + CHOICES
    held = column(m.tlb_paths, path * PATH_COLUMNS, HELD)
    if held > 1:
        return row + span % held * COLUMNS, span // held
    return row, span


@inline_kernel
def _forget_last(m):
    """No CPU may take its last translation for granted."""
    m.state[Cell.LAST_TRANSLATION] = -1
    for cpu in range(m.tlb.shape[0]):
        m.state[cpu_cell(cpu) + Cell.LAST_TRANSLATION - Cell.NOW] = -1


@inline_kernel
def _forget_at(m, cpu, row, number, tag):
    """Drop a tag from the array that a row of `tlb_paths` describes."""
    ways = column(m.tlb_paths, row, WAYS)
    first = set_begin(m.tlb_paths, row, number)
    way = find(m.tlb[cpu], first, ways, tag)
    if way < 0:
        return
    if column(m.tlb_paths, row, TREE) == 0:
        # What is older moves up, so that free ways stand behind.
        while way + 1 < ways and m.tlb[cpu, first + way + 1] != FREE:
            m.tlb[cpu, first + way] = m.tlb[cpu, first + way + 1]
            way += 1
    m.tlb[cpu, first + way] = FREE


@inner_kernel
def forget_huge(m, process, span):
    """Invalidate the 2 MiB translation of one range, on all CPUs."""
    _forget_last(m)
    tag = span << NUMBER_SHIFT | _space_of(m, process) << SPACE_SHIFT | _ORDER_OF_A_LEAF
    for path in (np.int64(Kind.HUGE_2M.value), np.int64(Kind.HUGE_2M.value + _LEVEL)):
        row, number = _choice(m, path, span)
        store_row, store_number = _choice(m, path + N_KINDS, span)
        # Where a level holds no 2 MiB pages, its row has no ways.
        for cpu in range(m.tlb.shape[0]):
            _forget_at(m, cpu, row, number, tag)
            if column(m.tlb_paths, store_row, ARRAY) != column(m.tlb_paths, row, ARRAY):
                _forget_at(m, cpu, store_row, store_number, tag)


@inner_kernel
def forget_pages(m, process, span):
    """Invalidate every translation of one 2 MiB range's pages, on all CPUs."""
    _forget_last(m)
    space = _space_of(m, process)
    first_page = span * PAGES_PER_PMD
    last_page = first_page + PAGES_PER_PMD - 1
    orders = np.int64(_ORDER_OF_A_LEAF)
    for cpu in range(m.tlb.shape[0]):
        entries = m.tlb[cpu]
        for array in range(MOST_TLBS):
            forget(m.tlb_arrays, entries, array, space, first_page, last_page, orders)
