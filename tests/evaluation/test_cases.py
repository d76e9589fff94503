"""What was said, sorted to the output that said it and to the images it was said of."""

from __future__ import annotations

from pathlib import Path

from factories import L_CC, L_MLO, R_CC, R_MLO, unit
from packages import OUTPUT, package

from node.analysis.conclusion import conclude
from node.evaluation.cases import cases_of
from node.evaluation.collection import LabelledExam, LabelledImage
from node.evaluation.labels import LabelRow
from node.evaluation.running import AnsweredExam
from node.manifest import Model
from node.result import PERCENT, Code, Mark, Measurement, OutputScore, Result, UnitScore
from node.study import View

VIEWS = (R_CC, L_CC, R_MLO, L_MLO)
BOXES = """
name = "{name}"
kind = "boxes"
tensor = "{name}"
boxes = 5
threshold = 0.5
label = "{name}"
finding = {{ value = "129793001", scheme = "SCT", meaning = "Mammography breast density" }}
score = {{ value = "S", scheme = "99TEST", meaning = "Score" }}
"""
MARK = Mark(
    ((1, 1), (9, 1), (9, 9), (1, 9), (1, 1)),
    (Measurement(Code("S", "99TEST", "Score"), 95.0, PERCENT, 0, True),),
    is_box=True,
)


def two_detectors(folder: Path) -> Model:
    """Write a package that looks for masses and asymmetries, which have one code."""
    both = BOXES.format(name="mass") + "\n[[outputs]]" + BOXES.format(name="asymmetry")
    return package(folder, ("[output]", "[[outputs]]"), (OUTPUT, both))


def marked(model: Model, *views: View) -> Result:
    """Return the result of images of which the first bears one mark, an asymmetry."""
    units = [unit(view, f"1.{VIEWS.index(view)}") for view in views]
    scores = {
        one.key: UnitScore(one.key, (OutputScore(), OutputScore(marks=(MARK,) if not n else ())))
        for n, one in enumerate(units)
    }
    return conclude(model, units, (), scores)


def answered(result: Result, *views: View) -> AnsweredExam:
    images = tuple(
        LabelledImage(
            LabelRow(line=VIEWS.index(view), path=Path("x"), patient="P", label="1"),
            study_uid="1",
            side=view.laterality,
            projection=view.projection,
        )
        for view in views
    )
    return AnsweredExam(
        LabelledExam(1, "P", "", images),
        result,
        {VIEWS.index(v): f"1.{VIEWS.index(v)}" for v in views},
        {},
    )


def test_a_mark_counts_for_the_output_that_made_it_though_another_has_the_same_code(
    tmp_path: Path,
) -> None:
    model = two_detectors(tmp_path)
    result = marked(model, *VIEWS)
    assert [finding.output for finding in result.findings] == ["asymmetry"]
    exam = [*cases_of(answered(result, *VIEWS), model.manifest)][-1]
    assert exam.said == {"mass": (0.0,), "asymmetry": (95.0,)}


def test_of_marks_a_breast_and_an_exam_are_assessed_by_all_views_that_are_expected(
    tmp_path: Path,
) -> None:
    model = two_detectors(tmp_path)
    there = (R_CC, R_MLO, L_CC)
    cases = {c.name: c for c in cases_of(answered(marked(model, *there), *there), model.manifest)}
    assert cases["line 0"].said == {"mass": (0.0,), "asymmetry": (95.0,)}
    assert cases["exam 1 R"].said == {"mass": (0.0,), "asymmetry": (95.0,)}
    for name in ("exam 1 L", "exam 1"):
        assert (cases[name].said, cases[name].why_not) == ({}, "not there: L MLO")
