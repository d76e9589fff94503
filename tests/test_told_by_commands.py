"""What commands say of messages to reading lists, and how a person has them sent again."""

from __future__ import annotations

import json
from pathlib import Path

from ledgers import STUDY, Desk
from test_cli import call, desk_of_node, settings
from test_studies_json import keys
from told_rows import told

from node.config import load_config
from node.doctor.work import check_work
from node.ledger import TOLD_NOTHING, DispatchState, schema
from node.result import Priority

__all__ = ["desk_of_node", "settings"]  # fixtures

LIST = """
[[destinations]]
kind = "hl7"
name = "ris"
host = "ris.example"
port = 2575
models = ["breast-area"]
"""
REFUSED = "ris answered AE; its own log says why"


def with_list(settings: Path) -> Path:
    settings.write_text(settings.read_text("utf-8") + LIST, "utf-8")
    return settings


def given_up(desk: Desk) -> None:
    (job,) = desk.analysed(level=Priority.URGENT)
    desk.deliver(job)
    at = float(desk.version()["closed_at"])
    told(desk, 1, DispatchState.DEAD, error=REFUSED, made_at=at, deadline_at=at, attempt=3)


def test_the_page_names_what_is_printed_of_messages(settings: Path, desk_of_node: Desk) -> None:
    given_up(desk_of_node)
    (study,) = json.loads(call("studies", "-c", settings, "--json").output)
    assert keys("One of `messages`") == list(study["messages"][0])


def test_a_list_of_studies_says_what_was_told(settings: Path, desk_of_node: Desk) -> None:
    given_up(desk_of_node)
    assert (
        "  ris          to be told: triage level urgent (given up)\n"
        in call("studies", "-c", settings).output
    )
    desk_of_node.change(schema.message, state="finished", kind="withdrawn")
    assert "  ris          told: triage level urgent withdrawn\n" in (
        call("studies", "-c", settings).output
    )


def test_what_was_never_sent_does_not_hide_what_a_list_has(
    settings: Path, desk_of_node: Desk
) -> None:
    desk_of_node.analysed(level=Priority.URGENT)
    told(desk_of_node, 1, DispatchState.FINISHED)
    told(desk_of_node, 2, DispatchState.CANCELLED, level=Priority.SOON)
    assert "  ris          told: triage level urgent\n" in call("studies", "-c", settings).output


def test_a_list_that_cannot_be_told_is_named_with_the_reason_until_it_is(
    settings: Path, desk_of_node: Desk
) -> None:
    desk_of_node.analysed(level=Priority.URGENT)
    note = {"study_uid": STUDY, "at": 1.0, "event": f"ris {TOLD_NOTHING}: no Accession Number"}
    with desk_of_node.ledger.writing() as db:
        db.execute(schema.history.insert().values(note))
    expected = "  ris          told nothing: no Accession Number\n"
    assert expected in call("studies", "-c", settings).output
    told(desk_of_node, 1, DispatchState.FINISHED, made_at=2.0)
    assert "told nothing" not in call("studies", "-c", settings).output


def test_a_model_in_shadow_is_said_to_be_for_nobody(settings: Path, desk_of_node: Desk) -> None:
    desk_of_node.analysed(level=Priority.URGENT)
    assert "(shadow: sent to nobody)" not in call("studies", "-c", settings).output
    desk_of_node.change(schema.analysis, mode="shadow")
    assert "(shadow: sent to nobody)" in call("studies", "-c", settings).output


def test_what_was_refused_is_sent_again_as_it_was(settings: Path, desk_of_node: Desk) -> None:
    desk = desk_of_node
    given_up(desk)
    (before,) = desk.rows(schema.message)
    said = call("retry", "-c", settings).output
    assert "1 delivery given up before will be tried again." in said
    (after,) = desk.rows(schema.message)
    changed = {name for name, value in after.items() if value != before[name]}
    assert changed == {"state", "attempt", "deadline_at", "due_at"}
    assert (after["state"], after["attempt"]) == ("queued", 4)
    assert after["deadline_at"] > before["deadline_at"]
    assert any(line.startswith("told ris again by hand by ") for line in desk.history(STUDY))
    assert "No delivery was given up" in call("retry", "-c", settings).output


def test_doctor_says_what_was_given_up_and_what_is_for_nobody(
    settings: Path, desk_of_node: Desk
) -> None:
    given_up(desk_of_node)
    said = [one.words for one in check_work(load_config(settings))]
    words = 'the triage levels of 1 study are for "ris", and no destination is called that any more'
    assert words in said
    said = [one.words for one in check_work(load_config(with_list(settings)))]
    assert f"sending the triage levels of 1 study to ris is given up: {REFUSED}" in said
