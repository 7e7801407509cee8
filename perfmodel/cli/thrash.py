"""``perfmodel thrash``."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from perfmodel.cli.common import (
    OutFolder,
    pick_machine,
    print_json,
    progress_bar,
    result,
    say_if_compiling,
    split_entries,
    write_report,
)
from perfmodel.errors import InputError, Problem
from perfmodel.units import parse_bytes


def thrash(
    machine: str | None = None,
    *,
    device: str = "zram-lz4",
    entries: str = "pte,mthp-64k",
    pages: str = "1,2,4,8,16,32,64,96,128,192,256,384,512",
    sizes: str = "1.125,1.25,1.5,2,3,4,6,8",
    limit: str = "32 MiB",
    rounds: int = 3,
    seed: int = 1,
    json: Annotated[bool, Parameter(negative=())] = False,
    report: OutFolder = None,
) -> None:
    """Where a PMD entry starts to lose: used share of every 2 MiB against the memory limit.

    Parameters
    ----------
    machine
        Name or path of a machine or profile; the best for this processor without it.
    device
        Name or path of the swap device.
    entries
        What pmd is compared with, comma-separated.
    pages
        Pages that the program uses of every 2 MiB, comma-separated.
    sizes
        Sizes of its region over the memory limit, comma-separated.
    limit
        The memory limit.
    rounds
        How often it goes through its region; the last time counts.
    seed
        The same seed gives the same result.
    json
        Print one JSON document.
    report
        Folder for thrash.png, thrash.svg and thrash.json.
    """
    counts, ratios = _whole_numbers(pages), _numbers(sizes)
    try:
        limit_bytes = parse_bytes(limit)
    except ValueError as error:
        raise InputError(Problem(str(error), key="--limit")) from None
    chosen = pick_machine(machine)
    say_if_compiling()
    from perfmodel.studies.thrash import study_thrash

    with progress_bar("simulating") as progress:
        study = study_thrash(
            chosen,
            device=device,
            rivals=split_entries(entries),
            pages=counts,
            sizes=ratios,
            limit_bytes=limit_bytes,
            rounds=rounds,
            seed=seed,
            progress=progress,
        )
    document = result("thrash", study.to_json())
    if json:
        print_json(document)
    else:
        from perfmodel.report.thrash import thrash_lines

        sys.stdout.write("\n".join(thrash_lines(study)) + "\n")
    if report is not None:
        from perfmodel.plot.thrash import thrash_figure

        write_report(thrash_figure(study), document, report, "thrash")


def _whole_numbers(text: str) -> list[int]:
    found = split_entries(text)
    if not found or not all(entry.isdecimal() and len(entry) < 5 for entry in found):
        message = f"{text[:40]!r} must be whole numbers with commas between them"
        raise InputError(Problem(message, key="--pages"))
    return [int(entry) for entry in found]


def _numbers(text: str) -> list[float]:
    try:
        return [float(entry) for entry in split_entries(text)]
    except ValueError:
        message = f"{text[:40]!r} must be numbers with commas between them"
        raise InputError(Problem(message, key="--sizes")) from None
