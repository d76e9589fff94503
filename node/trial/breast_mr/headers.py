"""The headers of classic MR Image objects of a generated study, in the style of a scanner."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from node.identity import stable_uid
from node.trial.breast_mr.private import add_private
from node.trial.breast_mr.raster import Raster
from node.trial.breast_mr.styles import Style, Vendor
from node.trial.phantom import Patient


@dataclass(frozen=True, slots=True)
class PulseSequence:
    """The attributes of a pulse sequence."""

    name: str
    """Sequence Name of Siemens (styles.py: A1 and D1, A5), "" where no source was found."""
    scanning: tuple[str, ...]
    variant: tuple[str, ...]
    options: tuple[str, ...]
    three_d: bool
    repetition_ms: float
    echo_ms: float
    flip_degrees: float
    echo_train: int = 1


DYNAMIC_PULSE = PulseSequence(
    "*fl3d1_ns", ("GR",), ("SP", "OSP"), ("PFP", "FS"), True, 4.52, 2.38, 10
)
PLAIN_DYNAMIC_PULSE = PulseSequence(
    "*fl3d1_ns", ("GR",), ("SP", "OSP"), ("PFP",), True, 4.52, 2.38, 10
)
LOCALISER_PULSE = PulseSequence("", ("GR",), ("SP", "OSP"), (), False, 8.6, 4.0, 20)
T2_PULSE = PulseSequence("", ("SE",), ("SK", "SP"), ("FS",), False, 4500, 84, 150, 11)
DIFFUSION_PULSE = PulseSequence("*ep_b0", ("EP",), ("SK", "SP"), ("FS",), False, 4000, 80, 90, 65)


@dataclass(frozen=True, slots=True)
class MrExam:
    """What all objects of a study have in common."""

    study: str
    """From this text all UIDs follow."""
    style: Style
    patient: Patient
    begun_at: datetime
    description: str = "MRI breast"
    prone: bool = True


@dataclass(frozen=True, slots=True)
class Scan:
    """One series."""

    key: str
    """Its name within the study; its UID follows from it."""
    number: int
    description: str
    image_type: tuple[str, ...]
    pulse: PulseSequence
    phases: int = 1
    """How many phases the series shows."""
    begun_s: float = 0.0
    """Since the study began, as all moments."""
    images: int = 0
    """How many images of one phase."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One volume of a series: stored values and when they were acquired."""

    values: NDArray[np.float32]
    """Signal (slices, rows, columns)."""
    raster: Raster
    begun_s: float
    duration_s: float
    position: int = 1
    """Temporal position in its series, from 1."""
    phase: int = 0
    """Of the study, from 0; makes the UIDs of its objects."""
    scale: float = 1.0
    """Stored values are the signal times this."""
    injected_s: float | None = None
    """When the contrast agent was given, of what was acquired after that."""
    b_value: int | None = None
    thickness_mm: float | None = None
    """Else slices are as thick as they are far apart."""
    wrong_slope: float | None = None
    """A Rescale Slope that is stated and not true."""


TakenShot = tuple[Shot, Dataset]
"""A volume, and the object of one of its slices."""


def header(exam: MrExam, scan: Scan) -> Dataset:
    """Return what all objects of a series say."""
    style, dataset = exam.style, Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = list(scan.image_type)
    dataset.SOPClassUID = MRImageStorage
    dataset.StudyDate = dataset.SeriesDate = f"{exam.begun_at:%Y%m%d}"
    dataset.StudyTime, dataset.SeriesTime = clock(exam, 0), clock(exam, scan.begun_s)
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "", ""
    dataset.Modality, dataset.Manufacturer = "MR", style.vendor.value
    dataset.StationName = "PHANTOM"
    dataset.StudyDescription, dataset.SeriesDescription = exam.description, scan.description
    dataset.ManufacturerModelName = style.model
    if style.body_part is not None:
        dataset.BodyPartExamined = style.body_part
    dataset.Laterality = ""  # C; both breasts are shown
    _describe_pulse(dataset, exam, scan)
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = "0", list(style.software)
    dataset.ProtocolName = scan.description
    if style.coil:
        dataset.ReceiveCoilName = style.coil
    dataset.PatientPosition = "HFP" if exam.prone else "FFS"
    _name(dataset, exam, scan)
    if style.temporal_position and scan.phases > 1:
        dataset.NumberOfTemporalPositions = scan.phases
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored = 16, style.bits_stored
    dataset.HighBit = style.bits_stored - 1
    dataset.PixelRepresentation = int(style.signed)
    return dataset


def slice_object(
    exam: MrExam, scan: Scan, common: Dataset, shot: Shot, index: int, number: int
) -> Dataset:
    """Return one classic object: slice `index` (from 0) of a volume."""
    style = exam.style
    dataset = Dataset()
    for element in common:
        dataset.add(copy(element))  # who changes one object changes no other
    names = (exam.study, "instance", scan.key, str(shot.phase), str(index))
    dataset.SOPInstanceUID = stable_uid(*names)
    date = f"{exam.begun_at:%Y%m%d}"
    dataset.ContentDate = date
    dataset.ContentTime = clock(exam, shot.begun_s if style.content_time else scan.begun_s)
    if style.acquisition_time:
        dataset.AcquisitionDate = date
        dataset.AcquisitionTime = clock(exam, shot.begun_s if style.content_time else scan.begun_s)
    if style.trigger_time and scan.phases > 1:
        dataset.TriggerTime = f"{(shot.begun_s - scan.begun_s) * 1000:.0f}"
    dataset.AcquisitionNumber = shot.position if style.acquisition_number else 1
    dataset.InstanceNumber = number
    if style.temporal_position and scan.phases > 1:
        dataset.TemporalPositionIdentifier = shot.position
    if shot.b_value is not None and style.vendor is not Vendor.SIEMENS:
        dataset.DiffusionBValue = float(shot.b_value)
    _describe_contrast(dataset, exam, scan, shot)
    _place(dataset, shot, index)
    add_private(dataset, style.vendor, scan.phases, scan.images, shot.b_value)
    _set_pixels(dataset, style, shot, index)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def clock(exam: MrExam, seconds: float) -> str:
    """Return a moment of the study as TM."""
    return f"{exam.begun_at + timedelta(seconds=seconds):%H%M%S.%f}"


