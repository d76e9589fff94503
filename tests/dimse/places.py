"""Where a test's archive is, and what objects it is asked about."""

from __future__ import annotations

import threading
from collections.abc import Callable

from peers import Pacs
from pydicom.uid import EnhancedSRStorage, SecondaryCaptureImageStorage

from node.dimse import Address, Reference

NODE = "AINODE"

REPORT = Reference("1.2.1", "1.2.1.1", EnhancedSRStorage, "1.2.1.1.1")
SUMMARY = Reference("1.2.1", "1.2.1.2", SecondaryCaptureImageStorage, "1.2.1.2.1")
MARKED = Reference("1.2.1", "1.2.1.2", SecondaryCaptureImageStorage, "1.2.1.2.2")
RESULTS = [REPORT, SUMMARY, MARKED]
UIDS = frozenset(result.sop_uid for result in RESULTS)


def address(pacs: Pacs, timeout_s: float = 20) -> Address:
    """Return where an archive listens; a busy machine may be silent for a while."""
    return Address(pacs.ae_title, "127.0.0.1", pacs.port, timeout_s)


def within(seconds: float, job: Callable[[], None]) -> None:
    """Do something that may never come back, and fail if it does not."""
    thread = threading.Thread(target=job, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"not done after {seconds:.0f} s"
