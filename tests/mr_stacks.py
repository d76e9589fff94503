"""Headers of MR images for tests: slices of a stack anyhow, as single or as enhanced objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset

from node.identity import stable_uid

Floats = NDArray[np.float64]

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def uid_of(*parts: object) -> str:
    return stable_uid(*map(str, parts))


@dataclass(frozen=True)
class Stacked:
    """Slices of one grid, described as a scanner would: the first, and the step to the next."""

    count: int = 6
    rows: int = 8
    columns: int = 10
    orientation: tuple[float, ...] = AXIAL
    first: tuple[float, float, float] = (-50.0, -40.0, -30.0)
    step_mm: float = 2.0
    """Along right x down, or against it if negative."""
    spacing: tuple[float, float] = (0.8, 0.7)
    name: str = "stack"

    @property
    def normal(self) -> Floats:
        return np.cross(self.orientation[:3], self.orientation[3:])

    def position(self, index: float) -> list[float]:
        return [float(x) for x in np.add(self.first, index * self.step_mm * self.normal)]

    def of(self, **changes: object) -> Stacked:
        return replace(self, **changes)  # type: ignore[arg-type]


def header(stacked: Stacked, index: float) -> Dataset:
    """One classic slice, without pixels."""
    one = _image(stacked, uid.MRImageStorage)
    one.SOPInstanceUID = uid_of(stacked.name, index)
    _place(one, stacked, index)
    _measure(one, stacked)
    return one


def headers(stacked: Stacked) -> list[Dataset]:
    return [header(stacked, index) for index in range(stacked.count)]


def enhanced(
    stacked: Stacked,
    order: Sequence[float] | None = None,
    sop_class: uid.UID = uid.EnhancedMRImageStorage,
) -> Dataset:
    """All slices as one object, its frames in any order; the orientation is shared."""
    order = range(stacked.count) if order is None else order
    one = _image(stacked, sop_class)
    one.SOPInstanceUID = uid_of(stacked.name, "enhanced")
    one.NumberOfFrames = len(order)
    shared, measures, turned = Dataset(), Dataset(), Dataset()
    _measure(measures, stacked)
    turned.ImageOrientationPatient = list(stacked.orientation)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turned]
    one.SharedFunctionalGroupsSequence = [shared]
    one.PerFrameFunctionalGroupsSequence = [_frame(stacked, index) for index in order]
    return one


def _frame(stacked: Stacked, index: float) -> Dataset:
    own, position = Dataset(), Dataset()
    position.ImagePositionPatient = stacked.position(index)
    own.PlanePositionSequence = [position]
    return own


def _image(stacked: Stacked, sop_class: uid.UID) -> Dataset:
    one = Dataset()
    one.SOPClassUID = sop_class
    one.Modality = "MR"
    one.FrameOfReferenceUID = uid_of("frame of reference")
    one.Rows, one.Columns = stacked.rows, stacked.columns
    return one


def _place(one: Dataset, stacked: Stacked, index: float) -> None:
    one.ImagePositionPatient = [f"{x:.9g}" for x in stacked.position(index)]
    one.ImageOrientationPatient = [f"{x:.9g}" for x in stacked.orientation]


def _measure(one: Dataset, stacked: Stacked) -> None:
    one.PixelSpacing = list(stacked.spacing)
    one.SliceThickness = abs(stacked.step_mm)


def with_pixels(one: Dataset, values: NDArray[np.uint16 | np.int16]) -> Dataset:
    """Give it stored values: (rows, columns), or (frames, rows, columns) of an enhanced one."""
    one.Rows, one.Columns = values.shape[-2:]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation = 15, int(values.dtype == np.int16)
    one.PixelData = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return one


def saved(one: Dataset, path: Path) -> Path:
    """Write it as a file that a node would have kept."""
    one.StudyInstanceUID, one.SeriesInstanceUID = uid_of("study"), uid_of("series")
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    one.save_as(path, enforce_file_format=True)
    return path
