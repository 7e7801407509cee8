"""Prints one result as text."""

from __future__ import annotations

import sys

from perfmodel.cli.common import print_json
from perfmodel.cli.common import result as stamp
from perfmodel.report.notes import step_notes
from perfmodel.results.result import Result

_KINDS = {"simulated": "simulate", "measured": "measure"}


def print_result(result: Result, *, json: bool) -> None:
    """One result as a JSON document, or per step the time, where it went, and what was counted."""
    if json:
        print_json(stamp(_KINDS[result.provenance["world"]], result.to_json()))
        return
    world = result.provenance["world"]
    lines = [f"{result.scenario}, {result.entry}, {result.device}, {result.machine} ({world})"]
    scale = result.regions * 1000
    for step in result.steps:
        low, high = (bound / scale for bound in step.interval_ns)
        lines.append("")
        lines.append(
            f"{step.name}: {step.elapsed_ns / scale:.1f} us per 2 MiB ({low:.1f} to {high:.1f})"
        )
        parts = {part: time for part, time in step.breakdown_ns.items() if time >= 0.05 * scale}
        for part, time in sorted(parts.items(), key=lambda item: -item[1]):
            share = time / step.elapsed_ns
            lines.append(f"    {part.replace('_', ' '):18s} {time / scale:10.1f} us  {share:4.0%}")
        if busy := sum(step.kswapd_ns.values()):
            lines.append(f"    {'beside it, kswapd':18s} {busy / scale:10.1f} us")
        moved = [f"{name} +{count}" for name, count in step.counters.items() if count]
        lines.append(f"    {', '.join(moved) or 'no counter moved'}")
        lines += [f"    {line}" for line in step_notes(step)]
    lines.append("")
    lines.append("mapping at the end: " + _mapping(result))
    sys.stdout.write("\n".join(lines) + "\n")


def _mapping(result: Result) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {'unknown' if value is None else value}"
        for name, value in result.mapping.items()
    )
