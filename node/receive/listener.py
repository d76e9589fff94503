"""1 Receive: C-ECHO and C-STORE. Success is answered only once `reception` has kept an object.

Peers are known by calling AE title and address; nobody else is let in.
"""

from __future__ import annotations

import logging
import socketserver
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import UID
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE, SOPClassCommonExtendedNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer
from sqlalchemy.exc import OperationalError

from node.config import Config, Peer
from node.deliver.confirmation import Commitments, record_commitment
from node.dimse import addresses, read_commitment_report
from node.dimse.commitment_request import OpenRequest, commitment_context, proposes_commitment
from node.dimse.status import (
    CANNOT_UNDERSTAND,
    INVALID_ARGUMENT_VALUE,
    NOT_AUTHORISED,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SUCCESS,
)
from node.errors import ConfigError, NoRoom, Unreadable
from node.identity import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
)
from node.receive.committing import Committer
from node.receive.negotiation import (
    acceptable,
    storage_unknown_to_pynetdicom,
    what_was_not_accepted,
)
from node.receive.reception import Came, Reception

log = logging.getLogger(__name__)

_REJECTED_PERMANENT, _SERVICE_USER = 0x01, 0x01  # PS3.8 9.3.4
_CALLING_AE_NOT_RECOGNISED, _CALLED_AE_NOT_RECOGNISED = 0x03, 0x07

# Streams a data set to a file as it arrives, instead of holding it in memory.
_config.STORE_RECV_CHUNKED_DATASET = True


@dataclass(slots=True)
class _Session:
    """What is known of an open association; several of pynetdicom's threads look at it."""

    peer: Peer
    came: Came | None = None
    """What its objects came with, from the first on."""
    kept: int = 0


