"""What people know a study by, read from the header of any object of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from pydicom import Dataset

from node.dicom.untrusted import decoded_text
from node.study import StudyLabels, Whose

_LONGEST = 64
"""A Long String (PS3.5 6.2), and each part of a name."""
_LONGEST_NAME = 256
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what stands behind them: in a list, of other columns."""


def study_labels_of(header: Dataset) -> StudyLabels:
    """Return what an object says; "" of what it does not, "?" for what cannot be read of it."""
    return StudyLabels(
        accession_number=_label(header, "AccessionNumber", _LONGEST),
        patient_id=_label(header, "PatientID", _LONGEST),
        patient_name=_label(header, "PatientName", _LONGEST_NAME),
        study_date=_label(header, "StudyDate", _LONGEST),
        study_description=_label(header, "StudyDescription", _LONGEST_NAME),
    )


def whose_of(headers: Sequence[Dataset]) -> Whose:
    """Return whose a study is, by some of its objects: of each attribute what the first says.

    "?" stands for what cannot be read of it.
    """

    def said(keyword: str) -> str:
        return next(filter(None, (decoded_text(header, keyword) for header in headers)), "")

    return Whose(
        patient_id=said("PatientID"),
        issuer=said("IssuerOfPatientID"),
        patient_name=said("PatientName"),
        birth_date=said("PatientBirthDate"),
        accession_number=said("AccessionNumber"),
    )


def _label(header: Dataset, keyword: str, longest: int) -> str:
    """Return a value on one line, without what does not print, and bounded."""
    value = " ".join(decoded_text(header, keyword).split())
    if value.isascii() and value.isprintable():
        return value[:longest].strip()
    return "".join(c for c in value if _prints(c))[:longest].strip()


def _prints(character: str) -> bool:
    return character not in _TURNING and unicodedata.category(character) not in ("Cc", "Cs", "Cn")
