"""A generated breast MRI is a whole study, and is spoilt where it should be and nowhere else."""

from __future__ import annotations

import io
from collections import Counter
from datetime import datetime

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite

from node.trial.breast_mr.faults import SPOILT_PHASE, WRONG_SLOPE, Fault
from node.trial.breast_mr.knee import knee_mr
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.study import breast_mr
from node.trial.breast_mr.styles import STANDARD, STYLES, Family, Style

from .studies import BEGUN_AT, SHAPE, SHORT, frames, of_phase, small, small_plan

SLICES, PHASES = SHAPE[0], SHORT.phases


def as_bytes(made: list[Dataset]) -> list[bytes]:
    written = []
    for one in made:
        buffer = io.BytesIO()
        dcmwrite(buffer, one, enforce_file_format=True)
        written.append(buffer.getvalue())
    return written


@pytest.mark.parametrize("name", STYLES)
def test_the_same_text_makes_the_same_bytes_and_another_text_another_study(name: str) -> None:
    tiny = small_plan(
        style=STYLES[name], shape=(4, 16, 16), schedule=PhaseTimes(posts=1), beside=True
    )
    once, twice, other = (breast_mr(text, tiny) for text in ("a", "a", "b"))
    assert as_bytes(once) == as_bytes(twice)
    assert not {one.SOPInstanceUID for one in once} & {one.SOPInstanceUID for one in other}
    assert once[0].StudyInstanceUID != other[0].StudyInstanceUID


@pytest.mark.parametrize("name", STYLES)
def test_every_phase_has_every_slice_once_and_in_one_frame_of_reference(name: str) -> None:
    style = STYLES[name]
    made = small(style=style)
    if style.family is Family.CLASSIC:
        positions = Counter(tuple(one.ImagePositionPatient) for one in made)
    else:
        positions = Counter(
            tuple(frame.PlanePositionSequence[0].ImagePositionPatient) for _, frame in frames(made)
        )
    assert set(positions.values()) == {PHASES}
    assert len(positions) == SLICES
    assert len({one.SOPInstanceUID for one in made}) == len(made)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "StudyDate"):
        assert len({one[keyword].value for one in made}) == 1


def test_a_whole_study_has_all_that_lies_beside_the_dynamic_series() -> None:
    made = small(beside=True)
    series = {one.SeriesInstanceUID: one.SeriesDescription for one in made}
    expected = [
        "localizer",
        "T2 TSE FS",
        "DWI",
        "DWI ADC",
        *["T1 dynamic"] * PHASES,
        "T1 dynamic SUB",
        "T1 dynamic SUB MIP",
    ]
    assert list(series.values()) == expected
    scouts = [one for one in made if one.SeriesDescription == "localizer"]
    assert len({tuple(one.ImageOrientationPatient) for one in scouts}) == 3
    b_values = {one.DiffusionBValue for one in made if one.SeriesDescription == "DWI"}
    assert b_values == {0, 800}


def test_a_study_is_of_today_unless_another_moment_is_given() -> None:
    (one, *_) = breast_mr("x", small_plan(begun_at=None))
    assert one.StudyDate == f"{datetime.now():%Y%m%d}"


def test_who_changes_one_object_changes_no_other() -> None:
    one, other, *_ = small()
    one.SeriesDescription = "changed"
    assert other.SeriesDescription == "T1 dynamic"


def test_reversed_slices_are_numbered_against_their_normal() -> None:
    for backwards, sign in ((False, 1), (True, -1)):
        first, second, *_ = of_phase(small(backwards=backwards), 1)
        cosines = np.array(first.ImageOrientationPatient, float)
        normal = np.cross(cosines[:3], cosines[3:])
        step = np.subtract(second.ImagePositionPatient, first.ImagePositionPatient).astype(float)
        assert np.sign(normal @ step) == sign


