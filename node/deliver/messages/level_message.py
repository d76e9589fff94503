"""What is told of a study's triage level, whatever it is written in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from node.ledger import MessageKind
from node.outputs import wording
from node.result import Measurement, ModelIdentity, Priority, Result
from node.study import Whose


@dataclass(frozen=True, slots=True)
class Reached:
    """The operating point that a score has reached; for routine, the lowest that it has not."""

    name: str
    threshold: float
    """0..1."""
    in_unit: str
    """The threshold in the unit of the score: "35 %"."""
    measured: str
    """What was measured at it, in a sentence."""


@dataclass(frozen=True, slots=True)
class LevelMessage:
    """One of them. Times are epoch seconds, UTC."""

    kind: MessageKind
    study_uid: str
    version: int
    """Of the study, that the level was found in."""
    whose: Whose
    """No more of it than its receiver is told."""
    thread: str
    """Of all that is told of this study under these identifiers: the same in each of them."""
    level: Priority
    before: Priority | None
    """What the level was, if it has been another."""
    why: str
    """In a sentence of plain ASCII."""
    about: str
    """What the score is about: "L breast malignancy"; "" if there is none."""
    score: Measurement | None
    point: Reached | None
    model: ModelIdentity
    last_image_at: float
    made_at: float

    @property
    def statement(self) -> str:
        """What must be known with it: that it is by AI and unverified, and what it is for."""
        return " ".join(wording.intended_use(self.model))

    def says_the_same_as(self, other: LevelMessage) -> bool:
        """Whether somebody who was told the other would learn nothing from this one."""
        return self._without_occasion() == other._without_occasion()

    def _without_occasion(self) -> LevelMessage:
        """Return it without what only says when, and after what, it was told."""
        return replace(
            self,
            version=0,
            before=None,
            last_image_at=0,
            made_at=0,
        )


def level_message(  # noqa: PLR0913 - all by name
    *,
    result: Result,
    level: Priority,
    before: Priority | None,
    study_uid: str,
    version: int,
    whose: Whose,
    thread: str,
    last_image_at: float,
    at: float,
) -> LevelMessage:
    """Return what is to be told of a study by the result that gives its level."""
    triage = result.triage
    assert triage is not None, "it gives the level"
    point = triage.point
    return LevelMessage(
        kind=MessageKind.LEVEL,
        study_uid=study_uid,
        version=version,
        whose=whose,
        thread=thread,
        level=level,
        before=before,
        why=wording.ascii_text(triage.why),
        about=wording.ascii_text(triage.about),
        score=triage.score,
        point=None
        if point is None
        else Reached(
            wording.ascii_text(point.name),
            point.threshold,
            wording.threshold(triage, point),
            wording.at_point(triage),
        ),
        model=result.model,
        last_image_at=last_image_at,
        made_at=at,
    )


def taken_back(message: LevelMessage, kind: MessageKind, at: float) -> LevelMessage:
    """Return that what was told holds no more, or was wrong, under the same identifiers."""
    return replace(message, kind=kind, made_at=at)


def thread_of(study_uid: str, whose: Whose) -> str:
    """Return what all messages of a study under the same identifiers have in common: 10 figures.

    `whose` as the first of them says it; what it leaves blank may be said later under the same.
    """
    said = (study_uid, *_identifiers(whose))
    return hashlib.sha256("\x1f".join(said).encode()).hexdigest()[:10].upper()


def is_filled_in(former: Whose, whose: Whose) -> bool:
    """Whether nothing that was said of whose a study is was wrong, if it is this one's."""
    pairs = zip(_identifiers(former), _identifiers(whose), strict=True)
    return all(was in ("", now) for was, now in pairs)


def _identifiers(whose: Whose) -> tuple[str, str, str]:
    return whose.patient_id, whose.issuer, whose.accession_number


TOLD = TypeAdapter(LevelMessage)
"""As the ledger keeps it."""
