"""What a huge page costs on its way to swap and back, modelled and measured.

The names below are loaded when they are first used, so that `import perfmodel` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "machine": ("perfmodel.specs.catalog", "load_machine"),
    "device": ("perfmodel.specs.catalog", "load_device"),
    "scenario": ("perfmodel.specs.catalog", "load_scenario"),
    "study": ("perfmodel.specs.catalog", "load_study"),
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


def __dir__() -> list[str]:
    return list(__all__)
