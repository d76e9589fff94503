"""SNOMED codes in code sequences (PS3.3 8), of whichever age they are."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom import Dataset

from node.dicom.untrusted import text

_SCHEMES = frozenset({"SCT", "SRT", "SNM3", "99SDM"}) | {
    "SNOMED-CT",  # not in the standard, met in practice
    "HTTP://SNOMED.INFO/SCT",
}


def snomed_codes(coded: Iterable[Dataset]) -> list[str]:
    """Return the SNOMED codes of code sequence items, of whichever age they are."""
    return [
        text(item, "CodeValue").upper()
        for item in coded
        if text(item, "CodingSchemeDesignator").upper() in _SCHEMES
    ]
