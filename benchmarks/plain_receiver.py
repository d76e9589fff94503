"""Receives with pynetdicom, writes each object as it came and syncs it: nothing else.

.venv/bin/python benchmarks/plain_receiver.py PORT
"""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event

_SUCCESS = 0x0000


def main() -> None:
    """Receive into the working directory until killed."""
    ae = AE("RECEIVER")
    ae.maximum_pdu_size = 131_072
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = None
    for context in AllStoragePresentationContexts:
        assert context.abstract_syntax is not None
        ae.add_supported_context(context.abstract_syntax, AllTransferSyntaxes)
    ae.start_server(("127.0.0.1", int(sys.argv[1])), evt_handlers=[(evt.EVT_C_STORE, keep)])


def keep(event: Event) -> int:
    """Write an object into a file of its own."""
    with Path(f"{uuid.uuid4()}.dcm").open("wb") as file:
        file.write(event.encoded_dataset())
        file.flush()
        os.fsync(file.fileno())
    return _SUCCESS


if __name__ == "__main__":
    main()
