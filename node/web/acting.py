"""What people do to a study from its page, each asked back once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from node.errors import NodeError
from node.kinds import SUBSTITUTES
from node.ledger import ByHand, DeliveryState, Seen
from node.overview import Standing, StudyOverview, study_overview
from node.overview.next_step import is_for_a_person, next_step
from node.result import Priority
from node.web.backend import Backend, Person, backend_of, form_of, person_of
from node.web.showing import render
from node.web.study_words import NOT_RANKED_YET, deliveries_in_words, study_row

Action = Literal["read", "unread", "release", "retry"]

ACTIONS_IN_WORDS: Mapping[Action, str] = {
    "read": "Mark as read",
    "unread": "Not read yet",
    "release": "Release",
    "retry": "Send again",
}


@dataclass(frozen=True, slots=True)
class _Question:
    key: Action
    words: str
    yes: str
    lines: Sequence[str]
    """What will happen."""
    why_not: str
    """Why it cannot be done now, "" if it can."""


def possible_actions(study: StudyOverview, person: Person) -> list[Action]:
    """Return what a person may do to a study as it is now."""
    found: list[Action] = []
    if person.may_mark:
        found.append("read" if study.read_at is None else "unread")
    if person.may_act and is_for_a_person(study):
        found.append("release")
    if person.may_act and (study.state == Standing.UNDELIVERED or _waits(study)):
        found.append("retry")
    return found


def _waits(study: StudyOverview) -> bool:
    """Return whether something of it waits for another attempt at sending it, or for a person."""
    if any(one.is_given_up or one.next_at for one in study.messages):
        return True
    return study.state == Standing.DELIVERING and any(
        one.state == DeliveryState.QUEUED and one.next_at for one in study.deliveries
    )


def question_view(request: Request, action: Action) -> Response:
    """Ask whether that is really to be done, and say what it does."""
    backend = backend_of(request)
    study = _study(request)
    row = study_row(study, backend)
    is_possible = action in possible_actions(study, person_of(request))
    question = _Question(
        key=action,
        words=f"{ACTIONS_IN_WORDS[action]}?",
        yes=f"Yes: {ACTIONS_IN_WORDS[action].lower()}",
        lines=_CONSEQUENCES[action](study),
        why_not="" if is_possible else _why_not(action, study),
    )
    return render(
        request,
        "question.html",
        grows_old=True,
        question=question,
        study_uid=study.study_uid,
        label=row.label,
        seen=request.query_params.get("seen") or row.seen,
        back="list" if request.query_params.get("from") == "list" else "",
    )


def act_view(request: Request, action: Action) -> Response:
    """Do it, and go back to the study, or to the list that it was asked for from."""
    backend, person = backend_of(request), person_of(request)
    study = _study(request)
    try:
        _DEEDS[action](backend, study.study_uid, person.name, form_of(request))
    except NodeError as error:
        raise HTTPException(409, str(error)) from error
    if form_of(request).get("from") == "list":
        marked = f"?marked={study.study_uid}" if action == "read" else ""
        return RedirectResponse(f"/{marked}", 303)
    return RedirectResponse(f"/studies/{study.study_uid}?done={action}", 303)


def _study(request: Request) -> StudyOverview:
    study = study_overview(backend_of(request).ledger, request.path_params["study_uid"])
    if study is None:
        raise HTTPException(404, "This study is not known here.")
    return study


def _why_not(action: Action, study: StudyOverview) -> str:
    if action == "read":
        return f"It has been marked as read already, by {study.read_by or 'somebody'}."
    if action == "unread":
        return "It has not been marked as read, or something new has come since."
    if action == "release" and study.state == Standing.HELD:
        return f"No word of a person's ends this: {study.error}. Next: {next_step(study)}."
    what = "released" if action == "release" else "sent again"
    return f"It is {study.state} now: nothing of it is to be {what}."


def _when_read(study: StudyOverview) -> list[str]:
    lines = [
        "It leaves the reading list of everybody. Your name and the time are kept, and it can be "
        "undone."
    ]
    if study.state in NOT_RANKED_YET:
        lines.append(
            "It is still being received or analysed: if it then has a higher level than now, it "
            "comes back to the list."
        )
    return lines


def _when_unread(study: StudyOverview) -> list[str]:
    return ["It comes back to where its level and its last image put it on the reading list."]


def _when_released(study: StudyOverview) -> list[str]:
    return [
        f"It is {study.state}: {study.error or 'no reason was recorded'}.",
        "It goes on: what is to be analysed is, once the study is complete, and results are sent "
        "to whoever receives those of its sender. Your name and the time are kept.",
    ]


def _when_retried(study: StudyOverview) -> list[str]:
    refused = [one for one in study.deliveries if one.state != DeliveryState.CONFIRMED]
    lines = [line.words for line in deliveries_in_words(refused)]
    return [
        *([study.error] if study.error else []),
        *lines,
        *(f"{m.destination}: {m.error}" for m in study.messages if m.is_given_up),
        "What was given up or refused is sent again, and what waits for another attempt is tried "
        "now. Your name and the time are kept.",
    ]


_CONSEQUENCES: Mapping[Action, Callable[[StudyOverview], list[str]]] = {
    "read": _when_read,
    "unread": _when_unread,
    "release": _when_released,
    "retry": _when_retried,
}


def _mark_read(backend: Backend, study_uid: str, by: str, form: Mapping[str, str]) -> None:
    ByHand(backend.ledger).mark_read(study_uid, by, seen=_seen(form.get("seen", "")))


def _mark_unread(backend: Backend, study_uid: str, by: str, form: Mapping[str, str]) -> None:
    ByHand(backend.ledger).mark_unread(study_uid, by)


def _release(backend: Backend, study_uid: str, by: str, form: Mapping[str, str]) -> None:
    ByHand(backend.ledger).release_study(study_uid, by=by)


def _retry(backend: Backend, study_uid: str, by: str, form: Mapping[str, str]) -> None:
    config = backend.config
    ByHand(backend.ledger).retry_study(
        study_uid,
        config.delivery.deliver_within_s,
        config.directions,
        frozenset(SUBSTITUTES.values()),
        by=by,
    )


_DEEDS: Mapping[Action, Callable[[Backend, str, str, Mapping[str, str]], None]] = {
    "read": _mark_read,
    "unread": _mark_unread,
    "release": _release,
    "retry": _retry,
}


def _seen(text: str) -> Seen | None:
    """Return what `StudyRow.seen` says that somebody was shown, None if the form says nothing."""
    at, _, word = text.partition("~")
    try:
        seen = Seen(float(at), Priority(word) if word else None)
    except ValueError:
        return None
    return seen if math.isfinite(seen.last_image_at) else None
