"""The documentation builds without a warning, and the README says what the site says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    command += ["-d", str(folder / "doctrees"), str(ROOT / "docs"), str(folder / "html")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_site_has_every_page(site):
    for page in (ROOT / "docs").rglob("*.md"):
        made = site / page.relative_to(ROOT / "docs").with_suffix(".html")
        assert made.is_file(), page


def test_reference_has_commands_and_python(site):
    commands = (site / "reference" / "commands.html").read_text()
    for name in ("compare", "report", "trace-import"):
        assert f'id="perfmodel-{name}"' in commands
    python = (site / "reference" / "python.html").read_text()
    for name in ("perfmodel.simulate", "perfmodel.calibrate.judge.judge", "perfmodel.InputError"):
        assert f'id="{name}"' in python


def test_site_needs_no_network(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert 'src="http' not in text, page
        assert '<link rel="stylesheet" type="text/css" href="http' not in text, page


def test_readme_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / "README.md").read_text()):
        if "://" not in link:
            assert (ROOT / link).exists(), link


def test_readme_and_site_show_the_same_table():
    def table(name):
        text = (ROOT / name).read_text()
        start = text.index("$ perfmodel compare --entries pte,mthp-64k,pmd")
        return text[start : text.index("```", start)]

    assert table("README.md") == table("docs/questions/fallback.md")


def test_picture_is_small():
    size = (ROOT / "docs" / "figures" / "fallback.svg").stat().st_size
    assert 1000 < size <= 150_000
