"""How scores of images become the result of an exam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from factories import L_CC, L_MLO, R_CC, R_MLO, unit, unit_score
from packages import CLASSES, OUTPUT, package

from node.analysis.conclusion import conclude, not_analysed
from node.domains.mammography.scope import missing_views
from node.manifest import Model
from node.result import (
    PERCENT,
    Code,
    Mark,
    Measurement,
    Point,
    Refusal,
    Result,
    UnitScore,
)
from node.study import IMAGE, View

AREA = Code("42798000", "SCT", "Area")
CM2 = Code("cm2", "UCUM", "square centimeter")
OUTLINE: tuple[Point, ...] = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 0.0))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return package(tmp_path_factory.mktemp("models"))


def score(sop_uid: str, area: float, outline: tuple[Point, ...] = OUTLINE) -> UnitScore:
    marks = (Mark(outline, (Measurement(AREA, area, CM2),)),) if outline else ()
    return unit_score(sop_uid, marks=marks)


def concluded(
    model: Model, images: Sequence[tuple[View, float]], refused: Sequence[Refusal] = ()
) -> Result:
    """Conclude from images with UIDs 1.1, 1.2 and so on, of the given areas."""
    selected = [unit(view, f"1.{i}") for i, (view, _) in enumerate(images, start=1)]
    scores = [score(f"1.{i}", area) for i, (_, area) in enumerate(images, start=1)]
    return conclude(model, selected, refused, {s.unit: s for s in scores})


EXAM = [(R_CC, 100.0), (L_CC, 80.0), (R_MLO, 120.0), (L_MLO, 120.0)]


def test_each_image_becomes_a_finding_named_after_its_view(model: Model) -> None:
    result = concluded(model, EXAM)
    assert result.analysed == ("1.1", "1.2", "1.3", "1.4")
    assert [finding.label for finding in result.findings] == [
        "R CC outline",
        "L CC outline",
        "R MLO outline",
        "L MLO outline",
    ]
    assert result.findings[0].region.outline == OUTLINE
    assert result.findings[0].measurements[0].value == 100.0
    assert result.reason == ""
    assert result.is_complete


def test_sides_are_compared_in_percent_of_the_larger(model: Model) -> None:
    cc, mlo = concluded(model, EXAM).evaluations
    assert (cc.label, cc.sop_uids) == ("CC left-right difference", ("1.1", "1.2"))
    assert cc.measurements[0].value == pytest.approx(20.0)
    assert cc.measurements[0].unit == Code("%", "UCUM", "percent")
    assert mlo.measurements[0].value == 0.0


def test_of_repeats_the_larger_counts_whatever_the_order(model: Model) -> None:
    for repeats in ([(R_CC, 50.0), (R_CC, 100.0)], [(R_CC, 100.0), (R_CC, 50.0)]):
        result = concluded(model, [*repeats, (L_CC, 80.0)])
        assert len(result.findings) == 3
        assert result.evaluations[0].measurements[0].value == pytest.approx(20.0)
        assert any(s.startswith("More than one image of R CC: the left") for s in result.statements)
        larger = "1.2" if repeats[0][1] == 50.0 else "1.1"
        assert result.evaluations[0].sop_uids == (larger, "1.3")


def test_one_side_alone_is_not_compared(model: Model) -> None:
    result = concluded(model, [(R_CC, 100.0), (L_MLO, 80.0)])
    assert result.evaluations == ()


def test_two_empty_sides_are_not_compared(model: Model) -> None:
    assert concluded(model, [(R_CC, 0.0), (L_CC, 0.0)]).evaluations == ()
    empty_right = concluded(model, [(R_CC, 0.0), (L_CC, 10.0)])
    assert empty_right.evaluations[0].measurements[0].value == 100.0


def test_a_model_without_difference_compares_nothing(tmp_path: Path) -> None:
    text = 'difference = { value = "D1", scheme = "99TEST", meaning = "Left-right difference" }'
    assert concluded(package(tmp_path, (text, "")), EXAM).evaluations == ()


def test_missing_views_are_stated(model: Model) -> None:
    result = concluded(model, [(R_CC, 100.0), (L_MLO, 80.0)])
    assert result.statements == (
        "Areas of the breast as projected, for research.",
        "Views not analysed or not received: L CC, R MLO.",
    )
    assert concluded(model, EXAM).statements == result.statements[:1]


def test_what_is_doubtful_about_images_is_stated_once_for_all_of_them(model: Model) -> None:
    lossy, described = "Compressed with loss before it came", "View taken from Protocol Name"
    selected = [
        unit(R_CC, "1.1", (lossy,)),
        unit(L_CC, "1.2", (described, lossy)),
        unit(R_MLO, "1.3", (described,)),
    ]
    result = conclude(model, selected, [], {uid: score(uid, 1.0) for uid in ("1.1", "1.2")})
    assert result.statements[1:3] == (f"{lossy}: R CC, L CC.", f"{described}: L CC.")


def test_images_that_lie_mirrored_by_their_pixels_alone_are_named(model: Model) -> None:
    selected = [unit(R_CC, "1.1"), unit(L_CC, "1.2", ("Compressed with loss before it came",))]
    turned = {uid: replace(score(uid, 1.0), mirrored=(IMAGE,)) for uid in ("1.1", "1.2")}
    said = "Lies mirrored against its laterality, Patient Orientation is missing; check the side"
    assert f"{said}: R CC, L CC." in conclude(model, selected, [], turned).statements
    one = turned | {"1.1": score("1.1", 1.0)}
    assert f"{said}: L CC." in conclude(model, selected, [], one).statements


def test_an_image_where_nothing_was_found_is_analysed_and_said(model: Model) -> None:
    selected = [unit(R_CC, "1.1"), unit(L_CC, "1.2")]
    scores = {"1.1": score("1.1", 100.0), "1.2": score("1.2", 0.0, outline=())}
    result = conclude(model, selected, [], scores)
    assert result.analysed == ("1.1", "1.2")
    assert [finding.label for finding in result.findings] == ["R CC outline"]
    assert "No outline found on: L CC." in result.statements


def test_missing_views_have_a_fixed_order(model: Model) -> None:
    assert missing_views(model.manifest.input, []) == [R_CC, L_CC, R_MLO, L_MLO]
    assert missing_views(model.manifest.input, [R_CC]) == [L_CC, R_MLO, L_MLO]


def test_an_image_without_score_is_refused_and_named(model: Model) -> None:
    selected = [unit(R_CC, "1.1"), unit(L_CC, "1.2")]
    result = conclude(model, selected, [], {"1.1": score("1.1", 100.0)})
    assert result.analysed == ("1.1",)
    assert result.refused == (Refusal("1.2", "L CC", "could not be analysed", True),)
    assert not result.is_complete


def test_an_image_refused_already_is_not_refused_again(model: Model) -> None:
    selected = [unit(R_CC, "1.1"), unit(L_CC, "1.2")]
    undecodable = Refusal("1.2", "L CC", "pixels cannot be decoded")
    result = conclude(model, selected, [undecodable], {"1.1": score("1.1", 100.0)})
    assert result.refused == (undecodable,)


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        ([], "the study holds no image this model reads"),
        ([Refusal("1.1", "R CC", "magnification view")], "magnification view"),
        (
            [
                Refusal("1.1", "R CC", "magnification view"),
                Refusal("1.2", "L CC", "partial view"),
                Refusal("1.3", "L CC", "magnification view"),
            ],
            "magnification view; partial view",
        ),
    ],
)
def test_where_nothing_was_selected_nothing_is_analysed_for_a_reason(
    refused: list[Refusal], reason: str, model: Model
) -> None:
    result = conclude(model, [], refused, {})
    assert result == not_analysed(model, refused, reason)
    assert result.analysed == ()
    assert result.reason == reason
    assert not result.is_complete


def test_where_no_selected_image_has_a_score_the_reason_says_so(model: Model) -> None:
    result = conclude(model, [unit(R_CC, "1.1")], [], {})
    assert result.reason == "could not be analysed"


def test_a_measurement_never_sets_a_level(model: Model) -> None:
    for result in (concluded(model, EXAM), conclude(model, [], [], {})):
        assert result.triage is None


def test_the_result_does_not_depend_on_the_order_of_the_scores(model: Model) -> None:
    selected = [unit(view, f"1.{i}") for i, (view, _) in enumerate(EXAM)]
    scores = [score(f"1.{i}", area) for i, (_, area) in enumerate(EXAM)]
    forwards = conclude(model, selected, [], {s.unit: s for s in scores})
    backwards = conclude(model, selected, [], {s.unit: s for s in reversed(scores)})
    assert forwards == backwards


# Classes

ONLY_MLO = ('projections = ["CC", "MLO"]', 'projections = ["MLO"]\npassed_over = ["CC"]')


@pytest.fixture(scope="module")
def grader(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return package(tmp_path_factory.mktemp("models"), ONLY_MLO, (OUTPUT, CLASSES))


def graded(model: Model, dense: Sequence[tuple[View, float]]) -> Result:
    """Conclude from images with UIDs 1.1, 1.2 and so on, of given probabilities of D."""
    selected = [unit(view, f"1.{i}") for i, (view, _) in enumerate(dense, start=1)]
    scores = {
        f"1.{i}": unit_score(
            f"1.{i}",
            (
                Measurement(Code("PF", "99TEST", "Probability of F"), 100 - percent, PERCENT, 0),
                Measurement(Code("PD", "99TEST", "Probability of D"), percent, PERCENT, 0),
            ),
        )
        for i, (_, percent) in enumerate(dense, start=1)
    }
    return conclude(model, selected, (), scores)


def test_the_exam_is_graded_by_the_mean_of_its_breasts_and_each_of_them_too(grader: Model) -> None:
    result = graded(grader, [(R_MLO, 10.0), (L_MLO, 90.0), (L_MLO, 70.0)])
    said = [
        (e.label, e.laterality, e.measurements[1].value, e.grade and e.grade.value.value)
        for e in result.evaluations
    ]
    assert said == [
        ("Exam breast density", None, 45.0, "F"),
        ("R breast density", "R", 10.0, "F"),
        ("L breast density", "L", 80.0, "D"),
    ]
    assert result.evaluations[0].sop_uids == ("1.1", "1.2", "1.3")
    assert result.evaluations[2].sop_uids == ("1.2", "1.3")
    assert result.triage is None
    assert (result.findings, result.looked_for) == ((), ())


def test_the_grade_of_one_breast_is_not_called_that_of_the_exam(grader: Model) -> None:
    (left,) = graded(grader, [(L_MLO, 80.0), (L_MLO, 60.0)]).evaluations
    assert (left.label, left.laterality) == ("L breast density", "L")
    assert left.measurements[1].value == 70.0


def test_a_view_that_the_model_passes_over_is_not_missing(grader: Model) -> None:
    result = graded(grader, [(R_MLO, 10.0)])
    assert result.statements[1:] == ("Views not analysed or not received: L MLO.",)


# One score

SCORE = """\
kind = "score"
tensor = "score"
label = "AI score"
score = { value = "S1", scheme = "99TEST", meaning = "Score" }
"""


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return package(tmp_path_factory.mktemp("models"), (OUTPUT, SCORE))


def scored(model: Model, percents: Sequence[tuple[View, float]]) -> list[tuple[str, float]]:
    """Return what is said of images of given scores: labels and values."""
    concept = Code("S1", "99TEST", "Score")
    selected = [unit(view, f"1.{i}") for i, (view, _) in enumerate(percents)]
    scores = {
        f"1.{i}": unit_score(f"1.{i}", (Measurement(concept, percent, PERCENT),))
        for i, (_, percent) in enumerate(percents)
    }
    evaluations = conclude(model, selected, (), scores).evaluations
    assert [e.label[0] if e.label[0] in "RL" else None for e in evaluations] == [
        e.laterality for e in evaluations
    ]
    return [(e.label, e.measurements[0].value) for e in evaluations]


def test_the_highest_score_is_that_of_a_breast_and_of_the_exam_of_two(scorer: Model) -> None:
    assert scored(scorer, [(R_CC, 10.0), (R_MLO, 40.0), (L_CC, 30.0)]) == [
        ("Exam AI score", 40.0),
        ("R breast AI score", 40.0),
        ("L breast AI score", 30.0),
        ("R CC AI score", 10.0),
        ("R MLO AI score", 40.0),
        ("L CC AI score", 30.0),
    ]


def test_the_score_of_one_breast_is_not_called_that_of_the_exam(scorer: Model) -> None:
    assert scored(scorer, [(L_CC, 30.0), (L_MLO, 20.0)]) == [
        ("L breast AI score", 30.0),
        ("L CC AI score", 30.0),
        ("L MLO AI score", 20.0),
    ]
