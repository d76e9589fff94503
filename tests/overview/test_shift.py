"""What a model says of a sender's exams, beside the first: taken from the ledger, once each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from ledgers import MODEL, Desk
from peers import modality

from node import config
from node.ledger import ExamScores, Mode, schema
from node.ledger.exam_scores import EXAMS_AT_ONCE
from node.overview.likeness import FIRST, WINDOW, Aspect
from node.overview.shift import SenderShift, count_anew, shifted
from node.result import Priority, Refusal

HOUR = 3600.0
POINT = 0.5


@pytest.fixture
def settings(tmp_path: Path) -> config.Config:
    return config.Config(
        node=config.Node(ae_title="AINODE", state_dir=tmp_path),
        peers=(
            modality(),
            modality(name="other", ae_title="OTHER"),
            modality(name="pacs", ae_title="PACS", sends=False, receives="default"),
        ),
        models=(config.ChosenModel(name=MODEL.name, mode="deliver"),),
    )


def analysed(
    desk: Desk,
    scores: list[float | None],
    *,
    begin: int = 0,
    sender: str = "modality",
    model: str = MODEL.name,
    version: str = "1.0.0",
    mode: Mode = Mode.DELIVER,
    number: int = 1,
    at: float | None = None,
) -> None:
    """Put in what a model said of a sender's exams, one an hour; `begin` counts the studies.

    An exam without a score was refused.
    """
    studies, rows = [], []
    for place, score in enumerate(scores, begin):
        uid = f"1.9.{sender}.{place}"
        moment = 1e6 + place * HOUR if at is None else at
        studies.append(
            {"study_uid": uid, "sender": sender, "state": "closed", "identity": "-"}
            | {"version": number, "first_at": moment, "last_at": moment, "last_image_at": moment}
        )
        level = Priority.NOT_ASSESSED
        if score is not None:
            level = Priority.URGENT if score >= POINT else Priority.ROUTINE
        rows.append(
            {"study_uid": uid, "number": number, "model": model, "model_version": version}
            | {"weights_sha256": "0" * 64, "mode": mode, "level": level, "score": score}
            | {"analysed": 0 if score is None else 4, "finished_at": moment}
            | {"refusals": '{"implant": 4}' if score is None else "{}"}
        )
    with desk.ledger.writing() as db:
        known = set(db.execute(sa.select(schema.study.c.study_uid)).scalars())
        if new := [row for row in studies if row["study_uid"] not in known]:
            db.execute(schema.study.insert(), new)
        db.execute(schema.analysis.insert(), rows)


def usual(count: int, seed: int = 16) -> list[float | None]:
    chance = np.random.default_rng(seed)
    return [float(one) for one in 1 / (1 + np.exp(0.678 - 0.5625 * chance.normal(size=count)))]


def inverted(count: int) -> list[float | None]:
    return [1 - one if one is not None else None for one in usual(count, 17)]


def references(desk: Desk) -> list[tuple[str, str, str]]:
    rows = desk.rows(schema.score_reference)
    return sorted((row["model"], row["model_version"], row["sender"]) for row in rows)


def test_an_inverted_sender_is_told_of_with_what_since_when_and_what_to_do(
    desk: Desk, settings: config.Config
) -> None:
    analysed(desk, usual(FIRST + 150))
    assert shifted(desk.ledger, settings) == ()
    analysed(desk, inverted(60), begin=FIRST + 150)
    (found,) = shifted(desk.ledger, settings)
    assert (found.model, found.version, found.sender) == (MODEL.name, "1.0.0", "modality")
    assert [one.aspect for one in found.found] == [Aspect.URGENT, Aspect.SCORES]
    assert abs(found.since - (1e6 + (FIRST + 150) * HOUR)) < 5 * HOUR
    assert found.words.startswith(
        "breast-area 1.0.0, exams of modality: of the last 100 exams that it judged 60 (60 %) are"
    )
    assert "of the first 300 it was" in found.words
    assert "has changed" in found.what_to_do
    assert found.subject == "breast-area 1.0.0, modality"


def test_nothing_is_said_before_the_first_300_and_a_hundred_more(
    desk: Desk, settings: config.Config
) -> None:
    analysed(desk, usual(FIRST - 1))
    assert shifted(desk.ledger, settings) == ()
    assert references(desk) == []
    analysed(desk, usual(1), begin=FIRST - 1)
    shifted(desk.ledger, settings)
    assert references(desk) == [(MODEL.name, "1.0.0", "modality")]
    analysed(desk, inverted(WINDOW - 1), begin=FIRST)
    assert shifted(desk.ledger, settings) == ()
    analysed(desk, inverted(1), begin=FIRST + WINDOW - 1)
    assert len(shifted(desk.ledger, settings)) == 1


def test_each_sender_is_compared_with_its_own_first_exams(
    desk: Desk, settings: config.Config
) -> None:
    analysed(desk, usual(FIRST + WINDOW))
    analysed(desk, inverted(FIRST + WINDOW), sender="other")
    assert shifted(desk.ledger, settings) == ()
    assert len(references(desk)) == 2


def test_an_exam_counts_once_by_its_newest_version(desk: Desk, settings: config.Config) -> None:
    analysed(desk, [None] * 100)
    for number in (1, 2, 3):  # the images come one after the other
        analysed(desk, usual(FIRST), begin=100, number=number, at=None)
        shifted(desk.ledger, settings)
    rows = desk.rows(schema.exam_score)
    assert len(rows) == 100 + FIRST
    assert {row["number"] for row in rows} == {1, 3}
    analysed(desk, usual(100), number=2, at=1e6 + 1000 * HOUR)
    shifted(desk.ledger, settings)
    late = [row for row in desk.rows(schema.exam_score) if row["study_uid"].endswith(".7")]
    assert [(row["number"], row["has_refusals"]) for row in late] == [(2, False)]
    assert [row["first_at"] for row in late] == [1e6 + 7 * HOUR], "its place stays"


def test_refusals_are_told_of_where_there_were_none(desk: Desk, settings: config.Config) -> None:
    analysed(desk, usual(FIRST + 60))
    analysed(desk, [None] * 40, begin=FIRST + 60)
    (found,) = shifted(desk.ledger, settings)
    assert [one.aspect for one in found.found] == [Aspect.REFUSALS]
    assert found.words == (
        "breast-area 1.0.0, exams of modality: of the last 100 exams 40 (40 %) have an image that "
        "it refused, of the first 300 it was 0 (0 %)"
    )


@pytest.mark.parametrize("how", ["shadow", "off", "nobody", "no sender"])
def test_only_what_is_delivered_of_senders_that_send_is_compared(
    desk: Desk, settings: config.Config, how: str
) -> None:
    mode = Mode.SHADOW if how == "shadow" else Mode.DELIVER
    sender = "pacs" if how == "no sender" else "modality"
    analysed(desk, usual(FIRST), mode=mode, sender=sender)
    analysed(desk, inverted(WINDOW), begin=FIRST, mode=mode, sender=sender)
    chosen = {"shadow": "deliver", "off": "off", "nobody": "shadow", "no sender": "deliver"}[how]
    models = (settings.models[0].model_copy(update={"mode": chosen}),)
    assert shifted(desk.ledger, settings.model_copy(update={"models": models})) == ()


def test_another_version_and_another_operating_point_begin_anew(
    desk: Desk, settings: config.Config
) -> None:
    analysed(desk, usual(FIRST + WINDOW))
    shifted(desk.ledger, settings)
    analysed(desk, inverted(FIRST), begin=1000, version="2.0.0")
    assert shifted(desk.ledger, settings) == ()
    models = (settings.models[0].model_copy(update={"urgent": "specificity 80"}),)
    other = settings.model_copy(update={"models": models})
    analysed(desk, usual(FIRST), begin=2000, version="2.0.0")
    assert shifted(desk.ledger, other) == ()
    versions = [version for _, version, _ in references(desk)]
    assert versions == ["1.0.0", "2.0.0", '2.0.0, urgent from "specificity 80"']


def test_a_shift_ends_when_exams_are_as_at_first_for_a_while(
    desk: Desk, settings: config.Config
) -> None:
    analysed(desk, usual(FIRST + 60))
    analysed(desk, [None] * 40, begin=FIRST + 60)
    assert shifted(desk.ledger, settings)
    analysed(desk, usual(100, 18), begin=1000)
    assert shifted(desk.ledger, settings)
    analysed(desk, usual(50, 19), begin=1100)
    assert shifted(desk.ledger, settings) == ()


def test_what_is_meant_is_counted_anew(desk: Desk, settings: config.Config) -> None:
    analysed(desk, usual(FIRST))
    analysed(desk, inverted(WINDOW), begin=FIRST)
    assert shifted(desk.ledger, settings)
    assert count_anew(desk.ledger, MODEL.name, "modality")
    assert shifted(desk.ledger, settings) == ()
    with desk.ledger.reading() as db:
        at = db.execute(sa.text("SELECT max(frozen_at) FROM score_reference")).scalar_one()
    analysed(desk, inverted(FIRST), begin=1000, at=at + HOUR)
    assert shifted(desk.ledger, settings) == ()
    analysed(desk, usual(WINDOW), begin=2000, at=at + 2 * HOUR)
    assert shifted(desk.ledger, settings), "it was right before, and is not as at first now"
    assert not count_anew(desk.ledger, MODEL.name, "other")


def test_a_reference_that_is_there_stands(desk: Desk) -> None:
    exam_scores = ExamScores(desk.ledger)
    key = (MODEL.name, "1.0.0", "modality")
    exam_scores.freeze(*key, "first")
    exam_scores.freeze(*key, "second")
    assert exam_scores.reference(*key) == "first"
    exam_scores.freeze(*key, "third", "another")
    assert exam_scores.reference(*key) == "first"
    exam_scores.freeze(*key, "fourth", "first")
    assert exam_scores.reference(*key) == "fourth"


def test_a_ledger_of_years_is_taken_over_a_part_at_a_time(
    desk: Desk, settings: config.Config
) -> None:
    analysed(desk, usual(EXAMS_AT_ONCE + 200))
    counts = []
    for _ in range(3):
        assert shifted(desk.ledger, settings) == ()
        counts.append(len(desk.rows(schema.exam_score)))
    assert counts == [EXAMS_AT_ONCE, EXAMS_AT_ONCE + 200, EXAMS_AT_ONCE + 200]


def test_what_the_node_itself_records_is_counted(desk: Desk, settings: config.Config) -> None:
    refused = (Refusal("1.9.9", "L CC", "implant"),)
    desk.analysed("1.1", level=Priority.URGENT, refused=refused)
    desk.analysed("1.2", level=Priority.ROUTINE, first_report=10)
    shifted(desk.ledger, settings)
    rows = sorted(desk.rows(schema.exam_score), key=lambda row: str(row["study_uid"]))
    assert [(row["sender"], row["level"], row["has_refusals"]) for row in rows] == [
        ("modality", Priority.URGENT, True),
        ("modality", Priority.ROUTINE, False),
    ]


def test_what_it_looks_for_is_found_by_an_index(desk: Desk, settings: config.Config) -> None:
    analysed(desk, usual(FIRST + WINDOW))
    statements: list[str] = []

    def note(*of_it: object) -> None:
        statements.append(str(of_it[2]))

    engine = desk.ledger._engine
    sa.event.listen(engine, "before_cursor_execute", note)
    found: tuple[SenderShift, ...] = shifted(desk.ledger, settings)
    found += shifted(desk.ledger, settings)
    sa.event.remove(engine, "before_cursor_execute", note)
    assert found == ()
    reads = [one for one in statements if one.startswith("SELECT") and "FROM" in one]
    assert len(reads) >= 6
    if engine.dialect.name == "sqlite":
        with engine.connect() as db:
            for one in reads:
                count = one.count("?")
                plan = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", ("1",) * count)
                steps = [str(row[3]) for row in plan if row[3] != "SCAN installation"]  # one row
                assert not [step for step in steps if step.startswith("SCAN")], (one, steps)
