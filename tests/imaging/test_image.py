import io
import re
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_windowing
from small_images import PATIENT, compressed, encoded, mammogram, saved

from node.errors import ModelError, StudyError, Unreadable
from node.imaging.decoding import END_OF_IMAGE
from node.imaging.grid import Extent, PlaneGrid
from node.imaging.image import Image, open_image
from node.imaging.operations import Prepared, prepare
from node.imaging.preparation import picture
from node.manifest import Pixels
from node.manifest.pixels import operations
from node.study import Laterality, View

COMPRESSED = (
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
)
VALUES = np.random.default_rng(1).integers(0, 4096, (37, 23)).astype(np.uint16)


def opened(dataset: Dataset, folder: Path) -> Image:
    return open_image(saved(dataset, folder))


def pixels(**changes: Any) -> Pixels:
    words = {
        "grey": "voi",
        "orientation": "chest wall left",
        "height": 64,
        "width": 48,
        "fit": "pad",
        "scale": "0..1",
    }
    return Pixels.model_validate(words | changes)


def prepared(image: Image, pixels: Pixels, laterality: Laterality | None) -> Prepared:
    return prepare(image, operations(pixels), View(laterality, "MLO") if laterality else None)


def with_grid(
    image: Image, pixels: Pixels, laterality: Laterality | None
) -> tuple[NDArray[np.float32], PlaneGrid]:
    found = prepared(image, pixels, laterality)
    assert found.grid is not None
    return found.tensor, found.grid


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.name)
def test_every_lossless_syntax_gives_the_values_that_went_in(
    syntax: uid.UID, tmp_path: Path
) -> None:
    assert np.array_equal(opened(compressed(VALUES, syntax), tmp_path).values, VALUES)


@pytest.mark.parametrize(
    "syntax",
    [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian],
    ids=lambda syntax: syntax.name,
)
def test_uncompressed_values_are_read(syntax: uid.UID, tmp_path: Path) -> None:
    dataset = mammogram(VALUES)
    dataset.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(opened(dataset, tmp_path).values, VALUES)


def test_big_endian_values_are_read(tmp_path: Path) -> None:
    dataset = mammogram(VALUES, PixelData=VALUES.astype(">u2").tobytes())
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    assert np.array_equal(opened(dataset, tmp_path).values, VALUES)


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_bytes_are_read_from_words_of_big_endian_too(vr: str, tmp_path: Path) -> None:
    values = VALUES.astype(np.uint8)
    content = values.tobytes() + b"\0"
    if vr == "OW":
        content = np.frombuffer(content, "<u2").astype(">u2").tobytes()
    dataset = mammogram(values)
    dataset.add_new("PixelData", vr, content)
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    assert np.array_equal(opened(dataset, tmp_path).values, values)


def test_an_overlay_beyond_bits_stored_is_ignored(tmp_path: Path) -> None:
    dataset = mammogram(VALUES, PixelData=(VALUES | 0xA000).tobytes())
    dataset.add_new(0x60000102, "US", 13)
    dataset.add_new(0x60020102, "US", 15)
    assert np.array_equal(opened(dataset, tmp_path).values, VALUES)
    dataset.add_new(0x60040102, "US", None)  # as anonymisers leave it
    dataset.add_new(0x60060102, "US", [0, 0])
    assert np.array_equal(opened(dataset, tmp_path).values, VALUES)
    high = mammogram(VALUES >> 2, PixelData=(VALUES << 2 | 0x8000).tobytes(), HighBit=13)
    high.BitsStored = 12
    high.add_new(0x60000102, "US", 15)
    assert np.array_equal(opened(high, tmp_path).values, VALUES)


def test_values_of_more_than_bits_stored_are_refused(tmp_path: Path) -> None:
    """Cut off, the brightest would be black."""
    dataset = mammogram(VALUES, BitsStored=11, HighBit=10)
    with pytest.raises(Unreadable, match="values of more than 11 bits"):
        opened(dataset, tmp_path)
    dataset.PixelRepresentation = 1
    with pytest.raises(Unreadable, match="values of more than 11 bits"):
        opened(dataset, tmp_path)
    overlay = mammogram(VALUES, PixelData=(VALUES | 0xA000).tobytes())
    overlay.add_new(0x60000102, "US", 13)
    with pytest.raises(Unreadable, match="values of more than 12 bits"):
        opened(overlay, tmp_path)


