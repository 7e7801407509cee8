"""Runs the engine in a process of its own, so that numba can be configured otherwise there.

``python -m tests.property.legs`` prints one JSON document, and with the name of a part only that.
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


def stories() -> dict[str, Any]:
    """Counts of every installed scenario, in small, on every kind of device."""
    from perfmodel.errors import InputError
    from perfmodel.models.simulated import count_events
    from perfmodel.specs.catalog import load_machine, load_policy, load_scenario, names
    from perfmodel.specs.device import DeviceKind

    machine = load_machine("amd-zen3")
    found = {}
    for name in names("scenario"):
        scenario = _in_small(load_scenario(name), 2)
        for kind, entry in (
            (DeviceKind.ZRAM, "pmd"),
            (DeviceKind.DISK, "pmd-lazy"),
            (DeviceKind.SWAP_FILE, "pmd"),
            (DeviceKind.DISK, "pte-batched"),
        ):
            try:
                runs = count_events(scenario, machine, load_policy(entry), kind, range(1))
            except InputError as error:
                found[f"{name} {kind} {entry}"] = str(error)
                continue
            counts, mapping = runs.counts, runs.mapping
            found[f"{name} {kind} {entry}"] = [counts[0].tolist(), mapping[0].tolist()]
    return found


def _in_small(scenario: Any, ranges: int) -> Any:
    """A scenario over few ranges; if it has a limit, that is small, too, and it ends soon."""
    from perfmodel.constants import PMD_BYTES
    from perfmodel.specs.scenario import SwapSpace

    if not scenario.is_limited:
        region = attrs.evolve(scenario.region, size_bytes=ranges * PMD_BYTES)
        return attrs.evolve(scenario, region=region)
    fill, *rounds = scenario.steps
    return attrs.evolve(
        scenario,
        region=attrs.evolve(scenario.region, size_bytes=5 * PMD_BYTES),
        settings=attrs.evolve(scenario.settings, memory_limit_bytes=4 * PMD_BYTES),
        swap=SwapSpace(9),
        steps=(fill, *(attrs.evolve(step, accesses=400) for step in rounds[:2])),
    )


def driven_by_hand() -> dict[str, Any]:
    """One scenario step by step, and what the memory looks like in the end."""
    from perfmodel.models.memory import SimulatedMemory
    from perfmodel.specs.catalog import load_machine, load_policy, load_scenario
    from perfmodel.specs.device import DeviceKind

    scenario = load_scenario("split-by-willneed")
    memory = SimulatedMemory(
        scenario, load_policy("pmd"), DeviceKind.DISK, load_machine("amd-zen3")
    )
    steps = [attrs.asdict(memory.step(step)) for step in scenario.steps]
    return json.loads(
        json.dumps({"steps": steps, "mapping": memory.mapping(), "end": memory.snapshot()})
    )


def with_little_memory() -> dict[str, list[int]]:
    """Scenarios with pools that are too small for some of them.

    For each: whether the run said so, and whether its counts are those with large pools; both -1
    where it left its arrays, which shows only while bounds are checked.
    """
    from perfmodel import abi
    from perfmodel.constants import N_MAPPING
    from perfmodel.kernels.layout import N_COUNTS, SPARE_FOLIOS, SPARE_ROWS
    from perfmodel.models.memory import fresh_memory
    from perfmodel.models.simulated import Ending, run_steps
    from perfmodel.specs.catalog import load_machine, load_policy, load_scenario, names
    from perfmodel.specs.device import DeviceKind
    from perfmodel.specs.scenario import SwapSpace

    machine = load_machine("amd-zen3")

    def run(record: Any, steps: Any, sizes: Any) -> tuple[bool, Any, Any]:
        counts = np.zeros((len(steps), N_COUNTS), dtype=np.int64)
        mapping = np.zeros(N_MAPPING, dtype=np.int64)
        elapsed = np.zeros(len(steps), dtype=np.int64)
        memory = fresh_memory(record, sizes, machine.translation)
        ending = run_steps(memory, steps, counts, elapsed, mapping)
        return ending is Ending.COMPLETE, counts, mapping

    found = {}
    for name in names("scenario"):
        scenario = load_scenario(name)
        if any(step.trace for step in scenario.steps):
            # A recorded trace goes over so many pages as it does.
            continue
        scenario = attrs.evolve(_in_small(scenario, 8), swap=SwapSpace())
        steps = scenario.steps
        for kind, entry in ((DeviceKind.ZRAM, "pmd"), (DeviceKind.DISK, "mthp-64k")):
            policy = load_policy(entry)
            record = abi.pack_parameters(scenario, policy, kind, range(1))[0]
            sizes = abi.state_sizes(scenario, scenario.processes, 1 << 40)
            whole = run(record, steps, sizes)
            assert whole[0]
            for folios, rows in ((0, 0), (4, 0), (1000, 2), (1000, 12), (5000, 12), (5000, 40)):
                sizes[5:] = SPARE_FOLIOS + folios, SPARE_ROWS + rows
                try:
                    small = run(record, steps, sizes)
                except IndexError:
                    outcome = [-1, -1]
                else:
                    same = all((a == b).all() for a, b in zip(small[1:], whole[1:], strict=True))
                    outcome = [int(not small[0]), int(same)]
                found[f"{name} {kind} {entry} {folios} {rows}"] = outcome
    return found


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
    return [*found, *_accesses(words), int(reference_loop(9)), *_chase(), *_programs()]


def _accesses(words: Any) -> list[int]:
    """Pages of each workload, and what the live loops do to them."""
    from perfmodel.kernels.recent import drop_recent
    from perfmodel.kernels.touch import access_pages, access_pages_to_write, replay_accesses
    from perfmodel.specs.step import Step, StepAction, Workload
    from perfmodel.traces.generator import trace_of
    from perfmodel.traces.statistics import trace_statistics

    found: list[int] = []
    for workload in Workload:
        if workload is Workload.TRACE:
            continue
        step = Step("a", StepAction.ACCESS, workload=workload, accesses=700, seed=5)
        trace = trace_of(step, 512)
        pages, accesses = trace.all_pages(), trace.all_words()
        access_pages_to_write(words, pages[:300])
        found += [int(access_pages(words, pages)), int(words.sum()), *pages[-50:].tolist()]
        found += [int(replay_accesses(words, accesses)), int(words.sum()), *accesses[-50:].tolist()]
        kept = np.empty(700, dtype=np.int64)
        count = drop_recent(accesses, np.full(16, -1, dtype=np.int64), kept)
        found += kept[: int(count)].tolist()
        found += trace_statistics(trace).distances.tolist()
    return [*found, *_many_ranks()]


def _many_ranks() -> list[int]:
    """Pages of more ranks than have thresholds of their own."""
    from perfmodel.specs.step import Workload
    from perfmodel.traces.generator import AccessTrace

    return AccessTrace(Workload.ZIPF, 1 << 25, 50, seed=3).all_pages().tolist()


def _chase() -> list[int]:
    """Where a pointer chase stands after some rounds and parts of rounds."""
    from perfmodel.kernels.chase import chase, link

    words = np.zeros(24 * 512, dtype=np.uint64)
    places = np.arange(24, dtype=np.uint64) * np.uint64(513) % np.uint64(words.size)
    link(words, places, np.random.default_rng(1).permutation(24).astype(np.uint64))
    return [int(chase(words, places[3], blocks)) for blocks in (0, 1, 2, 3, 300)]


def _programs() -> list[int]:
    """What the probes of runtimes and of shootdowns run leaves behind, and calls that failed."""
    from perfmodel.kernels.shootdown import drop_and_touch, flip_protection, work_until
    from perfmodel.kernels.workloads import read_lines, update_lines

    words, progress = np.arange(64 * 8, dtype=np.int64), np.zeros(1, dtype=np.int64)
    lines = np.arange(0, 64, 3, dtype=np.int64)[::-1].copy()
    update_lines(words, lines)
    found = [int(read_lines(words, lines)), int(words.sum())]
    found.append(int(work_until(words, np.zeros(1, dtype=np.int64), progress, 700)))
    found += [int(progress[0]), int(flip_protection(1, 4096, 2))]
    # No mapping begins in the middle of a page: the kernel refuses, and the words are written.
    return [*found, int(drop_and_touch(words, 1, 3)), int(words[0])]


def out_of_range_is_an_error() -> dict[str, bool]:
    """Whether reads past an array's end are caught, in a kernel and deep in the engine."""
    from perfmodel import abi
    from perfmodel.kernels.engine import run_step
    from perfmodel.kernels.touch import touch_pages
    from perfmodel.models.memory import fresh_memory
    from perfmodel.specs.catalog import load_machine, load_policy, load_scenario
    from perfmodel.specs.device import DeviceKind

    scenario = load_scenario("thp-roundtrip")
    parameters = abi.pack_parameters(scenario, load_policy("pte"), DeviceKind.ZRAM, range(1, 2))
    sizes = abi.state_sizes(scenario, 1, 1 << 30)
    memory = fresh_memory(parameters[0], sizes, load_machine("amd-zen3").translation)
    caught = {"kernel": False, "engine": False}
    try:
        touch_pages(np.zeros(512, dtype=np.int64), 1, np.array([0, 256]))
    except IndexError:
        caught["kernel"] = True
    try:
        run_step(memory._replace(folios=memory.folios[:3]), abi.pack_steps(scenario.steps)[0])
    except IndexError:
        caught["engine"] = True
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


