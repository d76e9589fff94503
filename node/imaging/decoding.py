"""Pixel data -> samples.

Decoding runs in the inference child: a decoder that crashes takes only the child with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, uid
from pydicom.encaps import generate_frames

from node.errors import Unreadable
from node.imaging.source import OVERLAY_BIT_POSITIONS, PIXEL_DATA, PixelSource, values_of

MOST_PIXELS = 200_000_000
"""More rows times columns than any detector has; refused before memory is asked for."""


@dataclass(frozen=True, slots=True)
class SampleLayout:
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
        """Rows and columns, and samples if there are several."""
        return (self.rows, self.columns) + ((self.samples,) if self.samples > 1 else ())

    @property
    def lowest(self) -> int:
        """The lowest value that can be stored."""
        return -(1 << (self.stored - 1)) if self.is_signed else 0

    @property
    def highest(self) -> int:
        """The highest value that can be stored."""
        return self.lowest + (1 << self.stored) - 1

    @property
    def container(self) -> np.dtype[Any]:
        """The type of what samples are allocated in."""
        return np.dtype(f"u{self.allocated // 8}")

    @property
    def word(self) -> type[np.uint16 | np.uint32]:
        """The type that samples are worked with in."""
        return np.uint16 if self.allocated <= 16 else np.uint32

    def steps(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Turn right-aligned samples into steps above the lowest value that can be stored."""
        most = self.word((1 << self.stored) - 1)
        if not self.is_signed and samples.dtype == self.word and samples.max() <= most:
            return samples  # as nearly all are
        steps = samples & most
        if self.is_signed:
            steps ^= self.word(1 << (self.stored - 1))  # two's complement to offset binary
        return steps


def sample_layout(header: Dataset) -> SampleLayout:
    """Return how an object says its samples lie; raise Unreadable if they cannot lie so."""
    layout = SampleLayout(
        rows=int(header.Rows),
        columns=int(header.Columns),
        samples=int(header.SamplesPerPixel),
        frames=int(header.get("NumberOfFrames") or 1),
        is_planar=header.get("PlanarConfiguration") == 1,
        allocated=int(header.BitsAllocated),
        stored=int(header.BitsStored),
        high_bit=int(header.HighBit),
        is_signed=int(header.PixelRepresentation) == 1,
    )
    if layout.rows < 1 or layout.columns < 1 or layout.frames < 1:
        raise Unreadable("no rows or no columns")
    if layout.rows * layout.columns * layout.samples > MOST_PIXELS:
        raise Unreadable("the image is too large to be read")
    fits = 1 <= layout.stored <= layout.high_bit + 1 <= layout.allocated
    if layout.allocated not in (8, 16, 32) or layout.samples not in (1, 3) or not fits:
        raise Unreadable(unreadable_samples(layout))
    return layout


def unreadable_samples(layout: SampleLayout) -> str:
    """Say which samples are not read here."""
    return (
        f"samples of {layout.stored} bits in {layout.allocated}, up to bit {layout.high_bit}, "
        "cannot be read; expected at most 16 bits"
    )


def frames_of(source: PixelSource, layout: SampleLayout) -> Iterator[NDArray[Any]]:
    """Return frame by frame the steps above the lowest value that can be stored."""
    return map(layout.steps, samples_of(source, layout))


class _Every:
    """All frames."""

    def __contains__(self, number: object) -> bool:
        return True


def samples_of(
    source: PixelSource, layout: SampleLayout, wanted: Container[int] = _Every()
) -> Iterator[NDArray[Any]]:
    """Return frame by frame the samples, right-aligned, with whatever is above their bits.

    `wanted` are the numbers of frames, from 1; others are passed over without being decoded.
    """
    if source.tag != PIXEL_DATA:
        raise Unreadable("pixel data are no integers")
    syntax = source.header.file_meta.TransferSyntaxUID
    decoded = _compressed if syntax.is_encapsulated else _uncompressed
    return decoded(source, layout, wanted)


def require_no_more_bits(samples: NDArray[Any], layout: SampleLayout, header: Dataset) -> None:
    """Refuse samples that Bits Stored would cut: what is white would be shown black.

    Above them there may be an overlay that says so, or what is left of a sign.
    """
    if samples.dtype.kind == "u" and samples.max() < 1 << layout.stored:
        return  # nothing is above them
    above_it = range(layout.high_bit + 1, layout.allocated)
    positions = _overlay_positions(header).intersection(above_it)
    overlays = sum(1 << position for position in positions)
    above = ~((1 << layout.stored) - 1) & ~(overlays >> (layout.high_bit + 1 - layout.stored))
    unused = above & ((1 << (8 * samples.itemsize)) - 1)
    beyond = samples & samples.dtype.type(unused)
    # The highest bit of a sample in a wider container may have been moved down.
    signs = (samples >> (layout.stored - 1)) & 1
    if beyond.any() and not (layout.is_signed and _are_signs(beyond, signs)):
        raise Unreadable(f"pixel data holds values of more than {layout.stored} bits")


