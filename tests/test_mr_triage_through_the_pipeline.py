"""A network that triages breast MRI, from files to the study's level and what it rests on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mr_models import PIXELS, uptake_model
from mr_studies import small_plan, written
from pydicom import Dataset, dcmread

from node.errors import ConfigError
from node.manifest import Model
from node.offline import StudyOutcome, analyse_folder
from node.outputs import wording
from node.result import Priority, Triage
from node.trial.breast_mr.body import ONE_BREAST
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.study import StudyPlan

POINT = """
[[outputs.operating_points]]
name = "{name}"
threshold = {threshold}
about = "{about}"
sensitivity = {sensitivity}
sensitivity_interval = [0.1, 0.99]
specificity = {specificity}
specificity_interval = [0.1, 0.99]
positives = 40
negatives = 60
data = "generated exams"
"""
TRIAGE = """
[triage]
output = "uptake"
urgent = "high"
"""
SECOND = """
[[outputs]]
kind = "score"
name = "uptake"
about = "L breast"
label = "AI uptake score"
tensor = "score"
activation = "sigmoid"
score = { value = "UPTAKE", scheme = "99TEST", meaning = "Uptake score" }
"""
WITHOUT_PRE = PIXELS.replace('of = "pre"', 'of = "each"')
SIZE = (50, 80, 128)
"""Of voxels of 4 mm: both breasts whole."""
WHOLE = PIXELS.replace("= 32", "= 50").replace("= 48", "= 80").replace("= 96", "= 128")
NEVER, ALWAYS = 0.999, 0.001


def point(threshold: float, about: str = "exam") -> str:
    return POINT.format(
        name="high", threshold=threshold, about=about, sensitivity=0.7, specificity=0.8
    )


USE = {'intended_use = "detection"': 'intended_use = "triage"'}


def triaging(folder: Path, threshold: float, **changes: Any) -> Model:
    """Return a model that calls urgent what has at least that score."""
    read = {"pixels": WHOLE, "size": SIZE, **changes}
    return uptake_model(folder, words=USE, rest=point(threshold) + TRIAGE, **read)


def of_each_breast(folder: Path, threshold: float) -> Model:
    """Return one that has a score of each breast, the same for both."""
    first = {'name = "uptake"\nlabel': 'name = "uptake"\nabout = "R breast"\nlabel'}
    rest = point(threshold, "breast") + SECOND + TRIAGE
    return uptake_model(folder, words={**USE, **first}, rest=rest, pixels=WHOLE, size=SIZE)


def analysed(of: StudyPlan, model: Model, folder: Path) -> StudyOutcome:
    paths = written(of, folder / "study")
    (study,) = analyse_folder(paths, folder / "results", model, lambda: None).studies
    return study


def triage_of(study: StudyOutcome) -> Triage:
    assert study.result is not None and study.result.triage is not None
    return study.result.triage


def report(folder: Path) -> Dataset:
    (made,) = (folder / "results").rglob("SR-*.dcm")
    return dcmread(made)


@pytest.mark.parametrize(
    ("threshold", "level"), [(ALWAYS, Priority.URGENT), (NEVER, Priority.ROUTINE)]
)
def test_the_level_follows_from_the_score_and_stands_in_report_and_list(
    threshold: float, level: Priority, tmp_path: Path
) -> None:
    study = analysed(small_plan(), triaging(tmp_path / "models", threshold), tmp_path)
    triage = triage_of(study)
    assert triage.level is level
    assert triage.about == "Exam AI uptake score"
    assert triage.point is not None and triage.point.name == "high"
    assert study.result is not None
    assert wording.outcome(study.result).startswith(f"AI triage level {level} (research model)")
    said = list(items(report(tmp_path)))
    texts = " ".join(str(item.TextValue) for item in said if item.ValueType == "TEXT")
    assert f"AI triage level: {level} (research model)." in texts
    assert "Operating point high" in texts
    codes = {
        str(item.ConceptNameCodeSequence[0].CodeMeaning): str(
            item.ConceptCodeSequence[0].CodeMeaning
        )
        for item in said
        if item.ValueType == "CODE"
    }
    assert codes["AI triage level"] == codes["AI triage level of the model"] == str(level)


def items(tree: Dataset) -> Iterator[Dataset]:
    for item in tree.get("ContentSequence", []):
        yield item
        yield from items(item)


def test_of_two_breasts_the_one_with_the_higher_score_decides(tmp_path: Path) -> None:
    study = analysed(small_plan(), of_each_breast(tmp_path / "models", ALWAYS), tmp_path)
    triage = triage_of(study)
    assert triage.level is Priority.URGENT
    assert triage.about in ("R breast AI uptake score", "L breast AI uptake score")


@pytest.mark.parametrize(
    ("threshold", "level"), [(ALWAYS, Priority.URGENT), (NEVER, Priority.NOT_ASSESSED)]
)
def test_a_study_of_one_breast_is_never_routine(
    threshold: float, level: Priority, tmp_path: Path
) -> None:
    of = small_plan(body=ONE_BREAST, shape=(24, 48, 64))
    triage = triage_of(analysed(of, triaging(tmp_path / "models", threshold), tmp_path))
    assert triage.level is level
    assert "not analysed or not received: R breast" in triage.why


def test_a_study_with_a_phase_missing_is_never_routine(tmp_path: Path) -> None:
    model = triaging(tmp_path / "models", NEVER, roles=("pre", "post 1", "post 3"), missing="blank")
    triage = triage_of(analysed(small_plan(), model, tmp_path))
    assert triage.level is Priority.NOT_ASSESSED
    assert "post 3 phase" in triage.why


def test_a_study_that_is_refused_is_not_assessed(tmp_path: Path) -> None:
    model = triaging(tmp_path / "models", ALWAYS, roles=("pre", "post 4"))
    study = analysed(small_plan(), model, tmp_path)
    triage = triage_of(study)
    assert triage.level is Priority.NOT_ASSESSED
    assert "post 4" in triage.why


def test_a_model_that_could_not_see_what_is_missing_must_not_triage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='without "pre" nobody sees whether both breasts'):
        triaging(tmp_path, NEVER, roles=("post 1", "post 2"), pixels=WITHOUT_PRE)


def test_six_phases_leave_nothing_missing(tmp_path: Path) -> None:
    of = replace(small_plan(), schedule=PhaseTimes(posts=5))
    triage = triage_of(analysed(of, triaging(tmp_path / "models", NEVER), tmp_path))
    assert triage.level is Priority.ROUTINE and "missing" not in triage.why
