"""Tensors of boxes, scores, heat maps and lesion masks become places and numbers of an image."""

from __future__ import annotations

import base64
import tomllib
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from packages import MANIFEST

from node.errors import ModelError, StudyError
from node.imaging.grey import Float32
from node.imaging.grid import PlaneGrid
from node.imaging.outlines import signed_area
from node.inference.boxes import score_boxes
from node.inference.mask import MOST_REGIONS, score_mask
from node.inference.whole_image import read_heat_map, score_whole
from node.manifest import BoxesOutput, Manifest, MaskOutput, ScoreOutput
from node.result import HeatMap, Mark, OutputScore

HEAD = MANIFEST.partition("[output]\n")[0]
UID = "1.2.3.4"
PLAIN = PlaneGrid.whole(rows=640, columns=400, height=64, width=40, is_mirrored=False)
"""Ten stored pixels to one of the network, whose last eight columns are padding."""
MIRRORED = PlaneGrid.whole(rows=640, columns=400, height=64, width=40, is_mirrored=True)


def manifest(output: str, *changes: tuple[str, str]) -> Manifest:
    """Return a manifest with this [output]; the network's input is 64 x 48."""
    text = HEAD + "[output]\n" + output
    for present, replacement in changes:
        assert present in text
        text = text.replace(present, replacement)
    return Manifest.model_validate(tomllib.loads(text))


# Boxes

BOXES = """\
kind = "boxes"
tensor = "boxes"
boxes = 3
threshold = 0.3
label = "mass"
finding = { value = "129793001", scheme = "SCT", meaning = "Mammography breast density" }
score = { value = "S", scheme = "99TEST", meaning = "Score" }
decimals = 1
"""
DETECTOR = manifest(BOXES)
AS_STORED = ('orientation = "chest wall left"', 'orientation = "as stored"')


def boxed(
    *rows: tuple[float, ...],
    grid: PlaneGrid = PLAIN,
    of: Manifest = DETECTOR,
    spacing_mm: tuple[float, float] | None = (0.2, 0.1),
) -> tuple[Mark, ...]:
    table = np.array([*rows, *[(0, 0, 0, 0, 0)] * (3 - len(rows))], np.float32)
    (output,) = of.outputs
    assert isinstance(output, BoxesOutput)
    return score_boxes(table, output, of, grid, spacing_mm).marks


def edges(mark: Mark) -> tuple[float, ...]:
    """Return left, top, right and bottom of an outline of any kind."""
    points = np.array(mark.outline)
    return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


def test_a_box_becomes_a_closed_rectangle_that_runs_clockwise_from_its_upper_left() -> None:
    (mark,) = boxed((4, 8, 10, 20, 0.875))
    assert list(mark.outline) == [(40, 80), (100, 80), (100, 200), (40, 200), (40, 80)]
    assert mark.is_box
    (score,) = mark.measurements
    assert (score.value, score.unit.value, score.decimals) == (87.5, "%", 1)
    assert score.is_score
    assert score.concept.value == "S"


def test_in_a_mirrored_image_a_box_is_where_the_image_shows_it_and_runs_the_same_way() -> None:
    (mark,) = boxed((4, 8, 10, 20, 0.875), grid=MIRRORED)
    assert list(mark.outline) == [(300, 80), (360, 80), (360, 200), (300, 200), (300, 80)]


def test_the_surest_box_comes_first_and_unsure_and_unused_rows_are_none() -> None:
    marks = boxed((1, 1, 2, 2, 0.31), (3, 3, 4, 4, 0.29), (5, 5, 6, 6, 0.9))
    assert [edges(mark) for mark in marks] == [(50, 50, 60, 60), (10, 10, 20, 20)]
    assert boxed() == ()


def test_a_score_at_the_threshold_is_enough() -> None:
    assert len(boxed((1, 1, 2, 2, 0.3))) == 1


