"""What is measured of breasts, against pairs counted one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import ConfigError
from node.evaluation.labels import LabelRow
from node.study import Laterality
from node.training.alike import are_alike
from node.training.examples import Example
from node.training.measuring import (
    ScoredBreast,
    alone,
    breasts_of,
    cross_validation,
    matched_auc,
    within_folds,
)
from node.training.recipe import Matched

MATCHED = (Matched(column="machine"), Matched(column="age", within=5))


@st.composite
def collections(draw: st.DrawFn) -> list[ScoredBreast]:
    count = draw(st.integers(0, 30))
    return [
        ScoredBreast(
            woman=f"W{draw(st.integers(0, 12))}",
            exam=number,
            side="R",
            fold=draw(st.integers(0, 2)),
            is_positive=draw(st.booleans()),
            score=draw(st.integers(0, 5)) / 5,
            columns={
                "machine": draw(st.sampled_from(["", "1", "2"])),
                "age": draw(st.sampled_from(["", "50", "053Y", "55", "56.5", "61"])),
            },
        )
        for number in range(count)
    ]


@given(collections())
@settings(max_examples=60, deadline=None)
def test_matched_auc_is_a_count_of_pairs(breasts: list[ScoredBreast]) -> None:
    won, pairs = 0.0, 0
    for one in breasts:
        for other in breasts:
            is_pair = one.is_positive and not other.is_positive and one.fold == other.fold
            if is_pair and are_alike([one.columns], [other.columns], MATCHED).all():
                won += (one.score > other.score) + 0.5 * (one.score == other.score)
                pairs += 1
    found = matched_auc(breasts, MATCHED)
    assert found.pairs == pairs
    assert found.auc.value == (pytest.approx(won / pairs) if pairs else None)


@given(collections())
@settings(max_examples=60, deadline=None)
def test_the_plain_auc_is_the_mean_of_the_folds(breasts: list[ScoredBreast]) -> None:
    aucs = []
    for fold in {breast.fold for breast in breasts}:
        part = [breast for breast in breasts if breast.fold == fold]
        pairs = [
            (one.score > other.score) + 0.5 * (one.score == other.score)
            for one in part
            for other in part
            if one.is_positive and not other.is_positive
        ]
        aucs.append(sum(pairs) / len(pairs) if pairs else np.nan)
    found = within_folds(breasts, [breast.score for breast in breasts]).auc.value
    expected = float(np.mean(aucs)) if aucs else np.nan
    assert found == (None if np.isnan(expected) else pytest.approx(expected))


def breast(number: int, *, is_positive: bool, **changes: object) -> ScoredBreast:
    made = ScoredBreast(f"W{number}", number, "R", number % 2, is_positive, 0.0, {})
    return replace(made, **changes)  # type: ignore[arg-type]


def test_words_alone_tell_nothing_of_their_own_fold() -> None:
    # A machine of one woman each would tell all, if a breast told of itself.
    unique = [
        breast(n, is_positive=n % 4 < 2, columns={"machine": str(n), "age": str(40 + n % 4)})
        for n in range(80)
    ]
    assert alone(unique, MATCHED[0]).auc.value == 0.5
    older = alone(unique, MATCHED[1])
    assert older.auc.value == 0.0
    told = [replace(one, columns={"machine": str(one.is_positive)}) for one in unique]
    one_fold = [one for one in told if one.fold == 0]
    found = alone(one_fold, MATCHED[0])
    assert (found.auc.value, found.auc.interval) == (None, None), "no other fold tells of it"
    assert (found.positives, found.negatives) == (20, 20)
    assert alone([one for one in unique if one.fold == 0], MATCHED[1]).auc.value == 0.0
    assert alone(told, MATCHED[0]).auc.value == 1.0


def test_parts_are_measured_where_there_are_enough() -> None:
    kinds = ["yes"] * 12 + ["no"] * 12 + [""] * 40
    breasts = [
        breast(
            n,
            is_positive=n < 24,
            score=0.9 if n < 12 else 0.5,
            columns={"invasive": kind, "machine": "1" if n % 3 else "2", "age": "50"},
        )
        for n, kind in enumerate(kinds)
    ]
    found = cross_validation(breasts, MATCHED, ("machine",))
    assert list(found.within["machine"]) == ["1"], "of the other there are 8 positive breasts"
    assert list(found.of_fold) == [0, 1]
    assert (found.plain.positives, found.plain.negatives, found.plain.women) == (24, 40, 64)
    assert found.matched is not None
    assert found.matched.auc.interval is not None
    assert found == cross_validation(breasts, MATCHED, ("machine",))


def image(side: str, projection: str, *, label: float = 0, woman: str = "A") -> Example:
    row = LabelRow(2, Path("x.png"), woman, str(label), columns={"age": "50", "view": projection})
    return Example(row, 1, woman, Laterality(side), projection, "0" * 64, label)


def test_a_breast_is_measured_by_itself() -> None:
    images = [image("R", "CC"), image("R", "CC"), image("R", "MLO", label=1)]
    scores = [0.2, 0.4, 0.7]
    (right,) = breasts_of(images, scores, [3, 3, 3])
    assert right.score == pytest.approx(0.5), "two CC images weigh no more than one"
    assert (right.is_positive, right.fold, right.columns) == (True, 3, {"age": "50"})
    with_other = breasts_of([*images, image("L", "CC")], [*scores, 0.99], [3, 3, 3, 3])
    assert with_other[0] == right, "whether the other breast is there changes nothing"
    (twice,) = breasts_of([*images, image("R", "MLO")], [*scores, 0.7], [3] * 4)
    assert twice.score == pytest.approx(right.score)


def test_nothing_is_measured_by_how_many_images_there_are() -> None:
    with pytest.raises(ConfigError, match="column images: says how many"):
        cross_validation([], [Matched(column="images")])
