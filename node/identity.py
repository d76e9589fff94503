"""Who the node says it is, inside every object it makes and on the wire; whose an object is.

The node's own are fixed for ever: a changed UID would make it analyse its own earlier output.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from node.errors import Unreadable

# What reads objects is imported by who does: `ai-node status` compares identities at most.
if TYPE_CHECKING:
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
IDENTIFYING: Final = {
    0x00100020: "Patient ID",
    0x00100021: "Issuer of Patient ID",
    0x00080050: "Accession Number",
    0x00100030: "Patient's Birth Date",
}
"""What must agree within a study, by tag. The birth date tells patients apart whose IDs are missing
or shared. A name is spelled in many ways: it counts only beside a missing Patient ID."""
_PATIENT_ID, _BIRTH_DATE, _NAME = 0x00100020, 0x00100030, 0x00100010
NAMING: Final = {
    **IDENTIFYING,
    _NAME: "Patient's Name",
    0x00100024: "Issuer of Patient ID Qualifiers Sequence",
    0x00101002: "Other Patient IDs Sequence",
    0x00080051: "Issuer of Accession Number Sequence",
    0x00080016: "SOP Class UID",
    0x00080018: "SOP Instance UID",
    0x00080060: "Modality",
    0x0020000D: "Study Instance UID",
    0x0020000E: "Series Instance UID",
}
"""What says which object this is and whose, by tag: one object must not state two of it."""
_IS_A_BIRTH_DATE = re.compile(rb"(18|19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_UNKNOWN_DATE = b"19000101"
"""What many write who have to write one and know none."""
UNSAID: Final = "-"
UNREADABLE: Final = "?"
_TWICE = "!"
"""In the place of the Patient ID, before the tags of what an object states twice."""


def is_own(header: Dataset) -> bool:
    """Return whether the node made this object, whatever an archive did to its file meta."""
    return any(
        _plain_uid(header, tag) == OWN_DEVICE_UID
        for tag in (INSTANCE_CREATOR_UID_TAG, DEVICE_UID_TAG)
    )


def identity_of(header: Dataset) -> str:
    """Return digests of what says whose study this is; "-" where the object does not say.

    If it states something of NAMING twice, with different values, that stands in the place of the
    Patient ID: with no other object it can be of one study.
    """
    said = [_digest(header, tag) for tag in (*IDENTIFYING, _NAME)]
    if tags := stated_twice(header):
        said[0] = _TWICE + ",".join(f"{tag:08X}" for tag in tags)
    return " ".join(said)


def stated_twice(header: Dataset) -> tuple[int, ...]:
    """Return the tags of NAMING that an object states twice, with different values."""
    from node.dicom.part10 import structure_of

    if not (twice := structure_of(header).twice):
        return ()
    found = {path[0] for path in twice}
    return tuple(tag for tag in NAMING if tag in found)


def names_of(tags: Iterable[int]) -> str:
    """Return what these tags of NAMING are called, in a sentence."""
    return " and ".join(NAMING[tag] for tag in tags)


def is_whole(identity: str) -> bool:
    """Return whether an identity was written down with all that is compared today."""
    return len(identity.split()) == len(IDENTIFYING) + 1


def disagreement(identities: Iterable[str]) -> str:
    """Return why these identities cannot be of one study, "" if they can.

    What is not said contradicts nothing. Two may each agree with a third that says less, so give
    all there are at once.
    """
    parts = [_parts(identity) for identity in identities]
    twice = [part[0] for part in parts if part[0].startswith(_TWICE)]
    if twice:
        tags = {int(tag, 16) for one in twice for tag in one.removeprefix(_TWICE).split(",")}
        return f"one object states {names_of(sorted(tags))} twice, with different values"
    said = zip(*parts, strict=True)
    about = [
        name
        for name, values in zip(IDENTIFYING.values(), said, strict=False)
        if len({*values} - {UNSAID}) > 1
    ]
    names = {part[-1] for part in parts} - {UNSAID}
    if len(names) > 1 and any(part[0] == UNSAID != part[-1] for part in parts):
        about.append("Patient's Name, where there is no Patient ID")
    return f"the objects of the study disagree about {' and '.join(about)}" if about else ""


def merge(identities: Iterable[str]) -> str:
    """Return what is said by any of the identities; of several that disagree, by the first."""
    merged = _parts("")
    for identity in identities:
        said = [UNSAID if part.startswith(_TWICE) else part for part in _parts(identity)]
        merged = [
            new if known == UNSAID else known for known, new in zip(merged, said, strict=True)
        ]
    return " ".join(merged)


def _parts(identity: str) -> list[str]:
    """Return the digests; of what an earlier release wrote down, the last ones are missing."""
    said = identity.split()
    return said + [UNSAID] * (len(IDENTIFYING) + 1 - len(said))


def _digest(header: Dataset, tag: int) -> str:
    value = _encoded(header, tag)
    if value is None:
        return UNREADABLE  # something is said: taken for nothing, it could hide another patient
    value = value.strip(b" \0")
    if tag == _BIRTH_DATE:
        value = re.sub(rb"\D", b"", value)  # ACR-NEMA wrote it with points
        value = value if _IS_A_BIRTH_DATE.fullmatch(value) and value != _UNKNOWN_DATE else b""
    if tag == _NAME:
        value = value.partition(b"=")[0].upper().rstrip(b"^ ")
    return hashlib.sha256(value).hexdigest() if value else UNSAID


def _plain_uid(header: Dataset, tag: int) -> str:
    return (_encoded(header, tag) or b"").decode("ascii", "replace").strip("\0 ")


def _encoded(header: Dataset, tag: int) -> bytes | None:
    """Return a value as it came, b"" if it is absent, None if it cannot be had as text."""
    from pydicom.sequence import Sequence

    from node.dicom.structure import KNOWN_TAGS
    from node.dicom.untrusted import value_as_it_came

    try:
        value = value_as_it_came(header, KNOWN_TAGS[tag])  # does not decode
    except Unreadable:  # long values stay on disk
        return None
    if isinstance(value, bytes):
        return value
    return None if isinstance(value, Sequence) else str(value or "").encode()


def stable_uid(*parts: str) -> str:
    """Return a UID (2.25 form, PS3.5 B.2) that depends on the parts and on nothing else."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
