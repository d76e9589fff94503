"""Elements of other people's objects, copied as the bytes they arrived in.

Nothing is decoded: a wrong or missing Specific Character Set (0008,0005), a value too long or
a name in an unknown encoding goes into our objects exactly as it came. What cannot be copied,
such as a sequence that is none, counts as absent: no oddity of a source makes copying raise.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import cast

from pydicom import Dataset
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag, Tag

from node.dicom.part10 import structure_of
from node.dicom.structure import holds_items
from node.dicom.untrusted import failing_as, quietly
from node.errors import Unreadable

SPECIFIC_CHARACTER_SET = Tag(0x00080005)
WIDTHS = {
    **dict.fromkeys(("OW", "SS", "US"), 2),
    **dict.fromkeys(("AT", "FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
"""Bytes of one value, of the VRs that depend on the byte order."""
DEEPEST = 8
"""Sequences nested deeper than this are left out: writing them could exhaust the stack."""


def copy(source: Dataset, target: Dataset, keywords: Iterable[str]) -> None:
    """Copy the attributes that the source has; sequences too, without private elements.

    Not a sequence that holds something else than items, nor one in which something is twice, with
    different values: pydicom reads the last of them, other software the first.
    """
    structure = structure_of(source)
    ambiguous = {place[0] for place in structure.twice if len(place) > 1}
    ambiguous |= {place[0] for place in structure.not_items}
    for keyword in keywords:
        tag = tag_of(keyword)
        is_to_be_had = tag in source and tag not in ambiguous
        copied = _copied(source, tag, 0) if is_to_be_had else None
        if copied is not None:
            target[tag] = copied


def value_bytes(dataset: Dataset, keyword: str) -> bytes:
    """Return the value as encoded, without padding; empty if there is none."""
    tag = tag_of(keyword)
    if tag not in dataset or not _vr(dataset, tag):
        return b""
    return _encoded(dataset, tag).rstrip(b" \0")


def plain(dataset: Dataset, keyword: str) -> str:
    """Read a short ASCII value without decoding the element in place; odd bytes become "?"."""
    return value_bytes(dataset, keyword).decode("ascii", "replace").replace("\ufffd", "?").strip()


def keep(dataset: Dataset) -> None:
    """Make pydicom write the copied elements of the data set as they are.

    It does so if it believes the data set was read in the encoding it is written in; else it
    decodes and encodes every element anew, and what cannot be decoded is lost.
    """
    dataset.set_original_encoding(False, True, _encodings(dataset) or default_encoding)


def tag_of(keyword: str) -> BaseTag:
    """Return the tag of a keyword of the standard."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return Tag(tag)


def _copied(source: Dataset, tag: BaseTag, depth: int) -> DataElement | RawDataElement | None:
    vr = _vr(source, tag)
    if vr == "SQ":
        return _copied_sequence(source, tag, depth)
    if not vr or (tag == SPECIFIC_CHARACTER_SET and _encodings(source) is None):
        return None
    value = _encoded(source, tag)
    if len(value) % WIDTHS.get(vr, 1):
        return None
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    return RawDataElement(tag, vr, len(value), value, 0, False, True)


def _left_out(what: str) -> AbstractContextManager[None]:
    """Warn of what damage in the source keeps out of a result, and go on without it."""
    return failing_as(f"{what} cannot be read and is left out", level=logging.WARNING)


def _copied_sequence(source: Dataset, tag: BaseTag, depth: int) -> DataElement | None:
    try:
        with _left_out(f"sequence {tag} of the source"):
            if not holds_items(source.get_item(tag)):
                raise ValueError("something else than items")
            items = [_copied_item(item, depth + 1) for item in source[tag].value or ()]
    except Unreadable:  # the result is still sent
        return None
    return DataElement(tag, "SQ", items)


def _copied_item(item: Dataset, depth: int) -> Dataset:
    """Copy what the standard knows: an unknown tag here is a misread one, or needs its creator."""
    if depth > DEEPEST:
        raise ValueError("nested too deeply")
    copied = Dataset()
    for tag in list(item.keys()):  # iterating the data set itself would decode its elements
        element = _copied(item, tag, depth) if dictionary_has_tag(tag) else None
        if element is not None:
            copied[tag] = element
    keep(copied)
    return copied


def _encodings(dataset: Dataset) -> list[str] | str | None:
    """Return the encodings the data set declares, None if it declares what cannot be used."""
    if SPECIFIC_CHARACTER_SET not in dataset:
        return default_encoding
    try:
        with quietly(), _left_out("the character set of the source"):
            return convert_encodings(dataset[SPECIFIC_CHARACTER_SET].value)
    except Unreadable:
        return None


def _encoded(dataset: Dataset, tag: BaseTag) -> bytes:
    try:
        with _left_out(f"element {tag} of the source"):
            element = cast("DataElement | RawDataElement", dataset.get_item(tag))
            if isinstance(element, RawDataElement):
                if element.is_little_endian or element.VR not in WIDTHS:
                    return element.value or b""
                element = dataset[tag]
            stream = DicomBytesIO()
            stream.is_little_endian, stream.is_implicit_VR = True, True
            write_data_element(stream, element, _encodings(dataset) or default_encoding)
    except Unreadable:
        return b""
    return stream.getvalue()[8:]  # implicit VR: tag and length are 8 bytes


def _vr(dataset: Dataset, tag: BaseTag) -> str:
    """Return the VR of the standard; "" if a value declared as it is cannot be one of that."""
    known = dictionary_VR(tag)
    try:
        with _left_out(f"element {tag} of the source"):
            declared = dataset.get_item(tag).VR
    except Unreadable:
        return ""
    if declared in (None, "UN", known):
        return known if len(known) == 2 else ""
    if len(known) != 2 or known in WIDTHS or "SQ" in (known, declared):
        return ""
    return known
