"""A point of the network's input comes back to where it was stored, whatever was done between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from node.imaging.grid import Extent, PlaneGrid

sizes = st.integers(1, 400)


@dataclass(frozen=True)
class Way:
    """A grid made step by step, and how big the input is in the end."""

    grid: PlaneGrid
    height: int
    width: int


@st.composite
def ways(draw: st.DrawFn) -> Way:
    """Crop, mirror, resize and place in any order."""
    rows, columns = draw(sizes), draw(sizes)
    grid, height, width = PlaneGrid.whole(rows, columns, rows, columns), rows, columns
    for step in draw(st.lists(st.sampled_from(["crop", "mirror", "resize", "place"]), max_size=5)):
        if step == "mirror":
            grid = grid.mirrored(width)
            continue
        new_height, new_width = draw(sizes), draw(sizes)
        if step == "resize":
            grid = grid.resized((height, width), new_height, new_width)
        else:  # something of the image must stay
            left, top = int(grid.filled.left), int(grid.filled.top)
            right, bottom = int(np.ceil(grid.filled.right)), int(np.ceil(grid.filled.bottom))
            across = draw(st.integers(1 - right, new_width - 1 - left))
            down = draw(st.integers(1 - bottom, new_height - 1 - top))
            if grid.filled.right + across < 0.5 or grid.filled.bottom + down < 0.5:
                continue
            if grid.filled.left + across > new_width - 0.5:
                continue
            if grid.filled.top + down > new_height - 0.5:
                continue
            grid = grid.moved(across, down, new_height, new_width)
        height, width = new_height, new_width
    return Way(grid, height, width)


@settings(max_examples=examples(400))
@given(way=ways(), shares=st.lists(st.tuples(*[st.floats(0, 1)] * 2), min_size=1, max_size=8))
def test_points_come_back_from_both_sides(way: Way, shares: list[tuple[float, float]]) -> None:
    grid = way.grid
    for extent, there, back in (
        (grid.filled, grid.places, grid.to_model),
        (grid.shown, grid.to_model, grid.places),
    ):
        points = np.array(shares) * (extent.width, extent.height) + (extent.left, extent.top)
        assert np.allclose(back(there(points)), points, atol=1e-6 * 400)


@settings(max_examples=examples(400))
@given(way=ways())
def test_what_is_filled_lies_in_the_input_and_shows_a_part_of_the_image(way: Way) -> None:
    filled, shown = way.grid.filled, way.grid.shown
    assert -1e-9 <= filled.left < filled.right <= way.width + 1e-9
    assert -1e-9 <= filled.top < filled.bottom <= way.height + 1e-9
    assert -1e-6 <= shown.left < shown.right <= way.grid.columns + 1e-6
    assert -1e-6 <= shown.top < shown.bottom <= way.grid.rows + 1e-6
    corners = way.grid.places(np.array([filled[:2], filled[2:]]))
    assert np.allclose(np.sort(corners, axis=0).reshape(-1), shown, atol=1e-6)
    whole = way.grid.to_model(np.array([(0, 0), (way.grid.columns, way.grid.rows)], float))
    assert np.allclose(np.sort(whole, axis=0).reshape(-1), way.grid.whole_image, atol=1e-6)


@settings(max_examples=examples(300))
@given(way=ways(), share=st.floats(0, 1))
def test_depth_is_measured_from_the_edge_of_the_image_and_not_of_a_crop(
    way: Way, share: float
) -> None:
    grid = way.grid
    x = grid.filled.left + share * grid.filled.width
    ((column, _),) = grid.places(np.array([(x, grid.filled.top)]))
    from_first, from_last = 0.07 * column, 0.07 * (grid.columns - column)
    left, right = (grid.depth_mm(x, side, 0.07) for side in ("left", "right"))
    expected = (from_last, from_first) if grid.is_mirrored else (from_first, from_last)
    assert (left, right) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=examples(200))
@given(way=ways())
def test_the_area_of_all_pixels_is_that_of_what_they_show(way: Way) -> None:
    filled, shown = way.grid.filled, way.grid.shown
    area = way.grid.pixel_area_mm2((0.1, 0.2)) * filled.width * filled.height
    assert area == pytest.approx(0.02 * shown.width * shown.height)


def test_the_whole_numbers_of_a_whole_image_stay_whole() -> None:
    for rows in range(1, 3000, 7):
        grid = PlaneGrid.whole(rows, 911, rows, 911).mirrored(911).resized((rows, 911), 640, 512)
        assert grid == PlaneGrid.whole(rows, 911, 640, 512, is_mirrored=True)


def test_a_crop_in_the_middle_of_a_window() -> None:
    grid = PlaneGrid.whole(100, 60, 100, 60).moved(
        -10, -20, 50, 40
    )  # rows 20 to 70, columns 10 to 50
    grid = grid.mirrored(40).moved(0, 25, 100, 64)
    assert grid.shown == Extent(10, 20, 50, 70)
    assert grid.filled == Extent(0, 25, 40, 75)
    assert grid.places(np.array([(0.5, 25.5), (40.0, 75.0)])).tolist() == [[49.5, 20.5], [10, 70]]
    assert grid.filled.slices == (slice(25, 75), slice(0, 40))
