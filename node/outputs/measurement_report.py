"""TID 1500 Measurement Report, as Comprehensive (3D) SR, one for each result with a finding.

Viewers draw it only in a certain shape: regions first, each a POLYLINE directly in its group
with a Tracking UID of its own, every item with a concept name, the image of a region called
"Original Source". A result without regions becomes a text report, which every viewer opens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from highdicom.sr import (
    ContainerContentItem,
    ContentItem,
    GraphicTypeValues,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    ScoordContentItem,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from node.outputs import text_report, wording
from node.outputs.document import (
    CONCEPT_MOD,
    CONTAINS,
    ENGLISH,
    LANGUAGE,
    OBS_CONTEXT,
    Kind,
    build_document,
    coded,
    concept,
    container,
    observer,
    procedure,
    text,
    uid,
    with_children,
)
from node.outputs.draft import Draft
from node.result import Code, Evaluation, Finding, Measurement, ModelIdentity, Result
from node.study import Instance, Laterality

TITLE = Code("126000", "DCM", "Imaging Measurement Report")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
BREAST = Code("76752008", "SCT", "Breast")
LATERALITY = Code("272741003", "SCT", "Laterality")
SIDES = {
    Laterality.RIGHT: Code("24028007", "SCT", "Right"),
    Laterality.LEFT: Code("7771000", "SCT", "Left"),
    Laterality.BOTH: Code("51440002", "SCT", "Bilateral"),
}
ORIGINAL_SOURCE = Code("111040", "DCM", "Original Source")
MEASURED = Code("121112", "DCM", "Source of Measurement")
VIEWS = {
    "CC": Code("399162004", "SCT", "cranio-caudal"),
    "MLO": Code("399368009", "SCT", "medio-lateral oblique"),
    "ML": Code("399260004", "SCT", "medial-lateral"),
    "LM": Code("399352003", "SCT", "latero-medial"),
    "LMO": Code("399099002", "SCT", "latero-medial oblique"),
    "XCCL": Code("399192008", "SCT", "cranio-caudal exaggerated laterally"),
    "XCCM": Code("399101009", "SCT", "cranio-caudal exaggerated medially"),
    "FB": Code("399196006", "SCT", "caudo-cranial"),
    "SIO": Code("399188001", "SCT", "superolateral to inferomedial oblique"),
    "ISO": Code("441555000", "SCT", "inferomedial to superolateral oblique"),
}
"""CID 4014 by View Position (0018,5101)."""
MODALITIES: dict[str, str] = {
    getattr(codes.cid29, name).value: getattr(codes.cid29, name).meaning
    for name in codes.cid29.dir()
}
OTHER = Code("OT", "DCM", "Other")
ACQ_CONTEXT = RelationshipTypeValues.HAS_ACQ_CONTEXT


def build(draft: Draft) -> list[Dataset]:
    """Return one Comprehensive SR per result, with regions or as text."""
    return _build(draft, Kind("measurement-report", ComprehensiveSRStorage, 9002, "Report"))


def build_3d(draft: Draft) -> list[Dataset]:
    """Return the same as Comprehensive 3D SR, which IHE AIR wants and fewer archives take."""
    return _build(draft, Kind("measurement-report-3d", Comprehensive3DSRStorage, 9012, "Report 3D"))


def _build(draft: Draft, kind: Kind) -> list[Dataset]:
    return [
        build_document(
            draft,
            result,
            kind,
            _report(draft, result) if result.findings else text_report.report(draft, result),
        )
        for result in draft.results
    ]


def _report(draft: Draft, result: Result) -> ContainerContentItem:
    groups = [_region_group(draft, result.model, n, f) for n, f in enumerate(result.findings)]
    return container(
        TITLE,
        [
            coded(LANGUAGE, ENGLISH, CONCEPT_MOD),
            *observer(result),
            procedure(draft),
            _image_library(draft, result),
            container(Code("126010", "DCM", "Imaging Measurements"), groups),
            *_derived(draft, result),
            _qualitative(draft, result),
        ],
        template="1500",
        is_root=True,
    )


def _region_group(
    draft: Draft, model: ModelIdentity, index: int, finding: Finding
) -> ContainerContentItem:
    region = with_children(
        ScoordContentItem(
            concept(Code("111030", "DCM", "Image Region")),
            GraphicTypeValues.POLYLINE,
            np.asarray(finding.region.outline, dtype=np.float64),
            relationship_type=CONTAINS,
        ),
        [_image(draft, finding.region.sop_uid, RelationshipTypeValues.SELECTED_FROM)],
    )
    return container(
        Code("125007", "DCM", "Measurement Group"),
        [
            *_tracking(draft, model, f"region {index}", finding.label),
            coded(Code("121071", "DCM", "Finding"), finding.kind),
            region,
            _site(finding.laterality),
            *(_number(m, model) for m in finding.measurements),
        ],
        template="1410",
    )


def _derived(draft: Draft, result: Result) -> list[ContentItem]:
    """Return what follows from several regions together (TID 1420), if there is anything.

    Not as measurement groups beside those with regions: a group without coordinates leaves the
    whole report black in OHIF 3.13.
    """
    numbers = [
        _derived_number(draft, result.model, evaluation, measurement)
        for evaluation in result.evaluations
        for measurement in evaluation.measurements
    ]
    name = Code("126011", "DCM", "Derived Imaging Measurements")
    return [container(name, numbers)] if numbers else []


def _derived_number(
    draft: Draft, model: ModelIdentity, evaluation: Evaluation, measurement: Measurement
) -> ContentItem:
    label = text(Code("112039", "DCM", "Tracking Identifier"), evaluation.label, OBS_CONTEXT)
    side = [] if evaluation.laterality is None else [_site(evaluation.laterality)]
    inferred = RelationshipTypeValues.INFERRED_FROM
    images = [_image(draft, image, inferred, MEASURED) for image in evaluation.sop_uids]
    return _number(measurement, model, [label, *side], images)


def _tracking(draft: Draft, model: ModelIdentity, key: str, label: str) -> list[ContentItem]:
    """Name the group; viewers merge groups that share a UID and draw only the first of them."""
    return [
        text(Code("112039", "DCM", "Tracking Identifier"), label, OBS_CONTEXT),
        uid(
            Code("112040", "DCM", "Tracking Unique Identifier"),
            draft.uid("tracking", model.name, key),
        ),
    ]


def _site(laterality: Laterality) -> ContentItem:
    return with_children(
        coded(FINDING_SITE, BREAST, CONCEPT_MOD),
        [coded(LATERALITY, SIDES[laterality], CONCEPT_MOD)],
    )


def _number(
    measurement: Measurement,
    model: ModelIdentity,
    before: Sequence[ContentItem] = (),
    after: Sequence[ContentItem] = (),
) -> ContentItem:
    item = NumContentItem(
        concept(measurement.concept),
        float(measurement.value),
        concept(measurement.unit),
        relationship_type=CONTAINS,
    )
    value = item.MeasuredValueSequence[0]
    value.NumericValue = wording.number(measurement)
    del value.FloatingPointValue  # more digits than the number is worth
    return with_children(item, [*before, *_algorithm(model), *after])


def _algorithm(model: ModelIdentity) -> list[ContentItem]:
    """Return which algorithm measured (TID 4019)."""
    return [
        text(Code("111001", "DCM", "Algorithm Name"), model.title, CONCEPT_MOD),
        text(Code("111003", "DCM", "Algorithm Version"), model.version, CONCEPT_MOD),
        coded(
            Code("111000", "DCM", "Algorithm Family"),
            Code("123110", "DCM", "Artificial Intelligence"),
            CONCEPT_MOD,
        ),
    ]


def _image(
    draft: Draft,
    sop_uid: str,
    relationship: RelationshipTypeValues = CONTAINS,
    name: Code = ORIGINAL_SOURCE,
) -> ContentItem:
    instance = draft.instance(sop_uid)
    return ImageContentItem(
        concept(name),
        instance.sop_class,
        instance.sop_uid,
        relationship_type=relationship,
    )


def _image_library(draft: Draft, result: Result) -> ContainerContentItem:
    entries = [
        with_children(_image(draft, sop_uid), list(_acquisition(draft.instance(sop_uid))))
        for sop_uid in result.analysed
    ]
    return container(
        Code("111028", "DCM", "Image Library"),
        [container(Code("126200", "DCM", "Image Library Group"), entries)],
        template="1600",
    )


def _acquisition(instance: Instance) -> Iterator[ContentItem]:
    """Yield what an image is (TID 1602, TID 1603), as the node understood it."""
    meaning = MODALITIES.get(instance.modality)
    modality = Code(instance.modality, "DCM", meaning) if meaning else OTHER
    yield coded(Code("121139", "DCM", "Modality"), modality, ACQ_CONTEXT)
    if instance.view is None:
        return
    side = SIDES[instance.view.laterality]
    yield coded(Code("111027", "DCM", "Image Laterality"), side, ACQ_CONTEXT)
    if instance.view.projection in VIEWS:
        view = VIEWS[instance.view.projection]
        yield coded(Code("111031", "DCM", "Image View"), view, ACQ_CONTEXT)


def _qualitative(draft: Draft, result: Result) -> ContainerContentItem:
    """Say in words what the numbers are, and what was not analysed (TID 1500 row 12).

    No CAD Processing and Findings Summary (111017): its "with findings" and "without findings"
    are about lesions, which a model that measures does not look for.
    """
    return container(
        Code("C0034375", "UMLS", "Qualitative Evaluations"),
        [
            text(Code("121073", "DCM", "Impression"), " ".join(wording.sentences(draft, result))),
        ],
    )
