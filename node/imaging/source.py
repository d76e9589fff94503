"""An object as far as an image depends on it: its attributes, and where its pixel data lie.

Whatever a file holds, a function here answers or raises Unreadable.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import Dataset, FileDataset, uid
from pydicom.datadict import dictionary_description, dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from node.dicom import untrusted
from node.dicom.part10 import open_part10
from node.dicom.structure import ITEM, SEQUENCE_END, UNDEFINED_LENGTH
from node.errors import Unreadable

LAYOUT = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
"""The attributes that say which values the pixel data hold."""


KEYWORDS_READ = (
    *LAYOUT,
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("ModalityLUTSequence", "LUTDescriptor", "LUTData", "RescaleIntercept", "RescaleSlope"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape"),
    *("PatientOrientation", "ImagerPixelSpacing", "EstimatedRadiographicMagnificationFactor"),
    *("PixelSpacing", "PixelSpacingCalibrationType"),
    *("ImageOrientationPatient", "ImagePositionPatient"),
    *("DistanceSourceToDetector", "DistanceSourceToPatient"),
)
"""The attributes that an image is made of, besides its pixel data; nothing here sees others.

`image_digest` covers them all. Who the patient is must not be among them.
"""


PIXEL_DATA, _DOUBLE_PIXEL_DATA, FLOAT_PIXEL_DATA = 0x7FE00010, 0x7FE00009, 0x7FE00008


_PIECE = 1 << 20


_LONGEST = 1 << 24
"""Bytes of an attribute; no lookup table comes near."""


def tags_of(keywords: Iterable[str]) -> tuple[BaseTag, ...]:
    """Return the tags of attributes."""
    return tuple(Tag(tag_for_keyword(keyword) or 0) for keyword in keywords)


OVERLAY_BIT_POSITIONS = tuple(Tag(0x6000 + 2 * n, 0x0102) for n in range(16))
"""Of overlays that lie in the pixel data (PS3.5 8.1.2, retired)."""


TAGS = tags_of(KEYWORDS_READ) + OVERLAY_BIT_POSITIONS


def blaming_the_bytes(reason: str) -> AbstractContextManager[None]:
    """Blame the bytes, unless the machine has no memory or cannot read the file."""
    return untrusted.failing_as(reason, MemoryError, OSError, level=logging.WARNING)


FileMark = tuple[int, ...]
"""Of a file: where its bytes are, how many, and since when."""


def mark_of(path: Path) -> FileMark:
    """Return what changes with the bytes of a file, which are replaced and never overwritten."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@dataclass(frozen=True, slots=True)
class PixelSource:
    """An object as far as an image depends on it."""

    header: FileDataset
    """KEYWORDS_READ, and the file meta information."""
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
        """The transfer syntax."""
        return uid.UID(untrusted.text(self.header.file_meta, "TransferSyntaxUID"))

    def pieces(self) -> Iterator[bytes]:
        """Return the encoded pixel data in pieces; of encapsulated ones the items (PS3.5 A.4)."""
        if not self.tag:
            raise Unreadable("no pixel data")
        self.file.seek(self.at)
        if self.length != UNDEFINED_LENGTH:
            yield from self._next(self.length)
            return
        while True:
            head = b"".join(self._next(8))
            group, element, length = struct.unpack("<HHL", head)
            if group << 16 | element == SEQUENCE_END:
                return
            if group << 16 | element != ITEM or length == UNDEFINED_LENGTH:
                raise Unreadable("pixel data are not divided into items as they must be")
            yield head
            yield from self._next(length)

    def chunks(self, size: int, places: Iterable[int]) -> Iterator[bytes]:
        """Return chunks of pixel data that are not encapsulated, by their places from 0."""
        for place in places:
            self.file.seek(self.at + place * size)
            chunk = self.file.read(size)
            if len(chunk) < size:
                raise Unreadable("pixel data ends early")
            yield chunk

    def pieces_from(self, start: int) -> Iterator[bytes]:
        """Return the rest, from a byte on, of pixel data that are not encapsulated."""
        self.file.seek(self.at + start)
        yield from self._next(self.length - start)

    def _next(self, length: int) -> Iterator[bytes]:
        while length:
            piece = self.file.read(min(length, _PIECE))
            if not piece:
                raise Unreadable("pixel data ends early")
            length -= len(piece)
            yield piece

    def content(self) -> bytes:
        """Return the encoded pixel data."""
        return b"".join(self.pieces())


@contextlib.contextmanager
def opened(path: Path) -> Iterator[PixelSource]:
    """Read what KEYWORDS_READ names, find the pixel data, and keep the file open for those."""
    with path.open("rb") as file:
        reason = "the file is damaged, or is not a DICOM object"
        with untrusted.quietly(), blaming_the_bytes(reason):
            source = _read(file)
        yield source


def _read(file: BufferedReader) -> PixelSource:
    opened = open_part10(file)
    header = opened.read_until_pixels(_LONGEST, TAGS)
    source = _found(header, opened.body)
    _drop_all_but_read(header)
    return source


