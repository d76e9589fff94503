"""Rows of the ledger become what there is to tell of studies, many in one read."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from node.config import OPEN_DAYS
from node.ledger import (
    DeliveryState,
    DispatchState,
    InstanceState,
    Ledger,
    Mode,
    StudyState,
    VersionState,
    damaged_in,
    now,
    schema,
)
from node.numbers_in_words import counted
from node.outputs import wording
from node.overview.standing import (
    AskedBackOverview,
    DeliveryOverview,
    MessageOverview,
    ModelOverview,
    Standing,
    StudyOverview,
)
from node.result import Priority, Result, deciding_score
from node.study import NO_IMAGES
from node.triage import NO_MODEL, FormerLevel, change_in_words

DAY_S = 86_400.0
_BATCH = 100
"""Studies that are read at once: by as many queries as one study, and by as much memory as these.

Each batch is a transaction of its own: whoever reads slowly, as at the end of a pipe, must keep
none open.
"""


class Depth(Enum):
    """How much is read of a study."""

    ROW = auto()
    """What a row of a list shows: no results, which may be long, and no history; of models only
    those that deliver."""
    WITHOUT_OUTLINES = auto()
    """Nor the values of heat maps."""
    WHOLE = auto()


def study_overviews(ledger: Ledger) -> list[StudyOverview]:
    """Return every study, in the order of `each_study`, with all that was found."""
    return list(each_study(ledger, with_outlines=True))


def each_study(
    ledger: Ledger,
    *,
    with_outlines: bool = False,
    where: Sequence[sa.ColumnElement[bool]] = (),
    open_days: float = OPEN_DAYS,
) -> Iterator[StudyOverview]:
    """Yield every study, or those of which all of this is true, in the words of `schema.study`.

    Outlines and heat maps are empty unless asked for.

    Urgent, soon, not assessed, of each the one first that has waited longest; then all others, the
    newest first: so, too, what somebody has marked as read, or whose last image came more than
    `open_days` ago. There may be very many: no more than a batch of them is in memory.
    """
    depth = Depth.WHOLE if with_outlines else Depth.WITHOUT_OUTLINES
    with ledger.reading() as db:
        study_uids = db.execute(_in_order(open_days).where(*where)).scalars().all()
    for first in range(0, len(study_uids), _BATCH):
        with ledger.reading() as db:
            batch = read_batch(db, study_uids[first : first + _BATCH], depth)
        yield from batch.overviews()


def study_overview(ledger: Ledger, study_uid: str) -> StudyOverview | None:
    """Return all there is to tell of a study, None if it is not known here."""
    with ledger.reading() as db:
        batch = read_batch(db, [study_uid], Depth.WHOLE)
    return next(batch.overviews(), None)


def _in_order(open_days: float) -> sa.Select[Any]:
    table = schema.study
    waits = sorted(level for level in Priority if level > Priority.ROUTINE)
    rank = sa.case(
        (table.c.read_at.is_not(None) | (table.c.last_image_at < now() - open_days * DAY_S), 0),
        *((table.c.level == level, place) for place, level in enumerate(waits, start=1)),
        else_=0,
    )
    since = sa.case((rank > 0, table.c.last_image_at), else_=0.0)
    return sa.select(table.c.study_uid).order_by(rank.desc(), since, table.c.last_image_at.desc())


_Rows = Mapping[str, Sequence[sa.Row[Any]]]
"""By Study Instance UID."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What the tables say of some studies; where there are versions, of the newest."""

    depth: Depth
    studies: Sequence[sa.Row[Any]]
    versions: _Rows
    dispatches: _Rows
    deliveries: _Rows
    analyses: _Rows
    levels: _Rows
    """Of all versions that have one, the oldest first."""
    images: _Rows
    """How many instances that are in use are alike, and what they show."""
    history: _Rows
    messages: _Rows
    """Of all versions."""
    damaged: Mapping[str, Sequence[str]]
    """Why objects were refused as damaged."""

    def overviews(self) -> Iterator[StudyOverview]:
        """Yield what there is to tell of each, in their order."""
        return (_overview(self, study) for study in self.studies)


