"""How images differ from one sight to the next: never left to right, always in their range."""

from __future__ import annotations

from math import radians

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from node.training.augmentation import (
    UNCHANGED,
    VARIANTS_DRAWN,
    ImageChange,
    change_of,
    changed,
    drawn_change,
    variants_of,
)
from node.training.recipe import Augmentation

pytestmark = [pytest.mark.training, pytest.mark.timeout(600)]

ROWS, COLUMNS = 64, 40
FLIPPED_ALONE = Augmentation(rotation_degrees=0, scale=0, grey=0)
NOTHING = Augmentation(flip_rows=False, rotation_degrees=0, scale=0, grey=0)

AUGMENTATIONS = st.builds(
    Augmentation,
    flip_rows=st.booleans(),
    rotation_degrees=st.floats(0, 30),
    scale=st.floats(0, 0.4),
    grey=st.floats(0, 0.5),
)


@st.composite
def changes(draw: st.DrawFn) -> ImageChange:
    seed = draw(st.integers(0, 2**32 - 1))
    return drawn_change(draw(AUGMENTATIONS), np.random.default_rng(seed))


def place_of(spot: tuple[int, int], change: ImageChange) -> np.ndarray:
    """Return where a spot of three pixels is after a change: row and column."""
    row, column = spot
    image = torch.zeros(1, ROWS, COLUMNS)
    image[:, row - 1 : row + 2, column - 1 : column + 2] = 1
    seen = changed(image, change)[0]
    assert seen.max() > 0, "it is still to be seen"
    grid = torch.stack(torch.meshgrid(torch.arange(ROWS), torch.arange(COLUMNS), indexing="ij"))
    place: np.ndarray = ((grid * seen).sum((1, 2)) / seen.sum()).numpy()
    return place


@given(changes())
@settings(max_examples=100, deadline=None)
def test_no_change_mirrors_left_to_right(change: ImageChange) -> None:
    near, far = place_of((32, 4), change), place_of((32, 20), change)
    above = place_of((20, 16), change)

    assert near[1] < far[1], "what is nearer to the chest wall stays nearer"
    (down, right), (up, beside) = far - near, above - near
    turns_left = right * up - down * beside < 0
    assert turns_left is not change.is_flipped, "mirrored if its rows are flipped, and only then"


@given(changes())
@settings(max_examples=100, deadline=None)
def test_the_middle_of_the_chest_wall_stays_at_the_edge(change: ImageChange) -> None:
    image = torch.zeros(1, ROWS, COLUMNS)
    image[:, :, :3] = 1
    shape = ImageChange(change.is_flipped, change.angle, change.scale)

    seen = changed(image, shape)[0]

    assert seen[ROWS // 2 - 1 : ROWS // 2 + 1, 0].min() > 0.4
    assert seen[ROWS // 2 - 1 : ROWS // 2 + 1, 10:].max() == 0


@given(changes(), st.sampled_from([1, 255]), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_a_change_keeps_black_black_and_the_range(
    change: ImageChange, white: int, seed: int
) -> None:
    image = torch.rand(1, ROWS, COLUMNS, generator=torch.Generator().manual_seed(seed)) * white

    seen = changed(image, change, white)

    assert seen.shape == image.shape
    assert 0 <= seen.min() <= seen.max() <= white
    assert torch.equal(changed(torch.zeros_like(image), change, white), torch.zeros_like(image))


@given(AUGMENTATIONS, st.integers(0, 2**32 - 1), st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_the_first_variant_is_the_image_and_others_follow_from_the_seed(
    augmentation: Augmentation, seed: int, image: int
) -> None:
    assert change_of(augmentation, seed, image, 0) == UNCHANGED
    pixels = torch.rand(1, 8, 8)
    assert torch.equal(changed(pixels, UNCHANGED), pixels)
    for variant in range(variants_of(augmentation)):
        change = change_of(augmentation, seed, image, variant)
        assert change == change_of(augmentation, seed, image, variant)
        assert augmentation.flip_rows or not change.is_flipped
        assert abs(change.angle) <= radians(augmentation.rotation_degrees)
        for factor, most in (
            (change.scale, augmentation.scale),
            (change.gain, augmentation.grey),
            (change.gamma, augmentation.grey),
        ):
            assert 1 / (1 + most) - 1e-9 <= factor <= 1 + most + 1e-9


def test_variants_of_two_images_or_two_seeds_are_others() -> None:
    augmentation = Augmentation()

    assert variants_of(augmentation) == 1 + VARIANTS_DRAWN
    assert change_of(augmentation, 1, 5, 1) != change_of(augmentation, 1, 5, 2)
    assert change_of(augmentation, 1, 5, 1) != change_of(augmentation, 1, 6, 1)
    assert change_of(augmentation, 1, 5, 1) != change_of(augmentation, 2, 5, 1)


def test_where_rows_alone_are_flipped_there_are_two_variants() -> None:
    image = torch.rand(1, ROWS, COLUMNS).half()

    assert variants_of(FLIPPED_ALONE) == 2
    for number in range(20):
        change = change_of(FLIPPED_ALONE, 1, number, 1)
        assert torch.equal(changed(image, change), image.flip(-2)), "to the last bit"
    assert variants_of(NOTHING) == 1
