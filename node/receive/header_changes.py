"""The same instance again with another header: which attributes have changed.

What is not known to be without meaning for every result counts as a change: one more report set
is harmless, a former name in a result is not.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from pydicom import Dataset
from pydicom.charset import decode_bytes, python_encoding
from pydicom.datadict import (
    dictionary_description,
    dictionary_has_tag,
    dictionary_VR,
    tag_for_keyword,
)
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_deferred_data_element
from pydicom.filewriter import write_data_element
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.values import convert_SQ

from node.dicom import untrusted
from node.dicom.header import read_header
from node.dicom.part10 import structure_of
from node.dicom.structure import holds_items
from node.errors import Unreadable

NOT_COMPARED = {
    "texts are compared decoded": ("SpecificCharacterSet",),
    "how values are packed: the decoded pixels are compared instead": (
        *("BitsAllocated", "HighBit", "PlanarConfiguration"),
    ),
    "where an archive keeps the object": (
        *("QueryRetrieveView", "RetrieveAETitle", "RetrieveURL", "RetrieveURI"),
        *("RetrieveLocationUID", "InstanceAvailability"),
        *("StorageMediaFileSetID", "StorageMediaFileSetUID"),
    ),
    "what an archive counts": (
        *("ModalitiesInStudy", "SOPClassesInStudy"),
        *("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries"),
        *("NumberOfPatientRelatedInstances", "NumberOfStudyRelatedSeries"),
        *("NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances"),
    ),
    "who handled or changed the object, and when; not to what": (
        *("InstanceCreationDate", "InstanceCreationTime", "InstanceCoercionDateTime"),
        *("OriginalAttributesSequence", "ContributingEquipmentSequence"),
        *("DigitalSignaturesSequence", "MACParametersSequence"),
    ),
    "drawn from the pixels": ("IconImageSequence",),
    "about private attributes": ("PrivateDataElementCharacteristicsSequence",),
}
"""Attributes without meaning for any result, by reason.

