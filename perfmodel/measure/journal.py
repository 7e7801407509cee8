"""What a measurement changes is written down before it is changed, and put back from there.

The journal survives a kill. It is checked against what it may name before anything is undone: it
can set THP settings back and remove zram devices that carry our label, and nothing else.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perfmodel.errors import CapabilityError, InputError, PerfmodelError, Problem
from perfmodel.measure.system import (
    SWAP_LABEL,
    System,
    swap_label,
    swap_off,
    write_setting,
)

_SETTING = re.compile(r"(hugepages-[0-9]{1,7}kB|khugepaged)/[a-z_]{1,40}|enabled|shmem_enabled")
_VALUE = re.compile(r"[a-z0-9_+]{1,20}")


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
        self._changes: list[dict[str, Any]] = []

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
        """Set a file below the THP folder, after noting what stood there."""
        self._note({"undo": "setting", "name": name, "value": previous})
        write_setting(self.system.thp / name, value)

    def note_new_zram(self) -> None:
        """Note that a zram device is about to be added."""
        self._note({"undo": "zram", "number": None, "before": self.system.zram_numbers()})

    def note_zram_number(self, number: int) -> None:
        """Note which number the new zram device got."""
        self._changes[-1]["number"] = number
        self._write()

    def _note(self, change: dict[str, Any]) -> None:
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

    def left_over(self) -> list[dict[str, Any]]:
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
            changes = [_checked(change) for change in document["changes"]]
            boot_id = document["boot_id"]
        except (ValueError, KeyError, TypeError, RecursionError):
            message = "is damaged; check THP settings and zram devices by hand, then delete it"
            raise InputError(Problem(message, file=str(self.file))) from None
        return changes if boot_id == self.system.boot_id() else []

    def restore(self, report: Callable[[str], None] = lambda _: None) -> int:
        """Put everything back, last change first; the number of changes that were undone.

        Goes on after a failure, and raises the first one at the end with the journal kept.
        """
        changes = self.left_over()
        failures: list[dict[str, Any]] = []
        first_error: PerfmodelError | None = None
        for change in reversed(changes):
            try:
                self._undo(change)
                report(_describe(change))
            except PerfmodelError as error:
                failures.insert(0, change)
                first_error = first_error or error
        self._changes = failures
        if first_error is not None:
            self._write()
            raise first_error
        self.file.unlink(missing_ok=True)
        return len(changes)

    def _undo(self, change: dict[str, Any]) -> None:
        if change["undo"] == "setting":
            write_setting(self.system.thp / change["name"], change["value"])
            return
        numbers = [change["number"]]
        if change["number"] is None:
            numbers = [n for n in self.system.zram_numbers() if n not in change["before"]]
        for number in numbers:
            self._remove_zram(number)

    def _remove_zram(self, number: int) -> None:
        block = self.system.path(f"/sys/block/zram{number}")
        device = self.system.path(f"/dev/zram{number}")
        if not block.exists():
            return
        if str(device) in self.system.active_swaps():
            if swap_label(device) != SWAP_LABEL:
                return  # somebody else's swap by now
            swap_off(device)
        if (self.system.read(f"/sys/block/zram{number}/disksize") or "0") != "0":
            if swap_label(device) not in (SWAP_LABEL, ""):
                return
            write_setting(block / "reset", "1")
        write_setting(self.system.path("/sys/class/zram-control/hot_remove"), str(number))


def _checked(change: Any) -> dict[str, Any]:
    """The change, if it is one that we could have made; ValueError otherwise."""
    if change["undo"] == "setting":
        if _SETTING.fullmatch(change["name"]) and _VALUE.fullmatch(change["value"]):
            return {key: change[key] for key in ("undo", "name", "value")}
    elif change["undo"] == "zram":
        numbers = [*change["before"], 0 if change["number"] is None else change["number"]]
        if all(type(number) is int and 0 <= number < 1 << 20 for number in numbers):
            return {key: change[key] for key in ("undo", "number", "before")}
    raise ValueError("not a change of ours")


def _describe(change: dict[str, Any]) -> str:
    if change["undo"] == "setting":
        return f"set transparent_hugepage/{change['name']} back to {change['value']}"
    return "removed the zram device"
