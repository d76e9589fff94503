"""Recipe -> what its card says of the network: what gets a score, and how it has learnt.

Each sentence is true of the recipe at hand: heads and ways to learn differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import fill

from node.manifest import PartOfStudy
from node.manifest.pixels import batch_of
from node.training.recipe import Recipe
from node.training.stages import ALL, NONE, STAGES

_WIDTH = 100
"""Characters on a line."""


def what_it_is(recipe: Recipe) -> str:
    """Return its paragraphs: what the network gives a score to, and what of it has learnt."""
    said = [_scored(recipe), _learnt(recipe)]
    if recipe.heat_map:
        where = "the lesion score is highest" if recipe.lesions else "cells add most to the score"
        said.append(
            f"Its heat map shows where {where}, 0 to 1: a breast without a lesion has a warmest "
            "place, too."
        )
    return "\n\n".join(map(_filled, said))


def how_points_count(about: PartOfStudy) -> str:
    """Return of what sensitivity and specificity are."""
    words = "Specificity is of exams of women without the disease who have both breasts. "
    if about == "exam":
        return _filled(f"{words}Sensitivity is of affected exams.")
    return _filled(
        f"{words}Sensitivity is of affected breasts by themselves: lower than by exam, as an exam "
        "is called by the higher of two."
    )


def sides_compared(recipe: Recipe) -> str:
    """Say whether both breasts reach one score."""
    if recipe.is_of_phases:
        return "its images show both breasts, and its score does not say of which it is"
    return "it does not compare left and right"


def _scored(recipe: Recipe) -> str:
    """Say what the network reads at once, and what reaches a score."""
    if recipe.is_of_phases:
        return _scored_of_phases(recipe)
    projections = _listed(recipe.input.projections)
    if recipe.about == "image":
        return (
            f"A network that gives each image a score. A breast has the mean of its views "
            f"({projections}), each of them the mean of its images: neither how many images there "
            "are nor the other breast reaches it. An exam has the score of its higher breast."
        )
    if recipe.about == "breast":
        return (
            f"A network that gives each breast a score, of its images at once ({projections}): "
            "the mean of their logits. A view that is not there does not count, and of several "
            "images of a view the last one does: neither how many images there are nor the other "
            "breast reaches the score. An exam has the score of its higher breast."
        )
    return (
        f"A network that gives each exam one score, of its images at once "
        f"({_listed(recipe.roles)}). A breast has the mean of the logits of its images, and the "
        "score is a smooth highest of both breasts, log-sum-exp: it knows which breasts are there. "
        "A view that is not there does not count, and of several images of a view the last one "
        "does. No score is given to a breast by itself."
    )


def _scored_of_phases(recipe: Recipe) -> str:
    count, channels = batch_of(recipe.operations), _listed(recipe.channels or ())
    if count == 1:
        return (
            f"A network that gives a breast MRI a score, of one image made of its phases "
            f"({channels}): a projection, or a slice."
        )
    return (
        f"A network that gives each of {count} slices of a breast MRI a score ({channels}). The "
        "exam has the highest of them, and the result names the slice. It has learnt from labels "
        "of whole studies, by a smooth highest of slices, log-mean-exp: nobody said which slice "
        "shows what a study is labelled by."
    )


def _learnt(recipe: Recipe) -> str:
    """Say where the weights come from, and what has learnt of what."""
    trunk, frozen = recipe.network.trunk, recipe.network.frozen
    begun = f"Its trunk, {trunk}, came with the weights of photographs"
    if recipe.regression is not None:
        after = _listed(dict.fromkeys(f'"{one.after}"' for one in recipe.regression.features))
        labels = f"Logistic regressions of what the trunk sees after {after} learnt the labels."
        if recipe.lesions is None:
            return f"{begun}, and is as it came. {labels}"
        taught = "all of it" if frozen == NONE else f'what follows "{frozen}"'
        return (
            f"{begun}; {taught} was then taught by boxes where lesions lie, and saw no label. "
            f"{labels}"
        )
    if recipe.schedule.epochs == 0 or frozen in (ALL, STAGES[trunk][-1]):
        return f"{begun}, frozen up to its end: a head alone learnt the labels."
    if frozen == NONE:
        return f"{begun}, and nothing of it was frozen: a head learnt the labels, and all with it."
    return f'{begun}, frozen up to "{frozen}": a head learnt the labels, and later stages with it.'


def _listed(words: Iterable[str]) -> str:
    """Return "a, b and c"."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def _filled(words: str) -> str:
    return fill(words, _WIDTH, break_long_words=False, break_on_hyphens=False)
