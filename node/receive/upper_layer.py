"""1 Receive: the upper layer of one association (PS3.8 9), run by whoever has something for it.

pynetdicom runs its state machine in a thread of its own, which asks every millisecond whether there
is anything to do, as does a second one. Here the thread that reads from the connection does what
follows from what came, and whoever sends does so himself. The machine, with what it does and
answers, is pynetdicom's; it is made for 3.0.4, of which it uses more than the documented parts.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import socket
import struct
import threading
import time
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT, A_RELEASE, P_DATA
from pynetdicom.transport import AssociationSocket

log = logging.getLogger(__name__)

_HEADER = struct.Struct(">BBL")
_VALUE = struct.Struct(">LBB")
_PDU_TYPES, _P_DATA_TF = range(0x01, 0x08), 0x04
_ROOM = 1 << 16
_ROOM_TO_KEEP = 1 << 20
"""What has become larger for one message is given back."""
_LONGEST = 1 << 26
"""Some send longer messages than were agreed; beyond this, or four times that, it is none."""
_SLOWEST = 10_000
"""Bytes a second at which a message must come, once the time-out for silence is over."""

# In the words of PS3.8 9.2: states, and what happens.
_AWAITING_ANSWER, _ESTABLISHED, _CLOSING = "Sta3", "Sta6", "Sta13"
REQUEST_RECEIVED, CONNECTION_CLOSED, TIMER_EXPIRED, INVALID_PDU = "Evt6", "Evt17", "Evt18", "Evt19"
_REQUESTED = {P_DATA: "Evt9", A_RELEASE: "Evt14", A_ABORT: "Evt15", A_P_ABORT: "Evt15"}

DataValue = tuple[int, int, memoryview]
"""A presentation data value: its context, its control header, and what there is of a message."""


class NoMessage(Exception):  # noqa: N818 - a kind of what comes
    """What comes makes no message, and its sender is to hear so."""


class Connection(AssociationSocket):
    """The connection of an association, read in large pieces.

    pynetdicom finds in it what has been read and not used, so that each message may be read by it
    or by us.
    """

    def __init__(self, association: Association, accepted: socket.socket) -> None:
        super().__init__(association, client_socket=accepted)
        self.has_fallen_silent = False
        """Whether nothing came for so long that the association ends."""
        self.is_too_slow = False
        """Whether a message came, but so slowly that the association ends."""
        self._longest = max(_LONGEST, 4 * association.ae.maximum_pdu_size)
        self._room = bytearray(_ROOM)
        self._begin = self._end = 0

    @property
    def ready(self) -> bool:
        """Whether there is something to read at once."""
        return self._end > self._begin or super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes, for pynetdicom; fewer if the connection ends."""
        stop = min(self._begin + nr_bytes, self._end)
        read = self._room[self._begin : stop]
        self._begin = stop
        try:
            return read + super().recv(nr_bytes - len(read))
        except TimeoutError:
            self.has_fallen_silent = True
            raise

    def next_data(self) -> memoryview | None:
        """Wait for the next PDU to come whole, and take it if it is P-DATA-TF.

        None if it is another, which is left to pynetdicom, or no whole one comes. What it returns
        holds until the next call. Raises OSError where the connection fails, TimeoutError if
        nothing comes or far too slowly, and NoMessage if it says to be far too long.
        """
        if not self._has(_HEADER.size):
            return None
        kind, _, length = _HEADER.unpack_from(self._room, self._begin)
        if kind in _PDU_TYPES and length > self._longest:
            self._refuse(length)
        size = _HEADER.size + length
        if kind not in _PDU_TYPES or not self._has(size) or kind != _P_DATA_TF:
            return None
        found = memoryview(self._room)[self._begin : self._begin + size]
        self._begin += size
        return found

    def put_back(self, pdu: memoryview) -> None:
        """Have the last one that was taken read again."""
        self._begin -= len(pdu)

    def discard_until(self, give_up_at: float) -> None:
        """Read what is there, for nobody, until a time by `time.monotonic`."""
        self._begin = self._end = 0
        with contextlib.suppress(OSError):  # it has gone
            while self.socket is not None and self.ready and time.monotonic() < give_up_at:
                if not self.socket.recv_into(self._room):
                    return

    def _refuse(self, length: int) -> None:
        who = self.assoc.requestor.ae_title.strip()
        words = "A message of %s says to have %d bytes; %d are taken at most"
        log.error(words, who, length, self._longest)
        raise NoMessage

    def _has(self, size: int) -> bool:
        """Read until there are so many bytes; return whether there are."""
        give_up_at = None
        while self._end - self._begin < size:
            if self.socket is None:  # closed meanwhile
                return False
            self._make_room(size)
            try:
                came = self.socket.recv_into(memoryview(self._room)[self._end :])
            except TimeoutError:
                self.has_fallen_silent = True
                raise
            if not came:
                return False
            self._end += came
            if self._end - self._begin < size:  # looked at between two parts, as each is awaited
                give_up_at = give_up_at or self._give_up_at(size)
                if time.monotonic() > give_up_at:
                    self.is_too_slow = True
                    raise TimeoutError
        return True

    def _give_up_at(self, size: int) -> float:
        patience_s = None if self.socket is None else self.socket.gettimeout()
        if patience_s is None:
            return math.inf
        return time.monotonic() + patience_s + size / _SLOWEST

    def _make_room(self, size: int) -> None:
        """Let there be room behind what has been read, for so many bytes if it may be."""
        if self._end == self._begin:
            self._begin = self._end = 0
            if len(self._room) > _ROOM_TO_KEEP:
                self._room = bytearray(_ROOM)
        elif self._begin and self._begin + size > len(self._room):
            rest = self._room[self._begin : self._end]
            self._room[: len(rest)] = rest
            self._begin, self._end = 0, len(rest)
        if self._end == len(self._room):
            # As far as it comes, and no sooner: whoever says that much follows may be lying.
            self._room = self._room + bytes(len(self._room))  # the old one may still be shown

    def shut(self, how: int) -> None:
        """Let whoever reads, or sends, hear that this is over."""
        connected = self.socket
        if connected is not None:
            with contextlib.suppress(OSError):  # it has gone already
                connected.shutdown(how)


