"""What this machine can measure, what is missing, and how to get it."""

from __future__ import annotations

import attrs

from perfmodel.constants import PMD_ORDER
from perfmodel.errors import CapabilityError, InputError
from perfmodel.host import available_memory_bytes
from perfmodel.measure.journal import Journal
from perfmodel.measure.system import System
from perfmodel.specs.policy import MTHP_ENTRIES, SHMEM_ENTRY, mthp_order
from perfmodel.specs.scenario import Scenario
from perfmodel.units import format_bytes


@attrs.frozen
class Capability:
    """One thing that measuring needs.

    Parameters
    ----------
    name : str
        Short name.
    available : bool
    detail : str
        What was found.
    remedy : str
        How to get it where it is missing.
    entries : tuple of str
        Entries that need it; empty where all do.
    """

    name: str
    available: bool
    detail: str
    remedy: str = ""
    entries: tuple[str, ...] = ()

    def blocks(self, entry: str) -> bool:
        """Whether it is missing and an entry needs it."""
        return not self.available and (not self.entries or entry in self.entries)

    def complaint(self) -> str:
        """One line that says what is missing and how to get it."""
        return f"this machine cannot measure it: {self.detail} ({self.name}); {self.remedy}"


def capabilities(system: System | None = None) -> list[Capability]:
    """Check this machine, without changing anything."""
    system = System() if system is None else system
    swaps = system.active_swaps()
    vmstat = system.vmstat()
    zswap = system.read("/sys/module/zswap/parameters/enabled")
    zswap_used = vmstat.get("zswpout", 0) > 0
    found = [
        Capability(
            "root",
            system.is_root(),
            "running as root" if system.is_root() else "running as an ordinary user",
            "run as root: swap devices and THP settings belong to it",
        ),
        Capability(
            "thp",
            system.has_size(PMD_ORDER),
            "2 MiB THPs can be enabled by size" if system.has_size(PMD_ORDER) else "not found",
            "use Linux 6.8 or newer with CONFIG_TRANSPARENT_HUGEPAGE",
        ),
        Capability(
            "thp-swap",
            "thp_swpout" in vmstat,
            "thp_swpout in /proc/vmstat" if "thp_swpout" in vmstat else "no thp_swpout",
            "use a kernel with CONFIG_THP_SWAP",
        ),
        Capability(
            "zram",
            system.can_add_zram(),
            "devices can be added" if system.can_add_zram() else "no /sys/class/zram-control",
            "load it with 'modprobe zram' (CONFIG_ZRAM)",
        ),
        Capability(
            "mkswap",
            system.has_mkswap(),
            "found" if system.has_mkswap() else "not found",
            "install util-linux",
        ),
        Capability(
            "no-other-swap",
            not swaps,
            f"swap is in use on {', '.join(swaps)}" if swaps else "no swap in use",
            "its traffic would mix with what is counted; turn it off with swapoff while measuring",
        ),
        Capability(
            "no-zswap",
            zswap in (None, "N") and not zswap_used,
            "zswap is or was on" if zswap not in (None, "N") or zswap_used else "zswap is off",
            "boot with zswap.enabled=0: once used, it keeps swap-in at single pages until reboot",
        ),
        Capability(
            "shmem-thp",
            system.has_shmem_thp(),
            "memfd memory can have THPs" if system.has_shmem_thp() else "no shmem_enabled",
            "use a kernel with CONFIG_SHMEM and THP",
            (SHMEM_ENTRY,),
        ),
        Capability(
            "pmd-swap-entries",
            system.has_pmd_swap_entries(),
            "thp_swpout_pmd in /proc/vmstat"
            if system.has_pmd_swap_entries()
            else "stock kernel: no thp_swpout_pmd in /proc/vmstat",
            f"apply the PMD swap entry series; until then {SHMEM_ENTRY} stands in for it",
            ("pmd",),
        ),
    ]
    for entry in MTHP_ENTRIES:
        available = system.has_size(mthp_order(entry))
        found.append(
            Capability(
                entry,
                available,
                "can be enabled" if available else "not offered by this kernel",
                "use Linux 6.14 or newer",
                (entry,),
            )
        )
    return found


def left_over_changes(system: System | None = None) -> Capability:
    """Whether a killed run left something to put back."""
    try:
        changes = Journal(System() if system is None else system).left_over()
        detail = f"{len(changes)} changes of a killed run" if changes else "nothing left over"
    except InputError as error:
        changes, detail = [{}], str(error)
    return Capability("clean", not changes, detail, "run 'perfmodel doctor --restore'")


def missing_for(entry: str, found: list[Capability]) -> list[str]:
    """What keeps an entry from being measured, a line each."""
    return [capability.complaint() for capability in found if capability.blocks(entry)]


def measurable(entries: tuple[str, ...], found: list[Capability]) -> list[str]:
    """Those of `entries` that this machine can measure."""
    return [entry for entry in entries if not missing_for(entry, found)]


def require(entries: list[str], scenario: Scenario, system: System | None = None) -> None:
    """Raise a `CapabilityError` unless every entry can be measured with this scenario."""
    found = capabilities(system)
    # What several entries lack is said once.
    missing = list(dict.fromkeys(line for entry in entries for line in missing_for(entry, found)))
    needed = memory_needed(scenario)
    available = available_memory_bytes()
    if needed > available:
        missing.append(
            f"scenario {scenario.name!r} is too large for this machine: a run takes "
            f"{format_bytes(needed)} of memory and {format_bytes(available)} are available; "
            "choose a smaller region.size"
        )
    if missing:
        raise CapabilityError(missing)


def memory_needed(scenario: Scenario) -> int:
    """Memory that one run takes at most: the region, its compressed copy, and some air."""
    return 3 * scenario.region.size_bytes + (512 << 20)
