"""Where a network points, through every operation back to the image that was sent.

A bright disc is in the image; the network, played here, marks what is bright in what it gets. That
must come back on the disc, and be as large as it.
"""

from __future__ import annotations

import base64
import tomllib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_manifest_examples import EXAMPLES, HEAD

from node.errors import ModelError
from node.imaging.grid import PlaneGrid
from node.imaging.image import Image
from node.imaging.operations import prepare
from node.inference.boxes import score_boxes
from node.inference.mask import score_mask
from node.inference.whole_image import read_heat_map
from node.manifest import BoxesOutput, HeatMapOutput, Manifest, MaskOutput
from node.manifest.pixels import without_orientation
from node.result import Code
from node.study import Laterality, View

ROWS, COLUMNS = 400, 300
RADIUS = 24
SPACING_MM = (0.1, 0.2)
LESIONS, BREAST, BOXES, SCORE, _ = EXAMPLES

GREY = """
[[pixels]]
op = "grey"
values = "stored"
scale = "2^bits-1"
"""
MIRROR = """
[[pixels]]
op = "mirror"
chest_wall = "left"
"""
BY_PIXELS = 'without_orientation = "pixels"\n'
CROP = """
[[pixels]]
op = "crop"
to = "largest component"
threshold = 0.1
margin_px = 20
margin_at_chest_wall_px = 0
"""
CENTRED = """
[[pixels]]
op = "place"
height = 512
width = 384
rows = "centre"
columns = "centre"
"""
CUT = """
[[pixels]]
op = "place"
height = 256
width = 256
centre = [0.5, 0.0]
"""
LETTERBOX = """
[[pixels]]
op = "resize"
height = 256
width = 256
fit = "pad"
align = "centre"
filter = "bilinear"
antialias = true
"""
SMALLER = LETTERBOX.replace('"pad"', '"stretch"').replace("height = 256", "height = 320")

WAYS = {
    "placed in the middle": GREY + MIRROR + CENTRED,
    "cropped and placed": GREY + CROP + MIRROR + CENTRED,
    "cropped and cut": GREY + MIRROR + CROP + CUT,
    "a letterbox": GREY + MIRROR + LETTERBOX,
    "cropped, a letterbox": GREY + CROP + MIRROR + LETTERBOX,
    "placed, then resized": GREY + MIRROR + CENTRED + SMALLER,
    "resized, then cut": GREY + MIRROR + SMALLER + CUT,
    "the chest wall at the right": GREY + MIRROR.replace("left", "right") + CENTRED,
    "mirrored against its side": GREY + CROP + MIRROR + BY_PIXELS + CENTRED,
    "mirrored, a letterbox": GREY + MIRROR + BY_PIXELS + CROP + LETTERBOX,
}
every_way = pytest.mark.parametrize("pixels", WAYS.values(), ids=WAYS.keys())
either_side = pytest.mark.parametrize("side", [Laterality.LEFT, Laterality.RIGHT], ids=str)


def manifest(pixels: str, example: str) -> Manifest:
    text = HEAD.partition("[pixels]")[0] + pixels + example
    return Manifest.model_validate(tomllib.loads(text.replace('"measurement"', '"detection"')))


def disc(side: Laterality) -> tuple[float, float]:
    """Return its middle in the stored matrix."""
    return (90.0 if side is Laterality.LEFT else COLUMNS - 90.0), 210.0


def image(side: Laterality) -> Image:
    """A breast from the chest wall's edge on, and the disc in it."""
    y, x = np.indices((ROWS, COLUMNS)) + 0.5
    wall, (middle, row) = (0 if side is Laterality.LEFT else COLUMNS), disc(side)
    inside = ((y - 200) / 170) ** 2 + ((x - wall) / 230) ** 2 < 1
    bright = (x - middle) ** 2 + (y - row) ** 2 < RADIUS**2
    values = np.where(bright, 4095, np.where(inside, 1000, 0)).astype(np.uint16)
    grey = np.linspace(0, 1, 4096).astype(np.float32)
    return Image(values, grey, grey, (), SPACING_MM)


def seen(of: Manifest, side: Laterality) -> tuple[NDArray[np.float32], PlaneGrid]:
    said = side
    if without_orientation(of.operations) == "pixels":
        said = Laterality.LEFT if side is Laterality.RIGHT else Laterality.RIGHT
    found = prepare(image(side), of.operations, View(said, "MLO"))
    assert found.is_against_laterality == (said is not side)
    assert found.grid is not None
    return found.tensor[0, 0], found.grid


@every_way
@either_side
def test_a_mask_lies_on_what_it_marks_and_has_its_area(pixels: str, side: Laterality) -> None:
    of = manifest(pixels, LESIONS)
    (output,) = of.outputs
    assert isinstance(output, MaskOutput)
    tensor, grid = seen(of, side)
    (mark,) = score_mask(tensor, output, of, grid, SPACING_MM).marks
    outline = np.array(mark.outline)
    distance = np.hypot(*(outline - disc(side)).T)
    assert distance == pytest.approx(np.full(len(outline), RADIUS), abs=2.0)
    area_cm2 = np.pi * RADIUS**2 * SPACING_MM[0] * SPACING_MM[1] / 100
    assert mark.measurements[0].value == pytest.approx(area_cm2, rel=0.06)


