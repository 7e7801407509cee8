"""The caller table as texts, for the terminal and for docs/callers.md.

``python -m perfmodel.report.callers`` prints the document.
"""

from __future__ import annotations

import sys
from itertools import groupby

from perfmodel.report.notes import counted, words
from perfmodel.studies.callers import Behaviour, behaviours

HEADINGS = ("caller", "class", "asks", "range", "state after", "events", "longest hold")

LEGEND = (
    "A PMD swap entry is a compact encoding of 512 ordinary swap slots and promises nothing about "
    "the swap cache. Whoever meets one and needs the pages looks at the slot words first: EMPTY "
    "(no slot cached: a swap-in of 2 MiB may be tried), HUGE (one folio of 2 MiB: take it whole), "
    "SPLIT (anything else: split the entry, and on by PTEs). Class pte: 512 PTE swap entries, as "
    "Linux 6.18 leaves them.",
    "asks: looked at the slot words. range: whole, split (and why), entry by entry, slot by slot "
    "(without a split), or not touched. state after: of the first process; tables are PTE "
    "tables in use or deposited. events: what cost time, for one range. longest hold: entries or "
    "slot words handled before the lock is released.",
    "Made by running every caller in the model on one 2 MiB range.",
)

_TITLE = "# Who meets a swapped-out 2 MiB range, and what happens"


def cells(row: Behaviour) -> tuple[str, ...]:
    """Everything but the caller, in the order of `HEADINGS`."""
    why = ", ".join(words(reason) for reason in row.fallbacks)
    seen = counted(row.observed)
    return (
        row.kind,
        "yes" if row.asks_the_rule else "-",
        f"{row.handling}: {why}" if why else row.handling,
        f"{row.state}; {seen}" if seen else row.state,
        counted(row.events) or "none",
        counted(row.longest_holds) or "none",
    )


def by_caller() -> list[tuple[str, str, list[Behaviour]]]:
    """Name, description and rows of each caller."""
    return [
        (name, says, list(rows))
        for (name, says), rows in groupby(behaviours(), lambda row: (row.caller, row.says))
    ]


def markdown() -> str:
    """The table as a Markdown document."""
    lines = [_TITLE, "", *(f"{paragraph}\n" for paragraph in LEGEND)]
    for name, says, rows in by_caller():
        lines += [
            f"## {name}",
            "",
            f"{says[0].upper()}{says[1:]}.",
            "",
            "| " + " | ".join(HEADINGS[1:]) + " |",
        ]
        lines.append("|---" * (len(HEADINGS) - 1) + "|")
        lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(markdown())
