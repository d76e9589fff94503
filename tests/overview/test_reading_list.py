"""The reading list: its order, its pages, and what can be asked for."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from costs import counted
from ledgers import EXCLUDED, SOMEBODY, SOMEBODY_ELSE, Desk, fill

from node.ledger import DeliveryState, Ledger, Mode, now, schema
from node.overview import Standing, StudyOverview, Wanted, list_page, reading_list, study_overview
from node.result import Priority

DAY_S = 86_400.0
OPEN_DAYS = 7.0
LEVELS = (Priority.URGENT, Priority.SOON, Priority.NOT_ASSESSED, Priority.ROUTINE, None)
RANKS = (1, 2, 3, 4, 4)


def pages(ledger: Ledger, **wanted: Any) -> Iterator[tuple[StudyOverview, ...]]:
    """Follow a list from its first page to its last."""
    after = ""
    while True:
        page = list_page(ledger, Wanted(**wanted, after=after), open_days=OPEN_DAYS)
        yield page.studies
        if not page.following:
            return
        after = page.following


def listed(ledger: Ledger, **wanted: Any) -> list[str]:
    """Return the UIDs of a list, in order; each page but the last is full."""
    limit = wanted.setdefault("limit", 50)
    found = list(pages(ledger, **wanted))
    assert all(len(page) == limit for page in found[:-1])
    return [study.study_uid for page in found for study in page]


def scatter(ledger: Ledger, count: int, seed: int) -> list[dict[str, Any]]:
    """Put in studies of all levels and senders; many have come at the very same time."""
    chance = random.Random(seed)
    with ledger.reading() as db:
        at = float(db.execute(sa.select(now())).scalar_one())
    rows = [
        {
            "study_uid": f"1.5.{number}",
            "sender": chance.choice(("mg", "ct")),
            "state": "closed",
            "identity": SOMEBODY,
            "version": 1,
            "level": chance.choice(LEVELS),
            "first_at": at,
            "last_at": at,
            "last_image_at": round(at) - 3600.0 * chance.randrange(0, 300),
            "read_at": chance.choice((None, None, at)),
            "accession_number": f"A{chance.randrange(20)}",
            "patient_id": f"P{chance.randrange(20)}",
        }
        for number in range(count)
    ]
    states = ("finished", "finished", "excluded", "withdrawn", "cancelled", "queued")
    versions = [
        {"study_uid": row["study_uid"], "number": 1, "reason": "4/4 views"}
        | {"state": chance.choice(states), "closed_at": at, "last_image_at": at}
        for row in rows
    ]
    analyses = [
        {"study_uid": row["study_uid"], "number": 1, "model": chance.choice(("one", "two"))}
        | {"model_version": "1", "weights_sha256": "0", "mode": "deliver", "brief": "said"}
        for row in rows
    ]
    with ledger.writing() as db:
        db.execute(schema.study.insert(), rows)
        db.execute(schema.study_version.insert(), versions)
        db.execute(schema.analysis.insert(), analyses)
    return [
        row | {"version_state": version["state"], "model": analysis["model"]}
        for row, version, analysis in zip(rows, versions, analyses, strict=True)
    ]


@pytest.fixture(params=[0, 1000], ids=["on the way", "looked up"])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Find what is asked for in either way: both give the same pages."""
    monkeypatch.setattr(reading_list, "_FEW", request.param)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("seed", range(2))
