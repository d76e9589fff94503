"""A process that forgets a study, or recalls it, is killed before each thing that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from forgotten import YEAR_S, let_files_go
from ledgers import STUDY, Desk
from postgres import NewDatabase

from node.ledger import Forgetting, Ledger, Remembering, schema
from node.ledger.forgetting import OF_A_STUDY
from node.store import Store

from .killing import deaths_at_each_step

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]


def rows(desk: Desk) -> dict[str, list[dict[str, Any]]]:
    return {table.name: desk.rows(table) for table in (*OF_A_STUDY, schema.remembered_study)}


def test_a_study_is_whole_whenever_the_process_that_forgets_or_recalls_it_is_killed(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    url = new_database(tmp_path)
    ledger = Ledger(url)
    desk = Desk(ledger, Store(tmp_path))
    (job,) = desk.analysed()
    desk.deliver(job)
    let_files_go(desk)

    before = rows(desk)
    deaths = deaths_at_each_step(
        url, Forgetting, "forget_study", STUDY, YEAR_S, is_whole=lambda: rows(desk) == before
    )
    assert deaths > len(OF_A_STUDY)
    forgotten = rows(desk)
    assert {name for name, found in forgotten.items() if found} == {"remembered_study"}

    deaths = deaths_at_each_step(
        url, Remembering, "recall", STUDY, is_whole=lambda: rows(desk) == forgotten
    )
    assert deaths > 10
    recalled = rows(desk)
    assert recalled["remembered_study"] == []
    assert recalled["report"] == before["report"]
    assert recalled["instance"] == before["instance"]
    assert desk.study()["version"] == 1
    ledger.close()
