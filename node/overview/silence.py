"""Which senders have sent nothing where they usually have by now: "sender-silent".

How much a sender sends is learnt from when its studies came, by weekday and hour of the local time,
over the last eight weeks in which it sent: of each hour of the week the mean over these weeks, the
one with most left out (a prefetch of old studies at night makes no habit), after a part of each
hour's studies was counted to the hours beside it. So a silence has a length in studies that would
have come meanwhile: nothing at night or at weekends where the sender is silent then.

A sender is silent when that length is at least `LEAST_STUDIES`, and `TIMES` that of its second
longest silence in those weeks: who is away for a day now and then, sends a whole day at once, or
is a unit on wheels, has long ones. The longest does not count, for it may be the trouble before.

Of a sender of less than `LEAST_WEEKS` weeks, or of fewer than `LEAST_KNOWN` studies, nothing is
said. What a silence is worth is counted only while a node listened. What that comes to, false
alarms a month and hours until a sender that has stopped is noticed, is simulated for several kinds
of sender by benchmarks/alarms.py (docs/shift.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from node.config import Config
from node.ledger import Ledger, Role, now, schema
from node.numbers_in_words import counted_studies
from node.overview.status import senders_of

HOUR_S = 3600.0
WEEK_HOURS = 168
WEEKS = 8
"""In which a habit is learnt, at most."""
LEAST_WEEKS = 3
LEAST_KNOWN = 24
"""Studies, in the weeks that are learnt from."""
LEAST_STUDIES = 8.0
"""Studies that would have come: by chance alone so many are missing once in 3,000 times."""
TIMES = 1.5
_SMOOTH = np.array([0.25, 0.5, 0.25])
"""How much of an hour's studies counts for the hours before, of it, and after it."""
_AT_MOST_S = 26 * WEEK_HOURS * HOUR_S
"""A silence that is longer is not counted on."""
_SILENCE_AT_LEAST_S = HOUR_S
"""Who has sent within it is not looked at."""

Period = tuple[float, float]
"""From when to when, epoch seconds."""


@dataclass(frozen=True, slots=True)
class Habit:
    """When a sender usually sends."""

    an_hour: tuple[float, ...]
    """Studies in each hour of the week, from Monday 0 h local time on."""
    enough: float
    """How many studies may be missing: from then on it is silent."""
    weeks: int
    """From how many it was learnt."""


@dataclass(frozen=True, slots=True)
class SilentSender:
    """A sender that has sent nothing where it usually has."""

    sender: str
    since: float
    """When its last image came, epoch seconds."""
    expected: float
    """How many studies usually come in such a time."""
    words: str
    what_to_do: str


def silent_senders(ledger: Ledger, config: Config, zone: tzinfo) -> tuple[SilentSender, ...]:
    """Return the peers that send and are silent; the zone is the site's (`site.local_zone`).

    Of a sender that sent within an hour one row of an index is read, else eight weeks of it.
    """
    found = []
    for sender in senders_of(config):
        with ledger.reading() as db:
            at = db.execute(sa.select(now())).scalar_one()
            arrivals = _arrivals(db, sender, at - _SILENCE_AT_LEAST_S)
            listened = _listened(db, arrivals[-1], at, ledger.dead_after_s) if arrivals else []
        habit = learnt_habit(tuple(arrivals), zone)
        if habit is None:
            continue
        since = arrivals[-1]
        expected = studies_expected(habit, listened, zone)
        if expected >= habit.enough:
            found.append(_said(sender, since, expected, habit, zone))
    return tuple(found)


