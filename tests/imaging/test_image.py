import contextlib
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
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_windowing
from pydicom.tag import Tag
from small_images import PATIENT, compressed, encoded, mammogram, saved

from node.errors import ModelError, StudyError, Unreadable
from node.imaging import decoding
from node.imaging.decoding import END_OF_IMAGE
from node.imaging.grid import Extent, PlaneGrid
from node.imaging.image import Image, open_image
from node.imaging.operations import Prepared, prepare
from node.imaging.preparation import picture
from node.imaging.source import name_of
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


def test_grey_beyond_white_stays_white_in_a_picture(tmp_path: Path) -> None:
    values = np.array([[0, 1, 2]], np.uint16)
    image = opened(with_table(values, (3, 0, 10, [0, 1023, 1023])), tmp_path)
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
    code = imagecodecs.jpeg2k_encode(values, level=65, codecformat="j2k", bitspersample=14)
    coded = imagecodecs.jpeg2k_decode(code).astype(int) + 2048 * is_signed
    assert coded.min() < 0 or coded.max() > 4095
    read = opened(compressed(values, uid.JPEG2000, bytes(code)), tmp_path).values
    assert np.array_equal(read, np.clip(coded, 0, 4095))


def lossy(values: Any, syntax: uid.UID) -> bytes:
    """Return a code that may hold more bits than the object says, and loses next to nothing."""
    encode = {
        uid.JPEGExtended12Bit: lambda v: imagecodecs.jpeg8_encode(v, level=100, bitspersample=12),
        uid.JPEGLSNearLossless: lambda v: imagecodecs.jpegls_encode(v, level=3),
        uid.JPEG2000: lambda v: imagecodecs.jpeg2k_encode(
            v, level=90, codecformat="j2k", bitspersample=12
        ),
        uid.HTJ2K: lambda v: imagecodecs.htj2k_encode(v, level=3e-5),
    }
    return bytes(encode[syntax](values))


def of_fewer_bits(values: Any, syntax: uid.UID, bits: int) -> Dataset:
    dataset = compressed(values, syntax, lossy(values, syntax))
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    return dataset


LOSSY = (uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)


@pytest.mark.parametrize("syntax", LOSSY, ids=lambda syntax: syntax.name)
def test_lossy_codes_of_more_bits_than_bits_stored_are_refused_not_clipped(
    syntax: uid.UID, tmp_path: Path
) -> None:
    for bits in (10, 11):
        with pytest.raises(Unreadable, match=f"values of more than {bits} bits"):
            opened(of_fewer_bits(SMOOTH, syntax, bits), tmp_path)
    read = opened(of_fewer_bits(SMOOTH, syntax, 12), tmp_path).values
    assert np.abs(read.astype(int) - SMOOTH).max() <= 6


@pytest.mark.parametrize("syntax", LOSSY, ids=lambda syntax: syntax.name)
def test_what_fits_is_read_however_many_bits_a_lossy_code_could_hold(
    syntax: uid.UID, tmp_path: Path
) -> None:
    """JPEG has 8 and 12 bits and nothing between: that alone says nothing."""
    values = SMOOTH // 4
    read = opened(of_fewer_bits(values, syntax, 10), tmp_path).values
    assert np.abs(read.astype(int) - values).max() <= 6


@pytest.mark.parametrize(
    ("excess", "pixels", "is_read"),
    [
        (20, 2000, True),  # 2 % of 1024 is 20.48
        (21, 2000, False),
        (128, 10, True),  # an eighth of it; 0.1 % of 10000 pixels
        (128, 11, False),
        (129, 1, False),
    ],
)
@pytest.mark.parametrize("sign", ["unsigned", "above", "below"])
def test_an_overshoot_is_small_or_in_few_pixels_and_everything_else_is_not_one(
    excess: int, pixels: int, is_read: bool, sign: str, tmp_path: Path
) -> None:
    """Coded without loss, so that what is decoded is known exactly."""
    base = 511 if sign == "above" else 1023
    row = np.full(10000, base, np.int16)
    row[:pixels] += excess
    if sign == "below":
        row = (511 - row).astype(np.int16)  # down to -512 and less
    values = row.reshape(100, 100).astype(np.uint16 if sign == "unsigned" else np.int16)
    code = imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True, bitspersample=12)
    dataset = compressed(values, uid.JPEG2000, bytes(code))
    dataset.BitsStored, dataset.HighBit = 10, 9
    if is_read:
        assert len(np.unique(opened(dataset, tmp_path).values)) == 1
    else:
        with pytest.raises(Unreadable, match="values of more than 10 bits"):
            opened(dataset, tmp_path)


