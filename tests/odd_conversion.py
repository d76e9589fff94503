"""Odd objects whose values an encoder would write anew: only their bytes are what they are."""

from __future__ import annotations

from io import BytesIO
from struct import pack

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag, Tag

_UNDEFINED = 0xFFFFFFFF
LATIN_1_NAME = b"M\xfcller^J\xf6rge"


def name_in_latin_1_under_utf_8(content: bytes) -> bytes:
    """Patient's Name in Latin-1 bytes, while Specific Character Set says ISO_IR 192 (UTF-8)."""
    dataset = dcmread(BytesIO(content))
    _put(dataset, 0x00080005, "CS", b"ISO_IR 192")
    _put(dataset, 0x00100010, "PN", LATIN_1_NAME)
    return _written(dataset)


def patient_id_in_latin_1_under_utf_8(content: bytes) -> bytes:
    """Patient ID in Latin-1 bytes, while Specific Character Set says ISO_IR 192 (UTF-8)."""
    dataset = dcmread(BytesIO(content))
    _put(dataset, 0x00080005, "CS", b"ISO_IR 192")
    _put(dataset, 0x00100020, "LO", b"M\xdcLLER-7")
    return _written(dataset)


def values_no_encoder_writes(content: bytes) -> bytes:
    """A Latin-1 name under UTF-8, numbers and dates that are none, values too long, nested ones."""
    dataset = dcmread(BytesIO(name_in_latin_1_under_utf_8(content)))
    item = _item(
        (0x00080021, b"DA", b"2026.13.45"),
        (0x00081030, b"LO", b"R\xf6ntgen \xff" * 20),
        (0x00280010, b"US", b"\1\2\3\4"),
        (0x00281050, b"DS", b"1300,5"),
    )
    items = item + _item() + item
    dataset[0x00091010] = RawDataElement(Tag(0x00091010), "SQ", _UNDEFINED, items, 0, False, True)
    for tag, vr, value in (
        (0x00080021, "DA", b"2026.13.45"),
        (0x00090010, "LO", b"SOMEBODY\0\0"),
        (0x00081140, "SQ", item),
        (0x00091011, "UN", b"\xe4\0\1\2"),
        (0x00181063, "DS", b" 0012.50000000000000000000"),
        (0x00181060, "DS", b"nan "),
        (0x00200013, "IS", b"00000000000000001 "),
        (0x00204000, "LT", b"\x1b$B%d%9%H\x1b(B \\ \xfc"),
    ):
        _put(dataset, tag, vr, value)
    return _written(dataset)


def values_of(dataset: Dataset) -> dict[int, object]:
    """Return each element's value as the bytes that it has, the items of sequences in lists."""
    return {int(tag): _value(dataset, tag) for tag in sorted(dataset.keys())}


def _value(dataset: Dataset, tag: BaseTag) -> object:
    element = dataset.get_item(tag)
    if (element.VR or (dictionary_has_tag(tag) and dictionary_VR(tag))) == "SQ":
        return [values_of(item) for item in dataset[tag].value]
    return element.value or b""


def _item(*elements: tuple[int, bytes, bytes]) -> bytes:
    """Return an item of short values in Explicit VR Little Endian."""
    content = b"".join(
        pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
        for tag, vr, value in elements
    )
    return pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def _put(dataset: Dataset, tag: int, vr: str, value: bytes) -> None:
    assert len(value) % 2 == 0, "other programs pad odd values"
    dataset[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)


def _written(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dataset.set_original_encoding(False, True, dataset._character_set)
    dataset.save_as(stream)
    return stream.getvalue()
