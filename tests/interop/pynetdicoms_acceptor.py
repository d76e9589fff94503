"""A plugin for pytest that puts the node's acceptor in the place of pynetdicom's.

For pynetdicom's own tests, which come with it: whatever they start as an acceptor is ours then,
from the connection to the answers. What it accepts, and what it does with an object, stays the
tests': they say so by contexts and handlers.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from typing import Any, cast
from unittest import mock

import pytest
from ports import free_port
from pydicom.uid import UID
from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class
from pynetdicom.tests import utils

from node.dicom.part10 import data_set_begins_at
from node.dimse import request
from node.dimse.c_store import StoreRequest
from node.dimse.request import AssociationRequest
from node.receive.arriving import Arriving
from node.receive.door import Door
from node.receive.incoming import IncomingMessages

_FAILED = 0xC211
"""What pynetdicom answers if a handler fails."""
_here = threading.local()
"""contexts, request: of the association that this thread serves, of the object that it keeps."""


class _Acceptor(Door):
    """Asks the handlers of a test in the place of a node."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._served: list[Association] = []
        super().__init__(*args, doorman=self, incoming=Path(self._folder.name), **more)

    @property
    def active_associations(self) -> list[Association]:
        return list(self._served)

    def shutdown(self) -> None:
        for association in self.active_associations:
            association.abort()
        super().shutdown()
        self.ae._servers.remove(self)
        self._folder.cleanup()

    def is_near(self, address: str) -> bool:
        return True

    def judge(self, association: Association, asked: AssociationRequest) -> None:
        association._server = self
        _here.contexts = self.contexts
        self._served.append(association)
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": association.remote["address"]})

    def take_leave(self, association: Association) -> None:
        self._served.remove(association)

    def commitment_context(self, association: Association) -> PresentationContext | None:
        return None

    def keep(self, association: Association, arrived: Arriving) -> int:
        """Do what pynetdicom does with an object that has come, but for the answer."""
        assert arrived.error is None
        context = association._accepted_cx[arrived.context_id]
        said_of = {"request": _primitive(_here.request, arrived.path), "context": context.as_tuple}
        try:
            said = evt.trigger(association, evt.EVT_C_STORE, said_of)
        except Exception:  # noqa: BLE001 - whatever a test raises
            return _FAILED
        finally:
            arrived.discard()
        answer = StorageServiceClass(association).validate_status(cast("Any", said), C_STORE())
        return cast("int", answer.Status)


def _primitive(asked: StoreRequest, path: Path) -> C_STORE:
    made = C_STORE()
    made.MessageID, made.Priority = asked.message_id, 2
    made.AffectedSOPClassUID = UID(asked.sop_class.decode("ascii"))
    made.AffectedSOPInstanceUID = UID(asked.sop_instance.decode("ascii"))
    if _config.STORE_RECV_CHUNKED_DATASET:
        made._dataset_path = path
        return made
    with path.open("rb") as file:
        file.seek(data_set_begins_at(file))
        made.DataSet = BytesIO(file.read())
    return made


def _acceptable(*_: Any) -> list[PresentationContext]:
    return deepcopy(_here.contexts)


def _is_storage(sop_class: str) -> bool:
    return uid_to_service_class(UID(sop_class)) is StorageServiceClass


def _finish(self: IncomingMessages, asked: StoreRequest, *rest: Any) -> None:
    _here.request = asked
    _finish_as_it_is(self, asked, *rest)


_finish_as_it_is = IncomingMessages._finish


_IN_PLACE_OF: dict[str, Any] = {
    "pynetdicom.ae.ThreadedAssociationServer": _Acceptor,
    "node.receive.association.acceptable": _acceptable,
    "node.receive.incoming.IncomingMessages._finish": _finish,
    "node.receive.mended._is_offered": lambda *_: True,
    "node.receive.incoming.is_storage": _is_storage,
    "node.receive.mended.is_storage": _is_storage,
    "node.dimse.request._pdu_once": request._pdu_of,  # tests change what was read
}


@pytest.fixture(autouse=True, scope="session")
def _ours() -> Iterator[None]:
    with contextlib.ExitStack() as patches:
        for name, ours in _IN_PLACE_OF.items():
            patches.enter_context(mock.patch(name, ours))
        ports = {None: (free_port(), free_port())}
        patches.enter_context(mock.patch.dict(utils.PORTS, ports))
        yield
