"""The receiving PACS of the demonstration: keeps what it is sent, and reads every object back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import cast

from pydicom import Dataset, dcmread
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from node.dimse.status import CANNOT_UNDERSTAND, SUCCESS

log = logging.getLogger(__name__)

AE_TITLE = "DEMO_PACS"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as it lies on the PACS's disk."""

    path: Path
    study_uid: str
    stored_at: float
    """Epoch seconds."""

    def read(self) -> Dataset:
        """Read the object back from disk."""
        return dcmread(self.path)


class Pacs:
    """A storage SCP on loopback, on a free port if none is given; use it in a `with` statement.

    It takes what is not compressed, and captures in the transfer syntaxes of `captures_in`, too.
    """

    def __init__(self, folder: Path, port: int = 0, captures_in: Sequence[str] = ()) -> None:
        self.folder = folder
        self._wanted_port = port
        self._kept: dict[str, StoredObject] = {}
        self._lock = threading.Lock()
        self._ae = AE(ae_title=AE_TITLE)
        self._ae.supported_contexts = AllStoragePresentationContexts
        if captures_in:
            self._ae.add_supported_context(SecondaryCaptureImageStorage, list(captures_in))
        self._ae.add_supported_context(Verification)
        self._server: ThreadedAssociationServer | None = None

    def __enter__(self) -> Pacs:
        self._server = self._ae.start_server(
            ("127.0.0.1", self._wanted_port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._keep)],
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._ae.shutdown()

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None, "the PACS is not started"
        return int(self._server.server_address[1])

    @property
    def kept(self) -> Mapping[str, StoredObject]:
        """Everything received until now, by SOP Instance UID."""
        with self._lock:
            return dict(self._kept)

    def _keep(self, event: evt.Event) -> int:
        try:
            # pynetdicom streams to a file where the node, in the same process, asks for it.
            streamed = cast("Path | None", event.dataset_path)
            sop_uid, kept = self._write(
                streamed.read_bytes() if streamed else event.encoded_dataset()
            )
        except Exception:
            log.exception("the demo PACS could not keep an object")
            return CANNOT_UNDERSTAND
        with self._lock:
            self._kept[sop_uid] = kept
        return SUCCESS

    def _write(self, part_10: bytes) -> tuple[str, StoredObject]:
        header = dcmread(BytesIO(part_10), stop_before_pixels=True)
        study_uid, sop_uid = str(header.StudyInstanceUID), str(header.SOPInstanceUID)
        path = self.folder / study_uid / f"{header.Modality}.{sop_uid}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{threading.get_ident()}")
        temporary.write_bytes(part_10)
        temporary.rename(path)
        return sop_uid, StoredObject(path, study_uid, time.time())
