"""Generated mammograms: complete Digital Mammography objects of breasts of known area.

Nobody's data, the same pixels and UIDs every time. The breast is a half ellipse on the chest
wall, in an MLO with a triangle of pectoral muscle; `area_cm2` says how large it really is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from node.identity import stable_uid
from node.manifest import Input
from node.study import Laterality, View

_SIDES = (Laterality.RIGHT, Laterality.LEFT)
EXAM = tuple(View(side, name) for name in ("CC", "MLO") for side in _SIDES)
"""The four views of a screening exam."""

PROJECTIONS = {
    "CC": ("399162004", "cranio-caudal"),
    "MLO": ("399368009", "medio-lateral oblique"),
    "ML": ("399260004", "medio-lateral"),
    "LM": ("399352003", "latero-medial"),
    "XCCL": ("399192008", "cranio-caudal exaggerated laterally"),
}
"""View codes (SCT, CID 4014) of the projections that can be made."""

ORIENTATIONS = {
    "CC": {"R": ["P", "L"], "L": ["A", "R"]},
    "XCCL": {"R": ["P", "L"], "L": ["A", "R"]},
    "MLO": {"R": ["P", "FL"], "L": ["A", "FR"]},
    "ML": {"R": ["P", "F"], "L": ["A", "F"]},
    "LM": {"R": ["P", "F"], "L": ["A", "F"]},
}
"""Patient Orientation (0020,0020): towards the right, and downwards."""

_ANGLES = {"CC": 0, "XCCL": 5, "MLO": 45, "ML": 90, "LM": -90}
_WHITE = 4095


@dataclass(frozen=True, slots=True)
class Patient:
    """Who the exam says it is of."""

    patient_id: str = "GENERATED-1"
    name: str = "GENERATED^MAMMOGRAM"
    birth_date: str = "19650214"


@dataclass(frozen=True, slots=True)
class Technique:
    """How the images are taken."""

    rows: int = 1328
    columns: int = 1024
    spacing_mm: float = 0.18
    """At the detector (Imager Pixel Spacing)."""
    monochrome1: bool = False
    magnification: float = 1.0
    """Above 1: a magnification view, which says so in its view modifier."""


def exam(
    study: str,
    views: Iterable[View] = EXAM,
    *,
    patient: Patient = Patient(),
    technique: Technique = Technique(),
    taken_at: datetime | None = None,
) -> list[Dataset]:
    """Return one object per view; all UIDs follow from the text `study` and the view's place.

    They are of today: a node does not analyse old studies by itself.
    """
    taken_at = taken_at or datetime.combine(date.today(), time(10, 15))
    made = []
    for number, view in enumerate(views, start=1):
        dataset = mammogram(study, view, number, patient, taken_at)
        _describe_generated(dataset, technique)
        _set_pixels(dataset, _stored_values(study, view, technique), technique)
        made.append(dataset)
    return made


def exam_for(
    wanted: Input,
    study: str,
    *,
    technique: Technique | None = None,
    taken_at: datetime | None = None,
) -> list[Dataset]:
    """Return the mammograms that a model reads, in objects of a class that it takes.

    Nothing, if it reads no view that can be made.
    """
    views = _views_for(wanted)
    given = {"taken_at": taken_at} | ({} if technique is None else {"technique": technique})
    images = exam(study, views, **given)  # type: ignore[arg-type]  # as Technique, as datetime
    sop_class = _class_for(wanted)
    for image in images if sop_class != DigitalMammographyXRayImageStorageForPresentation else ():
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class
        if sop_class == DigitalMammographyXRayImageStorageForProcessing:
            image.PresentationIntentType = "FOR PROCESSING"
        else:
            del image.PresentationIntentType  # of digital X-ray alone
        if sop_class == SecondaryCaptureImageStorage:
            image.ConversionType = "DI"
    return images


def _views_for(wanted: Input) -> list[View]:
    """Return the views of a screening exam that it reads or leaves aside, else what it reads."""
    known = {*wanted.projections, *wanted.passed_over}
    views = [view for view in EXAM if view.projection in known]
    if not any(view.projection in wanted.projections for view in views):
        views = []
    others = [name for name in wanted.projections if name in PROJECTIONS]
    return views or [View(side, name) for name in others for side in _SIDES]


def _class_for(wanted: Input) -> UID:
    """Return For Presentation if the model takes that, else what it takes first."""
    usual = DigitalMammographyXRayImageStorageForPresentation
    return usual if usual in wanted.sop_classes else UID(wanted.sop_classes[0])


def image_for(
    wanted: Input,
    study: str,
    *,
    technique: Technique | None = None,
    taken_at: datetime | None = None,
) -> Dataset:
    """Return an image that says it is what a model wants of one that shows no breast.

    It is a generated mammogram by its pixels, and shows nothing that the model was made for.
    """
    given = {"taken_at": taken_at} | ({} if technique is None else {"technique": technique})
    (image,) = exam(study, EXAM[:1], **given)  # type: ignore[arg-type]  # as Technique, as datetime
    image.Modality = wanted.modality
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = UID(wanted.sop_classes[0])
    image.BodyPartExamined = wanted.body_parts[0]
    for keyword in ("AnatomicRegionSequence", "OrganExposed", "ViewCodeSequence", "PartialView"):
        del image[keyword]
    del image.PositionerType, image.BreastImplantPresent
    image.StudyDescription = image.SeriesDescription = "Generated"
    return image


def is_read_by(wanted: Input) -> bool:
    """Whether a model with this input reads any view of a generated exam."""
    is_accepted = DigitalMammographyXRayImageStorageForPresentation in wanted.sop_classes
    has_views = any(view.projection in wanted.projections for view in EXAM)
    return is_accepted and has_views


_VIEW = ("ImageLaterality", "ViewPosition")


def save(datasets: Iterable[Dataset], folder: Path) -> list[Path]:
    """Write objects as Part 10 files, `0001-R-CC.dcm` and so on, in a folder made if needed.

    What has no view is named by its number alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(datasets, start=1):
        view = [str(dataset[of].value) for of in _VIEW if of in dataset]
        paths.append(folder / f"{'-'.join([f'{number:04}', *view])}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def breast(view: View, technique: Technique = Technique()) -> NDArray[np.bool_]:
    """Return which pixels of a generated image show the breast (and, in an MLO, the muscle)."""
    x, y = _from_chest_wall(view, technique)
    width, height = _half_axes(view, technique)
    inside = (x / width) ** 2 + ((y - technique.rows * 0.54) / height) ** 2 < 1
    if view.projection == "MLO":
        inside |= _muscle(x, y, technique)
    return inside


def area_cm2(view: View, technique: Technique = Technique()) -> float:
    """Return the true area of the breast, as large as it is in the body."""
    pixel_mm = technique.spacing_mm / technique.magnification
    return float(np.count_nonzero(breast(view, technique))) * pixel_mm**2 / 100


def mammogram(study: str, view: View, number: int, patient: Patient, taken_at: datetime) -> Dataset:
    """Return a Digital Mammography For Presentation object with all but equipment and pixels.

    The study is of `taken_at`, the images follow one another 40 seconds apart.
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _describe_study(dataset, study, patient, taken_at)
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = stable_uid(study, "instance", str(view), str(number))
    dataset.SeriesInstanceUID = stable_uid(study, "series", str(view), str(number))
    dataset.SeriesNumber = dataset.AcquisitionNumber = number
    dataset.InstanceNumber = 1
    dataset.SeriesDescription = str(view)
    moment = taken_at + timedelta(seconds=40 * (number - 1))
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = date
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = time
    _describe_view(dataset, view)
    return dataset


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return a code sequence item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _describe_study(dataset: Dataset, study: str, patient: Patient, taken_at: datetime) -> None:
    number = int(hashlib.sha256(study.encode()).hexdigest(), 16) % 10**10
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName, dataset.PatientID = patient.name, patient.patient_id
    dataset.PatientBirthDate, dataset.PatientSex = patient.birth_date, "F"
    dataset.StudyInstanceUID = stable_uid(study, "study")
    dataset.StudyID = f"{number % 10**6:06}"
    dataset.AccessionNumber = f"A{number:010}"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Mammography screening"
    dataset.StudyDate, dataset.StudyTime = taken_at.strftime("%Y%m%d"), taken_at.strftime("%H%M%S")


def _describe_view(dataset: Dataset, view: View) -> None:
    side = view.laterality.value
    dataset.Modality = "MG"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.BodyPartExamined = dataset.OrganExposed = "BREAST"
    dataset.AnatomicRegionSequence = [code("76752008", "SCT", "Breast")]
    dataset.ImageLaterality = side
    dataset.ViewPosition = view.projection
    value, meaning = PROJECTIONS[view.projection]
    dataset.ViewCodeSequence = [code(value, "SCT", meaning)]
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []
    dataset.PatientOrientation = ORIENTATIONS[view.projection][side]
    dataset.PositionerType = "MAMMOGRAPHIC"
    angle = _ANGLES[view.projection]
    dataset.PositionerPrimaryAngle = angle if side == "L" else -angle
    dataset.PartialView = dataset.BreastImplantPresent = "NO"
    dataset.QualityControlImage = "NO"
    dataset.AcquisitionContextSequence = []
    dataset.DetectorType = "DIRECT"
    dataset.FieldOfViewShape = "RECTANGLE"
    dataset.FieldOfViewOrigin = [0, 0]
    dataset.FieldOfViewRotation, dataset.FieldOfViewHorizontalFlip = "0", "NO"


def _describe_generated(dataset: Dataset, technique: Technique) -> None:
    dataset.Manufacturer = "Generated"
    dataset.ManufacturerModelName = "Phantom"
    dataset.DeviceSerialNumber = dataset.DetectorID = "0"
    dataset.SoftwareVersions = "1"
    dataset.StationName = "PHANTOM"
    dataset.KVP, dataset.ExposureInuAs = 28, 90000
    dataset.BodyPartThickness, dataset.CompressionForce = 52, 90
    dataset.BurnedInAnnotation = "NO"
    dataset.ImagerPixelSpacing = [technique.spacing_mm, technique.spacing_mm]
    dataset.EstimatedRadiographicMagnificationFactor = technique.magnification
    if technique.magnification > 1:
        magnified = code("399163009", "SCT", "Magnification")
        dataset.ViewCodeSequence[0].ViewModifierCodeSequence = [magnified]
        dataset.SeriesDescription += " magnification"


def _set_pixels(dataset: Dataset, values: NDArray[np.uint16], technique: Technique) -> None:
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel = 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    if technique.monochrome1:
        dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME1", "INVERSE"
        dataset.PixelIntensityRelationshipSign = 1
        values = _WHITE - values
    else:
        dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME2", "IDENTITY"
        dataset.PixelIntensityRelationshipSign = -1
    dataset.PixelIntensityRelationship = "LOG"
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.WindowCenter, dataset.WindowWidth = [2048, 1800], [4096, 2600]
    dataset.WindowCenterWidthExplanation = ["NORMAL", "HARDER"]
    # No VOI LUT Function: absent means linear, and OHIF 3.13 shows nothing where it stands.
    dataset.LossyImageCompression = "00"
    dataset.PixelData = values.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"


def _stored_values(study: str, view: View, technique: Technique) -> NDArray[np.uint16]:
    """Return grey values (MONOCHROME2): 0 outside, 700 or more inside the breast."""
    x, y = _from_chest_wall(view, technique)
    width, height = _half_axes(view, technique)
    centre = technique.rows * 0.54
    seed = int.from_bytes(hashlib.sha256(f"{study} {view}".encode()).digest()[:8], "big")
    clouds = _clouds(np.random.default_rng(seed), (technique.rows, technique.columns))
    depth = np.clip(1 - (x / width) ** 2 - ((y - centre) / height) ** 2, 0, 1)
    gland = np.exp(
        -(((x - 0.5 * width) / (0.32 * width)) ** 2) - ((y - centre) / (0.4 * height)) ** 2
    )
    values = 800 + 500 * np.sqrt(depth) + 900 * gland * (0.4 + clouds) + 450 * clouds
    if view.projection == "MLO":
        muscle = _muscle(x, y, technique)
        values = np.where(muscle, np.maximum(values, 2300 + 250 * clouds), values)
    shown = np.where(breast(view, technique), np.clip(values, 700, _WHITE), 0)
    return shown.astype(np.uint16)


def _from_chest_wall(view: View, technique: Technique) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Return each pixel's distance to the chest wall and to the upper edge, in pixels."""
    y, x = np.mgrid[0 : technique.rows, 0 : technique.columns]
    if view.laterality is not Laterality.LEFT:
        x = technique.columns - 1 - x
    return x, y


def _half_axes(view: View, technique: Technique) -> tuple[float, float]:
    # No two breasts are alike: the left one is the smaller.
    across = 0.62 if view.laterality is Laterality.RIGHT else 0.57
    return across * technique.columns, 0.40 * technique.rows


def _muscle(x: NDArray[np.int_], y: NDArray[np.int_], technique: Technique) -> NDArray[np.bool_]:
    return x / (0.36 * technique.columns) + y / (0.56 * technique.rows) < 1


def _clouds(random: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return smooth texture between 0 and 1: noise of four sizes, the coarse the strongest."""
    rows, columns = shape
    total = np.zeros(shape)
    for cells, weight in ((5, 0.5), (11, 0.25), (29, 0.15), (90, 0.10)):
        knots = random.random((cells, cells))
        down, across = np.linspace(0, cells - 1, rows), np.linspace(0, cells - 1, columns)
        place = np.arange(cells)
        wide = np.array([np.interp(across, place, line) for line in knots])
        total += weight * np.array([np.interp(down, place, line) for line in wide.T]).T
    return total
