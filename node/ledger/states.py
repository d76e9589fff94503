"""The words that a row's state may be; the database allows these, and no others.

The states of queue entries are the queue library's, and known to `flow.engine` alone.
"""

from __future__ import annotations

from enum import StrEnum


class StudyState(StrEnum):
    """Whether more is waited for."""

    RECEIVING = "receiving"
    CLOSED = "closed"
    """As a version; or nothing has come that says anything."""


class InstanceState(StrEnum):
    """Whether an object takes part in its study."""

    CURRENT = "current"
    WITHDRAWN = "withdrawn"
    """An IOCM rejection note says that it must not be used."""
    OWN = "own"
    """We made it."""


class VersionState(StrEnum):
    """How far the work on a version of a study has come."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    OUT_OF_SCOPE = "out of scope"
    """No model reads it."""
    EXCLUDED = "excluded"
    """It is kept, and analysed only if a person says so."""
    WITHDRAWN = "withdrawn"
    """No image of it is left that may be used."""

    @property
    def is_final(self) -> bool:
        """Whether no attempt at it is to come by itself."""
        return self not in (VersionState.QUEUED, VersionState.RUNNING)


class Stage(StrEnum):
    """What is next on a version of a study."""

    TRIAGE = "triage"
    """The models that may rank it look at it, and no other."""
    REPORT = "report"
    """All others, and what is built of what they say."""


class DispatchState(StrEnum):
    """How far the delivery of a report set to one destination has come."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    DEAD = "dead"
    """Given up, or refused; tried again only by hand."""
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether no attempt at it is to come by itself."""
        return self not in (DispatchState.QUEUED, DispatchState.RUNNING)


NOT_TAKEN = (DispatchState.QUEUED, DispatchState.RUNNING, DispatchState.DEAD)
"""Of what its destination does not have, and may yet get, if by hand."""


class DeliveryState(StrEnum):
    """What a destination has said of one object."""

    QUEUED = "queued"
    """Nothing yet, or that it should come again."""
    SENT = "sent"
    """It has accepted it."""
    CONFIRMED = "confirmed"
    """It has been found to keep it."""
    REFUSED = "refused"
    """It will never take it."""
    REPLACED = "replaced"
    """It will never take it, and gets one of another kind in its place."""


class MessageKind(StrEnum):
    """What a message says of a study's triage level."""

    LEVEL = "level"
    """It is this, now."""
    WITHDRAWN = "withdrawn"
    """What was told holds no more, and nothing is in its place."""
    WRONG = "wrong"
    """What was told belongs to somebody else, or to another accession number."""


class NoticeEvent(StrEnum):
    """Why somebody is told of an alarm."""

    BEGUN = "begun"
    REMINDER = "reminder"
    ENDED = "ended"


class NoticeState(StrEnum):
    """How far a notice of an alarm has come."""

    QUEUED = "queued"
    SENT = "sent"
    GIVEN_UP = "given up"
    """Its channel did not take it for too long."""


class CommitmentState(StrEnum):
    """How far the answer to a request for storage commitment has come."""

    WAITING = "waiting"
    """Who asked has not been told."""
    REPORTED = "reported"
    GIVEN_UP = "given up"
    """Who asked did not take the report for too long."""


class HeldBecause(StrEnum):
    """What a study is held for, which decides what ends it."""

    IDENTITY = "identity"
    """Its objects disagree about whose study it is; ends when they agree again."""
    PIXELS = "pixels"
    """An image came twice with different pixels; a person must look."""
    DESTINATION = "destination"
    """A destination knows it as somebody else's; ends with a correction, or by hand."""
    REPORT = "report"
    """No report of it can be built; by hand."""
    MISSING = "missing"
    """Images of it that are needed are not in the store; ends when all are there again."""
    UNKNOWN = "unknown"
    """Its judging failed of a defect of ours, or the first release did not record it; by hand."""


class Mode(StrEnum):
    """What is done with a model's results."""

    SHADOW = "shadow"
    """They are kept, and sent to nobody."""
    DELIVER = "deliver"


class Role(StrEnum):
    """What a node does of the work."""

    ALL = "all"
    LISTENER = "listener"
    WORKER = "worker"
    WEB = "web"
    """It only shows."""


class OwnPart(StrEnum):
    """A part of a node that may be ill, as it says itself."""

    LISTENER = "listener"
    QUEUE = "queue"
    """Takes turns with what is to be analysed and delivered."""
    INFERENCE = "inference"
    """No process that decodes and runs networks can be started."""
    SOME_INFERENCE = "some inference"
    """Some of these processes cannot be started; others work."""
    DISK = "disk"
    """The store's: nearly full, or it cannot be written to."""
    SWEEPS = "sweeps"
    """What closes studies, and takes up what was left, does not come round."""
    PAGE = "page"
    """It is not served: for people; images are taken and worked on all the same."""
    ALARMS = "alarms"
    """Not everything is examined that somebody should be told of."""
    MONITORING = "monitoring"
    """It is not served."""
    TELLING = "telling"
    """Of some study it cannot be found out what reading lists are to be told."""
    CONFIGURATION = "configuration"
    """What is on disk was refused by a reload: it works by what it had."""


class WebRole(StrEnum):
    """What a user of the web page may do."""

    READER = "reader"
    """See, download, and mark studies as read."""
    OPERATOR = "operator"
    """Release and re-send, too, and see what only models in shadow say."""
