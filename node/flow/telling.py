"""What reading lists are told of a study's triage level, and when that has to be taken back.

A list is told the level that the study has in the ledger, if one of the models that it names gives
it; then of each change. What was told and holds no more is withdrawn; what was told under another
patient, or accession number, than the study has is said to be wrong, under the identifiers that it
was told by, and the level is told anew under the right ones.

Of a study that is held nothing new is told. If it is held because of whose it is, and that lasts,
what was told is withdrawn: who reads the list should not take it for somebody's who it may not be
of. If that clears up, it is told again.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo

from pydicom import Dataset

from node.config import Config, HL7Settings, WebhookSettings
from node.deliver.messages.level_message import (
    TOLD,
    LevelMessage,
    is_filled_in,
    level_message,
    taken_back,
    thread_of,
)
from node.deliver.messages.receiver import Receiver, receiver_of
from node.dicom.header import read_header
from node.dicom.study_labels import whose_of
from node.errors import DeliveryError, Unreadable
from node.ledger import (
    TOLD_NOTHING,
    Enqueue,
    GivenLevel,
    MessageKind,
    NewMessage,
    Situation,
    StudyAsked,
    Telling,
    ToldBefore,
    is_trouble,
    words_of_message,
)
from node.logs import naming
from node.result import Priority, Result
from node.store import Store
from node.study import Whose
from node.triage import changes, gives_level

log = logging.getLogger(__name__)

TELL_EVERY_S = 1.0
FORGET_AFTER_S = 600.0
"""Where no list is configured: another node may have one, and is quicker; or this one will soon.
Until then nothing of such a study is removed (`ledger.owed`)."""
_PUT_OFF_S = (5.0, 600.0)
"""Where it cannot be found out what to tell, that is tried again after as long as it has lasted:
at least and at most so long."""
TROUBLE_AFTER_S = 60.0
DOUBT_LASTS_S = 120.0
"""Whose a study is may be in doubt while its corrected images come, one after the other: what was
told is withdrawn only if that lasts so long."""
_LONGEST_CONTROL_ID = 20
"""MSH-10 (2.15.9.10)."""


@dataclass(frozen=True, slots=True)
class _Thread:
    """What one list was told of the study under the same identifiers."""

    last: ToldBefore
    """Of all that was written, but for what nobody has seen, nor ever will."""
    last_message: LevelMessage
    known: tuple[LevelMessage, ...]
    """Levels that it may have, the oldest first: each was tried, and since then none is taken
    back."""
    remembered: tuple[LevelMessage, ...]
    """Those whose observations it may have: since it last acknowledged something."""

    @property
    def stands(self) -> bool:
        """It may have a level, or one is on its way."""
        return bool(self.known) or self.last.kind == MessageKind.LEVEL

    def says_already(self, now: LevelMessage) -> bool:
        """Whether this level is what it has, or what is on its way."""
        is_level = self.last.kind == MessageKind.LEVEL and not self.last.is_cancelled
        return is_level and now.says_the_same_as(self.last_message)


@dataclass
class _Decision:
    """What follows for all lists."""

    messages: list[NewMessage] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    is_put_off: bool = False
    """It is to be looked at again: some list could not be told."""
    is_undecided: bool = False
    """For all lists: what was written before may be out of date."""


@dataclass(frozen=True, slots=True)
class Teller:
    """Sees to it that lists are told."""

    telling: Telling
    config: Config
    store: Store
    zone: tzinfo
    enqueue: Enqueue

    def tell(self) -> None:
        """Look at each study of which somebody may have to be told; for a sweep."""
        if not self.config.lists:
            self.telling.drop(FORGET_AFTER_S)
            return
        for one in self.telling.asked():
            with naming(study=one.study_uid):
                self._tell_of(one)

    @property
    def trouble(self) -> str:
        """Return what cannot be told, and has not been for a while; "" if all can."""
        count = self.telling.put_off(TROUBLE_AFTER_S) if self.config.lists else 0
        studies = "1 study" if count == 1 else f"{count} studies"
        words = f"reading lists are not told of {studies}: what to tell cannot be found out, see "
        return f"{words}the history of each (ai-node studies), and the log" if count else ""

    def _tell_of(self, asked: StudyAsked) -> None:
        least_s, most_s = _PUT_OFF_S
        delay_s = min(max(asked.for_s, least_s), most_s)
        try:
            situation = self.telling.situation(asked.study_uid)
            decision = self._decide(situation, for_s=asked.for_s)
            if decision is None:
                return
            self.telling.record(
                situation,
                decision.messages,
                cancelled=decision.cancelled,
                notes=[note for note in decision.notes if note not in situation.notes],
                deliver_within_s=self.config.delivery.deliver_within_s,
                enqueue=self.enqueue,
                delay_s=delay_s if decision.is_put_off else None,
                is_looked_at=not decision.is_undecided,
            )
        except Exception as defect:
            if is_trouble(defect):
                raise  # of the database: it is the same for all others
            log.exception("What is to be told of study %s cannot be found out", asked.study_uid)
            self.telling.leave_for(asked.study_uid, delay_s)

    def _decide(self, situation: Situation, *, for_s: float) -> _Decision | None:
        """Return what follows; None if that is to be seen later."""
        decision = _Decision()
        threads = {one.name: _threads(situation.told_to(one.name)) for one in self.config.lists}
        stands = any(one.stands for found in threads.values() for one in found.values())
        is_to_be_seen = situation.is_in_doubt and situation.level is not None
        if is_to_be_seen and for_s < DOUBT_LASTS_S and stands:
            return None
        whose = None
        is_told_of = stands if situation.is_held else situation.level is not None
        if is_told_of and not situation.is_in_doubt:
            try:
                whose = self._whose(situation)
            except (OSError, Unreadable) as error:  # the store may be away: that is no answer
                words = "A header of study %s cannot be read (%s), to tell of its triage level"
                log.warning(words, situation.study_uid, type(error).__name__)
                decision.is_put_off = decision.is_undecided = True
                if for_s >= TROUBLE_AFTER_S:
                    words = "nobody is told of its triage level yet: an object of it cannot be read"
                    decision.notes.append(f"{words} ({type(error).__name__})")
                return decision
        for settings in self.config.lists:
            case = _Case(self, situation, settings, threads[settings.name], decision)
            try:
                case.decide(whose)
            except Exception as defect:
                if is_trouble(defect):
                    raise
                words = "What %s is to be told of study %s cannot be found out"
                log.exception(words, settings.name, situation.study_uid)
                case.put_off(f"{type(defect).__name__}, as the log says")
        return decision

    def _whose(self, situation: Situation) -> Whose:
        """Return whose a study is; raise OSError or Unreadable if that cannot be read."""
        return whose_of([self._first_header(paths) for paths in situation.paths])

    def _first_header(self, paths: Sequence[str]) -> Dataset:
        """Return that of the first object that can be read: they say the same."""
        *others, last = paths
        for path in others:
            with contextlib.suppress(OSError, Unreadable):
                return read_header(self.store.path(path))
        return read_header(self.store.path(last))


@dataclass(frozen=True, slots=True)
class _Case:
    """One study and one list."""

    teller: Teller
    situation: Situation
    settings: HL7Settings | WebhookSettings
    threads: Mapping[str, _Thread]
    decision: _Decision

    @property
    def _receiver(self) -> Receiver:
        return receiver_of(self.settings)

    def decide(self, whose: Whose | None) -> None:
        """Add what follows for this list; `whose` the study is, None if there is nothing to say."""
        if self.situation.is_held and not self.situation.is_in_doubt:
            self._take_back_of_others(whose)
            return
        now = self._level_now(whose)
        kind = MessageKind.WITHDRAWN if now is None else MessageKind.WRONG
        for name, thread in self.threads.items():
            if now is None or name != now.thread:
                self._take_back(name, thread, kind)
        if now is None:
            return
        told = self.threads.get(now.thread)
        if told is None or not told.says_already(now):
            self._send(now, () if told is None else told.remembered)

    def _take_back_of_others(self, whose: Whose | None) -> None:
        """Take back what was told of a held study under identifiers that are not its own."""
        if whose is None or self._receiver.why_unsayable(whose):
            return  # whose it is now is not known, or not for certain
        for name, thread in self.threads.items():
            former = thread.last_message.whose
            if not is_filled_in(former, self._receiver.told_of(whose)):
                self._take_back(name, thread, MessageKind.WRONG)

    def _level_now(self, whose: Whose | None) -> LevelMessage | None:
        """Return what the list is to be told now, None if nothing."""
        situation, level = self.situation, self.situation.level
        is_sender = not self.settings.senders or situation.sender in self.settings.senders
        if whose is None or level is None or not is_sender:
            return None
        found = self._result_that_gives(level)
        if found is None:
            return None
        given, result = found
        told_of = self._receiver.told_of(whose)
        if why := self._receiver.why_unsayable(whose):
            self.decision.notes.append(f"{self.settings.name} {TOLD_NOTHING}: {why}")
            return None
        return level_message(
            result=result,
            level=level,
            before=self._level_before(level),
            study_uid=situation.study_uid,
            version=given.number,
            whose=told_of,
            thread=self._thread_of(told_of),
            last_image_at=situation.last_image_at,
            at=situation.at,
        )

    def _thread_of(self, whose: Whose) -> str:
        """Return the thread that goes on if the study is this one's, else a new one."""
        going_on = [
            (thread.stands, thread.last.sequence, name)
            for name, thread in self.threads.items()
            if is_filled_in(thread.last_message.whose, whose)
        ]
        return max(going_on)[2] if going_on else thread_of(self.situation.study_uid, whose)

    def _result_that_gives(self, level: Priority) -> tuple[GivenLevel, Result] | None:
        """Return the result by which the study has its level, of a model that the list names.

        Of the newest version that has one; there of the model that the configuration has first.
        """
        order = [model.name for model in self.teller.config.models]
        giving = [one for one in self.situation.given if one.level == level]
        found = [one for one in giving if one.model in order]
        found.sort(key=lambda one: (-one.number, order.index(one.model)))
        others, reasons = [], []
        for one in found:
            result = self.teller.telling.result_of(self.situation.study_uid, one)
            may_rank = self.teller.config.triage.demonstration_may_rank
            if not gives_level(result, demonstration_may_rank=may_rank):
                reasons.append(f"{one.model} is a demonstration, and may rank none")
                continue
            if one.model in self.settings.models:
                return one, result
            others.append(one.model)
        gone = "{}, which gave it, is not in the configuration any more"
        reasons += [gone.format(one.model) for one in giving if one.model not in order]
        if reasons and any(thread.stands for thread in self.threads.values()):
            words = f"{self.settings.name} is not told of triage level {level} any more"
            self.decision.notes.append(f"{words}: {reasons[0]}")
        if others:
            words = f"{self.settings.name} is not told of triage level {level}: by {others[0]}, "
            self.decision.notes.append(f"{words}which is none of the models it is told of")
        return None

    def _level_before(self, level: Priority) -> Priority | None:
        """Return what the level was: as the list was told, else as an earlier version had it."""
        if known := [one for thread in self.threads.values() for one in thread.known]:
            last = max(known, key=lambda one: one.made_at)
            return last.level if last.level != level else last.before
        former = changes(self.situation.levels, level)
        return former[-1].level if former else None

    def _take_back(self, name: str, thread: _Thread, kind: MessageKind) -> None:
        """Say that what was told holds no more, unless nobody can know it yet."""
        if thread.known:
            # The highest that it may have: by that it is known how much it matters.
            highest = max(thread.known, key=lambda one: (one.level, one.made_at))
            self._send(taken_back(highest, kind, self.situation.at), thread.remembered)
        elif thread.last.kind == MessageKind.LEVEL:
            self._cancel(name)
        elif kind == MessageKind.WRONG and thread.last.kind == MessageKind.WITHDRAWN:
            # As when that was in doubt for long: now it is known that it was somebody else's.
            message = taken_back(thread.last_message, kind, self.situation.at)
            self._send(message, thread.remembered)

    def _cancel(self, thread: str) -> None:
        """Send nothing any more of what was written under the same identifiers."""
        for one in self.situation.told_to(self.settings.name):
            if one.is_open and TOLD.validate_json(one.told).thread == thread:
                self.decision.cancelled.add(one.control_id)

    def _send(self, message: LevelMessage, former: Sequence[LevelMessage]) -> None:
        self._cancel(message.thread)  # though it may not be written: it is out of date
        sequence = self._next_sequence()
        control_id = _control_id(self.situation, self.settings.name, sequence)
        try:
            content = self._receiver.build(
                message, former, control_id=control_id, zone=self.teller.zone
            )
        except DeliveryError as error:
            log.error("%s is not told: %s", self.settings.name, error)  # noqa: TRY400 - it says all
            self.put_off(str(error))
            return
        before = "" if message.before is None else str(message.before)
        words = words_of_message(message.kind, str(message.level), before)
        self.decision.messages.append(
            NewMessage(
                control_id=control_id,
                destination=self.settings.name,
                sequence=sequence,
                number=message.version,
                kind=message.kind,
                level=message.level,
                told=TOLD.dump_json(message).decode(),
                content=content,
                note=f"{self.settings.name} is to be told: {words}",
            )
        )

    def put_off(self, why: str) -> None:
        """Have the study looked at again, for this list has not been told."""
        self.decision.is_put_off = True
        self.decision.notes.append(f"{self.settings.name} {TOLD_NOTHING} yet: {why}")

    def _next_sequence(self) -> int:
        told = [one.sequence for one in self.situation.told_to(self.settings.name)]
        new = [
            one.sequence for one in self.decision.messages if one.destination == self.settings.name
        ]
        return max([0, *told, *new]) + 1


def _threads(told: Sequence[ToldBefore]) -> dict[str, _Thread]:
    """Return what one list was told, by thread."""
    found: dict[str, _Thread] = {}
    for one in told:
        if one.is_cancelled and not one.may_be_known:
            continue  # nobody has ever seen it
        if not one.told:
            continue  # its study was forgotten since: nothing stays but that there was one
        message = TOLD.validate_json(one.told)
        former = found.get(message.thread)
        known = former.known if former else ()
        remembered = former.remembered if former else ()
        if one.kind == MessageKind.LEVEL:
            known += (message,) * one.may_be_known
            remembered = () if one.is_acknowledged else remembered
            remembered += (message,) * one.may_be_known
        else:
            # What was cancelled may not have arrived: it is to be said again.
            known = known if one.is_cancelled else ()
            remembered = () if one.is_acknowledged else remembered
        found[message.thread] = _Thread(one, message, known, remembered)
    return found


def _control_id(situation: Situation, destination: str, sequence: int) -> str:
    """Return what a message goes by, wherever it comes from, and at each attempt."""
    parts = (situation.installation, destination, situation.study_uid, str(sequence))
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return base64.b32encode(digest).decode()[:_LONGEST_CONTROL_ID]
