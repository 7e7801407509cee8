"""Recordings of other programs: what each format says is read, and nothing else is."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perfmodel.errors import CapabilityError, InputError
from perfmodel.traces.importing import import_trace
from perfmodel.traces.readers.formats import Format, Options, find_format, read_accesses
from perfmodel.traces.readers.source import Source
from perfmodel.traces.readers.table import parse_columns
from perfmodel.traces.store import DamagedTraceError, TraceFile

_NUMBERS = itertools.count()
PAGE = 4096
ZSTANDARD = b"\x28\xb5\x2f\xfd"
Access = tuple[int, int, bool]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings")


def write(folder: Path, content: bytes, name: str = "recording") -> str:
    path = folder / f"{name}-{next(_NUMBERS)}"
    path.write_bytes(content)
    return str(path)


def read(name: str, form: Format | None = None, options: Options | None = None) -> list[int]:
    """Words of a recording; what is damaged raises."""
    with Source(name) as source:
        chosen = form or find_format(source, name)
        found = [words.tolist() for words in read_accesses(source, chosen, options or Options())]
    return list(itertools.chain(*found))


def read_all(name: str, form: Format, options: Options | None = None) -> tuple[list[int], int]:
    """Words up to the damage, and where that is; -1 if there is none."""
    found: list[int] = []
    with Source(name) as source:
        try:
            for words in read_accesses(source, form, options or Options()):
                found += words.tolist()
        except DamagedTraceError as error:
            return found, error.offset
    return found, -1


def words_of(accesses: list[Access]) -> list[int]:
    return [
        2 * page + write
        for address, size, write in accesses
        for page in range(address // PAGE, (address + size - 1) // PAGE + 1)
    ]


accesses = st.lists(
    st.tuples(
        st.integers(1, 1 << 20) | st.integers(1, (1 << 62)),
        st.sampled_from([1, 4, 8, 64]) | st.integers(1, 9000),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


def lackey(listed: list[Access]) -> bytes:
    lines = ["==1== Lackey, an example Valgrind tool", "==1== "]
    for address, size, write in listed:
        lines += [f"I  {address:08x},3", f" {'S' if write else 'L'} {address:08x},{size}"]
    return ("\n".join(lines) + "\n").encode()


def memtrace(listed: list[Access]) -> bytes:
    lines = ["Format: <data address>: <data size>, <(r)ead/(w)rite/opcode>"]
    for address, size, write in listed:
        lines += [f"0x{address:016x}:  3, mov", f"0x{address:016x}: {size:2}, {'rw'[write]}"]
    return ("\n".join(lines) + "\n").encode()


def view(listed: list[Access]) -> bytes:
    lines = [
        "Output format:",
        "<--record#-> <--instr#->: <---tid---> <record details>",
        "------------------------------------------------------------",
        "           1           0:     2765542 <marker: version 5>",
    ]
    for number, (address, size, write) in enumerate(listed):
        verb = "write" if write else "read "
        head = f"{number + 2:12} {number:11}:     2765543"
        lines += [
            f"{head} ifetch       6 byte(s) @ 0x0000000000404a78 0f 84 5b 01 00 00    jz (untaken)",
            f"{head} {verb}      {size:3} byte(s) @ 0x{address:016x} by PC 0x0000000000404a7e",
        ]
    return ("\n".join(lines) + "\n").encode()


def champsim(listed: list[Access]) -> bytes:
    records = []
    for address, _, write in listed:
        memory = (address, 0, 0, 0, 0, 0) if write else (0, 0, address, 0, 0, 0)
        records.append(struct.pack("<Q2B2B4B2Q4Q", 0x400000, 1, 0, 1, 2, 3, 4, 5, 6, *memory))
    return b"".join(records)


def table(listed: list[Access]) -> bytes:
    lines = ["time,address,size,op"]
    lines += [f"{n},{a:#x},{s},{'rw'[w]}" for n, (a, s, w) in enumerate(listed)]
    return ("\n".join(lines) + "\n").encode()


FORMATS: dict[str, tuple[Format, Callable[[list[Access]], bytes]]] = {
    "lackey": (Format.LACKEY, lackey),
    "memtrace": (Format.DYNAMORIO, memtrace),
    "view": (Format.DYNAMORIO, view),
    "champsim": (Format.CHAMPSIM, champsim),
    "csv": (Format.CSV, table),
}


@pytest.mark.parametrize("kind", FORMATS)
@given(listed=accesses)
def test_accesses_are_those_of_the_recording(folder: Path, kind: str, listed: list[Access]) -> None:
    form, make = FORMATS[kind]
    name = write(folder, make(listed), kind)
    if kind == "champsim":
        listed = [(address, 1, write) for address, _, write in listed]
    assert read(name, form) == words_of(listed)
    # Nobody has to say which format it is.
    assert read(name) == words_of(listed)


@pytest.mark.parametrize("kind", FORMATS)
@given(listed=accesses, data=st.data())
def test_a_recording_is_kept_up_to_where_it_is_cut(
    folder: Path, kind: str, listed: list[Access], data: st.DataObject
) -> None:
    form, make = FORMATS[kind]
    whole = make(listed)
    cut = data.draw(st.integers(len(whole) // 2, len(whole) - 1))
    if kind == "champsim":
        listed = [(address, 1, write) for address, _, write in listed]
    found, at = read_all(write(folder, whole[:cut], kind), form)
    expected = words_of(listed)
    # The last line may have lost a digit of what it says, and still say something.
    agree = found[: len(found) - 4]
    assert agree == expected[: len(agree)]
    assert at <= cut
    if kind == "champsim":
        assert found == expected[: cut // 64]
        assert at == (cut // 64 * 64 if cut % 64 else -1)


@pytest.mark.parametrize("form", [form for form in Format if form is not Format.PERFMODEL])
@given(content=st.binary(min_size=1, max_size=300))
@example(content=b"\r\0")
@example(content=ZSTANDARD)
def test_any_bytes_are_read_or_refused_in_one_line(
    folder: Path, form: Format, content: bytes
) -> None:
    name = write(folder, content)
    message = ""
    try:
        with Source(name) as source:
            for words in read_accesses(source, form, Options()):
                assert words.dtype == np.int64
                assert words.size == 0 or words.min() >= 0
    except InputError as error:
        message = str(error)
    except CapabilityError:
        assert content.startswith(ZSTANDARD)
    assert len(message.splitlines()) <= 1
    assert message.startswith(name) or not message


def test_a_recording_in_zstandard_says_what_it_takes(tmp_path: Path) -> None:
    try:
        import zstandard
    except ImportError:
        with pytest.raises(CapabilityError, match="pip install zstandard"):
            Source(write(tmp_path, ZSTANDARD + b"0"))
    else:
        content = zstandard.ZstdCompressor().compress(lackey([(4096, 8, False)]))
        assert read(write(tmp_path, content)) == [2]


def test_the_line_that_is_wrong_is_named(tmp_path: Path) -> None:
    content = lackey([(4096, 8, False), (8192, 8, True)]) + b"HELLO\n L 1000,8\n"
    name = write(tmp_path, content)
    out = tmp_path / "out.trace"
    done = import_trace(name, out)
    assert done.accesses == 2
    assert done.damage is not None
    assert done.damage.offset == content.index(b"HELLO")
    assert f"{name}: byte {done.damage.offset}: " in str(done.damage)
    assert "'HELLO'" in str(done.damage)
    assert TraceFile(out).remarks["complete"] is False


def test_instructions_count_if_wanted(tmp_path: Path) -> None:
    options = Options(instructions=True)
    name = write(tmp_path, lackey([(4096, 8, True)]))
    assert read(name, Format.LACKEY, options) == [2, 3]
    name = write(tmp_path, champsim([(4096, 8, True)]))
    assert read(name, Format.CHAMPSIM, options) == [0x400 * 2, 3]


def test_a_modified_word_is_written(tmp_path: Path) -> None:
    assert read(write(tmp_path, b" M 00002000,4\n")) == [5]


def test_samples_of_perf(tmp_path: Path) -> None:
    lines = (
        b"# samples\n"
        b"        cpu/mem-loads,ldlat=30/P:     7f0000001000\n"
        b"sort  1234 [001]   100.000001:          1 cpu/mem-stores/P:     7f0000002008  5561 main\n"
        b"            page-faults:u:                 3000\n"
        b"            page-faults:u:                    0\n"
    )
    expected = [0x7F0000001 * 2, 0x7F0000002 * 2 + 1, 6]
    assert read(write(tmp_path, lines), Format.PERF) == expected


def test_records_of_damon_are_read_as_often_as_was_seen(tmp_path: Path) -> None:
    line = b"kdamond.0 46568 [027] 79357.842179: damon:damon_aggregated: target_id=0 nr_regions=2 "
    content = line + b"8192-16384: 2 86\n" + line + b"16384-40960: 0 3\n"
    assert read(write(tmp_path, content)) == [4, 6, 4, 6]
    wrong = line + b"8192-16384: 2 86\n" + line + b"16384-8192: 1 3\n"
    assert read_all(write(tmp_path, wrong), Format.DAMON) == ([4, 6, 4, 6], len(line) + 17)


def request(name: int, size: int) -> bytes:
    return struct.pack("<IQIq", 0, name, size, -1)


def test_objects_stand_one_behind_the_other(tmp_path: Path) -> None:
    content = request(77, 6000) + request(5, 100) + request(77, 6000)
    name = write(tmp_path, content, "cache.oracleGeneral")
    assert read(name) == [1, 3, 3, 0, 2]
    assert read_all(write(tmp_path, content[:-5]), Format.ORACLE_GENERAL) == ([1, 3, 3], 48)
    assert read_all(write(tmp_path, request(1, 0)), Format.ORACLE_GENERAL) == ([], 0)
    # The same as a table.
    rows = b"time,obj_id,obj_size\n1,77,6000\n2,5,100\n3,77,6000\n"
    assert read(write(tmp_path, rows)) == [1, 3, 3, 0, 2]
    options = Options(columns=parse_columns("object=2, size=1"))
    rows = b"6000;77\n100;5\n6000;77\n"
    assert read(write(tmp_path, rows), Format.CSV, options) == [1, 3, 3, 0, 2]
    assert read_all(write(tmp_path, rows + b"x;5\n"), Format.CSV, options) == (
        [1, 3, 3, 0, 2],
        len(rows),
    )


@pytest.mark.parametrize("text", ["object", "object=0", "object=x", "size=1", "object=1,address=2"])
def test_columns_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--columns"):
        parse_columns(text)


@pytest.mark.parametrize("compress", [lzma.compress, gzip.compress, bz2.compress])
def test_what_is_compressed_is_read_and_what_is_cut_is_kept(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    listed = [(number * PAGE * 3, 8, False) for number in range(1, 40_000)]
    content = champsim(listed)
    packed = compress(content)
    expected = words_of(listed)
    assert read(write(tmp_path, packed), Format.CHAMPSIM) == expected
    found, at = read_all(write(tmp_path, packed[: len(packed) // 2]), Format.CHAMPSIM)
    assert found == expected[: len(found)]
    assert at >= 0
    if compress is not bz2.compress:
        assert len(found) > 1000


def test_files_that_are_no_recording_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"\0\1\2", b"hello\n"):
        with pytest.raises(InputError, match="--format"):
            read(write(tmp_path, content))
    with pytest.raises(InputError, match="cannot be read"):
        read(str(tmp_path / "none"))
    with pytest.raises(InputError, match="cannot be read"):
        read(str(tmp_path))
    with pytest.raises(InputError, match="has no accesses"):
        import_trace(write(tmp_path, b"==1== x\n"), tmp_path / "a.trace", form=Format.LACKEY)
    assert not (tmp_path / "a.trace").exists()
