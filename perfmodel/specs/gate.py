"""Gates: what the model has said about committed evidence, and how far it may move from it."""

from __future__ import annotations

import attrs

from perfmodel.specs.quantity import number_between, text, tuple_of


@attrs.frozen
class Gate:
    """A step's measured time, and the band in which its prediction has to stay.

    Parameters
    ----------
    scenario, device, entry, step : str
    measured_ns : float
        Per 2 MiB, mean over the committed runs.
    lower, upper : float
        Predicted over measured, minus 1.
    """

    scenario: str = attrs.field(validator=text)
    device: str = attrs.field(validator=text)
    entry: str = attrs.field(validator=text)
    step: str = attrs.field(validator=text)
    measured_ns: float = attrs.field(validator=number_between(1e-3, 1e14))
    lower: float = attrs.field(validator=number_between(-1.0, 1e6))
    upper: float = attrs.field(validator=number_between(-1.0, 1e6))

    def __attrs_post_init__(self) -> None:
        if self.upper < self.lower:
            raise ValueError("upper must not be less than lower")

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Scenario, device, entry and step."""
        return self.scenario, self.device, self.entry, self.step


@attrs.frozen
class Gates:
    """All gates of a machine's profile, and those of its errors as a whole.

    Parameters
    ----------
    machine : str
        The profile.
    evidence : tuple of str
        Files that were measured.
    most_median_abs_error, most_pair_error : float
        Over all held-out steps, and over pairs of scenario and entry.
    least_coverage : float
        Of the 90 % interval.
    gates : tuple of Gate
    """

    machine: str = attrs.field(validator=text)
    evidence: tuple[str, ...] = attrs.field(validator=tuple_of(str))
    most_median_abs_error: float = attrs.field(validator=number_between(0.0, 1e6))
    most_pair_error: float = attrs.field(validator=number_between(0.0, 1e6))
    least_coverage: float = attrs.field(validator=number_between(0.0, 1.0))
    gates: tuple[Gate, ...] = attrs.field(validator=tuple_of(Gate))

    @gates.validator
    def _are_said_once(self, _: object, value: tuple[Gate, ...]) -> None:
        seen = set()
        for gate in value:
            if gate.key in seen:
                raise ValueError(f"{' '.join(gate.key)} has two gates")
            seen.add(gate.key)
