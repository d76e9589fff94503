"""Storage Commitment Push Model, the other side: what peers ask us to answer for (PS3.4 J).

A request is read here, and the report on it sent: on the association of the request, while that
is still open, or on one that we open.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.dsutils import decode, encode
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext, PresentationContextTuple
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from node.dicom.untrusted import failing_as, quietly, text
from node.dimse.association import NOT_DEFLATED, associate
from node.dimse.commitment import COMPLETE, FAILURES_EXIST, REQUEST
from node.dimse.refusal import Address
from node.dimse.status import (
    INVALID_ARGUMENT_VALUE,
    NO_SUCH_ACTION,
    NO_SUCH_INSTANCE,
    RESOURCE_LIMITATION,
    SUCCESS,
)
from node.errors import DeliveryError, Unreadable

MOST_OBJECTS = 20_000
"""In one request; a study of tomosynthesis or MR has a tenth of it."""
_MOST_BYTES = MOST_OBJECTS * 250
"""Of a request: the two UIDs of an item have 64 characters at most."""
_LONGEST_UID = 64  # PS3.5 9.1
_ANSWER_WITHIN_S = 10
_LOOK_EVERY_S = 0.05

ReferencedObject = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """Objects that somebody wants to be sure of before he deletes his own."""

    transaction_uid: str
    objects: tuple[ReferencedObject, ...]
    """Each once."""


@dataclass(frozen=True, slots=True)
class CommitmentAnswer:
    """For which objects we answer, and for which we do not."""

    transaction_uid: str
    committed: Sequence[ReferencedObject]
    failed: Mapping[ReferencedObject, int]
    """With its Failure Reason (PS3.3 C.14.1.1)."""


class NotTaken(Exception):  # noqa: N818 - a kind of answer
    """A request is answered with a status that says why it is not taken."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def proposes_commitment(association: Association) -> bool:
    """Whether storage commitment, in either role, is proposed in one that is being requested."""
    request = association.requestor.primitive
    assert isinstance(request, A_ASSOCIATE), "pynetdicom announces no request without its primitive"
    proposed = request.presentation_context_definition_list
    return any(one.abstract_syntax == StorageCommitmentPushModel for one in proposed)


def commitment_context(
    association: Association, *, is_asked: bool, awaits_report: Callable[[], bool]
) -> PresentationContext | None:
    """Return how storage commitment is accepted in an association that is being requested.

    Who asks is the SCU, who reports the SCP; without role selection the requestor is the SCU
    (PS3.7 D.3.3.4), but some report all the same. So a requestor without roles is accepted if he
    may ask, or if a report of his is waited for.
    """
    roles = association.requestor.role_selection.get(StorageCommitmentPushModel)
    reports = awaits_report() if roles is None else bool(roles.scp_role)
    if not (is_asked or reports):
        return None
    context = build_context(StorageCommitmentPushModel, list(NOT_DEFLATED))
    context.scu_role, context.scp_role = is_asked, True
    return context