def translation() -> list[object]:
    """What the translation kernels and the one-pass what-ifs count."""
    from perfmodel.models.two_level import two_level_hits
    from tests.unit.test_translation import example

    # Runs of one page, and pages that come again.
    pages = np.repeat(np.arange(700, dtype=np.uint64) ** np.uint64(2) % np.uint64(97), 11)
    hits = two_level_hits(pages * np.uint64(4096), level1=(3, 2), level2=(5, 16))
    return [example(), [hits.level1, hits.level2, hits.walks]]


def frames() -> list[list[int]]:
    """What the page allocator makes of aged memory, with and without compaction."""
    from perfmodel.kernels import buddy, compaction
    from perfmodel.models.fragmentation import aged_frames
    from perfmodel.specs.memory import PhysicalMemory

    memory = PhysicalMemory(32 << 20, used_share=0.3, unmovable_share=0.05, age_rounds=9)
    f = aged_frames(memory, seed=3, owners=1 << 13)
    owners = np.arange(f.frame_of.size - (1 << 13), f.frame_of.size, dtype=np.int64)
    large, small = owners[:12], owners[12:]
    taken = [owner for owner in small if buddy.allocate(f, 0, owner, 1) >= 0]
    # Scattered free pages: compaction has to make the large blocks.
    for owner in taken[::2]:
        buddy.release(f, owner)
    compaction.compact(f, 9, large[0], 1, 1)
    for owner in large[1:]:
        compaction.allocate_trying(f, 9, owner, 1, 2)
    buddy.refill(f, 0, np.array(taken[1:9:2]), 1, 2)
    compaction.kswapd_sleeps(f)
    return [f.state.tolist(), f.kind.tolist(), f.link.tolist(), f.block.tolist()]


