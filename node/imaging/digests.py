"""What tells whether two objects show the same pixels: digests, encoded and decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.tag import BaseTag

from node.dicom import untrusted
from node.errors import ModelError
from node.imaging.decoding import JPEG_DCT, SampleLayout, frames_of, sample_layout
from node.imaging.source import (
    FLOAT_PIXEL_DATA,
    LAYOUT,
    PIXEL_DATA,
    TAGS,
    PixelSource,
    blaming_the_bytes,
    opened,
    tags_of,
)
from node.imaging.volume import slices_of


def image_digest(path: Path) -> str:
    """Return a SHA-256 of all that `open_image` depends on, and of nothing else.

    That is the encoded pixel data, their transfer syntax and KEYWORDS_READ: the same before
    and after a patient was corrected. Decodes nothing and keeps no pixels in memory. Raises
    Unreadable; OSError passes, because it says nothing about the object.
    """
    with opened(path) as source:
        return _digest_as_encoded(source, TAGS)


def slices_digest(path: Path) -> str:
    """Return a SHA-256 of all that a volume depends on that has slices of an object.

    That is what `image_digest` covers, and where each slice lies on which scale of signal. Raises
    StudyError where that cannot be told, and as `image_digest`.
    """
    digest = hashlib.sha256(image_digest(path).encode())
    for one in slices_of(path):
        plane = replace(one.plane, sop_uid="")
        digest.update(f"\n{astuple(plane)} {astuple(one.scale)}".encode())
    return digest.hexdigest()


def encoded_digest(path: Path) -> str:
    """Return a SHA-256 of the encoded pixel data and what tells their values, "" if there are none.

    Two objects with the same show the same pixels, even such as nobody here can decode; with
    another they may. Decodes nothing and keeps no pixels in memory. Raises Unreadable; OSError
    passes.
    """
    with opened(path) as source:
        return _digest_as_encoded(source, tags_of(LAYOUT)) if source.tag else ""


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
        with untrusted.quietly(), opened(path) as source:
            return _digest_of_values(source) if source.tag else ""
    except OSError as error:
        raise ModelError(f"the image file cannot be read ({error.strerror})") from error


def _digest_as_encoded(source: PixelSource, tags: Sequence[BaseTag]) -> str:
    digest = hashlib.sha256()
    with untrusted.quietly(), blaming_the_bytes("the header cannot be read"):
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


def _digest_of_values(source: PixelSource) -> str:
    digest = hashlib.sha256()
    with blaming_the_bytes("the header does not say how the pixels are stored"):
        if source.tag != PIXEL_DATA:
            return _digest_of_floats(source)
        layout = sample_layout(source.header)
        kind = _kind(source, layout)
    digest.update(f"{kind} {layout.frames} {layout.shape}\n".encode())
    number = np.dtype("<i4" if layout.stored <= 16 else "<i8")
    with blaming_the_bytes("pixel data cannot be decoded"):
        for steps in frames_of(source, layout):
            digest.update((steps.astype(number) + number.type(layout.lowest)).tobytes())
    return digest.hexdigest()


def _kind(source: PixelSource, layout: SampleLayout) -> str:
    """Return what decoded values mean: colour transforms of a codec are undone by its decoder."""
    written = str(source.header.PhotometricInterpretation)
    is_converted = written in ("YBR_RCT", "YBR_ICT") or source.syntax in JPEG_DCT
    return "RGB" if layout.samples == 3 and is_converted else written


def _digest_of_floats(source: PixelSource) -> str:
    """Cover Float and Double Float Pixel Data (7FE0,0008), (7FE0,0009), never compressed."""
    width = 4 if source.tag == FLOAT_PIXEL_DATA else 8
    order = "<" if source.syntax.is_little_endian else ">"
    header = source.header
    shape = (header.get("NumberOfFrames") or 1, header.Rows, header.Columns)
    values = np.frombuffer(source.content(), f"{order}f{width}").astype(f"<f{width}")
    return hashlib.sha256(f"float {shape}\n".encode() + values.tobytes()).hexdigest()
