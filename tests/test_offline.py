"""Files in, result objects out, without network or database."""

from __future__ import annotations

from pathlib import Path

import factories
import pytest
from factories import R_CC
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from node import identity, offline, phantom
from node.errors import ConfigError, NodeError
from node.offline import FolderOutcome

AREA_TOLERANCE = 0.05


def analyse(tmp_path: Path, paths: list[Path]) -> list[FolderOutcome]:
    read: list[int] = []
    outcomes = offline.analyse_folder(
        paths, tmp_path / "results", "breast-area", lambda: read.append(1)
    )
    assert len(read) == len(paths)
    return outcomes


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


def test_our_own_objects_among_the_files_are_passed_over(tmp_path: Path) -> None:
    (path,) = factories.saved_exam(tmp_path / "exam", views=[R_CC])
    dataset = dcmread(path)
    dataset.DeviceUID = identity.OWN_DEVICE_UID
    dataset.save_as(path)
    assert analyse(tmp_path, [path]) == []


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


def test_a_study_nothing_of_which_can_be_read_is_answered(tmp_path: Path) -> None:
    (path,) = factories.saved_exam(tmp_path / "exam", views=[R_CC])
    dataset = dcmread(path)
    dataset.EstimatedRadiographicMagnificationFactor = 1.8
    dataset.save_as(path)
    (outcome,) = analyse(tmp_path, [path])
    assert outcome.words == "not analysed: magnification view"
    assert [dcmread(path).Modality for path in outcome.written].count("SR") == 1


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (path,) = factories.saved_exam(tmp_path / "exam", views=[R_CC])
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(NodeError, match="0001-R-CC"):
        analyse(tmp_path, [path])


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="breast-aera"):
        offline.analyse_folder([], tmp_path, "breast-aera", lambda: None)
