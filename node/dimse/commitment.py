"""Storage Commitment Push Model: ask a destination to answer for objects (PS3.4 J).

It says later, in an N-EVENT-REPORT, for which of them it does: on the association of the
request, or hours later on one that it opens. Both reports are read here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from node.dicom.untrusted import failing_as, quietly, text
from node.dimse.association import offered
from node.dimse.reference import Reference
from node.dimse.refusal import Address
from node.dimse.status import PROCESSING_FAILURE, SUCCESS
from node.errors import DeliveryError, Unreadable, Unsupported

log = logging.getLogger(__name__)

REQUEST = 1
"""Action Type ID (PS3.4 J.3.2)."""
COMPLETE, FAILURES_EXIST = 1, 2
"""Event Type IDs (PS3.4 J.3.3)."""
_LOOK_EVERY_S = 0.1
_NOT_OFFERED = {
    0x0112: "no such SOP instance",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0122: "SOP class not supported",
    0x0123: "no such action",
    0x0124: "not authorised",
    0x0211: "unrecognised operation",
}
"""PS3.7 C.5: asking again would not help."""
_FAILURE_REASONS = {
    0x0110: "processing failure",
    0x0112: "no such object",
    0x0119: "class and instance do not match",
    0x0122: "SOP class not supported",
    0x0131: "duplicate transaction UID",
    0x0213: "resource limitation",
}
"""Failure Reason (0008,1197), PS3.3 C.14.1.1."""


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """For which objects a destination answers, and for which it does not."""

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, str]
    """SOP Instance UID -> why, in words."""


@dataclass(frozen=True, slots=True)
class Linger:
    """How long to keep the association of a request open for the report on it."""

    seconds: float = 3.0
    is_over: Callable[[], bool] = bool
    """Says that the report came another way: on an association that the destination opened."""


def request_commitment(
    transaction_uid: str,
    references: Sequence[Reference],
    to: Address,
    calling_ae: str,
    on_report: Callable[[CommitmentReport], bool],
    linger: Linger = Linger(),
) -> None:
    """Ask a destination to answer for objects; return once it has taken the request.

    Its report may come while we linger for it; `on_report` gets it, in another thread, and says
    whether it was kept: if not, the destination is told so and may repeat it. A report on
    another transaction is handed over, too, and one may come before the request is answered.

    Raises Unsupported if it does not offer this to us, DeliveryError if it does not take it.
    """
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = [_item(reference) for reference in references]
    reports = _Reports(transaction_uid, on_report)
    try:
        with offered(StorageCommitmentPushModel, to, calling_ae, reports.handlers()) as association:
            _ask(association, request, to, reports)
            reports.wait(linger)
            reports.close()
    finally:
        reports.close()
        reports.let_go()


def read_commitment_report(event_type: int | None, information: Dataset) -> CommitmentReport:
    """Read an N-EVENT-REPORT of Storage Commitment; raise Unreadable if it makes no sense.

    An object in both of its lists has failed; one in neither is the caller's to notice.
    """
    with quietly(), failing_as("a storage commitment report that cannot be read"):
        return _read(event_type, information)


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class
    item.ReferencedSOPInstanceUID = reference.sop_uid
    return item


def _ask(association: Association, request: Dataset, to: Address, reports: _Reports) -> None:
    try:
        answer, _ = association.send_n_action(
            request, REQUEST, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    except (RuntimeError, ValueError) as error:
        raise DeliveryError(f"{to.ae_title} ended the association") from error
    status = getattr(answer, "Status", None)
    if status == SUCCESS or (status is None and reports.is_answered):
        return
    if status is None:
        raise DeliveryError(f"{to.ae_title} gave no answer to a storage commitment request")
    words = f"{to.ae_title} answered a storage commitment request with 0x{status:04X}"
    if status in _NOT_OFFERED:
        raise Unsupported(f"{words} ({_NOT_OFFERED[status]})")
    raise DeliveryError(words)


class _Reports:
    """What is reported on the association of the request.

    pynetdicom serves each report in a thread of its own, and at its end takes back the sign that
    its loop is paused. Whoever releases the association meanwhile may wait for that sign for
    ever: so these threads end before the release, or are held until after it.
    """

    def __init__(self, transaction_uid: str, on_report: Callable[[CommitmentReport], bool]) -> None:
        self.is_answered = False
        """A report on our own transaction came."""
        self._transaction_uid = transaction_uid
        self._on_report = on_report
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self._nothing_to_wait_for = threading.Event()
        self._is_over = threading.Event()

    def handlers(self) -> list[EventHandlerType]:
        """Return what pynetdicom is to call."""
        return [
            (evt.EVT_N_EVENT_REPORT, self._take),
            (evt.EVT_ABORTED, self._stop_waiting),
            (evt.EVT_RELEASED, self._stop_waiting),
        ]

    def wait(self, linger: Linger) -> None:
        """Wait for the report on our transaction, or for the end of the association."""
        give_up_at = time.monotonic() + linger.seconds
        while time.monotonic() < give_up_at and not linger.is_over():
            if self._nothing_to_wait_for.wait(min(_LOOK_EVERY_S, linger.seconds)):
                return

    def close(self) -> None:
        """Take no further report, and wait until those that came have been answered."""
        with self._lock:
            self._is_closed = True
        for thread in self._threads:
            thread.join()

    def let_go(self) -> None:
        """Say that the association is over."""
        self._is_over.set()

    def _stop_waiting(self, event: Event) -> None:
        self._nothing_to_wait_for.set()

    def _take(self, event: Event) -> tuple[int, None]:
        with self._lock:
            is_late = self._is_closed
            if not is_late:
                self._threads.append(threading.current_thread())
        if is_late:
            self._is_over.wait()  # nobody hears the answer: the destination reports again
            return PROCESSING_FAILURE, None
        try:
            report = read_commitment_report(event.event_type, event.event_information)
        except Exception:  # whatever it was, the destination must get an answer
            log.exception("A storage commitment report cannot be read")
            return PROCESSING_FAILURE, None
        if report.transaction_uid == self._transaction_uid:
            self.is_answered = True
        is_kept = self._hand_over(report)
        if report.transaction_uid == self._transaction_uid:
            self._nothing_to_wait_for.set()
        return (SUCCESS if is_kept else PROCESSING_FAILURE), None

    def _hand_over(self, report: CommitmentReport) -> bool:
        try:
            return self._on_report(report)
        except Exception:  # the destination must get an answer, and may report again
            log.exception("A storage commitment report was not kept")
            return False


def _read(event_type: int | None, information: Dataset) -> CommitmentReport:
    transaction_uid = text(information, "TransactionUID")
    if not transaction_uid:
        raise Unreadable("a storage commitment report without Transaction UID")
    if event_type not in (COMPLETE, FAILURES_EXIST):
        raise Unreadable(f"a storage commitment report of the unknown event type {event_type}")
    failed = {_sop_uid(item): _reason(item) for item in information.get("FailedSOPSequence") or ()}
    listed = {_sop_uid(item) for item in information.get("ReferencedSOPSequence") or ()}
    if not failed and not listed:
        raise Unreadable("a storage commitment report that names no object")
    return CommitmentReport(transaction_uid, frozenset(listed - failed.keys()), failed)


def _sop_uid(item: Dataset) -> str:
    sop_uid = text(item, "ReferencedSOPInstanceUID")
    if not sop_uid:
        raise Unreadable("a storage commitment report with an object that has no UID")
    return sop_uid


def _reason(item: Dataset) -> str:
    code = item.get("FailureReason")
    if code is None:
        return "no reason given"
    return _FAILURE_REASONS.get(code, f"reason 0x{code:04X}")