def test_turned_images_begin_in_the_opposite_corner() -> None:
    plain, turned = (of_phase(small(turned=turned), 1)[0] for turned in (False, True))
    assert np.allclose(
        np.array(plain.ImageOrientationPatient, float),
        -np.array(turned.ImageOrientationPatient, float),
    )
    assert (
        np.corrcoef(plain.pixel_array.ravel(), turned.pixel_array[::-1, ::-1].ravel())[0, 1] > 0.5
    )


def test_an_oblique_stack_is_square_to_itself() -> None:
    one = small(orientation=Orientation.OBLIQUE)[0]
    cosines = np.array(one.ImageOrientationPatient, float)
    assert abs(cosines[:3] @ cosines[3:]) < 1e-6
    assert np.linalg.norm(cosines[:3]) == pytest.approx(1, abs=1e-6)
    assert (abs(cosines) > 0.1).sum() > 3


@pytest.mark.parametrize("style", [STYLES["Philips, slice by slice"], STYLES["enhanced"]])
@pytest.mark.parametrize("fault", Fault)
def test_a_fault_is_there_once_and_in_no_other_phase(fault: Fault, style: Style) -> None:
    whole, spoilt = (_told(small(style=style, fault=one)) for one in (None, fault))
    phase = SPOILT_PHASE + 1  # temporal positions count from 1
    for position in range(1, PHASES + 1):
        if position != phase and fault is not Fault.MISSING_PHASE:
            assert spoilt[position] == whole[position]
    if fault is Fault.MISSING_PHASE:
        assert sum(map(len, spoilt.values())) == sum(map(len, whole.values())) - SLICES
        return
    places = [place for place, *_ in spoilt[phase]]
    number = {Fault.MISSING_SLICE: SLICES - 1, Fault.DOUBLED_SLICE: SLICES + 1}
    assert len(places) == number.get(fault, SLICES)
    assert len(set(places)) == min(len(places), SLICES)
    slopes = {slope for _, _, slope in spoilt[phase]}
    assert (slopes == {WRONG_SLOPE}) == (fault is Fault.WRONG_RESCALE)
    spacings = {spacing for _, spacing, _ in spoilt[phase]}
    assert (spacings == {spacing for _, spacing, _ in whole[phase]}) == (
        fault is not Fault.OTHER_GRID
    )


Told = tuple[tuple[float, ...], tuple[float, ...], float]


def _told(made: list[Dataset]) -> dict[int, list[Told]]:
    """Return position, pixel spacing and rescale slope of each image, by temporal position."""
    told: dict[int, list[Told]] = {}
    for one in made:
        if "PerFrameFunctionalGroupsSequence" not in one:
            item = _of(one, one, one)
            told.setdefault(int(one.TemporalPositionIdentifier), []).append(item)
            continue
        for frame in one.PerFrameFunctionalGroupsSequence:
            item = _of(
                frame.PlanePositionSequence[0],
                frame.PixelMeasuresSequence[0],
                frame.PixelValueTransformationSequence[0],
            )
            position = int(frame.FrameContentSequence[0].TemporalPositionIndex)
            told.setdefault(position, []).append(item)
    return told


def _of(place: Dataset, measures: Dataset, scale: Dataset) -> Told:
    return (
        tuple(map(float, place.ImagePositionPatient)),
        tuple(map(float, measures.PixelSpacing)),
        float(scale.get("RescaleSlope", 1)),
    )


def test_a_knee_says_that_it_is_one_and_may_say_that_it_is_a_breast() -> None:
    knee = knee_mr("knee", begun_at=BEGUN_AT)
    assert {one.BodyPartExamined for one in knee} == {"KNEE"}
    assert {one.SeriesDescription for one in knee} == {"PD FS sagittal", "T1 coronal"}
    assert {one.BodyPartExamined for one in knee_mr("knee", body_part="BREAST")} == {"BREAST"}
    assert "BodyPartExamined" not in knee_mr("knee", body_part=None)[0]
    assert knee[0].ReceiveCoilName == "KNEE 8"
    assert as_bytes(knee) == as_bytes(knee_mr("knee", STANDARD, begun_at=BEGUN_AT))
