"""``perfmodel show mechanism``: every caller with every class, as the model runs them."""

from __future__ import annotations

import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perfmodel.cli.common import print_json, say_if_compiling
from perfmodel.report.callers import HEADINGS, LEGEND, by_caller, cells
from perfmodel.studies.callers import behaviours

_WIDTH_OF_A_FILE = 160


def show_mechanism(*, json: bool) -> None:
    """Print the caller table."""
    say_if_compiling()
    if json:
        print_json([row.to_json() for row in behaviours()])
        return
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=_WIDTH_OF_A_FILE)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=True)
    for heading, ratio in zip(HEADINGS, (4, None, None, 4, 5, 12, 4), strict=True):
        table.add_column(heading, ratio=ratio, no_wrap=ratio is None, overflow="fold")
    for name, says, rows in by_caller():
        caller = Text.assemble((name, "bold"), f"\n{says}")
        for index, row in enumerate(rows):
            table.add_row(
                caller if index == 0 else Text(),
                *(Text(cell) for cell in cells(row)),
                end_section=index == len(rows) - 1,
            )
    console.print(table)
    for paragraph in LEGEND:
        console.print(Text(paragraph), soft_wrap=False)
        console.print()
