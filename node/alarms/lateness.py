"""Rules about what is urgent: urgent-late, and no-triage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from node.alarms.watched import Watched, first_few, is_newest
from node.ledger import (
    DeliveryState,
    DispatchState,
    Mode,
    Trouble,
    VersionState,
    now,
    schema,
)
from node.ledger.states import MessageKind
from node.numbers_in_words import counted, counted_studies
from node.overview.figures import LATELY_S
from node.overview.health import Alarm
from node.result import Priority
from node.triage import may_rank

_OPEN = (DispatchState.QUEUED, DispatchState.RUNNING, DispatchState.DEAD)
_AT_LEAST = 3
"""Studies that a model should have judged and has not, before it is said that it judges none: of
one, it may have had good reason."""
_JUDGED = (Priority.ROUTINE, Priority.SOON, Priority.URGENT)
_READ_FIRST = "have the studies read now: the page and `ai-node studies` name them"


@dataclass(frozen=True, slots=True)
class _Late:
    study_uid: str
    since: float
    is_taken: bool = False
    is_given_up: bool = False
    is_message: bool = False
    error: str = ""


def urgent_late(watched: Watched) -> Iterator[Trouble]:
    """Yield each destination that urgent results have not reached in time.

    And "report" for those that are not even built. What somebody has marked as read is late for
    nobody.
    """
    late: dict[str, list[_Late]] = {}
    with watched.ledger.reading() as db:
        for destination, found in (*_of_dispatches(db, watched), *_of_messages(db, watched)):
            late.setdefault(destination, []).append(found)
        unbuilt = _unbuilt(db, watched)
    for destination, found_late in late.items():
        yield _of_destination(watched, destination, sorted(found_late, key=lambda one: one.since))
    if unbuilt:
        uids = [one.study_uid for one in unbuilt]
        yield Trouble(
            "urgent-late",
            "report",
            Alarm.ACT,
            f"the results of {_urgent(len(uids))} are not built, and so sent to nobody",
            f"{_READ_FIRST}; `ai-node status` says what the node does instead",
            unbuilt[0].since,
            unbuilt[-1].since,
            first_few(uids),
        )


def _of_destination(watched: Watched, destination: str, found: list[_Late]) -> Trouble:
    uids = [one.study_uid for one in found]
    error = next((one.error for one in found if one.error), "")
    where, urgent = watched.destination(destination), _urgent(len(uids))
    remedy = "`ai-node doctor` examines it; what waits is sent by itself"
    if all(one.is_taken for one in found):
        words = f"{where} took the results of {urgent} and has not confirmed them"
        remedy = "see in it that they are there"
    else:
        lacks = (
            "has not acknowledged the triage level" if found[0].is_message else "lacks the results"
        )
        words = f"{where} {lacks} of {urgent}"
        if any(one.is_given_up for one in found):
            words += ", of which some were given up"
            remedy = "`ai-node doctor` examines it; mend that, then `ai-node retry`"
    words += f": {error}" if error else ""
    urgency = Alarm.LOOK if all(one.is_taken for one in found) else Alarm.ACT
    return Trouble(
        "urgent-late",
        destination,
        urgency,
        words,
        f"{_READ_FIRST}; then {remedy}",
        found[0].since,
        found[-1].since,
        first_few(uids),
    )


def _urgent(count: int) -> str:
    return counted(count, "urgent study", "urgent studies")


def _found_at() -> sa.ColumnElement[float]:
    """Return when a version of a study was found to be urgent: by its first model that says so."""
    version, analysis = schema.study_version, schema.analysis
    first = sa.select(sa.func.min(analysis.c.finished_at)).where(
        analysis.c.study_uid == version.c.study_uid,
        analysis.c.number == version.c.number,
        analysis.c.mode == Mode.DELIVER,
        analysis.c.level == Priority.URGENT,
    )
    return sa.func.coalesce(first.scalar_subquery(), version.c.finished_at, version.c.closed_at)


def _of_dispatches(db: sa.Connection, watched: Watched) -> Iterator[tuple[str, _Late]]:
    study, version = schema.study, schema.study_version
    dispatch, delivery = schema.dispatch, schema.delivery
    is_its = [delivery.c[key] == dispatch.c[key] for key in ("study_uid", "number", "destination")]
    untaken = sa.select(sa.func.count()).select_from(delivery)
    untaken = untaken.where(*is_its, delivery.c.state == DeliveryState.QUEUED)
    # Of one that was held and released, or sent again by hand, the time begins anew.
    asked_at = dispatch.c.deadline_at - watched.config.delivery.deliver_within_s
    query = (
        sa.select(
            dispatch.c.destination,
            dispatch.c.study_uid,
            dispatch.c.state,
            dispatch.c.error,
            _found_at().label("found_at"),
            asked_at.label("asked_at"),
            sa.func.coalesce(version.c.finished_at, version.c.closed_at).label("ready_at"),
            untaken.scalar_subquery().label("untaken"),
            now().label("at"),
        )
        .select_from(
            dispatch.join(study, is_newest(dispatch) & _is_unread()).join(
                version,
                (version.c.study_uid == dispatch.c.study_uid)
                & (version.c.number == dispatch.c.number),
            )
        )
        .where(dispatch.c.state.in_(_OPEN), version.c.level == Priority.URGENT)
    )
    for row in db.execute(query):
        since = row.found_at
        if row.ready_at < row.asked_at <= row.at:
            since = max(since, row.asked_at)
        is_dead = row.state == DispatchState.DEAD
        late_s = row.at - since
        if late_s > watched.config.alarms.urgent_within_s and not (is_dead and late_s > LATELY_S):
            error = row.error or ""
            found = _Late(
                row.study_uid, since, row.untaken == 0 and not is_dead, is_dead, error=error
            )
            yield row.destination, found


def _of_messages(db: sa.Connection, watched: Watched) -> Iterator[tuple[str, _Late]]:
    study, message = schema.study, schema.message
    within_s = watched.config.alarms.urgent_within_s
    is_late = message.c.made_at < now() - within_s
    is_old = (message.c.state == DispatchState.DEAD) & (message.c.made_at < now() - LATELY_S)
    query = (
        sa.select(message)
        .select_from(message.join(study, (study.c.study_uid == message.c.study_uid) & _is_unread()))
        .where(message.c.state.in_(_OPEN), is_late, sa.not_(is_old))
        .where(message.c.kind == MessageKind.LEVEL, message.c.level == Priority.URGENT)
    )
    for row in db.execute(query):
        is_dead = row.state == DispatchState.DEAD
        error = row.error or ""
        found = _Late(row.study_uid, row.made_at, False, is_dead, is_message=True, error=error)
        yield row.destination, found


def _is_unread() -> sa.ColumnElement[bool]:
    """Return that nobody has read a study, and that it is not held: of those another rule tells."""
    return schema.study.c.read_at.is_(None) & schema.study.c.held_reason.is_(None)


def _unbuilt(db: sa.Connection, watched: Watched) -> list[_Late]:
    """Return the studies found to be urgent whose reports are still to come, the first first."""
    study, version, analysis = schema.study, schema.study_version, schema.analysis
    query = (
        sa.select(version.c.study_uid, analysis.c.finished_at, now())
        .select_from(
            version.join(study, is_newest() & _is_unread()).join(
                analysis,
                (analysis.c.study_uid == version.c.study_uid)
                & (analysis.c.number == version.c.number),
            )
        )
        .where(version.c.state.in_((VersionState.QUEUED, VersionState.RUNNING)))
        .where(version.c.level == Priority.URGENT, analysis.c.level == Priority.URGENT)
        .where(analysis.c.mode == Mode.DELIVER)
        .order_by(analysis.c.finished_at)
    )
    within_s = watched.config.alarms.urgent_within_s
    found: dict[str, _Late] = {}
    for study_uid, found_at, at in db.execute(query):
        if found_at is not None and at - found_at > within_s:
            found.setdefault(study_uid, _Late(study_uid, found_at))
    return list(found.values())


def no_triage(watched: Watched) -> Iterator[Trouble]:
    """Yield each model that should judge studies, which come, and has judged none for long."""
    hours = watched.config.alarms.no_triage_hours
    modes = {model.name: model.mode for model in watched.config.models}
    for name, model in watched.models.items():
        ranks = may_rank(
            model.identity, demonstration_may_rank=watched.config.triage.demonstration_may_rank
        )
        if model.manifest.triage is None or modes[name] != "deliver" or not ranks:
            continue
        with watched.ledger.reading() as db:
            count, since, at, last = _unjudged(db, name)
        if count < _AT_LEAST or since is None or at - since < hours * 3600:
            continue
        before = "since the last that it judged" if last is not None else "and none before"
        yield Trouble(
            "no-triage",
            name,
            Alarm.ACT,
            f"{name} has judged none of the {counted_studies(count)} that came, {before}",
            "read in the order of arrival until it is mended; `ai-node studies` says what became "
            "of each, `ai-node status` how the node is",
            since,
        )


def _unjudged(db: sa.Connection, model: str) -> tuple[int, float | None, float, float | None]:
    """Return how many studies came since the last that a model judged, since when, and now."""
    version, analysis = schema.study_version, schema.analysis
    its = analysis.c.model == model, analysis.c.mode == Mode.DELIVER
    newest = analysis.c.finished_at.desc()
    judged = sa.select(analysis.c.finished_at).where(*its, analysis.c.finished_at.is_not(None))
    judged = judged.where(analysis.c.level.in_(_JUDGED)).order_by(newest).limit(1)
    last = db.execute(judged).scalar_one_or_none()
    # In vain: it could not, or the study was given up.
    vain = sa.select(sa.func.count(), sa.func.min(analysis.c.finished_at), now())
    vain_count, vain_since, at = db.execute(
        vain.where(*its, analysis.c.finished_at > (last or 0.0))
    ).one()
    is_its = (analysis.c.study_uid == version.c.study_uid) & (analysis.c.number == version.c.number)
    waiting = sa.select(sa.func.count(), sa.func.min(version.c.closed_at))
    waiting = waiting.select_from(version.join(analysis, is_its)).where(
        version.c.state.in_((VersionState.QUEUED, VersionState.RUNNING)),
        analysis.c.finished_at.is_(None),
        *its,
    )
    count, since = db.execute(waiting).one()
    times = [one for one in (vain_since, since) if one is not None]
    return vain_count + count, min(times, default=None), at, last
