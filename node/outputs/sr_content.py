"""The content items that our Structured Reports are made of (PS3.3 C.17.3, PS3.16).

Items that several templates share, in words: what is printed is plain ASCII.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    TextContentItem,
    UIDRefContentItem,
)

from node.dicom.body_part import code_of
from node.outputs import header, verbatim, wording
from node.outputs.case import Draft
from node.outputs.wording import ascii_text
from node.result import Code, Measurement, ModelIdentity, Result
from node.study import Laterality

ENGLISH = Code("en-US", "RFC5646", "English (United States)")
LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
EQUIVALENT_MEANING = Code("121050", "DCM", "Equivalent Meaning of Concept Name")
MAMMOGRAPHY = Code("71651007", "SCT", "Mammography")
IMAGING = Code("363679005", "SCT", "Imaging procedure")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
FINDING = Code("121071", "DCM", "Finding")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
BREAST = Code("76752008", "SCT", "Breast")
ORIGINAL_SOURCE = Code("111040", "DCM", "Original Source")
MEASURED = Code("121112", "DCM", "Source of Measurement")
LATERALITY = Code("272741003", "SCT", "Laterality")
SIDES = {
    Laterality.RIGHT: Code("24028007", "SCT", "Right"),
    Laterality.LEFT: Code("7771000", "SCT", "Left"),
    Laterality.BOTH: Code("51440002", "SCT", "Bilateral"),
}
"""CID 244."""
CONTAINS = RelationshipTypeValues.CONTAINS
CONCEPT_MOD = RelationshipTypeValues.HAS_CONCEPT_MOD
OBS_CONTEXT = RelationshipTypeValues.HAS_OBS_CONTEXT
INFERRED_FROM = RelationshipTypeValues.INFERRED_FROM
ACQ_CONTEXT = RelationshipTypeValues.HAS_ACQ_CONTEXT
SELECTED_FROM = RelationshipTypeValues.SELECTED_FROM


def concept(code: Code) -> CodedConcept:
    """Return the code as highdicom wants it."""
    return CodedConcept(code.value, code.scheme, ascii_text(code.meaning)[: header.LO_LENGTH])


def text_item(
    name: Code, value: str, relationship: RelationshipTypeValues = CONTAINS
) -> TextContentItem:
    """Return a TEXT item."""
    return TextContentItem(concept(name), ascii_text(value), relationship)


def coded(
    name: Code, value: Code, relationship: RelationshipTypeValues = CONTAINS
) -> CodeContentItem:
    """Return a CODE item."""
    return CodeContentItem(concept(name), concept(value), relationship)


def uid(name: Code, value: str) -> UIDRefContentItem:
    """Return a UIDREF item of the observation context."""
    return UIDRefContentItem(concept(name), value, OBS_CONTEXT)


def container(
    name: Code, items: Iterable[ContentItem], template: str | None = None, is_root: bool = False
) -> ContainerContentItem:
    """Return a CONTAINER; SEPARATE, for viewers print no names of items that are CONTINUOUS."""
    item = ContainerContentItem(
        concept(name),
        is_content_continuous=False,
        template_id=template,
        relationship_type=None if is_root else CONTAINS,
    )
    item.ContentSequence = ContentSequence(list(items))
    return item


def with_children(item: ContentItem, children: Sequence[ContentItem]) -> ContentItem:
    """Hang items below an item."""
    if children:
        item.ContentSequence = ContentSequence(list(children))
    return item


def num_item(
    measurement: Measurement,
    children: Sequence[ContentItem],
    relationship: RelationshipTypeValues = CONTAINS,
) -> ContentItem:
    """Return a NUM item with the digits that the number is worth."""
    item = NumContentItem(
        concept(measurement.concept),
        float(measurement.value),
        concept(measurement.unit),
        relationship_type=relationship,
    )
    value = item.MeasuredValueSequence[0]
    value.NumericValue = wording.written_number(measurement)
    del value.FloatingPointValue  # more digits than the number is worth
    return with_children(item, children)


def image(
    draft: Draft,
    sop_uid: str,
    relationship: RelationshipTypeValues,
    name: Code,
    frame: int | None = None,
) -> ContentItem:
    """Return a reference to an image; with a name, for OHIF goes down on one without."""
    instance = draft.instance(sop_uid)
    return ImageContentItem(
        concept(name),
        instance.sop_class,
        instance.sop_uid,
        referenced_frame_numbers=None if frame is None else [frame],
        relationship_type=relationship,
    )


def site(draft: Draft, sop_uids: Sequence[str], laterality: Laterality | None) -> list[ContentItem]:
    """Return which breast, or of what has no side which body part; nothing if that is not known."""
    region = body_part_item(draft, sop_uids, laterality)
    if region is None:
        return []
    sides = [] if laterality is None else [coded(LATERALITY, SIDES[laterality], CONCEPT_MOD)]
    return [with_children(coded(FINDING_SITE, region, CONCEPT_MOD), sides)]


def body_part_item(
    draft: Draft, sop_uids: Sequence[str], laterality: Laterality | None
) -> Code | None:
    """Return the code of the body part that these images show, None if they show no one.

    What has a side is a breast; of both breasts together nothing is said.
    """
    if laterality is not None:
        return BREAST
    sites = {draft.instance(sop_uid).shown.site for sop_uid in sop_uids}
    if len(sites) != 1 or (site := sites.pop()).laterality is not None:
        return None
    code = code_of(site.body_part)
    return Code(code, "SCT", site.body_part.capitalize()) if code else None


def procedure(draft: Draft) -> ContentItem:
    """Return which procedure is reported: mammography, or no more than that it was imaging."""
    is_mammography = verbatim.plain(draft.source, "Modality") == "MG"
    return coded(
        Code("121058", "DCM", "Procedure reported"),
        MAMMOGRAPHY if is_mammography else IMAGING,
        CONCEPT_MOD,
    )


def observer(result: Result) -> list[ContentItem]:
    """Return the device that speaks: the algorithm, not the node (TID 1002, TID 1004)."""
    model = result.model
    return [
        coded(Code("121005", "DCM", "Observer Type"), Code("121007", "DCM", "Device"), OBS_CONTEXT),
        uid(Code("121012", "DCM", "Device Observer UID"), model.device_uid),
        text_item(Code("121013", "DCM", "Device Observer Name"), model.title, OBS_CONTEXT),
        text_item(
            Code("121014", "DCM", "Device Observer Manufacturer"), model.manufacturer, OBS_CONTEXT
        ),
        text_item(Code("121015", "DCM", "Device Observer Model Name"), model.title, OBS_CONTEXT),
    ]


def algorithm(model: ModelIdentity) -> list[ContentItem]:
    """Return which algorithm measured (TID 4019)."""
    return [
        text_item(Code("111001", "DCM", "Algorithm Name"), model.title, CONCEPT_MOD),
        text_item(Code("111003", "DCM", "Algorithm Version"), model.version, CONCEPT_MOD),
        coded(Code("111000", "DCM", "Algorithm Family"), ARTIFICIAL_INTELLIGENCE, CONCEPT_MOD),
    ]
