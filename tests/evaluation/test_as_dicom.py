"""An image file becomes the object that a modality would have sent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from factories import SMALL
from numpy.typing import NDArray
from packages import package
from pydicom import Dataset, dcmread

from node.dicom.header import read_header
from node.domains.description import describe
from node.domains.mammography.selection import why_refused
from node.errors import Unreadable
from node.evaluation.as_dicom import Picturing, as_dicom
from node.imaging.digests import pixel_digest
from node.imaging.image import open_image
from node.manifest import Input
from node.study import Laterality, View
from node.trial import phantom

MLO = View(Laterality.RIGHT, "MLO")
PLAIN = Input(
    modality="DX",
    body_parts=("CHEST",),
    sop_classes=("1.2.840.10008.5.1.4.1.1.1.1",),
)


@pytest.fixture
def wanted(tmp_path: Path) -> Input:
    return package(tmp_path / "models").manifest.input


def values(bits: int = 16) -> NDArray[Any]:
    random = np.random.default_rng(bits)
    return random.integers(0, 1 << bits, (31, 25)).astype(np.uint8 if bits == 8 else np.uint16)


def made(path: Path, wanted: Input, view: View | None = MLO, **known: object) -> Dataset:
    about = Picturing("P1", "E1", view, **known)  # type: ignore[arg-type]
    target = path.with_suffix(".dcm")
    as_dicom(path, about, wanted).save_as(target, enforce_file_format=True)
    return dcmread(target)


def saved(tmp_path: Path, image: PIL.Image.Image, name: str, **options: Any) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize(
    ("name", "bits"),
    [("a.png", 8), ("a.png", 16), ("a.tif", 8), ("a.tif", 16), ("a.pgm", 8)],
)
def test_stored_values_are_those_of_the_file(
    name: str, bits: int, tmp_path: Path, wanted: Input
) -> None:
    path = saved(tmp_path, PIL.Image.fromarray(values(bits)), name)
    dataset = made(path, wanted)
    np.testing.assert_array_equal(dataset.pixel_array, values(bits))
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (bits, bits, bits - 1)
    assert dataset.LossyImageCompression == "00"


def test_a_jpeg_says_that_it_was_compressed_with_loss(tmp_path: Path, wanted: Input) -> None:
    path = saved(tmp_path, PIL.Image.fromarray(values(8)), "a.jpg", quality=95)
    dataset = made(path, wanted)
    assert dataset.LossyImageCompression == "01"
    np.testing.assert_array_equal(dataset.pixel_array, np.asarray(PIL.Image.open(path)))


@pytest.mark.parametrize("mode", ["RGB", "LA", "RGBA"])
def test_grey_in_other_clothes_is_grey(mode: str, tmp_path: Path, wanted: Input) -> None:
    path = saved(tmp_path, PIL.Image.fromarray(values(8)).convert(mode), "a.png")
    np.testing.assert_array_equal(made(path, wanted).pixel_array, values(8))


def test_the_node_reads_of_it_a_mammogram_of_that_view(tmp_path: Path, wanted: Input) -> None:
    for view in phantom.EXAM:
        path = saved(tmp_path, PIL.Image.fromarray(values()), f"{view}.png")
        made(path, wanted, view, spacing_mm=0.07)
        header = read_header(path.with_suffix(".dcm"))
        instance = describe(header, path, "")
        assert instance.view == view
        assert instance.is_standard
        assert why_refused(instance.shown, header, wanted) == ""
        assert open_image(path.with_suffix(".dcm")).spacing_mm == (0.07, 0.07)


def test_it_is_displayed_over_the_whole_of_its_bits(tmp_path: Path, wanted: Input) -> None:
    path = saved(tmp_path, PIL.Image.fromarray(values(12)), "a.png")
    for bits in (12, 16):
        dataset = made(path, wanted, bits=bits)
        assert (dataset.BitsStored, dataset.HighBit) == (bits, bits - 1)
        grey = open_image(path.with_suffix(".dcm")).grey("voi")
        np.testing.assert_allclose(grey, values(12) / ((1 << bits) - 1), atol=1e-6)


def test_of_white_that_is_nought_the_display_is_the_inverse(tmp_path: Path, wanted: Input) -> None:
    image = PIL.Image.fromarray(values(16))
    path = saved(tmp_path, image, "a.tif", tiffinfo={262: 0})
    with PIL.Image.open(path) as written:
        assert written.tag_v2[262] == 0  # type: ignore[attr-defined]
    dataset = made(path, wanted)
    assert dataset.PhotometricInterpretation == "MONOCHROME1"
    grey = open_image(path.with_suffix(".dcm")).grey("voi")
    np.testing.assert_allclose(grey, 1 - values(16) / 65535, atol=1e-6)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_the_table_may_say_that_nought_is_white(name: str, tmp_path: Path, wanted: Input) -> None:
    path = saved(tmp_path, PIL.Image.fromarray(values(8)), name)
    dataset = made(path, wanted, is_inverted=True)
    assert dataset.PhotometricInterpretation == "MONOCHROME1"
    np.testing.assert_array_equal(dataset.pixel_array, values(8))
    grey = open_image(path.with_suffix(".dcm")).grey("voi")
    np.testing.assert_allclose(grey, 1 - values(8) / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("chest_wall", "right", "left"),
    [("left", "A", "A"), ("right", "P", "P")],
)
def test_front_and_back_are_where_the_table_says(
    chest_wall: str, right: str, left: str, tmp_path: Path, wanted: Input
) -> None:
    path = saved(tmp_path, PIL.Image.fromarray(values(8)), "a.png")
    for side, ahead in ((Laterality.RIGHT, right), (Laterality.LEFT, left)):
        for projection in ("CC", "MLO"):
            view = View(side, projection)
            dataset = made(path, wanted, view, chest_wall=chest_wall)
            usual = phantom.ORIENTATIONS[projection][side.value]
            assert list(dataset.PatientOrientation) == [ahead, usual[1]]
            assert describe(dataset, path, "").view == view


def test_front_and_back_are_not_said_where_nobody_says_them(tmp_path: Path, wanted: Input) -> None:
    dataset = made(saved(tmp_path, PIL.Image.fromarray(values(8)), "a.png"), wanted)
    assert not dataset.PatientOrientation
    assert describe(dataset, tmp_path, "").view == MLO


def test_the_same_image_is_the_same_object_and_names_nobody(tmp_path: Path, wanted: Input) -> None:
    png = saved(tmp_path, PIL.Image.fromarray(values()), "a.png")
    tif = saved(tmp_path, PIL.Image.fromarray(values()), "b.tif")
    one, again, other = made(png, wanted), made(png, wanted), made(tif, wanted)
    assert one == again == other
    assert "P1" not in str(one)
    assert pixel_digest(tmp_path / "a.dcm") == pixel_digest(tmp_path / "b.dcm")
    uids = {
        str(as_dicom(png, Picturing(patient, exam, MLO), wanted).SOPInstanceUID)
        for patient, exam in (("P1", "E1"), ("P1", "E2"), ("P2", "E1"))
    }
    assert len(uids) == 3
    assert one.StudyInstanceUID == made(png, wanted, View(Laterality.LEFT, "CC")).StudyInstanceUID


def test_an_image_of_no_breast_says_what_the_model_wants(tmp_path: Path) -> None:
    path = saved(tmp_path, PIL.Image.fromarray(values(8)), "a.png")
    made(path, PLAIN, None)
    instance = describe(read_header(path.with_suffix(".dcm")), path, "")
    assert (instance.modality, instance.body_part) == ("DX", "CHEST")
    assert instance.sop_class == PLAIN.sop_classes[0]
    assert instance.view is None


def broken(tmp_path: Path) -> Path:
    path = saved(tmp_path, PIL.Image.fromarray(values()), "a.png")
    path.write_bytes(path.read_bytes()[:-40])
    return path


def of_no_image(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_text("no image")
    return tmp_path / "a.png"


def see_through(tmp_path: Path) -> Path:
    image = PIL.Image.fromarray(values(8)).convert("LA")
    image.putpixel((3, 3), (9, 0))
    return saved(tmp_path, image, "a.png")


def several(tmp_path: Path) -> Path:
    image = PIL.Image.fromarray(values(8))
    return saved(tmp_path, image, "a.tif", save_all=True, append_images=[image])


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (
            lambda p: saved(p, PIL.Image.new("RGB", (9, 9), (1, 2, 3)), "a.png"),
            "a picture in colour",
        ),
        (
            lambda p: saved(p, PIL.Image.new("P", (9, 9)), "a.png"),
            "pixels of the kind P, expected grey",
        ),
        (
            lambda p: saved(p, PIL.Image.new("F", (9, 9)), "a.tif"),
            "pixels of the kind F, expected grey",
        ),
        (see_through, "transparent; flatten it"),
        (several, "several pictures in one file"),
        (of_no_image, "neither DICOM nor PNG, JPEG, TIFF or PGM"),
        (broken, "the picture cannot be decoded"),
    ],
)
def test_what_is_no_grey_picture_is_refused_with_what_would_help(
    write: object, expected: str, tmp_path: Path, wanted: Input
) -> None:
    assert callable(write)
    with pytest.raises(Unreadable, match=re.escape(expected)):
        made(write(tmp_path), wanted)


def test_values_beyond_the_bits_that_were_said_are_refused(tmp_path: Path, wanted: Input) -> None:
    path = saved(tmp_path, PIL.Image.fromarray(values(13)), "a.png")
    with pytest.raises(Unreadable, match="values above 4095, the highest of 12 bits"):
        made(path, wanted, bits=12)


def test_a_phantom_exported_as_png_scores_as_the_phantom(tmp_path: Path, wanted: Input) -> None:
    """Pixels, display and orientation are the same, so nothing a model sees differs."""
    (dataset,) = phantom.exam("as png", [MLO], technique=SMALL)
    dataset.save_as(tmp_path / "was.dcm", enforce_file_format=True)
    path = saved(tmp_path, PIL.Image.fromarray(dataset.pixel_array.astype(np.uint16)), "a.png")
    made(path, wanted, bits=12, chest_wall="right")
    was, now = open_image(tmp_path / "was.dcm"), open_image(tmp_path / "a.dcm")
    np.testing.assert_array_equal(was.grey("voi"), now.grey("voi"))
    assert was.patient_orientation == now.patient_orientation
    assert pixel_digest(tmp_path / "was.dcm") == pixel_digest(tmp_path / "a.dcm")
