"""How the elements of a data set lie in its file (PS3.5 7), and what of it contradicts itself.

pydicom reads on where lengths do not fit, takes the last of two elements, and reads items out of
what is none. Here lengths are believed, or the object is damaged: what a wrong one covers would be
lost without a word. As lenient as DCMTK and pydicom are where there is one reading: elements out
of order, odd lengths, a delimiter at the end of a stated length, sequences written as UN, items in
Implicit VR within Explicit VR.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from pydicom.datadict import (
    dictionary_description,
    dictionary_has_tag,
    dictionary_VR,
    keyword_dict,
)
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from node.errors import Unreadable

DEEPEST_SEQUENCE = 64
"""Sequences in one another: no object has a tenth of it, and a reader's stack ends somewhere."""

MOST_ATTRIBUTES = 1 << 16
"""Of a data set, or of an item; no object has a tenth of it, and zeros read as attributes without
end."""
MOST_IN_ALL = 1 << 21
"""With those of all items: three thousand frames have a tenth of it, and each takes its time."""

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED_LENGTH = 0xFFFFFFFF
ANY_PIXEL_DATA = frozenset({0x7FE00010, 0x7FE00009, 0x7FE00008})
_LAST_OF_PIXELS = max(ANY_PIXEL_DATA)
_META_GROUP, _DELIMITERS, _PADDING = 0x0002, 0xFFFE, 0xFFFC
_KNOWN = frozenset(keyword_dict.values())
KNOWN_TAGS = {tag: BaseTag(tag) for tag in _KNOWN}
"""Those of the dictionary as pydicom has them: the same ones each time, which are found sooner."""
SEQUENCES = frozenset(tag for tag in _KNOWN if dictionary_VR(tag) == "SQ")
"""By the dictionary."""
_VRS_WITH_ITEMS = frozenset({b"SQ", b"UN", b""})
"""In Implicit VR there is none; PS3.5 6.2.2 lets UN hold a sequence."""
LONG_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
"""Those with a length of four bytes behind two reserved ones (PS3.5 7.1.2)."""
_TEXT_VRS = frozenset(
    {
        *("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN"),
        *("SH", "ST", "TM", "UC", "UI", "UR", "UT"),
    }
)
"""What is padded with blanks or zeros, which say nothing (PS3.5 6.2)."""
LONGEST_HEAD = 12
_LONGEST_BLANK = 64
"""Bytes of a sequence that some fill with blanks instead of leaving it empty."""
_LONGEST_PADDED = 1 << 10
"""Bytes of a value that is the same as another with less padding."""
_WINDOW_BYTES = 1 << 16
_PIECE_BYTES = 1 << 20

TagPath = tuple[int, ...]
"""The tag of an element, and before it those of the sequences that it lies in."""


ElementHead = tuple[int, bytes, int, int]
"""Tag, VR (b"" if none is written), length of the value, size of what is before it."""


class Order:
    """How numbers before a value are read."""

    def __init__(self, *, is_little_endian: bool) -> None:
        sign = "<" if is_little_endian else ">"
        self.implicit = struct.Struct(f"{sign}HHL")
        self.explicit = struct.Struct(f"{sign}HH2sH")
        self.length = struct.Struct(f"{sign}L")
        self.item = self.implicit.pack(ITEM >> 16, ITEM & 0xFFFF, 0)[:4]

    def head(self, content: bytes, at: int, *, is_implicit: bool) -> ElementHead:
        """Read what comes before a value."""
        return self.implicit_head(content, at) if is_implicit else self.explicit_head(content, at)

    def explicit_head(self, content: bytes, at: int) -> ElementHead:
        """Read it as pydicom does: what cannot be a VR is a length in Implicit VR."""
        group, element, vr, length = self.explicit.unpack_from(content, at)
        size = 8
        if vr in LONG_VRS:
            size, (length,) = LONGEST_HEAD, self.length.unpack_from(content, at + 8)
        elif not b"AA" <= vr <= b"ZZ":
            vr, (length,) = b"", self.length.unpack_from(content, at + 4)
        return group << 16 | element, vr, length, size

    def implicit_head(self, content: bytes, at: int) -> ElementHead:
        """Read it where no VR is written."""
        group, element, length = self.implicit.unpack_from(content, at)
        return group << 16 | element, b"", length, 8