def test_high_bit_tells_where_samples_end(tmp_path: Path) -> None:
    dataset = mammogram(VALUES, PixelData=(VALUES << 4).tobytes(), HighBit=15)
    assert np.array_equal(opened(dataset, tmp_path).values, VALUES)


def test_signed_values_keep_their_order(tmp_path: Path) -> None:
    signed = VALUES.astype(np.int16) - 2048
    image = opened(mammogram(signed), tmp_path)
    assert np.array_equal(image.values, VALUES)
    assert np.allclose(image.grey("stored"), VALUES / 4095)
    signed_code = compressed(signed, uid.JPEG2000Lossless)
    assert np.array_equal(opened(signed_code, tmp_path).values, VALUES)


def test_bytes_with_an_odd_count_are_read(tmp_path: Path) -> None:
    values = VALUES.astype(np.uint8)
    assert np.array_equal(opened(mammogram(values), tmp_path).values, values)


def test_monochrome1_is_inverted_so_that_brighter_is_denser(tmp_path: Path) -> None:
    values = np.array([[0, 4095]], np.uint16)
    image = opened(mammogram(values, PhotometricInterpretation="MONOCHROME1"), tmp_path)
    assert image.grey("voi").tolist() == image.grey("stored").tolist() == [[1, 0]]


def test_padding_and_its_range_are_background_even_when_inverted(tmp_path: Path) -> None:
    values = np.array([[0, 5, 6, 4095]], np.uint16)
    image = opened(
        mammogram(
            values,
            PhotometricInterpretation="MONOCHROME1",
            PixelPaddingValue=5,
            PixelPaddingRangeLimit=0,
        ),
        tmp_path,
    )
    assert image.grey("voi")[0, :2].tolist() == [0, 0]
    assert image.grey("voi")[0, 2] > 0.99


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_the_first_window_is_applied_as_the_standard_writes_it(
    function: str | None, tmp_path: Path
) -> None:
    dataset = mammogram(VALUES, WindowCenter=[2000, 1], WindowWidth=[1500, 1])
    if function:
        dataset.VOILUTFunction = function
    expected = apply_windowing(VALUES, dataset) / 4095
    assert np.allclose(opened(dataset, tmp_path).grey("voi"), expected, atol=1e-5)


def test_a_voi_lut_comes_before_a_window(tmp_path: Path) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [3, 10, 8])
    table.add_new("LUTData", "US", [0, 51, 255])
    values = np.array([[0, 10, 11, 12, 4000]], np.uint16)
    dataset = mammogram(values, VOILUTSequence=[table], WindowCenter=0, WindowWidth=9)
    grey = opened(dataset, tmp_path).grey("voi")[0]
    assert np.allclose(grey, [0, 0, 0.2, 1, 1])


def test_rescaling_comes_before_the_window(tmp_path: Path) -> None:
    values = np.array([[0, 100, 200]], np.uint16)
    dataset = mammogram(
        values,
        RescaleSlope=2,
        RescaleIntercept=-100,
        WindowCenter=100,
        WindowWidth=400,
        VOILUTFunction="LINEAR_EXACT",
    )
    assert np.allclose(opened(dataset, tmp_path).grey("voi"), [[0, 0.5, 1]])


Table = tuple[int, int, int, list[int]]
"""Number of entries, first value mapped, bits, entries."""


def with_table(values: Any, table: Table, vr: str = "US", **changes: Any) -> Dataset:
    """Return an object that is displayed through a VOI LUT."""
    count, first, bits, entries = table
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [count % 65536, first, bits])
    content = np.array(entries, "<u2").tobytes()
    item.add_new("LUTData", vr, content if vr == "OW" else entries)
    return mammogram(values, VOILUTSequence=[item], **changes)


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_voi_lut_of_4096_entries_maps_every_value(bits: int, vr: str, tmp_path: Path) -> None:
    highest = (1 << bits) - 1
    entries = np.round(np.linspace(0, 1, 4096) ** 2 * highest).astype(int).tolist()
    image = opened(with_table(VALUES, (4096, 0, bits, entries), vr), tmp_path)
    assert np.allclose(image.grey("voi"), np.take(entries, VALUES) / highest, atol=1e-6)


