"""C-FIND in the Study Root model: whose study it is there, and which objects are (PS3.4 C).

What does not end with the status Success is no answer: DeliveryError, never "not there".
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.charset import decode_bytes, default_encoding, python_encoding
from pydicom.datadict import tag_for_keyword
from pydicom.valuerep import TEXT_VR_DELIMS
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
)

from node.dicom.untrusted import failing_as, quietly, text, texts
from node.dimse.association import offered
from node.dimse.reference import Reference
from node.dimse.refusal import Address, unanswered
from node.dimse.status import SUCCESS
from node.errors import DeliveryError, Unreadable, Unsupported

# pynetdicom would write patients into the log, and decode them for that, right or wrong.
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False

_PENDING = (0xFF00, 0xFF01)
"""PS3.4 C.4.1.1.4; 0xFF01: some optional key was not supported."""
_NOT_OFFERED = {
    0x0118: "no such SOP class",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0211: "unrecognised operation",
}
"""PS3.7 C.5: asking again would not help."""


@dataclass(frozen=True, slots=True)
class StudyIdentity:
    """What a destination says of whose study it is; "" where it does not say.

    The texts are as `comparable_text` makes them.
    """

    patient_id: str
    issuer_of_patient_id: str
    accession_number: str


def find_study(study_uid: str, to: Address, calling_ae: str) -> tuple[StudyIdentity, ...]:
    """Return each different identity under which a destination has a study; () if it has not.

    Raises Unsupported if it does not offer C-FIND to us, DeliveryError if it gives no answer.
    """
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study_uid
    query.PatientID = query.IssuerOfPatientID = query.AccessionNumber = ""
    with offered(StudyRootQueryRetrieveInformationModelFind, to, calling_ae) as association:
        found = [
            StudyIdentity(
                comparable_text(match, "PatientID"),
                comparable_text(match, "IssuerOfPatientID"),
                comparable_text(match, "AccessionNumber"),
            )
            for match in _matches(association, query, to)
            if text(match, "StudyInstanceUID") == study_uid  # some ignore the key
        ]
    return tuple(dict.fromkeys(found))


def find_instances(references: Sequence[Reference], to: Address, calling_ae: str) -> frozenset[str]:
    """Return the SOP Instance UIDs of those objects that a destination lists.

    Raises Unsupported if it does not offer C-FIND to us, DeliveryError if it gives no answer.
    """
    series = dict.fromkeys((one.study_uid, one.series_uid) for one in references)
    if not series:
        return frozenset()
    with offered(StudyRootQueryRetrieveInformationModelFind, to, calling_ae) as association:
        listed = {
            (*place, sop_uid)
            for place in series
            for sop_uid in _instances_of(association, *place, to)
        }
    return frozenset(
        one.sop_uid for one in references if (one.study_uid, one.series_uid, one.sop_uid) in listed
    )


def _instances_of(
    association: Association, study_uid: str, series_uid: str, to: Address
) -> Iterator[str]:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = study_uid
    query.SeriesInstanceUID = series_uid
    query.SOPInstanceUID = ""
    for match in _matches(association, query, to):
        # Some leave these two out, and some ignore them.
        is_of_study = text(match, "StudyInstanceUID") in ("", study_uid)
        is_of_series = text(match, "SeriesInstanceUID") in ("", series_uid)
        if is_of_study and is_of_series:
            yield text(match, "SOPInstanceUID")


def _matches(association: Association, query: Dataset, to: Address) -> Iterator[Dataset]:
    """Ask, and yield the matches; raise unless the answer is whole and ends with Success."""
    asked_at = time.monotonic()
    give_up_at = asked_at + to.timeout_s
    try:
        answers = association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind)
    except (RuntimeError, ValueError) as error:
        raise DeliveryError(f"{to.ae_title} ended the association") from error
    for answer, match in answers:
        status = getattr(answer, "Status", None)
        if status is None:
            raise unanswered(to, "C-FIND", time.monotonic() - asked_at, to.timeout_s)
        if status not in _PENDING:
            _require_success(status, to)
            return
        if match is None:
            raise DeliveryError(f"{to.ae_title} gave an answer to C-FIND that cannot be read")
        if time.monotonic() > give_up_at:
            raise DeliveryError(f"{to.ae_title} has not answered C-FIND in {to.timeout_s:.0f} s")
        yield match


def _require_success(status: int, to: Address) -> None:
    if status in _NOT_OFFERED:
        raise Unsupported(
            f"{to.ae_title} answered C-FIND with 0x{status:04X} ({_NOT_OFFERED[status]})"
        )
    if status != SUCCESS:
        raise DeliveryError(f"{to.ae_title} answered C-FIND with 0x{status:04X}")


def comparable_text(dataset: Dataset, keyword: str) -> str:
    r"""Return a value as text that can be compared with what another system says of the same.

    Padding is gone and the character set does not matter; "" means that nothing is said. What
    cannot be decoded keeps its bytes, written as \xfc: it equals no text, only the same bytes.
    """
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    value = dataset.get_item(tag).value if tag in dataset else b""
    if not isinstance(value, bytes):
        return str("" if value is None else value).strip(" \0")
    value = value.strip(b" \0")
    try:
        with quietly(), failing_as(f"{keyword} is not of its character set"):
            return unicodedata.normalize("NFC", _decode(value, dataset))
    except Unreadable:
        return value.decode("ascii", "backslashreplace")


def _decode(value: bytes, dataset: Dataset) -> str:
    """Decode by the Specific Character Set (0008,0005); raise if that does not fit."""
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    names = [python_encoding[term] for term in texts(dataset, "SpecificCharacterSet") or [""]]
    # PS3.3 C.12.1.1.2: the default is ASCII; pydicom takes Latin 1.
    encodings = ["ascii" if name == default_encoding else name for name in names]
    decoded = decode_bytes(value, encodings, TEXT_VR_DELIMS)
    if "\ufffd" in decoded:  # pydicom's sign that it gave up
        raise UnicodeError
    return decoded.strip(" \0")
