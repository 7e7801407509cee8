"""From a recording, or a generator, to a file of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from perfmodel.constants import PAGES_PER_PMD
from perfmodel.errors import InputError, Problem
from perfmodel.kernels.recent import drop_recent
from perfmodel.traces.accesses import BLOCK, Accesses, Words
from perfmodel.traces.readers.formats import Format, Options, find_format, read_accesses
from perfmodel.traces.readers.source import Source
from perfmodel.traces.store import DamagedTraceError, TraceFile, TraceWriter, read_blocks

Progress = Callable[[int, int], None]


@attrs.frozen
class Imported:
    """What came of it.

    Parameters
    ----------
    accesses : int
        How many the file holds now.
    read : int
        How many were read: what is dropped counts, too.
    pages : int
        Of the region that holds them.
    format : str
    damage : DamagedTraceError, optional
        Why there is no more.
    interrupted : bool
        Whether the user did not want more.
    """

    accesses: int
    read: int
    pages: int
    format: str
    damage: DamagedTraceError | None = None
    interrupted: bool = False


class _Collector:
    """Numbers ranges as they come up, and writes full blocks."""

    def __init__(self, writer: TraceWriter, recent: int, most: int) -> None:
        self._writer = writer
        self._numbers: dict[int, int] = {}
        self._recent = np.full(recent, -1, dtype=np.int64)
        self._waiting: list[Words] = []
        self._count = 0
        self._most = most
        self.read = 0

    @property
    def ranges(self) -> int:
        return len(self._numbers)

    @property
    def is_full(self) -> bool:
        return self._writer.accesses + self._count >= self._most

    def take(self, words: Words) -> None:
        """Take accesses to pages of an address space."""
        self.read += words.size
        kept = np.ascontiguousarray(words, dtype=np.int64)
        if self._recent.size:
            room = np.empty(kept.size, dtype=np.int64)
            kept = room[: drop_recent(kept, self._recent, room)]
        kept = kept[: self._most - self._writer.accesses - self._count]
        self._waiting.append(kept)
        self._count += kept.size
        if self._count >= BLOCK:
            self._write(BLOCK)

    def end(self) -> None:
        self._write(1)

    def _write(self, least: int) -> None:
        words = np.concatenate([np.zeros(0, dtype=np.int64), *self._waiting])
        first = 0
        while words.size - first >= least:
            self._write_block(words[first : first + BLOCK])
            first += BLOCK
        self._waiting = [words[first:].copy()]
        self._count = self._waiting[0].size

    def _write_block(self, words: Words) -> None:
        ranges, places = np.unique(words // (2 * PAGES_PER_PMD), return_inverse=True)
        numbers = self._numbers
        new = [number for number in ranges.tolist() if number not in numbers]
        numbers.update({number: len(numbers) + place for place, number in enumerate(new)})
        mapped = np.array([numbers[number] for number in ranges.tolist()], dtype=np.int64)
        words = words % (2 * PAGES_PER_PMD) + mapped[places] * (2 * PAGES_PER_PMD)
        self._writer.add(words, np.array(new, dtype=np.int64))


def import_trace(
    name: str,
    out: Path,
    *,
    form: Format | None = None,
    options: Options | None = None,
    recent: int = 1,
    most: int | None = None,
    head: dict[str, Any] | None = None,
    progress: Progress = lambda done, total: None,
) -> Imported:
    """Read a recording and write it as a file of ours.

    What could be read is kept where the recording is damaged, or the user interrupts.

    Parameters
    ----------
    name : str
        Path, or ``-`` for standard input.
    out : Path
    form : Format, optional
        Found out without it.
    options : Options, optional
    recent : int
        An access to one of so many pages that were accessed last is dropped, unless it is the first
        write to it; 0 keeps all.
    most : int, optional
        Keep no more accesses than that.
    head : dict, optional
        What is known of the recording.
    progress : callable
        Gets how many bytes of how many have been read.

    Raises
    ------
    InputError
        If nothing of it can be read.
    """
    with Source(name) as source:
        return _import(
            source, name, out, form, options or Options(), recent, most, head or {}, progress
        )


def _import(
    source: Source,
    name: str,
    out: Path,
    form: Format | None,
    options: Options,
    recent: int,
    most: int | None,
    head: dict[str, Any],
    progress: Progress,
) -> Imported:
    form = form or find_format(source, name)
    said = {"name": out.stem, "format": form.value, "recent": recent, **head}
    if form is Format.PERFMODEL:
        before = _own_head(Path(name))
        batches = _own_words(Path(name))
        said = {**before, **said, "format": before.get("format", form.value)}
    else:
        batches = read_accesses(source, form, options)
    with TraceWriter(out, said) as writer:
        collector = _Collector(writer, recent, 1 << 62 if most is None else most)
        damage, interrupted = None, False
        try:
            for words in batches:
                collector.take(words)
                progress(source.position, source.size)
                if collector.is_full:
                    break
        except DamagedTraceError as error:
            damage = error
        except KeyboardInterrupt:
            interrupted = True
        collector.end()
        if not writer.accesses:
            problem = Problem("has no accesses", file=source.name)
            raise damage if damage is not None else InputError(problem)
        writer.finish(
            {
                "complete": damage is None and not interrupted,
                "accesses_read": collector.read,
                "damage": "" if damage is None else str(damage),
            }
        )
    return Imported(
        accesses=writer.accesses,
        read=collector.read,
        pages=collector.ranges * PAGES_PER_PMD,
        format=form.value,
        damage=damage,
        interrupted=interrupted,
    )


def _own_head(path: Path) -> dict[str, Any]:
    try:
        return TraceFile(path).head
    except DamagedTraceError:
        return {}


def _own_words(path: Path) -> Iterator[Words]:
    """Accesses of a file of ours, to the pages that were recorded, whether it is damaged or not."""
    known = np.zeros(0, dtype=np.int64)
    for block in read_blocks(path):
        known = np.concatenate([known, block.ranges])
        ranges = block.words // (2 * PAGES_PER_PMD)
        yield block.words % (2 * PAGES_PER_PMD) + known[ranges] * (2 * PAGES_PER_PMD)


def save_accesses(
    accesses: Accesses,
    out: Path,
    *,
    head: dict[str, Any],
    progress: Progress = lambda done, total: None,
) -> None:
    """Write generated accesses as a file of ours."""
    with TraceWriter(out, {"name": out.stem, **head}) as writer:
        collector = _Collector(writer, 0, 1 << 62)
        for block in accesses.blocks_of_words():
            collector.take(block.copy())
            progress(collector.read, accesses.accesses)
        collector.end()
        writer.finish({"complete": True, "accesses_read": collector.read, "damage": ""})
