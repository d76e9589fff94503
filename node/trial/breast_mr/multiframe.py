"""Classic objects of one series as one object of many frames: Enhanced, or Legacy Converted.

Enhanced MR (PS3.3 A.36) is written here as the real object B1 of styles.py has it. The conversion
of classic objects (A.70) is highdicom's: headers that nobody here thought out.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from highdicom.legacy import LegacyConvertedEnhancedMRImage
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian

from node.identity import stable_uid
from node.trial.breast_mr.frames import frame_of, shared_of
from node.trial.breast_mr.headers import MrExam, Scan, Shot, TakenShot
from node.trial.breast_mr.styles import Family, Vendor

_COMMON = (
    "SpecificCharacterSet",
    "StudyDate",
    "SeriesDate",
    "StudyTime",
    "SeriesTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "Modality",
    "Manufacturer",
    "StationName",
    "StudyDescription",
    "SeriesDescription",
    "ManufacturerModelName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "BodyPartExamined",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "ProtocolName",
    "PatientPosition",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyID",
    "SeriesNumber",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "Rows",
    "Columns",
    "MagneticFieldStrength",
    "ContentDate",
)
"""What is said by frames and by classic objects alike."""


def multiframe(exam: MrExam, scan: Scan, taken: list[TakenShot]) -> Dataset:
    """Return the objects of one series as one, of the class that the style asks for."""
    if exam.style.family is Family.LEGACY:
        return _legacy(exam, scan, [image for _, image in taken])
    return _enhanced(exam, scan, taken)


def _legacy(exam: MrExam, scan: Scan, images: list[Dataset]) -> Dataset:
    uids = [stable_uid(exam.study, word, scan.key) for word in ("legacy series", "legacy")]
    sided = [_sided(image) for image in images]
    with _silent():
        converted = LegacyConvertedEnhancedMRImage(sided, uids[0], scan.number, uids[1], 1)
    made = Dataset()
    made.update(converted)
    made.file_meta = converted.file_meta
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    # The moment of the conversion and a random UID would make every run another study.
    made.InstanceCreationDate = made.ContentDate = images[0].SeriesDate
    made.InstanceCreationTime = made.ContentTime = images[0].SeriesTime
    for item in made.ContributingEquipmentSequence:
        item.ContributionDateTime = f"{images[0].SeriesDate}{images[0].SeriesTime}"
    dimensions = stable_uid(exam.study, "dimensions", scan.key)
    for items in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in made.get(items, ()):
            item.DimensionOrganizationUID = dimensions
    del made.ReferencedSeriesSequence  # with nothing in it that is referenced
    return made


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the converter from saying what is so on purpose: frames differ, slices are missing."""
    converter = logging.getLogger("highdicom")
    level = converter.level
    converter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        converter.setLevel(level)


def _sided(image: Dataset) -> Dataset:
    """Return a copy that says what a conversion needs: both sides are shown."""
    made = Dataset()
    made.update(image)
    made.file_meta = image.file_meta
    made.ImageLaterality = "B"
    return made


