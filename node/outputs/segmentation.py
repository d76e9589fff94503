"""Segmentations (PS3.3 A.51): the outlines of findings, as pixels of the image they are on.

Only what a model outlined itself: a box is around a thing, its pixels are not the thing's. Each
object stands in a series of its own, because OHIF reaches only the newest one of a series.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from node.imaging.spacing import SPACING_KEYWORDS, spacing_mm
from node.outputs import header, verbatim, wording
from node.outputs.case import Draft
from node.outputs.header import Series, code_item
from node.outputs.measurement_report import tracking_identifier, tracking_uid
from node.outputs.provenance import copy_lossy, image_reference, source_image
from node.outputs.segments import (
    SEGMENT_COLOURS,
    SERIES_NUMBER,
    SegmentTold,
    decimals,
    describe_segmentation,
    described_segment,
)
from node.outputs.sr_content import body_part_item
from node.result import Code, Finding, ModelIdentity, Point, Result

READ = (
    *("NumberOfFrames", *SPACING_KEYWORDS),
    *("FrameOfReferenceUID", "SliceThickness", "SpacingBetweenSlices"),
    "LossyImageCompression",
)
AS_DISPLAYED = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""What OHIF takes for the orientation of an image that has none."""
NOMINAL_MM = (1.0,)
"""Slice Thickness of an image that has none, such as a projection: highdicom reads no
segmentation without."""


@dataclass(frozen=True, slots=True)
class Source:
    """The image that was segmented: its stored matrix, and where that lies."""

    sop_uid: str
    rows: int
    columns: int
    spacing_mm: tuple[float, ...]
    """Between rows, and between columns."""
    orientation: tuple[float, ...]
    """Image Orientation (Patient)."""
    position_mm: tuple[float, ...]
    """Image Position (Patient); empty if the image has no Frame of Reference."""
    thickness_mm: tuple[float, ...]
    """Slice Thickness."""
    distance_mm: tuple[float, ...]
    """Spacing Between Slices; empty if it has none."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One finding, and the pixels it covers."""

    index: int
    """Of the finding in its result."""
    finding: Finding
    bits: NDArray[np.uint8]
    """Eight pixels a byte, row by row, the first in the lowest bit."""


def build(draft: Draft) -> list[Dataset]:
    """Return one Segmentation per model and image with an outline of its own on it.

    None of an image that does not tell its spacing, which nobody may make up and without which
    OHIF goes down; none of one with several frames, for outlines do not say of which they are.
    """
    draft = wording.numbered(draft)
    made = []
    for result in draft.results:
        outlined = {one.region.sop_uid for one in result.findings if not one.region.is_box}
        for sop_uid in filter(outlined.__contains__, result.analysed):
            source = _source(draft, sop_uid)
            segments = [] if source is None else list(_segments(result, source))
            if source is not None and segments:
                made.append(_segmentation(draft, result, source, segments))
    return made