@lru_cache(maxsize=128)
def learnt_habit(arrivals: tuple[float, ...], zone: tzinfo) -> Habit | None:
    """Learn from when studies came, rising; None if they are too few, or of too short a time.

    The first of them may be of before the weeks that are learnt from: then they are known whole.
    """
    if len(arrivals) < LEAST_KNOWN:
        return None
    end = (arrivals[-1] // HOUR_S + 1) * HOUR_S
    weeks = min(int((end - arrivals[0]) // (WEEK_HOURS * HOUR_S)), WEEKS)
    begin = end - weeks * WEEK_HOURS * HOUR_S
    known = np.array(arrivals)[np.searchsorted(arrivals, begin) :]
    if weeks < LEAST_WEEKS or len(known) < LEAST_KNOWN:
        return None
    hours = begin + HOUR_S * np.arange(weeks * WEEK_HOURS)
    places = _hours_of_week(hours, zone)
    counts = np.bincount(((known - begin) // HOUR_S).astype(int), minlength=len(hours))
    smooth = np.convolve(counts, _SMOOTH, mode="same")
    by_week = np.zeros((weeks, WEEK_HOURS))
    np.add.at(by_week, (np.arange(len(hours)) // WEEK_HOURS, places), smooth)
    an_hour = (by_week.sum(axis=0) - by_week.max(axis=0)) / (weeks - 1)
    passed = np.concatenate([[0.0], np.cumsum(an_hour[places])])
    silences = np.sort(np.diff(np.interp(known, np.append(hours, end), passed)))
    enough = max(LEAST_STUDIES, TIMES * float(silences[-2]))
    return Habit(tuple(float(one) for one in an_hour), enough, weeks)


def studies_expected(habit: Habit, periods: Iterable[Period], zone: tzinfo) -> float:
    """Return how many studies usually come in some periods, which do not overlap."""
    an_hour = np.array(habit.an_hour)
    expected = 0.0
    for begin, end in periods:
        hours = HOUR_S * np.arange(begin // HOUR_S, end // HOUR_S + 1, dtype=float)
        shares = np.minimum(hours + HOUR_S, end) - np.maximum(hours, begin)
        expected += float((an_hour[_hours_of_week(hours, zone)] * shares).sum()) / HOUR_S
    return expected


def _hours_of_week(hours: NDArray[np.floating[Any]], zone: tzinfo) -> NDArray[np.int64]:
    """Return which hours of the local week hours of UTC are, by their middle."""
    local = (datetime.fromtimestamp(at + HOUR_S / 2, zone) for at in hours)
    return np.array([24 * one.weekday() + one.hour for one in local], dtype=np.int64)


def _arrivals(db: sa.Connection, sender: str, before: float) -> Sequence[float]:
    """Return when its studies came, the last eight weeks of them, and one of before.

    Nothing if the last came after that time. Each is read from an index.
    """
    at = schema.study.c.last_image_at
    is_its = schema.study.c.sender == sender
    last = db.execute(sa.select(sa.func.max(at)).where(is_its)).scalar_one()
    if last is None or last > before:
        return ()
    begin = last - WEEKS * WEEK_HOURS * HOUR_S
    earlier = db.execute(sa.select(sa.func.max(at)).where(is_its, at < begin)).scalar_one()
    query = sa.select(at).where(is_its, at >= begin).order_by(at)
    found = list(db.execute(query).scalars())
    return found if earlier is None else [earlier, *found]


def _listened(db: sa.Connection, since: float, at: float, dead_after_s: float) -> list[Period]:
    """Return the periods since then in which at least one node listened."""
    table = schema.node
    since = max(since, at - _AT_MOST_S)
    heard = sa.func.coalesce(table.c.stopped_at, table.c.beat_at)
    query = sa.select(table.c.started_at, heard, table.c.stopped_at).where(heard > since)
    query = query.where(sa.or_(table.c.role.is_(None), table.c.role.in_((Role.ALL, Role.LISTENER))))
    found: list[Period] = []
    for started_at, until, stopped_at in db.execute(query.order_by(table.c.started_at)):
        is_alive = stopped_at is None and until > at - dead_after_s
        begin, end = max(started_at, since), at if is_alive else until
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _said(sender: str, since: float, expected: float, habit: Habit, zone: tzinfo) -> SilentSender:
    moment = datetime.fromtimestamp(since, zone).strftime("%Y-%m-%d %H:%M")
    usual = f"usually about {counted_studies(round(expected))} would have come since"
    return SilentSender(
        sender=sender,
        since=since,
        expected=expected,
        words=f"{sender} has sent nothing since {moment}; {usual} (learnt from its last "
        f"{habit.weeks} weeks)",
        what_to_do=f"if {sender} is not closed, see whether it can reach the node, and whether it "
        "still has the node among those it sends to: its own log or queue says what became of its "
        "last studies; `ai-node status` says what the node last took or refused",
    )
