"""Every spec class has a strategy, so that none is left out of the property tests."""

import importlib
import pkgutil

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import perfmodel.specs
from tests.strategies import FOR_CLASS


def spec_classes() -> set[type]:
    found = set()
    for info in pkgutil.iter_modules(perfmodel.specs.__path__, "perfmodel.specs."):
        module = importlib.import_module(info.name)
        found |= {
            value
            for value in vars(module).values()
            if isinstance(value, type) and attrs.has(value) and value.__module__ == info.name
        }
    return found


def test_every_spec_class_has_a_strategy():
    assert spec_classes() == set(FOR_CLASS)


@pytest.mark.parametrize("kind", FOR_CLASS, ids=lambda kind: kind.__name__)
@settings(max_examples=10)
@given(data=st.data())
def test_strategies_build_frozen_specs(kind, data):
    spec = data.draw(FOR_CLASS[kind])
    assert type(spec) is kind
    assert attrs.evolve(spec) == spec
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(spec, attrs.fields(kind)[0].name, None)
