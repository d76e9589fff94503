"""1 Receive: the door. Who connects is heard before there is an association.

A connection that has not asked for one waits in a room with few places and a short time, and not
among the associations: who says nothing keeps nobody out. Who comes when the room is full takes the
place of whoever has said nothing for longest. Strangers, who come from no address of a peer, have a
room of their own, smaller and with less time; they are heard, as the log must tell what to write
into the configuration for them.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from node.dimse import addresses
from node.dimse.request import (
    NO_SUCH_VERSION,
    AssociationRequest,
    NoRequest,
    NothingSaid,
    Rejection,
    aborting,
    hear,
    rejecting,
)
from node.logs import OncePerMinute
from node.metrics import NotLetIn, count_not_let_in
from node.receive.association import LEAVES_WITHIN_S, AssociationHost, Negotiated, ServedAssociation
from node.receive.upper_layer import Connection

log = logging.getLogger(__name__)

_PLACES, _PATIENCE_S = 64, 10.0
_PLACES_OF_STRANGERS, _PATIENCE_WITH_STRANGERS_S = 16, 2.0


class Doorman(AssociationHost, Protocol):
    """Who decides about those that ask for an association, and keeps what they bring.

    Called from many threads.
    """

    def is_near(self, address: str) -> bool:
        """Whether some peer has this address, as far as that is known without a look-up."""

    def judge(self, association: Association, request: AssociationRequest) -> Rejection | None:
        """Admit an association that has not begun yet, or say why not."""

    def take_leave(self, association: Association) -> None:
        """Let go of an association that was admitted and has ended, however it ended."""


class WaitingRoom:
    """Connections that have not asked for an association yet."""

    def __init__(self, places: int, patience_s: float) -> None:
        self.patience_s = patience_s
        self._places = places
        self._waiting: dict[socket.socket, None] = {}
        self._lock = threading.Lock()

    def enter(self, connection: socket.socket) -> None:
        """Give a connection a place; if all are taken, that of who has waited longest."""
        with self._lock:
            self._waiting[connection] = None
            too_many = list(self._waiting)[: -self._places]
            for one in too_many:
                self._send_away(one)

    def leave(self, connection: socket.socket) -> bool:
        """Take a connection out; return whether it was still there."""
        with self._lock:
            return self._waiting.pop(connection, self) is None

    def close(self) -> None:
        """Send all away."""
        with self._lock:
            for one in list(self._waiting):
                self._send_away(one)

    def _send_away(self, connection: socket.socket) -> None:
        del self._waiting[connection]
        with contextlib.suppress(OSError):  # it has gone already
            connection.shutdown(socket.SHUT_RDWR)  # who reads from it is told


class Door(ThreadedAssociationServer):
    """pynetdicom's server, with rooms to wait in; run and ended by us, who know its thread."""

    request_queue_size = 128  # with the 5 of pynetdicom the system itself would drop callers

    def __init__(self, *args: Any, doorman: Doorman, incoming: Path, **more: Any) -> None:
        self.doorman = doorman
        self.incoming = incoming
        """Where an object lies while it arrives (`Store.incoming`)."""
        self.said = OncePerMinute()
        self.negotiated = Negotiated()
        self._peers_room = WaitingRoom(_PLACES, _PATIENCE_S)
        self._strangers_room = WaitingRoom(_PLACES_OF_STRANGERS, _PATIENCE_WITH_STRANGERS_S)
        super().__init__(*args, **more)

    def server_bind(self) -> None:
        """Take an address, of both families if it stands for all."""
        assert self.socket is not None, "socketserver opens it first"
        addresses.take_both_families(self.socket)
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a new connection a place to wait in, and a thread; nobody waits for that."""
        address = addresses.plain_address(client_address[0])
        room = self._peers_room if self.doorman.is_near(address) else self._strangers_room
        room.enter(request)
        arguments = (request, client_address, room)
        threading.Thread(target=self._serve, args=arguments, name="door", daemon=True).start()

    def _serve(self, connection: Any, client_address: Any, room: WaitingRoom) -> None:
        try:
            _Caller(connection, client_address, self, room)
        except Exception:  # socketserver would print it
            address = addresses.plain_address(client_address[0])
            log.exception("Closed a connection from %s: it could not be served", address)
        finally:
            room.leave(connection)
            self.shutdown_request(connection)

    def service_actions(self) -> None:
        """Do nothing; pynetdicom's own collects the garbage of the whole process now and then.

        That is for its threads; what an association leaves here Python finds by itself.
        """

    def shutdown(self) -> None:
        """Accept nobody any more; pynetdicom's own would look for us among what it started."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()
        for room in (self._peers_room, self._strangers_room):
            room.close()


