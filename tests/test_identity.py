"""Whose study an object is of: what cannot be read is not taken for what is not said."""

from __future__ import annotations

from pathlib import Path

import factories
from factories import R_CC

from node.identity import disagree, identity_of
from node.selection import DEFER_BYTES, read_header


def test_what_is_not_said_contradicts_nothing() -> None:
    said = factories.exam(views=[R_CC])[0]
    unsaid = factories.exam(views=[R_CC])[0]
    del unsaid.PatientID
    assert not disagree(identity_of(said), identity_of(unsaid))


def test_a_patient_id_that_cannot_be_read_contradicts_one_that_can(tmp_path: Path) -> None:
    said = factories.exam(views=[R_CC])[0]
    long = factories.exam(views=[R_CC])[0]
    long.add_new("PatientID", "UT", "X" * (DEFER_BYTES + 2))
    long.save_as(tmp_path / "long.dcm", enforce_file_format=True)
    header = read_header(tmp_path / "long.dcm")
    (tmp_path / "long.dcm").unlink()
    assert disagree(identity_of(said), identity_of(header))
