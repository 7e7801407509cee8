"""What a study finds beside its numbers: break-even points, indices, a tornado."""

from __future__ import annotations

from typing import Any

import attrs

from perfmodel.specs.study import DesignKind
from perfmodel.studies.break_even import BreakEvens, break_even
from perfmodel.studies.sensitivity import Indices, Tornado, sobol_indices, tornado
from perfmodel.studies.sweep import Sweep


@attrs.frozen
class Findings:
    """Each of them only where the study asks for it."""

    break_even: BreakEvens | None = None
    indices: Indices | None = None
    tornado: Tornado | None = None

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel sweep --json`` prints it."""
        return {
            name: found.to_json()
            for name, found in (
                ("break_even", self.break_even),
                ("indices", self.indices),
                ("tornado", self.tornado),
            )
            if found is not None
        }


def find(swept: Sweep) -> Findings:
    """Everything that a study asks for."""
    kind = swept.study.design.kind
    return Findings(
        break_even(swept.plan) if swept.study.break_even is not None else None,
        sobol_indices(swept) if kind is DesignKind.SOBOL_INDICES else None,
        tornado(swept) if kind is DesignKind.ONE_AT_A_TIME else None,
    )
