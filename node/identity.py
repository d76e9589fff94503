"""Who the node says it is, inside every object it makes and on the wire.

These are fixed for ever: a changed UID would make the node analyse its own earlier output.
"""

from __future__ import annotations

from typing import Final

from pydicom import Dataset

MANUFACTURER: Final = "DICOM AI Node Project"
MODEL_NAME: Final = "DICOM AI Node"
OWN_DEVICE_UID: Final = "2.25.172080926515282959550589625921854830513"
"""Device UID (0018,1002) and Instance Creator UID (0008,0014) of everything the node makes."""
IMPLEMENTATION_CLASS_UID: Final = "2.25.199972108782989936954157626433083346684"
IMPLEMENTATION_VERSION_NAME: Final = "DICOM_AI_NODE"
"""SH, at most 16 characters; the release is in Software Versions (0018,1020)."""

INSTANCE_CREATOR_UID_TAG = 0x00080014
DEVICE_UID_TAG = 0x00181002


def is_own(header: Dataset) -> bool:
    """Return whether the node made this object, whatever an archive did to its file meta."""
    return any(
        _plain_uid(header, tag) == OWN_DEVICE_UID
        for tag in (INSTANCE_CREATOR_UID_TAG, DEVICE_UID_TAG)
    )


def _plain_uid(header: Dataset, tag: int) -> str:
    if tag not in header:
        return ""
    # get_item does not decode: what strangers wrote here must not raise or warn.
    value = header.get_item(tag).value
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return text.strip("\0 ")
