"""Sweeps: all cells of a study, by one worker or many, with the same result bit for bit."""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel import __version__
from perfmodel.errors import CapabilityError
from perfmodel.results.provenance import spec_digest
from perfmodel.results.sweep import (
    Layout,
    axes_coordinates,
    code_digest,
    describe,
    open_store,
)
from perfmodel.results.variables import Variable
from perfmodel.specs import io
from perfmodel.specs.study import Output, Per, Study
from perfmodel.studies.cells import Calculator, array_shapes
from perfmodel.studies.crossing import HIGH, LOW
from perfmodel.studies.plan import Plan, make_plan

if TYPE_CHECKING:
    import xarray

Arrays = dict[str, npt.NDArray[np.float64]]
Progress = Callable[[int, int], None]
# Enough for every worker to find the next chunk when it is done with one.
_WAITING_PER_WORKER = 3
_WAITING_ELSEWHERE = 4096


@attrs.frozen(eq=False)
class Sweep:
    """A study with its results.

    Parameters
    ----------
    study : Study
    plan : Plan
    dataset : xarray.Dataset
        A dimension for each axis of a grid, or the dimension ``cell`` for points; then ``entry`` or
        ``pair``, and ``bound`` (best, low, high: the 90 % interval) or ``draw`` (0 is the best).
    """

    study: Study
    plan: Plan
    dataset: xarray.Dataset

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel sweep --json`` prints it; what is not finite is null."""
        data: dict[str, Any] = {}
        for name, variable in self.dataset.variables.items():
            data[str(name)] = {
                "dims": list(map(str, variable.dims)),
                "units": variable.attrs.get("units", ""),
                "meaning": variable.attrs.get("long_name", ""),
                "data": _plain(variable.values),
            }
        return {"study": io.to_table(self.study), "cells": self.plan.cells, "variables": data}


def _plain(values: npt.NDArray[Any]) -> Any:
    if values.dtype.kind not in "fi":
        return [str(value) for value in values.tolist()]
    if values.ndim == 1:
        return [value if np.isfinite(value) else None for value in values.tolist()]
    return [_plain(row) for row in values]


# Of the sweep that a worker is busy with: what scenarios have counted is kept with it.
_CALCULATORS: dict[str, Calculator] = {}


@attrs.frozen(eq=False)
class _Job:
    """What every worker has to know."""

    plan: Plan
    key: str
    code: str


def _same(job: _Job) -> _Job:
    return job


def _do(job: _Job, first: int, end: int) -> tuple[str, Arrays]:
    """One chunk, on any worker."""
    calculator = _CALCULATORS.get(job.key)
    if calculator is None:
        _CALCULATORS.clear()
        calculator = _CALCULATORS[job.key] = Calculator(job.plan)
    return code_digest(), calculator.chunk(first, end)


def sweep(
    study: Study | str | Path,
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> Sweep:
    """Calculate all cells of a study.

    Parameters
    ----------
    study : Study, or name or path of one
    executor : concurrent.futures.Executor, optional
        Where chunks of cells are done, such as ``distributed.Client(address).get_executor()``. It
        changes nothing about the result.
    jobs : int, optional
        Without an executor: so many threads; as many as there are CPUs without it.
    out : str or Path, optional
        Folder that receives the parts as they come, and all results in the end.
    resume : bool
        Go on with what is in that folder.
    progress : callable
        Called with cells done and cells in all.

    Returns
    -------
    Sweep

    Raises
    ------
    InputError
        If the study is wrong, or the folder holds something else.
    CapabilityError
        If a worker runs another perfmodel.

    Examples
    --------
    >>> import perfmodel as pm
    >>> pm.sweep(pm.study("touch-density")).dataset["touch_ratio"].sel(bound="best")
    """
    return sweep_plan(
        make_plan(study), executor=executor, jobs=jobs, out=out, resume=resume, progress=progress
    )


def sweep_plan(
    plan: Plan,
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> Sweep:
    """The same for a plan."""
    layout = Layout(plan.chunks, part_variables(plan))
    if out is None:
        parts: dict[int, Arrays] = {}
        for part, arrays in _calculated(plan, range(len(plan.chunks)), executor, jobs):
            parts[part] = arrays
            progress(_cells(plan, parts), plan.cells)
        arrays = {
            name: np.concatenate([parts[part][name] for part in range(len(plan.chunks))])
            for name in layout.variables
        }
        return Sweep(plan.study, plan, label(plan, arrays))
    with open_store(Path(out), head(plan, layout), layout, resume=resume) as store:
        progress(_cells(plan, store.done), plan.cells)
        for part, arrays in _calculated(plan, store.missing(), executor, jobs):
            store.add(part, arrays)
            progress(_cells(plan, store.done), plan.cells)
        dataset = label(plan, store.arrays())
        store.finish(dataset)
    return Sweep(plan.study, plan, dataset)


def _cells(plan: Plan, parts: Mapping[int, Any]) -> int:
    return sum(plan.chunks[part][1] - plan.chunks[part][0] for part in parts)


def _calculated(
    plan: Plan, parts: Sequence[int], executor: Executor | None, jobs: int | None
) -> Iterator[tuple[int, Arrays]]:
    """Parts as they are done, in any order."""
    workers = min(jobs or len(os.sched_getaffinity(0)), max(1, len(parts)))
    if executor is None and workers == 1:
        calculator = Calculator(plan)
        for part in parts:
            yield part, calculator.chunk(*plan.chunks[part])
        return
    if executor is not None:
        yield from _spread(plan, parts, executor, _WAITING_ELSEWHERE)
        return
    # Kernels run without the GIL, and all threads share what has been compiled.
    with ThreadPoolExecutor(workers) as pool:
        yield from _spread(plan, parts, pool, _WAITING_PER_WORKER * workers)


def _spread(
    plan: Plan, parts: Sequence[int], executor: Executor, most: int
) -> Iterator[tuple[int, Arrays]]:
    job = _Job(plan, uuid.uuid4().hex, code_digest())
    shared: Any = job
    client = getattr(executor, "_client", None)
    if client is not None and hasattr(client, "scatter"):
        # Dask: sent once, as a task, so that it comes back when the worker that has it is lost.
        shared = client.submit(_same, job, pure=False)
    waiting: dict[Future[tuple[str, Arrays]], int] = {}
    todo = iter(parts)
    try:
        while True:
            while len(waiting) < most and (part := next(todo, None)) is not None:
                waiting[executor.submit(_do, shared, *plan.chunks[part])] = part
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=waiting.__getitem__):
                part = waiting.pop(future)
                code, arrays = future.result()
                if code != job.code:
                    raise CapabilityError(
                        "a worker runs another perfmodel than this one; install the same version "
                        "on all of them"
                    )
                yield part, arrays
    finally:
        for future in waiting:
            future.cancel()


# Labels


def part_variables(plan: Plan) -> dict[str, Variable]:
    """Dimensions, unit and meaning of every array of a part."""
    study = plan.study
    kept = "draw" if study.keep_draws else "bound"
    found = {}
    for output in study.outputs:
        dims = ("cell", "entry", kept) if output.kind.is_time else ("cell", "entry")
        found[output.name] = Variable(dims, output.unit, meaning(output))
        if output.kind.is_time and study.pairs:
            compared = ("cell", "pair", kept)
            text = meaning(output)
            found[f"{output.name}_difference"] = Variable(
                compared, output.unit, f"{text}: first entry of the pair minus second"
            )
            found[f"{output.name}_ratio"] = Variable(
                compared, "1", f"{text}: first entry of the pair over second"
            )
    assert list(found) == list(array_shapes(plan))
    return found


def meaning(output: Output) -> str:
    """What an output is, in words."""
    what = {
        "time": "time",
        "counter": f"change of {output.of}",
        "fallbacks": "whole-PMD attempts that ended in PTE entries",
        "longest-hold": f"longest hold of a {output.of} lock",
        "waited": f"waiting of all CPUs, {output.of}",
        "held": f"time that {output.of} locks are held",
        "mapping": f"{output.of} of process 0 at the end",
    }[output.kind.value]
    steps = f" in {', '.join(output.steps)}" if output.steps else ""
    per = {Per.RUN: "", Per.RANGE: " per 2 MiB", Per.ACCESS: " per access"}[output.per]
    if output.kind.value == "longest-hold":
        per = ""
    return f"{output.label or what}{steps}{per}"


def label(plan: Plan, arrays: Arrays) -> xarray.Dataset:
    """All cells as a labelled dataset."""
    import xarray

    study = plan.study
    entries, pairs = list(study.entries), [pair.name for pair in study.pairs]
    names = [axis.name for axis in plan.axes] if plan.is_grid else ["cell"]
    variables, coordinates = {}, {}
    for name, variable in part_variables(plan).items():
        values = arrays[name].reshape(*plan.shape, *arrays[name].shape[1:])
        texts = {"units": variable.unit, "long_name": variable.meaning}
        variables[name] = ((*names, *variable.dims[1:]), values, texts)
    for number, axis in enumerate(plan.axes):
        texts = {"units": axis.unit or "1", "long_name": axis.axis.label or axis.axis.field}
        if plan.is_grid:
            coordinates[axis.name] = (axis.name, axes_coordinates(axis.values), texts)
            continue
        column = plan.points[:, number]
        if axis.values:
            row = axes_coordinates([axis.values[int(value)] for value in column])
        else:
            own = axis.own if type(axis.own) in (int, float) else np.nan
            row = np.where(np.isnan(column), own, column)
        coordinates[axis.name] = ("cell", row, texts)
    coordinates["entry"] = ("entry", np.asarray(entries), {"long_name": "swap entry"})
    if pairs:
        coordinates["pair"] = ("pair", np.asarray(pairs), {"long_name": "pair of entries"})
    if study.keep_draws:
        texts = {"long_name": "0: best values; others: draws from the spreads"}
        coordinates["draw"] = ("draw", np.arange(study.draws + 1, dtype=float), texts)
    elif any(output.kind.is_time for output in study.outputs):
        texts = {"long_name": f"best value, {LOW:.0%} and {HIGH:.0%} quantile of the draws"}
        coordinates["bound"] = ("bound", np.asarray(["best", "low", "high"]), texts)
    return xarray.Dataset(
        variables,
        coords=coordinates,
        attrs={
            "study": study.name,
            "title": study.title,
            "machine": study.machine,
            "device": study.device,
            "design": study.design.kind.value,
            "seed": study.seed,
            "draws": study.draws,
            "perfmodel": __version__,
            "code_sha256": code_digest(),
        },
    )


def head(plan: Plan, layout: Layout) -> dict[str, Any]:
    """What a sweep is: for its folder, and to find out whether two halves belong together."""
    study = plan.study
    specs: dict[str, dict[str, Any]] = {
        "machine": plan.machines,
        "device": {" on ".join(reversed(names)): spec for names, spec in plan.devices.items()},
        "scenario": plan.scenarios,
        "policy": plan.policies,
    }
    return {
        "perfmodel": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "study": io.to_table(study),
        "code_sha256": code_digest(),
        "numpy": np.__version__,
        "specs_sha256": {
            kind: {name: spec_digest(spec) for name, spec in found.items()}
            for kind, found in specs.items()
        },
        "cells": plan.cells,
        "points_sha256": _points_digest(plan),
        **describe(layout),
    }


def _points_digest(plan: Plan) -> str:
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(plan.points).tobytes()).hexdigest()