def test_equal_scores_keep_the_order_of_the_network() -> None:
    marks = boxed((5, 5, 6, 6, 0.5), (1, 1, 2, 2, 0.5))
    assert [edges(mark)[0] for mark in marks] == [50, 10]


@pytest.mark.parametrize("grid", [PLAIN, MIRRORED], ids=["plain", "mirrored"])
def test_the_depth_is_that_of_the_middle_from_the_chest_wall_on_either_side(
    grid: PlaneGrid,
) -> None:
    (mark,) = boxed((4, 8, 10, 20, 0.9), grid=grid)
    assert mark.depth_mm == pytest.approx(70 * 0.1), "by the column spacing"
    assert type(mark.depth_mm) is float


def test_without_spacing_or_chest_wall_there_is_no_depth_but_there_is_a_box() -> None:
    (unmeasured,) = boxed((4, 8, 10, 20, 0.9), spacing_mm=None)
    (unturned,) = boxed((4, 8, 10, 20, 0.9), of=manifest(BOXES, AS_STORED))
    assert unmeasured.depth_mm is unturned.depth_mm is None
    assert unmeasured.outline == unturned.outline


@pytest.mark.parametrize("score", [-0.01, 1.01, nan, float("inf")])
def test_what_is_not_within_0_and_1_is_no_score_of_a_box(score: float) -> None:
    with pytest.raises(ModelError, match=r"'boxes' holds scores outside 0\.\.1"):
        boxed((4, 8, 10, 20, score))


@pytest.mark.parametrize(
    ("box", "where"),
    [
        ((41, 8, 47, 20), "on the padding"),
        ((-9, 8, -1, 20), "left of the image"),
        ((4, 64, 10, 70), "below the image"),
        ((10, 8, 4, 20), "from right to left"),
        ((4, 20, 10, 8), "upside down"),
        ((4, 8, 4, 20), "without width"),
        ((4, 8, 4.0001, 20), "of no width that can be written"),
        ((nan, 8, 10, 20), "not a number"),
        ((4, 8, 10, nan), "not a number"),
    ],
)
@pytest.mark.parametrize("grid", [PLAIN, MIRRORED], ids=["plain", "mirrored"])
def test_a_box_that_is_nowhere_is_the_models_mistake(
    box: tuple[float, ...], where: str, grid: PlaneGrid
) -> None:
    with pytest.raises(ModelError, match="'boxes' holds a box"):
        boxed((*box, 0.9), grid=grid)
    assert boxed((*box, 0.1), grid=grid) == (), f"{where}, but unused"


def test_of_a_box_across_the_edge_what_is_on_the_image_is_kept() -> None:
    (mark,) = boxed((-5, -5, 10, 20, 0.9))
    assert edges(mark) == (0, 0, 100, 200)
    assert mark.depth_mm == pytest.approx(50 * 0.1)
    (mark,) = boxed((30, 50, 48, 99, 0.9))
    assert edges(mark) == (300, 500, 400, 640)


sizes = st.integers(8, 3000)