def test_a_voi_lut_may_hold_two_entries_of_a_byte_in_a_word(tmp_path: Path) -> None:
    words = [low | (low + 1) << 8 for low in range(0, 256, 2)]
    values = np.array([[0, 1, 2, 255, 4000]], np.uint16)
    image = opened(with_table(values, (256, 0, 8, words), "OW"), tmp_path)
    assert np.allclose(image.grey("voi") * 255, [[0, 1, 2, 255, 255]])


@pytest.mark.parametrize("first", [-2048, 0x10000 - 2048])
def test_a_voi_lut_of_signed_values_starts_at_a_signed_one(first: int, tmp_path: Path) -> None:
    signed = VALUES.astype(np.int16) - 2048
    image = opened(with_table(signed, (4096, first, 12, list(range(4096)))), tmp_path)
    assert np.allclose(image.grey("voi"), VALUES / 4095)


def test_a_voi_lut_reached_by_large_rescaled_values_ends_at_its_last_entry(tmp_path: Path) -> None:
    values = np.array([[0, 1, 2, 3, 656, 4095]], np.uint16)
    dataset = with_table(values, (256, 0, 8, list(range(256))), RescaleSlope=100)
    dataset.RescaleIntercept = 0
    grey = opened(dataset, tmp_path).grey("voi")
    assert np.allclose(grey * 255, [[0, 100, 200, 255, 255, 255]])


def test_entries_above_the_bits_of_a_voi_lut_are_white_and_stay_white(tmp_path: Path) -> None:
    values = np.array([[0, 1, 2]], np.uint16)
    image = opened(with_table(values, (3, 0, 10, [0, 1023, 4095])), tmp_path)
    assert image.grey("voi").tolist() == [[0, 1, 1]]
    assert picture(image).grey.tolist() == [[0, 255, 255]]
    beyond = Image(values, image.stored_grey, image.voi_grey * 3 - 1, (), None)
    assert picture(beyond).grey.tolist() == [[0, 255, 255]]


def test_a_modality_lut_comes_before_the_window(tmp_path: Path) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [3, 0, 12])
    item.add_new("LUTData", "US", [300, 200, 100])
    dataset = mammogram(np.array([[0, 1, 2]], np.uint16), ModalityLUTSequence=[item])
    dataset.WindowCenter, dataset.WindowWidth = 200, 200
    dataset.VOILUTFunction = "LINEAR_EXACT"
    assert np.allclose(opened(dataset, tmp_path).grey("voi"), [[1, 0.5, 0]])


