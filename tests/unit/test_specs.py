"""What a spec refuses, in a file and in Python, and how it says so."""

import tomllib

import pytest
import tomli_w

from perfmodel.errors import CapabilityError, InputError, PerfmodelError, Problem
from perfmodel.specs import io
from perfmodel.specs.catalog import (
    load_device,
    load_machine,
    load_scenario,
    names,
)
from tests.property.helpers import to_table

LOADERS = {"machine": load_machine, "device": load_device, "scenario": load_scenario}
SHIPPED = {
    "machine": names("machine")["amd-zen3"],
    "device": names("device")["zram-lz4"],
    "scenario": names("scenario")["thp-roundtrip"],
}
DELETE = object()


def problems_of(kind, path):
    """Problems of a file by key; every line must be one printable line that names the file."""
    with pytest.raises(InputError) as caught:
        LOADERS[kind](path)
    lines = str(caught.value).split("\n")
    assert len(lines) == len(caught.value.problems)
    assert all(line.isprintable() and line.startswith(f"{path}: ") for line in lines)
    assert caught.value.exit_status == 2
    return {problem.key: problem.message for problem in caught.value.problems}


def changed(kind, folder, changes):
    """A shipped file in which values at dotted paths are replaced or deleted."""
    table = tomllib.loads(SHIPPED[kind].read_text())
    if kind == "machine":  # with all costs of its kernel in the file itself
        table = to_table(load_machine(SHIPPED[kind]))
    for path, value in changes.items():
        *parents, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
        holder = table
        for key in parents:
            holder = holder[key]
        if value is DELETE:
            del holder[last]
        else:
            holder[last] = value
    file = folder / "changed.toml"
    file.write_text(tomli_w.dumps(table), encoding="utf-8")
    return file


def test_an_unchanged_copy_loads(tmp_path):
    for kind, loader in LOADERS.items():
        assert loader(changed(kind, tmp_path, {})) == loader(SHIPPED[kind])


# Quantities

FAULT = "kernel.fault_ns"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": DELETE}, "value is missing"),
        ({"unit": DELETE}, "unit is missing"),
        ({"spread": DELETE}, "spread is missing"),
        ({"source": DELETE}, "source is missing"),
        ({"how": DELETE}, "how is missing"),
        ({"values": 3}, "values is no key of a quantity"),
        ({"value": -1}, "value must not be negative"),
        ({"spread": -0.5}, "spread must not be negative"),
        ({"value": float("nan")}, "value must be a finite number, not nan"),
        ({"value": float("inf")}, "value must be a finite number, not inf"),
        ({"spread": float("inf")}, "spread must be a finite number, not inf"),
        ({"value": 10**400}, "value must be a finite number"),
        ({"value": True}, "value must be a number, not True"),
        ({"value": "500"}, "value must be a number, not '500'"),
        ({"value": [500]}, "value must be a number, not a list"),
        ({"value": {"low": 1}}, "value must be a number, not a table"),
        ({"value": 1e308, "unit": "s"}, "is too large"),
        ({"unit": "MiB"}, "unit 'MiB' does not fit here; use ns, us or ms"),
        ({"unit": "1"}, "unit '1' does not fit here; use ns, us or ms"),
        ({"unit": 3}, "must be a text, not 3"),
        ({"source": ""}, "source must be a text that is not empty"),
        ({"source": " \t"}, "source must be a text that is not empty"),
        ({"source": 3}, "source must be a text that is not empty"),
        ({"how": "guessed"}, "how must be one of datasheet, measured, fitted, assumed"),
        ({"how": True}, "how must be a text that is not empty"),
    ],
)
def test_wrong_quantities(tmp_path, change, message):
    file = changed("machine", tmp_path, {f"{FAULT}.{key}": value for key, value in change.items()})
    problems = problems_of("machine", file)
    assert list(problems) == [FAULT]
    assert message in problems[FAULT]


