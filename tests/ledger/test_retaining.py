"""What goes is said in one transaction, and only of studies that are owed nothing."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from costs import counted
from ledgers import EXCLUDED, OUT_OF_SCOPE, STUDY, Desk, fill, is_mammogram

from node.ledger import (
    BEGINNING,
    Committing,
    GoingFile,
    Removable,
    Removal,
    Retaining,
    StudyPlace,
    Unlinking,
    schema,
)

DAY_S = 86_400.0
MR: dict[str, Any] = {"modality": "MR", "view": None, "is_in_scope": False}


def done(desk: Desk, study: str = STUDY, **how: Any) -> None:
    """Take a study of one image to where it should go."""
    for job in desk.analysed(study, **how):
        desk.deliver(job)
    desk.delete(schema.study_to_tell)


def apart(desk: Desk, study: str, closing: Any = OUT_OF_SCOPE) -> None:
    """Let a study come that is not analysed."""
    desk.receive(f"{study}.1", study=study)
    desk.close(closing, study=study)


def found(desk: Desk, what: Removable, older_than_s: float = 0) -> list[str]:
    portion = Retaining(desk.ledger).portion(what, BEGINNING, older_than_s, 100)
    return [study_uid for _, study_uid in portion.studies]


def removal(desk: Desk, what: Removable, study: str = STUDY, why: str = "a reason") -> Removal:
    """Return what is to go of a study, as it is just now."""
    files = Retaining(desk.ledger).files(study, what, is_mammogram)
    going = tuple(GoingFile(file, f"p {file.sop_uid}", f"h {file.sop_uid}") for file in files)
    return Removal((desk.study(study)["last_at"], study), what, going, why)


def remove(desk: Desk, what: Removable, study: str = STUDY) -> bool:
    return Retaining(desk.ledger).remove(removal(desk, what, study))


def leaving(desk: Desk) -> list[str]:
    """Return the files that are to go from the store."""
    return sorted(row["path"] for row in desk.rows(schema.unlinking))


def test_each_kind_of_study_is_found_under_its_own_name(desk: Desk) -> None:
    done(desk, "1.9.1", first_report=10)
    apart(desk, "1.9.2", OUT_OF_SCOPE)
    apart(desk, "1.9.3", EXCLUDED)
    desk.receive("1.9.4.1", study="1.9.4", is_own=True)  # nothing but a result that came back
    desk.receive("1.9.5.1", study="1.9.5")  # is being received
    assert found(desk, Removable.OUT_OF_SCOPE) == ["1.9.2", "1.9.4"]
    assert found(desk, Removable.EXCLUDED) == ["1.9.3"]
    assert found(desk, Removable.IMAGES) == ["1.9.1"]
    assert found(desk, Removable.NEIGHBOURS) == ["1.9.1"]


def test_days_count_from_the_last_object(desk: Desk) -> None:
    apart(desk, STUDY)
    desk.let_pass(3 * DAY_S)
    assert found(desk, Removable.OUT_OF_SCOPE, 2.9 * DAY_S) == [STUDY]
    assert found(desk, Removable.OUT_OF_SCOPE, 3.1 * DAY_S) == []


def test_the_rows_say_so_and_the_files_are_let_go_in_one_transaction(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    done(desk)
    desk.receive_again()  # a correction, after which the former file is still there
    done(desk, image=2, first_report=10)
    desk.change(schema.instance, size_bytes=2_000_000)
    caplog.set_level(logging.INFO)
    assert remove(desk, Removable.IMAGES)
    assert all(row["removed_at"] for row in desk.rows(schema.instance))
    assert [row["pixels_digest"] for row in desk.rows(schema.instance)] == [
        f"p {STUDY}.1",
        f"p {STUDY}.2",
    ]
    [former] = desk.rows(schema.former_instance)
    assert former["removed_at"] and former["header_digest"] == f"h {STUDY}.1"
    paths = {row["path"] for row in desk.rows(schema.instance)} | {former["path"]}
    assert leaving(desk) == sorted(paths)
    assert desk.study()["images_removed_at"] and not desk.study()["results_removed_at"]
    words = f"removed the images ({len(desk.rows(schema.instance)) + 1} files): a reason"
    assert desk.history()[-1] == words
    assert [r.getMessage() for r in caplog.records][-1] == f"Study {STUDY}: {words}"
    assert found(desk, Removable.IMAGES) == []


def test_the_history_says_how_much_went_where_that_is_known(desk: Desk) -> None:
    apart(desk, STUDY)
    desk.change(schema.instance, size_bytes=86_000_000)
    assert remove(desk, Removable.OUT_OF_SCOPE)
    words = "removed the images, which no model reads (1 file, 86.0 MB): a reason"
    assert desk.history()[-1] == words


def test_results_go_by_themselves_and_images_stay(desk: Desk) -> None:
    done(desk)
    assert remove(desk, Removable.RESULTS)
    assert leaving(desk) == ["reports/0.dcm", "reports/1.dcm"]
    assert all(row["removed_at"] for row in desk.rows(schema.report))
    assert not any(row["removed_at"] for row in desk.rows(schema.instance))
    assert found(desk, Removable.RESULTS) == []
    assert found(desk, Removable.IMAGES) == [STUDY]


def test_new_results_are_removed_in_their_turn(desk: Desk) -> None:
    done(desk)
    assert remove(desk, Removable.RESULTS)
    done(desk, image=2)
    assert found(desk, Removable.RESULTS) == [STUDY]
    assert len(removal(desk, Removable.RESULTS).files) == 2


def test_a_study_without_results_is_not_looked_at_for_them_again(desk: Desk) -> None:
    apart(desk, STUDY)
    assert remove(desk, Removable.OUT_OF_SCOPE)
    assert desk.study()["results_removed_at"]
    assert found(desk, Removable.RESULTS) == []


def test_of_a_study_that_is_done_what_no_model_reads_goes_first(desk: Desk) -> None:
    desk.receive(f"{STUDY}.9", **MR)
    done(desk)
    assert remove(desk, Removable.NEIGHBOURS)
    assert leaving(desk) == [f"received/{STUDY}/{STUDY}.9.dcm"]
    assert found(desk, Removable.NEIGHBOURS) == []
    assert found(desk, Removable.IMAGES) == [STUDY]
    assert remove(desk, Removable.IMAGES)
    assert len(leaving(desk)) == 2


def test_where_there_is_none_of_it_that_is_remembered_without_a_word(desk: Desk) -> None:
    done(desk)
    before = desk.history()
    assert remove(desk, Removable.NEIGHBOURS)
    assert found(desk, Removable.NEIGHBOURS) == []
    assert desk.history() == before and not leaving(desk)


def test_what_comes_after_a_removal_is_removed_in_its_turn(desk: Desk) -> None:
    apart(desk, STUDY)
    assert remove(desk, Removable.OUT_OF_SCOPE)
    desk.receive(f"{STUDY}.2", **MR)
    assert found(desk, Removable.OUT_OF_SCOPE) == [STUDY]
    assert remove(desk, Removable.OUT_OF_SCOPE)
    assert len(leaving(desk)) == 2


def test_nothing_goes_if_an_image_has_come_since_the_files_were_looked_for(desk: Desk) -> None:
    apart(desk, STUDY)
    planned = removal(desk, Removable.OUT_OF_SCOPE)
    desk.receive(f"{STUDY}.2")
    desk.close(OUT_OF_SCOPE)
    assert not Retaining(desk.ledger).remove(planned)
    assert not leaving(desk)


def test_nor_if_a_person_keeps_it_since(desk: Desk) -> None:
    done(desk)
    planned = removal(desk, Removable.IMAGES)
    desk.change(schema.study, kept_at=1.0)
    assert not Retaining(desk.ledger).remove(planned)
    assert not leaving(desk) and not any(row["removed_at"] for row in desk.rows(schema.instance))


def test_nor_if_one_of_the_files_is_another_since(desk: Desk) -> None:
    desk.receive(f"{STUDY}.2", **MR)
    apart(desk, STUDY)
    planned = removal(desk, Removable.OUT_OF_SCOPE)
    desk.change(schema.instance, path=schema.instance.c.path + ".new")
    before = desk.everything()
    assert not Retaining(desk.ledger).remove(planned)
    assert desk.everything() == before


def test_the_same_removal_twice_is_one(desk: Desk) -> None:
    done(desk)
    planned = removal(desk, Removable.IMAGES)
    assert Retaining(desk.ledger).remove(planned)
    before = desk.everything()
    assert not Retaining(desk.ledger).remove(planned)
    assert desk.everything() == before


def test_who_asks_whether_it_is_kept_is_not_told_so_of_what_is_removed(desk: Desk) -> None:
    apart(desk, STUDY)
    committing = Committing(desk.ledger)
    assert list(committing.find_kept([f"{STUDY}.1"])) == [f"{STUDY}.1"]
    assert remove(desk, Removable.OUT_OF_SCOPE)
    [kept] = committing.find_kept([f"{STUDY}.1"]).values()
    assert kept.is_removed
    assert not committing.mark([f"{STUDY}.1"])
    assert desk.rows(schema.instance)[0]["committed_at"] is None


def test_files_go_only_once_no_backup_copies_them(desk: Desk) -> None:
    apart(desk, STUDY)
    remove(desk, Removable.OUT_OF_SCOPE)
    unlinking = Unlinking(desk.ledger)
    at = desk.study()["last_at"]
    desk.change(schema.installation, backup_until=at + 3600)
    assert unlinking.is_paused() and not unlinking.due("", 10)
    desk.change(schema.installation, backup_until=at - 3600)  # it has ended, or died
    assert not unlinking.is_paused() and unlinking.due("", 10) == leaving(desk)
    unlinking.gone(leaving(desk))
    assert not leaving(desk)


def test_a_walk_passes_what_is_owed_something_and_goes_on_behind_it(desk: Desk) -> None:
    fill(desk.ledger, 30)
    held = [f"1.9.{number}" for number in range(20)]
    with desk.ledger.writing() as db:
        of_held = schema.study.c.study_uid.in_(held)
        db.execute(schema.study.update().where(of_held).values(held_reason="a reason"))
    retaining, place, seen = Retaining(desk.ledger), BEGINNING, list[StudyPlace]()
    steps = 0
    while not (portion := retaining.portion(Removable.IMAGES, place, 0, 8)).is_last:
        seen += portion.studies
        place = portion.end
        steps += 1
    seen += portion.studies
    assert steps == 3
    assert [study_uid for _, study_uid in seen] == [f"1.9.{number}" for number in range(20, 30)]


@pytest.mark.parametrize("what", Removable)
@pytest.mark.parametrize("is_held", [False, True])
def test_a_step_costs_as_much_however_large_the_ledger_is(
    desk: Desk, what: Removable, is_held: bool
) -> None:
    retaining, place = Retaining(desk.ledger), BEGINNING

    def step() -> int:
        nonlocal place
        portion = retaining.portion(what, place, 0, 5)
        studies, place = portion.studies, portion.end
        for study in studies:
            files = retaining.files(study[1], what, is_mammogram)
            assert retaining.remove(Removal(study, what, tuple(map(GoingFile, files)), "why"))
        return len(studies)

    def look(studies: int, first: int) -> Any:
        fill(desk.ledger, studies, first=first)
        if is_held:
            desk.change(schema.study, held_reason="a reason")
        with counted() as cost:
            removed = step()
        return cost, removed

    (few, of_few), (many, of_many) = look(10, 0), look(150, 10)
    assert of_few == of_many == (0 if is_held or what in _NOT_FILLED else 5)
    assert len(many.statements) == len(few.statements) > 1
    assert many.steps <= 1.1 * few.steps


_NOT_FILLED = (Removable.OUT_OF_SCOPE, Removable.EXCLUDED)


def test_nor_does_it_if_thousands_were_removed_before(desk: Desk) -> None:
    retaining = Retaining(desk.ledger)
    fill(desk.ledger, 10)
    with counted() as few:
        assert len(retaining.portion(Removable.IMAGES, BEGINNING, 0, 5).studies) == 5
    fill(desk.ledger, 500, first=10)
    removed = schema.study.c.study_uid.not_in([f"1.9.{number}" for number in range(10)])
    with desk.ledger.writing() as db:
        gone = {"images_removed_at": 1.0, "last_at": 0.5}
        db.execute(schema.study.update().where(removed).values(gone))
    with counted() as many:
        assert len(retaining.portion(Removable.IMAGES, BEGINNING, 0, 5).studies) == 5
    assert many.steps <= 1.1 * few.steps
