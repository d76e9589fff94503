"""1 Receive: the messages that come over an association, of which most bring an object each.

An object goes from the network into its file, and is answered, without pynetdicom; what cannot be
written is passed over, so that its sender gets an answer and may send the next one. Whatever else
comes, an odd C-STORE request among it, goes to pynetdicom (`mended.py`), part by part as it came.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from node.dimse.c_store import StoreRequest, answering, read_store_request
from node.logs import OncePerMinute
from node.receive.arriving import Arriving, beginning_of_file
from node.receive.mended import IS_COMMAND, IS_LAST, MendedMessages
from node.receive.negotiation import is_storage
from node.receive.upper_layer import DataValue, NoMessage

log = logging.getLogger(__name__)

_LONGEST_COMMAND = 1024
"""Of a C-STORE request: two UIDs and a name, and some numbers; with a head for each of its parts,
for they may be empty."""
_HEAD = 6


class IncomingMessages(MendedMessages):
    """The messages of one association; what is sent is pynetdicom's, but answers to C-STORE."""

    def __init__(
        self,
        association: Association,
        said: OncePerMinute,
        folder: Path,
        keep: Callable[[Arriving], int],
    ) -> None:
        super().__init__(association, said)
        self._folder, self._keep = folder, keep
        self._command: list[DataValue] = []
        """Parts of a command set that is not whole yet."""
        self._length_of_command = 0
        self._arriving: tuple[StoreRequest, Arriving] | None = None
        self._storable: dict[bytes, bool] = {}

    @property
    def is_receiving(self) -> bool:
        """Whether a message has begun and is not whole, or is not looked at yet."""
        parts = self._command, self._arriving, self.message
        return any(parts) or not self.msg_queue.empty()

    def take(self, values: Sequence[DataValue]) -> None:
        """Take the values of one PDU; raise NoMessage if they do not follow what came before.

        Answers what is whole by then, and goes on with what is behind it.
        """
        parts: list[memoryview] = []
        """Of the object that comes."""
        for context_id, control, content in values:
            if self._arriving is not None:
                if control & IS_COMMAND or context_id != self._arriving[1].context_id:
                    self.interrupt()
                parts.append(content)
                if control & IS_LAST:
                    self._finish(*self._arriving, parts)
                    parts = []
            elif self.message is None and (control & IS_COMMAND or self._command):
                self._take_command((context_id, control, memoryview(bytes(content))))
            else:
                self._hand_over([(context_id, control, content)])
            if not self.dul.is_established:
                return
        if parts and self._arriving is not None:
            self._arriving[1].take(parts)

    def interrupt(self) -> None:
        """Raise NoMessage if a message of those that are not pynetdicom's has begun."""
        if self._arriving is not None or self._command:
            who = self.assoc.requestor.ae_title.strip()
            log.error("What came from %s makes no message: another is not whole", who)
            raise NoMessage

    def _take_command(self, value: DataValue) -> None:
        context_id, control, content = value
        if self._command and not (control & IS_COMMAND and context_id == self._command[0][0]):
            self.interrupt()
        self._command.append(value)
        self._length_of_command += _HEAD + len(content)
        is_too_long = self._length_of_command > _LONGEST_COMMAND
        if not control & IS_LAST and not is_too_long:
            return
        command, self._command, self._length_of_command = self._command, [], 0
        request = None
        if not is_too_long:
            request = read_store_request(b"".join(part for _, _, part in command))
        context = self.assoc._accepted_cx.get(context_id)
        if request is None or context is None or not self._is_storable(request.sop_class):
            self._hand_over(command)
            return
        beginning = beginning_of_file(request, context.transfer_syntax[0])
        self._arriving = request, Arriving(self._folder, context_id, beginning)

    def _is_storable(self, sop_class: bytes) -> bool:
        known = self._storable.get(sop_class)
        if known is None:
            known = self._storable[sop_class] = is_storage(sop_class.decode("ascii"))
        return known

    def _finish(self, request: StoreRequest, arrived: Arriving, parts: list[memoryview]) -> None:
        """Have an object kept, and answer its sender."""
        arrived.take(parts)
        arrived.close()
        self._arriving = None
        try:
            status = self._keep(arrived)
        except BaseException:  # a defect, which ends the association
            arrived.discard()
            raise
        answer = answering(request, status, arrived.context_id)
        most = self.maximum_pdu_size
        if not most or len(answer) <= most:
            self.dul.send_data(answer)
            return
        response = C_STORE()  # in as many parts as it takes
        response.MessageIDBeingRespondedTo = request.message_id
        response.AffectedSOPClassUID = UID(request.sop_class.decode("ascii"))
        response.AffectedSOPInstanceUID = UID(request.sop_instance.decode("ascii"))
        response.Status = status
        self.send_msg(response, arrived.context_id)

    def _hand_over(self, values: Sequence[DataValue]) -> None:
        """Have pynetdicom take parts of a message, and serve it once it is whole."""
        for context_id, control, content in values:
            part = P_DATA()
            part.presentation_data_value_list = [[context_id, bytes([control]) + content]]  # type: ignore[list-item]
            self.receive_primitive(part)
        self.dul.go_on()  # it may have been none
        self.serve()

    def discard_all(self) -> bool:
        """Remove what came and was not answered; return whether of an object only a part came."""
        came_half = super().discard_all()
        if self._arriving is None:
            return came_half
        _, arriving = self._arriving
        arriving.discard()
        return arriving.has_begun
