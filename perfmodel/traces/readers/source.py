"""Bytes of a recording, whether a file, compressed or not, or standard input."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from perfmodel.errors import CapabilityError, InputError, Problem
from perfmodel.traces.store import DamagedTraceError

STANDARD_INPUT = "-"
_CHUNK = 1 << 20
_LONGEST_LINE = 1 << 16
_SNIFFED = 1 << 14
_BROKEN = (lzma.LZMAError, zlib.error, EOFError, OSError)


def _open_zstandard(file: BinaryIO) -> Any:
    try:
        import zstandard
    except ImportError:
        message = "reading .zst files takes the package zstandard: pip install zstandard"
        raise CapabilityError(message) from None
    return zstandard.ZstdDecompressor().stream_reader(file)


_COMPRESSIONS = (
    (b"\xfd7zXZ\0", lzma.open),
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\x28\xb5\x2f\xfd", _open_zstandard),
)


class Source:
    """The bytes of a recording, in order; where they stand counts from the first, uncompressed.

    Parameters
    ----------
    name : str
        Path of a file, compressed or not, or ``-``.

    Attributes
    ----------
    offset : int
        Of the next byte.
    size : int
        Of the file as it is stored, for the progress; 0 where that is not known.
    """

    def __init__(self, name: str) -> None:
        self.name = "standard input" if name == STANDARD_INPUT else name
        self.offset = 0
        self.size = 0
        try:
            if name == STANDARD_INPUT:
                # Another number for the same input, which stays open when this is closed.
                self._stored: BinaryIO = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
            else:
                path = Path(name)
                self._stored = path.open("rb")
                self.size = path.stat().st_size
            self._file: Any = self._stored
            self._unpack()
        except OSError as error:
            message = f"cannot be read: {error.strerror}"
            raise InputError(Problem(message, file=self.name)) from None
        except ValueError:
            raise InputError(Problem("is no file name", file=repr(name))) from None
        self._failure: DamagedTraceError | None = None
        self._ahead = b""
        self._ahead = self._read(_SNIFFED)

    def _unpack(self) -> None:
        start = cast(io.BufferedReader, self._stored).peek(8)
        for magic, opener in _COMPRESSIONS:
            if start.startswith(magic):
                try:
                    self._file = opener(self._stored)
                except CapabilityError:
                    self._stored.close()
                    raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._stored.close()

    @property
    def position(self) -> int:
        """How much of the stored file has been read."""
        return self._stored.tell() if self.size else 0

    @property
    def start(self) -> bytes:
        """The first bytes, as long as none has been read."""
        return self._ahead

    def damaged(self, offset: int, message: str) -> DamagedTraceError:
        """What is wrong at a byte."""
        return DamagedTraceError(self.name, offset, message)

    def _read(self, count: int) -> bytes:
        """So many bytes, or all that can be read; what stops it is raised once they are used."""
        parts, missing = [self._ahead[:count]], count - len(self._ahead)
        self._ahead = self._ahead[count:]
        while missing > 0 and self._failure is None:
            try:
                part = self._file.read(missing)
            except Exception as error:
                # Each decompressor has errors of its own; what has none of them is a bug of ours.
                if not isinstance(error, _BROKEN) and not _is_of_zstandard(error):
                    raise
                at = self.offset + count - missing
                self._failure = self.damaged(at, f"cannot be read on: {error}")
                break
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def chunks(self, record_bytes: int = 1) -> Iterator[tuple[int, bytes]]:
        """Pieces of whole records, each with its offset.

        Raises
        ------
        DamagedTraceError
            Behind the last whole record, if anything follows it.
        """
        size = _CHUNK // record_bytes * record_bytes
        while True:
            begin = self.offset
            piece = self._read(size)
            self.offset = begin + len(piece)
            whole = len(piece) // record_bytes * record_bytes
            if whole:
                yield begin, piece[:whole]
            if self._failure is not None:
                raise self._failure
            if whole < len(piece):
                raise self.damaged(begin + whole, f"ends within a record of {record_bytes} bytes")
            if len(piece) < size:
                return

    def texts(self) -> Iterator[tuple[int, bytes]]:
        """Pieces of whole lines, each with its offset; the last line may lack its end."""
        begin, rest = self.offset, b""
        for offset, piece in self.chunks():
            cut = piece.rfind(b"\n") + 1
            if not cut:
                if len(rest) + len(piece) > _LONGEST_LINE + _CHUNK:
                    raise self.damaged(begin, "the line that begins here has no end")
                rest += piece
                continue
            yield begin, rest + piece[:cut]
            begin, rest = offset + cut, piece[cut:]
        if rest:
            yield begin, rest


def _is_of_zstandard(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] == "zstandard"
