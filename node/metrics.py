"""What the node counts as it works, for Prometheus: in a registry of its own.

No patient data, and labels of few values: names that the configuration gives to peers and models,
and words of the enumerations here. Whoever counts something does so when it is so: after the
commit.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

# A second series beside each, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)


class NotKept(StrEnum):
    """Why an object that came was refused."""

    DAMAGED = "damaged"
    NO_ROOM = "no room"
    DISK = "disk"
    DATABASE = "database"
    MAY_NOT_SEND = "may not send"
    """The peer has no `sends = true`."""
    DEFECT = "defect"
    """Of ours; the log says more."""


class NotLetIn(StrEnum):
    """Why an association was rejected, or a connection was closed before there was one."""

    UNKNOWN_CALLER = "unknown caller"
    OTHER_CALLED = "other AE called"
    TOO_MANY = "too many associations"
    OTHER_PROTOCOL = "not DICOM"
    NOTHING_SAID = "nothing said"


class DeliveryOutcome(StrEnum):
    """How an attempt at a delivery ended."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """It is tried again."""
    GIVEN_UP = "given up"
    HELD = "held"
    """The destination knows the study as somebody else's."""


_PREFIX = "ai_node"
_OF_PEER = ("peer",)

_received = Counter(
    "objects_received",
    "Objects that are kept, also those that came again.",
    _OF_PEER,
    namespace=_PREFIX,
    registry=REGISTRY,
)
_received_bytes = Counter(
    "received_bytes", "Of these objects.", _OF_PEER, namespace=_PREFIX, registry=REGISTRY
)
_refused = Counter(
    "objects_refused",
    "Objects that were not taken: their senders were told so.",
    ("peer", "reason"),
    namespace=_PREFIX,
    registry=REGISTRY,
)
_open = Gauge(
    "associations_open", "Associations of peers, now.", namespace=_PREFIX, registry=REGISTRY
)
_accepted = Counter(
    "associations_accepted", "Associations.", _OF_PEER, namespace=_PREFIX, registry=REGISTRY
)
_rejected = Counter(
    "associations_rejected",
    "Associations rejected, and connections closed without one.",
    ("reason",),
    namespace=_PREFIX,
    registry=REGISTRY,
)
_inference = Histogram(
    "inference_seconds",
    "What a model takes for what it reads at once, decoding included.",
    ("model", "version"),
    buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120),
    namespace=_PREFIX,
    registry=REGISTRY,
)
_deliveries = Counter(
    "deliveries",
    "Attempts at deliveries: of the results of a study to a destination.",
    ("destination", "outcome"),
    namespace=_PREFIX,
    registry=REGISTRY,
)
_delivered = Histogram(
    "delivered_seconds",
    "From a study's last image until its last result was stored at a destination.",
    ("destination",),
    buckets=(5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 1800, 3600, 14_400, 86_400),
    namespace=_PREFIX,
    registry=REGISTRY,
)


def prepare_metrics(
    senders: Iterable[str], destinations: Iterable[str], models: Iterable[tuple[str, str]]
) -> None:
    """Let there be a zero of all that has not happened yet: an alert needs the step from it.

    Models are names with versions.
    """
    for sender in senders:
        for counter in (_received, _received_bytes, _accepted):
            counter.labels(sender)
        for reason in NotKept:
            _refused.labels(sender, reason)
    for not_let_in in NotLetIn:
        _rejected.labels(not_let_in)
    for destination in destinations:
        _delivered.labels(destination)
        for outcome in DeliveryOutcome:
            _deliveries.labels(destination, outcome)
    for model, version in models:
        _inference.labels(model, version)


def count_received(peer: str, size: int) -> None:
    """Count an object that is kept; its size in bytes."""
    _received.labels(peer).inc()
    _received_bytes.labels(peer).inc(size)


def count_not_taken(peer: str, reason: NotKept) -> None:
    """Count an object that was refused."""
    _refused.labels(peer, reason).inc()


def count_admitted(peer: str) -> None:
    """Count an association that begins."""
    _accepted.labels(peer).inc()
    _open.inc()


def count_left() -> None:
    """Count that an association has ended."""
    _open.dec()


def count_not_let_in(reason: NotLetIn) -> None:
    """Count somebody who was turned away."""
    _rejected.labels(reason).inc()


def observe_inference(model: str, version: str, seconds: float) -> None:
    """Note how long a model took for what it reads at once."""
    _inference.labels(model, version).observe(seconds)


def count_attempt(destination: str, outcome: DeliveryOutcome, after_s: float | None) -> None:
    """Count the end of an attempt at a delivery; how long after the last image it was stored."""
    _deliveries.labels(destination, outcome).inc()
    if after_s is not None:
        _delivered.labels(destination).observe(after_s)
