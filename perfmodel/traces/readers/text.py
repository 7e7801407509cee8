"""Recordings in lines of text: valgrind's lackey, DynamoRIO, perf script, and DAMON's records.

A line says one access, or is known to say none; any other one is damage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES
from perfmodel.traces.accesses import BLOCK, Words
from perfmodel.traces.readers.addresses import MOST_ADDRESS, page_words
from perfmodel.traces.readers.source import Source

Matches = list[tuple[bytes, ...]]
Addresses = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]
# Nothing that one instruction does is larger (AVX-512 and what saves all of it).
_MOST_SIZE = 1 << 16
_MOST_REGION = 1 << 47


@attrs.frozen
class LineFormat:
    """What lines say.

    Parameters
    ----------
    access : bytes
        A regular expression for a whole line that says an access.
    silent : bytes
        One for lines that say none.
    convert : callable
        Turns what the groups of `access` have matched into words, or None where a number is wrong.
    """

    access: re.Pattern[bytes]
    silent: re.Pattern[bytes]
    convert: Callable[[Matches], Iterator[Words] | None]


def _lines(
    access: bytes, silent: bytes, convert: Callable[[Matches], Iterator[Words] | None]
) -> LineFormat:
    says_none = b"(?:" + silent + b")\\r?$"
    says_one = b"(?!" + says_none + b")(?:" + access + b")\\r?$"
    one, none = (re.compile(b"^" + each, re.MULTILINE) for each in (says_one, says_none))
    return LineFormat(one, none, convert)


def _sized(matches: Matches, kinds: bytes) -> Iterator[Words] | None:
    """Words of matches of a kind, an address and a size; kinds in `kinds` write."""
    addresses = [int(address, 16) for _, address, _ in matches]
    sizes = [int(size) for _, _, size in matches]
    if (
        max(addresses) >= MOST_ADDRESS - _MOST_SIZE
        or not 0 < min(sizes) <= max(sizes) <= _MOST_SIZE
    ):
        return None
    writes = np.array([kind[:1] in kinds for kind, _, _ in matches], dtype=np.bool_)
    rows = np.array(addresses, dtype=np.uint64), np.array(sizes, dtype=np.int64)
    return iter([page_words(*rows, writes)])


def _lackey(matches: Matches) -> Iterator[Words] | None:
    return _sized(matches, b"SM")


def _dynamorio(matches: Matches) -> Iterator[Words] | None:
    """Either of two forms: address, size, kind; or kind, size, address."""
    return _sized(
        [
            (kind or verb, address or place, size or count)
            for address, size, kind, verb, count, place in matches
        ],
        b"w",
    )


def _perf(matches: Matches) -> Iterator[Words] | None:
    # Samples without an address say 0.
    found = [(event, int(address, 16)) for event, address in matches]
    found = [(event, address) for event, address in found if address]
    if any(address >= MOST_ADDRESS for _, address in found):
        return None
    addresses = np.array([address for _, address in found], dtype=np.uint64)
    writes = np.array([b"store" in event for event, _ in found], dtype=np.bool_)
    return iter([page_words(addresses, np.ones(len(found), dtype=np.int64), writes)])


def _damon(matches: Matches) -> Iterator[Words] | None:
    """Regions that were accessed: each page is read as often as samples saw the region accessed."""
    regions = [tuple(int(number) for number in match) for match in matches]
    if not all(start < end <= _MOST_REGION and 0 <= seen <= BLOCK for start, end, seen in regions):
        return None
    return _read_regions(regions)


def _read_regions(regions: list[tuple[int, ...]]) -> Iterator[Words]:
    for start, end, seen in regions:
        first, last = start // PAGE_BYTES, (end - 1) // PAGE_BYTES
        for _ in range(seen):
            for page in range(first, last + 1, BLOCK):
                yield np.arange(page, min(page + BLOCK, last + 1), dtype=np.int64) * 2


_HEX = b"[0-9a-fA-F]{1,16}"
LACKEY = _lines(rb" ([LSM]) (" + _HEX + rb"),(\d{1,9})", rb"I  .*|==.*|--.*|", _lackey)
LACKEY_WITH_CODE = _lines(rb" ?([ILSM]) {1,2}(" + _HEX + rb"),(\d{1,9})", rb"==.*|--.*|", _lackey)
DYNAMORIO = _lines(
    rb" *0x(" + _HEX + rb"): *(\d{1,9}), (r|w)"
    rb"|.*\b(read|write) +(\d{1,9}) byte\(s\) @ 0x(" + _HEX + rb")\b.*",
    rb"Format: .*| *0x" + _HEX + rb": *\d+, \w{2,}|.*<.*>.*|.* ifetch .*| *-*|Output format:.*",
    _dynamorio,
)
PERF = _lines(
    rb"(?:.*[\s\]])?([A-Za-z][^\s:]*(?::[A-Za-z]+)*:) +(" + _HEX + rb")(?:\s.*)?", rb"#.*|", _perf
)
DAMON = _lines(
    rb".*damon_aggregated: target_id=\d+ nr_regions=\d+ (\d{1,15})-(\d{1,15}): (\d{1,9})(?: \d+)?",
    rb"#.*|",
    _damon,
)


def read_lines(source: Source, form: LineFormat) -> Iterator[Words]:
    """Accesses of a recording in lines, as words over page numbers."""
    for offset, text in source.texts():
        matches = form.access.findall(text)
        lines = text.count(b"\n") + (not text.endswith(b"\n"))
        whole = len(matches) + len(form.silent.findall(text)) - text.endswith(b"\n") >= lines
        words = form.convert(matches) if matches and whole else None
        if words is None and (matches or not whole):
            yield from _line_by_line(source, form, offset, text)
        elif words is not None:
            yield from words


def _line_by_line(source: Source, form: LineFormat, offset: int, text: bytes) -> Iterator[Words]:
    """The accesses of a text up to the line that is wrong."""
    for line in text.split(b"\n"):
        match = form.access.fullmatch(line)
        words = form.convert([match.groups(b"")]) if match else None
        if (match is None and not form.silent.fullmatch(line)) or (match and words is None):
            shown = line[:60].decode(errors="replace")
            raise source.damaged(offset, f"the line that begins here says no access: {shown!r}")
        if words is not None:
            yield from words
        offset += len(line) + 1
