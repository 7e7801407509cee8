"""Whatever is left of a run's file, it is read, or refused in clear printable lines."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel.errors import InputError
from perfmodel.results.unfinished import FORMAT, Unfinished, load_unfinished
from tests.property.test_loaders import assert_clear, mutate, places

HEAD = {
    "format": FORMAT,
    "version": 1,
    "plan": "small",
    "sha256": "0",
    "repetitions": 4,
    "quick": False,
    "setup": {"kernel": "6.18"},
    "missing": [],
    "arms": [{"scenario": "s", "entry": "pte", "device": "zram-lz4"}],
    "programs": ["chase"],
    "started": "2026-01-01T00:00",
}
DONE = {
    "steps": [{"elapsed_ns": 5, "counters": {"pswpin": 1}, "observed": {}}],
    "mapping": {"swap_entries": 0},
    "thp_bytes": 0,
    "reference_ns": {"kernel": [1, 2]},
    "steal_ticks": 0,
}
LINES = [
    HEAD,
    {"program": "chase"},
    {"arm": 0, "session": 0, "repetition": DONE},
    {"arm": 0, "session": 1, "repetition": DONE},
    {"arm": 0, "failed": "the kernel refused"},
]


def content(lines) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("unfinished") / "run.unfinished"


def read(path, data: bytes) -> Unfinished | None:
    path.write_bytes(data)
    try:
        return load_unfinished(path)
    except InputError as error:
        assert_clear(error, str(path))
        return None


def test_a_whole_file_says_all(path):
    found = read(path, content(LINES))
    assert found is not None
    assert found.programs == {"chase"}
    assert [session for session, _ in found.repetitions[0]] == [0, 1]
    assert found.sessions == 2
    assert found.failed == {0: "the kernel refused"}
    assert found.complete_bytes == len(content(LINES))


def test_every_cut_keeps_the_whole_lines(path):
    whole = content(LINES)
    first = len(content(LINES[:1]))
    for length in range(len(whole)):
        found = read(path, whole[:length])
        assert (found is None) == (length < first)
        if found is not None:
            assert whole[: found.complete_bytes].count(b"\n") == whole[:length].count(b"\n")


@given(data=st.binary(max_size=200))
def test_any_bytes(path, data):
    read(path, data)
    read(path, content(LINES) + data + b"\n")


@settings(max_examples=200)
@given(data=st.data())
def test_mutated_lines(path, data):
    lines = copy.deepcopy(LINES)
    for _ in range(data.draw(st.integers(1, 3))):
        line = data.draw(st.sampled_from(lines))
        if places(line):
            mutate(data.draw, line)
    try:
        mutated = content(lines)
    except (TypeError, ValueError):  # a value that TOML has and JSON has not
        return
    read(path, mutated)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arm": 7}, "line 3: arm: must be less than 1"),
        ({"repetition": DONE | {"steps": []}}, "differ in their steps"),
        ({"repetition": DONE | {"reference_ns": {"kernel": [1, 0]}}}, "line 3"),
    ],
)
def test_what_does_not_fit_is_refused(path, change, said):
    lines = copy.deepcopy(LINES)
    lines[2] |= change
    path.write_bytes(content(lines))
    with pytest.raises(InputError, match=said):
        load_unfinished(path)
