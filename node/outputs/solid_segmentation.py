"""Segmentations of volumes (PS3.3 A.51): the solids of a result, on the slices they lie on.

highdicom lays out frames and functional groups; header, references and words are ours. It is
given each slice as an object of its own, whether it is one or a frame of many, for an object of
many frames may show the same place in several phases, and only the phase counts that was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import PixelMeasuresSequence
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import MRImageStorage, SegmentationStorage

from node.errors import StudyError
from node.identity import stable_uid
from node.imaging.planes import Plane, planes_of
from node.imaging.solid_bits import Voxels, voxels_of
from node.imaging.stack import stack_of
from node.outputs import header, verbatim
from node.outputs.canvas import Colour
from node.outputs.case import Draft
from node.outputs.header import Series
from node.outputs.provenance import copy_lossy, image_reference
from node.outputs.segments import (
    SEGMENT_COLOURS,
    SERIES_NUMBER,
    SegmentTold,
    decimals,
    describe_segmentation,
    described_segment,
)
from node.outputs.sr_content import BREAST
from node.outputs.sr_document import PRIVATE_SCHEME, private_scheme
from node.outputs.wording import solid_label
from node.result import Code, ModelIdentity, Result, SliceStack, Solid

COUNTED: tuple[Colour, ...] = (SEGMENT_COLOURS[0], SEGMENT_COLOURS[2], SEGMENT_COLOURS[3])
LEFT_OUT: tuple[Colour, ...] = (SEGMENT_COLOURS[1], SEGMENT_COLOURS[5], SEGMENT_COLOURS[4])
"""Of segments that count, and of those that a rule left out; no colour is in both."""
_LAID_OUT = (
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("SegmentsOverlap", "DimensionOrganizationSequence", "DimensionIndexSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
"""What highdicom writes better than anybody."""
_Frame = tuple[str, int | None]
"""SOP Instance UID, and the frame from 1 of an object of many."""


@dataclass(frozen=True, slots=True)
class Lain:
    """Where the slices of a result lie, and its solids that have voxels."""

    solids: Mapping[int, Solid]
    """By their place in the result; the first is segment 1."""
    voxels: Mapping[int, Voxels]
    planes: tuple[Plane, ...]
    """Of all slices, in the result's order."""
    step_mm: float
    """Between the centres of neighbours."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return len(self.planes), self.planes[0].rows, self.planes[0].columns

    @property
    def affine(self) -> NDArray[np.float64]:
        """From (slice, row, column, 1) in the result's order to (x, y, z, 1), in mm."""
        first, last = self.planes[0], self.planes[-1]
        affine = np.eye(4)
        affine[:3, 0] = np.subtract(last.position, first.position) / (len(self.planes) - 1)
        affine[:3, 1] = np.array(first.down) * first.spacing[0]
        affine[:3, 2] = np.array(first.right) * first.spacing[1]
        affine[:3, 3] = first.position
        return affine


def build(draft: Draft) -> list[Dataset]:
    """Return one Segmentation for each result with solids that have voxels."""
    made = []
    for result in draft.results:
        lain = lain_of(draft, result)
        if lain is not None and lain.solids:
            made.append(_segmentation(draft, result, lain))
    return made


def segmentation_series(result: Result) -> Series:
    """Return the series that holds a result's segmentation."""
    return Series(
        key=("segmentation", result.model.name, "solids"),
        modality="SEG",
        number=SERIES_NUMBER,
        what="Segmentation",
        results=(result,),
    )


def sop_uid_of(draft: Draft, result: Result) -> str:
    """Return the SOP Instance UID of a result's segmentation."""
    return draft.uid(*segmentation_series(result).key, "segmentation")


def segment_numbers(result: Result) -> dict[int, int]:
    """Return the segment number of each solid that has voxels, by its place in the result."""
    return {place: number for number, place in enumerate(segment_voxels(result), start=1)}


def solid_tracking(draft: Draft, model: ModelIdentity, place: int, solid: Solid) -> tuple[str, str]:
    """Return Tracking ID and Tracking UID of a solid, the same in segment and report."""
    return solid_label(solid), draft.uid("tracking", model.name, f"solid {place}")


def site_of(solid: Solid) -> Code | None:
    """Return the part of the body that a solid lies in: a breast, of what has a side."""
    if solid.site is not None:
        return solid.site
    return None if solid.laterality is None else BREAST


