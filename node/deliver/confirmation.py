"""Whether a destination keeps what it accepted: what is asked, recorded and waited for."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Protocol

from node import config
from node.dimse import CommitmentReport
from node.ledger import Outcome


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a request that may be answered hours later needs of the ledger."""

    ask: Callable[[str], None]
    """Records a transaction UID, before it is used."""
    forget: Callable[[str], None]
    """Takes that back: the destination does not offer this."""
    record: Callable[[CommitmentReport], bool]
    """Records what the destination answered."""
    is_answered: Callable[[str], bool]
    """Says whether that has happened, wherever the answer came."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a destination was found to keep of what it has accepted, and what is to come."""

    outcomes: tuple[Outcome, ...] = ()
    """Confirmed, or queued if it has lost one, which is sent again."""
    waits_for: str | None = None
    """What is to come before the others count as delivered; None if nothing is: there are none,
    or it does not say what it keeps."""
    wait_s: float | None = None
    """How long to wait for that before asking again; None: as long as after a failed attempt."""


def delay_s(attempt: int, settings: config.Delivery) -> float:
    """Return how long to wait after a failed attempt: doubling, with a little jitter."""
    delay = settings.retry_first_s * 2.0 ** min(attempt - 1, 30)
    return min(delay, settings.retry_max_s) * random.uniform(0.9, 1.1)  # noqa: S311 - no secret


class Commitments(Protocol):
    """Where storage commitment reports are waited for, and recorded."""

    def awaits_report(self, destination: str) -> bool:
        """Return whether a destination that was asked has still to say what it keeps."""

    def record_commitment(
        self,
        transaction_uid: str,
        committed: Set[str],
        failed: Mapping[str, str],
        retry_s: Callable[[int], float],
    ) -> bool:
        """Record one; return whether it answers a request of ours."""


def record_commitment(
    commitments: Commitments, report: CommitmentReport, settings: config.Delivery
) -> bool:
    """Record a storage commitment report; return whether it answers a request of ours."""
    return commitments.record_commitment(
        report.transaction_uid,
        report.committed,
        report.failed,
        lambda attempt: delay_s(attempt, settings),
    )
