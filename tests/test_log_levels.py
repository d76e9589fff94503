"""What a person must act on is an error, what is worth a look a warning; each says whose it is."""

from __future__ import annotations

import logging
from pathlib import Path

import packages
import pytest
from ledgers import EXCLUDED, KIND, NODE, STUDY, Desk
from peers import modality

from node import config
from node.config import (
    AlarmMail,
    AlarmSettings,
    ChosenModel,
    Config,
    FolderSettings,
    Node,
    Peer,
)
from node.flow.completeness import Settler
from node.ledger import (
    DeliveryState,
    HeldBecause,
    Mode,
    Outstanding,
    Patience,
    Role,
    Unfinished,
    VersionState,
    schema,
)
from node.ledger.rows import hold
from node.site import load_models
from node.start_words import start_words, unfinished_words

PACS = {"name": "pacs", "ae_title": "PACS", "host": "192.0.2.10", "port": 104}


def only(caplog: pytest.LogCaptureFixture, level: int) -> logging.LogRecord:
    """Return the only record of a level or above."""
    [record] = [record for record in caplog.records if record.levelno >= level]
    return record


def subjects(record: logging.LogRecord) -> tuple[str, str]:
    return getattr(record, "study", ""), getattr(record, "destination", "")


@pytest.mark.parametrize(
    ("because", "level"),
    [
        (HeldBecause.IDENTITY, logging.WARNING),
        (HeldBecause.DESTINATION, logging.WARNING),
        (HeldBecause.MISSING, logging.WARNING),
        (HeldBecause.PIXELS, logging.ERROR),
        (HeldBecause.REPORT, logging.ERROR),
    ],
)
def test_a_held_study_is_an_error_where_only_a_person_can_let_it_go(
    desk: Desk, caplog: pytest.LogCaptureFixture, because: HeldBecause, level: int
) -> None:
    desk.receive()
    with desk.ledger.writing() as db:
        hold(db, STUDY, because, "it is another's")
    record = only(caplog, logging.WARNING)
    assert (record.levelno, record.getMessage()) == (
        level,
        f"Study {STUDY} is held: it is another's",
    )
    assert subjects(record)[0] == STUDY


@pytest.mark.parametrize(
    ("states", "within_s", "why"),
    [
        ((DeliveryState.REFUSED, DeliveryState.SENT), 3600, "refused by PACS"),
        ((DeliveryState.QUEUED, DeliveryState.SENT), 30, "queued by PACS"),
    ],
)
def test_a_delivery_that_is_given_up_is_an_error_with_study_and_destination(
    desk: Desk,
    caplog: pytest.LogCaptureFixture,
    states: tuple[DeliveryState, DeliveryState],
    within_s: float,
    why: str,
) -> None:
    (job,) = desk.analysed(deliver_within_s=within_s)
    desk.deliver(job, *states, patience=Patience(60))
    record = only(caplog, logging.WARNING)
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        f"The results of study {STUDY} for pacs are given up ({KIND} 2.25.10): {why}; mend that, "
        "then `ai-node retry`"
    )
    assert subjects(record) == (STUDY, "pacs")