def read_batch(db: sa.Connection, study_uids: Sequence[str], depth: Depth) -> Batch:
    """Read the rows of some studies; one that is not known is left out."""
    back = schema.asked_back
    names = ("peer", "attempts", "error", "asked_at", "next_at")
    asked = [back.c[name].label(f"back_{name}") for name in names]
    query = sa.select(schema.study, now().label("asked_at"), *asked)
    query = query.outerjoin(back, back.c.study_uid == schema.study.c.study_uid)
    query = query.where(schema.study.c.study_uid.in_(study_uids))
    found = {row.study_uid: row for row in db.execute(query)}
    studies = [found[study_uid] for study_uid in study_uids if study_uid in found]
    numbers = {study.study_uid: study.version for study in studies}
    is_row = depth is Depth.ROW
    analyses = _results_of_earlier_releases() if is_row else sa.select(schema.analysis)
    return Batch(
        depth=depth,
        studies=studies,
        versions=_of_newest(db, schema.study_version, numbers),
        dispatches=_of_newest(db, schema.dispatch, numbers),
        deliveries=_of_newest(db, schema.delivery, numbers),
        analyses=_of_newest(db, schema.analysis, numbers, analyses),
        levels=_by_study(db, _levels(study_uids)),
        images=_by_study(db, _images(study_uids)),
        history=defaultdict(list) if is_row else _by_study(db, _history(study_uids)),
        messages=defaultdict(list) if is_row else _by_study(db, _messages(study_uids)),
        damaged=damaged_in(db, study_uids),
    )


def _results_of_earlier_releases() -> sa.Select[Any]:
    """Select what models that deliver say in brief; the result itself only where that is all."""
    table = schema.analysis
    columns = [column for column in table.c if column.name != "result"]
    result = sa.case((table.c.brief.is_(None), table.c.result)).label("result")
    return sa.select(*columns, result).where(table.c.mode == Mode.DELIVER)


def _of_newest(
    db: sa.Connection,
    table: sa.Table,
    numbers: Mapping[str, int],
    rows: sa.Select[Any] | None = None,
) -> _Rows:
    """Read the rows of the newest versions, whose numbers these are; all there are, or of these."""
    query = (sa.select(table) if rows is None else rows).where(
        table.c.study_uid.in_(numbers), table.c.number.in_({*numbers.values()})
    )
    return _by_study(db, query, lambda row: bool(row.number == numbers[row.study_uid]))


def _images(study_uids: Sequence[str]) -> sa.Select[Any]:
    table = schema.instance
    alike = (table.c.study_uid, table.c.view, table.c.is_standard, table.c.modality)
    query = sa.select(*alike, sa.func.count().label("how_many")).group_by(*alike)
    return query.where(table.c.study_uid.in_(study_uids), table.c.state == InstanceState.CURRENT)


def _levels(study_uids: Sequence[str]) -> sa.Select[Any]:
    table = schema.study_version
    query = sa.select(table.c.study_uid, table.c.number, table.c.level).order_by(table.c.number)
    is_done = table.c.state.not_in([VersionState.QUEUED, VersionState.RUNNING])
    return query.where(table.c.study_uid.in_(study_uids), table.c.level.is_not(None), is_done)


def _history(study_uids: Sequence[str]) -> sa.Select[Any]:
    table = schema.history
    return sa.select(table).where(table.c.study_uid.in_(study_uids)).order_by(table.c.id)


def _messages(study_uids: Sequence[str]) -> sa.Select[Any]:
    table = schema.message
    names = ("control_id", "destination", "study_uid", "number", "kind", "level", "state", "error")
    times = ("made_at", "acknowledged_at", "next_at")
    query = sa.select(*(table.c[name] for name in (*names, *times)))
    of_these = query.where(table.c.study_uid.in_(study_uids))
    return of_these.order_by(table.c.destination, table.c.sequence)


