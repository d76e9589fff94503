"""Mammograms whose header says in other words what it should: each function changes one object."""

from __future__ import annotations

from io import BytesIO

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag


def laterality_in_words(content: bytes) -> bytes:
    """Image Laterality "RIGHT" or "left" in place of "R" or "L"."""
    return _with_text(content, 0x00200062, {"R": "RIGHT", "L": "left"})


def unknown_laterality(content: bytes) -> bytes:
    """Image Laterality "U"."""
    return _with_text(content, 0x00200062, {"R": "U", "L": "U"})


def _with_text(content: bytes, number: int, in_place_of: dict[str, str]) -> bytes:
    """Write a Code String as it is, without pydicom's opinion of it."""
    dataset = dcmread(BytesIO(content))
    value = in_place_of[str(dataset[number].value)].encode()
    value += b" " * (len(value) % 2)
    dataset[number] = RawDataElement(Tag(number), "CS", len(value), value, 0, False, True)
    written = BytesIO()
    dataset.save_as(written)
    return written.getvalue()
