"""Networks that learn, on small generated images."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from node.errors import ConfigError
from node.training.features import Features, between, frozen_features
from node.training.learning import (
    Epoch,
    NetworkLessons,
    TrainedNetwork,
    check_overfits,
    check_step_0,
    require_overfitting,
    train_network,
    units_by_heart,
)
from node.training.networks import LearningNetwork, begun_network
from node.training.recipe import Recipe
from node.training.units import LearningUnit, units_of
from training.planted import Planted, area_under_curve, planted, small_recipe

pytestmark = [pytest.mark.training, pytest.mark.timeout(600)]

WOMEN, LEARNT = 90, 60
"""How many there are, and of how many of them is learnt."""
SHUFFLES = 8
RECIPE = small_recipe()
EPOCHS = list[Epoch]()
"""Of the network that learns the planted spot."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def images() -> Planted:
    return planted(WOMEN)


@pytest.fixture(scope="module")
def features(images: Planted, work: Path) -> Features:
    return seen(images, work)


@pytest.fixture(scope="module")
def learnt(
    images: Planted, features: Features, work: Path
) -> tuple[NetworkLessons, LearningNetwork, TrainedNetwork]:
    lessons, network = lessons_of(images, features), begun_network(RECIPE, 1)
    return lessons, network, train_network(lessons, network, work, EPOCHS.append)


def seen(images: Planted, work: Path, recipe: Recipe = RECIPE) -> Features:
    network = begun_network(recipe, 1)
    return frozen_features(network, images.tensors, recipe.augmentation, 0, work)


def lessons_of(
    images: Planted, features: Features, recipe: Recipe = RECIPE, learnt: int = LEARNT
) -> NetworkLessons:
    units = units_of(images.examples, recipe.about)
    watched = [image for unit in units[learnt:] for image in unit.images]
    return NetworkLessons(recipe, images.examples, features, units[:learnt], watched)


def on_unseen(lessons: NetworkLessons, trained: TrainedNetwork, epoch: int = -1) -> float:
    labels = [lessons.examples[image].label for image in lessons.watched]
    return area_under_curve(trained.logits[epoch].tolist(), labels)


def test_a_planted_spot_is_learnt(
    learnt: tuple[NetworkLessons, LearningNetwork, TrainedNetwork],
) -> None:
    lessons, _, trained = learnt

    assert len(trained.logits) == 1 + RECIPE.schedule.epochs
    assert on_unseen(lessons, trained) > 0.9
    head, stages = (
        [one.loss for one in EPOCHS if one.phase == phase] for phase in ("head", "stages")
    )
    converged = np.mean(head[-5:])
    assert converged < 0.5 * head[0]
    assert converged > 0.85 * np.mean(head[-15:-10]), "the head has nothing more to learn"
    assert np.mean(stages[-2:]) < converged
    assert on_unseen(lessons, trained) > on_unseen(lessons, trained, 0)


def test_from_shuffled_labels_nothing_is_learnt(
    images: Planted, features: Features, work: Path
) -> None:
    schedule = RECIPE.schedule.model_copy(update={"epochs": 2, "warm_up_epochs": 1})
    recipe = RECIPE.model_copy(update={"schedule": schedule})
    learnt, found = WOMEN // 3, list[float]()
    for seed in range(SHUFFLES):
        lessons = lessons_of(images.shuffled(seed, learnt), features, recipe, learnt)
        found.append(on_unseen(lessons, train_network(lessons, begun_network(RECIPE, 1), work)))

    # By chance alone the AUC of 60 women varies by 0.07, and the mean of eight by 0.03.
    assert 0.40 < np.mean(found) < 0.60
    assert len(set(found)) > 1


