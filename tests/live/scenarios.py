"""Scenarios of the live tests, written in a line each."""

import attrs

from perfmodel.specs.scenario import PageContent, Region, Scenario, Settings, SwapSpace
from perfmodel.specs.step import Step, StepAction

SIZE_BYTES = 8 << 20
RANGES = 4
PAGES = 2048


def step(words: str) -> Step:
    """A step such as ``touch write @1 n8 [0:256] +3``: of process 1, on 8 pages, shifted by 3."""
    action, *rest = words.split()
    keys: dict[str, int | bool] = {}
    for word in rest:
        if word in ("write", "writable"):
            keys[word] = True
        elif word[0] == "[":
            keys["first_page"], keys["page_count"] = map(int, word[1:-1].split(":"))
        else:
            keys[{"@": "process", "n": "pages_per_2mib", "+": "shift_pages"}[word[0]]] = int(
                word[1:]
            )
    return Step(name=words, action=StepAction(action), **keys)


def scenario(
    text: str,
    *,
    content: str = "half-random",
    swap: SwapSpace | None = None,
    settings: Settings | None = None,
) -> Scenario:
    """A scenario of 8 MiB that fills the memory and does the steps, separated by semicolons."""
    steps = [step("fill"), *(step(words) for words in text.split(";") if words.strip())]
    return Scenario(
        name="live",
        description="what a live test does",
        region=Region(size_bytes=SIZE_BYTES, content=PageContent(content)),
        steps=tuple(
            attrs.evolve(done, name=f"{number} {done.name.strip()}")
            for number, done in enumerate(steps)
        ),
        swap=swap or SwapSpace(),
        settings=settings or Settings(),
    )
