"""``perfmodel trace import``, ``generate`` and ``stat``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from perfmodel.cli.common import (
    NewFile,
    OutFile,
    OutFolder,
    print_json,
    progress_bar,
    result,
    say,
    write_report,
)
from perfmodel.constants import PAGE_BYTES
from perfmodel.errors import InputError, Problem, nearest
from perfmodel.specs.catalog import TRACE_SUFFIX, find_trace
from perfmodel.specs.step import KeyValueMix, Step, StepAction, Workload
from perfmodel.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from perfmodel.traces.statistics import TraceStatistics

_PROGRESS_BYTES = 1 << 20


def import_trace(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out: OutFile = None,
    *,
    format: str | None = None,  # noqa: A002 (the option's name)
    recent: int = 1,
    most: int | None = None,
    instructions: Annotated[bool, Parameter(negative=())] = False,
    columns: str | None = None,
    description: str = "",
    command: str = "",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Read a recording of another program, and write it as a trace of ours.

    Parameters
    ----------
    file
        Recording, compressed (xz, gzip, bzip2) or not, or - for standard input.
    out
        Trace to write; the recording's name with .trace without it.
    format
        lackey, champsim, dynamorio, perf, damon, oracle-general, csv or perfmodel; looked for in
        the file without it.
    recent
        Drop accesses to that many pages that were accessed last (1: repeated accesses to one page),
        unless it is the first write to it; 0 drops nothing.
    most
        Keep no more accesses than that.
    instructions
        Whether fetches of instructions count.
    columns
        Of a table, counted from 1: object=2,size=3 or address=1,operation=2.
    description
        What was recorded.
    command
        The command that recorded it.
    json
        Print one JSON document.
    """
    from perfmodel.traces.importing import import_trace as run
    from perfmodel.traces.readers.formats import Format, Options
    from perfmodel.traces.readers.source import STANDARD_INPUT
    from perfmodel.traces.readers.table import parse_columns

    if format is not None and format not in list(Format):
        known = ", ".join(each.value for each in Format)
        message = f"{format[:40]!r} is none of {known}{nearest(format, Format)}"
        raise InputError(Problem(message, key="--format"))
    if not 0 <= recent <= 1024:
        raise InputError(Problem("must be a whole number from 0 to 1024", key="--recent"))
    if most is not None and most < 1:
        raise InputError(Problem("must be at least 1", key="--most"))
    if out is None and file == STANDARD_INPUT:
        raise InputError(Problem("say where to: perfmodel trace import - OUT.trace", key="out"))
    target = _target(Path(Path(file).name).with_suffix(TRACE_SUFFIX) if out is None else out)
    head = {"description": description, "command": command}
    with _progress("reading", file) as progress:
        done = run(
            file,
            target,
            form=None if format is None else Format(format),
            options=Options(instructions, parse_columns(columns) if columns else None),
            recent=recent,
            most=most,
            head={key: value for key, value in head.items() if value},
            progress=progress,
        )
    said = {
        "trace": str(target),
        "format": done.format,
        "accesses_read": done.read,
        "accesses": done.accesses,
        "region_bytes": done.pages * PAGE_BYTES,
        "bytes": target.stat().st_size,
        "complete": done.damage is None and not done.interrupted,
    }
    if json:
        print_json(said)
    else:
        sys.stdout.write(
            f"{target}: {done.accesses:,} of {done.read:,} accesses ({done.format}) in a region "
            f"of {format_bytes(done.pages * PAGE_BYTES)}, "
            f"{format_bytes(target.stat().st_size)} on disk\n"
        )
    if done.interrupted:
        raise KeyboardInterrupt
    if done.damage is not None:
        say(f"what stands before the damage was kept: {done.accesses:,} accesses in {target}")
        raise done.damage


