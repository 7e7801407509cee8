"""Swap devices: what one request and one page cost."""

from __future__ import annotations

from enum import StrEnum

import attrs

from perfmodel.specs.codec import Codec, across, check_codec
from perfmodel.specs.quantity import Quantity, quantity, text
from perfmodel.specs.service import Service
from perfmodel.specs.zswap import ZswapPool


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
    `service` is what a device does with several requests at a time.
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

    def __attrs_post_init__(self) -> None:
        if (self.kind is DeviceKind.ZRAM) != bool(self.algorithm):
            raise ValueError("algorithm must be given for zram, and for nothing else")
        if self.kind is not DeviceKind.ZRAM and self.codec:
            raise ValueError("codec is zram's; what zswap compresses with stands in zswap.codec")
        if self.kind is DeviceKind.ZRAM and self.zswap is not None:
            raise ValueError("zswap must stand in front of a device that does not compress itself")
        if self.kind is DeviceKind.NVME and self.service is None:
            raise ValueError("service must be given for nvme")


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
