"""Rows that nobody needs go; of a study that led to something, enough stays to know it again."""

from __future__ import annotations

import itertools
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from costs import Cost, counted
from forgotten import YEAR_S, forget, let_files_go
from hypothesis import given
from hypothesis import strategies as st
from ledgers import (
    EXCLUDED,
    NODE,
    OUT_OF_SCOPE,
    STUDY,
    Desk,
    fill,
    run_at_once,
)
from postgres import NewDatabase
from told_rows import told

from node.errors import NodeError
from node.ledger import (
    BEGINNING,
    DamagedObject,
    DeliveryState,
    DispatchState,
    Forgetting,
    HeldBecause,
    Job,
    Ledger,
    Remembering,
    schema,
)
from node.ledger.forgetting import EXAMS_KEPT, OF_A_STUDY, RECALLED_FOR_S
from node.result import Priority, UnitScore
from node.store import Store
from node.study import StudyLabels

SENT, REFUSED = DeliveryState.SENT, DeliveryState.REFUSED
JANE = StudyLabels("ACC-77", "PID-55", "DOE^JANE", "20250101", "Screening of Jane")

OUTLIVES = {
    schema.installation: "one row",
    schema.peer: "a row for each peer",
    schema.web_user: "a person removes them",
    schema.score_reference: "what was said of the first exams, frozen",
    schema.package: "a row for each version of a model package",
    schema.remembered_study: "what is remembered",
    schema.unlinking: "goes with the file that it names; a study stays until then",
}
BY_AGE = {
    schema.image_score,
    schema.association,
    schema.node,
    schema.damaged_object,
    schema.commitment,
    schema.commitment_request,
    schema.exam_score,
    schema.web_session,
    schema.alarm,  # ledger.alarms, after 90 days
    schema.alarm_notice,
}
GOES: Mapping[str, dict[str, Any]] = {
    "study": dict.fromkeys(
        ("accession_number", "patient_id", "patient_name", "study_date", "study_description"), ""
    )
    | {"read_by": None},
    "study_version": {"owner": None},
    "analysis": dict.fromkeys(("result", "priority", "brief", "score", "refusals")),
    "dispatch": {"owner": None, "error": None},
    "delivery": {"error": None, "transaction_uid": None},
    "message": {"told": "", "content": b"", "owner": None, "error": None},
}
"""What docs/records.md says is not there any more once a study is recalled."""


@pytest.fixture
def forgetting(desk: Desk) -> Forgetting:
    return Forgetting(desk.ledger)


@pytest.fixture
def remembering(desk: Desk) -> Remembering:
    return Remembering(desk.ledger)


def delivered(desk: Desk, *states: DeliveryState, **how: Any) -> None:
    """Take a study through its first version."""
    (job,) = desk.analysed(reports=len(states) or 2, **how)
    desk.deliver(job, *states)


