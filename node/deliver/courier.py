"""8 Deliver: how a report set gets to a destination, and how it is found to be kept there.

What is the same for every destination: only what is as it was recorded leaves, each object has an
outcome, and what was accepted is asked for a few times and then given up, visibly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from node import config
from node.deliver.confirmation import Confirmation, Transaction, delay_s
from node.deliver.destination import Destination, Parcel
from node.errors import DeliveryError, Superseded
from node.ledger import BuiltReport, DeliveryState, Outcome, Patience, Shipment
from node.store import Store

ASKS = 3
"""Requests for confirmation without result; before the last of them everything is sent again."""


@dataclass(frozen=True, slots=True)
class Sending:
    """What became of objects that were to be sent."""

    outcomes: Sequence[Outcome]
    is_unreached: bool
    """None was given to the destination: it is away, lets nobody in, or says nothing."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt at a delivery ends: what became of each object, and when the next follows."""

    patience: Patience
    outcomes: Sequence[Outcome] = field(default_factory=tuple)
    trouble: str | None = None
    """What did not go as it should while it was to be confirmed; None if nothing."""
    has_taken: bool = False
    """The destination has taken or confirmed an object: it is there."""


@dataclass(frozen=True, slots=True)
class Courier:
    """Brings report sets to one destination."""

    name: str
    """The destination's, for people to read."""
    destination: Destination
    store: Store
    settings: config.Delivery

    def find_conflict(self, reports: Sequence[BuiltReport]) -> str | None:
        """Return why the reports do not belong where the destination would put them, or None.

        Raises DeliveryError if it should say so but does not.
        """
        parcels = map(self._parcel, reports)
        intact = next(filter(_is_intact, parcels), None)  # all say alike whose they are
        # Where none is, `send` says why.
        return None if intact is None else self.destination.conflict([intact])

    def send(self, reports: Sequence[BuiltReport], require_current: Callable[[], None]) -> Sending:
        """Send a report set; return with an outcome for each object.

        Sends nothing more once `require_current`, asked right before each, raises Superseded.
        """
        outcomes: list[Outcome] = []
        reason = "its file is missing or damaged in the store"
        is_unreached = False
        try:
            if intact := self._intact(reports):
                for outcome in self.destination.send(intact, require_current):
                    outcomes.append(outcome)
        except (DeliveryError, Superseded) as error:
            reason = str(error)
            is_unreached = isinstance(error, DeliveryError) and not outcomes
        answered = {outcome.sop_uid for outcome in outcomes}
        left = (report.sop_uid for report in reports if report.sop_uid not in answered)
        outcomes += [Outcome(sop_uid, DeliveryState.QUEUED, reason) for sop_uid in left]
        return Sending(outcomes, is_unreached)

    def lost(self, reports: Sequence[BuiltReport]) -> tuple[BuiltReport, ...]:
        """Return those whose files are not in the store, or not as they were written.

        None of them if the store itself is away.
        """
        lost = tuple(report for report in reports if not _is_intact(self._parcel(report)))
        return lost if lost and self.store.is_there() else ()

    def confirm(
        self, shipment: Shipment, transaction: Transaction, attempt: int, *, has_just_sent: bool
    ) -> Ending:
        """Find out whether the destination keeps what it accepted; in the end, give that up."""
        retry_s = delay_s(attempt, self.settings)
        if shipment.asks == ASKS - 1 and not has_just_sent:
            return self._send_again(shipment, retry_s)
        is_over = shipment.asks >= ASKS
        parcels = [self._parcel(report) for report in shipment.to_confirm]
        there = [parcel for parcel in parcels if parcel.path.exists()]
        if len(there) < len(parcels) and self.store.is_there():
            gone, *_ = (parcel for parcel in parcels if parcel not in there)
            words = f"the file {gone.report.path} is missing in the store"
            lost = Patience(retry_s, gives_up=f"{self.name} accepted it, unconfirmed: {words}")
            found = self.destination.confirm(there, None) if there else Confirmation()
            return Ending(lost, found.outcomes, trouble=words)
        try:
            found = self.destination.confirm(parcels, None if is_over else transaction)
        except DeliveryError as error:
            away = Patience(retry_s, retry_s, waits_for=str(error), is_unreached=not has_just_sent)
            return Ending(away, trouble=str(error))
        if is_over:
            words = f"{self.name} accepted it, but was asked {ASKS} times and never confirmed it"
            return Ending(Patience(retry_s, gives_up=words), found.outcomes)
        wait_s = retry_s if found.wait_s is None else found.wait_s
        has_asked = found.waits_for is not None
        patience = Patience(retry_s, wait_s, found.waits_for, has_asked=has_asked)
        return Ending(patience, found.outcomes)

    def _send_again(self, shipment: Shipment, retry_s: float) -> Ending:
        words = f"{self.name} accepted it, but does not confirm it: sent again"
        again = [
            Outcome(report.sop_uid, DeliveryState.QUEUED, words) for report in shipment.to_confirm
        ]
        return Ending(Patience(retry_s), again, trouble=words)

    def _parcel(self, report: BuiltReport) -> Parcel:
        return Parcel(report, self.store.path(report.path))

    def _intact(self, reports: Sequence[BuiltReport]) -> list[Parcel]:
        """Return those as the ledger has them: what was recorded is sent, or nothing."""
        return [parcel for parcel in map(self._parcel, reports) if _is_intact(parcel)]


def _is_intact(parcel: Parcel) -> bool:
    try:
        content = parcel.path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content).hexdigest() == parcel.report.digest