def test_only_later_stages_learn_and_no_statistics(
    learnt: tuple[NetworkLessons, LearningNetwork, TrainedNetwork],
) -> None:
    _, network, trained = learnt
    before = begun_network(RECIPE, 1).state_dict()
    after = trained.load(network, RECIPE.schedule.epochs).state_dict()

    changed = {name for name in before if not torch.equal(before[name], after[name])}

    of_trunk = {name for name in changed if name.startswith("trunk.")}
    later = {f"trunk._blocks.{number}." for number in range(5, 16)} | {"trunk._conv_head."}
    assert of_trunk
    assert all(name.startswith(tuple(later)) for name in of_trunk), of_trunk
    assert not [name for name in changed if "bn" in name]
    assert {name.split(".")[0] for name in changed} == {"trunk", "head"}
    assert changed <= {*network.learnt()}


def test_what_was_learnt_already_is_not_learnt_again(
    learnt: tuple[NetworkLessons, LearningNetwork, TrainedNetwork], work: Path
) -> None:
    lessons, _, trained = learnt
    epochs = list[Epoch]()

    again = train_network(lessons, begun_network(RECIPE, 1), work, epochs.append)

    assert not epochs
    assert all(np.array_equal(a, b) for a, b in zip(again.logits, trained.logits, strict=True))


@pytest.mark.parametrize(("phase", "number"), [("head", 5), ("stages", 2)])
def test_a_run_that_was_killed_ends_with_the_same_weights(
    learnt: tuple[NetworkLessons, LearningNetwork, TrainedNetwork],
    work: Path,
    tmp_path: Path,
    phase: str,
    number: int,
) -> None:
    _, _, whole = learnt
    folder = str(Path(__file__).parents[1])
    command = [sys.executable, __file__, str(work), str(tmp_path), phase, str(number)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, folder])}

    killed = subprocess.run(command, env=environment, check=False)
    resumed = subprocess.run([*command[:4], "none", "0"], env=environment, check=True)

    assert (killed.returncode, resumed.returncode) == (-signal.SIGKILL, 0)
    (other,) = (tmp_path / "networks").iterdir()
    for epoch in range(1 + RECIPE.schedule.epochs):
        name = f"epoch-{epoch:03}.pt"
        one, two = (torch.load(where / name, weights_only=True) for where in (whole.folder, other))
        assert torch.equal(one["logits"], two["logits"])
        assert one["weights"].keys() == two["weights"].keys()
        assert all(torch.equal(value, two["weights"][key]) for key, value in one["weights"].items())


def test_before_a_stage_has_learnt_the_network_is_its_head(
    learnt: tuple[NetworkLessons, LearningNetwork, TrainedNetwork],
) -> None:
    lessons, network, trained = learnt
    trained.load(network, 0)
    fresh = begun_network(RECIPE, 1)
    fresh.head.load_state_dict(network.head.state_dict())

    assert check_step_0(fresh, lessons) < 0.01
    watched = torch.from_numpy(planted(WOMEN).tensors[list(lessons.watched)]).float()
    with torch.inference_mode():
        logits = fresh.eval()(watched)[:, 0].numpy()
    assert np.allclose(logits, trained.logits[0], atol=0.02)


def test_a_few_breasts_are_learnt_by_heart(
    learnt: tuple[NetworkLessons, LearningNetwork, TrainedNetwork],
) -> None:
    assert check_overfits(learnt[0], begun_network(RECIPE, 1)) < 0.1


def test_blank_images_cannot_be_learnt_by_heart(images: Planted, tmp_path: Path) -> None:
    recipe = small_recipe(network={"frozen": "all"})
    blank = Planted(images.examples[:16], np.zeros_like(images.tensors[:16]))
    lessons = lessons_of(blank, seen(blank, tmp_path, recipe), recipe)

    with pytest.raises(ConfigError, match="could not be learnt by heart in 20 steps: loss"):
        check_overfits(lessons, begun_network(recipe, 1), steps=20)


