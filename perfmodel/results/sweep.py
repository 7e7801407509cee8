"""Results of a sweep on disk: parts that are written as they come, and one file in the end.

A folder holds ``head.json`` (study, code, seeds, and unit and meaning of every variable), one
NetCDF file below ``parts/`` for each chunk of cells, ``parts.jsonl`` with a line for each part that
is complete, and, once all are there, ``dataset.nc``. Nothing is overwritten but by the same bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.errors import InputError, Problem
from perfmodel.results.store import read_versioned
from perfmodel.results.variables import Variable

if TYPE_CHECKING:
    import xarray

FORMAT = "perfmodel-sweep"
VERSION = 1
HEAD, JOURNAL, PARTS, DATASET = "head.json", "parts.jsonl", "parts", "dataset.nc"
# What a number depends on; commands, figures and reports are free to change.
_CODE = ("abi.py", "constants.py", "units.py", "kernels", "models", "specs", "studies", "traces")
# May differ between two halves of one sweep.
_FREE = frozenset({"created"})
Arrays = Mapping[str, npt.NDArray[np.float64]]


@cache
def code_digest() -> str:
    """SHA-256 of all sources that the numbers of a sweep depend on."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for name in _CODE:
        path = package / name
        for source in [path] if path.is_file() else sorted(path.rglob("*.py")):
            digest.update(source.relative_to(package).as_posix().encode())
            digest.update(source.read_bytes())
    return digest.hexdigest()


@attrs.frozen
class Layout:
    """What the parts hold.

    Parameters
    ----------
    chunks : tuple of (int, int)
        First cells and ends of the parts.
    variables : dict
        By name; the first dimension of each is that of the cells.
    """

    chunks: tuple[tuple[int, int], ...]
    variables: dict[str, Variable]


def _encode(arrays: Arrays, layout: Layout, attributes: Mapping[str, Any]) -> bytes:
    """One part as a classic NetCDF file, the same bytes for the same numbers."""
    import xarray

    dataset = xarray.Dataset(
        {
            name: (
                variable.dims,
                arrays[name],
                {"units": variable.unit, "long_name": variable.meaning},
            )
            for name, variable in layout.variables.items()
        },
        attrs=dict(attributes),
    )
    return to_bytes(dataset)


