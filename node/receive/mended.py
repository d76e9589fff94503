"""1 Receive: messages that pynetdicom reads and serves, where it is mended.

It writes an object to a file, too; where it fails it lets the association, or its own thread, break
down. Here the rest of an object that cannot be written is passed over, so that its sender gets an
answer and may send the next one. So does who asks for a service that is not offered: pynetdicom
would abort.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_CANCEL, C_ECHO, C_STORE, N_ACTION, N_EVENT_REPORT
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import P_DATA, SOPClassCommonExtendedNegotiation
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    Verification,
    uid_to_service_class,
)

from node.dimse.status import CLASS_NOT_SUPPORTED, UNRECOGNISED_OPERATION
from node.logs import OncePerMinute
from node.receive.negotiation import class_in_words, is_storage
from node.receive.upper_layer import INVALID_PDU, UpperLayer

log = logging.getLogger(__name__)

IS_COMMAND, IS_LAST = 0x01, 0x02
"""In the control header of a presentation data value (PS3.8 E.2)."""


class NotWritten:
    """In place of the file of an object that could not be written; the rest goes nowhere."""

    name = ""

    def __init__(self, error: OSError) -> None:
        self.error = error

    @property
    def file(self) -> NotWritten:
        """The file behind it, as a temporary file has one."""
        return self

    def write(self, content: bytes) -> int:
        """Write nothing."""
        return len(content)

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class MendedMessages(DIMSEServiceProvider):
    """pynetdicom's messages of one association; whatever comes, its thread goes on."""

    if TYPE_CHECKING:

        @property
        def dul(self) -> UpperLayer:
            """The upper layer below, which is ours."""

    def __init__(self, association: Association, said: OncePerMinute) -> None:
        super().__init__(association)
        self._said = said
        self._files: list[Any] = []
        """Of the object that comes, and of those that are not answered yet: one, if the sender
        waits for answers as it should."""
        self._came_half = False
        """Whether a part of an object has come, and more of it is to come."""
        self._serve = association._serve_request
        # The one place through which every request goes: some do without the queue of messages.
        association._serve_request = self._serve_or_refuse  # type: ignore[assignment,method-assign]

    def _serve_or_refuse(self, request: Any, context_id: int) -> None:
        """Have pynetdicom serve what we offer; answer whatever else is asked for, and go on."""
        sop_class = UID(_class_of(request))
        if isinstance(request, C_CANCEL):
            return  # of nothing that is under way; it has no answer
        is_request = request.MessageID is not None  # a response has another number
        is_negotiated = context_id in self.assoc._accepted_cx  # else it has no place, as before
        if is_request and is_negotiated and not _is_offered(request, sop_class):
            self._refuse(request, sop_class, context_id)
            return
        if isinstance(request, C_STORE):
            self._announce_storage(sop_class)
        self._serve(request, context_id)

    def _announce_storage(self, sop_class: UID) -> None:
        """Tell pynetdicom that a class it does not know is stored, or it would abort.

        A peer may tell which service a class is of (PS3.7 D.3.3.6), and hardly one does.
        """
        if is_storage(sop_class) and uid_to_service_class(sop_class) is not StorageServiceClass:
            item = SOPClassCommonExtendedNegotiation()
            item.sop_class_uid = sop_class
            item.service_class_uid = UID(StorageServiceClass.uid)
            self.assoc.acceptor._common_ext[sop_class] = item

    def _refuse(self, request: Any, sop_class: UID, context_id: int) -> None:
        service = type(request).__name__.replace("_", "-")
        is_composite = service.startswith("C-")
        response = type(request)()
        response.MessageIDBeingRespondedTo = request.MessageID
        response.AffectedSOPClassUID = sop_class or None
        response.Status = CLASS_NOT_SUPPORTED if is_composite else UNRECOGNISED_OPERATION
        self.discard(getattr(request, "_dataset_file", None))
        who = self.assoc.requestor.ae_title.strip()
        more = self._said.again((who, service, sop_class))
        if more is not None:
            words = "%s asked for %s of %s, which is not offered: answered 0x%04X%s"
            name = class_in_words(sop_class)
            log.warning(words, who, service, name, response.Status, more)
        if self.assoc.is_established:
            self.send_msg(response, context_id)

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message whole: a report may go out while an answer does, from another thread."""
        with self.dul.turn:
            super().send_msg(primitive, context_id)

    def serve(self) -> None:
        """Serve the messages that pynetdicom has whole."""
        while True:
            context_id, message = self.get_msg(block=False)
            if message is None or context_id is None:
                return
            self.assoc._serve_request(message, context_id)

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take parts of messages; whatever is wrong with them, this thread goes on."""
        for value in primitive.presentation_data_value_list:
            part = P_DATA()
            part.presentation_data_value_list = [list(value)]  # type: ignore[list-item]
            try:
                self._take(part)
            except Exception:  # pynetdicom would let it end its thread
                log.exception(
                    "What came from %s makes no message", self.assoc.requestor.ae_title.strip()
                )
                self.dul.event_queue.put(INVALID_PDU)
                return

    def _take(self, part: P_DATA) -> None:
        try:
            super().receive_primitive(part)
        except OSError as error:
            self._pass_over(error, part)
        finally:
            _, content = part.presentation_data_value_list[0]
            self._came_half = self.message is not None and not content[0] & IS_COMMAND
            file = getattr(self.message, "_data_set_file", None)
            is_written = file is not None and not isinstance(file, NotWritten)
            if is_written and file not in self._files:
                self._files.append(file)

    def _pass_over(self, error: OSError, part: P_DATA) -> None:
        """Give up the object that comes now, and see whether this part was its last."""
        message: Any = self.message
        with contextlib.suppress(ValueError):  # it may be too new to be in the list
            self._files.remove(message._data_set_file)
        _remove(message._data_set_file)
        message._data_set_file, message._data_set_path = NotWritten(error), None
        _, content = part.presentation_data_value_list[0]
        if not content[0] & IS_COMMAND:
            super().receive_primitive(part)

    def discard(self, file: Any) -> None:
        """Remove the file of an object that has been answered, if it is still there."""
        if file in self._files:
            self._files.remove(file)
            _remove(file)

    def discard_all(self) -> bool:
        """Remove what came and was not answered; return whether of an object only a part came."""
        for file in list(self._files):
            self.discard(file)
        return self._came_half


def _class_of(request: Any) -> str:
    """Return the class that a request is about; the services differ in who names it how."""
    names = "AffectedSOPClassUID", "RequestedSOPClassUID"
    return next((str(uid) for name in names if (uid := getattr(request, name, None))), "")


def _is_offered(request: object, sop_class: str) -> bool:
    if isinstance(request, C_STORE):
        return is_storage(sop_class)
    if isinstance(request, C_ECHO):
        return sop_class == str(Verification)
    is_commitments = isinstance(request, N_ACTION | N_EVENT_REPORT)
    return is_commitments and sop_class == str(StorageCommitmentPushModel)


def _remove(file: Any) -> None:
    if file is not None:
        with contextlib.suppress(OSError):  # what is still to be written cannot be, either
            file.close()
        Path(file.name).unlink(missing_ok=True)


def why_not_written(event: Event) -> OSError | None:
    """Return why the object of a C-STORE request is not in its file, None if it is."""
    file = getattr(event.request, "_dataset_file", None)
    return file.error if isinstance(file, NotWritten) else None