@pytest.mark.parametrize("near", [1, 3, 5])
def test_near_lossless_codes_are_off_by_what_they_say_and_no_more(
    near: int, tmp_path: Path
) -> None:
    values = np.random.default_rng(1).integers(1000, 1024, (40, 40)).astype(np.uint16)
    code = bytes(imagecodecs.jpegls_encode(values, level=near))
    decoded = imagecodecs.jpegls_decode(code)
    assert decoded.max() == 1023 + near
    dataset = compressed(values, uid.JPEGLSNearLossless, code)
    dataset.BitsStored, dataset.HighBit = 10, 9
    assert np.array_equal(opened(dataset, tmp_path).values, np.minimum(decoded, 1023))
    brighter = values + np.uint16(2 * near + 1)
    dataset.PixelData = encapsulate([bytes(imagecodecs.jpegls_encode(brighter, level=near))])
    with pytest.raises(Unreadable, match="values of more than 10 bits"):
        opened(dataset, tmp_path)


def test_a_code_of_negative_values_is_not_read_as_one_without_signs(tmp_path: Path) -> None:
    """In 16 bits nothing would be left to notice it by: what is black would be white."""
    values = VALUES.astype(np.int16) - 2048
    dataset = compressed(values, uid.JPEG2000Lossless)
    dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 16, 15
    with pytest.raises(Unreadable, match="negative values, which Pixel Representation excludes"):
        opened(dataset, tmp_path)


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
    "PatientOrientation",
)
DISPLAY = {
    "PixelPaddingValue": "Pixel Padding Value",
    "PixelPaddingRangeLimit": "Pixel Padding Range Limit",
    "WindowCenter": "Window Center",
    "WindowWidth": "Window Width",
    "VOILUTFunction": "VOI LUT Function",
    "RescaleSlope": "Rescale Slope",
    "RescaleIntercept": "Rescale Intercept",
    "PresentationLUTShape": "Presentation LUT Shape",
}
WHOLE = {
    "WindowCenter": 2048,
    "WindowWidth": 4096,
    "RescaleSlope": 1,
    "RescaleIntercept": 0,
    "PixelPaddingValue": 0,
}
"""Instructions that change nothing, but need one another."""


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


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd not in ("nothing", "three")])
@pytest.mark.parametrize("keyword", DISPLAY)
def test_an_instruction_for_display_that_is_there_and_not_understood_is_told_not_replaced(
    keyword: str, odd: str, tmp_path: Path
) -> None:
    dataset = mammogram(VALUES, **WHOLE)
    dataset.add_new(keyword, *ODD[odd])
    with pytest.raises(Unreadable, match=f"^{DISPLAY[keyword]} cannot be understood$"):
        opened(dataset, tmp_path)


@pytest.mark.parametrize("keyword", DISPLAY)
def test_an_empty_instruction_for_display_is_none(keyword: str, tmp_path: Path) -> None:
    instructions = {k: v for k, v in WHOLE.items() if k[:6] != keyword[:6]}  # with its partner
    dataset = mammogram(VALUES, **instructions)
    dataset.add_new(keyword, "LO", "  ")
    assert np.array_equal(opened(dataset, tmp_path).values, VALUES)


def said(tmp_path: Path, **instructions: str | bytes) -> Image:
    """Open an image whose instructions are these bytes, whatever they mean."""
    dataset = mammogram(VALUES)
    for keyword, written in instructions.items():
        content = written if isinstance(written, bytes) else written.encode()
        dataset.add_new(keyword, "CS" if keyword == "VOILUTFunction" else "DS", "1")
        dataset[keyword] = RawDataElement(
            dataset[keyword].tag, dataset[keyword].VR, len(content), content, 0, False, True
        )
    return opened(dataset, tmp_path)


WINDOW = {"WindowCenter": "1300.5", "WindowWidth": "2000"}