def lain_of(draft: Draft, result: Result) -> Lain | None:
    """Return where a result's solids lie; None if it has no slices, or those do not say."""
    voxels = segment_voxels(result)
    if result.stack is None:
        return None
    try:
        planes = _planes(draft, result.stack)
        stack = stack_of(planes)
        stack.require_whole()
    except StudyError:
        return None
    solids = {place: result.solids[place] for place in voxels}
    return Lain(solids, voxels, tuple(planes), stack.step_mm)


def segment_voxels(result: Result) -> dict[int, Voxels]:
    """Return the voxels of each solid that has some, by its place in the result."""
    if result.stack is None:
        return {}
    read = ((place, voxels_of(one, result.stack)) for place, one in enumerate(result.solids))
    return {place: voxels for place, voxels in read if voxels.bits.any()}


def _planes(draft: Draft, stack: SliceStack) -> list[Plane]:
    read: dict[str, tuple[Plane, ...]] = {}
    planes = []
    for sop_uid, frame in stack.slices:
        if sop_uid not in read:
            read[sop_uid] = planes_of(draft.headers[sop_uid])
        of_object = read[sop_uid]
        if not 1 <= (frame or 1) <= len(of_object):
            raise StudyError(f"an object of {len(of_object)} frames, of which none is {frame}")
        plane = of_object[(frame or 1) - 1]
        if (plane.rows, plane.columns) != (stack.rows, stack.columns):
            raise StudyError("slices of another size than their solids")
        planes.append(plane)
    return planes


def _segmentation(draft: Draft, result: Result, lain: Lain) -> Dataset:
    assert result.stack is not None
    series = segmentation_series(result)
    dataset = header.begin(draft, series, SegmentationStorage, "segmentation", 1)
    describe_segmentation(dataset, draft, result)
    dataset.SegmentSequence = list(_described(draft, result.model, lain.solids))
    places = sorted({place for one in lain.voxels.values() for place in one.places()})
    frames = [result.stack.slices[place] for place in places]
    laid = _laid_out(lain, places, dataset.SegmentSequence)
    for keyword in _LAID_OUT:
        dataset[keyword] = laid[keyword]
    dataset.add_new("PixelData", "OB", laid.PixelData)
    _place(dataset, draft, lain.planes[0], frames[0])
    _name_dimensions(dataset, draft.uid(*series.key, "dimensions"))
    _refer(dataset, draft, dict(zip(map(_stand_in, frames), frames, strict=True)))
    copy_lossy(draft, dict.fromkeys(sop_uid for sop_uid, _ in frames), dataset)
    codes = [code for one in lain.solids.values() for code in (one.kind, one.site) if code]
    if any(code.scheme == PRIVATE_SCHEME for code in codes):
        dataset.CodingSchemeIdentificationSequence = [private_scheme()]
    return dataset


def _described(
    draft: Draft, model: ModelIdentity, solids: Mapping[int, Solid]
) -> Iterator[Dataset]:
    counts = {True: 0, False: 0}
    for number, (place, solid) in enumerate(solids.items(), start=1):
        told = SegmentTold(
            label=solid_label(solid),
            kind=solid.kind,
            model=model,
            tracking=solid_tracking(draft, model, place, solid),
            region=site_of(solid),
            laterality=solid.laterality,
            is_measured_by_rule=solid.is_left_out or solid.kind.scheme == PRIVATE_SCHEME,
        )
        counts[solid.is_left_out] += 1
        colours = LEFT_OUT if solid.is_left_out else COUNTED
        item = described_segment(told, counts[solid.is_left_out], colours)
        item.SegmentNumber = number
        yield item


