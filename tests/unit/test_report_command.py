"""`perfmodel report`: any result as one page, and what is none as one line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import redirect_stdout, suppress
from html import unescape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfmodel.cli.main import main
from perfmodel.errors import InputError
from perfmodel.report.page import render_sections
from perfmodel.report.sections import section
from perfmodel.results.documents import KINDS, read_document, stamped
from tests.unit.test_report import Page

SMALL = """
name = "small"
description = "Two huge pages, there and back."
region = { size = "4 MiB", content = "half-random" }
steps = [
    { name = "fill", action = "fill" },
    { name = "pageout", action = "pageout" },
    { name = "touch", action = "touch" },
]
"""
STUDY = """
name = "tiny"
title = "Two costs of a fault"
description = "For tests."
scenario = "SCENARIO"
machine = "amd-zen3"
device = "zram-lz4"
entries = ["pte", "pmd"]
pairs = [{ above = "pmd", below = "pte" }]
draws = 20
break_even = { axis = "fault_ns", output = "touch" }

[[axes]]
field = "machine.kernel.fault_ns"
values = [300, 3000]

[[outputs]]
name = "touch"
steps = ["touch"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def results(folder):
    """A document of each kind that is made in no time, by the commands themselves."""
    (folder / "small.toml").write_text(SMALL)
    (folder / "tiny.toml").write_text(STUDY.replace("SCENARIO", str(folder / "small.toml")))
    small = str(folder / "small.toml")
    on = ["--machine", "amd-zen3", "--json"]
    commands = {
        "simulate": ["simulate", small, "--draws", "20", *on],
        "compare": ["compare", small, "--entries", "pte,mthp-64k,pmd", "--draws", "20", *on],
        "device": ["device", "optane-p5800x", "--depths", "1,8", "--requests", "1000", "--json"],
        "thrash": ["thrash", "amd-zen3", "--pages", "64,512", "--sizes", "2", "--limit", "16 MiB",
                   "--rounds", "2", "--json"],
        "sweep": ["sweep", str(folder / "tiny.toml"), "--out", str(folder / "swept"), "--json"],
        "doctor": ["doctor", "--json"],
        "shootdown": ["shootdown", "amd-zen3", "--json"],
    }  # fmt: skip
    files = {}
    for name, arguments in commands.items():
        files[name] = folder / f"{name}.json"
        with files[name].open("w") as file, redirect_stdout(file), pytest.raises(SystemExit) as end:
            main(arguments)
        assert not end.value.code, name
    files["sweep-folder"] = folder / "swept"
    validation = folder / "validate.json"
    run = {
        "scenario": "small", "device": "zram-lz4", "entry": "pte", "step": "touch", "regions": 2,
        "predicted_ns": 900.0, "interval_ns": [800.0, 1000.0], "measured_ns": 950.0,
        "relative_error": -0.05, "noise_floor": 0.01, "inside_interval": True, "held_out": True,
        "counters_equal": True, "different_counters": [],
    }  # fmt: skip
    validation.write_text(json.dumps({"machine": "here", "runs": [run], "summary": {}}))
    files["validate"] = validation
    return files


def page_of(*paths):
    return render_sections([section(read_document(path)) for path in paths], "perfmodel report x")


def test_documents_say_their_kind_and_command(results):
    for name, path in results.items():
        if name in ("sweep-folder", "validate"):
            continue
        document = json.loads(path.read_text())
        assert document["kind"] == name
        assert document["command"].startswith(f"perfmodel {name} ")
        assert document["provenance"]["perfmodel"]


@pytest.mark.parametrize(
    ("kind", "tables", "pictures"),
    [
        ("simulate", 2, 1), ("compare", 2, 2), ("device", 2, 1), ("thrash", 2, 1), ("sweep", 1, 1),
        ("sweep-folder", 1, 1), ("doctor", 1, 0), ("shootdown", 1, 0), ("validate", 1, 1),
    ],
)  # fmt: skip
def test_every_kind_has_its_figures_and_tables(results, kind, tables, pictures):
    document = read_document(results[kind])
    assert document.kind == kind
    found = section(document)
    assert len(found.tables) >= tables
    assert len(found.pictures) == pictures
    assert all(one.rows for one in found.tables)
    page = Page(page_of(results[kind]))
    assert page.tags.count("img") == pictures
    if document.command:
        assert document.command in page.words


def test_a_document_without_its_kind_is_known_by_its_keys(results, folder):
    for name, path in results.items():
        if path.is_dir():
            continue
        document = json.loads(path.read_text())
        document.pop("kind", None)
        bare = folder / "bare.json"
        bare.write_text(json.dumps(document))
        assert read_document(bare).kind == name


def test_command_makes_one_page_of_many(results, folder, capsys):
    with pytest.raises(SystemExit) as end:
        main(["report", *map(str, results.values()), "--out", str(folder / "page")])
    assert not end.value.code
    assert "page written to" in capsys.readouterr().err
    text = (folder / "page" / "index.html").read_text()
    page = Page(text)
    assert page.tags.count("section") == len(results)
    assert page.tags.count("script") == 1
    for tag, name, value in page.attributes:
        if name in ("src", "href"):
            assert value.startswith(("data:image/svg+xml;base64,", "#result-")), (tag, value)


def test_a_name_in_a_document_stays_a_name(results, folder):
    text = results["simulate"].read_text().replace('"small"', '"<script>alert(1)</script>"')
    evil = folder / "evil.json"
    evil.write_text(text)
    assert "<script>alert" in json.loads(text)["scenario"]
    page = page_of(evil)
    assert Page(page).tags.count("script") == 1
    assert "<script>alert" not in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["steps"][0].update(elapsed_ns="soon"), "elapsed_ns: must be a number"),
        (lambda d: d["steps"][0].update(elapsed_ns=float("nan")), "steps[0].elapsed_ns: must be"),
        (lambda d: d["steps"][0].update(elapsed_ns=10**400), "steps[0].elapsed_ns: must be"),
        (lambda d: d.update(regions=0), "regions: must be at least 1"),
        (lambda d: d.update(entry="pud"), "entry: 'pud' is not an entry"),
        (lambda d: d.update(kind="novel"), "kind: must be one of"),
        (lambda d: d.update(steps=[]), "steps: must not be empty"),
        (lambda d: d.pop("mapping"), "mapping"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_key(results, folder, change, said):
    document = json.loads(results["simulate"].read_text())
    change(document)
    wrong = folder / "wrong.json"
    wrong.write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        page_of(wrong)
    assert said in str(caught.value).splitlines()[0]


@pytest.mark.parametrize("content", ["", "[]", "{}", "{", "null", '{"kind": []}', "[" * 9999])
def test_what_is_no_result_is_refused(folder, content):
    path = folder / "none.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"none\.json"):
        read_document(path)


def test_a_missing_file_or_other_folder_is_refused(folder, capsys):
    for name in ("no-such.json", "."):
        with pytest.raises(SystemExit) as end:
            main(["report", str(folder / name), "--out", str(folder / "page")])
        assert end.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_kinds_are_all_known():
    assert {"simulate", "measure", "compare", "validate", "sweep", "runtime"} <= set(KINDS)
    assert stamped("doctor", {"a": 1}, "perfmodel doctor")["kind"] == "doctor"


def places(value, path=()):
    """Every place in a document."""
    yield path
    if isinstance(value, dict | list):
        for key, deeper in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(deeper, (*path, key))


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.just([]), st.just({}), st.just({"a": 1}), st.just([0.0, -1.0]), st.just(0), st.just(-1),
)  # fmt: skip


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_stands_in_a_document_there_is_a_page_or_one_clear_error(results, folder, data):
    kind = data.draw(st.sampled_from([k for k in results if k != "sweep-folder"]))
    document = json.loads(results[kind].read_text())
    place = data.draw(st.sampled_from([p for p in places(document) if p]))
    within = document
    for key in place[:-1]:
        within = within[key]
    if data.draw(st.booleans()):
        within[place[-1]] = data.draw(ANYTHING)
    else:
        del within[place[-1]]
    path = folder / "fuzzed.json"
    path.write_text(json.dumps(document))
    with suppress(InputError):  # anything else is a traceback
        page_of(path)


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--virtual-time-budget=2000",
]
# Clicks the heading of a table as a reader would, then says on the page what came of it.
CLICK = """
<script>
const table = [...document.querySelectorAll("table.sortable")].find(
  (one) => one.tHead.textContent.includes("major"));
const button = [...table.querySelectorAll("thead button")].find(
  (one) => one.textContent === "major");
const said = () => [...table.tBodies[0].rows].map((row) => row.cells[3].textContent).join(" ");
const before = said();
button.focus();
const focused = document.activeElement === button;
button.click();
const up = said(), first = button.parentNode.getAttribute("aria-sort");
button.click();
const down = said(), second = button.parentNode.getAttribute("aria-sort");
const images = [...document.images].every((image) => image.complete && image.naturalWidth > 100);
document.body.insertAdjacentHTML("beforeend", "<output id=said></output>");
document.getElementById("said").textContent =
  JSON.stringify({before, focused, up, first, down, second, images});
</script>
"""


