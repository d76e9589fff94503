"""What is read on one walk is what pydicom's reader makes of it, whatever lies in a file."""

from __future__ import annotations

import inspect
import io
import tempfile
from collections.abc import Callable
from copy import deepcopy
from typing import Any, BinaryIO, cast

import odd_structure as odd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mr_studies import made, small_plan
from pydicom import Dataset
from pydicom.charset import decode_bytes
from pydicom.dataelem import RawDataElement
from pydicom.uid import ImplicitVRLittleEndian

from node.dicom.header import DEFER_BYTES
from node.dicom.part10 import Header, Part10, open_part10
from node.dicom.plain_elements import Where, read_plain
from node.dicom.untrusted import decoded_text, encodings_of, known_tag, quietly
from node.imaging.source import as_number, plain_numbers, values_of
from node.trial import phantom

Maker = Callable[[bytes], bytes]


def _written(one: Dataset, *, is_implicit: bool = False) -> bytes:
    if is_implicit:
        one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    file = io.BytesIO()
    one.save_as(file, implicit_vr=is_implicit, little_endian=True, enforce_file_format=True)
    return file.getvalue()


def _slice(*, is_implicit: bool, is_delimited: bool) -> bytes:
    one = deepcopy(made(small_plan())[0])
    code = Dataset()
    code.CodeValue, code.CodeMeaning = "1", "one"
    one.ProcedureCodeSequence = [Dataset(), code]
    one["ProcedureCodeSequence"].is_undefined_length = is_delimited
    code.is_undefined_length_sequence_item = is_delimited
    return _written(one, is_implicit=is_implicit)


SLICES = [_slice(is_implicit=a, is_delimited=b) for a in (False, True) for b in (False, True)]
MAMMOGRAM = _written(next(iter(phantom.exam("plain", phantom.EXAM[:1]))))
ODD = [
    make
    for _, make in inspect.getmembers(odd, inspect.isfunction)
    if make.__module__ == odd.__name__
    and inspect.signature(make).return_annotation == "bytes"
    and [*inspect.signature(make).parameters] == ["content"]
]


def _said(content: bytes, read: Callable[[Part10], Header]) -> Any:
    """Return all that is read of an object, or why it is refused."""
    with tempfile.NamedTemporaryFile() as file, quietly():
        file.write(content)
        file.seek(0)
        try:
            header = read(open_part10(cast("BinaryIO", file.file)))
        except Exception as error:  # noqa: BLE001 - pydicom's readers raise nearly anything
            return type(error), str(error)
        elements: list[Any] = [header.get_item(tag, keep_deferred=True) for tag in [*header.keys()]]
        return (
            [one if isinstance(one, RawDataElement) else str(one) for one in elements],
            header.structure,
            header.original_character_set,
            header.original_encoding,
        )


def _require_same(content: bytes, defer_bytes: int = DEFER_BYTES) -> None:
    said = _said(content, lambda opened: opened.read_header(defer_bytes))
    assert said == _said(content, lambda opened: opened.read_any_header(defer_bytes))


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
def test_an_odd_object_is_read_or_refused_as_ever(make: Maker) -> None:
    _require_same(make(MAMMOGRAM))


@pytest.mark.parametrize(
    "content",
    [*SLICES, MAMMOGRAM],
    ids=["explicit", "delimited", "implicit", "implicit delimited", "mammogram"],
)
@pytest.mark.parametrize("defer_bytes", [0, 5, 40, DEFER_BYTES])
def test_a_plain_object_is_read_on_one_walk(content: bytes, defer_bytes: int) -> None:
    _require_same(content, defer_bytes)
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.seek(0)
        opened = open_part10(cast("BinaryIO", file.file))
        where = Where(
            opened.body,
            opened.begins_at,
            opened.size,
            opened.is_implicit,
            opened.is_little_endian,
        )
        read_plain(where, defer_bytes)  # raises if it is not


_TELLING = [b"\0", b"\xff", b"\\", b"\x1b", b"SQ", b"UN", b"ZZ", b"OB", b"\xff\xff\xff\xff"]
_DELIMITERS = [odd.ITEM_END, odd.SEQUENCE_END, odd.SEQUENCE_END * 2, b"\xfe\xff\x00\xe0"]


@given(
    st.sampled_from(SLICES),
    st.lists(
        st.tuples(
            st.integers(128, 2500),
            st.integers(0, 8),
            st.sampled_from([*_TELLING, *_DELIMITERS]) | st.binary(max_size=8),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_whatever_is_changed_in_an_object_it_is_read_or_refused_as_ever(
    content: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    for at, removed, new in changes:
        content = content[:at] + new + content[at + removed :]
    _require_same(content)


@given(
    st.sampled_from(["DS", "US", "IS", "LO", None]),
    st.binary(max_size=12)
    | st.from_regex(rb" *[+-]?[0-9]{0,3}\.?[0-9]{0,3}(e[0-9]{1,4})?[ \0,]*(\\[0-9.]{0,4})?")
    | st.from_regex(rb"[0-9]{1,3}(\.[0-9]{1,3})?(\\[0-9]{1,3})*", fullmatch=True),
    st.booleans(),
)
def test_numbers_that_are_plain_are_those_that_pydicom_reads(
    vr: str | None, value: bytes, is_little_endian: bool
) -> None:
    keyword = "Rows" if vr == "US" else "PixelSpacing"
    tag = known_tag(keyword)
    header = Dataset()
    raw = RawDataElement(tag, vr, len(value), value, 0, vr is None, is_little_endian)
    header[tag] = raw
    plain = plain_numbers(header, keyword)
    with quietly():
        read = [as_number(part) for part in values_of(header, keyword)]
    assert plain is None or plain == read


def test_numbers_as_scanners_write_them_are_plain() -> None:
    header = Dataset()
    tag = known_tag("ImagePositionPatient")
    value = b"-117.5\\1e2\\ +.3 ".replace(b"+.", b"+0.")
    header[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)
    assert plain_numbers(header, "ImagePositionPatient") == [-117.5, 100, 0.3]


@given(
    st.sampled_from([b"", b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 13", b"GB18030", b"nothing"])
    | st.sampled_from([b"\\ISO 2022 IR 87", b"ISO 2022 IR 13\\ISO 2022 IR 87"]),
    st.binary(max_size=12) | st.text("AZ^~\\ \x1b\0$B", max_size=12).map(str.encode),
)
def test_a_text_is_decoded_as_pydicom_does(characters: bytes, value: bytes) -> None:
    header = Dataset()
    for keyword, vr, one in (
        ("SpecificCharacterSet", "CS", characters),
        ("PatientID", "LO", value),
    ):
        tag = known_tag(keyword)
        header[tag] = RawDataElement(tag, vr, len(one), one, 0, False, True)
    with quietly():
        known = encodings_of(header) or ["iso8859"]
        read = decode_bytes(value, known, set()).replace("\ufffd", "?").strip(" \0")
    assert decoded_text(header, "PatientID") == read
