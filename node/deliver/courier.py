"""8 Deliver: how a report set gets to a destination, and how it is found to be kept there.

Before it is sent, the destination is asked whose study it has. After it was accepted, it is
asked to answer for every object: by storage commitment, else by C-FIND, each if it offers that.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydicom.uid import generate_uid

from node import config
from node.deliver.confirmation import Confirmation, Transaction, delay_s
from node.dicom.header import read_header
from node.dimse import (
    Address,
    Linger,
    Reference,
    SendOutcome,
    StudyIdentity,
    find_instances,
    find_study,
    request_commitment,
    send,
)
from node.dimse.find import comparable_text
from node.errors import DeliveryError, Superseded, Unsupported
from node.ledger import BuiltReport, Outcome, Patience, Shipment
from node.store import Store

log = logging.getLogger(__name__)


ASKS = 3
"""Requests for confirmation without result; before the last of them everything is sent again."""


_IDENTITY_WORDS = {
    "patient_id": "patient ID",
    "issuer_of_patient_id": "issuer of patient ID",
    "accession_number": "accession number",
}


@dataclass(frozen=True, slots=True)
class Courier:
    """Brings report sets to one destination."""

    peer: config.Peer
    store: Store
    calling_ae: str
    settings: config.Delivery

    def find_conflict(self, reports: Sequence[BuiltReport]) -> str | None:
        """Return why the reports do not belong where the destination would put them, or None.

        Raises DeliveryError if it should say so but does not.
        """
        if not self.peer.compares_identity:
            return None
        intact = next((report for report in reports if self._is_intact(report)), None)
        if intact is None:
            return None  # nothing will be sent, and `send` says why
        header = read_header(self.store.path(intact.path))
        try:
            found = find_study(str(header.StudyInstanceUID), self._address, self.calling_ae)
        except Unsupported:
            return None
        except DeliveryError as error:
            # Where it cannot be reached at all, to do without the answer would help nobody.
            hint = " (compares_identity = false does without)" if "C-FIND" in str(error) else ""
            raise DeliveryError(
                f"{error}; nothing is sent before it says whose study it has{hint}"
            ) from error
        ours = StudyIdentity(
            comparable_text(header, "PatientID"),
            comparable_text(header, "IssuerOfPatientID"),
            comparable_text(header, "AccessionNumber"),
        )
        words = [words for name, words in _IDENTITY_WORDS.items() if _differ(ours, found, name)]
        return f"{self.peer.name} has it under another {', '.join(words)}" if words else None

    def send(
        self, reports: Sequence[BuiltReport], require_current: Callable[[], None]
    ) -> list[Outcome]:
        """Send a report set over one association; return an outcome for each object.

        Sends nothing more once `require_current`, asked right before each, raises Superseded.
        """
        outcomes: list[Outcome] = []
        by_path = {self.store.path(r.path): r.sop_uid for r in reports if self._is_intact(r)}
        reason = "its file is missing or damaged in the store"

        def on_sent(sent: SendOutcome) -> None:
            outcomes.append(Outcome(by_path[sent.path], sent.state, sent.words or None))

        try:
            send(list(by_path), self._address, self.calling_ae, on_sent, require_current)
        except (DeliveryError, Superseded) as error:
            log.warning("Delivery to %s: %s", self.peer.name, error)
            reason = str(error)
        answered = {outcome.sop_uid for outcome in outcomes}
        left = (report.sop_uid for report in reports if report.sop_uid not in answered)
        return outcomes + [Outcome(sop_uid, "queued", reason) for sop_uid in left]

    def confirm(
        self, shipment: Shipment, transaction: Transaction, attempt: int, *, has_just_sent: bool
    ) -> Confirmation:
        """Find out whether the destination keeps what it accepted, by the first way it offers."""
        retry_s = delay_s(attempt, self.settings)
        ways = {"commitment": self._ask_commitment, "find": self._look_up}
        try:
            if shipment.asks >= ASKS:
                return self._look_up_at_last(shipment, retry_s)
            if shipment.asks == ASKS - 1 and not has_just_sent:
                return self._send_again(shipment, retry_s)
            for way in self.peer.confirm:
                try:
                    return ways[way](shipment, transaction, retry_s)
                except Unsupported as reason:
                    log.info("%s does not offer %s: %s", self.peer.name, way, reason)
        except DeliveryError as error:
            return Confirmation(Patience(retry_s, retry_s, waits_for=str(error)))
        return Confirmation(Patience(retry_s))

    def _ask_commitment(
        self, shipment: Shipment, transaction: Transaction, retry_s: float
    ) -> Confirmation:
        transaction_uid = str(generate_uid(prefix=None))
        references = [self._reference(report) for report in shipment.to_confirm]
        transaction.ask(transaction_uid)
        try:
            request_commitment(
                transaction_uid,
                references,
                self._address,
                self.calling_ae,
                transaction.record,
                Linger(is_over=lambda: transaction.is_answered(transaction_uid)),
            )
        except Unsupported:
            transaction.withdraw(transaction_uid)
            raise
        waits_for = f"waiting for the storage commitment report of {self.peer.name}"
        wait_s = self.settings.commitment_wait_s
        return Confirmation(Patience(retry_s, wait_s, waits_for, has_asked=True))

    def _look_up(
        self, shipment: Shipment, transaction: Transaction, retry_s: float
    ) -> Confirmation:
        outcomes = self._listed(shipment)
        is_all = len(outcomes) == len(shipment.to_confirm)
        waits_for = None if is_all else f"waiting for {self.peer.name} to list all of them (C-FIND)"
        patience = Patience(retry_s, retry_s, waits_for, has_asked=not is_all)
        return Confirmation(patience, outcomes)

    def _look_up_at_last(self, shipment: Shipment, retry_s: float) -> Confirmation:
        """Give up what cannot even be found, visibly."""
        outcomes = []
        if "find" in self.peer.confirm:
            with contextlib.suppress(Unsupported):
                outcomes = self._listed(shipment)
        words = f"{self.peer.name} accepted it, but was asked {ASKS} times and never confirmed it"
        return Confirmation(Patience(retry_s, gives_up=words), outcomes)

    def _send_again(self, shipment: Shipment, retry_s: float) -> Confirmation:
        words = f"{self.peer.name} accepted it, but does not confirm it: sent again"
        again = [Outcome(report.sop_uid, "queued", words) for report in shipment.to_confirm]
        return Confirmation(Patience(retry_s), again)

    def _listed(self, shipment: Shipment) -> list[Outcome]:
        references = [self._reference(report) for report in shipment.to_confirm]
        found = find_instances(references, self._address, self.calling_ae)
        return [Outcome(one.sop_uid, "confirmed") for one in references if one.sop_uid in found]

    def _reference(self, report: BuiltReport) -> Reference:
        header = read_header(self.store.path(report.path))
        return Reference(
            study_uid=str(header.StudyInstanceUID),
            series_uid=str(header.SeriesInstanceUID),
            sop_class=report.sop_class,
            sop_uid=report.sop_uid,
        )

    def _is_intact(self, report: BuiltReport) -> bool:
        """Compare with the digest of the ledger: what was recorded is sent, or nothing."""
        try:
            content = self.store.path(report.path).read_bytes()
        except OSError:
            return False
        return hashlib.sha256(content).hexdigest() == report.digest

    @property
    def _address(self) -> Address:
        peer = self.peer
        return Address(peer.ae_title, peer.host, peer.port, peer.timeout_s)


def _differ(ours: StudyIdentity, found: Sequence[StudyIdentity], name: str) -> bool:
    """Return whether somebody else's is among them; what is not said contradicts nothing."""
    said = getattr(ours, name)
    return bool(said) and any(getattr(one, name) not in ("", said) for one in found)
