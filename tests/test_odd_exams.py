"""An exam of four of which the second is odd: what its report and the list of studies say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import factories
import odd_structure as odd
import pytest
import small_models
from pydicom import dcmread

from node import offline
from node.offline import FolderOutcome, StudyOutcome
from node.outputs import wording
from node.outputs.header import COPIED

pytestmark = pytest.mark.usefixtures("warm_inference")

Maker = Callable[[bytes], bytes]


def analysed(folder: Path, make: Maker) -> tuple[FolderOutcome, list[Path]]:
    """Analyse four small mammograms, the second of them changed."""
    paths = factories.saved_exam(folder / "exam")
    paths[1].write_bytes(make(paths[1].read_bytes()))
    model = small_models.model(folder, small_models.BRIGHT)
    return offline.analyse_folder(paths, folder / "results", model, lambda: None), paths


def only(outcome: FolderOutcome) -> StudyOutcome:
    [study] = outcome.studies
    return study


def texts_of(study: StudyOutcome) -> str:
    reports = [dcmread(path) for path in study.written]
    elements = (element for report in reports for element in report.iterall())
    return " ".join(str(one.value) for one in elements if one.keyword == "TextValue")


REFUSED: dict[Maker, str] = {
    odd.two_lateralities: "For Presentation image: states Image Laterality twice, with different",
    odd.two_view_codes: "For Presentation image: states View Code Sequence twice, with different",
    odd.two_codes_in_the_view: "For Presentation image: states Code Value of View Code Sequence",
    odd.implant_and_none: "L CC: states Breast Implant Present twice, with different values",
    odd.two_windows: "L CC: states Window Center twice, with different values",
    odd.text_as_view_codes: "For Presentation image: states View Code Sequence as something else",
    odd.text_as_view_codes_by_its_vr: "For Presentation image: states View Code Sequence as",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_what_contradicts_itself_in_what_an_image_is_judged_by_is_refused_with_the_words(
    make: Maker, tmp_path: Path
) -> None:
    outcome, _ = analysed(tmp_path, make)
    study = only(outcome)
    assert study.analysed == 3
    [said] = study.details
    assert said.startswith(f"not analysed: {REFUSED[make]}")
    assert study.result is not None
    assert [refusal.is_failure for refusal in study.result.refused] == [True]
    assert REFUSED[make].split(": ")[1] in texts_of(study)


@pytest.mark.parametrize(
    "make",
    [
        *(odd.same_patient_id_twice, odd.two_station_names, odd.blanks_as_view_modifiers),
        *(odd.text_as_procedure_codes, odd.padded_pixels, odd.trailing_padding),
        *(odd.zeros_behind_the_end, odd.another_syntax_inside, odd.meta_information_inside),
        *(odd.another_syntax_further_inside, odd.without_group_length),
        *(odd.with_a_wrong_group_length, odd.with_a_group_length_of_zero),
    ],
    ids=lambda make: make.__name__,
)
def test_what_has_one_reading_is_analysed(make: Maker, tmp_path: Path) -> None:
    outcome, _ = analysed(tmp_path, make)
    assert outcome.is_clean
    assert only(outcome).analysed == 4


def test_pixels_with_something_else_behind_them_are_refused(tmp_path: Path) -> None:
    outcome, _ = analysed(tmp_path, odd.pixels_with_more)
    study = only(outcome)
    assert study.analysed == 3
    assert study.details == (
        "not analysed: L CC: pixel data is 170496 bytes long, expected 169984",
    )


@pytest.mark.parametrize("make", [odd.two_patient_ids, odd.two_names, odd.two_study_uids])
def test_two_identifiers_in_one_object_hold_the_exam(make: Maker, tmp_path: Path) -> None:
    outcome, _ = analysed(tmp_path, make)
    study = only(outcome)
    assert study.is_held
    assert "one object states " in study.words
    assert study.words.endswith(" twice, with different values")


def test_a_report_says_that_an_object_was_refused_as_damaged(tmp_path: Path) -> None:
    outcome, paths = analysed(tmp_path, odd.sequence_that_covers_the_name)
    study = only(outcome)
    assert study.analysed == 3
    assert len(outcome.damaged) == 1
    assert outcome.damaged[0].startswith(str(paths[1]))
    text = texts_of(study)
    assert "3 files given, one object refused as damaged (Procedure Code Sequence" in text


def test_several_damaged_objects_are_counted_and_each_reason_is_said_once() -> None:
    assert wording.refused_as_damaged(()) == ""
    assert wording.refused_as_damaged(["a", "b", "a"]) == "3 objects refused as damaged (a; b)"
    many = wording.refused_as_damaged([*"abcde"])
    assert many == "5 objects refused as damaged (a; b; c; ...)"


def test_a_text_in_the_place_of_a_sequence_is_in_no_result(tmp_path: Path) -> None:
    paths = factories.saved_exam(tmp_path / "exam")
    for path in paths:
        path.write_bytes(odd.text_as_procedure_codes(path.read_bytes()))
    model = small_models.model(tmp_path, small_models.BRIGHT)
    outcome = offline.analyse_folder(paths, tmp_path / "results", model, lambda: None)
    written = [dcmread(path) for path in only(outcome).written]
    assert written
    assert not [made for made in written if "ProcedureCodeSequence" in made]


def test_of_what_is_stated_twice_and_copied_results_have_the_first(tmp_path: Path) -> None:
    assert "StudyDescription" in COPIED
    paths = factories.saved_exam(tmp_path / "exam")
    said = str(dcmread(paths[0]).StudyDescription)
    for path in paths:
        content = path.read_bytes()
        again = odd.element(0x00081030, b"LO", b"Something else")
        path.write_bytes(odd.behind(content, 0x00081030, again))
    model = small_models.model(tmp_path, small_models.BRIGHT)
    outcome = offline.analyse_folder(paths, tmp_path / "results", model, lambda: None)
    written = [dcmread(path) for path in only(outcome).written]
    assert {str(made.StudyDescription) for made in written} == {said}


def test_a_copied_sequence_with_two_codes_in_an_item_is_left_out(tmp_path: Path) -> None:
    both = odd.element(odd.CODE_VALUE, b"SH", b"0815") + odd.CODE
    codes = odd.element(odd.PROCEDURE_CODES, b"SQ", odd.item(both))
    paths = factories.saved_exam(tmp_path / "exam")
    for path in paths:
        path.write_bytes(odd.before(path.read_bytes(), odd.PATIENT_NAME, codes))
    model = small_models.model(tmp_path, small_models.BRIGHT)
    outcome = offline.analyse_folder(paths, tmp_path / "results", model, lambda: None)
    written = [dcmread(path) for path in only(outcome).written]
    assert written
    assert not [made for made in written if "ProcedureCodeSequence" in made]


def test_two_patients_under_one_uid_are_noticed_without_a_group_length(tmp_path: Path) -> None:
    [path] = factories.saved_exam(tmp_path / "exam", views=[factories.R_CC])
    content = odd.without_group_length(path.read_bytes())
    path.write_bytes(content)
    other = path.with_name("other.dcm")
    other.write_bytes(content.replace(b"GENERATED-1", b"GENERATED-2"))
    model = small_models.model(tmp_path, small_models.BRIGHT)
    outcome = offline.analyse_folder([path, other], tmp_path / "results", model, lambda: None)
    study = only(outcome)
    assert study.is_held
    assert "different objects with the same SOP Instance UID" in study.words