@dataclass(frozen=True, slots=True)
class Structure:
    """What contradicts itself in how elements lie: nothing, in nearly every object."""

    twice: tuple[TagPath, ...] = ()
    """Elements that one data set, or one item, holds twice, with different values."""
    not_items: tuple[TagPath, ...] = ()
    """Sequences that hold something else than items."""
    not_values: tuple[TagPath, ...] = ()
    """Elements that hold items, and should hold a value."""
    late: tuple[TagPath, ...] = ()
    """Elements that stand behind the pixel data and not before, where they belong."""
    counts_at: Mapping[int, int] = field(default_factory=dict)
    """Where that lies which counts, by tag: the first of two, and what is late."""

    def contradictions(self, tags: frozenset[int]) -> Iterator[str]:
        """Yield in words what these attributes, or what lies in them, contradict themselves in."""
        for paths, words in (
            (self.twice, "states {} twice, with different values"),
            (self.not_items, "states {} as something else than items"),
            (self.not_values, "states {} as items, not as a value"),
            (self.late, "states {} behind the pixel data"),
        ):
            for path in paths:
                if path[0] in tags:
                    yield words.format(" of ".join(map(_name, reversed(path))))


def structure_between(
    file: BinaryIO, begins_at: int, ends_at: int, order: Order, *, is_implicit: bool
) -> Structure:
    """Look at the elements that lie there in a file, those behind the pixel data too.

    Raises Unreadable if an element, an item or a sequence ends elsewhere than it says.
    """
    walk = Walk(file, order, ends_at, is_implicit=is_implicit)
    walk.elements(begins_at)
    return walk.structure


def holds_items(element: DataElement | RawDataElement) -> bool:
    """Return whether an element is a sequence: of items, or empty."""
    if not isinstance(element, RawDataElement):
        return isinstance(element.value, Sequence)
    order = LITTLE_ENDIAN if element.is_little_endian else BIG_ENDIAN
    return not element.value or element.value[:4] == order.item


LITTLE_ENDIAN, BIG_ENDIAN = Order(is_little_endian=True), Order(is_little_endian=False)


class _Place(NamedTuple):
    """Where an element lies."""

    at: int
    value_at: int
    end: int
    vr: bytes
    """b"" if none is written."""

    @property
    def length(self) -> int:
        """Of the value."""
        return self.end - self.value_at


class _Level(NamedTuple):
    """A data set, or an item."""

    ends_at: int
    """At the latest."""
    is_implicit: bool
    path: TagPath = ()
    """Of the sequence it is an item of."""
    is_delimited: bool = False
    """Whether a delimiter says where it ends."""


