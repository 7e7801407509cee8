"""Page tables: PMD records, rows of PTE words, protections, and the splitting of PMD entries."""

import numpy as np

from perfmodel.constants import PAGES_PER_PMD, Counter, Event, PteKind, RegionState
from perfmodel.kernels._jit import inline_kernel, inner_kernel
from perfmodel.kernels.clock import charge, fall_back, hold_pmd
from perfmodel.kernels.folios import add_mappings
from perfmodel.kernels.layout import (
    ALIVE,
    ARMED,
    COUNTERS,
    DIRTY,
    EXCLUSIVE,
    KIND_MASK,
    MIXED,
    PROCESS_CELLS,
    PROTECTION_MASK,
    PROTECTION_SHIFT,
    SHIFT,
    SOFT_DIRTY,
    TRANSLATED_LEAF,
    TRANSLATED_PAGES,
    UFFD_WP,
    UNMAPPED_PAGE,
    VALUE_SHIFT,
    YOUNG,
    YOUNG_LEAF,
    Cell,
)
from perfmodel.kernels.lru import force_charge_table, uncharge_table
from perfmodel.kernels.slots import release_row, take_row
from perfmodel.kernels.tlb import forget_huge, forget_pages
from perfmodel.kernels.translation_layout import Kind

# Dirty bits differ from entry to entry, and whether a page is exclusive stands elsewhere.
_SAME_IN_A_RUN = ~(DIRTY | EXCLUSIVE | SOFT_DIRTY | YOUNG)


@inline_kernel
def pmd_number(m, process, span):
    """Where the PMD record of one range of one process stands."""
    return process * m.state[Cell.RANGES] + span


@inline_kernel
def process_cell(process):
    """Where the fields of a process begin in the state."""
    return Cell.PROCESS + process * PROCESS_CELLS


@inline_kernel
def is_alive(m, process):
    """Whether a process lives."""
    return m.state[process_cell(process) + ALIVE] == 1


@inline_kernel
def shift_of(m, process):
    """Pages that a process's region stands behind a 2 MiB boundary."""
    return m.state[process_cell(process) + SHIFT]


@inline_kernel
def is_armed(m, process):
    """Whether userfaultfd watches a process's region."""
    return m.state[process_cell(process) + ARMED] == 1


@inline_kernel
def pmd_kind(m, q):
    """`RegionState` of a PMD record."""
    return np.int64(m.pmds[q]["kind"])


@inline_kernel
def pmd_value(m, q):
    """Folio, cluster or row of a PMD record."""
    return np.int64(m.pmds[q]["value"])


@inline_kernel
def pmd_flags(m, q):
    """Flags of a PMD record."""
    return np.int64(m.pmds[q]["flags"])


@inline_kernel
def set_pmd(m, q, kind, flags, value):
    """Write a PMD record; the protection stays."""
    pmd = m.pmds[q]
    pmd["kind"] = kind
    pmd["flags"] = flags
    pmd["value"] = value


@inline_kernel
def has_row(m, q):
    """Whether words say what a range's pages are: a PTE table, or several protections."""
    pmd = m.pmds[q]
    return np.int64(pmd["kind"]) == RegionState.PTE_TABLE or (
        np.int64(pmd["kind"]) == RegionState.NONE and np.int64(pmd["protection"]) == MIXED
    )


@inline_kernel
def page_protection(m, q, entry):
    """Protection of one page."""
    protection = np.int64(m.pmds[q]["protection"])
    if has_row(m, q):
        word = m.rows[pmd_value(m, q), entry]
        return (word & PROTECTION_MASK) >> PROTECTION_SHIFT
    return protection


@inner_kernel
def make_row(m, q, word):
    """Give a range a row in which every entry is `word` with the range's protection."""
    row = take_row(m)
    protection = np.int64(m.pmds[q]["protection"])
    for entry in range(PAGES_PER_PMD):
        m.rows[row, entry] = word | (protection << PROTECTION_SHIFT)
    m.pmds[q]["value"] = row
    m.pmds[q]["protection"] = MIXED
    return row


