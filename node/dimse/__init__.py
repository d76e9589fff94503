"""What the node asks of another application entity: to keep objects, and to say that it does.

`send` and `send_each` are C-STORE, `request_commitment` Storage Commitment, `find_study` and
`find_instances` are C-FIND, `get_objects` and `move_objects` ask back, and `accepted_kinds` only
asks what it would take. Each call is one exchange over associations of its own; who calls
decides what follows. DeliveryError means: try again later; Unsupported: not with this destination.
"""

from node.dimse.association import NOT_DEFLATED, echo
from node.dimse.commitment import (
    CommitmentReport,
    Linger,
    read_commitment_report,
    request_commitment,
)
from node.dimse.find import StudyIdentity, find_instances, find_study
from node.dimse.probe import CONFIRMING, accepted_kinds
from node.dimse.reference import Reference
from node.dimse.refusal import Address, ConnectionRefused, Rejected, TimedOut
from node.dimse.retrieve import (
    RETRIEVING,
    Bounds,
    Keep,
    Retrieval,
    Retrieved,
    WantedObject,
    get_objects,
    move_objects,
)
from node.dimse.store import SendOutcome, send, send_each

__all__ = [
    "CONFIRMING",
    "NOT_DEFLATED",
    "RETRIEVING",
    "Address",
    "Bounds",
    "CommitmentReport",
    "ConnectionRefused",
    "Keep",
    "Linger",
    "Reference",
    "Rejected",
    "Retrieval",
    "Retrieved",
    "SendOutcome",
    "StudyIdentity",
    "TimedOut",
    "WantedObject",
    "accepted_kinds",
    "echo",
    "find_instances",
    "find_study",
    "get_objects",
    "move_objects",
    "read_commitment_report",
    "request_commitment",
    "send",
    "send_each",
]
