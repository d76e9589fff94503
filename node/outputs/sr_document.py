"""What every Structured Report of ours shares around its content: series, flags, evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword

from node.identity import MANUFACTURER
from node.outputs import header, provenance, verbatim
from node.outputs.case import Draft
from node.outputs.wording import ascii_text
from node.result import Result

PRIVATE_SCHEME = "99AINODE"
PRIVATE_SCHEME_NAME = "DICOM AI Node private codes"

_SCHEME = tag_for_keyword("CodingSchemeDesignator")

REQUEST_TEXTS = (
    "AccessionNumber",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
)


@dataclass(frozen=True, slots=True)
class DocumentKind:
    """One kind of document: its SOP class, and the series that holds it."""

    key: str
    """Of the series and the objects' UIDs: the kind's name in the presets."""
    sop_class: str
    series_number: int
    what: str
    """The middle of "AI Breast Area Report - AI generated"."""


def build_document(
    draft: Draft,
    result: Result,
    kind: DocumentKind,
    root: Dataset,
    beside: Mapping[str, list[Dataset]] | None = None,
) -> Dataset:
    """Return an SR document with this content tree; one of each model in a study version.

    `beside` are references to objects of ours that it refers to, by series.
    """
    series = header.Series(
        key=(kind.key, result.model.name),
        modality="SR",
        number=kind.series_number,
        what=kind.what,
        results=(result,),
    )
    dataset = header.begin(draft, series, kind.sop_class, "report", 1)
    _write_flags(dataset, draft, result)
    dataset.AuthorObserverSequence = [_author(result)]
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.PerformedProcedureCodeSequence = []
    requests = _requests(draft)
    if requests:
        dataset.ReferencedRequestSequence = requests
    evidence = _evidence(draft, result, beside or {})
    if evidence:
        dataset.CurrentRequestedProcedureEvidenceSequence = evidence
    replaced = draft.predecessors.get((result.model.name, kind.key))
    if replaced is not None:
        reference = provenance.reference(replaced.sop_class, replaced.sop_uid)
        dataset.PredecessorDocumentsSequence = [
            _study_reference(draft, {replaced.series_uid: [reference]})
        ]
    for element in root:
        dataset[element.tag] = element
    if PRIVATE_SCHEME in _schemes(dataset):
        dataset.CodingSchemeIdentificationSequence = [private_scheme()]
    return dataset


def _write_flags(dataset: Dataset, draft: Draft, result: Result) -> None:
    gap = _gap(draft, result)
    dataset.CompletionFlag = "PARTIAL" if gap else "COMPLETE"
    if gap:
        dataset.CompletionFlagDescription = gap
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PreliminaryFlag = "PRELIMINARY"


def _gap(draft: Draft, result: Result) -> str:
    """Return what the document does not cover, though it came: "" if it covers all."""
    if not result.is_complete:
        return "Some images were not analysed" if result.analysed else "No image was analysed"
    return "Some objects were refused as damaged" if draft.version.damaged else ""


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


def _evidence(draft: Draft, result: Result, beside: Mapping[str, list[Dataset]]) -> list[Dataset]:
    """Return every instance that was analysed or refused, once, by series (0040,A375)."""
    considered = {*result.analysed, *(refused.sop_uid for refused in result.refused)}
    by_series: dict[str, list[Dataset]] = {}
    for instance in draft.version.instances:
        if instance.sop_uid in considered:
            reference = provenance.reference(instance.sop_class, instance.sop_uid)
            by_series.setdefault(instance.series_uid, []).append(reference)
    by_series.update(beside)
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
        if element.tag == _SCHEME
    }


def private_scheme() -> Dataset:
    """Return what our own coding scheme is (PS3.3 C.12.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = PRIVATE_SCHEME_NAME
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item
