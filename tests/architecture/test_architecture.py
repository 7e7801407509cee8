"""The floor plan, the types and the style are tests, not good intentions."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "perfmodel"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
    ],
    ids=["ruff-check", "ruff-format", "mypy-strict"],
)
def test_tool_finds_nothing(command: tuple[str, ...]) -> None:
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_only_go_down() -> None:
    program = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kept" in done.stdout


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    return modules


def test_only_the_decorator_module_imports_numba_in_kernels() -> None:
    users = [
        path.name
        for path in (PACKAGE / "kernels").glob("*.py")
        if any(module.split(".")[0] == "numba" for module in imported_modules(path))
    ]
    assert users == ["_jit.py"]


def test_oracles_import_nothing_from_the_package() -> None:
    oracles = list((ROOT / "tests" / "oracles").rglob("*.py"))
    assert len(oracles) > 3
    for path in oracles:
        packages = {module.split(".")[0] for module in imported_modules(path)}
        assert "perfmodel" not in packages, path


def test_nothing_unpickles_or_evaluates() -> None:
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        assert not imported_modules(path) & {"pickle", "dill", "marshal", "shelve", "joblib"}, path
        called = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not called & {"eval", "exec"}, path


def test_files_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in [*SOURCES, *(ROOT / "tests").rglob("*.py")]
        if (count := len(path.read_text().splitlines())) > 500
    }
    assert not long


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from perfmodel.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code in (0, None)\n"
        "heavy = {'numba', 'numpy', 'scipy', 'pandas', 'xarray', 'seaborn', 'matplotlib', 'pint'}\n"
        "loaded = heavy & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "compare" in done.stdout


def public_definitions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes of a module, and the classes' public methods."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body)


def test_every_public_function_says_what_it_does() -> None:
    silent = [
        f"{path.name}:{node.name}"
        for path in SOURCES
        for node in public_definitions(ast.parse(path.read_text()).body)
        if ast.get_docstring(node) is None
    ]
    assert not silent


def test_version_is_the_same_everywhere() -> None:
    from perfmodel import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    assert f"version: {__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
