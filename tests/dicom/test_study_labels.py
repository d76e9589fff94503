"""What people know a study by is read whatever is odd about it, and harms no list."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from node.dicom.study_labels import study_labels_of
from node.study import StudyLabels


def written(**values: object) -> Dataset:
    """Return a header as it is read from a file: its values still encoded."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    file = io.BytesIO()
    dcmwrite(file, dataset, implicit_vr=False, little_endian=True)
    file.seek(0)
    return dcmread(file, force=True)


def raw(keyword_tag: int, value: bytes, vr: str = "LO", charset: bytes = b"") -> Dataset:
    """Return a header in which a value consists of these bytes."""
    dataset = Dataset()
    for tag, its_vr, its_value in (
        (0x00080005, "CS", charset),
        (keyword_tag, vr, value),
    ):
        raw_one = RawDataElement(Tag(tag), its_vr, len(its_value), its_value, 0, False, True)
        dataset._dict[Tag(tag)] = raw_one
    return dataset


def test_an_object_says_what_its_study_is_known_by() -> None:
    said = study_labels_of(
        written(
            AccessionNumber="A17",
            PatientID="P 1 ",
            PatientName="Doe^Jane",
            StudyDate="20261128",
            StudyDescription="MG screening",
        )
    )
    assert said == StudyLabels("A17", "P 1", "Doe^Jane", "20261128", "MG screening")


def test_who_says_nothing_says_nothing() -> None:
    assert study_labels_of(Dataset()) == StudyLabels()
    assert study_labels_of(written(AccessionNumber="", PatientID=None)) == StudyLabels()


@pytest.mark.parametrize(
    ("charset", "encoded", "name"),
    [
        (b"ISO_IR 192", "Müller^Žofie".encode(), "Müller^Žofie"),
        (b"ISO_IR 100", "Müller^Jörg".encode("latin-1"), "Müller^Jörg"),
        (b"ISO_IR 144", "Иванова^Анна".encode("iso8859-5"), "Иванова^Анна"),
        (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", None),
        (b"NO SUCH SET", b"M\xfcller", "Müller"),
        (b"ISO_IR 192", b"M\xfcller", "M?ller"),
    ],
)
def test_a_name_is_in_its_character_set(charset: bytes, encoded: bytes, name: str | None) -> None:
    said = study_labels_of(raw(0x00100010, encoded, "PN", charset)).patient_name
    assert said == (name or "Yamada^Tarou=山田^太郎")


def test_what_would_break_a_line_or_turn_a_list_is_left_out() -> None:
    hostile = "<b>\x1b[31m\r\nDoe\u202e^Jane\x00\x07\u2028".encode()
    said = study_labels_of(raw(0x00081030, hostile, "LO", b"ISO_IR 192")).study_description
    assert said == "<b>[31m Doe^Jane"


def test_what_is_too_long_is_cut() -> None:
    assert len(study_labels_of(raw(0x00100020, b"1" * 5000)).patient_id) == 64
    assert len(study_labels_of(raw(0x00100010, b"x" * 5000, "PN")).patient_name) == 256


@given(st.binary(max_size=80), st.sampled_from([b"", b"ISO_IR 192", b"\\ISO 2022 IR 87", b"\xff"]))
def test_whatever_the_bytes_are_there_is_a_short_line(value: bytes, charset: bytes) -> None:
    said = study_labels_of(raw(0x00100010, value, "PN", charset)).patient_name
    assert len(said) <= 256
    kinds = {unicodedata.category(character) for character in said if not character.isprintable()}
    assert kinds <= {"Cf", "Co"}, "marks of scripts that need them, such as a zero width joiner"
    assert said.encode("utf-8").decode("utf-8") == said
