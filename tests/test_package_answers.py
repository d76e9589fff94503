"""What can be noticed of a network's answers before a hospital does: wrong ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from package_answers import BOXED, SCORED, detector, scorer
from packages import CLASSES
from several_images import BREAST, BREAST_UNIT, MALIGNANCY, PIXELS, breast_network, parsed, write
from small_models import model

from node.manifest import Model
from node.packages.checking import check_package

pytestmark = pytest.mark.usefixtures("warm_inference", "small_exam")


def answers(package: Model) -> str:
    """Return what is amiss in the answers, "" if nothing is."""
    found = {one.what: one for one in check_package(package)}["answers"]
    return "" if found.is_ok else found.words


def test_a_score_of_the_image_is_right(tmp_path: Path) -> None:
    assert answers(scorer(tmp_path, "score = Identity(mean)")) == ""


def test_a_score_that_is_random_is_refused(tmp_path: Path) -> None:
    body = """
        noise = RandomUniformLike<high = 0.5>(mean)
        half = Mul(mean, noise)
        score = Add(half, noise)
    """
    said = answers(scorer(tmp_path, body))
    assert "two runs on one image (R CC) differ by" in said
    assert "without dropout or noise" in said


def test_a_score_that_is_the_same_whatever_is_seen_is_refused(tmp_path: Path) -> None:
    body = """
        nothing = Sub(mean, mean)
        quarter = Constant<value_float = 0.25>()
        score = Add(nothing, quarter)
    """
    said = answers(scorer(tmp_path, body))
    assert said.startswith("'score' is the same (0.25) for all of 13 images that differ clearly")
    assert "--files FOLDER" in said


def test_a_score_that_only_a_bright_disc_changes_is_right(tmp_path: Path) -> None:
    body = """
        highest = ReduceMax<keepdims = 0>(image)
        limit = Constant<value_float = 0.97>()
        is_bright = Greater(highest, limit)
        single = Constant<value_ints = [1, 1]>()
        number = Cast<to = 1>(is_bright)
        score = Reshape(number, single)
    """
    assert answers(scorer(tmp_path, body)) == ""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "ten = Constant<value_float = 10.0>()\nless = Constant<value_float = 3.0>()\n"
            "wide = Mul(mean, ten)\nscore = Sub(wide, less)",
            'they look like logits; add activation = "sigmoid", or end the graph in it',
        ),
        (
            "hundred = Constant<value_float = 100.0>()\nscore = Mul(mean, hundred)",
            "they look like percent; end the graph in a division by 100",
        ),
    ],
)
def test_a_score_outside_0_to_1_is_told_what_it_looks_like(
    body: str, words: str, tmp_path: Path
) -> None:
    said = answers(scorer(tmp_path, body))
    assert "expected 0..1" in said
    assert words in said


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (
            "three = Constant<value_float = 3.0>()\ndensity = Mul(both, three)",
            'they look like logits; add activation = "softmax"',
        ),
        (
            "all = Constant<value_float = 100.0>()\ndensity = Mul(both, all)",
            "they look like percent",
        ),
        (
            "half = Constant<value_float = 0.25>()\ndensity = Mul(both, half)",
            "probabilities that add up to 0.25, expected 1",
        ),
    ],
)
def test_classes_that_are_no_probabilities_are_told(nodes: str, words: str, tmp_path: Path) -> None:
    body = f"""
        axes = Constant<value_ints = [2, 3]>()
        mean = ReduceMean<keepdims = 0>(image, axes)
        one = Constant<value_float = 1.0>()
        rest = Sub(one, mean)
        both = Concat<axis = 1>(mean, rest)
        {nodes}
    """
    package = model(tmp_path, body, output="float[1,2] density", described=CLASSES)
    assert words in answers(package)


def test_softmax_of_what_is_softmax_already_is_told(tmp_path: Path) -> None:
    body = """
        axes = Constant<value_ints = [2, 3]>()
        mean = ReduceMean<keepdims = 0>(image, axes)
        one = Constant<value_float = 1.0>()
        rest = Sub(one, mean)
        score = Concat<axis = 1>(mean, rest)
    """
    described = SCORED + 'element = 0\nactivation = "softmax"\n'
    described += 'combine = { breast = "highest", exam = "highest" }\n'
    package = model(tmp_path, body, output="float[1,2] score", described=described, several=True)
    assert "holds probabilities already: take the word out" in answers(package)


def test_boxes_on_the_breast_are_right(tmp_path: Path) -> None:
    assert answers(detector(tmp_path, (2, 28, 10, 38, 0.8), (4, 30, 12, 42, 0.5))) == ""


def test_boxes_that_nobody_is_sure_of_may_lie_anywhere(tmp_path: Path) -> None:
    assert answers(detector(tmp_path, (0.1, 0.2, 0.3, 0.4, 0.0), (4, 30, 12, 42, 0.6))) == ""


def test_boxes_that_are_the_same_whatever_is_seen_are_refused(tmp_path: Path) -> None:
    body = """
        nothing = Constant<value_float = 0.0>()
        none = Mul(image, nothing)
        axes = Constant<value_ints = [2, 3]>()
        zero = ReduceMean<keepdims = 0>(none, axes)
        box = Constant<value = float[1,1,5] {2.0, 28.0, 10.0, 38.0, 0.8}>()
        boxes = Add(box, zero)
    """
    described = BOXED.replace("boxes = 2", "boxes = 1")
    said = answers(model(tmp_path, body, output="float[1,1,5] boxes", described=described))
    assert said.startswith("'boxes' is the same for all of 13 images that differ clearly")


def test_a_detector_that_finds_nothing_anywhere_is_right(tmp_path: Path) -> None:
    assert answers(detector(tmp_path, (2, 28, 10, 38, 0.01))) == ""


def test_a_mask_that_is_random_is_refused(tmp_path: Path) -> None:
    body = """
        noise = RandomUniformLike<high = 0.3>(image)
        mask = Add(image, noise)
    """
    assert "two runs on one image (R CC) differ by" in answers(model(tmp_path, body))


def test_normalised_boxes_are_told(tmp_path: Path) -> None:
    said = answers(detector(tmp_path, (0.1, 0.5, 0.2, 0.6, 0.8), (0.2, 0.4, 0.3, 0.5, 0.5)))
    assert "look normalised; end the graph in a multiplication by width and height" in said


def test_boxes_of_centre_and_size_are_told(tmp_path: Path) -> None:
    said = answers(detector(tmp_path, (20, 34, 8, 9, 0.8), (16, 30, 6, 6, 0.5)))
    assert "look like centre and size" in said


def test_boxes_with_rows_before_columns_are_told(tmp_path: Path) -> None:
    said = answers(detector(tmp_path, (30, 2, 38, 8, 0.8), (40, 4, 50, 10, 0.5)))
    assert "look like top, left, bottom, right" in said


def test_a_network_that_does_not_use_one_of_its_images_is_told(tmp_path: Path) -> None:
    blind = BREAST.replace("{0.25, 0.75}", "{0.0, 1.0}")
    assert blind != BREAST
    unit = BREAST_UNIT.replace("MISSING", "refuse").replace("REPEATED", "refuse")
    described = unit + PIXELS + MALIGNANCY + 'combine = { exam = "highest" }\n'
    said = answers(write(tmp_path / "blind", parsed(blind), described))
    assert said.startswith("the answers are the same whether 'CC' is there or black")
    assert answers(breast_network(tmp_path / "seeing")) == ""
