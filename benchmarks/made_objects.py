"""Objects for receivers, each with an identity of its own: mammograms, and slices of MR."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from node.trial import phantom

_OF_17_MB = phantom.Technique(rows=3328, columns=2560, spacing_mm=0.07)


def write_mammograms(folder: Path, count: int) -> list[Path]:
    """Write generated mammograms of 17 MB, four a study."""
    (template,) = phantom.exam("benchmark", phantom.EXAM[:1], technique=_OF_17_MB)
    template.StudyDate = _today()
    return _write(folder, template, count, of_study=4)


def write_slices(folder: Path, count: int, side: int) -> list[Path]:
    """Write one study of MR images of so many rows and columns."""
    template = Dataset()
    template.file_meta = FileMetaDataset()
    template.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    template.file_meta.MediaStorageSOPClassUID = template.SOPClassUID = MRImageStorage
    template.PatientID, template.PatientName, template.AccessionNumber = "B1", "Benchmark", "A1"
    template.StudyDate, template.Modality = _today(), "MR"
    template.SeriesInstanceUID = generate_uid(prefix=None)
    template.SamplesPerPixel, template.PhotometricInterpretation = 1, "MONOCHROME2"
    template.Rows = template.Columns = side
    template.BitsAllocated, template.BitsStored, template.HighBit = 16, 12, 11
    template.PixelRepresentation = 0
    values = np.random.default_rng(1).integers(0, 4096, (side, side), np.uint16)
    template.PixelData = values.tobytes()
    return _write(folder, template, count, of_study=count)


def _write(folder: Path, template: Dataset, count: int, of_study: int) -> list[Path]:
    folder.mkdir()
    paths: list[Path] = []
    for number in range(count):
        uid = generate_uid(prefix=None)
        if number % of_study == 0:
            template.StudyInstanceUID = generate_uid(prefix=None)
        template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = uid
        template.InstanceNumber = number + 1
        paths.append(folder / f"{number}.dcm")
        template.save_as(paths[-1], enforce_file_format=True)
    return paths


def _today() -> str:
    return f"{datetime.now(UTC):%Y%m%d}"
