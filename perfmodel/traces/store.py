"""Our own files of accesses: small, checked block by block, and readable from any place on.

A file is a head, blocks, and an index. The head is JSON and says what was recorded, and how. A
block holds up to 65536 accesses, compressed on its own, and the 2 MiB ranges of the recorded
program's addresses that came up for the first time. The index says where the blocks stand and
whether the recording is complete. Each part has its length and checksum in front, so what is
damaged is found, and what stands before it can be kept. docs/traces.md has the layout.
"""

from __future__ import annotations

import json
import lzma
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGES_PER_PMD
from perfmodel.errors import InputError, Problem
from perfmodel.traces.accesses import BLOCK, Accesses, Words
from perfmodel.traces.coding import decode, encode, encoded_bytes

MAGIC = b"PMtrace1"
_PART = struct.Struct("<4sIII")  # kind, length, checksum, accesses
_END = struct.Struct("<Q8s")  # where the index stands
_SIZES = struct.Struct("<III")  # bytes of remarks, blocks, ranges
_HEAD, _BLOCK, _INDEX = b"HEAD", b"BLCK", b"INDX"
_MOST_HEAD = 1 << 20
_MOST_BLOCK = 1 << 24
_MOST_INDEX = 1 << 30
_LZMA = ({"id": lzma.FILTER_LZMA2, "preset": 6},)
_SUFFIX = ".part"
Ranges = npt.NDArray[np.int64]


class DamagedTraceError(InputError):
    """A trace or recording is not whole: in which file, at which byte, and why."""

    def __init__(self, file: str | Path, offset: int, message: str) -> None:
        self.offset = offset
        super().__init__(Problem(f"byte {offset}: {message}", file=str(file)))


def _compressed(content: bytes) -> bytes:
    return lzma.compress(content, format=lzma.FORMAT_RAW, filters=list(_LZMA))


def _decompressed(content: bytes, most: int) -> bytes | None:
    """What was compressed; nothing if that cannot be said, or is more than it may be."""
    decompressor = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=list(_LZMA))
    try:
        found = decompressor.decompress(content, max_length=most + 1)
    except (lzma.LZMAError, EOFError):
        return None
    return found if len(found) <= most and decompressor.eof else None


@attrs.frozen
class Part:
    """One part of a file: where it begins and ends, what it is, and what it holds."""

    kind: bytes
    begin: int
    end: int
    accesses: int
    content: bytes


