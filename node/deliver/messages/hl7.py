r"""A triage level as HL7 v2.5.1: ORU^R01, of the segments MSH, PID, OBR and OBX.

Chapters 2 (control), 3 (PID) and 7 (OBR, OBX) of the standard. The format is the library's, but for
what it would let through: it takes "\F\" in a text for an escape sequence, and has no words for a
line break in one. So whatever needs escaping goes through it as characters that no text has, and
is put into escape sequences (2.7) behind it.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Group, Message
from hl7apy.exceptions import HL7apyException

from node.config import HL7Settings
from node.deliver.messages.level_message import LevelMessage
from node.errors import DeliveryError
from node.ledger import MessageKind
from node.outputs import wording
from node.result import Priority
from node.study import Whose

OWN_CODES = "99AINODE"
"""The coding system of the codes below: local, as its first two figures say (table 0396)."""
PROCEDURE = ("AI-TRIAGE", "AI triage")
"""OBR-4."""
HL7_LEVELS: Mapping[Priority, str] = {
    Priority.URGENT: "URGENT",
    Priority.SOON: "SOON",
    Priority.NOT_ASSESSED: "NOT-ASSESSED",
    Priority.ROUTINE: "ROUTINE",
}
OBSERVATIONS: Mapping[str, str] = {
    "AI-LEVEL": "AI triage level",
    "AI-LEVEL-BEFORE": "AI triage level before",
    "AI-SCORE": "AI score",
    "AI-POINT": "AI operating point",
    "AI-WHY": "Why the AI triage level",
    "AI-MODEL": "AI model",
    "AI-MODEL-VERSION": "AI model version",
    "AI-STATEMENT": "Status of this result",
    "113014": "DICOM Study",
}
"""OBX-3, in the order of the message. All but the last are ours; that is DICOM's, as IHE has it in
such messages (RAD TF-2, table 4.7-7): the Study Instance UID."""
_STUDY_UID = "113014"
SUB_ID = "1"
"""OBX-4: with OBR-3 and OBX-3 it says which observation a later message replaces."""
ENCODINGS: Mapping[str, str] = {"UNICODE UTF-8": "utf-8", "8859/1": "latin-1", "ASCII": "ascii"}
"""MSH-18 (table 0211): Python's name of each."""

_ESCAPED: Mapping[str, str] = {
    "|": "\\F\\",
    "^": "\\S\\",
    "&": "\\T\\",
    "~": "\\R\\",
    "\\": "\\E\\",
    "\r": "\\X0D\\",
    "\n": "\\X0A\\",
}
_STAND_INS: Mapping[str, str] = {c: chr(0xFDD0 + n) for n, c in enumerate(_ESCAPED)}
"""Noncharacters of Unicode: no text has them, and none is let in."""
_LONGEST = 199
"""Of a text (ST, 2.A.75) that the library checks."""
_LONGEST_ACCESSION = 16
"""A Short String (DICOM PS3.5 6.2); OBR-3 would be cut, and stand for several studies."""
_DELETED = '""'
"""As the whole of a field (2.5.3.3)."""
_LONGEST_NAMESPACE = 20
"""HD.1 (2.A.33)."""
_IS_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_NOTHING_LEFT = "^? " + "".join(_STAND_INS.values())
_REPRESENTATIONS = ("A", "I", "P")
"""XPN.8 (table 4000) of the groups of a DICOM name: alphabetic, ideographic, phonetic."""

_NO_NAME = "^^^^^^U"
"""PID-5 must be there (3.4.2.5): of a patient without a name it says that it is unspecified."""


@dataclass(frozen=True, slots=True)
class _Observation:
    code: str
    kind: str
    """OBX-2."""
    values: tuple[str, ...]
    """Of OBX-5, with what must be escaped in it already stood in for."""
    unit: str = ""


def why_unsayable(whose: Whose, settings: HL7Settings) -> str:
    """Return why nothing can be said of a study to this receiver, "" if something can."""
    found = [
        _why_unsayable("patient ID", whose.patient_id, _LONGEST, settings),
        _why_unsayable("accession number", whose.accession_number, _LONGEST_ACCESSION, settings),
    ]
    return next(filter(None, found), "")


def _why_unsayable(name: str, value: str, longest: int, settings: HL7Settings) -> str:
    words = ""
    if not value.strip():
        words = f"the study has no {name}"
    elif value == _DELETED:
        words = f"the {name} of the study is {value}, which in HL7 deletes what is there"
    elif "?" in value:
        words = f"the {name} of the study cannot be read"
    elif _written(value, settings) != value:
        words = f"the {name} of the study cannot be written in {settings.character_set}"
    elif len(value) > longest:
        words = f"the {name} of the study is longer than {longest} characters"
    return words


