"""1 Receive: C-ECHO and C-STORE. Success is answered only once `reception` has kept an object.

Peers are known by calling AE title and address; nobody else is let in.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydicom.uid import UID
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from sqlalchemy.exc import OperationalError

from node import metrics
from node.config import Config, Peer
from node.current import Current
from node.deliver.confirmation import Commitments, record_commitment
from node.dimse import addresses, read_commitment_report
from node.dimse.commitment_request import OpenRequest, commitment_context, proposes_commitment
from node.dimse.request import (
    LOCAL_LIMIT_EXCEEDED,
    NO_SUCH_CALLED_AE,
    NO_SUCH_CALLING_AE,
    AssociationRequest,
    Rejection,
)
from node.dimse.status import (
    CANNOT_UNDERSTAND,
    INVALID_ARGUMENT_VALUE,
    NOT_AUTHORISED,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SUCCESS,
)
from node.errors import ConfigError, NoRoom, OfNoStudy, Unreadable
from node.identity import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
)
from node.logs import naming
from node.metrics import NotKept, NotLetIn
from node.receive.admission import Admission
from node.receive.arriving import Arriving
from node.receive.association import ServedAssociation
from node.receive.committing import Committer
from node.receive.door import Door
from node.receive.incoming import IncomingMessages
from node.receive.mended import why_not_written
from node.receive.negotiation import what_was_not_accepted
from node.receive.reception import Came, Reception

log = logging.getLogger(__name__)

_ENDED_WITHIN_S = 10
"""How long at most the threads of aborted associations are waited for."""

# Streams a data set to a file as it arrives, instead of holding it in memory.
_config.STORE_RECV_CHUNKED_DATASET = True
# What it would prepare of each message for its own log, which is switched off, costs time.
_config.LOG_HANDLER_LEVEL = "none"


_WHY_NOT_LET_IN = {
    NO_SUCH_CALLING_AE: NotLetIn.UNKNOWN_CALLER,
    NO_SUCH_CALLED_AE: NotLetIn.OTHER_CALLED,
    LOCAL_LIMIT_EXCEEDED: NotLetIn.TOO_MANY,
}


@dataclass(slots=True)
class _Session:
    """What is known of an open association; several of pynetdicom's threads look at it."""

    peer: Peer
    came: Came | None = None
    """What its objects came with, from the first on."""
    kept: int = 0
    ended: str = ""
    """Who ended it and why, in words, once that is known."""


