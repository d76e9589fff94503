"""Raises alarms and ends them: the sweep that every node makes over what its rules find.

The alarms are in the ledger, so that a restart changes nothing and several nodes raise each once.
What tells that the ledger itself is away cannot be in it: each node tells that by itself.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection, Sequence

import sqlalchemy as sa

from node.alarms.channels import alarm_channels
from node.alarms.examining import Examiner, TroubleFound, by_key
from node.alarms.parts import CHANNEL, trouble_of_part
from node.alarms.post import AlarmPost
from node.alarms.telling import AlarmEvent, AlarmTelling
from node.alarms.watched import Watched
from node.ledger import Alarming, Nodes, NoticeEvent, RaisedAlarm, Trouble, is_trouble
from node.ledger.alarms import is_known, is_to_be_told
from node.overview.health import Alarm, database_away

log = logging.getLogger(__name__)

EXAMINE_EVERY_S = 10.0
SETTLES_S = 120.0
"""After a start, or an outage of the database, nothing is raised for so long: what had to wait
meanwhile is sent and analysed first."""
_GAP_S = 60.0
_JUMP_S = 30.0
AWAY_S = 120.0
"""A database that has been away for so long is told of."""
_FORGETS_EVERY_S = 3600.0
_OF_MACHINES = ("disk", "clock", "certificate")
"""Rules of which some subjects begin with the place of the node that alone can judge them."""


class AlarmWatch:
    """Watches one node and its ledger, and has people told. Of its `look` one runs at a time."""

    def __init__(
        self,
        watched: Watched,
        post: AlarmPost | None = None,
        examiner: Examiner | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watched = watched
        self._alarming = Alarming(watched.ledger)
        self.post = post or AlarmPost(self._alarming, alarm_channels(watched.config))
        self._examiner = examiner or Examiner(watched, clock=clock)
        self._clock = clock
        self._looked: tuple[float, float] | None = None  # by our clock, and by the database's
        self._settled_at = clock() + SETTLES_S
        self._forgot_at = clock()
        self._away_since: tuple[float, float] | None = None
        self._away_told: Trouble | None = None
        self._defect = ""

    def watch(self, watched: Watched) -> None:
        """Watch by another configuration from now on; what lasts is known, and not told again."""
        self._watched = watched
        self._examiner.watch(watched)
        self.post.carry_by(alarm_channels(watched.config))

    @property
    def trouble(self) -> str:
        """Why somebody may not be told of what is wrong, "" if all is examined."""
        return self._defect or self._examiner.failing

    def look(self) -> None:
        """Examine everything, raise what is found and end what is not found any more.

        Raises what the database does if it is away. A defect is logged, and is no reason to stop
        a node that receives and works.
        """
        try:
            self._look()
        except Exception as error:  # said below, and by `trouble`
            if isinstance(error, sa.exc.SQLAlchemyError) and is_trouble(error):
                self._note_away(error)
                raise
            if not self._defect:
                log.exception("Alarms cannot be raised")
            self._defect = f"alarms cannot be raised ({type(error).__name__}), as the log says"
            return
        self._defect = ""
        self._note_back()

    def _look(self) -> None:
        at, lasting = self._alarming.open_alarms()
        is_settled = self._is_settled(at)
        found = by_key(self._examiner.look(is_settled=is_settled))
        known = {(one.rule, one.subject): one for one in lasting}
        for key in sorted(found):
            self._raise(found[key], known.get(key), at)
        missing = [one for one in lasting if (one.rule, one.subject) not in found]
        if is_settled:
            self._end_what_is_over(missing)
        else:  # it is not known yet: what lasted when somebody last looked is taken to last
            self._alarming.take_to_last([one.id for one in missing])
        if self._clock() - self._forgot_at >= _FORGETS_EVERY_S:
            self._forgot_at = self._clock()
            self._alarming.forget()

    def _end_what_is_over(self, missing: Sequence[RaisedAlarm]) -> None:
        places: list[str] | None = None
        for one in missing:
            if not self._watched.can_judge(one.rule):
                continue
            if one.rule in _OF_MACHINES and not self._is_ours(one.subject):
                places = self._others() if places is None else places
                if any(one.subject.startswith(f"{place}: ") for place in places):
                    continue
            self._end(one)

    def _is_settled(self, at: float) -> bool:
        """Whether the node has been at work for a while, without an outage or a jump in time."""
        here, last = self._clock(), self._looked
        self._looked = here, at
        if last is not None:
            passed_s, passed_there_s = here - last[0], at - last[1]
            if abs(passed_there_s - passed_s) > _JUMP_S:
                words = "The clock of the database has jumped by %.0f s; alarms wait for %.0f s"
                log.warning(words, passed_there_s - passed_s, SETTLES_S)
                self._settled_at = here + SETTLES_S
            elif passed_s > _GAP_S:
                self._settled_at = here + SETTLES_S
        return here >= self._settled_at

    def _raise(self, finding: TroubleFound, known: RaisedAlarm | None, at: float) -> None:
        trouble, alarms = finding.trouble, self._watched.config.alarms
        reminder_s, news_s = alarms.reminder_hours * 3600, finding.by.news_s
        if known is None and finding.is_new:
            return
        if (
            known is not None
            and is_known(known, trouble, at)
            and not is_to_be_told(known, trouble, at, reminder_s, news_s)
        ):
            return
        event = self._alarming.raise_alarm(
            trouble,
            self._channels_for(trouble.subject),
            reminder_s=reminder_s,
            news_s=news_s,
            found_at=at - finding.age_s,
        )
        if event is not None:
            level = logging.ERROR if trouble.urgency == Alarm.ACT else logging.WARNING
            again = "" if event == NoticeEvent.BEGUN else ", still"
            log.log(level, "Alarm (%s%s): %s", trouble.rule, again, trouble.words)
            self.post.wake()

    def _end(self, alarm: RaisedAlarm) -> None:
        after_s = self._examiner.ends_after_s(alarm.rule)
        if self._examiner.knows_for_s(alarm.rule) < after_s:
            return
        if self._alarming.end_alarm(alarm, self._channels_for(alarm.subject), after_s):
            log.info("Alarm (%s) is over: %s", alarm.rule, alarm.words)
            self.post.wake()

    def _channels_for(self, subject: str) -> Collection[str]:
        """Return who tells something: all, but for a channel of which it tells that it is down."""
        return [name for name in self.post.channels if subject != f"{CHANNEL}{name}"]

    def _is_ours(self, subject: str) -> bool:
        return subject.startswith(f"{self._watched.place}: ")

    def _others(self) -> list[str]:
        return [one.place for one in Nodes(self._watched.ledger).presences()]

    # Without the ledger -----------------------------------------------------------------------

    def _note_away(self, error: sa.exc.SQLAlchemyError) -> None:
        if self._away_since is None:
            self._away_since = self._clock(), time.time()
        began_at, since = self._away_since
        is_off = "part-ill" in self._watched.config.alarms.off
        if self._away_told is None and self._clock() - began_at >= AWAY_S and not is_off:
            self._away_told = trouble_of_part(
                database_away(error, self._watched.config, since), since
            )
            log.error("Alarm (part-ill): %s", self._away_told.words)
            self._tell(self._away_told, "begun")

    def _note_back(self) -> None:
        self._away_since = None
        if self._away_told is not None:
            log.info("Alarm (part-ill) is over: %s", self._away_told.words)
            self._tell(self._away_told, "ended")
            self._away_told = None

    def _tell(self, trouble: Trouble, event: AlarmEvent) -> None:
        at = time.time()
        told = AlarmTelling(
            id=str(uuid.uuid4()),
            event=event,
            rule=trouble.rule,
            subject=trouble.subject,
            urgency=Alarm(trouble.urgency),
            words=trouble.words,
            what_to_do=trouble.what_to_do,
            since=trouble.since,
            began_at=at if event == "begun" else trouble.since,
            ended_at=at if event == "ended" else None,
        )
        self.post.tell_without_ledger(told)
