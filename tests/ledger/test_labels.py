"""What people know a study by, when its last image came, and whether somebody has read it."""

from __future__ import annotations

import pytest
from ledgers import OUT_OF_SCOPE, STUDY, Desk

from node.ledger import schema
from node.study import StudyLabels

LABELS = StudyLabels("A1", "P1", "Doe^Jane", "20261128", "Screening")


def labels(desk: Desk) -> StudyLabels:
    row = desk.study()
    names = StudyLabels.__dataclass_fields__
    return StudyLabels(**{name: row[name] for name in names})


def mark_read(desk: Desk) -> None:
    desk.change(schema.study, read_at=1000.0, read_by="reader")


def test_a_study_is_known_by_what_the_object_said_that_came_last(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    assert labels(desk) == StudyLabels()
    desk.receive(f"{STUDY}.2", labels=LABELS)
    assert labels(desk) == LABELS
    desk.receive(f"{STUDY}.3", labels=StudyLabels(study_description="Diagnostic"))
    assert labels(desk) == StudyLabels("A1", "P1", "Doe^Jane", "20261128", "Diagnostic")


def test_a_corrected_header_corrects_what_a_study_is_known_by(desk: Desk) -> None:
    desk.receive(labels=LABELS)
    corrected = StudyLabels("A2", "P2", "Roe^Jane")
    desk.receive_again(labels=corrected)
    assert labels(desk) == StudyLabels("A2", "P2", "Roe^Jane", "20261128", "Screening")


def test_what_we_made_and_rejection_notes_say_nothing_of_a_study(desk: Desk) -> None:
    desk.receive(labels=LABELS)
    before = desk.study()
    other = StudyLabels("A9", "P9", "Else^Somebody", "20200101", "AI")
    desk.receive("2.25.1", is_own=True, modality="SR", view=None, labels=other)
    assert desk.study() == before
    desk.withdraw(f"{STUDY}.77", labels=other)
    assert labels(desk) == LABELS
    assert desk.study()["last_image_at"] == before["last_image_at"]


def test_only_an_image_is_the_last_image(desk: Desk) -> None:
    desk.receive()
    first = desk.study()["last_image_at"]
    desk.receive(f"{STUDY}.2", modality="PR", view=None, is_in_scope=False)
    desk.close(OUT_OF_SCOPE)
    desk.by_hand.release_study(STUDY)
    assert desk.study()["last_image_at"] == first
    assert desk.study()["last_at"] > first
    desk.receive(f"{STUDY}.3")
    assert desk.study()["last_image_at"] > first


def test_an_image_that_no_model_reads_is_the_last_image_of_a_closed_study(desk: Desk) -> None:
    desk.analysed()
    first = desk.study()["last_image_at"]
    desk.receive(f"{STUDY}.2", modality="US", view=None, is_in_scope=False)
    assert desk.study()["last_image_at"] > first
    assert desk.study()["state"] == "closed"


@pytest.mark.parametrize("is_in_scope", [True, False])
def test_a_new_image_makes_a_study_unread_and_the_history_says_so(
    desk: Desk, is_in_scope: bool
) -> None:
    desk.analysed()
    mark_read(desk)
    desk.receive(f"{STUDY}.2", view="L CC", is_in_scope=is_in_scope)
    assert (desk.study()["read_at"], desk.study()["read_by"]) == (None, None)
    words = "L CC came after somebody had marked the study as read, which it is no longer"
    assert words in desk.history()


def test_what_is_no_new_image_leaves_a_study_read(desk: Desk) -> None:
    desk.analysed()
    mark_read(desk)
    desk.receive()
    desk.receive_again()
    desk.receive("2.25.1", is_own=True, modality="SR", view=None)
    desk.receive(f"{STUDY}.8", modality="PR", view=None, is_in_scope=False)
    assert desk.study()["read_at"] == 1000.0
