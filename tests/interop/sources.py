"""Studies as hospitals send them: names in other scripts, broken values, vendors' ways.

Every object copies patient and study byte for byte, and refers to views, windows and equipment of
the source. What a source does here, the sources of hospitals do; the values are made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from outputs.drafts import Change, draft, with_bytes
from pydicom import Dataset

from node.outputs.case import Draft
from node.study import View
from node.trial import phantom

SNM3_VIEWS = {
    "CC": ("R-10242", "cranio-caudal"),
    "MLO": ("R-10226", "medio-lateral oblique"),
}
"""What views were called before SNOMED CT, and what many modalities still write."""


@dataclass(frozen=True, slots=True)
class Source:
    """How the images of a study are described."""

    change: Change | None = None
    """Edits each object before it is encoded."""
    encoded: Mapping[str, bytes] = field(default_factory=dict)
    """Values as encoded, by keyword; no writer that follows the rules would write them."""

    def exam(self, refuse: Mapping[View, str] | None = None) -> Draft:
        """Return an exam of four views from this source; `refuse` gives reasons by view."""
        even = {keyword: value + b" " * (len(value) % 2) for keyword, value in self.encoded.items()}
        return with_bytes(draft(change=self.change, refuse=refuse), **even)


def _well_run(dataset: Dataset) -> None:
    """Describe a request, its issuers and a zone."""
    request = Dataset()
    request.RequestedProcedureID = "RP1"
    request.RequestedProcedureDescription = "Screening"
    dataset.RequestAttributesSequence = [request]
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "HOSPITAL"
    dataset.IssuerOfAccessionNumberSequence = [issuer]
    dataset.IssuerOfPatientID = "HIS"
    dataset.TimezoneOffsetFromUTC = "+0100"


def _of_nobody(dataset: Dataset) -> None:
    for keyword in ("PatientName", "PatientID", "PatientSex", "StudyID", "AccessionNumber"):
        delattr(dataset, keyword)


def _undeclared(dataset: Dataset) -> None:
    del dataset.SpecificCharacterSet


def _like_ge(dataset: Dataset) -> None:
    dataset.Manufacturer = "GE MEDICAL SYSTEMS"
    dataset.ManufacturerModelName = "Senographe Essential"
    dataset.InstitutionName = "Clinic"
    dataset.SoftwareVersions = ["Application Package VERSION ADS_53.40", "PXIM VERSION 55.10"]
    _view_as_snm3(dataset)
    block = dataset.private_block(0x0045, "GEMS_SENO_02", create=True)
    block.add_new(0x06, "DS", "2.5")
    block.add_new(0x1B, "LO", "CC LEFT")
    block.add_new(0x90, "OB", bytes(64))
    dataset.WindowCenter, dataset.WindowWidth = ["2048", "2048", "2048"], ["700", "500", "900"]
    dataset.WindowCenterWidthExplanation = ["NORMAL", "HARDER", "SOFTER"]
    dataset.VOILUTFunction = "SIGMOID"
    dataset.VOILUTSequence = [_lut(name) for name in ("NORMAL", "HARDER", "SOFTER")]


def _like_hologic(dataset: Dataset) -> None:
    dataset.Manufacturer = "HOLOGIC, Inc."
    dataset.ManufacturerModelName = "Selenia Dimensions"
    dataset.DeviceSerialNumber = "81001234567"
    dataset.SoftwareVersions = ["AWS:1_8_3_63", "PXCM:1_4_0_7", "ARR:1_7_3_10"]
    _view_as_snm3(dataset)
    dataset.ViewCodeSequence[0].CodingSchemeDesignator = "SRT"
    dataset.ImageType = ["DERIVED", "PRIMARY", "", "", "", "", "", "", "150000"]
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.PresentationLUTShape = "INVERSE"
    lorad = dataset.private_block(0x0019, "LORAD, Selenia", create=True)
    lorad.add_new(0x06, "LO", "4000")
    hologic = dataset.private_block(0x7E01, "HOLOGIC, Inc.", create=True)
    hologic.add_new(0x01, "LO", "200.0")
    hologic.add_new(0x12, "OW", bytes(64))
    dataset.WindowCenter, dataset.WindowWidth = "2047", "4096"
    dataset.WindowCenterWidthExplanation = "Normal"
    dataset.VOILUTSequence = [_lut("Normal")]


def _view_as_snm3(dataset: Dataset) -> None:
    value, meaning = SNM3_VIEWS[dataset.ViewPosition]
    dataset.ViewCodeSequence = [phantom.code(value, "SNM3", meaning)]
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []


def _lut(explanation: str) -> Dataset:
    """Return a VOI LUT of 4096 values of 12 bits, an S as vendors give them."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 12])
    item.LUTExplanation = explanation
    values = (round(4095 * (3 - 2 * x) * x * x) for x in (n / 4095 for n in range(4096)))
    item.add_new("LUTData", "OW", b"".join(value.to_bytes(2, "little") for value in values))
    return item


SOURCES: Mapping[str, Source] = {
    "Latin-1": Source(
        encoded={
            "SpecificCharacterSet": b"ISO_IR 100",
            "PatientName": "Müller^Jürgen".encode("latin-1"),
            "StudyDescription": "Früherkennung".encode("latin-1"),
        }
    ),
    "Korean": Source(  # PS3.5 I.2
        encoded={
            "SpecificCharacterSet": b"\\ISO 2022 IR 149",
            "PatientName": b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"
            b"=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        }
    ),
    "Japanese": Source(  # PS3.5 H.3.2
        encoded={
            "SpecificCharacterSet": b"ISO 2022 IR 13\\ISO 2022 IR 87",
            "PatientName": b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3"
            b"=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
            b"=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        }
    ),
    "UTF-8": Source(  # PS3.5 J.1
        encoded={
            "SpecificCharacterSet": b"ISO_IR 192",
            "PatientName": "Wang^XiaoDong=王^小東".encode(),
            "ReferringPhysicianName": "Ångström^Åsa".encode(),
            "StudyDescription": "乳房 X 線".encode(),
        }
    ),
    "no character set": Source(
        change=_undeclared, encoded={"PatientName": "Müller^Jürgen".encode("latin-1")}
    ),
    "unknown character set": Source(
        encoded={
            "SpecificCharacterSet": b"ISO_IR 999",
            "PatientName": "Müller^Jürgen".encode("latin-1"),
        }
    ),
    "another character set": Source(
        encoded={
            "SpecificCharacterSet": b"ISO_IR 192",
            "PatientName": "Müller^Jürgen".encode("latin-1"),
        }
    ),
    "of nobody": Source(change=_of_nobody),
    "dirty": Source(
        encoded={
            "PatientID": b"4711/" + b"0" * 75,
            "PatientSex": b"weiblich",
            "PatientBirthDate": b"14.02.1965",
            "StudyTime": b"10:15",
            "StudyID": b"STUDY-2026-03-10-0001",
            "AccessionNumber": b"ACCESSION-2026-03-10-0001",
            "StudyDescription": b"Screening mammography of both breasts in two planes " * 2,
            "ReferringPhysicianName": b"A^B^C^D^E^F^G",
        }
    ),
    "GE-like": Source(change=_like_ge),
    "Hologic-like": Source(change=_like_hologic),
    "well-run": Source(change=_well_run),
}
