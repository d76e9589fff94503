"""What is said of messages to reading lists: by lists of studies, by status, and on the page."""

from __future__ import annotations

import pytest
from ledgers import HOUR_S, STUDY, Desk
from told_rows import told

from node import config
from node.ledger import DispatchState
from node.overview import study_overview
from node.overview.figures import Backlog, backlogs
from node.overview.health import Alarm
from node.overview.status import node_status, status_in_lines
from node.result import Priority

WAITING, DEAD = DispatchState.QUEUED, DispatchState.DEAD


@pytest.fixture
def told_desk(desk: Desk) -> Desk:
    """A study that is done, and was told a while ago by the clock of the ledger."""
    (job,) = desk.analysed(level=Priority.URGENT)
    desk.deliver(job)
    return desk


@pytest.fixture
def settings(told_desk: Desk) -> config.Config:
    folder = told_desk.store.root.parent
    node = config.Node(
        ae_title="AINODE", state_dir=folder, store_dir=told_desk.store.root, min_free_mb=0
    )
    return config.Config(node=node)


def long_ago(desk: Desk, seconds: float) -> float:
    return float(desk.version()["closed_at"]) - seconds


def test_what_waits_for_a_list_is_its_backlog(told_desk: Desk) -> None:
    desk = told_desk
    told(desk, 1, DispatchState.FINISHED)
    told(desk, 2, DispatchState.CANCELLED)
    assert backlogs(desk.ledger) == ()
    since = long_ago(desk, 2 * HOUR_S)
    told(desk, 3, WAITING, made_at=since, next_at=since + 9000, error="ris is away")
    told(desk, 4, WAITING, study_uid="1.2.9", made_at=since + 60)
    told(desk, 5, DEAD, made_at=since, error="ris answered AE")
    assert backlogs(desk.ledger) == (
        Backlog(
            destination="ris",
            studies=2,
            objects=0,
            since=since,
            unconfirmed_since=None,
            next_at=since + 9000,
            error="ris is away",
            given_up=1,
            given_up_lately=1,
            why_given_up="ris answered AE",
            messages=2,
            is_list=True,
        ),
    )


def test_status_says_so_in_words(told_desk: Desk, settings: config.Config) -> None:
    desk = told_desk
    since = long_ago(desk, 2 * HOUR_S)
    told(desk, 3, WAITING, made_at=since, error="ris is away")
    told(desk, 5, DEAD, made_at=since, error="ris answered AE")
    status = node_status(desk.ledger, settings)
    words = [remark.words for remark in status.remarks if remark.words.startswith("ris")]
    assert words[0] == "ris: the triage levels of 1 study were given up: ris answered AE"
    assert words[1].startswith("ris has not acknowledged the triage levels of 1 study, since ")
    assert status.alarm == Alarm.ACT
    (line,) = [line for line in status_in_lines(status) if line.startswith("to ris")]
    assert "1 study (1 message) on the way, since" in line


def test_a_study_names_what_lists_were_told_of_it(told_desk: Desk) -> None:
    told(told_desk, 1, DispatchState.FINISHED, acknowledged_at=1.0)
    told(told_desk, 2, DEAD, error="ris answered AE", kind="withdrawn")
    study = study_overview(told_desk.ledger, STUDY)
    assert study is not None
    first, second = study.messages
    assert (first.standing, first.level, first.acknowledged_at) == ("acknowledged", "urgent", 1.0)
    assert (second.standing, second.kind, second.error) == (
        "given up",
        "withdrawn",
        "ris answered AE",
    )
    assert (first.is_given_up, second.is_given_up) == (False, True)
