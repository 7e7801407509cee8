"""Strategies for what files contain: TOML that may or may not mean something."""

from __future__ import annotations

import datetime

import attrs
from hypothesis import strategies as st

from tests.strategies import FOR_CLASS

toml_scalars = (
    st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=12)
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.just(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    | st.sampled_from(["ns", "1", "MiB", "64 MiB", "fill", "zero", "pte", "measured", "$x"])
)
_KEYS = sorted(
    {attribute.name for kind in FOR_CLASS for attribute in attrs.fields(kind)} | {"size"}
)
toml_keys = st.sampled_from(_KEYS) | st.text(max_size=8)
toml_values = st.recursive(
    toml_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(toml_keys, inner, max_size=5),
    max_leaves=12,
)
toml_tables = st.dictionaries(toml_keys, toml_values, max_size=8)