class Walk:
    """One walk over the elements of a data set."""

    def __init__(self, file: BinaryIO, order: Order, ends_at: int, *, is_implicit: bool) -> None:
        self.count = 0
        """Of all elements so far, those of items too."""
        self.twice: dict[TagPath, None] = {}
        self.not_items: list[TagPath] = []
        self.not_values: list[TagPath] = []
        self.late: list[int] = []
        self.counts_at: dict[int, int] = {}
        self._file, self._order = file, order
        self._window, self._window_at = b"", 0
        self._whole = _Level(ends_at, is_implicit)

    @property
    def structure(self) -> Structure:
        """What has been seen so far."""
        return Structure(
            twice=tuple(self.twice),
            not_items=tuple(self.not_items),
            not_values=tuple(self.not_values),
            late=tuple((tag,) for tag in self.late),
            counts_at=self.counts_at,
        )

    def elements(self, at: int) -> None:
        """Look at element by element from there on."""
        self._elements(at, self._whole)

    def end_of(self, head: ElementHead, at: int) -> int:
        """Look at one element that is in no sequence; return where it ends."""
        return self._end_of_value(head, at + head[3], self._whole)

    def _elements(self, at: int, level: _Level) -> int:
        """Look at element by element; return where they end."""
        found: dict[int, tuple[int, int, int, bytes]] = {}
        ends_at, is_implicit, path, _ = level
        is_behind_pixels = False
        while ends_at - at >= 8:
            head = self._head(at, is_implicit=is_implicit)
            tag, vr, _, size = head
            value_at = at + size
            if is_behind_pixels and tag == 0 and self._is_blank(at, ends_at):
                return ends_at
            if tag >> 16 == _DELIMITERS and (tag != SEQUENCE_END or path):
                return self._delimited(tag, value_at, level)
            end = self._end_of_value(head, value_at, level)
            if tag in found:
                here = _Place(at, value_at, end, vr)
                self._compare(_Place(*found[tag]), here, (*path, tag))
            else:
                found[tag] = at, value_at, end, vr
                self._require_not_too_many(found)
                if is_behind_pixels and tag < _LAST_OF_PIXELS:
                    self.late.append(tag)
                    self.counts_at[tag] = at
            is_behind_pixels |= tag in ANY_PIXEL_DATA and not path
            at = end
        if level.is_delimited or (level.path and at != level.ends_at):
            raise _damaged(level.path, "an item of it does not end where it says")
        return at

    def _delimited(self, tag: int, value_at: int, level: _Level) -> int:
        """Return where a level ends, at a delimiter that belongs there."""
        if not level.path:
            raise Unreadable("the object holds the begin or end of an item outside of a sequence")
        if tag != ITEM_END or not (level.is_delimited or value_at == level.ends_at):
            raise _damaged(level.path, "an item of it does not end where it says")
        return value_at

    def _end_of_value(self, head: ElementHead, value_at: int, level: _Level) -> int:
        tag, vr, length, _ = head
        if length == UNDEFINED_LENGTH:
            return self._undefined(tag, vr, value_at, level)
        end = value_at + length
        if end > level.ends_at:
            if not level.path and tag in ANY_PIXEL_DATA:
                raise Unreadable("pixel data ends early")
            if not level.path:
                raise Unreadable("the object ends in the middle of an attribute")
            raise _damaged(level.path, f"{_name(tag)} goes beyond the end of an item of it")
        if length and (vr == b"SQ" or tag in SEQUENCES):
            self._stated(tag, vr, (value_at, end), level)
        return end

    def _stated(self, tag: int, vr: bytes, value: tuple[int, int], level: _Level) -> None:
        """Look into a sequence of stated length, if it is one."""
        path = (*level.path, tag)
        at, end = value
        if vr not in _VRS_WITH_ITEMS or self._bytes(at, min(4, end - at)) != self._order.item:
            if self._bytes(at, min(_LONGEST_BLANK, end - at)).strip(b" \0"):
                self.not_items.append(path)
            return
        if tag in _KNOWN and tag not in SEQUENCES:
            self.not_values.append(path)
        self._items(at, _Level(end, level.is_implicit, path), holds_elements=True)

    def _undefined(self, tag: int, vr: bytes, at: int, level: _Level) -> int:
        """Return the end of what a delimiter ends: a sequence, or the fragments of a value."""
        is_unknown = tag not in _KNOWN
        is_sequence = tag not in ANY_PIXEL_DATA and (
            vr in (b"SQ", b"UN") or (not vr and (is_unknown or tag in SEQUENCES))
        )
        path = (*level.path, tag)
        if is_sequence and not is_unknown and tag not in SEQUENCES:
            self.not_values.append(path)
        inner = _Level(level.ends_at, level.is_implicit, path, is_delimited=True)
        return self._items(at, inner, holds_elements=is_sequence)

    def _items(self, at: int, sequence: _Level, *, holds_elements: bool) -> int:
        """Look at item by item; return where they end."""
        if len(sequence.path) > DEEPEST_SEQUENCE:
            raise Unreadable(f"sequences lie in one another more than {DEEPEST_SEQUENCE} deep")
        while sequence.ends_at - at >= 8:
            tag, length = self._item_head(at, is_of_fragment=not holds_elements)
            at += 8
            if tag == SEQUENCE_END and (sequence.is_delimited or at == sequence.ends_at):
                return at
            if tag != ITEM:
                raise _damaged(sequence.path, "something else than its items lies in it")
            at = self._item(at, length, sequence, holds_elements=holds_elements)
        if sequence.is_delimited or at != sequence.ends_at:
            raise _damaged(sequence.path, "its items do not end where it says")
        return at

    def _item_head(self, at: int, *, is_of_fragment: bool) -> tuple[int, int]:
        """Read tag and length of an item; fragments are long: no window is moved for them."""
        if not is_of_fragment:
            tag, _, length, _ = self._head(at, is_implicit=True)
            return tag, length
        group, element, length = self._order.implicit.unpack(self._value(at, at + 8))
        return group << 16 | element, length

    def _item(self, at: int, length: int, sequence: _Level, *, holds_elements: bool) -> int:
        is_delimited = length == UNDEFINED_LENGTH
        end = sequence.ends_at if is_delimited else at + length
        if end > sequence.ends_at or (is_delimited and not holds_elements):
            raise _damaged(sequence.path, "an item of it goes beyond its end")
        if not holds_elements:
            return end
        vr = self._bytes(at + 4, 2)
        is_implicit = sequence.is_implicit or not is_explicit_vr(vr)
        return self._elements(at, _Level(end, is_implicit, sequence.path, is_delimited))

    def _require_not_too_many(self, found: Sized) -> None:
        self.count += 1
        if len(found) > MOST_ATTRIBUTES:
            raise Unreadable(f"the object has more than {MOST_ATTRIBUTES} attributes in one place")
        if self.count > MOST_IN_ALL:
            raise Unreadable(f"the object has more than {MOST_IN_ALL} attributes")

    def _compare(self, first: _Place, second: _Place, path: TagPath) -> None:
        """Remember an element that is there twice with different values."""
        tag = path[-1]
        if tag & 0xFFFF == 0 or tag >> 16 in (_META_GROUP, _PADDING):  # group lengths, ignored
            return
        if path in self.twice or self._is_same(tag, first, second):
            return
        self.twice[path] = None
        if len(path) == 1 and tag not in ANY_PIXEL_DATA:
            self.counts_at.setdefault(tag, first.at)

    def _is_same(self, tag: int, one: _Place, other: _Place) -> bool:
        if max(one.length, other.length) <= _LONGEST_PADDED and is_text(tag, one.vr):
            first, second = (self._value(p.value_at, p.end).rstrip(b" \0") for p in (one, other))
            return first == second
        if one.length != other.length:
            return False
        return all(
            self._value(one.value_at + step, min(one.value_at + step + _PIECE_BYTES, one.end))
            == self._value(
                other.value_at + step, min(other.value_at + step + _PIECE_BYTES, other.end)
            )
            for step in range(0, one.length, _PIECE_BYTES)
        )

    def _is_blank(self, at: int, end: int) -> bool:
        pieces = (
            self._value(start, min(start + _PIECE_BYTES, end))
            for start in range(at, end, _PIECE_BYTES)
        )
        return not any(piece.strip(b"\0") for piece in pieces)

    def _value(self, at: int, end: int) -> bytes:
        self._file.seek(at)
        return self._file.read(end - at)

    def _head(self, at: int, *, is_implicit: bool) -> ElementHead:
        offset = at - self._window_at
        if not 0 <= offset <= len(self._window) - LONGEST_HEAD:
            offset = self._look_at(at)
        read = self._order.implicit_head if is_implicit else self._order.explicit_head
        return read(self._window, offset)

    def _bytes(self, at: int, size: int) -> bytes:
        offset = at - self._window_at
        if not 0 <= offset <= len(self._window) - size:
            offset = self._look_at(at)
        return self._window[offset : offset + size]

    def window_from(self, at: int) -> bytes:
        """Return some bytes from there on, at least as many as a head has; behind the end zeros."""
        self._look_at(at)
        return self._window

    def _look_at(self, at: int) -> int:
        """Move the window; return where in it that byte is."""
        # What is missing at the end of the file reads as a length of zero, behind the end.
        self._window = self._value(at, at + _WINDOW_BYTES).ljust(LONGEST_HEAD, b"\0")
        self._window_at = at
        return 0


def is_text(tag: int, vr: bytes) -> bool:
    """Return whether a value is text, by its VR or, where none is written, the dictionary's."""
    if vr:
        return vr.decode("ascii", "replace") in _TEXT_VRS
    return tag in _KNOWN and dictionary_VR(tag) in _TEXT_VRS


def is_explicit_vr(vr: bytes) -> bool:
    """Return whether two bytes can be a VR: two capitals."""
    return len(vr) == 2 and vr.isalpha() and vr.isupper()


def _damaged(path: TagPath, words: str) -> Unreadable:
    return Unreadable(f"{_name(path[-1])} {Tag(path[-1])} is damaged: {words}")


def _name(tag: int) -> str:
    return dictionary_description(tag) if dictionary_has_tag(tag) else f"attribute {Tag(tag)}"
