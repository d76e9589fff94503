"""Where every study stands, many in one read: what `ai-node studies` and the demonstration show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from node.ledger import (
    DeliveryState,
    DispatchState,
    HeldBecause,
    InstanceState,
    Ledger,
    Mode,
    StudyState,
    VersionState,
    damaged_in,
    now,
    schema,
)
from node.outputs import wording
from node.result import Priority, Result
from node.triage import NO_MODEL, FormerLevel, change_in_words


class Standing(StrEnum):
    """Where a study stands."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    RUNNING = "running"
    DELIVERING = "delivering"
    DONE = "done"
    UNDELIVERED = "undelivered"
    """Results are there, and do not reach everybody who should have them."""
    HELD = "held"
    """Nothing of it is analysed or sent before a person has looked."""
    CANCELLED = "cancelled"
    OUT_OF_SCOPE = "out of scope"
    EXCLUDED = "excluded"
    """It is analysed only if a person says so."""
    WITHDRAWN = "withdrawn"
    """No image of it is left that may be used."""
    KEPT = "kept"
    """Nothing but objects that say nothing."""


@dataclass(frozen=True, slots=True)
class ModelOverview:
    """One model's work on the newest version of a study."""

    model: str
    version: str
    mode: Mode
    result: Result | None
    outcome: str
    """What came of it, in a line."""
    level: str
    """The triage level that it gives, "" if it does not triage; of one in shadow, for nobody."""


@dataclass(frozen=True, slots=True)
class DeliveryOverview:
    """One object at one destination."""

    destination: str
    sop_uid: str
    state: DeliveryState
    error: str | None
    sent_at: float | None
    confirmed_by: str | None
    """How that was found out, as its destination calls it: commitment, find."""
    next_at: float | None
    """When its destination is tried or asked again; None if that is not put off."""


@dataclass(frozen=True, slots=True)
class StudyOverview:
    """Where a study stands. Times are epoch seconds, UTC."""

    study_uid: str
    sender: str
    state: Standing
    """Where there is more to say of it, `error` does."""
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
    held_because: HeldBecause | None
    damaged: tuple[str, ...] = ()
    """Why objects of it were refused as damaged, a reason for each."""
    level: str = ""
    """The study's triage level, "" if no model gives one. Of the newest finished version; higher
    while the study is held, or a version is being analysed that has found more."""
    levels: tuple[tuple[int, str], ...] = ()
    """The level of each version that had one."""
    level_words: str = ""
    """What it was before, if it was another: "urgent in version 1, now routine"."""
    waiting_s: float | None = None
    """Since the last image; None if no model gives a level."""

    @property
    def refusals(self) -> list[str]:
        """What was not analysed and why, a line for each reason; what models say alike, once."""
        results = [model.result for model in self.models if model.result is not None]
        return wording.refusals(dict.fromkeys(r for result in results for r in result.refused))


_NO_IMAGES = ("KO", "PR", "SR")
_BATCH = 100
"""Studies that are read at once: by as many queries as one study, and by as much memory as these.

Each batch is a transaction of its own: whoever reads slowly, as at the end of a pipe, must keep
none open.
"""


WAITS_S = 7 * 86_400.0
"""How long after its last image a study stands where its level puts it. Nobody tells the node
what has been read: behind that it stands among the others, the newest first."""


def study_overviews(ledger: Ledger) -> list[StudyOverview]:
    """Return every study, in the order of `each_study`, with all that was found."""
    return list(each_study(ledger, with_outlines=True))


def each_study(ledger: Ledger, *, with_outlines: bool = False) -> Iterator[StudyOverview]:
    """Yield every study; outlines and heat maps are empty unless asked for.

    Urgent, soon, not assessed, of each the one first that has waited longest; then all others, the
    newest first. There may be very many: no more than a batch of them is in memory.
    """
    with ledger.reading() as db:
        study_uids = db.execute(_in_order()).scalars().all()
    for first in range(0, len(study_uids), _BATCH):
        with ledger.reading() as db:
            batch = _read(db, study_uids[first : first + _BATCH])
        for study in batch.studies:
            yield _overview(batch, study, with_outlines)


def _in_order() -> sa.Select[Any]:
    table = schema.study
    waits = sorted(level for level in Priority if level > Priority.ROUTINE)
    rank = sa.case(
        (table.c.last_at < now() - WAITS_S, 0),
        *((table.c.level == level, place) for place, level in enumerate(waits, start=1)),
        else_=0,
    )
    since = sa.case((rank > 0, table.c.last_at), else_=0.0)
    return sa.select(table.c.study_uid).order_by(rank.desc(), since, table.c.last_at.desc())