def test_a_delivery_that_goes_well_is_said_and_no_warning(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (job,) = desk.analysed()
    desk.deliver(job, DeliveryState.CONFIRMED, DeliveryState.CONFIRMED)
    record = only(caplog, logging.INFO)
    assert record.getMessage() == f"The results of study {STUDY} are delivered to pacs, confirmed"
    assert subjects(record) == (STUDY, "pacs")


def test_a_delivery_whose_attempts_all_end_unexpectedly_is_an_error_at_the_end(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    (job,) = desk.analysed()
    desk.delivering.begin_dispatch(job, NODE)
    desk.change(schema.dispatch, deadline_at=0.0)
    desk.sweeping.revive(job, desk.enqueue, {NODE}, has_failed=True)
    assert subjects(only(caplog, logging.ERROR)) == (STUDY, "pacs")


def test_a_study_that_kills_its_node_is_a_warning_each_time(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.sweeping.revive(job, desk.enqueue)
    record = only(caplog, logging.WARNING)
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"Study {STUDY}: process: attempt 1 died with its node; attempt 2 follows"
    )
    assert subjects(record)[0] == STUDY


def test_a_newcomer_is_told_once_why_nothing_comes_back_and_what_to_type(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = config.Completeness()
    models = [(packages.package(tmp_path), Mode.DELIVER)]
    settler = Settler(desk.settling, desk.enqueue, settings, models)
    senders = {STUDY: "modality", "1.9.1": "modality", "1.9.2": "room-2"}
    for study, sender in senders.items():
        desk.receive(f"{study}.1", study=study, sender=sender, why_excluded="no Patient ID")
    desk.let_pass(60)
    settler.settle()
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 2, "of each sender one"
    first = told[0].getMessage()
    assert first.startswith(f"Study {STUDY} of modality is excluded (no Patient ID): it is kept")
    assert f"nothing comes back. If it is to be analysed all the same: ai-node release {STUDY}" in (
        first
    )
    assert {desk.version(study=study)["state"] for study in senders} == {VersionState.EXCLUDED}


# The start


def site(folder: Path) -> Config:
    return Config(
        node=Node(ae_title="AINODE", state_dir=folder),
        peers=(
            Peer.model_validate({**PACS, "sends": True, "receives": "default"}),
            modality(results_to=["pacs"], commits=True),
        ),
        models=(
            ChosenModel(name="breast-area", mode="deliver"),
            ChosenModel(name="breast-density", mode="off"),
        ),
    )


def test_a_node_says_at_its_start_who_it_is_what_it_runs_and_whom_it_knows(tmp_path: Path) -> None:
    config = site(tmp_path)
    models = load_models(config)
    version = models["breast-area"].identity.version
    assert list(start_words(config, Role.ALL, models)) == [
        "AINODE, which is to listen on 0.0.0.0:11112 and to work",
        f"Model breast-area {version}, mode deliver",
        "Model breast-density, mode off",
        'Peer pacs, PACS at 192.0.2.10:104: sends, gets results ("default")',
        "Peer modality, MODALITY at 127.0.0.1:104: sends, results of its studies go to pacs, "
        "may ask what is kept",
        "Alarms are told to nobody; `ai-node status` and the page show them",
    ]
    folder = FolderSettings(kind="folder", name="research", path=Path("/r"), senders=("modality",))
    *_, line, _ = start_words(
        config.model_copy(update={"destinations": (folder,)}), Role.ALL, models
    )
    assert line == 'Folder research, /r: gets results ("default") of modality'
    worker, *_ = start_words(config, Role.WORKER, models)
    assert worker == "AINODE, which works and does not listen"
    bare = config.model_copy(update={"models": (), "peers": ()})
    mail = AlarmMail(to=("a@b.example",), sender="n@b.example", host="mail.b.example")
    bare = bare.model_copy(update={"alarms": AlarmSettings(mail=mail)})
    assert list(start_words(bare, Role.LISTENER, {}))[1:] == [
        "No model",
        "Alarms are told by mail to a@b.example",
    ]


def test_a_node_says_at_its_start_what_it_takes_up_again(desk: Desk) -> None:
    outstanding = Outstanding(desk.ledger)
    assert unfinished_words(outstanding.unfinished()) == "Nothing is left to take up"
    for number in range(2):
        desk.analysed(f"1.9.{number}", destinations=("pacs", "second"), first_report=10 * number)
    desk.receive()
    desk.begin(desk.close())
    desk.receive("1.8.1.1", study="1.8.1")
    desk.close(study="1.8.1")
    desk.receive("1.8.2.1", study="1.8.2")
    desk.receive("1.8.3.1", study="1.8.3")
    desk.close(EXCLUDED, study="1.8.3")
    assert outstanding.unfinished() == Unfinished(receiving=1, queued=1, running=1, deliveries=4)
    assert unfinished_words(outstanding.unfinished()) == (
        "Unfinished from before: studies being received 1, queued 1, in analysis 1; deliveries 4"
    )
