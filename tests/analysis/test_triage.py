"""Which level a study gets, and that what nobody has seen is never called routine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from factories import L_CC, L_MLO, R_CC, R_MLO, unit, unit_score
from hypothesis import assume, given
from hypothesis import strategies as st
from outputs.drafts import draft, with_result
from packages import CLASSES, OUTPUT, POINT, SCORE, package

from node.analysis.conclusion import conclude
from node.analysis.triage import triage_of
from node.domains.domain import Combined
from node.domains.evaluation import calibrated
from node.manifest import ClassesOutput, Model, Platt, ScoreOutput, Temperature
from node.numbers_in_words import on_its_side, share_in_percent, threshold_in_percent
from node.outputs import wording
from node.outputs.wording import sentences
from node.result import (
    PERCENT,
    Code,
    Evaluation,
    Measurement,
    OutputScore,
    Priority,
    Refusal,
    Result,
    Triage,
)
from node.study import View

VIEWS = (R_CC, L_CC, R_MLO, L_MLO)
LOW = POINT.replace('"high"', '"low"').replace("0.7\n", "0.3\n").replace("0.95\n", "0.94\n")
NEGATIVES = f"""
[outputs.negatives]
data = "Screening exams"
count = 1180
percentiles = {[n / 200 for n in range(101)]}
"""
URGENT = '\n[triage]\noutput = "malignancy"\nurgent = "high"\n'
SOON = URGENT + 'soon = "low"\n'


def triaging(folder: Path, tail: str, *changes: tuple[str, str]) -> Model:
    for present, replacement in changes:
        assert present in tail
        tail = tail.replace(present, replacement)
    use = ('intended_use = "measurement"', 'intended_use = "triage"')
    return package(folder, ("[output]", "[[outputs]]"), (OUTPUT, tail), use)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that makes urgent and routine."""
    return triaging(tmp_path_factory.mktemp("two"), SCORE + POINT + LOW + NEGATIVES + URGENT)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that makes urgent, soon and routine."""
    return triaging(tmp_path_factory.mktemp("three"), SCORE + POINT + LOW + NEGATIVES + SOON)


def concluded(
    model: Model,
    percents: Mapping[View, float],
    refused: Sequence[Refusal] = (),
    damaged: int = 0,
) -> Result:
    concept = Code("M", "99TEST", "Malignancy score")
    units = [unit(view, f"1.{n}") for n, view in enumerate(VIEWS) if view in percents]
    scores = {
        one.key: unit_score(one.key, (Measurement(concept, percents[view], PERCENT, 0, True),))
        for one in units
        for view in [one.instance.view]
        if view is not None
    }
    return conclude(model, units, refused, scores, damaged)


def triage(model: Model, percents: Mapping[View, float], refused: Sequence[Refusal] = ()) -> Triage:
    result = concluded(model, percents, refused)
    assert result.triage is not None
    assert all(word.isascii() and word.isprintable() for word in (result.triage.why,))
    return result.triage


def whole(highest: float) -> dict[View, float]:
    return {R_CC: 5.0, L_CC: 7.0, R_MLO: 1.0, L_MLO: highest}


@pytest.mark.parametrize(
    ("percent", "of_two", "of_three"),
    [
        (70.0, Priority.URGENT, Priority.URGENT),
        (69.999, Priority.ROUTINE, Priority.SOON),
        (30.0, Priority.ROUTINE, Priority.SOON),
        (29.999, Priority.ROUTINE, Priority.ROUTINE),
        (100.0, Priority.URGENT, Priority.URGENT),
        (7.0, Priority.ROUTINE, Priority.ROUTINE),
    ],
)
def test_a_whole_exam_gets_the_level_of_the_highest_point_that_it_reaches(
    percent: float, of_two: Priority, of_three: Priority, two: Model, three: Model
) -> None:
    assert triage(two, whole(percent)).level == of_two
    assert triage(three, whole(percent)).level == of_three


@pytest.mark.parametrize("missing", VIEWS, ids=str)
@pytest.mark.parametrize("is_refused", [False, True], ids=["missing", "refused"])
@pytest.mark.parametrize(
    ("percent", "level"),
    [
        (70.0, Priority.URGENT),
        (30.0, Priority.SOON),
        (29.0, Priority.NOT_ASSESSED),
        (0.0, Priority.NOT_ASSESSED),
    ],
)
def test_an_exam_without_a_view_is_urgent_by_what_is_there_or_not_assessed_never_routine(
    missing: View, is_refused: bool, percent: float, level: Priority, three: Model
) -> None:
    there = {view: percent for view in VIEWS if view != missing}
    refused = [Refusal("1.9", str(missing), "breast implant")] if is_refused else []
    found = triage(three, there, refused)
    assert found.level == level
    assert str(missing) in found.why
    assert (found.score is None) == (level == Priority.NOT_ASSESSED)


def test_one_breast_alone_may_make_an_exam_urgent(two: Model) -> None:
    found = triage(two, {R_CC: 80.0, R_MLO: 2.0})
    assert (found.level, found.about) == (Priority.URGENT, "R breast malignancy")
    assert triage(two, {R_CC: 8.0, R_MLO: 2.0}).level == Priority.NOT_ASSESSED


def test_the_score_of_a_part_makes_no_exam_routine(two: Model) -> None:
    def said_of_a_breast(percent: float) -> Triage | None:
        number = Measurement(Code("M", "99TEST", "Malignancy score"), percent, PERCENT)
        about = Evaluation("R breast", (), (number,), output="malignancy", about="breast")
        return triage_of(two, Combined(evaluations=(about,)), (), damaged=0)

    low, high = said_of_a_breast(10.0), said_of_a_breast(90.0)
    assert low is not None and high is not None
    assert low.level == Priority.NOT_ASSESSED
    assert low.why.startswith("no score of the exam; what was analysed is below")
    assert high.level == Priority.URGENT


def test_an_image_that_failed_keeps_an_exam_from_being_routine_though_its_view_was_read(
    two: Model,
) -> None:
    failed = Refusal("1.9", "L MLO", "pixels cannot be decoded", is_failure=True)
    assert triage(two, whole(10.0), [failed]).level == Priority.NOT_ASSESSED
    assert triage(two, whole(90.0), [failed]).level == Priority.URGENT
    left_out = Refusal("1.9", "L MLO", "spot compression view")
    assert triage(two, whole(10.0), [left_out]).level == Priority.ROUTINE


def test_an_object_refused_as_damaged_keeps_an_exam_from_being_routine(two: Model) -> None:
    result = concluded(two, whole(10.0), damaged=1)
    assert result.triage is not None
    assert result.triage.level == Priority.NOT_ASSESSED
    assert result.triage.why.startswith("1 object refused as damaged; what was analysed is below")
    sure = concluded(two, whole(90.0), damaged=2)
    assert sure.triage is not None and sure.triage.level == Priority.URGENT


def test_a_study_of_which_nothing_was_read_is_not_assessed(two: Model) -> None:
    found = triage(two, {}, [Refusal("1.9", "L MLO", "breast implant")])
    assert (found.level, found.why, found.score) == (Priority.NOT_ASSESSED, "breast implant", None)


@given(
    st.dictionaries(st.sampled_from(VIEWS), st.floats(0, 100)),
    st.lists(st.sampled_from(VIEWS), max_size=2),
)
def test_whatever_is_missing_only_a_whole_exam_is_routine_and_nothing_urgent_is_lost(
    three: Model, percents: dict[View, float], failed: list[View]
) -> None:
    refused = [Refusal(f"2.{n}", str(v), "damaged", True) for n, v in enumerate(failed)]
    result = concluded(three, percents, refused)
    assert result.triage is not None
    is_whole = percents.keys() == set(VIEWS) and not failed
    assert (result.triage.level == Priority.ROUTINE) <= is_whole
    is_high = any(percent / 100 >= 0.7 for percent in percents.values())
    assert (result.triage.level == Priority.URGENT) == is_high


def test_why_a_study_has_its_level_is_said_with_the_point_and_what_was_measured_there(
    three: Model,
) -> None:
    urgent, soon, routine = (triage(three, whole(percent)) for percent in (83.0, 40.0, 10.0))
    assert urgent.why == "at or above the operating point high (70 %)"
    assert soon.why == "at or above the operating point low (30 %)"
    assert routine.why == "below the operating point low (30 %)"
    assert urgent.about == "Exam malignancy"
    assert urgent.score is not None and urgent.score.value == 83.0
    assert urgent.point is not None and routine.point is not None
    assert (urgent.point.name, urgent.point.sensitivity_interval) == ("high", (0.55, 0.69))
    assert (urgent.point.positives, urgent.point.negatives) == (210, 1180)
    assert routine.point.name == "low"


@pytest.mark.parametrize(
    ("percent", "written"),
    [(69.6, "69.6 %"), (69.96, "69.96 %"), (29.9996, "29.9996 %"), (70.0, "70 %"), (69.4, "69 %")],
)
def test_a_score_is_written_on_its_side_of_every_threshold(
    percent: float, written: str, three: Model
) -> None:
    result = concluded(three, whole(percent))
    assert result.triage is not None
    assert wording.why_level(result.triage)[0].startswith(f"Exam malignancy {written}: ")
    assert f"Exam malignancy {written}" in [
        line for said in result.evaluations for line in wording.in_brief(said)
    ], "in every place of the report"


@given(st.floats(0, 100), st.floats(1e-6, 1 - 1e-6).map(lambda t: round(t, 8)))
def test_a_written_score_is_at_or_above_a_threshold_if_the_score_is(
    percent: float, threshold: float
) -> None:
    assume(percent / 100 == threshold or abs(percent - 100 * threshold) > 1e-9)
    score = on_its_side(Measurement(PERCENT, percent, PERCENT, 0, True), [threshold])
    assert (float(wording.written_number(score)) / 100 >= threshold) == (percent / 100 >= threshold)


@pytest.mark.parametrize(
    ("share", "words"),
    [
        *[(0.0, "0 %"), (1.0, "100 %"), (0.7, "70 %"), (0.123456, "12.3 %"), (0.07, "7 %")],
        *[(0.0004, "0.04 %"), (0.9996, "99.96 %"), (0.99999, "99.999 %"), (1e-6, "0.0001 %")],
    ],
)
def test_a_share_is_called_none_or_all_only_if_it_is(share: float, words: str) -> None:
    assert share_in_percent(share) == words


def test_a_threshold_is_written_as_its_author_wrote_it() -> None:
    written = [threshold_in_percent(t) for t in (0.7, 0.07, 0.123456, 0.0004, 0.29)]
    assert written == ["70 %", "7 %", "12.3456 %", "0.04 %", "29 %"]


@pytest.mark.parametrize(
    ("percent", "rank"), [(0.0, 0), (0.4, 0), (0.6, 1), (46.6, 93), (46.5, 92), (50.1, 100)]
)
def test_the_rank_is_among_those_without_the_disease(percent: float, rank: int, two: Model) -> None:
    assert triage(two, dict.fromkeys(VIEWS, percent)).rank == rank


def test_a_rank_says_among_whom_it_is(two: Model, tmp_path: Path) -> None:
    assert triage(two, whole(90.0)).among == "without the disease, of: Screening exams"
    named = NEGATIVES.replace("count =", 'who = "generated exams"\ncount =')
    model = triaging(tmp_path, SCORE + POINT + named + URGENT)
    assert triage(model, whole(90.0)).among == "generated exams"
    assert triage(triaging(tmp_path / "unranked", SCORE + POINT + URGENT), whole(90.0)).among == ""


def test_a_word_that_came_later_changes_no_digest_of_who_does_not_say_it(two: Model) -> None:
    output = two.manifest.outputs[0]
    assert isinstance(output, ScoreOutput) and output.negatives is not None
    assert list(output.negatives.model_dump()) == ["data", "count", "percentiles"]


def test_without_their_scores_there_is_no_rank(tmp_path: Path) -> None:
    assert triage(triaging(tmp_path, SCORE + POINT + URGENT), whole(90.0)).rank is None


def test_a_point_about_a_breast_is_compared_with_the_higher_one(tmp_path: Path) -> None:
    model = triaging(tmp_path, SCORE + POINT + URGENT, ('about = "exam"', 'about = "breast"'))
    found = triage(model, whole(71.0))
    assert (found.level, found.about) == (Priority.URGENT, "L breast malignancy")


def test_a_model_that_does_not_triage_sets_no_level(tmp_path: Path) -> None:
    model = package(tmp_path, ("[output]", "[[outputs]]"), (OUTPUT, SCORE))
    result = concluded(model, whole(99.0))
    assert result.triage is None


def test_a_demonstration_says_that_it_is_one(tmp_path: Path) -> None:
    identity = package(tmp_path, ('status = "research"', 'status = "demonstration"')).identity
    assert identity.is_demonstration and identity.is_research


# Combination

FOUR = {R_CC: 10.0, R_MLO: 40.0, L_CC: 30.0, L_MLO: 20.0}


@pytest.mark.parametrize(
    ("breast", "exam", "expected"),
    [
        ("highest", "highest", {"Exam": 40.0, "R breast": 40.0, "L breast": 30.0}),
        ("mean", "highest", {"Exam": 25.0, "R breast": 25.0, "L breast": 25.0}),
        ("highest", "mean", {"Exam": 35.0, "R breast": 40.0, "L breast": 30.0}),
        ("highest", "none", {"R breast": 40.0, "L breast": 30.0}),
        ("none", "highest", {"Exam": 40.0}),
        ("none", "mean", {"Exam": 25.0}),
        ("none", "none", {}),
    ],
)
def test_scores_combine_as_the_author_chose(
    breast: str, exam: str, expected: dict[str, float], tmp_path: Path
) -> None:
    chosen = f'combine = {{ breast = "{breast}", exam = "{exam}" }}'
    words = SCORE.replace('combine = { breast = "highest", exam = "highest" }', chosen)
    model = package(tmp_path, ("[output]", "[[outputs]]"), (OUTPUT, words))
    said = {e.label: e.measurements[0].value for e in concluded(model, FOUR).evaluations}
    of_images = {str(view): percent for view, percent in FOUR.items()}
    assert said == pytest.approx(
        {f"{name} malignancy": value for name, value in {**expected, **of_images}.items()}
    )


def test_the_mean_of_views_counts_each_view_once_however_many_images_it_has(
    tmp_path: Path,
) -> None:
    words = SCORE.replace('breast = "highest"', 'breast = "mean of views"')
    model = package(tmp_path, ("[output]", "[[outputs]]"), (OUTPUT, words))
    concept = Code("M", "99TEST", "Malignancy score")
    images = [(R_CC, 10.0), (R_CC, 20.0), (R_CC, 60.0), (R_MLO, 90.0)]
    units = [unit(view, f"1.{n}") for n, (view, _) in enumerate(images)]
    scores = {
        one.key: unit_score(one.key, (Measurement(concept, percent, PERCENT),))
        for one, (_, percent) in zip(units, images, strict=True)
    }
    (breast, *_) = conclude(model, units, (), scores).evaluations
    assert breast.label == "R breast malignancy"
    assert breast.measurements[0].value == pytest.approx((30.0 + 90.0) / 2)
    assert breast.sop_uids == tuple(one.sop_uid for one in units)


GRADES = CLASSES.replace("[[output.", "[[outputs.").replace(
    "\n[[", 'combine = { breast = "highest", exam = "highest" }\nhighest_by = "D"\n\n[[', 1
)


def test_of_classes_the_highest_is_the_part_where_the_deciding_one_is_most_probable(
    tmp_path: Path,
) -> None:
    model = package(tmp_path, ("[output]", "[[outputs]]"), (OUTPUT, GRADES))
    units = [unit(R_CC, "1.1"), unit(R_MLO, "1.2"), unit(L_MLO, "1.3")]
    codes = (Code("PF", "99TEST", "Probability of F"), Code("PD", "99TEST", "Probability of D"))
    scores = {
        one.key: unit_score(
            one.key,
            tuple(Measurement(c, v, PERCENT) for c, v in zip(codes, (100 - d, d), strict=True)),
        )
        for one, d in zip(units, (10.0, 90.0, 2.0), strict=True)
    }
    said = [
        (e.label, e.measurements[1].value, e.grade and e.grade.value.value)
        for e in conclude(model, units, (), scores).evaluations
    ]
    assert said == [
        ("Exam breast density", 90.0, "D"),
        ("R breast density", 90.0, "D"),
        ("L breast density", 2.0, "F"),
    ]


# Calibration

DATA = "made up"


@given(st.floats(0, 1), st.floats(0.1, 10), st.floats(-5, 5))
def test_calibration_keeps_the_order_and_the_ends(p: float, slope: float, intercept: float) -> None:
    for one in (
        Platt(kind="platt", slope=slope, intercept=intercept, data=DATA),
        Temperature(kind="temperature", temperature=slope, data=DATA),
    ):
        assert 0 <= one.calibrated(p) <= 1
        assert (one.calibrated(0), one.calibrated(1)) == (0, 1)
        assert one.calibrated(p / 2) <= one.calibrated(p)


def test_calibration_is_what_the_page_says() -> None:
    temperature = Temperature(kind="temperature", temperature=2, data=DATA)
    assert temperature.calibrated(0.9) == pytest.approx(0.75)  # a logit of log 9, halved: log 3
    platt = Platt(kind="platt", slope=2, intercept=0, data=DATA)
    assert platt.calibrated(0.75) == pytest.approx(0.9)
    shifted = Platt(kind="platt", slope=1, intercept=-1.0986122886681098, data=DATA)  # -log 3
    assert shifted.calibrated(0.75) == pytest.approx(0.5)


def test_classes_are_calibrated_as_the_softmax_of_logits_over_the_temperature(
    tmp_path: Path,
) -> None:
    tail = '\n[outputs.calibration]\nkind = "temperature"\ntemperature = 2.0\ndata = "x"\n'
    model = package(tmp_path, ("[output]", "[[outputs]]"), (OUTPUT, GRADES + tail))
    (output,) = model.manifest.outputs
    assert isinstance(output, ClassesOutput)
    numbers = tuple(Measurement(PERCENT, value, PERCENT) for value in (90.0, 10.0))
    found = [number.value for number in calibrated(output, OutputScore(numbers))]
    assert found == pytest.approx([75.0, 25.0])


@pytest.mark.parametrize("temperature", [0.0001, 1000.0])
def test_no_temperature_is_too_low_or_too_high_for_classes(
    temperature: float, tmp_path: Path
) -> None:
    tail = (
        f'\n[outputs.calibration]\nkind = "temperature"\ntemperature = {temperature}\ndata = "x"\n'
    )
    model = package(tmp_path, ("[output]", "[[outputs]]"), (OUTPUT, GRADES + tail))
    (output,) = model.manifest.outputs
    assert isinstance(output, ClassesOutput)
    for values in ((40.0, 60.0), (0.0, 100.0), (50.0, 50.0)):
        numbers = tuple(Measurement(PERCENT, value, PERCENT) for value in values)
        first, second = (number.value for number in calibrated(output, OutputScore(numbers)))
        assert first + second == pytest.approx(100)
        assert (first <= second) and (first < second) == (values[0] < values[1])


def test_levels_follow_from_the_calibrated_score(tmp_path: Path) -> None:
    calibration = (
        '\n[outputs.calibration]\nkind = "platt"\nslope = 1.0\nintercept = -2.0\ndata = "x"\n'
    )
    model = triaging(tmp_path, SCORE + POINT + calibration + URGENT)
    (output,) = model.manifest.outputs
    assert isinstance(output, ScoreOutput)
    assert triage(model, whole(90.0)).level == Priority.ROUTINE
    found = triage(model, whole(96.0))
    assert found.level == Priority.URGENT
    assert found.score is not None
    assert found.score.value == pytest.approx(100 * 0.96 / (0.96 + 0.04 * 7.38905609893065))


@pytest.mark.parametrize(("stated", "is_said"), [("prevalence = 0.006\n", True), ("", False)])
def test_the_report_says_at_which_prevalence_a_probability_holds_if_it_was_stated(
    stated: str, is_said: bool, tmp_path: Path
) -> None:
    fitted = f'[outputs.calibration]\nkind = "temperature"\ntemperature = 2.0\n{stated}data = "x"\n'
    model = triaging(tmp_path, f"{SCORE}{POINT}\n{fitted}{URGENT}")
    statements = concluded(model, whole(9.0)).statements
    made = with_result(draft(), statements=statements)
    words = (
        "malignancy: calibrated where 0.6 % have the disease; where more or fewer have it, it is "
        "another number."
    )
    assert (words in statements) == is_said
    assert (words in [*sentences(made, made.results[0])]) == is_said
