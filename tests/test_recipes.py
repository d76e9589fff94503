"""The recipes of models/README.md, each against a script that knows nothing of the node.

The scripts follow the published descriptions: of (a) cropping and windows of GMIC (Shen et al.
2021, https://github.com/nyukat/GMIC), of (b) the histogram model of Wu et al. 2018
(https://github.com/nyukat/breast_density_classifier), of (c) `preprocess_input` of Keras' Inception
V3, -1..1 from 8 bits, of (d) exports of detectors' training sets, 8 bits stretched to 640 x 640.
They are written in plain numpy, so that no operation of ours stands on either side.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_images import mammogram, saved
from test_manifest_examples import HEAD, PAGE

from node import toml_file
from node.errors import ConfigError
from node.imaging.image import open_image
from node.imaging.operations import Prepared, prepare
from node.manifest import Manifest, Model, view_called
from node.study import Laterality, View

Stored = NDArray[np.uint16]
RECIPES = dict(
    re.findall(r"(?ms)^\(([a-d])\) .*?^```toml\n(.*?)^```", PAGE.partition("### Recipes")[2])
)
VIEWS = [View(Laterality(side), name) for side in "LR" for name in ("CC", "MLO")]


def read(recipe: str, folder: Path) -> Manifest:
    """Return a manifest that has a recipe in place of its [pixels]."""
    text = HEAD.partition("[pixels]")[0] + recipe + SCORE
    folder.joinpath("manifest.toml").write_text(text, "utf-8")
    return toml_file.load(folder / "manifest.toml", Manifest)


SCORE = """
[output]
kind = "score"
tensor = "score"
label = "AI score"
score = { value = "AI-SCORE", scheme = "99AINODE", meaning = "AI score" }
"""


def breast(rows: int, columns: int, of: tuple[int, int], view: View, seed: int = 0) -> Stored:
    """Stored values of 12 bits: a breast of a size with tissue, a label, and a long scratch.

    As acquired: the chest wall of a left breast at the left edge.
    """
    random = np.random.default_rng(seed)
    y, x = np.ogrid[:rows, :columns]
    middle = rows * (0.45 if view.projection == "MLO" else 0.5)
    inside = ((y - middle) / (of[0] / 2)) ** 2 + (x / of[1]) ** 2 < 1
    values = np.where(inside, 900 + 2000 * (1 - x / of[1]), 0)
    values += inside * random.integers(0, 900, (rows, columns))
    values[20:80, columns - 260 : columns - 40] = 4095
    values[rows - 40 : rows - 37] = 700
    values = np.clip(values, 0, 4095).astype(np.uint16)
    return values if view.laterality is Laterality.LEFT else values[:, ::-1].copy()


def prepared(
    manifest: Manifest, values: Stored, view: View, folder: Path, **header: Any
) -> Prepared:
    side = {"ImageLaterality": str(view.laterality), "ViewPosition": view.projection}
    header |= {"PatientOrientation": ["A", "R"] if view.laterality == "L" else ["P", "L"]}
    path = saved(mammogram(values, **(side | header)), folder)
    return prepare(open_image(path), manifest.operations, view)


# Recipe a


def shrunk(mask: NDArray[np.bool_], times: int) -> NDArray[np.bool_]:
    """Take away, so many times, what has a neighbour (or the edge) that is not of the mask."""
    for _ in range(times):
        smaller = mask.copy()
        smaller[1:] &= mask[:-1]
        smaller[:-1] &= mask[1:]
        smaller[:, 1:] &= mask[:, :-1]
        smaller[:, :-1] &= mask[:, 1:]
        smaller[0] = smaller[-1] = False
        smaller[:, 0] = smaller[:, -1] = False
        mask = smaller
    return mask


def grown(mask: NDArray[np.bool_], times: int) -> NDArray[np.bool_]:
    for _ in range(times):
        larger = mask.copy()
        larger[1:] |= mask[:-1]
        larger[:-1] |= mask[1:]
        larger[:, 1:] |= mask[:, :-1]
        larger[:, :-1] |= mask[:, 1:]
        mask = larger
    return mask


def most_connected(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Flood every region by spans of rows, and keep the largest."""
    left, best = mask.copy(), np.zeros_like(mask)
    while left.any():
        start = np.argwhere(left)[0]
        region = np.zeros_like(mask)
        waiting = [(int(start[0]), int(start[1]))]
        while waiting:
            y, x = waiting.pop()
            if not left[y, x]:
                continue
            row = np.flatnonzero(~left[y])
            first = int(row[row < x].max(initial=-1)) + 1
            last = int(row[row > x].min(initial=mask.shape[1]))
            left[y, first:last] = False
            region[y, first:last] = True
            for other in (y - 1, y + 1):
                if 0 <= other < mask.shape[0]:
                    there = np.flatnonzero(left[other, first:last]) + first
                    begins = there[np.diff(there, prepend=-2) > 1]
                    waiting += [(other, int(begin)) for begin in begins]
        if region.sum() > best.sum():
            best = region
    return best


