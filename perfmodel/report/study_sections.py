"""Studies as sections of the page: sweeps from a document or a folder, and the thrash study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from perfmodel.errors import InputError
from perfmodel.report.parts import Cell, Section, Table, number, picture, table
from perfmodel.report.reading import made, shaped
from perfmodel.results.documents import Document
from perfmodel.results.sweep import load_sweep
from perfmodel.specs.policy import SIMULATED_ENTRIES, check_entry
from perfmodel.specs.study import Study

if TYPE_CHECKING:
    import xarray

    from perfmodel.studies.findings import Findings
    from perfmodel.studies.sweep import Sweep

_MOST_CELLS = 2000


def _dataset(document: Document) -> xarray.Dataset:
    """The variables of a document, as the sweep had them; null is not finite."""
    import xarray

    variables = {}
    for name, said in shaped(document, variables=dict[str, dict[str, Any]]).variables.items():
        key = f"variables.{name}"
        dims, data = said.get("dims"), said.get("data")
        if not isinstance(dims, list) or not all(isinstance(dim, str) for dim in dims):
            raise document.problem("must be a list of names", f"{key}.dims")
        try:
            if isinstance(data, list) and data and all(isinstance(value, str) for value in data):
                values = np.asarray(data)
            else:
                values = np.asarray(data, dtype=float)  # None becomes NaN
            told = {"units": str(said.get("units")), "long_name": str(said.get("meaning"))}
            variables[name] = xarray.Variable(dims, values, told)
        except (TypeError, ValueError):
            message = "must be numbers, or texts, of as many dimensions as it names"
            raise document.problem(message, f"{key}.data") from None
    try:
        found = xarray.Dataset(variables)
        return found.set_coords([name for name in variables if name not in _names(variables)])
    except ValueError as error:
        raise document.problem(str(error).splitlines()[0][:200], "variables") from None


def _names(variables: Mapping[str, Any]) -> list[str]:
    """What is data, and no name or value of something along a dimension."""
    return [
        name
        for name, found in variables.items()
        if set(found.dims) & {"entry", "pair"} and name not in found.dims
    ]


def _findings(document: Document, swept: Sweep) -> Findings:
    from perfmodel.specs.study import DesignKind
    from perfmodel.studies.break_even import BreakEvenPoint, BreakEvens
    from perfmodel.studies.findings import Findings
    from perfmodel.studies.sensitivity import Indices, Tornado, sobol_indices, tornado

    kind = swept.study.design.kind
    if document.kind == "sweep-folder":
        return Findings(
            None,
            sobol_indices(swept) if kind is DesignKind.SOBOL_INDICES else None,
            tornado(swept) if kind is DesignKind.ONE_AT_A_TIME else None,
        )
    told = document.table
    indices = shaped(document, indices=Indices).indices if "indices" in told else None
    bars = shaped(document, tornado=Tornado).tornado if "tornado" in told else None
    even = None
    if "break_even" in told:
        said = shaped(document, break_even=dict[str, Any]).break_even
        points = []
        for at, point in enumerate(said.get("points") or []):
            values = dict(point)
            always = {"above": np.inf, "below": -np.inf, "": np.nan}[values.pop("always", "")]
            for name in ("at", "low", "high"):
                if values[name] is None:
                    values[name] = always if name == "at" else np.nan
                elif not isinstance(values[name], int | float):
                    raise document.problem("must be a number", f"break_even.points[{at}].{name}")
            points.append(BreakEvenPoint(**values))
        axis = str(said.get("axis"))
        label = next(
            (a.axis.label or a.axis.field for a in swept.plan.axes if a.name == axis), axis
        )
        unit, output = str(said.get("unit")), str(said.get("output"))
        even = BreakEvens(swept.study.name, axis, label, unit, output, tuple(points))
    return Findings(even, indices, bars)


def _output_table(swept: Sweep, name: str) -> Table:
    from perfmodel.report.sweep import bounds_text, cell_rows

    found = swept.dataset[name]
    dimension = "entry" if "entry" in found.dims else "pair"
    members = [str(member) for member in found[dimension].values]
    axes = [axis.name for axis in swept.plan.axes]

    def axis_of(at: int) -> Callable[[Any], Any]:
        return lambda row: row[1][at]

    def value_of(member: str) -> Callable[[Any], Any]:
        def take(row: Any) -> Cell:
            chosen = found.isel(row[0]).sel({dimension: member})
            best = chosen.isel(draw=0) if "draw" in chosen.dims else chosen
            value = float(best.sel(bound="best") if "bound" in best.dims else best)
            return Cell(bounds_text(chosen), value if np.isfinite(value) else None)

        return take

    columns = {axis: axis_of(at) for at, axis in enumerate(axes)}
    columns |= {member: value_of(member) for member in members}
    unit = found.attrs.get("units", "")
    title = f"{found.attrs.get('long_name') or name}{f' [{unit}]' if unit not in ('', '1') else ''}"
    rows = list(cell_rows(swept))[:_MOST_CELLS]
    note = "Best value, and the 90 % interval."
    if swept.plan.cells > len(rows):
        note += f" The first {len(rows):,} of {swept.plan.cells:,} cells."
    return table(title, columns, rows, note=note)


def sweep_section(document: Document) -> Section:
    """A sweep's figure, its numbers, and what it finds."""
    from perfmodel.plot.sweep import study_figure
    from perfmodel.report.sweep import finding_lines
    from perfmodel.studies.plan import make_plan
    from perfmodel.studies.sweep import Sweep

    study = shaped(document, study=Study).study
    is_folder = document.kind == "sweep-folder"
    dataset = load_sweep(document.source) if is_folder else _dataset(document)
    try:
        plan = make_plan(study)
    except InputError as error:
        raise document.problem(f"{error.problems[0]}"[:300], "study") from None
    swept = Sweep(study, plan, dataset)
    for output in study.outputs:
        if output.name not in dataset:
            raise document.problem("is missing", f"variables.{output.name}")
        sizes = dataset[output.name].sizes
        expected = dict(zip((a.name for a in plan.axes), plan.shape, strict=False))
        wanted = expected if plan.is_grid else {"cell": plan.cells}
        if any(sizes.get(name) != size for name, size in wanted.items()):
            raise document.problem("has not the study's shape", f"variables.{output.name}")
    findings = _findings(document, swept)
    section = made(
        document,
        study.title,
        description=study.description,
        sentences=tuple(line.strip() for line in finding_lines(findings) if line.strip())
        if findings.break_even is not None
        else (),
        facts={
            "machine": study.machine,
            "device": study.device,
            "scenario": study.scenario.name,
            "cells": f"{plan.cells:,}",
            "seed": str(study.seed),
            "draws": str(study.draws),
        },
        pictures=(
            picture(
                study_figure(swept, findings),
                "What the study varies, with 90 % intervals.",
                f"Figure of the study {study.name}.",
            ),
        ),
        tables=tuple(_output_table(swept, output.name) for output in study.outputs),
        notes=("Break-even points stand in what --json prints, not in the folder.",)
        if is_folder and study.break_even is not None
        else (),
    )
    if not is_folder:
        return section
    from perfmodel.report.parts import provenance_rows

    names = ("perfmodel", "created", "code_sha256", "numpy", "specs_sha256", "points_sha256")
    told = {name: document.table[name] for name in names if name in document.table}
    return attrs.evolve(section, provenance=provenance_rows({"simulated": {"": told}}))


