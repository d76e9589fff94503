"""urgent-late and no-triage: what is urgent is where it should be read, or somebody is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ledgers import HOUR_S, STUDY, Desk
from packages import triaging_package

from node.alarms.lateness import no_triage, urgent_late
from node.alarms.watched import Watched
from node.config import Delivery
from node.ledger import DeliveryState, HeldBecause, Mode, PlannedAnalysis, Trouble, now, schema
from node.ledger.records import Closing
from node.ledger.rows import hold
from node.ledger.states import DispatchState, MessageKind
from node.overview.health import Alarm
from node.result import ModelIdentity, Priority

from .rules import age, clock, message, watched

URGENT = Priority.URGENT


def late(desk: Desk, **how: Any) -> list[Trouble]:
    return list(urgent_late(watched(desk, **how)))


def older(desk: Desk, seconds: float = 400) -> None:
    """Let what was found have been found so much earlier."""
    age(desk, seconds, schema.study_version, "closed_at", "finished_at")
    age(desk, seconds, schema.analysis, "finished_at")
    age(desk, seconds, schema.dispatch, "deadline_at")


def test_an_urgent_result_that_its_destination_lacks_is_late_after_five_minutes(
    desk: Desk,
) -> None:
    desk.analysed(level=URGENT)
    older(desk, 290)
    assert late(desk) == []
    older(desk, 20)
    (found,) = late(desk)
    assert (found.rule, found.subject, found.urgency) == ("urgent-late", "pacs", Alarm.ACT)
    assert found.words == "pacs (PACS at 192.0.2.10:104) lacks the results of 1 urgent study"
    assert found.study_uids == (STUDY,)
    assert found.since == pytest.approx(clock(desk) - 310, abs=5)
    assert found.what_to_do.startswith("have the studies read now: ")


def test_how_long_that_is_may_be_set(desk: Desk) -> None:
    desk.analysed(level=URGENT)
    older(desk, 100)
    assert late(desk, alarms={"urgent_within_s": 120}) == []
    assert len(late(desk, alarms={"urgent_within_s": 60})) == 1


@pytest.mark.parametrize("level", [None, Priority.ROUTINE, Priority.NOT_ASSESSED, Priority.SOON])
def test_what_is_not_urgent_is_not_late(desk: Desk, level: Priority | None) -> None:
    desk.analysed(level=level)
    older(desk)
    assert late(desk) == []


def test_what_was_delivered_and_confirmed_is_not_late(desk: Desk) -> None:
    (job,) = desk.analysed(level=URGENT)
    desk.deliver(job, DeliveryState.CONFIRMED, DeliveryState.CONFIRMED)
    older(desk)
    assert late(desk) == []


def test_what_was_taken_and_is_not_confirmed_is_late_and_to_be_looked_at(desk: Desk) -> None:
    desk.analysed(level=URGENT)
    desk.change(schema.delivery, state=DeliveryState.SENT, sent_at=now())
    older(desk)
    (found,) = late(desk)
    assert found.urgency == Alarm.LOOK
    assert "took the results of 1 urgent study and has not confirmed them" in found.words


def test_what_was_given_up_stays_late_for_a_week(desk: Desk) -> None:
    (job,) = desk.analysed(level=URGENT)
    desk.deliver(job, DeliveryState.REFUSED, DeliveryState.REFUSED)
    assert desk.dispatch()["state"] == DispatchState.DEAD
    older(desk)
    (found,) = late(desk)
    assert "lacks the results of 1 urgent study, of which some were given up" in found.words
    assert "`ai-node retry`" in found.what_to_do
    older(desk, 8 * 24 * HOUR_S)
    assert late(desk) == []


def test_all_that_wait_for_a_destination_are_one_alarm_and_only_some_are_named(
    desk: Desk,
) -> None:
    for number in range(8):
        desk.analysed(f"{STUDY}.{number}", level=URGENT, first_report=10 * number)
    older(desk)
    (found,) = late(desk)
    assert "lacks the results of 8 urgent studies" in found.words
    assert len(found.study_uids) == 5
    assert found.latest is not None
    assert found.latest > found.since


def test_what_somebody_has_read_is_late_for_nobody(desk: Desk) -> None:
    desk.analysed(level=URGENT)
    older(desk)
    desk.change(schema.study, read_at=now(), read_by="anna")
    assert late(desk) == []


def test_a_held_study_is_told_of_by_another_rule_and_has_its_time_after_its_release(
    desk: Desk,
) -> None:
    desk.analysed(level=URGENT)
    older(desk, HOUR_S)
    with desk.ledger.writing() as db:
        hold(db, STUDY, HeldBecause.PIXELS, "an image came twice with other pixels")
    assert late(desk) == []
    desk.by_hand.release_study(STUDY, by="anna")
    desk.change(schema.dispatch, deadline_at=now() + Delivery().deliver_within_s - 10)
    assert late(desk) == []
    age(desk, 400, schema.dispatch, "deadline_at")
    (found,) = late(desk)
    assert found.since == pytest.approx(clock(desk) - 410, abs=5)


def test_an_urgent_message_that_is_not_acknowledged_is_late(desk: Desk) -> None:
    (job,) = desk.analysed(level=URGENT)
    desk.deliver(job, DeliveryState.CONFIRMED, DeliveryState.CONFIRMED)
    message(desk, error="no answer")
    (found,) = late(desk)
    assert found.subject == "ris"
    where = "ris (192.0.2.20:2575)"
    assert (
        found.words == f"{where} has not acknowledged the triage level of 1 urgent study: no answer"
    )
    assert found.study_uids == (STUDY,)


@pytest.mark.parametrize(
    "values",
    [
        {"made_at": now() - 200},
        {"state": DispatchState.FINISHED},
        {"state": DispatchState.CANCELLED},
        {"level": Priority.SOON},
        {"kind": MessageKind.WITHDRAWN, "level": None},
    ],
)
def test_other_messages_are_not_late(desk: Desk, values: dict[str, Any]) -> None:
    desk.receive()
    message(desk, **values)
    assert late(desk) == []


def test_an_urgent_study_whose_results_are_not_built_is_late(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.change(schema.study_version, level=URGENT)
    assert late(desk) == []
    desk.change(schema.analysis, level=URGENT, finished_at=now() - 400)
    (found,) = late(desk)
    assert (found.subject, found.urgency) == ("report", Alarm.ACT)
    assert found.words == "the results of 1 urgent study are not built, and so sent to nobody"


# no-triage

TRIAGE = "breast-triage"


@pytest.fixture
def triaging(desk: Desk, tmp_path: Path) -> Watched:
    model = triaging_package(tmp_path)
    return watched(desk, models={model.identity.name: model})


def name_of(node: Watched) -> str:
    (name,) = node.models
    return name


def came(desk: Desk, node: Watched, study: str, level: Priority | None) -> None:
    """Let a study have come that the model should judge; None: it still waits."""
    name = name_of(node)
    desk.receive(f"{study}.1", study=study)
    plan = PlannedAnalysis(name, "1.0.0", "0" * 64, Mode.DELIVER)
    job = desk.close(Closing("4/4 views", (plan,)), study=study)
    if level is not None:
        desk.begin(job)
        model = ModelIdentity(name, "A", "1.0.0", "Test", "2.25.1", "0" * 64)
        desk.finish(job, level=level, model=model, destinations=(), reports=0)


def test_a_model_that_judges_none_of_what_comes_is_told_after_hours(
    desk: Desk, triaging: Watched
) -> None:
    came(desk, triaging, f"{STUDY}.0", Priority.ROUTINE)
    for number in range(1, 4):
        came(desk, triaging, f"{STUDY}.{number}", None if number % 2 else Priority.NOT_ASSESSED)
    assert list(no_triage(triaging)) == []
    table = schema.study_version
    desk.change(table, closed_at=table.c.closed_at - 5 * HOUR_S)
    (found,) = no_triage(triaging)
    assert (found.subject, found.urgency) == (name_of(triaging), Alarm.ACT)
    assert "has judged none of the 3 studies that came, since the last that it judged" in (
        found.words
    )
    came(desk, triaging, f"{STUDY}.9", URGENT)
    assert list(no_triage(triaging)) == [], "it judges again, what waits is another matter"


def test_one_study_that_could_not_be_judged_is_no_silence_of_the_model(
    desk: Desk, triaging: Watched
) -> None:
    for number in range(2):
        came(desk, triaging, f"{STUDY}.{number}", Priority.NOT_ASSESSED)
    age(desk, 9 * HOUR_S, schema.analysis, "finished_at")
    assert list(no_triage(triaging)) == []
    came(desk, triaging, f"{STUDY}.2", Priority.NOT_ASSESSED)
    (found,) = no_triage(triaging)
    assert found.words.endswith("has judged none of the 3 studies that came, and none before")


def test_where_nothing_comes_nothing_is_missed(desk: Desk, triaging: Watched) -> None:
    came(desk, triaging, STUDY, Priority.ROUTINE)
    age(desk, 100 * HOUR_S, schema.analysis, "finished_at")
    assert list(no_triage(triaging)) == []
