"""3 to 7 Process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from node.errors import Superseded
from node.ledger import schema
from node.ledger.clock import now, utc
from node.ledger.coming_back import hold_for_files
from node.ledger.database import Ledger
from node.ledger.order import due_at
from node.ledger.records import (
    BuiltReport,
    Enqueue,
    Finished,
    Job,
    PlannedAnalysis,
    Triaged,
    Work,
)
from node.ledger.rows import (
    QUARANTINE_AFTER,
    SHOWN,
    add_note,
    as_instance,
    ask_to_tell,
    change_level,
    end_version,
    find_obstacle,
    find_place,
    give_up_for_good,
    grown_s,
    hold,
    is_given_up,
    lock_study,
    plan_delivery,
    raise_level,
    shown_in,
    update_study,
    update_version,
    version_row,
)
from node.ledger.states import HeldBecause, InstanceState, Stage, VersionState
from node.result import Priority, Result, deciding_score
from node.store import Store
from node.study import FormerReport, Shown, StudyVersion
from node.triage import FOUND_BEFORE, NO_MODEL, FormerLevel, FoundBefore, change_in_words


@dataclass(frozen=True, slots=True)
class Processing:
    """The attempts at a study version."""

    ledger: Ledger

    def begin_version(self, job: Job, node_id: str, store: Store) -> Work:
        """Take a study version for an attempt, and return what is to be done."""
        with self.ledger.writing() as db:
            study = lock_study(db, job.study_uid)
            row = version_row(db, job)
            if row.attempt != job.attempt or row.state.is_final:
                raise Superseded(f"attempt {row.attempt} is {row.state}")
            obstacle = find_obstacle(db, study, job)
            if obstacle is None:
                at = row.decided_at or db.execute(sa.select(now())).scalar_one()
                db.execute(
                    update_version(job).values(
                        state=VersionState.RUNNING, owner=node_id, decided_at=at
                    )
                )
                if _is_repeated(db, job, row) and (place := find_place(db, node_id)):
                    add_note(db, job.study_uid, f"process: attempt {job.attempt} runs on {place}")
                return Work(
                    version=_study_version(db, job, row, at, store),
                    sender=study.sender,
                    analyses=_planned(db, job),
                    stage=row.stage,
                    is_given_up=is_given_up(row),
                    failures=row.failures,
                    removed=_removed(db, job),
                    former_levels=_former_levels(db, job),
                    found_before=(
                        None if row.level is None else FoundBefore(row.level, row.level_by or "")
                    ),
                    directions=_directions(row),
                )
            end_version(db, job, VersionState.CANCELLED, obstacle)
        # Only now that the cancellation is committed: raised above, it would be rolled back.
        raise Superseded(obstacle)

    def record_decision(self, job: Job, decided_by: Result) -> None:
        """Record which level an attempt has come to, before its report is built.

        A study rises at once, and keeps that even if its report cannot be built.
        """
        level = _level_by(decided_by)
        with self.ledger.writing() as db:
            study = lock_study(db, job.study_uid)
            row = version_row(db, job)
            is_current = row.attempt == job.attempt and row.state == VersionState.RUNNING
            if level is None or not is_current or find_obstacle(db, study, job) is not None:
                return
            _rise(db, study, row, job, decided_by)

    def end_triage(self, job: Job, triaged: Triaged, enqueue: Enqueue) -> bool:
        """Record what the models said that may rank a study, and when its report is due.

        The study rises at once. Returns whether its turn is now, for nothing that waits is due
        before its report: then the attempt goes on. If not, its report waits as the next attempt.

        Raises Superseded if the attempt is not the current one, or nothing of the version may be
        analysed any more.
        """
        with self.ledger.writing() as db:
            study = lock_study(db, job.study_uid)
            row = version_row(db, job)
            if row.attempt != job.attempt or row.state != VersionState.RUNNING:
                raise Superseded(f"attempt {row.attempt} is {row.state}")
            obstacle = find_obstacle(db, study, job)
            if obstacle is None:
                _record_results(db, job, triaged.results, triaged.briefs)
                if triaged.decided_by is not None:
                    _rise(db, study, row, job, triaged.decided_by)
                    ask_to_tell(db, job.study_uid)  # another model may have come to the same level
                return _go_on_to_report(db, job, row, triaged, enqueue)
            end_version(db, job, VersionState.CANCELLED, obstacle)
        raise Superseded(obstacle)  # now that the cancellation is committed

    def finish_version(
        self,
        job: Job,
        finished: Finished,
        enqueue: Enqueue,
    ) -> bool:
        """Record results, reports and deliveries, and enqueue the deliveries, all at once.

        Returns False, and records none of them, if nothing of the version may be sent any more.
        """
        with self.ledger.writing() as db:
            study = lock_study(db, job.study_uid)
            row = version_row(db, job)
            if row.attempt != job.attempt or row.state != VersionState.RUNNING:
                raise Superseded(f"attempt {row.attempt} is {row.state}")
            obstacle = find_obstacle(db, study, job)
            if obstacle is not None:
                end_version(db, job, VersionState.CANCELLED, obstacle)
                return False
            _record_results(db, job, finished.results, finished.briefs)
            level = _final_level(row, finished)
            if finished.reports:
                db.execute(update_study(job.study_uid).values(results_removed_at=None))
                _record_reports(db, job, finished.reports)
                for destination, kinds in finished.destinations.items():
                    wanted = [r.sop_uid for r in finished.reports if r.kind in kinds]
                    within_s = finished.deliver_within_s
                    if planned := plan_delivery(db, job, destination, wanted, within_s, level):
                        enqueue(db, planned)
            end_version(db, job, VersionState.FINISHED, finished.problem)
            _record_level(db, study, row, job, finished)
            return True

    def fail_version(
        self,
        job: Job,
        error: str,
        delay_s: float,
        enqueue: Enqueue,
        *,
        is_its_fault: bool,
        has_begun: bool = True,
    ) -> None:
        """Record that an attempt failed, and enqueue the next; after the last, hold the study.

        What is not the study's fault, such as a full disk, does not count against it; it is tried
        again for as long as it lasts, and each time after a longer wait. `has_begun` says whether
        `begin_version` has returned.
        """
        with self.ledger.writing() as db:
            lock_study(db, job.study_uid)
            row = version_row(db, job)
            if row.attempt != job.attempt or row.state != (
                VersionState.RUNNING if has_begun else VersionState.QUEUED
            ):
                return
            if is_its_fault and is_given_up(row):
                give_up_for_good(db, job, error)
                return
            troubles = row.troubles + (not is_its_fault)
            db.execute(
                update_version(job).values(
                    state=VersionState.QUEUED,
                    owner=None,
                    attempt=job.attempt + 1,
                    failures=row.failures + is_its_fault,
                    troubles=troubles,
                    error=error,
                )
            )
            if is_its_fault or error != row.error:  # the machine's may last for days
                add_note(db, job.study_uid, f"attempt {job.attempt} failed: {error}")
            following = replace(
                job,
                attempt=job.attempt + 1,
                is_quarantined=row.crashes >= QUARANTINE_AFTER,
                due_at=row.due_at,
                delay_s=delay_s if is_its_fault else grown_s(delay_s, troubles),
            )
            enqueue(db, following)

    def hold_version(self, job: Job, reason: str) -> None:
        """Send nothing of a study until a person has looked: going on would be a guess."""
        with self.ledger.writing() as db:
            lock_study(db, job.study_uid)
            row = version_row(db, job)
            if row.attempt != job.attempt or row.state != VersionState.RUNNING:
                return
            hold(db, job.study_uid, HeldBecause.REPORT, reason)
            end_version(db, job, VersionState.CANCELLED, reason)

    def hold_missing(self, job: Job, lacks: str) -> None:
        """Hold a study until the files of it that are not there come again; they are asked for."""
        with self.ledger.writing() as db:
            lock_study(db, job.study_uid)
            row = version_row(db, job)
            if row.attempt != job.attempt or row.state != VersionState.RUNNING:
                return
            reason = hold_for_files(db, job.study_uid, lacks)
            end_version(db, job, VersionState.CANCELLED, reason)

    def cancel_version(self, job: Job, reason: str) -> None:
        """End a study version that nobody can analyse any more."""
        with self.ledger.writing() as db:
            lock_study(db, job.study_uid)
            row = version_row(db, job)
            if row.attempt == job.attempt and row.state == VersionState.RUNNING:
                end_version(db, job, VersionState.CANCELLED, reason)


def _is_repeated(db: sa.Connection, job: Job, row: sa.Row[Any]) -> bool:
    """Whether an attempt follows one that was to do the same, rather than that of triage alone."""
    if job.attempt == 1 or row.crashes or row.failures or row.troubles:
        return job.attempt > 1
    table = schema.analysis
    said = sa.select(table.c.model).where(
        table.c.study_uid == job.study_uid,
        table.c.number == job.number,
        table.c.finished_at.is_not(None),
    )
    is_after_triage = row.stage == Stage.REPORT and db.execute(said.limit(1)).first() is not None
    return job.attempt > (2 if is_after_triage else 1)


def _rise(
    db: sa.Connection, study: sa.Row[Any], row: sa.Row[Any], job: Job, decided_by: Result
) -> None:
    """Let a study and its version have at least the level of a result."""
    level, is_demonstration = _level_by(decided_by), decided_by.model.is_demonstration
    if level is None:
        return
    if row.level is None or level > row.level:
        by_whom = {"level": level, "is_demonstration": is_demonstration}
        by_whom["level_by"] = decided_by.model.name
        db.execute(update_version(job).values(by_whom))
    raise_level(db, study, level, is_demonstration=is_demonstration)


def _go_on_to_report(
    db: sa.Connection, job: Job, row: sa.Row[Any], triaged: Triaged, enqueue: Enqueue
) -> bool:
    """Begin a version's second stage; return whether the attempt goes on with it."""
    if row.stage == Stage.REPORT:  # the same attempt has run twice
        return True
    at = db.execute(sa.select(now())).scalar_one()
    level = lock_study(db, job.study_uid).level  # not lower than before, until there is a report
    due = due_at(Stage.REPORT, level, at, triaged.sender_priority)
    values: dict[str, Any] = {"stage": Stage.REPORT, "due_at": due}
    runs_alone = row.crashes >= QUARANTINE_AFTER  # and holds nobody up
    is_next = runs_alone or not _is_any_due_before(db, due)
    if not is_next:
        following = Job("process", job.study_uid, job.number, job.attempt + 1, due_at=due)
        values |= {"state": VersionState.QUEUED, "owner": None, "attempt": following.attempt}
        enqueue(db, following)
        said = _level_by(triaged.decided_by) or "no level"
        add_note(db, job.study_uid, f"triaged: {said}; its report waits for its turn")
    db.execute(update_version(job).values(values))
    return is_next