def _laid_out(lain: Lain, places: Sequence[int], segments: Sequence[Dataset]) -> Segmentation:
    """Return what highdicom makes of the slices that have voxels."""
    planes = [lain.planes[place] for place in places]
    first = planes[0]
    # Nothing lies between slices that are wider apart than thick: they say both.
    measures = PixelMeasuresSequence(
        decimals(first.spacing),
        decimals([first.thickness or lain.step_mm])[0],
        decimals([lain.step_mm])[0],
    )
    return Segmentation(
        source_images=[_as_object(plane) for plane in planes],
        pixel_array=_labels(lain, places),
        segmentation_type="BINARY",
        segment_descriptions=[SegmentDescription.from_dataset(item) for item in segments],
        series_instance_uid=stable_uid("laid out"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=stable_uid("laid out"),
        instance_number=1,
        manufacturer="",
        manufacturer_model_name="",
        software_versions="",
        device_serial_number="",
        pixel_measures=measures,
    )


def _labels(lain: Lain, places: Sequence[int]) -> NDArray[np.uint8]:
    """Return the segment numbers on each slice; where segments overlap, a channel for each."""
    shape = (len(places), lain.planes[0].rows, lain.planes[0].columns)
    labels = np.zeros(shape, np.uint8)
    for number, voxels in enumerate(lain.voxels.values(), start=1):
        for at, place in enumerate(places):
            mask = voxels.on(place)
            if (labels[at][mask] > 0).any():
                return _channels(lain, places)
            labels[at][mask] = number
    return labels


def _channels(lain: Lain, places: Sequence[int]) -> NDArray[np.uint8]:
    on_places = [[voxels.on(place) for voxels in lain.voxels.values()] for place in places]
    return np.stack([np.stack(masks, axis=-1) for masks in on_places]).astype(np.uint8)


def _stand_in(frame: _Frame) -> str:
    """Return the UID of the object that a slice is to highdicom."""
    return stable_uid("stand-in", *map(str, frame))


def _as_object(plane: Plane) -> Dataset:
    """Return a slice as an object of one frame, with no more than where it lies."""
    image = Dataset()
    image.SOPClassUID = MRImageStorage
    image.SOPInstanceUID = _stand_in((plane.sop_uid, plane.frame))
    image.StudyInstanceUID = image.SeriesInstanceUID = stable_uid("laid out")
    image.FrameOfReferenceUID = plane.frame_of_reference or stable_uid("laid out")
    image.Modality = "MR"
    for keyword in header.TYPE_2:
        setattr(image, keyword, "")
    image.Rows, image.Columns = plane.rows, plane.columns
    image.ImagePositionPatient = decimals(plane.position)
    image.ImageOrientationPatient = decimals(plane.orientation)
    image.PixelSpacing = decimals(plane.spacing)
    if plane.thickness is not None:
        image.SliceThickness = decimals([plane.thickness])[0]
    return image


def _place(dataset: Dataset, draft: Draft, plane: Plane, frame: _Frame) -> None:
    """Write the frame of reference, which is that of the slices."""
    dataset.FrameOfReferenceUID = plane.frame_of_reference
    dataset.PositionReferenceIndicator = ""
    place = ("FrameOfReferenceUID", "PositionReferenceIndicator")
    verbatim.copy(draft.headers[frame[0]], dataset, place)


def _name_dimensions(dataset: Dataset, uid: str) -> None:
    """Give the dimensions a UID that follows from the draft."""
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def _refer(dataset: Dataset, draft: Draft, frames: Mapping[str, _Frame]) -> None:
    """Refer to the real slices, where highdicom refers to what stands for them."""
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        for derivation in groups.DerivationImageSequence:
            for item in derivation.SourceImageSequence:
                if str(item.ReferencedSOPInstanceUID) not in frames:
                    continue  # done: segments of a slice share the item
                sop_uid, number = frames[str(item.ReferencedSOPInstanceUID)]
                item.ReferencedSOPClassUID = draft.instance(sop_uid).sop_class
                item.ReferencedSOPInstanceUID = sop_uid
                if number is not None:
                    item.ReferencedFrameNumber = number
    dataset.ReferencedSeriesSequence = _referenced_series(draft, frames.values())


def _referenced_series(draft: Draft, frames: Iterable[_Frame]) -> list[Dataset]:
    """Return where the sources are (Common Instance Reference, PS3.3 C.12.2)."""
    by_series: dict[str, list[Dataset]] = {}
    for sop_uid in dict.fromkeys(uid for uid, _ in frames):
        references = by_series.setdefault(draft.instance(sop_uid).series_uid, [])
        references.append(image_reference(draft, sop_uid))
    items = []
    for series_uid, references in by_series.items():
        item = Dataset()
        item.ReferencedInstanceSequence = references
        item.SeriesInstanceUID = series_uid
        items.append(item)
    return items
