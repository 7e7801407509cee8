"""Why a measured run is not to be trusted blindly, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perfmodel.results.result import Result

_QUANTILES = (0.25, 0.75)
# As pyperf holds it: a tenth is much.
_MUCH = 0.10
_FEW_REPETITIONS = 10
_MOST_NAMED = 3


def complaints(results: Sequence[Result]) -> list[str]:
    """What was unstable in a run, and what may be the reason, a line each."""
    return [
        *_stolen(results),
        *_references(results),
        *_sessions(results),
        *_few(results),
        *_counters(results),
        *_wide(results),
    ]


def _share(kept: Sequence[bool]) -> float:
    return sum(kept) / len(kept) if kept else 0.0


def _stolen(results: Sequence[Result]) -> list[str]:
    ticks = [tick for r in results for tick in r.provenance.get("steal_ticks", ())]
    share = _share([tick > 0 for tick in ticks])
    if share < _MUCH:
        return []
    return [
        f"unstable: the hypervisor gave CPU time to others in {share:.0%} of the repetitions "
        "(steal in /proc/stat); measure when the host is quieter"
    ]


def _references(results: Sequence[Result]) -> list[str]:
    lines = []
    for name in dict.fromkeys(name for r in results for name in r.reference_ns):
        low, high = np.quantile([t for r in results for t in r.reference(name)], _QUANTILES)
        if high / low - 1 > _MUCH:
            lines.append(
                f"unstable: the same {name} work took {high / low - 1:.0%} longer in a quarter of "
                "the repetitions than in another: clock or neighbours; divide by it, or measure "
                "again"
            )
    return lines


def _sessions(results: Sequence[Result]) -> list[str]:
    """Whether sessions of one run differ, by the reference loops beside their repetitions."""
    by_session: dict[int, list[float]] = {}
    for result in results:
        times = iter(result.reference("kernel"))
        for number, length in enumerate(result.provenance.get("session_repetitions", ())):
            kept = by_session.setdefault(number, [])
            kept.extend(time for time, _ in zip(times, range(length), strict=False))
    medians = [float(np.median(kept)) for kept in by_session.values() if kept]
    if len(medians) < 2 or max(medians) / min(medians) - 1 < _MUCH:
        return []
    return [
        f"unstable: the machine was {max(medians) / min(medians) - 1:.0%} slower in one part of "
        "the run than in another; more turns average that"
    ]


def _few(results: Sequence[Result]) -> list[str]:
    counts = [len(r.steps[0].repetitions_ns) for r in results if r.steps]
    if not counts or min(counts) >= _FEW_REPETITIONS:
        return []
    return [f"few: an arm has {min(counts)} repetitions, which tell little about its spread"]


def _counters(results: Sequence[Result]) -> list[str]:
    moved = {
        f"{name} in {r.scenario} {r.entry} {step.name}": None
        for r in results
        for step in r.steps
        for name in step.unstable_counters
    }
    if not moved:
        return []
    named = "; ".join(list(moved)[:_MOST_NAMED])
    more = len(moved) - _MOST_NAMED
    return [
        f"unstable counters: {named}{f' and {more} more' if more > 0 else ''}: other processes "
        "swapped or faulted meanwhile; their most common change is kept"
    ]


def _wide(results: Sequence[Result]) -> list[str]:
    wide = []
    for result in results:
        for step in result.steps:
            low, high = np.quantile(step.repetitions_ns, _QUANTILES)
            if high / low - 1 > 3 * _MUCH:
                wide.append(f"{result.scenario} {result.entry} {step.name} {high / low - 1:.0%}")
    if not wide:
        return []
    named = "; ".join(wide[:_MOST_NAMED])
    more = len(wide) - _MOST_NAMED
    return [
        f"wide: from the 25 % to the 75 % quantile it is {named}"
        f"{f' and {more} more' if more > 0 else ''}; short steps are hit hardest"
    ]
