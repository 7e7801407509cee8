"""The comparison as rows of numbers, and as plain text for a mail."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import attrs

from perfmodel.constants import PAGE_BYTES
from perfmodel.report.notes import comparison_notes
from perfmodel.results.result import Result
from perfmodel.specs.policy import SHMEM_ENTRY
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.step import StepAction
from perfmodel.studies.compare import PMD_ARM, Comparison, ratio_text
from perfmodel.units import format_bytes

WIDTH = 100
UNKNOWN = "-"
PREDICTED, MEASURED = "predicted", "measured"
COUNT_HEADINGS = ("fault", "major", "pages", "reads")
TIME_HEADINGS = ("out", "in", "again", "other")
# The first unit in which the largest number of a column has no more than four digits.
_UNITS = (("us", 1e3), ("ms", 1e6), ("s", 1e9))

Time = tuple[float, float, float]


@attrs.frozen
class Row:
    """One arm per 2 MiB; what is not known or does not happen is None.

    Parameters
    ----------
    entry, world : str
    counts : tuple
        Faults, major faults, pages read and requests read.
    times_ns : tuple
        Page-out, first touch after it, later touches, and all other steps but the fill and touches
        before the first page-out; each with low and high.
    page_table_bytes : float or None
    """

    entry: str
    world: str
    counts: tuple[float | None, ...]
    times_ns: tuple[Time | None, ...]
    page_table_bytes: float | None


def step_groups(scenario: Scenario) -> tuple[tuple[str, ...], ...]:
    """Names of the page-outs, of the first touch after each, of the touches after that, and others.

    The fill and what is touched before the first page-out are in none of them; under a memory limit
    the fill pages out by itself.
    """
    groups: tuple[list[str], ...] = ([], [], [], [])
    swapped_out = scenario.is_reclaimed
    for step in scenario.steps:
        if step.action is StepAction.PAGEOUT:
            groups[0].append(step.name)
            swapped_out = True
        elif step.action.touches and (groups[0] or scenario.is_reclaimed):
            groups[1 if swapped_out else 2].append(step.name)
            swapped_out = False
        elif step.action is not StepAction.FILL and not step.action.touches:
            groups[3].append(step.name)
    return tuple(tuple(group) for group in groups)


def read_requests(counters: dict[str, int]) -> int | None:
    """Swap-in requests: one for each folio that was read, of whatever order.

    Large folios are counted by order; what else was read came page by page.
    """
    if "pswpin" not in counters:
        return None
    requests, pages = 0, counters["pswpin"]
    for name, folios in counters.items():
        if name.startswith("hugepages-") and name.endswith("/stats/swpin"):
            requests += folios
            pages -= folios * (int(name[10 : name.index("kB")]) * 1024 // PAGE_BYTES)
    return requests + pages if pages >= 0 else None


def _per_region(times: list[Time], regions: int) -> Time:
    time, low, high = (sum(column) / regions for column in zip(*times, strict=True))
    return time, low, high


def _row(comparison: Comparison, result: Result, world: str) -> Row:
    counters = [result.step(name).counters for name in comparison.fallback.steps]
    columns: list[list[int | None]] = [
        [step.get(name) for step in counters] for name in ("pgfault", "pgmajfault", "pswpin")
    ]
    columns.append([read_requests(step) for step in counters])
    counts: list[float | None] = []
    for column in columns:
        known = [value for value in column if value is not None]
        counts.append(sum(known) / result.regions if len(known) == len(column) else None)
    times: list[Time | None] = []
    for names in step_groups(comparison.scenario):
        steps = [result.step(name) for name in names]
        values = [(step.elapsed_ns, *step.interval_ns) for step in steps]
        times.append(_per_region(values, result.regions) if values else None)
    table_bytes = result.mapping.get("page_table_bytes")
    return Row(
        entry=result.entry,
        world=world,
        counts=tuple(counts),
        times_ns=tuple(times),
        page_table_bytes=None if table_bytes is None else table_bytes / result.regions,
    )


def rows(comparison: Comparison) -> Iterator[Row]:
    """Every arm as predicted, what was measured for it right below, then all else measured."""
    left = dict(comparison.measured)
    for entry, result in comparison.arms.items():
        yield _row(comparison, result, PREDICTED)
        for measured in (entry, SHMEM_ENTRY) if entry == PMD_ARM else (entry,):
            if measured in left:
                yield _row(comparison, left.pop(measured), MEASURED)
    for result in left.values():
        yield _row(comparison, result, MEASURED)


def _number(value: float) -> str:
    """Three digits, or as many as stand before the point; no more than two behind it."""
    size = abs(value)
    if size == 0:
        return "0"
    return f"{value:.{0 if size >= 99.95 else 1 if size >= 9.995 else 2}f}"


def _count(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    for unit in ("", "k", "M"):
        if abs(value) < 9999.5:
            return (f"{value:.0f}" if value == int(value) else _number(value)) + unit
        value /= 1000
    return f"{value / 1000:.0e}"


def _time(value: Time | None, scale: float) -> str:
    if value is None:
        return UNKNOWN
    time, low, high = (_number(number / scale) for number in value)
    return f"{time} ({low}-{high})"


def cells(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table as texts: entry, world, counts, times, page-table bytes."""
    table = list(rows(comparison))
    headings = ["entry", "world", *COUNT_HEADINGS]
    columns: list[list[str]] = []
    for index, heading in enumerate(TIME_HEADINGS):
        times = [row.times_ns[index] for row in table]
        if heading == "other" and not any(times):
            continue
        largest = max((abs(number) for time in times if time for number in time), default=0.0)
        unit, scale = next((pair for pair in _UNITS if largest < 9999.5 * pair[1]), _UNITS[-1])
        headings.append(f"{heading} [{unit}]")
        columns.append([_time(time, scale) for time in times])
    headings.append("PT B")
    body = [
        [row.entry, row.world, *map(_count, row.counts), *times, _count(row.page_table_bytes)]
        for row, times in zip(table, zip(*columns, strict=True), strict=True)
    ]
    return headings, body


