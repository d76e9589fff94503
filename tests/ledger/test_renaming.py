"""A peer that was renamed: what waits for its former name is noticed, and goes to its new one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from forgotten import forget, let_files_go
from ledgers import NODE, PLAN, STUDY, Desk

from node import config
from node.errors import NodeError, Superseded
from node.ledger import (
    NAME_COLUMNS,
    Closing,
    Committing,
    DeliveryState,
    Forgetting,
    Messages,
    Names,
    Remembering,
    Waiting,
    schema,
)
from node.ledger.states import CommitmentState
from node.overview.unnamed import waits_for_nobody

OF_OTHERS = {
    ("message", "told"),
    ("web_user", "name"),
    ("package", "name"),
    ("alarm_notice", "channel"),
}
"""Columns that look as if they named a peer, and do not."""


def to(*names: str) -> Closing:
    return Closing("4/4 views", PLAN, directions={name: {"capture"} for name in names})


def test_every_column_that_names_a_peer_is_renamed() -> None:
    words = ("peer", "destination", "sender")
    of_schema = {
        (table.name, column.name)
        for table in schema.metadata.tables.values()
        for column in table.columns
        if column.name in words or column.name.startswith("name")
    }
    renamed = {(column.table.name, column.name) for column in NAME_COLUMNS}
    assert of_schema - OF_OTHERS == renamed


def test_what_waits_is_counted_by_whom_it_is_for(desk: Desk) -> None:
    assert Names(desk.ledger).waiting() == {}
    desk.receive()
    assert Names(desk.ledger).waiting() == {"modality": Waiting(receiving=1)}
    job = desk.close(to("pacs", "other"))
    assert Names(desk.ledger).waiting() == {
        "pacs": Waiting(analyses=1),
        "other": Waiting(analyses=1),
    }
    desk.begin(job)
    desk.finish(job)
    assert Names(desk.ledger).waiting() == {"pacs": Waiting(deliveries=1)}


def test_it_is_said_of_names_that_nobody_has(desk: Desk) -> None:
    desk.analysed()
    here = {"host": "127.0.0.1", "port": 104}
    node = config.Node.model_validate({"ae_title": "AINODE", "state_dir": "state"})
    archive = config.Peer.model_validate(
        {"name": "archive", "ae_title": "PACS", "receives": "default"} | here
    )
    [said] = waits_for_nobody(desk.ledger, config.Config(node=node, peers=(archive,)))
    assert said == (
        "1 delivery waits for pacs, which no peer or destination is called any more: if it is now "
        "another name, `ai-node rename-peer pacs NEW`; else put it back"
    )
    named = archive.model_copy(update={"name": "pacs"})
    assert not list(waits_for_nobody(desk.ledger, config.Config(node=node, peers=(named,))))


@pytest.mark.parametrize("kind", ["deliver", "message"])
def test_a_job_that_comes_due_under_the_former_name_ends_quietly(
    desk: Desk, kind: Literal["deliver", "message"]
) -> None:
    [delivery] = desk.analysed()
    Names(desk.ledger).rename("pacs", "archive")
    job = replace(delivery, kind=kind)
    with pytest.raises(Superseded, match="nothing waits for pacs under that name any more"):
        if kind == "deliver":
            desk.delivering.begin_dispatch(job, NODE)
        else:
            Messages(desk.ledger).begin_message(job, NODE, desk.enqueue)
    before = desk.everything()
    desk.sweeping.revive(job, desk.enqueue)
    assert desk.everything() == before


def test_what_waits_goes_to_the_new_name_as_an_attempt_of_its_own(desk: Desk) -> None:
    [delivery] = desk.analysed()
    assert Names(desk.ledger).rename("pacs", "archive", by="somebody") > 0
    renamed = desk.dispatch(destination="archive")
    assert (renamed["state"], renamed["attempt"]) == ("queued", delivery.attempt + 1)
    assert {row["destination"] for row in desk.rows(schema.delivery)} == {"archive"}
    assert desk.history()[-1] == (
        "pacs is called archive now by somebody: what waits for it goes there"
    )
    desk.deliver(desk.revived())
    assert set(desk.objects()) == {DeliveryState.SENT}
    assert Names(desk.ledger).rename("pacs", "archive") == 0


def test_what_is_to_be_analysed_goes_to_the_new_name(desk: Desk) -> None:
    desk.receive()
    job = desk.close(to("pacs", "other"))
    Names(desk.ledger).rename("pacs", "archive")
    assert desk.begin(job).directions == {
        "archive": frozenset({"capture"}),
        "other": frozenset({"capture"}),
    }
    assert json.loads(desk.version()["directions"])["archive"] == ["capture"]


def test_a_sender_is_renamed_wherever_it_is_remembered(desk: Desk) -> None:
    desk.analysed()
    with desk.ledger.writing() as db:
        db.execute(schema.peer.insert(), [{"name": "modality"}, {"name": "room-1"}])
        db.execute(schema.exam_score.insert().values(_score(STUDY, "modality")))
    Names(desk.ledger).rename("modality", "room-1")
    assert desk.study()["sender"] == "room-1"
    assert [row["name"] for row in desk.rows(schema.peer)] == ["room-1"]
    assert [row["sender"] for row in desk.rows(schema.exam_score)] == ["room-1"]


def _score(study: str, sender: str) -> dict[str, Any]:
    return {
        "model": "small",
        "model_version": "1",
        "study_uid": study,
        "sender": sender,
        "number": 1,
        "has_refusals": False,
        "first_at": 1.0,
        "finished_at": 1.0,
    }


def test_of_years_of_rows_some_are_renamed_at_once(desk: Desk) -> None:
    scores = [_score(f"1.9.{number}", "modality") for number in range(1200)]
    statements: list[int] = []
    with desk.ledger.writing() as db:
        db.execute(schema.exam_score.insert(), scores)

    def count(conn: object, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE exam_score"):
            statements.append(cursor.rowcount)

    sa.event.listen(desk.ledger._engine, "after_cursor_execute", count)
    assert Names(desk.ledger).rename("modality", "room-1") == 1200
    sa.event.remove(desk.ledger._engine, "after_cursor_execute", count)
    assert statements == [500, 500, 200]


def test_a_forgotten_study_comes_back_under_the_new_names_of_who_sent_it_and_has_it(
    desk: Desk,
) -> None:
    [delivery] = desk.analysed(destinations=("pacs",))
    desk.deliver(delivery)
    forget(desk)
    remembering, names = Remembering(desk.ledger), Names(desk.ledger)
    assert names.rename("pacs", "archive") > 0
    assert names.rename("modality", "room-1") == 1
    assert names.rename("modality", "room-1") == 0
    remembered = remembering.find(STUDY)
    assert remembered is not None
    assert remembered.sent == {"archive": 2}
    desk.receive(f"{STUDY}.late", sender="room-1")
    assert desk.study()["sender"] == "room-1"
    assert {row["destination"] for row in desk.rows(schema.dispatch)} == {"archive"}
    assert {row["destination"] for row in desk.rows(schema.delivery)} == {"archive"}


def test_of_years_of_forgotten_studies_some_are_renamed_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = [f"1.9.{number}" for number in range(5)]
    for number, study in enumerate(studies):
        [delivery] = desk.analysed(study, first_report=10 * number)
        desk.deliver(delivery)
    let_files_go(desk)
    assert all(Forgetting(desk.ledger).forget_study(study, 1.0) for study in studies)
    monkeypatch.setattr("node.ledger.renaming._AT_ONCE", 2)
    assert Names(desk.ledger).rename("modality", "room-1") == 5
    for study in studies:
        assert Remembering(desk.ledger).recall(study)
        assert desk.study(study)["sender"] == "room-1"


def test_nothing_is_renamed_while_something_is_sent(desk: Desk) -> None:
    desk.nodes.register_node(NODE)
    [delivery] = desk.analysed()
    desk.delivering.begin_dispatch(delivery, NODE)
    with pytest.raises(NodeError, match="something is being sent to pacs just now: try again"):
        Names(desk.ledger).rename("pacs", "archive")
    assert desk.dispatch()["state"] == "running"
    desk.nodes.retire_node(NODE)
    assert Names(desk.ledger).rename("pacs", "archive") > 0


def test_a_request_for_commitment_is_renamed_with_all_that_it_asks_about(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or its study would be owed an answer for ever: whatever ends it ends it by its name."""
    committing = Committing(desk.ledger)
    committing.ask("modality", "1.2.3", [("1.2.840.10008.5.1.4.1.1.1.2", "1.9.1")], 0)
    monkeypatch.setattr(Names, "_rename_some", lambda *_: 0)  # it is cut off behind the first step
    Names(desk.ledger).rename("modality", "room-1")
    taken = committing.take(NODE, [])
    assert taken is not None and taken.peer == "room-1"
    committing.end(taken, CommitmentState.REPORTED, {})
    assert desk.rows(schema.commitment_object) == []


def test_two_that_both_have_something_of_a_study_are_two(desk: Desk) -> None:
    desk.analysed(destinations=("pacs", "archive"))
    before = desk.everything()
    with pytest.raises(NodeError, match=f"pacs and archive are two: study {STUDY} has something"):
        Names(desk.ledger).rename("pacs", "archive")
    assert desk.everything() == before
