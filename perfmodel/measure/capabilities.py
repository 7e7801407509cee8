"""What this machine can measure, what is missing, and how to get it."""

from __future__ import annotations

import attrs

from perfmodel.constants import PMD_ORDER
from perfmodel.errors import CapabilityError, InputError
from perfmodel.measure.journal import Journal
from perfmodel.measure.limits import refusals, refusals_of_several, too_large
from perfmodel.measure.system import System
from perfmodel.specs.device import DeviceKind, SwapDevice
from perfmodel.specs.policy import MTHP_ENTRIES, SHMEM_ENTRY, mthp_order
from perfmodel.specs.scenario import Scenario, Zswap


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
    kinds : tuple of DeviceKind
        Kinds of swap device that need it; empty where all do.
    """

    name: str
    available: bool
    detail: str
    remedy: str = ""
    entries: tuple[str, ...] = ()
    kinds: tuple[DeviceKind, ...] = ()

    def blocks(self, entry: str, kind: DeviceKind = DeviceKind.ZRAM) -> bool:
        """Whether it is missing and an entry needs it on a kind of swap device."""
        needed = (not self.entries or entry in self.entries) and (
            not self.kinds or kind in self.kinds
        )
        return needed and not self.available

    def complaint(self) -> str:
        """One line that says what is missing and how to get it."""
        return f"this machine cannot measure it: {self.detail} ({self.name}); {self.remedy}"


def capabilities(system: System | None = None) -> list[Capability]:
    """Check this machine, without changing anything."""
    system = System() if system is None else system
    swaps = system.active_swaps()
    vmstat = system.vmstat()
    zswap = system.read("/sys/module/zswap/parameters/enabled")
    loop = system.has_loop()
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
            kinds=(DeviceKind.ZRAM,),
        ),
        Capability(
            "loop",
            loop,
            "loop devices and losetup" if loop else "no /dev/loop-control, or no losetup",
            "load it with 'modprobe loop' (CONFIG_BLK_DEV_LOOP), install util-linux",
            kinds=(DeviceKind.RAM_DISK, DeviceKind.DISK),
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
        # Whether it was on for a while and stored nothing cannot be seen; it counts all the same.
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


def missing_for(
    entry: str, found: list[Capability], kind: DeviceKind = DeviceKind.ZRAM
) -> list[str]:
    """What keeps an entry from being measured on a kind of swap device, a line each."""
    return [capability.complaint() for capability in found if capability.blocks(entry, kind)]


def measurable(entries: tuple[str, ...], found: list[Capability]) -> list[str]:
    """Those of `entries` that this machine can measure."""
    return [entry for entry in entries if not missing_for(entry, found)]


def require(
    entries: list[str],
    scenarios: list[Scenario],
    device: SwapDevice,
    system: System | None = None,
) -> None:
    """Raise a `CapabilityError` unless every scenario can be measured under every entry."""
    found = capabilities(system)
    if all(scenario.settings.zswap is not Zswap.NEVER for scenario in scenarios):
        found = [capability for capability in found if capability.name != "no-zswap"]
    missing = []
    for one in device.all:
        missing += [line for entry in entries for line in missing_for(entry, found, one.kind)]
        if one.kind is DeviceKind.PMEM:
            missing.append(f"{one.name} exists only in the model; measure on ram-disk or zram-lz4")
        if one.kind is DeviceKind.NVME:
            missing.append(
                f"{one.name} exists only in the model: a whole SSD is never taken for swap; "
                "measure on the device disk, with PERFMODEL_DISK_DIR on that SSD"
            )
    for scenario in scenarios:
        missing += refusals(scenario) + refusals_of_several(scenario, device)
        missing += too_large(scenario, device)
    if missing:
        # What several of them lack is said once.
        raise CapabilityError(dict.fromkeys(missing))
