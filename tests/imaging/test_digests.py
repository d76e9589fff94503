"""What a score depends on, and whether two objects show the same pixels, as digests of files."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, uid
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from small_images import (
    PATIENT,
    Values,
    colours,
    compressed,
    encoded,
    mammogram,
    run_lengths,
    saved,
)

from node.errors import ModelError, Unreadable
from node.imaging.digests import encoded_digest, image_digest, pixel_digest
from node.imaging.image import Image, open_image
from node.imaging.source import KEYWORDS_READ, LAYOUT

VALUES = np.random.default_rng(2).integers(0, 4096, (13, 9)).astype(np.uint16)
COMPRESSED = (
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
)
NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)


def table(entries: list[int]) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), 0, 12])
    item.add_new("LUTData", "US", entries)
    return Sequence([item])


def in_syntax(values: Values, syntax: str, **changes: Any) -> Dataset:
    if syntax not in NATIVE:
        dataset = compressed(values, uid.UID(syntax))
    else:
        dataset = mammogram(values)
        dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    if syntax == uid.ExplicitVRBigEndian:
        dataset.PixelData = values.astype(values.dtype.newbyteorder(">")).tobytes()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


# What a score is kept under


def key(dataset: Dataset, folder: Path) -> str:
    return image_digest(saved(dataset, folder))


@pytest.mark.parametrize("syntax", [*NATIVE, *COMPRESSED], ids=lambda syntax: syntax.name)
def test_a_corrected_patient_leaves_the_key_as_it_was(syntax: uid.UID, tmp_path: Path) -> None:
    corrected = in_syntax(
        VALUES,
        syntax,
        PatientName="Smith^Ann",
        PatientID="4711",
        PatientBirthDate="19700101",
        AccessionNumber="A1",
        StudyDescription="corrected",
        StudyInstanceUID="1.2.9",
        SOPInstanceUID="1.2.5",
        SpecificCharacterSet="ISO_IR 192",
        InstanceCreationDate="20260101",
    )
    corrected.add_new(0x00091001, "LO", "private")
    corrected.file_meta.MediaStorageSOPInstanceUID = uid.UID("1.2.5")
    assert key(corrected, tmp_path) == key(in_syntax(VALUES, syntax), tmp_path)


def test_every_attribute_that_is_read_is_part_of_the_key(tmp_path: Path) -> None:
    other: dict[str, Any] = {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "MONOCHROME1",
        "PlanarConfiguration": 1,
        "NumberOfFrames": 1,
        "Rows": 9,
        "Columns": 13,
        "BitsAllocated": 8,
        "BitsStored": 11,
        "HighBit": 12,
        "PixelRepresentation": 1,
        "PixelPaddingValue": 1,
        "PixelPaddingRangeLimit": 5,
        "ModalityLUTSequence": table([3, 4]),
        "RescaleIntercept": 1,
        "RescaleSlope": 2,
        "VOILUTSequence": table([3, 4]),
        "WindowCenter": [2000, 7],
        "WindowWidth": [2000, 7],
        "VOILUTFunction": "SIGMOID",
        "PresentationLUTShape": "INVERSE",
        "PatientOrientation": ["A", "R"],
        "ImagerPixelSpacing": [0.1, 0.2],
        "PixelSpacing": [0.1, 0.1],
        "PixelSpacingCalibrationType": "GEOMETRY",
        "EstimatedRadiographicMagnificationFactor": 1.8,
        "DistanceSourceToDetector": 660,
        "DistanceSourceToPatient": 600,
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, 0],
    }
    assert set(other) | {"LUTDescriptor", "LUTData"} == set(KEYWORDS_READ)
    keys = [key(mammogram(VALUES, **{keyword: other[keyword]}), tmp_path) for keyword in other]
    keys.append(key(mammogram(VALUES), tmp_path))
    assert len(set(keys)) == len(keys)


def test_other_pixels_another_syntax_and_another_table_are_other_keys(tmp_path: Path) -> None:
    changed = VALUES.copy()
    changed[-1, -1] ^= 1
    keys = [
        key(mammogram(VALUES), tmp_path),
        key(mammogram(changed), tmp_path),
        *(key(compressed(VALUES, syntax), tmp_path) for syntax in COMPRESSED),
        *(key(compressed(changed, syntax), tmp_path) for syntax in COMPRESSED),
        key(mammogram(VALUES, VOILUTSequence=table([1, 2, 3])), tmp_path),
        key(mammogram(VALUES, VOILUTSequence=table([1, 2, 4])), tmp_path),
        key(mammogram(VALUES, ModalityLUTSequence=table([1, 2, 3])), tmp_path),
    ]
    assert len(set(keys)) == len(keys)


def test_the_same_bytes_in_words_of_big_endian_are_another_image_and_another_key(
    tmp_path: Path,
) -> None:
    def in_big_endian(vr: str) -> Path:
        dataset = mammogram(VALUES[:12].astype(np.uint8))
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
        dataset.add_new("PixelData", vr, dataset.PixelData)
        return saved(dataset, tmp_path, f"{vr}.dcm")

    one, other = in_big_endian("OB"), in_big_endian("OW")
    assert not np.array_equal(open_image(one).values, open_image(other).values)
    assert image_digest(one) != image_digest(other)


def test_how_a_sequence_says_its_length_and_what_it_explains_is_no_matter(tmp_path: Path) -> None:
    plain = mammogram(VALUES, VOILUTSequence=table([1, 2, 3]))
    rewritten = mammogram(VALUES, VOILUTSequence=table([1, 2, 3]))
    rewritten["VOILUTSequence"].is_undefined_length = True
    rewritten.VOILUTSequence[0].is_undefined_length_sequence_item = True
    rewritten.VOILUTSequence[0].LUTExplanation = "harder"
    assert key(plain, tmp_path) == key(rewritten, tmp_path)


def test_nothing_that_is_not_in_the_list_can_change_an_image(tmp_path: Path) -> None:
    """`open_image` is given only what the key covers: it cannot depend on anything else."""
    crowded = mammogram(VALUES, PixelIntensityRelationship="LOG", Laterality="L", WindowCenter=99)
    crowded.WindowWidth = 50
    crowded.RequestAttributesSequence = [mammogram(VALUES)]
    bare = mammogram(VALUES, WindowCenter=99, WindowWidth=50)
    for keyword in ("PatientName", "Modality", "ImageLaterality"):
        delattr(bare, keyword)
    assert key(crowded, tmp_path) == key(bare, tmp_path)
    assert same_image(
        open_image(saved(crowded, tmp_path, "a.dcm")), open_image(saved(bare, tmp_path, "b.dcm"))
    )


def same_image(one: Image, other: Image) -> bool:
    return (
        np.array_equal(one.values, other.values)
        and np.array_equal(one.voi_grey, other.voi_grey)
        and np.array_equal(one.stored_grey, other.stored_grey)
        and one.patient_orientation == other.patient_orientation
        and one.spacing_mm == other.spacing_mm
    )


@given(st.data())
@settings(max_examples=examples(200))
def test_files_of_one_key_are_one_image_whatever_bytes_are_wrong(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    dataset = data.draw(
        st.sampled_from(
            [
                mammogram(VALUES[:4, :4], WindowCenter=9, WindowWidth=9),
                compressed(VALUES[:4, :4], uid.JPEGLSLossless),
                mammogram(VALUES[:4, :4], VOILUTSequence=table([1, 2, 4000])),
            ]
        )
    )
    whole = saved(dataset, folder, "whole.dcm")
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "changed.dcm"
    path.write_bytes(bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))]))
    try:
        found = image_digest(path)
    except Unreadable as error:
        assert PATIENT not in str(error)
        with pytest.raises(Unreadable):
            open_image(path)
        return
    if found == image_digest(whole):
        assert same_image(open_image(path), open_image(whole))


def test_the_key_is_found_without_decoding(tmp_path: Path) -> None:
    broken = compressed(VALUES, uid.JPEGLosslessSV1, b"no JPEG at all")
    assert len(key(broken, tmp_path)) == 64
    with pytest.raises(Unreadable):
        open_image(saved(broken, tmp_path))


@pytest.mark.parametrize("is_compressed", [False, True])
def test_the_key_of_a_large_object_takes_little_memory(is_compressed: bool, tmp_path: Path) -> None:
    many = bytes(100_000_000)
    dataset = compressed(VALUES, uid.JPEGLSLossless, many) if is_compressed else mammogram(VALUES)
    if not is_compressed:
        dataset.PixelData = many
    path = saved(dataset, tmp_path)
    del dataset, many
    tracemalloc.start()
    image_digest(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10_000_000


def test_a_file_that_is_not_there_says_nothing_about_the_object(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        image_digest(tmp_path / "later.dcm")
    with pytest.raises(ModelError, match="cannot be read"):
        pixel_digest(tmp_path / "later.dcm")


def test_an_object_without_pixel_data_has_no_key(tmp_path: Path) -> None:
    report = mammogram(VALUES)
    del report.PixelData
    with pytest.raises(Unreadable, match="no pixel data"):
        key(report, tmp_path)


def test_pixel_data_that_end_early_have_no_key(tmp_path: Path) -> None:
    for dataset in (mammogram(VALUES), compressed(VALUES, uid.JPEGLSLossless)):
        path = saved(dataset, tmp_path)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(Unreadable, match=r"ends early|not divided"):
            image_digest(path)


def test_bytes_that_look_like_the_end_of_a_sequence_are_pixels(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[0, :4] = [0x0EF, 0x0EF, 0x0EF, 0x0EF]
    frame = run_lengths(values)
    end = b"\xfe\xff\xdd\xe0"
    # The low bytes of four pixels in a row: a run-length frame may hold any bytes.
    frame = frame.replace(b"\xef\xef\xef\xef", end)
    assert end in frame
    expected = values.copy()
    expected[0, :4] = list(end)
    assert np.array_equal(
        open_image(saved(compressed(VALUES, uid.RLELossless, frame), tmp_path)).values, expected
    )


# Whether the pixels are the same


def pixels_of(dataset: Dataset, folder: Path) -> str:
    return pixel_digest(saved(dataset, folder))


grey = st.integers(1, 40).flatmap(
    lambda seed: st.tuples(st.just(seed), st.integers(1, 12), st.integers(1, 12))
)


@given(grey)
@settings(max_examples=examples(25))
def test_every_lossless_syntax_shows_the_same_pixels(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[int, int, int]
) -> None:
    seed, rows, columns = drawn
    values = np.random.default_rng(seed).integers(0, 4096, (rows, columns)).astype(np.uint16)
    folder = tmp_path_factory.getbasetemp()
    found = {pixels_of(in_syntax(values, syntax), folder) for syntax in (*NATIVE, *COMPRESSED)}
    assert len(found) == 1
    other = values.copy()
    other[seed % rows, seed % columns] ^= 1
    assert pixels_of(mammogram(other), folder) not in found


def test_containers_and_bits_beside_the_samples_are_no_matter(tmp_path: Path) -> None:
    same = [
        mammogram(VALUES),
        mammogram(VALUES, PixelData=(VALUES | 0xA000).tobytes()),
        mammogram(VALUES, PixelData=(VALUES << 4).tobytes(), HighBit=15),
        mammogram(VALUES, PixelData=VALUES.astype("<u4").tobytes(), BitsAllocated=32),
        mammogram(VALUES, WindowCenter=9, WindowWidth=9, PatientName="Smith^Ann"),
    ]
    assert len({pixels_of(dataset, tmp_path) for dataset in same}) == 1


def test_the_same_numbers_that_mean_something_else_are_other_pixels(tmp_path: Path) -> None:
    square = VALUES[:9, :9]
    frames = mammogram(square, Rows=3, NumberOfFrames=3)
    wide = mammogram(square, Rows=3, Columns=27)
    palette = mammogram(square, PhotometricInterpretation="PALETTE COLOR")
    inverted = mammogram(square, PhotometricInterpretation="MONOCHROME1")
    others = [mammogram(square), frames, wide, palette, inverted]
    assert len({pixels_of(dataset, tmp_path) for dataset in others}) == len(others)


def test_signed_values_are_told_from_unsigned_ones(tmp_path: Path) -> None:
    signed = VALUES.astype(np.int16) - 2048
    uncompressed = pixels_of(mammogram(signed), tmp_path)
    assert pixels_of(compressed(signed, uid.JPEG2000Lossless), tmp_path) == uncompressed
    assert pixels_of(mammogram(VALUES), tmp_path) != uncompressed


RGB = np.random.default_rng(3).integers(0, 256, (6, 10, 3)).astype(np.uint8)


def coded_colours(frames: list[NDArray[np.uint8]], syntax: uid.UID) -> Dataset:
    encode = {
        uid.JPEGLSLossless: imagecodecs.jpegls_encode,
        uid.JPEG2000Lossless: lambda v: imagecodecs.jpeg2k_encode(
            v, codecformat="j2k", reversible=True, mct=True
        ),
        uid.RLELossless: rle_planes,
    }[syntax]
    dataset = colours(np.stack(frames))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([bytes(encode(frame)) for frame in frames])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    if syntax == uid.JPEG2000Lossless:
        dataset.PhotometricInterpretation = "YBR_RCT"
    return dataset


def rle_planes(values: NDArray[np.uint8]) -> bytes:
    """Return an RLE frame of one plane for each colour, in literal runs."""
    planes = [values[..., plane].tobytes() for plane in range(3)]
    assert len(planes[0]) <= 128
    segments = [bytes([len(plane) - 1]) + plane for plane in planes]
    segments = [segment + b"\x80" * (len(segment) % 2) for segment in segments]
    header = np.zeros(16, "<u4")
    header[0] = 3
    header[1:4] = 64 + np.cumsum([0, *(len(segment) for segment in segments[:-1])])
    return header.tobytes() + b"".join(segments)


def test_colours_are_the_same_in_every_order_and_lossless_syntax(tmp_path: Path) -> None:
    planar = colours(RGB, PlanarConfiguration=1, PixelData=np.moveaxis(RGB, -1, 0).tobytes())
    same = [colours(RGB), planar]
    same += [
        coded_colours([RGB], syntax)
        for syntax in (uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.RLELossless)
    ]
    assert len({pixels_of(dataset, tmp_path) for dataset in same}) == 1
    swapped = colours(RGB[..., ::-1])
    assert pixels_of(swapped, tmp_path) != pixels_of(colours(RGB), tmp_path)


def test_frames_are_the_same_in_every_lossless_syntax_and_only_in_their_order(
    tmp_path: Path,
) -> None:
    frames = [RGB, RGB[::-1].copy(), RGB // 2]
    uncompressed = pixels_of(colours(np.stack(frames)), tmp_path)
    for syntax in (uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.RLELossless):
        assert pixels_of(coded_colours(frames, syntax), tmp_path) == uncompressed
    assert pixels_of(colours(np.stack(frames[::-1])), tmp_path) != uncompressed
    missing = coded_colours(frames[:2], uid.JPEGLSLossless)
    missing.NumberOfFrames = 3
    with pytest.raises(Unreadable):
        pixels_of(missing, tmp_path)


def test_an_object_without_pixel_data_has_no_pixels_to_compare(tmp_path: Path) -> None:
    report = mammogram(VALUES)
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated"):
        delattr(report, keyword)
    assert pixels_of(report, tmp_path) == ""
    for keyword in KEYWORDS_READ:
        if keyword in report:
            delattr(report, keyword)
    path = saved(report, tmp_path)
    assert pixel_digest(path) == encoded_digest(path) == ""


def test_float_pixel_data_are_compared_as_they_are(tmp_path: Path) -> None:
    def floats(values: Values, keyword: str = "FloatPixelData") -> Dataset:
        dataset = mammogram(VALUES)
        del dataset.PixelData
        setattr(dataset, keyword, values.tobytes())
        return dataset

    values = VALUES.astype("<f4") / 7
    found = pixels_of(floats(values), tmp_path)
    big = floats(values.astype(">f4"))
    big.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    assert pixels_of(big, tmp_path) == found
    assert pixels_of(floats(values + 1), tmp_path) != found
    assert pixels_of(floats(values.astype("<f8"), "DoubleFloatPixelData"), tmp_path) != found
    with pytest.raises(Unreadable, match="no integers"):
        open_image(saved(floats(values), tmp_path))


def test_what_cannot_be_decoded_cannot_be_compared(tmp_path: Path) -> None:
    video = compressed(VALUES, uid.JPEGLosslessSV1)
    video.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    cut = compressed(VALUES, uid.JPEGLSLossless, encoded(VALUES, uid.JPEGLSLossless)[:40])
    subsampled = colours(
        RGB, PhotometricInterpretation="YBR_FULL_422", PixelData=RGB.tobytes()[::3]
    )
    bits = mammogram(VALUES, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=bytes(20))
    for dataset in (video, cut, subsampled, bits, mammogram(VALUES, PixelData=b"\0\0")):
        with pytest.raises(Unreadable):
            pixels_of(dataset, tmp_path)


def test_the_same_encoded_pixels_are_the_same_even_if_nobody_can_decode_them(
    tmp_path: Path,
) -> None:
    def encoded_of(dataset: Dataset) -> str:
        return encoded_digest(saved(dataset, tmp_path))

    video = compressed(VALUES, uid.JPEGLosslessSV1)
    video.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    corrected = compressed(VALUES, uid.JPEGLosslessSV1)
    corrected.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    corrected.PatientName, corrected.WindowCenter = "Smith^Ann", 99
    assert encoded_of(video) == encoded_of(corrected)
    bits = mammogram(VALUES, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=bytes(20))
    others = [video, bits, compressed(VALUES, uid.JPEGLosslessSV1), mammogram(VALUES)]
    others += [mammogram(VALUES, **{keyword: 8}) for keyword in LAYOUT if "Photo" not in keyword]
    assert len({encoded_of(dataset) for dataset in others}) == len(others)
    report = mammogram(VALUES)
    del report.PixelData
    assert encoded_of(report) == ""


@given(st.data())
@settings(max_examples=examples(150))
def test_whatever_byte_is_wrong_pixels_are_compared_or_unreadable(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    dataset = data.draw(st.sampled_from([colours(RGB), coded_colours([RGB, RGB], uid.RLELossless)]))
    content = bytearray(saved(dataset, folder).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "damaged.dcm"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        pixel_digest(path)
    except Unreadable as error:
        assert PATIENT not in str(error)


def test_digests_change_no_file(tmp_path: Path) -> None:
    path = saved(mammogram(VALUES), tmp_path)
    before = path.read_bytes()
    image_digest(path), pixel_digest(path)
    assert path.read_bytes() == before
    assert dcmread(path).PatientName == PATIENT