def test_all_complaints_about_one_quantity_come_together(tmp_path):
    quantity = {"value": -1, "unit": "kg", "how": "guessed", "note": "x"}
    problems = problems_of("machine", changed("machine", tmp_path, {FAULT: quantity}))
    for part in ("spread is missing", "source is missing", "note is no key", "negative", "'kg'"):
        assert part in problems[FAULT]


@pytest.mark.parametrize("value", [500, "500 ns", [500], True])
def test_a_bare_number_is_no_quantity(tmp_path, value):
    problems = problems_of("machine", changed("machine", tmp_path, {FAULT: value}))
    assert "must be a table {value, unit, spread, source, how}" in problems[FAULT]


def test_units_are_converted_once(tmp_path):
    changes = {f"{FAULT}.unit": "us", f"{FAULT}.value": 0.5, f"{FAULT}.spread": 0.25}
    quantity = load_machine(changed("machine", tmp_path, changes)).kernel.fault_ns
    assert quantity.value == pytest.approx(500.0, rel=1e-12)
    assert quantity.spread == pytest.approx(250.0, rel=1e-12)
    assert quantity.unit == "ns"


# Keys and types of whole files


@pytest.mark.parametrize(
    ("kind", "path", "value", "key", "message"),
    [
        ("machine", "name", DELETE, "name", "is missing"),
        ("machine", "cpu", DELETE, "cpu", "is missing"),
        ("machine", "translation", DELETE, "translation", "is missing"),
        (
            "machine",
            "translation.tlbs.0.entries",
            DELETE,
            "translation.tlbs[0].entries",
            "is missing",
        ),
        ("machine", FAULT, DELETE, FAULT, "is missing"),
        ("machine", "kernel.page_fault_ns", 3, "kernel.page_fault_ns", "known are"),
        ("machine", "numa", {}, "numa", "nearest is 'name'; known are cpu, description, devices"),
        ("machine", "name", "", "name", "text that is not empty"),
        ("machine", "name", 3, "name", "must be a text, not 3"),
        ("machine", "cpu", 3, "cpu", "must be a table, not 3"),
        ("machine", "translation", [], "translation", "must be a table, not a list"),
        ("machine", "translation.walk", 3, "translation.walk", "must be a table, not 3"),
        ("machine", "translation.tlbs", {}, "translation.tlbs", "must be a list, not a table"),
        (
            "machine",
            "translation.shootdown.broadcast",
            1,
            "translation.shootdown.broadcast",
            "must be true or false, not 1",
        ),
        ("machine", "matches", {}, "matches", "must be a list, not a table"),
        ("machine", "matches.0.family", "25", "matches[0].family", "must be a whole number"),
        ("machine", "matches.0.family", True, "matches[0].family", "must be a whole number"),
        ("machine", "matches.0.family", -1, "matches[0].family", "from 0 to 65536"),
        ("machine", "matches.0.models", [], "matches[0].models", ">= 1"),
        ("machine", "matches.0.models", [1.0], "matches[0].models[0]", "must be a whole number"),
        ("machine", "matches.0.models", [0, False], "matches[0].models[1]", "a whole number"),
        ("machine", "devices", [], "devices", "must be a table, not a list"),
        ("device", "kind", DELETE, "kind", "is missing"),
        ("device", "kind", "ssd", "kind", '"swap-file", "nvme", "pmem", not \'ssd\''),
        ("device", "kind", ["zram"], "kind", 'must be one of "zram", "ram-disk"'),
        ("device", "latency", 3, "latency", "is not known here"),
        ("scenario", "region", DELETE, "region", "is missing"),
        ("scenario", "region.size", DELETE, "region.size", "is missing"),
        (
            "scenario",
            "region.size_bytes",
            3,
            "region.size_bytes",
            "known are backing, content, size",
        ),
        ("scenario", "region.size", 64, "region.size", 'a unit such as "64 MiB", not 64'),
        ("scenario", "region.size", "64", "region.size", "is no size"),
        ("scenario", "region.size", "64 ns", "region.size", "use B, KiB, MiB"),
        ("scenario", "region.size", "3 MiB", "region.size", "a multiple of 2 MiB"),
        ("scenario", "region.size", "0 MiB", "region.size", "at least one"),
        ("scenario", "region.size", "-2 MiB", "region.size", "is no size"),
        ("scenario", "region.size", "129 TiB", "region.size", "128 TiB"),
        ("scenario", "region.content", "ones", "region.content", '"half-random", "zero"'),
        ("scenario", "steps", DELETE, "steps", "is missing"),
        ("scenario", "steps", [], "steps", "the first step must be a fill"),
        ("scenario", "steps", "fill", "steps", "must be a list, not 'fill'"),
        ("scenario", "steps.0", 3, "steps[0]", "must be a table, not 3"),
        ("scenario", "steps.0.action", "touch", "steps", "the first step must be a fill"),
        ("scenario", "steps.1.action", "fill", "steps", "only one fill"),
        ("scenario", "steps.1.action", "swapon", "steps[1].action", '"fill", "touch", "pageout"'),
        ("scenario", "steps.1.name", "fill", "steps", "two steps are named 'fill'"),
        ("scenario", "steps.1.pages_per_2mib", 8, "steps[1]", "not belong to a pageout step"),
        ("scenario", "steps.1.write", True, "steps[1]", "write does not belong to a pageout step"),
        ("scenario", "steps.1.racing", "unmap", "steps[1]", "racing does not belong to a pageout"),
        ("scenario", "steps.1.racing", "free", "steps[1].racing", '"none", "unmap"'),
        ("scenario", "steps.1.refuse_write", True, "", "refuse_write needs zswap"),
        ("scenario", "steps.1.first_page", 1, "steps[1]", "must not be more than 512"),
        ("scenario", "steps.1.page_count", 0, "steps[1].page_count", "from 1 to 512"),
        ("scenario", "steps.1.process", 1, "steps", "process 1 has ended or was never forked"),
        ("scenario", "steps.1.process", 8, "steps[1].process", "from 0 to 7"),
        ("scenario", "steps.1.shift_pages", 512, "steps[1].shift_pages", "from 0 to 511"),
        ("scenario", "swap", 3, "swap", "must be a table, not 3"),
        ("scenario", "swap", {"clusters": -1}, "swap.clusters", "from 0 to 1048576"),
        ("scenario", "swap", {"neighbour_slots": 1}, "swap", "neighbour_slots needs clusters"),
        ("scenario", "swap", {"slots": 1}, "swap.slots", "known are clusters, devices, free"),
        ("scenario", "settings", {"page_cluster": 6}, "settings.page_cluster", "from 0 to 5"),
        ("scenario", "settings", {"vma_readahead": 1}, "settings.vma_readahead", "true or false"),
        ("scenario", "settings", {"zswap": "y"}, "settings.zswap", '"never", "on", "off"'),
        (
            "scenario",
            "settings",
            {"order9_failure": 1.5},
            "settings.order9_failure",
            "must be a probability from 0 to 1",
        ),
        ("scenario", "steps.2.pages_per_2mib", 0, "steps[2].pages_per_2mib", "from 1 to 512"),
        ("scenario", "steps.2.pages_per_2mib", 513, "steps[2].pages_per_2mib", "from 1 to 512"),
        ("scenario", "steps.2.pages_per_2mib", 8.0, "steps[2].pages_per_2mib", "a whole number"),
        (
            "scenario",
            "steps.2.page",
            8,
            "steps[2].page",
            "known are accesses, action, exponent, first_page, milliseconds, mix, name",
        ),
        ("scenario", "held_out", "yes", "held_out", "must be true or false, not 'yes'"),
    ],
)
def test_wrong_files(tmp_path, kind, path, value, key, message):
    problems = problems_of(kind, changed(kind, tmp_path, {path: value}))
    assert list(problems) == [key]
    assert message in problems[key]