def thrash_section(document: Document) -> Section:
    """Where a PMD entry starts to lose: the map, its crossing lines, and all cells."""
    from perfmodel.plot.thrash import thrash_figure
    from perfmodel.studies.thrash import Cell as Point
    from perfmodel.studies.thrash import Crossing, StoredThrash

    shape = shaped(
        document,
        machine=str,
        device=str,
        limit_bytes=int,
        rounds=int,
        cells=tuple[dict[str, Any], ...],
        crossings=dict[str, tuple[dict[str, Any], ...]],
    )
    points = []
    for at, told in enumerate(shape.cells):
        key = f"cells[{at}]"
        size, pages, arms = (
            told.get(name) for name in ("region_over_limit", "pages_per_2mib", "arms")
        )
        if not isinstance(size, int | float) or not size > 0:
            raise document.problem("must be a positive number", f"{key}.region_over_limit")
        if type(pages) is not int or not 1 <= pages <= 512:
            raise document.problem("must be from 1 to 512", f"{key}.pages_per_2mib")
        if not isinstance(arms, dict) or set(arms) != {"pmd", *shape.crossings}:
            raise document.problem("must hold pmd and what it is compared with", f"{key}.arms")
        costs = {}
        for arm, said in arms.items():
            if isinstance(said, dict) and said.get("killed"):
                costs[arm] = np.full(3, np.inf)
                continue
            where = attrs.evolve(document, table=said if isinstance(said, dict) else {})
            numbers = shaped(where, ns_per_touch=float, interval_ns=tuple[float, float])
            if numbers.ns_per_touch <= 0:
                raise document.problem("must be positive", f"{key}.arms.{arm}.ns_per_touch")
            costs[arm] = np.array([numbers.ns_per_touch, *numbers.interval_ns])
        points.append(Point(float(size), pages, costs, {}))
    lines = {}
    for rival, row in shape.crossings.items():
        check_entry(rival, SIMULATED_ENTRIES, key="crossings")
        lines[rival] = [
            _crossing(document, told, f"crossings.{rival}[{at}]", Crossing)
            for at, told in enumerate(row)
        ]
    if not points or not lines:
        raise document.problem("must not be empty", "cells, crossings")
    at_sizes: dict[float, set[int]] = {}
    for point in points:
        at_sizes.setdefault(point.size, set()).add(point.pages)
    # Those that were asked for; others lie only around each crossing.
    common = set.intersection(*at_sizes.values())
    if not common:
        raise document.problem("must have cells of the same pages at every size", "cells")
    study = StoredThrash(
        machine=shape.machine,
        device=shape.device,
        limit_bytes=shape.limit_bytes,
        rounds=shape.rounds,
        rivals=tuple(lines),
        pages=tuple(sorted(common)),
        sizes=tuple(sorted(at_sizes)),
        cells=tuple(points),
        provenance={},
        lines=lines,
    )
    arms = list(points[0].cost_ns)

    def cost_of(arm: str) -> Callable[[Any], Any]:
        def take(point: Any) -> Cell:
            if point.killed(arm):
                return Cell("killed", None, "different")
            best, low, high = (number(float(value)) for value in point.cost_ns[arm])
            return Cell(f"{best.text} ({low.text} to {high.text})", best.key)

        return take

    columns: dict[str, Callable[[Any], Any]] = {
        "region / limit": lambda point: point.size,
        "pages of 512": lambda point: point.pages,
    }
    columns |= {f"{arm} [ns per touch]": cost_of(arm) for arm in arms}
    crossings = [(rival, one) for rival, row in lines.items() for one in row]

    def end(value: float) -> Cell:
        return number(value) if np.isfinite(value) else Cell("never", 1e9)

    against: dict[str, Callable[[Any], Any]] = {
        "pmd against": lambda pair: pair[0],
        "region / limit": lambda pair: pair[1].size,
        "pages of 512": lambda pair: end(pair[1].pages),
        "from": lambda pair: end(pair[1].low),
        "to": lambda pair: end(pair[1].high),
    }
    return made(
        document,
        "Where a PMD entry starts to lose",
        facts={
            "machine": study.machine,
            "device": study.device,
            "memory limit": f"{study.limit_bytes >> 20} MiB",
            "rounds": str(study.rounds),
        },
        pictures=(
            picture(
                thrash_figure(study),
                "Cost of a touch behind a PMD entry over that behind another entry, by used pages "
                "of every 2 MiB and region over memory limit; on the line both cost the same.",
                "Coloured map with a crossing line and its band.",
            ),
        ),
        tables=(
            table("From how many used pages on a PMD entry costs no more", against, crossings),
            table("Cost of a touch", columns, points, note="Best value, and the 90 % interval."),
        ),
    )


def _crossing(document: Document, told: dict[str, Any], key: str, kind: Any) -> Any:
    numbers = [told.get(name) for name in ("region_over_limit", "pages", "low", "high")]
    if not isinstance(numbers[0], int | float) or not all(
        value is None or isinstance(value, int | float) for value in numbers
    ):
        raise document.problem("must hold numbers, or null for never", key)
    return kind(*(np.inf if value is None else float(value) for value in numbers))
