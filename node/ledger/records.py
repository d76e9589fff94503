"""What the ledger is told, and what it tells: plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from node.result import Result
from node.study import Laterality, StudyVersion, View


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at a unit of work: process a study version, or deliver its report set."""

    kind: Literal["process", "deliver"]
    study_uid: str
    number: int
    attempt: int
    destination: str = ""
    delay_s: float = 0
    is_quarantined: bool = False

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
class Arrival:
    """What is known of a study that is being received, for deciding whether it is complete."""

    study_uid: str
    sender: str
    modalities: frozenset[str]
    views: tuple[View, ...]
    """One per image that stands for a view; repeats count."""
    last_at: float
    """When the last image came: settling takes place only if that is still so."""
    quiet_s: float
    age_s: float
    open_associations: int


@dataclass(frozen=True, slots=True)
class Reception:
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
    """Some model reads its modality; else it does not reopen a study that has been closed."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An instance we have."""

    study_uid: str
    transfer_syntax: str
    digest: str
    path: str


@dataclass(frozen=True, slots=True)
class PlannedAnalysis:
    """A model that is to read a study version."""

    model: str
    model_version: str
    weights_sha256: str
    mode: str


@dataclass(frozen=True, slots=True)
class Work:
    """A study version as its process job finds it."""

    version: StudyVersion
    sender: str
    analyses: tuple[PlannedAnalysis, ...]
    is_set_aside: bool
    """Processes died with it too often: answer without touching the pixels."""
    failures: int


@dataclass(frozen=True, slots=True)
class BuiltReport:
    """A result object on disk."""

    sop_uid: str
    sop_class: str
    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class Finished:
    """What a process job ends with."""

    results: tuple[Result, ...]
    reports: tuple[BuiltReport, ...]
    destinations: tuple[str, ...]
    deliver_within_s: float
    problem: str | None = None
    """Why results that should be delivered go nowhere."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a destination said about one object."""

    sop_uid: str
    state: Literal["queued", "sent", "refused"]
    error: str | None = None


def parse_view(text: str | None) -> View | None:
    """Return the view whose str() is the text."""
    if text is None:
        return None
    laterality, projection = text.split()
    return View(Laterality(laterality), projection)