L1 = "translation.tlbs.0"


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({f"{L1}.ways.value": 7}, "translation.tlbs[0]", "ways (7) must divide entries (64)"),
        ({f"{L1}.ways.value": 0}, "translation.tlbs[0].ways", "value must be at least 1"),
        ({f"{L1}.ways.value": 1.5}, "translation.tlbs[0].ways", "must be a whole number"),
        ({f"{L1}.entries.value": 1 << 40}, "translation.tlbs[0].entries", "must be at most"),
        ({f"{L1}.page_sizes": ["8k"]}, "translation.tlbs[0].page_sizes[0]", '"4k", "16k"'),
        ({f"{L1}.page_sizes": ["4k"]}, "translation", "of level 1 holds 1g, 2m for loads"),
        ({f"{L1}.accesses": "loads"}, "translation", "of level 1 holds 1g, 2m, 4k for stores"),
        ({f"{L1}.level": 2}, "translation", "no TLB of level 1 holds"),
        ({f"{L1}.name": "L2 dTLB"}, "translation", "two of the tlbs have the same name"),
        ({f"{L1}.coalesced_pages": 3}, "translation.tlbs[0]", "must be a power of two"),
        (
            {f"{L1}.replacement": "random"},
            "translation.tlbs[0].replacement",
            '"lru", "tree-plru"',
        ),
        ({f"{L1}.way": 3}, "translation.tlbs[0].way", "the nearest is 'ways'; known are accesses"),
        (
            {"translation.walk.caches.0.level": 3},
            "translation.walk",
            "of different levels",
        ),
        (
            {"translation.caches.0.size_bytes.value": 5000},
            "translation.caches[0]",
            "must be a multiple of 64 bytes x ways",
        ),
        (
            {"translation.caches.0.size_bytes.unit": "ns"},
            "translation.caches[0].size_bytes",
            "unit 'ns' does not fit here; use B, KiB",
        ),
        (
            {"translation.caches.0.size": "32 KiB"},
            "translation.caches[0].size",
            "known are latency_ns, name, size_bytes, ways",
        ),
    ],
)
def test_wrong_tlbs(tmp_path, changes, key, message):
    problems = problems_of("machine", changed("machine", tmp_path, changes))
    assert list(problems) == [key]
    assert message in problems[key]


