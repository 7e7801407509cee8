"""Strategies that those for spec classes are made of."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st

from perfmodel.specs.quantity import How, Quantity

texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12
).filter(lambda text: text.strip() != "")
names = st.from_regex(r"[a-z][a-z0-9-]{0,11}", fullmatch=True)


def quantities(
    unit: str = "ns", *, minimum: float = 0.0, maximum: float = 1e6, whole: bool = False
) -> st.SearchStrategy[Quantity]:
    numbers: st.SearchStrategy[float] = st.floats(minimum, maximum, allow_subnormal=False)
    if whole:
        numbers = st.integers(int(minimum), int(maximum)).map(float)
    return st.builds(
        Quantity,
        value=numbers,
        spread=st.floats(0, min(100, maximum), allow_subnormal=False),
        unit=st.just(unit),
        source=texts,
        how=st.sampled_from(How),
    )


def priced(kind: type, /, **given_fields: Any) -> st.SearchStrategy[Any]:
    """A spec whose remaining fields are quantities in the unit that each field names."""
    fields = {
        attribute.name: quantities(attribute.metadata["unit"])
        for attribute in attrs.fields(kind)
        if "unit" in attribute.metadata
    }
    return st.builds(kind, **(fields | given_fields))