@given(
    rows=sizes,
    columns=sizes,
    height=st.integers(8, 64),
    width=st.integers(8, 48),
    is_mirrored=st.booleans(),
    box=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_a_box_comes_back_from_any_grid(
    rows: int, columns: int, height: int, width: int, is_mirrored: bool, box: tuple[float, ...]
) -> None:
    grid = PlaneGrid.whole(rows, columns, height, width, is_mirrored)
    left, right = sorted(x * width for x in box[0::2])
    top, bottom = sorted(y * height for y in box[1::2])
    if right - left < 0.1 or bottom - top < 0.1:
        return
    (mark,) = boxed((left, top, right, bottom, 0.9), grid=grid)
    assert signed_area(np.array(mark.outline)) > 0, "clockwise on the screen"
    x0, y0, x1, y1 = edges(mark)
    assert 0 <= x0 < x1 <= columns
    assert 0 <= y0 < y1 <= rows
    assert "-0.0" not in str(mark.outline)
    back = grid.to_model(np.array([(x0, y0), (x1, y1)]))
    found = (*back.min(axis=0), *back.max(axis=0))
    rounding = 0.006 * max(height / rows, width / columns) + 1e-4
    assert found == pytest.approx((left, top, right, bottom), abs=rounding)


# Scores and heat maps

SCORE = """\
kind = "score"
tensor = "score"
label = "AI score"
score = { value = "S", scheme = "99TEST", meaning = "Score" }
decimals = 1
"""
HEAT_MAP = """
[output.heat_map]
tensor = "heat"
height = 8
width = 6
concept = { value = "H", scheme = "99TEST", meaning = "Where it looked" }
"""
SCORER = manifest(SCORE)
MAPPER = manifest(SCORE + HEAT_MAP)


def scored(
    score: float = 0.5,
    heat: NDArray[Any] | None = None,
    *,
    grid: PlaneGrid = PLAIN,
    of: Manifest = MAPPER,
) -> OutputScore:
    (output,) = of.outputs
    assert isinstance(output, ScoreOutput)
    found = score_whole(np.array([score], np.float32), output)
    if heat is None or output.heat_map is None:
        return found
    warm = read_heat_map(UID, heat.astype(np.float32), output.heat_map, of.image_shape[-2:], grid)
    return replace(found, heat_map=warm)


def mapped(heat: NDArray[Any], grid: PlaneGrid = PLAIN, of: Manifest = MAPPER) -> HeatMap:
    found = scored(heat=heat, grid=grid, of=of).heat_map
    assert found is not None
    return found


def cells(heat_map: HeatMap) -> NDArray[np.uint8]:
    content = np.frombuffer(base64.b64decode(heat_map.values), np.uint8)
    return content.reshape(heat_map.rows, heat_map.columns)


def test_a_score_is_passed_on_as_percent() -> None:
    score = scored(0.875, of=SCORER)
    (number,) = score.measurements
    assert (number.value, number.unit.value, number.decimals) == (87.5, "%", 1)
    assert number.is_score
    assert (score.marks, score.heat_map) == ((), None)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_certainty_is_a_score(score: float) -> None:
    assert scored(score, of=SCORER).measurements[0].value == 100 * score


@pytest.mark.parametrize("score", [-0.01, 1.01, nan])
def test_what_is_not_within_0_and_1_is_no_score(score: float) -> None:
    with pytest.raises(ModelError, match=r"'score' is outside 0\.\.1"):
        scored(score, of=SCORER)


@pytest.mark.parametrize("value", [-0.01, 1.01, nan])
def test_what_is_not_within_0_and_1_is_no_heat(value: float) -> None:
    heat = np.zeros((8, 6))
    heat[3, 3] = value
    with pytest.raises(ModelError, match=r"'heat' holds values outside 0\.\.1"):
        scored(heat=heat)


def test_the_cells_on_the_padding_are_left_out_and_the_box_is_that_of_the_rest() -> None:
    heat = np.arange(48).reshape(8, 6) / 255
    found = mapped(heat)
    assert (found.rows, found.columns) == (8, 5)
    assert np.array_equal(cells(found), np.arange(48).reshape(8, 6)[:, :5])
    assert list(found.box) == [0, 0, 400, 640]
    assert (found.sop_uid, found.concept.value) == (UID, "H")


def test_a_heat_map_is_turned_back_as_the_image_is() -> None:
    heat = np.zeros((8, 6))
    heat[2, 0] = 1  # at the chest wall, which is on the right of the stored matrix
    found = mapped(heat, MIRRORED)
    assert list(zip(*np.nonzero(cells(found)), strict=True)) == [(2, 4)]
    assert list(found.box) == [0, 0, 400, 640]


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_the_last_cells_may_reach_beyond_the_image(is_mirrored: bool) -> None:
    """33 of the network's columns are image: the fifth cell covers 32 to 40."""
    grid = PlaneGrid.whole(rows=600, columns=330, height=60, width=33, is_mirrored=is_mirrored)
    found = mapped(np.zeros((8, 6)), grid)
    assert (found.rows, found.columns) == (8, 5)
    assert found.box == ((-70, 0, 330, 640) if is_mirrored else (0, 0, 400, 640))


def test_half_of_what_is_possible_is_half_of_a_byte() -> None:
    heat = np.full((8, 6), 0.5)
    heat[0, :3] = 0, 1, 0.2
    assert cells(mapped(heat))[0].tolist() == [0, 255, 51, 128, 128]


@given(
    height=st.integers(8, 640),
    width=st.integers(8, 640),
    rows=st.integers(2, 128),
    columns=st.integers(2, 128),
    share=st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)),
    is_mirrored=st.booleans(),
)
def test_a_heat_map_covers_the_image_and_less_than_a_cell_more(
    height: int,
    width: int,
    rows: int,
    columns: int,
    share: tuple[float, float],
    is_mirrored: bool,
) -> None:
    of = manifest(
        SCORE + HEAT_MAP,
        ("height = 64\nwidth = 48", f"height = {height}\nwidth = {width}"),
        ("height = 8\nwidth = 6\n", f"height = {rows}\nwidth = {columns}\n"),
    )
    used = max(1, round(height * share[0])), max(1, round(width * share[1]))
    grid = PlaneGrid.whole(2 * used[0], 2 * used[1], *used, is_mirrored)
    found = mapped(np.zeros((rows, columns)), grid, of)
    assert cells(found).shape == (found.rows, found.columns), "as many bytes as it says"
    left, top, right, bottom = found.box
    cell = 2 * width / columns, 2 * height / rows
    assert (right - left, bottom - top) == pytest.approx(
        (found.columns * cell[0], found.rows * cell[1]), abs=0.02
    )
    assert top == 0
    assert bottom == pytest.approx(grid.rows, abs=cell[1] + 0.01)
    assert bottom >= grid.rows - 0.01
    inner, outer = (right, left) if is_mirrored else (left, right)
    assert inner == (grid.columns if is_mirrored else 0)
    beyond = -outer if is_mirrored else outer - grid.columns
    assert -0.01 <= beyond <= cell[0] + 0.01


