"""Whose study an object is of: what cannot be read is not taken for what is not said."""

from __future__ import annotations

from pathlib import Path

import factories
import pytest
from factories import R_CC
from hypothesis import given
from hypothesis import strategies as st

from node.dicom.header import DEFER_BYTES, read_header
from node.identity import UNREADABLE, UNSAID, disagreement, identity_of, merge


def disagree(*identities: str) -> bool:
    return bool(disagreement(identities))


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


@pytest.mark.parametrize(
    ("first", "second", "do_disagree"),
    [
        ("a - -", "a - -", False),
        ("a - -", "b - -", True),
        ("a - -", "- - -", False),
        ("a - -", "- x 1", False),
        ("a x 1", "a x 2", True),
        ("a x 1", "a y 1", True),
        ("a x -", "a - 1", False),
        ("? - -", "? - -", False),
        ("? - -", "a - -", True),
        ("- - - d", "- - - e", True),
        ("a - - - n", "a - - - m", False),
        ("a - - - n", "- - - - m", True),
        ("- - - - n", "- - - - m", True),
        ("a - - - n", "- - - - n", False),
        ("a - - - n", "- - - - -", False),
        ("a - -", "a - - d", False),
        ("a - -", "b - - d", True),
    ],
)
def test_identities_disagree_where_both_say_something_else(
    first: str, second: str, do_disagree: bool
) -> None:
    assert disagree(first, second) is do_disagree
    assert disagree(second, first) is do_disagree


@pytest.mark.parametrize(
    ("identities", "merged"),
    [
        ((), "- - - - -"),
        (("a - - - n",), "a - - - n"),
        (("a - - - -", "- x - - -", "- - 1 d -"), "a x 1 d -"),
        (("- - - - -", "a - - - -"), "a - - - -"),
        (("a - - - -", "b - - - -"), "a - - - -"),
        (("a - -", "a - - d n"), "a - - d n"),  # the first by an earlier release
    ],
)
def test_merged_is_what_any_of_them_says(identities: tuple[str, ...], merged: str) -> None:
    assert merge(identities) == merged


PARTS = st.sampled_from((UNSAID, UNREADABLE, "a", "b"))
IDENTITIES = st.tuples(PARTS, PARTS, PARTS, PARTS).map(lambda parts: " ".join((*parts, UNSAID)))
SEVERAL = st.lists(IDENTITIES, max_size=5)


@given(IDENTITIES, IDENTITIES)
def test_it_does_not_matter_who_is_compared_with_whom(first: str, second: str) -> None:
    assert disagree(first, second) == disagree(second, first)
    assert not disagree(first, first)


@given(SEVERAL)
def test_the_merged_identity_agrees_with_all_exactly_if_all_pairs_agree(several: list[str]) -> None:
    pairs = [disagree(a, b) for a in several for b in several]
    assert any(pairs) == disagree(*several)
    merged = merge(several)
    assert any(pairs) == any(disagree(merged, one) for one in several)


@given(SEVERAL)
def test_the_merged_identity_says_all_that_is_said_and_nothing_else(several: list[str]) -> None:
    for position, merged in enumerate(merge(several).split()):
        said = {one.split()[position] for one in several} - {UNSAID}
        assert merged in said or (not said and merged == UNSAID)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (["b - -"], "Patient ID"),
        (["- - 2", "- y -"], "Issuer of Patient ID and Accession Number"),
        (["a - - d", "- - - e"], "Patient's Birth Date"),
    ],
)
def test_it_says_what_they_disagree_about(others: list[str], said: str) -> None:
    words = disagreement(["a x 1", *others])
    assert words == f"the objects of the study disagree about {said}"


def test_two_that_each_agree_with_a_third_may_disagree() -> None:
    assert not disagree("a - -", "- x -")
    assert not disagree("- x -", "b - -")
    assert disagree("a - -", "b - -")


@pytest.mark.parametrize("keyword", ["PatientID", "IssuerOfPatientID", "AccessionNumber"])
def test_each_of_the_three_says_whose_study_it_is(keyword: str) -> None:
    one, other = factories.exam(views=[R_CC])[0], factories.exam(views=[R_CC])[0]
    setattr(one, keyword, "ONE")
    setattr(other, keyword, "OTHER")
    assert disagree(identity_of(one), identity_of(other))


@pytest.mark.parametrize("keyword", ["PatientName", "PatientBirthDate", "PatientSex"])
def test_a_name_that_is_spelled_otherwise_is_not_another_patient(keyword: str) -> None:
    one, other = factories.exam(views=[R_CC])[0], factories.exam(views=[R_CC])[0]
    setattr(one, keyword, "")
    assert not disagree(identity_of(one), identity_of(other))


def test_two_women_without_an_id_are_told_apart_by_their_birth_dates() -> None:
    one, other = factories.exam(views=[R_CC])[0], factories.exam(views=[R_CC])[0]
    one.PatientID = other.PatientID = one.AccessionNumber = other.AccessionNumber = ""
    one.PatientBirthDate, other.PatientBirthDate = "19500131", "19700131"
    assert disagree(identity_of(one), identity_of(other))
    for unknown in ("1950.01.31", "00000000", "19000101", "1950", ""):
        other.add_new("PatientBirthDate", "LO", unknown)
        assert not disagree(identity_of(one), identity_of(other))


def test_without_an_id_a_name_tells_patients_apart_however_it_is_written() -> None:
    one, other = factories.exam(views=[R_CC])[0], factories.exam(views=[R_CC])[0]
    one.PatientID, one.PatientName = "", "DOE^JANE^^"
    other.PatientName = "Doe^Jane=Other^Writing"
    assert not disagree(identity_of(one), identity_of(other))
    other.PatientName = "ROE^JANE"
    assert disagree(identity_of(one), identity_of(other))
    words = disagreement([identity_of(one), identity_of(other)])
    assert words.endswith("disagree about Patient's Name, where there is no Patient ID")


def test_padding_and_emptiness_say_nothing() -> None:
    one, other = factories.exam(views=[R_CC])[0], factories.exam(views=[R_CC])[0]
    one.PatientID, other.PatientID = "PAT-1", " PAT-1 "
    one.AccessionNumber, other.AccessionNumber = "", "   "
    assert identity_of(one) == identity_of(other)
    assert "PAT-1" not in identity_of(one)