def _by_study(
    db: sa.Connection,
    query: sa.Select[Any],
    is_wanted: Callable[[sa.Row[Any]], bool] = lambda row: True,
) -> _Rows:
    rows: defaultdict[str, list[sa.Row[Any]]] = defaultdict(list)
    for row in db.execute(query):
        if is_wanted(row):
            rows[row.study_uid].append(row)
    return rows


def _overview(batch: Batch, study: sa.Row[Any]) -> StudyOverview:
    uid, number = study.study_uid, study.version
    closed = next(iter(batch.versions[uid]), None)
    dispatches = batch.dispatches[uid]
    images = [row for row in batch.images[uid] if row.modality not in NO_IMAGES]
    deliveries = _deliveries(batch.deliveries[uid], dispatches)
    state = _state(study, closed, {row.state for row in dispatches})
    sent = [delivery.sent_at for delivery in deliveries if delivery.sent_at]
    levels = tuple(FormerLevel(row.number, row.level) for row in batch.levels[uid])
    is_open = state == Standing.RECEIVING  # what the version before ended as says nothing of it
    last_at = closed.last_image_at if closed and not is_open else study.last_at
    return StudyOverview(
        study_uid=uid,
        sender=study.sender,
        state=state,
        version=number,
        reason=closed.reason if closed else "",
        images=sum(row.how_many for row in images),
        views=tuple(sorted(name for row in images if row.view for name in _views(row))),
        models=tuple(_model(row, batch.depth) for row in batch.analyses[uid]),
        deliveries=deliveries,
        history=tuple((row.at, row.event) for row in batch.history[uid]),
        last_at=last_at,
        closed_at=closed.closed_at if closed else None,
        done_at=max(sent) if sent and state == Standing.DONE else None,
        error=study.held_reason or _error(None if is_open else closed, dispatches),
        held_because=study.held_because,
        is_by_hand=study.is_by_hand,
        damaged=tuple(batch.damaged.get(uid, ())),
        level="" if study.level is None else str(study.level),
        is_demonstration=study.is_demonstration,
        levels=tuple((one.number, str(one.level)) for one in levels),
        level_words="; ".join(filter(None, _level_words(study, closed, levels))),
        waiting_s=None if study.level is None else max(0.0, study.asked_at - study.last_image_at),
        accession_number=study.accession_number or "",
        patient_id=study.patient_id or "",
        patient_name=study.patient_name or "",
        study_date=study.study_date or "",
        study_description=study.study_description or "",
        modalities=tuple(sorted({row.modality for row in images if row.modality})),
        first_at=study.first_at,
        last_image_at=study.last_image_at,
        begun_at=closed.decided_at if closed else None,
        analysed_at=closed.finished_at if closed else None,
        read_at=study.read_at,
        read_by=study.read_by,
        kept_at=study.kept_at,
        kept_by=study.kept_by,
        kept_why=study.kept_why,
        images_removed_at=study.images_removed_at,
        results_removed_at=study.results_removed_at,
        recalled_at=study.recalled_at,
        asked_back=_asked_back(study),
        asked_at=study.asked_at,
        messages=tuple(map(_message, batch.messages[uid])),
    )


def _asked_back(study: sa.Row[Any]) -> AskedBackOverview | None:
    if study.back_asked_at is None:
        return None
    return AskedBackOverview(
        peer=study.back_peer,
        attempts=study.back_attempts,
        error=study.back_error,
        since=study.back_asked_at,
        next_at=study.back_next_at,
    )


def _message(row: sa.Row[Any]) -> MessageOverview:
    return MessageOverview(
        destination=row.destination,
        control_id=row.control_id,
        kind=row.kind,
        level=str(row.level),
        version=row.number,
        state=row.state,
        error=row.error,
        made_at=row.made_at,
        acknowledged_at=row.acknowledged_at,
        next_at=row.next_at,
    )


def _level_words(
    study: sa.Row[Any], closed: sa.Row[Any] | None, levels: Sequence[FormerLevel]
) -> Iterator[str]:
    """Yield what the level was before, and what it will be once there is a report."""
    yield change_in_words(levels, study.level, _why_no_level(closed))
    if closed is None or closed.state.is_final or closed.level is None or study.level is None:
        return
    if closed.level < study.level:
        yield f"{closed.level} in version {closed.number}, once its report is there"


