"""Alarms in the ledger: raised once, told by each channel until it has taken it, over once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from ledgers import HOUR_S, Desk, run_at_once

from node.ledger import (
    Alarming,
    AlarmNotice,
    NoticeEvent,
    NoticeState,
    RaisedAlarm,
    Trouble,
    now,
    schema,
)
from node.study import StudyLabels

DAY_S = 24 * HOUR_S
BOTH = ("mail", "webhook")
LATE = Trouble("urgent-late", "pacs", 2, "pacs lacks 1 result", "see to it", 1000.0)


def raised(desk: Desk, trouble: Trouble = LATE, *channels: str) -> NoticeEvent | None:
    return Alarming(desk.ledger).raise_alarm(
        trouble, channels or BOTH, reminder_s=DAY_S, news_s=HOUR_S
    )


def lasting(desk: Desk) -> list[RaisedAlarm]:
    return Alarming(desk.ledger).open_alarms()[1]


def ended(desk: Desk, after_s: float = 300) -> bool:
    (alarm,) = lasting(desk)
    return Alarming(desk.ledger).end_alarm(alarm, BOTH, after_s)


def let_alarms_pass(desk: Desk, seconds: float) -> None:
    """Make all alarms so much older."""
    table = schema.alarm
    times = {
        name: table.c[name] - seconds for name in ("began_at", "seen_at", "reminded_at", "ended_at")
    }
    desk.change(table, **times)


def claimed(desk: Desk, channel: str = "mail") -> AlarmNotice | None:
    return Alarming(desk.ledger).claim_notice(channel, 600)


def notices(desk: Desk) -> list[tuple[Any, ...]]:
    rows = sorted(desk.rows(schema.alarm_notice), key=lambda row: row["made_at"])
    return [(row["channel"], row["event"], row["state"]) for row in rows]


def due(desk: Desk) -> None:
    """Let the time of every notice have come."""
    desk.change(schema.alarm_notice, next_at=now() - 1)


# Raising


def test_an_alarm_is_raised_once_whoever_finds_it_and_told_once_by_each_channel(
    desk: Desk,
) -> None:
    answers: list[NoticeEvent | None] = []
    run_at_once(*[lambda: answers.append(raised(desk))] * 4)
    assert answers.count(NoticeEvent.BEGUN) == 1
    assert answers.count(None) == 3
    (alarm,) = lasting(desk)
    assert (alarm.rule, alarm.subject, alarm.words) == ("urgent-late", "pacs", LATE.words)
    assert (alarm.since, alarm.ended_at) == (1000.0, None)
    assert sorted(notices(desk)) == [(name, "begun", "queued") for name in BOTH]


def test_what_is_about_something_else_is_an_alarm_of_its_own(desk: Desk) -> None:
    assert raised(desk) == NoticeEvent.BEGUN
    assert raised(desk, replace(LATE, subject="ris")) == NoticeEvent.BEGUN
    assert raised(desk, replace(LATE, rule="disk")) == NoticeEvent.BEGUN
    assert len(lasting(desk)) == 3


def test_an_alarm_that_lasts_says_what_is_so_now_and_is_told_again_once_a_day(desk: Desk) -> None:
    raised(desk)
    let_alarms_pass(desk, DAY_S - 60)
    assert raised(desk, replace(LATE, words="pacs lacks 2 results")) is None
    assert lasting(desk)[0].words == "pacs lacks 2 results"
    let_alarms_pass(desk, 61)
    answers: list[NoticeEvent | None] = []
    run_at_once(*[lambda: answers.append(raised(desk))] * 3)
    assert answers.count(NoticeEvent.REMINDER) == 1
    let_alarms_pass(desk, DAY_S - 60)
    assert raised(desk) is None


def test_what_has_become_more_urgent_is_told_at_once_and_only_then(desk: Desk) -> None:
    full = replace(LATE, rule="disk", urgency=1)
    raised(desk, full)
    assert raised(desk, replace(full, urgency=2)) == NoticeEvent.REMINDER
    assert raised(desk, full) is None
    assert raised(desk, replace(full, urgency=2)) is None
    assert lasting(desk)[0].urgency == 2


def test_what_is_new_in_an_alarm_is_told_but_not_more_often_than_its_rule_wants(
    desk: Desk,
) -> None:
    with desk.ledger.reading() as db:
        at = float(db.execute(sa.select(now())).scalar_one())
    raised(desk, replace(LATE, latest=at))
    another = replace(LATE, latest=at + 5, words="pacs lacks 2 results")
    assert raised(desk, another) is None
    let_alarms_pass(desk, HOUR_S + 1)
    assert raised(desk, replace(another, latest=at - 2 * HOUR_S)) is None  # it was told of that
    assert raised(desk, another) == NoticeEvent.REMINDER
    assert raised(desk, another) is None


def test_what_has_happened_since_it_was_looked_for_is_news(desk: Desk) -> None:
    work = Alarming(desk.ledger)
    with desk.ledger.reading() as db:
        at = float(db.execute(sa.select(now())).scalar_one())

    def found(seconds_ago: float, latest: float) -> NoticeEvent | None:
        trouble = replace(LATE, latest=latest)
        found_at = at - seconds_ago
        return work.raise_alarm(trouble, BOTH, reminder_s=DAY_S, news_s=0, found_at=found_at)

    assert found(60, at - 90) == NoticeEvent.BEGUN
    assert found(50, at - 90) is None
    assert found(0, at - 30) == NoticeEvent.REMINDER
    assert found(0, at - 30) is None


def test_a_clock_that_was_set_back_silences_nothing(desk: Desk) -> None:
    raised(desk)
    let_alarms_pass(desk, -3 * DAY_S)
    assert raised(desk) == NoticeEvent.REMINDER
    let_alarms_pass(desk, -3 * DAY_S)
    assert ended(desk)
    desk.change(schema.alarm_notice, next_at=now() + 3 * DAY_S)
    assert claimed(desk) is not None


# The end


def test_an_alarm_is_over_once_nobody_has_found_it_for_long(desk: Desk) -> None:
    raised(desk)
    let_alarms_pass(desk, 290)
    assert not ended(desk)
    raised(desk)  # another node finds it
    let_alarms_pass(desk, 290)
    assert not ended(desk)
    let_alarms_pass(desk, 11)
    answers: list[bool] = []
    (alarm,) = lasting(desk)
    work = Alarming(desk.ledger)
    run_at_once(*[lambda: answers.append(work.end_alarm(alarm, BOTH, 300))] * 3)
    assert sorted(answers) == [False, False, True]
    assert lasting(desk) == []
    assert [event for _, event, _ in notices(desk)].count("ended") == 2


def test_what_comes_and_goes_all_day_is_told_less_and_less_often(desk: Desk) -> None:
    raised(desk)
    for times in range(1, 4):
        let_alarms_pass(desk, 300 * 2 ** (times - 1) - 5)
        assert not ended(desk)
        let_alarms_pass(desk, 10)
        assert ended(desk)
        assert raised(desk) == NoticeEvent.BEGUN


def test_an_alarm_that_is_over_begins_anew_when_it_is_found_again(desk: Desk) -> None:
    raised(desk)
    let_alarms_pass(desk, 400)
    assert ended(desk)
    assert raised(desk) == NoticeEvent.BEGUN
    assert len(desk.rows(schema.alarm)) == 2


def test_what_ended_long_ago_is_forgotten_with_its_notices(desk: Desk) -> None:
    raised(desk)
    let_alarms_pass(desk, 400)
    ended(desk)
    work = Alarming(desk.ledger)
    work.forget()
    assert len(work.raised(ended_within_s=DAY_S)) == 1
    let_alarms_pass(desk, 91 * DAY_S)
    work.forget()
    assert desk.rows(schema.alarm) == desk.rows(schema.alarm_notice) == []


# Telling


def test_a_notice_is_claimed_by_one_node_at_a_time(desk: Desk) -> None:
    raised(desk, LATE, "mail")
    found: list[AlarmNotice | None] = []
    run_at_once(*[lambda: found.append(claimed(desk))] * 4)
    (notice,) = [one for one in found if one is not None]
    assert (notice.event, notice.alarm.words) == (NoticeEvent.BEGUN, LATE.words)
    assert claimed(desk) is None
    Alarming(desk.ledger).record_told(notice)
    due(desk)
    assert claimed(desk) is None
    assert notices(desk) == [("mail", "begun", "sent")]


def test_a_notice_whose_node_has_died_is_told_by_another_under_the_same_id(desk: Desk) -> None:
    raised(desk, LATE, "mail")
    first = claimed(desk)
    assert claimed(desk) is None
    due(desk)  # the claim is over
    second = claimed(desk)
    assert first is not None
    assert second is not None
    assert first.id == second.id


def test_a_channel_that_does_not_take_a_notice_is_asked_again_later(desk: Desk) -> None:
    work = Alarming(desk.ledger)
    raised(desk, LATE)
    notice = claimed(desk)
    assert notice is not None
    work.put_off(notice, 60, "mail.example:25 does not take mail (Connection refused)")
    assert claimed(desk) is None
    assert work.late_channels(900) == []
    desk.change(schema.alarm_notice, made_at=now() - 1000)
    (late,) = work.late_channels(900)
    assert (late.channel, late.notices) == ("mail", 1)
    assert late.error == "mail.example:25 does not take mail (Connection refused)"
    due(desk)
    again = claimed(desk)
    assert again is not None
    assert again.id == notice.id


def test_nobody_is_told_that_something_began_which_is_over(desk: Desk) -> None:
    raised(desk, LATE, "mail")
    let_alarms_pass(desk, 400)
    assert ended(desk)
    notice = claimed(desk)
    assert notice is not None
    assert (notice.event, len(notice.replaced)) == (NoticeEvent.ENDED, 1)
    Alarming(desk.ledger).record_told(notice)
    assert claimed(desk) is None
    assert [one for one in notices(desk) if one[0] == "mail"] == [("mail", "ended", "sent")]


def test_a_notice_that_failed_is_dropped_where_the_end_was_told_meanwhile(desk: Desk) -> None:
    work = Alarming(desk.ledger)
    raised(desk, LATE, "mail")
    begun = claimed(desk)
    let_alarms_pass(desk, 400)
    ended(desk)
    over = claimed(desk)  # by another node
    assert begun is not None
    assert over is not None
    assert over.event == NoticeEvent.ENDED
    work.record_told(over)
    work.put_off(begun, 0, "no answer")
    due(desk)
    assert claimed(desk) is None
    assert ("mail", "begun", "queued") not in notices(desk)


def test_a_channel_that_was_away_for_days_tells_what_lasts_once(desk: Desk) -> None:
    raised(desk, LATE, "mail")
    for _ in range(2):
        let_alarms_pass(desk, DAY_S + 1)
        raised(desk, LATE, "mail")
    notice = claimed(desk)
    assert notice is not None
    assert (notice.event, len(notice.replaced)) == (NoticeEvent.REMINDER, 2)
    Alarming(desk.ledger).record_told(notice)
    due(desk)
    assert claimed(desk) is None


def test_what_no_channel_takes_for_days_is_given_up(desk: Desk) -> None:
    raised(desk, LATE, "pager")  # which the configuration does not name any more
    desk.change(schema.alarm_notice, made_at=now() - 4 * DAY_S)
    Alarming(desk.ledger).forget()
    assert notices(desk) == [("pager", "begun", "given up")]


def test_a_notice_knows_whose_the_studies_are(desk: Desk) -> None:
    desk.receive(labels=StudyLabels(accession_number="A1", patient_id="P1", patient_name="N"))
    raised(desk, replace(LATE, study_uids=("1.2.826.1", "1.2.3")), "mail")
    notice = claimed(desk)
    assert notice is not None
    known, unknown = notice.studies
    assert (known.study_uid, known.accession_number) == ("1.2.826.1", "A1")
    assert (unknown.study_uid, unknown.accession_number) == ("1.2.3", "")


def test_what_lasts_is_listed_before_what_is_over_and_with_what_was_told(desk: Desk) -> None:
    work = Alarming(desk.ledger)
    raised(desk, replace(LATE, rule="disk"), "mail")
    let_alarms_pass(desk, 400)
    ended(desk)
    raised(desk, replace(LATE, rule="study-held", urgency=1), "mail")
    raised(desk, LATE, "mail")
    listed = [one.rule for one in work.raised(ended_within_s=HOUR_S)]
    assert listed == ["urgent-late", "study-held", "disk"]
    assert [one.rule for one in work.raised()] == ["urgent-late", "study-held"]
    notice = claimed(desk)
    assert notice is not None
    work.record_told(notice)
    standing = [one for alarm in work.raised(ended_within_s=HOUR_S) for one in alarm.notices]
    assert {one.state for one in standing} == {NoticeState.SENT, NoticeState.QUEUED}
