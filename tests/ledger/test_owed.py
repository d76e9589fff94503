"""Nothing is removed of a study as long as anybody is to get something, or was promised it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from costs import counted
from ledgers import EXCLUDED, NODE, OUT_OF_SCOPE, STUDY, Desk

from node.ledger import CommitmentState, Committing, DeliveryState, HeldBecause, Patience, schema
from node.ledger.owed import REASONS, is_owed, reason_owed, why_owed
from node.result import Priority


def owed(desk: Desk, study: str = STUDY) -> str | None:
    """Return why a study is owed something, by both ways of asking."""
    table = schema.study
    with desk.ledger.reading() as db:
        why = why_owed(db, study)
        query = sa.select(reason_owed).select_from(table).where(table.c.study_uid == study, is_owed)
        assert db.execute(query).scalar_one_or_none() == why
    return why


def done(desk: Desk, **how: Any) -> None:
    """Take a study of one image to where it should go."""
    for job in desk.analysed(**how):
        desk.deliver(job)
    desk.delete(schema.study_to_tell)  # as `flow.telling` does once it has looked


def insert(desk: Desk, table: sa.Table, **values: Any) -> None:
    with desk.ledger.writing() as db:
        db.execute(table.insert().values(values))


def test_a_study_that_is_done_and_delivered_is_owed_nothing(desk: Desk) -> None:
    done(desk)
    assert owed(desk) is None


def test_nor_is_one_whose_results_only_a_shadow_keeps(desk: Desk) -> None:
    done(desk, destinations=())
    assert owed(desk) is None


def test_nor_is_one_that_is_not_known(desk: Desk) -> None:
    assert owed(desk) is None


@pytest.mark.parametrize("closing", [OUT_OF_SCOPE, EXCLUDED])
def test_nor_is_one_that_no_model_reads_or_that_is_excluded(desk: Desk, closing: Any) -> None:
    desk.receive()
    assert owed(desk) == "it is being received"
    desk.close(closing)
    assert owed(desk) is None


def test_a_study_is_owed_its_analysis_from_the_first_image_to_the_end(desk: Desk) -> None:
    desk.receive()
    assert owed(desk) == "it is being received"
    job = desk.close()
    assert owed(desk) == "it waits to be analysed"
    desk.begin(job)
    assert owed(desk) == "it is being analysed"
    desk.finish(job)
    assert owed(desk) == "results of it are still to be delivered or confirmed"


def test_what_was_accepted_is_owed_until_it_is_confirmed_where_that_is_offered(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.delete(schema.study_to_tell)
    shipment = desk.delivering.begin_dispatch(job, NODE)
    sent = [desk.outcome(report, DeliveryState.SENT) for report in shipment.to_send]
    desk.delivering.record_sent(job, sent)
    desk.delivering.ask_commitment(job, "2.25.7")
    waits = Patience(60, 600, waits_for="a report", has_asked=True)
    desk.delivering.finish_dispatch(job, (), waits, desk.enqueue)
    assert owed(desk) == "results of it are still to be delivered or confirmed"
    uids = {report.sop_uid for report in shipment.to_send}
    assert desk.delivering.record_commitment("2.25.7", uids, {}, lambda attempt: 60.0)
    assert owed(desk) is None


def test_a_delivery_that_was_given_up_is_owed_until_a_person_has_seen_to_it(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.delete(schema.study_to_tell)
    desk.deliver(job, DeliveryState.REFUSED, DeliveryState.REFUSED)
    assert owed(desk) == "a delivery of it was given up"
    desk.by_hand.retry_dead(3600)
    assert owed(desk) == "results of it are still to be delivered or confirmed"


def test_but_not_once_a_newer_version_has_taken_its_place(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.deliver(job, DeliveryState.REFUSED, DeliveryState.REFUSED)
    done(desk, image=2)
    assert owed(desk) is None


def test_an_analysis_that_ended_without_an_answer_is_owed(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.processing.cancel_version(job, "the model is not there any more")
    assert owed(desk) == "its analysis was given up"


def test_results_that_have_no_destination_are_owed(desk: Desk) -> None:
    done(desk, destinations=())
    desk.change(schema.study_version, error="nobody gets the results of modality")
    assert owed(desk) == "its results have no destination"


@pytest.mark.parametrize("because", HeldBecause)
def test_a_held_study_is_owed_a_look_whatever_it_is_held_for(
    desk: Desk, because: HeldBecause
) -> None:
    done(desk)
    desk.change(schema.study, held_because=because, held_reason="a reason")
    assert owed(desk) == "it is held"


@pytest.mark.parametrize("closing", [None, OUT_OF_SCOPE, EXCLUDED])
def test_what_a_person_keeps_stays_even_if_no_model_reads_it(desk: Desk, closing: Any) -> None:
    if closing is None:
        done(desk)
    else:
        desk.receive()
        desk.close(closing)
    desk.change(schema.study, kept_at=1.0, kept_by="somebody", kept_why="for a conference")
    assert owed(desk) == "a person keeps it"


def test_a_study_whose_images_are_asked_back_is_owed_them(desk: Desk) -> None:
    done(desk)
    insert(desk, schema.asked_back, study_uid=STUDY, peer="pacs", asked_at=1.0, next_at=1.0)
    assert owed(desk) == "images of it are asked back"


def message(state: str = "queued") -> dict[str, Any]:
    what = {"control_id": "1", "destination": "list", "study_uid": STUDY, "sequence": 1}
    says: dict[str, Any] = {"number": 1, "kind": "level", "level": Priority.SOON, "told": "{}"}
    return what | says | {"content": b"", "state": state, "deadline_at": 1.0, "made_at": 1.0}


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("queued", "a message about it is still to be sent"),
        ("running", "a message about it is still to be sent"),
        ("dead", "a message about it was given up"),
        ("finished", None),
        ("cancelled", None),
    ],
)
def test_what_a_reading_list_is_to_be_told_is_owed(desk: Desk, state: str, why: str | None) -> None:
    done(desk)
    insert(desk, schema.message, **message(state=state))
    assert owed(desk) == why


def test_so_is_a_decision_on_what_it_is_to_be_told(desk: Desk) -> None:
    done(desk)
    insert(desk, schema.study_to_tell, study_uid=STUDY, asked_at=1.0)
    assert owed(desk) == "it is still to be seen whether a reading list is to be told of it"


@pytest.mark.parametrize("closing", [None, OUT_OF_SCOPE])
def test_what_a_peer_was_promised_to_be_kept_stays(desk: Desk, closing: Any) -> None:
    """Storage commitment: the peer may have deleted its own."""
    if closing is None:
        done(desk)
    else:
        desk.receive()
        desk.close(closing)
    asks(desk)
    assert owed(desk) == "a peer waits for an answer on storage commitment"
    Committing(desk.ledger).mark([f"{STUDY}.1"])
    assert owed(desk) == "storage commitment was given for it"


def asks(desk: Desk, sop_uid: str = f"{STUDY}.1") -> None:
    """Let a peer ask for storage commitment of an object."""
    committing = Committing(desk.ledger)
    assert committing.ask("pacs", f"2.25.{sop_uid}", [("1.2.3", sop_uid)], 0)


def test_what_a_peer_asks_about_others_of_or_has_been_answered_on_is_not_owed(desk: Desk) -> None:
    done(desk)
    asks(desk, f"{STUDY}.11")  # its UID begins as that of the image that is here
    asks(desk, "1.9.9")
    assert owed(desk) is None
    asks(desk)
    committing = Committing(desk.ledger)
    while (taken := committing.take(NODE, [])) is not None:
        committing.end(taken, CommitmentState.REPORTED, {})
    assert owed(desk) is None
    assert desk.rows(schema.commitment_object) == []
    asks(desk)  # the same again is answered again
    assert owed(desk) == "a peer waits for an answer on storage commitment"


def test_what_is_owed_is_found_at_the_same_cost_however_many_requests_of_peers_wait(
    desk: Desk,
) -> None:
    """They wait for days while their peer is away, each for hundreds of objects."""
    done(desk)
    owed(desk)
    costs = []
    for number in (1, 30):
        objects = [("1.2.3", f"1.2.826.7.{number}.{n}") for n in range(400)]
        for request in range(number):
            assert Committing(desk.ledger).ask("pacs", f"2.25.{number}.{request}", objects, 0)
        with counted() as cost:
            assert owed(desk) is None
        costs.append(cost.steps)
    assert costs[1] <= 1.1 * costs[0] + 20


def test_each_study_is_judged_by_its_own_rows_alone(desk: Desk) -> None:
    """Each reason, as one study gives it: never does another have to do with it."""
    done(desk)
    other = "1.2.826.2"
    desk.receive(f"{other}.1", study=other)
    desk.close(OUT_OF_SCOPE, study=other)
    version = {"study_uid": STUDY, "number": 9, "reason": "", "closed_at": 1.0}
    version |= {"last_image_at": 1.0}
    dispatch = {"study_uid": STUDY, "number": 1, "destination": "list", "deadline_at": 1.0}
    makes: dict[str, Callable[[], object]] = {
        "a message about it was given up": lambda: insert(
            desk, schema.message, **message(state="dead")
        ),
        "it is still to be seen whether a reading list is to be told of it": lambda: insert(
            desk, schema.study_to_tell, study_uid=STUDY, asked_at=1.0
        ),
        "a delivery of it was given up": lambda: insert(
            desk, schema.dispatch, **dispatch, state="dead"
        ),
        "it is being analysed": lambda: insert(
            desk, schema.study_version, **version, state="running"
        ),
    }
    for why, make in makes.items():
        make()
        assert owed(desk) == why
        assert owed(desk, other) is None
    assert set(makes) < set(REASONS)


def test_what_is_owed_of_a_study_costs_the_same_however_many_others_wait(desk: Desk) -> None:
    done(desk)
    costs = []
    for number in (1, 400):
        waiting = [
            {"study_uid": f"9.{n}", "number": 1, "destination": "pacs", "deadline_at": 1.0}
            for n in range(number)
        ]
        with desk.ledger.writing() as db:
            db.execute(schema.dispatch.delete().where(schema.dispatch.c.study_uid != STUDY))
            db.execute(schema.dispatch.insert(), [row | {"state": "dead"} for row in waiting])
        with counted() as cost:
            assert owed(desk) is None
        costs.append(cost.steps)
    assert costs[1] <= costs[0] + 20
