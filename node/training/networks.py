"""The network that learns: a trunk, a head that judges each cell, and how images make one score.

One image gives a logit: each cell of the last features has one, and they are pooled. That of a
breast is the mean of its projections (of several images of one projection, first their mean), that
of an exam a smooth highest of its breasts. So the same weights serve a network of one image, of a
breast, and of an exam, and nothing in them depends on which other images there are.

What a package says of a breast comes of these logits in one of two ways, and they differ:

- About images: each has a score, its calibrated sigmoid, and the node takes the mean of views of
  the *scores*, as the manifest's `combine` says. `measuring.breasts_of` is given these scores.
- About breasts: the graph takes the mean of views of the *logits*, and the calibrated sigmoid of
  that. `measuring.breasts_of` is given logits, and the sigmoid follows. An AUC is the same with and
  without it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from node.training.recipe import Pool, Recipe
from node.training.stages import frozen_stages
from node.training.trunks import Trunk, begun_trunk

SHARPNESS = 2.0
"""Of the log-sum-exp over cells: 0 would be their mean, infinity the highest (Pinheiro 2015)."""
ATTENTION = 64
"""Width of the gated attention (Ilse et al. 2018)."""
LEAST_DEVIATION = 0.25
"""Of a channel, as a share of their mean: it is not evened out by more."""
DROPPED = 0.2
"""This share of channels is left out of each image while the head learns."""

ScaleOfGrey = Literal[1, 255]


def as_colours(images: Tensor, grey: ScaleOfGrey) -> Tensor:
    """Return three channels of -1..1, as trunks learnt photographs."""
    return (images / grey * 2 - 1).expand(-1, 3, -1, -1)


class Head(nn.Module):
    """Features (n, channels, rows, columns) to logits (n, answers).

    The first answer is the label's; the others are auxiliary, and not shipped.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, answers: int, pool: Pool):
        super().__init__()
        self.pool = pool
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.judge = nn.Conv2d(channels, answers, 1)
        nn.init.zeros_(self.judge.weight)
        nn.init.zeros_(self.judge.bias)
        if pool == "attention":
            self.tanh_gate = nn.Conv2d(channels, ATTENTION, 1)
            self.sigmoid_gate = nn.Conv2d(channels, ATTENTION, 1)
            self.attend = nn.Conv2d(ATTENTION, 1, 1)

    def begin(self, mean: Tensor, deviation: Tensor) -> None:
        """Say how the features of the images to learn from are spread, each (channels,)."""
        self.mean.copy_(mean)
        # Channels that hardly ever answer must not shout when they begin to, and the sum over all
        # of them is to be of about unit range, or a small step would be a leap.
        self.deviation.copy_(deviation.clamp(min=float(deviation.mean()) * LEAST_DEVIATION + 1e-6))
        self.deviation.mul_(len(deviation) ** 0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (n, answers)."""
        features = self._evened(features)
        cells = self.judge(features).flatten(2)
        if self.pool == "mean":
            return cells.mean(2)
        if self.pool == "attention":
            return (cells * self._attention(features)).sum(2)
        count = torch.tensor(float(cells.shape[2]))
        return (torch.logsumexp(SHARPNESS * cells, 2) - count.log()) / SHARPNESS

    def cells(self, features: Tensor) -> Tensor:
        """Return what each cell contributes, 0..1: (n, 1, rows, columns)."""
        features = self._evened(features)
        shown = self.judge(features)[:, :1].sigmoid()
        if self.pool == "attention":
            attention = self._attention(features)
            share = attention / attention.amax(2, keepdim=True)
            shown = shown * share.reshape(shown.shape)
        return shown

    def _evened(self, features: Tensor) -> Tensor:
        features = (features - self.mean[:, None, None]) / self.deviation[:, None, None]
        return functional.dropout2d(features, DROPPED, self.training)

    def _attention(self, features: Tensor) -> Tensor:
        """Return how much each cell counts, 1 in all: (n, 1, cells)."""
        gated = torch.tanh(self.tanh_gate(features)) * torch.sigmoid(self.sigmoid_gate(features))
        return self.attend(gated).flatten(2).softmax(2)


class ScoringNetwork(nn.Module):
    """Images (n, 1 or 3, rows, columns), as the node prepares them, to logits (n, answers).

    What can be shipped, however it has learnt. The first answer is the label's.
    """

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, answers)."""

    @abstractmethod
    def scored_and_shown(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, and what each cell contributes, 0..1: (n, 1, rows, columns)."""

    def cells(self, images: Tensor) -> Tensor:
        """Return what each cell contributes, 0..1: (n, 1, rows, columns)."""
        return self.scored_and_shown(images)[1]


class LearningNetwork(ScoringNetwork):
    """A trunk whose later stages learn the labels after a head has."""

    def __init__(self, trunk: Trunk, head: Head, frozen: Sequence[str], grey: ScaleOfGrey):
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.frozen = tuple(frozen)
        self.later = tuple(stage for stage in trunk.stages if stage not in self.frozen)
        """Stages that learn once the head has."""
        self.grey = grey
        """What is white: 255 of bytes, else 1."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, answers)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def scored_and_shown(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, and what each cell contributes."""
        features = self.features(images)
        return self.head(features), self.head.cells(features)

    def features(self, images: Tensor) -> Tensor:
        """Return what the trunk sees in images."""
        features: Tensor = self.trunk(self.as_colours(images), self.trunk.stages)
        return features

    def as_colours(self, images: Tensor) -> Tensor:
        """Return three channels of -1..1, as the trunk learnt photographs."""
        return as_colours(images, self.grey)

    def learnt(self) -> dict[str, Tensor]:
        """Return all that may differ from how the trunk came: later stages and the head."""
        own = tuple(
            f"trunk.{name}."
            for name, module in self.trunk.named_modules()
            if any(module is part for stage in self.later for part in self.trunk.parts(stage))
        )
        return {
            name: value
            for name, value in self.state_dict().items()
            if name.startswith((*own, "head."))
        }


def begun_network(recipe: Recipe, grey: ScaleOfGrey) -> LearningNetwork:
    """Return the network of a recipe with the published weights and a head that knows nothing.

    It is the same each time: what is random in the head follows from the recipe's seed.
    """
    frozen = frozen_stages(recipe.network.trunk, recipe.network.frozen)
    trunk = begun_trunk(recipe.network.trunk)
    torch.manual_seed(recipe.schedule.seed)
    answers = 1 + len(recipe.labels.auxiliary)
    head = Head(trunk.channels[trunk.stages[-1]], answers, recipe.network.pool)
    return LearningNetwork(trunk, head, frozen, grey)


# --- from images to breasts and exams ---------------------------------------------------------


class Combining:
    """Which images make which breast, and which breasts which of what a score is about.

    `breast_of[i]` and `projection_of[i]` are of image i, `unit_of[j]` of breast j; all number
    from 0 in this batch. An image, where it is what a score is about, is the only one of its
    breast. Several images of one projection count as one; `OfRoles` is never given such, as a unit
    of the manifest has one image of each role, and the node refuses or passes over the others.

    Of many slices, each a breast here, the sum of exponentials is `averaged`: a study of 32 would
    begin as ill with a probability of 97 %, and a head take hundreds of steps to unlearn that.
    """

    def __init__(
        self,
        breast_of: Sequence[int],
        projection_of: Sequence[str],
        unit_of: Sequence[int],
        *,
        averaged: bool = False,
    ):
        breasts, units = len(unit_of), max(unit_of) + 1
        self._means = torch.zeros(breasts, len(breast_of))
        for breast in range(breasts):
            mine = [i for i, other in enumerate(breast_of) if other == breast]
            views = {projection_of[i] for i in mine}
            for i in mine:
                same = sum(projection_of[other] == projection_of[i] for other in mine)
                self._means[breast, i] = 1 / (len(views) * same)
        belongs = torch.tensor(unit_of)[None] == torch.arange(units)[:, None]
        share = belongs.sum(1, keepdim=True) if averaged else torch.ones(units, 1)
        self._beyond = (-share.log()).repeat(1, breasts).masked_fill(~belongs, -torch.inf)

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the logits of the units, (units, answers), from those of images."""
        breasts = self._means.to(logits.device) @ logits
        beyond = self._beyond.to(logits.device)
        return torch.logsumexp(breasts[None] + beyond[:, :, None], 1)


class OfRoles(nn.Module):
    """The network of a breast or an exam as the node runs it: one input for each role.

    An image that is not there comes as zeros everywhere, and does not count.
    """

    def __init__(self, network: ScoringNetwork, roles: Sequence[str]):
        super().__init__()
        self.network = network
        sides = [role.split()[0] if " " in role else "" for role in roles]
        self.places = [
            [i for i, other in enumerate(sides) if other == side] for side in dict.fromkeys(sides)
        ]
        """Of each breast: where its images are in the order of roles."""

    def forward(self, *images: Tensor) -> Tensor:
        """Return the logit, (1, 1), of all images, each (1, channels, rows, columns)."""
        together = torch.cat(images)
        there = (together.abs().amax((1, 2, 3)) > 0).to(together.dtype)
        logits = self.network(together)[:, 0]
        breasts = []
        for places in self.places:
            weights = there[places]
            mean = (logits[places] * weights).sum() / weights.sum().clamp(min=1)
            is_there = weights.amax()
            breasts.append(mean * is_there - 1e4 * (1 - is_there))
        return torch.logsumexp(torch.stack(breasts), 0).reshape(1, 1)