def _found(header: FileDataset, file: BinaryIO) -> PixelSource:
    """Return where the pixel data are; pydicom stopped there, in the element's first byte."""
    head = file.read(8)
    if len(head) < 8:
        return PixelSource(header, file, 0, 0, 0)
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
    return PixelSource(header, file, tag, file.tell(), length, is_in_swapped_words)


def _drop_all_but_read(dataset: Dataset) -> None:
    for tag in list(dataset.keys()):
        if tag not in TAGS:
            del dataset[tag]


def number_of(dataset: Dataset, keyword: str) -> float | None:
    """Return the first number of a value that may hold none, one or several."""
    parts = values_of(dataset, keyword)
    return as_number(parts[0]) if parts else None


def stated_number(dataset: Dataset, keyword: str) -> float | None:
    """Return the number of what must not be passed over: None only if nothing is there.

    Raise Unreadable if something is there that is no number. Where several may be (VM 1-n) the
    first counts; where one may be, others must say the same.
    """
    parts = _stated(dataset, keyword)
    if not parts:
        return None
    if _is_for_one(keyword):
        parts = [part for part in parts if str(part).strip(" \0")]
    number, *others = (as_number(part) for part in parts)
    if number is None or (_is_for_one(keyword) and {*others} - {number}):
        raise not_understood(keyword)
    return number


def _is_for_one(keyword: str) -> bool:
    """Whether an attribute has one value (PS3.6, VM 1)."""
    return dictionary_VM(tag_for_keyword(keyword) or 0) == "1"


def stated_term(dataset: Dataset, keyword: str, *known: str) -> str:
    """Return which of the known terms is there, in letters and with blanks of any kind, or "".

    Raise Unreadable if it is another, or if several are there.
    """
    parts = _stated(dataset, keyword)
    terms = {"_".join(str(part).upper().split()) for part in parts if part != ""}
    if len(terms) > 1 or not terms.issubset(known):
        raise not_understood(keyword)
    return "".join(terms)


def not_understood(keyword: str) -> Unreadable:
    """Return that an attribute that decides how an image looks is there and says nothing."""
    return Unreadable(f"{name_of(keyword)} cannot be understood")


def name_of(keyword: str) -> str:
    """Return what an attribute is called in words."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return dictionary_description(tag)


_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)


_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)


def as_number(part: object) -> float | None:
    """Return a value as a number, None if it is none or not finite.

    A comma is read as the point it stands for, unless it may divide thousands, as in "1,300".
    """
    if isinstance(part, str):
        word = part.strip(" \0")
        if not _NUMBER.fullmatch(word) or _THOUSANDS.fullmatch(word):
            return None
        part = word.replace(",", ".")
    if not isinstance(part, (str, int, float)):
        return None
    try:
        number = float(part)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


_DECIMAL = rb" *[+-]?\d+(\.\d*)?([eE][+-]?\d+)? *"
_DECIMALS = re.compile(rb"%b(\\%b)*" % (_DECIMAL, _DECIMAL))


def plain_numbers(dataset: Dataset, keyword: str) -> list[float] | None:
    """Return the numbers of a value that is as it must be and not yet decoded, None of any other.

    They are those of `values_of`, for a tenth of the time, which every slice of a series takes.
    """
    tag = untrusted.known_tag(keyword)
    element: Any = dataset.get_item(tag, keep_deferred=True)
    if not isinstance(element, RawDataElement) or not element.value:
        return None
    vr, value = element.VR or dictionary_VR(tag), element.value
    if vr == "US" and len(value) == 2:
        return [float(int.from_bytes(value, "little" if element.is_little_endian else "big"))]
    if vr != "DS" or not _DECIMALS.fullmatch(value):
        return None
    numbers = [float(part) for part in value.split(b"\\")]
    return numbers if all(map(math.isfinite, numbers)) else None


def words_of(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of an attribute if all of them are texts, else none."""
    parts = values_of(dataset, keyword)
    return tuple(parts) if all(isinstance(part, str) for part in parts) else ()


def values_of(dataset: Dataset, keyword: str | BaseTag) -> list[Any]:
    """Return the values of an element; none if it is absent or pydicom cannot read it."""
    try:
        with untrusted.failing_as(f"{keyword} cannot be read"):
            value = dataset[keyword].value if keyword in dataset else None
    except Unreadable:
        return []
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple, MultiValue)) else [value]


def _stated(dataset: Dataset, keyword: str) -> list[Any]:
    """Return the values of an element, none if there is nothing in it but blanks.

    Raise Unreadable if pydicom cannot read what is there.
    """
    raw = dataset.get_item(keyword).value if keyword in dataset else None
    parts = values_of(dataset, keyword)
    if raw and not parts and not (isinstance(raw, bytes) and not raw.strip(b" \0\\")):
        raise not_understood(keyword)
    return parts if any(str(part).strip(" \0") for part in parts) else []
