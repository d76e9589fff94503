"""What every Segmentation of ours says of itself and of its segments (PS3.3 C.8.20)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from highdicom.color import CIELabColor
from pydicom import Dataset
from pydicom.valuerep import DSfloat

from node.outputs import wording
from node.outputs.canvas import Colour
from node.outputs.case import Draft
from node.outputs.header import LO_LENGTH, code_item
from node.outputs.sr_content import ARTIFICIAL_INTELLIGENCE, SIDES
from node.outputs.wording import ascii_text
from node.result import Code, ModelIdentity, Result
from node.study import Laterality

SERIES_NUMBER = 9005
SEGMENT_COLOURS: tuple[Colour, ...] = (
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


@dataclass(frozen=True, slots=True)
class SegmentTold:
    """What is said of a segment."""

    label: str
    kind: Code
    model: ModelIdentity
    tracking: tuple[str, str]
    """Tracking ID and Tracking UID: those of the report's group about the same."""
    region: Code | None
    """The body part, None if it is not known (PS3.3 10.5)."""
    laterality: Laterality | None
    is_measured_by_rule: bool = False
    """What it is follows from a threshold or another rule: nobody calls it abnormal."""


def describe_segmentation(dataset: Dataset, draft: Draft, result: Result) -> None:
    """Write who segmented, and what is to be known of it."""
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


def described_segment(told: SegmentTold, number: int, colours: tuple[Colour, ...]) -> Dataset:
    """Return the item of a segment, in the number-th of the colours, from 1."""
    title = ascii_text(told.model.title)[:LO_LENGTH]
    algorithm = Dataset()
    algorithm.AlgorithmFamilyCodeSequence = [code_item(ARTIFICIAL_INTELLIGENCE)]
    algorithm.AlgorithmName = title
    algorithm.AlgorithmVersion = ascii_text(told.model.version)[:LO_LENGTH]
    colour = CIELabColor.from_rgb(*colours[(number - 1) % len(colours)])
    item = Dataset()
    item.SegmentNumber = number
    item.SegmentLabel = ascii_text(told.label)[:LO_LENGTH]
    item.SegmentAlgorithmType = "AUTOMATIC"
    item.SegmentAlgorithmName = title
    item.SegmentationAlgorithmIdentificationSequence = [algorithm]
    item.SegmentedPropertyCategoryCodeSequence = [code_item(category_of(told))]
    item.SegmentedPropertyTypeCodeSequence = [code_item(told.kind)]
    if told.region is not None:
        item.AnatomicRegionSequence = [_region(told.region, told.laterality)]
    item.RecommendedDisplayCIELabValue = list(colour.value)
    item.TrackingID, item.TrackingUID = told.tracking
    return item


def category_of(told: SegmentTold) -> Code:
    """Return the Segmented Property Category: a place, of what a rule measures by itself."""
    usual = PLACE if told.is_measured_by_rule else ABNORMALITY
    return CATEGORIES.get((told.kind.value, told.kind.scheme), usual)


def decimals(values: Iterable[float]) -> list[DSfloat]:
    """Return Decimal Strings, of at most 16 characters."""
    return [DSfloat(value, auto_format=True) for value in values]


def _region(region: Code, laterality: Laterality | None) -> Dataset:
    item = code_item(region)
    if laterality is not None:
        item.AnatomicRegionModifierSequence = [code_item(SIDES[laterality])]
    return item
