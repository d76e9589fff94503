"""Lesions from boxes, and regression of pooled features, on small generated images."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from node.errors import ConfigError
from node.inference.onnx import Graph
from node.training.export import export_network
from node.training.lesion_boxes import LesionBox, SeenFilm, read_lesion_boxes
from node.training.lesions import TaughtLesions, cells_of, lesion_loss, moved, taught
from node.training.recipe import Alike, Recipe
from node.training.regression import (
    PooledFeatures,
    RegressedNetwork,
    begun_regression,
    fitted_network,
    pooled_features,
    regressed_logits,
    shares_of_breasts,
    weights_of,
)
from training.boxes import write_films
from training.planted import COLUMNS, ROWS, Planted, area_under_curve, planted
from training.recipes import recipe_of

pytestmark = [pytest.mark.training, pytest.mark.timeout(600)]

WOMEN = 60
FILMS = 24


def regression_recipe(epochs: int = 3, **lesions: object) -> Recipe:
    """Return a recipe that learns in seconds."""
    return recipe_of(
        size=(ROWS, COLUMNS),
        about="image",
        network={"frozen": "block 2"},
        lesions={
            "epochs": epochs,
            "rate": 5e-4,
            "head_rate": 5e-3,
            "batch": 4,
            "warm_up_steps": 2,
            "moving_average": 0.8,
            **lesions,
        },
        regression={"features": FEATURES, "alike": ALIKE},
    )


def plain_recipe(*features: dict[str, object]) -> Recipe:
    """Return a recipe without a first step."""
    regression = {"features": list(features)}
    return recipe_of(size=(ROWS, COLUMNS), about="image", regression=regression)


FEATURES = [{"after": "block 2", "c": 1e-2}, {"after": "top", "pool": "lesions", "c": 1e-3}]
ALIKE = [[], [{"column": "machine"}, {"column": "age", "edges": [53]}]]
RECIPE = regression_recipe()


class PlugPulledError(Exception):
    """Somebody pulled the plug."""


class Counting:
    """A progress that counts, and may stop in the middle."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps = dict[str, int]()
        self._left = stop_after

    @contextmanager
    def __call__(self, words: str, steps: int) -> Iterator[Callable[[], None]]:
        self.steps[words] = steps

        def advance() -> None:
            if self._left is not None:
                self._left -= 1
                if self._left < 0:
                    raise PlugPulledError

        yield advance


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_films(folder, FILMS)
    return folder


@pytest.fixture(scope="module")
def lesions(films: Path, tmp_path_factory: pytest.TempPathFactory) -> TaughtLesions:
    return taught_in(films, tmp_path_factory.mktemp("taught"), RECIPE)


@pytest.fixture(scope="module")
def images() -> Planted:
    return planted(WOMEN)


@pytest.fixture(scope="module")
def network(lesions: TaughtLesions) -> RegressedNetwork:
    return begun_regression(RECIPE, 1, lesions)


@pytest.fixture(scope="module")
def pooled(
    network: RegressedNetwork, images: Planted, tmp_path_factory: pytest.TempPathFactory
) -> PooledFeatures:
    return pooled_features(network, images.tensors, tmp_path_factory.mktemp("pooled"), Counting())


def taught_in(
    films: Path, work: Path, recipe: Recipe, progress: Counting | None = None
) -> TaughtLesions:
    boxes = read_lesion_boxes(films / "boxes.csv", films)
    return taught(recipe, boxes, work, progress or Counting())


def is_same(one: TaughtLesions, other: TaughtLesions) -> bool:
    return (
        one.weights.keys() == other.weights.keys()
        and all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
        and torch.equal(one.cell_weight, other.cell_weight)
        and torch.equal(one.cell_bias, other.cell_bias)
        and one.losses == other.losses
    )


# --- where lesions lie ------------------------------------------------------------------------


def test_where_planted_lesions_lie_is_learnt(lesions: TaughtLesions) -> None:
    assert lesions.area_under_curve is not None
    assert lesions.area_under_curve > 0.8
    assert 0 < lesions.measured_films < FILMS
    assert len(lesions.losses) == 3
    assert lesions.losses[-1] < lesions.losses[0] < 2
    assert all(name.startswith(("_blocks.", "_conv_head.")) for name in lesions.weights)


