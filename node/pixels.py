"""A DICOM file -> grey values, the network's input, and the way back to stored pixels.

Runs in the inference child. Whatever a file holds, `open_image` returns an image or raises
Unreadable; a decoder that crashes takes only the child with it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import imagecodecs
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset, dcmread, uid
from pydicom.encaps import get_frame
from pydicom.multival import MultiValue

from node import manifest
from node.errors import ModelError, StudyError, Unreadable
from node.study import Laterality, Picture

Float32 = NDArray[np.float32]
Points = NDArray[np.float64]
"""Shape (n, 2): (column, row) from the top left corner of the top left pixel."""

MOST_PIXELS = 200_000_000
"""More rows times columns than any detector has; refused before memory is asked for."""

_Value = TypeVar("_Value", bound=np.generic)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Image:
    """One decoded image: stored values, and what each of them looks like."""

    values: NDArray[np.uint16]
    """Shape (rows, columns); steps above the lowest value that can be stored."""
    stored_grey: Float32
    """For each value its grey, 0 (background) to 1 (brightest that can be stored)."""
    voi_grey: Float32
    """For each value its grey on a display, 0 (black) to 1 (white)."""
    patient_orientation: tuple[str, ...]
    """Patient Orientation (0020,0020): where rows and columns run to; may be empty."""
    spacing_mm: tuple[float, float] | None
    """Row and column spacing in the breast, None if the image does not tell."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.values.shape
        return rows, columns

    def grey(self, kind: Literal["voi", "stored"]) -> Float32:
        """Return grey values 0..1, brighter being denser and padding being 0."""
        table = self.voi_grey if kind == "voi" else self.stored_grey
        return table[self.values]

    @property
    def measured_spacing_mm(self) -> tuple[float, float]:
        """Return the spacing, or say that areas cannot be measured."""
        if self.spacing_mm is None:
            raise StudyError("has no usable detector pixel spacing, so no area can be measured")
        return self.spacing_mm


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a point of the network's input lies in the stored matrix, and back."""

    rows: int
    columns: int
    height: int
    """Rows of the network's input that the image fills; the rest is padding."""
    width: int
    is_mirrored: bool

    def to_stored(self, points: Points) -> Points:
        """Map points of the network's input to the stored matrix."""
        stored = points * (self.columns / self.width, self.rows / self.height)
        return self._mirrored(stored)

    def to_model(self, points: Points) -> Points:
        """Map points of the stored matrix to the network's input."""
        return self._mirrored(points) * (self.width / self.columns, self.height / self.rows)

    def pixel_area_mm2(self, spacing_mm: tuple[float, float]) -> float:
        """Return how much of the breast one pixel of the network's input covers."""
        row_mm, column_mm = spacing_mm
        return (row_mm * self.rows / self.height) * (column_mm * self.columns / self.width)

    def _mirrored(self, stored: Points) -> Points:
        if not self.is_mirrored:
            return stored
        return np.column_stack((self.columns - stored[:, 0], stored[:, 1]))


def open_image(path: Path) -> Image:
    """Read and decode one file, or raise Unreadable."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"the image file cannot be read ({error.strerror})") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of oddities it copes with
        with _failing_as("the file is damaged, or is not a DICOM object"):
            dataset = dcmread(io.BytesIO(content))
        return _image(dataset)


def prepare(
    image: Image, pixels: manifest.Pixels, laterality: Laterality | None
) -> tuple[Float32, Geometry]:
    """Return the network's input, shape (1, channels, height, width), and its geometry."""
    rows, columns = image.shape
    height, width = _fitted(rows, columns, pixels)
    is_mirrored = pixels.orientation == "chest wall left" and _is_chest_wall_right(
        image, laterality
    )
    grey = image.grey(pixels.grey)
    if is_mirrored:
        grey = np.ascontiguousarray(grey[:, ::-1])
    tensor = np.zeros((1, pixels.channels, pixels.height, pixels.width), np.float32)
    tensor[:, :, :height, :width] = _resized(grey, height, width)
    return tensor, Geometry(rows, columns, height, width, is_mirrored)


def picture(image: Image, max_side: int = 2048) -> Picture:
    """Return the image as a display shows it, its longer side at most `max_side` pixels."""
    rows, columns = image.shape
    scale = min(1.0, max_side / max(rows, columns))
    table = np.round(np.clip(image.voi_grey, 0, 1) * 255).astype(np.uint8)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    return Picture(grey=_resized(table[image.values], height, width), scale=scale)


def _fitted(rows: int, columns: int, pixels: manifest.Pixels) -> tuple[int, int]:
    if pixels.fit == "stretch":
        return pixels.height, pixels.width
    scale = min(pixels.height / rows, pixels.width / columns)
    return max(1, round(rows * scale)), max(1, round(columns * scale))


