"""Captures compressed without loss on their way to who takes them so: a fraction of the bytes.

What is stored, recorded and kept is never compressed: an object is the same, by its SOP Instance
UID and in each of its values, in whatever transfer syntax it travels (PS3.5 10). What has been
encoded is decoded again and compared before it leaves. Deflated, it is all of the object that is
compressed (PS3.5 A.5), and its pixels stay as they are within.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from node.config import CompressedBy
from node.dicom.untrusted import failing_as
from node.errors import Unreadable

RgbPixels = NDArray[np.uint8]
"""Rows x columns x 3, red, green and blue."""


class _Codec(NamedTuple):
    syntax: UID
    photometric_interpretation: str
    """What an RGB image is called in it (PS3.5 8.2)."""
    encode: Callable[[RgbPixels], bytes | bytearray]
    decode: Callable[[bytes, RgbPixels], RgbPixels]


def _rle_encoded(pixels: RgbPixels) -> bytes | bytearray:
    rows, columns, samples = pixels.shape
    return get_encoder(RLELossless).encode(
        pixels,
        rows=rows,
        columns=columns,
        samples_per_pixel=samples,
        number_of_frames=1,
        bits_allocated=8,
        bits_stored=8,
        pixel_representation=0,
        photometric_interpretation="RGB",
        planar_configuration=0,
        encoding_plugin="pydicom",
    )


def _rle_decoded(code: bytes, like: RgbPixels) -> RgbPixels:
    rows, columns, samples = like.shape
    content = imagecodecs.dicomrle_decode(code, np.dtype(np.uint8))
    planes = np.frombuffer(content, np.uint8, like.size).reshape(samples, rows, columns)
    return planes.transpose(1, 2, 0)


_CODECS: Mapping[CompressedBy, _Codec] = {
    "jpeg-ls": _Codec(
        JPEGLSLossless,
        "RGB",
        lambda pixels: imagecodecs.jpegls_encode(pixels, level=0),
        lambda code, _: np.asarray(imagecodecs.jpegls_decode(code), np.uint8),
    ),
    "jpeg-2000": _Codec(
        JPEG2000Lossless,
        "YBR_RCT",
        lambda pixels: imagecodecs.jpeg2k_encode(
            pixels, level=0, reversible=True, mct=True, codecformat="j2k"
        ),
        lambda code, _: np.asarray(imagecodecs.jpeg2k_decode(code), np.uint8),
    ),
    "rle": _Codec(RLELossless, "RGB", _rle_encoded, _rle_decoded),
}


def syntax_of(name: CompressedBy) -> str:
    """Return the transfer syntax of a way to compress."""
    return str(DeflatedExplicitVRLittleEndian if name == "deflate" else _CODECS[name].syntax)


def is_compressible(sop_class: str, syntax: str) -> bool:
    """Whether it is a capture as the node writes them."""
    return sop_class == SecondaryCaptureImageStorage and syntax == ExplicitVRLittleEndian


def write_compressed(path: Path, name: CompressedBy, target: BinaryIO) -> None:
    """Write a capture compressed, all else as it is; raise Unreadable if it cannot be."""
    if name == "deflate":
        _write_deflated(path, target)
    else:
        _write_encoded(path, _CODECS[name], target)


def _write_deflated(path: Path, target: BinaryIO) -> None:
    with failing_as("the capture cannot be deflated", OSError, MemoryError):
        dataset = dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        written = BytesIO()
        dcmwrite(written, dataset, enforce_file_format=True)
        written.seek(0)
        if dcmread(written) != dataset:
            raise Unreadable("the deflated capture is another one")
        target.write(written.getbuffer())


def _write_encoded(path: Path, codec: _Codec, target: BinaryIO) -> None:
    with failing_as("the capture cannot be compressed", OSError, MemoryError):
        dataset = dcmread(path)
        if (dataset.PhotometricInterpretation, dataset.BitsAllocated) != ("RGB", 8):
            raise Unreadable("the capture is not of red, green and blue")
        if dataset.PlanarConfiguration != 0:
            raise Unreadable("the capture has its colours apart")
        shape = dataset.Rows, dataset.Columns, 3
        pixels = np.frombuffer(dataset.PixelData, np.uint8, np.prod(shape)).reshape(shape)
        code = bytes(codec.encode(pixels))
        if not np.array_equal(codec.decode(code, pixels), pixels):
            raise Unreadable("the compressed capture has other pixels")
        dataset.PixelData = encapsulate([code])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.PhotometricInterpretation = codec.photometric_interpretation
        dataset.file_meta.TransferSyntaxUID = codec.syntax
        dcmwrite(target, dataset, enforce_file_format=True)
