"""Units are converted once, while a file is read; everything behind that is plain numbers.

The only module that imports pint, and it does so late, since most commands need no conversion
before they print their help.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import cache
from typing import Any

_UNIT_TEXT = re.compile(r"[A-Za-zµ]{1,16}(/[A-Za-z]{1,8})?")
_QUANTITY_TEXT = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]{1,16})\s*")

# One canonical unit per dimension, and what to suggest when a file uses something else.
_SUGGESTIONS = {
    "ns": "ns, us or ms",
    "byte": "B, KiB, MiB, GiB or TiB",
    "byte/s": "B/s, MB/s, MiB/s, GB/s or GiB/s",
    "1": '"1"',
}


@cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry()


def conversion_factor(unit: str, canonical: str) -> float:
    """Factor that turns a number in `unit` into one in `canonical`.

    Raises
    ------
    ValueError
        If the unit is unknown or measures something else; the text says what would be right.
    """
    wanted = _SUGGESTIONS.get(canonical, canonical)
    if unit == canonical:
        return 1.0
    if canonical == "1" or not _UNIT_TEXT.fullmatch(unit):
        raise ValueError(f"unit {unit[:20]!r} does not fit here; use {wanted}")
    registry = _registry()
    try:
        factor = float(registry.Quantity(1.0, unit).to(canonical).magnitude)
    except Exception:  # pint raises a dozen unrelated types for a bad unit text
        raise ValueError(f"unit {unit[:20]!r} does not fit here; use {wanted}") from None
    if not math.isfinite(factor) or factor <= 0:
        raise ValueError(f"unit {unit[:20]!r} does not fit here; use {wanted}")
    # pint multiplies its way through the prefixes, which leaves 999.9999999999999 ns in a us.
    whole = round(factor) if factor >= 1 else round(1 / factor)
    exact = float(whole) if factor >= 1 else 1 / whole
    return exact if abs(factor / exact - 1) < 1e-9 else factor


def parse_bytes(text: str) -> int:
    """Bytes in a text such as ``"64 MiB"``.

    Raises
    ------
    ValueError
        If the text is no size, or no whole number of bytes.
    """
    match = _QUANTITY_TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f'{text[:40]!r} is no size; write for example "64 MiB"')
    size = Fraction(match[1]) * Fraction(conversion_factor(match[2], "byte"))
    if size.denominator != 1:
        raise ValueError(f"{text!r} is no whole number of bytes")
    return int(size)


def format_bytes(size: int) -> str:
    """Bytes for people: the largest binary unit that keeps the number at least 1."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size} B"
