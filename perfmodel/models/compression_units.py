"""Compression of several pages as one unit: cheaper by the page, dearer for who wants one page.

Stock kernels compress single pages. The multi-page series for zram (T. Zheng and B. Song, 2024)
compresses 16 KiB or 64 KiB of a large folio in one go, and stores it as one object. This is algebra
over what a page costs; the memory side is `SizeClasses(unit_pages=...)`.
"""

from __future__ import annotations

import attrs

from perfmodel.constants import PAGE_BYTES
from perfmodel.models.zsmalloc import SizeClasses
from perfmodel.specs.codec import ContentCost
from perfmodel.specs.quantity import How, Quantity, quantity

_PUBLISHED = "T. Zheng and B. Song, zram multi-page series, zstd on a phone"


@attrs.frozen
class UnitEffects:
    """How a codec's time and result change with the size of the unit.

    Parameters
    ----------
    compress_setup_share, decompress_setup_share : Quantity
        Part of a single page's time that a unit takes once, however many pages it has.
    size_per_doubling : Quantity
        Factor on the compressed size for each doubling of the unit.
    """

    compress_setup_share: Quantity = quantity("1", "once for each unit", maximum=1)
    decompress_setup_share: Quantity = quantity("1", "once for each unit", maximum=1)
    size_per_doubling: Quantity = quantity("1", "compressed size, for each doubling", maximum=1)


# 196 us for 4 KiB and 71.6 us for each of 16 pages: setup + rate and setup / 16 + rate.
ZSTD = UnitEffects(
    compress_setup_share=Quantity(
        0.677, 0.1, "1", f"{_PUBLISHED}: 196 us for a page, 71.6 us for one of 16", How.MEASURED
    ),
    decompress_setup_share=Quantity(
        0.45,
        0.25,
        "1",
        f"{_PUBLISHED}: swap-in of 16 KiB units took 67 % of the time of single pages, everything "
        "included; as if all of it scaled",
        How.ASSUMED,
    ),
    size_per_doubling=Quantity(
        0.948,
        0.04,
        "1",
        f"{_PUBLISHED}: 23.54 % to 19.05 % from 4 to 64 KiB; 20.49 % to 16.9 % from 4 to 16 KiB of "
        "other memory would be 0.908",
        How.MEASURED,
    ),
)


@attrs.frozen
class CompressionUnit:
    """What units of one size cost, from what single pages cost.

    Parameters
    ----------
    page : ContentCost
        A single page.
    pages : int
        Pages of the unit: 1, 2, 4, 8, 16 or 32.
    effects : UnitEffects
        Those of zstd by default; nothing is published for other codecs.
    chain_pages : int
        CONFIG_ZSMALLOC_CHAIN_SIZE.
    """

    page: ContentCost
    pages: int
    effects: UnitEffects = ZSTD
    chain_pages: int = 8
    _classes: SizeClasses = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        classes = SizeClasses(self.chain_pages, self.pages)
        object.__setattr__(self, "_classes", classes)

    def _factor(self, share: Quantity) -> float:
        return share.value + (1.0 - share.value) * self.pages

    @property
    def compress_ns(self) -> float:
        """Compressing and storing one unit."""
        share = self.effects.compress_setup_share
        return self.page.compress_page_ns.value * self._factor(share)

    @property
    def decompress_ns(self) -> float:
        """Decompressing one unit."""
        share = self.effects.decompress_setup_share
        return self.page.decompress_page_ns.value * self._factor(share)

    @property
    def compressed_bytes(self) -> int:
        """What is stored of one unit; all of it where compressing gains nothing."""
        doublings = self.pages.bit_length() - 1
        size = self.page.compressed_bytes.value * self.pages
        if self.page.compressed_bytes.value < PAGE_BYTES:
            size *= self.effects.size_per_doubling.value**doublings
        return int(self._classes.stored_bytes(max(1, round(size))))

    @property
    def memory_bytes(self) -> float:
        """Memory that one unit takes, with its share of its zspage's end."""
        found = self._classes.of(self.compressed_bytes)
        return found.pages * PAGE_BYTES / found.objects

    @property
    def ratio(self) -> float:
        """Memory over content."""
        return self.memory_bytes / (self.pages * PAGE_BYTES)

    def access_ns(self, pages: int) -> float:
        """Codec time until some pages of one unit are there: all of it is decompressed.

        Parameters
        ----------
        pages : int
            How many of its pages are wanted, from 1 on.

        Returns
        -------
        float
            Nanoseconds for each wanted page.
        """
        if not 1 <= pages <= self.pages:
            raise ValueError(f"must be from 1 to {self.pages}")
        return self.decompress_ns / pages

    def break_even_pages(self) -> float:
        """Pages of a unit that must be wanted for it to cost no more than single pages do."""
        return self.decompress_ns / self.page.decompress_page_ns.value