def generate(
    workload: str,
    out: NewFile,
    *,
    size: str = "64 MiB",
    accesses: int = 1_000_000,
    seed: int = 0,
    exponent: float | None = None,
    stride: int = 1,
    window: float = 0.1,
    phase_accesses: int = 1 << 16,
    mix: str = "a",
    ordered: Annotated[bool, Parameter(negative=())] = False,
    write: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write the accesses of a generated workload as a trace, in blocks, however many there are.

    Parameters
    ----------
    workload
        cyclic, strided, uniform, zipf, pointer-chase, phases, gups, key-value, graph-search, churn.
    out
        Trace to write.
    size
        Of the region, such as "64 MiB".
    accesses
        How many.
    seed
        The same seed gives the same accesses.
    exponent
        Of zipf and key-value; 1 without it.
    stride
        Of strided, in pages.
    window
        Share of the region that a phase of phases goes to.
    phase_accesses
        How long a phase is.
    mix
        Operations of key-value: a to f, as YCSB's workloads.
    ordered
        Pages of zipf that are often used stand side by side.
    write
        The accesses are writes, where the workload does not say so itself.
    json
        Print one JSON document.
    """
    from perfmodel.traces.generator import trace_of
    from perfmodel.traces.importing import save_accesses

    choices = [each.value for each in Workload if each is not Workload.TRACE]
    if workload not in choices:
        message = f"{workload[:40]!r} is none of {', '.join(choices)}{nearest(workload, choices)}"
        raise InputError(Problem(message, key="workload"))
    if mix not in list(KeyValueMix):
        raise InputError(Problem(f"{mix[:40]!r} is none of a, b, c, d, e, f", key="--mix"))
    if accesses < 1:
        raise InputError(Problem("must be at least 1", key="--accesses"))
    try:
        pages = parse_bytes(size) // PAGE_BYTES
        if pages < 1:
            raise ValueError("must be at least 4 KiB")
        step = Step(
            "access",
            StepAction.ACCESS,
            workload=Workload(workload),
            accesses=accesses,
            seed=seed,
            exponent=1.0 if exponent is None else exponent,
            stride=stride,
            window=window,
            phase_accesses=phase_accesses,
            mix=KeyValueMix(mix),
            scattered=not ordered,
            write=write,
        )
    except ValueError as error:
        raise InputError(Problem(str(error), key="generate")) from None
    target = _target(out)
    kept = ("seed", "exponent", "stride", "window", "phase_accesses", "scattered", "write")
    head = {"description": f"generated: {workload}", "workload": workload, "size": size, "mix": mix}
    head |= {name: getattr(step, name) for name in kept}
    with progress_bar("generating") as progress:
        save_accesses(trace_of(step, pages), target, head=head, progress=progress)
    said = {"trace": str(target), "accesses": accesses, "bytes": target.stat().st_size}
    if json:
        print_json(said)
    else:
        where = f"{format_bytes(target.stat().st_size)} on disk"
        sys.stdout.write(f"{target}: {accesses:,} accesses, {where}\n")


def stat(
    trace: str,
    *,
    json: Annotated[bool, Parameter(negative=())] = False,
    report: OutFolder = None,
) -> None:
    """Footprint, reuse distances and used share of every 2 MiB of a trace.

    Parameters
    ----------
    trace
        Name of an installed trace, or path.
    json
        Print one JSON document.
    report
        Folder for trace.png, trace.svg and trace.json.
    """
    from perfmodel.traces.statistics import trace_statistics
    from perfmodel.traces.store import TraceFile

    path = find_trace(trace)
    file = TraceFile(path)
    if not file.accesses:
        raise InputError(Problem("has no accesses", file=str(path)))
    with progress_bar("reading") as progress:
        found = trace_statistics(file, progress=progress)
    told = {"trace": path.stem, "head": file.head, "remarks": file.remarks, **found.to_json()}
    document = result("trace", told)
    if json:
        print_json(document)
    else:
        sys.stdout.write("\n".join(_lines(path.stem, file.head, file.remarks, found)) + "\n")
    if report is not None:
        from perfmodel.plot.traces import trace_figure

        write_report(trace_figure(found, path.stem), document, report, "trace")


def _target(out: Path) -> Path:
    if out.suffix != TRACE_SUFFIX:
        message = f"{out.name[:80]!r} must end in {TRACE_SUFFIX}"
        raise InputError(Problem(message, key="out"))
    if not out.parent.is_dir():
        raise InputError(Problem("is no folder", file=str(out.parent), key="out"))
    return out


@contextmanager
def _progress(label: str, file: str) -> Iterator[Any]:
    """As `progress_bar`, in MiB, and nothing where nobody knows how much there is."""
    with progress_bar(f"{label} {Path(file).name} [MiB]") as bar:

        def advance(done: int, total: int) -> None:
            if total:
                bar(done // _PROGRESS_BYTES, max(1, total // _PROGRESS_BYTES))

        yield advance


def _lines(
    name: str, head: dict[str, Any], remarks: dict[str, Any], found: TraceStatistics
) -> list[str]:
    said = found.to_json()
    footprint, touched = said["footprint"], said["touched_pages_per_2mib"]
    lines = [f"{name}: {head.get('description', '')}".rstrip(": ")]
    if command := head.get("command"):
        lines.append(f"  recorded by          {command}")
    if not remarks.get("complete", True):
        lines.append(f"  NOT COMPLETE         {remarks.get('damage') or 'interrupted'}")
    read = remarks.get("accesses_read", found.accesses)
    writes = found.writes / found.accesses
    lines += [
        f"  accesses             {found.accesses:,} of {read:,} ({writes:.1%} writes)",
        f"  footprint            {format_bytes(footprint['bytes'])} in {found.pages:,} pages, "
        f"{found.written_pages:,} of them written",
        f"  region               {format_bytes(footprint['region_bytes'])}, "
        f"{found.ranges} ranges of 2 MiB",
        f"  used of 512          {touched['mean']:.0f} pages on average; all of them in "
        f"{touched['all_512']} ranges",
        f"  reuse distance       {_quantile_text(found.quantiles())}",
        "  LRU misses           memory, share of the footprint: misses per access",
    ]
    for entry in said["lru_misses_by_share"]:
        size = format_bytes(round(entry["share"] * found.pages) * PAGE_BYTES)
        lines.append(
            f"    {entry['share']:4.0%} {size:>12} {entry['misses'] / found.accesses:10.4f}"
        )
    return lines


def _quantile_text(quantiles: dict[str, int]) -> str:
    if not quantiles:
        return "no page is accessed twice"
    return (
        ", ".join(f"{float(share):.0%} at most {pages:,}" for share, pages in quantiles.items())
        + " pages"
    )
