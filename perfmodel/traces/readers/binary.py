"""Recordings in records of a fixed size: ChampSim's instructions, libCacheSim's requests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES
from perfmodel.traces.accesses import Words
from perfmodel.traces.readers.addresses import MOST_ADDRESS
from perfmodel.traces.readers.objects import Shelf
from perfmodel.traces.readers.source import Source

# ChampSim, inc/trace_instruction.h: struct input_instr.
_INSTRUCTION = np.dtype(
    [
        ("ip", "<u8"),
        ("is_branch", "u1"),
        ("branch_taken", "u1"),
        ("destination_registers", "u1", 2),
        ("source_registers", "u1", 4),
        ("destination_memory", "<u8", 2),
        ("source_memory", "<u8", 4),
    ]
)
# libCacheSim, oracleGeneral: when, what, how large, and which request asks for it next.
_REQUEST = np.dtype(
    [
        ("clock_time", "<u4"),
        ("obj_id", "<u8"),
        ("obj_size", "<u4"),
        ("next_access_vtime", "<i8"),
    ]
)


def _first(wrong: npt.NDArray[np.bool_], offset: int, size: int) -> int:
    return offset + int(np.argmax(wrong)) * size


def read_champsim(source: Source, *, instructions: bool) -> Iterator[Words]:
    """Accesses of ChampSim's instructions: what each reads, then what it writes."""
    for offset, piece in source.chunks(_INSTRUCTION.itemsize):
        records = np.frombuffer(piece, dtype=_INSTRUCTION)
        fetched = records["ip"][:, np.newaxis][:, : int(instructions)]
        addresses = np.hstack([fetched, records["source_memory"], records["destination_memory"]])
        wrong = (records["is_branch"] > 1) | (records["branch_taken"] > 1)
        wrong |= (addresses >= np.uint64(MOST_ADDRESS)).any(axis=1)
        whole = int(np.argmax(wrong)) if wrong.any() else len(records)
        writes = np.zeros(addresses.shape, dtype=np.int64)
        writes[:, -records["destination_memory"].shape[1] :] = 1
        pages = (addresses // np.uint64(PAGE_BYTES)).astype(np.int64)
        words = (pages * 2 + writes)[:whole]
        yield words[addresses[:whole] > 0]
        if whole < len(records):
            at = _first(wrong, offset, _INSTRUCTION.itemsize)
            raise source.damaged(at, "the 64 bytes that begin here are no ChampSim instruction")


def read_oracle_general(source: Source) -> Iterator[Words]:
    """Requests to a cache; each object stands in memory, where the first request writes it."""
    shelf = Shelf()
    for offset, piece in source.chunks(_REQUEST.itemsize):
        records = np.frombuffer(piece, dtype=_REQUEST)
        wrong = (records["next_access_vtime"] < -2) | (records["obj_size"] == 0)
        whole = int(np.argmax(wrong)) if wrong.any() else len(records)
        names, sizes = records["obj_id"][:whole].tolist(), records["obj_size"][:whole].tolist()
        for name, size in zip(names, sizes, strict=True):
            yield from shelf.request(name, size)
        yield from shelf.rest()
        if whole < len(records):
            at = _first(wrong, offset, _REQUEST.itemsize)
            raise source.damaged(at, "the 24 bytes that begin here are no oracleGeneral request")