@every_way
@either_side
def test_what_is_marked_on_what_was_filled_up_counts_for_nothing(
    pixels: str, side: Laterality
) -> None:
    of = manifest(pixels, LESIONS)
    (output,) = of.outputs
    assert isinstance(output, MaskOutput)
    _, grid = seen(of, side)
    everywhere = np.ones(of.image_shape[-2:], np.float32)
    (mark,) = score_mask(everywhere, output, of, grid, SPACING_MM).marks
    (left, top), (right, bottom) = (f(np.array(mark.outline), axis=0) for f in (np.min, np.max))
    assert (left, top, right, bottom) == pytest.approx(tuple(grid.shown), abs=1)
    width, height = grid.shown.width * SPACING_MM[1], grid.shown.height * SPACING_MM[0]
    assert mark.measurements[0].value == pytest.approx(width * height / 100, rel=1e-3)


@every_way
@either_side
def test_the_outline_of_a_breast_is_plausible_however_little_air_a_crop_leaves(
    pixels: str, side: Laterality
) -> None:
    of = manifest(pixels, BREAST)
    (output,) = of.outputs
    assert isinstance(output, MaskOutput)
    tensor, grid = seen(of, side)
    (mark,) = score_mask((tensor > 0.1).astype(np.float32), output, of, grid, SPACING_MM).marks
    x = np.array(mark.outline)[:, 0]
    at_wall = x.min() if side is Laterality.LEFT else x.max()
    assert at_wall == pytest.approx(0 if side is Laterality.LEFT else COLUMNS, abs=1.5)


@every_way
@either_side
def test_a_box_lies_around_what_is_in_it_and_its_depth_is_from_the_image_s_edge(
    pixels: str, side: Laterality
) -> None:
    of = manifest(pixels, BOXES)
    (output,) = of.outputs
    assert isinstance(output, BoxesOutput)
    tensor, grid = seen(of, side)
    y, x = np.nonzero(tensor > 0.6)
    row = [x.min(), y.min(), x.max() + 1, y.max() + 1, 0.9]
    (mark,) = score_boxes(np.array([row], np.float32), output, of, grid, SPACING_MM).marks
    corners = np.array(mark.outline)
    middle, height = disc(side)
    assert corners.min(axis=0) == pytest.approx((middle - RADIUS, height - RADIUS), abs=2.0)
    assert corners.max(axis=0) == pytest.approx((middle + RADIUS, height + RADIUS), abs=2.0)
    assert mark.depth_mm == pytest.approx(90 * SPACING_MM[1], abs=0.3)


@every_way
@either_side
def test_a_box_on_what_was_filled_up_is_the_networks_failure(pixels: str, side: Laterality) -> None:
    of = manifest(pixels, BOXES)
    (output,) = of.outputs
    assert isinstance(output, BoxesOutput)
    _, grid = seen(of, side)
    left, top, right, bottom = grid.filled
    beyond = {
        "left": [left - 9, top, left, bottom, 0.9],
        "right": [right, top, right + 9, bottom, 0.9],
        "above": [left, top - 9, right, top, 0.9],
        "below": [left, bottom, right, bottom + 9, 0.9],
    }
    for row in beyond.values():
        with pytest.raises(ModelError, match="holds a box outside the image"):
            score_boxes(np.array([row], np.float32), output, of, grid, SPACING_MM)


@every_way
@either_side
@pytest.mark.parametrize("cells", [(32, 24), (7, 11)], ids=str)
def test_a_heat_map_is_warm_where_the_disc_is(
    pixels: str, side: Laterality, cells: tuple[int, int]
) -> None:
    of = manifest(pixels, SCORE)
    tensor, grid = seen(of, side)
    (height, width), (rows, columns) = tensor.shape, cells
    y, x = np.nonzero(tensor > 0.6)
    heat = np.zeros(cells, np.float32)
    heat[int((y.mean() + 0.5) * rows / height), int((x.mean() + 0.5) * columns / width)] = 1
    words: dict[str, Any] = {"tensor": "heat", "height": rows, "width": columns}
    concept = {"value": "HEAT", "scheme": "99AINODE", "meaning": "Heat"}
    output = HeatMapOutput.model_validate(words | {"concept": concept})
    assert output.concept.as_code() == Code("HEAT", "99AINODE", "Heat")
    found = read_heat_map("1.2.3", heat, output, tensor.shape, grid)
    ((row, column),) = np.argwhere(values_of(found.values, found.rows, found.columns) == 255)
    left, top, right, bottom = found.box
    across, down = (right - left) / found.columns, (bottom - top) / found.rows
    middle = (left + (column + 0.5) * across, top + (row + 0.5) * down)
    assert middle[0] == pytest.approx(disc(side)[0], abs=across / 2 + 1)
    assert middle[1] == pytest.approx(disc(side)[1], abs=down / 2 + 1)
    shown = grid.shown
    assert left <= shown.left + 0.01 and right >= shown.right - 0.01
    assert top <= shown.top + 0.01 and bottom >= shown.bottom - 0.01
    assert shown.left - left < across + 0.01 and right - shown.right < across + 0.01


def values_of(content: str, rows: int, columns: int) -> NDArray[np.uint8]:
    return np.frombuffer(base64.b64decode(content), np.uint8).reshape(rows, columns)
