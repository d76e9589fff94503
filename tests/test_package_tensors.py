"""`ai-node models tensor` shows what a network gets, in numbers and as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from factories import SMALL, exam
from numpy.typing import NDArray
from package_answers import SCORED
from PIL import Image
from pydicom import Dataset, dcmread
from several_images import breast_network, parsed, write
from test_package_beginning import call

from node.manifest import Model
from node.offline import analyse_folder
from node.trial import phantom

ROWS, COLUMNS = SMALL.rows, SMALL.columns
GAP_PX, TITLE_PX = 8, 16
WHOLE = f"""
[[pixels]]
op = "grey"
values = "stored"
scale = "none"

[[pixels]]
op = "mirror"
chest_wall = "left"

[[pixels]]
op = "place"
height = {ROWS}
width = {COLUMNS}
"""
"""Stored values as they are, but for the side."""
BINS = """
[[pixels]]
op = "grey"
values = "stored"
scale = "none"

[[pixels]]
op = "histogram"
bins = 20
"""
OUTPUT = f'[[outputs]]\n{SCORED}combine = {{ breast = "highest", exam = "highest" }}\n'


def scored(folder: Path, pixels: str, shape: str) -> Model:
    """Write a package that scores one image, prepared in some way."""
    graph = f"""(float[1,{shape}] image) => (float[1,1] score) {{
        row = Constant<value_ints = [1, -1]>()
        all = Reshape(image, row)
        last = Constant<value_ints = [1]>()
        score = ReduceMean(all, last)
    }}"""
    return write(folder / "shown", parsed(graph), pixels + OUTPUT)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """R CC, L CC, R MLO, L MLO."""
    return phantom.save(exam("shown"), tmp_path / "exam")


def chest_wall_left(path: Path) -> NDArray[np.float64]:
    """Return the stored values of an image, mirrored by hand if it is of the right side."""
    dataset = dcmread(path)
    values = dataset.pixel_array.astype(np.float64)
    return values[:, ::-1] if dataset.ImageLaterality == "R" else values


def picture(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as drawn:
        return np.asarray(drawn)


def grey(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    span = values.max() - values.min()
    shades: NDArray[np.uint8] = np.rint((values - values.min()) / span * 255).astype(np.uint8)
    return shades


def test_numbers_place_and_picture_are_those_of_the_image(
    images: list[Path], tmp_path: Path
) -> None:
    model = scored(tmp_path, WHOLE, f"1,{ROWS},{COLUMNS}")
    code, said = call("models", "tensor", model.folder, images[0], "--out", tmp_path / "t.png")
    assert code == 0, said
    v = chest_wall_left(images[0])
    p1, p50, p99 = np.percentile(v, (1, 50, 99))
    assert said.splitlines()[:-1] == [
        "R CC, 0001-R-CC.dcm",
        f"  tensor      1 x 1 x {ROWS} x {COLUMNS} of float32",
        f"  numbers     {v.min():.5g} to {v.max():.5g}, mean {v.mean():.5g}, deviation "
        f"{v.std():.5g}; 1 %: {p1:.5g}, 50 %: {p50:.5g}, 99 %: {p99:.5g}",
        f"  image       {ROWS} x {COLUMNS} stored, 0.72 x 0.72 mm a pixel",
        f"  place       columns 0 to {COLUMNS}, rows 0 to {ROWS} of the tensor show stored columns "
        f"0 to {COLUMNS}, rows 0 to {ROWS}",
        "  one pixel   1 x 1 stored pixels, 0.72 x 0.72 mm, mirrored",
    ]
    drawn = picture(tmp_path / "t.png")
    assert np.array_equal(drawn[TITLE_PX : TITLE_PX + ROWS, :COLUMNS], grey(v))


def test_an_image_that_was_turned_by_its_pixels_says_so(images: list[Path], tmp_path: Path) -> None:
    pixels = WHOLE.replace('"left"', '"left"\nwithout_orientation = "pixels"')
    model = scored(tmp_path, pixels, f"1,{ROWS},{COLUMNS}")
    dataset = dcmread(images[0])
    dataset.PatientOrientation = None
    dataset.PixelData = np.ascontiguousarray(dataset.pixel_array[:, ::-1]).tobytes()
    dataset.save_as(images[0])
    said = call("models", "tensor", model.folder, images[0])[1].splitlines()
    assert said[-2].endswith("mm, not mirrored")
    words = "its pixels lie mirrored against its laterality; no Patient Orientation"
    assert said[-1] == f"  side        {words}"
    assert "  side" not in call("models", "tensor", model.folder, images[1])[1]


def test_several_images_are_drawn_beside_one_another_each_with_its_own_range(
    images: list[Path], tmp_path: Path
) -> None:
    model = scored(tmp_path, WHOLE, f"1,{ROWS},{COLUMNS}")
    code, said = call("models", "tensor", model.folder, *images, "--out", tmp_path / "t.png")
    assert code == 0, said
    assert said.count("mirrored") == 4
    assert said.count("not mirrored") == 2, "the left ones"
    drawn = picture(tmp_path / "t.png")
    height, width = ROWS + GAP_PX + TITLE_PX, COLUMNS + GAP_PX
    assert drawn.shape == (2 * height, 2 * width)
    for number, path in enumerate(images):
        top, left = number // 2 * height + TITLE_PX, number % 2 * width
        found = drawn[top : top + ROWS, left : left + COLUMNS]
        assert np.array_equal(found, grey(chest_wall_left(path))), path.name


def test_of_a_network_that_reads_several_each_is_named_by_its_role(
    images: list[Path], tmp_path: Path
) -> None:
    model = breast_network(tmp_path / "both")
    code, said = call("models", "tensor", model.folder, *images)
    assert code == 0, said
    assert [line for line in said.splitlines() if not line.startswith(" ")] == [
        "R breast: CC, 0001-R-CC.dcm",
        "R breast: MLO, 0003-R-MLO.dcm",
        "L breast: CC, 0002-L-CC.dcm",
        "L breast: MLO, 0004-L-MLO.dcm",
    ]


def test_a_unit_that_is_not_whole_is_told(images: list[Path], tmp_path: Path) -> None:
    model = breast_network(tmp_path / "both")
    code, said = call("models", "tensor", model.folder, *images[:3])
    assert code == 0, said
    assert said.count("R breast: ") == 2
    assert "not given to the network: L" in said


def test_a_vector_is_drawn_as_bars_and_has_no_place(images: list[Path], tmp_path: Path) -> None:
    model = scored(tmp_path, BINS, "20")
    code, said = call("models", "tensor", model.folder, images[1], "--out", tmp_path / "t.png")
    assert code == 0, said
    assert "tensor      1 x 20 of float32" in said
    assert "place       none: it is a vector" in said
    shares = np.histogram(chest_wall_left(images[1]), bins=20)[0] / (ROWS * COLUMNS)
    assert f"{shares.min():.5g} to {shares.max():.5g}, mean 0.05" in said
    bars = picture(tmp_path / "t.png")[TITLE_PX : TITLE_PX + 200, : 20 * 4]
    heights = (bars == 255).sum(axis=0)[::4]
    assert heights[shares.argmax()] == 200
    assert heights[shares.argmin()] == 0


def test_what_the_network_does_not_get_is_told_with_its_reason(
    images: list[Path], tmp_path: Path
) -> None:
    implant: Dataset = dcmread(images[0])
    implant.BreastImplantPresent = "YES"
    implant.save_as(images[0])
    model = scored(tmp_path, WHOLE, f"1,{ROWS},{COLUMNS}")
    code, said = call("models", "tensor", model.folder, *images[:2])
    assert code == 0, said
    assert "not given to the network: R CC: " in said
    code, said = call("models", "tensor", model.folder, images[0])
    assert code == 1
    assert "the network gets none of these files" in said


def test_an_image_whose_window_hides_the_breast_is_shown_as_little_as_the_node_reads_it(
    images: list[Path], tmp_path: Path
) -> None:
    windowed: Dataset = dcmread(images[0])
    windowed.WindowCenter, windowed.WindowWidth = 2000, 800
    windowed.save_as(images[0])
    model = scored(tmp_path, WHOLE, f"1,{ROWS},{COLUMNS}")
    code, said = call("models", "tensor", model.folder, *images[:2])
    assert code == 0, said
    assert "not given to the network: R CC: " in said
    [node] = analyse_folder([images[0]], tmp_path / "node", model, lambda: None).studies
    assert node.result is not None
    [refusal] = node.result.refused
    assert f"R CC: {refusal.reason}" in " ".join(said.split())


def test_of_a_folder_all_images_in_it_are_shown(images: list[Path], tmp_path: Path) -> None:
    model = scored(tmp_path, WHOLE, f"1,{ROWS},{COLUMNS}")
    (tmp_path / "exam" / "notes.txt").write_text("nothing")
    code, said = call("models", "tensor", model.folder, tmp_path / "exam")
    assert (code, said) == call("models", "tensor", model.folder, *images)
    assert code == 0


def test_what_is_no_image_and_what_cannot_be_written_is_told(
    images: list[Path], tmp_path: Path
) -> None:
    model = scored(tmp_path, WHOLE, f"1,{ROWS},{COLUMNS}")
    text = tmp_path / "labels.csv"
    text.write_text("path,label\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    for given, words in (
        (text, "not given to the network: labels.csv: not a DICOM Part 10 file"),
        (tmp_path / "empty", "empty: holds no DICOM object"),
        (tmp_path / "nowhere.dcm", "nowhere.dcm: is no file"),
    ):
        code, said = call("models", "tensor", model.folder, given)
        assert code == 1, said
        assert words in "".join(said.split("\n"))
    code, said = call("models", "tensor", model.folder, images[0], "--out", tmp_path / "no" / "t")
    assert (code, "cannot be written" in said) == (1, True)
