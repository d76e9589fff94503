"""Which body part an object says it shows.

By Body Part Examined (0018,0015), else by the code of its Anatomic Region Sequence (0008,2218), in
the terms of PS3.16 Annex L, where the two stand side by side.
"""

from __future__ import annotations

from pydicom import Dataset

from node.dicom.snomed import snomed_codes
from node.dicom.untrusted import items, text

_CODES = {
    "ABDOMEN": ("818981001", "113345001", "T-D4000"),
    "ANKLE": ("70258002", "T-15750"),
    "ARM": ("40983000", "T-D8200"),
    "AXILLA": ("91470000", "T-D8104"),
    "BREAST": (
        *("76752008", "T-04000"),
        *("73056007", "T-04020"),  # right
        *("80248007", "T-04030"),  # left
        *("63762007", "T-04080"),  # both
    ),
    "CHEST": ("816094009", "51185008", "43799004", "T-D3000"),
    "CSPINE": ("122494005", "T-11501"),
    "ELBOW": ("16953009", "T-15430"),
    "FOOT": ("56459004", "T-D9700"),
    "FOREARM": ("14975008", "T-D8500"),
    "HAND": ("85562004", "T-D8700"),
    "HEAD": ("69536005", "T-D1100"),
    "HIP": ("29836001", "T-D2500", "24136001", "T-15710"),
    "KNEE": ("72696002", "T-D9200"),
    "LEG": ("30021000", "T-D9400"),
    "LSPINE": ("122496007", "T-11503"),
    "NECK": ("45048000", "T-D1600"),
    "PELVIS": ("816092008", "12921003", "T-D6000"),
    "SHOULDER": ("16982005", "T-D2220"),
    "SKULL": ("89546000", "T-11100"),
    "THIGH": ("68367000", "T-D9100"),
    "TSPINE": ("122495006", "T-11502"),
    "WRIST": ("74670003", "T-15460"),
}
"""Terms of Body Part Examined, each with the codes of the same: SNOMED CT, today's and former ones,
and SNOMED RT."""

TERMS = {code: term for term, codes in _CODES.items() for code in codes}
"""The same, by code."""

_LONGEST = 64

_NO_BODY_PART = frozenset({"PHANTOM", "UNKNOWN", "OTHER", "NONE", "N/A", "NA"})
"""What is written as Body Part Examined and is no part of a body."""


KNOWN = frozenset(_CODES)
"""The terms that are understood here; what else is said may be any word in any language."""


_STANDARD = """
ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BILEDUCT BLADDER BRAIN BREAST BRONCHUS
BUTTOCK CALCANEUS CALF CAROTID CEREBELLUM CERVIX CHEEK CHEST CHESTABDOMEN CHESTABDPELVIS
CIRCLEOFWILLIS CLAVICLE COCCYX COLON CORNEA CORONARYARTERY CSPINE CTSPINE DUODENUM EAR ELBOW
ESOPHAGUS EXTREMITY EYE EYELID FACE FEMUR FIBULA FINGER FOOT FOREARM GALLBLADDER HAND HEAD
HEADNECK HEART HIP HUMERUS IAC ILEUM ILIUM JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE
LSSPINE LUNG MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE
ORBIT OVARY PANCREAS PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RADIUS RADIUSULNA RECTUM RIB
SCALP SCAPULA SCLERA SCROTUM SHOULDER SKULL SPINE SPLEEN SSPINE STERNUM STOMACH SUBMANDIBULAR
TESTIS THIGH THUMB THYMUS THYROID TIBIA TIBIAFIBULA TLSPINE TMJ TOE TONGUE TRACHEA TSPINE ULNA
URETER URETHRA UTERUS VAGINA VULVA WHOLEBODY WRIST ZYGOMA BODY THORAX TRUNK
"""
_MAY_BE_SAID = KNOWN | frozenset(_STANDARD.split())
"""The terms of PS3.16 Annex L, Table L-1, and what is written for them: all else may be anything,
and somebody's name as well."""


def body_part(header: Dataset) -> str:
    """Return the body part that an object says it shows, "" if it does not say.

    A region that has no term here is said by its code: it is some other body part.
    """
    said = " ".join(text(header, "BodyPartExamined").upper().split())[:_LONGEST]
    if said and said not in _NO_BODY_PART:
        return said
    code = _coded(header)
    return TERMS.get(code, code[:_LONGEST])


def coded_body_part(header: Dataset) -> str:
    """Return the term of the Anatomic Region Sequence alone, "" if it has none known here."""
    return TERMS.get(_coded(header), "")


def _coded(header: Dataset) -> str:
    codes = snomed_codes(items(header, "AnatomicRegionSequence"))
    return codes[0] if codes else ""


def code_of(term: str) -> str:
    """Return today's SNOMED CT code of a body part, "" if none is known here."""
    return _CODES[term][0] if term in _CODES else ""


def body_part_in_words(said: str) -> str:
    """Return a body part as it may stand in a sentence: what is no term may be anything."""
    return said if said in _MAY_BE_SAID else "another body part"