def require_no_lower_bits(source: PixelSource, layout: SampleLayout) -> None:
    """Refuse samples that do not begin where High Bit and Bits Stored say: most would be hidden."""
    below = layout.high_bit + 1 - layout.stored
    syntax = source.header.file_meta.TransferSyntaxUID
    if not below or (syntax.is_encapsulated and syntax != uid.RLELossless):
        return  # samples of the JPEG family always end at bit 0
    (whole,) = samples_of(source, replace(layout, stored=layout.high_bit + 1))
    overlays = _overlay_positions(source.header)
    unused = sum(1 << position for position in range(below) if position not in overlays)
    if (whole & whole.dtype.type(unused)).any():
        raise Unreadable(
            f"pixel data holds bits below those that High Bit {layout.high_bit} and Bits Stored"
            f" {layout.stored} say"
        )


def _overlay_positions(header: Dataset) -> set[int]:
    said = chain.from_iterable(values_of(header, tag) for tag in OVERLAY_BIT_POSITIONS)
    return {n for n in said if isinstance(n, int)}


def _are_signs(beyond: NDArray[Any], signs: NDArray[Any]) -> bool:
    """Whether what is above the samples of negative numbers is all ones, and else nothing."""
    above = beyond[signs == 1]
    return not beyond[signs == 0].any() and bool(above.size) and bool((above == above.max()).all())


def _uncompressed(
    source: PixelSource, layout: SampleLayout, wanted: Container[int]
) -> Iterator[NDArray[Any]]:
    is_big_endian = not source.header.file_meta.TransferSyntaxUID.is_little_endian
    size = math.prod(layout.shape) * layout.container.itemsize
    expected = size * layout.frames
    if source.length < expected or not _is_padded(source, expected):
        raise Unreadable(f"pixel data is {source.length} bytes long, expected {expected}")
    places = [number - 1 for number in range(1, layout.frames + 1) if number in wanted]
    frames = source.chunks(size, places)
    if source.is_in_swapped_words and layout.allocated == 8:
        words = np.frombuffer(source.content(), ">u2").astype("<u2").tobytes()
        frames = (words[n * size : (n + 1) * size] for n in places)
    for frame in frames:
        yield _native(frame, layout, is_big_endian=is_big_endian)


def _is_padded(source: PixelSource, size: int) -> bool:
    """Whether nothing lies behind so many bytes but zeros, or one byte to make them even."""
    rest = source.length - size
    return rest <= 1 or not any(piece.strip(b"\0") for piece in source.pieces_from(size))


def _compressed(
    source: PixelSource, layout: SampleLayout, wanted: Container[int]
) -> Iterator[NDArray[Any]]:
    syntax = source.header.file_meta.TransferSyntaxUID
    count = 0
    for frame in generate_frames(source.content(), number_of_frames=layout.frames):
        count += 1
        if count in wanted:
            is_rle = syntax == uid.RLELossless
            yield _rle(frame, layout) if is_rle else _coded(frame, syntax, layout)
    if count != layout.frames:
        raise Unreadable(f"pixel data of {count} frames, expected {layout.frames}")


def _native(content: bytes, layout: SampleLayout, *, is_big_endian: bool) -> NDArray[Any]:
    dtype = layout.container.newbyteorder(">" if is_big_endian else "<")
    samples = np.frombuffer(content, dtype, count=math.prod(layout.shape))
    samples = samples.astype(layout.word, copy=False)
    shift = layout.high_bit + 1 - layout.stored
    if shift:  # samples that do not end at bit 0
        samples = np.right_shift(samples, shift)
    if not (layout.is_planar and layout.samples > 1):
        return samples.reshape(layout.shape)
    planes = samples.reshape(layout.samples, layout.rows, layout.columns)
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def _rle(frame: bytes, layout: SampleLayout) -> NDArray[Any]:
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


JPEG_DCT = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)


_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)


_LOSSY = (*JPEG_DCT, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)


_SEGMENT = re.compile(rb"\xff+([\x01-\xfe])")


_STANDALONE = bytes(range(0xD0, 0xD9)) + b"\x01"
"""Markers without a length: restarts, start of image (ITU-T T.81 B.1.1.3)."""


_SCAN_OF_JPEG_LS = re.compile(rb"\xff+[\x80-\xcf\xd8-\xfe]")
"""The same in JPEG-LS, where a byte behind 0xFF has its highest bit clear (ITU-T T.87 A.1)."""


