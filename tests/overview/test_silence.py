"""Which senders are silent where they usually send: learnt by weekday and hour of local time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import sqlalchemy as sa
from ledgers import HOUR_S, NODE, Desk
from peers import modality

from node import config
from node.ledger import schema
from node.overview.silence import (
    LEAST_STUDIES,
    Habit,
    learnt_habit,
    silent_senders,
    studies_expected,
)

DAY_S = 24 * HOUR_S
BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 1, 12, tzinfo=BERLIN)
"""In winter; on 29 March clocks go forward."""


def moment(day: int, hour: float) -> float:
    """Return a local time, so many days after that Monday, epoch seconds."""
    local = MONDAY.replace(tzinfo=None) + timedelta(days=day, hours=hour)
    return local.replace(tzinfo=BERLIN).timestamp()


def screening(weeks: int, *, a_day: int = 24, without: tuple[int, ...] = ()) -> list[float]:
    """Return when studies came, evenly from 8 to 16 h on weekdays, but on some days."""
    return [
        moment(day, 8 + 8 * (n + 0.5) / a_day)
        for day in range(7 * weeks)
        if day % 7 < 5 and day not in without
        for n in range(a_day)
    ]


def habit_of(arrivals: list[float]) -> Habit:
    found = learnt_habit(tuple(sorted(arrivals)), BERLIN)
    assert found is not None
    return found


def silent_hours(habit: Habit, since: float) -> float:
    """Return after how many hours a sender is silent."""
    quarters = np.arange(1, 4 * 24 * 30) / 4
    for hours in quarters:
        if studies_expected(habit, [(since, since + hours * HOUR_S)], BERLIN) >= habit.enough:
            return float(hours)
    raise AssertionError("it is not noticed within a month")


def test_a_screening_unit_that_stops_in_the_morning_is_noticed_that_day() -> None:
    arrivals = screening(8)
    last = moment(56, 9)
    habit = habit_of([*arrivals, *(moment(56, 8 + n / 3) for n in range(4))])
    assert habit.weeks == 8
    assert habit.enough == LEAST_STUDIES
    assert 2.5 <= silent_hours(habit, last) <= 3.5


def test_nights_and_weekends_without_studies_are_no_silence() -> None:
    habit = habit_of(screening(8))
    friday, monday = moment(53, 15.9), moment(56, 7)
    assert studies_expected(habit, [(friday, monday)], BERLIN) < 1
    assert 65 <= silent_hours(habit, friday) <= 68, "on Monday before noon"


def test_a_day_is_worth_what_comes_in_it() -> None:
    habit = habit_of(screening(8))
    tuesday = [(moment(57, 0), moment(58, 0))]
    assert studies_expected(habit, tuesday, BERLIN) == pytest.approx(24, abs=0.5)
    halves = [(moment(57, 0), moment(57, 11.3)), (moment(57, 11.3), moment(58, 0))]
    assert studies_expected(habit, halves, BERLIN) == pytest.approx(
        studies_expected(habit, tuesday, BERLIN)
    )


def test_hours_are_those_of_the_clock_on_the_wall() -> None:
    habit = habit_of(screening(8))
    winter, summer = 50, 7 * 12  # the first is before 29 March, the other after it
    for day in (winter - winter % 7, summer):
        opening = studies_expected(habit, [(moment(day, 7), moment(day, 10))], BERLIN)
        early = studies_expected(habit, [(moment(day, 5), moment(day, 7))], BERLIN)
        assert opening == pytest.approx(6, abs=0.8)
        assert early == 0


def test_a_habit_is_learnt_across_the_change_of_clocks() -> None:
    begin = 56
    arrivals = [at for at in screening(8 + 7) if at >= moment(begin, 0)]
    habit = habit_of(arrivals)
    assert studies_expected(habit, [(moment(105, 8), moment(105, 16))], BERLIN) > 22
    assert studies_expected(habit, [(moment(105, 0), moment(105, 6.9))], BERLIN) == 0


@pytest.mark.parametrize(("weeks", "is_known"), [(2, False), (3, False), (4, True)])
def test_a_new_sender_is_not_known_before_three_weeks(weeks: int, *, is_known: bool) -> None:
    # Three weeks from Monday to Friday are two and five days.
    assert (learnt_habit(tuple(screening(weeks)), BERLIN) is not None) == is_known


def test_a_sender_of_a_few_studies_is_not_known() -> None:
    few = tuple(moment(7 * week, 10 + n) for week in range(8) for n in range(2))
    assert learnt_habit(few, BERLIN) is None
    assert learnt_habit((), BERLIN) is None


def test_old_studies_that_came_at_once_one_night_make_no_habit() -> None:
    prefetched = [moment(44, 2 + n / 1000) for n in range(800)]
    habit = habit_of([*screening(8), *prefetched])
    night = [(moment(58, 0), moment(58, 6))]
    assert studies_expected(habit, night, BERLIN) == 0


def test_one_day_off_changes_nothing_and_a_second_asks_for_more() -> None:
    one = habit_of(screening(8, without=(22,)))
    two = habit_of(screening(8, without=(22, 37)))
    assert one.enough == LEAST_STUDIES
    assert two.enough > 24, "one day off more is usual"


def test_a_sender_that_sends_once_a_day_is_silent_when_it_has_not_for_more_than_one() -> None:
    evenings = [
        moment(day, 17 + (day * 7 % 10) / 10 + n / 100)
        for day in range(56)
        if day % 7 < 5
        for n in range(20)
    ]
    habit = habit_of(evenings)
    assert habit.enough > 20
    assert 30 <= silent_hours(habit, moment(53, 18) - 4 * DAY_S) <= 75


@pytest.mark.parametrize("kind", ["screening", "day and night", "three days a week"])
def test_false_alarms_are_less_than_one_a_month(kind: str) -> None:
    """Half a year with two days off; benchmarks/alarms.py has years of more kinds."""
    chance = np.random.default_rng(16)
    arrivals = np.array(sorted(_random_arrivals(kind, chance, 8 * 7 + 182)))
    alarms = 0
    for place in np.flatnonzero(np.diff(arrivals) > 2 * HOUR_S):
        since, until = arrivals[place], arrivals[place + 1]
        if since < moment(56, 0):
            continue
        first = max(int(np.searchsorted(arrivals, since - 56 * DAY_S)) - 1, 0)
        habit = learnt_habit(tuple(arrivals[first : place + 1]), BERLIN)
        assert habit is not None
        alarms += studies_expected(habit, [(since, until)], BERLIN) >= habit.enough
    assert alarms <= 6


def _random_arrivals(kind: str, chance: np.random.Generator, days: int) -> Iterator[float]:
    for day in range(days):
        if day % 50 == 30:
            continue  # off
        if kind == "day and night":
            hours = np.r_[chance.uniform(0, 24, chance.poisson(6)), chance.normal(12, 2, 20)]
        elif day % 7 >= 5 or (kind == "three days a week" and chance.random() > 0.6):
            continue
        else:
            hours = chance.uniform(8, 16, chance.poisson(25 * chance.gamma(16, 1 / 16)))
        yield from (moment(day, float(hour)) for hour in hours)


# In a ledger ------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> config.Config:
    pacs = modality(name="pacs", ae_title="PACS", sends=False, receives="default")
    return config.Config(
        node=config.Node(ae_title="AINODE", state_dir=tmp_path),
        peers=(modality(), modality(name="other", ae_title="OTHER"), pacs),
    )


def sent(desk: Desk, sender: str, *, hours_ago: float, weeks: float = 9) -> float:
    """Let a sender have sent twice an hour, until so many hours ago; return when it did last."""
    last = time.time() - hours_ago * HOUR_S
    rows = [
        {"study_uid": f"1.9.{sender}.{n}", "sender": sender, "state": "closed", "identity": "-"}
        | dict.fromkeys(("first_at", "last_at", "last_image_at"), last - n * HOUR_S / 2)
        for n in range(int(weeks * 7 * 48))
    ]
    with desk.ledger.writing() as db:
        db.execute(schema.study.insert(), rows)
    return last


def listening(desk: Desk, *, since_hours: float) -> None:
    desk.nodes.register_node(NODE, "here:/state place")
    desk.change(schema.node, started_at=time.time() - since_hours * HOUR_S)


def test_who_has_stopped_is_told_of_with_since_when_and_what_to_do(
    desk: Desk, settings: config.Config
) -> None:
    listening(desk, since_hours=1000)
    last = sent(desk, "modality", hours_ago=6)
    sent(desk, "other", hours_ago=2)
    sent(desk, "pacs", hours_ago=6)
    (found,) = silent_senders(desk.ledger, settings, UTC)
    assert found.sender == "modality"
    assert found.since == pytest.approx(last, abs=1)
    assert found.expected == pytest.approx(12, abs=1.5)
    local = datetime.fromtimestamp(last, UTC)
    assert found.words == (
        f"modality has sent nothing since {local:%Y-%m-%d %H:%M}; usually about "
        f"{found.expected:.0f} studies would have come since (learnt from its last 8 weeks)"
    )
    assert "reach the node" in found.what_to_do


def test_who_has_been_there_for_two_weeks_is_not_told_of(
    desk: Desk, settings: config.Config
) -> None:
    listening(desk, since_hours=1000)
    sent(desk, "modality", hours_ago=6, weeks=2)
    assert silent_senders(desk.ledger, settings, UTC) == ()


def test_it_is_told_of_as_long_as_it_is_silent(desk: Desk, settings: config.Config) -> None:
    listening(desk, since_hours=10_000)
    sent(desk, "modality", hours_ago=20 * 7 * 24)
    (found,) = silent_senders(desk.ledger, settings, UTC)
    assert found.expected > 6000


def test_while_no_node_listened_nobody_was_silent(desk: Desk, settings: config.Config) -> None:
    sent(desk, "modality", hours_ago=30)
    assert silent_senders(desk.ledger, settings, UTC) == ()
    listening(desk, since_hours=2)
    assert silent_senders(desk.ledger, settings, UTC) == ()
    desk.nodes.register_node("another", "there:/state place-2")
    with desk.ledger.writing() as db:
        table = schema.node
        is_it = table.c.id == "another"
        ended = {"started_at": time.time() - 90 * HOUR_S, "stopped_at": time.time() - 27 * HOUR_S}
        db.execute(table.update().where(is_it).values(ended))
    (found,) = silent_senders(desk.ledger, settings, UTC)
    assert found.expected == pytest.approx(2 * (3 + 2), abs=1)


def test_a_node_that_is_nothing_but_the_page_does_not_listen(
    desk: Desk, settings: config.Config
) -> None:
    listening(desk, since_hours=100)
    desk.change(schema.node, role="web")
    sent(desk, "modality", hours_ago=30)
    assert silent_senders(desk.ledger, settings, UTC) == ()


def test_what_it_asks_of_studies_is_found_by_an_index(desk: Desk, settings: config.Config) -> None:
    listening(desk, since_hours=1000)
    sent(desk, "modality", hours_ago=6)
    engine = desk.ledger._engine
    statements: list[str] = []

    def note(*of_it: object) -> None:
        statements.append(str(of_it[2]))

    sa.event.listen(engine, "before_cursor_execute", note)
    silent_senders(desk.ledger, settings, UTC)
    sa.event.remove(engine, "before_cursor_execute", note)
    asked = [one for one in statements if "FROM study" in one]
    assert len(asked) >= 3
    if engine.dialect.name == "sqlite":
        with engine.connect() as db:
            for one in asked:
                plan = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", ("1",) * one.count("?"))
                steps = " ".join(str(row[3]) for row in plan)
                assert "USING COVERING INDEX ix_study_sender_last_image_at" in steps, steps
