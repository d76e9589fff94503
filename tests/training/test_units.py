"""What makes one score, and which batches are drawn. No torch is needed."""

from node.training.recipe import Labels, Matched
from node.training.units import Batches, is_alike, units_of
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
        same = (Matched(column="machine"),)
        assert all(is_alike(units[one], units[other], same) for one, other in pairs)
        near = labels.matched
        assert all(is_alike(units[one], units[other], near) for one, other in pairs)
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
