"""Mammograms whose pixels, display or size contradict themselves: one function for each oddity.

Each takes a Part 10 file in Explicit VR Little Endian, 12 bits in 16, and returns an odd one. The
first line of its docstring says in words what is odd.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset, dcmread, dcmwrite, uid
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate
from pydicom.tag import Tag


def _changed(content: bytes, change: Callable[[FileDataset], None]) -> bytes:
    dataset = dcmread(io.BytesIO(content))
    change(dataset)
    written = io.BytesIO()
    dcmwrite(written, dataset, enforce_file_format=True)
    return written.getvalue()


def _written(content: bytes, **values: str) -> bytes:
    """Write values as these characters, whatever their VR allows; "" makes an attribute empty."""

    def change(dataset: FileDataset) -> None:
        for keyword, value in values.items():
            tag = Tag(tag_for_keyword(keyword) or 0)
            raw = value.encode() + b" " * (len(value) % 2)
            vr = dictionary_VR(tag)
            dataset[tag] = RawDataElement(tag, vr, len(raw), raw, 0, False, True)

    return _changed(content, change)


def _values_of(dataset: Dataset) -> NDArray[np.uint16]:
    values = np.frombuffer(dataset.PixelData, "<u2")
    return values.reshape(dataset.Rows, dataset.Columns)


def _coded(content: bytes, code: bytes, syntax: uid.UID, **changes: Any) -> bytes:
    def change(dataset: FileDataset) -> None:
        dataset.PixelData = encapsulate([code])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)

    return _changed(content, change)


def _pixels(content: bytes) -> NDArray[np.uint16]:
    return _values_of(dcmread(io.BytesIO(content)))


# More bits than Bits Stored


def jpeg_extended_of_12_bits_under_10(content: bytes) -> bytes:
    """Lossy JPEG of 12 bits, Bits Stored says 10."""
    code = imagecodecs.jpeg8_encode(_pixels(content), level=95, bitspersample=12)
    syntax = uid.JPEGExtended12Bit
    return _coded(content, bytes(code), syntax, BitsStored=10, HighBit=9)


def jpeg_2000_of_12_bits_under_10(content: bytes) -> bytes:
    """Lossy JPEG 2000 of 12 bits, Bits Stored says 10."""
    code = imagecodecs.jpeg2k_encode(
        _pixels(content), level=60, codecformat="j2k", bitspersample=12
    )
    return _coded(content, bytes(code), uid.JPEG2000, BitsStored=10, HighBit=9)


def bytes_behind_the_end_of_a_code(content: bytes) -> bytes:
    """Lossless JPEG with bytes behind its end."""
    code = imagecodecs.jpeg8_encode(_pixels(content), lossless=True, predictor=1, bitspersample=12)
    return _coded(content, bytes(code) + b"\x12\x34\x56\x78", uid.JPEGLosslessSV1)


# How it is displayed


def window_center_with_a_comma(content: bytes) -> bytes:
    """Window Center 2048,5."""
    return _written(content, WindowCenter="2048,5", WindowWidth="4096")


def window_center_of_two_readings(content: bytes) -> bytes:
    """Window Center 1,300, which may be 1300 or 1.3."""
    return _written(content, WindowCenter="1,300", WindowWidth="4096")


def window_center_without_width(content: bytes) -> bytes:
    """Window Center without Window Width."""
    return _written(content, WindowCenter="2048", WindowWidth="")


def window_of_no_width(content: bytes) -> bytes:
    """Window Width 0 with VOI LUT Function SIGMOID."""
    return _written(content, WindowCenter="2048", WindowWidth="0", VOILUTFunction="SIGMOID")


def voi_lut_function_in_small_letters(content: bytes) -> bytes:
    """VOI LUT Function sigmoid."""
    return _written(content, WindowCenter="2048", WindowWidth="4096", VOILUTFunction="sigmoid")


def voi_lut_function_nobody_knows(content: bytes) -> bytes:
    """VOI LUT Function LOGISTIC."""
    return _written(content, VOILUTFunction="LOGISTIC")


def rescale_slope_that_is_none(content: bytes) -> bytes:
    """Rescale Slope NaN."""
    return _written(content, RescaleSlope="NaN")


def shape_that_contradicts_the_interpretation(content: bytes) -> bytes:
    """Presentation LUT Shape INVERSE with MONOCHROME2."""
    return _written(content, PresentationLUTShape="INVERSE")


def window_beside_the_values(content: bytes) -> bytes:
    """A window that shows the brightest values alone."""
    return _written(content, WindowCenter="2500", WindowWidth="800")


def padding_that_covers_the_breast(content: bytes) -> bytes:
    """Pixel Padding Range Limit above most of the breast."""

    def change(dataset: FileDataset) -> None:
        dataset.add_new("PixelPaddingValue", "US", 0)
        dataset.add_new("PixelPaddingRangeLimit", "US", 2500)

    return _changed(content, change)


def high_bit_that_hides_values(content: bytes) -> bytes:
    """High Bit 15 over 12 bits that end at bit 11."""

    def change(dataset: FileDataset) -> None:
        dataset.HighBit = 15

    return _changed(content, change)


def _with_table(content: bytes, bits: int, highest: int) -> bytes:
    def change(dataset: FileDataset) -> None:
        table = Dataset()
        table.add_new("LUTDescriptor", "US", [4096, 0, bits])
        entries = np.round(np.linspace(0, highest, 4096)).astype("<u2")
        table.add_new("LUTData", "OW", entries.tobytes())
        dataset.VOILUTSequence = [table]

    return _changed(content, change)


def lookup_table_of_fewer_bits(content: bytes) -> bytes:
    """A VOI LUT of 8 bits that says 16."""
    return _with_table(content, 16, 255)


def lookup_table_of_more_bits(content: bytes) -> bytes:
    """A VOI LUT of 12 bits that says 8."""
    return _with_table(content, 8, 4095)


# How large it is


def _geometry(content: bytes, factor: str, to_detector: str, to_patient: str) -> bytes:
    return _written(
        content,
        EstimatedRadiographicMagnificationFactor=factor,
        DistanceSourceToDetector=to_detector,
        DistanceSourceToPatient=to_patient,
    )


def magnification_by_distances_alone(content: bytes) -> bytes:
    """Magnified by 1.07 as the distances of the source say, without a factor."""
    return _geometry(content, "", "700", "653")


def distances_of_a_stand_beside_a_factor_of_1(content: bytes) -> bytes:
    """Magnification factor 1, distances of the source that make 1.8."""
    return _geometry(content, "1", "660", "367")


def distances_that_cannot_be(content: bytes) -> bytes:
    """Without a factor, the patient behind the detector."""
    return _geometry(content, "", "660", "900")


ODD_IMAGING: tuple[tuple[int, Callable[[bytes], bytes], str], ...] = (
    (2, jpeg_extended_of_12_bits_under_10, "pixel data holds values of more than 10 bits"),
    (2, jpeg_2000_of_12_bits_under_10, "pixel data holds values of more than 10 bits"),
    (4, window_center_with_a_comma, ""),
    (4, window_center_of_two_readings, "Window Center cannot be understood"),
    (4, window_center_without_width, "Window Center without Window Width"),
    (4, window_of_no_width, "Window Width of 0, which nothing can be displayed with"),
    (4, voi_lut_function_in_small_letters, ""),
    (4, voi_lut_function_nobody_knows, "VOI LUT Function cannot be understood"),
    (4, rescale_slope_that_is_none, "Rescale Slope cannot be understood"),
    (
        4,
        shape_that_contradicts_the_interpretation,
        "Presentation LUT Shape INVERSE contradicts MONOCHROME2",
    ),
    (4, window_beside_the_values, "its window, VOI LUT or padding makes"),
    (4, padding_that_covers_the_breast, "its window, VOI LUT or padding makes"),
    (4, high_bit_that_hides_values, "pixel data holds bits below those that High Bit 15"),
    (4, lookup_table_of_fewer_bits, "VOI LUT Sequence said to be of 16 bits, but of 8"),
    (4, lookup_table_of_more_bits, "VOI LUT Sequence said to be of 8 bits, but of 12"),
    (5, magnification_by_distances_alone, ""),
    (
        5,
        distances_of_a_stand_beside_a_factor_of_1,
        "magnification factor and distances of the source contradict each other",
    ),
    (
        5,
        distances_that_cannot_be,
        "distances of the source that cannot be right, so no area can be measured",
    ),
    (13, bytes_behind_the_end_of_a_code, ""),
)
"""Number, maker, and the words that the image is refused with, "" if it is analysed."""