def _is_any_due_before(db: sa.Connection, due: float) -> bool:
    """Whether a version waits that is due earlier; of those of a former release each is."""
    table = schema.study_version
    is_earlier = table.c.due_at.is_(None) | (table.c.due_at < due)
    query = sa.select(table.c.number).where(table.c.state == VersionState.QUEUED, is_earlier)
    return db.execute(query.limit(1)).first() is not None


def _record_results(
    db: sa.Connection, job: Job, results: Sequence[Result], briefs: Mapping[str, str]
) -> None:
    table = schema.analysis
    for result in results:
        refusals = Counter(refusal.reason for refusal in result.refused)
        db.execute(
            table.update()
            .where(table.c.study_uid == job.study_uid, table.c.number == job.number)
            .where(table.c.model == result.model.name)
            .values(
                result=_RESULT.dump_json(result).decode(),
                brief=briefs.get(result.model.name),
                level=_level_by(result),
                score=deciding_score(result),
                analysed=len(result.analysed),
                refusals=json.dumps(refusals),
                # As soon as its level was there: its report may follow much later.
                finished_at=sa.func.coalesce(table.c.finished_at, now()),
            )
        )


def _level_by(result: Result | None) -> Priority | None:
    return result.triage.level if result is not None and result.triage is not None else None


