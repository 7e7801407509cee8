"""Programs whose every access is known beforehand, to be timed on real memory.

Word 0 of a line is used. A chase, which needs its addresses in memory, is in `chase`.
"""

from perfmodel.kernels._jit import kernel

_WORDS_PER_LINE = 8


@kernel
def read_lines(words, lines):
    """Read one word of each of these lines, none waiting for another; their sum.

    Allocates: no. Mutates: nothing.
    """
    total = 0
    for index in range(lines.shape[0]):
        total += words[lines[index] * _WORDS_PER_LINE]
    return total


@kernel
def update_lines(words, lines):
    """Add 1 to one word of each of these lines, none waiting for another.

    Allocates: no. Mutates: words.
    """
    for index in range(lines.shape[0]):
        words[lines[index] * _WORDS_PER_LINE] += 1
