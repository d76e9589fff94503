"""An image file (PNG, JPEG, TIFF, PGM) -> the object that a modality would have sent of it.

Its UIDs are digests of the pixels and of whose image it is said to be: the same image becomes the
same object each time. Nothing in it names the patient.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from node.dicom.untrusted import failing_as
from node.errors import Unreadable
from node.identity import stable_uid
from node.manifest import Input
from node.study import View
from node.trial.phantom import Patient, mammogram

TAKEN_AT = datetime(2000, 1, 1, 12)
"""When images that do not say it were taken."""
FORMATS = ("PNG", "JPEG", "TIFF", "PPM")
_PHOTOMETRIC = 262
"""The tag of TIFF that says whether 0 is white; pillow reads it for 8 bits only."""
_PIXELS_OF_GREY = ("1", "L", "LA", "RGB", "RGBA", "I;16", "I;16B", "I;16L")


class NoPicture(Unreadable):
    """A file that is of no kind that is known here."""


@dataclass(frozen=True, slots=True)
class Picturing:
    """What is known of an image file besides its pixels."""

    patient: str
    exam: str
    view: View | None = None
    """None for images that show no breast."""
    bits: int | None = None
    """How many of 16 are used; None: all of them."""
    spacing_mm: float | None = None
    chest_wall: str = ""
    """The side of the picture it is on, "left" or "right"; "": nobody says."""
    is_inverted: bool = False
    """Whether 0 is white, as a TIFF may say by itself."""

    @property
    def patient_id(self) -> str:
        """A pseudonym, the same for all of a patient."""
        return hashlib.sha256(self.patient.encode()).hexdigest()[:16].upper()

    @property
    def study(self) -> str:
        """What the UIDs of the study follow from."""
        return hashlib.sha256(f"{self.patient}\x1f{self.exam}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class GreyImage:
    """The stored values of an image file."""

    values: NDArray[np.uint8] | NDArray[np.uint16]
    is_white_zero: bool = False
    is_lossy: bool = False


def read_grey(path: Path) -> GreyImage:
    """Read an image file; raise Unreadable, with what would help, if it is no grey picture."""
    with failing_as("the picture cannot be decoded", OSError), _opened(path) as image:
        is_white_zero = image.mode.startswith("I;16") and _says_white_is_zero(image)
        return GreyImage(_values(image), is_white_zero, is_lossy=image.format == "JPEG")


def require_grey(path: Path) -> None:
    """Raise Unreadable if the head of a file already tells that it is no grey picture."""
    with failing_as("the picture cannot be decoded", OSError), _opened(path):
        pass


def _opened(path: Path) -> PIL.Image.Image:
    try:
        image = PIL.Image.open(path, formats=FORMATS)
    except PIL.UnidentifiedImageError:
        raise NoPicture("neither DICOM nor PNG, JPEG, TIFF or PGM") from None
    problem = ""
    if getattr(image, "n_frames", 1) > 1:
        problem = "several pictures in one file; make a file of each"
    elif image.mode not in _PIXELS_OF_GREY:
        problem = f"pixels of the kind {image.mode}, expected grey of 8 or 16 bits; convert it"
    if problem:
        image.close()
        raise Unreadable(problem)
    return image


def _says_white_is_zero(image: PIL.Image.Image) -> bool:
    return image.format == "TIFF" and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0


def _values(image: PIL.Image.Image) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"), dtype=np.uint8)
    if "A" in image.mode and np.asarray(image.getchannel("A")).min() < 255:
        raise Unreadable("parts of the picture are transparent; flatten it")
    if image.mode == "LA":
        return np.asarray(image.getchannel("L"), dtype=np.uint8)
    red, green, blue = (np.asarray(image.getchannel(c), dtype=np.uint8) for c in "RGB")
    if not (np.array_equal(red, green) and np.array_equal(red, blue)):
        raise Unreadable("a picture in colour, expected grey; convert it")
    return red


def as_dicom(path: Path, about: Picturing, wanted: Input) -> Dataset:
    """Return an image file as an object: a mammogram For Presentation, if it shows a view.

    Else one that says it is of the modality, class and body part that a model wants. Raises
    Unreadable.
    """
    grey = read_grey(path)
    digest = hashlib.sha256(f"{grey.values.shape} {grey.values.dtype}".encode())
    digest.update(np.ascontiguousarray(grey.values).tobytes())
    who = (about.study, digest.hexdigest())
    if about.view is None:
        dataset = _plain(about, wanted)
    else:
        nobody = Patient(about.patient_id, "", "")
        dataset = mammogram(about.study, about.view, 1, nobody, TAKEN_AT)
        _hang(dataset, about)
    dataset.SOPInstanceUID = stable_uid(*who, "instance")
    dataset.SeriesInstanceUID = stable_uid(*who, "series")
    dataset.Manufacturer = "Unknown"
    dataset.ManufacturerModelName = dataset.DeviceSerialNumber = "Unknown"
    dataset.SoftwareVersions = dataset.DetectorID = "Unknown"
    dataset.BurnedInAnnotation = "NO"
    _set_pixels(dataset, grey, about)
    return dataset


def _hang(dataset: Dataset, about: Picturing) -> None:
    """Say where front and back are, if that is known: it overrules what the pixels show."""
    if not about.chest_wall:
        dataset.PatientOrientation = ""
        return
    ahead = "P" if about.chest_wall == "right" else "A"
    dataset.PatientOrientation = [ahead, dataset.PatientOrientation[1]]


def _plain(about: Picturing, wanted: Input) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName, dataset.PatientID = "", about.patient_id
    dataset.PatientBirthDate, dataset.PatientSex = "", ""
    dataset.StudyInstanceUID = stable_uid(about.study, "study")
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "", ""
    date, time = TAKEN_AT.strftime("%Y%m%d"), TAKEN_AT.strftime("%H%M%S")
    dataset.StudyDate = dataset.ContentDate = dataset.AcquisitionDate = date
    dataset.StudyTime = dataset.ContentTime = dataset.AcquisitionTime = time
    dataset.Modality = wanted.modality
    dataset.SOPClassUID = UID(wanted.sop_classes[0])
    dataset.BodyPartExamined = wanted.body_parts[0]
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.PatientOrientation = ""
    return dataset


def _set_pixels(dataset: Dataset, grey: GreyImage, about: Picturing) -> None:
    values = grey.values
    allocated = 8 * values.itemsize
    stored = about.bits if about.bits is not None and allocated == 16 else allocated
    if int(values.max(initial=0)) >= 1 << stored:
        raise Unreadable(f"values above {(1 << stored) - 1}, the highest of {stored} bits")
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored, stored - 1
    is_inverse = grey.is_white_zero or about.is_inverted
    dataset.PhotometricInterpretation = "MONOCHROME1" if is_inverse else "MONOCHROME2"
    dataset.PresentationLUTShape = "INVERSE" if is_inverse else "IDENTITY"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if is_inverse else -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.WindowCenter, dataset.WindowWidth = 1 << (stored - 1), 1 << stored
    dataset.LossyImageCompression = "01" if grey.is_lossy else "00"
    if about.spacing_mm is not None:
        dataset.ImagerPixelSpacing = [about.spacing_mm, about.spacing_mm]
    content = values.astype(f"<u{values.itemsize}").tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OW" if allocated == 16 else "OB"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
