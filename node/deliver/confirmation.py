"""Whether a destination keeps what it accepted: what is asked, recorded and waited for."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from node import config
from node.dimse import CommitmentReport
from node.ledger import Ledger, Outcome, Patience


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a request for storage commitment needs of the ledger."""

    ask: Callable[[str], None]
    """Records a transaction UID, before it is used."""
    withdraw: Callable[[str], None]
    """Takes that back: the destination does not offer this."""
    record: Callable[[CommitmentReport], bool]
    """Records what the destination answered."""
    is_answered: Callable[[str], bool]
    """Says whether that has happened, wherever the answer came."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What was found out about objects a destination has accepted, and what to wait for."""

    patience: Patience
    outcomes: list[Outcome] = field(default_factory=list)


def delay_s(attempt: int, settings: config.Delivery) -> float:
    """Return how long to wait after a failed attempt: doubling, with a little jitter."""
    delay = settings.retry_first_s * 2.0 ** min(attempt - 1, 30)
    return min(delay, settings.retry_max_s) * random.uniform(0.9, 1.1)  # noqa: S311 - no secret


def record_commitment(ledger: Ledger, report: CommitmentReport, settings: config.Delivery) -> bool:
    """Record a storage commitment report; return whether it answers a request of ours."""
    return ledger.record_commitment(
        report.transaction_uid,
        report.committed,
        report.failed,
        lambda attempt: delay_s(attempt, settings),
    )
