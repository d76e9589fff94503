"""What every Structured Report of ours shares: content items, observer, flags and evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    RelationshipTypeValues,
    TextContentItem,
    UIDRefContentItem,
)
from pydicom import Dataset

from node.identity import MANUFACTURER
from node.outputs import header, sources, verbatim
from node.outputs.draft import Draft
from node.outputs.wording import ascii_text
from node.result import Code, Result

ENGLISH = Code("en-US", "RFC5646", "English (United States)")
LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
MAMMOGRAPHY = Code("71651007", "SCT", "Mammography")
IMAGING = Code("363679005", "SCT", "Imaging procedure")
PRIVATE_SCHEME = "99AINODE"
PRIVATE_SCHEME_NAME = "DICOM AI Node private codes"

CONTAINS = RelationshipTypeValues.CONTAINS
CONCEPT_MOD = RelationshipTypeValues.HAS_CONCEPT_MOD
OBS_CONTEXT = RelationshipTypeValues.HAS_OBS_CONTEXT

REQUEST_TEXTS = (
    "AccessionNumber",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
)


def concept(code: Code) -> CodedConcept:
    """Return the code as highdicom wants it."""
    return CodedConcept(code.value, code.scheme, ascii_text(code.meaning)[: header.LO_LENGTH])


def text(
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
        text(Code("121013", "DCM", "Device Observer Name"), model.title, OBS_CONTEXT),
        text(
            Code("121014", "DCM", "Device Observer Manufacturer"), model.manufacturer, OBS_CONTEXT
        ),
        text(Code("121015", "DCM", "Device Observer Model Name"), model.title, OBS_CONTEXT),
    ]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of document: its SOP class, and the series that holds it."""

    key: str
    """Of the series and the objects' UIDs: the kind's name in the presets."""
    sop_class: str
    series_number: int
    what: str
    """The middle of "AI Breast Area Report - AI generated"."""


def build_document(draft: Draft, result: Result, kind: Kind, root: Dataset) -> Dataset:
    """Return an SR document with this content tree; one of each model in a study version."""
    series = header.Series(
        key=(kind.key, result.model.name),
        modality="SR",
        number=kind.series_number,
        what=kind.what,
        results=(result,),
    )
    dataset = header.begin(draft, series, kind.sop_class, "report", 1)
    _write_flags(dataset, result)
    dataset.AuthorObserverSequence = [_author(result)]
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.PerformedProcedureCodeSequence = []
    requests = _requests(draft)
    if requests:
        dataset.ReferencedRequestSequence = requests
    evidence = _evidence(draft, result)
    if evidence:
        dataset.CurrentRequestedProcedureEvidenceSequence = evidence
    replaced = draft.predecessors.get((result.model.name, kind.sop_class))
    if replaced is not None:
        reference = sources.reference(replaced.sop_class, replaced.sop_uid)
        dataset.PredecessorDocumentsSequence = [
            _study_reference(draft, {replaced.series_uid: [reference]})
        ]
    for element in root:
        dataset[element.tag] = element
    if PRIVATE_SCHEME in _schemes(dataset):
        dataset.CodingSchemeIdentificationSequence = [_private_scheme()]
    return dataset


def _write_flags(dataset: Dataset, result: Result) -> None:
    dataset.CompletionFlag = "COMPLETE" if result.is_complete else "PARTIAL"
    if not result.is_complete:
        dataset.CompletionFlagDescription = (
            "Some images were not analysed" if result.analysed else "No image was analysed"
        )
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PreliminaryFlag = "PRELIMINARY"


def _author(result: Result) -> Dataset:
    item = Dataset()
    item.ObserverType = "DEV"
    item.StationName = ""
    item.DeviceUID = result.model.device_uid
    item.Manufacturer = ascii_text(result.model.manufacturer)[: header.LO_LENGTH]
    item.ManufacturerModelName = ascii_text(result.model.title)[: header.LO_LENGTH]
    item.InstitutionName = ""
    item.InstitutionCodeSequence = []
    return item


def _requests(draft: Draft) -> list[Dataset]:
    """Turn Request Attributes (0040,0275) into Referenced Requests (0040,A370)."""
    found = Dataset()
    verbatim.copy(draft.source, found, ("RequestAttributesSequence",))
    items = []
    for request in found.get("RequestAttributesSequence") or []:
        item = Dataset()
        verbatim.copy(draft.source, item, ("StudyInstanceUID", "AccessionNumber"))
        verbatim.copy(draft.source, item, ("IssuerOfAccessionNumberSequence",))
        verbatim.copy(request, item, REQUEST_TEXTS)
        verbatim.copy(request, item, ("IssuerOfAccessionNumberSequence",))
        item.ReferencedStudySequence = []
        verbatim.copy(request, item, ("ReferencedStudySequence",))
        item.RequestedProcedureCodeSequence = []
        verbatim.copy(request, item, ("RequestedProcedureCodeSequence",))
        for keyword in REQUEST_TEXTS:
            if keyword not in item:
                setattr(item, keyword, "")
        verbatim.keep(item)
        items.append(item)
    return items


def _evidence(draft: Draft, result: Result) -> list[Dataset]:
    """Return every instance that was analysed or refused, once, by series (0040,A375)."""
    considered = {*result.analysed, *(refused.sop_uid for refused in result.refused)}
    by_series: dict[str, list[Dataset]] = {}
    for instance in draft.version.instances:
        if instance.sop_uid in considered:
            reference = sources.reference(instance.sop_class, instance.sop_uid)
            by_series.setdefault(instance.series_uid, []).append(reference)
    return [_study_reference(draft, by_series)] if by_series else []


def _study_reference(draft: Draft, by_series: Mapping[str, list[Dataset]]) -> Dataset:
    """Return references to objects of the study, by series (PS3.3 C.17.2.1)."""
    study = Dataset()
    study.StudyInstanceUID = draft.version.study_uid
    study.ReferencedSeriesSequence = []
    for series_uid, references in by_series.items():
        series = Dataset()
        series.ReferencedSOPSequence = references
        series.SeriesInstanceUID = series_uid
        study.ReferencedSeriesSequence.append(series)
    return study


def _schemes(content: Dataset) -> set[str]:
    """Return the coding schemes that the content tree uses."""
    return {
        str(element.value)
        for element in content.get("ContentSequence", [])
        for element in element.iterall()
        if element.keyword == "CodingSchemeDesignator"
    }


def _private_scheme() -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = PRIVATE_SCHEME_NAME
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item
