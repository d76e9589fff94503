"""The header of a received object: read up to its pixel data, and refused where it is damaged."""

from __future__ import annotations

import re
from pathlib import Path

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError

from node.dicom.deflated import read_until_pixels
from node.dicom.untrusted import failing_as, quietly, text, texts
from node.errors import Unreadable

DEFER_BYTES = 1 << 16
"""Values longer than this stay on disk until somebody asks for them."""


def read_header(path: Path) -> Dataset:
    """Read a Part 10 file up to its pixel data; raise Unreadable if it is damaged.

    OSError passes through: it says nothing about the object.
    """
    header = _parse(path)
    if any(_is_cut_short(element) for element in header.values()):
        raise Unreadable("the object ends in the middle of an attribute")
    for keyword, name in (
        ("SOPClassUID", "SOP Class UID"),
        ("SOPInstanceUID", "SOP Instance UID"),
        ("StudyInstanceUID", "Study Instance UID"),
        ("SeriesInstanceUID", "Series Instance UID"),
    ):
        _require_uid(header, keyword, name)
    _require_uid(header.file_meta, "TransferSyntaxUID", "Transfer Syntax UID")
    for in_meta, in_data_set in (
        ("MediaStorageSOPInstanceUID", "SOPInstanceUID"),
        ("MediaStorageSOPClassUID", "SOPClassUID"),
    ):
        if texts(header.file_meta, in_meta) != texts(header, in_data_set):
            raise Unreadable("the file meta information names another object than the data set")
    return header


def _parse(path: Path) -> Dataset:
    """Run pydicom's parser, which raises and warns about nearly anything, with quoted values."""
    with quietly(), failing_as("not a well-formed DICOM object", OSError):
        try:
            with path.open("rb") as file:
                return read_until_pixels(file, DEFER_BYTES)[0]
        except InvalidDicomError as error:
            raise Unreadable("not a DICOM Part 10 file") from error


def _is_cut_short(element: object) -> bool:
    return (
        isinstance(element, RawDataElement)
        and element.value is not None
        and element.length != 0xFFFFFFFF
        and len(element.value) < element.length
    )


def _require_uid(dataset: Dataset, keyword: str, name: str) -> None:
    value = text(dataset, keyword)
    if not value:
        raise Unreadable(f"no {name}")
    if len(value) > 64 or not re.fullmatch(r"[0-9]+(\.[0-9]+)*", value):
        raise Unreadable(f"invalid {name}")