def test_a_second_run_learns_and_looks_at_nothing(films: Path, tmp_path: Path) -> None:
    first = taught_in(films, tmp_path, RECIPE)
    progress = Counting()

    second = taught_in(films, tmp_path, RECIPE, progress)

    assert set(progress.steps.values()) == {0}
    assert is_same(first, second)
    assert first.area_under_curve == second.area_under_curve


def test_with_another_rate_the_films_are_not_looked_at_again(films: Path, tmp_path: Path) -> None:
    first, progress = taught_in(films, tmp_path, regression_recipe(1)), Counting()

    second = taught_in(films, tmp_path, regression_recipe(1, rate=1e-5), progress)

    assert progress.steps["Looking at films"] == 0
    assert progress.steps["Learning where lesions lie"] > 0
    assert first.key != second.key
    assert not is_same(first, second)


@pytest.mark.parametrize("file", ["maps.f16", "cells.npy"])
def test_where_what_was_seen_of_films_is_gone_they_are_looked_at_again(
    films: Path, file: str, tmp_path: Path
) -> None:
    first, progress = taught_in(films, tmp_path, regression_recipe(1)), Counting()
    next(tmp_path.glob(f"films/*/{file}")).unlink()

    again = taught_in(films, tmp_path, regression_recipe(1), progress)

    assert progress.steps["Looking at films"] > 0
    assert again.area_under_curve == first.area_under_curve


@pytest.mark.parametrize("after", [2, 8, 13])
def test_a_run_that_was_stopped_ends_with_the_same_weights(
    films: Path, lesions: TaughtLesions, after: int, tmp_path: Path
) -> None:
    with pytest.raises(PlugPulledError):
        taught_in(films, tmp_path, RECIPE, Counting(after))

    assert is_same(taught_in(films, tmp_path, RECIPE), lesions)


