"""2 Settle."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.coming_back import ask_back
from node.ledger.damaged import damaged_in
from node.ledger.database import Ledger
from node.ledger.order import due_at
from node.ledger.records import Arrival, ArrivalPart, Closing, Enqueue, Job, StudyArriving
from node.ledger.rows import (
    SHOWN,
    add_note,
    as_instance,
    change_level,
    hold,
    is_held,
    lock_study,
    newest_version,
    raise_level,
    shown_in,
    update_study,
    update_version,
)
from node.ledger.states import HeldBecause, InstanceState, StudyState, VersionState
from node.numbers_in_words import counted
from node.result import Priority
from node.store import Store
from node.study import Instance, Shown

log = logging.getLogger(__name__)

_AT_ONCE = 20
"""Instances to score as they arrive: while they are, others come, and other nodes claim theirs."""


@dataclass(frozen=True, slots=True)
class Settling:
    """When a study is complete."""

    ledger: Ledger

    def arriving(
        self,
        *,
        quiet_s: float = 0,
        age_s: float = 0,
        ended_s: float | None = None,
        among: Collection[str] | None = None,
    ) -> list[StudyArriving]:
        """Return the studies that are being received, all or those among these.

        Not those that nothing can be said of yet: what still comes, that is neither `quiet_s`
        quiet nor `age_s` old, nor `ended_s` quiet with no association open that brought images of
        it. None of the objects is looked at, however many there are.
        """
        study, is_wanted = schema.study, _is_received()
        quiet, age = now() - study.c.last_at, now() - study.c.first_at
        is_due = (quiet >= quiet_s) | (age >= age_s)
        if ended_s is not None:
            is_due |= (quiet >= ended_s) & ~sa.exists().where(_is_open(self.ledger.dead_after_s))
        if among is not None:
            is_wanted &= study.c.study_uid.in_(sorted(among))
        query = sa.select(study.c.study_uid, quiet.label("quiet_s"), age.label("age_s"))
        with self.ledger.reading() as db:
            rows = db.execute(query.where(is_wanted & is_due)).all()
        return [StudyArriving(row.study_uid, row.quiet_s, row.age_s) for row in rows]

    def arrival(self, study_uid: str) -> Arrival | None:
        """Return what is known of a study that is being received; None if it is not any more."""
        found = self._read(_is_received() & (schema.study.c.study_uid == study_uid))
        return found[0] if found else None

    def held_below(self, level: Priority) -> list[Arrival]:
        """Return the studies that are held and have no triage level as high as this one."""
        study = schema.study
        lower = [one for one in Priority if one < level]
        is_below = study.c.level.is_(None) | study.c.level.in_(lower)
        return self._read(study.c.held_reason.is_not(None) & is_below)

    def _read(self, is_wanted: sa.ColumnElement[bool]) -> list[Arrival]:
        study = schema.study
        query = sa.select(
            study.c.study_uid,
            study.c.sender,
            study.c.last_at,
            (now() - study.c.last_at).label("quiet_s"),
            (now() - study.c.first_at).label("age_s"),
            study.c.version,
            study.c.revision,
            study.c.revision_reason,
            study.c.is_by_hand,
            sa.select(sa.func.count())
            .where(_is_open(self.ledger.dead_after_s))
            .scalar_subquery()
            .label("open_associations"),
            (_came_with(sa.func.min) == _came_with(sa.func.max)).label("came_with_one"),
        )
        with self.ledger.reading() as db:
            rows = db.execute(query.where(is_wanted)).all()
            return [_arrival(db, row) for row in rows]

    def shown_in_detail(self, study_uid: str) -> tuple[Shown, ...]:
        """Return what each object of a study shows, with its details, in the order they came.

        Of thousands, this is megabytes: for what is judged by them, and once as long as the
        arrival has the same `last_at` and `revision`.
        """
        table = schema.instance
        query: sa.Select[Any] = sa.select(*SHOWN, table.c.details)
        of_study = query.where(
            table.c.study_uid == study_uid, table.c.state == InstanceState.CURRENT
        )
        with self.ledger.reading() as db:
            rows = db.execute(of_study.order_by(table.c.received_at, table.c.sop_uid))
            return tuple(replace(shown_in(row), details=row.details or "") for row in rows)

    def leave_unassessed(self, study_uid: str, *, is_demonstration: bool = False) -> None:
        """Let a held study that a model was to judge stand before routine.

        `is_demonstration`: none but demonstrations were to.
        """
        with self.ledger.writing() as db:
            study = lock_study(db, study_uid)
            level = Priority.NOT_ASSESSED
            if not is_held(study) or not raise_level(
                db, study, level, is_demonstration=is_demonstration
            ):
                return
            newest = newest_version(db, study)
            if newest is not None and newest.state == VersionState.CANCELLED:
                job = Job("process", study_uid, newest.number, newest.attempt)
                by_whom = {"level": level, "is_demonstration": is_demonstration}
                db.execute(update_version(job).values(by_whom))
            before = "" if study.level is None else f"{study.level} before, now "
            add_note(db, study_uid, f"triage level: {before}not assessed: the study is held")

    def ask_back(self, study_uid: str, removed: int) -> None:
        """Have what was removed of a study asked for; until that has ended, the study waits."""
        with self.ledger.writing() as db:
            lock_study(db, study_uid)
            if ask_back(db, study_uid):
                images = counted(removed, "image")
                words = f"{images} of it removed, needed for a new report: asked back"
                add_note(db, study_uid, words)
                log.info("Study %s: %s", study_uid, words, extra={"study": study_uid})

    def hold_unjudged(self, arrival: Arrival, why: str) -> bool:
        """Hold a study that cannot be judged, for a person; not if it changed since it was read."""
        with self.ledger.writing() as db:
            study = lock_study(db, arrival.study_uid)
            if study.state != StudyState.RECEIVING or study.last_at != arrival.last_at:
                return False
            hold(db, arrival.study_uid, HeldBecause.UNKNOWN, why)
            return True

    def close_version(self, arrival: Arrival, closing: Closing, enqueue: Enqueue) -> bool:
        """Close the study as a new version, and enqueue its processing if it is to be analysed.

        Changes nothing and returns False if an image has come since the arrival was read.
        """
        with self.ledger.writing() as db:
            study = lock_study(db, arrival.study_uid)
            is_as_read = study.last_at == arrival.last_at and not is_held(study)
            if study.state != StudyState.RECEIVING or not is_as_read:
                return False
            number = study.version + 1
            db.execute(
                update_study(study.study_uid).values(state=StudyState.CLOSED, version=number)
            )
            db.execute(
                schema.instance.update()
                .where(schema.instance.c.study_uid == study.study_uid)
                .where(
                    schema.instance.c.version.is_(None),
                    schema.instance.c.state == InstanceState.CURRENT,
                )
                .values(version=number)
            )
            _cancel_older(db, study.study_uid, number)
            at = db.execute(sa.select(now())).scalar_one()
            due = due_at(closing.stage, study.level, at, closing.sender_priority)
            _insert_version(db, study, number, closing, len(arrival.damaged), due)
            words = f"version {number} closed: {closing.reason}"
            add_note(
                db,
                study.study_uid,
                words if closing.why_not is None else f"{words}; {closing.why_not}",
            )
            if closing.state == VersionState.QUEUED:
                enqueue(db, Job("process", study.study_uid, number, attempt=1, due_at=due))
            elif study.level is not None:
                change_level(db, study, None, is_demonstration=False)
                words = f"triage level of version {number}: {study.level} before, now none"
                add_note(db, study.study_uid, f"{words}: nothing is analysed")
            return True


@dataclass(frozen=True, slots=True)
class Claiming:
    """What may be scored before its study is complete."""

    ledger: Ledger

    def arriving(self, store: Store, modalities: Collection[str]) -> list[Instance]:
        """Return what has come of studies that will be analysed, and was not claimed.

        The first few of these modalities: there is more until nothing is returned.
        """
        study, instance = schema.study, schema.instance
        query = (
            sa.select(instance)
            .join(study, study.c.study_uid == instance.c.study_uid)
            .where(study.c.state == StudyState.RECEIVING, study.c.held_reason.is_(None))
            .where(instance.c.modality.in_(sorted(modalities)))
            # In the words of the index, or PostgreSQL does not know that it may use it.
            .where(instance.c.state == sa.literal_column(f"'{InstanceState.CURRENT}'"))
            .where(instance.c.version.is_(None), instance.c.warmed_at.is_(None))
            .where(study.c.is_by_hand | instance.c.why_excluded.is_(None))
            .where(instance.c.removed_at.is_(None))
            .order_by(instance.c.received_at, instance.c.sop_uid)
            .limit(_AT_ONCE)
        )
        with self.ledger.reading() as db:
            return [as_instance(row, store) for row in db.execute(query).all()]

    def is_arriving(self, study_uid: str) -> bool:
        """Return whether a study is not complete yet, and may be analysed once it is."""
        study = schema.study
        is_it = (study.c.study_uid == study_uid) & (study.c.state == StudyState.RECEIVING)
        query = sa.select(study.c.study_uid).where(is_it, study.c.held_reason.is_(None))
        with self.ledger.reading() as db:
            return db.execute(query).first() is not None

    def is_any_waiting(self) -> bool:
        """Return whether a study that is complete waits for its turn.

        One that is tried again after a failure is not counted: it may wait for long.
        """
        table = schema.study_version
        fails = table.c.crashes + table.c.failures + table.c.troubles > 0
        query = sa.select(table.c.number).where(table.c.state == VersionState.QUEUED, ~fails)
        with self.ledger.reading() as db:
            return db.execute(query.limit(1)).first() is not None

    def claim(self, sop_uid: str) -> bool:
        """Return whether the caller is the first to score an instance as it arrives.

        Once and never again, by whichever node: an image that kills its process has killed one.
        """
        table = schema.instance
        unclaimed = (table.c.sop_uid == sop_uid) & table.c.warmed_at.is_(None)
        with self.ledger.writing() as db:
            return db.execute(table.update().where(unclaimed).values(warmed_at=now())).rowcount == 1

    def pass_over(self, sop_uids: Collection[str]) -> None:
        """Claim instances that no model reads, all at once: they are not to be looked at again."""
        if not sop_uids:
            return
        table = schema.instance
        unclaimed = table.c.sop_uid.in_(sorted(sop_uids)) & table.c.warmed_at.is_(None)
        with self.ledger.writing() as db:
            db.execute(table.update().where(unclaimed).values(warmed_at=now()))


def _insert_version(
    db: sa.Connection, study: sa.Row[Any], number: int, closing: Closing, damaged: int, due: float
) -> None:
    db.execute(
        schema.study_version.insert().values(
            study_uid=study.study_uid,
            number=number,
            reason=closing.reason,
            state=closing.state,
            error=closing.why_not,
            revision=study.revision,
            damaged=damaged,
            stage=closing.stage,
            due_at=due,
            closed_at=now(),
            directions=_as_json(closing.directions),
            last_image_at=study.last_at,
        )
    )
    for planned in closing.analyses:
        db.execute(
            schema.analysis.insert().values(
                study_uid=study.study_uid,
                number=number,
                model=planned.model,
                model_version=planned.model_version,
                weights_sha256=planned.weights_sha256,
                mode=planned.mode,
                package_digest=planned.package_digest,
                levels_from=None
                if planned.levels_from is None
                else json.dumps(planned.levels_from),
            )
        )


def _as_json(directions: Mapping[str, Collection[str]] | None) -> str | None:
    if directions is None:
        return None
    return json.dumps({name: sorted(kinds) for name, kinds in directions.items()})


def _cancel_older(db: sa.Connection, study_uid: str, number: int) -> None:
    """Cancel what is still queued for older versions; what runs finds out when it commits."""
    cancelled = 0
    for table, states in schema.WORK.items():
        cancelled += db.execute(
            table.update()
            .where(table.c.study_uid == study_uid, table.c.number < number)
            .where(table.c.state == states.QUEUED)
            .values(state=states.CANCELLED, error="a newer version exists")
        ).rowcount
    if cancelled:
        add_note(db, study_uid, f"what was queued of versions before {number} is cancelled")


def _arrival(db: sa.Connection, study: sa.Row[Any]) -> Arrival:
    return Arrival(
        study_uid=study.study_uid,
        sender=study.sender,
        parts=_parts(db, study.study_uid),
        last_at=study.last_at,
        quiet_s=study.quiet_s,
        age_s=study.age_s,
        open_associations=study.open_associations,
        came_with_one=bool(study.came_with_one),
        is_by_hand=study.is_by_hand,
        revision_reason=_why_revised(db, study),
        revision=study.revision,
        damaged=tuple(damaged_in(db, [study.study_uid]).get(study.study_uid, ())),
        why_withdrawn=_why_withdrawn(db, study),
    )


def _parts(db: sa.Connection, study_uid: str) -> tuple[ArrivalPart, ...]:
    """Return what there is in a study, in the order in which it came."""
    table = schema.instance
    what = (*SHOWN, table.c.why_excluded)
    removed = sa.func.count(table.c.removed_at).label("removed")
    query: sa.Select[Any] = sa.select(*what, removed).group_by(*what)
    of_study = query.where(table.c.study_uid == study_uid, table.c.state == InstanceState.CURRENT)
    rows = db.execute(of_study.order_by(sa.func.min(table.c.received_at))).all()
    return tuple(ArrivalPart(shown_in(row), row.why_excluded, row.removed) for row in rows)


def _is_received() -> sa.ColumnElement[bool]:
    """Return which studies may become complete: nothing else must be seen to before."""
    study, asked_back = schema.study, schema.asked_back
    is_received = (study.c.state == StudyState.RECEIVING) & study.c.held_reason.is_(None)
    return is_received & ~sa.exists().where(asked_back.c.study_uid == study.c.study_uid)


def _is_open(dead_after_s: float) -> sa.ColumnElement[bool]:
    """Return which associations are open, of a node that lives, that brought images of a study.

    Each that is open is asked for in the index of the study: they are few, and its objects many.
    """
    instance, association, node = schema.instance, schema.association, schema.node
    has_brought = sa.exists().where(
        instance.c.study_uid == schema.study.c.study_uid,
        instance.c.association_id == association.c.id,
        instance.c.state == InstanceState.CURRENT,
    )
    return sa.and_(
        association.c.closed_at.is_(None),
        association.c.node_id == node.c.id,
        node.c.stopped_at.is_(None),
        node.c.beat_at > now() - dead_after_s,
        has_brought.correlate(schema.study, association),
    )


def _came_with(most: Any) -> sa.ScalarSelect[str]:
    """Return the first or last association of a study: one step each in the index."""
    instance = schema.instance
    query = sa.select(most(instance.c.association_id))
    return query.where(instance.c.study_uid == schema.study.c.study_uid).scalar_subquery()


def _why_revised(db: sa.Connection, study: sa.Row[Any]) -> str | None:
    """Return what has changed of the images since the newest version was closed."""
    version = schema.study_version
    query = sa.select(version.c.revision).where(version.c.study_uid == study.study_uid)
    closed_at = db.execute(query.where(version.c.number == study.version)).scalar_one_or_none()
    is_revised = closed_at is not None and closed_at != study.revision
    return study.revision_reason if is_revised else None


def _why_withdrawn(db: sa.Connection, study: sa.Row[Any]) -> str | None:
    instance, rejection = schema.instance, schema.rejection
    query = (
        sa.select(rejection.c.reason)
        .join(instance, instance.c.sop_uid == rejection.c.sop_uid)
        .where(rejection.c.study_uid == study.study_uid)
        .where(instance.c.study_uid == study.study_uid)
        # By this release or, in its words, by the former one.
        .where(instance.c.state.not_in((InstanceState.CURRENT, InstanceState.OWN)))
    )
    return db.execute(query.order_by(rejection.c.reason).limit(1)).scalar_one_or_none()