def _resized(grey: NDArray[_Value], height: int, width: int) -> NDArray[_Value]:
    """Resize with a filter as wide as the reduction: no aliasing, no overshoot."""
    if grey.shape == (height, width):
        return grey
    resized = PIL.Image.fromarray(grey).resize((width, height), PIL.Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=grey.dtype)


def _is_chest_wall_right(image: Image, laterality: Laterality | None) -> bool:
    """Return whether rows run to the back of the patient (PS3.3 C.7.6.1.1.1)."""
    ahead, down = (value[:1] for value in (*image.patient_orientation, "", "")[:2])
    if ahead in ("A", "P") and len(image.patient_orientation) == 2:
        return ahead == "P"
    if down in ("A", "P"):
        raise StudyError("image rotated: its columns, not its rows, run between front and back")
    if laterality is None or laterality is Laterality.BOTH:
        raise StudyError("neither orientation nor laterality tells where the chest wall is")
    return laterality is Laterality.RIGHT  # as acquired, unmirrored


# --- decoding ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _failing_as(reason: str) -> Iterator[None]:
    """Turn whatever foreign bytes make a reader raise into Unreadable, in these words."""
    try:
        yield
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - foreign bytes: anything may come out
        # The cause's text may quote the file, hence patient data: keep only its kind, in the log.
        log.warning("%s: %s", reason, type(error).__name__)
        raise Unreadable(reason) from None