@pytest.mark.parametrize(
    "written",
    [
        {"WindowCenter": "1300,5"},
        {"WindowCenter": "+1300,5", "WindowWidth": "2000,0"},
        {"WindowCenter": " 1300.5 ", "WindowWidth": b"2000\0"},
        {"WindowCenter": "1300.5\\", "WindowWidth": "2000\\"},
        {"WindowCenter": "1300.5\\x", "WindowWidth": "2000\\9"},
        {"WindowCenter": "1.3005E3", "WindowWidth": "2e3"},
        {"WindowCenter": "1300,500"},
        {"VOILUTFunction": "linear"},
        {"VOILUTFunction": "LINEAR\\"},
        {"VOILUTFunction": "Linear\\LINEAR"},
        {"VOILUTFunction": b"LINEAR\0"},
        {"VOILUTFunction": "  "},
        {"RescaleSlope": "1"},
        {"RescaleIntercept": "0,0"},
        {"RescaleIntercept": "0", "RescaleSlope": "1,000000"},
        {"RescaleIntercept": "0\\0.0", "RescaleSlope": "1\\1.0\\"},
    ],
)
def test_an_instruction_that_has_one_reading_is_read(
    written: dict[str, str | bytes], tmp_path: Path
) -> None:
    expected = opened(mammogram(VALUES, **WINDOW), tmp_path)
    assert np.array_equal(said(tmp_path, **(WINDOW | written)).voi_grey, expected.voi_grey)


@pytest.mark.parametrize("written", ["linear exact", "Linear_Exact ", "LINEAR  EXACT"])
def test_terms_are_read_in_letters_of_any_size(written: str, tmp_path: Path) -> None:
    expected = opened(mammogram(VALUES, **WINDOW, VOILUTFunction="LINEAR_EXACT"), tmp_path)
    linear = opened(mammogram(VALUES, **WINDOW), tmp_path)
    read = said(tmp_path, **WINDOW, VOILUTFunction=written)
    assert np.array_equal(read.voi_grey, expected.voi_grey)
    assert not np.array_equal(read.voi_grey, linear.voi_grey)
    sigmoid = opened(mammogram(VALUES, **WINDOW, VOILUTFunction="SIGMOID"), tmp_path)
    assert np.array_equal(
        said(tmp_path, **WINDOW, VOILUTFunction="sigmoid").voi_grey, sigmoid.voi_grey
    )


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"WindowCenter": "1,300"}, "Window Center cannot be understood"),
        ({"WindowCenter": "1.300,5"}, "Window Center cannot be understood"),
        ({"WindowCenter": "1 300"}, "Window Center cannot be understood"),
        ({"WindowCenter": "\\1300"}, "Window Center cannot be understood"),
        ({"WindowCenter": "nan"}, "Window Center cannot be understood"),
        ({"WindowWidth": "1e999"}, "Window Width cannot be understood"),
        ({"WindowWidth": "inf"}, "Window Width cannot be understood"),
        ({"WindowWidth": ""}, "Window Center without Window Width"),
        ({"WindowCenter": ""}, "Window Width without Window Center"),
        ({"WindowWidth": "0"}, "Window Width of 0"),
        ({"WindowWidth": "-2000"}, "Window Width of -2000"),
        ({"WindowWidth": "0.5"}, "Window Width of 0.5"),
        ({"WindowWidth": "0", "VOILUTFunction": "SIGMOID"}, "Window Width of 0"),
        ({"WindowWidth": "0", "VOILUTFunction": "LINEAR_EXACT"}, "Window Width of 0"),
        ({"VOILUTFunction": "LOG"}, "VOI LUT Function cannot be understood"),
        ({"VOILUTFunction": "SIGMOID\\LINEAR"}, "VOI LUT Function cannot be understood"),
        ({"RescaleSlope": "nan", "RescaleIntercept": "0"}, "Rescale Slope cannot be understood"),
        ({"RescaleSlope": "0", "RescaleIntercept": "9"}, "Rescale Slope of 0"),
        ({"RescaleSlope": "2"}, "Rescale Slope without Rescale Intercept"),
        ({"RescaleIntercept": "-5"}, "Rescale Intercept without Rescale Slope"),
        ({"PixelPaddingValue": "none"}, "Pixel Padding Value cannot be understood"),
        (
            {"RescaleSlope": "1\\2", "RescaleIntercept": "0"},
            "Rescale Slope cannot be understood",
        ),
        (
            {"RescaleSlope": "1", "RescaleIntercept": "0\\9"},
            "Rescale Intercept cannot be understood",
        ),
        (
            {"RescaleSlope": "1\\x", "RescaleIntercept": "0"},
            "Rescale Slope cannot be understood",
        ),
    ],
)
def test_an_instruction_that_has_none_or_several_is_refused_by_its_name(
    written: dict[str, str | bytes], words: str, tmp_path: Path
) -> None:
    with pytest.raises(Unreadable, match=words):
        said(tmp_path, **(WINDOW | written))


