"""The probes of a plan that are no scenarios: what each needs, and its evidence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from perfmodel.errors import CapabilityError, InputError
from perfmodel.measure import aio
from perfmodel.measure.capabilities import capabilities, missing_for
from perfmodel.measure.chase import measure_chase
from perfmodel.measure.requests_probe import DEVICES, measure_requests
from perfmodel.measure.shootdown import measure_shootdown
from perfmodel.measure.system import System
from perfmodel.measure.zram_probe import measure_codec
from perfmodel.results.chase import load_chase, save_chase
from perfmodel.results.requests import load_requests, save_requests
from perfmodel.results.shootdown import load_shootdowns, save_shootdowns
from perfmodel.results.zram import load_zram, save_zram
from perfmodel.specs.catalog import load_device
from perfmodel.specs.plan import PlanProgram, Program

_LOADERS: dict[Program, Callable[[Path], object]] = {
    Program.CHASE: load_chase,
    Program.SHOOTDOWN: load_shootdowns,
    Program.CODEC: load_zram,
    Program.REQUESTS: load_requests,
}
_ALGORITHM = "lz4"


def missing(program: Program, system: System | None = None) -> list[str]:
    """What keeps a program from running here, a line each."""
    if program is Program.SHOOTDOWN and len(os.sched_getaffinity(0)) < 2:
        return ["a shootdown takes two CPUs, and this process may use one"]
    if program is Program.CODEC:
        return missing_for("pte", capabilities(system), load_device(f"zram-{_ALGORITHM}").kind)
    if program is Program.REQUESTS:
        if not aio.is_known():
            return ["asynchronous requests are known here on x86-64 and arm64 only"]
        found = capabilities(system)
        lacking = [missing_for("pte", found, load_device(name).kind) for name in DEVICES]
        # One device is enough; what the others lack stands in the evidence.
        return min(lacking, key=len)
    return []


def record(
    program: PlanProgram, file: Path, *, report: Callable[[str], None] = lambda _: None
) -> None:
    """Run a program for about as long as the plan says and save what it finds.

    Raises
    ------
    CapabilityError
        If it comes out that this machine cannot do it.
    """
    seconds = float(program.seconds)
    if program.program is Program.CHASE:
        save_chase(measure_chase(seconds=seconds), file)
    elif program.program is Program.SHOOTDOWN:
        save_shootdowns(measure_shootdown(seconds=seconds), file)
    elif program.program is Program.CODEC:
        save_zram(measure_codec(_ALGORITHM, seconds=seconds, report=report), file)
    else:
        save_requests(measure_requests(seconds=seconds, report=report), file)


def is_recorded(program: Program, file: Path) -> bool:
    """Whether a file holds a program's evidence, whole."""
    try:
        _LOADERS[program](file)
    except (InputError, CapabilityError):
        return False
    return True