@inner_kernel
def make_table(m, q):
    """A NONE range gets a PTE table of NONE entries."""
    if not has_row(m, q):
        make_row(m, q, np.int64(0))
    m.pmds[q]["kind"] = RegionState.PTE_TABLE
    charge(m, Event.PAGE_TABLE_ALLOCATION, 1)


@inner_kernel
def drop_table(m, q):
    """A range whose entries are all NONE loses its table; several protections are remembered."""
    row = pmd_value(m, q)
    if pmd_kind(m, q) == RegionState.PTE_TABLE:
        uncharge_table(m)
    m.pmds[q]["kind"] = RegionState.NONE
    m.pmds[q]["flags"] = 0
    protection = m.rows[row, 0]
    for entry in range(PAGES_PER_PMD):
        if m.rows[row, entry] != protection:
            return
    m.pmds[q]["protection"] = protection >> PROTECTION_SHIFT
    m.pmds[q]["value"] = -1
    release_row(m, row)


@inner_kernel
def split_mapping(m, q, frozen):
    """Replace a PMD leaf (a folio's, or the huge zero page's) by 512 PTEs that say the same.

    `frozen` is 1 where the folio is split, too: its entries go through migration entries then.
    """
    kind = pmd_kind(m, q)
    flags = pmd_flags(m, q)
    if kind == RegionState.PMD_MAPPED:
        if frozen == 0 and flags & DIRTY:
            # The dirty bit is handed on by pte_mkdirty, which sets both.
            flags |= SOFT_DIRTY
        folio = pmd_value(m, q)
        add_mappings(m, folio, np.int64(PAGES_PER_PMD - 1))
        row = make_row(m, q, np.int64(PteKind.PRESENT.value) | flags)
        for entry in range(PAGES_PER_PMD):
            m.rows[row, entry] |= (folio * PAGES_PER_PMD + entry) << VALUE_SHIFT
        translated = np.int64(m.pmds[q]["translated"])
        if translated & YOUNG_LEAF:
            m.pmds[q]["translated"] = translated & ~YOUNG_LEAF
            for entry in range(PAGES_PER_PMD):
                m.rows[row, entry] |= YOUNG
    else:
        make_row(m, q, np.int64(PteKind.ZERO.value))
    m.pmds[q]["kind"] = RegionState.PTE_TABLE
    m.pmds[q]["flags"] = 0
    m.counts[COUNTERS + Counter.THP_SPLIT_PMD] += 1
    charge(m, Event.SPLIT_PMD_MAPPING, 1)
    if m.parameters["lazy_page_table_deposit"] == 1:
        charge(m, Event.PAGE_TABLE_ALLOCATION, 1)
        force_charge_table(m)
    hold_pmd(m, q, np.int64(PAGES_PER_PMD))
    forget_leaf(m, q)


@inner_kernel
def split_swap_entry(m, q, reason):
    """Replace a PMD swap entry by 512 PTE swap entries: the fallback to PTEs."""
    flags = pmd_flags(m, q)
    slot = pmd_value(m, q) * PAGES_PER_PMD
    row = make_row(m, q, np.int64(PteKind.SWAP.value) | flags)
    for entry in range(PAGES_PER_PMD):
        m.rows[row, entry] |= (slot + entry) << VALUE_SHIFT
    m.pmds[q]["kind"] = RegionState.PTE_TABLE
    m.pmds[q]["flags"] = 0
    m.counts[COUNTERS + Counter.THP_SPLIT_PMD] += 1
    charge(m, Event.SPLIT_PMD_SWAP_ENTRY, 1)
    fall_back(m, reason)
    if m.parameters["lazy_page_table_deposit"] == 1:
        charge(m, Event.PAGE_TABLE_ALLOCATION, 1)
        force_charge_table(m)
    hold_pmd(m, q, np.int64(PAGES_PER_PMD))


