"""Linear scores of pooled features: how a recipe with [regression] learns the labels.

The trunk sees each image once, as it is and with its rows turned, and what it sees is pooled after
some of its stages; the mean of both directions is kept on the disk. Everything behind the pooling
is linear, so that all scores of a stage fold into one layer, and a network of each fold takes
seconds. Standardised features, logistic regression with L2 by scikit-learn, in float64.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from node.errors import ConfigError
from node.evaluation.evaluating import Progressing
from node.training.alike import interval_of
from node.training.examples import Example
from node.training.features import (
    FEATURES_BATCH,
    FLUSHED_AFTER,
    ImageTensors,
    device_here,
    replaced,
)
from node.training.kept_arrays import DONE, open_arrays
from node.training.lesions import TaughtLesions
from node.training.networks import ScaleOfGrey, ScoringNetwork, as_colours
from node.training.recipe import Alike, Recipe, RegressedFeatures
from node.training.trunks import Trunk, begun_trunk

STEPS = 5000
"""In which a regression converges, by far."""
LEAST_FEATURE_DEVIATION = 1e-3
"""Of a feature: one that hardly ever differs is not evened out by more. Programs that run the
network round differently by up to 1e-5, of which nothing may become a difference of scores."""
LEAST_SPREAD = 1e-6
"""Of the scores of a regression, which is that of nothing but rounding."""

_Numbers = NDArray[np.float64]


class RegressedNetwork(ScoringNetwork):
    """A trunk, and one linear layer for each of the features that are regressed on.

    Until it was fitted its logits are 0.
    """

    def __init__(
        self,
        trunk: Trunk,
        features: Sequence[RegressedFeatures],
        grey: ScaleOfGrey,
        lesions: TaughtLesions | None,
    ):
        super().__init__()
        self.trunk = trunk
        self.features = tuple(features)
        self.grey = grey
        """What is white: 255 of bytes, else 1."""
        self.lesion_logit: nn.Conv2d | None = None
        if lesions is not None:
            found = trunk.load_state_dict(dict(lesions.weights), strict=False)
            assert not found.unexpected_keys
            self.lesion_logit = nn.Conv2d(trunk.channels[trunk.stages[-1]], 1, 1)
            with torch.no_grad():
                self.lesion_logit.weight.copy_(lesions.cell_weight)
                self.lesion_logit.bias.copy_(lesions.cell_bias)
        self.linears = nn.ModuleList()
        for one in features:
            size = trunk.channels[one.after] * (1 if one.pool == "lesions" else 3)
            linear = nn.Linear(size, 1)
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
            self.linears.append(linear)
        self.requires_grad_(False)

    @property
    def has_cells(self) -> bool:
        """Whether there is a heat map: it is that of the lesion logit."""
        return self.lesion_logit is not None

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, 1)."""
        return self.logits(self.pooled(images))

    def scored_and_shown(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, and where lesions lie by both directions: (n, 1, rows, columns)."""
        pooled, cells = self._seen(images)
        other_pooled, other_cells = self._seen(images.flip(2))
        shown = (cells.sigmoid() + other_cells.sigmoid().flip(2)) / 2
        return self.logits(_mean(pooled, other_pooled)), shown

    def pooled(self, images: Tensor) -> list[Tensor]:
        """Return what is regressed on, (n, size) each: the mean of both directions of rows."""
        return _mean(self._seen(images)[0], self._seen(images.flip(2))[0])

    def logits(self, pooled: Sequence[Tensor]) -> Tensor:
        """Return logits (n, 1) of pooled features."""
        each = [linear(one) for linear, one in zip(self.linears, pooled, strict=True)]
        return torch.stack(each).sum(0)

    def _seen(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return pooled features by one direction, and lesion logits; nothing without [lesions]."""
        x, pooled = as_colours(images, self.grey), dict[int, Tensor]()
        cells = images.new_zeros(0)
        last = self._last_stage
        for stage in self.trunk.stages[: self.trunk.stages.index(last) + 1]:
            x = self.trunk.step(stage, x)
            if self.lesion_logit is not None and stage == self.trunk.stages[-1]:
                cells = self.lesion_logit(x)
            for place, one in enumerate(self.features):
                if one.after == stage:
                    is_simple = one.pool == "mean, highest, deviation"
                    pooled[place] = statistics(x) if is_simple else _where_lesions_lie(x, cells)
        return [pooled[place] for place in range(len(self.features))], cells

    @property
    def _last_stage(self) -> str:
        """The last one that anything is taken from."""
        stages = self.trunk.stages
        if self.has_cells:
            return stages[-1]
        return max((one.after for one in self.features), key=stages.index)


def statistics(x: Tensor) -> Tensor:
    """Return mean, highest and standard deviation (n - 1) over the cells of each channel."""
    cells = x.flatten(2)
    mean = cells.mean(2)
    squares = ((cells - mean[:, :, None]) ** 2).sum(2)
    deviation = (squares / max(1, cells.shape[2] - 1)).sqrt()
    return torch.cat([mean, cells.amax(2), deviation], 1)


def _where_lesions_lie(x: Tensor, logits: Tensor) -> Tensor:
    """Return the mean over cells, weighted by the softmax of their lesion logits."""
    weights = logits.flatten(2).softmax(2)
    return (x.flatten(2) * weights).sum(2)


def _mean(some: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    return [(one + other) / 2 for one, other in zip(some, others, strict=True)]


def begun_regression(
    recipe: Recipe, grey: ScaleOfGrey, lesions: TaughtLesions | None
) -> RegressedNetwork:
    """Return the network of a recipe that has [regression], before any label was seen."""
    assert recipe.regression is not None
    trunk = begun_trunk(recipe.network.trunk)
    network = RegressedNetwork(trunk, recipe.regression.features, grey, lesions)
    return network.eval().to(memory_format=torch.channels_last)


# --- pooled features --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PooledFeatures:
    """Of all examples, in their order."""

    key: str
    """Of all that they follow from."""
    arrays: tuple[NDArray[np.float32], ...]
    """(n, size) for each of the recipe's features."""


def pooled_features(
    network: RegressedNetwork, tensors: ImageTensors, work: Path, progress: Progressing
) -> PooledFeatures:
    """Return what a network regresses on; what an earlier run kept is not looked at again.

    Each of the features is kept by itself: recipes that differ in the others share it.
    """
    keys = _keys_of_pooled(network, tensors)
    kept = [
        _KeptFeature.at(work / "pooled" / key[:16], len(tensors), linear.in_features)
        for key, linear in zip(keys, network.linears, strict=True)
    ]
    device = device_here()
    network.to(device).eval()
    starts = range(min(one.done for one in kept), len(tensors), FEATURES_BATCH)
    with progress("Looking at images", len(starts)) as advance, torch.inference_mode():
        for start in starts:
            stop = min(start + FEATURES_BATCH, len(tensors))
            images = torch.from_numpy(np.asarray(tensors[start:stop])).to(device).float()
            images = images.contiguous(memory_format=torch.channels_last)
            is_to_flush = stop % (FEATURES_BATCH * FLUSHED_AFTER) == 0 or stop == len(tensors)
            for one, pooled in zip(kept, network.pooled(images), strict=True):
                one.array[start:stop] = pooled.cpu().numpy()
                if is_to_flush:
                    one.flush(stop)
            advance()
    key = hashlib.sha256("".join(keys).encode()).hexdigest()
    return PooledFeatures(key, tuple(np.array(one.array) for one in kept))


@dataclass(slots=True)
class _KeptFeature:
    """One of the features, of all images, on the disk."""

    folder: Path
    array: np.memmap[Any, np.dtype[np.float32]]
    done: int
    """So many images, from the first, are there."""

    @classmethod
    def at(cls, folder: Path, count: int, size: int) -> Self:
        """Open it, or begin."""
        folder.mkdir(parents=True, exist_ok=True)
        words = "what is regressed on needs", "name another folder"
        kept = open_arrays(folder, {"pooled.f32": (count, size)}, np.float32, *words)
        return cls(folder, kept.arrays[0], kept.done)

    def flush(self, done: int) -> None:
        """See that so many are there, whenever the machine stops."""
        self.array.flush()
        if done > self.done:
            self.done = done
            replaced(self.folder / DONE, str(done).encode())


def _keys_of_pooled(network: RegressedNetwork, tensors: ImageTensors) -> list[str]:
    """Return for each of the features a digest of all that it follows from."""
    words = [network.trunk.name, network.grey, torch.__version__]
    digest = hashlib.sha256(json.dumps(words).encode())
    for name, value in network.state_dict().items():
        if not name.startswith("linears."):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(value.cpu().numpy()).tobytes())
    for start in range(0, len(tensors), FEATURES_BATCH):
        digest.update(np.ascontiguousarray(tensors[start : start + FEATURES_BATCH]).tobytes())
    keys = []
    for one in network.features:
        mine = digest.copy()
        mine.update(json.dumps([one.after, one.pool]).encode())
        keys.append(mine.hexdigest())
    return keys


# --- regression -------------------------------------------------------------------------------


def fitted_network(
    recipe: Recipe,
    network: RegressedNetwork,
    pooled: PooledFeatures,
    examples: Sequence[Example],
    places: Sequence[int],
) -> RegressedNetwork:
    """Return a copy of a network that has learnt the labels of some examples.

    Raise ConfigError if a weighting has no group with both positive and negative ones.
    """
    assert recipe.regression is not None
    found = copy.deepcopy(network).cpu()
    learnt = [examples[place] for place in places]
    labels = np.array([one.label > 0.5 for one in learnt], np.int64)
    weightings = [weights_of(learnt, by) for by in recipe.regression.alike]
    count = len(weightings) * len(recipe.regression.features)
    for one, linear, array in zip(
        recipe.regression.features, found.linears, pooled.arrays, strict=True
    ):
        rows = array[np.asarray(places, np.int64)].astype(np.float64)
        lines = [_line(rows, labels, weights, one.c) for weights in weightings]
        with torch.no_grad():
            weight = sum(coefficients for coefficients, _ in lines) / count
            linear.weight.copy_(torch.from_numpy(weight)[None])
            linear.bias.fill_(sum(offset for _, offset in lines) / count)
    return found.eval()


def _line(
    rows: _Numbers, labels: NDArray[np.int64], weights: _Numbers, c: float
) -> tuple[_Numbers, float]:
    """Return coefficients and offset of a score in units of its own standard deviation."""
    is_used = weights > 0
    rows, labels, weights = rows[is_used], labels[is_used], weights[is_used]
    mean, deviation = rows.mean(0), np.maximum(rows.std(0), LEAST_FEATURE_DEVIATION)
    model = LogisticRegression(C=c, max_iter=STEPS)
    model.fit((rows - mean) / deviation, labels, sample_weight=weights / weights.mean())
    coefficients = model.coef_[0] / deviation
    offset = float(model.intercept_[0] - coefficients @ mean)
    spread = max(float((rows @ coefficients + offset).std()), LEAST_SPREAD)
    return coefficients / spread, offset / spread


def weights_of(examples: Sequence[Example], by: Sequence[Alike]) -> _Numbers:
    """Return how much each image counts, (n,).

    Images of a breast count 1 together as they make its score: alike by projection, and within
    one. In each group as many positive breasts as negative ones: a group of p and n counts as the
    harmonic mean of p and n for each, so that one without the other counts nothing.
    """
    shares = shares_of_breasts(examples)
    groups = defaultdict[tuple[str | int, ...], list[int]](list)
    for place, example in enumerate(examples):
        groups[tuple(interval_of(example.row.columns.get(o.column, ""), o) for o in by)].append(
            place
        )
    is_positive = np.array([example.label > 0.5 for example in examples], np.bool_)
    weights = np.zeros(len(examples))
    for places in groups.values():
        mine = np.zeros(len(examples), np.bool_)
        mine[places] = True
        sums = [shares[mine & is_so].sum() for is_so in (is_positive, ~is_positive)]
        if min(sums) > 0:
            size = 2 / (1 / sums[0] + 1 / sums[1])
            for is_so, total in zip((is_positive, ~is_positive), sums, strict=True):
                weights[mine & is_so] = shares[mine & is_so] * size / total
    if not weights.any():
        within = f" within a group of {', '.join(one.column for one in by)}" if by else ""
        raise ConfigError(
            f"expected positive and negative images{within}, found only one of them: give more "
            "women, or take columns out of the recipe: [regression] alike"
        )
    return weights


def shares_of_breasts(examples: Sequence[Example]) -> _Numbers:
    """Return the share of each image in the score of its breast, (n,): the mean of its views."""
    views = defaultdict[tuple[int, str], dict[str, int]](lambda: defaultdict(int))
    for example in examples:
        views[example.breast][example.projection] += 1
    return np.array(
        [1 / (len(of := views[one.breast]) * of[one.projection]) for one in examples], np.float64
    )


def regressed_logits(network: RegressedNetwork, pooled: PooledFeatures) -> NDArray[np.float32]:
    """Return the logits of all examples, (n,), as the network gives them of their images."""
    with torch.inference_mode():
        tensors = [torch.from_numpy(array) for array in pooled.arrays]
        return np.asarray(network.cpu().logits(tensors)[:, 0].numpy())
