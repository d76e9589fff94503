"""The header of a received object: all but its pixel data, and refused where it is damaged."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, uid
from pydicom.uid import UID

from node.dicom.part10 import open_part10
from node.dicom.untrusted import failing_as, quietly, text, texts
from node.errors import OfNoStudy, Unreadable

_SOP_CLASS, _SOP_UID, _STUDY_UID = 0x00080016, 0x00080018, 0x0020000D
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
DEFER_BYTES = 1 << 16
"""Values longer than this stay on disk until somebody asks for them."""

_OF_NO_PATIENT = frozenset(
    {
        uid.CTDefinedProcedureProtocolStorage,
        uid.ColorPaletteStorage,
        uid.GenericImplantTemplateStorage,
        uid.HangingProtocolStorage,
        uid.ImplantAssemblyTemplateStorage,
        uid.ImplantTemplateGroupStorage,
        uid.InventoryStorage,
        uid.ProtocolApprovalStorage,
        uid.XADefinedProcedureProtocolStorage,
    }
)
"""Non-Patient Object Storage (PS3.4 GG.3)."""


def read_header(path: Path, defer_bytes: int = DEFER_BYTES) -> Dataset:
    """Read a Part 10 file but its pixel data; raise Unreadable if it is damaged.

    Longer values than `defer_bytes` are read when they are asked for. OSError passes through: it
    says nothing about the object.
    """
    header = _parse(path, defer_bytes)
    if not text(header, "StudyInstanceUID") and text(header, "SOPClassUID") in _OF_NO_PATIENT:
        raise OfNoStudy(f"{UID(text(header, 'SOPClassUID')).name} is of no study")
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


@dataclass(frozen=True, slots=True)
class Uids:
    """What names an object; "" of what cannot be read."""

    sop_class: str
    sop: str
    study: str


def uids_of_damaged(path: Path) -> Uids:
    """Return what names a damaged object, as far as it can be read."""
    found: dict[int, str] = {}
    with contextlib.suppress(Unreadable), quietly(), failing_as("damaged"), path.open("rb") as file:
        opened = open_part10(file)
        for tag, keyword in (
            (_SOP_CLASS, "MediaStorageSOPClassUID"),
            (_SOP_UID, "MediaStorageSOPInstanceUID"),
        ):
            if uid_there := text(opened.meta, keyword):
                found[tag] = uid_there
        for tag, value in opened.short_values((_SOP_CLASS, _SOP_UID, _STUDY_UID)):
            found.setdefault(tag, value.decode("ascii", "replace").strip(" \0"))
    uids = (found.get(tag, "") for tag in (_SOP_CLASS, _SOP_UID, _STUDY_UID))
    return Uids(*(one if _is_uid(one) else "" for one in uids))


def _parse(path: Path, defer_bytes: int) -> Dataset:
    """Run pydicom's parser, which raises and warns about nearly anything, with quoted values."""
    not_well_formed = failing_as("not a well-formed DICOM object", OSError)
    with quietly(), not_well_formed, path.open("rb") as file:
        return open_part10(file).read_header(defer_bytes)


def _require_uid(dataset: Dataset, keyword: str, name: str) -> None:
    value = text(dataset, keyword)
    if not value:
        raise Unreadable(f"no {name}")
    if not _is_uid(value):
        raise Unreadable(f"invalid {name}")


def _is_uid(value: str) -> bool:
    return len(value) <= 64 and _UID.fullmatch(value) is not None