def to_bytes(dataset: xarray.Dataset) -> bytes:
    """A dataset as a classic NetCDF file (64-bit offsets), the same bytes for the same numbers."""
    return bytes(dataset.to_netcdf(engine="scipy", format="NETCDF3_64BIT"))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all, whenever the machine stops."""
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise InputError(Problem(f"cannot be written: {error.strerror}", file=str(path))) from None


class SweepStore:
    """The folder of one sweep, open for writing.

    Parameters
    ----------
    folder : Path
    layout : Layout
    """

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder = folder
        self.layout = layout
        self._lock = (folder / HEAD).open("rb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            message = "another sweep is writing into this folder"
            raise InputError(Problem(message, file=str(folder))) from None
        self.done = self._complete_parts()
        lines = [self._line(part, digest) for part, digest in sorted(self.done.items())]
        # A torn last line must not become the beginning of the next one.
        write_whole(folder / JOURNAL, "".join(lines).encode())

    def close(self) -> None:
        """Let others write."""
        self._lock.close()

    def _path(self, part: int) -> Path:
        return self.folder / PARTS / f"{part:06d}.nc"

    def _line(self, part: int, digest: str) -> str:
        first, end = self.layout.chunks[part]
        line = {"part": part, "first": first, "end": end, "sha256": digest}
        return json.dumps(line, separators=(",", ":")) + "\n"

    def _complete_parts(self) -> dict[int, str]:
        """Parts whose line and file are whole; anything else is as if it had never been."""
        try:
            text = (self.folder / JOURNAL).read_bytes()
        except FileNotFoundError:
            return {}
        found = {}
        for line in text.split(b"\n")[:-1]:
            try:
                said = json.loads(line)
                part, digest = said["part"], said["sha256"]
                whole = self._line(part, digest).encode() == line + b"\n"
                if whole and _digest_of(self._path(part)) == digest:
                    found[part] = digest
            except (ValueError, KeyError, TypeError, IndexError, OSError):
                continue
        return found

    def missing(self) -> list[int]:
        """Parts that are still to be done, in order."""
        return [part for part in range(len(self.layout.chunks)) if part not in self.done]

    def add(self, part: int, arrays: Arrays) -> None:
        """Keep one part."""
        first, end = self.layout.chunks[part]
        content = _encode(arrays, self.layout, {"first_cell": first, "end_cell": end})
        write_whole(self._path(part), content)
        digest = hashlib.sha256(content).hexdigest()
        try:
            with (self.folder / JOURNAL).open("ab") as file:
                file.write(self._line(part, digest).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            path = str(self.folder / JOURNAL)
            raise InputError(Problem(f"cannot be written: {error.strerror}", file=path)) from None
        self.done[part] = digest

    def arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        """All parts one behind the other, in the order of the cells."""
        import xarray

        rows: dict[str, list[npt.NDArray[np.float64]]] = {
            name: [] for name in self.layout.variables
        }
        for part in range(len(self.layout.chunks)):
            content = self._path(part).read_bytes()
            if hashlib.sha256(content).hexdigest() != self.done.get(part):
                message = "is damaged; go on with --resume, which does it again"
                raise InputError(Problem(message, file=str(self._path(part))))
            with xarray.open_dataset(content, engine="scipy") as dataset:
                for name, found in rows.items():
                    found.append(np.asarray(dataset[name].values))
        return {name: np.concatenate(found) for name, found in rows.items()}

    def finish(self, dataset: xarray.Dataset) -> None:
        """Keep everything as one file."""
        write_whole(self.folder / DATASET, to_bytes(dataset))


def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def open_store(
    folder: Path, head: Mapping[str, Any], layout: Layout, *, resume: bool
) -> Iterator[SweepStore]:
    """Begin a sweep's folder, or go on with one.

    Parameters
    ----------
    folder : Path
    head : mapping
        What the sweep is, for JSON. It must be the same when it goes on.
    layout : Layout
    resume : bool

    Raises
    ------
    InputError
        If the folder holds something else, or the study or the code is another one.
    """
    document = {"format": FORMAT, "version": VERSION, **head}
    path = folder / HEAD
    if path.exists():
        if not resume:
            message = "holds a sweep already; --resume goes on with it, or choose another folder"
            raise InputError(Problem(message, file=str(folder)))
        _check_same(read_versioned(path, FORMAT, VERSION), document, path)
    else:
        try:
            if folder.is_dir() and any(folder.iterdir()):
                message = "holds other files; choose an empty folder or a new one"
                raise InputError(Problem(message, file=str(folder)))
            (folder / PARTS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"cannot be written: {error.strerror}"
            raise InputError(Problem(message, file=str(folder))) from None
        write_whole(path, (json.dumps(document, indent=1) + "\n").encode())
    store = SweepStore(folder, layout)
    try:
        yield store
    finally:
        store.close()


def _check_same(old: Mapping[str, Any], new: Mapping[str, Any], path: Path) -> None:
    # As JSON has it, where tuples are lists.
    new = json.loads(json.dumps(new))
    for key in new:
        if key not in _FREE and old.get(key) != new[key]:
            message = (
                "is not what it was when this sweep began, so its halves would not belong "
                "together; choose another folder"
            )
            raise InputError(Problem(message, file=str(path), key=key))


def load_sweep(folder: str | Path) -> xarray.Dataset:
    """The finished results of a sweep.

    Raises
    ------
    InputError
        If there are none.
    """
    import xarray

    path = Path(folder) / DATASET
    if not path.is_file():
        message = "holds no finished sweep; perfmodel sweep STUDY --out FOLDER --resume ends one"
        raise InputError(Problem(message, file=str(folder)))
    try:
        with xarray.open_dataset(path.read_bytes(), engine="scipy") as dataset:
            return dataset.load()
    except Exception as error:  # whatever a damaged file contains, no traceback
        message = f"is no NetCDF file, or not all of it: {error}"
        raise InputError(Problem(message, file=str(path))) from None


def describe(layout: Layout) -> dict[str, Any]:
    """The layout for a head."""
    return {
        "chunks": len(layout.chunks),
        "variables": {
            name: {"dims": list(v.dims), "units": v.unit, "meaning": v.meaning}
            for name, v in layout.variables.items()
        },
    }


def axes_coordinates(values: Sequence[Any]) -> npt.NDArray[Any]:
    """Values of one axis as an array of numbers or of texts."""
    if all(type(value) in (int, float) for value in values):
        return np.asarray(values, dtype=float)
    return np.asarray([str(v).lower() if type(v) is bool else str(v) for v in values])