def gmic(values: Stored, view: View, window: tuple[int, int] = (2944, 1920)) -> NDArray[Any]:
    """Crop, flip, window and standardise as GMIC does, without noise, around the image's middle."""
    is_right = view.laterality is Laterality.RIGHT
    image = values.astype(np.float64)
    mask = grown(most_connected(shrunk(image > 0, 100)), 100)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = max(rows[0] - 50, 0), min(rows[-1] + 1 + 50, len(image))
    left, right = columns[0], columns[-1] + 1
    if is_right:  # the breast points to the left, and the buffer is there
        left = max(left - 50, 0)
    else:
        right = min(right + 50, image.shape[1])
    image = image[top:bottom, left:right]
    if is_right:
        image = image[:, ::-1]
    for axis, size in enumerate(window):
        length = image.shape[axis]
        if length <= size:
            before = (size - length) // 2 if axis == 0 and view.projection == "CC" else 0
            pads = [(0, 0), (0, 0)]
            pads[axis] = (before, size - length - before)
            image = np.pad(image, pads)
        else:
            begin = min(max(length // 2 - size // 2, 0), length - size)
            image = np.take(image, np.arange(begin, begin + size), axis=axis)
    return np.asarray((image - image.mean()) / max(image.std(), 1e-5))


SMALLER = (1300, 1000), (900, 500)
LARGER = (3328, 2560), (3000, 2100)
"""Than the window: the image, and the breast in it."""


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        *(("L CC", SMALLER), ("R MLO", SMALLER)),
        pytest.param("R CC", LARGER, marks=pytest.mark.slow),
        pytest.param("L MLO", LARGER, marks=pytest.mark.slow),
    ],
)
def test_a_is_what_gmic_takes(
    name: str, sizes: tuple[tuple[int, int], tuple[int, int]], tmp_path: Path
) -> None:
    view = view_called(name)
    values = breast(*sizes[0], sizes[1], view)
    manifest = read(RECIPES["a"], tmp_path)
    found = prepared(manifest, values, view, tmp_path)
    assert found.tensor.shape == (1, *manifest.image_shape) == (1, 1, 2944, 1920)
    expected = gmic(values, view)
    level = 1 / np.diff(np.unique(expected)).min()  # so many grey levels are 1 of the z-score
    assert np.abs(found.tensor[0, 0] - expected).max() * level < 1e-3
    assert found.grid is not None
    left, top, right, bottom = found.grid.filled
    shares = np.random.default_rng(1).random((500, 2))
    x, y = np.floor(shares * (right - left, bottom - top) + (left, top)).T
    columns, rows = np.floor(found.grid.places(np.column_stack((x, y)) + 0.5)).astype(int).T
    seen = found.tensor[0, 0, y.astype(int), x.astype(int)].astype(np.float64)
    assert np.corrcoef(values[rows, columns], seen)[0, 1] > 0.999999, "each is of that very pixel"


# Recipe b


