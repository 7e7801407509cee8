"""What a measurement changes is written down before it is changed, and put back from there.

The journal survives a kill. It is checked against what it may name before anything is undone, see
`undo`.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from perfmodel.errors import CapabilityError, InputError, PerfmodelError, Problem
from perfmodel.measure.system import System, write_setting
from perfmodel.measure.undo import Change, checked, describe, setting_path, undo


def state_folder() -> Path:
    """Where journal and lock stand: in memory, so that they end with the boot."""
    return Path(os.environ.get("PERFMODEL_STATE_DIR", "/run/perfmodel"))


class Journal:
    """Changes made to one system, in order, each written down first."""

    def __init__(self, system: System, folder: Path | None = None) -> None:
        self.system = system
        self.folder = state_folder() if folder is None else folder
        self.file = self.folder / "journal.json"
        self._lock: int | None = None
        self._changes: list[Change] = []

    def acquire(self) -> None:
        """Become the only measurement on this machine.

        Raises
        ------
        CapabilityError
            If another one is running.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            message = f"{self.folder} cannot be written: {error.strerror}; set PERFMODEL_STATE_DIR"
            raise CapabilityError(message) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise CapabilityError(
                "another perfmodel measurement is running on this machine; wait until it has ended"
            ) from None
        self._lock = lock

    def release(self) -> None:
        """Let others measure."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def change_setting(self, name: str, value: str, previous: str) -> None:
        """Set a kernel file, see `undo.setting_path`, after noting what stood there."""
        self._note({"undo": "setting", "name": name, "value": previous})
        write_setting(setting_path(self.system, name), value)

    def note_new_zram(self) -> None:
        """Note that a zram device is about to be added."""
        self._note({"undo": "zram", "number": None, "before": self.system.zram_numbers()})

    def note_zram_number(self, number: int) -> None:
        """Note which number the new zram device got."""
        self._changes[-1]["number"] = number
        self._write()

    def note_file(self, file: Path) -> None:
        """Note that a file is about to be made, to swap to or behind a loop device."""
        self._note({"undo": "file", "file": str(file)})

    def note_loop(self, number: int, file: Path, *, added: bool) -> None:
        """Note that a file is about to be attached to a loop device, and whether that is new."""
        self._note({"undo": "loop", "number": number, "file": str(file), "added": added})

    def note_cgroup(self, folder: Path) -> None:
        """Note that a memory cgroup is about to be made."""
        self._note({"undo": "cgroup", "folder": str(folder)})

    def _note(self, change: Change) -> None:
        try:
            checked(change)
        except ValueError:
            # It would be taken for somebody else's when it is to be put back.
            message = f"{change.get('file', change.get('folder'))} is no plain name; choose another"
            raise CapabilityError(message) from None
        self._changes.append(change)
        self._write()

    def _write(self) -> None:
        document = {
            "version": 1,
            "boot_id": self.system.boot_id(),
            "pid": os.getpid(),
            "changes": self._changes,
        }
        handle, name = tempfile.mkstemp(dir=self.folder, prefix="journal-")
        with os.fdopen(handle, "w") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(self.file)

    def left_over(self) -> list[Change]:
        """Changes that a killed run did not put back.

        Raises
        ------
        InputError
            If the journal is damaged or names something that is not ours to touch.
        """
        try:
            text = self.file.read_text()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError):
            raise InputError(Problem("cannot be read", file=str(self.file))) from None
        try:
            document = json.loads(text)
            changes = [checked(change) for change in document["changes"]]
            boot_id = document["boot_id"]
        except (ValueError, KeyError, TypeError, RecursionError):
            message = "is damaged; check THP settings and swap devices by hand, then delete it"
            raise InputError(Problem(message, file=str(self.file))) from None
        return changes if boot_id == self.system.boot_id() else []

    def restore(self, report: Callable[[str], None] = lambda _: None) -> int:
        """Put everything back, last change first; the number of changes that were undone.

        Goes on after a failure, and raises the first one at the end with the journal kept.
        """
        changes = self.left_over()
        failures: list[Change] = []
        first_error: PerfmodelError | None = None
        for change in reversed(changes):
            try:
                undo(self.system, change)
                report(describe(change))
            except PerfmodelError as error:
                failures.insert(0, change)
                first_error = first_error or error
        self._changes = failures
        if first_error is not None:
            self._write()
            raise first_error
        self.file.unlink(missing_ok=True)
        return len(changes)
