"""What enhances, from files to a result: on its side, on its slices, as large as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mr_solid_models import enhancing_model
from mr_studies import small_plan, written
from numpy.typing import NDArray
from pydicom import dcmread

from node.imaging.planes import Plane, planes_of
from node.imaging.solid_bits import voxels_of
from node.manifest.package import load_model
from node.offline import analyse_folder
from node.result import Result, Solid
from node.study import Laterality
from node.trial.breast_mr.body import (
    ONE_BREAST,
    THREE_LESIONS,
    WITHOUT_LESION,
)
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.study import StudyPlan
from node.trial.breast_mr.styles import STYLES, Family

TURNED = replace(THREE_LESIONS, shift_mm=(40.0, 0.0, 0.0), rotation_degrees=10.0)
Floats = NDArray[np.float64]
SHAPE = (48, 80, 96)
TOO_MUCH, TOO_LITTLE = 1.6, 0.75
"""Times the truth: voxels of 3 to 4 mm and a plain threshold; how near it can be is the affair of
who makes a model."""
VESSELS_ML = 1.5
"""Of the generated breasts' vessels, which enhance, too."""
ENHANCED = next(style for style in STYLES.values() if style.family is not Family.CLASSIC)
WAYS: list[dict[str, Any]] = [
    {},
    {"backwards": True},
    {"turned": True},
    {"orientation": Orientation.SAGITTAL},
    {"orientation": Orientation.CORONAL},
    {"orientation": Orientation.OBLIQUE, "body": TURNED},
    {"style": ENHANCED},
]


def plan(**changes: Any) -> StudyPlan:
    usual = {"shape": SHAPE, "schedule": PhaseTimes(posts=5), "body": THREE_LESIONS}
    return small_plan(**{**usual, **changes})


def result_of(of: StudyPlan, folder: Path) -> Result:
    paths = written(of, folder / "study")
    model = enhancing_model(folder / "models")
    (study,) = analyse_folder(paths, folder / "results", model, lambda: None).studies
    assert study.result is not None, study.words
    return study.result


def found(result: Result, label: str) -> Solid:
    (solid,) = [one for one in result.solids if one.label == label]
    return solid


def ml(result: Result, label: str) -> float:
    (volume,) = found(result, label).measurements
    assert volume.unit.value == "ml"
    return volume.value


def places(result: Result, label: str, folder: Path) -> Floats:
    """Return where a solid's voxels lie, LPS mm, by the headers of its slices."""
    planes = dict[tuple[str, int | None], Plane]()
    for path in (folder / "study").iterdir():
        header = dcmread(path, stop_before_pixels=True)
        planes |= {(one.sop_uid, one.frame): one for one in planes_of(header)}
    assert result.stack is not None
    voxels = voxels_of(found(result, label), result.stack)
    at = []
    for place in voxels.places():
        plane = planes[result.stack.slices[place]]
        rows, columns = np.nonzero(voxels.on(place))
        between_rows, between_columns = plane.spacing
        down = np.array(plane.down) * between_rows
        across = np.array(plane.right) * between_columns
        at.append(np.array(plane.position) + rows[:, None] * down + columns[:, None] * across)
    return np.asarray(np.concatenate(at))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_each_breast_has_what_enhances_in_it_however_slices_lie(
    way: dict[str, Any], tmp_path: Path
) -> None:
    of = plan(**way)
    result = result_of(of, tmp_path)
    truth = of.truth(2, 0.5)
    for side in (Laterality.RIGHT, Laterality.LEFT):
        label = f"{side} breast enhancing volume"
        true = truth.volume_ml(side)
        assert TOO_LITTLE * true < ml(result, label) < TOO_MUCH * true + VESSELS_ML, true
        marked = places(result, label, tmp_path)
        sign = 1 if side is Laterality.LEFT else -1
        assert (np.sign(of.body.own(marked)[:, 0]) == sign).all()
        for lesion in truth.lesions:
            nearest = np.linalg.norm(marked - lesion.centre_mm, axis=1).min()
            assert nearest < 4 or lesion.side is not side
        solid = found(result, label)
        assert solid.laterality is side and not solid.is_left_out
        assert result.stack is not None
        counts = [voxels_of(solid, result.stack).on(place).sum() for place in solid.decisive]
        assert counts == sorted(counts, reverse=True) and counts[-1] > 0
        assert found(result, f"{side} breast enhancing skin").is_left_out


