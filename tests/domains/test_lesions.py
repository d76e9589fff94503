"""Lesions on two views, and scores of images, breasts and the exam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from factories import L_CC, L_MLO, R_CC, R_MLO, unit, unit_score
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packages import OUTPUT, package

from node.analysis.conclusion import conclude
from node.manifest import Model
from node.result import (
    PERCENT,
    Code,
    Finding,
    HeatMap,
    Mark,
    Measurement,
    Point,
    Refusal,
    Result,
)
from node.study import Laterality, View

SCORE = Code("S", "99TEST", "Score")
BOX: tuple[Point, ...] = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0), (0.0, 0.0))
WITHIN_MM = 10

BOXES = f"""\
kind = "boxes"
tensor = "boxes"
boxes = 9
threshold = 0.3
label = "mass"
finding = {{ value = "129793001", scheme = "SCT", meaning = "Mammography breast density" }}
score = {{ value = "S", scheme = "99TEST", meaning = "Score" }}
same_lesion_within_mm = {WITHIN_MM}
"""
SCORED = """\
kind = "score"
tensor = "score"
label = "AI score"
score = { value = "S", scheme = "99TEST", meaning = "Score" }
"""
SEGMENTED = """\
kind = "mask"
tensor = "mask"
regions = "all"
label = "mass"
finding = { value = "129793001", scheme = "SCT", meaning = "Mammography breast density" }
area = { value = "42798000", scheme = "SCT", meaning = "Area" }
"""


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return package(tmp_path_factory.mktemp("models"), (OUTPUT, BOXES))


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return package(tmp_path_factory.mktemp("models"), (OUTPUT, SCORED))


def mark(depth_mm: float | None, percent: float = 50) -> Mark:
    score = Measurement(SCORE, percent, PERCENT, 0, is_score=True)
    return Mark(BOX, (score,), is_box=True, depth_mm=depth_mm)


Depths = Sequence[float | None]


def detected(model: Model, images: Sequence[tuple[View, Depths]]) -> Result:
    """Conclude from images with UIDs 1.1, 1.2 and so on, with marks of these depths."""
    selected = [unit(view, f"1.{n}") for n, (view, _) in enumerate(images, start=1)]
    scores = {
        f"1.{n}": unit_score(f"1.{n}", marks=tuple(map(mark, depths)))
        for n, (_, depths) in enumerate(images, start=1)
    }
    return conclude(model, selected, (), scores)


def lesions(result: Result) -> list[str]:
    return [finding.lesion for finding in result.findings]


# Pairs


def test_marks_of_one_depth_on_cc_and_mlo_are_one_lesion(detector: Model) -> None:
    result = detected(detector, [(R_CC, [40.0]), (R_MLO, [43.0])])
    assert lesions(result) == ["R lesion 1", "R lesion 1"]
    assert [f.region.sop_uid for f in result.findings] == ["1.1", "1.2"]
    assert result.triage is None


@pytest.mark.parametrize(("depth_mm", "is_paired"), [(50.0, True), (50.01, False), (29.9, False)])
def test_only_what_is_near_enough_is_one_lesion(
    depth_mm: float, is_paired: bool, detector: Model
) -> None:
    result = detected(detector, [(R_CC, [40.0]), (R_MLO, [depth_mm])])
    assert all(lesions(result)) == is_paired


def test_the_nearest_are_matched_first_and_each_once(detector: Model) -> None:
    result = detected(detector, [(R_CC, [40.0, 46.0]), (R_MLO, [45.0])])
    assert lesions(result) == ["", "R lesion 1", "R lesion 1"]
    crossed = detected(detector, [(R_CC, [40.0, 46.0]), (R_MLO, [45.0, 39.0])])
    named = [f.lesion for f in crossed.findings]
    assert named[0] == named[3]
    assert named[1] == named[2]
    assert set(named) == {"R lesion 1", "R lesion 2"}


def test_breasts_are_counted_apart_and_never_matched_with_one_another(detector: Model) -> None:
    apart = detected(detector, [(R_CC, [40.0]), (L_MLO, [40.0])])
    assert lesions(apart) == ["", ""]
    four = [(R_CC, [40.0]), (L_CC, [40.0]), (R_MLO, [40.0]), (L_MLO, [40.0])]
    assert lesions(detected(detector, four)) == [
        "R lesion 1",
        "L lesion 1",
        "R lesion 1",
        "L lesion 1",
    ]


def test_two_marks_on_one_view_are_two_lesions(detector: Model) -> None:
    assert lesions(detected(detector, [(R_CC, [40.0, 40.0])])) == ["", ""]
    repeated = detected(detector, [(R_CC, [40.0]), (R_CC, [40.0])])
    assert lesions(repeated) == ["", ""]


def test_a_view_other_than_cc_and_mlo_is_not_matched(detector: Model) -> None:
    lateral = View(Laterality.RIGHT, "ML")
    assert lesions(detected(detector, [(R_CC, [40.0]), (lateral, [40.0])])) == ["", ""]


def test_without_a_known_depth_every_mark_stands_alone(detector: Model) -> None:
    """The chest wall was not turned to the left, or the spacing is not known."""
    assert lesions(detected(detector, [(R_CC, [None]), (R_MLO, [40.0])])) == ["", ""]
    assert lesions(detected(detector, [(R_CC, [None]), (R_MLO, [None])])) == ["", ""]


def test_a_model_that_does_not_say_how_near_matches_nothing(tmp_path: Path) -> None:
    model = package(tmp_path, (OUTPUT, BOXES.replace(f"same_lesion_within_mm = {WITHIN_MM}", "")))
    assert lesions(detected(model, [(R_CC, [40.0]), (R_MLO, [40.0])])) == ["", ""]


def test_how_marks_were_counted_as_lesions_is_said(detector: Model) -> None:
    said = "A mark on CC and one on MLO of the same breast count as one mass where their depths"
    paired = detected(detector, [(R_CC, [40.0]), (R_MLO, [43.0])])
    assert any(
        s.startswith(f"{said} differ by at most {WITHIN_MM:g} mm, the nearest first;")
        for s in paired.statements
    )
    apart = detected(detector, [(R_CC, [40.0]), (R_MLO, [])])
    assert not any(s.startswith(said) for s in apart.statements)


def test_a_view_taken_twice_may_count_a_lesion_twice_and_that_is_said(detector: Model) -> None:
    said = (
        "More than one image of R CC: a mass that shows on several of them may be counted more than"
        " once."
    )
    assert said in detected(detector, [(R_CC, [40.0]), (R_CC, [41.0])]).statements
    assert said not in detected(detector, [(R_CC, [40.0]), (R_CC, [])]).statements
    assert said not in detected(detector, [(R_CC, [40.0]), (L_CC, [41.0])]).statements


depths = st.lists(st.floats(0, 60), max_size=5)


@given(cc=depths, mlo=depths, other=depths)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_marked_pairs_are_near_exclusive_and_as_many_as_the_nearest_allow(
    detector: Model, cc: list[float], mlo: list[float], other: list[float]
) -> None:
    result = detected(detector, [(R_CC, cc), (R_MLO, mlo), (L_MLO, other)])
    found = result.findings
    on_cc = list(zip(cc, found, strict=False))
    on_mlo = list(zip(mlo, found[len(cc) :], strict=False))
    assert all(f.lesion == "" for f in found[len(cc) + len(mlo) :]), "the left has no CC"
    names = {f.lesion for f in found if f.lesion}
    assert names == {f"R lesion {n}" for n in range(1, len(names) + 1)}
    distance: dict[str, float] = {}
    for name in names:
        ((first, _),) = [pair for pair in on_cc if pair[1].lesion == name]
        ((second, _),) = [pair for pair in on_mlo if pair[1].lesion == name]
        distance[name] = abs(first - second)
        assert distance[name] <= WITHIN_MM
    for here, one in on_cc:
        for there, other_one in on_mlo:
            if abs(here - there) <= WITHIN_MM:
                assert is_taken_by_a_nearer((one, other_one), abs(here - there), distance)


def is_taken_by_a_nearer(
    pair: tuple[Finding, Finding], apart_mm: float, distance: Mapping[str, float]
) -> bool:
    """Whether one of two marks is matched, with each other or with one that is no farther."""
    return any(f.lesion and distance[f.lesion] <= apart_mm for f in pair)


def test_pairs_do_not_depend_on_the_order_of_the_scores(detector: Model) -> None:
    selected = [unit(R_CC, "1.1"), unit(R_MLO, "1.2")]
    scores = {
        "1.1": unit_score("1.1", marks=(mark(40.0), mark(42.0))),
        "1.2": unit_score("1.2", marks=(mark(41.0), mark(41.0))),
    }
    backwards = dict(reversed(scores.items()))
    assert conclude(detector, selected, (), scores) == conclude(detector, selected, (), backwards)


# Findings


def test_marks_are_numbered_where_there_are_several_on_an_image(detector: Model) -> None:
    result = detected(detector, [(R_CC, [10.0, 40.0]), (L_CC, [40.0])])
    assert [f.label for f in result.findings] == ["R CC mass 1", "R CC mass 2", "L CC mass"]
    assert [f.laterality for f in result.findings] == ["R", "R", "L"]
    assert all(f.region.is_box and f.region.outline == BOX for f in result.findings)
    assert {f.kind.value for f in result.findings} == {"129793001"}
    first = result.findings[0].score
    assert first is not None
    assert first.value == 50


def test_an_image_without_marks_is_named_and_what_was_looked_for_is_said(detector: Model) -> None:
    result = detected(detector, [(R_CC, []), (L_CC, [40.0])])
    assert result.analysed == ("1.1", "1.2")
    assert "No mass found on: R CC." in result.statements
    assert [code.value for code in result.looked_for] == ["129793001"]
    assert (result.evaluations, result.heat_maps) == ((), ())


def test_what_was_looked_for_is_said_where_nothing_could_be_analysed(detector: Model) -> None:
    refused = [Refusal("1.1", "R CC", "magnification view")]
    result = conclude(detector, [], refused, {})
    assert (result.reason, result.analysed) == ("magnification view", ())
    assert [code.value for code in result.looked_for] == ["129793001"]


def test_outlined_lesions_have_areas_and_no_score_and_are_not_compared(tmp_path: Path) -> None:
    model = package(tmp_path, (OUTPUT, SEGMENTED))
    area = Measurement(Code("42798000", "SCT", "Area"), 1.5, Code("cm2", "UCUM", "cm2"))
    selected = [unit(R_CC, "1.1"), unit(L_CC, "1.2"), unit(R_MLO, "1.3")]
    scores = {
        "1.1": unit_score("1.1", marks=(Mark(BOX, (area,)), Mark(BOX, (area,)))),
        "1.2": unit_score("1.2"),
        "1.3": unit_score("1.3", marks=(Mark(BOX, (area,)),)),
    }
    result = conclude(model, selected, (), scores)
    assert [f.label for f in result.findings] == ["R CC mass 1", "R CC mass 2", "R MLO mass"]
    assert not any(f.region.is_box or f.score or f.lesion for f in result.findings)
    assert result.evaluations == ()
    assert len(result.looked_for) == 1


# Scores


def scored(model: Model, images: Sequence[tuple[View, float]]) -> Result:
    """Conclude from images with UIDs 1.1, 1.2 and so on, of these scores in percent."""
    selected = [unit(view, f"1.{n}") for n, (view, _) in enumerate(images, start=1)]
    scores = {
        f"1.{n}": unit_score(f"1.{n}", (Measurement(SCORE, percent, PERCENT, is_score=True),))
        for n, (_, percent) in enumerate(images, start=1)
    }
    return conclude(model, selected, (), scores)


def test_a_breast_has_the_highest_score_of_its_images_and_the_exam_that_of_its_breasts(
    scorer: Model,
) -> None:
    result = scored(scorer, [(R_CC, 20.0), (L_CC, 70.0), (R_MLO, 30.0), (L_MLO, 60.0)])
    said = [
        (e.label, e.laterality, e.measurements[0].value, e.sop_uids) for e in result.evaluations
    ]
    assert said == [
        ("Exam AI score", None, 70.0, ("1.1", "1.3", "1.2", "1.4")),
        ("R breast AI score", "R", 30.0, ("1.1", "1.3")),
        ("L breast AI score", "L", 70.0, ("1.2", "1.4")),
        ("R CC AI score", "R", 20.0, ("1.1",)),
        ("L CC AI score", "L", 70.0, ("1.2",)),
        ("R MLO AI score", "R", 30.0, ("1.3",)),
        ("L MLO AI score", "L", 60.0, ("1.4",)),
    ]
    assert all(e.measurements[0].is_score and e.grade is None for e in result.evaluations)
    assert (result.findings, result.looked_for) == ((), ())
    assert result.triage is None


def test_the_score_of_one_breast_is_not_called_that_of_the_exam(scorer: Model) -> None:
    result = scored(scorer, [(L_CC, 20.0), (L_MLO, 30.0)])
    labels = [e.label for e in result.evaluations]
    assert labels == ["L breast AI score", "L CC AI score", "L MLO AI score"]
    assert result.evaluations[0].measurements[0].value == 30.0


def test_of_repeats_the_higher_score_counts(scorer: Model) -> None:
    for repeats in ([80.0, 10.0], [10.0, 80.0]):
        result = scored(scorer, [*((R_CC, percent) for percent in repeats), (L_CC, 40.0)])
        assert result.evaluations[0].measurements[0].value == 80.0
        assert len(result.evaluations) == 6


def test_a_score_draws_nothing_and_misses_nothing(scorer: Model) -> None:
    result = scored(scorer, [(R_CC, 0.0), (L_CC, 0.0)])
    assert not any("found on" in statement for statement in result.statements)


def test_heat_maps_come_in_the_order_of_the_images_and_make_the_answer_one_about_places(
    scorer: Model,
) -> None:
    selected = [unit(R_CC, "1.1"), unit(L_CC, "1.2")]
    number = (Measurement(SCORE, 50.0, PERCENT, is_score=True),)
    warm = HeatMap("another instance of this image", SCORE, 1, 1, "/w==", (0, 0, 9, 9))
    scores = {"1.2": unit_score("1.2", number, heat_map=warm), "1.1": unit_score("1.1", number)}
    result = conclude(scorer, selected, (), scores)
    assert [heat_map.sop_uid for heat_map in result.heat_maps] == ["1.2"]
