"""What compressing a page costs and saves, by what the page holds."""

from __future__ import annotations

from collections.abc import Mapping
from math import hypot

import attrs

from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD
from perfmodel.specs.quantity import How, Quantity, quantity
from perfmodel.specs.scenario import PageContent


@attrs.frozen
class ContentCost:
    """Times and size of pages of one content, on the CPU that the sources name.

    Parameters
    ----------
    compress_page_ns, decompress_page_ns : Quantity
        Codec and allocator alone, for 4 KiB: what a page takes beyond the request it is part of.
    compressed_bytes : Quantity
        What is stored of a page: 0 for a page that zram keeps as one word, 4096 for one that it
        keeps as it is.
    """

    compress_page_ns: Quantity = quantity("ns", "compress one 4 KiB page and store it")
    decompress_page_ns: Quantity = quantity("ns", "decompress one 4 KiB page")
    compressed_bytes: Quantity = quantity("byte", "size of what is stored", maximum=PAGE_BYTES)


Codec = dict[PageContent, ContentCost]

# The content that a device's own prices are for.
REFERENCE = PageContent.HALF_RANDOM
# A range of ``one-non-zero`` is pages of zeros and one that is half random.
PLAIN_CONTENTS = tuple(c for c in PageContent if c is not PageContent.ONE_NON_ZERO)


def check_codec(_: object, attribute: attrs.Attribute[Codec], value: object) -> None:
    """Validator: nothing, or the costs of every plain content."""
    if not isinstance(value, dict) or any(
        not isinstance(content, PageContent) or not isinstance(cost, ContentCost)
        for content, cost in value.items()
    ):
        raise ValueError(f"{attribute.name} must be a table of costs for each content")
    if not value:
        return
    if set(value) != set(PLAIN_CONTENTS):
        wanted = ", ".join(PLAIN_CONTENTS)
        raise ValueError(f"must be empty or have costs for exactly these contents: {wanted}")
    reference = value[REFERENCE]
    if not (reference.compress_page_ns.value and reference.decompress_page_ns.value):
        raise ValueError(f"the times for {REFERENCE} must not be 0: others are scaled by them")


def price(
    base: Quantity, codec: Mapping[PageContent, ContentCost], name: str, content: PageContent
) -> Quantity:
    """A price for pages of half-random content, turned into that for another content.

    The price times what the codec takes for the content over what it takes for the reference; so a
    codec's numbers, measured side by side on one CPU, serve a price that was fitted on another.
    Without a codec, and for the reference itself, the price stays as it is.

    Parameters
    ----------
    base : Quantity
        Price of a half-random page.
    codec : mapping
        `SwapDevice.codec`.
    name : str
        Which number of `ContentCost` tells the ratio.
    content : PageContent
    """
    if not codec or content is REFERENCE:
        return base
    reference = getattr(codec[REFERENCE], name)
    if content is PageContent.ONE_NON_ZERO:
        # Whoever writes any of its zero pages writes all 512 in one folio: their mean price.
        zero = price(base, codec, name, PageContent.ZERO)
        return attrs.evolve(
            zero,
            value=((PAGES_PER_PMD - 1) * zero.value + base.value) / PAGES_PER_PMD,
            spread=hypot((PAGES_PER_PMD - 1) * zero.spread, base.spread) / PAGES_PER_PMD,
        )
    return _times(base, getattr(codec[content], name), reference, f"for {content} pages")


def across(
    base: Quantity,
    known: Mapping[PageContent, ContentCost],
    other: Mapping[PageContent, ContentCost],
    name: str,
) -> Quantity:
    """A price of one codec, turned into that of another for the same half-random pages.

    Parameters
    ----------
    base : Quantity
        Price of the codec that is `known`.
    known, other : mapping
        Both codecs' costs, on one CPU.
    name : str
        Which number of `ContentCost` tells the ratio.
    """
    cost, reference = getattr(other[REFERENCE], name), getattr(known[REFERENCE], name)
    return _times(base, cost, reference, "for another codec")


def _times(base: Quantity, cost: Quantity, reference: Quantity, what: str) -> Quantity:
    factor = cost.value / reference.value
    return Quantity(
        value=base.value * factor,
        spread=hypot(base.spread * factor, base.value * cost.spread / reference.value),
        unit=base.unit,
        source=f"{base.source}; times {factor:.3g} {what}: {cost.source}",
        how=max(base.how, cost.how, key=list(How).index),
    )
