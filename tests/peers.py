"""The other systems of a test: PACS that record, a modality that sends; real DICOM, loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import cast

import pytest
from ports import free_port
from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import (
    AE,
    DEFAULT_TRANSFER_SYNTAXES,
    AllStoragePresentationContexts,
    _config,
    build_context,
    evt,
)
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import EventHandlerType
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from node import config
from node.dimse.association import note_rejection

MODALITY_AE = "MODALITY"
NODE_AE = "AINODE"

FIND = str(StudyRootQueryRetrieveInformationModelFind)
COMMITMENT = str(StorageCommitmentPushModel)

BREAK_OFF = 0xFFFF
"""Instead of a status: abort the association."""
SILENCE = 0xFFFE
"""Instead of a status: give no answer, and keep the association open."""

# pynetdicom leaves the socket of a connection that was refused to the garbage collector.
refused_connections = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

_config.STORE_SEND_CHUNKED_DATASET = True  # files are sent as their bytes lie on disk


@dataclass(frozen=True, slots=True)
class Received:
    """One object as it came over the network."""

    sop_uid: str
    sop_class: str
    syntax: str
    calling_ae: str
    content: bytes
    """A Part 10 file with the data set as sent."""

    def read(self) -> Dataset:
        return dcmread(BytesIO(self.content))


def shut_down(ae: AE) -> None:
    """Stop a server of a test once the associations it has rejected or released have ended.

    pynetdicom would abort them, and an abort in that state is an error of its thread.
    """
    give_up_at = time.monotonic() + 2
    while time.monotonic() < give_up_at:
        if all(association.is_established for association in ae.active_associations):
            break
        time.sleep(0.01)
    ae.shutdown()


class Pacs:
    """A storage SCP that records every object, and answers as told."""

    def __init__(
        self,
        ae_title: str = "PACS",
        *,
        syntaxes: Sequence[str] = tuple(DEFAULT_TRANSFER_SYNTAXES),
        sop_classes: Iterable[str] | None = None,
        knows: Sequence[str] = (),
        services: Mapping[str, Sequence[str]] | None = None,
        verifies: bool = True,
        host: str = "127.0.0.1",
        port: int | None = None,
    ) -> None:
        self.ae_title = ae_title
        self.received: list[Received] = []
        self.answer: Callable[[Received], int] = lambda received: 0x0000
        self.associations = 0
        self.released = threading.Event()
        """An association has ended in good order."""
        self._ae = AE(ae_title)
        self._ae.maximum_pdu_size = 1 << 18  # in the 16 kB of the default, images take long
        every = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
        for sop_class in every if sop_classes is None else sop_classes:
            self._ae.add_supported_context(sop_class, list(syntaxes))
        for service, service_syntaxes in (services or {}).items():
            self._ae.add_supported_context(service, list(service_syntaxes))
        if verifies:
            self._ae.add_supported_context(Verification)
        self._ae.require_calling_aet = list(knows)
        self._host = host
        self.port = port or free_port()  # nobody else gets it once this one stops accepting
        self.accept_again()

    def forget(self) -> None:
        """Be as new."""
        self.received.clear()
        self.associations = 0
        self.released.clear()
        self.answer = lambda received: 0x0000

    def stop_accepting(self) -> None:
        """Let open associations go on, and nobody else in."""
        self._server.shutdown()

    def accept_again(self) -> None:
        """Let everybody in, as at first."""
        where = self._host, self.port
        server = self._ae.start_server(where, block=False, evt_handlers=self._handlers())
        assert server is not None
        self._server = server

    def admit_at_most(self, associations: int) -> None:
        """Reject more associations than so many at a time, for now."""
        self._ae.maximum_associations = associations

    def close(self) -> None:
        shut_down(self._ae)

    def peer(self, name: str) -> config.Peer:
        """Return the PACS as a destination."""
        return config.Peer(
            name=name,
            ae_title=self.ae_title,
            host="127.0.0.1",
            port=self.port,
            receives="default",
            timeout_s=120,  # a busy machine may be silent for a while
        )

    def _handlers(self) -> list[EventHandlerType]:
        return [
            (evt.EVT_C_STORE, self._record),
            (evt.EVT_ACCEPTED, self._count),
            (evt.EVT_RELEASED, lambda event: self.released.set()),
        ]

    def _count(self, event: evt.Event) -> None:
        self.associations += 1

    def _record(self, event: evt.Event) -> int:
        # pynetdicom streams to a file where the node, in the same process, asks for it.
        streamed = cast("Path | None", event.dataset_path)
        content = streamed.read_bytes() if streamed else event.encoded_dataset()
        request = cast("C_STORE", event.request)
        received = Received(
            sop_uid=str(request.AffectedSOPInstanceUID),
            sop_class=str(request.AffectedSOPClassUID),
            syntax=str(event.context.transfer_syntax),
            calling_ae=str(event.assoc.requestor.ae_title).strip(),
            content=content,
        )
        status = self.answer(received)
        if status == BREAK_OFF:
            event.assoc.abort()
        self.received.append(received)
        return status


Answers = Iterable[tuple[int, Dataset | None]]
"""Of a C-FIND: a status and, where that is pending, a match."""


class Archive(Pacs):
    """A Pacs that tells by C-FIND what it holds and answers for it by storage commitment.

    It is honest until `find` or `commit` are replaced. Their statuses may be BREAK_OFF or SILENCE.
    """

    def __init__(
        self,
        ae_title: str = "ARCHIVE",
        *,
        offers: Sequence[str] = (FIND, COMMITMENT),
        service_syntaxes: Sequence[str] = tuple(DEFAULT_TRANSFER_SYNTAXES),
        syntaxes: Sequence[str] = tuple(DEFAULT_TRANSFER_SYNTAXES),
        knows: Sequence[str] = (),
    ) -> None:
        self.find: Callable[[Dataset], Answers] = self.held
        self.commit: Callable[[Dataset, Association], int] = self.commit_to_what_is_held
        self._answered: dict[Association, threading.Event] = {}
        self.queries: list[Dataset] = []
        """The identifiers of C-FIND requests."""
        self.requests: list[Dataset] = []
        """The action information of storage commitment requests."""
        self.answers: list[int | None] = []
        """What its reports were answered with; None: not at all."""
        self._late: list[threading.Thread] = []
        self._is_closing = threading.Event()
        super().__init__(
            ae_title,
            syntaxes=syntaxes,
            knows=knows,
            services=dict.fromkeys(offers, tuple(service_syntaxes)),
        )
        self._ae.dimse_timeout = 10  # for an answer to its reports

    def forget(self) -> None:
        """Be as new."""
        super().forget()
        self.find, self.commit = self.held, self.commit_to_what_is_held
        for record in (self.queries, self.requests, self.answers):
            record.clear()

    def close(self) -> None:
        self._is_closing.set()
        super().close()
        for thread in self._late:
            thread.join()

    def held(self, query: Dataset) -> Answers:
        """Answer a query at STUDY or IMAGE level from what was received."""
        keys = [element.keyword for element in query if element.keyword != "QueryRetrieveLevel"]
        found: dict[str, Dataset] = {}
        for header in (received.read() for received in self.received):
            if all(str(query[key].value) in ("", str(header.get(key, ""))) for key in keys):
                match = Dataset()
                match.QueryRetrieveLevel = query.QueryRetrieveLevel
                if charset := header.get("SpecificCharacterSet"):
                    match.SpecificCharacterSet = charset
                for key in keys:
                    setattr(match, key, header.get(key, ""))
                per_study = query.QueryRetrieveLevel == "STUDY"
                found[header.StudyInstanceUID if per_study else header.SOPInstanceUID] = match
        return [(0xFF00, match) for match in found.values()]

    def commit_to_what_is_held(self, request: Dataset, association: Association) -> int:
        """Take the request, and report on it truthfully a moment later."""
        asked = [str(item.ReferencedSOPInstanceUID) for item in request.ReferencedSOPSequence]
        held = {received.sop_uid for received in self.received}
        report = report_of(
            request.TransactionUID,
            [one for one in asked if one in held],
            dict.fromkeys([one for one in asked if one not in held], 0x0112),
        )
        self.report_later(association, report)
        return 0x0000

    def report(
        self, information: Dataset, association: Association, event_type: int | None = None
    ) -> None:
        """Send an N-EVENT-REPORT on an association, and record the answer."""
        if event_type is None:
            event_type = 2 if "FailedSOPSequence" in information else 1
        try:
            answer, _ = association.send_n_event_report(
                information, event_type, COMMITMENT, StorageCommitmentPushModelInstance
            )
            self.answers.append(answer.get("Status"))
        except (RuntimeError, ValueError):  # the association is over, or not for this
            self.answers.append(None)

    def report_later(self, association: Association, *reports: Dataset, delay_s: float = 0) -> None:
        """Send reports in the background, behind the answer to the request that they are about."""
        answered = self._answered[association]

        def report_all() -> None:
            # Or pynetdicom sends that answer between two parts of a report.
            while association.is_established and not answered.wait(0.01):
                pass
            for report in reports:
                self.report(report, association)

        self.later(report_all, delay_s)

    def later(self, job: Callable[[], None], delay_s: float = 0) -> None:
        """Do something in the background, unless the archive is closed before."""

        def run() -> None:
            if not self._is_closing.wait(delay_s):
                job()

        self._late.append(threading.Thread(target=run))
        self._late[-1].start()

    def _handlers(self) -> list[EventHandlerType]:
        return [
            *super()._handlers(),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_N_ACTION, self._commit),
            (evt.EVT_PDU_SENT, self._note_an_answer),
        ]

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        self.queries.append(event.identifier)
        for status, match in self.find(event.identifier):
            if self._is_answered(status, event.assoc):
                yield status, match

    def _commit(self, event: evt.Event) -> tuple[int, None]:
        self._answered[event.assoc] = threading.Event()
        self.requests.append(event.action_information)
        status = self.commit(event.action_information, event.assoc)
        self._is_answered(status, event.assoc)
        return status, None

    def _note_an_answer(self, event: evt.Event) -> None:
        """Note that what was asked has been answered: nothing else is sent meanwhile."""
        if isinstance(event.pdu, P_DATA_TF) and event.assoc in self._answered:
            self._answered[event.assoc].set()

    def _is_answered(self, status: int, association: Association) -> bool:
        if status == SILENCE:
            self._is_closing.wait()
        if status in (BREAK_OFF, SILENCE):
            association.abort()
        return status not in (BREAK_OFF, SILENCE)


def report_of(
    transaction_uid: str, committed: Iterable[str], failed: Mapping[str, int | None] | None = None
) -> Dataset:
    """Return the event information of a storage commitment report; `failed`: UID -> reason."""
    report = Dataset()
    report.TransactionUID = transaction_uid
    if listed := [_referenced(sop_uid) for sop_uid in committed]:
        report.ReferencedSOPSequence = listed
    if failed:
        report.FailedSOPSequence = [_referenced(sop_uid) for sop_uid in failed]
        for item, reason in zip(report.FailedSOPSequence, failed.values(), strict=True):
            if reason is not None:
                item.FailureReason = reason
    return report


class Console:
    """A modality that asks, and hears reports on a port of its own."""

    def __init__(self, port: int = 0) -> None:
        self.reports: list[Dataset] = []
        self.event_types: list[int | None] = []
        self.callers: list[str] = []
        self.answer = 0x0000
        self._ae = AE(MODALITY_AE)
        self._ae.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
        server = self._ae.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.hear)]
        )
        assert server is not None
        self.port = int(server.server_address[1])

    def hear(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append(event.event_information)
        self.event_types.append(event.event_type)
        self.callers.append(str(event.assoc.requestor.ae_title).strip())
        return self.answer, None

    def close(self) -> None:
        shut_down(self._ae)


def request_for(objects: Iterable[tuple[str, str]], transaction_uid: str = "2.25.4711") -> Dataset:
    """Return the action information of a storage commitment request for these classes and UIDs."""
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = []
    for sop_class, sop_uid in objects:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
        request.ReferencedSOPSequence.append(item)
    return request


def _referenced(sop_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = SecondaryCaptureImageStorage
    item.ReferencedSOPInstanceUID = sop_uid
    return item


def modality(**changes: object) -> config.Peer:
    """Return a peer that sends, from loopback."""
    settings: dict[str, object] = {
        "name": "modality",
        "ae_title": MODALITY_AE,
        "host": "127.0.0.1",
        "port": 104,
        "sends": True,
    }
    return config.Peer.model_validate(settings | changes)


def contexts_of(paths: Iterable[Path]) -> list[PresentationContext]:
    """Return one context for each (SOP class, transfer syntax) of the files."""
    metas = [read_file_meta_info(path) for path in paths]
    pairs = dict.fromkeys((m.MediaStorageSOPClassUID, m.TransferSyntaxUID) for m in metas)
    return [build_context(*pair) for pair in pairs]


@contextmanager
def association(
    port: int,
    contexts: list[PresentationContext],
    calling_ae: str = MODALITY_AE,
    called_ae: str = NODE_AE,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Iterator[Association]:
    """Ask for an association, and release it if it was had and is still there."""
    ae = AE(calling_ae)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    opened = ae.associate("127.0.0.1", port, contexts, ae_title=called_ae, ext_neg=list(roles))
    note_rejection(opened)
    try:
        yield opened
    finally:
        if opened.is_established:
            opened.release()


def store(port: int, paths: Sequence[Path], calling_ae: str = MODALITY_AE) -> list[int]:
    """Send files as they lie on disk over one association; return the status of each."""
    with association(port, contexts_of(paths), calling_ae) as opened:
        assert opened.is_established
        return [int(opened.send_c_store(path).Status) for path in paths]
