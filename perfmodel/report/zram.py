"""The size classes of zsmalloc as text: ``python -m perfmodel.report.zram [CHAIN_PAGES]``."""

from __future__ import annotations

import sys

from perfmodel.constants import PAGE_BYTES
from perfmodel.models.zsmalloc import DEFAULT_CHAIN_PAGES, HANDLE_BYTES, SizeClasses


def class_lines(classes: SizeClasses) -> list[str]:
    """A Markdown table: one line for each class, the smallest first."""
    lines = [
        "| stored bytes | class | pages | objects | unused at the end | memory beyond them |",
        "|---|---|---|---|---|---|",
    ]
    first = 1
    for found in classes.classes:
        whole = found.object_bytes == classes.unit_bytes
        last = found.object_bytes - (0 if whole else HANDLE_BYTES)
        taken = found.pages * PAGE_BYTES / found.objects
        lines.append(
            f"| {first} to {last} | {found.object_bytes} | {found.pages} | {found.objects} | "
            f"{found.waste_bytes} | {taken / first - 1:.1%} to {taken / last - 1:.1%} |"
        )
        first = last + 1
    return lines


if __name__ == "__main__":
    chain = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_CHAIN_PAGES
    sys.stdout.write("\n".join(class_lines(SizeClasses(chain))) + "\n")
