"""Figures against formulas that are written another way."""

from __future__ import annotations

from math import comb, exp, log

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from node.evaluation import measures
from node.evaluation.measures import Array, Flags

SCORES = st.lists(
    st.tuples(st.integers(0, 12), st.booleans(), st.integers(0, 5)), min_size=1, max_size=40
)


def arrays(cases: list[tuple[int, bool, int]]) -> tuple[Array, Flags, NDArray[np.int64]]:
    scores, truth, patients = zip(*cases, strict=True)
    return (
        np.array(scores, np.float64),
        np.array(truth, np.bool_),
        np.array(patients, np.int64),
    )


def pair_by_pair(scores: Array, truth: Flags, weights: Array) -> float:
    """Compare every positive case with every negative one."""
    won = total = 0.0
    for i in np.flatnonzero(truth):
        for k in np.flatnonzero(~truth):
            pair = weights[i] * weights[k]
            won += pair * (1.0 if scores[i] > scores[k] else 0.5 if scores[i] == scores[k] else 0)
            total += pair
    return won / total if total else float("nan")


@settings(max_examples=examples(150))
@given(SCORES, st.integers(0, 2**32 - 1))
def test_the_area_is_the_share_of_pairs_in_order_in_every_draw(
    cases: list[tuple[int, bool, int]], seed: int
) -> None:
    scores, truth, _ = arrays(cases)
    weights = np.random.default_rng(seed).integers(0, 4, (5, len(cases))).astype(np.float64)
    found = measures.auc_of(scores, truth)(weights)
    expected = [pair_by_pair(scores, truth, draw) for draw in weights]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@settings(max_examples=examples(150))
@given(SCORES)
def test_the_area_depends_on_the_order_of_the_scores_alone(
    cases: list[tuple[int, bool, int]],
) -> None:
    scores, truth, _ = arrays(cases)
    area = measures.area_under_curve(scores, truth)
    assert measures.area_under_curve(np.exp(scores / 3), truth) == pytest.approx(area, nan_ok=True)
    turned = measures.area_under_curve(-scores, truth)
    assert turned == pytest.approx(1 - area, nan_ok=True)
    assert measures.area_under_curve(scores, ~truth) == pytest.approx(turned, nan_ok=True)


@settings(max_examples=examples(150))
@given(SCORES)
def test_the_curve_encloses_the_area(cases: list[tuple[int, bool, int]]) -> None:
    scores, truth, _ = arrays(cases)
    if truth.all() or not truth.any():
        return
    curve = measures.roc(scores, truth)
    across = np.concatenate(([0.0], curve.false_positives))
    upwards = np.concatenate(([0.0], curve.true_positives))
    assert across[-1] == upwards[-1] == 1
    area = np.trapezoid(upwards, across)
    assert area == pytest.approx(measures.area_under_curve(scores, truth))
    for threshold, false, true in zip(
        curve.thresholds, curve.false_positives, curve.true_positives, strict=True
    ):
        assert true == np.mean(scores[truth] >= threshold)
        assert false == np.mean(scores[~truth] >= threshold)


def test_drawn_patients_come_with_all_their_cases() -> None:
    """Two patients of a hundred cases each: the share is 0, 1/2 or 1, however many cases."""
    patients = np.repeat([7, 9], 100)
    those = patients == 7
    seen = list[Array]()

    def measure(weights: Array) -> Array:
        seen.append(weights)
        return measures.share_of(those, np.ones(200, np.bool_))(weights)

    figure = measures.with_intervals({"share": measure}, patients)["share"]
    assert figure.value == 0.5
    assert figure.interval == (0.0, 1.0)
    drawn = np.concatenate(seen[1:])
    assert len(drawn) == measures.DRAWS
    assert (drawn.sum(axis=1) == 200).all()
    assert (drawn[:, :100] == drawn[:, :1]).all()


def test_an_interval_is_that_of_a_bootstrap_written_as_a_loop() -> None:
    random = np.random.default_rng(1)
    patients = np.repeat(np.arange(60), 3)
    truth = np.repeat(random.random(60) < 0.3, 3)
    scores = truth + random.normal(0, 1.2, 180)
    figure = measures.with_intervals({"auc": measures.auc_of(scores, truth)}, patients)["auc"]
    loop = []
    for _ in range(1500):
        chosen = random.integers(0, 60, 60)
        cases = np.concatenate([np.flatnonzero(patients == one) for one in chosen])
        loop.append(pair_by_rank(scores[cases], truth[cases]))
    assert figure.interval == pytest.approx(np.percentile(loop, [2.5, 97.5]), abs=0.02)
    assert figure.value == pytest.approx(pair_by_rank(scores, truth))


def pair_by_rank(scores: Array, truth: Flags) -> float:
    difference = scores[truth][:, None] - scores[~truth][None, :]
    return float(np.mean(difference > 0) + np.mean(difference == 0) / 2)


def test_the_same_cases_get_the_same_interval_each_time() -> None:
    random = np.random.default_rng(2)
    scores, truth = random.random(50), random.random(50) < 0.5
    one, two = (
        measures.with_intervals({"auc": measures.auc_of(scores, truth)}, np.arange(50))
        for _ in range(2)
    )
    assert one == two


