"""The rules and what examines each; `Examiner` asks them in turn, as often as each is worth it.

Every node examines: what one finds that is gone for good, the others find, too. Each examination
asks for what indexes find, so that it costs milliseconds however large the ledger is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from node.alarms.destinations import delivery_failing, delivery_given_up
from node.alarms.habits import models_shifted, senders_silent
from node.alarms.lateness import no_triage, urgent_late
from node.alarms.machine import Certificates, clocks_differ, disks_full
from node.alarms.parts import channels_late, parts_ill, starts_again
from node.alarms.studies import studies_held, studies_not_analysed
from node.alarms.watched import Watched
from node.ledger import Trouble, is_trouble

log = logging.getLogger(__name__)

_MINUTE_S = 60.0
ENDS_AFTER_S = 300.0
ENDS_SOON_S = 90.0
"""For rules that look back for longer than that, so that what they find does not flicker."""

ExamineRule = Callable[[Watched], Iterator[Trouble]]


@dataclass(frozen=True, slots=True)
class RuleExamination:
    """How a rule is examined. Several may be of one rule."""

    rule: str
    """One of `alarm_rules.ALARM_RULES`."""
    examine: ExamineRule
    every_s: float = 0.0
    """Not more often; 0: each time."""
    begins_after_s: float = 0.0
    """It is an alarm only if it was found for so long without a break."""
    is_at_once: bool = False
    """Whether it is examined just after a start, too, when what had to wait is not judged yet."""
    news_s: float = 3600.0
    """What is new in an alarm is told, if it was not told of for so long."""
    ends_after_s: float = ENDS_AFTER_S
    """An alarm is over when nobody has found it for so long: what comes and goes is one alarm."""


def rule_examinations() -> tuple[RuleExamination, ...]:
    """Return how each rule is examined; those that remember something begin anew."""
    return (
        RuleExamination(
            "urgent-late", urgent_late, news_s=15 * _MINUTE_S, ends_after_s=ENDS_SOON_S
        ),
        RuleExamination("no-triage", no_triage, every_s=5 * _MINUTE_S),
        RuleExamination("delivery-failing", delivery_failing, ends_after_s=ENDS_SOON_S),
        RuleExamination("delivery-given-up", delivery_given_up, every_s=_MINUTE_S),
        RuleExamination("study-held", studies_held, every_s=_MINUTE_S),
        RuleExamination("not-analysed", studies_not_analysed, every_s=_MINUTE_S),
        RuleExamination("disk", disks_full, every_s=5 * _MINUTE_S),
        RuleExamination("sender-silent", senders_silent, every_s=5 * _MINUTE_S),
        RuleExamination("part-ill", parts_ill, begins_after_s=2 * _MINUTE_S),
        RuleExamination("part-ill", starts_again, every_s=_MINUTE_S, is_at_once=True),
        RuleExamination("part-ill", channels_late, every_s=_MINUTE_S),
        RuleExamination("clock", clocks_differ, every_s=5 * _MINUTE_S),
        RuleExamination("certificate", Certificates().ending, every_s=5 * _MINUTE_S),
        RuleExamination("shifted", models_shifted, every_s=5 * _MINUTE_S),
    )


@dataclass(frozen=True, slots=True)
class TroubleFound:
    """A trouble, and by which examination it was found."""

    trouble: Trouble
    by: RuleExamination
    is_new: bool
    """It has not been found for so long that it would be an alarm; one that is raised lasts."""
    age_s: float = 0.0
    """How long ago it was looked for."""


@dataclass(slots=True)
class _State:
    """What is remembered of an examination, by the monotonic clock."""

    asked_at: float | None = None
    works_since: float | None = None
    """None while it fails."""
    found: tuple[Trouble, ...] = ()
    found_since: dict[str, float] = field(default_factory=dict)
    """By subject."""
    failures: int = 0


class Examiner:
    """Asks the rules that are on, and remembers since when each finds what it finds."""

    def __init__(
        self,
        watched: Watched,
        asked: Sequence[RuleExamination] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watched = watched
        all_of_them = rule_examinations() if asked is None else asked
        self._all = [(one, _State()) for one in all_of_them]
        self._clock = clock
        self._began_at = clock()

    def watch(self, watched: Watched) -> None:
        """Examine by another configuration from now on; since when what is found is remembered."""
        self._watched = watched

    @property
    def _asked(self) -> list[tuple[RuleExamination, _State]]:
        """Those that are on."""
        off = self._watched.config.alarms.off
        return [(one, state) for one, state in self._all if one.rule not in off]

    def look(self, *, is_settled: bool = True) -> list[TroubleFound]:
        """Examine what is due; return all that is found now, or was when it was last looked for.

        Before the node has settled after its start, only what is examined at once.

        A rule that fails costs no other: the log says so, and of it nothing is known. Raises what
        the database does if it is away.
        """
        found = []
        began = self._clock()
        for one, state in self._asked:
            at = self._clock()
            if not (is_settled or one.is_at_once):
                continue
            if state.asked_at is None or at - state.asked_at >= one.every_s:
                self._ask(one, state, at)
            for trouble in state.found:
                is_new = at - state.found_since[trouble.subject] < one.begins_after_s
                age_s = max(0.0, began - (state.asked_at or 0.0))
                found.append(TroubleFound(trouble, one, is_new, age_s))
        return found

    def knows_for_s(self, rule: str) -> float:
        """Return for how long a rule has been examined without failing.

        Since we began for one that is off, or that nobody knows any more: it finds nothing.
        """
        at = self._clock()
        known: list[float] = []
        for one, state in self._asked:
            if one.rule == rule:
                known.append(0.0 if state.works_since is None else at - state.works_since)
        return min(known, default=at - self._began_at)

    def ends_after_s(self, rule: str) -> float:
        """Return for how long an alarm must not have been found to be over."""
        of_it = [one for one, _ in self._asked if one.rule == rule]
        times = [max(one.ends_after_s, 2 * one.every_s) for one in of_it]
        return max(times, default=ENDS_AFTER_S)

    @property
    def failing(self) -> str:
        """Which rules cannot be examined, in words; "" if all can."""
        rules = dict.fromkeys(one.rule for one, state in self._asked if state.failures)
        return f"not examined, as the log says: {', '.join(rules)}" if rules else ""

    def _ask(self, one: RuleExamination, state: _State, at: float) -> None:
        try:
            found = tuple(one.examine(self._watched))
        except Exception as error:  # or a defect in one rule would silence all
            if is_trouble(error):
                raise
            state.failures += 1
            state.asked_at, state.works_since, state.found = at, None, ()
            if state.failures & (state.failures - 1) == 0:  # 1, 2, 4, ...
                log.exception("The rule %s cannot be examined, %d times", one.rule, state.failures)
            return
        state.asked_at, state.failures, state.found = at, 0, found
        if state.works_since is None:
            state.works_since = at
        before = state.found_since
        state.found_since = {one.subject: before.get(one.subject, at) for one in found}


def by_key(findings: Sequence[TroubleFound]) -> Mapping[tuple[str, str], TroubleFound]:
    """Return what was found, by rule and subject."""
    return {(one.trouble.rule, one.trouble.subject): one for one in findings}
