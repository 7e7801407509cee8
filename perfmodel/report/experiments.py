"""Published experiments beside the model, for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from perfmodel.studies.experiments import ComparedExperiment

_WIDTH = 100


def experiment_lines(found: Sequence[ComparedExperiment]) -> Iterator[str]:
    """For each experiment its ratios, what was assumed, and why the model misses."""
    for number, compared in enumerate(found):
        if number:
            yield ""
        told = compared.experiment
        yield f"{told.name}: {told.title}"
        yield f"  {told.machine}, {told.device}; published: {told.hardware}"
        yield (
            f"  {'ratio':32s} {'of':10s} {'published':>9s} {'simulated':>9s} {'90 %':>16s} "
            f"{'error':>6s}"
        )
        for ratio in compared.ratios:
            low, high = ratio.interval
            yield (
                f"  {ratio.label:32s} {ratio.published.measure.value:10s} "
                f"{ratio.published.value:9.4g} {ratio.simulated:9.3g} "
                f"{f'{low:.3g} to {high:.3g}':>16s} {ratio.relative_error:+6.0%}"
            )
            yield f"      {ratio.published.note}"
        yield from _told("scaled", told.scaled)
        for text in told.assumed:
            yield from _told("assumed", text)
        yield from _told("missed", told.missed)
        for text in told.left_out:
            yield from _told("left out", text)


def _told(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=f"  {label}: ", subsequent_indent="    "
    )  # fmt: skip
