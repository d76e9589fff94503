"""The last look at a result and at each object built of it: the study's own, or nothing."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement

from node.dicom.rejection_note import read_rejection_note
from node.dicom.untrusted import failing_as, quietly
from node.errors import Held, Unreadable
from node.identity import disagreement, identity_of
from node.imaging.solid_bits import voxels_of
from node.outputs import header, verbatim
from node.outputs.case import Draft
from node.result import Result, SliceStack

COMPARED = tuple(
    keyword for keyword in header.COPIED if dictionary_VR(verbatim.tag_of(keyword)) != "SQ"
)


REFERENCES_ELSEWHERE = frozenset(
    tag_for_keyword(keyword)
    for keyword in (
        "PredecessorDocumentsSequence",  # a report of a former version
        "ReferencedRequestSequence",
    )
)
_REFERENCED = tag_for_keyword("ReferencedSOPInstanceUID")


def check(draft: Draft, dataset: Dataset, made: frozenset[str] = frozenset()) -> None:
    """Raise Held unless the object belongs to the study, and says so as the study does.

    `made` are the SOP Instance UIDs of the set that it is one of.
    """
    if verbatim.plain(dataset, "StudyInstanceUID") != draft.version.study_uid:
        raise Held("a result would go into another study; nothing is sent")
    for keyword in COMPARED:
        if verbatim.value_bytes(draft.source, keyword) != verbatim.value_bytes(dataset, keyword):
            raise Held(f"{keyword} of a result is not that of its study; nothing is sent")
    known = made | {instance.sop_uid for instance in draft.version.instances}
    if not known.issuperset(_referenced(dataset)):
        raise Held("a result refers to an image of another study; nothing is sent")


def check_result(draft: Draft, result: Result) -> None:
    """Raise Held if the result says anything of another image, another side, or no place at all."""
    for finding in result.findings:
        region = finding.region
        if draft.side_of([region.sop_uid]) not in (finding.laterality, None):
            raise Held(f"{result.model.name} marks one side and names the other; nothing is sent")
        rows, columns = (_size(draft, region.sop_uid, keyword) for keyword in ("Rows", "Columns"))
        if not all(0 <= x <= columns and 0 <= y <= rows for x, y in region.outline):
            raise Held(f"{result.model.name} marks a place outside of its image; nothing is sent")
    for evaluation in result.evaluations:
        sides = {evaluation.laterality, draft.side_of(evaluation.sop_uids)} - {None}
        if len(sides) > 1:
            raise Held(f"{result.model.name} read one side and names the other; nothing is sent")
    for heat_map in result.heat_maps:
        draft.instance(heat_map.sop_uid)
    _check_solids(draft, result)


def _check_solids(draft: Draft, result: Result) -> None:
    """Raise Held unless each solid lies on slices of the study, and has their voxels."""
    stacks = [stack for stack in (result.stack, result.contrasted) if stack is not None]
    for sop_uid in {uid for stack in stacks for uid, _ in stack.slices}:
        draft.instance(sop_uid)
    if result.contrasted is not None and _shape(result.contrasted) != _shape(result.stack):
        raise Held(f"{result.model.name} shows other slices than it read; nothing is sent")
    for solid in result.solids:
        if result.stack is None:
            raise Held(f"{result.model.name} marks voxels of no slices; nothing is sent")
        try:
            voxels_of(solid, result.stack)
        except ValueError as error:
            raise Held(f"{result.model.name} marks {error}; nothing is sent") from error
        if not all(0 <= place < len(result.stack.slices) for place in solid.decisive):
            raise Held(f"{result.model.name} names a slice that is none; nothing is sent")


def _shape(stack: SliceStack | None) -> tuple[int, int, int] | None:
    return None if stack is None else (len(stack.slices), stack.rows, stack.columns)


def _size(draft: Draft, sop_uid: str, keyword: str) -> int:
    """Return Rows or Columns of an image that was decoded, and so has both."""
    reason = "a result is about an image without a size; nothing is sent"
    try:
        with quietly(), failing_as(reason):
            return int(draft.headers[sop_uid][keyword].value)
    except Unreadable:
        raise Held(reason) from None


def check_patient(draft: Draft) -> None:
    """All instances of a study are of one patient, or we do not know whose results these are."""
    unread = [i for i in draft.version.instances if i.sop_uid not in draft.headers]
    studies = {verbatim.value_bytes(h, "StudyInstanceUID") for h in draft.headers.values()}
    if len(studies | {i.study_uid.encode() for i in unread}) > 1:
        raise Held("the objects of the study disagree about Study Instance UID; nothing is sent")
    # A rejection note bears the identity of what it rejects.
    said = [identity_of(h) for h in draft.headers.values() if read_rejection_note(h) is None]
    said += [i.identity for i in unread]
    if why := disagreement(said):
        raise Held(f"{why}; nothing is sent")


def _referenced(dataset: Dataset) -> Iterator[str]:
    """Yield every SOP instance that we refer to, without decoding what was copied."""
    for tag in dataset.keys():  # noqa: SIM118 - undecoded
        element: DataElement | RawDataElement = dataset.get_item(tag)
        if isinstance(element, RawDataElement) or tag in REFERENCES_ELSEWHERE:
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _referenced(item)
        elif tag == _REFERENCED:
            yield str(element.value)
