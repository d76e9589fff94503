"""What makes one score, and which batches are drawn. No torch is needed."""

from __future__ import annotations

import numpy as np
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from node.training.alike import are_alike
from node.training.recipe import Labels, Matched
from node.training.units import Batches, LearningUnit, units_of
from training.planted import planted


def test_images_make_breasts_and_exams() -> None:
    examples = planted(4).examples

    assert [unit.images for unit in units_of(examples, "breast")] == [
        (0, 1), (2, 3), (4, 5), (6, 7)
    ]  # fmt: skip
    assert len(units_of(examples, "image")) == 8
    assert [unit.label for unit in units_of(examples, "exam")] == [0, 1, 0, 1]


def test_balanced_batches_hold_as_many_positive_as_negative_ones_of_a_machine() -> None:
    units = units_of(planted(40).examples, "breast")
    labels = Labels(balanced_within="machine", matched=(Matched(column="age", within=5),))
    batches = Batches(units, labels, size=8, seed=1)

    epoch = [batch.tolist() for batch in batches.epoch(0)]

    assert len(epoch) == len(batches) == 5
    for batch in epoch:
        pairs = list(zip(batch[::2], batch[1::2], strict=True))
        assert all(units[one].label > units[other].label for one, other in pairs)
        for one, other in pairs:
            columns = [units[one].columns], [units[other].columns]
            assert are_alike(*columns, (Matched(column="machine"), *labels.matched)).all()
    assert sorted(one for batch in epoch for one in batch[::2]) == list(range(1, 40, 2))


def test_batches_follow_from_seed_and_epoch() -> None:
    units = units_of(planted(20).examples, "breast")

    def drawn(seed: int, epoch: int) -> list[int]:
        batches = Batches(units, Labels(), 8, seed).epoch(epoch)
        return [one for batch in batches for one in batch.tolist()]

    assert sorted(drawn(1, 0)) == list(range(20))
    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(1, 1)
    assert drawn(1, 0) != drawn(2, 0)


WORDS = st.sampled_from(["", "A", "B"])
AGES = st.sampled_from(["", "50", "052Y", "55.5", "56", "none", "70"])
UNITS = st.lists(st.tuples(st.booleans(), WORDS, WORDS, AGES), max_size=24)
MATCHED = st.sampled_from(
    [
        (),
        (Matched(column="age", within=5),),
        (Matched(column="view"), Matched(column="age", within=2)),
    ]
)


@given(UNITS, MATCHED, st.integers(0, 3))
@settings(max_examples=examples(150), deadline=None)
def test_partners_are_those_that_are_found_one_by_one(
    said: list[tuple[bool, str, str, str]], matched: tuple[Matched, ...], seed: int
) -> None:
    units = [
        LearningUnit(str(i), str(i), (i,), ((i,),), float(is_so), dict(zip(NAMES, of, strict=True)))
        for i, (is_so, *of) in enumerate(said)
    ]
    batches = Batches(units, Labels(balanced_within="machine", matched=matched), 4, seed)

    drawn = [one for batch in batches.epoch(0) for one in batch.tolist()]

    assert drawn == drawn_one_by_one(units, matched, seed)


NAMES = ("machine", "view", "age")


def drawn_one_by_one(
    units: list[LearningUnit], matched: tuple[Matched, ...], seed: int
) -> list[int]:
    negative = [i for i, unit in enumerate(units) if unit.label < 0.5]
    partners = dict[int, list[int]]()
    for i, unit in enumerate(units):
        if negative and unit.label > 0.5:
            by = (Matched(column="machine"),)
            near = [j for j in negative if is_alike(unit, units[j], by)]
            nearest = [j for j in near if is_alike(unit, units[j], matched)]
            partners[i] = nearest or near or negative
    random = np.random.default_rng([seed, 0])
    order = random.permutation([*partners]).tolist()
    return [one for i in order for one in (i, int(random.choice(partners[int(i)])))]


def is_alike(one: LearningUnit, other: LearningUnit, matched: tuple[Matched, ...]) -> bool:
    return bool(are_alike([one.columns], [other.columns], matched).all())


def test_many_units_find_their_partners_at_once() -> None:
    labels = Labels(balanced_within="machine", matched=(Matched(column="age", within=5),))
    units = [
        LearningUnit(
            str(i), str(i), (i,), ((i,),), i % 2, {"machine": str(i % 7), "age": f"{i % 997 / 10}"}
        )
        for i in range(24_000)
    ]
    assert len(Batches(units, labels, 24_000, 0)) == 1
