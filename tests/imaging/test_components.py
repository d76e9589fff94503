"""The largest region and erosion, against the slowest way there is."""

from __future__ import annotations

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from node.imaging.components import Bools, Neighbours, eroded, largest_component

STEPS: dict[int, tuple[tuple[int, int], ...]] = {4: ((0, 1), (1, 0), (0, -1), (-1, 0))}
STEPS[8] = (*STEPS[4], (1, 1), (1, -1), (-1, 1), (-1, -1))

masks = arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def filled_from(mask: Bools, start: tuple[int, int], neighbours: int) -> Bools:
    """Flood fill, pixel by pixel."""
    region = np.zeros_like(mask)
    waiting = [start]
    while waiting:
        y, x = waiting.pop()
        is_inside = 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]
        if is_inside and mask[y, x] and not region[y, x]:
            region[y, x] = True
            waiting += [(y + dy, x + dx) for dy, dx in STEPS[neighbours]]
    return region


def largest_by_flood_fill(mask: Bools, neighbours: int) -> Bools:
    best = np.zeros_like(mask)
    seen = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        if not seen[y, x]:
            region = filled_from(mask, (int(y), int(x)), neighbours)
            seen |= region
            if region.sum() > best.sum():
                best = region
    return best


@settings(max_examples=examples(300))
@given(mask=masks, neighbours=st.sampled_from([4, 8]))
def test_the_largest_region_is_that_of_a_flood_fill(mask: Bools, neighbours: Neighbours) -> None:
    expected = largest_by_flood_fill(mask, neighbours)
    found = largest_component(mask, neighbours)
    if found is None:
        assert not mask.any()
        return
    assert np.array_equal(found.mask(mask.shape), expected)
    rows, columns = np.nonzero(expected)
    assert found.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_a_spiral_is_one_region_however_long_the_way_along_it() -> None:
    mask = np.zeros((101, 101), bool)
    for ring in range(0, 50, 2):
        mask[ring, ring : 101 - ring] = mask[100 - ring, ring : 101 - ring] = True
        mask[ring : 101 - ring, ring] = mask[ring : 101 - ring, 100 - ring] = True
        mask[ring + 1, ring] = False  # the ring is open, and goes on in the next one
        mask[ring + 2 : ring + 3, ring + 1 : ring + 2] = True
    expected = largest_by_flood_fill(mask, 4)
    assert expected.sum() > 4000
    found = largest_component(mask, 4)
    assert found is not None
    assert np.array_equal(found.mask(mask.shape), expected)


def eroded_step_by_step(mask: Bools, steps: int) -> Bools:
    """Erode with a cross, so many times; outside the image is nothing."""
    for _ in range(steps):
        framed = np.pad(mask, 1)
        mask = (
            framed[1:-1, 1:-1]
            & framed[:-2, 1:-1]
            & framed[2:, 1:-1]
            & framed[1:-1, :-2]
            & framed[1:-1, 2:]
        )
    return mask


@settings(max_examples=examples(300))
@given(mask=masks, steps=st.integers(0, 5))
def test_erosion_is_as_many_single_steps(mask: Bools, steps: int) -> None:
    assert np.array_equal(eroded(mask, steps), eroded_step_by_step(mask, steps))


@pytest.mark.parametrize("steps", [1, 7, 40])
def test_erosion_of_a_large_shape(steps: int) -> None:
    y, x = np.indices((120, 150))
    mask: NDArray[np.bool_] = ((y - 60) ** 2 + (x - 20) ** 2 < 55**2) | (x > 140)
    expected = eroded_step_by_step(mask, steps)
    assert np.array_equal(eroded(mask, steps), expected)
    assert expected.any() == (steps < 40)