def _name(dataset: Dataset, exam: MrExam, scan: Scan) -> None:
    """Write which study and series this is, and of whom."""
    dataset.PatientName, dataset.PatientID = exam.patient.name, exam.patient.patient_id
    dataset.PatientBirthDate, dataset.PatientSex = exam.patient.birth_date, "F"
    dataset.StudyInstanceUID = stable_uid(exam.study, "study")
    dataset.SeriesInstanceUID = stable_uid(exam.study, "series", scan.key)
    dataset.StudyID, dataset.SeriesNumber = "1", scan.number
    dataset.FrameOfReferenceUID = stable_uid(exam.study, "frame of reference")
    dataset.PositionReferenceIndicator = ""


def _describe_pulse(dataset: Dataset, exam: MrExam, scan: Scan) -> None:
    pulse = scan.pulse
    dataset.ScanningSequence, dataset.SequenceVariant = list(pulse.scanning), list(pulse.variant)
    dataset.ScanOptions = list(pulse.options)
    dataset.MRAcquisitionType = "3D" if pulse.three_d else "2D"
    if pulse.name and exam.style.vendor is Vendor.SIEMENS:
        dataset.SequenceName = pulse.name
    dataset.AngioFlag = "N"
    dataset.RepetitionTime, dataset.EchoTime = pulse.repetition_ms, pulse.echo_ms
    dataset.NumberOfAverages, dataset.ImagingFrequency = 1, "63.608"
    dataset.ImagedNucleus, dataset.EchoNumbers = "1H", 1
    dataset.MagneticFieldStrength = "1.5"
    dataset.EchoTrainLength, dataset.FlipAngle = pulse.echo_train, pulse.flip_degrees


def _describe_contrast(dataset: Dataset, exam: MrExam, scan: Scan, shot: Shot) -> None:
    style = exam.style
    if style.vendor is Vendor.SIEMENS and scan.phases > 1:
        dataset.ContrastBolusAgent = ""  # A3: of one series with all phases
    elif shot.injected_s is not None:
        dataset.ContrastBolusAgent = style.agent
        dataset.ContrastBolusVolume = "7.5"
        if style.injection_time:
            dataset.ContrastBolusRoute = "IV"
            dataset.ContrastBolusTotalDose = "7.5"
            dataset.ContrastBolusStartTime = clock(exam, shot.injected_s)
            dataset.ContrastBolusStopTime = clock(exam, shot.injected_s + 5)
    elif style.no_agent:
        dataset.ContrastBolusAgent = style.no_agent


def _place(dataset: Dataset, shot: Shot, index: int) -> None:
    raster = shot.raster
    between, row, column = raster.spacing_mm
    dataset.SpacingBetweenSlices = _decimal(between)
    dataset.SliceThickness = _decimal(shot.thickness_mm or between)
    dataset.ImagePositionPatient = [_decimal(value) for value in raster.position(index)]
    dataset.ImageOrientationPatient = [_decimal(value) for value in raster.orientation()]
    normal = np.cross(raster.across, raster.down)
    dataset.SliceLocation = _decimal(float(normal @ np.array(raster.position(index))))
    dataset.PixelSpacing = [_decimal(row), _decimal(column)]


def _set_pixels(dataset: Dataset, style: Style, shot: Shot, index: int) -> None:
    highest = 2 ** (style.bits_stored - int(style.signed)) - 1
    values = np.clip(np.rint(shot.values[index] * shot.scale), 0, highest)
    dataset.Rows, dataset.Columns = values.shape
    bright = max(float(values.max()), 1.0)
    dataset.WindowCenter, dataset.WindowWidth = _decimal(bright / 2), _decimal(bright)
    if style.vendor is Vendor.PHILIPS:
        slope = 1.2 / shot.scale  # what is displayed: (E) DV = SV * RS + RI
        dataset.RescaleIntercept, dataset.RescaleSlope = "0", _decimal(slope)
        dataset.RescaleType = "normalized"  # B1
        block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0D, "FL", 0.0)
        # Precise values are SV / SS (E), a thousand times the signal; B1 has it by frame.
        block.add_new(0x0E, "FL", float(np.float32(shot.scale / 1000)))
    if shot.wrong_slope is not None:
        dataset.RescaleIntercept, dataset.RescaleSlope = "0", _decimal(shot.wrong_slope)
        dataset.RescaleType = "US"
    dataset.PixelData = values.astype("<i2" if style.signed else "<u2").tobytes()
    dataset["PixelData"].VR = "OW"


def _decimal(value: float) -> str:
    """Return a DS, of at most 16 characters."""
    return f"{value + 0.0:.9g}"[:16]
