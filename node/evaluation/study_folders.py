"""The folder of a breast MRI study -> its objects: a row of a table stands for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from node.dicom.header import read_header
from node.dicom.part10 import is_part10
from node.errors import OfNoStudy, Unreadable
from node.identity import identity_of, is_own

_DIRECTORY = "DICOMDIR"
"""The table of contents of a disc."""


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The files of one study."""

    study_uid: str
    sop_uid: str
    """Of the first file, in the order of their names."""
    paths: tuple[Path, ...]
    """In that order; what is no DICOM object of a study, or our own result, is not among them."""
    identities: frozenset[str]
    """Whose the objects say they are."""
    damaged: int
    """So many files cannot be read."""


def study_in(folder: Path) -> StudyFolder:
    """Return the study in a folder and those below it; raise Unreadable if there is not just one.

    OSError passes.
    """
    uids, sop_uids, paths = set[str](), list[str](), list[Path]()
    identities, damaged = set[str](), 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name == _DIRECTORY or not is_part10(path):
            continue
        try:
            header = read_header(path)
            if is_own(header):
                continue
            identities.add(identity_of(header))
            uids.add(str(header.StudyInstanceUID))
            sop_uids.append(str(header.SOPInstanceUID))
        except OfNoStudy:
            continue
        except Unreadable:
            damaged += 1
            continue
        paths.append(path)
    if len(uids) != 1:
        found = f"objects of {len(uids)} studies" if uids else "no DICOM object"
        raise Unreadable(f"expected the folder of one study, found {found}")
    (study_uid,) = uids
    return StudyFolder(study_uid, sop_uids[0], tuple(paths), frozenset(identities), damaged)