@dataclass(frozen=True, slots=True)
class _Layout:
    """How samples lie in their containers (PS3.5 8.1.1)."""

    rows: int
    columns: int
    allocated: int
    stored: int
    high_bit: int
    is_signed: bool

    @property
    def lowest(self) -> int:
        return -(1 << (self.stored - 1)) if self.is_signed else 0

    @property
    def highest(self) -> int:
        return self.lowest + (1 << self.stored) - 1

    def steps(self, samples: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Turn right-aligned samples into steps above the lowest value that can be stored."""
        steps = samples & np.uint16((1 << self.stored) - 1)
        if self.is_signed:
            steps ^= np.uint16(1 << (self.stored - 1))  # two's complement to offset binary
        return steps


def _image(dataset: FileDataset) -> Image:
    with _failing_as("the header does not say how the pixels are stored"):
        layout = _layout(dataset)
    with _failing_as("pixel data cannot be decoded"):
        values = _values(dataset, layout)
    numbers = np.arange(layout.lowest, layout.highest + 1)
    with _failing_as("window or lookup table that cannot be displayed"):
        voi_grey = _displayed(numbers, dataset)
    stored_grey = (numbers - layout.lowest) / (len(numbers) - 1)
    is_inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    padding = _padding(dataset, layout)
    return Image(
        values=values,
        stored_grey=_finished(stored_grey, is_inverted, padding),
        voi_grey=_finished(voi_grey, is_inverted, padding),
        patient_orientation=_words(dataset, "PatientOrientation"),
        spacing_mm=_spacing_mm(dataset),
    )


def _layout(dataset: Dataset) -> _Layout:
    if "PixelData" not in dataset:
        raise Unreadable("no pixel data")
    if dataset.SamplesPerPixel != 1 or dataset.PhotometricInterpretation not in (
        "MONOCHROME1",
        "MONOCHROME2",
    ):
        raise Unreadable("colour image")
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise Unreadable("several frames in one object")
    layout = _Layout(
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        allocated=int(dataset.BitsAllocated),
        stored=int(dataset.BitsStored),
        high_bit=int(dataset.HighBit),
        is_signed=dataset.PixelRepresentation == 1,
    )
    if layout.rows < 1 or layout.columns < 1:
        raise Unreadable("no rows or no columns")
    if layout.rows * layout.columns > MOST_PIXELS:
        raise Unreadable("the image is too large to be read")
    fits = 2 <= layout.stored <= layout.high_bit + 1 <= layout.allocated
    if layout.allocated not in (8, 16) or not fits:
        raise Unreadable(
            f"samples of {layout.stored} bits in {layout.allocated}, up to bit {layout.high_bit}, "
            "cannot be read; expected at most 16 bits"
        )
    return layout


def _values(dataset: FileDataset, layout: _Layout) -> NDArray[np.uint16]:
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        samples = _native(dataset.PixelData, layout, is_big_endian=not syntax.is_little_endian)
    else:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        is_rle = syntax == uid.RLELossless
        samples = _rle(frame, layout) if is_rle else _coded(frame, syntax, layout)
    return layout.steps(samples)


def _native(content: bytes, layout: _Layout, *, is_big_endian: bool) -> NDArray[np.uint16]:
    dtype = np.dtype(f"u{layout.allocated // 8}").newbyteorder(">" if is_big_endian else "<")
    expected = layout.rows * layout.columns * dtype.itemsize
    if not expected <= len(content) <= expected + 1:
        raise Unreadable(f"pixel data is {len(content)} bytes long, expected {expected}")
    return _aligned(np.frombuffer(content, dtype, count=layout.rows * layout.columns), layout)


def _rle(frame: bytes, layout: _Layout) -> NDArray[np.uint16]:
    """Decode PS3.5 Annex G; the header is checked here because the decoder trusts it."""
    header = np.frombuffer(frame[:64], "<u4")
    offsets = header[1 : 1 + layout.allocated // 8].astype(int)
    if (
        len(header) != 16
        or header[0] != layout.allocated // 8
        or offsets[0] != 64
        or np.any(np.diff([*offsets, len(frame)]) <= 0)
    ):
        raise Unreadable("pixel data has a damaged run-length header")
    dtype = np.dtype(f"<u{layout.allocated // 8}")
    content = imagecodecs.dicomrle_decode(frame, dtype)
    return _native(bytes(content), layout, is_big_endian=False)


def _aligned(samples: NDArray[Any], layout: _Layout) -> NDArray[np.uint16]:
    """Shift samples that do not end at bit 0 (High Bit above Bits Stored - 1)."""
    shift = layout.high_bit + 1 - layout.stored
    wide = samples.astype(np.uint16).reshape(layout.rows, layout.columns)
    return wide >> np.uint16(shift) if shift else wide


_DECODERS: dict[str, Callable[[bytes], NDArray[Any]]] = {
    uid.JPEGBaseline8Bit: imagecodecs.jpeg8_decode,
    uid.JPEGExtended12Bit: imagecodecs.jpeg8_decode,
    # Of three decoders for JPEG Lossless this one alone notices that the data ends early.
    uid.JPEGLossless: imagecodecs.jpegsof3_decode,
    uid.JPEGLosslessSV1: imagecodecs.jpegsof3_decode,
    uid.JPEGLSLossless: imagecodecs.jpegls_decode,
    uid.JPEGLSNearLossless: imagecodecs.jpegls_decode,
    uid.JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    uid.JPEG2000: imagecodecs.jpeg2k_decode,
}
END_OF_IMAGE = b"\xff\xd9"


def _coded(frame: bytes, syntax: uid.UID, layout: _Layout) -> NDArray[np.uint16]:
    """Decode the JPEG family, whose samples always end at bit 0."""
    decode = _DECODERS.get(syntax)
    if decode is None:
        raise Unreadable(f"pixel data is in {syntax.name}, which this node does not decode")
    if not frame.rstrip(b"\0").endswith(END_OF_IMAGE):
        raise Unreadable("pixel data ends early")
    samples = decode(frame)
    if samples.shape != (layout.rows, layout.columns):
        raise Unreadable("pixel data shows another size than Rows and Columns say")
    if samples.dtype == np.uint16 and samples.max() >> layout.stored and not layout.is_signed:
        raise Unreadable(f"pixel data holds values of more than {layout.stored} bits")
    return samples.astype(np.uint16)


# --- grey values ------------------------------------------------------------------------------


def _finished(grey: NDArray[np.floating[Any]], is_inverted: bool, padding: slice | None) -> Float32:
    """Make brighter mean denser, padding black, and everything lie in 0..1."""
    shown = np.clip(np.nan_to_num(grey), 0, 1)
    finished = np.asarray(1 - shown if is_inverted else shown, dtype=np.float32).copy()
    if padding is not None:
        finished[padding] = 0
    return finished


def _padding(dataset: Dataset, layout: _Layout) -> slice | None:
    """Return the steps from Pixel Padding Value to its Range Limit (PS3.3 C.7.5.1.1.2)."""
    value = _number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = _number(dataset, "PixelPaddingRangeLimit")
    first, last = sorted((int(value), int(value if limit is None else limit)))
    first, last = max(first, layout.lowest), min(last, layout.highest)
    return slice(first - layout.lowest, last - layout.lowest + 1) if first <= last else None


def _displayed(numbers: NDArray[np.int64], dataset: Dataset) -> NDArray[np.float64]:
    """Return the display's grey, 0..1, of each stored number: modality LUT, then VOI LUT."""
    real = _rescaled(numbers, dataset)
    if dataset.get("VOILUTSequence"):
        table = _lookup_table(dataset, "VOILUTSequence")
        return np.asarray(table.applied_to(real) / table.highest, dtype=np.float64)
    window = _window(dataset)
    if window is None:
        return np.asarray((real - real.min()) / max(float(np.ptp(real)), 1e-9))
    function = "".join(_words(dataset, "VOILUTFunction")[:1])
    return _windowed(real, *window, function or "LINEAR")


def _rescaled(numbers: NDArray[np.int64], dataset: Dataset) -> NDArray[np.float64]:
    """Apply the modality LUT, or Rescale Slope and Intercept (PS3.3 C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        return _lookup_table(dataset, "ModalityLUTSequence").applied_to(numbers.astype(float))
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if slope is None or intercept is None:
        return numbers.astype(np.float64)
    return np.asarray(numbers * slope + intercept, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _LookupTable:
    """A modality or VOI LUT (PS3.3 C.11.1.1.1, C.11.2.1.1)."""

    entries: NDArray[np.int64]
    first: int
    """The value that the first entry belongs to, 0..65535 as it was written."""
    bits: int

    @property
    def highest(self) -> int:
        return (1 << self.bits) - 1

    def applied_to(self, real: NDArray[np.float64]) -> NDArray[np.float64]:
        # Where values can be negative, the first one is signed whatever its VR says.
        is_negative = self.first > 0x7FFF and real.min() < 0
        first = self.first - 0x10000 if is_negative else self.first
        indices = np.clip(np.round(real) - first, 0, len(self.entries) - 1).astype(np.int64)
        return self.entries[indices].astype(np.float64)


def _lookup_table(dataset: Dataset, keyword: str) -> _LookupTable:
    """Read the first table of a sequence; its entries may be words, or bytes two to a word."""
    item = dataset[keyword].value[0]
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count = count % 0x10000 or 0x10000
    content = item.LUTData
    if isinstance(content, bytes):
        is_big_endian = dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian
        words = np.frombuffer(content, ">u2" if is_big_endian else "<u2")
    else:
        words = np.atleast_1d(np.asarray(content, dtype=np.int64)).astype("<u2")
    is_in_bytes = bits == 8 and len(words) == (count + 1) // 2
    entries = np.frombuffer(words.astype("<u2").tobytes(), "u1") if is_in_bytes else words
    if not 1 <= count <= len(entries) or not 8 <= bits <= 16:
        raise ValueError("descriptor and table do not agree")
    return _LookupTable(entries[:count].astype(np.int64), first % 0x10000, bits)


def _window(dataset: Dataset) -> tuple[float, float] | None:
    """Return the first window's centre and width."""
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    return None if centre is None or width is None else (centre, width)


def _windowed(
    real: NDArray[np.float64], centre: float, width: float, function: str
) -> NDArray[np.float64]:
    """Apply a window as PS3.3 C.11.2.1.2 and C.11.2.1.3 write it, to 0..1."""
    if width < (function == "LINEAR"):
        raise Unreadable("window that cannot be displayed")
    if function == "SIGMOID":
        exponent = -4 * (real - centre) / max(width, 1e-9)
        return np.asarray(1 / (1 + np.exp(np.clip(exponent, -700, 700))))
    if function == "LINEAR_EXACT":
        return np.clip((real - centre) / max(width, 1e-9) + 0.5, 0, 1)
    if width == 1:
        return np.where(real <= centre - 0.5, 0.0, 1.0)
    return np.clip((real - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


# --- the rest of the header -------------------------------------------------------------------


def _spacing_mm(dataset: Dataset) -> tuple[float, float] | None:
    """Return row and column spacing at the breast: the detector's over the magnification.

    Pixel Spacing (0028,0030) counts only where there is no Imager Pixel Spacing (0018,1164);
    it too is the detector's, unless a calibration type (0028,0A02) says it has been corrected.
    """
    at_detector = _pair(dataset, "ImagerPixelSpacing")
    if at_detector is None:
        at_detector = _pair(dataset, "PixelSpacing")
        if at_detector is None or _is_calibrated(dataset):
            return at_detector
    factor = _number(dataset, "EstimatedRadiographicMagnificationFactor")
    magnification = factor if factor is not None and factor > 0 else 1.0
    return at_detector[0] / magnification, at_detector[1] / magnification


def _is_calibrated(dataset: Dataset) -> bool:
    return _words(dataset, "PixelSpacingCalibrationType")[:1] in (("GEOMETRY",), ("FIDUCIAL",))


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """Return two lengths, None unless there are two and both can be."""
    numbers = [_as_number(part) for part in _parts(dataset, keyword)]
    if len(numbers) != 2:
        return None
    row, column = (number or 0.0 for number in numbers)
    return (row, column) if row > 0 and column > 0 else None


def _number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first number of a value that may hold none, one or several."""
    parts = _parts(dataset, keyword)
    return _as_number(parts[0]) if parts else None


def _as_number(part: object) -> float | None:
    if not isinstance(part, (str, int, float)):
        return None
    try:
        number = float(part)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _words(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    parts = _parts(dataset, keyword)
    return tuple(parts) if all(isinstance(part, str) for part in parts) else ()


def _parts(dataset: Dataset, keyword: str) -> list[Any]:
    """Return the values of an element; none if it is absent or pydicom cannot read it."""
    try:
        value = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - foreign bytes: an element that nobody can read is unknown
        return []
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple, MultiValue)) else [value]