def test_following_pages_yield_every_study_once_in_order(ledger: Ledger, seed: int) -> None:
    rows = scatter(ledger, 60, seed)
    since = max(row["last_image_at"] for row in rows) - OPEN_DAYS * DAY_S + 1800

    def is_open(row: dict[str, Any]) -> bool:
        is_out = row["version_state"] in ("excluded", "withdrawn")
        return row["read_at"] is None and not is_out and row["last_image_at"] >= since

    def by_level(row: dict[str, Any]) -> tuple[Any, ...]:
        return RANKS[LEVELS.index(row["level"])], row["last_image_at"], row["study_uid"]

    def newest_first(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["last_image_at"], row["study_uid"]

    for limit in (7, 200):
        for asked, is_wanted in (
            ({}, lambda row: True),
            ({"sender": "mg"}, lambda row: row["sender"] == "mg"),
            (
                {"model": "two", "sender": "ct"},
                lambda r: (r["model"], r["sender"]) == ("two", "ct"),
            ),
            ({"level": "soon"}, lambda row: row["level"] == Priority.SOON),
            ({"level": "none"}, lambda row: row["level"] is None),
            ({"sought": "excluded"}, lambda row: row["version_state"] == "excluded"),
            ({"sought": "failed"}, lambda row: row["version_state"] == "cancelled"),
            ({"sought": "waiting"}, lambda row: row["version_state"] == "queued"),
            ({"sought": "held"}, lambda row: False),
            ({"accession_number": "A3"}, lambda row: row["accession_number"] == "A3"),
            ({"patient_id": "P4"}, lambda row: row["patient_id"] == "P4"),
            ({"study_uid": "1.5.7"}, lambda row: row["study_uid"] == "1.5.7"),
            ({"since": since + DAY_S}, lambda row: row["last_image_at"] >= since + DAY_S),
        ):
            wanted = [row for row in rows if is_wanted(row)]
            whole = sorted(wanted, key=newest_first, reverse=True)
            assert listed(ledger, **asked, limit=limit) == [row["study_uid"] for row in whole]
            to_read = sorted(filter(is_open, wanted), key=by_level)
            assert listed(ledger, **asked, is_open=True, limit=limit) == [
                row["study_uid"] for row in to_read
            ]


def test_what_stands_before_a_page_may_change_and_no_study_is_missed(ledger: Ledger) -> None:
    rows = scatter(ledger, 30, 5)
    first = list_page(ledger, Wanted(limit=10), open_days=OPEN_DAYS)
    newer = max(row["last_image_at"] for row in rows) + 60
    with ledger.writing() as db:
        row = {**rows[0], "study_uid": "1.6.1", "last_image_at": newer}
        columns = {name: row[name] for name in row if name in schema.study.c}
        db.execute(schema.study.insert().values(columns))
    rest: list[str] = []
    after = first.following
    while after:
        page = list_page(ledger, Wanted(limit=10, after=after), open_days=OPEN_DAYS)
        rest += [study.study_uid for study in page.studies]
        after = page.following
    seen = [study.study_uid for study in first.studies] + rest
    assert sorted(seen) == sorted(row["study_uid"] for row in rows)


@pytest.mark.parametrize("after", ["nonsense", "bnVsbA", "W10", "=", "eyJhIjoxfQ"])
def test_an_address_that_somebody_has_changed_shows_the_first_page(
    ledger: Ledger, after: str
) -> None:
    fill(ledger, 3)
    assert len(list_page(ledger, Wanted(after=after), open_days=OPEN_DAYS).studies) == 3


def test_the_open_list_begins_with_what_is_urgent_and_has_waited_longest(desk: Desk) -> None:
    said = {"1.1": None, "1.2": Priority.ROUTINE, "1.3": Priority.URGENT, "1.4": Priority.URGENT}
    for number, (study, level) in enumerate(said.items()):
        desk.receive(f"{study}.1", study=study)
        job = desk.close(study=study)
        desk.begin(job)
        desk.finish(job, level=level, first_report=10 * number)
        desk.let_pass(60)
    assert listed(desk.ledger, is_open=True) == ["1.3", "1.4", "1.1", "1.2"]
    counts = list_page(desk.ledger, Wanted(is_open=True), open_days=OPEN_DAYS).counts
    assert (counts["urgent"], counts["soon"], counts["not assessed"]) == (2, 0, 0)


def test_a_study_stands_where_it_is_looked_for(desk: Desk) -> None:
    desk.receive("1.1.1", study="1.1")  # waits
    desk.receive("1.2.1", study="1.2")
    desk.receive("1.2.2", study="1.2", identity=SOMEBODY_ELSE)  # held
    desk.receive("1.3.1", study="1.3", why_excluded="no Patient ID")
    desk.close(EXCLUDED, study="1.3")
    (job,) = desk.analysed("1.4", deliver_within_s=0)
    desk.deliver(job, DeliveryState.QUEUED, DeliveryState.QUEUED)  # given up
    (job,) = desk.analysed("1.5", first_report=10)
    desk.deliver(job)  # done
    desk.receive("2.25.1", study="1.6", is_own=True, modality="SR", view=None)  # kept
    assert listed(desk.ledger, sought="waiting") == ["1.1"]
    assert listed(desk.ledger, sought="held") == ["1.2"]
    assert listed(desk.ledger, sought="excluded") == ["1.3"]
    assert listed(desk.ledger, sought="failed") == ["1.4"]
    assert listed(desk.ledger, is_open=True) == ["1.1", "1.2", "1.4", "1.5"]
    assert set(listed(desk.ledger, sought="today")) >= {"1.1", "1.5"}
    counts = dict(list_page(desk.ledger, Wanted(), open_days=OPEN_DAYS).counts)
    assert counts == {"urgent": 0, "soon": 0, "not assessed": 0} | dict.fromkeys(
        ("waiting", "failed", "held", "excluded"), 1
    )


def test_results_that_go_nowhere_have_failed(desk: Desk) -> None:
    desk.analysed("1.1", destinations=())
    desk.change(schema.study_version, error="no destination: peer ct neither receives nor names")
    assert listed(desk.ledger, sought="failed") == ["1.1"]


def test_a_study_that_was_excluded_is_in_the_list_once_a_person_lets_it_go_on(desk: Desk) -> None:
    desk.receive("1.3.1", study="1.3", why_excluded="no Patient ID")
    desk.close(EXCLUDED, study="1.3")
    assert listed(desk.ledger, is_open=True) == []
    desk.by_hand.release_study("1.3")
    assert listed(desk.ledger, is_open=True) == ["1.3"]
    assert listed(desk.ledger, sought="excluded") == []


def test_what_is_old_or_read_leaves_the_open_list(desk: Desk) -> None:
    desk.analysed("1.1")
    desk.let_pass(OPEN_DAYS * DAY_S - 60)
    desk.analysed("1.2", first_report=10)
    assert listed(desk.ledger, is_open=True) == ["1.1", "1.2"]
    desk.let_pass(120)
    assert listed(desk.ledger, is_open=True) == ["1.2"]
    desk.change(schema.study, read_at=1.0, read_by="somebody")
    assert listed(desk.ledger, is_open=True) == []
    assert listed(desk.ledger) == ["1.2", "1.1"]


def test_a_row_says_what_came_of_it_without_the_result_being_read(ledger: Ledger) -> None:
    fill(ledger, 3)
    long = study_overview(ledger, "1.9.0")
    assert long is not None
    with counted() as of_page:
        (*_, row) = list_page(ledger, Wanted(), open_days=OPEN_DAYS).studies
    assert row.study_uid == "1.9.0"
    assert row.models[0].result is None
    assert row.models[0].outcome == long.models[0].outcome == "4 of 4 images analysed"
    assert row.state == Standing.DONE
    with ledger.writing() as db:  # as a node of this release would have written it
        db.execute(schema.analysis.update().values(brief="in brief", analysed=4, result="unread"))
    (*_, row) = list_page(ledger, Wanted(), open_days=OPEN_DAYS).studies
    assert row.models[0].outcome == "in brief"
    assert len(of_page.statements) < 30


def test_a_model_in_shadow_says_nothing_in_the_list(ledger: Ledger) -> None:
    fill(ledger, 1)
    with ledger.writing() as db:
        db.execute(schema.analysis.update().values(mode=Mode.SHADOW))
    (row,) = list_page(ledger, Wanted(), open_days=OPEN_DAYS).studies
    assert row.models == ()
    seen = study_overview(ledger, row.study_uid)
    assert seen is not None
    assert [model.mode for model in seen.models] == ["shadow"]


def test_a_study_that_is_not_known_is_not_found(ledger: Ledger) -> None:
    assert study_overview(ledger, "1.2.3") is None
