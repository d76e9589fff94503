"""What the ledger is told, and what it tells: plain values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import sqlalchemy as sa

from node.ledger.order import SenderPriority
from node.ledger.states import DeliveryState, InstanceState, Mode, Stage, VersionState
from node.result import Result
from node.study import Laterality, Shown, StudyLabels, StudyVersion, View
from node.triage import FormerLevel, FoundBefore


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at a unit of work.

    Process a study version, deliver its report set, or send a message about the study.
    """

    kind: Literal["process", "deliver", "message"]
    study_uid: str
    number: int
    """Of the version; of a message its sequence number."""
    attempt: int
    destination: str = ""
    delay_s: float = 0
    is_quarantined: bool = False
    due_at: float | None = field(default=None, compare=False)
    """Its place among those that wait: the earliest is first (`ledger.order`). Epoch seconds,
    UTC; None: before all that have one, or not known. It is the same job wherever it stands."""

    @property
    def id(self) -> str:
        """The same for the same attempt at the same work, and for nothing else."""
        what = f"{self.kind}:{self.study_uid}:{self.number}"
        return (
            f"{what}:{self.destination}:{self.attempt}"
            if self.destination
            else (f"{what}:{self.attempt}")
        )


Enqueue = Callable[[sa.Connection, Job], None]
"""Puts a job on the durable queue within the caller's transaction."""


@dataclass(frozen=True, slots=True)
class StudyArriving:
    """A study that is being received, and how long nothing has come, as the database has it."""

    study_uid: str
    quiet_s: float
    age_s: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a study that is being received, for deciding whether it is complete."""

    study_uid: str
    sender: str
    parts: tuple[ArrivalPart, ...]
    """In the order in which the first of each came."""
    last_at: float
    """When the last image came: settling takes place only if that is still so."""
    quiet_s: float
    age_s: float
    open_associations: int
    """Of those that brought images of it."""
    came_with_one: bool = True
    """One association brought all of it."""
    is_by_hand: bool = False
    """A person wants it to be analysed, whatever speaks against it."""
    revision_reason: str | None = None
    """What has changed of known images since the last version."""
    revision: int = 0
    """How often anything of known images has changed."""
    damaged: tuple[str, ...] = ()
    """Why objects of it were refused as damaged, a reason for each."""
    why_withdrawn: str | None = None
    """Why images of it must not be used any more, if there are such."""

    @property
    def shown(self) -> tuple[Shown, ...]:
        """What its instances show, each once."""
        return tuple(dict.fromkeys(part.shown for part in self.parts))


@dataclass(frozen=True, slots=True)
class ArrivalPart:
    """What some instances of a study have in common: there may be thousands that are alike."""

    shown: Shown
    why_excluded: str | None = None
    """Why a study of such instances alone is not analysed by itself."""
    removed: int = 0
    """Of how many the files are removed."""


@dataclass(frozen=True, slots=True)
class Received:
    """How an instance came, and what follows for its study."""

    relative_path: str
    sender: str
    """The peer that sent it."""
    association_id: str
    identity: str
    """What it says of whose study it is, as `identity.identity_of` writes it."""
    is_own: bool
    """We made it: it says nothing, and opens no study."""
    is_in_scope: bool
    """Some model is meant for it; else it does not reopen a study that has been closed."""
    size_bytes: int | None = None
    """Of its file; None: not known."""
    why_excluded: str | None = None
    """Why its study is excluded, if each of its images is."""
    again: Again | None = None
    """If the instance is known: how it compares with what we have."""
    withdraws: Withdrawal | None = None
    """If it is a rejection note: what must not be used any more."""
    labels: StudyLabels = field(default_factory=StudyLabels)
    """What it says that people know its study by."""


@dataclass(frozen=True, slots=True)
class Again:
    """How an instance that came again compares with the one we have."""

    digest: str
    """Of the one we have."""
    pixels: Literal["same", "other", "unknown"]
    changed: tuple[str, ...]
    """Names of the attributes that differ and may matter to a result."""
    is_former: bool = False
    """It is as the instance was before a correction, but perhaps for how it is encoded."""
    was_in_scope: bool = True
    """Some model is meant for the one we have."""
    path: str = ""
    """Of the one it was compared with; "" if that does not matter."""
    has_no_file: bool = False
    """The file of the one we have is not there any more: what is known are digests, at most."""
    was_removed: bool = False
    """Its row said so when they were compared."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What an IOCM rejection note says must not be used any more."""

    reason: str
    sop_uids: tuple[str, ...]
    is_in_scope: Callable[[Shown], bool]
    """Whether some model is meant for such an object: to reject another one changes no result."""


Recorded = Literal["new", "same", "unchanged", "restored", "corrected", "contradicts", "compare"]
"""What became of a received instance: same bytes as before; unchanged but for its encoding; put
where the removed file of the same was; put in the place of the former one; with other pixels, so
that it contradicts it; or to be compared with it first."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An instance we have."""

    study_uid: str
    transfer_syntax: str
    digest: str
    path: str
    state: InstanceState
    shown: Shown
    is_removed: bool = False
    """Its file is removed: what came again is compared with its digests."""
    is_awaited: bool = False
    """And it is kept anew when it comes, for it may be needed."""
    pixels_digest: str = ""
    header_digest: str = ""


@dataclass(frozen=True, slots=True)
class Former:
    """An instance as it was before a correction."""

    path: str
    is_removed: bool = False
    header_digest: str = ""