def order_number(message: LevelMessage) -> str:
    """Return the filler order number: the accession number, and whose and which study it is of.

    Several studies may have one accession number, and a study that was sent under a wrong one is
    told anew under the right one.
    """
    return f"{message.whose.accession_number}-{message.thread}"


def build_hl7(
    message: LevelMessage,
    former: Sequence[LevelMessage],
    settings: HL7Settings,
    *,
    control_id: str,
    zone: tzinfo,
) -> bytes:
    """Return the message in the receiver's character set, its segments ended by CR.

    `former` are those of the same thread that it may have: what was said then, and is not now, is
    deleted; with what is wrong, it is wrong. Raises DeliveryError if it cannot be written.
    """
    try:
        text = str(_message(message, former, settings, control_id, zone).to_er7())
    except (HL7apyException, ValueError) as error:  # it raises the latter, too
        raise DeliveryError(
            f"what is to be told of study {message.study_uid} cannot be written as HL7 "
            f"({type(error).__name__})"
        ) from error
    for character, stand_in in _STAND_INS.items():
        text = text.replace(stand_in, _ESCAPED[character])
    return (text.rstrip("\r") + "\r").encode(ENCODINGS[settings.character_set])


def _message(
    message: LevelMessage,
    former: Sequence[LevelMessage],
    settings: HL7Settings,
    control_id: str,
    zone: tzinfo,
) -> Message:
    whole = Message("ORU_R01", version="2.5.1", validation_level=VALIDATION_LEVEL.STRICT)
    made_at = _time(message.made_at, zone)
    _fill_header(whole.msh, settings, control_id, made_at)
    result = whole.add_group("ORU_R01_PATIENT_RESULT")
    patient = result.add_group("ORU_R01_PATIENT").add_segment("PID")
    _fill_patient(patient, message.whose, settings)
    order = result.add_group("ORU_R01_ORDER_OBSERVATION")
    request = order.add_segment("OBR")
    request.obr_1 = "1"
    request.obr_2 = _text(message.whose.accession_number, settings)
    request.obr_3 = f"{_text(order_number(message), settings)}^{settings.sending_application}"
    request.obr_4 = f"{PROCEDURE[0]}^{PROCEDURE[1]}^{OWN_CODES}"
    request.obr_7 = _time(message.last_image_at, zone)
    request.obr_22 = made_at
    request.obr_25 = settings.result_status
    status = {
        MessageKind.LEVEL: settings.result_status,
        MessageKind.WITHDRAWN: "D",
        MessageKind.WRONG: "W",
    }[message.kind]
    said = {one.code: (one, status) for one in _observations(message, settings)}
    status_of_others = "D" if message.kind == MessageKind.LEVEL else status
    for earlier in reversed(former):
        for one in _observations(earlier, settings):
            said.setdefault(one.code, (one, status_of_others))
    for number, code in enumerate((code for code in OBSERVATIONS if code in said), start=1):
        _add_observation(order, number, *said[code], made_at)
    whole.validate()
    return whole


def _fill_header(header: Any, settings: HL7Settings, control_id: str, made_at: str) -> None:
    header.msh_3 = settings.sending_application
    header.msh_4 = settings.sending_facility or ""
    header.msh_5 = settings.receiving_application or ""
    header.msh_6 = settings.receiving_facility or ""
    header.msh_7 = made_at
    header.msh_9 = "ORU^R01^ORU_R01"
    header.msh_10 = control_id
    header.msh_11 = "P"
    header.msh_12 = "2.5.1"
    header.msh_18 = settings.character_set


def _fill_patient(patient: Any, whose: Whose, settings: HL7Settings) -> None:
    patient.pid_3 = f"{_text(whose.patient_id, settings)}^^^{_authority(whose, settings)}"
    for group, representation in zip(whose.patient_name.split("="), _REPRESENTATIONS, strict=False):
        name = _name(group, settings)
        # In a character set without the script of a group nothing is left of it.
        if name.strip(_NOTHING_LEFT):
            patient.add_field("pid_5").value = f"{name}^^{representation}"
    if not patient.pid_5:
        patient.pid_5 = _NO_NAME
    if _is_date(whose.birth_date):
        patient.pid_7 = whose.birth_date


def _is_date(value: str) -> bool:
    """Whether it is a day of the calendar: others are left out, for the library takes none."""
    if not re.fullmatch("[0-9]{8}", value):
        return False
    try:
        datetime.strptime(value, "%Y%m%d")
    except ValueError:
        return False
    return True


