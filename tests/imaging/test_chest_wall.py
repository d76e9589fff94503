"""Where the chest wall is, of images that say no Patient Orientation and lie either way."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter

from node.domains.mammography.plausibility import refuse_what_is_no_breast
from node.errors import StudyError
from node.imaging.chest_wall import ChestWall, chest_wall_of, tissue_at_edges
from node.imaging.grid import Extent
from node.imaging.image import Image
from node.imaging.operations import Prepared, prepare
from node.manifest import Operations
from node.manifest.pixels import pixel_words
from node.study import Laterality, View
from node.trial import phantom

READ: TypeAdapter[Operations] = TypeAdapter(Operations)
VOI = {"op": "grey", "values": "voi", "scale": "range of voi"}
MIRROR = {"op": "mirror", "chest_wall": "left", "without_orientation": "pixels"}
R, L = Laterality.RIGHT, Laterality.LEFT
SMALL = phantom.Technique(rows=300, columns=240, spacing_mm=0.8)
AT_LEFT, AT_RIGHT = ChestWall(is_right=False), ChestWall(is_right=True)


def image_of(values: NDArray[Any], orientation: tuple[str, ...] = (), bits: int = 12) -> Image:
    grey = np.linspace(0, 1, 2**bits, dtype=np.float64).astype(np.float32)
    return Image(values.astype(np.uint16), grey, grey, orientation, (0.07, 0.07))


def breast(side: Laterality, projection: str) -> NDArray[np.uint16]:
    """Return a generated mammogram; the chest wall is left of a left breast."""
    (dataset,) = phantom.exam("chest wall", [View(side, projection)], technique=SMALL)
    return np.array(dataset.pixel_array, np.uint16)


def labelled(values: NDArray[np.uint16], is_wall_right: bool) -> NDArray[np.uint16]:
    """Write text beside the breast, at the edge opposite the chest wall, as bright as can be."""
    width = values.shape[1]
    picture = PIL.Image.fromarray(np.zeros(values.shape, np.uint8))
    x = 4 if is_wall_right else width - 64
    PIL.ImageDraw.Draw(picture).multiline_text((x, 8), "R MLO\n2026-11\nEXAMPLE", fill=255)
    return np.where(np.asarray(picture) > 0, 4095, values).astype(np.uint16)


def framed(values: NDArray[np.uint16], _: bool) -> NDArray[np.uint16]:
    """Give the image a bright border of one per cent, as that of a digitised film."""
    frame = np.pad(values[3:-3, 3:-3], 3, constant_values=4095)
    assert frame.shape == values.shape
    return frame


def rimmed(values: NDArray[np.uint16], _: bool) -> NDArray[np.uint16]:
    """Put black all around."""
    return np.pad(values, 20)


def greyed(values: NDArray[np.uint16], _: bool) -> NDArray[np.uint16]:
    """Lift the black, as a wide window does."""
    return (500 + values * (3595 / 4095)).astype(np.uint16)


def in_8_bits(values: NDArray[np.uint16], _: bool) -> NDArray[np.uint16]:
    """Stretch it to 640 x 640 of 8 bits, in 12 again."""
    bytes_ = PIL.Image.fromarray((values >> 4).astype(np.uint8)).resize((640, 640))
    return np.asarray(bytes_).astype(np.uint16) * 16


def as_it_is(values: NDArray[np.uint16], _: bool) -> NDArray[np.uint16]:
    return values


@pytest.mark.parametrize("projection", ["CC", "MLO"])
@pytest.mark.parametrize("side", [R, L])
@pytest.mark.parametrize("changed", [as_it_is, labelled, framed, rimmed, greyed, in_8_bits])
def test_pixels_tell_the_chest_wall_of_either_side_stored_either_way(
    side: Laterality, projection: str, changed: Any
) -> None:
    values = breast(side, projection)
    usual = changed(values, side is R)
    unusual = changed(values[:, ::-1], side is not R)
    assert chest_wall_of(image_of(usual), side, "pixels") == ChestWall(side is R)
    found = chest_wall_of(image_of(unusual), side, "pixels")
    assert found == ChestWall(side is not R, is_against_laterality=True)
    for values in (usual, unusual):
        assert chest_wall_of(image_of(values), side, "laterality") == ChestWall(side is R)


def test_without_a_side_pixels_tell_and_contradict_nothing() -> None:
    for side in (None, Laterality.BOTH):
        assert chest_wall_of(image_of(breast(R, "CC")), side, "pixels") == AT_RIGHT
        assert chest_wall_of(image_of(breast(L, "CC")), side, "pixels") == AT_LEFT


def test_where_either_edge_shows_as_much_the_laterality_tells() -> None:
    middle = np.zeros((90, 90), int)
    middle[30:60, 20:70] = 900
    for values in (middle, np.zeros((90, 90), int), np.full((90, 90), 4095)):
        assert tissue_at_edges(image_of(values).grey("voi")) in ((0, 0), (1, 1))
        assert chest_wall_of(image_of(values), R, "pixels") == AT_RIGHT
        assert chest_wall_of(image_of(values), L, "pixels") == AT_LEFT
        with pytest.raises(StudyError, match="neither orientation nor laterality tells where"):
            chest_wall_of(image_of(values), None, "pixels")


@pytest.mark.parametrize("without", ["laterality", "pixels"])
def test_patient_orientation_decides_and_is_refused_where_pixels_contradict_it(
    without: str,
) -> None:
    words = READ.validate_python([VOI, MIRROR | {"without_orientation": without}])
    for ahead, is_right in (("A", False), ("P", True)):
        at_wall = breast(R if is_right else L, "MLO")
        for values, is_contradicted in ((at_wall, False), (at_wall[:, ::-1], True)):
            found = prepare(image_of(values, (ahead, "F")), words, View(L, "MLO"))
            assert found.grid is not None
            assert found.grid.is_mirrored == is_right
            assert not found.is_against_laterality
            if is_contradicted:
                with pytest.raises(StudyError, match="opposite the chest wall"):
                    refuse_what_is_no_breast(found.seen, words)
            else:
                refuse_what_is_no_breast(found.seen, words)
    with pytest.raises(StudyError, match="image rotated"):
        prepare(image_of(breast(L, "CC"), ("L", "A")), words, View(L, "CC"))


@settings(max_examples=examples(200))
@given(
    shape=st.tuples(st.integers(60, 300), st.integers(60, 300)),
    reach=st.floats(0.2, 0.95),
    height=st.floats(0.3, 0.9),
    middle=st.floats(0.3, 0.7),
    background=st.integers(0, 600),
    tissue=st.integers(1200, 4095),
    is_right=st.booleans(),
    side=st.sampled_from([R, L]),
)
def test_half_an_ellipse_is_cut_off_at_the_chest_wall(
    shape: tuple[int, int],
    reach: float,
    height: float,
    middle: float,
    background: int,
    tissue: int,
    is_right: bool,
    side: Laterality,
) -> None:
    y, x = (np.indices(shape) + 0.5) / np.reshape(shape, (2, 1, 1))
    inside = (x / reach) ** 2 + ((y - middle) / (height / 2)) ** 2 < 1
    values = np.where(inside, tissue, background)
    values = values[:, ::-1] if is_right else values
    expected = ChestWall(is_right, is_against_laterality=is_right != (side is R))
    assert chest_wall_of(image_of(values), side, "pixels") == expected


# All that follows the decision


def prepared(values: NDArray[Any], *steps: dict[str, Any], shows: View) -> Prepared:
    return prepare(image_of(values), READ.validate_python([VOI, *steps]), shows)


@pytest.mark.parametrize("side", [R, L])
@pytest.mark.parametrize("wanted", ["left", "right"])
def test_input_grid_and_what_is_judged_follow_the_pixels(side: Laterality, wanted: str) -> None:
    usual, words = breast(side, "MLO"), MIRROR | {"chest_wall": wanted}
    shows = View(side, "MLO")
    as_acquired = prepared(usual, words, shows=shows)
    turned = prepared(np.ascontiguousarray(usual[:, ::-1]), words, shows=shows)
    assert (as_acquired.is_against_laterality, turned.is_against_laterality) == (False, True)
    assert np.array_equal(as_acquired.tensor, turned.tensor)
    assert np.array_equal(as_acquired.seen, turned.seen)
    assert as_acquired.grid is not None
    assert turned.grid is not None
    assert as_acquired.grid.is_mirrored == ((side is R) != (wanted == "right"))
    assert turned.grid.is_mirrored != as_acquired.grid.is_mirrored
    columns = usual.shape[1]
    points = np.array([[10.0, 20.0], [30.0, 5.0]])
    across = turned.grid.places(points) + as_acquired.grid.places(points)
    assert (across[:, 0] == columns).all()
    refuse_what_is_no_breast(turned.seen, READ.validate_python([VOI, words]))


@pytest.mark.parametrize("is_mirrored_first", [False, True])
def test_the_margin_at_the_chest_wall_is_where_pixels_say(is_mirrored_first: bool) -> None:
    values = np.zeros((128, 128), int)
    for row in range(40, 80):
        values[row, 40 : 80 - abs(row - 60)] = 900
    crop: dict[str, Any] = {
        "op": "crop",
        "to": "largest component",
        "margin_px": 10,
        "margin_at_chest_wall_px": 2,
    }
    steps = (MIRROR, crop) if is_mirrored_first else (crop, MIRROR)
    for stored, shown in ((values, (38, 30, 90, 90)), (values[:, ::-1], (38, 30, 90, 90))):
        for side in (R, L):
            found = prepared(stored, *steps, shows=View(side, "CC"))
            assert found.grid is not None
            left, top, right, bottom = shown
            is_right = stored is not values
            expected = (128 - right, top, 128 - left, bottom) if is_right else shown
            assert found.grid.shown == Extent(*expected)
            assert found.grid.is_mirrored == is_right
            assert found.tensor[0, 0, :, 2].max() > 0, "two columns from the chest wall's edge"
            assert found.tensor[0, 0, :, :2].max() == 0


# The manifest's word


def test_a_manifest_without_the_word_is_written_as_before() -> None:
    unsaid = {"op": "mirror", "chest_wall": "left"}
    resize = {"op": "place", "height": 9, "width": 9}
    before = pixel_words(READ.validate_python([VOI, unsaid, resize]))
    assert '{"op":"mirror","chest_wall":"left"}' in before
    after = pixel_words(READ.validate_python([VOI, MIRROR, resize]))
    assert '{"op":"mirror","chest_wall":"left","without_orientation":"pixels"}' in after
    for written in (before, after):
        assert pixel_words(READ.validate_json(written)) == written


def test_another_word_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="'laterality' or 'pixels'"):
        READ.validate_python([VOI, MIRROR | {"without_orientation": "guess"}])