class _Caller(RequestHandler):
    """Somebody who has connected; served as soon as it is made, in a thread of its own."""

    server: Door

    def __init__(self, connection: Any, address: Any, server: Door, room: WaitingRoom) -> None:
        self._address = addresses.plain_address(address[0])
        self._room = room
        super().__init__(connection, address, server)

    def handle(self) -> None:
        """Hear what it asks for; if that is an association it may have, see it through."""
        try:
            request = hear(self.request, self._room.patience_s)
            # What follows is our time: nobody loses a place while the name of a peer is looked up.
            if not self._room.leave(self.request):
                raise NothingSaid("in time")
            if not request.is_version_1:
                self._turn_away(rejecting(NO_SUCH_VERSION), "an unknown version of the protocol")
                return
            pdu = request.pdu()
        except NothingSaid:
            self._say_that_nothing_was_said()
        except NoRequest as error:
            self._turn_away(aborting(), str(error))
        else:
            self._serve(request, pdu)

    def _serve(self, request: AssociationRequest, pdu: A_ASSOCIATE_RQ) -> None:
        doorman, association = self.server.doorman, self._new_association()
        rejection = doorman.judge(association, request)
        if rejection is not None:
            self._answer(rejecting(rejection))
            return
        try:
            # Or who stops in the middle of a message would never be noticed.
            self.request.settimeout(association.network_timeout)
            association.serve(request, pdu, self.server.negotiated)
        finally:
            doorman.take_leave(association)

    def _new_association(self) -> ServedAssociation:
        """Do what pynetdicom's own does, but for a copy of each context that could be accepted."""
        server = self.server
        made = ServedAssociation(server.ae, server.doorman, server.incoming, server.said)
        made.set_socket(Connection(made, self.request))
        made.acceptor.maximum_length = server.ae.maximum_pdu_size
        made.acceptor.ae_title = server.ae_title
        made.acceptor.address_info = self.local
        made.acceptor.implementation_class_uid = server.ae.implementation_class_uid
        made.acceptor.implementation_version_name = server.ae.implementation_version_name
        made.requestor.address_info = self.remote
        made._handlers = {
            event: list(bound) if isinstance(bound, list) else bound
            for event, bound in server._handlers.items()
        }
        return made

    def _answer(self, content: bytes) -> None:
        """Send a last answer; who gets it closes the connection (PS3.8 9.2.3, state 13)."""
        give_up_at = time.monotonic() + LEAVES_WITHIN_S
        with contextlib.suppress(OSError):  # it has gone, or was sent away
            self.request.settimeout(LEAVES_WITHIN_S)
            self.request.sendall(content)
            self.request.shutdown(socket.SHUT_WR)
            while self.request.recv(4096) and time.monotonic() < give_up_at:
                pass

    def _turn_away(self, answer: bytes, what_it_sent: str) -> None:
        count_not_let_in(NotLetIn.OTHER_PROTOCOL)
        self._say(
            logging.WARNING,
            f"it sent {what_it_sent}, and this port is for DICOM without TLS",
        )
        self._answer(answer)

    def _say_that_nothing_was_said(self) -> None:
        if not self._room.leave(self.request):
            self._say(logging.INFO, "it asked for nothing, and others came")
        elif self._has_gone():
            self._say(logging.DEBUG, "it went without a word")
            return  # who looks whether the port answers does so
        else:
            self._say(logging.INFO, f"it asked for nothing within {self._room.patience_s:g} s")
        count_not_let_in(NotLetIn.NOTHING_SAID)

    def _has_gone(self) -> bool:
        try:
            self.request.settimeout(0)
            return not self.request.recv(1, socket.MSG_PEEK)
        except OSError as error:
            return not isinstance(error, BlockingIOError)

    def _say(self, level: int, why: str) -> None:
        more = self.server.said.again((self._address, why))
        if more is not None:
            log.log(level, "Closed a connection from %s: %s%s", self._address, why, more)