def test_as_many_cells_as_the_network_gives_are_kept_however_the_division_is_rounded() -> None:
    """64 / (64 / 49) is a little more than 49."""
    of = manifest(SCORE + HEAT_MAP, ("height = 8\nwidth = 6", "height = 49\nwidth = 49"))
    whole = PlaneGrid.whole(rows=640, columns=480, height=64, width=48, is_mirrored=False)
    found = mapped(np.zeros((49, 49)), whole, of)
    assert cells(found).shape == (found.rows, found.columns) == (49, 49)


def test_a_cell_is_where_the_network_saw_it() -> None:
    for grid in (PLAIN, MIRRORED):
        for row in range(8):
            for column in range(5):
                heat = np.zeros((8, 6))
                heat[row, column] = 1
                middle = np.array([((column + 0.5) * 8, (row + 0.5) * 8)])
                ((x, y),) = grid.places(middle)
                found = mapped(heat, grid)
                left, top, right, bottom = found.box
                across = int((x - left) / (right - left) * found.columns)
                down = int((y - top) / (bottom - top) * found.rows)
                assert cells(found)[down, across] == 255


# Masks of lesions

REGIONS = """\
kind = "mask"
tensor = "mask"
regions = "all"
label = "lesion"
finding = { value = "129793001", scheme = "SCT", meaning = "Mammography breast density" }
area = { value = "42798000", scheme = "SCT", meaning = "Area" }
"""
SEGMENTER = manifest(REGIONS)
SIZE = 120
Disc = tuple[float, float, float]
"""Column, row and radius."""


