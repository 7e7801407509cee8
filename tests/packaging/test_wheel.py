"""The built wheel works for an ordinary user, in an empty environment, from an empty directory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = 65534


def as_ordinary_user() -> dict[str, object]:
    """Arguments that make subprocess give up root; nothing where we are not root."""
    if os.geteuid() != 0:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def usable_interpreter() -> str | None:
    """A Python 3.11 or newer that an ordinary user may run."""
    program = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
    for candidate in (sys._base_executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            done = subprocess.run(
                [candidate, "-c", program],
                cwd="/",
                env={"PATH": "/usr/bin:/bin"},
                capture_output=True,
                check=False,
                **as_ordinary_user(),
            )
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    return None


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing in it but the wheel and what it needs."""
    interpreter = usable_interpreter()
    if interpreter is None:
        pytest.skip("no Python 3.11 with venv that an ordinary user may run; install one")
    folder = tmp_path_factory.mktemp("wheel")
    for parent in (folder, *list(folder.parents)[:2]):
        parent.chmod(0o755)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run([interpreter, "-m", "venv", str(folder / "venv")], check=True)
    subprocess.run(
        [folder / "venv/bin/python", "-m", "pip", "install", "--quiet", str(wheel)], check=True
    )
    return folder / "venv" / "bin" / "perfmodel"


@pytest.fixture
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    for parent in (folder, *list(folder.parents)[:2]):
        parent.chmod(0o755)
    return folder


def run(command: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command, *arguments],
        cwd=folder,
        # A home that cannot be written, as services have it: nothing is kept, but all works.
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
        **as_ordinary_user(),
    )


def test_compare_works_from_an_empty_directory(installed: Path, empty: Path) -> None:
    done = run(installed, empty, "compare", "--json", "--entries", "pte,mthp-64k,pmd")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["fallback"]["ratio"] > 0
    assert list(document["arms"]) == ["pte", "mthp-64k", "pmd"]
    assert list(empty.iterdir()) == []


def test_everything_installed_is_found(installed: Path, empty: Path) -> None:
    done = run(installed, empty, "show")
    assert done.returncode == 0, done.stderr
    for kind, folder in (
        ("machine", ROOT / "perfmodel" / "machines"),
        ("profile", ROOT / "calibration" / "profiles"),
        ("device", ROOT / "perfmodel" / "devices"),
        ("scenario", ROOT / "workloads" / "scenarios"),
        ("study", ROOT / "workloads" / "studies"),
    ):
        stems = [path.stem for path in folder.glob("*.toml")]
        assert stems, kind
        assert all(stem in done.stdout for stem in stems)


def test_published_latencies_are_installed(installed: Path, empty: Path) -> None:
    done = run(installed, empty, "latency", "amd-zen2", "--published")
    assert done.returncode == 2
    assert "there is amd-zen3, amd-zen4, intel-skylake-sp" in done.stderr


def test_measuring_without_root_says_what_is_missing(installed: Path, empty: Path) -> None:
    done = run(installed, empty, "measure", "thp-roundtrip", "--entry", "pte")
    assert done.returncode == 3
    assert done.stdout == ""
    assert "running as an ordinary user (root); run as root" in done.stderr
    assert "Traceback" not in done.stderr


def test_compare_tells_what_it_could_not_measure(installed: Path, empty: Path) -> None:
    done = run(installed, empty, "compare", "--measured", "auto", "--json", "--entries", "pte,pmd")
    assert done.returncode == 0, done.stderr
    assert "run as root" in done.stderr
    assert "measured" not in json.loads(done.stdout)
