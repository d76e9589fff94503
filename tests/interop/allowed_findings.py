"""What validators say of the objects that is no fault of theirs, each with its reason.

An entry is for one validator, and no wider than its reason: for some kinds, some sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .validators import REPORTS


@dataclass(frozen=True, slots=True)
class Allowed:
    """A finding that is expected."""

    validator: str
    pattern: str
    reason: str
    kinds: tuple[str, ...] = ()
    """Of which kinds of object; of all, if there are none."""
    sources: tuple[str, ...] = ()
    """Of which sources; of all, if there are none."""

    def covers(self, validator: str, kind: str | None, source: str, line: str) -> bool:
        return (
            self.validator == validator
            and (not self.kinds or kind in self.kinds)
            and (not self.sources or source in self.sources)
            and re.search(self.pattern, line) is not None
        )


COPIED = (
    "PatientID|PatientSex|PatientBirthDate|StudyTime|StudyID|AccessionNumber|StudyDescription"
    "|ReferringPhysicianName"
)
"""What is wrong in the dirty source. It is copied as it is: a value that was mended, or left out,
would make the objects another patient's or another study's in the eyes of an archive."""
OF_OUR_SCHEME = r"Unrecognized defined term = <99AINODE>"
MEASUREMENT_REPORTS: tuple[str, ...] = ("measurement-report", "measurement-report-3d")
UNDECLARED = ("no character set", "unknown character set")
DCMTK_CHARACTER_SETS = r"^W: The VR checker does not support this Specific Character Set: "

OF_CONTENT_TREES: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        r"^W: Check for template constraints not yet supported$",
        "said of every object of these two SOP classes; PixelMed checks their templates",
        ("mammography-cad", "key-images"),
        (),
    ),
    (
        rf"{DCMTK_CHARACTER_SETS}(ISO_IR 192|ISO 2022 IR 13|.ISO 2022 IR 149|ISO_IR 999)",
        "dcmtk of 2022 checks the letters of single-byte character sets only",
        REPORTS,
        ("Japanese", "Korean", "UTF-8", "another character set", "unknown character set"),
    ),
    (
        r"^W: Reading unknown/unsupported SpecificCharacterSet ",
        "dcmtk knows no code extensions without a first value, nor, of course, 999",
        REPORTS,
        ("Korean", "unknown character set"),
    ),
    (
        r"^W: PatientName \(0010,0010\) contains invalid character\(s\)",
        "the name is copied byte for byte, whatever the source failed to declare",
        REPORTS,
        ("no character set",),
    ),
    (
        rf"^W: ({COPIED}) \(.*\) violates VR definition",
        "copied as it is",
        REPORTS,
        ("dirty",),
    ),
)
"""What dcmtk says whenever it reads one: pattern, reason, kinds, sources."""

ALLOWED: tuple[Allowed, ...] = (
    # dicom3tools
    Allowed(
        "dciodvfy",
        r"ContributingEquipmentSequence.*DeviceUID.*not present in standard DICOM IOD",
        "the attribute is younger than dicom3tools of 2022; IHE AIR asks for it",
    ),
    Allowed(
        "dciodvfy",
        OF_OUR_SCHEME,
        "our own scheme, declared in Coding Scheme Identification Sequence (0008,0110)",
        kinds=("measurement-report", "measurement-report-3d", "mammography-cad", "segmentation"),
    ),
    Allowed(
        "dciodvfy",
        r"</ImageLaterality\(0020,0062\)> - Attribute is not present in standard DICOM IOD",
        "it stands in for Laterality (PS3.3 C.7.3.1), which a series of both breasts cannot have",
        kinds=("presentation-state",),
    ),
    Allowed(
        "dciodvfy",
        r"SoftcopyVOILUTSequence.*LUTDescriptor.*Unrecognized enumerated value = <0xc>",
        "a presentation state may have 8 to 16 bits (PS3.3 C.11.2.1.1); it is the source's LUT",
        kinds=("presentation-state",),
        sources=("GE-like", "Hologic-like"),
    ),
    Allowed(
        "dciodvfy",
        r"CodingSchemeDesignator is deprecated = <(SNM3|SRT)>",
        "the view is copied as the modality wrote it",
        kinds=("capture",),
        sources=("GE-like", "Hologic-like"),
    ),
    Allowed(
        "dciodvfy",
        r"(PatientID|StudyID).*needed to build DICOMDIR",
        "what a study lacks is not made up, even if an index of a disc would want it",
        sources=("of nobody",),
    ),
    Allowed(
        "dciodvfy",
        r"</PatientName\(0010,0010\)\[1\]>.*Character invalid for character repertoire",
        "the name is copied byte for byte, whatever the source failed to declare",
        sources=UNDECLARED,
    ),
    Allowed(
        "dciodvfy",
        r"SpecificCharacterSet.*Unrecognized defined term = <ISO_IR 999>",
        "copied with the name: whoever knows it can still read the name",
        sources=("unknown character set",),
    ),
    Allowed(
        "dciodvfy",
        rf"^Error - </({COPIED})\([0-9,]+\)\[1\]> - (Value invalid for this VR|Unrecognized)",
        "copied as it is",
        sources=("dirty",),
    ),
    Allowed(
        "dcentvfy",
        r"Different information entities for attribute.*AccessionNumber",
        "also an attribute of the requests (0040,0275) of a series: it knows one place only",
    ),
    Allowed(
        "dcentvfy",
        r"^Warning - Attribute present in one instance but not the other - Element=<"
        r"(PatientName|PatientID|PatientSex|StudyID|AccessionNumber)>",
        "we write empty (Type 2) what the source leaves out",
        sources=("of nobody",),
    ),
    # dicom-validator
    Allowed(
        "dicom-validator",
        r"^General: ImageLaterality TagUnexpected$",
        "it stands in for Laterality (PS3.3 C.7.3.1), which a series of both breasts cannot have",
        kinds=("presentation-state",),
    ),
    Allowed(
        "dicom-validator",
        rf"^(patient|general-study): ({COPIED}) InvalidValue$",
        "copied as it is",
        sources=("dirty",),
    ),
    # dcmtk
    *(
        Allowed(tool, pattern, reason, kinds, sources)
        for tool in ("dsrdump", "dsr2html")
        for pattern, reason, kinds, sources in OF_CONTENT_TREES
    ),
    Allowed(
        "dsr2html",
        r"element absent but extended characters used|^exit status 2$|^prints nothing$",
        "it prints no page of names it cannot read; dsrdump reads the same object",
        REPORTS,
        ("Korean", "no character set"),
    ),
    Allowed(
        "dcmpschk",
        r"does not conform.*Affected attribute: (PatientName|ReferringPhysicianName|StudyDesc.*)",
        "dcmtk of 2022 checks the letters of single-byte character sets only",
        ("presentation-state",),
        ("UTF-8",),
    ),
    Allowed(
        "dcmpschk",
        rf"(does not conform|Length too large).*({COPIED})",
        "copied as it is",
        ("presentation-state",),
        ("dirty",),
    ),
    Allowed(
        "dcmpschk",
        r"^patientName absent or empty in presentation state$",
        "what a study lacks is not made up",
        ("presentation-state",),
        ("of nobody",),
    ),
    # PixelMed
    Allowed(
        "PixelMed",
        r'\(121058,DCM,"Procedure reported"\).*not found in context group 100',
        "CID 100 is a baseline group (others may be used) and has no mammography in it",
        MEASUREMENT_REPORTS,
    ),
    Allowed(
        "PixelMed",
        r"^(Internal Error: |\s+(Template 1420 .*/\[Row 1\] NUM CID 7465"
        r"|: Concept Name CID is empty or missing - |7465))$",
        "PixelMed of 2022 has no list for CID 7465, and says so in four lines",
        MEASUREMENT_REPORTS,
    ),
    Allowed(
        "PixelMed",
        r'\(126011,DCM,"Derived Imaging Measurements"\)/NUM .*: Content Item not in template',
        "without that list it knows no row of TID 1420",
        MEASUREMENT_REPORTS,
    ),
    Allowed(
        "PixelMed",
        r'\(18748-4,LN,"Diagnostic Imaging Report"\)/CONTAINER \(121070,DCM,"Findings"\)'
        r"/(NUM|CODE) .*: Content Item not in template",
        "TID 2000 and 2002 are extensible: numbers and grades besides the words that say them",
        MEASUREMENT_REPORTS,
    ),
    Allowed(
        "PixelMed",
        r'\(AI(MODEL)?LEVEL(BEFORE)?,99AINODE,"[^"]*"\)/TEXT \(121050,DCM,"Equivalent Meaning '
        r'of Concept Name"\): Content Item not in template',
        "TID 1500 is extensible: by what kind of model a level was given stands beside it",
        MEASUREMENT_REPORTS,
    ),
    Allowed(
        "PixelMed",
        r'\("Failed (Detections|Analyses)"\) than code meaning in template.*"Failed  \1"',
        "two blanks in PixelMed's template",
        ("mammography-cad",),
    ),
    Allowed(
        "PixelMed",
        r'has different code meaning \("square centimeter"\) than .*\("Square centimeter"\)',
        "the meaning is the manifest's; what the code is, value and scheme say (PS3.3 8.3)",
        ("mammography-cad",),
    ),
    Allowed(
        "PixelMed",
        r"Template 1402\w* VolumeMeasurementTemplate.*Code \(ml,UCUM,",
        "the unit in which radiologists say volumes; CID 7462, without it, is extensible",
        kinds=MEASUREMENT_REPORTS,
    ),
)


def unexpected(validator: str, kind: str | None, source: str, lines: Iterable[str]) -> list[str]:
    """Return the findings that have no reason."""
    return [
        line
        for line in lines
        if not any(allowed.covers(validator, kind, source, line) for allowed in ALLOWED)
    ]
