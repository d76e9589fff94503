"""The one writer of patient, study, series and equipment attributes.

Patient and study are the source's, byte for byte; series, equipment and times are ours, plain
ASCII, and depend on the draft alone, so that the same draft gives the same bytes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from node import __version__
from node.identity import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    MANUFACTURER,
    MODEL_NAME,
    OWN_DEVICE_UID,
)
from node.outputs import verbatim
from node.outputs.case import Draft, local_time
from node.outputs.wording import ascii_text, level_in_lists
from node.result import Code, ModelIdentity, Result

PATIENT = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "OtherPatientIDsSequence",
    "PatientBirthDate",
    "PatientSex",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "SyntheticData",
)
STUDY = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "ReferringPhysicianIdentificationSequence",
    "StudyID",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "StudyDescription",
    "ProcedureCodeSequence",
    "ReferencedStudySequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
)
COPIED = (*PATIENT, *STUDY)
TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
ACQUISITION_EQUIPMENT = (
    "Manufacturer",
    "InstitutionName",
    "StationName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
)
INSTANCES_PER_VERSION = 1000
LO_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Series:
    """A series of ours in the study; all versions share it while what describes it stays."""

    key: tuple[str, ...]
    """What tells it from our other series, such as ("measurement-report", "breast-area")."""
    modality: str
    number: int
    what: str
    """The middle of "AI Breast Area Report - AI generated"."""
    results: tuple[Result, ...]
    """Whose words it carries."""

    def description(self, level: str = "") -> str:
        """Return Series Description: constant for a model, as hanging rules of viewers match on it.

        But for the level, where a destination's preset asks for it.
        """
        title = ascii_text(self.results[0].model.title) if len(self.results) == 1 else ""
        title = title.removeprefix("AI ")
        room = max(0, LO_LENGTH - len(f"AI {level}  {self.what} - AI generated"))
        named = " ".join(f"AI {level} {title[:room].strip()} {self.what} - AI generated".split())
        # The longest level of a demonstration leaves no room for saying twice that it is by AI.
        return named if len(named) <= LO_LENGTH else named.removesuffix(" - AI generated")


def begin(draft: Draft, series: Series, sop_class: str, name: str, index: int) -> Dataset:
    """Return a new object with its header: the index-th of its series in this version, from 1."""
    dataset = Dataset()
    verbatim.copy(draft.source, dataset, ("SpecificCharacterSet", *COPIED))
    for keyword in TYPE_2:
        if keyword not in dataset:
            setattr(dataset, keyword, "")
    if draft.source_zone is not None:
        verbatim.copy(draft.source, dataset, ("TimezoneOffsetFromUTC",))
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = draft.uid(*series.key, name)
    dataset.InstanceNumber = (draft.version.number - 1) * INSTANCES_PER_VERSION + index
    dataset.Modality = series.modality
    description = series.description(level_in_lists(draft, series.results))
    dataset.SeriesInstanceUID = series_uid(draft, series)
    dataset.SeriesNumber = series.number
    dataset.SeriesDescription = description
    is_research = any(result.model.is_research for result in series.results)
    dataset.ContentQualification = "RESEARCH" if is_research else "PRODUCT"
    _write_times(dataset, local_time(draft, draft.version.decided_at))
    _write_equipment(dataset, draft, series)
    _write_file_meta(dataset)
    verbatim.keep(dataset)
    return dataset


def series_uid(draft: Draft, series: Series) -> str:
    """Return the UID of a series of ours."""
    description = series.description(level_in_lists(draft, series.results))
    return draft.series_uid(*series.key, description, *software_versions())


@functools.cache  # each look at what is installed parses a file, and each object names it
def software_versions() -> tuple[str, ...]:
    """Return the node's own version, and the version of what runs the networks."""
    versions = [__version__]
    for package in ("onnxruntime", "onnxruntime-gpu"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return tuple(versions)


def body_part_examined(source: Dataset) -> str:
    """Return the Body Part Examined (0018,0015) of an image, "" if it is not known."""
    said = verbatim.plain(source, "BodyPartExamined")
    if re.fullmatch(r"[A-Z0-9_ ]{1,16}", said):
        return said
    return "BREAST" if verbatim.plain(source, "Modality") == "MG" else ""


def code_item(code: Code) -> Dataset:
    """Return a code sequence item (PS3.3 8.8); long code values go where they belong."""
    item = Dataset()
    if len(code.value) > 16:
        item.LongCodeValue = code.value
    else:
        item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme
    item.CodeMeaning = ascii_text(code.meaning)[:LO_LENGTH]
    return item


def _write_times(dataset: Dataset, moment: datetime) -> None:
    """Write when it was made; no Series Date, which all versions would have to share."""
    for what in ("InstanceCreation", "Content"):
        setattr(dataset, f"{what}Date", f"{moment:%Y%m%d}")
        setattr(dataset, f"{what}Time", f"{moment:%H%M%S}")


def _write_equipment(dataset: Dataset, draft: Draft, series: Series) -> None:
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.DeviceSerialNumber = ascii_text(draft.version.installation)[:LO_LENGTH]
    dataset.SoftwareVersions = list(software_versions())
    dataset.DeviceUID = OWN_DEVICE_UID
    dataset.InstanceCreatorUID = OWN_DEVICE_UID
    models = {result.model: result.ran_on for result in series.results}
    dataset.ContributingEquipmentSequence = [
        _acquisition(draft.source),
        *_algorithms(draft, models),
    ]


def _acquisition(source: Dataset) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [
        code_item(Code("109101", "DCM", "Acquisition Equipment"))
    ]
    verbatim.copy(source, item, ACQUISITION_EQUIPMENT)
    if not verbatim.value_bytes(item, "Manufacturer"):
        item.add_new("Manufacturer", "LO", "UNKNOWN")
    verbatim.keep(item)
    return item


def _algorithms(draft: Draft, models: Mapping[ModelIdentity, str]) -> list[Dataset]:
    """Return one item per algorithm; the same words as in the SR's observer (IHE AIR 6.5.3.1)."""
    moment = local_time(draft, draft.version.decided_at)
    items = []
    for model, ran_on in models.items():
        item = Dataset()
        item.PurposeOfReferenceCodeSequence = [
            code_item(Code("109102", "DCM", "Processing Equipment"))
        ]
        item.Manufacturer = ascii_text(model.manufacturer)[:LO_LENGTH]
        item.ManufacturerModelName = ascii_text(model.title)[:LO_LENGTH]
        item.SoftwareVersions = model.version
        item.DeviceUID = model.device_uid
        zone = "%z" if draft.source_zone is not None else ""
        item.ContributionDateTime = f"{moment:%Y%m%d%H%M%S{zone}}"
        item.ContributionDescription = f"AI analysis on {ran_on}" if ran_on else "AI analysis"
        items.append(item)
    return items


def _write_file_meta(dataset: Dataset) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
