"""Files in, result objects out, without network or database."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import factories
import odd_classes
import pytest
from factories import L_CC, R_CC
from mr_models import uptake_model
from mr_studies import small_plan, written
from outputs import drafts
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)
from typer.testing import CliRunner

from node import identity, offline
from node.cli import app
from node.config import bundled_models_dir, presets
from node.errors import ConfigError
from node.manifest import Model, load_model
from node.offline import FolderOutcome, StudyOutcome
from node.outputs import wording
from node.trial import phantom
from node.trial.breast_mr.knee import knee_mr

pytestmark = pytest.mark.usefixtures("warm_inference")

AREA_TOLERANCE = 0.05


def breast_area() -> Model:
    return load_model("breast-area", bundled_models_dir())


def analyse_all(tmp_path: Path, paths: list[Path], preset: str = "default") -> FolderOutcome:
    read: list[int] = []
    outcome = offline.analyse_folder(
        paths, tmp_path / "results", breast_area(), lambda: read.append(1), presets()[preset]
    )
    assert len(read) == len(paths)
    return outcome


def analyse(tmp_path: Path, paths: list[Path]) -> tuple[StudyOutcome, ...]:
    outcome = analyse_all(tmp_path, paths)
    assert outcome.is_clean
    return outcome.studies


def edit(path: Path, **values: object) -> None:
    dataset = dcmread(path)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def test_every_study_of_a_folder_gets_its_own_answer(tmp_path: Path) -> None:
    paths = factories.saved_exam(tmp_path / "one", "one", [R_CC])
    paths += factories.saved_exam(tmp_path / "two", "two", [R_CC])
    one, two = analyse(tmp_path, paths)
    assert one.study_uid != two.study_uid
    for outcome in (one, two):
        assert outcome.words.startswith("R CC")
        objects = [dcmread(path) for path in outcome.written]
        assert {d.StudyInstanceUID for d in objects} == {outcome.study_uid}
        assert all(outcome.study_uid in path.parts for path in outcome.written)


def test_the_answer_is_the_true_area(tmp_path: Path) -> None:
    (outcome,) = analyse(tmp_path, factories.saved_exam(tmp_path / "exam", views=[R_CC]))
    said = float(outcome.words.split(" cm2")[0].split()[-1])
    assert said == pytest.approx(phantom.area_cm2(R_CC, factories.SMALL), rel=AREA_TOLERANCE)


def test_of_a_detector_the_findings_are_counted_and_not_each_told() -> None:
    (result,) = drafts.detected(drafts.draft()).results
    assert offline._words(result).split("; ")[0] == wording.found(result)
    assert wording.found(result) in wording.outcome(result).split("; ")
    assert "Mass score" not in offline._words(result)
    nothing = replace(result, findings=(), evaluations=())
    assert offline._words(nothing) == "nothing found"
    assert wording.outcome(nothing).endswith("images analysed; nothing found")


def test_our_own_objects_among_the_files_are_passed_over(tmp_path: Path) -> None:
    (path,) = factories.saved_exam(tmp_path / "exam", views=[R_CC])
    dataset = dcmread(path)
    dataset.DeviceUID = identity.OWN_DEVICE_UID
    dataset.save_as(path)
    assert analyse(tmp_path, [path]) == ()


def test_a_study_that_does_not_concern_the_model_is_said_to_be_out_of_scope(
    tmp_path: Path,
) -> None:
    (path,) = factories.saved_exam(tmp_path / "exam", views=[R_CC])
    dataset = dcmread(path)
    dataset.Modality = "CT"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.save_as(path)
    (outcome,) = analyse(tmp_path, [path])
    assert outcome.words == "out of scope of breast-area"
    assert outcome.written == ()


def test_a_knee_is_out_of_scope_of_a_model_of_the_breast_and_says_what_that_rests_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        offline, "Inference", lambda *_, **__: contextlib.nullcontext()
    )  # asked nothing
    paths = []
    for number, image in enumerate(knee_mr("offline", shape=(2, 16, 16))):
        paths.append(tmp_path / f"{number}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    model = uptake_model(tmp_path / "models")
    found = offline.analyse_folder(paths, tmp_path / "results", model, lambda: None)
    (outcome,) = found.studies
    assert outcome.words == "out of scope of uptake"
    assert outcome.details == ("no model reads MR of KNEE: Body Part Examined",)
    assert outcome.written == ()


def test_what_another_bundled_model_reads_is_told_with_how_to_give_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        offline, "Inference", lambda *_, **__: contextlib.nullcontext()
    )  # asked nothing
    written(small_plan(shape=(2, 16, 16)), tmp_path / "exam")
    said = CliRunner().invoke(
        app, ["analyse", str(tmp_path / "exam"), "--out", str(tmp_path / "results")]
    )
    assert "out of scope of breast-area\n  no model reads MR\n" in said.output
    assert "  breast-mr-enhancement reads it: --model breast-mr-enhancement\n" in said.output


def test_a_study_nothing_of_which_can_be_read_is_answered(tmp_path: Path) -> None:
    (path,) = factories.saved_exam(tmp_path / "exam", views=[R_CC])
    dataset = dcmread(path)
    dataset.EstimatedRadiographicMagnificationFactor = 1.8
    dataset.save_as(path)
    (outcome,) = analyse(tmp_path, [path])
    assert outcome.words == "not analysed: magnification view"
    assert [dcmread(path).Modality for path in outcome.written].count("SR") == 1


def test_a_damaged_file_is_named_and_the_others_are_analysed(tmp_path: Path) -> None:
    right, left = factories.saved_exam(tmp_path / "exam", views=[R_CC, L_CC])
    right.write_bytes(right.read_bytes()[:600])
    outcome = analyse_all(tmp_path, [right, left])
    (line,) = outcome.damaged
    assert line.startswith(f"{right}: ")
    assert not outcome.is_clean
    assert outcome.studies[0].words.startswith("L CC")


def test_an_object_of_no_study_is_named_and_no_damage(tmp_path: Path) -> None:
    right, left = factories.saved_exam(tmp_path / "exam", views=[R_CC, L_CC])
    right.write_bytes(odd_classes.hanging_protocol(right.read_bytes()))
    outcome = analyse_all(tmp_path, [right, left])
    words = "Hanging Protocol Storage is of no study; passed over"
    assert outcome.of_no_study == (f"{right}: {words}",)
    assert outcome.is_clean
    assert outcome.studies[0].words.startswith("L CC")


def test_a_table_of_contents_is_passed_over(tmp_path: Path) -> None:
    (path,) = factories.saved_exam(tmp_path / "exam", views=[R_CC])
    index = tmp_path / "exam" / "DICOMDIR"
    dataset = Dataset()
    dataset.FileSetID = "DISC"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.9")
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(index, enforce_file_format=True)
    assert len(analyse(tmp_path, [index, path])) == 1


def test_what_was_not_analysed_is_said_with_its_reason(tmp_path: Path) -> None:
    _, left = paths = factories.saved_exam(tmp_path / "exam", views=[R_CC, L_CC])
    edit(left, EstimatedRadiographicMagnificationFactor=1.8)
    (outcome,) = analyse(tmp_path, paths)
    assert outcome.words.startswith("R CC")
    assert outcome.details == ("not analysed: L CC: magnification view",)


@pytest.mark.parametrize(
    "said", [{"PatientID": "OTHER"}, {"IssuerOfPatientID": "OTHER"}, {"AccessionNumber": "OTHER"}]
)
def test_a_study_of_two_patients_is_held_and_the_others_are_analysed(
    said: dict[str, str], tmp_path: Path
) -> None:
    right, left = paths = factories.saved_exam(tmp_path / "one", "one", [R_CC, L_CC])
    edit(right, IssuerOfPatientID="HOSPITAL", AccessionNumber="A1")
    edit(left, **said)
    paths += factories.saved_exam(tmp_path / "two", "two", [R_CC])
    outcome = analyse_all(tmp_path, paths)
    held, other = outcome.studies
    assert held.is_held
    assert "the objects of the study disagree about " in held.words
    assert held.written == ()
    assert other.written
    assert not outcome.is_clean


def test_what_an_object_does_not_say_contradicts_nothing(tmp_path: Path) -> None:
    right, left = paths = factories.saved_exam(tmp_path / "exam", views=[R_CC, L_CC])
    edit(right, IssuerOfPatientID="HOSPITAL", AccessionNumber="A1")
    edit(left, PatientID="", AccessionNumber="")
    (outcome,) = analyse(tmp_path, paths)
    assert outcome.written


def test_the_same_file_twice_is_used_once(tmp_path: Path) -> None:
    (path,) = factories.saved_exam(tmp_path / "exam", views=[R_CC])
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(path.read_bytes())
    (outcome,) = analyse(tmp_path, [path, copy])
    assert outcome.words.count("R CC") == 1
    assert len(outcome.written) == 3


def test_other_content_under_one_uid_holds_the_study(tmp_path: Path) -> None:
    (path,) = factories.saved_exam(tmp_path / "exam", views=[R_CC])
    other = tmp_path / "other.dcm"
    other.write_bytes(path.read_bytes())
    edit(other, StationName="ANOTHER")
    (outcome,) = analyse_all(tmp_path, [path, other]).studies
    assert outcome.is_held
    assert "0001-R-CC.dcm and other.dcm" in outcome.words


def test_other_input_never_shares_a_uid_and_replaces_what_was_written(tmp_path: Path) -> None:
    paths = factories.saved_exam(tmp_path / "exam", views=[R_CC, L_CC])
    (first,) = analyse(tmp_path, paths)
    before = {dcmread(path).SOPInstanceUID for path in first.written}
    folder = first.written[0].parent
    for name in ("notes.txt", "OT-1-1.dcm"):
        (folder / name).write_bytes(paths[0].read_bytes())
    (second,) = analyse(tmp_path, paths[:1])
    assert not before & {dcmread(path).SOPInstanceUID for path in second.written}
    kept = {path.name for path in folder.iterdir()}
    assert kept == {*(path.name for path in second.written), "notes.txt", "OT-1-1.dcm"}
    assert len(first.written) > len(second.written)
    assert (first.replaced, second.replaced) == (0, len(first.written))


@pytest.mark.parametrize(
    ("preset", "kinds"),
    [("ohif", "OT OT OT SEG SEG SR"), ("air", "SEG SEG SR"), ("default", "OT OT OT SR")],
)
def test_every_object_has_a_file_of_its_own(tmp_path: Path, preset: str, kinds: str) -> None:
    expected = kinds.split()
    paths = factories.saved_exam(tmp_path / "exam", views=[R_CC, L_CC])
    for former in (0, len(expected)):
        outcome = analyse_all(tmp_path, paths, preset)
        (study,) = outcome.studies
        assert study.replaced == former
        assert sorted(study.written) == sorted(study.written[0].parent.iterdir())
        made = [dcmread(path) for path in study.written]
        assert len({one.SOPInstanceUID for one in made}) == len(made)
        assert sorted(one.Modality for one in made) == expected
        assert outcome.unmade == ()


def test_a_kind_that_the_model_cannot_make_is_told(tmp_path: Path) -> None:
    paths = factories.saved_exam(tmp_path / "exam", views=[R_CC])
    assert analyse_all(tmp_path, paths, "mammography-workstation").unmade == ("mammography-cad",)


def test_a_place_that_is_no_folder_is_said_before_the_work(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("here already")
    with pytest.raises(ConfigError, match="cannot be a folder"):
        offline.analyse_folder([], place, breast_area(), lambda: None)
