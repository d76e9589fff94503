"""Alarms: each raised once, whoever notices it, and told by each channel until it has taken it.

Several nodes examine one ledger at the same time. What is open under a rule and a subject is one
row (`uq_alarm_open`), and whoever makes it makes its notices in the same transaction; a notice is
sent by the node that claims it, which no other does before the claim is over.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.rows import insert_into
from node.ledger.states import NoticeEvent, NoticeState

_SEEN_EVERY_S = 60.0
"""That an alarm lasts is not written down more often: each time is a transaction."""
_FOUND_LATELY_S = 2.5 * _SEEN_EVERY_S
_DAY_S = 86_400.0
_ENDS_AFTER_MOST_S = 6 * 3600.0
_CLAIM_MOST_S = 3600.0
"""No notice is put off for longer, so that one which is due later was written by a wrong clock."""
_GIVEN_UP_AFTER_S = 3 * _DAY_S
_FORGOTTEN_AFTER_S = 90 * _DAY_S


@dataclass(frozen=True, slots=True)
class Trouble:
    """What somebody should be told of, as it was found. Without patient data."""

    rule: str
    """One of `alarm_rules.ALARM_RULES`."""
    subject: str
    """What it is about: a destination, sender, part; "" if it is all. One alarm for each."""
    urgency: int
    """`overview.health.Alarm`."""
    words: str
    """What is wrong, and where."""
    what_to_do: str
    since: float
    """When that began; epoch seconds, UTC, by the database's clock."""
    latest: float | None = None
    """When the newest of several things became what it tells of (a study that is late: when its
    time was over, not when that began): what is newer than what was told is told, too, if not at
    once; None if there is but one."""
    study_uids: tuple[str, ...] = ()
    """Of the studies that it is about, the first few."""


@dataclass(frozen=True, slots=True)
class NoticeStanding:
    """How far a channel has come with telling something. Times are epoch seconds, UTC."""

    channel: str
    event: NoticeEvent
    state: NoticeState
    made_at: float
    sent_at: float | None
    error: str
    """Why it was not taken when it was last tried, "" if it was, or has not been tried."""


@dataclass(frozen=True, slots=True)
class RaisedAlarm:
    """An alarm, from when it was raised. Times are epoch seconds, UTC."""

    id: int
    rule: str
    subject: str
    urgency: int
    """The highest that it has had."""
    words: str
    what_to_do: str
    study_uids: tuple[str, ...]
    since: float
    """When what it tells of began."""
    began_at: float
    """When that was noticed."""
    seen_at: float
    """When it was last found to be so, to a minute or so, or could not be judged."""
    told_at: float
    """When it was last looked for to be told: when it began, or was told again."""
    ended_at: float | None
    """When it was found to be over; None while it lasts."""
    notices: tuple[NoticeStanding, ...] = ()

    def is_found(self, at: float) -> bool:
        """Whether it is so still, at a time; if not, it has only to stay away to be over."""
        return self.ended_at is None and at - self.seen_at < _FOUND_LATELY_S


@dataclass(frozen=True, slots=True)
class AlarmedStudy:
    """Whose study it is that an alarm is about, as the ledger knows it: "" what it does not."""

    study_uid: str
    accession_number: str = ""
    patient_id: str = ""
    patient_name: str = ""


@dataclass(frozen=True, slots=True)
class AlarmNotice:
    """What a channel is to tell now: it has been claimed, and nobody else sends it meanwhile."""

    id: str
    """The same at each attempt."""
    event: NoticeEvent
    alarm: RaisedAlarm
    studies: tuple[AlarmedStudy, ...]
    replaced: tuple[str, ...] = ()
    """Former notices of the alarm that need not be told any more once this one is."""


@dataclass(frozen=True, slots=True)
class LateChannel:
    """A channel that has not taken a notice for some time."""

    channel: str
    notices: int
    since: float
    error: str


