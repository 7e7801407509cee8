"""``perfmodel simulate``."""

from __future__ import annotations

import gzip
from json import dumps
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perfmodel.cli.common import OutFile, parse_parameters, pick_machine, say, say_if_compiling
from perfmodel.cli.steps import print_result
from perfmodel.errors import InputError, Problem
from perfmodel.models import simulated
from perfmodel.models.timeline import Timeline, record_timeline
from perfmodel.report.timeline import to_trace_events
from perfmodel.specs.catalog import load_scenario
from perfmodel.specs.scenario import Scenario


def simulate(
    scenario: str,
    *,
    machine: str | None = None,
    device: str = "zram-lz4",
    entry: str = "pte",
    parameter: list[str] | None = None,
    order9_failure: float = 0.0,
    seed: int = 1,
    draws: int = simulated.DEFAULT_DRAWS,
    json: Annotated[bool, Parameter(negative=())] = False,
    timeline: OutFile = None,
    timeline_range: int | None = None,
) -> None:
    """Run a scenario in the model.

    Parameters
    ----------
    scenario
        Name or path of a scenario.
    machine
        Name or path of a machine or profile; the best for this processor without it.
    device
        Name or path of a swap device, or several with priorities: zram-lz4:100,optane-p5800x:-2.
    entry
        pte, mthp-16k to mthp-1024k or pmd; pte-batched or pmd-lazy.
    parameter
        A parameter of the scenario as name=value; may be repeated.
    order9_failure
        Probability that no order-9 page can be had behind a PMD swap entry.
    seed
        The same seed gives the same result.
    draws
        Draws behind the intervals.
    json
        Print one JSON document.
    timeline
        File for what happens when in the first run, as ui.perfetto.dev opens it; .json or .json.gz.
    timeline_range
        Only what happens for the sake of this 2 MiB range, the first one being 0.
    """
    _check_timeline(timeline, timeline_range)
    chosen, values = pick_machine(machine), parse_parameters(parameter)
    loaded = load_scenario(scenario, **values)
    say_if_compiling()
    result = simulated.simulate(
        loaded,
        chosen,
        device=device,
        entry=entry,
        seed=seed,
        draws=draws,
        order9_failure=order9_failure,
    )
    if timeline is not None:
        _write_timeline(
            record_timeline(
                loaded,
                chosen,
                device=device,
                entry=entry,
                seed=seed,
                order9_failure=order9_failure,
                only_range=timeline_range,
            ),
            loaded,
            timeline,
        )
    print_result(result, json=json)


def _check_timeline(file: Path | None, only_range: int | None) -> None:
    if file is None:
        if only_range is not None:
            raise InputError(Problem("needs --timeline FILE", key="--timeline-range"))
        return
    if not file.name.endswith((".json", ".json.gz")):
        message = f"{file.name[:80]!r} must end in .json or .json.gz"
        raise InputError(Problem(message, key="--timeline"))
    if not file.parent.is_dir():
        raise InputError(Problem("is no folder", file=str(file.parent), key="--timeline"))


def _write_timeline(recorded: Timeline, scenario: Scenario, file: Path) -> None:
    text = dumps(to_trace_events(recorded, scenario.region.count), separators=(",", ":"))
    data = text.encode()
    try:
        file.write_bytes(gzip.compress(data, mtime=0) if file.suffix == ".gz" else data)
    except OSError as error:
        raise InputError(Problem(f"cannot be written: {error.strerror}", file=str(file))) from None
    say(f"timeline with {len(recorded.rows)} entries written to {file}; ui.perfetto.dev opens it")
    if not recorded.complete:
        say(
            f"timeline: only the first {len(recorded.rows)} entries fit; choose one 2 MiB range "
            "with --timeline-range, or a smaller region"
        )
