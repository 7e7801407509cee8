from __future__ import annotations

import re
from html.parser import HTMLParser

import attrs
import pytest

from perfmodel.errors import InputError
from perfmodel.report.comparison import counter_rows, counter_summary
from perfmodel.report.page import render, write_report
from perfmodel.report.table import comparison_table, read_requests, rows, step_groups
from perfmodel.studies.compare import compare

COMMAND = "perfmodel compare thp-roundtrip --machine amd-zen3 --report out"
HOST = {"cpu_name": "Some CPU", "virtualisation": "guest", "kernel": "6.18.44"}


@pytest.fixture(scope="module")
def predicted():
    return compare("thp-roundtrip", "amd-zen3", draws=40)


def as_measured(result, factor, entry=None, drop=(), **counters):
    steps = [
        attrs.evolve(
            step,
            elapsed_ns=step.elapsed_ns * factor,
            interval_ns=(step.elapsed_ns * factor * 0.9, step.elapsed_ns * factor * 1.5),
            counters={
                name: counters.get(name, value) if value else value
                for name, value in step.counters.items()
                if name not in drop
            },
            breakdown_ns={},
            repetitions_ns=(step.elapsed_ns,),
        )
        for step in result.steps
    ]
    return attrs.evolve(
        result,
        entry=entry or result.entry,
        machine="this machine",
        steps=tuple(steps),
        provenance={
            "world": "measured",
            "kernel": "Linux 6.18",
            "host": HOST,
            "repetitions": 25,
            "reference_ns": [1, 2],
        },
    )


@pytest.fixture(scope="module")
def both(predicted):
    measured = {
        "pte": as_measured(predicted.arms["pte"], 1.25),
        "mthp-64k": as_measured(predicted.arms["mthp-64k"], 1.25, pgmajfault=1030),
        "shmem-pmd": as_measured(
            predicted.arms["pmd"],
            1.5,
            entry="shmem-pmd",
            drop=("thp_swpout_pmd",),
            thp_fault_alloc=0,
        ),
    }
    return attrs.evolve(predicted, measured=measured)


