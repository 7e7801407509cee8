"""What a journal may name, and how each such change is taken back.

Nothing here trusts the journal: a setting must be one that we set, a device must carry our label, a
loop device our file, and a file or cgroup our name.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perfmodel.errors import CapabilityError
from perfmodel.measure.cgroup import MemoryCgroup
from perfmodel.measure.system import SWAP_LABEL, System, swap_label, swap_off, write_setting

Change = dict[str, Any]

_THP_SETTING = re.compile(r"(hugepages-[0-9]{1,7}kB|khugepaged)/[a-z_]{1,40}|enabled|shmem_enabled")
_ROTATIONAL = re.compile(r"rotational/([a-z][a-z0-9!-]{0,30})")
_OTHER_SETTINGS = {
    "page-cluster": "/proc/sys/vm/page-cluster",
    "vma_ra_enabled": "/sys/kernel/mm/swap/vma_ra_enabled",
    "zswap": "/sys/module/zswap/parameters/enabled",
}
_VALUE = re.compile(r"[A-Za-z0-9_+]{1,20}")
_FILE = re.compile(r"(/[A-Za-z0-9_.@+-]{1,255}){1,20}/perfmodel-swap-[0-9]{1,10}(-[1-7])?")
_CGROUP = re.compile(r"(/[A-Za-z0-9_.@:+\\-]{1,255}){1,20}/perfmodel-[0-9]{1,10}(-limited)?")
_HIGHEST_NUMBER = 1 << 20
_MOST_SECONDS = 5.0


def setting_path(system: System, name: str) -> Path:
    """The kernel file behind a setting's name in the journal.

    A name below the THP folder, or ``page-cluster``, ``vma_ra_enabled``, ``zswap``,
    ``rotational/<disk>``.
    """
    if name in _OTHER_SETTINGS:
        return system.path(_OTHER_SETTINGS[name])
    disk = _ROTATIONAL.fullmatch(name)
    return system.path(f"/sys/block/{disk[1]}/queue/rotational") if disk else system.thp / name


def checked(change: Any) -> Change:
    """The change, if it is one that we could have made; ValueError otherwise."""
    fits = _CHECKS[change["undo"]]
    if not fits(change):
        raise ValueError("not a change of ours")
    return {key: change[key] for key in ("undo", *_KEYS[change["undo"]])}


def _is_setting(change: Change) -> bool:
    name = change["name"]
    known = name in _OTHER_SETTINGS or _THP_SETTING.fullmatch(name) or _ROTATIONAL.fullmatch(name)
    return bool(known and _VALUE.fullmatch(change["value"]))


def _is_number(number: Any) -> bool:
    return type(number) is int and 0 <= number < _HIGHEST_NUMBER


def _is_zram(change: Change) -> bool:
    number = change["number"]
    return (number is None or _is_number(number)) and all(map(_is_number, change["before"]))


def _is_loop(change: Change) -> bool:
    return _is_number(change["number"]) and type(change["added"]) is bool and _is_file(change)


def _is_file(change: Change) -> bool:
    return _stands_plainly(_FILE, change["file"])


def _is_cgroup(change: Change) -> bool:
    return _stands_plainly(_CGROUP, change["folder"])


def _stands_plainly(pattern: re.Pattern[str], name: str) -> bool:
    return bool(pattern.fullmatch(name)) and ".." not in name.split("/")


_KEYS = {
    "setting": ("name", "value"),
    "zram": ("number", "before"),
    "loop": ("number", "file", "added"),
    "file": ("file",),
    "cgroup": ("folder",),
}
_CHECKS: dict[str, Callable[[Change], bool]] = {
    "setting": _is_setting,
    "zram": _is_zram,
    "loop": _is_loop,
    "file": _is_file,
    "cgroup": _is_cgroup,
}


def undo(system: System, change: Change) -> None:
    """Take one change back; nothing happens where it was never made.

    Raises
    ------
    CapabilityError
        If the kernel does not let us.
    """
    try:
        _undo(system, change)
    except OSError as error:
        raise CapabilityError(f"not {describe(change)}: {error}") from None


def _undo(system: System, change: Change) -> None:
    if change["undo"] == "setting":
        write_setting(setting_path(system, change["name"]), change["value"])
    elif change["undo"] == "zram":
        numbers = [change["number"]]
        if change["number"] is None:
            numbers = [n for n in system.zram_numbers() if n not in change["before"]]
        for number in numbers:
            _remove_zram(system, number)
    elif change["undo"] == "loop":
        _detach_loop(system, change)
    elif change["undo"] == "file":
        _remove_file(system, Path(change["file"]))
    else:
        MemoryCgroup(Path(change["folder"])).remove()


def _swap_off_if_ours(system: System, device: Path) -> bool:
    """Stop swapping to a device; False if it is somebody else's by now."""
    if str(device) in system.active_swaps():
        if swap_label(device) != SWAP_LABEL:
            return False
        swap_off(device)
    return True


def _remove_zram(system: System, number: int) -> None:
    block = system.path(f"/sys/block/zram{number}")
    device = system.path(f"/dev/zram{number}")
    if not block.exists() or not _swap_off_if_ours(system, device):
        return
    if (system.read(f"/sys/block/zram{number}/disksize") or "0") != "0":
        if swap_label(device) not in (SWAP_LABEL, ""):
            return
        write_setting(block / "reset", "1")
    write_setting(system.path("/sys/class/zram-control/hot_remove"), str(number))


def _detach_loop(system: System, change: Change) -> None:
    number = change["number"]
    if system.loop_file(number) != change["file"]:
        return  # never attached, or somebody else's by now
    if not _swap_off_if_ours(system, system.path(f"/dev/loop{number}")):
        return
    deadline = time.monotonic() + _MOST_SECONDS
    while system.loop_file(number) == change["file"]:
        if time.monotonic() > deadline:
            raise CapabilityError(f"/dev/loop{number} is still in use and cannot be detached")
        system.detach_loop(number)
        time.sleep(0.02)
    if change["added"]:
        system.remove_loop(number)


def _remove_file(system: System, file: Path) -> None:
    if not _swap_off_if_ours(system, file):
        return
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise CapabilityError(f"{file} cannot be removed: {error.strerror}") from None


def describe(change: Change) -> str:
    """One line that says what was taken back."""
    if change["undo"] == "setting":
        name = change["name"]
        thp = "transparent_hugepage/" if _THP_SETTING.fullmatch(name) else ""
        return f"set {thp}{name} back to {change['value']}"
    return {
        "zram": "removed the zram device",
        "loop": "detached the loop device",
        "file": "removed the file behind the swap device",
        "cgroup": "removed the memory cgroup",
    }[change["undo"]]
