"""Where every study stands, in one read: what `ai-node studies` and the demonstration show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from node import schema
from node.ledger import Ledger
from node.outputs import wording
from node.result import Result


@dataclass(frozen=True, slots=True)
class ModelOverview:
    """One model's work on the newest version of a study."""

    model: str
    version: str
    mode: str
    result: Result | None
    outcome: str
    """What came of it, in a line."""
    priority: str


@dataclass(frozen=True, slots=True)
class DeliveryOverview:
    """One object at one destination."""

    destination: str
    sop_uid: str
    state: str
    """queued, sent (accepted, not confirmed), confirmed, refused or replaced."""
    error: str | None
    sent_at: float | None
    confirmed_by: str | None
    """commitment or find."""
    next_at: float | None
    """When its destination is tried or asked again; None if that is not put off."""


@dataclass(frozen=True, slots=True)
class StudyOverview:
    """Where a study stands. Times are epoch seconds, UTC."""

    study_uid: str
    sender: str
    state: str
    """receiving, queued, running, delivering, done; held, not analysed, rejected, out of scope,
    cancelled or undelivered for the reason in `error`; kept: nothing but objects that say nothing.
    """
    version: int
    """0 until the study has been closed for the first time."""
    reason: str
    """Why the newest version was closed then."""
    images: int
    views: tuple[str, ...]
    """Of each image that shows one: "R MLO", or "R CC (not a standard view)"."""
    models: tuple[ModelOverview, ...]
    deliveries: tuple[DeliveryOverview, ...]
    history: tuple[tuple[float, str], ...]
    last_at: float
    closed_at: float | None
    done_at: float | None
    """When the last object was stored at its last destination."""
    error: str | None
    held_because: str | None
    """For a held study, a value of `ledger.HeldBecause`."""


_NO_IMAGES = ("KO", "PR", "SR")


def study_overviews(ledger: Ledger) -> list[StudyOverview]:
    """Return every study, the newest first."""
    with ledger.reading() as db:
        studies = db.execute(sa.select(schema.study).order_by(schema.study.c.last_at.desc())).all()
        return [_overview(db, study) for study in studies]


def _overview(db: sa.Connection, study: sa.Row[Any]) -> StudyOverview:
    number = study.version
    version = _of_version(db, schema.study_version, study.study_uid, number)
    dispatches = _of_version(db, schema.dispatch, study.study_uid, number)
    next_at = {row.destination: row.next_at for row in dispatches if row.state == "queued"}
    deliveries = tuple(
        DeliveryOverview(
            destination=row.destination,
            sop_uid=row.sop_uid,
            state=row.state,
            error=row.error,
            sent_at=row.sent_at,
            confirmed_by=row.confirmed_by,
            next_at=next_at.get(row.destination),
        )
        for row in _of_version(db, schema.delivery, study.study_uid, number)
    )
    images = _of_study(db, schema.instance, study.study_uid)
    closed = version[0] if version else None
    state = _state(study, closed, {row.state for row in dispatches})
    sent = [delivery.sent_at for delivery in deliveries if delivery.sent_at]
    return StudyOverview(
        study_uid=study.study_uid,
        sender=study.sender,
        state=state,
        version=number,
        reason=closed.reason if closed else "",
        images=sum(row.state == "current" and row.modality not in _NO_IMAGES for row in images),
        views=tuple(sorted(_view(row) for row in images if row.view and row.state == "current")),
        models=tuple(
            _model(row) for row in _of_version(db, schema.analysis, study.study_uid, number)
        ),
        deliveries=deliveries,
        history=tuple(
            (row.at, row.event) for row in _of_study(db, schema.history, study.study_uid)
        ),
        last_at=closed.last_image_at if closed and state != "receiving" else study.last_at,
        closed_at=closed.closed_at if closed else None,
        done_at=max(sent) if sent and state == "done" else None,
        error=study.held_reason or _error(closed, dispatches),
        held_because=study.held_because,
    )


def _state(study: sa.Row[Any], version: sa.Row[Any] | None, dispatches: set[str]) -> str:
    if study.held_reason is not None:
        return "held"
    if version is None or study.state != "closed":
        return "kept" if study.state == "closed" else str(study.state)
    if version.state != "finished":
        return str(version.state)
    if dispatches & {"queued", "running"}:
        return "delivering"
    return "undelivered" if version.error or "dead" in dispatches else "done"


def _error(version: sa.Row[Any] | None, dispatches: list[sa.Row[Any]]) -> str | None:
    errors = [f"{row.destination}: {row.error}" for row in dispatches if row.error]
    if version is not None and version.error:
        errors.append(version.error)
    return "; ".join(errors) or None


def _view(instance: sa.Row[Any]) -> str:
    return f"{instance.view}{'' if instance.is_standard else ' (not a standard view)'}"


def _model(row: sa.Row[Any]) -> ModelOverview:
    result = None if row.result is None else _RESULT.validate_json(row.result)
    return ModelOverview(
        model=row.model,
        version=row.model_version,
        mode=row.mode,
        result=result,
        outcome=_outcome(result),
        priority=row.priority or "",
    )


def _outcome(result: Result | None) -> str:
    if result is None:
        return "pending"
    if not result.analysed:
        return f"not analysed: {result.reason}"
    total = len(result.analysed) + len(result.refused)
    words = [f"{len(result.analysed)} of {total} images analysed"]
    words += [wording.found(result)] if result.looked_for else []
    words += [line for evaluation in result.evaluations for line in wording.in_brief(evaluation)]
    return "; ".join(words)


def _of_study(db: sa.Connection, table: sa.Table, study_uid: str) -> list[sa.Row[Any]]:
    query = sa.select(table).where(table.c.study_uid == study_uid)
    if "id" in table.c:
        query = query.order_by(table.c.id)
    return list(db.execute(query).all())


def _of_version(
    db: sa.Connection, table: sa.Table, study_uid: str, number: int
) -> list[sa.Row[Any]]:
    query = sa.select(table).where(table.c.study_uid == study_uid, table.c.number == number)
    return list(db.execute(query).all())


_RESULT = TypeAdapter(Result)
