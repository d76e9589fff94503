"""A message goes to a reading list that python-hl7 is, and what it says of it is recorded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from ledgers import NODE, STUDY, Desk
from ports import free_port
from reading_lists import ReadingList, acknowledging, reading_list, silent
from told_rows import told

from node.config import Delivery
from node.deliver.messages.receiver import Receiver, receiver_of
from node.errors import DeliveryError
from node.flow.messenger import Messenger
from node.ledger import DispatchState, Hurrying, Job, Messages, schema

CONTENT = b"MSH|^~\\&|AI-NODE||||20261129||ORU^R01^ORU_R01|ID1|P|2.5.1\r"
FIRST = Job("message", STUDY, 1, 1, "ris")


@pytest.fixture
def waiting(desk: Desk) -> Desk:
    """A study of which a message waits."""
    desk.analysed()
    told(desk, 1, DispatchState.QUEUED, content=CONTENT, deadline_at=4e9)
    return desk


@pytest.fixture
def ris() -> Iterator[ReadingList]:
    with reading_list() as it:
        yield it


def messenger(desk: Desk, it: ReadingList, timeout_s: float = 10) -> Messenger:
    def find(name: str) -> Receiver:
        if name != "ris":
            raise DeliveryError(f"no destination is called {name} any more")
        return receiver_of(it.settings(timeout_s=timeout_s))

    messages = Messages(desk.ledger)
    return Messenger(messages, Delivery(), NODE, find, Hurrying(desk.ledger))


def row(desk: Desk, number: int = 0) -> dict[str, Any]:
    return sorted(desk.rows(schema.message), key=lambda one: one["sequence"])[number]


def test_what_is_acknowledged_is_done(waiting: Desk, ris: ReadingList) -> None:
    messenger(waiting, ris).send(FIRST, waiting.enqueue)
    assert ris.control_ids() == ["ID1"]
    assert row(waiting)["state"] == DispatchState.FINISHED
    assert waiting.rows(schema.peer)[0]["sent_at"] is not None


@pytest.mark.parametrize("code", ["AA", "AE"])
def test_an_answer_hurries_what_waited_for_the_list(
    waiting: Desk, ris: ReadingList, code: str
) -> None:
    ris.answer = acknowledging(code)
    told(waiting, 2, DispatchState.QUEUED, next_at=4e9, is_unreached=True, deadline_at=4e9)
    messenger(waiting, ris).send(FIRST, waiting.enqueue)
    assert waiting.jobs[-1].number == 2
    assert waiting.jobs[-1].attempt == 2
    assert row(waiting, 1)["next_at"] is None


def test_a_refusal_is_an_error_for_a_person(
    waiting: Desk, ris: ReadingList, caplog: pytest.LogCaptureFixture
) -> None:
    ris.answer = acknowledging("AE")
    messenger(waiting, ris).send(FIRST, waiting.enqueue)
    assert row(waiting)["state"] == DispatchState.DEAD
    assert row(waiting)["tried_at"] is None  # it has it not
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert STUDY in record.getMessage()
    assert "ai-node retry" in record.getMessage()


def test_who_is_not_there_has_heard_nothing_and_is_tried_again(waiting: Desk) -> None:
    messenger(waiting, ReadingList(port=free_port())).send(FIRST, waiting.enqueue)
    found = row(waiting)
    assert (found["state"], found["attempt"], found["is_unreached"]) == ("queued", 2, True)
    assert found["tried_at"] is None
    assert waiting.jobs[-1].attempt == 2


def test_what_was_let_wait_for_other_reasons_is_not_tried_later_for_that(
    waiting: Desk, ris: ReadingList
) -> None:
    waiting.change(schema.message, attempt=13)
    ris.answer = acknowledging(control_id="ANOTHER")
    messenger(waiting, ris).send(replace(FIRST, attempt=13), waiting.enqueue)
    found = row(waiting)
    assert (found["attempt"], found["failures"]) == (14, 1)
    assert waiting.jobs[-1].delay_s == pytest.approx(Delivery().retry_first_s, rel=0.11)


def test_who_does_not_answer_may_have_heard(waiting: Desk, ris: ReadingList) -> None:
    ris.answer = silent
    messenger(waiting, ris, timeout_s=0.3).send(FIRST, waiting.enqueue)
    assert row(waiting)["tried_at"] is not None
    ris.answer = acknowledging()
    messenger(waiting, ris).send(waiting.jobs[-1], waiting.enqueue)
    assert ris.control_ids() == ["ID1", "ID1"]
    assert row(waiting)["state"] == DispatchState.FINISHED


def test_an_answer_to_another_message_is_no_absence(waiting: Desk, ris: ReadingList) -> None:
    ris.answer = acknowledging(control_id="ANOTHER")
    messenger(waiting, ris).send(FIRST, waiting.enqueue)
    found = row(waiting)
    assert (found["state"], found["is_unreached"]) == ("queued", False)


def test_a_list_that_is_gone_from_the_configuration_is_waited_for(
    waiting: Desk, ris: ReadingList
) -> None:
    waiting.change(schema.message, destination="former")
    job = Job("message", STUDY, 1, 1, "former")
    messenger(waiting, ris).send(job, waiting.enqueue)
    assert row(waiting)["error"] == "no destination is called former any more"
    assert row(waiting)["state"] == DispatchState.QUEUED


def test_a_defect_of_ours_is_said_and_tried_again(
    waiting: Desk, ris: ReadingList, caplog: pytest.LogCaptureFixture
) -> None:
    broken = messenger(waiting, ris)
    object.__setattr__(broken, "receiver_of", lambda name: None)
    broken.send(FIRST, waiting.enqueue)
    assert row(waiting)["error"] == "AttributeError"
    assert "Traceback" in caplog.text