Besides them: group lengths, private attributes, file meta information and the pixel data
with their offset tables. Not here, hence compared: lossy compression, which a reader must know;
Bits Stored and the photometric interpretation, which change what is seen.
"""
DEEPEST_COMPARED = 16
"""Sequences nested deeper are not looked into: they are taken for changed."""

_NOT_COMPARED = frozenset(
    tag_for_keyword(keyword) for keywords in NOT_COMPARED.values() for keyword in keywords
)
_PIXEL_DATA_GROUP, _PADDING_GROUP = 0x7FE0, 0xFFFC
_CHARACTER_SET = 0x00080005
_PHOTOMETRIC_INTERPRETATION = 0x00280004
_SAME_COLOURS = {"YBR_RCT": "RGB", "YBR_ICT": "RGB"}
"""Transforms inside a codec (PS3.3 C.7.6.3.1.2): decoded, the pixels are RGB."""

_DECODED = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_ONE_VALUE = frozenset({"LT", "ST", "UT"})
_TEXTS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
_WIDTHS = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
"""Bytes that change places with the byte order."""
_RESETS = frozenset(b"\n\r\t\f\\")
"""After these, ISO 2022 text is in the first character set again; in names after ^ and = too."""

_NOTHING = ("nothing",)
_DIGEST_FORM = "1"
"""Raise it with whatever makes equal headers have other digests: those before then equal nothing,
which leads to a report too many rather than to one too few."""


def changed_attributes(before: Dataset, after: Dataset) -> tuple[str, ...]:
    """Return the names of the attributes that differ between two headers of one instance.

    No values. Only what is said is compared, not how it is encoded: neither VR, byte order,
    padding, character set nor the length form of sequences matter, and an empty attribute is
    as good as none, except for sequences. Neither header is altered. Never raises: what cannot
    be read is compared as bytes, else taken for changed. Values that `read_header` left on disk
    are read from there: the file must still be where it was.
    """
    # Of what one of them states twice it says nothing, though the first be what the other says.
    once = {path[0] for path in structure_of(before).twice} ^ {
        path[0] for path in structure_of(after).twice
    }
    with untrusted.quietly():
        tags = sorted(tag for tag in {*before.keys(), *after.keys()} if _matters(tag))
        return tuple(
            dict.fromkeys(
                _name(tag) for tag in tags if tag in once or _said(before, tag) != _said(after, tag)
            )
        )


def header_digest(header_or_path: Dataset | Path) -> str:
    """Return a digest of all that `changed_attributes` compares, "" of what equals nothing.

    Two headers have the same, and not "", exactly if nothing that may matter differs: so a header
    can be compared with one of which nothing else is left. Digests are kept: they depend on what is
    said, and on no release of a library. Raises Unreadable, or OSError, for a path that cannot be
    read.
    """
    if isinstance(header_or_path, Path):
        header_or_path = read_header(header_or_path)
    digest = hashlib.sha256()
    try:
        for piece in _pieces(_all_said(header_or_path)):
            digest.update(piece)
    except _EqualsNothingError:
        return ""
    return f"{_DIGEST_FORM}:{digest.hexdigest()}"


def _all_said(header: Dataset) -> tuple[tuple[int, Hashable], ...]:
    paths = structure_of(header).twice
    twice = sorted({int(path[0]) for path in paths if _matters(BaseTag(path[0]))})
    with untrusted.quietly():
        tags = sorted(tag for tag in header.keys() if _matters(tag))  # noqa: SIM118 - undecoded
        values = ((int(tag), _said(header, tag)) for tag in tags)
        said = tuple((tag, value) for tag, value in values if value != _NOTHING)
    return tuple((tag, "twice") for tag in twice) + said


class _EqualsNothingError(Exception):
    """Of a value that is taken for changed whatever it is compared with."""


def _pieces(said: Hashable) -> Iterator[bytes]:
    """Yield what two values have in common if and only if they are equal."""
    if isinstance(said, tuple):
        yield f"({len(said)}".encode()
        for part in said:
            yield from _pieces(part)
    elif isinstance(said, str):
        encoded = said.encode(errors="surrogatepass")
        yield f"s{len(encoded)}:".encode() + encoded
    elif isinstance(said, bytes):
        yield f"b{len(said)}:".encode() + said
    elif isinstance(said, int):
        yield f"i{int(said)};".encode()
    else:
        raise _EqualsNothingError


def _matters(tag: BaseTag) -> bool:
    return not (
        tag in _NOT_COMPARED
        or tag.is_private
        or tag.element == 0
        or tag.group < 0x0008
        or tag.group in (_PIXEL_DATA_GROUP, _PADDING_GROUP)
    )


def _name(tag: BaseTag) -> str:
    return dictionary_description(tag) if dictionary_has_tag(tag) else str(tag)


def _said(dataset: Dataset, tag: BaseTag) -> Hashable:
    return _value(dataset, tag, _character_set(dataset, ()), 0)


def _value(dataset: Dataset, tag: BaseTag, terms: tuple[str, ...], depth: int) -> Hashable:
    """Return what an attribute says, such that two are equal if and only if they say the same."""
    if tag not in dataset:
        return _NOTHING
    content: Hashable = object()  # equals nothing
    try:
        with untrusted.failing_as(f"{tag} cannot be compared"):
            element = _element(dataset, tag)
            if not isinstance(element, RawDataElement):
                if isinstance(element.value, Sequence):
                    return _items(element.value, terms, depth)
                element = _encoded(element, terms)
            content = element.value or b""
            if _vr(element) == "SQ" and holds_items(element):
                return _items(_parsed(element), terms, depth)
            return _text_or_bytes(element, terms)
    except Unreadable:
        return ("unreadable", terms, content)


def _element(dataset: Dataset, tag: BaseTag) -> DataElement | RawDataElement:
    element = cast("DataElement | RawDataElement", dataset.get_item(tag, keep_deferred=True))
    is_on_disk = isinstance(element, RawDataElement) and element.value is None and element.length
    if not is_on_disk:
        return element
    place = cast("Any", dataset)
    return read_deferred_data_element(
        place.fileobj_type,
        place.buffer or place.filename,
        place.timestamp,
        cast("RawDataElement", element),
    )


def _encoded(element: DataElement, terms: tuple[str, ...]) -> RawDataElement:
    """Return an element that somebody has decoded, or made, as it would be written."""
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, True
    encodings = [python_encoding[term] for term in terms] or ["iso8859"]
    write_data_element(stream, element, encodings)
    value = stream.getvalue()[8:]  # implicit VR: tag and length are 8 bytes
    return RawDataElement(element.tag, None, len(value), value, 0, True, True)


def _vr(element: RawDataElement) -> str:
    known = dictionary_VR(element.tag) if dictionary_has_tag(element.tag) else ""
    return known or element.VR or "UN"


def _parsed(element: RawDataElement) -> Sequence:
    is_unknown = element.VR == "UN"  # PS3.5 6.2.2: then its items are implicit, little endian
    return convert_SQ(
        element.value or b"",
        is_unknown or element.is_implicit_VR,
        is_unknown or element.is_little_endian,
        ["iso8859"],
        0,
    )


def _items(items: Iterable[Dataset], terms: tuple[str, ...], depth: int) -> Hashable:
    if depth == DEEPEST_COMPARED:
        return object()
    return ("items", *(_item(item, _character_set(item, terms), depth + 1) for item in items))


def _item(item: Dataset, terms: tuple[str, ...], depth: int) -> Hashable:
    said = ((tag, _value(item, tag, terms, depth)) for tag in sorted(item.keys()) if _matters(tag))
    return tuple((tag, value) for tag, value in said if value != _NOTHING)


def _text_or_bytes(element: RawDataElement, terms: tuple[str, ...]) -> Hashable:
    vr, content = _vr(element), element.value or b""
    if not element.is_little_endian:
        content = _swapped(content, _WIDTHS.get(element.VR or "", 1))
    if vr in _DECODED:
        decoded = _decoded(content.rstrip(b" \0"), terms, vr)
    elif vr in _TEXTS:
        decoded = content.rstrip(b" \0").decode("ascii")
    else:
        return (content.rstrip(b" \0") if vr == "UN" else content) or _NOTHING
    if vr not in _ONE_VALUE:
        decoded = "\\".join(_trimmed(part, vr) for part in decoded.split("\\"))
    if element.tag == _PHOTOMETRIC_INTERPRETATION:
        decoded = _SAME_COLOURS.get(decoded, decoded)
    return decoded or _NOTHING


def _trimmed(part: str, vr: str) -> str:
    """Drop what means nothing: padding, and of names the components left empty at the end."""
    part = part.strip(" \0")
    if vr == "PN":
        part = "=".join(group.rstrip("^ ") for group in part.split("=")).rstrip("=")
    return part


def _swapped(content: bytes, width: int) -> bytes:
    values = (content[at : at + width] for at in range(0, len(content), width))
    return b"".join(value[::-1] for value in values)


def _character_set(dataset: Dataset, inherited: tuple[str, ...]) -> tuple[str, ...]:
    """Return the terms of Specific Character Set (0008,0005); items inherit them."""
    if _CHARACTER_SET not in dataset:
        return inherited
    return untrusted.texts(dataset, "SpecificCharacterSet")


def _decoded(content: bytes, terms: tuple[str, ...], vr: str) -> str:
    """Decode a text, or raise: two texts must not become equal by losing what they differ in."""
    if content.isascii() and b"\x1b" not in content:
        return content.decode("ascii")
    if not terms or terms == ("ISO_IR 6",):
        raise ValueError("beyond the default character repertoire")
    encodings = [python_encoding[term] for term in terms]
    resets = _RESETS | frozenset(b"^=") if vr == "PN" else _RESETS
    text = decode_bytes(content, encodings, set(resets))
    if "\ufffd" in text or "\x1b" in text:
        raise ValueError("not of the declared character set")
    return unicodedata.normalize("NFC", text)