def table_lines(text):
    """Lines of the table itself as (entry, world) -> the rest, split at blanks."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"([a-z0-9-]+) +(predicted|measured) +(.*)", line)
        if match:
            found[match[1], match[2]] = re.sub(r" \(", "(", match[3]).split()
    return found


def test_table_rows_hold_the_results_numbers(both):
    lines = table_lines(comparison_table(both))
    assert list(lines)[:2] == [("pte", "predicted"), ("pte", "measured")]
    assert list(lines)[-2:] == [("pmd", "predicted"), ("shmem-pmd", "measured")]
    assert lines["pte", "predicted"][:4] == ["512"] * 4
    assert lines["mthp-64k", "predicted"][:4] == ["32", "32", "512", "32"]
    assert lines["mthp-64k", "measured"][:4] == ["32", "32.2", "512", "32"]
    assert lines["pmd", "predicted"][:4] == ["1", "1", "512", "1"]
    for (entry, world), cells in lines.items():
        result = (both.arms if world == "predicted" else both.measured)[entry]
        for cell, name in zip(cells[4:7], ("pageout", "touch", "touch-again"), strict=True):
            step = result.step(name)
            shown = [float(text) for text in re.fullmatch(r"(.+)\((.+)-(.+)\)", cell).groups()]
            wanted = [time / 32000 for time in (step.elapsed_ns, *step.interval_ns)]
            assert shown == pytest.approx(wanted, rel=5e-3)
        assert cells[7] == "4096"


def test_table_says_what_where_and_the_result(both):
    text = comparison_table(both)
    first = text.splitlines()[0]
    assert "scenario: thp-roundtrip, 64 MiB" in first
    assert "machine: amd-zen3 | device: zram-lz4" in first
    assert "Linux 6.18" in text
    assert "Some CPU, guest, zram-lz4, Linux 6.18.44, 25 repetitions" in text
    flowing = " ".join(text.split())
    assert both.fallback.sentence() in flowing
    measured = both.measured_fallback()
    assert f"Measured: it costs {measured['per_2mib_ns'] / 1000:.0f} us per 2 MiB" in flowing
    assert "(stand-in: shmem-pmd)" in flowing


def test_table_is_plain_ascii_of_at_most_100_columns(both):
    text = comparison_table(both)
    assert text.isascii()
    assert "\x1b" not in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    for line in text.splitlines():
        assert len(line) <= 100
        assert line == line.rstrip()


@pytest.mark.parametrize("factor", [0.0, 1e-4, 0.3, 1.7, 4.8, 21.0, 4.4e4, 1e6])
def test_table_keeps_its_width_whatever_the_times(both, factor):
    arms = {entry: as_measured(result, factor) for entry, result in both.arms.items()}
    text = comparison_table(attrs.evolve(both, arms=arms))
    assert max(map(len, text.splitlines())) <= 100


def test_table_keeps_its_width_in_the_worst_case(both):
    result = both.arms["mthp-1024k"]
    steps = [
        attrs.evolve(
            step,
            elapsed_ns=9998e3 * 32,
            interval_ns=(9997e3 * 32, 9999e3 * 32),
            counters=dict.fromkeys(step.counters, 123_456_789),
        )
        for step in result.steps
    ]
    wide = attrs.evolve(result, steps=tuple(steps))
    text = comparison_table(attrs.evolve(both, arms={**both.arms, "mthp-1024k": wide}))
    assert "9998 (9997-9999)" in text
    assert max(map(len, text.splitlines())) == 100


def test_table_of_a_prediction_alone(predicted):
    text = comparison_table(predicted)
    assert "easured" not in text
    assert len(table_lines(text)) == 6


def test_hostile_names_stay_plain_and_narrow(predicted):
    scenario = attrs.evolve(predicted.scenario, name="\x1b[31mü" + "x" * 300 + "\n<script>")
    text = comparison_table(attrs.evolve(predicted, scenario=scenario))
    assert text.isascii()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_several_trips_are_added_up():
    comparison = compare("thp-two-trips", "amd-zen3", draws=40, entries=["pmd"])
    groups = (("pageout", "pageout-2"), ("touch", "touch-2"), (), ())
    assert step_groups(comparison.scenario) == groups
    (row,) = rows(comparison)
    assert row.counts == (2, 2, 1024, 2)
    arm = comparison.arms["pmd"]
    wanted = (arm.per_2mib_us("touch") + arm.per_2mib_us("touch-2")) * 1000
    assert row.times_ns[1][0] == pytest.approx(wanted)
    assert row.times_ns[2] is None
    text = comparison_table(comparison)
    assert "in: touch + touch-2; again: no step" in text
    assert "Bounds of several steps are added up." in text


@pytest.mark.parametrize(
    ("counters", "requests"),
    [
        ({"pswpin": 512}, 512),
        ({"pswpin": 512, "hugepages-64kB/stats/swpin": 32}, 32),
        ({"pswpin": 512, "hugepages-64kB/stats/swpin": 16, "hugepages-16kB/stats/swpin": 4}, 260),
        ({"pswpin": 512, "hugepages-2048kB/stats/swpin": 1}, 1),
        ({"pswpin": 0, "hugepages-2048kB/stats/swpin_fallback": 3}, 0),
        ({"pswpin": 0, "hugepages-2048kB/stats/swpin": 1}, None),
        ({"pgfault": 7}, None),
    ],
)
def test_read_requests(counters, requests):
    assert read_requests(counters) == requests


def test_an_unknown_counter_is_shown_as_unknown(predicted):
    measured = as_measured(predicted.arms["pte"], 1.0, drop=("pgmajfault", "pswpin"))
    mapping = {**measured.mapping, "page_table_bytes": None}
    unknown = attrs.evolve(predicted, measured={"pte": attrs.evolve(measured, mapping=mapping)})
    cells = table_lines(comparison_table(unknown))["pte", "measured"]
    assert cells[:4] == ["512", "-", "-", "-"]
    assert cells[-1] == "-"


def test_what_was_measured_without_a_prediction_comes_last(both):
    arms = {"pte": both.arms["pte"]}
    found = [(row.entry, row.world) for row in rows(attrs.evolve(both, arms=arms))]
    assert found[:2] == [("pte", "predicted"), ("pte", "measured")]
    assert set(found[2:]) == {("mthp-64k", "measured"), ("shmem-pmd", "measured")}


class Page(HTMLParser):
    """Texts, tags and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attributes]

    def handle_data(self, data):
        self.words.append(data.strip())