def _found_before(row: sa.Row[Any]) -> Priority | None:
    """Return what an attempt before this one, or triage, found that its report may not lower."""
    level: Priority | None = row.level
    return level if level in (Priority.URGENT, Priority.SOON) else None


def _final_level(row: sa.Row[Any], finished: Finished) -> Priority | None:
    """Return the level of a version that is finished."""
    level, found = _level_by(finished.decided_by), _found_before(row)
    return found if found is not None and (level is None or found > level) else level


def _record_level(
    db: sa.Connection, study: sa.Row[Any], row: sa.Row[Any], job: Job, finished: Finished
) -> None:
    """Record the study's level, and what it was before if it is another.

    An attempt before this one may have found it urgent, and could not build its report.
    """
    level, former = _final_level(row, finished), _former_levels(db, job)
    is_found_before = level != _level_by(finished.decided_by)
    is_demonstration = finished.decided_by is not None and (
        finished.decided_by.model.is_demonstration
    )
    if level == _found_before(row) and level is not None:
        is_demonstration = row.is_demonstration
    if level is None and not former and study.level is None:
        return
    words = change_in_words(former, level)
    if row.level is not None and (level is None or level < row.level):
        # It was shown since triage, or since an attempt of which there is no report.
        after = f"now {level}" if level is not None else f"now none: {NO_MODEL}"
        words = f"{row.level} found first, {words or after}"
    elif level is None and not former:
        words = f"{study.level} while held, now none: {NO_MODEL}"
    words = words or str(level)
    by_whom = {"level": level, "is_demonstration": is_demonstration}
    db.execute(update_version(job).values(by_whom))
    change_level(db, study, level, is_demonstration=is_demonstration)
    triage = finished.decided_by.triage if finished.decided_by else None
    why = f": {triage.why}" if triage else ""
    why = f": {FOUND_BEFORE}" if is_found_before else why
    add_note(db, job.study_uid, f"triage level of version {job.number}: {words}{why}")


