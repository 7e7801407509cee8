"""Published experiments: what the files say, what becomes of it, figure and command."""

from __future__ import annotations

import attrs
import pytest

from perfmodel.errors import CapabilityError, InputError
from perfmodel.measure.capabilities import require
from perfmodel.plot.experiments import experiment_figure
from perfmodel.plot.style import to_svg
from perfmodel.report.experiments import experiment_lines
from perfmodel.specs import io
from perfmodel.specs.catalog import load_device, load_experiment, load_scenario, names
from perfmodel.specs.experiment import Experiment
from perfmodel.specs.scenario import Backing
from perfmodel.studies.experiments import compare_experiment
from tests.unit.test_cli import call, call_json

SMALL = {
    "name": "small",
    "title": "t",
    "source": "s",
    "hardware": "h",
    "machine": "amd-zen3",
    "device": "pmem",
    "scaled": "by a thousand",
    "assumed": ["all of it"],
    "missed": "for a reason",
    "steps": ["second"],
    "left_out": ["the rest"],
    "scenario": {
        "name": "small",
        "description": "d",
        "region": {"size": "64 MiB", "content": "half-random"},
        "settings": {"memory_limit": "32 MiB"},
        "steps": [
            {"name": "fill", "action": "fill"},
            {"name": "first", "action": "access", "threads": 2, "write": True},
            {"name": "second", "action": "access", "threads": 2, "write": True},
        ],
    },
    "arms": [{"name": "base", "entry": "pte"}, {"name": "pmd", "entry": "pmd"}],
    "ratios": [
        {"measure": measure, "above": "pmd", "below": "base", "value": 2.0, "note": "n"}
        for measure in ("throughput", "shootdowns")
    ],
}


def small(**more) -> Experiment:
    return io.structure(Experiment, SMALL | more, "small.toml")


@pytest.mark.parametrize("name", names("experiment"))
def test_every_file_names_what_it_rests_on(name):
    experiment = load_experiment(name)
    assert experiment.name == name
    assert experiment.assumed
    for arm in experiment.arms:
        assert arm.scenario(experiment.scenario).is_limited


def test_an_arm_says_only_what_differs():
    arms = [
        {"name": "base", "entry": "pte", "backing": "base", "threads": 1},
        {"name": "pmd", "entry": "pmd", "swap": {"clusters": 64, "neighbour_slots": 1}},
    ]
    experiment = small(arms=arms)
    first, second = (arm.scenario(experiment.scenario) for arm in experiment.arms)
    assert first.region.backing is Backing.BASE
    assert [step.threads for step in first.steps] == [1, 1, 1]
    assert (second.swap.clusters, second.swap.neighbour_slots) == (64, 1)
    assert [step.threads for step in second.steps] == [1, 2, 2]
    assert second.region == experiment.scenario.region


def test_ratios_of_one_arm_to_itself_are_one_and_the_others_fit():
    arms = [*SMALL["arms"], {"name": "again", "entry": "pte"}]
    ratios = [
        {"measure": "throughput", "above": above, "below": "base", "value": 2.0, "note": "n"}
        for above in ("again", "pmd")
    ]
    same, other = compare_experiment(small(arms=arms, ratios=ratios)).ratios
    assert (same.simulated, same.interval) == (1.0, (1.0, 1.0))
    assert same.relative_error == -0.5
    assert other.interval[0] <= other.simulated <= other.interval[1]
    assert other.simulated > 2


@pytest.fixture(scope="module")
def compared():
    return compare_experiment(small())


def test_fewer_pages_are_flushed_one_by_one_behind_pmd_entries(compared):
    shootdowns = compared.ratios[1]
    assert 0 <= shootdowns.simulated < 0.1


def test_the_same_seed_gives_the_same_ratios(compared):
    assert compare_experiment(small()) == compared
    assert compare_experiment(small(), seed=2) != compared


def test_text_and_figure_say_all(compared):
    text = "\n".join(experiment_lines([compared, compared]))
    for part in ("pmd / base", "assumed: all of it", "missed: for a reason", "left out: the rest"):
        assert part in text
    figure = experiment_figure({compared.experiment.name: compared.ratios})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "simulated, 90 % interval",
        "simulated",
        "published",
    ]
    assert to_svg(figure) == to_svg(experiment_figure({compared.experiment.name: compared.ratios}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": ["third"]},
        {"steps": []},
        {"arms": [SMALL["arms"][0]] * 2},
        {"arms": [{"name": "base", "entry": "shmem-pmd"}, SMALL["arms"][1]]},
        {"ratios": [SMALL["ratios"][0] | {"above": "other"}]},
        {"ratios": [SMALL["ratios"][0] | {"value": 0.0}]},
        {"ratios": [SMALL["ratios"][0] | {"measure": "joy"}]},
    ],
)
def test_files_that_cannot_be_are_refused(wrong):
    with pytest.raises(InputError):
        small(**wrong)


def test_memory_as_a_block_device_is_only_in_the_model():
    device = load_device("pmem")
    assert device.kind.synchronous
    assert device.kind.block_device
    with pytest.raises(CapabilityError, match="only in the model"):
        require(["pte"], [load_scenario("thp-roundtrip")], device)
    with pytest.raises(ValueError, match="algorithm"):
        attrs.evolve(device, algorithm="lz4")


def test_the_command_prints_and_draws(capsys, tmp_path):
    document = call_json(capsys, "experiment", "thp-swap-out-2017", "--report", str(tmp_path / "r"))
    (found,) = document["experiments"]
    assert found["ratios"][0]["value"] == 1.42
    assert len(list((tmp_path / "r").iterdir())) == 3
    status, output, _ = call(capsys, "experiment", "thp-swap-out-2017")
    assert status == 0
    assert "whole / split" in output
    status, output, errors = call(capsys, "experiment", "nothing")
    assert (status, output) == (2, "")
    assert len(errors.splitlines()) == 1
