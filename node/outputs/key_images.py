"""Key Object Selection: the images a model found something on, flagged "Of Interest" (TID 2010)."""

from __future__ import annotations

from dataclasses import replace

from pydicom import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from node.outputs import wording
from node.outputs.case import Draft
from node.outputs.sr_content import (
    CONCEPT_MOD,
    ENGLISH,
    LANGUAGE,
    coded,
    container,
    observer,
    text_item,
)
from node.outputs.sr_document import DocumentKind, build_document
from node.result import Code, Result

KEY_IMAGES = DocumentKind("key-images", KeyObjectSelectionDocumentStorage, 9006, "Key Images")
OF_INTEREST = Code("113000", "DCM", "Of Interest")
DESCRIPTION = Code("113012", "DCM", "Key Object Description")
REPORTS_ONLY = (
    "CompletionFlag",
    "CompletionFlagDescription",
    "VerificationFlag",
    "PreliminaryFlag",
    "AuthorObserverSequence",
    "PerformedProcedureCodeSequence",
    "PredecessorDocumentsSequence",
)
"""What every other SR document has (PS3.3 C.17.2) and this one has not (PS3.3 C.17.6.2)."""


def build(draft: Draft) -> list[Dataset]:
    """Return one document for each result that looked for something and found it."""
    draft = wording.numbered(draft)
    return [_document(draft, r) for r in draft.results if r.looked_for and r.findings]


def _document(draft: Draft, result: Result) -> Dataset:
    key_images = tuple(dict.fromkeys(finding.region.sop_uid for finding in result.findings))
    # Archives take the evidence for the selection: it must hold the key images and no others.
    selected = replace(result, analysed=key_images, refused=())
    dataset = build_document(draft, selected, KEY_IMAGES, _content(draft, result, key_images))
    dataset.Modality = "KO"
    for keyword in REPORTS_ONLY:
        if keyword in dataset:
            delattr(dataset, keyword)
    return dataset


def _content(draft: Draft, result: Result, key_images: tuple[str, ...]) -> Dataset:
    root: Dataset = container(
        OF_INTEREST,
        [
            coded(LANGUAGE, ENGLISH, CONCEPT_MOD),
            *observer(result),
            text_item(DESCRIPTION, _description(draft, result)),
        ],
        template="2010",
        is_root=True,
    )
    content = Dataset()
    content.update(root)
    content.ContentSequence = [
        *root.ContentSequence,
        *(_image(draft, sop_uid) for sop_uid in key_images),
    ]
    return content


def _description(draft: Draft, result: Result) -> str:
    conclusion, *others = wording.sentences(draft, result)
    found = [line for finding in result.findings for line in wording.in_brief(finding)]
    return " ".join([conclusion, *(f"{line}." for line in found), *others])


def _image(draft: Draft, sop_uid: str) -> Dataset:
    """Return a reference to a key image; the template gives it no concept name."""
    reference = Dataset()
    reference.ReferencedSOPClassUID = draft.instance(sop_uid).sop_class
    reference.ReferencedSOPInstanceUID = sop_uid
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "IMAGE"
    item.ReferencedSOPSequence = [reference]
    return item