def test_all_problems_of_a_file_come_at_once(tmp_path):
    file = changed(
        "machine",
        tmp_path,
        {
            "name": "",
            "numa": 2,
            FAULT: DELETE,
            "kernel.map_pte_ns.unit": "kg",
            "translation.shootdown.broadcast": "no",
            "cpu.walk_pte_ns.value": -1,
            "matches.0.family": -1,
            "matches.0.models": ["a", 1, "b"],
        },
    )
    assert set(problems_of("machine", file)) == {
        "name",
        "numa",
        FAULT,
        "kernel.map_pte_ns",
        "translation.shootdown.broadcast",
        "cpu.walk_pte_ns",
        "matches[0].family",
        "matches[0].models[0]",
        "matches[0].models[2]",
    }


def test_all_problems_of_a_scenario_come_at_once(tmp_path):
    file = changed(
        "scenario",
        tmp_path,
        {
            "description": DELETE,
            "region.size": "1 MiB",
            "region.content": 3,
            "steps.0.name": "",
            "steps.2.pages_per_2mib": 0,
        },
    )
    assert set(problems_of("scenario", file)) == {
        "description",
        "region.size",
        "region.content",
        "steps[0].name",
        "steps[2].pages_per_2mib",
    }


def test_whatever_a_file_holds_a_line_stays_one_line(tmp_path):
    file = changed(
        "scenario",
        tmp_path,
        {
            "region.content": "a\nb\x1b[31m",
            "steps.1.action": "\u2028",
            "two\nlines": 1,
            "\u202eltr": 1,
        },
    )
    assert len(problems_of("scenario", file)) == 4