@inline_kernel
def forget_leaf(m, q):
    """Invalidate the huge translation of a range that a PMD leaf maps."""
    translated = np.int64(m.pmds[q]["translated"])
    if translated & TRANSLATED_LEAF:
        m.pmds[q]["translated"] = translated & ~TRANSLATED_LEAF
        ranges = m.state[Cell.RANGES]
        forget_huge(m, q // ranges, q % ranges)


@inline_kernel
def forget_table(m, q):
    """Invalidate the translations of a range's pages that a PTE table maps."""
    translated = np.int64(m.pmds[q]["translated"])
    if translated & TRANSLATED_PAGES:
        m.pmds[q]["translated"] = translated & ~TRANSLATED_PAGES
        ranges = m.state[Cell.RANGES]
        forget_pages(m, q // ranges, q % ranges)


@inline_kernel
def _is_run(m, row, entry, pages):
    """Whether the aligned block around an entry maps consecutive, aligned pages of its folio."""
    first = entry // pages * pages
    like = m.rows[row, first] & _SAME_IN_A_RUN
    if word_value(like) % pages != 0:
        return False
    for part in range(1, pages):
        if m.rows[row, first + part] & _SAME_IN_A_RUN != like + (part << VALUE_SHIFT):
            return False
    return True


@inline_kernel
def entry_size(m, q, entry):
    """`Kind` of the translation of a page that a PTE maps: alone, or in a run of 4 or 16."""
    row = pmd_value(m, q)
    word = m.rows[row, entry]
    if word_kind(word) == PteKind.PRESENT:
        order = np.int64(m.folios[word_folio(word)]["order"])
        if order >= 4 and _is_run(m, row, entry, np.int64(16)):
            return np.int64(Kind.CONTIGUOUS_64K.value)
        if order >= 2 and _is_run(m, row, entry, np.int64(4)):
            return np.int64(Kind.CONTIGUOUS_16K.value)
    return np.int64(Kind.SMALL.value)


@inline_kernel
def may_be_writable(flags):
    """Whether these flags of an entry, if its page is writable, let it be writable unasked.

    An entry without SOFT_DIRTY belongs to a process that is TRACKED: nobody else's is ever cleared.
    """
    return flags & (EXCLUSIVE | SOFT_DIRTY | UFFD_WP) == (EXCLUSIVE | SOFT_DIRTY)


@inline_kernel
def word_kind(word):
    """`PteKind` of a PTE word."""
    return word & KIND_MASK


@inline_kernel
def word_value(word):
    """Slot, or folio x 512 + page, of a PTE word."""
    return word >> VALUE_SHIFT


@inline_kernel
def word_folio(word):
    """Folio of a PRESENT word."""
    return (word >> VALUE_SHIFT) // PAGES_PER_PMD


@inline_kernel
def keep_protection(word, new):
    """`new` with the page protection of `word`."""
    return (word & PROTECTION_MASK) | new


@inner_kernel
def one_vma(m, q, first, size):
    """Whether `size` entries from `first` on have one protection, and are mapped."""
    if not has_row(m, q):
        return np.int64(m.pmds[q]["protection"]) != UNMAPPED_PAGE
    row = pmd_value(m, q)
    protection = m.rows[row, first] & PROTECTION_MASK
    if protection == UNMAPPED_PAGE << PROTECTION_SHIFT:
        return False
    for entry in range(first + 1, first + size):
        if m.rows[row, entry] & PROTECTION_MASK != protection:
            return False
    return True


@inner_kernel
def mapped_here(m, folio, process, page):
    """Whether a process maps region page `page` by this folio."""
    if not is_alive(m, process):
        return False
    number = shift_of(m, process) + page
    q = pmd_number(m, process, number // PAGES_PER_PMD)
    kind = pmd_kind(m, q)
    if kind == RegionState.PMD_MAPPED:
        return pmd_value(m, q) == folio
    if kind == RegionState.PTE_TABLE:
        word = m.rows[pmd_value(m, q), number % PAGES_PER_PMD]
        return word_kind(word) == PteKind.PRESENT and word_folio(word) == folio
    return False


@inline_kernel
def goes_on(last, value):
    """Whether a present entry maps the page behind that of the entry before it, of one folio."""
    return last >= 0 and value == last + 1 and value // PAGES_PER_PMD == last // PAGES_PER_PMD
