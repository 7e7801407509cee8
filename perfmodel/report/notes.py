"""What a step yields besides times and counters: fallbacks, observations and lock holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from perfmodel.results.result import Result, StepResult
from perfmodel.studies.compare import Comparison


def words(name: str) -> str:
    """A name of the engine's as a reader likes it."""
    return name.replace("_", " ").lower()


def counted(counts: Mapping[str, int]) -> str:
    """Names and numbers in one line, without what is zero."""
    return ", ".join(f"{words(name)} {count}" for name, count in counts.items() if count)


def step_notes(step: StepResult) -> list[str]:
    """A line for each of them that the step has."""
    holds = [
        f"{words(lock)} {hold['count']} (longest {hold['longest']})"
        for lock, hold in step.lock_holds.items()
        if hold["count"]
    ]
    texts = {
        "fell back to PTEs": counted(step.fallbacks),
        "observed": counted(step.observed),
        "lock holds": ", ".join(holds),
        "swap devices": "; ".join(
            f"{one['device']} (priority {one['priority']}): {one['pswpout']} pages out, "
            f"{one['pswpin']} in, {one['used_slots']} slots used"
            for one in step.devices
        ),
    }
    return [f"{title}: {text}" for title, text in texts.items() if text]


def _fallbacks(result: Result) -> str:
    return "; ".join(
        f"{step.name}: {text}" for step in result.steps if (text := counted(step.fallbacks))
    )


def _observed(result: Result) -> str:
    return "; ".join(
        f"{step.name}: {text}" for step in result.steps if (text := counted(step.observed))
    )


def _longest_holds(result: Result) -> str:
    longest: dict[str, int] = {}
    for step in result.steps:
        for lock, hold in step.lock_holds.items():
            longest[lock] = max(longest.get(lock, 0), hold["longest"])
    return counted(longest)


_TITLES: dict[str, Callable[[Result], str]] = {
    "Fallbacks to PTEs": _fallbacks,
    "Observed": _observed,
    "Longest lock holds, in entries or slot words": _longest_holds,
}


def _grouped(texts: Mapping[str, str]) -> Iterator[str]:
    """Arms that have the same to say, together."""
    arms: dict[str, list[str]] = {}
    for arm, text in texts.items():
        if text:
            arms.setdefault(text, []).append(arm)
    for text, names in arms.items():
        yield f"{', '.join(names)}: {text}"


def comparison_notes(comparison: Comparison) -> list[str]:
    """A paragraph for each of them that any arm has, over the whole run."""
    results = dict(comparison.arms)
    results |= {f"{entry} measured": result for entry, result in comparison.measured.items()}
    notes = []
    for title, say in _TITLES.items():
        said = list(_grouped({arm: say(result) for arm, result in results.items()}))
        if said:
            notes.append(f"{title}. {' | '.join(said)}")
    return notes