def _why_no_level(version: sa.Row[Any] | None) -> str:
    """Return why a study has no level of which a version had one."""
    is_finished = version is None or version.state == VersionState.FINISHED
    return NO_MODEL if is_finished else "nothing is analysed"


def _deliveries(
    rows: Sequence[sa.Row[Any]], dispatches: Sequence[sa.Row[Any]]
) -> tuple[DeliveryOverview, ...]:
    next_at = {
        row.destination: row.next_at for row in dispatches if row.state == DispatchState.QUEUED
    }
    dead = {row.destination for row in dispatches if row.state == DispatchState.DEAD}
    return tuple(
        DeliveryOverview(
            destination=row.destination,
            sop_uid=row.sop_uid,
            state=row.state,
            error=row.error,
            sent_at=row.sent_at,
            confirmed_by=row.confirmed_by,
            next_at=next_at.get(row.destination),
            is_given_up=row.state == DeliveryState.QUEUED and row.destination in dead,
        )
        for row in rows
    )


def _state(
    study: sa.Row[Any], version: sa.Row[Any] | None, dispatches: set[DispatchState]
) -> Standing:
    if study.held_reason is not None:
        return Standing.HELD
    if study.state == StudyState.RECEIVING or version is None:
        return Standing.KEPT if study.state == StudyState.CLOSED else Standing.RECEIVING
    if version.state != VersionState.FINISHED:
        return Standing(version.state)
    if not all(state.is_final for state in dispatches):
        return Standing.DELIVERING
    is_undelivered = version.error or DispatchState.DEAD in dispatches
    return Standing.UNDELIVERED if is_undelivered else Standing.DONE


def _error(version: sa.Row[Any] | None, dispatches: Sequence[sa.Row[Any]]) -> str | None:
    errors = [f"{row.destination}: {row.error}" for row in dispatches if row.error]
    if version is not None and version.error:
        errors.append(version.error)
    return "; ".join(errors) or None


def _views(alike: sa.Row[Any]) -> list[str]:
    name = f"{alike.view}{'' if alike.is_standard else ' (not a standard view)'}"
    return [name] * alike.how_many


def _model(row: sa.Row[Any], depth: Depth) -> ModelOverview:
    result = None if row.result is None else _RESULT.validate_json(row.result)
    brief, level, score, analysed = row.brief, row.level, row.score, row.analysed
    refused = json.loads(row.refusals) if row.refusals else {}
    if result is not None and brief is None:  # a release before 0013 wrote it
        brief, level = wording.outcome(result), result.triage.level if result.triage else None
        score, analysed = deciding_score(result), len(result.analysed)
        refused = dict(Counter(refusal.reason for refusal in result.refused))
    if result is not None and depth is not Depth.WHOLE:
        result = None if depth is Depth.ROW else _without_outlines(result)
    return ModelOverview(
        model=row.model,
        version=row.model_version,
        mode=row.mode,
        result=result,
        outcome=brief or _without_result(row),
        level="" if level is None else str(level),
        score=score,
        analysed=analysed,
        refused=refused,
        finished_at=row.finished_at,
    )


def _without_result(row: sa.Row[Any]) -> str:
    """Say what there is of a model's work whose result is not here: not yet, or not any more."""
    if row.finished_at is None:
        return "pending"
    of_it = [] if row.analysed is None else [f"{counted(row.analysed, 'image')} analysed"]
    of_it += [] if row.level is None else [f"triage level {row.level}"]
    return "; ".join(filter(None, [", ".join(of_it), "what it said is forgotten"]))


def _without_outlines(result: Result) -> Result:
    return replace(
        result,
        findings=tuple(
            replace(finding, region=replace(finding.region, outline=()))
            for finding in result.findings
        ),
        heat_maps=tuple(replace(heat_map, values="") for heat_map in result.heat_maps),
    )


_RESULT = TypeAdapter(Result)