def test_many_cases_are_drawn_in_parts_and_are_the_same_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(3)
    scores, truth = random.random(300), random.random(300) < 0.5
    asked = {"auc": measures.auc_of(scores, truth)}
    whole = measures.with_intervals(asked, np.arange(300))
    monkeypatch.setattr(measures, "_CHUNK", 7 * 300)
    assert measures.with_intervals(asked, np.arange(300)) == whole


def test_of_one_kind_alone_there_is_no_area_and_of_one_patient_no_interval() -> None:
    scores = np.array([0.1, 0.7, 0.4])
    asked = {"auc": measures.auc_of(scores, np.array([False] * 3))}
    assert measures.with_intervals(asked, np.arange(3))["auc"] == measures.Measured(None, None)
    truth = np.array([False, True, True])
    alone = measures.with_intervals({"auc": measures.auc_of(scores, truth)}, np.zeros(3, np.int64))
    assert alone["auc"] == measures.Measured(1.0, None)


def test_two_patients_of_different_kinds_are_too_few_for_an_interval() -> None:
    """Half of the draws hold one of them alone."""
    asked = {"auc": measures.auc_of(np.array([0.1, 0.7]), np.array([False, True]))}
    assert measures.with_intervals(asked, np.arange(2))["auc"].interval is None


@pytest.mark.parametrize("patients", [1, 4, 30, 500])
def test_a_share_of_all_has_the_bound_of_clopper_and_pearson(patients: int) -> None:
    """The lower end is where as many hits in a row have a probability of 2.5 %."""
    share = measures.with_bound(measures.Measured(1.0, None), patients)
    assert share.interval is not None
    low, high = share.interval
    assert high == 1
    assert comb(patients, patients) * low**patients == pytest.approx(0.025)
    none = measures.with_bound(measures.Measured(0.0, None), patients)
    assert none.interval == pytest.approx((0.0, 1 - low))


def test_the_calibration_error_is_that_of_ten_bins() -> None:
    said = np.array([0.05, 0.08, 0.15, 0.95, 1.0, 0.3])
    truth = np.array([False, True, False, True, True, False])
    once = np.ones((1, 6))
    # bins: 0.05 and 0.08 (mean 0.065, half of them true), 0.15, 0.3, and 0.95 with 1.0
    expected = (2 * abs(0.065 - 0.5) + 0.15 + 0.3 + 2 * abs(0.975 - 1)) / 6
    assert measures.calibration_error_of(said, truth)(once)[0] == pytest.approx(expected)


def test_the_recalibrating_line_is_the_one_the_truth_was_drawn_from() -> None:
    random = np.random.default_rng(4)
    odds = random.normal(0, 1.5, 200_000)
    truth = random.random(len(odds)) < 1 / (1 + np.exp(-(0.4 + 0.6 * odds)))
    line = measures.recalibration(1 / (1 + np.exp(-odds)), truth)
    assert line is not None
    assert line.slope == pytest.approx(0.6, abs=0.02)
    assert line.intercept == pytest.approx(0.4, abs=0.02)


def test_the_recalibrating_line_is_the_likeliest() -> None:
    said = [0.2, 0.3, 0.4, 0.6, 0.7, 0.9]
    truth = [False, True, False, False, True, True]
    line = measures.recalibration(np.array(said), np.array(truth))
    assert line is not None

    def likelihood(intercept: float, slope: float) -> float:
        total = 0.0
        for p, is_true in zip(said, truth, strict=True):
            q = 1 / (1 + exp(-(intercept + slope * log(p / (1 - p)))))
            total += log(q if is_true else 1 - q)
        return total

    best = likelihood(line.intercept, line.slope)
    for a, b in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert likelihood(line.intercept + a, line.slope + b) < best


@pytest.mark.parametrize(
    ("said", "truth"),
    [
        ([0.1, 0.2, 0.8], [False, False, True]),
        ([0.1, 0.2, 0.8], [True, True, False]),
        ([0.5, 0.5, 0.5], [True, False, False]),
        ([0.1, 0.2, 0.8], [True, True, True]),
    ],
)
def test_what_is_told_apart_or_all_alike_has_no_recalibrating_line(
    said: list[float], truth: list[bool]
) -> None:
    assert measures.recalibration(np.array(said), np.array(truth)) is None


@settings(max_examples=examples(50))
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=30))
def test_kappa_is_that_of_the_table_of_counts(pairs: list[tuple[int, int]]) -> None:
    truth, said = (np.array(one, np.int64) for one in zip(*pairs, strict=True))
    table = np.zeros((4, 4))
    for t, s in pairs:
        table[t, s] += 1
    weights = np.array([[(i - k) ** 2 for k in range(4)] for i in range(4)])
    chance = np.outer(table.sum(1), table.sum(0)) / table.sum()
    found = measures.kappa_of(truth, said, 4)(np.ones((1, len(pairs))))[0]
    if (weights * chance).sum() == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(1 - (weights * table).sum() / (weights * chance).sum())