def _former_levels(db: sa.Connection, job: Job) -> tuple[FormerLevel, ...]:
    """Return the levels of the versions before, as far as they had one, the oldest first."""
    table = schema.study_version
    query = sa.select(table.c.number, table.c.level).where(table.c.study_uid == job.study_uid)
    had_one = query.where(table.c.number < job.number, table.c.level.is_not(None))
    rows = db.execute(had_one.order_by(table.c.number)).all()
    return tuple(FormerLevel(row.number, row.level) for row in rows)


def _record_reports(db: sa.Connection, job: Job, reports: Sequence[BuiltReport]) -> None:
    db.execute(
        schema.report.insert(),
        [
            {
                "sop_uid": report.sop_uid,
                "study_uid": job.study_uid,
                "number": job.number,
                "position": position,
                "kind": report.kind,
                "sop_class": report.sop_class,
                "path": report.path,
                "digest": report.digest,
                "size_bytes": report.size_bytes,
                "series_uid": report.series_uid or None,
                "made_by": json.dumps(report.made_by),
            }
            for position, report in enumerate(reports)
        ],
    )


def _planned(db: sa.Connection, job: Job) -> tuple[PlannedAnalysis, ...]:
    table = schema.analysis
    rows = db.execute(
        sa.select(table).where(table.c.study_uid == job.study_uid, table.c.number == job.number)
    ).all()
    return tuple(
        PlannedAnalysis(
            row.model,
            row.model_version,
            row.weights_sha256,
            row.mode,
            row.package_digest,
            None if row.levels_from is None else _POINTS.validate_json(row.levels_from),
        )
        for row in rows
    )


_HAS_FILE = schema.instance.c.removed_at.is_(None)


def _is_of(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    """Return what an instance of the job's version is known by."""
    instance = schema.instance
    is_current = instance.c.state == InstanceState.CURRENT
    of_study = instance.c.study_uid == job.study_uid
    return of_study, is_current, instance.c.version <= job.number


def _directions(row: sa.Row[Any]) -> dict[str, frozenset[str]] | None:
    """Return who gets the results, as when the version was closed."""
    if row.directions is None:
        return None
    return {name: frozenset(kinds) for name, kinds in json.loads(row.directions).items()}


def _study_version(
    db: sa.Connection, job: Job, row: sa.Row[Any], decided_at: float, store: Store
) -> StudyVersion:
    instance, version, former = schema.instance, schema.study_version, schema.former_instance
    is_corrected = sa.exists().where(former.c.sop_uid == instance.c.sop_uid)
    rows = db.execute(
        sa.select(instance)
        .where(*_is_of(job), _HAS_FILE)
        .order_by(sa.case((is_corrected, 1), else_=0), instance.c.received_at, instance.c.sop_uid)
    ).all()
    replaced = db.execute(
        sa.select(version)
        .where(version.c.study_uid == job.study_uid, version.c.number < job.number)
        .where(version.c.state == VersionState.FINISHED)
        .order_by(version.c.number.desc())
        .limit(1)
    ).one_or_none()
    return StudyVersion(
        study_uid=job.study_uid,
        number=job.number,
        reason=row.reason,
        damaged=row.damaged,
        instances=tuple(as_instance(row, store) for row in rows),
        decided_at=utc(decided_at),
        installation=str(db.execute(sa.select(schema.installation.c.id)).scalar_one()),
        replaces=None if replaced is None else utc(replaced.decided_at),
        predecessors=(
            () if replaced is None else tuple(_documents(db, job.study_uid, replaced.number, store))
        ),
    )


def _removed(db: sa.Connection, job: Job) -> tuple[Shown, ...]:
    """Return what those instances of a version show, each once, whose files are removed."""
    query = sa.select(*SHOWN).distinct().where(*_is_of(job), ~_HAS_FILE)
    return tuple(shown_in(row) for row in db.execute(query))


def _documents(
    db: sa.Connection, study_uid: str, number: int, store: Store
) -> Iterator[FormerReport]:
    table = schema.report
    query = sa.select(table, schema.report_kind.label("known_kind")).where(
        table.c.study_uid == study_uid
    )
    of_version = query.where(table.c.number == number).order_by(table.c.position)
    for row in db.execute(of_version):
        yield FormerReport(
            kind=row.known_kind,
            path=store.path(row.path),
            sop_class=row.sop_class,
            sop_uid=row.sop_uid,
            series_uid=row.series_uid or "",
            made_by=tuple(json.loads(row.made_by or "[]")),
        )


_RESULT = TypeAdapter(Result)
_POINTS = TypeAdapter[tuple[str | None, str | None]](tuple[str | None, str | None])
