"""Slices and projections are shown as readers know them, whichever way they are stored."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from node.imaging.standard_view import LETTERS, axial_projection, view_of

AXES = {"axial": (0, 1), "sagittal": (1, 2), "coronal": (0, 2)}
DOWN = {"axial": 1, "sagittal": -1, "coronal": -1}
"""Whether y or z grows downwards as it is shown."""


def unit(axis: int, sign: int) -> tuple[float, float, float]:
    vector = [0.0, 0.0, 0.0]
    vector[axis] = float(sign)
    return (vector[0], vector[1], vector[2])


STORED = [
    (name, along_row, along_column, row_sign, column_sign)
    for name, axes in AXES.items()
    for along_row, along_column in permutations(axes)
    for row_sign, column_sign in product((1, -1), repeat=2)
]


@pytest.mark.parametrize(("name", "of_row", "of_column", "row_sign", "column_sign"), STORED)
def test_a_slice_is_shown_the_same_way_however_it_is_stored(
    name: str, of_row: int, of_column: int, row_sign: int, column_sign: int
) -> None:
    view = view_of(unit(of_row, row_sign), unit(of_column, column_sign), (2.0, 3.0))
    assert view.name == name
    # Each pixel holds where it lies along the two axes of the slice.
    places = np.indices((4, 5))
    along = {of_column: column_sign * places[0], of_row: row_sign * places[1]}
    to_right, to_below = AXES[name]
    across, down = (view.of(along[axis]) for axis in (to_right, to_below))
    assert (np.diff(across, axis=1) == 1).all()
    assert (np.diff(down, axis=0) == DOWN[name]).all()
    assert view.spacing == ((3.0, 2.0) if of_row != to_right else (2.0, 3.0))
    assert (view.left, view.right) == LETTERS[to_right]
    assert (view.top, view.bottom) == LETTERS[to_below][:: DOWN[name]]


@pytest.mark.parametrize("order", [*permutations(range(3))])
@pytest.mark.parametrize("signs", [*product((1, -1), repeat=3)])
def test_a_projection_is_from_the_feet_with_the_right_on_the_left(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, of in enumerate(order):
        affine[of, axis] = signs[axis] * (1.0, 2.0, 4.0)[of]
    shape = (3, 4, 5)
    grid = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T
    projection = axial_projection(affine)
    for of, axis in ((0, 1), (1, 0)):
        values = grid[..., of] - grid[..., of].min()
        shown = projection.of(enumerate(values), shape)
        step = (1.0, 2.0)[of]
        assert (np.diff(shown, axis=axis) == step).all(), "to the left, and to the back"
        assert (np.diff(shown, axis=1 - axis) == 0).all()
    assert projection.view.spacing == (2.0, 1.0)
    assert (projection.view.left, projection.view.top) == ("R", "A")


def test_a_projection_keeps_the_highest_value_along_the_body() -> None:
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    volume = np.zeros((3, 4, 5))
    volume[2, 1, 3] = 7
    shown = axial_projection(affine).of(enumerate(volume), volume.shape)
    assert shown.max() == 7 and np.argwhere(shown).tolist() == [[1, 3]]
    nothing = axial_projection(affine).of([], volume.shape)
    assert nothing.shape == (4, 5) and not nothing.any()
