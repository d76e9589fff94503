"""Each operation by itself, and the former table `[pixels]` by the same operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import pytest
from examples import examples
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pydantic import TypeAdapter

from node.errors import StudyError
from node.imaging.grid import Extent
from node.imaging.image import Image
from node.imaging.operations import Prepared, prepare
from node.manifest import Operations, Pixels, operations, shape_after
from node.manifest.pixels import amiss_in
from node.study import Laterality, View

READ: TypeAdapter[Operations] = TypeAdapter(Operations)
STORED = {"op": "grey", "values": "stored", "scale": "none"}
RIGHT = View(Laterality.RIGHT, "MLO")
LEFT = View(Laterality.LEFT, "MLO")


def image_of(values: NDArray[Any], bits: int = 12) -> Image:
    grey = np.linspace(0, 1, 2**bits, dtype=np.float64).astype(np.float32)
    return Image(values.astype(np.uint16), grey, grey, (), (0.07, 0.07))


def done(values: NDArray[Any], *steps: dict[str, Any], shows: View | None = LEFT) -> Prepared:
    """Return what becomes of stored values of 12 bits."""
    return prepare(image_of(values), READ.validate_python([STORED, *steps]), shows)


def plane(prepared: Prepared) -> NDArray[np.float32]:
    assert prepared.tensor.shape[:2] == (1, 1)
    return np.asarray(prepared.tensor[0, 0])


# The former table, to the bit


def as_it_was(
    image: Image, pixels: Pixels, laterality: Laterality | None
) -> tuple[NDArray[np.float32], tuple[int, int, bool]]:
    """What release 0.6 did, copied from it."""
    rows, columns = image.shape
    height, width = pixels.height, pixels.width
    if pixels.fit == "pad":
        scale = min(pixels.height / rows, pixels.width / columns)
        height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    is_mirrored = pixels.orientation == "chest wall left" and laterality is Laterality.RIGHT
    grey = image.grey(pixels.grey)
    if is_mirrored:
        grey = np.ascontiguousarray(grey[:, ::-1])
    if grey.shape != (height, width):
        resized = PIL.Image.fromarray(grey).resize((width, height), PIL.Image.Resampling.BILINEAR)
        grey = np.asarray(resized, dtype=grey.dtype)
    tensor = np.zeros((1, pixels.channels, pixels.height, pixels.width), np.float32)
    tensor[:, :, :height, :width] = grey
    return tensor, (height, width, is_mirrored)


def places_as_it_was(
    points: NDArray[np.float64], image: Image, grid: tuple[int, int, bool]
) -> NDArray[np.float64]:
    (rows, columns), (height, width, is_mirrored) = image.shape, grid
    stored = points * (columns / width, rows / height)
    if not is_mirrored:
        return np.asarray(stored)
    return np.column_stack((columns - stored[:, 0], stored[:, 1]))


@settings(max_examples=examples(200))
@given(
    shape=st.tuples(st.integers(8, 200), st.integers(8, 200)),
    grey=st.sampled_from(["voi", "stored"]),
    orientation=st.sampled_from(["as stored", "chest wall left"]),
    size=st.tuples(st.integers(8, 150), st.integers(8, 150)),
    fit=st.sampled_from(["pad", "stretch"]),
    channels=st.sampled_from([1, 3]),
    side=st.sampled_from([Laterality.RIGHT, Laterality.LEFT]),
    seed=st.integers(0, 99),
)
def test_the_former_table_gives_the_same_tensor_and_the_same_places_to_the_bit(
    shape: tuple[int, int],
    grey: str,
    orientation: str,
    size: tuple[int, int],
    fit: str,
    channels: int,
    side: Laterality,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    image = image_of(random.integers(0, 4096, shape))
    words: dict[str, Any] = {"grey": grey, "orientation": orientation, "fit": fit, "scale": "0..1"}
    words |= {"height": size[0], "width": size[1], "channels": channels}
    pixels = Pixels.model_validate(words)
    expected, former_grid = as_it_was(image, pixels, side)
    found = prepare(image, operations(pixels), View(side, "CC"))
    assert found.tensor.dtype == np.float32
    assert np.array_equal(found.tensor, expected)
    height, width, is_mirrored = former_grid
    assert np.array_equal(found.seen, expected[0, 0, :height, :width])
    assert found.grid is not None
    points = random.random((20, 2)) * (width, height)
    assert np.array_equal(found.grid.places(points), places_as_it_was(points, image, former_grid))
    area = (0.07 * shape[0] / height) * (0.07 * shape[1] / width)
    assert found.grid.pixel_area_mm2((0.07, 0.07)) == area
    x = float(points[0, 0])
    depth = found.grid.depth_mm(x, "left", 0.07)
    assert depth == x * (0.07 * shape[1] / width)
    assert found.grid.is_mirrored == is_mirrored


# Grey


@pytest.mark.parametrize("bits", [2, 8, 10, 12, 14, 16])
def test_stored_values_are_whole_numbers_and_exact(bits: int) -> None:
    values = np.arange(2**bits).reshape(2, -1)
    read = READ.validate_python([STORED])
    found = plane(prepare(image_of(values, bits), read, None))
    assert np.array_equal(found, values)


# Crop


def test_a_crop_leaves_labels_and_lines_behind() -> None:
    values = np.zeros((200, 160), int)
    values[40:150, :70] = 900
    values[10:30, 120:150] = 4000  # a label
    values[170:172, :] = 500  # a line across everything
    crop: dict[str, Any] = {
        "op": "crop",
        "to": "largest component",
        "erosion_px": 5,
        "margin_px": 8,
    }
    found = done(values, crop)
    assert np.array_equal(plane(found), values[32:158, :78])
    assert found.grid is not None
    assert found.grid.shown == Extent(0, 32, 78, 158)
    at_wall = done(np.roll(values, 20, axis=1), crop | {"margin_at_chest_wall_px": 0})
    assert at_wall.grid is not None
    assert at_wall.grid.shown == Extent(20, 32, 98, 158)
    values[150:170, 30] = 500  # and one that joins them
    assert np.array_equal(plane(done(values, crop | {"erosion_px": 0})), values[32:180])


@pytest.mark.parametrize("is_mirrored_first", [False, True])
def test_the_margin_at_the_chest_wall_is_where_the_chest_wall_is(is_mirrored_first: bool) -> None:
    values = np.zeros((100, 100), int)
    values[30:60, 40:70] = 7
    crop: dict[str, Any] = {
        "op": "crop",
        "to": "largest component",
        "margin_px": 10,
        "margin_at_chest_wall_px": 2,
    }
    mirror = {"op": "mirror", "chest_wall": "left"}
    steps = (mirror, crop) if is_mirrored_first else (crop, mirror)
    for shows, shown in ((RIGHT, (30, 20, 72, 70)), (LEFT, (38, 20, 80, 70))):
        found = done(values, *steps, shows=shows)
        assert found.grid is not None
        assert found.grid.shown == Extent(*shown)
        ahead = plane(found).argmax(axis=1).max()
        assert ahead == 2, "the breast begins two columns from the chest wall's edge"


def test_an_image_of_nothing_is_refused_and_one_of_scratches_too() -> None:
    crop: dict[str, Any] = {"op": "crop", "to": "largest component"}
    rank: dict[str, Any] = {"op": "rank", "within": "above threshold", "threshold": 9}
    nothing = np.zeros((50, 50), int)
    for step in (crop, rank, rank | {"within": "largest component"}):
        with pytest.raises(StudyError, match="nothing in this image is brighter"):
            done(nothing, step)
    nothing[:, 20:25] = 100
    for step in (crop, rank | {"within": "largest component"}):
        with pytest.raises(StudyError, match="strips of a few pixels"):
            done(nothing, step)


def test_what_erosion_takes_away_whole_is_said_to_be_thin() -> None:
    values = np.zeros((50, 50), int)
    values[10:30, 10:30] = 9
    with pytest.raises(StudyError, match="nothing in this image is thicker than 30 pixels"):
        done(values, {"op": "crop", "to": "largest component", "erosion_px": 15})


# Mirror


@pytest.mark.parametrize(
    ("shows", "wanted", "is_turned"),
    [
        *((RIGHT, "left", True), (LEFT, "left", False)),
        *((RIGHT, "right", False), (LEFT, "right", True)),
    ],
)
def test_the_chest_wall_comes_to_the_side_that_is_asked_for(
    shows: View, wanted: str, is_turned: bool
) -> None:
    values = np.arange(200).reshape(10, 20)
    found = done(values, {"op": "mirror", "chest_wall": wanted}, shows=shows)
    assert np.array_equal(plane(found), values[:, ::-1] if is_turned else values)
    seen = values[:, ::-1] if shows is RIGHT else values
    assert np.allclose(found.seen, seen / 4095), "who judges always has the chest wall left"


# Place

PLACE: dict[str, Any] = {"op": "place", "height": 40, "width": 30, "fill": 5}


@pytest.mark.parametrize(
    ("words", "view", "top", "left"),
    [
        ({}, LEFT, 0, 0),
        ({"rows": "centre"}, LEFT, 7, 0),
        ({"rows": "bottom", "columns": "right"}, LEFT, 15, 11),
        ({"rows_of": {"CC": "centre"}}, LEFT, 0, 0),
        ({"rows_of": {"CC": "centre"}, "columns": "centre"}, View(Laterality.LEFT, "CC"), 7, 5),
        ({"rows_of": {"CC": "centre"}}, None, 0, 0),
    ],
)
def test_a_smaller_image_lies_where_the_words_say(
    words: dict[str, Any], view: View | None, top: int, left: int
) -> None:
    values = np.arange(25 * 19).reshape(25, 19) + 100
    found = done(values, PLACE | words, shows=view)
    expected = np.full((40, 30), 5)
    expected[top : top + 25, left : left + 19] = values
    assert np.array_equal(plane(found), expected)
    assert found.grid is not None
    assert found.grid.filled == Extent(left, top, left + 19, top + 25)


@pytest.mark.parametrize(
    ("centre", "top", "left"),
    [
        ((0.5, 0.5), 30, 20),
        ((0.0, 1.0), 0, 41),
        ((0.29, 0.4), 9, 13),  # 29 - 20, 28 - 15
        ((1.0, 0.0), 60, 0),
    ],
)
def test_of_a_larger_image_the_window_lies_around_the_centre_and_on_the_image(
    centre: tuple[float, float], top: int, left: int
) -> None:
    values = np.arange(100 * 71).reshape(100, 71)
    found = prepare(
        image_of(values, bits=16),
        READ.validate_python([STORED, PLACE | {"centre": centre}]),
        None,
    )
    assert np.array_equal(plane(found), values[top : top + 40, left : left + 30])
    assert found.grid is not None
    assert found.grid.shown == Extent(left, top, left + 30, top + 40)


def test_an_image_is_cut_one_way_and_filled_up_the_other() -> None:
    values = np.arange(100 * 10).reshape(100, 10)
    found = done(values, PLACE)
    assert np.array_equal(plane(found)[:, :10], values[30:70])
    assert (plane(found)[:, 10:] == 5).all()


# Resize


def test_padding_may_lie_around_and_be_grey_as_a_letterbox() -> None:
    values = np.full((100, 51), 7)
    words: dict[str, Any] = {
        "op": "resize",
        "height": 40,
        "width": 40,
        "fit": "pad",
        "filter": "bilinear",
    }
    words |= {"antialias": False, "align": "centre", "fill": 114}
    found = done(values, words)
    assert found.grid is not None
    assert found.grid.filled == Extent(10, 0, 30, 40), "51 * 0.4 is 20; 10 columns are before them"
    assert (plane(found)[:, 10:30] == 7).all()
    assert (plane(found)[:, :10] == 114).all()
    assert (plane(found)[:, 30:] == 114).all()


# Quantise


@settings(max_examples=examples(200))
@given(values=arrays.arrays(np.uint16, (5, 7), elements=st.integers(0, 4095)))
def test_eight_of_twelve_bits_by_shift_and_by_division(values: NDArray[np.uint16]) -> None:
    words: dict[str, Any] = {"op": "quantise", "bits": 8, "of": 4080, "rounding": "down"}
    assert np.array_equal(plane(done(values, words)), values >> 4)
    words = {"op": "quantise", "bits": 8, "of": 4095, "rounding": "nearest"}
    assert np.array_equal(plane(done(values, words)), np.round(values.astype(float) / 4095 * 255))


def test_cutting_off_is_not_at_the_mercy_of_the_last_bit() -> None:
    """255 * float32(273 k / 4095) may lie below 17 k by a millionth."""
    values = 273 * np.arange(16).reshape(2, 8)
    grey = {"op": "grey", "values": "stored", "scale": "2^bits-1"}
    words = {"op": "quantise", "bits": 8, "of": 1, "rounding": "down"}
    found = prepare(image_of(values), READ.validate_python([grey, words]), None)
    assert np.array_equal(plane(found), values / 4095 * 255)


# Rank


def ranked_slowly(values: list[float], ties: str) -> list[float]:
    """By counting, one value after the other."""
    ranks = []
    for value in values:
        lower = sum(other < value for other in values)
        equal = sum(other == value for other in values)
        rank = {"lowest": lower + 1, "highest": lower + equal, "average": lower + (equal + 1) / 2}
        ranks.append(rank[ties] / len(values))
    return ranks


@settings(max_examples=examples(150))
@given(
    values=arrays.arrays(np.uint16, (6, 9), elements=st.integers(0, 12)),
    ties=st.sampled_from(["average", "lowest", "highest"]),
)
def test_ranks_are_those_of_counting(values: NDArray[np.uint16], ties: str) -> None:
    values[0, 0] = 13
    words = {"op": "rank", "within": "above threshold", "threshold": 4, "ties": ties}
    found = plane(done(values, words))
    is_in = values > 4
    assert (found[~is_in] == 0).all()
    assert found[is_in] == pytest.approx(ranked_slowly(values[is_in].tolist(), ties))


def test_ranks_within_the_breast_do_not_know_of_the_label() -> None:
    values = np.zeros((60, 60), int)
    values[10:50, :20] = np.arange(40 * 20).reshape(40, 20) + 100
    values[0:9, 50:60] = 4095
    words = {"op": "rank", "within": "largest component", "ties": "highest"}
    found = plane(done(values, words))
    assert found.max() == 1 == found[49, 19]
    assert (found[0:9, 50:60] == 0).all()
    assert found[10, 0] == pytest.approx(1 / 800)


# Histogram and the rest


@settings(max_examples=examples(150))
@given(
    values=arrays.arrays(np.uint16, (7, 5), elements=st.integers(0, 4095)), bins=st.integers(2, 60)
)
def test_a_histogram_counts_by_the_edges_of_its_bins(values: NDArray[np.uint16], bins: int) -> None:
    values[0, :2] = 10, 2000
    found = done(values, {"op": "histogram", "bins": bins})
    assert found.grid is None
    assert found.tensor.shape == (1, bins)
    lowest, highest = int(values.min()), int(values.max())
    expected = np.zeros(bins)
    edges = [
        v for v in values.reshape(-1).tolist() if (v - lowest) * bins % (highest - lowest) == 0
    ]
    assume(set(edges) <= {lowest, highest})  # on an inner edge, numpy's rounding decides
    for value in values.reshape(-1).tolist():  # in whole numbers: no rounding anywhere
        place = (value - lowest) * bins // (highest - lowest)
        expected[min(place, bins - 1)] += 1 / values.size
    assert found.tensor[0] == pytest.approx(expected, abs=1e-6)
    assert found.seen == pytest.approx(values / 4095)


def test_normalising_channel_by_channel() -> None:
    values = np.arange(64).reshape(8, 8)
    means, deviations = [1.0, 2.0, 3.0], [4.0, 5.0, 8.0]
    channels = {"op": "channels", "count": 3}
    found = done(values, channels, {"op": "normalise", "subtract": means, "divide": deviations})
    assert found.tensor.shape == (1, 3, 8, 8)
    for channel, mean, deviation in zip(found.tensor[0], means, deviations, strict=True):
        assert channel == pytest.approx((values - mean) / deviation)
    one = done(values, channels, {"op": "normalise", "subtract": [2.0], "divide": [4.0]})
    assert one.tensor[0] == pytest.approx(np.stack([(values - 2) / 4] * 3))
    vector = {"op": "histogram", "bins": 4}
    halves = done(values, vector, {"op": "normalise", "subtract": [0.25], "divide": [2.0]})
    assert halves.tensor == pytest.approx(np.zeros((1, 4)))


def test_a_z_score_of_one_tone_is_zero_and_of_a_window_counts_what_was_filled_up() -> None:
    tone = np.full((20, 20), 300)
    assert (done(tone, {"op": "z-score"}).tensor == 0).all()
    found = plane(done(tone, PLACE | {"fill": 0}, {"op": "z-score"}))
    assert found.mean() == pytest.approx(0, abs=1e-6)
    assert found.std() == pytest.approx(1)
    assert len(np.unique(found)) == 2


# All together: each value says where it was stored

sides = st.integers(8, 70)
operations_of_places = st.fixed_dictionaries(
    {},
    optional={
        "crop": st.fixed_dictionaries(
            {"margin_px": st.integers(0, 9)},
            optional={"margin_at_chest_wall_px": st.integers(0, 9)},
        ),
        "mirror": st.fixed_dictionaries(
            {"chest_wall": st.sampled_from(["left", "right"])},
            optional={"without_orientation": st.sampled_from(["laterality", "pixels"])},
        ),
        "resize": st.fixed_dictionaries(
            {
                "height": sides,
                "width": sides,
                "fit": st.sampled_from(["pad", "stretch"]),
                "align": st.sampled_from(["corner", "centre"]),
            }
        ),
        "place": st.fixed_dictionaries(
            {
                "height": sides,
                "width": sides,
                "rows": st.sampled_from(["top", "centre", "bottom"]),
                "columns": st.sampled_from(["left", "centre", "right"]),
                "centre": st.tuples(st.floats(0, 1), st.floats(0, 1)),
            }
        ),
    },
)


@settings(max_examples=examples(400))
@given(
    shape=st.tuples(st.integers(12, 90), st.integers(12, 90)),
    steps=operations_of_places,
    order=st.permutations(["crop", "mirror", "resize", "place"]),
    shows=st.sampled_from([RIGHT, LEFT]),
)
def test_every_pixel_of_the_input_shows_what_the_grid_says(
    shape: tuple[int, int], steps: dict[str, dict[str, Any]], order: list[str], shows: View
) -> None:
    rows, columns = shape
    values = np.arange(rows * columns).reshape(shape) + 1
    inside = np.zeros(shape, bool)
    inside[1 : rows - 2, 2 : columns - 1] = True
    same: dict[str, dict[str, Any]] = {"crop": {"to": "largest component"}}
    same["resize"] = {"filter": "nearest", "antialias": False}
    names = [name for name in order if name in steps]
    if "crop" in names:  # first of what changes the size: filled up, there may be no breast left
        names.sort(key=lambda name: name in ("resize", "place"))
    words = [{"op": name} | same.get(name, {}) | steps[name] for name in names]
    stored = np.where(inside, values, 0)
    found = prepare(image_of(stored, 16), READ.validate_python([STORED, *words]), shows)
    assert found.grid is not None
    tensor = plane(found).reshape(-1).astype(int)
    height, width = plane(found).shape
    pixels = np.meshgrid(np.arange(width), np.arange(height))
    middles = np.stack(pixels, axis=-1).reshape(-1, 2).astype(np.float64) + 0.5
    left, top, right, bottom = found.grid.filled
    is_filled = ((middles > (left, top)) & (middles < (right, bottom))).all(axis=1)
    assert (tensor[~is_filled] == 0).all()
    places = found.grid.places(middles)
    is_clear = is_filled & (np.abs(places - np.rint(places)) > 1e-6).all(axis=1)
    column, row = np.floor(places[is_clear]).astype(int).T
    assert np.array_equal(tensor[is_clear], stored[row, column])
    there = np.column_stack(np.divmod(tensor[tensor > 0] - 1, columns))[:, ::-1] + 0.5
    assert np.abs(places[tensor > 0] - there).max(initial=0) <= 0.5 + 1e-6


# Any list that a manifest may have

numbers = st.floats(-9, 9, width=32)
threshold = {
    "threshold": st.sampled_from([0, 0.4, 50, 2000]),
    "neighbours": st.sampled_from([4, 8]),
}
every_operation: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries(
        {"op": st.just("crop"), "to": st.just("largest component")},
        optional=threshold | {"erosion_px": st.integers(0, 3), "margin_px": st.integers(0, 5)},
    ),
    st.fixed_dictionaries(
        {"op": st.just("mirror"), "chest_wall": st.sampled_from(["left", "right"])},
        optional={"without_orientation": st.just("pixels")},
    ),
    st.fixed_dictionaries(
        {"op": st.just("place"), "height": sides, "width": sides},
        optional={"fill": st.sampled_from([0, 7, 0.5]), "rows": st.sampled_from(["centre"])},
    ),
    st.fixed_dictionaries(
        {
            "op": st.just("resize"),
            "height": sides,
            "width": sides,
            "fit": st.sampled_from(["pad", "stretch"]),
            "filter": st.sampled_from(["bilinear", "bicubic"]),
            "antialias": st.booleans(),
        },
        optional={"align": st.just("centre"), "fill": st.sampled_from([114, 0.25])},
    ),
    st.fixed_dictionaries(
        {
            "op": st.just("quantise"),
            "bits": st.sampled_from([1, 8, 12]),
            "of": st.sampled_from([1, 255, 4095]),
            "rounding": st.sampled_from(["nearest", "down"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "op": st.just("rank"),
            "within": st.sampled_from(["largest component", "above threshold"]),
        },
        optional=threshold,
    ),
    st.fixed_dictionaries({"op": st.just("histogram"), "bins": st.integers(2, 9)}),
    st.fixed_dictionaries(
        {
            "op": st.just("normalise"),
            "subtract": st.lists(numbers, min_size=1, max_size=3),
            "divide": st.just([2.0]),
        }
    ),
    st.just({"op": "z-score"}),
    st.fixed_dictionaries({"op": st.just("channels"), "count": st.integers(1, 3)}),
)


@settings(max_examples=examples(400), suppress_health_check=[HealthCheck.filter_too_much])
@given(
    steps=st.lists(every_operation, max_size=5),
    grey=st.sampled_from([("voi", "range of voi"), ("stored", "none"), ("stored", "2^bits-1")]),
    seed=st.integers(0, 20),
)
def test_every_list_that_a_manifest_may_have_gives_what_it_says_or_a_reason(
    steps: list[dict[str, Any]], grey: tuple[str, str], seed: int
) -> None:
    words = [{"op": "grey", "values": grey[0], "scale": grey[1]}, *steps]
    words += [{"op": "resize", "height": 8, "width": 9, "fit": "stretch"} | NEAREST]
    for tried in (words, words[:-1]):
        read = READ.validate_python(tried)
        if list(amiss_in(read)):
            continue
        random = np.random.default_rng(seed)
        image = image_of(random.integers(0, 4096, random.integers(8, 60, 2)) * (seed % 5 > 0))
        try:
            found = prepare(image, read, RIGHT)
        except StudyError as error:
            assert str(error).startswith("nothing in this image")
            continue
        assert found.tensor.shape == (1, *shape_after(read))
        assert found.tensor.dtype == found.seen.dtype == np.float32
        assert np.isfinite(found.tensor).all()
        assert found.seen.ndim == 2
        assert 0 <= found.seen.min() <= found.seen.max() <= 1
        assert (found.grid is None) == (found.tensor.ndim == 2)


NEAREST = {"filter": "nearest", "antialias": False}
