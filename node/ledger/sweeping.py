"""What nobody works on any more, and is not final."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import sqlalchemy as sa

from node.errors import Superseded
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.messages import message_row, say_message_given_up, update_message
from node.ledger.records import Enqueue, Job
from node.ledger.rows import (
    DELAY_MAX_S,
    QUARANTINE_AFTER,
    add_note,
    dispatch_row,
    find_place,
    give_up_for_good,
    grown_s,
    is_given_up,
    lock_study,
    say_given_up,
    update_dispatch,
    update_version,
    version_row,
)
from node.ledger.states import DispatchState, VersionState

log = logging.getLogger(__name__)

DELAY_PER_CRASH_S = 2.0

_Ending = Literal["died with its node", "ended unexpectedly", "could not say how it ended"]
_COUNTER: Mapping[_Ending, str] = {
    "died with its node": "crashes",
    "ended unexpectedly": "failures",
    "could not say how it ended": "troubles",
}


@dataclass(frozen=True, slots=True)
class Sweeping:
    """What is taken up again."""

    ledger: Ledger

    def unfinished(self) -> list[Job]:
        """Return the current job of every row that is not final."""
        with self.ledger.reading() as db:
            versions = db.execute(
                sa.select(schema.study_version).where(
                    schema.study_version.c.state.in_((VersionState.QUEUED, VersionState.RUNNING))
                )
            ).all()
            dispatches = db.execute(
                sa.select(
                    schema.dispatch, (schema.dispatch.c.next_at - now()).label("wait_s")
                ).where(schema.dispatch.c.state.in_((DispatchState.QUEUED, DispatchState.RUNNING)))
            ).all()
            message = schema.message.c
            columns: list[sa.ColumnElement[Any]] = [  # but not what it says
                *(message.study_uid, message.sequence, message.destination),
                *(message.attempt, message.due_at, (message.next_at - now()).label("wait_s")),
            ]
            messages = db.execute(
                sa.select(*columns).where(
                    message.state.in_((DispatchState.QUEUED, DispatchState.RUNNING))
                )
            ).all()
        return (
            [_version_job(row) for row in versions]
            + [_waiting_job("deliver", row, row.number) for row in dispatches]
            + [_waiting_job("message", row, row.sequence) for row in messages]
        )

    def revive(
        self,
        job: Job,
        enqueue: Enqueue,
        live_nodes: Collection[str] = (),
        *,
        has_failed: bool = False,
        has_ended: bool = False,
    ) -> None:
        """Enqueue the next attempt of a job that nobody has any more.

        A row found running was in a process that died, which counts as a crash, or in one that
        lives and could not say how it ended: the database was away. An exception of which nobody
        has heard (`has_failed`) counts as a failure. One that ended (`has_ended`) and left its row
        as it was could not even take it.
        """
        with self.ledger.writing() as db:
            lock_study(db, job.study_uid)
            try:
                row = _ROWS[job.kind](db, job)
            except Superseded:  # renamed since it was looked for
                return
            if row.attempt != job.attempt or row.state.is_final:
                return
            ending = _how_it_ended(row, live_nodes, has_failed=has_failed, has_ended=has_ended)
            following = _REVIVALS[job.kind](db, job, row, ending)
            if ending is not None:
                words = f"{job.kind}: attempt {job.attempt} {ending}{_where(db, row.owner)}"
                follows = f"; attempt {following.attempt} follows" if following else ""
                add_note(db, job.study_uid, words + follows)
                said = "Study %s: %s%s"
                log.warning(said, job.study_uid, words, follows, extra={"study": job.study_uid})
            if following is not None:
                enqueue(db, following)


def _waiting_job(kind: Literal["deliver", "message"], row: sa.Row[Any], number: int) -> Job:
    delay_s = max(0.0, row.wait_s or 0.0)
    key = (row.study_uid, number, row.attempt, row.destination)
    return Job(kind, *key, delay_s=delay_s, due_at=row.due_at)


def _version_job(row: sa.Row[Any]) -> Job:
    return Job("process", row.study_uid, row.number, row.attempt, due_at=row.due_at)


def _how_it_ended(
    row: sa.Row[Any], live_nodes: Collection[str], *, has_failed: bool, has_ended: bool
) -> _Ending | None:
    """Return what became of an attempt; None if it has never begun."""
    is_running = row.state in (VersionState.RUNNING, DispatchState.RUNNING)
    if is_running and row.owner not in live_nodes:
        return "died with its node"
    if has_failed:
        return "ended unexpectedly"
    return "could not say how it ended" if is_running or has_ended else None


def _revive_version(
    db: sa.Connection, job: Job, row: sa.Row[Any], ending: _Ending | None
) -> Job | None:
    """Return the job of the next attempt; None if there is none, and the study is held."""
    counts = {name: getattr(row, name) for name in _COUNTER.values()}
    if ending is not None:
        counts[_COUNTER[ending]] += 1
    if ending in ("died with its node", "ended unexpectedly") and is_given_up(row):
        give_up_for_good(db, job, ending)
        return None
    # A study that kills its process must not keep the node deaf.
    delay_s = counts["crashes"] * DELAY_PER_CRASH_S
    if ending == "could not say how it ended":
        delay_s = max(delay_s, grown_s(DELAY_PER_CRASH_S, counts["troubles"]))
    following = replace(
        job,
        attempt=job.attempt + 1,
        is_quarantined=counts["crashes"] >= QUARANTINE_AFTER,
        delay_s=delay_s,
        due_at=row.due_at,
    )
    values = counts | {"state": VersionState.QUEUED, "owner": None, "attempt": following.attempt}
    db.execute(update_version(job).values(values))
    return following


def _revive_dispatch(
    db: sa.Connection, job: Job, row: sa.Row[Any], ending: _Ending | None
) -> Job | None:
    """Return the job of the next attempt; None if there is none, and the delivery is given up."""
    if _is_too_late(db, row, ending):
        dead = {"state": DispatchState.DEAD, "owner": None, "is_unreached": False}
        db.execute(update_dispatch(job).values(dead | {"error": _ENDS_UNEXPECTEDLY}))
        say_given_up(db, job, _ENDS_UNEXPECTEDLY)
        return None
    values = {"state": DispatchState.QUEUED, "owner": None, "attempt": job.attempt + 1}
    db.execute(update_dispatch(job).values(values))
    return _next_attempt(job, row, ending)


def _revive_message(
    db: sa.Connection, job: Job, row: sa.Row[Any], ending: _Ending | None
) -> Job | None:
    """Return the job of the next attempt; None if there is none, and the message is given up."""
    if _is_too_late(db, row, ending):
        dead = {"state": DispatchState.DEAD, "owner": None, "is_unreached": False}
        db.execute(update_message(job).values(dead | {"error": _ENDS_UNEXPECTEDLY}))
        say_message_given_up(db, job, row, _ENDS_UNEXPECTEDLY)
        return None
    values = {"state": DispatchState.QUEUED, "owner": None, "attempt": job.attempt + 1}
    db.execute(update_message(job).values(values))
    return _next_attempt(job, row, ending)


def _is_too_late(db: sa.Connection, row: sa.Row[Any], ending: _Ending | None) -> bool:
    at: float = db.execute(sa.select(now())).scalar_one()
    return ending == "ended unexpectedly" and at > row.deadline_at


def _next_attempt(job: Job, row: sa.Row[Any], ending: _Ending | None) -> Job:
    is_late = ending in ("ended unexpectedly", "could not say how it ended")
    delay_s = min(DELAY_PER_CRASH_S * job.attempt, DELAY_MAX_S) if is_late else 0.0
    delay_s = max(job.delay_s, delay_s)
    return replace(job, attempt=job.attempt + 1, delay_s=delay_s, due_at=row.due_at)


_ENDS_UNEXPECTEDLY = "its attempts ended unexpectedly; the log says how"

_ROWS = {"process": version_row, "deliver": dispatch_row, "message": message_row}
_REVIVALS = {
    "process": _revive_version,
    "deliver": _revive_dispatch,
    "message": _revive_message,
}


def _where(db: sa.Connection, owner: str | None) -> str:
    place = find_place(db, owner) if owner else None
    return f" on {place}" if place else ""
