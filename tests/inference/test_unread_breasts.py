"""Of a breast that is not found, or not seen whole, nothing is measured, and no exam is routine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mr_models import PIXELS, uptake_model
from mr_solid_models import enhancing_model
from mr_studies import phases_in, small_plan, written

from node.imaging.breast_region import breast_region
from node.imaging.midline import midline_of
from node.imaging.volume import volume_of
from node.imaging.voxels import require_comparable
from node.inference.inputs import prepared_phases
from node.inference.on_volumes import on_volumes
from node.inference.solids import score_solids
from node.manifest import Model, SolidsOutput
from node.manifest.package import load_model
from node.offline import StudyOutcome, analyse_folder
from node.result import Priority
from node.study import Laterality
from node.trial.breast_mr.body import ONE_BREAST, THREE_LESIONS

RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT
SHAPE = (20, 40, 48)
TO_THE_LEFT = replace(THREE_LESIONS, shift_mm=(40.0, 0.0, 0.0))
MISSING = (
    "The left breast is missing: it was not found, or not all of it lies in what the network saw; "
    "nothing is measured of it."
)
TRIAGE = """
[[outputs.operating_points]]
name = "high"
threshold = 0.999
about = "exam"
sensitivity = 0.7
sensitivity_interval = [0.1, 0.99]
specificity = 0.8
specificity_interval = [0.1, 0.99]
positives = 40
negatives = 60
data = "generated exams"

[triage]
output = "uptake"
urgent = "high"
"""


def about_the_middle(folder: Path) -> Model:
    """Return a model that measures what is within a window about the middle of the volume."""
    of = enhancing_model(folder, mm=4.0, size=(50, 80, 68))
    path = of.folder / "manifest.toml"
    path.write_text(path.read_text("utf-8").replace('about = "breasts"', ""), "utf-8")
    return load_model("enhancing", folder)


def analysed(folder: Path, model: Model, **of: object) -> StudyOutcome:
    paths = written(small_plan(shape=SHAPE, **of), folder / "study")
    (study,) = analyse_folder(paths, folder / "results", model, lambda: None).studies
    assert study.result is not None, study.words
    return study


def test_a_breast_beside_the_midline_that_is_not_found_is_named(tmp_path: Path) -> None:
    before = phases_in(written(small_plan(shape=SHAPE, body=ONE_BREAST), tmp_path))["pre"]
    volume = volume_of(before)
    midline = midline_of(volume)
    assert breast_region(volume, midline).unfound == ()
    found = breast_region(volume, replace(midline, only=None))
    assert found.unfound == (RIGHT,)
    assert "no right breast is found in front of the chest wall" in found.doubts


@pytest.mark.parametrize("unread", [(RIGHT,), (LEFT,), (RIGHT, LEFT)])
def test_of_a_breast_that_was_not_read_there_is_no_solid_not_one_of_0_ml(
    unread: tuple[Laterality, ...], tmp_path: Path
) -> None:
    model = enhancing_model(tmp_path / "model", mm=4.0, size=(50, 70, 100))
    phases = phases_in(written(small_plan(shape=SHAPE), tmp_path))
    slices = {"pre": phases["pre"], "early": phases["post 2"]}
    prepared = prepared_phases(slices, model.manifest)
    assert prepared.unread == ()
    stacks = require_comparable(slices).stacks
    on = on_volumes(slices, stacks, replace(prepared, unread=unread))
    (output, *_) = model.manifest.outputs
    assert isinstance(output, SolidsOutput)
    for values in (np.zeros, np.ones):
        said = score_solids(values((2, 50, 70, 100), np.float32), output, on).solids
        assert {one.side for one in said} == {RIGHT, LEFT} - {*unread}


def test_of_a_breast_that_is_cut_off_no_number_is_given_and_it_is_named(tmp_path: Path) -> None:
    result = analysed(tmp_path, about_the_middle(tmp_path / "models"), body=TO_THE_LEFT).result
    assert result is not None
    assert {one.laterality for one in result.solids} == {RIGHT}
    assert {one.laterality for one in result.curves} <= {RIGHT}
    assert MISSING in result.statements
    assert any(
        "ml of the left breast lie outside what the network sees" in one
        for one in result.statements
    )


def test_where_both_are_cut_off_the_report_says_so_and_has_no_solid(tmp_path: Path) -> None:
    of = enhancing_model(tmp_path / "models", mm=4.0, size=(50, 70, 30))
    study = analysed(tmp_path, of, body=THREE_LESIONS)
    assert study.result is not None
    assert study.result.solids == () and study.result.curves == ()
    assert MISSING in study.result.statements
    assert MISSING.replace("left", "right") in study.result.statements
    assert list((tmp_path / "results").rglob("SR-*.dcm"))


@pytest.mark.parametrize(
    ("columns", "level"), [(128, Priority.ROUTINE), (68, Priority.NOT_ASSESSED)]
)
def test_an_exam_of_which_a_breast_is_cut_off_is_never_routine(
    columns: int, level: Priority, tmp_path: Path
) -> None:
    size = {"slices = 32": "slices = 50", "rows = 48": "rows = 80", "columns = 96": "columns = {}"}
    cut = PIXELS
    for of_test, wanted in size.items():
        cut = cut.replace(of_test, wanted.format(columns))
    of = uptake_model(
        tmp_path / "models",
        words={'intended_use = "detection"': 'intended_use = "triage"'},
        rest=TRIAGE,
        pixels=cut,
        size=(50, 80, columns),
    )
    result = analysed(tmp_path, of, body=TO_THE_LEFT).result
    assert result is not None and result.triage is not None
    assert result.triage.level is level
    assert (MISSING in result.statements) == (level is Priority.NOT_ASSESSED)
    if level is Priority.NOT_ASSESSED:
        assert "not analysed or not received: L breast" in result.triage.why
