"""What a breast is judged by is the whole image, whatever the network gets of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_recipes import RECIPES, VIEWS, WINDOW, Stored, breast, prepared, read

from node.domains.mammography.plausibility import require_plausible
from node.errors import StudyError
from node.study import Laterality, View

VIEW = View(Laterality.RIGHT, "MLO")


def judged(recipe: str, values: Stored, folder: Path, **header: Any) -> None:
    manifest = read(recipe, folder)
    found = prepared(manifest, values, VIEW, folder, **(WINDOW | header))
    require_plausible(found.seen, manifest)


def image() -> Stored:
    return breast(900, 700, (700, 420), VIEW)


@pytest.mark.parametrize("recipe", ["a", "b", "c", "d"])
def test_a_breast_is_one_by_every_recipe(recipe: str, tmp_path: Path) -> None:
    judged(RECIPES[recipe], image(), tmp_path)


@pytest.mark.parametrize("recipe", ["a", "b", "c", "d"])
@pytest.mark.parametrize("what", ["noise", "no air"])
def test_what_is_no_breast_is_refused_by_every_recipe(
    recipe: str, what: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    noise = random.integers(1, 4096, (900, 700))
    values = noise if what == "noise" else 3000 + noise // 10
    with pytest.raises(StudyError, match="no breast found in this image: no dark air"):
        judged(RECIPES[recipe], values.astype(np.uint16), tmp_path)


def test_a_breast_on_the_other_side_is_refused_after_a_crop_too(tmp_path: Path) -> None:
    """Cropped and windowed, a breast that was turned over would look like any other."""
    words = 'op = "grey"\nvalues = "voi"\nscale = "range of voi"'
    as_displayed = RECIPES["a"].replace('op = "grey"\nvalues = "stored"\nscale = "none"', words)
    assert words in as_displayed
    judged(as_displayed, image(), tmp_path)
    with pytest.raises(StudyError, match="side opposite the chest wall"):
        judged(as_displayed, image()[:, ::-1].copy(), tmp_path)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_the_chest_wall_at_the_right_is_judged_like_one_at_the_left(
    view: View, tmp_path: Path
) -> None:
    at_the_right = RECIPES["c"].replace(
        '[[pixels]]\nop = "quantise"',
        '[[pixels]]\nop = "mirror"\nchest_wall = "right"\n\n[[pixels]]\nop = "quantise"',
    )
    manifest = read(at_the_right, tmp_path)
    values = breast(900, 700, (700, 420), view)
    found = prepared(manifest, values, view, tmp_path, **WINDOW)
    require_plausible(found.seen, manifest)
    assert found.tensor[0, 0, 150, 280] > found.tensor[0, 0, 150, 20], "the network has it right"
    turned = prepared(manifest, values[:, ::-1].copy(), view, tmp_path, **WINDOW)
    with pytest.raises(StudyError, match="side opposite the chest wall"):
        require_plausible(turned.seen, manifest)
