"""What every destination of results can do, whatever is spoken with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from node.deliver.confirmation import Confirmation, Transaction
from node.ledger import BuiltReport, Outcome


@dataclass(frozen=True, slots=True)
class Parcel:
    """A result object on its way."""

    report: BuiltReport
    path: Path
    """Where its bytes lie."""

    @property
    def sop_uid(self) -> str:
        """Its SOP Instance UID."""
        return self.report.sop_uid


class Destination(Protocol):
    """Where results of studies go. All parcels of one call are of one study.

    DeliveryError means: try again later, for the reason it gives.
    """

    def conflict(self, parcels: Sequence[Parcel]) -> str | None:
        """Return why the parcels do not belong where they would be put, None if they do.

        Raises DeliveryError if the destination should say so and does not.
        """
        ...

    def send(self, parcels: Sequence[Parcel], before_each: Callable[[], None]) -> Iterator[Outcome]:
        """Yield what is said of each object once it is: sent, refused for good, or queued.

        What `before_each`, called right before each is sent, raises ends it there, and so does
        DeliveryError; what nothing was said of by then stays queued.
        """
        ...

    def confirm(self, parcels: Sequence[Parcel], transaction: Transaction | None) -> Confirmation:
        """Find out which of the objects that were accepted are kept.

        Without a transaction, only what can be found out at once: no answer would be waited for.
        """
        ...
