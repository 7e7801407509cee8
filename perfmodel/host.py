"""Facts about the computer that perfmodel runs on. Reads, never changes anything."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from pathlib import Path

import attrs


@attrs.frozen
class Processor:
    """A processor as /proc/cpuinfo identifies it; all empty where that file says nothing.

    On arm64 that file has an implementer's number (``0x41``) for the vendor, the architecture for
    the family and the part for the model.
    """

    vendor: str = ""
    family: int = -1
    model: int = -1
    name: str = ""
    guest: bool = False


@cache
def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Processor:
    """The first processor of this computer."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return Processor()
    fields = dict(
        re.findall(r"^([^\t:\n]+?)\s*: ?(.*)$", text.split("\n\n")[0], flags=re.MULTILINE)
    )

    def number(*keys: str) -> int:
        for key in keys:
            if re.fullmatch(r"[0-9]{1,9}|0x[0-9a-fA-F]{1,8}", fields.get(key, "")):
                return int(fields[key], 16 if fields[key].startswith("0x") else 10)
        return -1

    return Processor(
        vendor=fields.get("vendor_id") or fields.get("CPU implementer", ""),
        family=number("cpu family", "CPU architecture"),
        model=number("model", "CPU part"),
        name=fields.get("model name", ""),
        guest="hypervisor" in fields.get("flags", "").split(),
    )


# Bits of KVM's leaf 0x40000001 that bear on shootdowns; Documentation/virt/kvm/x86/cpuid.rst.
_KVM_LEAF, _KVM_FEATURES = 0x40000000, 0x40000001
_KVM_BITS = {5: "steal-time", 9: "pv-tlb-flush", 11: "pv-send-ipi", 13: "pv-sched-yield"}


def kvm_features(cpuid: Path = Path("/dev/cpu/0/cpuid")) -> tuple[str, ...]:
    """What KVM offers its guest for work on other CPUs; empty where it cannot be read.

    Reading takes root and the kernel's cpuid driver.
    """
    try:
        descriptor = os.open(cpuid, os.O_RDONLY)
    except OSError:
        return ()
    try:
        leaf, features = (os.pread(descriptor, 16, at) for at in (_KVM_LEAF, _KVM_FEATURES))
    except OSError:
        return ()
    finally:
        os.close(descriptor)
    if leaf[4:] != b"KVMKVMKVM\0\0\0" or len(features) < 4:
        return ()
    bits = int.from_bytes(features[:4], "little")
    return tuple(name for bit, name in _KVM_BITS.items() if bits >> bit & 1)


def kernel_release() -> str:
    """Kernel version without what a distributor or site appended to it."""
    match = re.match(r"[0-9]+\.[0-9]+(\.[0-9]+)?", platform.release())
    return match[0] if match else platform.release()


def available_memory_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Memory that can be used without pushing anything out."""
    try:
        match = re.search(r"^MemAvailable:\s+([0-9]+) kB$", meminfo.read_text(), re.MULTILINE)
    except OSError:
        match = None
    if match:
        return int(match[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def facts() -> dict[str, str | int | bool]:
    """What a measurement says about its host: no names, no addresses."""
    cpu = processor()
    return {
        "cpu_vendor": cpu.vendor,
        "cpu_family": cpu.family,
        "cpu_model": cpu.model,
        "cpu_name": cpu.name,
        "cpus": os.cpu_count() or 1,
        "virtualisation": "guest" if cpu.guest else "bare metal",
        "kernel": kernel_release(),
        "architecture": platform.machine(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)),
    }