def _end_of_jpeg(frame: bytes, end_of_scan: re.Pattern[bytes]) -> int:
    """Return where a JPEG code ends, whatever stands behind it, 0 if it does not."""
    at = 2
    while marker := _SEGMENT.match(frame, at):
        at = marker.end()
        if marker[1] == END_OF_IMAGE[1:]:
            return at
        if marker[1] in _STANDALONE:
            continue
        at += int.from_bytes(frame[at : at + 2], "big")
        if marker[1] == _START_OF_SCAN[1:]:
            end = end_of_scan.search(frame, at)
            at = end.start() if end else len(frame)
    return 0


_START_OF_TILE = b"\xff\x90"


def _end_of_jpeg_2000(frame: bytes) -> int:
    """Return where a JPEG 2000 code ends, 0 if it does not (ITU-T T.800 A.4)."""
    at = 2
    while (marker := frame[at : at + 2]) != _START_OF_TILE and marker[:1] == b"\xff":
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    while marker == _START_OF_TILE:
        length = int.from_bytes(frame[at + 6 : at + 10], "big")
        at = at + length if length else frame.rfind(END_OF_IMAGE)  # 0: as far as the code goes
        marker = frame[at : at + 2]
    return at + 2 if marker == END_OF_IMAGE else 0


def _without_tail(frame: bytes, syntax: uid.UID) -> bytes:
    """Return a code without bytes behind its end, which belong to nothing.

    The end is looked for only where the frame does not end with it, padded as encoders pad:
    there the lengths in a code decide nothing.
    """
    if frame.rstrip(b"\0\xff").endswith(END_OF_IMAGE):
        return frame
    if syntax in _JPEG_LS:
        end = _end_of_jpeg(frame, _SCAN_OF_JPEG_LS)
    elif _DECODERS[syntax] is _jpeg:
        end = _end_of_jpeg(frame, _END_OF_SCAN)
    else:
        end = _end_of_jpeg_2000(frame)
    if not end:
        raise Unreadable("pixel data ends early")
    return frame[:end]


def _coded(frame: bytes, syntax: uid.UID, layout: SampleLayout) -> NDArray[Any]:
    """Decode the JPEG family, whose samples always end at bit 0."""
    decode = _DECODERS.get(syntax)
    if decode is None:
        raise Unreadable(f"pixel data is in {syntax.name}, which this node does not decode")
    code = _without_tail(frame, syntax)
    samples = decode(code)
    if samples.shape != layout.shape:
        raise Unreadable("pixel data shows another size than Rows and Columns say")
    return _fitting(samples, layout, code, syntax).astype(layout.word)


_OVERSHOOT = 0.02
"""Share of the range by which a lossy code may go beyond it, rightly, and anywhere: it rounds."""


_RINGING, _RINGING_SHARE = 1 / 8, 0.001
"""Beside sharp edges, such as those of letters, it may go further: so far, in so many pixels.
A label on a mammogram in JPEG of quality 50 goes 6 % too far, in 0.02 % of the pixels; of quality
20 12 %, in 0.05 %. Values of one bit more than there should be go up to 100 % too far."""


def _fitting(
    samples: NDArray[Any], layout: SampleLayout, code: bytes, syntax: uid.UID
) -> NDArray[Any]:
    """Return decoded samples that fit into Bits Stored, or refuse them.

    Clipped is only what a lossy code makes of values that did fit: what is more was never said by
    Bits Stored, and would be shown white. Where the signs disagree, `require_no_more_bits` looks.
    """
    is_signed = samples.dtype.kind == "i"
    if is_signed and not layout.is_signed and samples.min() < 0:
        raise Unreadable("pixel data holds negative values, which Pixel Representation excludes")
    if layout.is_signed and not is_signed:
        return samples
    lowest, highest = layout.lowest, layout.highest
    if lowest <= samples.min() and samples.max() <= highest:
        return samples
    numbers = samples.astype(np.int32)
    beyond = np.maximum(numbers - highest, lowest - numbers)
    if syntax not in _LOSSY or not _is_overshoot(beyond, layout, _near(code, syntax)):
        raise Unreadable(f"pixel data holds values of more than {layout.stored} bits")
    return np.asarray(np.clip(samples, lowest, highest))


def _is_overshoot(beyond: NDArray[np.int32], layout: SampleLayout, near: int | None) -> bool:
    """Whether a lossy code can have made this of values that fit."""
    if near is not None:
        return int(beyond.max()) <= near
    span = 1 << layout.stored
    is_ringing = beyond > _OVERSHOOT * span
    return bool(beyond.max() <= _RINGING * span and is_ringing.mean() <= _RINGING_SHARE)


def _near(code: bytes, syntax: uid.UID) -> int | None:
    """Return how far JPEG-LS says its values are off at most (ITU-T T.87 C.2.3), None of others."""
    if syntax not in _JPEG_LS:
        return None
    at = code.index(_START_OF_SCAN) + 4  # behind marker and length: components, NEAR
    return code[at + 1 + 2 * code[at]]
