"""What a card says of the network is true of its recipe."""

from __future__ import annotations

from typing import Any

import pytest

from node.training.card_words import how_points_count, sides_compared, what_it_is
from node.training.recipe import Recipe
from training.recipes import recipe_of

FEATURES = {"features": [{"after": "block 4"}, {"after": "top"}]}


def said(**tables: Any) -> str:
    """Return it on one line."""
    return " ".join(what_it_is(recipe_of(size=(96, 96), **tables)).split())


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ("image", "gives each image a score. A breast has the mean of its views (CC and MLO)"),
        ("breast", "gives each breast a score, of its images at once (CC and MLO)"),
        ("exam", "gives each exam one score, of its images at once (R CC, L CC, R MLO and L MLO)"),
    ],
)
def test_what_gets_a_score_is_told(about: str, words: str) -> None:
    text = said(about=about)
    assert f"A network that {words}" in text
    is_of_exams = about == "exam"
    assert ("An exam has the score of its higher breast." in text) != is_of_exams
    assert ("nor the other breast reaches" in text) != is_of_exams
    assert ("it knows which breasts are there" in text) == is_of_exams


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({}, 'frozen up to "block 4": a head learnt the labels, and later stages with it.'),
        ({"network": {"frozen": "all"}}, "frozen up to its end: a head alone learnt the labels."),
        ({"network": {"frozen": "top"}}, "frozen up to its end: a head alone learnt the labels."),
        ({"schedule": {"epochs": 0}}, "frozen up to its end: a head alone learnt the labels."),
        ({"network": {"frozen": "none"}}, "nothing of it was frozen: a head learnt the labels"),
        (
            {"network": {"trunk": "inception-v3"}},
            'Its trunk, inception-v3, came with the weights of photographs, frozen up to "mixed 7"',
        ),
        (
            {"about": "image", "regression": FEATURES},
            "came with the weights of photographs, and is as it came. Logistic regressions of what "
            'the trunk sees after "block 4" and "top" learnt the labels.',
        ),
        (
            {"about": "image", "regression": FEATURES, "lesions": {}},
            '; what follows "block 4" was then taught by boxes where lesions lie, and saw no '
            "label. Logistic regressions of",
        ),
    ],
)
def test_what_has_learnt_is_told(tables: dict[str, Any], words: str) -> None:
    text = said(**tables)
    assert words in text
    assert ("frozen up to" in text) == ("regression" not in tables and "none" not in str(tables))


def test_of_what_points_are_is_told() -> None:
    assert "affected breasts by themselves" in how_points_count("image")
    assert how_points_count("breast") == how_points_count("image")
    assert how_points_count("exam").endswith("affected exams.")


def test_of_breast_mr_slices_are_told_and_that_both_breasts_reach_the_score() -> None:
    words = {"name": "mri", "title": "MRI", "input": {"modality": "MR"}}
    recipe = Recipe.model_validate(words)
    text = " ".join(what_it_is(recipe).split())
    assert "gives each of 32 slices of a breast MRI a score (early)" in text
    assert "nobody said which slice" in text
    assert "show both breasts" in sides_compared(recipe)
    assert sides_compared(recipe_of()) == "it does not compare left and right"
