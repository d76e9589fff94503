"""Implicit VR changes how elements are written down, and no value."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from node.dicom.implicit import write_implicit
from node.errors import Unreadable

UNDEFINED = 0xFFFFFFFF
LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SV", "UC", "UN", "UR", "UT", "UV")
WIDTHS = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
VRS = (*LONG, "AT", "CS", "DS", "FD", "FL", "IS", "LO", "PN", "SL", "SS", "UI", "UL", "US")


@dataclass(frozen=True)
class Items:
    """The value of a sequence."""

    items: tuple[tuple[Element, ...], ...]
    vr: str = "SQ"
    is_undefined: bool = False
    """Of its own length."""
    are_undefined: bool = False
    """Of the lengths of its items."""
    is_implicit: bool = False
    """Inside, whatever is around it."""


@dataclass(frozen=True)
class Element:
    """One element, whose numbers are as little endian has them."""

    tag: tuple[int, int]
    value: bytes | Items
    vr: str = "SQ"


def encoded(elements: tuple[Element, ...], order: str = "<", *, is_implicit: bool = False) -> bytes:
    """Write elements down, the plain way."""
    return b"".join(_encoded(element, order, is_implicit) for element in elements)


def _encoded(element: Element, order: str, is_implicit: bool) -> bytes:
    if isinstance(element.value, Items):
        content = _items(element.value, order, is_implicit)
        length = UNDEFINED if element.value.is_undefined else len(content)
    else:
        content = element.value
        width = WIDTHS.get(element.vr, 1)
        if order == ">" and width > 1:
            content = np.frombuffer(content, f"<u{width}").astype(f">u{width}").tobytes()
        length = len(content)
    tag = struct.pack(f"{order}HH", *element.tag)
    if is_implicit:
        return tag + struct.pack(f"{order}I", length) + content
    vr = element.value.vr if isinstance(element.value, Items) else element.vr
    if vr in (*LONG, "SQ"):
        return tag + struct.pack(f"{order}2sHI", vr.encode(), 0, length) + content
    return tag + struct.pack(f"{order}2sH", vr.encode(), length) + content


def _items(sequence: Items, order: str, is_implicit: bool) -> bytes:
    order = "<" if sequence.vr == "UN" else order
    found = b""
    for elements in sequence.items:
        item = encoded(elements, order, is_implicit=is_implicit or sequence.is_implicit)
        length = UNDEFINED if sequence.are_undefined else len(item)
        found += struct.pack(f"{order}HHI", 0xFFFE, 0xE000, length) + item
        if sequence.are_undefined:
            found += struct.pack(f"{order}HHI", 0xFFFE, 0xE00D, 0)
    if sequence.is_undefined:
        found += struct.pack(f"{order}HHI", 0xFFFE, 0xE0DD, 0)
    return found


def converted(content: bytes, *, is_little_endian: bool = True) -> bytes:
    target = BytesIO()
    write_implicit(BytesIO(content), target, is_little_endian=is_little_endian)
    return target.getvalue()


@st.composite
def plain_elements(draw: st.DrawFn) -> Element:
    vr = draw(st.sampled_from(VRS))
    value = draw(st.binary(max_size=40))
    width = WIDTHS.get(vr, 1)
    tag = draw(st.tuples(st.integers(8, 0x7FDF), st.integers(1, 0xFFFF)))
    return Element(tag, value[: len(value) // width * width], vr)


def sequences(inner: st.SearchStrategy[tuple[Element, ...]]) -> st.SearchStrategy[Element]:
    def element(
        tag: tuple[int, int], items: list[tuple[Element, ...]], of_sequence: bool, of_items: bool
    ) -> Element:
        return Element(tag, Items(tuple(items), "SQ", of_sequence, of_items))

    tags = st.tuples(st.integers(8, 0x7FDF), st.integers(1, 0xFFFF))
    return st.builds(element, tags, st.lists(inner, max_size=3), st.booleans(), st.booleans())


data_sets = st.recursive(
    st.lists(plain_elements(), max_size=5).map(tuple),
    lambda inner: st.lists(st.one_of(plain_elements(), sequences(inner)), max_size=4).map(tuple),
    max_leaves=8,
)


@settings(max_examples=examples(300))
@given(data_sets, st.sampled_from("<>"))
def test_whatever_is_in_a_data_set_its_values_stay_as_they_are(
    elements: tuple[Element, ...], order: str
) -> None:
    explicit = encoded(elements, order)
    assert converted(explicit, is_little_endian=order == "<") == encoded(elements, is_implicit=True)


@settings(max_examples=examples(300))
@given(st.binary(max_size=60) | data_sets.map(encoded), st.data(), st.booleans())
def test_damage_is_named_and_nothing_else_comes_of_it(
    content: bytes, data: st.DataObject, is_little_endian: bool
) -> None:
    cut = content[: data.draw(st.integers(0, len(content)))]
    with contextlib.suppress(Unreadable):
        assert len(converted(cut, is_little_endian=is_little_endian)) <= len(cut)


NAME = Element((0x10, 0x10), b"M\xfcller^J\xf6rg\xff\0", "PN")
LARGE = Element((0x7FE0, 0x10), bytes(range(256)) * (3 << 12), "OW")
INNER = (Element((0x28, 0x10), b"\1\2", "US"), NAME, Element((0x9, 0x1001), b"odd", "OB"))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("is_implicit", [True, False])
@pytest.mark.parametrize("are_undefined", [True, False])
def test_a_sequence_written_as_un_may_be_implicit_or_explicit_inside(
    order: str, is_implicit: bool, are_undefined: bool
) -> None:
    """PS3.5 6.2.2: it is implicit and little endian; not all keep to the first."""
    inner = Element((0x9, 0x1010), Items((INNER,), "SQ", True))
    sequence = Items(((*INNER, inner), (NAME,)), "UN", True, are_undefined, is_implicit)
    elements = (Element((0x9, 0x1002), sequence), NAME, LARGE)
    explicit = encoded(elements, order)
    assert converted(explicit, is_little_endian=order == "<") == encoded(elements, is_implicit=True)


def test_implicit_items_in_explicit_vr_are_copied() -> None:
    elements = (Element((0x8, 0x1140), Items((INNER, (), INNER), is_implicit=True)), NAME)
    assert converted(encoded(elements)) == encoded(elements, is_implicit=True)


def test_an_un_of_stated_length_is_as_its_sender_wrote_it_in_any_byte_order() -> None:
    element = Element((0x9, 0x1003), b"\1\2\3\4", "UN")
    for order in "<>":
        content = encoded((element,), order)
        assert converted(content, is_little_endian=order == "<").endswith(b"\1\2\3\4")


def test_group_lengths_are_left_out() -> None:
    length = Element((0x10, 0), b"\x99\0\0\0", "UL")
    sequence = Element((0x8, 0x1140), Items(((length, NAME),)))
    expected = (Element((0x8, 0x1140), Items(((NAME,),))), NAME)
    assert converted(encoded((sequence, length, NAME))) == encoded(expected, is_implicit=True)


def test_pixels_are_copied_in_pieces() -> None:
    class Counting(BytesIO):
        most = 0

        def read(self, size: int | None = -1) -> bytes:
            self.most = max(self.most, size or 0)
            return super().read(size)

    elements = (NAME, LARGE, Element((0xFFFC, 0xFFFC), b"\0\0", "OB"))
    source, target = Counting(encoded(elements, ">")), BytesIO()
    write_implicit(source, target, is_little_endian=False)
    assert target.getvalue() == encoded(elements, is_implicit=True)
    assert source.most == 1 << 20 < len(target.getvalue())


END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
OPEN = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, UNDEFINED)
OPEN_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x10", "in the middle"),
        (encoded((NAME,))[:-1], "in the middle"),
        (struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 16) + bytes(8), "in the middle"),
        (struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 8) + bytes(8), "what is no item"),
        (struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 8) + OPEN_ITEM, "item does not end"),
        (OPEN, "sequence does not end"),
        (OPEN + OPEN_ITEM, "item does not end"),
        (END, "item ends that has not begun"),
        (OPEN_ITEM, "where an attribute belongs"),
        (encoded((NAME,)) + struct.pack("<HH2sH", 9, 0x1001, b"QQ", 0), "does not exist"),
        (struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, UNDEFINED), "in pieces"),
        ((OPEN + OPEN_ITEM) * 70, "too deeply"),
    ],
)
def test_what_is_damaged_is_said_in_words(content: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        converted(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (struct.pack(">HH2sH", 0x28, 0x10, b"US", 3) + b"abc", "whole number of words"),
        (struct.pack(">HHI", 0x10, 0x10, 2) + b"ab", "no VR to tell numbers by"),
    ],
)
def test_what_cannot_be_swapped_is_said_in_words(content: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        converted(content, is_little_endian=False)