def test_a_sign_of_two_values_is_not_read_as_none(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="does not say how the pixels are stored"):
        opened(mammogram(VALUES, PixelRepresentation=[1, 0]), tmp_path)


def test_of_two_modality_tables_neither_is_taken(tmp_path: Path) -> None:
    dataset = with_table(VALUES, (256, 0, 8, list(range(256))))
    dataset.ModalityLUTSequence = [*dataset.VOILUTSequence, Dataset()]
    with pytest.raises(Unreadable, match="Modality LUT Sequence cannot be understood"):
        opened(dataset, tmp_path)


@pytest.mark.parametrize("written", [b"monochrome1 ", b"Monochrome1\0", b" MONOCHROME1"])
def test_an_interpretation_in_other_letters_is_read(written: bytes, tmp_path: Path) -> None:
    dataset = mammogram(VALUES)
    dataset["PhotometricInterpretation"] = RawDataElement(
        Tag("PhotometricInterpretation"), "CS", len(written), written, 0, False, True
    )
    expected = opened(mammogram(VALUES, PhotometricInterpretation="MONOCHROME1"), tmp_path)
    assert np.array_equal(opened(dataset, tmp_path).voi_grey, expected.voi_grey)


@pytest.mark.parametrize(
    ("photometric", "shape", "words"),
    [
        ("MONOCHROME2", "IDENTITY", ""),
        ("MONOCHROME1", "INVERSE", ""),
        ("MONOCHROME2", "INVERSE", "Presentation LUT Shape INVERSE contradicts MONOCHROME2"),
        ("MONOCHROME1", "IDENTITY", "Presentation LUT Shape IDENTITY contradicts MONOCHROME1"),
        ("MONOCHROME2", "LIN OD", "Presentation LUT Shape cannot be understood"),
        ("MONOCHROM2", "IDENTITY", "Photometric Interpretation cannot be understood"),
        ("PALETTE COLOR", "IDENTITY", "colour image"),
    ],
)
def test_what_is_white_is_said_once_or_twice_alike(
    photometric: str, shape: str, words: str, tmp_path: Path
) -> None:
    dataset = mammogram(VALUES, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    if not words:
        opened(dataset, tmp_path)
        return
    with pytest.raises(Unreadable, match=words):
        opened(dataset, tmp_path)


@pytest.mark.parametrize(
    ("bits", "highest", "words"),
    [
        (16, 255, "VOI LUT Sequence said to be of 16 bits, but of 8"),
        (16, 4095, "VOI LUT Sequence said to be of 16 bits, but of 12"),
        (8, 4095, "VOI LUT Sequence said to be of 8 bits, but of 12"),
        (10, 1024, "VOI LUT Sequence said to be of 10 bits, but of 11"),
        (12, 0, "VOI LUT Sequence said to be of 12 bits, but of 0"),
        (12, 2047, "VOI LUT Sequence said to be of 12 bits, but of 11"),
        (12, 2048, ""),
        (12, 4095, ""),
    ],
)
def test_a_voi_lut_of_another_number_of_bits_than_it_says_is_refused(
    bits: int, highest: int, words: str, tmp_path: Path
) -> None:
    entries = np.round(np.linspace(0, highest, 4096)).astype(int).tolist()
    dataset = with_table(VALUES, (4096, 0, bits, entries))
    if not words:
        assert opened(dataset, tmp_path).grey("voi").max() > 0.49
        return
    with pytest.raises(Unreadable, match=words):
        opened(dataset, tmp_path)


def test_a_modality_lut_may_hold_small_numbers_but_not_larger_ones_than_it_says(
    tmp_path: Path,
) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [3, 0, 16])
    item.add_new("LUTData", "US", [3, 2, 1])
    values = np.array([[0, 1, 2]], np.uint16)
    dataset = mammogram(values, ModalityLUTSequence=[item])
    assert opened(dataset, tmp_path).grey("voi").tolist() == [[1, 0.5, 0]]
    item.LUTDescriptor = [3, 0, 8]
    item.LUTData = [3, 256, 1]
    with pytest.raises(Unreadable, match="Modality LUT Sequence said to be of 8 bits, but of 9"):
        opened(dataset, tmp_path)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless])
