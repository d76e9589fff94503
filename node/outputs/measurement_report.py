"""TID 1500 Measurement Report, as Comprehensive (3D) SR, one for each result with a place.

Viewers draw it only in a certain shape: regions first, each a POLYLINE directly in its group
with a Tracking UID of its own, every item with a concept name, the image of a region called
"Original Source". A result without regions becomes a text report, which every viewer opens.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from highdicom.sr import (
    ContainerContentItem,
    ContentItem,
    GraphicTypeValues,
    ScoordContentItem,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from node.outputs import text_report, wording
from node.outputs.case import Draft
from node.outputs.solid_groups import (
    derived_of_solids,
    library_of_solids,
    segmentations_beside,
    solid_groups,
)
from node.outputs.sr_content import (
    ACQ_CONTEXT,
    CONCEPT_MOD,
    CONTAINS,
    ENGLISH,
    LANGUAGE,
    OBS_CONTEXT,
    ORIGINAL_SOURCE,
    SELECTED_FROM,
    SIDES,
    algorithm,
    coded,
    concept,
    container,
    image,
    num_item,
    observer,
    procedure,
    site,
    text_item,
    uid,
    with_children,
)
from node.outputs.sr_document import DocumentKind, build_document
from node.outputs.sr_triage import triage_items
from node.outputs.text_report import described_evaluation, graded
from node.outputs.wording import ascii_text
from node.result import Code, Finding, ModelIdentity, Result
from node.study import Instance

IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
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


def build(draft: Draft) -> list[Dataset]:
    """Return one Comprehensive SR per result, with regions or as text."""
    return _build(draft, DocumentKind("measurement-report", ComprehensiveSRStorage, 9002, "Report"))


def build_3d(draft: Draft) -> list[Dataset]:
    """Return the same as Comprehensive 3D SR, which IHE AIR wants and fewer archives take."""
    return _build(
        draft, DocumentKind("measurement-report-3d", Comprehensive3DSRStorage, 9012, "Report 3D")
    )


def _build(draft: Draft, kind: DocumentKind) -> list[Dataset]:
    draft = wording.numbered(draft)
    return [
        build_document(
            draft,
            result,
            kind,
            _report(draft, result, groups) if groups else text_report.text_report(draft, result),
            segmentations_beside(draft, result) if groups else None,
        )
        for result in draft.results
        for groups in [_groups(draft, result)]
    ]


def _groups(draft: Draft, result: Result) -> list[ContainerContentItem]:
    """Return the measurement groups; there are coordinates in each, or in the one before it."""
    regions = [_region_group(draft, result.model, n, f) for n, f in enumerate(result.findings)]
    return [*regions, *solid_groups(draft, result)]


def tracking_identifier(finding: Finding) -> str:
    """Return the name of a finding's region in a draft that is `wording.numbered`.

    Viewers merge regions that share a Tracking Unique Identifier and draw only the first of
    them: that several are one lesion is said here, by the number before their names.
    """
    return ascii_text(finding.label)


def tracking_uid(draft: Draft, model: ModelIdentity, index: int) -> str:
    """Return the Tracking Unique Identifier of a result's finding with this index."""
    return draft.uid("tracking", model.name, f"region {index}")


def _report(
    draft: Draft, result: Result, groups: list[ContainerContentItem]
) -> ContainerContentItem:
    return container(
        IMAGING_MEASUREMENT_REPORT,
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
        [image(draft, finding.region.sop_uid, SELECTED_FROM, ORIGINAL_SOURCE)],
    )
    return container(
        Code("125007", "DCM", "Measurement Group"),
        [
            text_item(TRACKING_IDENTIFIER, tracking_identifier(finding), OBS_CONTEXT),
            uid(
                Code("112040", "DCM", "Tracking Unique Identifier"),
                tracking_uid(draft, model, index),
            ),
            coded(Code("121071", "DCM", "Finding"), finding.kind),
            region,
            *site(draft, [finding.region.sop_uid], finding.laterality),
            *(num_item(m, algorithm(model)) for m in finding.measurements),
        ],
        template="1410",
    )


def _derived(draft: Draft, result: Result) -> list[ContentItem]:
    """Return what follows from several regions together (TID 1420), if there is anything.

    Not as measurement groups beside those with regions: a group without coordinates leaves the
    whole report black in OHIF 3.13.
    """
    numbers = [
        num_item(
            measurement,
            described_evaluation(
                draft,
                result.model,
                evaluation,
                text_item(TRACKING_IDENTIFIER, evaluation.label, OBS_CONTEXT),
            ),
        )
        for evaluation in result.evaluations
        for measurement in evaluation.measurements
    ]
    numbers += derived_of_solids(draft, result)
    name = Code("126011", "DCM", "Derived Imaging Measurements")
    return [container(name, numbers)] if numbers else []


def _image_library(draft: Draft, result: Result) -> ContainerContentItem:
    entries = [
        with_children(
            image(draft, sop_uid, CONTAINS, ORIGINAL_SOURCE),
            list(_acquisition(draft.instance(sop_uid))),
        )
        for sop_uid in (
            result.analysed if result.stack is None else library_of_solids(draft, result)
        )
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
    """Say the grades, in words what the numbers are, and what was not analysed (TID 1500 row 12).

    Grades stand here and not beside the numbers they follow from: of derived measurements
    (TID 1420) none is a code.

    No CAD Processing and Findings Summary (111017): its "with findings" and "without findings"
    are about lesions, which a model that measures does not look for.
    """
    return container(
        Code("C0034375", "UMLS", "Qualitative Evaluations"),
        [
            *triage_items(draft, result),
            *(graded(draft, result.model, e) for e in result.evaluations if e.grade is not None),
            text_item(
                Code("121073", "DCM", "Impression"), " ".join(wording.sentences(draft, result))
            ),
        ],
    )
