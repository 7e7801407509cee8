"""What a machine is set up as: two runs that differ in any of it are not to be thrown together."""

from __future__ import annotations

from collections.abc import Mapping

from perfmodel.errors import InputError, Problem
from perfmodel.host import facts
from perfmodel.measure.system import System, chosen

_UNKNOWN = "unknown"
_THP_FILES = ("enabled", "defrag", "shmem_enabled", "khugepaged/defrag", "use_zero_page")
_OTHER_FILES = {
    "page_cluster": "/proc/sys/vm/page-cluster",
    "vma_readahead": "/sys/kernel/mm/swap/vma_ra_enabled",
    "swappiness": "/proc/sys/vm/swappiness",
    "zswap": "/sys/module/zswap/parameters/enabled",
    "frequency_driver": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver",
    "frequency_governor": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "simultaneous_multithreading": "/sys/devices/system/cpu/smt/active",
    "clock_source": "/sys/devices/system/clocksource/clocksource0/current_clocksource",
}


def setup(system: System | None = None) -> dict[str, str]:
    """Host and settings by name; what this kernel does not tell is ``unknown``.

    CPU family, guest or bare metal, kernel version, frequency driver; THP, mTHP, swap and readahead
    settings. No names of hosts and no addresses.
    """
    system = System() if system is None else system
    found = {name: str(value) for name, value in facts().items()}
    for name in _THP_FILES:
        text = system.read(f"{system.thp.relative_to(system.root)}/{name}")
        found[f"thp_{name.replace('/', '_')}"] = _UNKNOWN if text is None else chosen(text)
    for folder in sorted(system.thp.glob("hugepages-*kB")):
        for file in ("enabled", "shmem_enabled"):
            if (folder / file).is_file():
                found[f"{folder.name}/{file}"] = chosen((folder / file).read_text())
    for name, file in _OTHER_FILES.items():
        text = system.read(file)
        found[name] = _UNKNOWN if text is None else text
    found["swap"] = " ".join(sorted(system.active_swaps())) or "none"
    return found


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """What two set-ups differ in, as ``name: this, that``."""
    return [
        f"{name}: {first.get(name, _UNKNOWN)}, {second.get(name, _UNKNOWN)}"
        for name in sorted(first.keys() | second.keys())
        if first.get(name, _UNKNOWN) != second.get(name, _UNKNOWN)
    ]


def require_same(setups: Mapping[str, Mapping[str, str]], key: str = "evidence") -> None:
    """Refuse runs of different set-ups.

    Parameters
    ----------
    setups : mapping
        Set-up by what the run is called, such as its file.
    key : str

    Raises
    ------
    InputError
        With what each run has otherwise than the first.
    """
    problems = []
    names = list(setups)
    for name in names[1:]:
        if found := differences(setups[names[0]], setups[name]):
            message = f"was measured on another set-up than {names[0]} ({'; '.join(found)})"
            problems.append(Problem(message, file=name, key=key))
    if problems:
        raise InputError(problems)