def data_values_of(pdu: memoryview) -> list[DataValue] | None:
    """Return the values of a whole P-DATA-TF; None if it has none, or they do not fit (9.3.5)."""
    found: list[DataValue] = []
    at, end = _HEADER.size, len(pdu)
    while at < end:
        if end - at < _VALUE.size:
            return None
        length, context_id, control = _VALUE.unpack_from(pdu, at)
        behind = at + _VALUE.size - 2 + length
        if length < 2 or behind > end:
            return None
        found.append((context_id, control, pdu[at + _VALUE.size : behind]))
        at = behind
    return found or None


class UpperLayer(DULServiceProvider):
    """pynetdicom's, without a thread: `go_on` does what there is to do."""

    socket: Connection

    def __init__(self, association: Association) -> None:
        super().__init__(association)
        self.turn = threading.RLock()
        """Held by whoever sends, or lets the machine do a step."""

    @property
    def is_established(self) -> bool:
        """Whether messages may come and go: not if the machine has failed, whatever its state."""
        return not self._kill_thread and bool(self.state_machine.current_state == _ESTABLISHED)

    @property
    def is_closing(self) -> bool:
        """Whether only the end of the connection is waited for."""
        return bool(self.state_machine.current_state == _CLOSING)

    def send_pdu(self, primitive: Any) -> None:
        """Send it now; nothing if it has no place any more, as the association has ended."""
        with self.turn:
            event = _REQUESTED.get(type(primitive))
            if isinstance(primitive, A_ASSOCIATE):
                event = "Evt7" if primitive.result == 0 else "Evt8"
            if (event, self.state_machine.current_state) in TRANSITION_TABLE:
                super().send_pdu(primitive)
                self.go_on()

    def send_data(self, pdu: bytes) -> None:
        """Send a P-DATA-TF that is encoded already."""
        with self.turn:
            if self.is_established:
                self.socket.send(pdu)
                self.go_on()  # it may have failed

    def accept(self, pdu: bytes) -> None:
        """Accept the association by an A-ASSOCIATE-AC that is encoded already (AE-7)."""
        with self.turn:
            if self.state_machine.current_state == _AWAITING_ANSWER:
                self.socket.send(pdu)
                self.state_machine.transition(_ESTABLISHED)
                self.go_on()

    def go_on(self, *events: str) -> None:
        """Let the machine do what follows from what has happened."""
        with self.turn:
            for event in events:
                self.event_queue.put(event)
            while not self._kill_thread:
                self._process_recv_primitive()
                try:
                    event = self.event_queue.get(block=False)
                except queue.Empty:
                    return
                self.state_machine.do_action(event)

    def read_one(self) -> None:
        """Have pynetdicom read what has come, or hear that no more does, and do what follows."""
        with self.turn:
            if not self.is_established:  # another thread has ended it
                return
            self._read_pdu_data()
            try:
                self.go_on()
            except Exception as error:
                who = self.assoc.requestor.ae_title.strip()
                kind = type(error).__name__  # its words may quote what came
                log.info("What came from %s is taken for the end of its connection: %s", who, kind)
                log.debug("pynetdicom stumbles over it", exc_info=True)
                self._kill_thread = False
                self.event_queue = queue.Queue()
                self.go_on(CONNECTION_CLOSED)

    def take_leave(self, within_s: float) -> None:
        """Read what has still come, and close the connection (PS3.8 9.2.3, state 13).

        Nothing is answered any more, and whoever goes on is not listened to for longer.
        """
        if self.is_closing and not self._kill_thread:
            self.socket.discard_until(time.monotonic() + within_s)
            self.socket.close()
            self.go_on()
