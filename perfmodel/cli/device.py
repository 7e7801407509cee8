"""``perfmodel device``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from perfmodel.cli.common import (
    OutFolder,
    print_json,
    progress_bar,
    result,
    split_entries,
    write_report,
)
from perfmodel.errors import InputError, Problem
from perfmodel.specs import catalog
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.service import Completion
from perfmodel.units import parse_bytes

_MOST_REQUESTS = 100_000_000


def device(
    *names: str,
    depths: str = "1,2,4,8,16,32,64,128,256",
    block: str = "4 KiB",
    segments: int = 1,
    reads: float = 1.0,
    completion: Completion = Completion.INTERRUPT,
    fill: float = 0.0,
    requests: int = 400_000,
    seed: int = 1,
    json: Annotated[bool, Parameter(negative=())] = False,
    report: OutFolder = None,
) -> None:
    """Latency and IOPS of block devices against queue depth, beside what was published.

    Parameters
    ----------
    names
        Names or paths of devices; all with a service model without one.
    depths
        Queue depths, comma-separated.
    block
        Size of each request.
    segments
        Stretches of contiguous memory in each request: 1 for a huge page, 512 for its pages apart.
    reads
        Share of requests that are reads.
    completion
        Whether the CPU waits for an interrupt or polls.
    fill
        Used share of the device; matters where garbage collection is modelled.
    requests
        At each queue depth.
    seed
        The same seed gives the same requests.
    json
        Print one JSON document.
    report
        Folder for devices.png, devices.svg and devices.json.
    """
    from perfmodel.models.devices import Workload, queue_depth_sweep
    from perfmodel.studies.published_devices import compare_published_devices

    wanted = _depths(depths)
    problems = []
    if not 1000 <= requests <= _MOST_REQUESTS:
        problems.append(Problem(f"must be from 1000 to {_MOST_REQUESTS}", key="--requests"))
    if not 0.0 <= fill <= 1.0:
        problems.append(Problem("must be from 0 to 1", key="--fill"))
    if problems:
        raise InputError(problems)
    try:
        workload = Workload(
            block_bytes=parse_bytes(block),
            segments=segments,
            read_share=reads,
            requests=requests,
            seed=seed,
        )
    except ValueError as error:
        keys = {"block_bytes": "--block", "read_share": "--reads"}
        key = next((keys[name] for name in keys if name in str(error)), "--block, --segments")
        raise InputError(Problem(str(error), key=key)) from None
    devices = _devices(names)
    sweeps = {}
    with progress_bar("simulating") as progress:
        for index, one in enumerate(devices):
            sweeps[one.name] = queue_depth_sweep(
                one, wanted, workload, completion=completion, fill=fill
            )
            progress(index + 1, len(devices))
        comparisons = compare_published_devices([one.name for one in devices], seed=seed)
    document = result(
        "device",
        {
            "devices": {name: [point.to_json() for point in row] for name, row in sweeps.items()},
            "published": {
                comparison.device: [value.to_json() for value in comparison.values]
                for comparison in comparisons
            },
            "left_out": list(catalog.load_published_devices().left_out),
        },
    )
    if json:
        print_json(document)
    else:
        from perfmodel.report.devices import device_lines

        sys.stdout.write("\n".join(device_lines(sweeps, comparisons)) + "\n")
    if report is not None:
        _write(report, document, sweeps, comparisons, named=bool(names))


def _depths(text: str) -> list[int]:
    found = split_entries(text)
    if not found or not all(entry.isdecimal() and 1 <= int(entry) <= 65536 for entry in found):
        message = f"{text[:40]!r} must be whole numbers from 1 to 65536 with commas between them"
        raise InputError(Problem(message, key="--depths"))
    return sorted({int(entry) for entry in found})


def _devices(names: tuple[str, ...]) -> list[SwapDevice]:
    """The devices of these names, or all that are described as servers of requests."""
    if not names:
        found = [catalog.load_device(name) for name in catalog.names("device")]
        return [one for one in found if one.service is not None]
    chosen = [catalog.load_device(name) for name in dict.fromkeys(names)]
    problems = [
        Problem(f"{one.name} does its I/O on the CPU that asks for it and has no queue", key="name")
        for one in chosen
        if one.service is None and one.kind.synchronous
    ]
    if problems:
        raise InputError(problems)
    return chosen


def _write(folder: Path, document: Any, sweeps: Any, comparisons: Any, *, named: bool) -> None:
    from perfmodel.plot.devices import device_figure

    shown = [name for name in sweeps if named] or [
        comparison.device for comparison in comparisons if comparison.of("check")
    ]
    figure = device_figure({name: sweeps[name] for name in shown}, comparisons)
    write_report(figure, document, folder, "devices")
