"""Our tables and every transaction on them: the truth about each study.

Every read-decide-write first locks the study's row: FOR UPDATE on PostgreSQL, on SQLite a
transaction that begins with BEGIN IMMEDIATE. Times are the database's, never the process's.
Whoever commits work says which attempt he is; an attempt that is no longer the current one
changes nothing (Superseded).
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import alembic.command
import alembic.config
import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry

from node import schema
from node.errors import Superseded
from node.files import Store
from node.identity import UNSAID, disagree
from node.result import ImageScore, Result
from node.study import Instance, Laterality, StudyVersion, View

log = logging.getLogger(__name__)

HEARTBEAT_EXPIRES_S = 30
"""A node that has not beaten for this long is taken for dead."""

QUARANTINE_AFTER = 2
"""Crashes after which a study is processed alone."""

DELAY_PER_CRASH_S = 2.0

SET_ASIDE_AFTER = 5
"""Crashes, or failures, after which a study is answered "not analysed", its pixels untouched."""

_UNSAID = " ".join([UNSAID] * 3)
"""The identity of an object that does not say whose it is."""


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


class Ledger:
    """The database. Safe to use from many threads."""

    def __init__(self, url: str) -> None:
        self._engine = _create_engine(url)
        self._writer = self._engine.execution_options(is_write=True)
        self._turn = threading.Lock()

    # Life ---------------------------------------------------------------------------------

    def migrate(self) -> None:
        """Bring the schema up to date."""
        settings = alembic.config.Config()
        settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._writing() as db:
            settings.attributes["connection"] = db
            alembic.command.upgrade(settings, "head")
            if db.execute(sa.select(schema.installation.c.id)).first() is None:
                db.execute(
                    schema.installation.insert().values(id=str(uuid.uuid4()), created_at=now())
                )

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def register_node(self, node_id: str) -> None:
        """Record that a process has started."""
        with self._writing() as db:
            db.execute(schema.node.insert().values(id=node_id, started_at=now(), beat_at=now()))

    def beat(self, node_id: str) -> None:
        """Record that a process is alive."""
        with self._writing() as db:
            db.execute(_node(node_id).values(beat_at=now()))

    def retire_node(self, node_id: str) -> None:
        """Record a clean stop; what it was running is released and counts as no crash."""
        with self._writing() as db:
            db.execute(_node(node_id).values(stopped_at=now()))
            for table in (schema.study_version, schema.dispatch):
                db.execute(
                    table.update()
                    .where(table.c.owner == node_id, table.c.state == "running")
                    .values(state="queued", owner=None)
                )
            db.execute(
                schema.association.update()
                .where(schema.association.c.node_id == node_id)
                .where(schema.association.c.closed_at.is_(None))
                .values(closed_at=now())
            )

    def live_nodes(self) -> frozenset[str]:
        """Return the ids of the processes that beat lately and have not stopped."""
        with self.reading() as db:
            return frozenset(
                db.execute(
                    sa.select(schema.node.c.id)
                    .where(schema.node.c.stopped_at.is_(None))
                    .where(schema.node.c.beat_at > now() - HEARTBEAT_EXPIRES_S)
                ).scalars()
            )

    def bury_other_nodes(self, node_id: str) -> None:
        """Declare every other process dead. For a start under the lock of the state folder."""
        with self._writing() as db:
            db.execute(
                schema.node.update()
                .where(schema.node.c.id != node_id, schema.node.c.stopped_at.is_(None))
                .values(stopped_at=now())
            )

    @property
    def installation(self) -> str:
        """The identity of this installation."""
        with self.reading() as db:
            return str(db.execute(sa.select(schema.installation.c.id)).scalar_one())

    # 1 Receive ----------------------------------------------------------------------------

    def open_association(self, association_id: str, node_id: str, peer: str) -> None:
        """Record that a peer has begun to talk to us."""
        with self._writing() as db:
            db.execute(
                schema.association.insert().values(
                    id=association_id, node_id=node_id, peer=peer, opened_at=now()
                )
            )

    def close_association(self, association_id: str) -> None:
        """Record that an association has ended, in whatever way."""
        with self._writing() as db:
            db.execute(
                schema.association.update()
                .where(schema.association.c.id == association_id)
                .values(closed_at=now())
            )

    def close_associations(self, node_id: str, is_open: Callable[[str], bool]) -> None:
        """Close the associations of a node that it does not know to be open.

        For a sweep: the end of an association may have been missed.
        """
        table = schema.association
        with self.reading() as db:
            query = sa.select(table.c.id).where(table.c.node_id == node_id)
            open_ids = db.execute(query.where(table.c.closed_at.is_(None))).scalars().all()
        for association_id in open_ids:
            if not is_open(association_id):
                self.close_association(association_id)

    def find_kept(self, sop_uid: str) -> Kept | None:
        """Return an instance we keep."""
        table = schema.instance
        columns = (table.c.study_uid, table.c.transfer_syntax, table.c.digest, table.c.path)
        with self.reading() as db:
            row = db.execute(sa.select(*columns).where(table.c.sop_uid == sop_uid)).one_or_none()
        return None if row is None else Kept(*row)

    def is_report(self, sop_uid: str) -> bool:
        """Return whether we made this object."""
        with self.reading() as db:
            query = sa.select(schema.report.c.sop_uid).where(schema.report.c.sop_uid == sop_uid)
            return db.execute(query).first() is not None

    def record_instance(
        self, instance: Instance, reception: Reception
    ) -> Literal["new", "same", "conflict"]:
        """Commit one received instance.

        The same bytes again change nothing. Other bytes under a known UID are a conflict: the
        first are kept. Patient or accession number that disagree within a study hold it.
        """
        # An archive may have rewritten what we made.
        said = _UNSAID if reception.is_own else reception.identity
        with self._writing() as db:
            self._touch_study(db, instance.study_uid, reception.sender, said)
            self._compare_identity(db, instance.study_uid, said)
            known = db.execute(
                sa.select(schema.instance.c.digest).where(
                    schema.instance.c.sop_uid == instance.sop_uid
                )
            ).scalar_one_or_none()
            if known is not None:
                if known != instance.digest:
                    _note(db, instance.study_uid, f"other content came for {instance.sop_uid}")
                return "same" if known == instance.digest else "conflict"
            if not reception.is_own:
                self._reopen(db, instance.study_uid, reception)
            db.execute(
                schema.instance.insert().values(
                    sop_uid=instance.sop_uid,
                    study_uid=instance.study_uid,
                    series_uid=instance.series_uid,
                    sop_class=instance.sop_class,
                    transfer_syntax=instance.transfer_syntax,
                    modality=instance.modality,
                    view=str(instance.view) if instance.view else None,
                    is_standard=instance.is_standard,
                    path=reception.relative_path,
                    digest=instance.digest,
                    state="own" if reception.is_own else "current",
                    association_id=reception.association_id,
                    received_at=now(),
                )
            )
            return "new"

    def hold_study(self, study_uid: str, reason: str) -> None:
        """Analyse and send nothing of a study until a person has looked."""
        with self._writing() as db:
            if _lock(db, study_uid).state != "held":
                _hold(db, study_uid, reason)
                _note(db, study_uid, f"held: {reason}")

    def _touch_study(self, db: sa.Connection, study_uid: str, sender: str, identity: str) -> None:
        """Make sure the study has a row, and lock it."""
        db.execute(
            _insert(db, schema.study)
            .values(
                study_uid=study_uid,
                sender=sender,
                state="closed",
                identity=identity,
                first_at=now(),
                last_at=now(),
            )
            .on_conflict_do_nothing()
        )
        _lock(db, study_uid)

    def _compare_identity(self, db: sa.Connection, study_uid: str, identity: str) -> None:
        study = _lock(db, study_uid)
        pairs = zip(study.identity.split(), identity.split(), strict=True)
        merged = " ".join(new if known == UNSAID else known for known, new in pairs)
        values = {"identity": merged}
        if study.state != "held" and disagree(study.identity, identity):
            reason = "patient ID, its issuer or accession number disagree within the study"
            _hold(db, study_uid, reason)
            _note(db, study_uid, f"held: {reason}")
        if values != {"identity": study.identity}:
            uid_is = schema.study.c.study_uid == study_uid
            db.execute(schema.study.update().where(uid_is).values(values))

    def _reopen(self, db: sa.Connection, study_uid: str, reception: Reception) -> None:
        """Let an instance open its study, or keep it open."""
        study = _lock(db, study_uid)
        if study.state == "closed" and study.version and not reception.is_in_scope:
            _note(db, study_uid, "an object came that no model reads; nothing follows")
            return
        values: dict[str, Any] = {"last_at": now()}
        if study.state == "closed":
            values |= {"state": "receiving", "first_at": now()}
        if not study.version and not _has_current(db, study_uid):
            values |= {"sender": reception.sender}  # until now there was nothing to answer
        uid_is = schema.study.c.study_uid == study_uid
        db.execute(schema.study.update().where(uid_is).values(values))

    # 2 Settle -----------------------------------------------------------------------------

    def arrivals(self, sop_classes: Collection[str]) -> list[Arrival]:
        """Return every study that is being received; views count in these SOP classes only."""
        with self.reading() as db:
            rows = db.execute(
                sa.select(
                    schema.study.c.study_uid,
                    schema.study.c.sender,
                    schema.study.c.last_at,
                    (now() - schema.study.c.last_at).label("quiet_s"),
                    (now() - schema.study.c.first_at).label("age_s"),
                ).where(schema.study.c.state == "receiving")
            ).all()
            return [_arrival(db, row, sop_classes) for row in rows]

    def close_version(
        self,
        arrival: Arrival,
        reason: str,
        analyses: Sequence[PlannedAnalysis],
        enqueue: Enqueue,
    ) -> bool:
        """Close the study as a new version and enqueue its processing.

        Changes nothing and returns False if an image has come since the arrival was read.
        Without analyses the study is out of scope: kept and listed, and nothing else.
        """
        with self._writing() as db:
            study = _lock(db, arrival.study_uid)
            if study.state != "receiving" or study.last_at != arrival.last_at:
                return False
            number = study.version + 1
            uid_is = schema.study.c.study_uid == arrival.study_uid
            db.execute(schema.study.update().where(uid_is).values(state="closed", version=number))
            db.execute(
                schema.instance.update()
                .where(schema.instance.c.study_uid == arrival.study_uid)
                .where(schema.instance.c.version.is_(None), schema.instance.c.state == "current")
                .values(version=number)
            )
            _cancel_older(db, arrival.study_uid, number)
            db.execute(
                schema.study_version.insert().values(
                    study_uid=arrival.study_uid,
                    number=number,
                    reason=reason,
                    state="queued" if analyses else "out of scope",
                    closed_at=now(),
                    last_image_at=study.last_at,
                )
            )
            for planned in analyses:
                db.execute(
                    schema.analysis.insert().values(
                        study_uid=arrival.study_uid,
                        number=number,
                        model=planned.model,
                        model_version=planned.model_version,
                        weights_sha256=planned.weights_sha256,
                        mode=planned.mode,
                    )
                )
            _note(db, arrival.study_uid, f"version {number} closed: {reason}")
            if analyses:
                enqueue(db, Job("process", arrival.study_uid, number, attempt=1))
            return True

    # 3 to 7 Process -----------------------------------------------------------------------

    def begin_version(self, job: Job, node_id: str, store: Store) -> Work:
        """Take a study version for an attempt, and return what is to be done."""
        with self._writing() as db:
            study = _lock(db, job.study_uid)
            row = _version_row(db, job)
            if row.attempt != job.attempt or row.state not in ("queued", "running"):
                raise Superseded(f"{job.id}: attempt {row.attempt} is {row.state}")
            obstacle = _obstacle(study, job)
            if obstacle is None:
                at = row.decided_at or db.execute(sa.select(now())).scalar_one()
                db.execute(_version(job).values(state="running", owner=node_id, decided_at=at))
                return Work(
                    version=_study_version(db, job, row.reason, at, store),
                    sender=study.sender,
                    analyses=_planned(db, job),
                    is_set_aside=max(row.crashes, row.failures) >= SET_ASIDE_AFTER,
                    failures=row.failures,
                )
            _end_version(db, job, "cancelled", obstacle)
        # Only now that the cancellation is committed: raised above, it would be rolled back.
        raise Superseded(f"{job.id}: {obstacle}")

    def find_score(self, instance_digest: str, model_digest: str) -> ImageScore | None:
        """Return what a model said of an image before."""
        with self.reading() as db:
            text = db.execute(
                sa.select(schema.image_score.c.score)
                .where(schema.image_score.c.instance_digest == instance_digest)
                .where(schema.image_score.c.model_digest == model_digest)
            ).scalar_one_or_none()
        return None if text is None else _SCORE.validate_json(text)

    def record_score(self, instance_digest: str, model_digest: str, score: ImageScore) -> None:
        """Keep what a model said of an image."""
        with self._writing() as db:
            db.execute(
                _insert(db, schema.image_score)
                .values(
                    instance_digest=instance_digest,
                    model_digest=model_digest,
                    score=_SCORE.dump_json(score).decode(),
                )
                .on_conflict_do_nothing()
            )

    def finish_version(
        self,
        job: Job,
        finished: Finished,
        enqueue: Enqueue,
    ) -> None:
        """Record results, reports and deliveries, and enqueue the deliveries, all at once."""
        with self._writing() as db:
            study = _lock(db, job.study_uid)
            row = _version_row(db, job)
            if row.attempt != job.attempt or row.state != "running":
                raise Superseded(f"{job.id}: attempt {row.attempt} is {row.state}")
            obstacle = _obstacle(study, job)
            if obstacle is not None:
                _end_version(db, job, "cancelled", obstacle)
                return
            _record_results(db, job, finished.results)
            if finished.reports:
                _record_reports(db, job, finished.reports)
                _plan_deliveries(db, job, finished, enqueue)
            _end_version(db, job, "finished", finished.problem)

    def fail_version(
        self, job: Job, error: str, delay_s: float, enqueue: Enqueue, *, is_its_fault: bool
    ) -> None:
        """Record that an attempt failed, and enqueue the next.

        What is not the study's fault, such as a full disk, does not count against it.
        """
        with self._writing() as db:
            _lock(db, job.study_uid)
            row = _version_row(db, job)
            if row.attempt != job.attempt or row.state != "running":
                return
            db.execute(
                _version(job).values(
                    state="queued",
                    owner=None,
                    attempt=job.attempt + 1,
                    failures=row.failures + is_its_fault,
                    error=error,
                )
            )
            _note(db, job.study_uid, f"attempt {job.attempt} failed: {error}")
            is_quarantined = row.crashes >= QUARANTINE_AFTER
            following = replace(job, attempt=job.attempt + 1, is_quarantined=is_quarantined)
            enqueue(db, replace(following, delay_s=delay_s))

    def hold_version(self, job: Job, reason: str) -> None:
        """Send nothing of a study until a person has looked: going on would be a guess."""
        with self._writing() as db:
            _lock(db, job.study_uid)
            row = _version_row(db, job)
            if row.attempt != job.attempt or row.state != "running":
                return
            _hold(db, job.study_uid, reason)
            _end_version(db, job, "cancelled", reason)

    def cancel_version(self, job: Job, reason: str) -> None:
        """End a study version that nobody can analyse any more."""
        with self._writing() as db:
            _lock(db, job.study_uid)
            row = _version_row(db, job)
            if row.attempt == job.attempt and row.state == "running":
                _end_version(db, job, "cancelled", reason)

    # 8 Deliver ----------------------------------------------------------------------------

    def begin_dispatch(self, job: Job, node_id: str) -> tuple[BuiltReport, ...]:
        """Take a delivery for an attempt, and return what the destination does not have yet."""
        with self._writing() as db:
            study = _lock(db, job.study_uid)
            row = _dispatch_row(db, job)
            if row.attempt != job.attempt or row.state not in ("queued", "running"):
                raise Superseded(f"{job.id}: attempt {row.attempt} is {row.state}")
            obstacle = _obstacle(study, job)
            if obstacle is None:
                db.execute(_dispatch(job).values(state="running", owner=node_id))
                return _undelivered(db, job)
            db.execute(_dispatch(job).values(state="cancelled", owner=None, error=obstacle))
        raise Superseded(f"{job.id}: {obstacle}")  # now that the cancellation is committed

    def finish_dispatch(
        self, job: Job, outcomes: Sequence[Outcome], delay_s: float, enqueue: Enqueue
    ) -> None:
        """Record what the destination said; what it did not take is tried again, or given up.

        A refusal is final: the same object would be refused again.
        """
        with self._writing() as db:
            _lock(db, job.study_uid)
            row = _dispatch_row(db, job)
            if row.attempt != job.attempt or row.state != "running":
                raise Superseded(f"{job.id}: attempt {row.attempt} is {row.state}")
            for outcome in outcomes:
                _record_outcome(db, job, outcome)
            at = db.execute(sa.select(now())).scalar_one()
            left = _deliveries_left(db, job)
            is_late = at + delay_s > row.deadline_at
            if "queued" in left and not is_late:
                _retry_dispatch(db, job, left["queued"], at + delay_s)
                enqueue(db, replace(job, attempt=job.attempt + 1, delay_s=delay_s))
            elif left:
                error = left.get("queued") or left["refused"]
                db.execute(_dispatch(job).values(state="dead", owner=None, error=error))
                _note(db, job.study_uid, f"given up sending to {job.destination}: {error}")
            else:
                db.execute(_dispatch(job).values(state="finished", owner=None, error=None))
                _note(db, job.study_uid, f"delivered to {job.destination}")

    # Sweeps and hands -----------------------------------------------------------------------

    def unfinished(self) -> list[Job]:
        """Return the current job of every row that is not final."""
        with self.reading() as db:
            versions = db.execute(
                sa.select(schema.study_version).where(
                    schema.study_version.c.state.in_(("queued", "running"))
                )
            ).all()
            dispatches = db.execute(
                sa.select(
                    schema.dispatch, (schema.dispatch.c.next_at - now()).label("wait_s")
                ).where(schema.dispatch.c.state.in_(("queued", "running")))
            ).all()
        return [Job("process", row.study_uid, row.number, row.attempt) for row in versions] + [
            Job(
                "deliver",
                row.study_uid,
                row.number,
                row.attempt,
                row.destination,
                delay_s=max(0.0, row.wait_s or 0.0),
            )
            for row in dispatches
        ]

    def revive(self, job: Job, enqueue: Enqueue) -> None:
        """Enqueue the next attempt of a job that nobody has any more.

        A row found running was in a process that died: that counts as a crash.
        """
        with self._writing() as db:
            _lock(db, job.study_uid)
            row = _dispatch_row(db, job) if job.kind == "deliver" else _version_row(db, job)
            if row.attempt != job.attempt or row.state not in ("queued", "running"):
                return
            values: dict[str, Any] = {"state": "queued", "owner": None, "attempt": job.attempt + 1}
            following = replace(job, attempt=job.attempt + 1)
            if job.kind == "deliver":
                db.execute(_dispatch(job).values(values))
            else:
                crashes = row.crashes + (row.state == "running")
                db.execute(_version(job).values(values | {"crashes": crashes}))
                following = replace(
                    following,
                    is_quarantined=crashes >= QUARANTINE_AFTER,
                    # A study that kills its process must not keep the node deaf.
                    delay_s=crashes * DELAY_PER_CRASH_S,
                )
            if row.state == "running":
                _note(db, job.study_uid, f"{job.kind}: attempt {job.attempt} died with its process")
            enqueue(db, following)

    def retry_dead(self, deliver_within_s: float) -> int:
        """Queue anew what was given up or refused, for the reconcile sweep to pick up.

        Returns how many report sets.
        """
        with self._writing() as db:
            rows = db.execute(
                sa.select(schema.dispatch).where(schema.dispatch.c.state == "dead")
            ).all()
            for row in rows:
                job = Job("deliver", row.study_uid, row.number, row.attempt, row.destination)
                deadline_at = now() + deliver_within_s
                db.execute(
                    _dispatch(job).values(state="queued", deadline_at=deadline_at, next_at=None)
                )
                db.execute(_deliveries(job, "refused").values(state="queued"))
                _note(db, row.study_uid, f"sent again to {row.destination} by hand")
            return len(rows)

    def note(self, study_uid: str, event: str) -> None:
        """Add a line to a study's history."""
        with self._writing() as db:
            _note(db, study_uid, event)

    # Transactions -----------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a transaction that only reads."""
        with self._engine.begin() as db:
            yield db

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        # SQLite lets writers of one process compete without a queue, and gives up on the unlucky.
        turn = self._turn if self._engine.dialect.name == "sqlite" else contextlib.nullcontext()
        with turn, self._writer.begin() as db:
            yield db


