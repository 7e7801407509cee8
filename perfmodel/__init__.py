"""What a huge page costs on its way to swap and back, modelled and measured.

The names below are loaded when they are first used, so that `import perfmodel` costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "machine": ("perfmodel.specs.catalog", "load_machine"),
    "device": ("perfmodel.specs.catalog", "load_device"),
    "scenario": ("perfmodel.specs.catalog", "load_scenario"),
    "study": ("perfmodel.specs.catalog", "load_study"),
    "installed": ("perfmodel.specs.catalog", "installed"),
    "evidence": ("perfmodel.specs.catalog", "evidence"),
    "prices": ("perfmodel.models.prices", "prices"),
    "prior": ("perfmodel.calibrate.prior", "prior"),
    "sweep": ("perfmodel.studies.sweep", "sweep"),
    "simulate": ("perfmodel.models.simulated", "simulate"),
    "compare": ("perfmodel.studies.compare", "compare"),
    "measure": ("perfmodel.measure.run", "measure"),
    "PerfmodelError": ("perfmodel.errors", "PerfmodelError"),
    "InputError": ("perfmodel.errors", "InputError"),
    "CapabilityError": ("perfmodel.errors", "CapabilityError"),
}
__all__ = sorted([*_EXPORTS, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'perfmodel' has no attribute {name!r}")
    module, attribute = _EXPORTS[name]
    return getattr(import_module(module), attribute)


class _CalledPackage(ModuleType):
    """A package below this one that has the name of a function above."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return __getattr__(self.__name__.rpartition(".")[2])(*arguments, **options)


class _Package(ModuleType):
    # Importing `perfmodel.measure` sets that name here, and would hide the function from then on.
    def __setattr__(self, name: str, value: Any) -> None:
        if name in _EXPORTS and isinstance(value, ModuleType):
            value.__class__ = _CalledPackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return list(__all__)