@dataclass(frozen=True, slots=True)
class Alarming:
    """The alarms that are raised, and what is told of them."""

    ledger: Ledger

    # Raising ----------------------------------------------------------------------------------

    def open_alarms(self) -> tuple[float, list[RaisedAlarm]]:
        """Return the database's time, and the alarms that last, the first that was raised first."""
        table = schema.alarm
        query = sa.select(table).where(table.c.ended_at.is_(None)).order_by(table.c.id)
        with self.ledger.reading() as db:
            at = float(db.execute(sa.select(now())).scalar_one())
            return at, [_alarm(row) for row in db.execute(query)]

    def raise_alarm(
        self,
        trouble: Trouble,
        channels: Collection[str],
        *,
        reminder_s: float,
        news_s: float,
        found_at: float | None = None,
    ) -> NoticeEvent | None:
        """Record that there is this trouble, and have each channel tell it if it is to be told.

        It is when it is new, has become more urgent, has something new in it and was not told for
        `news_s`, or was not told for `reminder_s`. Return which of these, as an event, and None if
        it is known; also if another node was first.

        `found_at` is when it was looked for, None if just now: what has happened since is not in
        its words, and so is still to be told.
        """
        with self.ledger.writing() as db:
            added = _insert(db, trouble, found_at)
            if added is not None:
                _tell(db, added, channels, NoticeEvent.BEGUN)
                return NoticeEvent.BEGUN
            row = _lock_open(db, trouble.rule, trouble.subject)
            if row is None:  # it has ended just now, and is found again the next time
                return None
            at = float(db.execute(sa.select(now())).scalar_one())
            is_news = is_to_be_told(_alarm(row), trouble, at, reminder_s, news_s)
            values: dict[str, Any] = _said(trouble) | {"seen_at": at}
            values["urgency"] = max(row.urgency, trouble.urgency)
            if is_news:
                values["reminded_at"] = at if found_at is None else found_at
                _tell(db, row.id, channels, NoticeEvent.REMINDER)
            db.execute(schema.alarm.update().where(schema.alarm.c.id == row.id).values(values))
            return NoticeEvent.REMINDER if is_news else None

    def take_to_last(self, ids: Collection[int]) -> None:
        """Record that these are as if they had been found: nobody can judge that now."""
        table = schema.alarm
        is_old = table.c.seen_at < now() - _SEEN_EVERY_S
        which = table.c.id.in_(sorted(ids)) & table.c.ended_at.is_(None) & is_old
        with self.ledger.reading() as db:
            if db.execute(sa.select(table.c.id).where(which).limit(1)).first() is None:
                return
        with self.ledger.writing() as db:
            db.execute(table.update().where(which).values(seen_at=now()))

    def end_alarm(self, alarm: RaisedAlarm, channels: Collection[str], after_s: float) -> bool:
        """Record that an alarm is over if nobody has found it to last for `after_s`.

        One that keeps coming back lasts longer each time, so that it is not told all day. Return
        whether it is over now, and was not before.
        """
        table = schema.alarm
        with self.ledger.writing() as db:
            row = _lock_open(db, alarm.rule, alarm.subject)
            if row is None or row.id != alarm.id:
                return False
            at = float(db.execute(sa.select(now())).scalar_one())
            same = table.c.rule == alarm.rule, table.c.subject == alarm.subject
            lately = sa.select(sa.func.count()).where(*same, table.c.began_at > at - _DAY_S)
            times = int(db.execute(lately).scalar_one())
            if abs(at - row.seen_at) < min(after_s * 2 ** max(times - 1, 0), _ENDS_AFTER_MOST_S):
                return False  # abs: the clock may have been set back
            db.execute(table.update().where(table.c.id == row.id).values(ended_at=at))
            _tell(db, row.id, channels, NoticeEvent.ENDED)
            return True

    def forget(self) -> None:
        """Give up what no channel has taken for days, and remove what ended long ago."""
        alarm, notice = schema.alarm, schema.alarm_notice
        is_old = (notice.c.state == NoticeState.QUEUED) & (
            notice.c.made_at < now() - _GIVEN_UP_AFTER_S
        )
        ended = sa.select(alarm.c.id).where(alarm.c.ended_at < now() - _FORGOTTEN_AFTER_S)
        with self.ledger.writing() as db:
            db.execute(notice.update().where(is_old).values(state=NoticeState.GIVEN_UP))
            db.execute(notice.delete().where(notice.c.alarm_id.in_(ended)))
            db.execute(alarm.delete().where(alarm.c.ended_at < now() - _FORGOTTEN_AFTER_S))

    # Looking ----------------------------------------------------------------------------------

    def raised(self, *, ended_within_s: float = 0) -> list[RaisedAlarm]:
        """Return the alarms that last, and those that ended lately, with what was told of each.

        The most urgent first, then the one that began first; those that are over behind them.
        """
        table, notice = schema.alarm, schema.alarm_notice
        is_wanted: sa.ColumnElement[bool] = table.c.ended_at.is_(None)
        if ended_within_s:
            is_wanted = sa.or_(is_wanted, table.c.ended_at > now() - ended_within_s)
        wanted = sa.select(table).where(is_wanted)
        with self.ledger.reading() as db:
            rows = db.execute(wanted).all()
            told: dict[int, list[NoticeStanding]] = {row.id: [] for row in rows}
            for row in db.execute(
                sa.select(notice)
                .where(notice.c.alarm_id.in_(list(told)))
                .order_by(notice.c.made_at)
            ):
                told[row.alarm_id].append(_standing(row))
        alarms = [_alarm(row, told[row.id]) for row in rows]
        lasting = sorted(
            (one for one in alarms if one.ended_at is None),
            key=lambda one: (-one.urgency, one.began_at),
        )
        over = sorted(
            (one for one in alarms if one.ended_at is not None), key=lambda one: -one.began_at
        )
        return [*lasting, *over]

    def late_channels(self, after_s: float) -> list[LateChannel]:
        """Return which channels have been tried in vain for so long."""
        table = schema.alarm_notice
        is_late = table.c.error.is_not(None) & (table.c.made_at < now() - after_s)
        query = (
            sa.select(
                table.c.channel,
                sa.func.count(),
                sa.func.min(table.c.made_at),
                sa.func.max(table.c.error),
            )
            .where(table.c.state == NoticeState.QUEUED, is_late)
            .group_by(table.c.channel)
            .order_by(table.c.channel)
        )
        with self.ledger.reading() as db:
            return [LateChannel(*row) for row in db.execute(query)]

    # Telling ----------------------------------------------------------------------------------

    def claim_notice(self, channel: str, lease_s: float) -> AlarmNotice | None:
        """Take what a channel is to tell next; None if there is nothing.

        For `lease_s` it is nobody else's; who dies meanwhile leaves it to others, and it may be
        sent twice, under the same ID. Of an alarm of which several notices wait, the newest is told
        in place of all: nobody has to hear that something began which is over.
        """
        with self.ledger.reading() as db:  # most often there is nothing, which needs no writing
            if db.execute(_due(channel).limit(1)).first() is None:
                return None
        while True:
            with self.ledger.writing() as db:
                first = db.execute(_due(channel).limit(1).with_for_update(skip_locked=True)).first()
                if first is None:
                    return None
                found = _claim(db, channel, int(first.alarm_id), lease_s)
            if found is not None:
                return found

    def record_told(self, notice: AlarmNotice, error: str = "") -> None:
        """Record that a channel has taken a notice; the error is what was amiss all the same."""
        table = schema.alarm_notice
        sent = {"state": NoticeState.SENT, "sent_at": now(), "error": error or None}
        with self.ledger.writing() as db:
            db.execute(table.update().where(table.c.id == notice.id).values(sent))
            _drop(db, notice.replaced)

    def put_off(self, notice: AlarmNotice, wait_s: float, error: str) -> None:
        """Record that a channel has not taken a notice; it is tried again in so many seconds."""
        table = schema.alarm_notice
        ids = (notice.id, *notice.replaced)
        is_its = table.c.id.in_(ids) & (table.c.state == NoticeState.QUEUED)
        later = {"next_at": now() + min(wait_s, _CLAIM_MOST_S), "error": error}
        with self.ledger.writing() as db:
            db.execute(table.update().where(is_its).values(later))