def test_what_was_read_stands_in_the_result(tmp_path: Path) -> None:
    of = plan()
    result = result_of(of, tmp_path)
    assert [(one.role, one.name) for one in result.phases] == [
        ("pre", "pre"),
        ("early", "post 2"),
        ("late", "post 5"),
    ]
    assert result.stack is not None and result.contrasted is not None
    assert len(result.stack.slices) == len(result.contrasted.slices) == SHAPE[0]
    assert (result.stack.rows, result.stack.columns) == SHAPE[1:]
    assert result.looked_for == (), "what is measured is not looked for"
    numbers = {one.label: one.measurements[0] for one in result.evaluations}
    assert numbers.keys() == {"Exam highest enhancement", "Exam early to late ratio"}
    assert numbers["Exam early to late ratio"].unit.value == "1"


def test_curves_follow_the_lesions(tmp_path: Path) -> None:
    of = plan()
    result = result_of(of, tmp_path)
    assert [one.label for one in result.curves] == [
        "R breast enhancing volume",
        "L breast enhancing volume",
    ]
    persistent, washout = (dict(one.points) for one in result.curves)
    middles = [of.schedule.middle_s(phase) for phase in range(1, 6)]
    for curve in (persistent, washout):
        assert list(curve) == pytest.approx(middles, abs=3)
    assert list(persistent.values())[-1] > next(iter(persistent.values())) > 40
    assert max(washout.values()) > list(washout.values())[-1] > 50


def test_a_phase_that_moved_is_not_in_the_curve_and_that_is_said(tmp_path: Path) -> None:
    moved = replace(THREE_LESIONS, motion_mm=(0.0, 0.0, 10.0), moves_at=5)
    of = plan(body=moved)
    folder = tmp_path / "models"
    path = enhancing_model(folder).folder / "manifest.toml"
    text = path.read_text("utf-8").replace(
        "middle_s = 450, within_s = 50", f"middle_s = {of.schedule.middle_s(4):.0f}, within_s = 20"
    )
    path.write_text(text, "utf-8")
    (study,) = analyse_folder(
        written(of, tmp_path / "study"),
        tmp_path / "results",
        load_model("enhancing", folder),
        lambda: None,
    ).studies
    assert study.result is not None, study.words
    middles = [of.schedule.middle_s(phase) for phase in range(1, 5)]
    for curve in study.result.curves:
        assert [at for at, _ in curve.points] == pytest.approx(middles, abs=3)
    assert study.result.curves
    (said,) = [one for one in study.result.statements if "not in the curve" in one]
    assert "not in the curve: post 5: moved by " in said


def test_a_number_of_a_breast_refers_to_the_slices_that_are_marked_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    path = enhancing_model(folder).folder / "manifest.toml"
    label = 'label = "early to late ratio"'
    text = path.read_text("utf-8").replace(label, f'about = "L breast"\n{label}')
    path.write_text(text, "utf-8")
    paths = written(plan(), tmp_path / "study")
    model = load_model("enhancing", folder)
    (study,) = analyse_folder(paths, tmp_path / "results", model, lambda: None).studies
    result = study.result
    assert result is not None and result.stack is not None, study.words
    of_exam, of_breast = result.evaluations
    decisive = found(result, "L breast enhancing volume").decisive
    assert of_breast.label == "L breast early to late ratio"
    assert of_breast.sop_uids == tuple(result.stack.slices[place][0] for place in decisive)
    assert len(of_exam.sop_uids) == 3, "of the exam the middle slice of each phase"


def test_what_needs_a_late_phase_is_left_out_in_words_where_there_is_none(tmp_path: Path) -> None:
    result = result_of(plan(schedule=PhaseTimes(posts=2)), tmp_path)
    assert [one.label for one in result.evaluations] == ["Exam highest enhancement"]
    assert "Exam: early to late ratio is not given, without late." in result.statements
    assert any(
        "no late phase: none has its middle within 50 s of 450 s" in one
        for one in result.statements
    )
    assert ml(result, "L breast enhancing volume") > 1


def test_of_a_breast_without_lesion_it_is_said_how_much_else_enhances(tmp_path: Path) -> None:
    result = result_of(plan(body=WITHOUT_LESION), tmp_path)
    for side in "RL":
        assert ml(result, f"{side} breast enhancing volume") < VESSELS_ML


def test_one_breast_only_is_said_and_has_no_other_side(tmp_path: Path) -> None:
    result = result_of(plan(body=ONE_BREAST), tmp_path)
    assert {one.laterality for one in result.solids} == {Laterality.LEFT}
    assert "One breast only is seen in the images, the left one." in result.statements
