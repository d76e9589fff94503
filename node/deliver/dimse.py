"""A destination on the DICOM network: C-STORE, and before and after it C-FIND and commitment.

Before anything is sent, it is asked whose study it has. After it was accepted, it is asked to
answer for every object: by storage commitment, else by C-FIND, each if it offers that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydicom.uid import generate_uid

from node.config import Peer
from node.deliver.confirmation import Confirmation, Transaction
from node.deliver.destination import Parcel
from node.dicom.header import read_header
from node.dimse import (
    Address,
    Linger,
    Reference,
    StudyIdentity,
    find_instances,
    find_study,
    request_commitment,
    send_each,
)
from node.dimse.find import comparable_text
from node.errors import DeliveryError, Unsupported
from node.ledger import DeliveryState, Outcome

log = logging.getLogger(__name__)

_IDENTITY_WORDS = {
    "patient_id": "patient ID",
    "issuer_of_patient_id": "issuer of patient ID",
    "accession_number": "accession number",
}


@dataclass(frozen=True, slots=True)
class DimseDestination:
    """An application entity that takes results by C-STORE."""

    peer: Peer
    calling_ae: str
    commitment_wait_s: float

    def conflict(self, parcels: Sequence[Parcel]) -> str | None:
        """Return what its study of this UID has otherwise than ours, None if nothing."""
        if not self.peer.compares_identity:
            return None
        header = read_header(parcels[0].path)
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

    def send(self, parcels: Sequence[Parcel], before_each: Callable[[], None]) -> Iterator[Outcome]:
        """Store the objects over one association; yield each status it answers, in words."""
        uids = {parcel.path: parcel.sop_uid for parcel in parcels}
        lossless = self.peer.captures
        for sent in send_each(list(uids), self._address, self.calling_ae, before_each, lossless):
            yield Outcome(uids[sent.path], DeliveryState(sent.state), sent.words or None)

    def confirm(self, parcels: Sequence[Parcel], transaction: Transaction | None) -> Confirmation:
        """Ask for confirmation by the first way that it offers of those the peer is given."""
        ways = self.peer.confirm
        references = [_reference(parcel) for parcel in parcels] if ways else []
        for way in ways:
            try:
                if way == "find":
                    return self._look_up(references)
                if transaction is not None:
                    return self._ask_commitment(references, transaction)
            except Unsupported as reason:
                log.info("%s does not offer %s: %s", self.peer.name, way, reason)
        return Confirmation()

    def _ask_commitment(
        self, references: Sequence[Reference], transaction: Transaction
    ) -> Confirmation:
        transaction_uid = str(generate_uid(prefix=None))
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
            transaction.forget(transaction_uid)
            raise
        waits_for = f"waiting for the storage commitment report of {self.peer.name}"
        return Confirmation(waits_for=waits_for, wait_s=self.commitment_wait_s)

    def _look_up(self, references: Sequence[Reference]) -> Confirmation:
        found = find_instances(references, self._address, self.calling_ae)
        listed = [one.sop_uid for one in references if one.sop_uid in found]
        is_all = len(listed) == len(references)
        return Confirmation(
            tuple(
                Outcome(sop_uid, DeliveryState.CONFIRMED, confirmed_by="find") for sop_uid in listed
            ),
            None if is_all else f"waiting for {self.peer.name} to list all of them (C-FIND)",
        )

    @property
    def _address(self) -> Address:
        peer = self.peer
        return Address(peer.ae_title, peer.host, peer.port, peer.timeout_s)


def _reference(parcel: Parcel) -> Reference:
    header = read_header(parcel.path)
    return Reference(
        study_uid=str(header.StudyInstanceUID),
        series_uid=str(header.SeriesInstanceUID),
        sop_class=parcel.report.sop_class,
        sop_uid=parcel.sop_uid,
    )


def _differ(ours: StudyIdentity, found: Sequence[StudyIdentity], name: str) -> bool:
    """Return whether somebody else's is among them; what is not said contradicts nothing."""
    said = getattr(ours, name)
    return bool(said) and any(getattr(one, name) not in ("", said) for one in found)
