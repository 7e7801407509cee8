"""What differs between two nested structures of plain values, in few lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MOST_LINES = 40
ABSENT = "absent"

# A place (names and numbers that lead to it), what should be there, and what is.
Difference = tuple[tuple[Any, ...], Any, Any]


def find(expected: Any, found: Any, place: tuple[Any, ...] = ()) -> Iterator[Difference]:
    """Leaves that differ; a tuple is a leaf, a string of one character per page is not."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys(), key=lambda key: (str(type(key)), key)):
            yield from find(expected.get(key, ABSENT), found.get(key, ABSENT), (*place, key))
    elif isinstance(expected, list) and isinstance(found, list):
        length = max(len(expected), len(found))
        for index in range(length):
            wanted = expected[index] if index < len(expected) else ABSENT
            got = found[index] if index < len(found) else ABSENT
            yield from find(wanted, got, (*place, index))
    elif place and place[-1] == "protection":
        yield from find(list(expected), list(found), (*place, "pages"))
    elif expected != found or type(expected) is not type(found):
        yield place, expected, found


def describe(expected: Any, found: Any) -> list[str]:
    """One line for each run of neighbours that differ."""
    runs: list[list[Difference]] = []
    for difference in find(expected, found):
        if runs and _follows(runs[-1][-1][0], difference[0]):
            runs[-1].append(difference)
        else:
            runs.append([difference])
    lines = [_line(run) for run in runs]
    if len(lines) > MOST_LINES:
        lines[MOST_LINES:] = [f"... and {len(lines) - MOST_LINES} more"]
    return lines


def _follows(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    if len(before) != len(after) or not before:
        return False
    numbers = type(before[-1]) is int and type(after[-1]) is int
    return numbers and before[:-1] == after[:-1] and after[-1] == before[-1] + 1


def _line(run: list[Difference]) -> str:
    (place, expected, found), (last_place, last_expected, last_found) = run[0], run[-1]
    name = " ".join(str(part) for part in place)
    if len(run) == 1:
        return f"{name}: oracle {expected!r}, engine {found!r}"
    return (
        f"{name} to {last_place[-1]}: oracle {_span(expected, last_expected)}, "
        f"engine {_span(found, last_found)}"
    )


def _span(first: Any, last: Any) -> str:
    return repr(first) if first == last else f"{first!r} to {last!r}"
