"""Swap devices: what one request and one page cost."""

from __future__ import annotations

from enum import StrEnum

import attrs

from perfmodel.specs.quantity import Quantity, quantity, text


class DeviceKind(StrEnum):
    """Which service model a device follows."""

    ZRAM = "zram"


@attrs.frozen
class SwapDevice:
    """A synchronous, compressed RAM device (zram): the faulting CPU itself does the I/O.

    Codec times hold for pages of which one half is random and the other half zero.
    """

    name: str = attrs.field(validator=text)
    kind: DeviceKind = attrs.field(validator=attrs.validators.instance_of(DeviceKind))
    algorithm: str = attrs.field(validator=text)
    read_request_ns: Quantity = quantity("ns", "submit and complete one read request")
    write_request_ns: Quantity = quantity("ns", "submit and complete one write request")
    decompress_page_ns: Quantity = quantity("ns", "decompress one 4 KiB page")
    compress_page_ns: Quantity = quantity("ns", "compress one 4 KiB page and store it")
    free_slot_ns: Quantity = quantity("ns", "free the compressed page behind one slot")
    description: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