class now(sa.sql.functions.FunctionElement[float]):  # noqa: N801 - reads like the SQL it makes
    """The database's clock, epoch seconds."""

    type = sa.Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: Any, **kwargs: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: Any, **kwargs: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


def _create_engine(url: str) -> sa.Engine:
    engine = sa.create_engine(url, hide_parameters=True)  # an error would quote them in the log
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver's own transaction control begins only at the first write, after the read that
    # the write depends on; without it the BEGIN below is really the beginning.
    connection.isolation_level = None
    for pragma in ("busy_timeout=5000", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    _use_wal(connection)


def _use_wal(connection: DBAPIConnection) -> None:
    """Switch a new file to write-ahead logging; SQLite does not wait for others who do the same."""
    for patience in range(50, -1, -1):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if not patience:
                raise
            time.sleep(0.1)


def _begin_sqlite(connection: sa.Connection) -> None:
    is_write = connection.get_execution_options().get("is_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


def _insert(db: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if db.dialect.name == "postgresql" else sqlite.insert(table)


def _lock(db: sa.Connection, study_uid: str) -> sa.Row[Any]:
    """Lock and return the study's row. SQLite ignores FOR UPDATE: BEGIN IMMEDIATE has locked."""
    query = sa.select(schema.study).where(schema.study.c.study_uid == study_uid)
    return db.execute(query.with_for_update()).one()


def _hold(db: sa.Connection, study_uid: str, reason: str) -> None:
    log.warning("Study %s is held: %s", study_uid, reason)
    uid_is = schema.study.c.study_uid == study_uid
    db.execute(schema.study.update().where(uid_is).values(state="held", held_reason=reason))


def _has_current(db: sa.Connection, study_uid: str) -> bool:
    table = schema.instance
    query = sa.select(table.c.sop_uid).where(table.c.study_uid == study_uid)
    return db.execute(query.where(table.c.state == "current").limit(1)).first() is not None


def _obstacle(study: sa.Row[Any], job: Job) -> str | None:
    """Return why nothing of this version may be analysed or sent any more, or None."""
    if study.state == "held":
        return str(study.held_reason)
    return None if study.version == job.number else "a newer version exists"


def _note(db: sa.Connection, study_uid: str, event: str) -> None:
    db.execute(schema.history.insert().values(at=now(), study_uid=study_uid, event=event))


def _node(node_id: str) -> sa.Update:
    return schema.node.update().where(schema.node.c.id == node_id)


def _version(job: Job) -> sa.Update:
    table = schema.study_version
    return table.update().where(table.c.study_uid == job.study_uid, table.c.number == job.number)


def _version_row(db: sa.Connection, job: Job) -> sa.Row[Any]:
    table = schema.study_version
    return db.execute(
        sa.select(table).where(table.c.study_uid == job.study_uid, table.c.number == job.number)
    ).one()


def _end_version(db: sa.Connection, job: Job, state: str, error: str | None) -> None:
    db.execute(_version(job).values(state=state, owner=None, error=error, finished_at=now()))
    words = f"version {job.number} {state}"
    _note(db, job.study_uid, f"{words}: {error}" if error else words)


def _dispatch(job: Job) -> sa.Update:
    table = schema.dispatch
    return table.update().where(
        table.c.study_uid == job.study_uid,
        table.c.number == job.number,
        table.c.destination == job.destination,
    )


def _dispatch_row(db: sa.Connection, job: Job) -> sa.Row[Any]:
    table = schema.dispatch
    return db.execute(
        sa.select(table)
        .where(table.c.study_uid == job.study_uid, table.c.number == job.number)
        .where(table.c.destination == job.destination)
    ).one()


def _retry_dispatch(db: sa.Connection, job: Job, error: str, next_at: float) -> None:
    db.execute(
        _dispatch(job).values(
            state="queued", owner=None, attempt=job.attempt + 1, error=error, next_at=next_at
        )
    )


def _deliveries(job: Job, state: str) -> sa.Update:
    table = schema.delivery
    return (
        table.update()
        .where(table.c.study_uid == job.study_uid, table.c.number == job.number)
        .where(table.c.destination == job.destination, table.c.state == state)
    )


def _undelivered(db: sa.Connection, job: Job) -> tuple[BuiltReport, ...]:
    rows = db.execute(
        sa.select(schema.report)
        .join(schema.delivery, schema.delivery.c.sop_uid == schema.report.c.sop_uid)
        .where(schema.report.c.study_uid == job.study_uid)
        .where(schema.report.c.number == job.number)
        .where(schema.delivery.c.destination == job.destination)
        .where(schema.delivery.c.state == "queued")
        .order_by(schema.report.c.position)
    ).all()
    return tuple(BuiltReport(r.sop_uid, r.sop_class, r.path, r.digest) for r in rows)


def _deliveries_left(db: sa.Connection, job: Job) -> dict[str, str]:
    """Return an error for each state, other than sent, that objects of the job are in."""
    table = schema.delivery
    rows = db.execute(
        sa.select(table.c.state, table.c.error)
        .where(table.c.study_uid == job.study_uid, table.c.number == job.number)
        .where(table.c.destination == job.destination, table.c.state != "sent")
    ).all()
    return {row.state: row.error or "not sent yet" for row in rows}


def _record_outcome(db: sa.Connection, job: Job, outcome: Outcome) -> None:
    values: dict[str, Any] = {"state": outcome.state, "error": outcome.error}
    if outcome.state == "sent":
        values["sent_at"] = now()
    query = _deliveries(job, "queued").where(schema.delivery.c.sop_uid == outcome.sop_uid)
    db.execute(query.values(values))


def _record_results(db: sa.Connection, job: Job, results: Sequence[Result]) -> None:
    table = schema.analysis
    for result in results:
        db.execute(
            table.update()
            .where(table.c.study_uid == job.study_uid, table.c.number == job.number)
            .where(table.c.model == result.model.name)
            .values(result=_RESULT.dump_json(result).decode(), priority=str(result.priority))
        )


def _record_reports(db: sa.Connection, job: Job, reports: Sequence[BuiltReport]) -> None:
    db.execute(
        schema.report.insert(),
        [
            {
                "sop_uid": report.sop_uid,
                "study_uid": job.study_uid,
                "number": job.number,
                "position": position,
                "sop_class": report.sop_class,
                "path": report.path,
                "digest": report.digest,
            }
            for position, report in enumerate(reports)
        ],
    )


def _plan_deliveries(db: sa.Connection, job: Job, finished: Finished, enqueue: Enqueue) -> None:
    for destination in finished.destinations:
        db.execute(
            schema.dispatch.insert().values(
                study_uid=job.study_uid,
                number=job.number,
                destination=destination,
                state="queued",
                deadline_at=now() + finished.deliver_within_s,
            )
        )
        db.execute(
            schema.delivery.insert(),
            [
                {
                    "sop_uid": report.sop_uid,
                    "destination": destination,
                    "study_uid": job.study_uid,
                    "number": job.number,
                    "state": "queued",
                }
                for report in finished.reports
            ],
        )
        enqueue(db, Job("deliver", job.study_uid, job.number, 1, destination))


def _cancel_older(db: sa.Connection, study_uid: str, number: int) -> None:
    """Cancel what is still queued for older versions; what runs finds out when it commits."""
    for table in (schema.study_version, schema.dispatch):
        db.execute(
            table.update()
            .where(table.c.study_uid == study_uid, table.c.number < number)
            .where(table.c.state == "queued")
            .values(state="cancelled", error="a newer version exists")
        )


def _arrival(db: sa.Connection, study: sa.Row[Any], sop_classes: Collection[str]) -> Arrival:
    instance, association, node = schema.instance, schema.association, schema.node
    of_study = (instance.c.study_uid == study.study_uid) & (instance.c.state == "current")
    rows = db.execute(sa.select(instance).where(of_study)).all()
    open_associations = db.execute(
        sa.select(sa.func.count(sa.distinct(association.c.id)))
        .join(instance, instance.c.association_id == association.c.id)
        .join(node, node.c.id == association.c.node_id)
        .where(of_study, association.c.closed_at.is_(None), node.c.stopped_at.is_(None))
        .where(node.c.beat_at > now() - HEARTBEAT_EXPIRES_S)
    ).scalar_one()
    return Arrival(
        study_uid=study.study_uid,
        sender=study.sender,
        modalities=frozenset(row.modality for row in rows),
        views=tuple(
            view
            for row in rows
            if row.is_standard and row.sop_class in sop_classes and (view := parse_view(row.view))
        ),
        last_at=study.last_at,
        quiet_s=study.quiet_s,
        age_s=study.age_s,
        open_associations=open_associations,
    )


def _planned(db: sa.Connection, job: Job) -> tuple[PlannedAnalysis, ...]:
    table = schema.analysis
    rows = db.execute(
        sa.select(table).where(table.c.study_uid == job.study_uid, table.c.number == job.number)
    ).all()
    return tuple(
        PlannedAnalysis(row.model, row.model_version, row.weights_sha256, row.mode) for row in rows
    )


def _study_version(
    db: sa.Connection, job: Job, reason: str, decided_at: float, store: Store
) -> StudyVersion:
    instance, version = schema.instance, schema.study_version
    rows = db.execute(
        sa.select(instance)
        .where(instance.c.study_uid == job.study_uid, instance.c.state == "current")
        .where(instance.c.version <= job.number)
        .order_by(instance.c.received_at, instance.c.sop_uid)
    ).all()
    replaced = db.execute(
        sa.select(version)
        .where(version.c.study_uid == job.study_uid, version.c.number < job.number)
        .where(version.c.state == "finished")
        .order_by(version.c.number.desc())
        .limit(1)
    ).one_or_none()
    return StudyVersion(
        study_uid=job.study_uid,
        number=job.number,
        reason=reason,
        instances=tuple(
            Instance(
                study_uid=row.study_uid,
                series_uid=row.series_uid,
                sop_uid=row.sop_uid,
                sop_class=row.sop_class,
                transfer_syntax=row.transfer_syntax,
                modality=row.modality,
                path=store.path(row.path),
                digest=row.digest,
                view=parse_view(row.view),
                is_standard=row.is_standard,
            )
            for row in rows
        ),
        decided_at=utc(decided_at),
        installation=str(db.execute(sa.select(schema.installation.c.id)).scalar_one()),
        replaces=None if replaced is None else utc(replaced.decided_at),
        predecessors=(
            ()
            if replaced is None
            else tuple(map(store.path, _report_paths(db, job.study_uid, replaced.number)))
        ),
    )


def _report_paths(db: sa.Connection, study_uid: str, number: int) -> tuple[str, ...]:
    table = schema.report
    query = sa.select(table.c.path).where(table.c.study_uid == study_uid)
    of_version = query.where(table.c.number == number).order_by(table.c.position)
    return tuple(db.execute(of_version).scalars())


def utc(epoch_s: float) -> datetime:
    """Return the ledger's time as a datetime, to the second: what objects can carry."""
    return datetime.fromtimestamp(int(epoch_s), UTC)


def parse_view(text: str | None) -> View | None:
    """Return the view whose str() is the text."""
    if text is None:
        return None
    laterality, projection = text.split()
    return View(Laterality(laterality), projection)


_SCORE = TypeAdapter(ImageScore)
_RESULT = TypeAdapter(Result)
