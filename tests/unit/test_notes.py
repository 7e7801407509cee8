"""What a scenario with forks, parts and a fragmented device looks like as text and as a figure."""

import re
import tomllib
from pathlib import Path

import pytest

from perfmodel.cli.steps import print_result
from perfmodel.models.simulated import simulate
from perfmodel.plot.figures import breakdown_figure
from perfmodel.report.notes import comparison_notes, step_notes
from perfmodel.report.page import render
from perfmodel.report.table import WIDTH, comparison_table, step_groups
from perfmodel.specs.catalog import load_machine
from perfmodel.specs.io import structure
from perfmodel.specs.scenario import Scenario
from perfmodel.studies.compare import Comparison, compare

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """The one in the README."""
    found = re.search(r"```toml\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return structure(Scenario, tomllib.loads(found[1]), "README.md")


@pytest.fixture(scope="module")
def comparison(scenario: Scenario) -> Comparison:
    entries = ["pte", "pte-batched", "pmd", "pmd-lazy"]
    return compare(scenario, "amd-zen3", entries=entries, draws=40)


def test_readme_shows_what_the_model_says(scenario: Scenario) -> None:
    result = simulate(scenario, "amd-zen3", entry="pmd", draws=20)
    printed = re.findall(
        r"(?:fell back to PTEs|lock holds): .*", README[README.index("$ perfmodel simulate") :]
    )
    assert printed == [note for step in result.steps[1:] for note in step_notes(step)]


def test_steps_say_fallbacks_observations_and_lock_holds(
    scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    result = simulate(scenario, "amd-zen3", entry="pmd", draws=20)
    print_result(result, json=False)
    output = capsys.readouterr().out
    for step in result.steps:
        for note in step_notes(step):
            assert f"    {note}\n" in output
    assert "    fell back to PTEs: write shared 10\n" in output


def test_notes_put_arms_together_that_say_the_same(comparison: Comparison) -> None:
    fallbacks, holds = comparison_notes(comparison)
    assert fallbacks.startswith("Fallbacks to PTEs. pte, pte-batched: pageout: no free cluster 6 |")
    assert "pmd, pmd-lazy: pageout: no free cluster 6; guard: unaligned or partial 10" in fallbacks
    assert holds.startswith("Longest lock holds")


def test_other_steps_have_a_column_and_the_table_stays_narrow(comparison: Comparison) -> None:
    assert step_groups(comparison.scenario)[3] == ("fork", "guard")
    lines = comparison_table(comparison).splitlines()
    assert max(map(len, lines)) <= WIDTH
    headings = [line for line in lines if line.startswith("entry ")]
    assert len(headings) == 2
    assert headings[0].split()[-2:] == ["PT", "B"]
    assert "other [us]" in headings[1]
    fork, guard = (comparison.arms["pmd"].per_2mib_us(name) for name in ("fork", "guard"))
    rows = [line for line in lines if line.startswith("pmd ")]
    assert float(rows[1].split()[2]) == pytest.approx(fork + guard, abs=0.06)


def test_page_and_figure_take_any_steps(comparison: Comparison) -> None:
    titles = [ax.get_title() for ax in breakdown_figure(comparison).axes]
    assert titles == ["Page out", "Bring back and use", "Other steps"]
    page = render(comparison, "perfmodel compare")
    assert "other [us]" in page
    assert "Fallbacks to PTEs." in page


@pytest.mark.parametrize("machine", ["amd-zen3", "intel-sapphire-rapids"])
def test_a_batch_of_one_costs_what_a_pte_alone_costs(machine: str) -> None:
    costs = load_machine(machine).kernel
    batched = costs.unmap_batch_ns.value + costs.unmap_batched_pte_ns.value
    assert batched == pytest.approx(costs.unmap_pte_ns.value)
