"""Which studies are kept and listed, but analysed only if a person asks: old ones and no patients.

Everything is judged from one header, in words that hold no patient data.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache

from pydicom import Dataset

from node import config
from node.dicom.untrusted import decoded_text, text


def why_excluded(header: Dataset, today: date, settings: config.Intake) -> str | None:
    """Return why an object's study is excluded, or None if it is not.

    A header that cannot be read says nothing: what is not known to be old, a phantom or a
    test patient is analysed. A Patient ID that cannot be read is there, hence not missing.
    """
    return (
        _phantom(header)
        or _test_patient(header, settings.test_patients)
        or _nobody(header, settings.shared_patient_ids)
        or _old(header, today, settings.max_study_age_days)
    )


def _phantom(header: Dataset) -> str | None:
    for keyword, value, name in (
        ("QualityControlImage", "YES", "Quality Control Image"),  # PS3.3 C.8.11.7; "BOTH" is not
        ("QualityControlSubject", "YES", "Quality Control Subject"),  # PS3.3 C.7.1.1
        ("BodyPartExamined", "PHANTOM", "Body Part Examined"),
    ):
        if text(header, keyword).upper() == value:
            return f"phantom or quality control, not a patient ({name} is {value})"
    return None


def _test_patient(header: Dataset, patterns: Sequence[str]) -> str | None:
    name = decoded_text(header, "PatientName")
    said = (decoded_text(header, "PatientID"), *re.split(r"[\^=\\]", name))
    if _is_any_like(patterns, said):
        return "test patient or phantom, by its ID or name (test_patients)"
    return None


def _nobody(header: Dataset, patterns: Sequence[str]) -> str | None:
    patient_id = decoded_text(header, "PatientID")
    if not patient_id:
        return "no Patient ID"
    if _is_any_like(patterns, (patient_id, "0" if not patient_id.strip("0") else "")):
        return "a Patient ID that several patients share (shared_patient_ids)"
    return None


def _old(header: Dataset, today: date, most_days: int) -> str | None:
    """Judge Study Date (0008,0020); the former form with dots (PS3.5 6.2) is a date too."""
    written = text(header, "StudyDate").replace(".", "")
    if most_days == 0 or not re.fullmatch(r"[0-9]{8}", written):
        return None
    try:
        taken = date(int(written[:4]), int(written[4:6]), int(written[6:]))
    except ValueError:
        return None
    days = (today - taken).days
    return (
        f"study is {days} days old (max_study_age_days = {most_days})" if days > most_days else None
    )


def _is_any_like(patterns: Iterable[str], values: Iterable[str]) -> bool:
    wanted = _any_of(tuple(patterns))
    found = (folded for value in values if (folded := " ".join(value.split()).casefold()))
    return any(wanted.match(value) for value in found)


@lru_cache(maxsize=64)
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return what matches what one of these matches, nothing if there are none."""
    each = (fnmatch.translate(pattern.casefold()) for pattern in patterns)
    return re.compile("|".join(each) or r"(?!)")
