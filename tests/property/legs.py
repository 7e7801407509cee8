"""Runs the engine in a process of its own, so that numba can be configured otherwise there.

``python -m tests.property.legs`` prints one JSON document.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np

ROOT = Path(__file__).parents[2]
# (entry, content, probability that no order-9 page can be had)
CASES = (
    ("pte", "half-random", 0.0),
    ("mthp-64k", "half-random", 0.0),
    ("pmd", "half-random", 0.0),
    ("pmd", "half-random", 0.5),
    ("pmd", "zero", 1.0),
)


def results() -> list[Any]:
    """Every case as `--json` has it, without the date."""
    from perfmodel.constants import PMD_BYTES
    from perfmodel.models.simulated import simulate
    from perfmodel.specs.scenario import PageContent, Region, Scenario
    from perfmodel.specs.step import Step, StepAction

    scenario = Scenario(
        "legs",
        "two ranges through every state",
        Region(2 * PMD_BYTES, PageContent.HALF_RANDOM),
        (
            Step("fill", StepAction.FILL),
            Step("out", StepAction.PAGEOUT),
            Step("some", StepAction.TOUCH, 5),
            Step("all", StepAction.TOUCH),
            Step("out-2", StepAction.PAGEOUT),
            Step("some-2", StepAction.TOUCH, 3),
        ),
    )
    documents = []
    for entry, content, order9_failure in CASES:
        region = attrs.evolve(scenario.region, content=PageContent(content))
        document = simulate(
            attrs.evolve(scenario, region=region),
            "intel-sapphire-rapids",
            entry=entry,
            seed=11,
            draws=40,
            order9_failure=order9_failure,
        ).to_json()
        del document["provenance"]["created"]
        documents.append(json.loads(json.dumps(document)))
    return documents


def live_kernels() -> list[int]:
    """What the kernels of the live runner return for one range of memory."""
    from perfmodel.kernels.touch import reference_loop, touch_pages, write_pages, write_regions

    words = np.zeros(512 * 512, dtype=np.int64)
    write_regions(words, np.arange(512, dtype=np.int64))
    found = []
    for count in (1, 8, 512):
        pages = np.arange(count, dtype=np.int64) * 512 // count
        found.append(int(touch_pages(words, 1, pages)))
        write_pages(words, 1, pages)
        found.append(int(words.sum()))
    return [*found, int(reference_loop(9))]


def out_of_range_is_an_error() -> dict[str, bool]:
    """Whether reads past an array's end are caught, in a kernel and below the parallel driver."""
    from perfmodel import abi
    from perfmodel.kernels.engine import run_all
    from perfmodel.kernels.touch import touch_pages
    from perfmodel.specs.catalog import load_machine, load_policy, load_scenario

    scenario = load_scenario("thp-roundtrip")
    parameters = abi.pack_parameters(
        scenario, load_machine("amd-zen3"), load_policy("pte"), range(1, 2)
    )
    caught = {"kernel": False, "driver": False}
    try:
        touch_pages(np.zeros(512, dtype=np.int64), 1, np.array([0, 256]))
    except IndexError:
        caught["kernel"] = True
    try:
        # One column, where the machine's STLB needs 2048.
        run_all(parameters, abi.pack_steps(scenario), 1, 1)
    except (IndexError, SystemError):  # numba hands on errors of parallel code only indirectly
        caught["driver"] = True
    return caught


def signatures() -> dict[str, int]:
    """Compiled specialisations of every kernel; no kernels where the JIT is off."""
    import perfmodel.kernels

    counts = {}
    for info in pkgutil.iter_modules(perfmodel.kernels.__path__, "perfmodel.kernels."):
        for name, value in vars(importlib.import_module(info.name)).items():
            if hasattr(value, "signatures"):
                counts[f"{value.py_func.__module__}.{name}"] = len(value.signatures)
    return counts


def run_leg(cache: Path | None = None, bounds: bool = False, **environment: str) -> dict[str, Any]:
    """Run this module in another process; `cache` is a folder for its compiled code."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    if cache is not None:
        environment["XDG_CACHE_HOME"] = str(cache)
    process = subprocess.run(
        [sys.executable, "-m", "tests.property.legs", *(["bounds"] if bounds else [])],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    document: dict[str, Any] = json.loads(process.stdout)
    return document


def main() -> None:
    document = {"results": results(), "live": live_kernels(), "signatures": signatures()}
    if "bounds" in sys.argv[1:]:
        document["out_of_range"] = out_of_range_is_an_error()
    print(json.dumps(document))


if __name__ == "__main__":
    main()
