"""An association with another application entity, and in words why there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.dimse.addresses import to_call
from node.dimse.refusal import Address, Rejected, rejected, unanswered, unreachable
from node.dimse.request import Rejection
from node.dimse.status import SUCCESS
from node.errors import DeliveryError, Unsupported

NOT_DEFLATED: tuple[str | UID, ...] = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
"""What answers and reports may be encoded in: of deflated ones pynetdicom would have in memory
whatever they inflate to."""

_ANSWER_WITHIN_S = 30
"""How long at most to wait for a connection and for an answer to the association request."""
_RELEASED_WITHIN_S = 5
"""How long at most to wait for an answer to the release; then the association is aborted."""
_PERMANENT, _TRANSIENT = 0x01, 0x02
"""Results of a rejection (PS3.8 9.3.4): asking again would not help, and may help."""


def echo(to: Address, calling_ae: str) -> None:
    """Verify by C-ECHO that an application entity answers; raise DeliveryError if not."""
    association = associate(to, calling_ae, [build_context(Verification)])
    asked_at = time.monotonic()
    try:
        status = getattr(association.send_c_echo(), "Status", None)
        if status is None:
            raise unanswered(to, "C-ECHO", time.monotonic() - asked_at, to.timeout_s)
        if status != SUCCESS:
            raise DeliveryError(f"{to} answered C-ECHO with 0x{status:04X}")
    finally:
        association.release()


@contextmanager
def offered(
    service: str, to: Address, calling_ae: str, handlers: Sequence[EventHandlerType] = ()
) -> Iterator[Association]:
    """Have an association for one SOP class; raise Unsupported if it is not offered to us.

    It is released at the end, and aborted if the caller leaves it by an exception: half an
    answer may still be on its way.
    """
    try:
        association = associate(
            to, calling_ae, [build_context(service, list(NOT_DEFLATED))], handlers
        )
    except Rejected as error:
        raise Unsupported(str(error)) from error
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    # An archive that is just reporting may wait for an answer that will not come any more.
    association.acse_timeout = _RELEASED_WITHIN_S
    association.release()


def associate(
    to: Address,
    calling_ae: str,
    contexts: list[PresentationContext],
    handlers: Sequence[EventHandlerType] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Association:
    """Open an association that accepts at least one of the contexts.

    Raises Unsupported if it would accept none, DeliveryError if there is none.
    """
    ae = AE(calling_ae)
    ae.connection_timeout = min(to.timeout_s, _ANSWER_WITHIN_S)
    ae.acse_timeout = min(to.timeout_s, _ANSWER_WITHIN_S)
    ae.dimse_timeout = to.timeout_s
    ae.network_timeout = to.timeout_s
    connections: list[Event] = []
    called_at = time.monotonic()
    try:
        association = ae.associate(
            to_call(to.host),
            to.port,
            contexts,
            ae_title=to.ae_title,
            max_pdu=0,
            ext_neg=list(roles),
            evt_handlers=[
                (evt.EVT_CONN_OPEN, connections.append),
                (evt.EVT_ABORTED, _wake),
                *handlers,
            ],
        )
    except (OSError, UnicodeError) as error:
        raise DeliveryError(f"{to} cannot be reached: the host name is not known") from error
    if association.is_established:
        return association
    note_rejection(association)
    after_s = time.monotonic() - called_at
    if not connections:  # pynetdicom calls this aborted, too
        raise unreachable(to, after_s, ae.connection_timeout)
    raise _refusal(association, to, calling_ae, after_s)


def note_rejection(association: Association) -> None:
    """Have an association know that it was rejected, where pynetdicom calls it aborted.

    It looks whether there is a connection before it waits for the answer; whoever rejects at once
    has closed it by then, and the rejection lies unread.
    """
    answer: object = association.dul.peek_next_pdu()
    if isinstance(answer, A_ASSOCIATE) and answer.result in (_PERMANENT, _TRANSIENT):
        association.acceptor.primitive = answer
        association.is_rejected, association.is_aborted = True, False


class NothingAccepted(Unsupported):
    """The association was accepted, and nothing that was offered in it."""

    def __init__(self, words: str, association: Association) -> None:
        super().__init__(words)
        self.is_for_good = all(map(is_for_good, association.rejected_contexts))


def is_for_good(context: PresentationContext) -> bool:
    """Whether a presentation context was rejected because the other side does not know it.

    PS3.8 9.3.3.2: 3 is the abstract syntax, 4 the transfer syntaxes. What a user or nobody in
    particular rejects (1, 2) may be accepted tomorrow.
    """
    return context.result in (3, 4)


def _refusal(
    association: Association, to: Address, calling_ae: str, after_s: float
) -> DeliveryError:
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        numbers = (answer.result, answer.result_source, answer.diagnostic)
        return rejected(Rejection(*(number or 0 for number in numbers)), to, calling_ae)
    if association.rejected_contexts:
        words = f"{to} accepts none of the services or kinds of object offered"
        return NothingAccepted(words, association)
    timeout_s = min(to.timeout_s, _ANSWER_WITHIN_S)
    return unanswered(to, "the association request", after_s, timeout_s)


def _wake(event: Event) -> None:
    """Let who waits for an answer know at once that none will come.

    pynetdicom leaves a note for them, but its own loop may take that first; who began to wait
    at that moment would do so for the whole time-out.
    """
    event.assoc.dimse.msg_queue.put((None, None))
