"""A data set of explicit VR written anew in Implicit VR Little Endian, the default of DICOM.

Only structure changes: heads of elements, the lengths of what holds elements, the byte order of
numbers. The bytes of every other value stay as they are, right or wrong in their character set,
too long or of odd length; large ones are copied in pieces. What is left out: group lengths
(gggg,0000), which would have to change, and are retired (PS3.5 7.2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import BinaryIO

import numpy as np
from pydicom.valuerep import VR

from node.dicom.structure import (
    ANY_PIXEL_DATA,
    DEEPEST_SEQUENCE,
    ITEM,
    ITEM_END,
    LONG_VRS,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
)
from node.errors import Unreadable

_KNOWN = frozenset(str(vr).encode() for vr in VR if len(vr) == 2)
_WORD_BYTES = {
    **dict.fromkeys((b"AT", b"OW", b"SS", b"US"), 2),
    **dict.fromkeys((b"FL", b"OF", b"OL", b"SL", b"UL"), 4),
    **dict.fromkeys((b"FD", b"OD", b"OV", b"SV", b"UV"), 8),
}
"""What is swapped between byte orders (PS3.5 7.3); UN is always little endian (6.2.2)."""
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Form:
    """How the elements of a data set, or of an item, are encoded."""

    is_little_endian: bool
    is_implicit: bool | None = None
    """None: its first element tells. Some devices have items of implicit VR in explicit ones."""
    depth: int = 0


@dataclass(frozen=True, slots=True)
class _Head:
    tag: int
    vr: bytes
    length: int


def write_implicit(source: BinaryIO, target: BinaryIO, *, is_little_endian: bool) -> None:
    """Copy a data set, from where it begins to the end of its file, as Implicit VR Little Endian.

    Raises Unreadable if it is damaged.
    """
    if _copy_elements(source, target, _Form(is_little_endian)) is not None:
        raise Unreadable("an item ends that has not begun")


def _copy_elements(source: BinaryIO, target: BinaryIO, form: _Form) -> _Head | None:
    """Copy elements to the end of the source, or of the item; return the mark of that."""
    while head := _read_head(source, form):
        if head.tag == ITEM_END:
            return head
        if head.tag >> 16 == ITEM >> 16:
            raise Unreadable("an item or the end of a sequence stands where an attribute belongs")
        # What the first element tells holds for all beside it.
        form = replace(form, is_implicit=not head.vr)
        if form.is_implicit and not form.is_little_endian:
            raise Unreadable("it is said to be big endian, and has no VR to tell numbers by")
        _copy_element(source, target, head, form)
    return None


def _copy_element(source: BinaryIO, target: BinaryIO, head: _Head, form: _Form) -> None:
    if head.tag & 0xFFFF == 0:
        for _ in _pieces(source, head.length):
            pass
    elif head.length == UNDEFINED_LENGTH:
        _copy_undefined(source, target, head, form)
    elif head.vr == b"SQ":
        _copy_inside(source, target, head, form)
    else:
        _write_head(target, head.tag, head.length)
        _copy_value(source, target, head, form)


def _copy_undefined(source: BinaryIO, target: BinaryIO, head: _Head, form: _Form) -> None:
    if head.vr not in (b"SQ", b"UN", b"") or head.tag in ANY_PIXEL_DATA:
        raise Unreadable("its pixel data is in pieces, as compressed ones are")
    _write_head(target, head.tag, UNDEFINED_LENGTH)
    # PS3.5 6.2.2: a sequence of VR UN is implicit and little endian inside; not all keep to that.
    inner = replace(form, is_little_endian=True) if head.vr == b"UN" else form
    if _copy_items(source, target, _nested(inner)) is None:
        raise Unreadable("a sequence does not end")
    _write_head(target, SEQUENCE_END, 0)


def _copy_items(source: BinaryIO, target: BinaryIO, form: _Form) -> _Head | None:
    """Copy items to the end of the source, or of the sequence; return the mark of that."""
    while head := _read_head(source, form):
        if head.tag == SEQUENCE_END:
            return head
        if head.tag != ITEM:
            raise Unreadable("a sequence holds what is no item")
        if head.length == UNDEFINED_LENGTH:
            _write_head(target, ITEM, UNDEFINED_LENGTH)
            if _copy_elements(source, target, form) is None:
                raise Unreadable("an item does not end")
            _write_head(target, ITEM_END, 0)
        else:
            _copy_inside(source, target, head, form)
    return None


def _copy_inside(source: BinaryIO, target: BinaryIO, head: _Head, form: _Form) -> None:
    """Copy a sequence, or an item, of stated length: it may be another afterwards."""
    inside, copied = BytesIO(b"".join(_pieces(source, head.length))), BytesIO()
    if head.tag == ITEM:
        end = _copy_elements(inside, copied, form)
    else:
        end = _copy_items(inside, copied, _nested(form))
    if end is not None:
        raise Unreadable("a sequence or an item ends before its stated length")
    _write_head(target, head.tag, copied.tell())
    target.write(copied.getbuffer())


def _nested(form: _Form) -> _Form:
    if form.depth == DEEPEST_SEQUENCE:
        raise Unreadable("sequences are nested too deeply")
    return replace(form, is_implicit=form.is_implicit or None, depth=form.depth + 1)


def _copy_value(source: BinaryIO, target: BinaryIO, head: _Head, form: _Form) -> None:
    width = 1 if form.is_little_endian else _WORD_BYTES.get(head.vr, 1)
    if head.length % width:
        raise Unreadable("a value is no whole number of words")
    for piece in _pieces(source, head.length):
        target.write(piece if width == 1 else _swapped(piece, width))


def _swapped(piece: bytes, width: int) -> bytes:
    return np.frombuffer(piece, f"u{width}").byteswap().tobytes()


def _pieces(source: BinaryIO, length: int) -> Iterator[bytes]:
    """Read so many bytes; not more at once than there are, whatever the length says."""
    while length:
        piece = _exactly(source, min(length, _PIECE))
        length -= len(piece)
        yield piece


def _read_head(source: BinaryIO, form: _Form) -> _Head | None:
    """Read tag, VR and length; None at the end of the source."""
    order = "<" if form.is_little_endian else ">"
    begin = source.read(8)
    if not begin:
        return None
    begin += _exactly(source, 8 - len(begin))
    group, element, vr, short = struct.unpack(f"{order}HH2sH", begin)
    is_implicit = vr not in _KNOWN if form.is_implicit is None else form.is_implicit
    tag = group << 16 | element
    if is_implicit or group == ITEM >> 16:
        (length,) = struct.unpack(f"{order}I", begin[4:])
        return _Head(tag, b"", length)
    if vr not in _KNOWN:
        raise Unreadable("an attribute has a VR that does not exist")
    if vr in LONG_VRS:
        (length,) = struct.unpack(f"{order}I", _exactly(source, 4))
        return _Head(tag, vr, length)
    return _Head(tag, vr, short)


def _exactly(source: BinaryIO, length: int) -> bytes:
    found = source.read(length)
    if len(found) < length:
        raise Unreadable("it ends in the middle of an attribute")
    return found


def _write_head(target: BinaryIO, tag: int, length: int) -> None:
    target.write(struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length))
