"""The story of a scenario: every step finds its process alive and its pages as it needs them."""

import attrs
import pytest

from perfmodel.specs.scenario import PageContent, Region, Scenario, Settings, Zswap
from perfmodel.specs.step import Step, StepAction

HALF = {"page_count": 256}
SECOND = {"first_page": 256, "page_count": 256}


def story(*steps, zswap=Zswap.NEVER):
    """A fill, then steps given as (action, what else the step says)."""
    return Scenario(
        "story",
        "story",
        Region(2 << 20, PageContent.RANDOM),
        (
            Step("fill", StepAction.FILL),
            *(
                Step(f"s{index}", StepAction(action), **said)
                for index, (action, said) in enumerate(steps)
            ),
        ),
        settings=Settings(zswap=zswap),
    )


FORK, EXIT_1 = ("fork", {}), ("exit", {"process": 1})
READ, WRITE = ("touch", {}), ("touch", {"write": True})
READ_ONLY, WRITABLE = ("protect", {}), ("protect", {"writable": True})
UNMAP = ("unmap", {})


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        # Processes that are not there
        ([("touch", {"process": 1})], "'s0': process 1 has ended or was never forked"),
        ([FORK, ("touch", {"process": 2})], "'s1': process 2 has ended or was never forked"),
        ([FORK, EXIT_1, ("smaps", {"process": 1})], "'s2': process 1 has ended"),
        ([FORK, EXIT_1, ("fork", {"process": 1})], "'s2': process 1 has ended"),
        ([FORK, EXIT_1, EXIT_1], "'s2': process 1 has ended"),
        # A number is given once: the next child after process 1 has ended is process 2.
        ([FORK, EXIT_1, FORK, ("touch", {"process": 1})], "'s3': process 1 has ended"),
        ([("exit", {})], "'s0': process 0 lives to the end"),
        ([FORK] * 8, "'s7': there must be at most 7 forks"),
        # An ended child makes no room.
        ([FORK, EXIT_1, *[FORK] * 7], "'s8': there must be at most 7 forks"),
        # Pages that are not there
        ([UNMAP, READ], "'s1': touches pages that an earlier step has unmapped"),
        ([UNMAP, UNMAP], "'s1': touches pages that an earlier step has unmapped"),
        ([("unmap", HALF), READ], "'s1': touches pages that an earlier step"),
        ([("unmap", HALF), ("touch", HALF)], "'s1': touches pages that"),
        ([("unmap", {"first_page": 511, "page_count": 1}), ("mincore", {})], "'s1': touches"),
        *(
            ([("unmap", HALF), (action, {})], "'s1': touches pages that")
            for action in ("pageout", "cold", "willneed", "discard", "free", "collapse")
        ),
        *(
            ([("unmap", HALF), (action, {})], "'s1': touches pages that")
            for action in ("protect", "remap", "move", "write-protect", "mincore")
        ),
        ([("unmap", HALF), FORK, ("touch", {"process": 1})], "'s2': touches pages that"),
        ([FORK, ("unmap", {"process": 1}), ("free", {"process": 1})], "'s2': touches pages that"),
        # Pages that may not be written
        ([READ_ONLY, WRITE], "'s1': writes to pages that are read-only"),
        ([("protect", HALF), WRITE], "'s1': writes to pages that are read-only"),
        ([READ_ONLY, ("protect", HALF | {"writable": True}), WRITE], "'s2': writes to pages that"),
        ([READ_ONLY, FORK, ("touch", {"process": 1, "write": True})], "'s2': writes to pages"),
        ([("write-protect", {}), WRITE], "'s1': writes to pages that are write-protected"),
        (
            [
                ("write-protect", SECOND),
                ("touch", {"write": True, "first_page": 511} | {"page_count": 1}),
            ],
            "'s1': writes to pages that are write-protected",
        ),
        # mprotect lifts nothing that userfaultfd has set.
        (
            [("write-protect", {}), WRITABLE, WRITE],
            "'s2': writes to pages that are write-protected",
        ),
        ([("write-protect", {}), READ_ONLY, WRITABLE, WRITE], "'s3': writes to pages that"),
        ([("write-protect", {}), ("remap", {}), WRITE], "'s2': writes to pages that are write-"),
        # UFFDIO_MOVE takes writable memory only.
        ([READ_ONLY, ("move", {})], "'s1': moves pages that are read-only"),
        ([("protect", HALF), ("move", {})], "'s1': moves pages that are read-only"),
        # zswap that does not store cannot refuse either.
        ([("pageout", {"refuse_write": True})], "'s0': refuse_write needs zswap"),
    ],
)
def test_stories_that_cannot_be(steps, message):
    with pytest.raises(ValueError, match=r"^step ") as caught:
        story(*steps)
    assert message in str(caught.value)
    # All up to the last step can be.
    assert len(story(*steps[:-1]).steps) == len(steps)


@pytest.mark.parametrize(
    "steps",
    [
        [FORK] * 7,
        [*[FORK] * 7, ("touch", {"process": 7, "write": True})],
        [FORK, ("fork", {"process": 1}), EXIT_1, ("touch", {"process": 2})],
        # What one process gives up or protects, the other keeps.
        [FORK, UNMAP, ("touch", {"process": 1, "write": True})],
        [FORK, ("protect", {"process": 1}), WRITE],
        [
            READ_ONLY,
            FORK,
            ("protect", {"process": 1, "writable": True}),
            ("touch", {"process": 1} | {"write": True}),
        ],
        # userfaultfd stays with the parent.
        [("write-protect", {}), FORK, ("touch", {"process": 1, "write": True})],
        # The part that is left.
        [("unmap", HALF), ("touch", SECOND | {"write": True}), ("pageout", SECOND)],
        [("protect", HALF), ("touch", SECOND | {"write": True}), READ],
        [("write-protect", HALF), ("touch", SECOND | {"write": True}), READ, ("move", {})],
        [READ_ONLY, WRITABLE, WRITE, ("move", {})],
        # Discarding and reading need no permission to write.
        [READ_ONLY, ("discard", {}), READ, ("free", {}), ("collapse", {}), ("remap", {})],
        # /proc tells of holes too, and who has no pages left can still fork and end.
        [UNMAP, ("pagemap", {}), ("smaps", {}), FORK, EXIT_1],
        # Nobody in particular does these.
        [UNMAP, *((action.value, {}) for action in StepAction if action.of_the_system)],
    ],
)
def test_stories_that_can_be(steps):
    assert len(story(*steps).steps) == len(steps) + 1


@pytest.mark.parametrize("zswap", Zswap)
def test_only_zswap_that_stores_can_refuse(zswap):
    steps = [("pageout", {"refuse_write": True})]
    if zswap is Zswap.ON:
        assert story(*steps, zswap=zswap).steps[1].refuse_write
    else:
        with pytest.raises(ValueError, match='refuse_write needs zswap = "on"'):
            story(*steps, zswap=zswap)


def test_processes_are_counted_with_those_that_ended():
    assert story().processes == 1
    assert story(FORK, EXIT_1, FORK, ("fork", {"process": 2})).processes == 4


def test_evolve_checks_the_story_too():
    scenario = story(UNMAP)
    with pytest.raises(ValueError, match="unmapped"):
        attrs.evolve(scenario, steps=(*scenario.steps, Step("late", StepAction.TOUCH)))