def _enhanced(exam: MrExam, scan: Scan, taken: list[TakenShot]) -> Dataset:
    images = [image for _, image in taken]
    shots = list({shot.phase: shot for shot, _ in taken}.values())
    first = images[0]
    dataset = Dataset()
    for keyword in _COMMON:
        if keyword in first:
            setattr(dataset, keyword, first[keyword].value)
    dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.SOPInstanceUID = stable_uid(exam.study, "enhanced", scan.key)
    dataset.InstanceNumber, dataset.AcquisitionNumber = 1, 1
    dataset.ContentTime = first.SeriesTime
    moment = exam.begun_at + timedelta(seconds=scan.begun_s)
    dataset.AcquisitionDateTime = f"{moment:%Y%m%d%H%M%S.%f}"
    dataset.AcquisitionDuration = float(sum(shot.duration_s for shot in shots))
    dataset.NumberOfFrames = len(images)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]  # B1
    _describe_acquisition(dataset, scan)
    _describe_dimensions(dataset, exam, scan)
    _describe_contrast(dataset, exam, shots)
    dataset.SharedFunctionalGroupsSequence = [shared_of(exam, scan, first)]
    places = _places(images)
    dataset.PerFrameFunctionalGroupsSequence = [
        frame_of(exam, scan, shot, image, place)
        for (shot, image), place in zip(taken, places, strict=True)
    ]
    dataset.PixelData = b"".join(bytes(image.PixelData) for image in images)
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _describe_acquisition(dataset: Dataset, scan: Scan) -> None:
    """Write what MR Image and Spectroscopy Instance (C.8.13.2) and the pulse sequence ask for."""
    dataset.ContentQualification = "RESEARCH"
    dataset.ResonantNucleus, dataset.KSpaceFiltering = "1H", "NONE"
    dataset.ApplicableSafetyStandardAgency = "IEC"
    dataset.PixelPresentation, dataset.VolumetricProperties = "MONOCHROME", "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.ComplexImageComponent, dataset.AcquisitionContrast = "MAGNITUDE", "T1"
    dataset.PulseSequenceName, dataset.MRAcquisitionType = "T1FFE", "3D"
    dataset.EchoPulseSequence = "GRADIENT"
    dataset.MultiPlanarExcitation = dataset.PhaseContrast = dataset.TimeOfFlightContrast = "NO"
    dataset.SteadyStatePulseSequence, dataset.EchoPlanarPulseSequence = "NONE", "NO"
    dataset.SaturationRecovery = "NO"
    fat = "FAT" if "FS" in scan.pulse.options else "NONE"
    dataset.SpectrallySelectedSuppression = fat
    dataset.OversamplingPhase, dataset.GeometryOfKSpaceTraversal = "NONE", "RECTILINEAR"
    dataset.RectilinearPhaseEncodeReordering = "LINEAR"
    dataset.SegmentedKSpaceTraversal, dataset.CoverageOfKSpace = "SINGLE", "FULL"
    dataset.NumberOfKSpaceTrajectories = 1
    dataset.AcquisitionContextSequence = []
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    dataset.PresentationLUTShape = "IDENTITY"


def _describe_dimensions(dataset: Dataset, exam: MrExam, scan: Scan) -> None:
    organisation = Dataset()
    organisation.DimensionOrganizationUID = stable_uid(exam.study, "dimensions", scan.key)
    dataset.DimensionOrganizationSequence = [organisation]
    pointers = [0x00209056, 0x00209057] + [0x00209128] * (scan.phases > 1)  # B1, and C.7.6.17
    dataset.DimensionIndexSequence = []
    for pointer in pointers:
        index = Dataset()
        index.DimensionOrganizationUID = organisation.DimensionOrganizationUID
        index.DimensionIndexPointer, index.FunctionalGroupPointer = pointer, 0x00209111
        dataset.DimensionIndexSequence.append(index)


def _describe_contrast(dataset: Dataset, exam: MrExam, shots: list[Shot]) -> None:
    """Write the Enhanced Contrast/Bolus module (C.7.6.4b), where any frame is after it.

    Codes are of CID 12 (agent), CID 11 (route) and CID 13 (ingredient).
    """
    given = [shot.injected_s for shot in shots if shot.injected_s is not None]
    if not given or exam.style.vendor is Vendor.PHILIPS:  # B1 has no module for it
        return
    agent = Dataset()
    agent.CodeValue, agent.CodingSchemeDesignator = "407976008", "SCT"
    agent.CodeMeaning = "Gadobutrol"
    agent.ContrastBolusAgentNumber = 1
    agent.ContrastBolusAdministrationRouteSequence = [_code("47625008", "Intravenous route")]
    agent.ContrastBolusIngredientCodeSequence = [_code("58281002", "Gadolinium")]
    agent.ContrastBolusVolume, agent.ContrastBolusIngredientConcentration = "7.5", "157"
    profile = Dataset()
    profile.ContrastBolusVolume = "7.5"
    if exam.style.injection_time:
        begun = exam.begun_at + timedelta(seconds=given[0])
        profile.ContrastBolusStartTime = f"{begun:%H%M%S.%f}"
        profile.ContrastBolusStopTime = f"{begun + timedelta(seconds=5):%H%M%S.%f}"
    agent.ContrastAdministrationProfileSequence = [profile]
    dataset.ContrastBolusAgentSequence = [agent]


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _places(images: list[Dataset]) -> list[int]:
    """Return the place of each image in the stack, from 1, along its normal."""
    along = sorted({round(float(image.SliceLocation), 3) for image in images})
    return [along.index(round(float(image.SliceLocation), 3)) + 1 for image in images]
