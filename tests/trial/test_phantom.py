"""The generated mammograms are what they say they are."""

from __future__ import annotations

from pathlib import Path

import factories
import numpy as np
import pytest
from factories import L_CC, L_MLO, R_CC, R_MLO, SMALL
from pydicom import dcmread

from node.study import View
from node.trial import phantom
from node.trial.phantom import Technique


def test_an_exam_has_four_views_of_one_study() -> None:
    exam = factories.exam()
    assert [(d.ImageLaterality, d.ViewPosition) for d in exam] == [
        ("R", "CC"),
        ("L", "CC"),
        ("R", "MLO"),
        ("L", "MLO"),
    ]
    assert len({d.StudyInstanceUID for d in exam}) == 1
    assert len({d.SOPInstanceUID for d in exam}) == 4
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "PatientID"):
        assert len({d[keyword].value for d in exam}) == 1


def test_the_same_text_makes_the_same_exam_and_another_text_another() -> None:
    once, twice, other = (factories.exam(text, [R_CC])[0] for text in ("a", "a", "b"))
    assert once == twice
    assert once.StudyInstanceUID != other.StudyInstanceUID
    assert once.SOPInstanceUID != other.SOPInstanceUID
    assert once.PixelData != other.PixelData


@pytest.mark.parametrize("view", [R_CC, L_CC, R_MLO, L_MLO], ids=str)
def test_the_breast_is_exactly_as_large_as_promised(view: View) -> None:
    dataset = phantom.exam("x", [view], technique=SMALL)[0]
    bright = dataset.pixel_array > 0
    assert np.array_equal(bright, phantom.breast(view, SMALL))
    assert phantom.area_cm2(view, SMALL) == pytest.approx(bright.sum() * 0.072**2)
    assert 100 < phantom.area_cm2(view, SMALL) < 250


def test_area_hardly_depends_on_the_size_of_the_pixels() -> None:
    fine = phantom.area_cm2(R_MLO)
    assert phantom.area_cm2(R_MLO, SMALL) == pytest.approx(fine, rel=0.01)


@pytest.mark.parametrize("view", [R_CC, L_CC, R_MLO, L_MLO], ids=str)
def test_the_chest_wall_is_where_the_orientation_says(view: View) -> None:
    dataset = phantom.exam("x", [view], technique=SMALL)[0]
    columns = (dataset.pixel_array > 0).sum(axis=0)
    rows_run_anterior = dataset.PatientOrientation[0] == "A"
    assert (columns[0] > columns[-1]) == rows_run_anterior


def test_only_the_mlo_shows_muscle_at_the_upper_edge() -> None:
    assert not phantom.breast(R_CC, SMALL)[0].any()
    assert phantom.breast(R_MLO, SMALL)[0].any()
    assert phantom.area_cm2(R_MLO, SMALL) > phantom.area_cm2(R_CC, SMALL)


def test_monochrome1_stores_the_same_picture_inverted() -> None:
    plain = phantom.exam("x", [R_CC], technique=SMALL)[0]
    inverse = phantom.exam(
        "x", [R_CC], technique=Technique(SMALL.rows, SMALL.columns, monochrome1=True)
    )[0]
    assert inverse.PhotometricInterpretation == "MONOCHROME1"
    assert inverse.PresentationLUTShape == "INVERSE"
    assert np.array_equal(4095 - inverse.pixel_array, plain.pixel_array)


def test_a_magnification_view_says_so_and_is_smaller_in_the_body() -> None:
    magnified = Technique(SMALL.rows, SMALL.columns, SMALL.spacing_mm, magnification=1.8)
    dataset = phantom.exam("x", [R_CC], technique=magnified)[0]
    modifier = dataset.ViewCodeSequence[0].ViewModifierCodeSequence[0]
    assert modifier.CodeValue == "399163009"
    assert dataset.EstimatedRadiographicMagnificationFactor == 1.8
    assert phantom.area_cm2(R_CC, magnified) == pytest.approx(
        phantom.area_cm2(R_CC, SMALL) / 1.8**2
    )


def test_windows_are_linear_without_saying_so_since_ohif_shows_nothing_otherwise() -> None:
    dataset = factories.exam("x", [R_CC])[0]
    assert "WindowCenter" in dataset
    assert "VOILUTFunction" not in dataset  # absent means LINEAR (PS3.3 C.11.2.1.3)


def test_saved_objects_read_back_as_they_were(tmp_path: Path) -> None:
    exam = factories.exam()
    paths = phantom.save(exam, tmp_path / "exam")
    assert paths[0].name == "0001-R-CC.dcm"
    assert [dcmread(path) for path in paths] == exam