def test_a_high_bit_that_hides_what_lies_below_is_refused(syntax: uid.UID, tmp_path: Path) -> None:
    dataset = in_high_bits(VALUES, syntax)
    with pytest.raises(Unreadable, match="bits below those that High Bit 15 and Bits Stored 12"):
        opened(dataset, tmp_path)
    assert np.array_equal(opened(in_high_bits(VALUES << 4, syntax), tmp_path).values, VALUES)
    overlay = in_high_bits(VALUES << 4 | 2, syntax)
    overlay.add_new(0x60000102, "US", 1)
    assert np.array_equal(opened(overlay, tmp_path).values, VALUES)


def in_high_bits(values: Any, syntax: uid.UID) -> Dataset:
    is_plain = syntax == uid.ExplicitVRLittleEndian
    dataset = mammogram(values) if is_plain else compressed(values, syntax)
    dataset.HighBit = 15
    return dataset


def test_a_high_bit_means_nothing_to_codes_that_begin_at_bit_0(tmp_path: Path) -> None:
    dataset = in_high_bits(VALUES, uid.JPEGLosslessSV1)
    assert np.array_equal(opened(dataset, tmp_path).values, VALUES)


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


PLANE_IN_THE_PATIENT = {
    "ImagerPixelSpacing": None,
    "PixelSpacing": [0.3, 0.4],
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
}


