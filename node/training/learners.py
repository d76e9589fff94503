"""What learns from some examples and judges others: one interface for the road, two kinds of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from node.evaluation.evaluating import Progressing
from node.training.examples import Examples
from node.training.features import batches_to_see, frozen_features, grey_of
from node.training.learning import (
    NetworkLessons,
    TrainedNetwork,
    require_overfitting,
    train_network,
)
from node.training.lesion_boxes import BoxedFilms
from node.training.lesions import taught
from node.training.networks import LearningNetwork, ScoringNetwork, begun_network
from node.training.recipe import Recipe
from node.training.regression import (
    RegressedNetwork,
    begun_regression,
    fitted_network,
    pooled_features,
    regressed_logits,
)
from node.training.scoring import Logits
from node.training.units import units_of


class Learnt(Protocol):
    """What came of learning from the examples of all folds but one."""

    @property
    def logits(self) -> Sequence[Logits]:
        """What is said of the watched images after each epoch that may be chosen."""

    def network(self, epoch: int) -> ScoringNetwork:
        """Return the network as it was after one of these epochs."""


class Learner(Protocol):
    """Learns as often as there are folds, and begins anew each time."""

    def learn(self, what: str, others: Sequence[int], watched: Sequence[int]) -> Learnt:
        """Learn from some examples and judge others; `what` tells whoever waits."""


class _LearntByGradient:
    def __init__(self, learner: GradientLearner, trained: TrainedNetwork) -> None:
        self._learner = learner
        self._trained = trained
        self.logits: Sequence[Logits] = trained.logits

    def network(self, epoch: int) -> LearningNetwork:
        return self._trained.load(self._learner.begun(), epoch)


class GradientLearner:
    """A head, and then the later stages with it, by gradient descent."""

    def __init__(
        self, recipe: Recipe, examples: Examples, work: Path, progress: Progressing
    ) -> None:
        self._recipe = recipe
        self._examples = examples
        self._work = work
        self._progress = progress
        words = recipe.augmentation, recipe.schedule.seed
        steps = batches_to_see(len(examples.images), recipe.augmentation)
        with progress("Looking with the frozen stages", steps) as advance:
            self._features = frozen_features(self.begun(), examples.tensors, *words, work, advance)

    def begun(self) -> LearningNetwork:
        """Return the network before it has learnt anything."""
        return begun_network(self._recipe, grey_of(self._examples.tensors.dtype))

    def learn(self, what: str, others: Sequence[int], watched: Sequence[int]) -> Learnt:
        """Learn from some examples and judge others; see first that it can."""
        recipe, images = self._recipe, self._examples.images
        learnt_from = set(map(int, others))
        every = units_of(images, recipe.about)
        units = [unit for unit in every if learnt_from.issuperset(unit.images)]
        lessons = NetworkLessons(recipe, images, self._features, units, watched)
        require_overfitting(lessons, self.begun, self._work)
        network = self.begun()
        epochs = recipe.schedule.head_epochs + (recipe.schedule.epochs if network.later else 0)
        with self._progress(f"Learning, {what}", epochs) as advance:
            trained = train_network(lessons, network, self._work, lambda _: advance())
        return _LearntByGradient(self, trained)


class _LearntByRegression:
    def __init__(self, network: RegressedNetwork, logits: Logits) -> None:
        self._network = network
        self.logits: Sequence[Logits] = (logits,)

    def network(self, epoch: int) -> RegressedNetwork:
        assert epoch == 0, "there is nothing to choose"
        return self._network


class RegressionLearner:
    """Regressions on what a trunk sees, whose later stages may have been taught lesions before."""

    def __init__(
        self,
        recipe: Recipe,
        examples: Examples,
        boxes: BoxedFilms | None,
        work: Path,
        progress: Progressing,
    ) -> None:
        self._recipe = recipe
        self._examples = examples
        self._progress = progress
        lessons = None
        if recipe.lesions is not None:
            assert boxes is not None, "train_package has seen to it"
            lessons = taught(recipe, boxes, work, progress)
        self._network = begun_regression(recipe, grey_of(examples.tensors.dtype), lessons)
        self._pooled = pooled_features(self._network, examples.tensors, work, progress)

    def learn(self, what: str, others: Sequence[int], watched: Sequence[int]) -> Learnt:
        """Learn from some examples and judge others."""
        with self._progress(f"Learning, {what}", 1) as advance:
            network = fitted_network(
                self._recipe, self._network, self._pooled, self._examples.images, others
            )
            logits = regressed_logits(network, self._pooled)[list(watched)]
            advance()
        return _LearntByRegression(network, logits)


def learner_of(
    recipe: Recipe,
    examples: Examples,
    boxes: BoxedFilms | None,
    work: Path,
    progress: Progressing,
) -> Learner:
    """Return what learns as a recipe says."""
    if recipe.regression is not None:
        return RegressionLearner(recipe, examples, boxes, work, progress)
    return GradientLearner(recipe, examples, work, progress)
