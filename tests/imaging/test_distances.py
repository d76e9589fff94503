"""Distances and connection in cells are those that comparison of every pair gives."""

from __future__ import annotations

import numpy as np
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from node.imaging.components import Bools
from node.imaging.distances import depth_mm, distance_mm, reached

MASKS = st_numpy.arrays(bool, st_numpy.array_shapes(min_dims=3, max_dims=3, max_side=6))
SPACINGS = st.tuples(*[st.floats(0.5, 4.0)] * 3)


@settings(max_examples=examples(100))
@given(MASKS, SPACINGS, st.floats(1.0, 12.0))
def test_a_distance_is_that_to_the_nearest_cell_or_the_most(
    mask: Bools, spacing: tuple[float, float, float], most: float
) -> None:
    cells = np.argwhere(np.ones(mask.shape)) * spacing
    others = np.argwhere(mask) * spacing
    away = np.linalg.norm(cells[:, np.newaxis] - others, axis=-1)
    expected = away.min(axis=1, initial=most).reshape(mask.shape)
    np.testing.assert_allclose(distance_mm(mask, spacing, most), expected, rtol=1e-5, atol=1e-4)


def test_the_surface_lies_between_the_last_cell_inside_and_the_first_outside() -> None:
    mask = np.zeros((1, 1, 6), bool)
    mask[..., :3] = True
    found = depth_mm(mask, (2.0, 2.0, 2.0), 10.0)
    np.testing.assert_allclose(found[0, 0], [5, 3, 1, -1, -3, -5])


@settings(max_examples=examples(100))
@given(MASKS, st.data())
def test_what_is_reached_touches_the_seed_by_faces_of_the_mask(
    mask: Bools, data: st.DataObject
) -> None:
    seeds = data.draw(st_numpy.arrays(bool, mask.shape))
    expected = seeds & mask
    while True:
        wide = np.pad(expected, 1)
        wider = expected | (
            mask
            & (
                wide[:-2, 1:-1, 1:-1]
                | wide[2:, 1:-1, 1:-1]
                | wide[1:-1, :-2, 1:-1]
                | wide[1:-1, 2:, 1:-1]
                | wide[1:-1, 1:-1, :-2]
                | wide[1:-1, 1:-1, 2:]
            )
        )
        if np.array_equal(wider, expected):
            break
        expected = wider
    np.testing.assert_array_equal(reached(seeds, mask), expected)
