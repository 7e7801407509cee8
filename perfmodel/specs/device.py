"""Swap devices: what one request and one page cost."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import attrs

from perfmodel.constants import MOST_SWAP_DEVICES
from perfmodel.specs.codec import Codec, across, check_codec
from perfmodel.specs.quantity import Quantity, quantity, text
from perfmodel.specs.service import Service
from perfmodel.specs.zswap import ZswapPool

# Fields that are set by code alone; no file may have them.
NOT_IN_FILES = {"in_files": False}
HIGHEST_PRIORITY = 32767
# What the kernel gives the first device that is switched on without a priority.
FIRST_AUTOMATIC = -2


class DeviceKind(StrEnum):
    """Which service model a device follows."""

    ZRAM = "zram"
    RAM_DISK = "ram-disk"  # loop device over a file on tmpfs
    DISK = "disk"  # loop device with direct I/O over a file on a disk
    SWAP_FILE = "swap-file"  # a file on a file system of a disk
    NVME = "nvme"  # an SSD of its own; only in the model
    PMEM = "pmem"  # memory as a block device: PMEM, emulated or not, brd; only in the model

    @property
    def synchronous(self) -> bool:
        """Whether the faulting CPU itself does the I/O, so that the kernel reads no pages ahead."""
        return self in (DeviceKind.ZRAM, DeviceKind.PMEM)

    @property
    def block_device(self) -> bool:
        """Whether folios of order 1 and more can get slots (a swap file has none for them)."""
        return self is not DeviceKind.SWAP_FILE


@attrs.frozen
class SwapDevice:
    """What one request and one page cost.

    Codec times hold for pages of which one half is random and the other half zero; on a device
    without a codec they are the times that one page takes to transfer. `algorithm` is zram's, and
    so is `codec`, which says what other contents take; `zswap` is what stands in front of another
    device once a scenario switches it on.
    `service` is what a device does with several requests at a time. `priority` and `beside`, which
    no file has, say that other devices are swapped to at the same time: see `together`.
    """

    name: str = attrs.field(validator=text)
    kind: DeviceKind = attrs.field(validator=attrs.validators.instance_of(DeviceKind))
    read_request_ns: Quantity = quantity("ns", "submit and complete one read request")
    write_request_ns: Quantity = quantity("ns", "submit and complete one write request")
    decompress_page_ns: Quantity = quantity("ns", "decompress one 4 KiB page")
    compress_page_ns: Quantity = quantity("ns", "compress one 4 KiB page and store it")
    free_slot_ns: Quantity = quantity("ns", "free the compressed page behind one slot")
    algorithm: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
    description: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
    codec: Codec = attrs.field(factory=dict, validator=check_codec)
    zswap: ZswapPool | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.instance_of(ZswapPool)),
    )
    service: Service | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(Service))
    )
    priority: int | None = attrs.field(default=None, metadata=NOT_IN_FILES)
    beside: tuple[SwapDevice, ...] | None = attrs.field(default=None, metadata=NOT_IN_FILES)

    @property
    def all(self) -> tuple[SwapDevice, ...]:
        """The device and those beside it, in the order in which they are switched on."""
        return (self, *(self.beside or ()))

    @property
    def label(self) -> str:
        """The name; of several, all names and priorities, as `--device` takes them."""
        if self.beside is None:
            return self.name
        return ",".join(f"{one.name}:{one.priority}" for one in self.all)

    def __attrs_post_init__(self) -> None:
        if (self.kind is DeviceKind.ZRAM) != bool(self.algorithm):
            raise ValueError("algorithm must be given for zram, and for nothing else")
        if self.kind is not DeviceKind.ZRAM and self.codec:
            raise ValueError("codec is zram's; what zswap compresses with stands in zswap.codec")
        if self.kind is DeviceKind.ZRAM and self.zswap is not None:
            raise ValueError("zswap must stand in front of a device that does not compress itself")
        if self.kind is DeviceKind.NVME and self.service is None:
            raise ValueError("service must be given for nvme")


def together(devices: Sequence[SwapDevice], priorities: Sequence[int | None]) -> SwapDevice:
    """Several devices that are swapped to at the same time; `beside` of the first has the others.

    Parameters
    ----------
    devices : sequence of SwapDevice
        In the order in which they are switched on.
    priorities : sequence of int or None
        As swapon(8) takes them. Those that have none get -2, -3 and so on, as the kernel does it.
    """
    if len(devices) > MOST_SWAP_DEVICES:
        raise ValueError(f"there must be at most {MOST_SWAP_DEVICES} swap devices")
    ranked = []
    automatic = FIRST_AUTOMATIC
    for device, priority in zip(devices, priorities, strict=True):
        own = automatic if priority is None else priority
        if not -HIGHEST_PRIORITY <= own <= HIGHEST_PRIORITY:
            raise ValueError(f"a priority must be from {-HIGHEST_PRIORITY} to {HIGHEST_PRIORITY}")
        automatic -= priority is None
        ranked.append(attrs.evolve(device, priority=own))
    if len(ranked) == 1:
        return devices[0]
    return attrs.evolve(ranked[0], beside=tuple(ranked[1:]))


def like(device: SwapDevice, fitted: SwapDevice) -> SwapDevice:
    """A zram as it would be on the machine that another one was fitted on.

    Requests and slots do not depend on the codec. The codec's times are the fitted ones, times what
    this codec takes over what that one takes where both were measured side by side.
    """
    return attrs.evolve(
        device,
        read_request_ns=fitted.read_request_ns,
        write_request_ns=fitted.write_request_ns,
        free_slot_ns=fitted.free_slot_ns,
        compress_page_ns=across(
            fitted.compress_page_ns, fitted.codec, device.codec, "compress_page_ns"
        ),
        decompress_page_ns=across(
            fitted.decompress_page_ns, fitted.codec, device.codec, "decompress_page_ns"
        ),
    )