def compressed() -> list[Any]:
    """A pool and a zswap after the same random life."""
    from perfmodel.models.zsmalloc import Zsmalloc
    from perfmodel.models.zswap import Zswap

    generator = np.random.Generator(np.random.Philox(3))
    pool, zswap = Zsmalloc(200), Zswap(200, 400 * 4096)
    found: list[Any] = []
    for _ in range(60):
        slots = generator.permutation(200)[:30].tolist()
        sizes = generator.integers(0, 4097, 30).tolist()
        pool.store(slots, sizes)
        pool.free(slots[:7])
        first = int(generator.integers(0, 190))
        written = zswap.store(first, [1 + size for size in sizes[:8]]).written_back
        zswap.load(slots[0])
        zswap.free(slots[1], min(3, 200 - slots[1]))
        found.append([pool.pages, pool.compact(), zswap.pages, written, zswap.counters()])
    return json.loads(json.dumps(found))


def devices() -> list[object]:
    """Completions of a drive with everything, and of plain exponential servers."""
    from perfmodel.kernels.device import submit_each
    from perfmodel.models.device_packing import plain_device
    from perfmodel.models.devices import Workload, pack, run_closed, run_open
    from perfmodel.specs.catalog import load_device

    load = Workload(requests=300, block_bytes=40_000, read_share=0.5, think_ns=100.0)
    runs = [
        run_closed(pack(load_device("kioxia-cd7")), 16, load),
        run_closed(pack(load_device("optane-p4800x")), 40, load),
        run_open(pack(load_device("intel-p3700")), 40_000.0, load),
        run_open(plain_device(9e3, servers=3, exponential=True), 2e5, load),
    ]
    found: list[object] = [[row.tolist() for row in rows] for rows in runs]
    requests = np.array([[i // 2, i % 2, i % 3 // 2, 4096, 1] for i in range(40)], dtype=np.int64)
    ends = np.zeros(40, dtype=np.int64)
    draws = np.arange(40, dtype=np.int64) * 107374182
    submit_each(pack(load_device("kioxia-cm7")), requests, draws, ends)
    return [*found, ends.tolist()]


def behind_and_beside() -> list[Any]:
    """Several swap devices at a time, and zswap whose pool fills up, by the engine's own clock."""
    from perfmodel.constants import PMD_BYTES
    from perfmodel.models.engine_prices import engine_prices, own_prices
    from perfmodel.models.simulated import count_events
    from perfmodel.specs import scenario as specs
    from perfmodel.specs.catalog import load_devices, load_machine, load_policy
    from perfmodel.specs.step import Step, StepAction

    spaces = (specs.DeviceSpace(1), specs.DeviceSpace(9, 2, 500))
    pool = specs.ZswapLimits(size_bytes=5 * 300 * 4096)
    told = specs.Scenario(
        "legs",
        "more than the first place has room for",
        specs.Region(3 * PMD_BYTES, specs.PageContent.HALF_RANDOM),
        tuple(
            Step(f"{number} {action}", action, **keys)
            for number, (action, keys) in enumerate(
                (
                    (StepAction.FILL, {}),
                    (StepAction.PAGEOUT, {}),
                    (StepAction.TOUCH, {"pages_per_2mib": 50, "threads": 2}),
                    (StepAction.PAGEOUT, {}),
                    (StepAction.TOUCH, {}),
                )
            )
        ),
    )
    cases = [
        (attrs.evolve(told, swap=specs.SwapSpace(devices=spaces)), "zram-lz4:5,optane-p5800x:5"),
        (
            attrs.evolve(told, settings=specs.Settings(zswap=specs.Zswap.ON, zswap_pool=pool)),
            "zswap-lz4",
        ),
    ]
    machine, found = load_machine("amd-zen3"), []
    for scenario, names_of_devices in cases:
        for entry in ("pte", "pmd"):
            device, content = load_devices(names_of_devices), scenario.region.content
            runs = count_events(
                scenario, machine, load_policy(entry), device, range(2, 3),
                engine_prices(machine, device, 0, 2, content), device,
                device_prices=own_prices(machine, device, 0, 2, content),
            )  # fmt: skip
            found.append([runs.counts.tolist(), runs.elapsed.tolist(), runs.mapping.tolist()])
    return found


PARTS = {
    "results": results,
    "stories": stories,
    "by_hand": driven_by_hand,
    "live": live_kernels,
    "translation": translation,
    "frames": frames,
    "compressed": compressed,
    "devices": devices,
    "behind_and_beside": behind_and_beside,
    "signatures": signatures,  # after all that compiles
    "out_of_range": out_of_range_is_an_error,
    "little_memory": with_little_memory,
}
ALWAYS = (
    "results",
    "stories",
    "by_hand",
    "live",
    "translation",
    "frames",
    "compressed",
    "devices",
    "behind_and_beside",
    "signatures",
)
_SECONDS = 1800  # a run that never ends fails, too


def run_leg(*parts: str, cache: Path | None = None, **environment: str) -> dict[str, Any]:
    """Run this module in another process; `cache` is a folder for its compiled code."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    if cache is not None:
        environment["XDG_CACHE_HOME"] = str(cache)
    process = subprocess.run(
        [sys.executable, "-m", "tests.property.legs", *parts],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    assert process.returncode == 0, process.stderr
    document: dict[str, Any] = json.loads(process.stdout)
    return document


def main() -> None:
    print(json.dumps({part: PARTS[part]() for part in sys.argv[1:] or ALWAYS}))


if __name__ == "__main__":
    main()