def _read(content: BytesIO, context: PresentationContextTuple) -> CommitmentRequest:
    syntax = context.transfer_syntax
    information = decode(content, syntax.is_implicit_VR, syntax.is_little_endian)
    transaction_uid = _uid(information, "TransactionUID")
    items = information.get("ReferencedSOPSequence") or ()
    if not items:
        raise Unreadable("a storage commitment request that names no object")
    objects = (
        (_uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID"))
        for item in items
    )
    return CommitmentRequest(transaction_uid, tuple(dict.fromkeys(objects)))


def _uid(dataset: Dataset, keyword: str) -> str:
    found = text(dataset, keyword)
    if not 0 < len(found) <= _LONGEST_UID:
        raise Unreadable("a storage commitment request with a UID that is missing or too long")
    return found


class OpenRequest:
    """An N-ACTION whose association is perhaps still open: its sender may wait for the report."""

    def __init__(self, event: Event, is_receiving: Callable[[], bool]) -> None:
        """Remember where it came from; `is_receiving`: whether a message comes there now."""
        assert isinstance(event.request, N_ACTION), "no other event is handled so"
        self._is_receiving = is_receiving
        self._request = event.request
        self._association: Association = event.assoc
        self._context: PresentationContextTuple = event.context

    def read(self) -> CommitmentRequest:
        """Return what is asked; raise NotTaken if it is nothing that can be answered."""
        request = self._request
        if request.RequestedSOPInstanceUID != StorageCommitmentPushModelInstance:
            raise NotTaken(NO_SUCH_INSTANCE, "it is not to the well-known instance")
        if request.ActionTypeID != REQUEST:
            raise NotTaken(NO_SUCH_ACTION, "it asks for an unknown action")
        content = request.ActionInformation or BytesIO()
        if content.getbuffer().nbytes > _MOST_BYTES:
            raise NotTaken(RESOURCE_LIMITATION, f"it names more than {MOST_OBJECTS} objects")
        try:
            with quietly(), failing_as("a storage commitment request that cannot be read"):
                found = _read(content, self._context)
        except Unreadable as error:
            raise NotTaken(INVALID_ARGUMENT_VALUE, str(error)) from error
        if len(found.objects) > MOST_OBJECTS:
            raise NotTaken(RESOURCE_LIMITATION, f"it names more than {MOST_OBJECTS} objects")
        return found

    @property
    def is_over(self) -> bool:
        """Whether the association is."""
        return not self._association.is_established

    @property
    def is_waiting(self) -> bool:
        """Whether its sender may wait: the association is open, and nothing comes on it."""
        return not self.is_over and not self._is_receiving()

    def report(self, answer: CommitmentAnswer) -> bool:
        """Send the report there; return whether it was taken.

        pynetdicom would stop serving the association meanwhile, and wait for that without end if it
        is released just then. We send beside what it serves, and look at what comes.
        """
        statuses: list[int] = []

        def look(event: Event) -> None:
            if type(event.message).__name__ == "N_EVENT_REPORT_RSP":
                statuses.append(int(event.message.command_set.get("Status", -1)))

        self._association.bind(evt.EVT_DIMSE_RECV, look)
        try:
            self._association.dimse.send_msg(self._primitive(answer), self._context.context_id)
            give_up_at = time.monotonic() + _ANSWER_WITHIN_S
            while not statuses and time.monotonic() < give_up_at:
                if not self._association.is_established:
                    break
                time.sleep(_LOOK_EVERY_S)
        finally:
            self._association.unbind(evt.EVT_DIMSE_RECV, look)
        return SUCCESS in statuses

    def _primitive(self, answer: CommitmentAnswer) -> N_EVENT_REPORT:
        syntax = self._context.transfer_syntax
        information = encode(
            _event_information(answer), syntax.is_implicit_VR, syntax.is_little_endian
        )
        assert information is not None, "UIDs and numbers can be encoded"
        primitive = N_EVENT_REPORT()
        primitive.MessageID = 1
        primitive.AffectedSOPClassUID = StorageCommitmentPushModel
        primitive.AffectedSOPInstanceUID = StorageCommitmentPushModelInstance
        primitive.EventTypeID = _event_type(answer)
        primitive.EventInformation = BytesIO(information)
        return primitive


def report_commitment(answer: CommitmentAnswer, to: Address, calling_ae: str) -> None:
    """Send a report on an association of its own; raise DeliveryError if it is not taken."""
    roles = [build_role(StorageCommitmentPushModel, scp_role=True)]
    context = build_context(StorageCommitmentPushModel, list(NOT_DEFLATED))
    association = associate(to, calling_ae, [context], roles=roles)
    try:
        response, _ = association.send_n_event_report(
            _event_information(answer),
            _event_type(answer),
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
    except (RuntimeError, ValueError) as error:
        raise DeliveryError(f"{to.ae_title} ended the association") from error
    finally:
        if association.is_established:
            association.release()
    status = response.get("Status")
    if status is None:
        raise DeliveryError(f"{to.ae_title} gave no answer to a storage commitment report")
    if status != SUCCESS:
        raise DeliveryError(f"{to.ae_title} answered a storage commitment report 0x{status:04X}")


def _event_type(answer: CommitmentAnswer) -> int:
    return FAILURES_EXIST if answer.failed else COMPLETE


def _event_information(answer: CommitmentAnswer) -> Dataset:
    information = Dataset()
    information.TransactionUID = answer.transaction_uid
    if answer.committed:
        information.ReferencedSOPSequence = [_item(*one) for one in answer.committed]
    if answer.failed:
        information.FailedSOPSequence = [
            _item(*one, FailureReason=reason) for one, reason in answer.failed.items()
        ]
    return information


def _item(sop_class: str, sop_uid: str, **more: Any) -> Dataset:
    item = Dataset()
    # As they were given, right or wrong: pydicom would warn of what is no UID.
    with quietly():
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item