def damaged_objects() -> dict[str, Dataset]:
    lossless = encoded(VALUES, uid.JPEGLosslessSV1)
    cases = {
        f"truncated {syntax.name}": compressed(
            VALUES, syntax, encoded(VALUES, syntax)[: len(encoded(VALUES, syntax)) // 4 * 2]
        )
        for syntax in COMPRESSED
    }
    cases |= {
        "pixel data too short": mammogram(VALUES, PixelData=VALUES.tobytes()[:-2]),
        "pixel data too long": mammogram(VALUES, PixelData=VALUES.tobytes() * 2),
        "no pixel data": mammogram(VALUES, PixelData=b""),
        "an empty run-length header": compressed(VALUES, uid.RLELossless, b"\2\0\0\0" + bytes(66)),
        "a run-length header alone": compressed(
            VALUES, uid.RLELossless, encoded(VALUES, uid.RLELossless)[:70]
        ),
        "half a run-length header": compressed(VALUES, uid.RLELossless, bytes(10)),
        "no JPEG at all": compressed(VALUES, uid.JPEGLosslessSV1, b"not a JPEG" + b"\xff\xd9"),
        "another JPEG": compressed(VALUES, uid.JPEG2000Lossless, lossless),
        "other rows in the header": compressed(VALUES, uid.JPEGLosslessSV1),
        "a value above Bits Stored": compressed(VALUES, uid.JPEGLosslessSV1),
        "several frames": mammogram(VALUES, NumberOfFrames=2),
        "colour": mammogram(VALUES, SamplesPerPixel=3, PhotometricInterpretation="RGB"),
        "no rows": mammogram(VALUES, Rows=0, PixelData=b""),
        "more than 16 bits": mammogram(VALUES, BitsAllocated=32, BitsStored=32, HighBit=31),
        "samples of no bits": mammogram(VALUES, BitsStored=0),
        "a window of no width": mammogram(VALUES, WindowCenter=5, WindowWidth=0),
        "an unknown syntax": compressed(VALUES, uid.JPEGLosslessSV1),
        "a table shorter than it says": with_table(VALUES, (4096, 0, 12, [1, 2, 3])),
        "a table of 20 bits": with_table(VALUES, (3, 0, 20, [1, 2, 3])),
        "a table without a descriptor": mammogram(VALUES, VOILUTSequence=[Dataset()]),
        "no bits": mammogram(VALUES, BitsStored=None),
    }
    cases["other rows in the header"].Rows = 36
    cases["a value above Bits Stored"].BitsStored = 11
    cases["a value above Bits Stored"].HighBit = 10
    cases["an unknown syntax"].file_meta.TransferSyntaxUID = uid.MPEG2MPML
    del cases["no pixel data"].PixelData
    return cases


@pytest.mark.parametrize("name", damaged_objects())
def test_a_damaged_or_foreign_image_is_unreadable_in_plain_words(name: str, tmp_path: Path) -> None:
    with pytest.raises(Unreadable) as caught:
        opened(damaged_objects()[name], tmp_path)
    assert PATIENT not in str(caught.value)
    assert len(str(caught.value)) > 10
    assert not re.search(r"Error|Exception|None", str(caught.value))


SMOOTH = np.add.outer(np.arange(0, 2400, 30), np.arange(0, 1600, 25)).astype(np.uint16)
JPEG: dict[uid.UID, tuple[Any, dict[str, Any]]] = {
    uid.JPEGBaseline8Bit: ((SMOOTH >> 4).astype(np.uint8), {}),
    uid.JPEGExtended12Bit: (SMOOTH, {"bitspersample": 12}),
    uid.JPEGLossless: (SMOOTH, {"lossless": True, "predictor": 4, "bitspersample": 12}),
    uid.JPEGLosslessSV1: (SMOOTH, {"lossless": True, "predictor": 1, "bitspersample": 12}),
}


def jpeg(syntax: uid.UID) -> bytes:
    values, options = JPEG[syntax]
    return bytes(imagecodecs.jpeg8_encode(values, level=95, **options))


@pytest.mark.parametrize("syntax", JPEG, ids=lambda syntax: syntax.name)
def test_jpeg_of_8_and_12_bits_is_read(syntax: uid.UID, tmp_path: Path) -> None:
    values, _ = JPEG[syntax]
    read = opened(compressed(values, syntax, jpeg(syntax)), tmp_path).values
    assert np.abs(read.astype(int) - values).max() <= values.max() / 100


@pytest.mark.parametrize("syntax", JPEG, ids=lambda syntax: syntax.name)
def test_jpeg_that_lacks_a_part_is_refused_and_not_filled_up(
    syntax: uid.UID, tmp_path: Path
) -> None:
    values, _ = JPEG[syntax]
    code = jpeg(syntax).removesuffix(END_OF_IMAGE)
    middle = len(code) * 3 // 4
    lacking = [code[:-missing] for missing in (2, 3, 7, 20, 100)]
    lacking.append(code[:middle] + code[middle + 30 :])
    lacking.append(code[:middle] + b"\xff\xfe\x00\x02" + code[middle:])
    for part in lacking:
        with pytest.raises(Unreadable, match="pixel data ends early"):
            opened(compressed(values, syntax, part + END_OF_IMAGE), tmp_path)


def test_jpeg_with_restart_markers_is_read_unless_a_part_is_missing(tmp_path: Path) -> None:
    values = (SMOOTH >> 4).astype(np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(values).save(file, "jpeg", quality=95, restart_marker_rows=2)
    code = file.getvalue()
    assert code.count(b"\xff\xd0") == 1
    read = opened(compressed(values, uid.JPEGBaseline8Bit, code), tmp_path).values
    assert np.array_equal(read, np.asarray(PIL.Image.open(file)))
    short = code[: code.rindex(b"\xff\xd1") + 40] + END_OF_IMAGE
    with pytest.raises(Unreadable, match="pixel data ends early"):
        opened(compressed(values, uid.JPEGBaseline8Bit, short), tmp_path)


def test_jpeg_may_be_padded_with_any_byte(tmp_path: Path) -> None:
    code = encoded(VALUES, uid.JPEGLosslessSV1)
    for padding in (b"\0", b"\xff", b"\xff\0"):
        dataset = compressed(VALUES, uid.JPEGLosslessSV1, code + padding)
        assert np.array_equal(opened(dataset, tmp_path).values, VALUES)


@pytest.mark.parametrize("is_signed", [False, True])
def test_what_a_lossy_code_overshoots_stays_white_or_black(is_signed: bool, tmp_path: Path) -> None:
    edge = np.where(np.indices((64, 64)).sum(0) % 16 < 8, 0, 4095)
    values = (edge - 2048).astype(np.int16) if is_signed else edge.astype(np.uint16)
    code = imagecodecs.jpeg2k_encode(values, level=30, codecformat="j2k", bitspersample=14)
    coded = imagecodecs.jpeg2k_decode(code).astype(int) + 2048 * is_signed
    assert coded.min() < 0 or coded.max() > 4095
    read = opened(compressed(values, uid.JPEG2000, bytes(code)), tmp_path).values
    assert np.array_equal(read, np.clip(coded, 0, 4095))


def test_an_image_larger_than_any_detector_is_refused_before_decoding(tmp_path: Path) -> None:
    dataset = compressed(VALUES, uid.JPEGLosslessSV1, b"nothing to decode")
    dataset.Rows = dataset.Columns = 65535
    with pytest.raises(Unreadable, match="the image is too large to be read"):
        opened(dataset, tmp_path)


ODD: dict[str, tuple[str, Any]] = {
    "a word": ("LO", "about 2"),
    "words": ("LO", ["x", "y"]),
    "bytes": ("OB", b"\1\2"),
    "a name": ("PN", PATIENT),
    "a sequence": ("SQ", [Dataset()]),
    "not a number": ("FD", [float("nan"), float("inf")]),
    "nothing": ("DS", None),
    "three": ("DS", [1, 2, 3]),
}
HEADER = (
    "ImagerPixelSpacing",
    "PixelSpacing",
    "PixelSpacingCalibrationType",
    "EstimatedRadiographicMagnificationFactor",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "RescaleSlope",
    "RescaleIntercept",
    "PatientOrientation",
)


@pytest.mark.parametrize("keyword", HEADER)
def test_odd_values_in_the_header_count_as_unknown(keyword: str, tmp_path: Path) -> None:
    for vr, value in ODD.values():
        dataset = mammogram(VALUES)
        dataset.add_new(keyword, vr, value)
        image = opened(dataset, tmp_path)
        assert np.array_equal(image.values, VALUES)
        if keyword == "ImagerPixelSpacing":
            with pytest.raises(StudyError, match="has no usable detector pixel spacing"):
                _ = image.measured_spacing_mm


def test_a_number_that_is_none_is_unknown_whatever_pydicom_thinks_of_it(tmp_path: Path) -> None:
    content = saved(mammogram(VALUES, ImagerPixelSpacing=["0.125", "0.25"]), tmp_path).read_bytes()
    path = tmp_path / "odd.dcm"
    path.write_bytes(content.replace(b"0.125\\0.25", b"0.1x5\\0.25"))
    assert open_image(path).spacing_mm is None


@given(st.data())
@settings(max_examples=examples(150))
def test_whatever_byte_is_wrong_nothing_but_unreadable_is_raised(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    content = bytearray(
        saved(mammogram(VALUES[:4, :4], WindowCenter=9, WindowWidth=9), folder).read_bytes()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "damaged.dcm"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        open_image(path)
    except Unreadable as error:
        assert PATIENT not in str(error)


def test_a_file_that_is_not_there_yet_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        open_image(tmp_path / "later.dcm")


@pytest.mark.parametrize(
    ("orientation", "laterality", "is_mirrored"),
    [
        (["P", "L"], Laterality.RIGHT, True),
        (["A", "R"], Laterality.LEFT, False),
        (["P", "FL"], Laterality.RIGHT, True),
        (["A", "FR"], Laterality.LEFT, False),
        (["A", "L"], Laterality.RIGHT, False),
        (None, Laterality.RIGHT, True),
        (None, Laterality.LEFT, False),
        ("MLO", Laterality.RIGHT, True),
        (["", ""], Laterality.LEFT, False),
    ],
)
def test_the_chest_wall_comes_to_the_left(
    orientation: list[str] | str | None,
    laterality: Laterality,
    is_mirrored: bool,
    tmp_path: Path,
) -> None:
    image = opened(mammogram(VALUES, PatientOrientation=orientation), tmp_path)
    tensor, grid = with_grid(image, pixels(height=37, width=23), laterality)
    assert grid.is_mirrored is is_mirrored
    expected = VALUES[:, ::-1] if is_mirrored else VALUES
    assert np.allclose(tensor[0, 0], expected / 4095, atol=1e-6)


def test_a_rotated_image_is_refused(tmp_path: Path) -> None:
    image = opened(mammogram(VALUES, PatientOrientation=["L", "P"]), tmp_path)
    with pytest.raises(StudyError, match="rotated"):
        prepared(image, pixels(), Laterality.RIGHT)


def test_an_image_without_orientation_and_side_is_refused(tmp_path: Path) -> None:
    image = opened(mammogram(VALUES, PatientOrientation=None), tmp_path)
    with pytest.raises(StudyError, match="chest wall"):
        prepared(image, pixels(), None)
    prepared(image, pixels(orientation="as stored"), None)


def test_fitting_keeps_the_aspect_and_pads_right_and_bottom(tmp_path: Path) -> None:
    white = np.full((100, 50), 4095, np.uint16)
    image = opened(mammogram(white), tmp_path)
    tensor, grid = with_grid(image, pixels(height=64, width=48, channels=3), Laterality.RIGHT)
    assert tensor.shape == (1, 3, 64, 48)
    assert tensor.dtype == np.float32
    assert grid.filled == Extent(0, 0, 32, 64)
    assert tensor[:, :, :, :32].min() == 1
    assert tensor[:, :, :, 32:].max() == 0
    stretched = prepared(image, pixels(fit="stretch"), Laterality.RIGHT).tensor
    assert stretched.min() == 1


sizes = st.integers(1, 5000)


@given(
    rows=sizes, columns=sizes, height=sizes, width=sizes, is_mirrored=st.booleans(), data=st.data()
)
def test_points_come_back_from_both_sides(
    rows: int, columns: int, height: int, width: int, is_mirrored: bool, data: st.DataObject
) -> None:
    grid = PlaneGrid.whole(rows, columns, height, width, is_mirrored)
    share = np.array(data.draw(st.lists(st.tuples(*[st.floats(0, 1)] * 2), min_size=1)))
    in_model, in_stored = share * (width, height), share * (columns, rows)
    assert np.allclose(grid.to_model(grid.places(in_model)), in_model)
    assert np.allclose(grid.places(grid.to_model(in_stored)), in_stored)
    corners = grid.places(np.array([[0, 0], [width, height]], dtype=float))
    assert sorted(corners[:, 0]) == pytest.approx([0, columns])
    assert list(corners[:, 1]) == pytest.approx([0, rows])


@given(
    shape=st.tuples(st.integers(60, 300), st.integers(60, 300)),
    corner=st.tuples(st.integers(8, 32), st.integers(8, 32)),
    side=st.sampled_from([Laterality.RIGHT, Laterality.LEFT]),
    fit=st.sampled_from(["pad", "stretch"]),
)
def test_a_blob_seen_by_the_network_lies_on_the_same_tissue_in_the_file(
    shape: tuple[int, int], corner: tuple[int, int], side: Laterality, fit: str
) -> None:
    values = np.zeros(shape, np.uint16)
    top, left = corner
    values[top : top + 20, left : left + 20] = 65535
    grey = np.linspace(0, 1, 65536).astype(np.float32)
    image = Image(values, grey, grey, (), (1.0, 1.0))
    tensor, grid = with_grid(image, pixels(fit=fit, height=96, width=80), side)
    weights = tensor[0, 0].astype(float)
    rows, columns = np.indices(weights.shape) + 0.5
    centre = [(weights * axis).sum() / weights.sum() for axis in (columns, rows)]
    found = grid.places(np.array([centre]))[0]
    assert np.allclose(found, (left + 10, top + 10), atol=0.15)
    area = weights.sum() * grid.pixel_area_mm2((1.0, 1.0))
    assert area == pytest.approx(400, rel=0.03)


def test_a_picture_is_small_enough_and_looks_like_the_display(tmp_path: Path) -> None:
    values = np.zeros((300, 100), np.uint16)
    values[:150] = 4095
    values[:, 50:] = 7
    image = opened(
        mammogram(values, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=7), tmp_path
    )
    shown = picture(image, max_side=150)
    assert shown.scale == 0.5
    assert shown.grey.shape == (150, 50)
    assert shown.grey.dtype == np.uint8
    assert shown.grey[10, 5] == 0
    assert shown.grey[140, 5] == 255
    assert shown.grey[:, 30:].max() == 0
    assert picture(image).scale == 1
    assert picture(image).grey.shape == values.shape


ONLY_PIXEL_SPACING = {
    "ImagerPixelSpacing": None,
    "PixelSpacing": [0.3, 0.4],
    "EstimatedRadiographicMagnificationFactor": 2,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (0.1, 0.1)),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, (0.1, 0.2)),
        ({"EstimatedRadiographicMagnificationFactor": 2}, (0.05, 0.05)),
        ({"EstimatedRadiographicMagnificationFactor": 0}, (0.1, 0.1)),
        ({"PixelSpacing": [0.3, 0.3]}, (0.1, 0.1)),
        ({"ImagerPixelSpacing": None, "PixelSpacing": [0.3, 0.4]}, (0.3, 0.4)),
        (ONLY_PIXEL_SPACING, (0.15, 0.2)),
        (ONLY_PIXEL_SPACING | {"PixelSpacingCalibrationType": ""}, (0.15, 0.2)),
        (ONLY_PIXEL_SPACING | {"PixelSpacingCalibrationType": "GEOMETRY"}, (0.3, 0.4)),
        (ONLY_PIXEL_SPACING | {"PixelSpacingCalibrationType": "FIDUCIAL"}, (0.3, 0.4)),
        ({"ImagerPixelSpacing": [0, 0]}, None),
        ({"ImagerPixelSpacing": [70, 70]}, None),
        ({"ImagerPixelSpacing": [1e-12, 1e-12]}, None),
        ({"EstimatedRadiographicMagnificationFactor": "1e-9"}, None),
        ({"ImagerPixelSpacing": None}, None),
    ],
)
def test_spacing_is_the_detectors_over_the_magnification(
    changes: dict[str, Any], expected: tuple[float, float] | None, tmp_path: Path
) -> None:
    image = opened(mammogram(VALUES, **changes), tmp_path)
    assert image.spacing_mm == (pytest.approx(expected) if expected else None)


def test_without_spacing_areas_cannot_be_measured(tmp_path: Path) -> None:
    image = opened(mammogram(VALUES, ImagerPixelSpacing=None), tmp_path)
    with pytest.raises(StudyError, match="has no usable detector pixel spacing"):
        _ = image.measured_spacing_mm


def test_a_frame_in_several_fragments_is_one_frame(tmp_path: Path) -> None:
    frame = encoded(VALUES, uid.JPEGLosslessSV1)
    dataset = compressed(VALUES, uid.JPEGLosslessSV1)
    dataset.PixelData = encapsulate([frame], fragments_per_frame=3, has_bot=False)
    assert np.array_equal(opened(dataset, tmp_path).values, VALUES)
