"""The elements of a plain data set, taken down on the one walk that looks how they lie.

Nearly every object is plain: its elements come in order, in VRs that pydicom knows, and nothing
belongs elsewhere. What is read of one here is what pydicom's own reader makes of it, for a third of
the time; what is not plain is left to that reader.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple, cast

from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import (
    DataElement,
    RawDataElement,
    convert_raw_data_element,
    empty_value_for_VR,
)
from pydicom.filereader import ENCODED_VR, data_element_generator
from pydicom.tag import BaseTag
from pydicom.values import convert_string

from node.dicom.structure import (
    ANY_PIXEL_DATA,
    BIG_ENDIAN,
    KNOWN_TAGS,
    LITTLE_ENDIAN,
    LONGEST_HEAD,
    MOST_ATTRIBUTES,
    MOST_IN_ALL,
    SEQUENCES,
    UNDEFINED_LENGTH,
    Structure,
    Walk,
)

Characters = str | list[str]
"""Python encodings, as pydicom is given them."""
_FIRST_OF_ITEMS = 0xFFFE0000
"""Begins and ends of items, which belong in sequences."""
_CHARACTER_SET = BaseTag(0x00080005)
_MOST_ELEMENTS, _MOST_OF_ITEMS = MOST_ATTRIBUTES // 2, MOST_IN_ALL // 2
"""Half of what is refused. More are left to the other reader, which counts them all together."""
_VRS = {vr: vr.decode() for vr in ENCODED_VR}
_EMPTY = {
    vr: cast("bytes | None", empty_value_for_VR(vr, raw=True)) for vr in (*_VRS.values(), None)
}
"""What pydicom takes an empty value for, by VR; by None where none is written."""


_Elements = dict[BaseTag, RawDataElement | DataElement]


class Plain(NamedTuple):
    """A plain data set up to its pixel data."""

    elements: _Elements
    characters: Characters
    """By its Specific Character Set."""
    structure: Structure


class Where(NamedTuple):
    """Where a data set lies, and how it is written."""

    file: BinaryIO
    begins_at: int
    ends_at: int
    is_implicit: bool
    is_little_endian: bool


class NotPlainError(Exception):
    """Something in a data set is not as it is in nearly all."""


def read_plain(where: Where, defer_bytes: int) -> Plain:
    """Read a data set up to its pixel data. Longer values than `defer_bytes` stay on disk.

    Raises NotPlainError, or whatever comes of a damaged one.
    """
    if where.ends_at >= UNDEFINED_LENGTH:
        raise NotPlainError
    return _Reading(where, defer_bytes).all()


class _Reading:
    """One walk over a data set."""

    def __init__(self, where: Where, defer_bytes: int) -> None:
        self._where, self._defer_bytes = where, defer_bytes
        self._order = LITTLE_ENDIAN if where.is_little_endian else BIG_ENDIAN
        self._walk = Walk(where.file, self._order, where.ends_at, is_implicit=where.is_implicit)
        self._elements: _Elements = {}

    def all(self) -> Plain:
        """Take down what is before the pixel data, and look at those and what is behind."""
        self._walk.elements(self._before_pixels())
        count = len(self._elements)
        if self._walk.counts_at or count > _MOST_ELEMENTS or self._walk.count > _MOST_OF_ITEMS:
            raise NotPlainError
        return Plain(self._elements, self._characters[0], self._walk.structure)

    def _before_pixels(self) -> int:
        """Take down element by element; return where the pixel data begin, or all ends."""
        _, at, ends_at, is_implicit, is_little = self._where
        head = self._order.implicit_head if is_implicit else self._order.explicit_head
        elements, make = self._elements, RawDataElement._make
        defer_bytes = self._defer_bytes
        vrs = {b"": None} if is_implicit else _VRS
        window, window_at, last = b"", at, -1
        while ends_at - at >= 8:
            offset = at - window_at
            if offset + LONGEST_HEAD > len(window):
                window, window_at, offset = self._walk.window_from(at), at, 0
            tag, written, length, size = head(window, offset)
            if tag in ANY_PIXEL_DATA:
                break
            if not last < tag < _FIRST_OF_ITEMS or written not in vrs:
                raise NotPlainError
            last, vr, value_at = tag, vrs[written], at + size
            base_tag = KNOWN_TAGS.get(tag) or BaseTag(tag)
            at = value_at + length
            if at > ends_at or written == b"SQ" or tag in SEQUENCES:
                at = self._walk.end_of((tag, written, length, size), value_at - size)
            if length == UNDEFINED_LENGTH:
                elements[base_tag] = self._delimited(value_at - size)
                continue
            until = offset + size + length
            if 0 < length <= defer_bytes and until <= len(window):
                value: bytes | None = window[offset + size : until]
            else:
                value = self._value(tag, vr, value_at, length)
            elements[base_tag] = make(
                (base_tag, vr, length, value, value_at, is_implicit, is_little, True, False)
            )
        return at

    def _value(self, tag: int, vr: str | None, at: int, length: int) -> bytes | None:
        if length == 0:
            return _EMPTY[vr]
        if length > self._defer_bytes and tag != _CHARACTER_SET:
            return None
        self._where.file.seek(at)
        return self._where.file.read(length)

    def _delimited(self, at: int) -> RawDataElement | DataElement:
        """Let pydicom read an element whose end a delimiter tells."""
        file, _, _, is_implicit, is_little_endian = self._where
        file.seek(at)
        return next(
            data_element_generator(
                file,
                is_implicit,
                is_little_endian,
                defer_size=self._defer_bytes,
                encoding=self._characters[1],
            )
        )

    @property
    def _characters(self) -> tuple[Characters, Characters]:
        """The encodings, of all and of items, by what has been read so far."""
        element = self._elements.get(_CHARACTER_SET)
        if element is None:
            return default_encoding, default_encoding
        if not isinstance(element, RawDataElement) or element.VR not in ("CS", None):
            raise NotPlainError
        of_all, of_items = _characters_by(element.VR, element.value)
        return list(of_all), list(of_items)


@lru_cache(maxsize=64)
def _characters_by(vr: str | None, value: bytes | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the encodings of a data set and of items in it, as pydicom's reader finds them."""
    length = len(value or b"")
    raw = RawDataElement(_CHARACTER_SET, vr, length, value, 0, vr is None, is_little_endian=True)
    of_all = convert_encodings(cast("Any", convert_raw_data_element(raw).value))
    return tuple(of_all), tuple(convert_encodings(convert_string(value or b"", True)))