class TraceWriter:
    """Writes a trace; as a context, it keeps under its name only what was finished.

    Parameters
    ----------
    path : Path
    head : dict
        What is known of the recording, for JSON.
    """

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self._path = path
        self._part = path.with_name(path.name + _SUFFIX)
        self._index: list[tuple[int, int]] = []
        self._ranges = [np.zeros(0, dtype=np.int64)]
        self.accesses = 0
        try:
            self._file: BinaryIO = self._part.open("wb")
        except OSError as error:
            raise InputError(
                Problem(f"cannot be written: {error.strerror}", file=str(path))
            ) from None
        self._file.write(MAGIC)
        self._write(_HEAD, json.dumps(head).encode(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._file.closed:
            self._file.close()
            with suppress(OSError):
                self._part.unlink()

    def _write(self, kind: bytes, content: bytes, accesses: int) -> None:
        try:
            self._file.write(_PART.pack(kind, len(content), zlib.crc32(content), accesses))
            self._file.write(content)
        except OSError as error:
            message = f"cannot be written: {error.strerror}"
            raise InputError(Problem(message, file=str(self._part))) from None

    def add(self, words: Words, ranges: Ranges) -> None:
        """Write one block.

        Parameters
        ----------
        words : int64 array, at most BLOCK of them
            Accesses to pages of ranges that are numbered as they came up.
        ranges : int64 array
            The 2 MiB ranges of the recorded program that came up in this block, by address / 2 MiB.
        """
        self._index.append((self._file.tell(), words.size))
        content = encode(ranges) + encode(words)
        header = struct.pack("<I", ranges.size)
        self._write(_BLOCK, _compressed(header + content), words.size)
        self.accesses += words.size
        self._ranges.append(ranges)

    def finish(self, remarks: dict[str, Any]) -> None:
        """Write the index, with remarks on what was read, and give the file its name."""
        where = self._file.tell()
        places = np.array(self._index, dtype=np.int64).reshape(-1, 2)
        ranges = np.concatenate(self._ranges)
        said = json.dumps(remarks).encode()
        content = _SIZES.pack(len(said), len(places), ranges.size) + said
        content += encode(places[:, 0].copy()) + encode(places[:, 1].copy()) + encode(ranges)
        self._write(_INDEX, content, 0)
        self._file.write(_END.pack(where, MAGIC))
        self._file.close()
        self._part.replace(self._path)


def _open(path: Path) -> BinaryIO:
    try:
        if path.exists() and not path.is_file():
            raise InputError(Problem("is no regular file", file=str(path)))
        return path.open("rb")
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", file=str(path))) from None
    except ValueError:
        raise InputError(Problem("is no file name", file=repr(str(path)))) from None


def _read_part(file: BinaryIO, path: Path, most: int) -> Part:
    begin = file.tell()
    header = file.read(_PART.size)
    if len(header) < _PART.size:
        raise DamagedTraceError(path, begin, "the file ends where a part must begin")
    kind, length, checksum, accesses = _PART.unpack(header)
    if kind not in (_HEAD, _BLOCK, _INDEX) or accesses > BLOCK or length > most:
        raise DamagedTraceError(path, begin, "is no part of a trace")
    content = file.read(length)
    if len(content) < length:
        raise DamagedTraceError(path, begin + _PART.size + len(content), "the file ends in a part")
    if zlib.crc32(content) != checksum:
        raise DamagedTraceError(path, begin, "the part that begins here does not have its checksum")
    return Part(kind, begin, file.tell(), accesses, content)


def _read_head(file: BinaryIO, path: Path) -> dict[str, Any]:
    magic = file.read(len(MAGIC))
    if magic != MAGIC:
        raise DamagedTraceError(
            path, 0, "is no perfmodel trace; 'perfmodel trace import' makes one"
        )
    part = _read_part(file, path, _MOST_HEAD)
    try:
        head = json.loads(part.content)
    except (ValueError, RecursionError):
        head = None
    if part.kind != _HEAD or not isinstance(head, dict):
        raise DamagedTraceError(path, part.begin, "the head is no JSON object")
    return head


def _unpack_block(part: Part, path: Path) -> tuple[Words, Ranges]:
    def refuse() -> DamagedTraceError:
        return DamagedTraceError(path, part.begin, "the block that begins here holds no accesses")

    content = _decompressed(part.content, _MOST_BLOCK)
    if part.kind != _BLOCK or content is None or len(content) < 4:
        raise refuse()
    (count,) = struct.unpack_from("<I", content)
    offset = 4
    length = encoded_bytes(content, offset, count) if count <= BLOCK else -1
    if length < 0 or encoded_bytes(content, offset + length, part.accesses) < 0:
        raise refuse()
    ranges = decode(content, offset, count)
    words = decode(content, offset + length, part.accesses)
    if (words.size and int(words.min()) < 0) or (count and int(ranges.min()) < 0):
        raise refuse()
    return words, ranges


@attrs.frozen
class Block:
    """Accesses as they stand in a file, and the 2 MiB ranges that came up among them."""

    words: Words
    ranges: Ranges


def read_blocks(path: Path) -> Iterator[Block]:
    """All blocks of a file that may be damaged, from the first one on.

    Raises
    ------
    DamagedTraceError
        Behind the last block that can be read, if that is not the end.
    """
    with _open(path) as file:
        _read_head(file, path)
        seen = 0
        while True:
            part = _read_part(file, path, _MOST_INDEX)
            if part.kind == _INDEX:
                _unpack_index(part, path)
                return
            words, ranges = _unpack_block(part, path)
            seen += ranges.size
            if words.size and int(words.max()) >> 1 >= seen * PAGES_PER_PMD:
                message = "the block that begins here goes to a range that has not come up"
                raise DamagedTraceError(path, part.begin, message)
            yield Block(words, ranges)


@attrs.frozen
class _Index:
    remarks: dict[str, Any]
    offsets: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    ranges: Ranges


def _unpack_index(part: Part, path: Path) -> _Index:
    content = part.content
    failed = DamagedTraceError(path, part.begin, "the index that begins here cannot be read")
    if len(content) < _SIZES.size:
        raise failed
    said, blocks, ranges = _SIZES.unpack_from(content)
    offset = _SIZES.size + said
    try:
        remarks = json.loads(content[_SIZES.size : offset])
    except (ValueError, RecursionError):
        raise failed from None
    rows = []
    for count in (blocks, blocks, ranges):
        length = encoded_bytes(content, offset, count)
        if length < 0:
            raise failed
        rows.append(decode(content, offset, count))
        offset += length
    if not isinstance(remarks, dict):
        raise failed
    return _Index(remarks, *rows)


class TraceFile(Accesses):
    """A trace in a file, read from any access on.

    Pages are those of one region: the 2 MiB ranges of the recorded program that hold any, in the
    order of their addresses, without what lies between them.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    head, remarks : dict
        What was known of the recording before and after it was read.
    ranges : int64 array
        The recorded program's 2 MiB ranges, by address / 2 MiB.

    Raises
    ------
    DamagedTraceError
        If it is no trace, or not whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _open(path) as file:
            self.head = _read_head(file, path)
            index = self._read_index(file)
        self.remarks = index.remarks
        self._offsets = index.offsets
        self._ends = np.cumsum(index.counts)
        self._kept = (-1, np.zeros(0, dtype=np.int64))
        # Ranges are numbered as they came up; the place of each among all others, by address.
        order = np.argsort(index.ranges, kind="stable")
        self._places = np.empty(order.size, dtype=np.int64)
        self._places[order] = np.arange(order.size)
        self.ranges = index.ranges[order]
        self.pages = order.size * PAGES_PER_PMD
        self.accesses = int(self._ends[-1]) if self._ends.size else 0

    def _damaged(self, offset: int, message: str) -> DamagedTraceError:
        message += "; 'perfmodel trace import' keeps what can be read"
        return DamagedTraceError(self._path, offset, message)

    def _read_index(self, file: BinaryIO) -> _Index:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END.size))
        end = file.read(_END.size)
        where, magic = _END.unpack(end) if len(end) == _END.size else (0, b"")
        if magic != MAGIC or where > size:
            raise self._damaged(size, "the file has no end")
        file.seek(where)
        part = _read_part(file, self._path, _MOST_INDEX)
        if part.kind != _INDEX:
            raise self._damaged(where, "there is no index")
        index = _unpack_index(part, self._path)
        inside = (index.offsets >= 0) & (index.offsets < where)
        if not inside.all() or not ((index.counts > 0) & (index.counts <= BLOCK)).all():
            raise self._damaged(where, "the index leads out of the file")
        return index

    def _block(self, number: int) -> Words:
        """Accesses of one block, to pages of the region."""
        if self._kept[0] == number:
            return self._kept[1]
        begin = int(self._offsets[number])
        with _open(self._path) as file:
            file.seek(begin)
            part = _read_part(file, self._path, _MOST_BLOCK)
        words, _ = _unpack_block(part, self._path)
        pages = words >> 1
        ranges = pages // PAGES_PER_PMD
        count = int(self._ends[number] - (self._ends[number - 1] if number else 0))
        if words.size != count or int(ranges.max()) >= self._places.size:
            raise self._damaged(begin, "the block that begins here is not the one of the index")
        words += (self._places[ranges] - ranges) * (2 * PAGES_PER_PMD)
        self._kept = (number, words)
        return words

    def fill_words(self, first: int, words: Words) -> None:
        """Write the accesses from number `first` on into an array."""
        done = 0
        while done < words.size:
            number = int(np.searchsorted(self._ends, first + done, side="right"))
            block = self._block(number)
            offset = first + done - int(self._ends[number]) + block.size
            part = block[offset : offset + words.size - done]
            words[done : done + part.size] = part
            done += part.size

    def memory_map(self, path: Path) -> npt.NDArray[np.int64]:
        """All accesses as an array that the kernel reads from a file as they are needed.

        Parameters
        ----------
        path : Path
            Where the array is, or is to be made: 8 bytes for each access.
        """
        if not path.exists():
            part = path.with_name(path.name + _SUFFIX)
            array = np.lib.format.open_memmap(
                part, mode="w+", dtype=np.int64, shape=(self.accesses,)
            )
            for first in range(0, self.accesses, BLOCK):
                self.fill_words(first, array[first : first + BLOCK])
            array.flush()
            part.replace(path)
        found: npt.NDArray[np.int64] = np.load(path, mmap_mode="r", allow_pickle=False)
        if found.dtype != np.int64 or found.shape != (self.accesses,):
            raise InputError(Problem("holds other accesses than the trace", file=str(path)))
        return found
