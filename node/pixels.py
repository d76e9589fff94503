"""A DICOM file -> grey values, the network's input, and the way back to stored pixels.

Decoding runs in the inference child: a decoder that crashes takes only the child with it.
`image_digest` decodes nothing and runs anywhere. Whatever a file holds, a function here answers
or raises Unreadable.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import imagecodecs
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset, uid
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.encaps import generate_frames
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from node import manifest
from node.dicom import untrusted
from node.dicom.deflated import read_until_pixels
from node.errors import ModelError, StudyError, Unreadable
from node.study import LONGEST_SIDE_PX, Laterality, Picture

Float32 = NDArray[np.float32]
Points = NDArray[np.float64]
"""Shape (n, 2): (column, row) from the top left corner of the top left pixel."""

MOST_PIXELS = 200_000_000
"""More rows times columns than any detector has; refused before memory is asked for."""

LAYOUT = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
"""The attributes that say which values the pixel data hold."""
READ = (
    *LAYOUT,
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("ModalityLUTSequence", "LUTDescriptor", "LUTData", "RescaleIntercept", "RescaleSlope"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("PatientOrientation", "ImagerPixelSpacing", "EstimatedRadiographicMagnificationFactor"),
    *("PixelSpacing", "PixelSpacingCalibrationType"),
)
"""The attributes that an image is made of, besides its pixel data; nothing here sees others.