# Files that are no TOML


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name = ", "is not valid TOML"),
        (b'name = "x', "is not valid TOML"),
        (b"[cpu\n", "is not valid TOML"),
        (b"a = 1\na = 2\n", "is not valid TOML"),
        (b'name = "caf\xe9"\n', "is not UTF-8 text (byte 11)"),
        (b"\xff\xfen\x00", "is not UTF-8 text (byte 0)"),
        (b"\x00", "is not valid TOML"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a = " + b"{a=" * 100_000, "nested too deeply"),
        (b"a = " + b"9" * 10_000, "a number too long"),
    ],
    ids=[
        "no value",
        "open text",
        "open table",
        "key twice",
        "latin-1",
        "utf-16",
        "nul",
        "deep lists",
        "deep tables",
        "long number",
    ],
)
def test_what_is_no_toml(tmp_path, kind, content, message):
    file = tmp_path / "broken.toml"
    file.write_bytes(content)
    problems = problems_of(kind, file)
    assert list(problems) == [""]
    assert message in problems[""]


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a" + b".a" * 2000 + b" = 1",
        b"name = 0x" + b"f" * 5000,
        b"description = [" + b"[" * 50 + b"]" * 50 + b"]",
    ],
    ids=["empty", "deep key", "long hexadecimal number", "lists in lists"],
)
def test_toml_that_is_no_spec(tmp_path, kind, content):
    file = tmp_path / "odd.toml"
    file.write_bytes(content)
    assert "name" in problems_of(kind, file)


@pytest.mark.parametrize("kind", LOADERS)
def test_truncated_files(tmp_path, kind):
    content = SHIPPED[kind].read_bytes()
    file = tmp_path / "truncated.toml"
    for length in range(0, len(content) - 40, 211):
        file.write_bytes(content[:length])
        if kind == "scenario" and length > content.index(b'action = "fill"') + 14:
            # What is left may be a shorter scenario.
            break
        assert problems_of(kind, file)


@pytest.mark.parametrize("kind", LOADERS)
def test_a_directory_is_no_file(tmp_path, kind):
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    assert problems_of(kind, folder) == {"": "is no regular file"}


@pytest.mark.parametrize("kind", LOADERS)
def test_a_file_that_is_far_too_large(tmp_path, kind):
    file = tmp_path / "large.toml"
    with file.open("wb") as stream:
        stream.truncate((16 << 20) + 1)
    assert problems_of(kind, file) == {"": "is larger than 16 MiB"}


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("name", ["a\0b.toml", "x" * 5000 + ".toml", "a\nb/c"])
def test_names_that_no_file_has(kind, name):
    with pytest.raises(InputError) as caught:
        LOADERS[kind](name)
    (problem,) = caught.value.problems
    assert str(problem).isprintable()


# JSON


def test_json_is_read(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{"a": [1, 2.5, null]}')
    assert io.read_json(file) == {"a": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1', "is not valid JSON, or not all of it"),
        (b"", "is not valid JSON, or not all of it"),
        (b'"caf\xe9"', "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"9" * 10_000, "is not valid JSON"),
    ],
    ids=["truncated", "empty", "latin-1", "deep", "long number"],
)
def test_what_is_no_json(tmp_path, content, message):
    file = tmp_path / "broken.json"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        io.read_json(file)
    (problem,) = caught.value.problems
    assert problem.file == str(file)
    assert problem.message.startswith(message)


# Errors themselves


def test_a_problem_names_file_key_and_message():
    assert str(Problem("is wrong", file="a.toml", key="b.c")) == "a.toml: b.c: is wrong"
    assert str(Problem("is wrong", key="b.c")) == "b.c: is wrong"
    assert str(Problem("is wrong")) == "is wrong"


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "\u2028", "\ud800", "\x7f", "\t"])
def test_a_problem_is_one_printable_line(text):
    line = str(Problem(text, file=text, key=text))
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert "?" in line


def test_errors_carry_their_exit_status():
    one, two = Problem("one"), Problem("two", key="k")
    assert str(InputError([one, two])) == "one\nk: two"
    assert InputError(one).problems == (one,)
    assert InputError(iter([one, two])).problems == (one, two)
    assert CapabilityError("no zram").missing == ("no zram",)
    assert str(CapabilityError(["no zram", "no root"])) == "no zram\nno root"
    assert [kind.exit_status for kind in (PerfmodelError, InputError, CapabilityError)] == [1, 2, 3]
    assert issubclass(InputError, PerfmodelError)
    assert issubclass(CapabilityError, PerfmodelError)