def distances(to_detector: Any, to_patient: Any, factor: Any = None) -> dict[str, Any]:
    return {
        "DistanceSourceToDetector": to_detector,
        "DistanceSourceToPatient": to_patient,
        "EstimatedRadiographicMagnificationFactor": factor,
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
        (distances(660, 600), (0.1 / 1.1, 0.1 / 1.1)),
        (distances(700, 657, 1.073), (0.1 / 1.073, 0.1 / 1.073)),
        (distances(660, 600, 1), (0.1, 0.1)),  # a breast of 6 cm
        (distances(660, 660), (0.1, 0.1)),
        (distances(650, 660), (0.1, 0.1)),
        (distances(660, 0), (0.1, 0.1)),
        (distances(0, 600), (0.1, 0.1)),
        (distances(660, None), (0.1, 0.1)),
        (distances(660, None, 2), (0.05, 0.05)),
        (distances(660, 220), (0.1 / 3, 0.1 / 3)),
        (distances(66, 600, 1.1), (0.1 / 1.1, 0.1 / 1.1)),  # the factor is clear
        (ONLY_PIXEL_SPACING | distances(660, 600), (0.3 / 1.1, 0.4 / 1.1)),
        (
            ONLY_PIXEL_SPACING | distances(66, 600) | {"PixelSpacingCalibrationType": "GEOMETRY"},
            (0.3, 0.4),
        ),
        (PLANE_IN_THE_PATIENT | distances(949.075, 541), (0.3, 0.4)),
        (PLANE_IN_THE_PATIENT | distances(66, 600, 107), (0.3, 0.4)),
        ({"EstimatedRadiographicMagnificationFactor": 0.98}, (0.1 / 0.98, 0.1 / 0.98)),
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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (distances(660, 700), "distances of the source that cannot be right"),
        (distances(660, 200), "distances of the source that cannot be right"),
        (distances(66, 600), "distances of the source that cannot be right"),
        (distances(-660, -600), "distances of the source that cannot be right"),
        (
            distances(660, 600, 1.4),
            "magnification factor and distances of the source contradict each other",
        ),
        (
            distances(660, 540, 1),
            "magnification factor and distances of the source contradict each other",
        ),
        *(
            (
                distances(None, None, factor),
                "Estimated Radiographic Magnification Factor that cannot be right",
            )
            for factor in (-1, 0.5, 30, 107)
        ),
    ],
)
def test_a_magnification_that_contradicts_itself_measures_nothing(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    image = opened(mammogram(VALUES, **changes), tmp_path)
    assert image.spacing_mm is None
    with pytest.raises(StudyError, match=f"^{words}, so no area can be measured$"):
        _ = image.measured_spacing_mm


@pytest.mark.parametrize("keyword", list(distances(1, 1)))
@pytest.mark.parametrize("written", ["about 2", "nan", "1,100"])
def test_a_magnification_that_is_not_understood_is_not_1(
    keyword: str, written: str, tmp_path: Path
) -> None:
    dataset = mammogram(VALUES, **distances(660, 600))
    dataset.add_new(keyword, "LO", written)
    words = f"{name_of(keyword)} cannot be understood, so no area"
    with pytest.raises(StudyError, match=words):
        _ = opened(dataset, tmp_path).measured_spacing_mm
    dataset.add_new(keyword, "LO", "600,0" if keyword != list(distances(1, 1))[2] else "1,1")
    assert opened(dataset, tmp_path).spacing_mm is not None


def test_without_spacing_areas_cannot_be_measured(tmp_path: Path) -> None:
    image = opened(mammogram(VALUES, ImagerPixelSpacing=None), tmp_path)
    with pytest.raises(StudyError, match="has no usable detector pixel spacing"):
        _ = image.measured_spacing_mm


def test_a_frame_in_several_fragments_is_one_frame(tmp_path: Path) -> None:
    frame = encoded(VALUES, uid.JPEGLosslessSV1)
    dataset = compressed(VALUES, uid.JPEGLosslessSV1)
    dataset.PixelData = encapsulate([frame], fragments_per_frame=3, has_bot=False)
    assert np.array_equal(opened(dataset, tmp_path).values, VALUES)


ENDS = (*JPEG, uid.JPEGLSLossless, uid.JPEGLSNearLossless, uid.JPEG2000Lossless, uid.HTJ2KLossless)
TAILS = {
    "two bytes": b"\x12\x34",
    "a text": b"written by nobody\0",
    "markers": b"\xff\xda\x00\x08\xff\xd9\xff\xd8\xff\xda\x01",
    "zeros and a byte": bytes(9) + b"\1",
}


def code_in(syntax: uid.UID) -> tuple[Any, bytes]:
    """Return values, and a code of them as the decoder gives them back."""
    values = JPEG[syntax][0] if syntax in JPEG else SMOOTH
    if syntax in JPEG:
        return values, jpeg(syntax)
    if syntax == uid.JPEGLSNearLossless:
        return values, lossy(values, syntax)
    return values, encoded(values, syntax)


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("syntax", ENDS, ids=lambda syntax: syntax.name)
def test_bytes_behind_the_end_of_a_code_belong_to_nothing(
    syntax: uid.UID, tail: str, tmp_path: Path
) -> None:
    values, code = code_in(syntax)
    alone = opened(compressed(values, syntax, code), tmp_path).values
    followed = opened(compressed(values, syntax, code + TAILS[tail]), tmp_path).values
    assert np.array_equal(followed, alone)


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("syntax", ENDS, ids=lambda syntax: syntax.name)
def test_a_code_that_ends_early_is_not_completed_by_what_stands_behind_it(
    syntax: uid.UID, tail: str, tmp_path: Path
) -> None:
    values, code = code_in(syntax)
    cut = code[: len(code) * 3 // 4]
    with pytest.raises(Unreadable, match=r"pixel data (ends early|cannot be decoded)"):
        opened(compressed(values, syntax, cut + TAILS[tail]), tmp_path)


def test_the_end_of_a_code_is_not_that_of_a_picture_in_its_header(tmp_path: Path) -> None:
    code = jpeg(uid.JPEGExtended12Bit)
    inner = b"\xff\xd8\xff\xd9 a preview"
    segment = b"\xff\xe1" + (2 + len(inner)).to_bytes(2, "big") + inner
    with_preview = code[:2] + segment + code[2:]
    values = opened(compressed(SMOOTH, uid.JPEGExtended12Bit, with_preview + b"\1\2"), tmp_path)
    assert np.array_equal(
        values.values, opened(compressed(SMOOTH, uid.JPEGExtended12Bit, code), tmp_path).values
    )


def test_a_code_of_several_tiles_may_be_followed_by_bytes(tmp_path: Path) -> None:
    code = bytes(imagecodecs.htj2k_encode(VALUES, reversible=True, tile=(16, 16)))
    assert code.count(b"\xff\x90\x00\x0a") == 6
    dataset = compressed(VALUES, uid.HTJ2KLossless, code + b"\xff\x90\1")
    assert np.array_equal(opened(dataset, tmp_path).values, VALUES)


@given(st.binary(max_size=60), st.sampled_from([uid.JPEGLosslessSV1, uid.JPEG2000Lossless]))
@settings(max_examples=examples(150))
def test_looking_for_the_end_of_any_code_comes_to_an_end(content: bytes, syntax: uid.UID) -> None:
    for begun in (b"\xff\xd8\xff\xda\x00\x02", b"\xff\x4f\xff\x90\x00\x0a\0\0", b""):
        with contextlib.suppress(Unreadable):
            found = decoding._without_tail(begun + content, syntax)
            assert (begun + content).startswith(found)
            assert found.rstrip(b"\0\xff").endswith(END_OF_IMAGE)