`image_digest` covers them all. Who the patient is must not be among them.
"""

_Value = TypeVar("_Value", bound=np.generic)


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
        with untrusted.quietly(), _opened(path) as source:
            return _image(source)
    except OSError as error:
        raise ModelError(f"the image file cannot be read ({error.strerror})") from error


def image_digest(path: Path) -> str:
    """Return a SHA-256 of all that `open_image` depends on, and of nothing else.

    That is the encoded pixel data, their transfer syntax and READ: the same before and after
    a patient was corrected. Decodes nothing and keeps no pixels in memory. Raises Unreadable;
    OSError passes, because it says nothing about the object.
    """
    with _opened(path) as source:
        return _digest_as_encoded(source, _TAGS)


def encoded_digest(path: Path) -> str:
    """Return a SHA-256 of the encoded pixel data and what tells their values, "" if there are none.

    Two objects with the same show the same pixels, even such as nobody here can decode; with
    another they may. Decodes nothing and keeps no pixels in memory. Raises Unreadable; OSError
    passes.
    """
    with _opened(path) as source:
        return _digest_as_encoded(source, _tags(LAYOUT)) if source.tag else ""


def pixel_digest(path: Path) -> str:
    """Return a SHA-256 of the decoded stored values, or "" if the object has no pixel data.

    The same image has the same in every lossless transfer syntax, byte order and container:
    it covers the values, their shape, and whether they are grey (from black or from white),
    colours or indices; not what Bits Allocated, High Bit, Planar Configuration and bits above
    Bits Stored are. Float Pixel Data are covered as they are. Raises Unreadable for what this
    node does not decode, such as video. What is elsewhere in an object, such as waveforms,
    encapsulated documents and overlays, belongs to its header.
    """
    try:
        with untrusted.quietly(), _opened(path) as source:
            return _digest_of_values(source) if source.tag else ""
    except OSError as error:
        raise ModelError(f"the image file cannot be read ({error.strerror})") from error


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


def picture(image: Image, max_side: int = LONGEST_SIDE_PX) -> Picture:
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


# --- reading ----------------------------------------------------------------------------------

_PIXEL_DATA, _DOUBLE_PIXEL_DATA, _FLOAT_PIXEL_DATA = 0x7FE00010, 0x7FE00009, 0x7FE00008
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_PIECE = 1 << 20
_LONGEST = 1 << 24
"""Bytes of an attribute; no lookup table comes near."""


def _tags(keywords: Iterable[str]) -> tuple[BaseTag, ...]:
    return tuple(Tag(tag_for_keyword(keyword) or 0) for keyword in keywords)


_OVERLAY_BIT_POSITIONS = tuple(Tag(0x6000 + 2 * n, 0x0102) for n in range(16))
"""Of overlays that lie in the pixel data (PS3.5 8.1.2, retired)."""
_TAGS = _tags(READ) + _OVERLAY_BIT_POSITIONS


def _failing_as(reason: str) -> AbstractContextManager[None]:
    """Blame the bytes, unless the machine has no memory or cannot read the file."""
    return untrusted.failing_as(reason, MemoryError, OSError, level=logging.WARNING)


@dataclass(frozen=True, slots=True)
class _Source:
    """An object as far as an image depends on it."""

    header: FileDataset
    """READ, and the file meta information."""
    file: BinaryIO
    """Holds the pixel data."""
    tag: int
    """Which pixel data there are, 0 if none."""
    at: int
    """Where their value begins."""
    length: int
    is_in_swapped_words: bool = False
    """Whether the bytes are those of words with the high byte first (big endian, OW)."""

    @property
    def syntax(self) -> uid.UID:
        return uid.UID(untrusted.text(self.header.file_meta, "TransferSyntaxUID"))

    def pieces(self) -> Iterator[bytes]:
        """Return the encoded pixel data in pieces; of encapsulated ones the items (PS3.5 A.4)."""
        if not self.tag:
            raise Unreadable("no pixel data")
        self.file.seek(self.at)
        if self.length != _UNDEFINED_LENGTH:
            yield from self._next(self.length)
            return
        while True:
            head = b"".join(self._next(8))
            group, element, length = struct.unpack("<HHL", head)
            if group << 16 | element == _SEQUENCE_END:
                return
            if group << 16 | element != _ITEM or length == _UNDEFINED_LENGTH:
                raise Unreadable("pixel data are not divided into items as they must be")
            yield head
            yield from self._next(length)

    def chunks(self, size: int, count: int) -> Iterator[bytes]:
        """Return so many chunks from the beginning of pixel data that are not encapsulated."""
        self.file.seek(self.at)
        for _ in range(count):
            yield b"".join(self._next(size))

    def _next(self, length: int) -> Iterator[bytes]:
        while length:
            piece = self.file.read(min(length, _PIECE))
            if not piece:
                raise Unreadable("pixel data ends early")
            length -= len(piece)
            yield piece

    def content(self) -> bytes:
        return b"".join(self.pieces())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    """Read what READ names, find the pixel data, and keep the file open for those."""
    with path.open("rb") as file:
        with untrusted.quietly(), _failing_as("the file is damaged, or is not a DICOM object"):
            source = _read(file)
        yield source


def _read(file: BufferedReader) -> _Source:
    header, body = read_until_pixels(file, _LONGEST, _TAGS)
    source = _found(header, body)
    _drop_all_but_read(header)
    return source


def _found(header: FileDataset, file: BinaryIO) -> _Source:
    """Return where the pixel data are; pydicom stopped there, in the element's first byte."""
    head = file.read(8)
    if len(head) < 8:
        return _Source(header, file, 0, 0, 0)
    raw = next((e for e in header.values() if isinstance(e, RawDataElement)), None)
    if raw is None:
        raise Unreadable("the header does not say how the pixels are stored")
    order = "<" if raw.is_little_endian else ">"
    group, element, length = struct.unpack(f"{order}HHL", head)
    if not raw.is_implicit_VR:
        if head[4:6] not in (b"OB", b"OW", b"OF", b"OD", b"UN"):
            raise Unreadable("pixel data of another kind than pixels are")
        (length,) = struct.unpack(f"{order}L", file.read(4))
    is_in_swapped_words = order == ">" and head[4:6] == b"OW"
    tag = group << 16 | element
    return _Source(header, file, tag, file.tell(), length, is_in_swapped_words)


def _drop_all_but_read(dataset: Dataset) -> None:
    for tag in list(dataset.keys()):
        if tag not in _TAGS:
            del dataset[tag]


