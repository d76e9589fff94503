"""1 Receive: one association, served from its first message to its last by the thread it came in.

pynetdicom negotiates, releases and aborts; what objects it brings goes from the connection straight
into their files, and is answered from the same thread. All else is handed to pynetdicom, as if it
had read it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from node.dimse.request import AssociationRequest
from node.logs import OncePerMinute
from node.receive.arriving import Arriving
from node.receive.incoming import IncomingMessages
from node.receive.negotiation import acceptable
from node.receive.upper_layer import (
    CONNECTION_CLOSED,
    INVALID_PDU,
    REQUEST_RECEIVED,
    NoMessage,
    UpperLayer,
    data_values_of,
)

LEAVES_WITHIN_S = 2.0
"""How long who was rejected or aborted may take to close its connection, as the standard asks of
it."""
_MOST_REMEMBERED = 64


class AssociationHost(Protocol):
    """Whom an association asks what it cannot know. Called from many threads."""

    def commitment_context(self, association: Association) -> PresentationContext | None:
        """Return how storage commitment is accepted, if it is proposed and may be."""

    def keep(self, association: Association, arrived: Arriving) -> int:
        """Keep an object that has come; return the status that answers it. It raises nothing."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """How a request was answered, for the next one that is the same."""

    contexts: dict[int, PresentationContext]
    rejected: list[PresentationContext]
    primitive: A_ASSOCIATE
    pdu: bytes


class Negotiated:
    """What was accepted of requests before: a sender asks for the same each time it comes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Hashable, Accepted] = {}

    def find(self, key: Hashable) -> Accepted | None:
        """Return how a request like this was answered; None if there was none lately."""
        with self._lock:
            return self._known.get(key)

    def remember(self, key: Hashable, accepted: Accepted) -> None:
        """Remember how a request was answered; the oldest is forgotten for it."""
        with self._lock:
            self._known[key] = accepted
            if len(self._known) > _MOST_REMEMBERED:
                del self._known[next(iter(self._known))]


class ServedAssociation(Association):
    """pynetdicom's, as an acceptor, without threads of its own."""

    dul: UpperLayer
    dimse: IncomingMessages

    def __init__(
        self, ae: ApplicationEntity, host: AssociationHost, folder: Path, said: OncePerMinute
    ) -> None:
        super().__init__(ae, MODE_ACCEPTOR)
        self._host = host
        self.dul = UpperLayer(self)
        self.acse_timeout, self.network_timeout = ae.acse_timeout, ae.network_timeout  # of that one
        self.dimse = IncomingMessages(self, said, folder, self._keep)

    def _keep(self, arrived: Arriving) -> int:
        return self._host.keep(self, arrived)

    @property
    def has_fallen_silent(self) -> bool:
        """Whether it ends because nothing came."""
        return self.dul.socket.has_fallen_silent

    @property
    def is_too_slow(self) -> bool:
        """Whether it ends because a message of it came far too slowly."""
        return self.dul.socket.is_too_slow

    def serve(self, request: AssociationRequest, pdu: A_ASSOCIATE_RQ, known: Negotiated) -> None:
        """Answer the request, and whatever follows, until the association has ended."""
        dul = self.dul
        dul._recv_pdu.put(pdu)
        dul.go_on(REQUEST_RECEIVED)  # behind the connection's own event, which is queued already
        self.requestor.primitive = cast("A_ASSOCIATE", dul.receive_pdu(wait=False))
        evt.trigger(self, evt.EVT_REQUESTED, {})
        try:
            self._negotiate(request, known)
            while dul.is_established:
                self._serve_next()
        finally:
            self.is_established, self.is_aborted = False, not self.is_released
            if self.is_aborted:
                evt.trigger(self, evt.EVT_ABORTED, {})
        dul.take_leave(LEAVES_WITHIN_S)

    def _negotiate(self, request: AssociationRequest, known: Negotiated) -> None:
        commitment = self._host.commitment_context(self)
        roles = None if commitment is None else (commitment.scu_role, commitment.scp_role)
        same = known.find((request, roles))
        if same is not None:
            self._accept_like(same)
            return
        proposed = cast("A_ASSOCIATE", self.requestor.primitive)
        self.acceptor.supported_contexts = acceptable(
            proposed.presentation_context_definition_list, commitment
        )
        self.acse.negotiate_association()
        primitive = self.acceptor.primitive
        if self.is_established and primitive is not None:
            pdu = A_ASSOCIATE_AC(primitive).encode()
            accepted = Accepted(self._accepted_cx, self._rejected_cx, primitive, pdu)
            known.remember((request, roles), accepted)

    def _accept_like(self, same: Accepted) -> None:
        """Do what pynetdicom did the last time."""
        self.requestor.ae_title = cast("A_ASSOCIATE", self.requestor.primitive).calling_ae_title
        self._accepted_cx, self._rejected_cx = same.contexts, same.rejected
        self.acceptor.primitive = same.primitive
        self.dul.accept(same.pdu)
        evt.trigger(self, evt.EVT_ACCEPTED, {})
        self.is_established = True
        evt.trigger(self, evt.EVT_ESTABLISHED, {})

    def _serve_next(self) -> None:
        dul, connection = self.dul, self.dul.socket
        try:
            pdu = connection.next_data()
        except TimeoutError:
            self.abort()
            return
        except OSError:
            dul.go_on(CONNECTION_CLOSED)
            return
        except NoMessage:
            dul.go_on(INVALID_PDU)
            return
        values = None if pdu is None else data_values_of(pdu)
        try:
            if values is not None:
                self.dimse.take(values)
            else:
                self._hand_over(pdu)
        except NoMessage:
            dul.go_on(INVALID_PDU)
        dul.go_on()

    def _hand_over(self, pdu: memoryview | None) -> None:
        """Let pynetdicom read what has come: no data, or data that is odd."""
        if pdu is not None:
            self.dimse.interrupt()
            self.dul.socket.put_back(pdu)
        self.dul.read_one()
        self.dimse.serve()
        if self.is_established and self.acse.is_release_requested():
            self._release()

    def _release(self) -> None:
        self.acse.send_release(is_response=True)
        self.is_released, self.is_established = True, False
        evt.trigger(self, evt.EVT_RELEASED, {})

    def _abort_blocking(self, block: bool = True) -> None:
        """Abort it, from whatever thread; nobody is waited for."""
        if self._sent_abort or self.is_released:
            return
        self._sent_abort = True
        if self.dul.turn.acquire(timeout=LEAVES_WITHIN_S):
            try:
                self.acse.send_abort(0x00)
            finally:
                self.dul.turn.release()
            self.dul.socket.shut(socket.SHUT_RD)  # whoever reads is told
        else:  # somebody cannot get rid of what he sends
            self.dul.socket.shut(socket.SHUT_RDWR)
