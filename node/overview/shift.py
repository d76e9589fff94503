"""Whether what a model says of a sender's exams is still as it was at first: "shifted".

For each model that delivers, its version, and each peer that sends, the last 100 exams are compared
with the first 300 delivered, which are frozen in the ledger once they are there. What is compared,
by which test, and from when on it has shifted, says `node.overview.likeness`; how often that is a
false alarm, and how soon it notices, docs/shift.md. An exam is a study, and counted once: by its
newest version, at the place of its first. What models say in shadow is not counted; what
demonstration models deliver is. A sender is a peer: two machines behind one are one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import sqlalchemy as sa
from pydantic import TypeAdapter

from node.config import ChosenModel, Config
from node.ledger import ExamScore, ExamScores, Ledger, now
from node.numbers_in_words import share_in_percent
from node.overview.likeness import (
    FIRST,
    VIEW,
    WINDOW,
    Aspect,
    Exams,
    HowMany,
    ScoreReference,
    Shifted,
    reference_of,
    shifted_aspects,
)
from node.overview.status import senders_of
from node.result import Priority

WHAT_TO_DO = (
    "look at some of these exams as the model saw them (the report's pictures), and ask whether a "
    "device, its processing or window, its software, or who is examined has changed; until that is "
    "known, do not read by this model's levels. If the change is meant and the model was found "
    "good for it, let the first exams be counted anew: `ai-node alarm count-anew`"
)


@dataclass(frozen=True, slots=True)
class SenderShift:
    """That what a model says of a sender's exams has shifted."""

    model: str
    version: str
    """Of the model; and from which operating point on it is urgent, if the site says so."""
    sender: str
    found: tuple[Shifted, ...]
    """One for each aspect that has."""
    since: float
    """From when on exams are unlike the first, epoch seconds; estimated, within the last 149."""
    words: str
    """What has shifted, in numbers; without patient data."""
    what_to_do: str = WHAT_TO_DO

    @property
    def subject(self) -> str:
        """What an alarm about it is about."""
        return f"{self.model} {self.version}, {self.sender}"


def shifted(ledger: Ledger, config: Config) -> tuple[SenderShift, ...]:
    """Return what has shifted, after taking over what was analysed since the last call.

    It writes to the ledger (the exams, and a reference when its 300 exams are there), and any
    number of nodes may call it. Without new exams it reads some rows, and computes nothing. A
    shift is found until 50 exams have come without one in the hundred that end with each.
    """
    exam_scores = ExamScores(ledger)
    found: list[SenderShift] = []
    for chosen in config.models:
        if chosen.mode != "deliver":
            continue
        version = exam_scores.take_over(chosen.name, _settings(chosen))
        if version is not None:
            for sender in senders_of(config):
                found += _of_sender(exam_scores, chosen.name, version, sender)
    return tuple(found)


def count_anew(ledger: Ledger, model: str, sender: str) -> bool:
    """Let the next 300 exams of a sender be the first: a change was meant. False: none were known.

    Until they have come nothing is said of that model and sender.
    """
    exam_scores = ExamScores(ledger)
    with ledger.reading() as db:
        at = db.execute(sa.select(now())).scalar_one()
    begun = _REFERENCE.dump_json(ScoreReference(until=at)).decode()
    frozen = exam_scores.references(model, sender)
    for version, content in frozen.items():
        exam_scores.freeze(model, version, sender, begun, content)
    return bool(frozen)


def _settings(chosen: ChosenModel) -> str:
    """Return what is added to a version, for levels that begin where the site says."""
    urgent = "" if chosen.urgent is None else f', urgent from "{chosen.urgent}"'
    return urgent + ("" if chosen.soon is None else f', soon from "{chosen.soon}"')


def _of_sender(
    exam_scores: ExamScores, model: str, version: str, sender: str
) -> Iterator[SenderShift]:
    reference = _reference(exam_scores, model, version, sender)
    if reference is None:
        return
    exams = tuple(exam_scores.last(model, version, sender, reference.until, VIEW))
    found = _compared(reference, exams)
    if found:
        since = exams[min(one.since for one in found)].at
        words = "; ".join(_in_words(one, reference) for one in found)
        whose = f"{model} {version}, exams of {sender}"
        yield SenderShift(model, version, sender, found, since, f"{whose}: {words}")


def _reference(
    exam_scores: ExamScores, model: str, version: str, sender: str
) -> ScoreReference | None:
    """Return the frozen reference; if there is none, freeze it, or None: too few exams as yet."""
    content = exam_scores.reference(model, version, sender)
    former = ScoreReference(until=0.0) if content is None else _read(content)
    if former.exams:
        return former
    first = exam_scores.first(model, version, sender, former.until, FIRST)
    if len(first) < FIRST:
        return None
    new = _REFERENCE.dump_json(reference_of(_as_arrays(first), first[-1].at)).decode()
    exam_scores.freeze(model, version, sender, new, content)
    stands = exam_scores.reference(model, version, sender)  # another may have been before us
    found = None if stands is None else _read(stands)
    return found if found and found.exams else None


@lru_cache(maxsize=256)
def _read(content: str) -> ScoreReference:
    return _REFERENCE.validate_json(content)


@lru_cache(maxsize=256)
def _compared(reference: ScoreReference, exams: tuple[ExamScore, ...]) -> tuple[Shifted, ...]:
    if len(exams) < WINDOW:
        return ()
    return tuple(shifted_aspects(reference, _as_arrays(exams)))


def _as_arrays(exams: Sequence[ExamScore]) -> Exams:
    judged = {Priority.URGENT: 1.0, Priority.SOON: 0.0, Priority.ROUTINE: 0.0}
    return Exams(
        refused=np.array([float(exam.has_refusals) for exam in exams]),
        urgent=np.array(
            [judged.get(exam.level, np.nan) if exam.level else np.nan for exam in exams]
        ),
        scores=np.array([np.nan if exam.score is None else exam.score for exam in exams]),
    )


def _in_words(found: Shifted, reference: ScoreReference) -> str:
    exams, what = {
        Aspect.REFUSALS: ("exams", "have an image that it refused"),
        Aspect.URGENT: ("exams that it judged", "are urgent"),
        Aspect.SCORES: ("exams with a score", _step_in_words(found, reference)),
    }[found.aspect]
    now_in_words = f"of the last {found.now.of} {exams} {_share(found.now)} {what}"
    return f"{now_in_words}, of the first {found.first.of} it was {_share(found.first)}"


def _step_in_words(found: Shifted, reference: ScoreReference) -> str:
    if found.at_least is None:
        return ""
    if found.at_least > reference.scores[-1]:
        return "have a higher one than any of the first"
    return f"have {share_in_percent(found.at_least)} or more"


def _share(share: HowMany) -> str:
    return f"{share.count} ({share_in_percent(share.count / share.of, 0) if share.of else '-'})"


_REFERENCE = TypeAdapter(ScoreReference)