def histogram_of_its_own_range(values: Stored, bins: int = 50) -> list[float]:
    """Count in whole numbers, value by value."""
    counts = [0] * bins
    numbers, times = np.unique(values, return_counts=True)
    lowest, highest = int(numbers[0]), int(numbers[-1])
    for number, count in zip(numbers.tolist(), times.tolist(), strict=True):
        counts[min((number - lowest) * bins // (highest - lowest), bins - 1)] += count
    return [count / values.size for count in counts]


def test_b_is_the_histogram_of_each_view(tmp_path: Path) -> None:
    manifest = read(RECIPES["b"], tmp_path)
    assert manifest.image_shape == (50,)
    for seed, view in enumerate(VIEWS):
        values = breast(600, 500, (420, 300), view, seed)
        values[values == 4095] = 4000 - seed  # another range in each
        found = prepared(manifest, values, view, tmp_path)
        assert found.tensor.shape == (1, 50)
        assert found.grid is None
        assert found.tensor[0] == pytest.approx(histogram_of_its_own_range(values), abs=1e-7)


# Recipes c and d


def in_8_bits(values: Stored, centre: float, width: float) -> NDArray[np.float64]:
    """The window of PS3.3 C.11.2.1.2, then 0 to 255, rounded."""
    shown = (values - (centre - 0.5)) / (width - 1) + 0.5
    return np.asarray(np.rint(np.clip(shown, 0, 1) * 255))


def triangles(before: int, after: int) -> NDArray[np.float64]:
    """Weights of a triangle as wide as the reduction, each row of them adding up to 1."""
    scale = before / after
    middles = (np.arange(after) + 0.5) * scale
    distance = np.abs(np.arange(before) + 0.5 - middles[:, None])
    weights = np.maximum(0, 1 - distance / max(scale, 1))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def between_two(before: int, after: int) -> NDArray[np.float64]:
    """Weights of linear interpolation between the nearest two."""
    weights = np.zeros((after, before))
    for i in range(after):
        at = min(max((i + 0.5) * before / after - 0.5, 0), before - 1)
        first = math.floor(at)
        weights[i, first] += 1 - (at - first)
        weights[i, min(first + 1, before - 1)] += at - first
    return weights


def in_8_bits_resized(grey: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """As an image of 8 bits is resized: whole numbers after either direction.

    Pillow's Resample.c has weights in units of 2^-22, which decides what is exactly in between.
    """
    if grey.shape[1] != width:
        weights = np.floor(triangles(grey.shape[1], width) * 2**22 + 0.5)
        grey = np.floor((grey @ weights.T + 2**21) / 2**22)
    if len(grey) != height:
        weights = np.floor(triangles(len(grey), height) * 2**22 + 0.5)
        grey = np.floor((weights @ grey + 2**21) / 2**22)
    return grey


WINDOW = {"WindowCenter": 1800, "WindowWidth": 2900}


@pytest.mark.parametrize("view", VIEWS[:3], ids=str)
def test_c_with_antialias_is_what_pillow_makes_of_8_bits(view: View, tmp_path: Path) -> None:
    values = breast(700, 530, (600, 400), view)
    found = prepared(read(RECIPES["c"], tmp_path), values, view, tmp_path, **WINDOW)
    assert found.tensor.shape == (1, 3, 299, 299)
    expected = in_8_bits_resized(in_8_bits(values, 1800, 2900), 299, 299)
    for channel in found.tensor[0]:
        assert np.abs((channel * 127.5 + 127.5) - expected).max() < 1e-3
    assert -1 <= found.tensor.min() < -0.9
    assert 0.9 < found.tensor.max() <= 1


def test_c_without_antialias_interpolates_between_two(tmp_path: Path) -> None:
    values = breast(700, 530, (600, 400), VIEWS[0])
    grey = in_8_bits(values, 1800, 2900)
    exact = between_two(700, 299) @ grey @ between_two(530, 299).T
    in_bytes = RECIPES["c"].replace("antialias = true", "antialias = false")
    *begin, resize, normalise, channels = in_bytes.split("[[pixels]]")
    in_numbers = "[[pixels]]".join([*begin, normalise, resize, channels])
    for recipe, most in ((in_numbers, 1e-3), (in_bytes, 0.501)):
        found = prepared(read(recipe, tmp_path), values, VIEWS[0], tmp_path, **WINDOW)
        shown = found.tensor[0, 0] * 127.5 + 127.5
        assert np.abs(shown - exact).max() < most
        is_whole = np.abs(shown - np.rint(shown)).max() < 1e-3
        assert is_whole == (recipe == in_bytes)
    smooth = in_8_bits_resized(grey, 299, 299)
    assert np.abs(exact - smooth).max() > 20, "the two are not the same, where there is noise"


def ranked(grey: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean rank of equal values, from 1 to the number of pixels, over that number."""
    counts = np.bincount(grey[inside].astype(int), minlength=256)
    below = np.cumsum(counts) - counts
    mean_rank = below + (counts + 1) / 2
    return np.where(inside, mean_rank[grey.astype(int)] / inside.sum(), 0)


@pytest.mark.parametrize("view", VIEWS[1:3], ids=str)
def test_d_is_8_bits_stretched_and_ranked_within_the_breast(view: View, tmp_path: Path) -> None:
    values = breast(900, 640, (800, 380), view)
    manifest = read(RECIPES["d"], tmp_path)
    found = prepared(manifest, values, view, tmp_path, **WINDOW)
    grey = in_8_bits_resized(in_8_bits(values, 1800, 2900), 640, 640)
    inside = most_connected(grey > 12)
    assert 0.1 < inside.mean() < 0.6
    assert (grey > 12).sum() > inside.sum(), "there is a label, too"
    assert np.abs(found.tensor[0, 0] - ranked(grey, inside)).max() * 255 < 1e-3
    assert found.grid is not None
    corner = found.grid.places(np.array([(640.0, 320.0)]))
    assert corner.tolist() == [[640.0, 450.0]]


def test_d_without_ranks_is_the_export_itself(tmp_path: Path) -> None:
    plain = RECIPES["d"].partition('[[pixels]]\nop = "rank"')[0]
    export = plain + '[[pixels]]\nop = "normalise"\nsubtract = [0.0]\ndivide = [255.0]\n'
    values = breast(900, 640, (800, 380), VIEWS[0])
    found = prepared(read(export, tmp_path), values, VIEWS[0], tmp_path, **WINDOW)
    expected = in_8_bits_resized(in_8_bits(values, 1800, 2900), 640, 640)
    assert np.abs(found.tensor[0, 0] * 255 - expected).max() < 1e-3


@pytest.mark.parametrize("recipe", "abcd")
def test_a_manifest_crosses_to_the_child_as_it_is(recipe: str, tmp_path: Path) -> None:
    manifest = read(RECIPES[recipe], tmp_path)
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
    other = read(RECIPES[recipe].replace('"stored"', '"voi"').replace('"none"', VOI), tmp_path)
    digests = {
        Model(tmp_path / "breast-area", one).preprocessing_digest
        for one in (manifest, other, read(RECIPES["d"] + MORE, tmp_path))
    }
    assert len(digests) == (3 if recipe in "ab" else 2)


VOI = '"range of voi"'
MORE = '[[pixels]]\nop = "z-score"\n'


# What a manifest says amiss


GREY = '[[pixels]]\nop = "grey"\nvalues = "stored"\nscale = "none"\n'
SIZE = '[[pixels]]\nop = "place"\nheight = 64\nwidth = 48\n'


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (SIZE, 'pixels: expected op = "grey" first'),
        (GREY, 'the input has no fixed size: end with "resize", "place" or "histogram"'),
        (GREY.replace("none", "range of voi") + SIZE, 'pixels.scale: of values = "stored" exp'),
        (GREY + GREY + SIZE, 'pixels.op: "grey" is there before; once is enough'),
        (GREY + SIZE + '[[pixels]]\nop = "sharpen"\n', 'pixels.op: expected "grey", "crop", "mirr'),
        (GREY + SIZE + "fil = 3\n", 'pixels.fil: unknown key, did you mean "fill"?'),
        (
            GREY + SIZE + '[[pixels]]\nop = "crop"\nto = "largest component"\n',
            'pixels.op: "crop" must stand before "place"',
        ),
        (
            GREY + '[[pixels]]\nop = "histogram"\nbins = 9\n' + SIZE,
            'pixels.op: "place" must stand before "histogram"',
        ),
        (
            GREY + SIZE + '[[pixels]]\nop = "normalise"\nsubtract = [1, 2, 3]\ndivide = [1]\n',
            "pixels.subtract: expected 1 number, found 3",
        ),
        (
            GREY + SIZE + '[[pixels]]\nop = "normalise"\nsubtract = [1]\ndivide = [0]\n',
            "pixels.divide: expected a number above 0.0, found 0",
        ),
        (
            GREY + SIZE + 'rows_of = { ML = "top" }\n',
            '"ML" is no projection of [input] projections',
        ),
        (
            RECIPES["c"].replace('"bilinear"', '"nearest"'),
            'pixels.antialias: filter = "nearest" has no antialias',
        ),
        ("[pixels]\n" + "grey = 3\n", "pixels.grey: expected"),
        ('[pixels]\nop = "grey"\n', "pixels.op: is of operations, each in a table of a list: [[p"),
    ],
)
def test_what_is_amiss_in_a_list_of_operations_is_said_with_its_line(
    words: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        read(words, tmp_path)
    lines = [line for line in str(error.value).splitlines() if problem in line]
    assert lines, str(error.value)
    begin = HEAD.partition("[pixels]")[0].count("\n") + 1
    number = int(lines[0].split(":")[1])
    assert begin <= number < begin + words.count("\n")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ('[[pixels]]\nop = "mirror"\nchest_wall = "left"\n', "only mammograms have the chest wall"),
        (
            '[[pixels]]\nop = "crop"\nto = "largest component"\nmargin_at_chest_wall_px = 3\n',
            "only mammograms have a chest wall",
        ),
        (SIZE + 'rows_of = { CC = "top" }\n', "only mammograms have projections"),
    ],
)
def test_what_is_said_of_mammograms_alone_is_amiss_elsewhere(
    words: str, problem: str, tmp_path: Path
) -> None:
    plain = (
        'domain = "plain"\n'
        + HEAD.partition("[input]")[0]
        + '[input]\nmodality = "DX"\nbody_parts = ["CHEST"]\nsop_classes = ["1.2.3"]\n'
        + (GREY + words + SIZE)
        + SCORE
    )
    path = tmp_path / "manifest.toml"
    path.write_text(plain, "utf-8")
    with pytest.raises(ConfigError, match=problem):
        toml_file.load(path, Manifest)