def test_what_can_be_learnt_by_heart_says_nothing_of_other_images(
    learnt: tuple[NetworkLessons, LearningNetwork, TrainedNetwork], images: Planted, tmp_path: Path
) -> None:
    lessons, begun = learnt[0], list[LearningNetwork]()

    def begin() -> LearningNetwork:
        begun.append(begun_network(RECIPE, 1))
        return begun[-1]

    require_overfitting(lessons, begin, tmp_path)
    require_overfitting(replace(lessons, units=lessons.units[8:]), begin, tmp_path)
    assert len(begun) == 1, "another fold is not looked at again"

    frozen = small_recipe(network={"frozen": "all"})
    blank = Planted(images.examples[:128], np.zeros_like(images.tensors[:128]))
    others = lessons_of(blank, seen(blank, tmp_path, frozen), frozen, 64)
    for _ in range(2):  # what failed is not taken for seen
        with pytest.raises(ConfigError, match="64 cases could not be learnt by heart in 300 steps"):
            require_overfitting(others, lambda: begun_network(frozen, 1), tmp_path)
    require_overfitting(lessons, begin, tmp_path)
    assert len(begun) == 1, "it is remembered beside others"


@pytest.mark.parametrize(("slices", "units"), [(1, 64), (4, 64), (32, 8), (300, 2)])
def test_of_studies_of_many_slices_fewer_are_learnt_by_heart(slices: int, units: int) -> None:
    images = tuple(range(slices))
    studies = [
        LearningUnit(str(number), str(number), images, (images,), float(number % 2), {})
        for number in range(100)
    ]

    few = units_by_heart(studies)

    assert len(few) == units
    assert sum(unit.label for unit in few) == units / 2


@pytest.mark.parametrize("women", [2, 6])
def test_the_fewest_cases_are_learnt_by_heart_too(
    women: int, images: Planted, features: Features
) -> None:
    few = lessons_of(images, features, learnt=women)

    assert check_overfits(few, begun_network(RECIPE, 1)) < 0.1


def test_features_that_were_cut_short_are_gone_on_with(images: Planted, tmp_path: Path) -> None:
    few = Planted(images.examples[:20], images.tensors[:20])
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 33:
            raise KeyboardInterrupt

    network = begun_network(RECIPE, 1)
    with pytest.raises(KeyboardInterrupt):
        frozen_features(network, few.tensors, RECIPE.augmentation, 0, tmp_path / "cut", stop)
    resumed = seen(few, tmp_path / "cut")
    whole = seen(few, tmp_path / "whole")

    assert resumed.key == whole.key
    assert np.array_equal(resumed.early.array, whole.early.array)
    assert np.array_equal(resumed.late.array, whole.late.array)
    assert whole.early.array.dtype == np.float16
    assert np.isfinite(whole.early.array).all()

    next((tmp_path / "whole").glob(f"features/*/{whole.late.stage}.f16")).unlink()
    again = seen(few, tmp_path / "whole")
    assert np.array_equal(again.late.array, resumed.late.array), "they are looked at again"


def test_features_by_both_ways_are_those_of_the_whole_trunk(
    images: Planted, features: Features
) -> None:
    network = begun_network(RECIPE, 1).eval()
    with torch.inference_mode():
        whole = network.features(torch.from_numpy(images.tensors[:4]).float())
        for kept in (features.early, features.late):
            x = kept.batch([0, 1, 2, 3], [0] * 4, "cpu")
            found = between(network, x, kept.stage, "top")
            assert torch.allclose(found, whole, atol=0.02), kept.stage


def _run(work: Path, folder: Path, phase: str, number: int) -> None:
    """Train in a process that ends itself at the end of an epoch, as by kill -9."""

    def kill(epoch: Epoch) -> None:
        if (epoch.phase, epoch.number) == (phase, number):
            os.kill(os.getpid(), signal.SIGKILL)

    images = planted(WOMEN)
    train_network(lessons_of(images, seen(images, work)), begun_network(RECIPE, 1), folder, kill)


if __name__ == "__main__":
    _run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