def authority_of(whose: Whose, settings: HL7Settings) -> str:
    """Return who has given the patient ID, as the receiver is told it."""
    issuer = "" if whose.issuer == _DELETED else whose.issuer
    return _written(issuer or settings.assigning_authority or "", settings)


def _authority(whose: Whose, settings: HL7Settings) -> str:
    """Return CX.4: a namespace, or what is no short name as a universal ID (2.A.33)."""
    issuer = authority_of(whose, settings)
    written = _text(issuer, settings)
    if _IS_OID.fullmatch(issuer):
        return f"&{written}&ISO"
    return written if len(issuer) <= _LONGEST_NAMESPACE else f"&{written}&L"


def _name(group: str, settings: HL7Settings) -> str:
    """Return XPN.1 to XPN.6: DICOM has the prefix before the suffix (PS3.5 6.2.1)."""
    parts = ["" if part == _DELETED else _text(part, settings) for part in group.split("^")]
    family, given, middle, prefix, suffix = (*parts, "", "", "", "", "")[:5]
    return f"{family}^{given}^{middle}^{suffix}^{prefix}^"


def _observations(message: LevelMessage, settings: HL7Settings) -> Iterator[_Observation]:
    yield _Observation("AI-LEVEL", "CWE", (_level(message.level),))
    if message.before is not None:
        yield _Observation("AI-LEVEL-BEFORE", "CWE", (_level(message.before),))
    if message.score is not None:
        unit = message.score.unit
        yield _Observation(
            "AI-SCORE",
            "NM",
            (wording.written_number(message.score),),
            f"{_text(unit.value, settings)}^{_text(unit.meaning, settings)}^UCUM",
        )
    if message.point is not None:
        words = f"{message.point.name}: at least {message.point.in_unit}"
        yield _Observation("AI-POINT", "ST", (_text(words, settings),))
    about = f"{message.about}: " if message.about else ""
    yield _texts("AI-WHY", f"{about}{message.why}", settings)
    model = f"{message.model.title} ({message.model.name}, {message.model.manufacturer})"
    yield _Observation("AI-MODEL", "ST", (_text(model, settings),))
    yield _Observation("AI-MODEL-VERSION", "ST", (_text(message.model.version, settings),))
    yield _texts("AI-STATEMENT", message.statement, settings)
    yield _Observation(_STUDY_UID, "ST", (_text(message.study_uid, settings),))


def _texts(code: str, words: str, settings: HL7Settings) -> _Observation:
    """Return a text of as many lines as it needs, each a repetition of OBX-5 (TX, 2.A.78)."""
    lines = textwrap.wrap(words, _LONGEST) or [""]
    return _Observation(code, "TX", tuple(_text(line, settings) for line in lines))


def _level(level: Priority) -> str:
    return f"{HL7_LEVELS[level]}^{level}^{OWN_CODES}"


def _add_observation(
    order: Group, number: int, one: _Observation, status: str, made_at: str
) -> None:
    segment = order.add_group("ORU_R01_OBSERVATION").add_segment("OBX")
    segment.obx_1 = str(number)
    segment.obx_2 = one.kind
    scheme = "DCM" if one.code == _STUDY_UID else OWN_CODES
    segment.obx_3 = f"{one.code}^{OBSERVATIONS[one.code]}^{scheme}"
    segment.obx_4 = SUB_ID
    for value in one.values:
        segment.add_field("obx_5").value = value
    if one.unit:
        segment.obx_6 = one.unit
    segment.obx_11 = status
    segment.obx_14 = made_at


def _text(words: str, settings: HL7Settings) -> str:
    """Return a value as it stands in a field until what must be escaped is."""
    written = _written(words, settings)[:_LONGEST]
    return "".join(_STAND_INS.get(character, character) for character in written)


def _written(words: str, settings: HL7Settings) -> str:
    """Return what the character set has of a text, without control characters; else "?"."""
    encoding = ENCODINGS[settings.character_set]
    found = []
    for character in words:
        is_odd = unicodedata.category(character) in ("Cc", "Cs", "Cn")
        if is_odd and character not in _ESCAPED:
            continue
        try:
            character.encode(encoding)
            found.append(character)
        except UnicodeEncodeError:
            plain = wording.ascii_text(character) if encoding != "utf-8" else "?"
            found.append(plain)
    return "".join(found)


def _time(at: float, zone: tzinfo) -> str:
    """Return a time on the site's clock, with its distance from UTC (TS, 2.A.77)."""
    return datetime.fromtimestamp(at, zone).strftime("%Y%m%d%H%M%S%z")
