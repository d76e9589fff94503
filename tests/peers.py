"""The other systems of a test: a PACS that records, a modality that sends; real DICOM, loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import cast

import pytest
from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info
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
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node import config

MODALITY_AE = "MODALITY"
NODE_AE = "AINODE"

BREAK_OFF = 0xFFFF
"""Instead of a status: abort the association."""

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


class Pacs:
    """A storage SCP that records every object, and answers as told."""

    def __init__(
        self,
        ae_title: str = "PACS",
        *,
        syntaxes: Sequence[str] = tuple(DEFAULT_TRANSFER_SYNTAXES),
        sop_classes: Iterable[str] | None = None,
        knows: Sequence[str] = (),
    ) -> None:
        self.ae_title = ae_title
        self.received: list[Received] = []
        self.answer: Callable[[Received], int] = lambda received: 0x0000
        self.associations = 0
        self._ae = AE(ae_title)
        every = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
        for sop_class in every if sop_classes is None else sop_classes:
            self._ae.add_supported_context(sop_class, list(syntaxes))
        self._ae.add_supported_context(Verification)
        self._ae.require_calling_aet = list(knows)
        server = self._ae.start_server(
            ("127.0.0.1", 0),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._record), (evt.EVT_ACCEPTED, self._count)],
        )
        assert server is not None
        self._server = server
        self.port = int(server.server_address[1])

    def forget(self) -> None:
        """Be as new."""
        self.received.clear()
        self.associations = 0
        self.answer = lambda received: 0x0000

    def stop_accepting(self) -> None:
        """Let open associations go on, and nobody else in."""
        self._server.shutdown()

    def close(self) -> None:
        self._ae.shutdown()

    def peer(self, name: str) -> config.Peer:
        """Return the PACS as a destination."""
        return config.Peer(
            name=name,
            ae_title=self.ae_title,
            host="127.0.0.1",
            port=self.port,
            receives="default",
            timeout_s=30,  # a busy machine may be silent for a while
        )

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
) -> Iterator[Association]:
    """Ask for an association, and release it if it was had and is still there."""
    ae = AE(calling_ae)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    opened = ae.associate("127.0.0.1", port, contexts, ae_title=called_ae)
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