def of_study(desk: Desk, study: str = STUDY) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of a study, by table, but for its history."""
    uids = [r["sop_uid"] for r in desk.rows(schema.instance) if r["study_uid"] == study]
    found: dict[str, list[dict[str, Any]]] = {}
    for table in OF_A_STUDY:
        if table is schema.history:
            continue
        rows = [
            row
            for row in desk.rows(table)
            if row.get("study_uid") == study
            or (table is schema.former_instance and row["sop_uid"] in uids)
        ]
        key = [column.key for column in table.primary_key]
        found[table.name] = sorted(rows, key=lambda row: [str(row[name]) for name in key])
    return found


def without_what_goes(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [row | GOES.get(name, {}) for row in of] for name, of in rows.items()}


def is_there(desk: Desk, study: str = STUDY) -> bool:
    return any(row["study_uid"] == study for row in desk.rows(schema.study))


# Which tables


def test_of_every_table_it_is_known_when_its_rows_go() -> None:
    known = {*OF_A_STUDY, *BY_AGE, *OUTLIVES}
    assert known == set(schema.metadata.tables.values())
    assert not {*OF_A_STUDY} & {*OUTLIVES}


def test_what_has_a_study_goes_with_it_or_by_its_own_age() -> None:
    named = {table for table in schema.metadata.sorted_tables if "study_uid" in table.c}
    by_itself = {schema.commitment, schema.exam_score, schema.unlinking, schema.remembered_study}
    assert named - {*OF_A_STUDY} == by_itself


# A study


def test_a_study_whose_files_are_gone_is_forgotten_and_a_small_record_stays(
    desk: Desk, forgetting: Forgetting, remembering: Remembering
) -> None:
    delivered(desk, level=Priority.URGENT)
    forget(desk)
    assert {name for name, rows in of_study(desk).items() if rows} == set()
    assert desk.history() == []
    assert [row["study_uid"] for row in desk.rows(schema.remembered_study)] == [STUDY]
    found = remembering.find(STUDY)
    assert found is not None
    assert found.sent == {"pacs": 2}
    assert found.words.startswith("forgotten on 20")
    assert found.words.endswith("; 2 reports were sent to pacs")


def test_of_what_was_never_sent_that_is_said(
    desk: Desk, forgetting: Forgetting, remembering: Remembering
) -> None:
    delivered(desk, REFUSED)
    desk.change(schema.dispatch, state=DispatchState.FINISHED)
    forget(desk)
    found = remembering.find(STUDY)
    assert found is not None
    assert found.words.endswith("; no report of it was sent")


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (schema.study, {"kept_at": 1.0}),
        (schema.study, {"held_reason": "words", "held_because": HeldBecause.PIXELS}),
        (schema.dispatch, {"state": DispatchState.DEAD}),
        (schema.dispatch, {"state": DispatchState.QUEUED}),
        (schema.instance, {"committed_at": 1.0}),
        (schema.instance, {"removed_at": None}),
        (schema.report, {"removed_at": None}),
        (schema.study, {"images_removed_at": None}),
        (schema.study, {"last_at": 2e9}),
    ],
)
def test_what_is_owed_or_has_files_or_is_young_stays(
    desk: Desk, forgetting: Forgetting, table: sa.Table, values: dict[str, Any]
) -> None:
    delivered(desk)
    let_files_go(desk)
    desk.change(table, **values)
    before = desk.everything()
    assert not forgetting.forget_study(STUDY, YEAR_S)
    assert desk.everything() == before


def test_a_study_stays_until_its_last_file_is_unlinked(desk: Desk, forgetting: Forgetting) -> None:
    delivered(desk)
    let_files_go(desk)
    with desk.ledger.writing() as db:
        row = {"path": "received/1.dcm", "study_uid": STUDY, "asked_at": 1.0}
        db.execute(schema.unlinking.insert().values(row))
    assert not forgetting.forget_study(STUDY, YEAR_S)
    desk.delete(schema.unlinking)
    assert forgetting.forget_study(STUDY, YEAR_S)


def test_a_study_that_is_not_known_is_not_forgotten(
    desk: Desk, forgetting: Forgetting, remembering: Remembering
) -> None:
    assert not forgetting.forget_study(STUDY, YEAR_S)
    assert remembering.find(STUDY) is None
    assert not remembering.recall(STUDY)


@pytest.mark.parametrize("closing", [OUT_OF_SCOPE, EXCLUDED])
def test_of_what_no_model_reads_or_is_excluded_nothing_is_remembered(
    desk: Desk, forgetting: Forgetting, closing: Any
) -> None:
    desk.receive()
    desk.close(closing)
    forget(desk)
    assert not is_there(desk)
    assert desk.rows(schema.remembered_study) == []


def test_what_a_note_says_must_not_be_used_is_remembered_though_no_model_read_it(
    desk: Desk, forgetting: Forgetting
) -> None:
    desk.receive()
    desk.withdraw(f"{STUDY}.2")
    desk.close(OUT_OF_SCOPE)
    forget(desk)
    desk.receive(f"{STUDY}.2")
    assert desk.row(schema.instance, f"{STUDY}.2")["state"] == "withdrawn"


def test_no_name_no_patient_id_and_no_accession_number_stays(
    desk: Desk, forgetting: Forgetting
) -> None:
    desk.receive(labels=JANE)
    job = desk.close()
    desk.begin(job)
    (delivery,) = desk.finish(job)
    desk.deliver(delivery)
    quoted = "said: PID-55 DOE^JANE ACC-77"
    told(desk, 1, DispatchState.FINISHED, told=quoted, content=quoted.encode(), error=quoted)
    for table in (schema.dispatch, schema.delivery):
        desk.change(table, error=quoted)
    desk.change(schema.analysis, result=quoted, brief=quoted)
    desk.change(schema.study, read_at=1.0, read_by="dr-jones")
    forget(desk)
    (row,) = desk.rows(schema.remembered_study)
    content = zlib.decompress(row["content"]).decode()
    for words in ("DOE", "JANE", "PID-55", "ACC-77", "20250101", "Screening", "dr-jones"):
        assert words not in content
    assert "2.25.10" in content


# Recalled


def test_a_recalled_study_goes_on_with_the_next_version_and_never_with_a_first_report(
    desk: Desk, forgetting: Forgetting, caplog: pytest.LogCaptureFixture
) -> None:
    delivered(desk, level=Priority.SOON)
    let_files_go(desk)
    desk.change(schema.report, series_uid="1.2.3.4", made_by='["Breast Area"]')
    before = without_what_goes(of_study(desk))
    assert forgetting.forget_study(STUDY, YEAR_S)
    caplog.set_level(logging.INFO)
    desk.receive(f"{STUDY}.2")
    assert desk.rows(schema.remembered_study) == []
    assert STUDY in caplog.text
    after = of_study(desk)
    assert after["report"] == before["report"]
    assert after["instance"][0] == before["instance"][0]
    assert desk.row(schema.instance, f"{STUDY}.1")["removed_at"] == 1000.0
    work = desk.begin(desk.close())
    assert work.version.number == 2
    assert work.version.replaces is not None
    assert [one.number for one in work.former_levels] == [1]
    named = [(one.series_uid, one.made_by) for one in work.version.predecessors]
    assert named == [("1.2.3.4", ("Breast Area",))] * 2, "without their files"


def test_the_same_again_is_known_again_by_its_digest_and_its_study_is_forgotten_later_again(
    desk: Desk, forgetting: Forgetting
) -> None:
    delivered(desk)
    let_files_go(desk)
    before = without_what_goes(of_study(desk))
    assert forgetting.forget_study(STUDY, YEAR_S)
    assert desk.receiving.find_kept(f"{STUDY}.1") is None
    desk.receiving.recall(STUDY)
    kept = desk.receiving.find_kept(f"{STUDY}.1")
    assert kept is not None
    assert kept.digest == "digest"
    assert desk.receiving.is_report("2.25.10")
    assert desk.receive() == "same"
    (note,) = desk.history()
    assert note.startswith("recalled, for something of it came: it was forgotten on 20")
    assert not forgetting.forget_study(STUDY, YEAR_S)  # more of it may be on its way
    desk.change(schema.study, recalled_at=schema.study.c.recalled_at - RECALLED_FOR_S - 1)
    assert forgetting.forget_study(STUDY, YEAR_S)
    desk.receiving.recall(STUDY)
    desk.change(schema.study, recalled_at=None)
    assert of_study(desk) == before


def test_an_image_of_somebody_else_holds_a_recalled_study_as_it_would_have(
    desk: Desk, forgetting: Forgetting
) -> None:
    delivered(desk)
    forget(desk)
    desk.receive(f"{STUDY}.2", identity="patient-2 - accession-1 - -")
    assert desk.study()["held_because"] == "identity"


def test_an_object_that_has_come_since_in_another_study_stays_there(
    desk: Desk, forgetting: Forgetting
) -> None:
    delivered(desk)
    forget(desk)
    desk.receive(f"{STUDY}.1", study="1.2.999")
    desk.receive(f"{STUDY}.2")
    assert desk.row(schema.instance, f"{STUDY}.1")["study_uid"] == "1.2.999"
    assert desk.receive(f"{STUDY}.1", digest="other") == "contradicts"
    assert desk.study()["held_because"] == "pixels"


def test_a_study_that_a_later_release_forgot_is_not_guessed_at(
    desk: Desk, forgetting: Forgetting
) -> None:
    delivered(desk)
    forget(desk)
    content = zlib.compress(b'{"format":99,"tables":{}}')
    desk.change(schema.remembered_study, content=content)
    with pytest.raises(NodeError, match="later release"):
        desk.receive(f"{STUDY}.2")
    assert not is_there(desk)


def test_what_a_later_release_added_or_removed_is_left_out(
    desk: Desk, forgetting: Forgetting
) -> None:
    delivered(desk)
    forget(desk)
    (row,) = desk.rows(schema.remembered_study)
    text = zlib.decompress(row["content"]).decode()
    assert '"revision":' in text
    changed = text.replace('"revision":', '"not_known_here":', 1).replace('"report":{', '"gone":{')
    desk.change(schema.remembered_study, content=zlib.compress(changed.encode()))
    desk.receiving.recall(STUDY)
    assert desk.study()["version"] == 1
    assert desk.rows(schema.report) == []


def test_whoever_asks_by_hand_for_a_forgotten_study_is_told_so(
    desk: Desk, forgetting: Forgetting
) -> None:
    delivered(desk)
    forget(desk)
    with pytest.raises(NodeError, match=r"is forgotten on .*; 2 reports were sent to pacs"):
        desk.by_hand.release_study(STUDY)


def test_however_many_recall_and_forget_a_study_at_once_it_is_there_once(
    desk: Desk, forgetting: Forgetting, remembering: Remembering
) -> None:
    delivered(desk)
    let_files_go(desk)
    before = without_what_goes(of_study(desk))
    assert forgetting.forget_study(STUDY, YEAR_S)
    run_at_once(*[lambda: remembering.recall(STUDY)] * 4)
    desk.change(schema.study, recalled_at=None)
    assert of_study(desk) == before
    run_at_once(*[lambda: forgetting.forget_study(STUDY, YEAR_S)] * 4)
    assert not is_there(desk)
    assert len(desk.rows(schema.remembered_study)) == 1


def test_an_image_that_comes_while_its_study_is_forgotten_finds_it_again(
    desk: Desk, forgetting: Forgetting
) -> None:
    delivered(desk)
    for number in range(2, 7):
        let_files_go(desk)
        desk.change(schema.study, state="closed", recalled_at=None)
        run_at_once(
            lambda: forgetting.forget_study(STUDY, YEAR_S),
            lambda n=number: desk.receive(f"{STUDY}.{n}"),  # type: ignore[misc]  # bound now
        )
        assert desk.study()["version"] == 1
        assert {row["sop_uid"] for row in desk.rows(schema.instance)} == {
            f"{STUDY}.{n}" for n in range(1, number + 1)
        }


_VERSIONS = st.lists(
    st.fixed_dictionaries(
        {
            "images": st.integers(1, 3),
            "others": st.integers(0, 2),
            "own": st.booleans(),
            "damaged": st.booleans(),
            "corrects": st.booleans(),
            "withdraws": st.booleans(),
            "level": st.sampled_from((None, *Priority)),
            "states": st.lists(st.sampled_from((SENT, REFUSED)), max_size=3),
            "message": st.booleans(),
        }
    ),
    min_size=1,
    max_size=3,
)
_FRESH = itertools.count(1)


@pytest.fixture(scope="module")
def long_lived(
    new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("forgotten")
    ledger = Ledger(new_database(folder))
    yield Desk(ledger, Store(folder))
    ledger.close()


@given(_VERSIONS)
def test_whatever_became_of_a_study_recalled_it_is_as_it_was_but_for_what_goes(
    long_lived: Desk, versions: list[dict[str, Any]]
) -> None:
    desk, study = long_lived, f"1.2.{next(_FRESH)}"
    images = itertools.count(1)
    for number, what in enumerate(versions, start=1):
        _live(desk, study, number, what, images)
    let_files_go(desk)
    before = without_what_goes(of_study(desk, study))
    forgetting = Forgetting(desk.ledger)
    assert forgetting.forget_study(study, YEAR_S)
    assert not any(of_study(desk, study).values())
    with desk.ledger.writing() as db:  # what a forgotten study knows of others is nothing
        db.execute(schema.history.delete())
    Remembering(desk.ledger).recall(study)
    assert desk.study(study)["recalled_at"] is not None
    desk.change(schema.study, recalled_at=None)
    assert of_study(desk, study) == before


def _live(
    desk: Desk, study: str, number: int, what: Mapping[str, Any], images: Iterator[int]
) -> None:
    """Let a study come to another version, and let all that is owed of it be done."""
    for image in itertools.islice(images, what["images"]):
        desk.receive(f"{study}.{image}", study=study, labels=JANE, digest=f"digest {image}")
    _come_beside(desk, study, number, what)
    if what["corrects"]:
        desk.receive_again(f"{study}.1", study=study, digest=f"corrected {number}")
    if what["withdraws"]:
        desk.withdraw(f"{study}.{next(images)}", study=study, note=f"{study}.9{number}")
    job = desk.close(study=study)
    desk.begin(job)
    reports, first = len(what["states"]), next(_FRESH) * 10
    for delivery in desk.finish(job, reports=reports, level=what["level"], first_report=first):
        desk.deliver(delivery, *what["states"])
    desk.change(schema.dispatch, state=DispatchState.FINISHED)
    if what["message"]:
        of_it = {"control_id": f"{study}:{number}", "study_uid": study, "number": number}
        told(desk, number, DispatchState.FINISHED, **of_it)


def _come_beside(desk: Desk, study: str, number: int, what: Mapping[str, Any]) -> None:
    """Let what is no image come."""
    for other in range(what["others"]):
        uid = f"{study}.7{number}{other}"
        desk.receive(uid, study=study, modality="PR", view=None, is_in_scope=False)
    if what["own"]:
        desk.receive(f"{study}.8{number}", study=study, is_own=True, modality="SR", view=None)
    if what["damaged"]:
        damaged = DamagedObject(f"{study}.6{number}", study, "association", "no pixels")
        desk.receiving.record_damaged(damaged)


# What is merely old


def enter(desk: Desk, table: sa.Table, *rows: dict[str, Any]) -> None:
    with desk.ledger.writing() as db:
        db.execute(table.insert(), list(rows))


def old_and_young(desk: Desk, age_s: float = 2 * YEAR_S) -> None:
    """Put in, of all that goes by its age, one row that is old and one that is not."""
    with desk.ledger.reading() as db:
        at: float = db.execute(sa.select(sa.func.max(schema.study.c.first_at))).scalar_one()
    for name, then in (("old", at - age_s), ("young", at)):
        score = {"instance_digest": name, "model_digest": "m", "score": "{}", "made_at": then}
        enter(desk, schema.image_score, score)
        node = {"id": name, "started_at": then, "beat_at": then, "stopped_at": then}
        enter(desk, schema.node, node)
        closed = {"id": name, "node_id": name, "peer": "modality", "opened_at": then}
        enter(desk, schema.association, closed | {"closed_at": then})
        enter(desk, schema.association, closed | {"id": f"{name}, left open", "closed_at": None})
        damaged = {"object_key": name, "study_uid": None, "association_id": "a", "reason": "r"}
        enter(desk, schema.damaged_object, damaged | {"came_at": then})
        ours = {"transaction_uid": name, "study_uid": STUDY, "number": 1, "destination": "pacs"}
        enter(desk, schema.commitment, ours | {"asked_at": then})
        asked = {"peer": "pacs", "objects": "[]", "asked_at": then, "next_at": then}
        for state, ended_at in (("reported", then), ("given up", then), ("waiting", None)):
            key = {"transaction_uid": f"{name} {state}", "state": state, "ended_at": ended_at}
            enter(desk, schema.commitment_request, asked | key)
        session = {"token_sha256": name, "user_name": "u", "began_at": then, "ends_at": then}
        enter(desk, schema.web_session, session)


def first_words(desk: Desk, table: sa.Table) -> list[str]:
    """Return what the rows of a table are called here, in order."""
    key = [column.key for column in table.primary_key][-1 if "request" in table.name else 0]
    return sorted(str(row[key]) for row in desk.rows(table))


def test_what_is_no_studys_goes_when_it_is_old(desk: Desk, forgetting: Forgetting) -> None:
    desk.receive()
    old_and_young(desk)
    assert forgetting.forget_rows(YEAR_S, 100) == 8
    assert forgetting.forget_rows(YEAR_S, 100) == 1  # left open by a node that is gone by now
    for table in (schema.image_score, schema.node, schema.commitment, schema.web_session):
        assert first_words(desk, table) == ["young"]
    assert first_words(desk, schema.damaged_object) == ["young"]
    assert first_words(desk, schema.association) == ["young", "young, left open"]
    assert first_words(desk, schema.commitment_request) == [
        "old waiting",
        "young given up",
        "young reported",
        "young waiting",
    ]
    assert forgetting.forget_rows(YEAR_S, 100) == 0


def test_no_more_goes_at_once_than_was_asked_for(desk: Desk, forgetting: Forgetting) -> None:
    rows = [
        {"instance_digest": str(n), "model_digest": "m", "score": "{}", "made_at": float(n)}
        for n in range(10)
    ]
    enter(desk, schema.image_score, *rows)
    assert forgetting.forget_rows(YEAR_S, 4) == 4
    assert sorted(int(word) for word in first_words(desk, schema.image_score)) == [*range(4, 10)]


def test_a_score_is_as_old_as_when_it_was_made(desk: Desk, forgetting: Forgetting) -> None:
    desk.scores.record_score("image", "model", UnitScore(unit="image", outputs=()))
    assert forgetting.forget_rows(YEAR_S, 4) == 0
    assert desk.scores.find_score("image", "model") is not None


def test_of_compared_exams_the_newest_stay_and_those_that_are_still_counted(
    desk: Desk, forgetting: Forgetting
) -> None:
    def exams(model: str, count: int) -> list[dict[str, Any]]:
        whose = {"model": model, "model_version": "1", "sender": "modality", "number": 1}
        return [
            whose
            | {"study_uid": f"1.{n}", "has_refusals": False}
            | {"first_at": float(n), "finished_at": float(n)}
            for n in range(count)
        ]

    enter(desk, schema.exam_score, *exams("frozen", EXAMS_KEPT + 5), *exams("counted", 20))
    reference = {"model": "frozen", "model_version": "1", "sender": "modality"}
    enter(desk, schema.score_reference, reference | {"content": "{}", "frozen_at": 1.0})
    assert forgetting.forget_rows(YEAR_S, 100) == 5
    left = [row for row in desk.rows(schema.exam_score) if row["model"] == "frozen"]
    assert min(row["first_at"] for row in left) == 5.0
    assert len(desk.rows(schema.exam_score)) == EXAMS_KEPT + 20
    assert len(desk.rows(schema.score_reference)) == 1


# Costs


def studies_without_files(desk: Desk, count: int, *, first: int = 0) -> None:
    fill(desk.ledger, count, first=first)
    desk.change(schema.instance, removed_at=1.0)
    desk.change(schema.study, images_removed_at=1.0, results_removed_at=1.0)


FEW, MANY = 10, 400


@pytest.mark.parametrize("what", ["look", "forget", "recall", "rows"])
def test_each_step_costs_as_much_in_a_large_ledger_as_in_a_small_one(
    desk: Desk, forgetting: Forgetting, what: str
) -> None:
    works: dict[str, Callable[[int], object]] = {
        "look": lambda n: forgetting.removed_after((1000.0, "1.9.0"), YEAR_S, 5),
        "forget": lambda n: forgetting.forget_study(f"1.9.{n}", YEAR_S),
        "recall": lambda n: desk.receive(f"1.9.{n}.new", study=f"1.9.{n}"),
        "rows": lambda n: forgetting.forget_rows(YEAR_S, 5),
    }

    def cost(study: int) -> Cost:
        if what == "recall":
            assert forgetting.forget_study(f"1.9.{study}", YEAR_S)
        with counted() as found:
            works[what](study)
        return found

    studies_without_files(desk, FEW)
    rows = [
        {"instance_digest": str(n), "model_digest": "m", "score": "{}", "made_at": float(n)}
        for n in range(MANY)
    ]
    enter(desk, schema.image_score, *rows[:FEW])
    few = cost(5)
    studies_without_files(desk, MANY, first=FEW)
    enter(desk, schema.image_score, *rows[FEW:])
    many = cost(6)
    assert few.statements
    assert len(many.statements) == len(few.statements)
    assert many.steps <= 1.1 * few.steps


def test_what_has_to_stay_is_passed_over(desk: Desk, forgetting: Forgetting) -> None:
    studies_without_files(desk, 6)
    with desk.ledger.writing() as db:
        is_first = schema.study.c.study_uid.in_(["1.9.0", "1.9.1"])
        db.execute(schema.study.update().where(is_first).values(kept_at=1.0))
    first = forgetting.removed_after(BEGINNING, YEAR_S, 2)
    assert first == [(1000.0, "1.9.0"), (1001.0, "1.9.1")]
    assert not any(forgetting.forget_study(uid, YEAR_S) for _, uid in first)
    assert forgetting.removed_after(first[-1], YEAR_S, 1) == [(1002.0, "1.9.2")]


# On the way


def test_the_job_of_a_recalled_study_has_a_name_of_its_own(
    desk: Desk, forgetting: Forgetting
) -> None:
    delivered(desk)
    let_files_go(desk)
    former = {job.id for job in desk.jobs}
    assert forgetting.forget_study(STUDY, YEAR_S)
    desk.receive(f"{STUDY}.2")
    job = desk.close()
    assert isinstance(job, Job)
    assert job.id not in former
    desk.begin(job, NODE)
