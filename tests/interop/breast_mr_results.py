"""What a report and a segmentation of breast MRI say, read as anybody's program would read them.

Nothing of the node is asked: attributes of the objects, and arithmetic with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.identity import stable_uid
from node.study import Laterality
from node.trial.breast_mr.raster import FINER, Raster
from node.trial.breast_mr.study import StudyPlan
from node.trial.breast_mr.styles import Family

ENHANCING = "ENH-VOLUME"
"""Code Value of what the package counts, in its scheme 99AINODE."""
VOLUME = ("118565006", "SCT")
GROUP = ("125007", "DCM")
FINDING = ("121071", "DCM")
SIDES = {"24028007": Laterality.RIGHT, "7771000": Laterality.LEFT}
"""Laterality (CID 244), by the SNOMED code."""

Slices = Mapping[tuple[str, int], NDArray[np.float64]]
"""Image Position (Patient), by SOP Instance UID and frame; 1 in an object of one."""


@dataclass(frozen=True)
class SegmentFrame:
    """One frame of a segmentation."""

    source: tuple[str, int]
    """SOP Instance UID and frame of what it was made of; 1 in an object of one."""
    position: NDArray[np.float64]
    """Image Position (Patient), in mm."""
    points: NDArray[np.float64]
    """Where its voxels lie (n, 3), in LPS mm of the patient."""


@dataclass(frozen=True)
class Segment:
    """One segment, with its frames."""

    kind: str
    """Code Value of the Segmented Property Type."""
    side: Laterality | None
    frames: tuple[SegmentFrame, ...]

    @property
    def points(self) -> NDArray[np.float64]:
        """Where all its voxels lie (n, 3), in LPS mm of the patient."""
        return np.concatenate([frame.points for frame in self.frames])


def volumes_ml(report: Dataset) -> dict[tuple[str, Laterality | None], float]:
    """Return each Volume of a report in ml, by the finding's Code Value and its side."""
    found = {}
    for item in _items(report):
        if _code(item) != GROUP:
            continue
        [kind] = [
            str(one.ConceptCodeSequence[0].CodeValue)
            for one in item.ContentSequence
            if _code(one) == FINDING
        ]
        sides = [
            SIDES[str(inner.ConceptCodeSequence[0].CodeValue)]
            for one in item.ContentSequence
            for inner in one.get("ContentSequence", [])
            if inner.ValueType == "CODE" and inner.ConceptCodeSequence[0].CodeValue in SIDES
        ]
        for one in item.ContentSequence:
            if _code(one) == VOLUME:
                [value] = one.MeasuredValueSequence
                assert value.MeasurementUnitsCodeSequence[0].CodeValue == "ml"
                found[kind, next(iter(sides), None)] = float(value.NumericValue)
    return found


def segments(segmentation: Dataset) -> list[Segment]:
    """Return the segments of a binary segmentation."""
    of_all = segmentation.SharedFunctionalGroupsSequence[0]
    x, y = np.asarray(
        of_all.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float
    ).reshape(2, 3)
    between_rows, between_columns = map(float, of_all.PixelMeasuresSequence[0].PixelSpacing)
    pixels = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    frames: dict[int, list[SegmentFrame]] = {}
    groups = segmentation.PerFrameFunctionalGroupsSequence
    for group, mask in zip(groups, pixels, strict=True):
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        position = np.asarray(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        rows, columns = np.nonzero(mask)
        points = (
            position + np.outer(rows * between_rows, y) + np.outer(columns * between_columns, x)
        )
        [source] = group.DerivationImageSequence[0].SourceImageSequence
        of = (str(source.ReferencedSOPInstanceUID), int(source.get("ReferencedFrameNumber", 1)))
        frames.setdefault(number, []).append(SegmentFrame(of, position, points))
    return [
        Segment(
            str(item.SegmentedPropertyTypeCodeSequence[0].CodeValue),
            _side(item),
            tuple(frames[int(item.SegmentNumber)]),
        )
        for item in segmentation.SegmentSequence
    ]


def voxels_filled(
    points: NDArray[np.float64], raster: Raster, least: int = FINER**3 // 2
) -> set[tuple[int, ...]]:
    """Return the voxels that hold so many of some points; of the truth's, half a voxel's."""
    indices = np.rint(raster.indices(points)).astype(int)
    voxels, counts = np.unique(indices, axis=0, return_counts=True)
    return {tuple(voxel) for voxel in voxels[counts >= least].tolist()}


def phases_of(
    study: str, plan: StudyPlan, objects: Iterable[Dataset]
) -> tuple[list[Dataset], list[Dataset]]:
    """Return the objects of a generated study that are of its dynamic series, and the others."""
    is_legacy = plan.style.family is Family.LEGACY
    word = "legacy series" if is_legacy else "series"
    dynamic = {stable_uid(study, word, f"dynamic {n}") for n in range(plan.schedule.phases)}
    every = list(objects)
    of_phases = [one for one in every if one.SeriesInstanceUID in dynamic]
    return of_phases, [one for one in every if one.SeriesInstanceUID not in dynamic]


def before_contrast(study: str, plan: StudyPlan, objects: Iterable[Dataset]) -> list[Dataset]:
    """Return the objects of a generated study that hold the phase before the injection."""
    of_phases, _ = phases_of(study, plan, objects)
    first = of_phases[0].SeriesInstanceUID
    dynamic = [one for one in of_phases if one.SeriesInstanceUID == first]
    if plan.style.family is not Family.CLASSIC:
        return dynamic
    names = {
        stable_uid(study, "instance", "dynamic 0", "0", str(index))
        for index in range(plan.shape[0])
    }
    return [one for one in dynamic if one.SOPInstanceUID in names]


def slices_before_contrast(study: str, plan: StudyPlan, objects: Iterable[Dataset]) -> Slices:
    """Return where each slice of the phase before the injection lies, which is the first."""
    found: dict[tuple[str, int], NDArray[np.float64]] = {}
    for one in before_contrast(study, plan, objects):
        if plan.style.family is Family.CLASSIC:
            found[str(one.SOPInstanceUID), 1] = np.asarray(one.ImagePositionPatient, dtype=float)
            continue
        groups = one.PerFrameFunctionalGroupsSequence
        for number, group in enumerate(groups[: plan.shape[0]], start=1):
            place = group.PlanePositionSequence[0].ImagePositionPatient
            found[str(one.SOPInstanceUID), number] = np.asarray(place, dtype=float)
    assert len(found) == plan.shape[0]
    return found


def _items(item: Dataset) -> Iterator[Dataset]:
    for one in item.get("ContentSequence", []):
        yield one
        yield from _items(one)


def _code(item: Dataset) -> tuple[str, str]:
    code = item.ConceptNameCodeSequence[0]
    return str(code.CodeValue), str(code.CodingSchemeDesignator)


def _side(segment: Dataset) -> Laterality | None:
    for region in segment.get("AnatomicRegionSequence", []):
        for modifier in region.get("AnatomicRegionModifierSequence", []):
            return SIDES[str(modifier.CodeValue)]
    return None