def is_to_be_told(
    alarm: RaisedAlarm, trouble: Trouble, at: float, reminder_s: float, news_s: float
) -> bool:
    """Return whether an alarm that lasts is to be told again, as it is found now."""
    ago_s = abs(at - alarm.told_at)  # the clock may have been set back
    has_news = trouble.latest is not None and trouble.latest > alarm.told_at
    is_worse = trouble.urgency > alarm.urgency
    return is_worse or ago_s >= reminder_s or (has_news and ago_s >= news_s)


def is_known(alarm: RaisedAlarm, trouble: Trouble, at: float) -> bool:
    """Return whether the row of an alarm says already what is found, so that nothing is written."""
    return abs(at - alarm.seen_at) < _SEEN_EVERY_S and _said(trouble) == {
        "words": alarm.words,
        "what_to_do": alarm.what_to_do,
        "study_uids": json.dumps(alarm.study_uids),
    }


def _said(trouble: Trouble) -> dict[str, Any]:
    """Return what may change of an alarm while it lasts."""
    return {
        "words": trouble.words,
        "what_to_do": trouble.what_to_do,
        "study_uids": json.dumps(trouble.study_uids),
    }


def _insert(db: sa.Connection, trouble: Trouble, found_at: float | None) -> int | None:
    table = schema.alarm
    values = _said(trouble) | {
        "rule": trouble.rule,
        "subject": trouble.subject,
        "urgency": trouble.urgency,
        "since": trouble.since,
        "began_at": now() if found_at is None else found_at,
        "seen_at": now(),
    }
    new = (
        insert_into(db, table)
        .values(values)
        .on_conflict_do_nothing(
            index_elements=["rule", "subject"], index_where=sa.text("ended_at IS NULL")
        )
    )
    row = db.execute(new.returning(table.c.id)).first()
    return None if row is None else int(row.id)