def setting(comparison: Comparison) -> dict[str, str]:
    """What was compared, where, and on which kernel."""
    first = next(iter(comparison.arms.values()))
    kernels: dict[str, list[str]] = {}
    for entry, arm in comparison.arms.items():
        kernels.setdefault(arm.provenance["kernel"], []).append(entry)
    facts = {
        "scenario": f"{comparison.scenario.name}, "
        f"{format_bytes(comparison.scenario.region.size_bytes)}, "
        f"{comparison.scenario.region.content} pages",
        "machine": first.machine,
        "device": first.device,
        "kernel": "; ".join(
            f"for {', '.join(entries)}: {kernel}" if index else kernel
            for index, (kernel, entries) in enumerate(kernels.items())
        ),
    }
    for result in comparison.measured.values():  # all of them come from one run on one host
        host = result.provenance.get("host", {})
        known = [host.get("cpu_name"), host.get("virtualisation"), result.device]
        if host.get("kernel"):
            known.append(f"Linux {host['kernel']}")
        if result.provenance.get("repetitions"):
            known.append(f"{result.provenance['repetitions']} repetitions")
        facts["measured on"] = ", ".join(str(fact) for fact in known if fact)
        break
    return facts


def sentences(comparison: Comparison) -> list[str]:
    """The result in one sentence, and the measured one in a second where there is one."""
    said = [comparison.fallback.sentence()]
    measured = comparison.measured_fallback()
    if measured is not None:
        cost = measured["per_2mib_ns"]
        sign = 1 if cost >= 0 else -1
        low, high = sorted(sign * bound / 1000 for bound in measured["interval_ns"])
        stand_in = measured["pmd_arm"] == SHMEM_ENTRY
        ratio = ratio_text(measured["ratio"])
        said.append(
            f"Measured: it {'costs' if cost >= 0 else 'saves'} {abs(cost) / 1000:.0f} us per "
            f"2 MiB ({low:.0f} to {high:.0f} for the middle half of the repetitions), "
            f"{ratio} times the cost of one PMD swap-in"
            f"{f' (stand-in: {SHMEM_ENTRY})' if stand_in else ''}."
        )
    return said


def legend(comparison: Comparison) -> list[str]:
    """What the columns of the table mean."""
    groups = step_groups(comparison.scenario)
    steps = "; ".join(
        f"{heading}: {' + '.join(names) or 'no step'}"
        for heading, names in zip(TIME_HEADINGS, groups, strict=True)
        if names or heading != "other"
    )
    notes = [
        f"All per 2 MiB. {steps}.",
        "fault, major, pages read, reads (one request per folio): in and again. "
        "PT B: page-table bytes, end.",
        "predicted: 90 % interval.",
    ]
    if comparison.measured:
        notes[-1] += " measured: 25 % quantile (5 % to 75 %)."
    if any(len(names) > 1 for names in groups):
        notes[-1] += " Bounds of several steps are added up."
    if SHMEM_ENTRY in comparison.measured:
        notes.append(f"{SHMEM_ENTRY}: a memfd THP, the live stand-in for pmd on a stock kernel.")
    return notes


def _wrap(paragraphs: list[str]) -> Iterator[str]:
    for text in paragraphs:
        # A name may hold anything, and a mail must stay plain.
        plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
        yield from textwrap.wrap(plain, WIDTH, break_on_hyphens=False) or [""]


def _aligned(grid: list[list[str]]) -> list[str]:
    """Lines of a table: headings, a rule, and rows."""
    widths = [max(len(row[index]) for row in grid) for index in range(len(grid[0]))]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= WIDTH else " "
    lines = []
    for row in grid:
        texts = [
            text.ljust(width) if index < 2 else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(gap.join(texts))
    lines.insert(1, "-" * len(lines[0]))
    return lines


def _below_each_other(grid: list[list[str]]) -> list[str]:
    """One table, or two if it were too wide: the last columns of times then stand below."""
    first_time = 2 + len(COUNT_HEADINGS)
    end = len(grid[0]) - 1  # the page-table bytes
    for cut in range(end, first_time, -1):
        lines = _aligned([[*row[:cut], row[end]] for row in grid])
        if len(lines[0]) <= WIDTH:
            break
    if cut < end:
        lines += ["", *_aligned([[*row[:2], *row[cut:end]] for row in grid])]
    return lines


def comparison_table(comparison: Comparison) -> str:
    """The comparison as plain ASCII text of at most 100 columns, to paste into a mail."""
    headings, body = cells(comparison)
    lines = _below_each_other([headings, *body])
    facts = [f"{name}: {value}" for name, value in setting(comparison).items()]
    above = [" | ".join(facts[:3]), *facts[3:], ""]
    below = ["", *legend(comparison), *comparison_notes(comparison), "", *sentences(comparison)]
    return "".join(f"{line.rstrip()}\n" for line in [*_wrap(above), *lines, *_wrap(below)])