def _digest_as_encoded(source: _Source, tags: Sequence[BaseTag]) -> str:
    digest = hashlib.sha256()
    with untrusted.quietly(), _failing_as("the header cannot be read"):
        digest.update(f"{source.syntax}\n".encode())
        if source.is_in_swapped_words:
            digest.update(b"OW\n")
        _add_header(digest, source.header, tags)
    for piece in source.pieces():
        digest.update(piece)
    return digest.hexdigest()


def _add_header(digest: hashlib._Hash, dataset: Dataset, tags: Sequence[BaseTag]) -> None:
    """Add these attributes, in sequences too, as they are encoded."""
    for tag in sorted(tag for tag in dataset.keys() if tag in tags):  # noqa: SIM118 - undecoded
        element = dataset.get_item(tag)
        vr = element.VR or dictionary_VR(tag)
        if vr == "SQ":
            items = list(dataset[tag].value or ())
            digest.update(f"{tag} {len(items)} items\n".encode())
            for item in items:
                _add_header(digest, item, tags)
            continue
        value = element.value
        encoded = value if isinstance(value, bytes) else str(value or "").encode()
        digest.update(f"{tag} {vr} {len(encoded)}\n".encode() + encoded)


# --- decoding ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Layout:
    """How samples lie in their containers (PS3.5 8.1.1)."""

    rows: int
    columns: int
    samples: int
    """Per pixel: 1 if grey, 3 if coloured."""
    frames: int
    is_planar: bool
    """Whether all red samples come before all green ones; only in what is not compressed."""
    allocated: int
    stored: int
    high_bit: int
    is_signed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows, self.columns) + ((self.samples,) if self.samples > 1 else ())

    @property
    def lowest(self) -> int:
        return -(1 << (self.stored - 1)) if self.is_signed else 0

    @property
    def highest(self) -> int:
        return self.lowest + (1 << self.stored) - 1

    @property
    def container(self) -> np.dtype[Any]:
        return np.dtype(f"u{self.allocated // 8}")

    @property
    def word(self) -> type[np.uint16 | np.uint32]:
        return np.uint16 if self.allocated <= 16 else np.uint32

    def steps(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Turn right-aligned samples into steps above the lowest value that can be stored."""
        steps = samples & self.word((1 << self.stored) - 1)
        if self.is_signed:
            steps ^= self.word(1 << (self.stored - 1))  # two's complement to offset binary
        return steps


def _image(source: _Source) -> Image:
    header = source.header
    with _failing_as("the header does not say how the pixels are stored"):
        if not source.tag:
            raise Unreadable("no pixel data")
        layout = _layout(header)
        _require_grey_image(header, layout)
    with _failing_as("pixel data cannot be decoded"):
        (samples,) = _samples(source, layout)
        _require_no_more_bits(samples, layout, header)
    numbers = np.arange(layout.lowest, layout.highest + 1)
    with _failing_as("window or lookup table that cannot be displayed"):
        voi_grey = _displayed(numbers, header)
    stored_grey = (numbers - layout.lowest) / (len(numbers) - 1)
    is_inverted = header.PhotometricInterpretation == "MONOCHROME1"
    padding = _padding(header, layout)
    return Image(
        values=layout.steps(samples),
        stored_grey=_finished(stored_grey, is_inverted, padding),
        voi_grey=_finished(voi_grey, is_inverted, padding),
        patient_orientation=_words(header, "PatientOrientation"),
        spacing_mm=spacing_mm(header),
    )


def _require_grey_image(header: Dataset, layout: _Layout) -> None:
    if layout.samples != 1 or header.PhotometricInterpretation not in (
        "MONOCHROME1",
        "MONOCHROME2",
    ):
        raise Unreadable("colour image")
    if layout.frames != 1:
        raise Unreadable("several frames in one object")
    if layout.allocated > 16 or layout.stored < 2:
        raise Unreadable(_unreadable_samples(layout))


def _layout(header: Dataset) -> _Layout:
    layout = _Layout(
        rows=int(header.Rows),
        columns=int(header.Columns),
        samples=int(header.SamplesPerPixel),
        frames=int(header.get("NumberOfFrames") or 1),
        is_planar=header.get("PlanarConfiguration") == 1,
        allocated=int(header.BitsAllocated),
        stored=int(header.BitsStored),
        high_bit=int(header.HighBit),
        is_signed=header.PixelRepresentation == 1,
    )
    if layout.rows < 1 or layout.columns < 1 or layout.frames < 1:
        raise Unreadable("no rows or no columns")
    if layout.rows * layout.columns * layout.samples > MOST_PIXELS:
        raise Unreadable("the image is too large to be read")
    fits = 1 <= layout.stored <= layout.high_bit + 1 <= layout.allocated
    if layout.allocated not in (8, 16, 32) or layout.samples not in (1, 3) or not fits:
        raise Unreadable(_unreadable_samples(layout))
    return layout


def _unreadable_samples(layout: _Layout) -> str:
    return (
        f"samples of {layout.stored} bits in {layout.allocated}, up to bit {layout.high_bit}, "
        "cannot be read; expected at most 16 bits"
    )


def _digest_of_values(source: _Source) -> str:
    digest = hashlib.sha256()
    with _failing_as("the header does not say how the pixels are stored"):
        if source.tag != _PIXEL_DATA:
            return _digest_of_floats(source)
        layout = _layout(source.header)
        kind = _kind(source, layout)
    digest.update(f"{kind} {layout.frames} {layout.shape}\n".encode())
    number = np.dtype("<i4" if layout.stored <= 16 else "<i8")
    with _failing_as("pixel data cannot be decoded"):
        for steps in _frames(source, layout):
            digest.update((steps.astype(number) + number.type(layout.lowest)).tobytes())
    return digest.hexdigest()


def _kind(source: _Source, layout: _Layout) -> str:
    """Return what decoded values mean: colour transforms of a codec are undone by its decoder."""
    written = str(source.header.PhotometricInterpretation)
    is_converted = written in ("YBR_RCT", "YBR_ICT") or source.syntax in _JPEG_DCT
    return "RGB" if layout.samples == 3 and is_converted else written


def _digest_of_floats(source: _Source) -> str:
    """Cover Float and Double Float Pixel Data (7FE0,0008), (7FE0,0009), never compressed."""
    width = 4 if source.tag == _FLOAT_PIXEL_DATA else 8
    order = "<" if source.syntax.is_little_endian else ">"
    header = source.header
    shape = (header.get("NumberOfFrames") or 1, header.Rows, header.Columns)
    values = np.frombuffer(source.content(), f"{order}f{width}").astype(f"<f{width}")
    return hashlib.sha256(f"float {shape}\n".encode() + values.tobytes()).hexdigest()


def _frames(source: _Source, layout: _Layout) -> Iterator[NDArray[Any]]:
    """Return frame by frame the steps above the lowest value that can be stored."""
    return map(layout.steps, _samples(source, layout))


def _samples(source: _Source, layout: _Layout) -> Iterator[NDArray[Any]]:
    """Return frame by frame the samples, right-aligned, with whatever is above their bits."""
    if source.tag != _PIXEL_DATA:
        raise Unreadable("pixel data are no integers")
    syntax = source.header.file_meta.TransferSyntaxUID
    decoded = _compressed if syntax.is_encapsulated else _uncompressed
    return decoded(source, layout)


def _require_no_more_bits(samples: NDArray[Any], layout: _Layout, header: Dataset) -> None:
    """Refuse samples that Bits Stored would cut: what is white would be shown black.

    Above them there may be an overlay that says so, or what is left of a sign.
    """
    said = chain.from_iterable(_parts(header, tag) for tag in _OVERLAY_BIT_POSITIONS)
    positions = {n for n in said if isinstance(n, int) and layout.high_bit < n < layout.allocated}
    overlays = sum(1 << position for position in positions)
    above = ~((1 << layout.stored) - 1) & ~(overlays >> (layout.high_bit + 1 - layout.stored))
    unused = above & ((1 << (8 * samples.itemsize)) - 1)
    beyond = samples & samples.dtype.type(unused)
    # The highest bit of a sample in a wider container may have been moved down.
    signs = (samples >> (layout.stored - 1)) & 1
    if beyond.any() and not (layout.is_signed and _are_signs(beyond, signs)):
        raise Unreadable(f"pixel data holds values of more than {layout.stored} bits")


def _are_signs(beyond: NDArray[Any], signs: NDArray[Any]) -> bool:
    """Whether what is above the samples of negative numbers is all ones, and else nothing."""
    above = beyond[signs == 1]
    return not beyond[signs == 0].any() and bool(above.size) and bool((above == above.max()).all())


def _uncompressed(source: _Source, layout: _Layout) -> Iterator[NDArray[Any]]:
    is_big_endian = not source.header.file_meta.TransferSyntaxUID.is_little_endian
    size = math.prod(layout.shape) * layout.container.itemsize
    expected = size * layout.frames
    if not expected <= source.length <= expected + 1:
        raise Unreadable(f"pixel data is {source.length} bytes long, expected {expected}")
    frames = source.chunks(size, layout.frames)
    if source.is_in_swapped_words and layout.allocated == 8:
        words = np.frombuffer(source.content(), ">u2").astype("<u2").tobytes()
        frames = (words[n * size : (n + 1) * size] for n in range(layout.frames))
    for frame in frames:
        yield _native(frame, layout, is_big_endian=is_big_endian)


def _compressed(source: _Source, layout: _Layout) -> Iterator[NDArray[Any]]:
    syntax = source.header.file_meta.TransferSyntaxUID
    count = 0
    for frame in generate_frames(source.content(), number_of_frames=layout.frames):
        yield _rle(frame, layout) if syntax == uid.RLELossless else _coded(frame, syntax, layout)
        count += 1
    if count != layout.frames:
        raise Unreadable(f"pixel data of {count} frames, expected {layout.frames}")


def _native(content: bytes, layout: _Layout, *, is_big_endian: bool) -> NDArray[Any]:
    dtype = layout.container.newbyteorder(">" if is_big_endian else "<")
    samples = np.frombuffer(content, dtype, count=math.prod(layout.shape)).astype(layout.word)
    shift = layout.high_bit + 1 - layout.stored
    if shift:  # samples that do not end at bit 0
        samples = np.right_shift(samples, shift)
    if not (layout.is_planar and layout.samples > 1):
        return samples.reshape(layout.shape)
    planes = samples.reshape(layout.samples, layout.rows, layout.columns)
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def _rle(frame: bytes, layout: _Layout) -> NDArray[Any]:
    """Decode PS3.5 Annex G; the header is checked here because the decoder trusts it."""
    segments = layout.allocated // 8 * layout.samples
    header = np.frombuffer(frame[:64], "<u4")
    offsets = header[1 : 1 + segments].astype(int)
    if (
        len(header) != 16
        or header[0] != segments
        or offsets[0] != 64
        or np.any(np.diff([*offsets, len(frame)]) <= 0)
    ):
        raise Unreadable("pixel data has a damaged run-length header")
    content = imagecodecs.dicomrle_decode(frame, layout.container.newbyteorder("<"))
    size = math.prod(layout.shape) * layout.container.itemsize
    if not size <= len(content) <= size + 1:
        raise Unreadable(f"pixel data is {len(content)} bytes long, expected {size}")
    return _native(bytes(content), replace(layout, is_planar=True), is_big_endian=False)


END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN = b"\xff\xda"
_END_OF_SCAN = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
"""A marker other than the restart markers that a scan may hold."""
_OTHER_CODE = bytes(range(0xFE, 6, -8))


def _jpeg(frame: bytes) -> NDArray[Any]:
    """Decode with libjpeg, and notice that data are missing, which it fills up without a word.

    It is asked a second time, with other data where those of the scan end: where all are there
    it never looks at them.
    """
    samples = imagecodecs.jpeg8_decode(frame)
    end = _END_OF_SCAN.search(frame, frame.rindex(_START_OF_SCAN) + len(_START_OF_SCAN))
    at = end.start() if end else len(frame)
    if not np.array_equal(samples, imagecodecs.jpeg8_decode(frame[:at] + _OTHER_CODE + frame[at:])):
        raise Unreadable("pixel data ends early")
    return samples


_DECODERS: dict[str, Callable[[bytes], NDArray[Any]]] = {
    uid.JPEGBaseline8Bit: _jpeg,
    uid.JPEGExtended12Bit: _jpeg,
    uid.JPEGLossless: _jpeg,
    uid.JPEGLosslessSV1: _jpeg,
    uid.JPEGLSLossless: imagecodecs.jpegls_decode,
    uid.JPEGLSNearLossless: imagecodecs.jpegls_decode,
    uid.JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    uid.JPEG2000: imagecodecs.jpeg2k_decode,
    # High throughput too: the decoder made for it does not notice that the data ends early.
    uid.HTJ2KLossless: imagecodecs.jpeg2k_decode,
    uid.HTJ2KLosslessRPCL: imagecodecs.jpeg2k_decode,
    uid.HTJ2K: imagecodecs.jpeg2k_decode,
}
_JPEG_DCT = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
_LOSSY = (*_JPEG_DCT, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)


def _coded(frame: bytes, syntax: uid.UID, layout: _Layout) -> NDArray[Any]:
    """Decode the JPEG family, whose samples always end at bit 0."""
    decode = _DECODERS.get(syntax)
    if decode is None:
        raise Unreadable(f"pixel data is in {syntax.name}, which this node does not decode")
    if not frame.rstrip(b"\0\xff").endswith(END_OF_IMAGE):  # padded as some encoders pad
        raise Unreadable("pixel data ends early")
    samples = decode(frame)
    if samples.shape != layout.shape:
        raise Unreadable("pixel data shows another size than Rows and Columns say")
    lowest, highest = layout.lowest, layout.highest
    if syntax in _LOSSY and (samples.dtype.kind == "i") == layout.is_signed:
        samples = np.clip(samples, lowest, highest)  # a lossy code may overshoot, rightly
    elif samples.dtype == np.uint16 and samples.max() > highest and not layout.is_signed:
        raise Unreadable(f"pixel data holds values of more than {layout.stored} bits")
    return samples.astype(layout.word)


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


_FINEST_MM, _LARGEST_MM = 0.001, 1000
"""Of a pixel, and of an image of a breast: beyond these the spacing is an error."""


def spacing_mm(dataset: Dataset) -> tuple[float, float] | None:
    """Return row and column spacing at the breast: the detector's over the magnification.

    None where there is none, or none that can be right.

    Pixel Spacing (0028,0030) counts only where there is no Imager Pixel Spacing (0018,1164);
    it too is the detector's, unless a calibration type (0028,0A02) says it has been corrected.
    """
    at_detector = _pair(dataset, "ImagerPixelSpacing")
    if at_detector is None:
        at_detector = _pair(dataset, "PixelSpacing")
        if at_detector is None or _is_calibrated(dataset):
            return _believed(at_detector, dataset)
    factor = _number(dataset, "EstimatedRadiographicMagnificationFactor")
    magnification = factor if factor is not None and factor > 0 else 1.0
    return _believed((at_detector[0] / magnification, at_detector[1] / magnification), dataset)


def _believed(spacing: tuple[float, float] | None, dataset: Dataset) -> tuple[float, float] | None:
    """Return the spacing, or None if nothing that is imaged is so small or so large."""
    if spacing is None or min(spacing) < _FINEST_MM:
        return None
    sizes = (_number(dataset, keyword) or 0 for keyword in ("Rows", "Columns"))
    is_too_large = any(size * mm > _LARGEST_MM for size, mm in zip(sizes, spacing, strict=True))
    return None if is_too_large else spacing


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


def _parts(dataset: Dataset, keyword: str | BaseTag) -> list[Any]:
    """Return the values of an element; none if it is absent or pydicom cannot read it."""
    try:
        with untrusted.failing_as(f"{keyword} cannot be read"):
            value = dataset[keyword].value if keyword in dataset else None
    except Unreadable:
        return []
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple, MultiValue)) else [value]