@dataclass(frozen=True, slots=True)
class PlannedAnalysis:
    """A model that is to read a study version."""

    model: str
    model_version: str
    weights_sha256: str
    mode: Mode
    package_digest: str | None = None
    """Of the package that reads it, whatever the configuration names when its turn comes; None: of
    a former release, which did not say."""
    levels_from: tuple[str | None, str | None] | None = None
    """The operating points from which on it is urgent and soon, if the site chose them."""


@dataclass(frozen=True, slots=True)
class Closing:
    """How a study version begins: with work, or with the reason why there is none."""

    reason: str
    """Why the study is complete."""
    analyses: tuple[PlannedAnalysis, ...] = ()
    state: VersionState = VersionState.QUEUED
    why_not: str | None = None
    stage: Stage = Stage.REPORT
    """What is first: triage, if one of the models may rank the study."""
    sender_priority: SenderPriority = "normal"
    directions: Mapping[str, Collection[str]] | None = None
    """Who gets its results, by name, and which kinds of object."""


@dataclass(frozen=True, slots=True)
class Work:
    """A study version as its process job finds it."""

    version: StudyVersion
    sender: str
    analyses: tuple[PlannedAnalysis, ...]
    stage: Stage
    is_given_up: bool
    """It ended badly too often: answer without touching the pixels."""
    failures: int
    removed: tuple[Shown, ...] = ()
    """What its instances show whose files are removed: they are not among those of the version."""
    former_levels: tuple[FormerLevel, ...] = ()
    """Of the versions before, as far as they had one."""
    found_before: FoundBefore | None = None
    """The triage level that an attempt before this one found, of which there is no report."""
    directions: Mapping[str, frozenset[str]] | None = None
    """Who gets its results, as when it was closed; None: of a former release, which did not say."""


@dataclass(frozen=True, slots=True)
class Filed:
    """A file that a row says is in the store."""

    study_uid: str
    sop_uid: str
    path: str
    age_s: float
    """How long its row has been there."""
    is_removed: bool = False
    """By retention: it is not to be looked for."""


@dataclass(frozen=True, slots=True)
class BuiltReport:
    """A result object on disk."""

    sop_uid: str
    kind: str
    """One of `kinds.KINDS`: decides who gets it."""
    sop_class: str
    path: str
    digest: str
    size_bytes: int | None = None
    """Of its file; None: not known, or not asked for."""
    series_uid: str = ""
    made_by: tuple[str, ...] = ()
    """The models that it names, as Manufacturer's Model Name has them."""


Directions = Callable[[str], Mapping[str, frozenset[str]]]
"""The name of a sender -> who gets its results, by name, and the kinds each should get."""


@dataclass(frozen=True, slots=True)
class Triaged:
    """What the models said that may rank a study, before any other has looked at it."""

    results: tuple[Result, ...]
    decided_by: Result | None
    """The result with the highest level; None if none of them is switched on any more."""
    briefs: Mapping[str, str] = field(default_factory=dict)
    """What came of each model's work, in a line, by its name."""
    sender_priority: SenderPriority = "normal"


@dataclass(frozen=True, slots=True)
class Finished:
    """What a process job ends with."""

    results: tuple[Result, ...]
    reports: tuple[BuiltReport, ...]
    destinations: Mapping[str, frozenset[str]]
    """Who is sent results, by name, and the kinds of object each should get."""
    deliver_within_s: float
    problem: str | None = None
    """Why results that should be delivered go nowhere."""
    decided_by: Result | None = None
    """The result whose level is the study's; None if no model gives one."""
    briefs: Mapping[str, str] = field(default_factory=dict)
    """What came of each model's work, in a line, by its name."""


@dataclass(frozen=True, slots=True)
class Shipment:
    """What is left to do of a delivery."""

    to_send: tuple[BuiltReport, ...]
    to_confirm: tuple[BuiltReport, ...]
    """Accepted by the destination, which has not yet been found to keep them."""
    asks: int
    """How often it was asked to confirm, without success."""
    waited_for_it: bool = False
    """The last attempt failed for want of its destination: whatever fails now has not before."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a destination said about one object."""

    sop_uid: str
    state: DeliveryState
    error: str | None = None
    confirmed_by: str | None = None
    """If it is confirmed: how that was found out, in a word."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait before the next attempt at a delivery, and for what."""

    retry_s: float
    """If an object has to be sent again."""
    wait_s: float = 0
    waits_for: str | None = None
    """What is to come before accepted objects count as delivered; None if nothing is."""
    gives_up: str | None = None
    """Why accepted objects will never be confirmed."""
    has_asked: bool = False
    """The destination was asked to confirm, without success."""
    is_unreached: bool = False
    """No object was given to the destination: it is away, lets nobody in, or says nothing."""


@dataclass(frozen=True, slots=True)
class DeliveryEnd:
    """How an attempt at a delivery ended, or a delivery that only waited for an answer."""

    destination: str
    ended: Literal["delivered", "failed", "given up", "held"]
    """Failed: it is tried again."""
    after_s: float | None = None
    """Of one that is delivered: from the study's last image until its last object was stored."""


def parse_view(text: str | None) -> View | None:
    """Return the view whose str() is the text."""
    if text is None:
        return None
    laterality, projection = text.split()
    return View(Laterality(laterality), projection)
