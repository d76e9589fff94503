"""How a report set is sent: what to tell the ledger of each object, and when to try again."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Sequence
from pathlib import Path

from node import config
from node.destinations import Address, send
from node.errors import DeliveryError
from node.files import Store
from node.ledger import BuiltReport, Outcome

log = logging.getLogger(__name__)


def address_of(peer: config.Peer) -> Address:
    """Return where a peer listens."""
    return Address(peer.ae_title, peer.host, peer.port, peer.timeout_s)


def delay_s(attempt: int, settings: config.Delivery) -> float:
    """Return how long to wait after a failed attempt: doubling, with a little jitter."""
    delay = settings.retry_first_s * 2.0 ** min(attempt - 1, 30)
    return min(delay, settings.retry_max_s) * random.uniform(0.9, 1.1)  # noqa: S311 - no secret


def send_reports(
    reports: Sequence[BuiltReport], peer: config.Peer, store: Store, calling_ae: str
) -> list[Outcome]:
    """Send a report set over one association; return an outcome for each object."""
    try:
        intact = [report for report in reports if _is_intact(report, store)]
        by_path = {store.path(report.path): report.sop_uid for report in intact}
        outcomes = [
            Outcome(by_path[sent.path], sent.state, sent.words or None)
            for sent in send(list(by_path), address_of(peer), calling_ae)
        ]
    except DeliveryError as error:
        log.warning("Delivery to %s: %s", peer.name, error)
        return [Outcome(report.sop_uid, "queued", str(error)) for report in reports]
    answered = {outcome.sop_uid for outcome in outcomes}
    return outcomes + [
        Outcome(report.sop_uid, "queued", "its file is missing or damaged in the store")
        for report in reports
        if report.sop_uid not in answered
    ]


def _is_intact(report: BuiltReport, store: Store) -> bool:
    """Compare with the digest of the ledger: what was recorded is sent, or nothing."""
    path: Path = store.path(report.path)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == report.digest
    except OSError:
        return False
