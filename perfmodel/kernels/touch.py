"""What the live runner does to real memory inside its timed sections."""

from perfmodel.constants import CACHE_LINES_PER_PAGE, PAGES_PER_PMD
from perfmodel.kernels._jit import kernel

_WORDS_PER_LINE = 8
_WAITING_LOADS = 64


@kernel
def touch_pages(words, regions, pages):
    """Read one word in each of `pages` of every 2 MiB, every load waiting for the last.

    `words` is the region as int64, `pages` are numbers from 0 to 511. The line within the page
    moves with the page, so that the touched lines spread over all cache sets. The words must be
    small and not negative, so that their top bit, which the next address depends on, is 0.
    Allocates: no. Mutates: nothing.
    """
    word = 0
    for region in range(regions):
        for turn in range(pages.shape[0]):
            page = pages[turn]
            line = (region * PAGES_PER_PMD + page) * CACHE_LINES_PER_PAGE
            line += page % CACHE_LINES_PER_PAGE
            word = words[line * _WORDS_PER_LINE + (word >> 63)]
    return word


@kernel
def write_pages(words, regions, pages):
    """Write one word, never 0, in each of `pages` of every 2 MiB, where `touch_pages` reads.

    The first write of a range is waited for: a processor that ran ahead of its page fault would
    keep translations from before it, and fault on each of them again. The words must be as those
    of `touch_pages`.
    Allocates: no. Mutates: words.
    """
    word = 0
    for region in range(regions):
        for turn in range(pages.shape[0]):
            page = pages[turn]
            line = (region * PAGES_PER_PMD + page) * CACHE_LINES_PER_PAGE
            line += page % CACHE_LINES_PER_PAGE
            place = line * _WORDS_PER_LINE + (word >> 63)
            words[place] = page + 1
            if turn == 0:
                for _ in range(_WAITING_LOADS):
                    word = words[place + 1 + (word >> 63)]


@kernel
def write_regions(words, content):
    """Write `content`, 2 MiB of int64, over and over until `words` is full.

    Allocates: no. Mutates: words.
    """
    size = content.shape[0]
    for first in range(0, words.shape[0], size):
        for index in range(size):
            words[first + index] = content[index]


@kernel
def reference_loop(turns):
    """Fixed arithmetic that touches no memory: its time shows the clock and the neighbours.

    Allocates: no. Mutates: nothing.
    """
    state = 1
    for _ in range(turns):
        state = state * 48271 % 2147483647
    return state


@kernel
def access_pages(words, pages):
    """Read one word in each of `pages`, numbers of pages of the region, in their order.

    As `touch_pages` does, every load waiting for the last.
    Allocates: no. Mutates: nothing.
    """
    word = 0
    for turn in range(pages.shape[0]):
        line = pages[turn] * CACHE_LINES_PER_PAGE + pages[turn] % CACHE_LINES_PER_PAGE
        word = words[line * _WORDS_PER_LINE + (word >> 63)]
    return word


@kernel
def access_pages_to_write(words, pages):
    """Write one word, never 0, in each of `pages`, where `access_pages` reads.

    Allocates: no. Mutates: words.
    """
    for turn in range(pages.shape[0]):
        page = pages[turn]
        line = page * CACHE_LINES_PER_PAGE + page % CACHE_LINES_PER_PAGE
        words[line * _WORDS_PER_LINE] = page % PAGES_PER_PMD + 1


@kernel
def replay_accesses(words, accesses):
    """Make accesses, each of them 2 x page + (1 for a write), where `access_pages` reads.

    What is read is waited for, as there. Allocates: no. Mutates: words.
    """
    word = 0
    for turn in range(accesses.shape[0]):
        page = accesses[turn] >> 1
        line = page * CACHE_LINES_PER_PAGE + page % CACHE_LINES_PER_PAGE
        place = line * _WORDS_PER_LINE + (word >> 63)
        if accesses[turn] & 1:
            words[place] = page % PAGES_PER_PMD + 1
        else:
            word = words[place]
    return word
