"""What takes long is made once for all who ask within its time, and never kept where it fails."""

from __future__ import annotations

import threading
from itertools import count

import pytest
import sqlalchemy as sa
from ledgers import Desk, run_at_once

from node.overview.shared_count import SharedCount


def test_it_is_made_once_for_all_who_ask_within_its_time() -> None:
    numbers = count()
    together = threading.Barrier(8)
    kept = SharedCount(lambda: next(numbers), kept_s=3600)
    found = []

    def ask() -> None:
        together.wait(30)
        found.append(kept.newest())

    run_at_once(*[ask] * 8)
    assert found == [0] * 8


def test_what_is_old_is_made_anew() -> None:
    numbers = count()
    kept = SharedCount(lambda: next(numbers), kept_s=0)
    assert [kept.newest(), kept.newest()] == [0, 1]


def test_what_cannot_be_made_is_tried_again_and_nobody_gets_an_old_one(desk: Desk) -> None:
    def ask() -> int:
        with desk.ledger.reading() as db:
            return int(db.execute(sa.text("SELECT count(*) FROM study")).scalar_one())

    kept = SharedCount(ask, kept_s=3600)
    rename = "ALTER TABLE {} RENAME TO {}"
    with desk.ledger.writing() as db:
        db.execute(sa.text(rename.format("study", "away")))
    with pytest.raises(sa.exc.SQLAlchemyError):
        kept.newest()
    with desk.ledger.writing() as db:
        db.execute(sa.text(rename.format("away", "study")))
    assert kept.newest() == 0