_Rows = Mapping[str, Sequence[sa.Row[Any]]]
"""By Study Instance UID."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """What the tables say of some studies; where there are versions, of the newest."""

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
    damaged: Mapping[str, Sequence[str]]
    """Why objects were refused as damaged."""


def _read(db: sa.Connection, study_uids: Sequence[str]) -> _Batch:
    query = sa.select(schema.study, now().label("read_at"))
    query = query.where(schema.study.c.study_uid.in_(study_uids))
    found = {row.study_uid: row for row in db.execute(query)}
    studies = [found[study_uid] for study_uid in study_uids if study_uid in found]
    numbers = {study.study_uid: study.version for study in studies}
    return _Batch(
        studies=studies,
        versions=_of_newest(db, schema.study_version, numbers),
        dispatches=_of_newest(db, schema.dispatch, numbers),
        deliveries=_of_newest(db, schema.delivery, numbers),
        analyses=_of_newest(db, schema.analysis, numbers),
        levels=_by_study(db, _levels(study_uids)),
        images=_by_study(db, _images(study_uids)),
        history=_by_study(db, _history(study_uids)),
        damaged=damaged_in(db, study_uids),
    )


def _of_newest(db: sa.Connection, table: sa.Table, numbers: Mapping[str, int]) -> _Rows:
    """Read the rows of the newest versions, whose numbers these are."""
    query = sa.select(table).where(
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


def _overview(batch: _Batch, study: sa.Row[Any], with_outlines: bool) -> StudyOverview:
    uid, number = study.study_uid, study.version
    closed = next(iter(batch.versions[uid]), None)
    dispatches, images = batch.dispatches[uid], batch.images[uid]
    deliveries = _deliveries(batch.deliveries[uid], dispatches)
    state = _state(study, closed, {row.state for row in dispatches})
    sent = [delivery.sent_at for delivery in deliveries if delivery.sent_at]
    levels = tuple(FormerLevel(row.number, row.level) for row in batch.levels[uid])
    last_at = closed.last_image_at if closed and state != Standing.RECEIVING else study.last_at
    return StudyOverview(
        study_uid=uid,
        sender=study.sender,
        state=state,
        version=number,
        reason=closed.reason if closed else "",
        images=sum(row.how_many for row in images if row.modality not in _NO_IMAGES),
        views=tuple(sorted(name for row in images if row.view for name in _views(row))),
        models=tuple(_model(row, with_outlines) for row in batch.analyses[uid]),
        deliveries=deliveries,
        history=tuple((row.at, row.event) for row in batch.history[uid]),
        last_at=last_at,
        closed_at=closed.closed_at if closed else None,
        done_at=max(sent) if sent and state == Standing.DONE else None,
        error=study.held_reason or _error(closed, dispatches),
        held_because=study.held_because,
        damaged=tuple(batch.damaged.get(uid, ())),
        level="" if study.level is None else str(study.level),
        levels=tuple((one.number, str(one.level)) for one in levels),
        level_words=change_in_words(levels, study.level, _why_no_level(closed)),
        waiting_s=None if study.level is None else study.read_at - last_at,
    )


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
    return tuple(
        DeliveryOverview(
            destination=row.destination,
            sop_uid=row.sop_uid,
            state=row.state,
            error=row.error,
            sent_at=row.sent_at,
            confirmed_by=row.confirmed_by,
            next_at=next_at.get(row.destination),
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


def _model(row: sa.Row[Any], with_outlines: bool) -> ModelOverview:
    result = None if row.result is None else _RESULT.validate_json(row.result)
    if result is not None and not with_outlines:
        result = _without_outlines(result)
    return ModelOverview(
        model=row.model,
        version=row.model_version,
        mode=row.mode,
        result=result,
        outcome=_outcome(result),
        level=str(result.triage.level) if result and result.triage else "",
    )


def _without_outlines(result: Result) -> Result:
    return replace(
        result,
        findings=tuple(
            replace(finding, region=replace(finding.region, outline=()))
            for finding in result.findings
        ),
        heat_maps=tuple(replace(heat_map, values="") for heat_map in result.heat_maps),
    )


def _outcome(result: Result | None) -> str:
    if result is None:
        return "pending"
    if not result.analysed:
        why_not = f"not analysed: {result.reason}"
        return "; ".join(filter(None, [wording.level_in_brief(result), why_not]))
    total = len(result.analysed) + len(result.refused)
    words = [f"{len(result.analysed)} of {total} images analysed"]
    words = [*filter(None, [wording.level_in_brief(result)]), *words]
    words += [wording.found(result)] if result.looked_for else []
    words += [line for evaluation in result.evaluations for line in wording.in_brief(evaluation)]
    return "; ".join(words)


_RESULT = TypeAdapter(Result)