def _lock_open(db: sa.Connection, rule: str, subject: str) -> sa.Row[Any] | None:
    table = schema.alarm
    is_it = table.c.rule == rule, table.c.subject == subject, table.c.ended_at.is_(None)
    return db.execute(sa.select(table).where(*is_it).with_for_update()).first()


def _tell(db: sa.Connection, alarm_id: int, channels: Iterable[str], event: NoticeEvent) -> None:
    for channel in channels:
        db.execute(
            schema.alarm_notice.insert().values(
                id=str(uuid.uuid4()),
                alarm_id=alarm_id,
                channel=channel,
                event=event,
                state=NoticeState.QUEUED,
                made_at=now(),
                next_at=now(),
            )
        )


def _due(channel: str) -> sa.Select[Any]:
    """Return the notices that a channel is to tell now, the oldest first."""
    table = schema.alarm_notice
    is_time = sa.or_(table.c.next_at <= now(), table.c.next_at > now() + 2 * _CLAIM_MOST_S)
    query = sa.select(table.c.id, table.c.alarm_id, table.c.event)
    of_it = table.c.channel == channel, table.c.state == NoticeState.QUEUED, is_time
    return query.where(*of_it).order_by(table.c.made_at, table.c.id)


def _claim(db: sa.Connection, channel: str, alarm_id: int, lease_s: float) -> AlarmNotice | None:
    """Take all that is due of an alarm; None if nothing of it is to be told any more."""
    alarm, notice = schema.alarm, schema.alarm_notice
    waiting = _due(channel).where(notice.c.alarm_id == alarm_id)
    due = db.execute(waiting.with_for_update(skip_locked=True)).all()
    row = db.execute(sa.select(alarm).where(alarm.c.id == alarm_id)).first()
    ids = [one.id for one in due]
    is_over = row is not None and row.ended_at is not None
    told = next((one for one in reversed(due) if one.event == NoticeEvent.ENDED), None)
    if told is None and not is_over and due:
        told = due[-1]
    if row is None or told is None:  # that it is over was told before, or is being told
        _drop(db, ids)
        return None
    taken = {"next_at": now() + min(lease_s, _CLAIM_MOST_S), "attempts": notice.c.attempts + 1}
    db.execute(notice.update().where(notice.c.id.in_(ids)).values(taken))
    raised = _alarm(row)
    others = tuple(one for one in ids if one != told.id)
    studies = tuple(_study(db, uid) for uid in raised.study_uids)
    return AlarmNotice(told.id, told.event, raised, studies, others)


def _drop(db: sa.Connection, notice_ids: Collection[str]) -> None:
    table = schema.alarm_notice
    if notice_ids:
        is_its = table.c.id.in_(notice_ids) & (table.c.state == NoticeState.QUEUED)
        db.execute(table.delete().where(is_its))


def _study(db: sa.Connection, study_uid: str) -> AlarmedStudy:
    table = schema.study
    columns = table.c.accession_number, table.c.patient_id, table.c.patient_name
    row = db.execute(sa.select(*columns).where(table.c.study_uid == study_uid)).first()
    return AlarmedStudy(study_uid, *("" if one is None else str(one) for one in row or ()))


def _alarm(row: sa.Row[Any], notices: Collection[NoticeStanding] = ()) -> RaisedAlarm:
    return RaisedAlarm(
        id=row.id,
        rule=row.rule,
        subject=row.subject,
        urgency=row.urgency,
        words=row.words,
        what_to_do=row.what_to_do,
        study_uids=tuple(json.loads(row.study_uids)),
        since=row.since,
        began_at=row.began_at,
        seen_at=row.seen_at,
        told_at=row.began_at if row.reminded_at is None else row.reminded_at,
        ended_at=row.ended_at,
        notices=tuple(notices),
    )


def _standing(row: sa.Row[Any]) -> NoticeStanding:
    return NoticeStanding(
        row.channel, row.event, row.state, row.made_at, row.sent_at, row.error or ""
    )