class Listener:
    """The Verification and Storage SCP."""

    def __init__(
        self,
        current: Current,
        incoming: Path,
        commitments: Commitments,
        reception: Reception,
        committer: Committer,
    ) -> None:
        self._current = current
        self._incoming = incoming
        """Where an object lies while it arrives (`Store.incoming`)."""
        self._commitments = commitments
        self._reception = reception
        self._committer = committer
        self._admitting = current.config
        self._admission = self._new_admission()
        self._sessions: dict[Association, _Session] = {}
        self._lock = threading.Lock()
        self._ae = _application_entity(current.config)
        self._server: Door | None = None
        self._thread: threading.Thread | None = None

    @property
    def _config(self) -> Config:
        return self._current.config

    def _new_admission(self) -> Admission:
        config = self._admitting
        return Admission(config.node.ae_title, config.peers, self._reception.peers.rejected)

    def _who_is_let_in(self) -> Admission:
        """Return who judges, by the configuration of now; an association keeps its peer."""
        with self._lock:
            if self._admitting is not self._config:
                self._admitting = self._config
                self._admission = self._new_admission()
            return self._admission

    @property
    def port(self) -> int:
        """The port really in use, which differs from the configured one if that is 0."""
        assert self._server is not None, "the listener has not been started"
        return int(self._server.server_address[1])

    @property
    def is_open(self) -> bool:
        """Whether associations are accepted now."""
        thread = self._thread
        return self._server is not None and thread is not None and thread.is_alive()

    @property
    def has_died(self) -> bool:
        """Whether nobody accepts associations any more, though nobody has stopped us."""
        thread = self._thread
        return self._server is not None and thread is not None and not thread.is_alive()

    def start(self) -> None:
        """Accept associations in the background."""
        host, port = self._config.listener.host, self._config.listener.port
        try:
            server = self._ae.make_server(
                addresses.to_listen_on(host, port),
                contexts=[build_context(Verification)],  # what is more, each peer is asked for
                server_class=Door,
                doorman=self,
                incoming=self._incoming,
                evt_handlers=[
                    (evt.EVT_ACCEPTED, self._say_what_cannot_come),
                    (evt.EVT_C_ECHO, lambda event: SUCCESS),
                    (evt.EVT_C_STORE, self._receive),
                    (evt.EVT_N_EVENT_REPORT, self._hear_report),
                    (evt.EVT_N_ACTION, self._hear_request),
                    (evt.EVT_PDU_RECV, self._note_that_it_ends),
                    (evt.EVT_PDU_SENT, self._note_that_it_ends),
                    (evt.EVT_CONN_CLOSE, self._note_that_it_ends),
                ],
            )
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {addresses.place(host, port)} ({error.strerror}); give "
                "[listener] a host of this machine and a port that is free and allowed"
            ) from error
        # pynetdicom writes what arrives where tempfile says.
        tempfile.tempdir = str(self._incoming)
        self._server = cast("Door", server)
        self._thread = threading.Thread(target=server.serve_forever, name="listener", daemon=True)
        self._thread.start()
        log.info("Listening on %s", addresses.place(host, self.port))

    def stop(self, drain_s: float) -> None:
        """Accept nothing new, wait for open associations to end, then abort them."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        self._wait_for_ends(drain_s)
        for association in list(self._sessions):
            association.abort()
        self._wait_for_ends(_ENDED_WITHIN_S)
        tempfile.tempdir = None

    def _wait_for_ends(self, at_most_s: float) -> None:
        give_up_at = time.monotonic() + at_most_s
        while self._sessions and time.monotonic() < give_up_at:
            time.sleep(0.05)

    def is_near(self, address: str) -> bool:
        """Whether some peer has this address, as far as that is known."""
        return self._who_is_let_in().is_near(address)

    def judge(self, association: Association, request: AssociationRequest) -> Rejection | None:
        """Open a session for a known peer if the limit allows; it always allows each peer one."""
        address = addresses.plain_address(str(association.requestor.address))
        admission = self._who_is_let_in()
        peer = admission.judge(request, address)
        if isinstance(peer, Rejection):
            metrics.count_not_let_in(_WHY_NOT_LET_IN[peer])
            return peer
        limit = self._config.listener.max_associations
        with self._lock:
            open_now = [session.peer.name for session in self._sessions.values()]
            if len(open_now) < limit or peer.name not in open_now:
                self._sessions[association] = _Session(peer)
                self._reception.peers.saw(peer.name)
                metrics.count_admitted(peer.name)
                return None
        its_own = open_now.count(peer.name)
        why = f"{len(open_now)} associations are open, {its_own} of them its own, and [listener] "
        why += f"max_associations is {limit}"
        admission.say(peer.name, address, why)
        self._reception.peers.rejected(peer.name, f"not let in: {why}")
        metrics.count_not_let_in(_WHY_NOT_LET_IN[LOCAL_LIMIT_EXCEEDED])
        return LOCAL_LIMIT_EXCEEDED

    def take_leave(self, association: Association) -> None:
        """Let go of an association that has ended, and of what was half received."""
        session = self._sessions[association]
        came_half = cast("IncomingMessages", association.dimse).discard_all()
        if association.is_released:
            if session.kept:
                words = "%s sent %d objects"
                log.info(words, session.peer.name, session.kept, extra=_subject_of(session))
        else:
            words = session.ended or f"the connection of {session.peer.name} is lost"
            level = logging.INFO if self._server is None else logging.WARNING
            half = ", one came half" if came_half else ""
            said = "%s; %d objects of it are kept%s"
            log.log(level, said, words, session.kept, half, extra=_subject_of(session))
        try:
            if session.came is not None:
                self._reception.end(session.came)
        finally:
            with self._lock:
                del self._sessions[association]
            metrics.count_left()

    def commitment_context(self, association: Association) -> PresentationContext | None:
        """Return how storage commitment is accepted, if it is proposed and may be."""
        if not proposes_commitment(association):
            return None
        peer = self._sessions[association].peer

        def awaits_report() -> bool:
            # An archive may be two peers, one that sends and one that receives.
            names = [
                p.name for p in self._config.peers if p.receives and p.ae_title == peer.ae_title
            ]
            try:
                return any(map(self._commitments.awaits_report, names))
            except OperationalError:  # it may be one; if it cannot be kept, it is repeated
                return True

        context = commitment_context(
            association, is_asked=peer.commits, awaits_report=awaits_report
        )
        if context is None:
            words = "%s proposes storage commitment, which is off for it (commits); refused"
            log.info(words, peer.name, extra={"peer": peer.name})
        return context

    def _note_that_it_ends(self, event: Event) -> None:
        """Note who ends an association, and why; what is noted first is the cause of the rest."""
        session = self._sessions.get(event.assoc)
        if session is None or session.ended:
            return
        name, association = session.peer.name, cast("ServedAssociation", event.assoc)
        if event.event is evt.EVT_CONN_CLOSE:
            is_ours = association.has_fallen_silent
            ours = f"Closed the connection of {name}: {self._why_we_end(association)}"
            session.ended = ours if is_ours else f"{name} broke off its connection"
        elif isinstance(event.pdu, A_ABORT_RQ):
            is_ours = event.event is evt.EVT_PDU_SENT
            ours = f"Aborted the association of {name}: {self._why_we_end(association)}"
            session.ended = ours if is_ours else f"{name} aborted its association"

    def _why_we_end(self, association: ServedAssociation) -> str:
        if self._server is None:
            return "this node stops"
        if association.has_fallen_silent:
            return f"nothing came for {self._config.listener.idle_timeout_s:g} s"
        if association.is_too_slow:
            return "a message of it came too slowly"
        return "what it sent has no place in DICOM's protocol"

    def _say_what_cannot_come(self, event: Event) -> None:
        session = self._sessions.get(event.assoc)
        rejected = event.assoc.rejected_contexts
        kinds = list(what_was_not_accepted(_proposed(event.assoc), rejected))
        if session is not None and kinds:
            words = "%s cannot send what it proposed in no transfer syntax that is read here: %s"
            log.warning(words, session.peer.name, "; ".join(kinds), extra=_subject_of(session))

    def keep(self, association: Association, arrived: Arriving) -> int:
        """Keep an object that has come, and answer its sender; only a kept one gets Success."""
        session = self._sessions[association]
        if arrived.error is not None:
            return _status_of_unwritten(arrived.error, session.peer.name)
        with naming(peer=session.peer.name):
            status = self._status(session, arrived.path, arrived.digest)
        if status != SUCCESS:
            arrived.discard()
        return status

    def _receive(self, event: Event) -> int:
        """Do so with one that pynetdicom has read, as its request was odd."""
        association, session = event.assoc, self._sessions[event.assoc]
        incoming = cast("IncomingMessages", association.dimse)
        path = cast("Path | None", event.dataset_path)
        try:
            if path is None:
                return _status_without_object(event, session.peer.name)
            with naming(peer=session.peer.name):
                return self._status(session, path)
        finally:
            incoming.discard(getattr(event.request, "_dataset_file", None))

    def _status(self, session: _Session, path: Path, digest: str = "") -> int:
        try:
            return self._answer(session, path, digest)
        except OfNoStudy:
            return SUCCESS  # it is kept, where it is counted, and that is all
        except Unreadable:
            metrics.count_not_taken(session.peer.name, NotKept.DAMAGED)
            return CANNOT_UNDERSTAND
        except NoRoom as error:
            reason = NotKept.NO_ROOM
            log.error("An object is not taken: %s", error)  # noqa: TRY400 - the disk's
        except OSError as error:
            reason = NotKept.DISK
            log.error("Could not keep an object: %s", error.strerror)  # noqa: TRY400 - the disk's
        except OperationalError as error:  # the database is away, or somebody holds the study
            reason = NotKept.DATABASE
            log.error("Could not keep an object: %s", error.orig)  # noqa: TRY400
        except Exception:  # the sender must get an answer, and send again
            reason = NotKept.DEFECT
            log.exception("Could not keep an object")
        metrics.count_not_taken(session.peer.name, reason)
        return OUT_OF_RESOURCES

    def _hear_request(self, event: Event) -> tuple[int, None]:
        """Keep a storage commitment request; the report on it follows."""
        peer = self._sessions[event.assoc].peer
        messages = cast("IncomingMessages", event.assoc.dimse)
        asked = OpenRequest(event, lambda: messages.is_receiving)
        return self._committer.take(asked, peer), None

    def _hear_report(self, event: Event) -> tuple[int, None]:
        """Keep a storage commitment report; it may come hours after we asked for it."""
        try:
            report = read_commitment_report(event.event_type, event.event_information)
            is_ours = record_commitment(self._commitments, report, self._config.delivery)
        except Unreadable as error:
            log.warning("A storage commitment report is not taken: %s", error)
            return INVALID_ARGUMENT_VALUE, None
        except Exception:  # not kept: the other side must hear so, and may repeat it
            log.exception("Could not keep a storage commitment report")
            return PROCESSING_FAILURE, None
        if not is_ours:
            log.warning("A storage commitment report came on a transaction that is not known here")
        return (SUCCESS if is_ours else INVALID_ARGUMENT_VALUE), None

    def _answer(self, session: _Session, path: Path, digest: str) -> int:
        if not session.peer.sends:
            log.warning("An object is not taken: peer %s has no sends = true", session.peer.name)
            why = "an object is not taken: this peer has no sends = true"
            self._reception.peers.rejected(session.peer.name, why)
            metrics.count_not_taken(session.peer.name, NotKept.MAY_NOT_SEND)
            return NOT_AUTHORISED
        if session.came is None:
            session.came = self._reception.begin(session.peer.name)
        if session.ended:
            return OUT_OF_RESOURCES  # it has gone meanwhile, and hears no answer
        self._reception.keep(path, session.came, digest)
        session.kept += 1
        return SUCCESS


def _subject_of(session: _Session) -> dict[str, str]:
    """Return what a record of the log about an association names beside its words."""
    return {"peer": session.peer.name}


def _proposed(association: Association) -> list[PresentationContext]:
    request = association.requestor.primitive
    assert isinstance(request, A_ASSOCIATE), "pynetdicom announces no request without its primitive"
    return request.presentation_context_definition_list


def _status_without_object(event: Event, peer: str) -> int:
    error = why_not_written(event)
    if error is not None:
        return _status_of_unwritten(error, peer)
    metrics.count_not_taken(peer, NotKept.DAMAGED)
    log.warning("A C-STORE request without an object is refused")
    return CANNOT_UNDERSTAND


def _status_of_unwritten(error: OSError, peer: str) -> int:
    metrics.count_not_taken(peer, NotKept.DISK)
    log.error("Could not keep an object: %s", error.strerror)
    return OUT_OF_RESOURCES


def _application_entity(config: Config) -> AE:
    ae = AE(config.node.ae_title)
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_associations = 1 << 20  # the limit is kept before: pynetdicom counts others, too
    ae.maximum_pdu_size = config.listener.max_pdu
    ae.network_timeout = config.listener.idle_timeout_s
    ae.dimse_timeout = config.listener.idle_timeout_s
    return ae
