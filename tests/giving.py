"""An archive that gives back what it has, by C-GET and C-MOVE; real DICOM on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from peers import NODE_AE, shut_down
from ports import free_port
from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node import config
from node.dimse import RETRIEVING

GET, MOVE = RETRIEVING["get"], RETRIEVING["move"]


class GivingArchive:
    """It sends what matches a request; `status` takes the place of an answer."""

    def __init__(
        self,
        has: Sequence[Dataset] = (),
        *,
        offers: Sequence[str] = (GET, MOVE),
        node_port: int = 0,
    ) -> None:
        self.has = list(has)
        self.node_port = node_port
        self.asked: list[Dataset] = []
        self.status: int | None = None
        self.before_each: Callable[[], None] = lambda: None
        self.parts_sent: int | None = None
        """After so many parts of messages it breaks off, as a process does that dies."""
        self.before_it_breaks_off: Callable[[], None] = lambda: None
        self._ae = AE("GIVING")
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(
                UID(str(context.abstract_syntax)),
                list(ALL_TRANSFER_SYNTAXES),
                scu_role=True,
                scp_role=True,
            )
        for service in offers:
            self._ae.add_supported_context(service)
        self._ae.add_supported_context(Verification)
        self._ae.add_requested_context("1.2.840.10008.5.1.4.1.1.1.2")
        self.port = free_port()
        self._ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[
                (evt.EVT_C_GET, self._give),
                (evt.EVT_C_MOVE, self._move),
                (evt.EVT_PDU_SENT, self._count_part),
            ],
        )

    def close(self) -> None:
        shut_down(self._ae)

    def peer(self, retrieve: str, **changes: Any) -> config.Peer:
        values = {"name": "giving", "ae_title": "GIVING", "host": "127.0.0.1", "port": self.port}
        values |= {"sends": True, "receives": "default", "retrieve": retrieve, "timeout_s": 20}
        return config.Peer.model_validate(values | changes)

    def _count_part(self, event: evt.Event) -> None:
        if self.parts_sent is None or not isinstance(event.pdu, P_DATA_TF):
            return
        self.parts_sent -= 1
        if self.parts_sent == 0:
            self.before_it_breaks_off()
            assert event.assoc.dul.socket is not None
            event.assoc.dul.socket.close()

    def _matching(self, query: Dataset) -> list[Dataset]:
        self.asked.append(query)
        found = [one for one in self.has if one.StudyInstanceUID == query.StudyInstanceUID]
        if query.QueryRetrieveLevel == "STUDY":
            return found
        uids = query["SOPInstanceUID"]
        wanted = [uids.value] if uids.VM == 1 else list(uids.value)
        series_uid = query.SeriesInstanceUID
        return [
            one
            for one in found
            if one.SOPInstanceUID in wanted and one.SeriesInstanceUID == series_uid
        ]

    def _give(self, event: evt.Event) -> Iterator[Any]:
        found = self._matching(event.identifier)
        if self.parts_sent is not None:
            request = event.assoc.requestor.primitive
            assert request is not None
            request.maximum_length_received = 4096
        yield len(found)
        yield from self._answers(found)

    def _move(self, event: evt.Event) -> Iterator[Any]:
        found = self._matching(event.identifier)
        is_known = event.move_destination == NODE_AE and self.node_port
        yield ("127.0.0.1", self.node_port) if is_known else (None, None)
        yield len(found)
        yield from self._answers(found)

    def _answers(self, found: Sequence[Dataset]) -> Iterator[Any]:
        if self.status is not None:
            yield self.status, None
            return
        for one in found:
            self.before_each()
            yield 0xFF00, one