def discs(*places: Disc, size: int = SIZE) -> Float32:
    y, x = np.indices((size, size)) + 0.5
    inside = [np.hypot(x - column, y - row) < radius for column, row, radius in places]
    mask: Float32 = np.any([np.zeros((size, size), bool), *inside], axis=0).astype(np.float32)
    return mask


def outlined(
    mask: Float32, *, min_area_mm2: float = 0, is_mirrored: bool = False, times: int = 1
) -> tuple[Mark, ...]:
    """Return the marks; a pixel of the network is 10 mm wide, and `times` stored pixels."""
    height, width = mask.shape
    grid = PlaneGrid.whole(height * times, width * times, height, width, is_mirrored)
    of = manifest(REGIONS + f"min_area_mm2 = {min_area_mm2}\n")
    (output,) = of.outputs
    assert isinstance(output, MaskOutput)
    return score_mask(mask, output, of, grid, (10 / times, 10 / times)).marks


def area(mark: Mark) -> float:
    """Return the area in cm2, which is that in pixels of the network."""
    (measured,) = mark.measurements
    assert (measured.concept.value, measured.unit.value) == ("42798000", "cm2")
    assert not measured.is_score
    return measured.value


THREE = discs((20, 30, 5), (60, 60, 15), (95, 20, 10))


def test_each_region_is_a_mark_with_its_own_area_the_largest_first() -> None:
    marks = outlined(THREE)
    assert [area(mark) / np.pi for mark in marks] == pytest.approx([225, 100, 25], rel=0.03)
    assert edges(marks[0]) == pytest.approx((45, 45, 75, 75), abs=0.6)
    assert edges(marks[2]) == pytest.approx((15, 25, 25, 35), abs=0.6)
    assert not any(mark.is_box for mark in marks)
    assert {mark.depth_mm for mark in marks} == {None}


def test_outlines_are_closed_clockwise_and_in_the_stored_matrix() -> None:
    for is_mirrored in (False, True):
        marks = outlined(THREE, is_mirrored=is_mirrored, times=3)
        for mark in marks:
            assert mark.outline[0] == mark.outline[-1]
            enclosed = signed_area(np.array(mark.outline)) / 9
            assert enclosed == pytest.approx(area(mark), rel=0.06)
        expected = (75, 135, 225, 225)
        left = 360 - 225 if is_mirrored else 135
        assert edges(marks[0]) == pytest.approx((left, 135, left + 90, expected[3]), abs=2)


def test_what_is_smaller_than_the_least_area_is_dropped() -> None:
    areas = [area(mark) * 100 for mark in outlined(THREE)]
    assert len(outlined(THREE, min_area_mm2=areas[1] - 1)) == 2
    assert len(outlined(THREE, min_area_mm2=areas[1] + 1)) == 1
    assert outlined(THREE, min_area_mm2=areas[0] + 1) == ()


def test_nothing_above_the_threshold_is_no_mark_and_no_error() -> None:
    assert outlined(np.zeros((SIZE, SIZE), np.float32)) == ()
    assert outlined(0.49 * THREE) == ()


def test_the_whole_image_may_be_a_region_of_lesions() -> None:
    (mark,) = outlined(np.ones((SIZE, SIZE), np.float32))
    assert edges(mark) == (0, 0, SIZE, SIZE)
    assert area(mark) == pytest.approx(SIZE**2, abs=1)  # its corners are a little round


def test_a_hole_is_part_of_its_region_and_no_mark() -> None:
    ring = discs((60, 60, 30)) - discs((60, 60, 20))
    (mark,) = outlined(ring)
    assert area(mark) == pytest.approx(np.pi * 30**2, rel=0.01)


def test_what_lies_in_a_hole_is_not_counted_again() -> None:
    ring = discs((60, 60, 30)) - discs((60, 60, 20)) + discs((60, 60, 8))
    (mark,) = outlined(ring)
    assert area(mark) == pytest.approx(np.pi * 30**2, rel=0.01)
    beside = ring + discs((105, 60, 8))
    assert len(outlined(beside)) == 2


