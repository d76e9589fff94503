"""Segmentations (PS3.3 A.51): the outlines of findings, as pixels of the image they are on.

Only what a model outlined itself: a box is around a thing, its pixels are not the thing's. Each
object stands in a series of its own, because OHIF reaches only the newest one of a series.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SegmentationStorage
from pydicom.valuerep import DSfloat

from node.imaging.spacing import SPACING_KEYWORDS, spacing_mm
from node.outputs import header, verbatim, wording
from node.outputs.case import Draft
from node.outputs.header import LO_LENGTH, Series, code_item
from node.outputs.measurement_report import tracking_identifier, tracking_uid
from node.outputs.provenance import copy_lossy, image_reference, source_image
from node.outputs.sr_content import ARTIFICIAL_INTELLIGENCE, SIDES, body_part_item
from node.outputs.wording import ascii_text
from node.result import Code, Finding, ModelIdentity, Point, Result

SERIES_NUMBER = 9005
SEGMENT_COLOURS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
)
"""One for each segment of an image, in RGB; told apart by every kind of colour blindness."""
ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
ABNORMALITY = Code("49755003", "SCT", "Morphologically Abnormal Structure")
PLACE = Code("309825002", "SCT", "Spatial and Relational Concept")
CATEGORIES = {
    ("76752008", "SCT"): ANATOMY,  # breast
    ("24142002", "SCT"): ANATOMY,  # nipple
    ("111100", "DCM"): ANATOMY,  # breast geometry
    ("111099", "DCM"): PLACE,  # selected region
    ("111102", "DCM"): PLACE,  # non-lesion
}
"""Segmented Property Category (CID 7150) of what is no abnormality, by the finding's code."""
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
        for sop_uid in result.analysed:
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
    _describe(dataset, draft, result)
    copy_lossy(draft, [source.sop_uid], dataset)
    dataset.SegmentSequence = [
        _described(draft, result.model, number, segment)
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


def _describe(dataset: Dataset, draft: Draft, result: Result) -> None:
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.BurnedInAnnotation = "NO"
    dataset.SegmentationType = "BINARY"
    dataset.ContentLabel = "AI_SEGMENTATION"
    dataset.ContentDescription = wording.AI_GENERATED[:LO_LENGTH]
    dataset.ContentCreatorName = ""
    research = wording.RESEARCH_USE if result.model.is_research else ""
    version = f"{wording.version(draft)}." if wording.version(draft) else ""
    said = (wording.AI_GENERATED, research, version, f"Algorithm: {wording.model(result)}.")
    dataset.ImageComments = " ".join(filter(None, said))


def _described(draft: Draft, model: ModelIdentity, number: int, segment: Segment) -> Dataset:
    finding = segment.finding
    category = CATEGORIES.get((finding.kind.value, finding.kind.scheme), ABNORMALITY)
    title = ascii_text(model.title)[:LO_LENGTH]
    algorithm = Dataset()
    algorithm.AlgorithmFamilyCodeSequence = [code_item(ARTIFICIAL_INTELLIGENCE)]
    algorithm.AlgorithmName = title
    algorithm.AlgorithmVersion = ascii_text(model.version)[:LO_LENGTH]
    colour = CIELabColor.from_rgb(*SEGMENT_COLOURS[(number - 1) % len(SEGMENT_COLOURS)])
    item = Dataset()
    item.SegmentNumber = number
    item.SegmentLabel = ascii_text(finding.label)[:LO_LENGTH]
    item.SegmentAlgorithmType = "AUTOMATIC"
    item.SegmentAlgorithmName = title
    item.SegmentationAlgorithmIdentificationSequence = [algorithm]
    item.SegmentedPropertyCategoryCodeSequence = [code_item(category)]
    item.SegmentedPropertyTypeCodeSequence = [code_item(finding.kind)]
    if region := _region(draft, finding):
        item.AnatomicRegionSequence = region
    item.RecommendedDisplayCIELabValue = list(colour.value)
    item.TrackingID = tracking_identifier(finding)
    item.TrackingUID = tracking_uid(draft, model, segment.index)
    return item


def _region(draft: Draft, finding: Finding) -> list[Dataset]:
    """Return the body part and its side, nothing if they are not known (PS3.3 10.5)."""
    code = body_part_item(draft, [finding.region.sop_uid], finding.laterality)
    if code is None:
        return []
    region = code_item(code)
    if finding.laterality is not None:
        region.AnatomicRegionModifierSequence = [code_item(SIDES[finding.laterality])]
    return [region]


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
    measures.PixelSpacing = _decimals(source.spacing_mm)
    measures.SliceThickness = _decimals(source.thickness_mm)[0]
    if source.distance_mm:
        measures.SpacingBetweenSlices = _decimals(source.distance_mm)[0]
    plane = Dataset()
    plane.ImageOrientationPatient = _decimals(source.orientation)
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [plane]
    return shared


def _decimals(values: Iterable[float]) -> list[DSfloat]:
    return [DSfloat(value, auto_format=True) for value in values]


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
        position.ImagePositionPatient = _decimals(source.position_mm)
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
