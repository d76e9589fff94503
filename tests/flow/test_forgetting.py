"""What nobody needs goes a portion at a time, and what has to stay holds nothing up."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest
from forgotten import YEAR_S, let_files_go
from ledgers import STUDY, Desk, fill

from node.config import RetentionSettings
from node.flow import forgetting
from node.flow.forgetting import Forgetter
from node.ledger import Forgetting, schema

A_YEAR = RetentionSettings(images_days=30, results_days=90, records_days=365)


@dataclass
class Queue:
    """What the queue is asked to forget."""

    asked: list[tuple[float, int]] = field(default_factory=list)

    def forget(self, age_s: float, count: int) -> int:
        self.asked.append((age_s, count))
        return 0


def forgetter(desk: Desk, settings: RetentionSettings = A_YEAR) -> Forgetter:
    return Forgetter(Forgetting(desk.ledger), lambda: settings, Queue().forget)


def remaining(desk: Desk) -> list[str]:
    return sorted(row["study_uid"] for row in desk.rows(schema.study))


def test_without_a_number_of_days_nothing_is_ever_forgotten(desk: Desk) -> None:
    fill(desk.ledger, 3)
    let_files_go(desk, age_s=0)  # they came in 1970
    queue = Queue()
    Forgetter(Forgetting(desk.ledger), RetentionSettings, queue.forget).sweep()
    assert len(remaining(desk)) == 3
    assert queue.asked == []


def test_each_sweep_forgets_a_portion_and_says_so_of_each_study(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(forgetting, "STUDIES", 2)
    fill(desk.ledger, 5)
    let_files_go(desk, age_s=0)  # they came in 1970
    caplog.set_level(logging.INFO, logger="node.flow.forgetting")
    sweeps = forgetter(desk)
    for left in (3, 1, 0, 0):
        sweeps.sweep()
        assert len(remaining(desk)) == left
    assert caplog.messages == [
        f"Study 1.9.{number} is forgotten: nothing of it has come for 365 days"
        for number in range(5)
    ]
    assert len(desk.rows(schema.remembered_study)) == 5


def test_what_has_to_stay_is_passed_over_and_looked_at_again_in_the_next_round(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "STUDIES", 2)
    fill(desk.ledger, 5)
    let_files_go(desk, age_s=0)  # they came in 1970
    kept = ["1.9.0", "1.9.1", "1.9.2"]
    with desk.ledger.writing() as db:
        is_kept = schema.study.c.study_uid.in_(kept)
        db.execute(schema.study.update().where(is_kept).values(kept_at=1.0))
    sweeps = forgetter(desk)
    for _ in range(3):
        sweeps.sweep()
    assert remaining(desk) == kept
    desk.change(schema.study, kept_at=None)
    for _ in range(2):
        sweeps.sweep()
    assert remaining(desk) == []


def test_a_portion_that_takes_long_is_left_for_the_next_sweep(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "LONGEST_S", -1.0)
    fill(desk.ledger, 3)
    let_files_go(desk, age_s=0)  # they came in 1970
    sweeps = forgetter(desk)
    for left in (2, 1, 0):
        sweeps.sweep()
        assert len(remaining(desk)) == left


def test_a_study_of_which_something_came_within_the_days_stays(desk: Desk) -> None:
    desk.analysed()
    let_files_go(desk, age_s=YEAR_S - 60)
    desk.change(schema.dispatch, state="finished")
    forgetter(desk).sweep()
    assert remaining(desk) == [STUDY]
    desk.let_pass(120)
    forgetter(desk).sweep()
    assert remaining(desk) == []


def test_what_is_old_by_itself_and_the_queues_own_rows_go_too(desk: Desk) -> None:
    with desk.ledger.writing() as db:
        row = {"instance_digest": "1", "model_digest": "m", "score": "{}", "made_at": 1.0}
        db.execute(schema.image_score.insert().values(row))
    queue = Queue()
    Forgetter(Forgetting(desk.ledger), lambda: A_YEAR, queue.forget).sweep()
    assert desk.rows(schema.image_score) == []
    assert queue.asked == [(YEAR_S, forgetting.ROWS_OF_A_KIND)]


def test_what_work_goes_by_stays_for_a_week_whatever_is_set(desk: Desk) -> None:
    a_day = RetentionSettings(images_days=1, results_days=1, records_days=1)
    desk.nodes.register_node("node")
    desk.change(schema.node, beat_at=schema.node.c.beat_at - 2 * 86_400)
    queue = Queue()
    Forgetter(Forgetting(desk.ledger), lambda: a_day, queue.forget).sweep()
    assert len(desk.rows(schema.node)) == 1
    assert queue.asked == [(7 * 86_400.0, forgetting.ROWS_OF_A_KIND)]
    desk.change(schema.node, beat_at=schema.node.c.beat_at - 7 * 86_400)
    Forgetter(Forgetting(desk.ledger), lambda: a_day, queue.forget).sweep()
    assert desk.rows(schema.node) == []