class _Server(ThreadedAssociationServer):
    """pynetdicom's server, run and ended by us, so that we know the thread it runs in."""

    def server_bind(self) -> None:
        assert self.socket is not None, "socketserver opens it first"
        addresses.take_both_families(self.socket)
        super().server_bind()

    def shutdown(self) -> None:
        """Accept nobody any more; pynetdicom's own would look for us among what it started."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()


class Listener:
    """The Verification and Storage SCP."""

    def __init__(
        self,
        config: Config,
        incoming: Path,
        commitments: Commitments,
        reception: Reception,
        committer: Committer,
    ) -> None:
        self._config = config
        self._incoming = incoming
        """Where an object lies while it arrives (`Store.incoming`)."""
        self._commitments = commitments
        self._reception = reception
        self._committer = committer
        self._sessions: dict[Association, _Session] = {}
        self._lock = threading.Lock()
        self._ae = _application_entity(config)
        self._server: ThreadedAssociationServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port really in use, which differs from the configured one if that is 0."""
        assert self._server is not None, "the listener has not been started"
        return int(self._server.server_address[1])

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
                server_class=_Server,
                evt_handlers=[
                    (evt.EVT_REQUESTED, self._admit),
                    (evt.EVT_SOP_COMMON, _name_services),
                    (evt.EVT_ACCEPTED, self._say_what_cannot_come),
                    (evt.EVT_C_ECHO, lambda event: SUCCESS),
                    (evt.EVT_C_STORE, self._receive),
                    (evt.EVT_N_EVENT_REPORT, self._hear_report),
                    (evt.EVT_N_ACTION, self._hear_request),
                    (evt.EVT_RELEASED, self._forget),
                    (evt.EVT_ABORTED, self._forget),
                    (evt.EVT_CONN_CLOSE, self._forget),
                ],
            )
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {addresses.place(host, port)} ({error.strerror}); give "
                "[listener] a host of this machine and a port that is free and allowed"
            ) from error
        # pynetdicom writes what arrives where tempfile says.
        tempfile.tempdir = str(self._incoming)
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, name="listener", daemon=True)
        self._thread.start()
        log.info("Listening on %s", addresses.place(host, self.port))

    def stop(self, drain_s: float) -> None:
        """Accept nothing new, wait for open associations to end, then abort them."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        give_up_at = time.monotonic() + drain_s
        while self._sessions and time.monotonic() < give_up_at:
            time.sleep(0.05)
        self._ae.shutdown()
        tempfile.tempdir = None

    def _admit(self, event: Event) -> None:
        """Let known peers in, and nobody else, whatever goes wrong here."""
        try:
            diagnostic = self._why_not(event.assoc)
        except Exception:  # pynetdicom would log this, and accept
            log.exception("Rejected an association: it could not be judged")
            diagnostic = _CALLING_AE_NOT_RECOGNISED
        if diagnostic is not None:
            event.assoc.acse.send_reject(_REJECTED_PERMANENT, _SERVICE_USER, diagnostic)
            event.assoc.kill()

    def _why_not(self, association: Association) -> int | None:
        """Return the diagnostic of a rejection, or None and remember the peer."""
        request = association.requestor.primitive
        assert request is not None, "pynetdicom announces no request without its primitive"
        calling_ae, called_ae = request.calling_ae_title.strip(), request.called_ae_title.strip()
        address = addresses.plain_address(str(association.requestor.address))
        own_ae = self._config.node.ae_title
        if called_ae != own_ae:
            words = "Rejected %s from %s: it called %s, this is %s"
            log.warning(words, calling_ae, address, called_ae, own_ae)
            return _CALLED_AE_NOT_RECOGNISED
        peer = find_peer(self._config.peers, calling_ae, address)
        if peer is None and self._is_our_own(calling_ae):
            words = "Rejected %s from %s: doctor or another node looked whether we are here"
            log.info(words, calling_ae, address)
            return _CALLING_AE_NOT_RECOGNISED
        if peer is None:
            log.warning(
                "Rejected %s from %s: %s", calling_ae, address, self._remedy(calling_ae, address)
            )
            return _CALLING_AE_NOT_RECOGNISED
        commitment = self._commitment_context(association, peer)
        association.acceptor.supported_contexts = acceptable(_proposed(association), commitment)
        with self._lock:
            self._sessions[association] = _Session(peer)
        return None

    def _commitment_context(
        self, association: Association, peer: Peer
    ) -> PresentationContext | None:
        if not proposes_commitment(association):
            return None

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
            log.info(words, peer.name)
        return context

    def _say_what_cannot_come(self, event: Event) -> None:
        with self._lock:
            session = self._sessions.get(event.assoc)
        rejected = event.assoc.rejected_contexts
        kinds = list(what_was_not_accepted(_proposed(event.assoc), rejected))
        if session is not None and kinds:
            words = "%s cannot send what it proposed in no transfer syntax that is read here: %s"
            log.warning(words, session.peer.name, "; ".join(kinds))

    def _is_our_own(self, calling_ae: str) -> bool:
        """Whether it is our AE title, and no peer's."""
        peers = {peer.ae_title for peer in self._config.peers}
        return calling_ae == self._config.node.ae_title and calling_ae not in peers

    def _remedy(self, calling_ae: str, address: str) -> str:
        """Return which line of the configuration would let somebody in."""
        for peer in self._config.peers:
            if peer.ae_title == calling_ae:
                return (
                    f'peer "{peer.name}" has this AE title, but this is not its address; to allow '
                    f'it, add to that peer: addresses = ["{address}"]'
                )
        return (
            'no peer has this AE title; to allow it: [[peers]] name = "...", '
            f'ae_title = "{calling_ae}", host = "{address}", port = ..., sends = true'
        )

    def _receive(self, event: Event) -> int:
        """Answer the sender of one object; only a kept object gets Success."""
        path = Path(event.dataset_path)
        try:
            return self._answer(event.assoc, path)
        except Unreadable:
            return CANNOT_UNDERSTAND
        except NoRoom as error:
            log.error("An object is not taken: %s", error)  # noqa: TRY400 - the disk's
        except OSError as error:
            log.error("Could not keep an object: %s", error.strerror)  # noqa: TRY400 - the disk's
        except OperationalError as error:  # the database is away, or somebody holds the study
            log.error("Could not keep an object: %s", error.orig)  # noqa: TRY400
        except Exception:  # the sender must get an answer, and send again
            log.exception("Could not keep an object")
        path.unlink(missing_ok=True)
        return OUT_OF_RESOURCES

    def _hear_request(self, event: Event) -> tuple[int, None]:
        """Keep a storage commitment request; the report on it follows."""
        with self._lock:
            session = self._sessions.get(event.assoc)
        if session is None:
            return PROCESSING_FAILURE, None  # it has gone meanwhile, and hears no answer
        return self._committer.take(OpenRequest(event), session.peer), None

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

    def _answer(self, association: Association, path: Path) -> int:
        with self._lock:
            session = self._sessions.get(association)
        if session is None:
            return OUT_OF_RESOURCES  # it has gone meanwhile, and hears no answer
        if not session.peer.sends:
            log.warning("An object is not taken: peer %s has no sends = true", session.peer.name)
            return NOT_AUTHORISED
        came = session.came or self._begin(association, session)
        if came is None:
            return OUT_OF_RESOURCES
        self._reception.keep(path, came)
        session.kept += 1
        return SUCCESS

    def _begin(self, association: Association, session: _Session) -> Came | None:
        """Say that objects begin to come; None if the association has ended meanwhile."""
        came = self._reception.begin(session.peer.name)
        with self._lock:
            if association in self._sessions:
                session.came = came  # from now on `_forget` ends it
                return came
        self._reception.end(came)
        return None

    def _forget(self, event: Event) -> None:
        """Let go of an association that has ended, and of what was half received."""
        with self._lock:
            session = self._sessions.pop(event.assoc, None)
        half = getattr(event.assoc.dimse.message, "_data_set_file", None)
        if half is not None:
            half.close()
            Path(half.name).unlink(missing_ok=True)
        if session is None:
            return
        if event.event is not evt.EVT_RELEASED:
            words = "%s broke off its association; %d objects of it are kept"
            log.warning(words, session.peer.name, session.kept)
        elif session.kept:
            log.info("%s sent %d objects", session.peer.name, session.kept)
        if session.came is not None:
            self._reception.end(session.came)


def _proposed(association: Association) -> list[PresentationContext]:
    request = association.requestor.primitive
    assert isinstance(request, A_ASSOCIATE), "pynetdicom announces no request without its primitive"
    return request.presentation_context_definition_list


def _name_services(event: Event) -> dict[UID, SOPClassCommonExtendedNegotiation]:
    return storage_unknown_to_pynetdicom(_proposed(event.assoc))


def find_peer(peers: Sequence[Peer], calling_ae: str, address: str) -> Peer | None:
    """Return the peer that has this AE title and address; one that sends, if there is a choice."""
    for peer in sorted(peers, key=lambda peer: not peer.sends):
        if peer.ae_title == calling_ae and _is_at(peer, address):
            return peer
    return None


def _is_at(peer: Peer, address: str) -> bool:
    """Say whether a peer may call from an address; a name is looked up only if it must be."""
    if peer.host == address or any(addresses.is_in(address, one) for one in peer.addresses):
        return True
    return any(addresses.is_in(address, one) for one in addresses.addresses_of(peer.host))


def _application_entity(config: Config) -> AE:
    ae = AE(config.node.ae_title)
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_associations = config.listener.max_associations
    ae.maximum_pdu_size = config.listener.max_pdu
    ae.network_timeout = config.listener.idle_timeout_s
    ae.dimse_timeout = config.listener.idle_timeout_s
    return ae
