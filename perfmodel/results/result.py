"""What a run of a scenario yields, the same in both worlds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from perfmodel.results.variables import VARIABLES

if TYPE_CHECKING:
    import xarray

Json = dict[str, Any]


@attrs.frozen
class StepResult:
    """One step of one arm.

    Parameters
    ----------
    name : str
        The step's name in the scenario.
    elapsed_ns : float
        Simulated: time at the machine's best numbers. Measured: 25 % quantile of the repetitions.
    interval_ns : tuple of float
        Simulated: 90 % interval from the spreads of the machine's numbers. Measured: from the 5 %
        to the 75 % quantile of the repetitions.
    counters : dict of str to int
        Changes of the kernel's counters under the kernel's names; one that is not known is absent.
    breakdown_ns : dict of str to float
        Where the time went. Empty for a measurement, which cannot tell.
    repetitions_ns : tuple of float
        Every measured repetition, in order. Empty for a simulation.
    unstable_counters : tuple of str
        Measured counters that moved between repetitions; `counters` has their most common value.
    observed : dict of str to int
        What a mincore, pagemap or smaps step has read, in pages.
    events : dict of str to int
        What cost time, by name. Empty for a measurement, like the two below.
    fallbacks : dict of str to int
        Whole-PMD attempts that ended in PTE entries, by reason.
    lock_holds : dict of str to dict
        For each lock the number of its holds (``count``), the page-table entries and slot words
        handled in all of them (``total``) and in the longest (``longest``).
    devices : tuple of dict
        With several swap devices, each one's part: ``device``, ``priority``, ``pswpout`` and
        ``pswpin`` in pages, ``write_requests``, ``read_requests``, and ``used_slots`` after the
        step; what was measured has no requests.
    """

    name: str
    elapsed_ns: float
    interval_ns: tuple[float, float]
    counters: dict[str, int]
    breakdown_ns: dict[str, float] = attrs.field(factory=dict)
    repetitions_ns: tuple[float, ...] = ()
    unstable_counters: tuple[str, ...] = ()
    observed: dict[str, int] = attrs.field(factory=dict)
    events: dict[str, int] = attrs.field(factory=dict)
    fallbacks: dict[str, int] = attrs.field(factory=dict)
    lock_holds: dict[str, dict[str, int]] = attrs.field(factory=dict)
    devices: tuple[Json, ...] = ()

    def to_json(self) -> Json:
        """As `--json` prints it."""
        document: Json = {
            "name": self.name,
            "elapsed_ns": self.elapsed_ns,
            "interval_ns": list(self.interval_ns),
            "counters": self.counters,
            "breakdown_ns": self.breakdown_ns,
        }
        for key in ("observed", "events", "fallbacks", "lock_holds"):
            if value := getattr(self, key):
                document[key] = value
        if self.devices:
            document["devices"] = list(self.devices)
        if self.repetitions_ns:
            document["repetitions_ns"] = list(self.repetitions_ns)
            document["unstable_counters"] = list(self.unstable_counters)
        return document


@attrs.frozen
class Result:
    """One scenario under one entry, simulated or measured.

    Parameters
    ----------
    mapping : dict of str to int or None
        What is mapped how at the end; a value that the kernel does not tell is None.
    reference_ns : dict of str to tuple of (float, float)
        Measured: how long each reference loop of `measure.reference` took right before and right
        after every counted repetition, in the order of each step's `repetitions_ns`. Their drift is
        the machine's, not the scenario's. Empty for a simulation and for older evidence.
    """

    scenario: str
    machine: str
    device: str
    entry: str
    regions: int
    steps: tuple[StepResult, ...]
    mapping: dict[str, int | None]
    provenance: Json
    reference_ns: dict[str, tuple[tuple[float, float], ...]] = attrs.field(factory=dict)

    def reference(self, name: str) -> tuple[float, ...]:
        """The lesser of a reference loop's two times beside each repetition: noise only adds.

        Empty if it was not run. docs/calibration.md says why it is not the mean.
        """
        return tuple(min(pair) for pair in self.reference_ns.get(name, ()))

    def step(self, name: str) -> StepResult:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)

    def per_2mib_us(self, name: str) -> float:
        """Microseconds that a step took for each 2 MiB."""
        return self.step(name).elapsed_ns / self.regions / 1000

    def to_json(self) -> Json:
        """As `--json` prints it."""
        document: Json = {
            "scenario": self.scenario,
            "machine": self.machine,
            "device": self.device,
            "entry": self.entry,
            "regions": self.regions,
            "provenance": self.provenance,
            "steps": [step.to_json() for step in self.steps],
            "mapping": self.mapping,
        }
        if self.reference_ns:
            document["reference_ns"] = self.reference_ns
        return document

    def to_dataset(self) -> xarray.Dataset:
        """The steps as a labelled dataset; `results.variables` says what each variable means."""
        import xarray

        names = [step.name for step in self.steps]
        counters = sorted({name for step in self.steps for name in step.counters})
        parts = sorted({part for step in self.steps for part in step.breakdown_ns})
        columns = {
            "elapsed_ns": [step.elapsed_ns for step in self.steps],
            "interval_ns": [step.interval_ns for step in self.steps],
            "counters": [[step.counters.get(name, -1) for name in counters] for step in self.steps],
            "breakdown_ns": [
                [step.breakdown_ns.get(part, 0.0) for part in parts] for step in self.steps
            ],
        }
        return xarray.Dataset(
            {
                name: (
                    VARIABLES[name].dims,
                    values,
                    {"units": VARIABLES[name].unit, "long_name": VARIABLES[name].meaning},
                )
                for name, values in columns.items()
            },
            coords={"step": names, "bound": ["low", "high"], "counter": counters, "part": parts},
            attrs={"scenario": self.scenario, "machine": self.machine, "entry": self.entry},
        )