def rasterise(outline: Sequence[Point], rows: int, columns: int) -> NDArray[np.bool_]:
    """Return which pixels of the matrix have their centre inside the outline (even-odd rule).

    (0.0, 0.0) is the top left corner of the first pixel, (0.5, 0.5) its centre. A centre on the
    outline belongs to what is to its right or below, so that neighbours never share a pixel.
    """
    changes = np.zeros((rows, columns + 1), dtype=np.uint8)
    for point, following in zip(outline, (*outline[1:], outline[0]), strict=True):
        (x0, y0), (x1, y1) = sorted((point, following), key=lambda p: p[1])
        first, end = max(0, math.ceil(y0 - 0.5)), min(rows, math.ceil(y1 - 0.5))
        if first >= end:
            continue
        crossed = np.arange(first, end)
        x = x0 + (crossed + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        changes[crossed, np.clip(np.ceil(x - 0.5), 0, columns).astype(np.intp)] ^= 1
    return np.bitwise_xor.accumulate(changes[:, :columns], axis=1).astype(np.bool_)


def _segments(result: Result, source: Source) -> Iterator[Segment]:
    """Yield the outlined findings on an image, but none that covers no pixel's centre."""
    for index, finding in enumerate(result.findings):
        if finding.region.is_box or finding.region.sop_uid != source.sop_uid:
            continue
        mask = rasterise(finding.region.outline, source.rows, source.columns)
        if mask.any():
            yield Segment(index, finding, np.packbits(mask, bitorder="little"))


def _source(draft: Draft, sop_uid: str) -> Source | None:
    """Return what a segmentation must know of its image, None if the image does not say it."""
    read = Dataset()
    verbatim.copy(draft.headers[sop_uid], read, READ)
    spacing = spacing_mm(read)
    if spacing is None or verbatim.plain(read, "NumberOfFrames") not in ("", "0", "1"):
        return None
    orientation = _numbers(read, "ImageOrientationPatient", 6)
    position = _numbers(read, "ImagePositionPatient", 3)
    has_place = bool(verbatim.plain(read, "FrameOfReferenceUID") and orientation and position)
    return Source(
        sop_uid=sop_uid,
        rows=int(read.Rows),
        columns=int(read.Columns),
        spacing_mm=spacing,
        orientation=orientation if has_place else AS_DISPLAYED,
        position_mm=position if has_place else (),
        thickness_mm=_numbers(read, "SliceThickness", 1) or NOMINAL_MM,
        distance_mm=_numbers(read, "SpacingBetweenSlices", 1) if has_place else (),
    )


def _numbers(read: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    """Return the values of a Decimal String, () unless there are that many."""
    try:
        values = tuple(float(value) for value in verbatim.plain(read, keyword).split("\\"))
    except ValueError:
        return ()
    return values if len(values) == count and all(map(math.isfinite, values)) else ()


def _segmentation(
    draft: Draft, result: Result, source: Source, segments: Sequence[Segment]
) -> Dataset:
    view = draft.instance(source.sop_uid).view
    series = Series(
        key=("segmentation", result.model.name, source.sop_uid),
        modality="SEG",
        number=SERIES_NUMBER,
        what=f"{view} Segmentation" if view else "Segmentation",
        results=(result,),
    )
    dataset = header.begin(draft, series, SegmentationStorage, "segmentation", 1)
    if source.position_mm:
        dataset.PositionReferenceIndicator = ""
        place = ("FrameOfReferenceUID", "PositionReferenceIndicator")
        verbatim.copy(draft.headers[source.sop_uid], dataset, place)
    describe_segmentation(dataset, draft, result)
    copy_lossy(draft, [source.sop_uid], dataset)
    dataset.SegmentSequence = [
        described_segment(_told(draft, result.model, segment), number, SEGMENT_COLOURS)
        for number, segment in enumerate(segments, start=1)
    ]
    dataset.ReferencedSeriesSequence = [_referenced_series(draft, source.sop_uid)]
    _index_frames(dataset, draft.uid(*series.key, "dimensions"))
    dataset.SharedFunctionalGroupsSequence = [_shared(source)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame(draft, source, number) for number in range(1, len(segments) + 1)
    ]
    _set_pixels(dataset, source, segments)
    return dataset


def _told(draft: Draft, model: ModelIdentity, segment: Segment) -> SegmentTold:
    finding = segment.finding
    return SegmentTold(
        label=finding.label,
        kind=finding.kind,
        model=model,
        tracking=(tracking_identifier(finding), tracking_uid(draft, model, segment.index)),
        region=body_part_item(draft, [finding.region.sop_uid], finding.laterality),
        laterality=finding.laterality,
    )


def _referenced_series(draft: Draft, sop_uid: str) -> Dataset:
    """Return where the source is (Common Instance Reference, PS3.3 C.12.2)."""
    series = Dataset()
    series.ReferencedInstanceSequence = [image_reference(draft, sop_uid)]
    series.SeriesInstanceUID = draft.instance(sop_uid).series_uid
    return series


def _index_frames(dataset: Dataset, organization_uid: str) -> None:
    """Say that the frames are told apart by their segment alone (PS3.3 C.7.6.17)."""
    organization = Dataset()
    organization.DimensionOrganizationUID = organization_uid
    dataset.DimensionOrganizationSequence = [organization]
    index = Dataset()
    index.DimensionOrganizationUID = organization_uid
    index.DimensionIndexPointer = verbatim.tag_of("ReferencedSegmentNumber")
    index.FunctionalGroupPointer = verbatim.tag_of("SegmentIdentificationSequence")
    index.DimensionDescriptionLabel = "Segment"
    dataset.DimensionIndexSequence = [index]


def _shared(source: Source) -> Dataset:
    """Return spacing and orientation, of mammograms too: OHIF reads no segmentation without."""
    measures = Dataset()
    measures.PixelSpacing = decimals(source.spacing_mm)
    measures.SliceThickness = decimals(source.thickness_mm)[0]
    if source.distance_mm:
        measures.SpacingBetweenSlices = decimals(source.distance_mm)[0]
    plane = Dataset()
    plane.ImageOrientationPatient = decimals(source.orientation)
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [plane]
    return shared


def _frame(draft: Draft, source: Source, number: int) -> Dataset:
    """Return the functional groups of the frame of a segment: what it is and what it is from."""
    content, segment, position, derivation = Dataset(), Dataset(), Dataset(), Dataset()
    content.DimensionIndexValues = [number]
    segment.ReferencedSegmentNumber = number
    reference = source_image(draft, source.sop_uid)
    reference.SpatialLocationsPreserved = "YES"
    derivation.SourceImageSequence = [reference]
    derivation.DerivationCodeSequence = [code_item(Code("113076", "DCM", "Segmentation"))]
    frame = Dataset()
    frame.FrameContentSequence = [content]
    frame.SegmentIdentificationSequence = [segment]
    frame.DerivationImageSequence = [derivation]
    if source.position_mm:
        position.ImagePositionPatient = decimals(source.position_mm)
        frame.PlanePositionSequence = [position]
    return frame


def _set_pixels(dataset: Dataset, source: Source, segments: Sequence[Segment]) -> None:
    """Write a frame for each segment; no bit stands between one and the next (PS3.5 8.1.1)."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.NumberOfFrames = len(segments)
    dataset.Rows, dataset.Columns = source.rows, source.columns
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    content = bytearray()
    rest = np.zeros(0, dtype=np.uint8)
    for segment in segments:
        pixels = np.unpackbits(segment.bits, count=source.rows * source.columns, bitorder="little")
        rest = np.concatenate([rest, pixels])
        whole = rest.size // 8 * 8
        content += np.packbits(rest[:whole], bitorder="little").tobytes()
        rest = rest[whole:]
    content += np.packbits(rest, bitorder="little").tobytes()
    dataset.add_new("PixelData", "OB", bytes(content) + b"\0" * (len(content) % 2))
