"""Calibration and operating points that are the same in the node."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import ConfigError
from node.manifest import Platt
from node.training.choosing import (
    SaidImage,
    SaidPart,
    choose_points,
    lowest_threshold,
    manifest_points,
    platt,
    reported,
)

SCORES = st.integers(0, 1000).map(lambda n: float(np.float32(n / 1000)))


@given(
    st.lists(SCORES, min_size=1, max_size=60),
    st.lists(SCORES, max_size=30),
    st.sampled_from([0.5, 0.8, 0.9, 0.95]),
)
@settings(max_examples=200, deadline=None)
def test_the_lowest_threshold_of_a_specificity(
    negatives: list[float], positives: list[float], specificity: float
) -> None:
    values = np.array(negatives)
    there = np.unique([*negatives, *positives])
    found = lowest_threshold(values, there, specificity)
    if found is None:
        assert (values < 1).mean() < specificity
        return
    assert (values < found).mean() >= specificity - 1e-9
    lower = there[there < found]
    # At the next lower number that is there, the specificity would be too small.
    assert not len(lower) or (values < lower[-1]).mean() < specificity
    for shift in (-1e-9, 1e-9):  # what another device adds in another order
        assert np.array_equal(there >= found, there + shift >= found)


def breast(woman: int, side: str, *percents: float, is_positive: bool = False) -> SaidPart:
    images = tuple(SaidImage(v, p) for v, p in zip(("CC", "MLO"), percents, strict=False))
    return SaidPart(f"W{woman}", woman, frozenset(side), is_positive, images)


def exam(woman: int, percent: float, *, is_positive: bool = False, sides: str = "RL") -> SaidPart:
    """Return what a network says that reads exams at once."""
    said = (SaidImage("", percent),)
    return SaidPart(f"W{woman}", woman, frozenset(sides), is_positive, said)


def collection(count: int = 200) -> list[SaidPart]:
    """Women without the disease have both breasts here, the others the affected one alone."""
    random = np.random.default_rng(0)
    free = [breast(n, side, *random.uniform(0, 60, 2)) for n in range(count) for side in ("R", "L")]
    ill = [
        breast(count + n, "L", *random.uniform(20, 100, 2), is_positive=True) for n in range(count)
    ]
    return [*free, *ill]


@pytest.mark.parametrize("slope", [0.3, 1.0, 2.0])
def test_platt_finds_the_line_that_was_drawn(slope: float) -> None:
    random = np.random.default_rng(1)
    said = random.uniform(0.02, 0.98, 6000)
    line = Platt(kind="platt", slope=slope, intercept=-0.5, data="made up")
    true = [random.uniform() < line.calibrated(p) for p in said]
    breasts = [
        SaidPart(str(n), n, frozenset("R"), is_positive, (SaidImage("CC", 100 * p),))
        for n, (p, is_positive) in enumerate(zip(said, true, strict=True))
    ]
    found = platt(breasts, "made up")
    assert found is not None
    assert found.slope == pytest.approx(slope, abs=0.12)
    assert found.intercept == pytest.approx(-0.5, abs=0.12)
    assert found.prevalence == pytest.approx(np.mean(true), abs=1e-5)


def test_calibrated_breasts_are_as_often_positive_as_is_said() -> None:
    breasts = collection()
    line = platt(breasts, "made up")
    before, after = (
        np.mean([(reported(one, calibration) / 100 - one.is_positive) ** 2 for one in breasts])
        for calibration in (None, line)
    )
    assert line is not None
    assert after <= before
    mean = np.mean([reported(one, line) for one in breasts])
    assert mean == pytest.approx(100 * 200 / 600, abs=4)


def test_kinds_that_a_threshold_tells_apart_are_calibrated_too() -> None:
    breasts = [
        *(breast(n, "R", 10 + n) for n in range(9)),
        *(breast(n, "L", 60 + n, is_positive=True) for n in range(9)),
    ]
    found = platt(breasts, "made up")
    assert found is not None
    assert 0 < found.slope < 100


def test_a_score_that_is_lower_in_the_ill_is_not_calibrated() -> None:
    turned = [SaidPart(b.woman, b.exam, b.sides, not b.is_positive, b.images) for b in collection()]
    assert platt(turned, "made up") is None
    with pytest.raises(ConfigError, match="found 0 and 3; give more women"):
        platt([breast(n, "R", 5) for n in range(3)], "made up")


def test_points_are_of_whole_exams_and_of_affected_breasts() -> None:
    breasts = collection()
    lone = [breast(900 + n, "R", 99.0, 99.0) for n in range(50)]
    chosen = choose_points([*breasts, *lone], (0.9, 0.8), None, "made up")
    urgent, other = chosen.points
    assert (urgent.name, other.name) == ("urgent", "specificity 80")
    assert urgent.negatives == 200, "one breast alone is no exam"
    assert urgent.true_negatives == 180
    assert other.true_negatives == 160
    assert urgent.positives == 200
    scores = [reported(one, None) / 100 for one in breasts if one.is_positive]
    assert urgent.true_positives == sum(score >= urgent.threshold for score in scores)
    assert urgent.threshold > other.threshold
    assert chosen == choose_points([*breasts, *lone], (0.9, 0.8), None, "made up")
    points = list(manifest_points(chosen))
    assert [point.threshold for point in points] == [urgent.threshold, other.threshold]
    negatives = chosen.manifest_negatives()
    assert negatives is not None
    assert negatives.count == 200


def test_a_woman_with_the_disease_has_no_exam_without_it() -> None:
    breasts = collection(40)
    later = [breast(40, side, 99.0) for side in ("R", "L")]  # ill, in another exam of hers
    chosen = choose_points(
        [*breasts, *(SaidPart(b.woman, 999, *_rest(b)) for b in later)], (0.9,), None, "made up"
    )
    assert chosen.points[0].negatives == 40
    assert chosen.manifest_negatives() is None, "fewer than a hundred"


def _rest(one: SaidPart) -> tuple[frozenset[str], bool, tuple[SaidImage, ...]]:
    return one.sides, one.is_positive, one.images


def test_points_of_exams_are_of_whole_ones_and_of_affected_exams() -> None:
    free = [exam(n, n / 10) for n in range(200)]
    lone = [exam(300 + n, 99.0, sides="R") for n in range(50)]
    ill = [exam(400 + n, 10 + n / 2, is_positive=True) for n in range(100)]
    again = SaidPart("W400", 900, frozenset("RL"), False, (SaidImage("", 99.0),))
    parts = [*free, *lone, *ill, again]
    line = platt(parts, "made up")
    assert line is not None
    assert line.prevalence == pytest.approx(100 / 351, abs=1e-5)
    for calibration in (None, line):
        (urgent,) = choose_points(parts, (0.9,), calibration, "made up").points
        assert (urgent.negatives, urgent.true_negatives) == (200, 180), "whole ones of the healthy"
        assert urgent.positives == 100
        assert urgent.true_positives == sum(
            reported(one, calibration) / 100 >= urgent.threshold for one in ill
        )


def test_too_few_exams_are_told() -> None:
    chosen = choose_points(collection(10), (0.9,), None, "made up")
    assert chosen.points == ()
    assert chosen.why_no_points.startswith("10 exams of women without the disease who have both")
    assert chosen.why_no_points.endswith("at least 20 are wanted")


def test_a_score_that_cannot_rise_has_no_threshold() -> None:
    full = [breast(n, s, 100.0) for n in range(30) for s in ("R", "L")]
    chosen = choose_points(full, (0.9,), None, "made up")
    assert chosen.points == ()
    assert chosen.why_no_points.startswith("no threshold has the specificity 0.9:")
