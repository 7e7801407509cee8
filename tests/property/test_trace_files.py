"""Our own files of accesses: they come back as they were, and what is damaged says so."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmodel.constants import PAGES_PER_PMD
from perfmodel.errors import InputError
from perfmodel.specs.step import Step, StepAction, Workload
from perfmodel.traces import coding
from perfmodel.traces.accesses import BLOCK
from perfmodel.traces.generator import AccessTrace, accesses_of, trace_of
from perfmodel.traces.importing import import_trace, save_accesses
from perfmodel.traces.store import DamagedTraceError, TraceFile, TraceWriter, read_blocks
from tests.trace_strategies import compacted, saved, words

_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces")


def new_file(folder: Path) -> Path:
    return folder / f"{next(_NUMBERS):06}.trace"


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=40))
def test_numbers_come_back_from_their_coded_form(values: list[int]) -> None:
    content = b"before" + coding.encode(np.array(values, dtype=np.int64))
    assert coding.encoded_bytes(content, 6, len(values)) == len(content) - 6
    assert coding.decode(content, 6, len(values)).tolist() == values


@given(content=st.binary(max_size=30), offset=st.integers(0, 40), count=st.integers(0, 1 << 32))
def test_no_bytes_are_read_that_are_not_there(content: bytes, offset: int, count: int) -> None:
    length = coding.encoded_bytes(content, offset, count)
    assert length == -1 or offset + length <= len(content)


@given(listed=words, first=st.integers(0, 60))
def test_accesses_come_back_from_a_file(folder: Path, listed: list[int], first: int) -> None:
    file = TraceFile(saved(listed, new_file(folder)))
    expected = compacted(listed)
    assert file.all_words().tolist() == expected
    first = min(first, len(listed) - 1)
    assert file.words(first, len(listed) - first).tolist() == expected[first:]
    assert file.pages == len({word // 1024 for word in listed}) * PAGES_PER_PMD
    assert file.head["description"] == "a test's"
    assert file.remarks["complete"]
    # Neighbours within 2 MiB stay neighbours, and the file says where they were.
    ranges = [int(file.ranges[word // 1024]) for word in expected]
    assert ranges == [word // 1024 for word in listed]


def test_a_file_of_many_blocks_is_read_from_anywhere(tmp_path: Path) -> None:
    trace = AccessTrace(Workload.UNIFORM, 3000, 3 * BLOCK + 1000, seed=2, write=True)
    path = tmp_path / "uniform.trace"
    save_accesses(trace, path, head={})
    file = TraceFile(path)
    assert file.accesses == trace.accesses
    whole = trace.all_words()
    for first in (0, BLOCK - 1, BLOCK, 2 * BLOCK + 17, 3 * BLOCK + 999):
        assert (
            file.words(first, min(BLOCK + 5, file.accesses - first))
            == (whole[first : first + BLOCK + 5])
        ).all()
    assert (np.concatenate([block.copy() for block in file.blocks_of_words()]) == whole).all()


def test_a_memory_map_holds_all_accesses(tmp_path: Path) -> None:
    trace = AccessTrace(Workload.ZIPF, 600, BLOCK + 9, seed=2)
    save_accesses(trace, tmp_path / "zipf.trace", head={})
    file = TraceFile(tmp_path / "zipf.trace")
    for _ in range(2):
        array = file.memory_map(tmp_path / "zipf.npy")
        assert isinstance(array, np.memmap)
        assert (array == trace.all_words()).all()
    np.save(tmp_path / "other.npy", np.zeros(3))
    with pytest.raises(InputError, match="other accesses"):
        file.memory_map(tmp_path / "other.npy")


@given(listed=words, data=st.data())
def test_a_damaged_file_is_never_read_as_something_else(
    folder: Path, listed: list[int], data: st.DataObject
) -> None:
    path = saved(listed, new_file(folder))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        damaged = whole[:at]
    else:
        damaged = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    path.write_bytes(damaged)
    error = None
    try:
        found = TraceFile(path).all_words().tolist()
    except DamagedTraceError as raised:
        error = raised
    if error is None:
        assert found == compacted(listed)
        return
    assert str(error).startswith(f"{path}: byte {error.offset}: ")
    assert len(str(error).splitlines()) == 1
    assert 0 <= error.offset <= len(damaged)


@given(content=st.binary(max_size=200))
def test_a_foreign_file_is_refused(folder: Path, content: bytes) -> None:
    path = new_file(folder)
    for foreign in (content, b"PMtrace1" + content):
        path.write_bytes(foreign)
        with pytest.raises(DamagedTraceError):
            TraceFile(path)
        with pytest.raises(DamagedTraceError):
            list(read_blocks(path))


def test_what_stands_before_the_damage_is_kept(tmp_path: Path) -> None:
    trace = AccessTrace(Workload.UNIFORM, 3000, 3 * BLOCK, seed=2)
    path, kept = tmp_path / "whole.trace", tmp_path / "kept.trace"
    save_accesses(trace, path, head={"description": "uniform"})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedTraceError, match="'perfmodel trace import' keeps"):
        TraceFile(path)
    done = import_trace(str(path), kept, recent=0)
    assert done.damage is not None
    assert done.damage.offset == len(whole) // 2
    assert done.accesses == BLOCK
    file = TraceFile(kept)
    assert (file.all_words() == trace.words(0, BLOCK)).all()
    assert file.remarks["complete"] is False
    assert str(path) in file.remarks["damage"]


def test_an_unfinished_file_does_not_take_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    with pytest.raises(RuntimeError), TraceWriter(path, {}):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with TraceWriter(path, {}):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="cannot be written"):
        TraceWriter(tmp_path / "none" / "a.trace", {})


def test_a_step_goes_through_a_trace(tmp_path: Path) -> None:
    path = saved([0, 3, 1500, 8], tmp_path / "a.trace")
    step = Step("a", StepAction.ACCESS, workload=Workload.TRACE, trace=str(path), rounds=2)
    assert accesses_of(step, 1024) == 8
    again = trace_of(step, 1024)
    assert again.all_words().tolist() == [0, 3, 1500, 8] * 2
    assert again.words(3, 3).tolist() == [8, 0, 3]
    some = Step("a", StepAction.ACCESS, workload=Workload.TRACE, trace=str(path), accesses=3)
    assert trace_of(some, 1024).all_words().tolist() == [0, 3, 1500]
    with pytest.raises(InputError, match=r"goes over 4 MiB; the region's size of 2 MiB"):
        trace_of(step, 512)


def test_a_trace_without_accesses_is_no_step(tmp_path: Path) -> None:
    path = tmp_path / "empty.trace"
    with TraceWriter(path, {}) as writer:
        writer.finish({})
    step = Step("a", StepAction.ACCESS, workload=Workload.TRACE, trace=str(path))
    with pytest.raises(InputError, match="has no accesses"):
        trace_of(step, 512)
    assert json.dumps(TraceFile(path).head) == "{}"
