"""Whose a study is, as other systems are told: as sent, but for what cannot be read."""

from __future__ import annotations

from pydicom import Dataset

from node.dicom.study_labels import whose_of
from node.study import Whose


def header(**said: str) -> Dataset:
    made = Dataset()
    for name, value in said.items():
        setattr(made, name, value)
    return made


def test_each_attribute_is_what_the_first_says_that_says_it() -> None:
    later = header(PatientID="P-2", AccessionNumber="", PatientName="Roe^Mary")
    former = header(PatientID="P-1", AccessionNumber="A-1", PatientBirthDate="19500101")
    assert whose_of([later, former]) == Whose("P-2", "", "Roe^Mary", "19500101", "A-1")
    assert whose_of([]) == Whose()


def test_values_are_as_sent_and_not_put_in_order() -> None:
    found = whose_of([header(PatientID=" A  1 ", IssuerOfPatientID="X & Y")])
    assert (found.patient_id, found.issuer) == ("A  1", "X & Y")


def test_names_are_decoded_by_the_character_set_of_the_object() -> None:
    named = header(SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jörg=山田^太郎")
    assert whose_of([named]).patient_name == "Müller^Jörg=山田^太郎"
