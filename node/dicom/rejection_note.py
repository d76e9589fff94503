"""Rejection notes: a Key Object Selection that says which images must not be used any more.

IHE Imaging Object Change Management (IHE RAD TF-2, RAD-66): the document title is the reason.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset

from node.dicom.untrusted import items, text

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"

TITLES = {
    "113001": "Rejected for Quality Reasons",
    "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry",
    "113039": "Data Retention Policy Expired",
}
"""Document titles (DCM, PS3.16 CID 7010) of rejection notes; any other is a key image note."""

MODIFIERS = {
    "111207": "image artifact",
    "111208": "grid artifact",
    "111209": "positioning",
    "111210": "motion blur",
    "111211": "under exposed",
    "111212": "over exposed",
    "111213": "no image",
    "111214": "detector artifact",
    "111215": "artifact other than of grid or detector",
    "111216": "mechanical failure",
    "111217": "electrical failure",
    "111218": "software failure",
    "111219": "inappropriate image processing",
    "111220": "other failure",
    "111221": "unknown failure",
    "113026": "double exposure",
}
"""Document title modifiers (DCM, PS3.16 CID 7011), in words."""

_DOCUMENT_TITLE_MODIFIER = "113011"
_UID = re.compile(r"(?=.{1,64}$)[0-9]+(\.[0-9]+)*")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RejectedObject:
    """One instance that a note is about."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str


@dataclass(frozen=True, slots=True)
class RejectionNote:
    """What must not be used any more, and why."""

    sop_uid: str
    """Of the note itself."""
    study_uid: str
    """Of the note itself; the instances may be of others too."""
    code: str
    """A key of TITLES."""
    modifiers: tuple[str, ...]
    """Which quality reasons, in the words of MODIFIERS; often none."""
    references: tuple[RejectedObject, ...]
    """Each once, in the order of the note; never empty."""

    @property
    def words(self) -> str:
        """Return the reason, such as "Rejected for Quality Reasons (positioning)"."""
        title = TITLES[self.code]
        return f"{title} ({', '.join(self.modifiers)})" if self.modifiers else title


def read_rejection_note(header: Dataset) -> RejectionNote | None:
    """Return what a header of `dicom.header.read_header` rejects, None if it is no rejection note.

    The instances are those of Current Requested Procedure Evidence Sequence (0040,A375), which
    names study and series and must list all that the content tree refers to (PS3.3 C.17.6.2).
    The tree is not compared: where the evidence has more, that goes with the rejected images,
    and to use an image that somebody has rejected is the worse mistake.
    """
    if text(header, "SOPClassUID") != KEY_OBJECT_SELECTION:
        return None
    code = next(iter(_codes(header, "ConceptNameCodeSequence")), "")
    if code not in TITLES:
        return None
    sop_uid = text(header, "SOPInstanceUID")
    found = list(_references(header))
    usable = tuple(dict.fromkeys(one for one in found if _is_usable(one)))
    if len(found) > len(usable):
        log.warning("Rejection note %s names objects that it does not identify", sop_uid)
    if not usable:
        log.warning("Rejection note %s rejects nothing that can be identified", sop_uid)
        return None
    study_uid = text(header, "StudyInstanceUID")
    return RejectionNote(sop_uid, study_uid, code, tuple(_modifiers(header)), usable)


def _references(header: Dataset) -> Iterator[RejectedObject]:
    for study in items(header, "CurrentRequestedProcedureEvidenceSequence"):
        for series in items(study, "ReferencedSeriesSequence"):
            for instance in items(series, "ReferencedSOPSequence"):
                yield RejectedObject(
                    study_uid=text(study, "StudyInstanceUID"),
                    series_uid=text(series, "SeriesInstanceUID"),
                    sop_uid=text(instance, "ReferencedSOPInstanceUID"),
                    sop_class=text(instance, "ReferencedSOPClassUID"),
                )


def _is_usable(reference: RejectedObject) -> bool:
    uids = (reference.study_uid, reference.series_uid, reference.sop_uid)
    return all(_UID.fullmatch(uid) for uid in uids)


def _modifiers(header: Dataset) -> Iterator[str]:
    for item in items(header, "ContentSequence"):
        if _DOCUMENT_TITLE_MODIFIER in _codes(item, "ConceptNameCodeSequence"):
            for code in _codes(item, "ConceptCodeSequence"):
                if code in MODIFIERS:
                    yield MODIFIERS[code]


def _codes(dataset: Dataset, keyword: str) -> list[str]:
    """Return the DICOM Controlled Terminology codes of a code sequence."""
    return [
        text(item, "CodeValue")
        for item in items(dataset, keyword)
        if text(item, "CodingSchemeDesignator") == "DCM"
    ]