def dumped(path, profile):
    flags = [*FLAGS, f"--user-data-dir={profile}", "--dump-dom", path.as_uri()]
    found = subprocess.run([BROWSER, *flags], capture_output=True, text=True, timeout=120)
    return found.stdout


@pytest.mark.skipif(BROWSER is None, reason="no browser: install chromium (apt install chromium)")
def test_a_browser_shows_figures_and_sorts(results, tmp_path):
    text = page_of(results["compare"])
    page = tmp_path / "page.html"
    # The page itself forbids any script but its own, so the click needs a page without that.
    policy = re.search(r'<meta http-equiv="Content-Security-Policy".*?>', text)[0]
    page.write_text(text.replace(policy, "").replace("</body>", CLICK + "</body>"))
    shown = re.search(r'<output id="said">(.*?)</output>', dumped(page, tmp_path / "profile"))
    said = json.loads(unescape(shown[1]))
    assert said["before"] == "512 32 1"
    assert said["focused"]
    assert (said["up"], said["first"]) == ("1 32 512", "ascending")
    assert (said["down"], said["second"]) == ("512 32 1", "descending")
    assert said["images"]


@pytest.mark.skipif(BROWSER is None, reason="no browser: install chromium (apt install chromium)")
def test_a_browser_runs_our_script_and_no_other(results, tmp_path):
    text = page_of(results["compare"])
    page = tmp_path / "page.html"
    page.write_text(text.replace("</body>", "<script>document.title = 'run'</script></body>"))
    shown = dumped(page, tmp_path / "profile")
    assert "<title>run</title>" not in shown
    assert '<button type="button" title="sort">' in shown
