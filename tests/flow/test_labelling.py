"""Studies of earlier releases get the labels that people know them by, and that ends."""

from __future__ import annotations

import factories
from factories import R_CC
from ledgers import Desk

from node.flow.labelling import label_former
from node.ledger import schema
from node.study import StudyLabels
from node.trial.phantom import Patient

NONE = dict.fromkeys(StudyLabels.__dataclass_fields__)


def forget_labels(desk: Desk) -> None:
    desk.change(schema.study, **NONE)


def test_a_study_of_an_earlier_release_gets_its_labels_from_a_stored_object(desk: Desk) -> None:
    (image,) = factories.exam(views=[R_CC], patient=Patient())
    desk.keep(image)
    before = desk.study(str(image.StudyInstanceUID))
    assert before["patient_id"] == image.PatientID
    assert before["accession_number"] == image.AccessionNumber
    forget_labels(desk)
    label_former(desk.filing, desk.store)
    assert desk.study(str(image.StudyInstanceUID)) == before


def test_what_cannot_be_looked_up_is_not_looked_up_again(desk: Desk) -> None:
    desk.receive("1.1.1", study="1.1")  # its file is missing
    desk.receive("2.25.1", study="1.2", is_own=True, modality="SR", view=None)
    forget_labels(desk)
    label_former(desk.filing, desk.store)
    assert {row["patient_id"] for row in desk.rows(schema.study)} == {""}
    assert desk.filing.unlabelled(10) == {}


def test_what_an_object_has_said_meanwhile_stays(desk: Desk) -> None:
    desk.receive("1.1.1", study="1.1")
    forget_labels(desk)
    desk.receive("1.1.2", study="1.1", labels=StudyLabels(patient_id="P2"))
    label_former(desk.filing, desk.store)
    row = desk.study("1.1")
    assert (row["patient_id"], row["accession_number"]) == ("P2", "")