def test_a_run_that_was_killed_ends_with_the_same_weights(
    films: Path, lesions: TaughtLesions, tmp_path: Path
) -> None:
    program = (
        "import sys; from pathlib import Path; "
        "from training.torch_test_regression import RECIPE, Counting, taught_in; "
        "taught_in(Path(sys.argv[1]), Path(sys.argv[2]), RECIPE)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, str(films), str(tmp_path)]
    child = subprocess.Popen(command, env=environment)
    try:
        while not list(tmp_path.glob("lesions/*/last.pt")):
            assert child.poll() is None
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()

    assert is_same(taught_in(films, tmp_path, RECIPE), lesions)


def test_a_box_smaller_than_a_cell_is_the_cell_around_its_middle() -> None:
    ranks = np.ones((96, 64), np.float32)
    ranks[:, 32:] = 0
    film = SeenFilm(ranks, (LesionBox(0.30, 0.49, 0.31, 0.50),))

    cells = cells_of(film, 6, 4)

    assert np.argwhere(cells.is_lesion).tolist() == [[2, 1]]
    # Column 2 and 3 are no breast; what touches the box is the rim.
    used = np.argwhere(cells.is_used).tolist()
    assert used == [[0, 0], [0, 1], [2, 1], [4, 0], [4, 1], [5, 0], [5, 1]]


def test_both_kinds_of_cells_weigh_1_in_each_film() -> None:
    is_lesion = torch.zeros(2, 4, 4)
    is_lesion[0, 0, 0] = is_lesion[1, :, 0] = 1
    is_used = torch.ones(2, 4, 4)
    is_used[:, 3, 3] = 0

    assert lesion_loss(torch.zeros(2, 4, 4), is_lesion, is_used).item() == pytest.approx(
        2 * np.log(2), rel=1e-5
    )
    shouting = torch.zeros(2, 4, 4)
    shouting[:, 3, 3] = 50
    assert lesion_loss(shouting, is_lesion, is_used).item() == pytest.approx(2 * np.log(2))


def test_what_is_moved_in_is_the_edge_or_nothing() -> None:
    array = np.arange(6).reshape(2, 3)

    assert moved(array, 1, 0, is_repeated=True).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert moved(array, 0, -1, is_repeated=False).tolist() == [[1, 2, 0], [4, 5, 0]]


# --- pooled features --------------------------------------------------------------------------


def test_pooled_features_are_what_the_network_pools(
    network: RegressedNetwork, pooled: PooledFeatures, images: Planted
) -> None:
    some = torch.from_numpy(images.tensors[:3].astype(np.float32))
    with torch.inference_mode():
        one_by_one = [network.pooled(image[None]) for image in some]

    for place, array in enumerate(pooled.arrays):
        assert array.dtype == np.float32
        for row, of in zip(array, one_by_one, strict=False):
            np.testing.assert_allclose(row, of[place][0].numpy(), atol=1e-5)
    assert pooled.arrays[0].shape == (len(images.examples), 3 * 40)
    assert pooled.arrays[1].shape == (len(images.examples), 1280)


def test_pooling_goes_on_where_it_was_stopped(
    network: RegressedNetwork, pooled: PooledFeatures, images: Planted, tmp_path: Path
) -> None:
    with pytest.raises(PlugPulledError):
        pooled_features(network, images.tensors, tmp_path, Counting(33))
    progress = Counting()

    again = pooled_features(network, images.tensors, tmp_path, progress)

    assert progress.steps == {"Looking at images": len(images.examples) // 2 - 32}
    assert again.key == pooled.key
    for one, other in zip(again.arrays, pooled.arrays, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("file", ["pooled.f32", "done"])
def test_where_pooled_features_are_gone_images_are_looked_at_again(
    network: RegressedNetwork, images: Planted, file: str, tmp_path: Path
) -> None:
    few, progress = images.tensors[:8], Counting()
    first = pooled_features(network, few, tmp_path, Counting())
    next(tmp_path.glob(f"pooled/*/{file}")).unlink()

    again = pooled_features(network, few, tmp_path, progress)

    assert progress.steps == {"Looking at images": 4}
    for one, other in zip(first.arrays, again.arrays, strict=True):
        assert np.array_equal(one, other)


def test_another_trunk_pools_anew(
    network: RegressedNetwork, images: Planted, tmp_path: Path
) -> None:
    few = images.tensors[:8]
    with_lesions = pooled_features(network, few, tmp_path, Counting())
    plain = begun_regression(plain_recipe({"after": "block 2"}, {"after": "top"}), 1, None)

    assert pooled_features(plain, few, tmp_path, Counting()).key != with_lesions.key
    assert not plain.has_cells


# --- regression -------------------------------------------------------------------------------


def learnt(
    network: RegressedNetwork, pooled: PooledFeatures, images: Planted
) -> tuple[RegressedNetwork, float]:
    """Return a network that learnt from two thirds of the women, and its AUC on the others."""
    divided = len(images.examples) * 2 // 3
    found = fitted_network(RECIPE, network, pooled, images.examples, range(divided))
    logits = regressed_logits(found, pooled)[divided:]
    labels = [example.label for example in images.examples[divided:]]
    return found, area_under_curve(logits.tolist(), labels)


def test_a_planted_spot_is_learnt(
    network: RegressedNetwork, pooled: PooledFeatures, images: Planted
) -> None:
    assert learnt(network, pooled, images)[1] > 0.9


def test_labels_of_other_women_are_not_learnt(
    network: RegressedNetwork, pooled: PooledFeatures, images: Planted
) -> None:
    found = [learnt(network, pooled, images.shuffled(seed))[1] for seed in range(6)]

    assert 0.4 < np.mean(found) < 0.6


def test_logits_of_pooled_features_are_those_of_the_images(
    network: RegressedNetwork, pooled: PooledFeatures, images: Planted
) -> None:
    found, _ = learnt(network, pooled, images)
    with torch.inference_mode():
        of_images = found(torch.from_numpy(images.tensors[:6].astype(np.float32)))

    assert of_images.shape == (6, 1)
    np.testing.assert_allclose(
        of_images[:, 0].numpy(), regressed_logits(found, pooled)[:6], atol=1e-4
    )


def test_what_was_begun_stays_as_it_was(
    network: RegressedNetwork, pooled: PooledFeatures, images: Planted
) -> None:
    learnt(network, pooled, images)

    assert not regressed_logits(network, pooled).any()


def test_turned_rows_give_the_same_logit_and_a_turned_heat_map(
    network: RegressedNetwork, pooled: PooledFeatures, images: Planted
) -> None:
    found, _ = learnt(network, pooled, images)
    some = torch.from_numpy(images.tensors[:2].astype(np.float32))
    with torch.inference_mode():
        logits, cells = found.scored_and_shown(some)
        turned_logits, turned_cells = found.scored_and_shown(some.flip(2))

    torch.testing.assert_close(logits, turned_logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(cells, turned_cells.flip(2), atol=1e-5, rtol=0)
    assert cells.shape == (2, 1, 3, 2)
    assert (cells >= 0).all()
    assert (cells <= 1).all()


def test_an_exported_regression_answers_as_in_torch(
    network: RegressedNetwork, pooled: PooledFeatures, images: Planted, tmp_path: Path
) -> None:
    found, _ = learnt(network, pooled, images)
    examples = [[image.astype(np.float32)] for image in images.tensors[:4]]
    path = tmp_path / "model.onnx"

    exported = export_network(found, (), examples, path, has_cells=True)

    assert exported.parity < 1e-5
    assert exported.cells == (3, 2)
    answers = Graph(path).answers({"image": examples[0][0][None]})
    logit = float(regressed_logits(found, pooled)[0])
    expected = 1 / (1 + np.exp(-logit))
    assert answers["score"].item() == pytest.approx(expected, abs=1e-4)
    assert answers["cells"].shape == (1, 1, 3, 2)


# --- weights ----------------------------------------------------------------------------------


def test_images_of_a_breast_share_one_by_their_views() -> None:
    examples = planted(2).examples
    three = (examples[0], examples[0], examples[1], examples[2])

    assert shares_of_breasts(three).tolist() == [0.25, 0.25, 0.5, 1.0]


def test_classes_weigh_the_same_within_each_group() -> None:
    examples = planted(15).examples  # women 1, 3, ... are positive; machines A, A, B, B, A, ...
    labels = np.array([one.label for one in examples])
    machines = np.array([one.row.columns["machine"] for one in examples])

    overall = weights_of(examples, ())
    by_machine = weights_of(examples, (Alike(column="machine"),))

    assert overall[labels == 1].sum() == pytest.approx(overall[labels == 0].sum())
    for machine in "AB":
        mine = machines == machine
        positive, negative = (by_machine[mine & (labels == label)].sum() for label in (1, 0))
        assert positive == pytest.approx(negative)
    # 4 positive and 4 negative women, and 3 positive and 4 negative ones: harmonic means.
    sums = sorted(by_machine[machines == machine].sum() for machine in "AB")
    assert sums == pytest.approx([2 * 2 / (1 / 3 + 1 / 4), 8])


def test_a_group_without_one_of_the_classes_counts_nothing() -> None:
    examples = planted(4).examples

    by_age = weights_of(examples, (Alike(column="age", edges=(52, 53)),))

    # Ages 50 (negative) and 51 (positive); 52 (negative) alone; 53 (positive) alone.
    assert by_age.tolist() == [0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0]
    with pytest.raises(ConfigError, match=r"within a group of age, found only one"):
        weights_of(examples, (Alike(column="age"),))


def test_features_that_never_differ_do_no_harm(images: Planted) -> None:
    recipe = plain_recipe({"after": "stem"})
    count = len(images.examples)
    pooled = PooledFeatures("same", (np.ones((count, 3 * 32), np.float32),))

    found = fitted_network(
        recipe, begun_regression(recipe, 1, None), pooled, images.examples, range(count)
    )

    assert np.abs(regressed_logits(found, pooled)).max() < 1e-3


def test_what_hardly_differs_becomes_no_difference_of_scores(images: Planted) -> None:
    recipe = plain_recipe({"after": "stem"})
    labels = np.array([one.label for one in images.examples])
    random = np.random.default_rng(0)
    rows = random.normal(size=(len(labels), 3 * 32))
    rows[:, 0] = 6 + 1e-6 * labels  # rounding that knows the label
    rows[:, 1] += labels
    pooled = PooledFeatures("tiny", (rows.astype(np.float32),))

    found = fitted_network(
        recipe, begun_regression(recipe, 1, None), pooled, images.examples, range(len(labels))
    )

    assert found.linears[0].weight.abs().max() < 10, "by its deviation it would be a million"