def test_page_holds_sentence_figures_tables_and_command(both, tmp_path):
    path = write_report(both, tmp_path / "new" / "folder", COMMAND)
    assert path == tmp_path / "new" / "folder" / "index.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert both.fallback.sentence() in page.words
    assert COMMAND in page.words
    assert page.tags.count("img") == page.tags.count("figcaption") == 2
    assert all(value for tag, name, value in page.attributes if (tag, name) == ("img", "alt"))
    assert page.tags.count("table") == 3
    assert {"512", "pgmajfault", "2 values, in the JSON document"} <= set(page.words)
    digest = both.arms["pmd"].provenance["sha256"]["policy"]
    assert digest in page.words


def test_page_needs_nothing_else(both):
    text = render(both, COMMAND)
    page = Page(text)
    assert page.tags.count("script") == 1  # our own, and the browser runs no other
    assert "script-src 'sha256-" in text
    assert not {"link", "iframe", "object", "base"} & set(page.tags)
    for _, name, value in page.attributes:
        if name in ("src", "href"):
            assert value.startswith("data:image/svg+xml;base64,")
    assert "@import" not in text
    assert "url(" not in text


def test_page_marks_counters_equal_or_different(both):
    counters = {(row.step, row.name): row.cells for row in counter_rows(both)}
    marks = [cell.mark for cell in counters["touch", "pgmajfault"]]
    assert marks == ["equal", "", "different", "", "", "equal"]
    assert counters["pageout", "thp_swpout_pmd"][-1].mark == "unknown"
    assert counters["fill", "thp_fault_alloc"][-1].mark == "different"
    summary = counter_summary(both, counter_rows(both))
    assert re.fullmatch(
        r"(\d+) of (\d+) equal; the stand-in shmem-pmd: (\d+) of (\d+) equal", summary
    )
    equal, known = map(int, re.match(r"(\d+) of (\d+)", summary).groups())
    assert equal == known - 1
    words = Page(render(both, COMMAND)).words
    assert "≠ 1030" in words
    assert words.count("≠ 0") == 1


def test_page_of_a_prediction_alone(predicted):
    page = Page(render(predicted, COMMAND))
    assert any("nothing was measured" in words for words in page.words)
    assert "=" not in page.words


def test_page_escapes_what_others_wrote(both):
    evil = '"><script>alert(1)</script>'
    scenario = attrs.evolve(both.scenario, name=evil, description=evil + "{{ 7 * 7 }}")
    host = {"cpu_name": evil, "kernel": evil}
    measured = attrs.evolve(both.measured["pte"], provenance={"host": host, evil: evil})
    arms = {entry: attrs.evolve(arm, machine=evil, device=evil) for entry, arm in both.arms.items()}
    hostile = attrs.evolve(both, scenario=scenario, arms=arms, measured={"pte": measured})
    text = render(hostile, f"perfmodel {evil}")
    assert Page(text).tags.count("script") == 1
    assert "{{ 7 * 7 }}" in text


def test_page_is_the_same_every_time(both, tmp_path):
    first = write_report(both, tmp_path / "a", COMMAND).read_bytes()
    second = write_report(both, tmp_path / "b", COMMAND).read_bytes()
    assert first == second
    assert write_report(both, tmp_path / "a", COMMAND).read_bytes() == first


def test_a_command_that_is_no_unicode_is_written_anyway(predicted, tmp_path):
    path = write_report(predicted, tmp_path, "perfmodel compare \udcff")
    assert "perfmodel compare ?" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["file", "below a file", "page is a folder", "nul"])
def test_a_folder_that_cannot_be_written_is_the_users_error(predicted, tmp_path, kind):
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / "index.html").mkdir(parents=True)
    folder = {
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "folder",
        "page is a folder": tmp_path / "taken",
        "nul": tmp_path / "a\0b",
    }[kind]
    with pytest.raises(InputError, match=r"^--report: ") as caught:
        write_report(predicted, folder, COMMAND)
    assert "\n" not in str(caught.value)