def test_what_lies_in_a_bay_of_another_region_is_a_mark_of_its_own() -> None:
    ring = discs((60, 60, 40)) - discs((60, 60, 25))
    ring[:60] = 0  # open to above
    assert len(outlined(ring + discs((60, 70, 8)))) == 2
    cut = discs((0, 60, 40)) - discs((0, 60, 25))  # what it leaves open is the image's edge
    assert len(outlined(cut + discs((5, 60, 8)))) == 2


@pytest.mark.parametrize(
    ("rows", "columns"), [(1, 1), (1, 12), (12, 1), (1, 110), (2, 2), (3, 1), (2, 60)]
)
def test_small_and_thin_regions_are_outlined_too(rows: int, columns: int) -> None:
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[7 : 7 + rows, 5 : 5 + columns] = 1
    (mark,) = outlined(mask)
    enclosed = signed_area(np.array(mark.outline))
    assert enclosed == pytest.approx(area(mark), rel=0.06)
    assert edges(mark) == pytest.approx((5, 7, 5 + columns, 7 + rows), abs=0.01)


def test_a_region_at_the_edge_of_the_image_ends_there() -> None:
    (mark,) = outlined(discs((0, 60, 10)))
    assert edges(mark)[0] == 0
    assert area(mark) == pytest.approx(np.pi * 10**2 / 2, rel=0.02)


def test_what_is_marked_on_the_padding_is_no_region() -> None:
    grid = PlaneGrid.whole(rows=SIZE, columns=60, height=SIZE, width=60, is_mirrored=False)
    mask = discs((30, 60, 10), (90, 60, 20))
    (output,) = SEGMENTER.outputs
    assert isinstance(output, MaskOutput)
    (mark,) = score_mask(mask, output, SEGMENTER, grid, (10, 10)).marks
    assert area(mark) == pytest.approx(np.pi * 10**2, rel=0.02)


def test_noise_is_no_answer_unless_it_is_below_the_least_area() -> None:
    dots = np.zeros((200, 200), np.float32)
    dots[1::4, 1::4] = 1
    assert np.count_nonzero(dots) > MOST_REGIONS
    with pytest.raises(StudyError, match="more than 1000 separate regions"):
        outlined(dots)
    large = dots + discs((100, 100, 30), size=200)
    assert len(outlined(np.minimum(large, 1), min_area_mm2=500)) == 1


grid = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(2, 12), st.booleans()),
    min_size=1,
    max_size=8,
    unique_by=lambda place: place[:2],
)


@given(grid)
@settings(max_examples=examples(40))
def test_every_separate_disc_is_found_once_with_its_place_and_filled_area(
    drawn: list[tuple[int, int, float, bool]],
) -> None:
    """Discs in the fields of a grid, some of them hollow."""
    mask = np.zeros((SIZE, SIZE), np.float32)
    truth = []
    for column, row, radius, is_hollow in drawn:
        place = (15 + 30 * column, 15 + 30 * row)
        filled = discs((*place, radius))
        mask += filled
        if is_hollow and radius > 5:
            mask -= discs((*place, radius - 3))
        truth.append((*place, float(filled.sum())))
    marks = outlined(mask)
    assert len(marks) == len(drawn)
    areas = [area(mark) for mark in marks]
    assert areas == sorted(areas, reverse=True)
    for column, row, pixels in truth:
        (mark,) = [
            mark
            for mark in marks
            for left, top, right, bottom in [edges(mark)]
            if left < column < right and top < row < bottom
        ]
        assert area(mark) == pytest.approx(pixels, rel=0.02, abs=2.5)
        enclosed = signed_area(np.array(mark.outline))
        assert enclosed == pytest.approx(area(mark), rel=0.06)
