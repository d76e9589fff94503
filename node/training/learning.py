"""How a network learns: the head alone to convergence, then the later stages with it, gently.

All that is random follows from the recipe's seed and the number of the epoch. After each epoch all
that the next one begins with is on the disk: a run that was stopped, whenever and however, goes on
from there and ends with the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from node.errors import ConfigError
from node.training.examples import Example
from node.training.features import Features, KeptFeatures, between, device_here, replaced
from node.training.networks import Combining, LearningNetwork
from node.training.recipe import Recipe
from node.training.units import Batches, LearningUnit

Phase = Literal["head", "stages"]
LONGEST_GRADIENT = 5.0
LOOKED_AT = 32
"""Images a batch, where nothing is learnt."""
STEP_0_DIFFERENCE = 0.05
"""Logits by both ways of keeping features differ by less, of which rounding is the cause."""
OVERFITTED_LOSS = 0.1
OVERFITTED_UNITS, OVERFITTED_IMAGES = 64, 256
"""At most; of studies, whose slices are many, fewer: all are in memory at once."""
OVERFITTED_STEPS = 300
"""Of so many units; fewer take more steps, which take no longer: as many sights of units in all."""
LEARNT_BY_HEART = "learnt-by-heart"
"""In the work folder: a line for each kind of lessons of which that was seen to be possible."""
LAST = "last.pt"


@dataclass(frozen=True, slots=True)
class NetworkLessons:
    """What one network learns from, and what it is watched on."""

    recipe: Recipe
    examples: Sequence[Example]
    """All; units and watched images are places among them."""
    features: Features
    """Of all."""
    units: Sequence[LearningUnit]
    """To learn from."""
    watched: Sequence[int]
    """Images that are scored after each epoch, and never learnt from."""

    def key(self) -> str:
        """Return a digest of all that the weights follow from."""
        words = [
            self._learning_words(),
            self.features.key,
            [[unit.label, unit.breasts, sorted(unit.columns.items())] for unit in self.units],
            [[one.label, one.projection, sorted(one.auxiliary.items())] for one in self.examples],
            list(map(int, self.watched)),
        ]
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()

    def key_of_any_fold(self) -> str:
        """Return a digest of what all folds have in common: images, labels, and how is learnt."""
        labels = [one.label for one in self.examples]
        words = [self._learning_words(), self.features.key, labels]
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()

    def _learning_words(self) -> dict[str, Any]:
        """Return what the recipe says of how is learnt."""
        recipe = self.recipe.model_dump(mode="json")
        return {part: recipe[part] for part in ("about", "labels", "network", "schedule")}


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch that is over, for who waits."""

    phase: Phase
    number: int
    """From 1, of the phase."""
    count: int
    """How many the phase has."""
    loss: float
    """Mean of what was learnt from."""
    seconds: float
    seconds_left: float
    """Of the phase, at this pace."""


OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """The weights after each epoch, in a folder, and what they say of the watched images."""

    folder: Path
    logits: tuple[NDArray[np.float32], ...]
    """Of each epoch (images,): at 0 by the head alone, then after each epoch of the stages."""

    def load(self, network: LearningNetwork, epoch: int) -> LearningNetwork:
        """Give a network the weights of an epoch, for use."""
        weights = _load(self.folder / _epoch_file(epoch))["weights"]
        found = network.load_state_dict(weights, strict=False)
        assert not found.unexpected_keys
        return network.eval()


def train_network(
    lessons: NetworkLessons,
    network: LearningNetwork,
    work: Path,
    on_epoch: OnEpoch = lambda _: None,
) -> TrainedNetwork:
    """Train a network that `begun_network` made, or go on where an earlier run was stopped."""
    folder = work / "networks" / lessons.key()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    learner = _Learner(lessons, network.to(device_here()), folder, on_epoch)
    learner.learn()
    return trained_in(folder, lessons.recipe.schedule.epochs if network.later else 0)


def trained_in(folder: Path, epochs: int) -> TrainedNetwork:
    """Return what a finished run left in its folder."""
    logits = [_load(folder / _epoch_file(epoch))["logits"].numpy() for epoch in range(epochs + 1)]
    return TrainedNetwork(folder, tuple(logits))


def _epoch_file(epoch: int) -> str:
    return f"epoch-{epoch:03}.pt"


def _load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _save(path: Path, values: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(dict(values), buffer)
    replaced(path, buffer.getvalue())


# --- what is computed -------------------------------------------------------------------------


def logits_by(
    network: LearningNetwork, kept: KeptFeatures, images: Sequence[int]
) -> NDArray[np.float32]:
    """Return what a network says of images as they are, (n, answers), by kept features."""
    network.eval()
    device = next(network.parameters()).device.type
    found = [np.zeros((0, network.head.judge.out_channels), np.float32)]
    with torch.inference_mode():
        for first in range(0, len(images), LOOKED_AT):
            part = images[first : first + LOOKED_AT]
            x = kept.batch(part, [0] * len(part), device)
            found.append(_judged(network, x, kept.stage).cpu().numpy())
    return np.concatenate(found)


def _judged(network: LearningNetwork, x: Tensor, after: str) -> Tensor:
    features = between(network, x, after, network.trunk.stages[-1])
    logits: Tensor = network.head(features)
    return logits


class _Batch:
    """Units, and their images one after another."""

    def __init__(self, units: Sequence[LearningUnit], lessons: NetworkLessons) -> None:
        self.units = units
        self.images = list[int]()
        breast_of, unit_of = list[int](), list[int]()
        for number, unit in enumerate(units):
            for breast in unit.breasts:
                self.images += breast
                breast_of += [len(unit_of)] * len(breast)
                unit_of.append(number)
        projections = [lessons.examples[image].projection for image in self.images]
        self.combining = Combining(
            breast_of, projections, unit_of, averaged=lessons.recipe.is_of_phases
        )


def _loss(logits: Tensor, batch: _Batch, lessons: NetworkLessons, smoothing: float) -> Tensor:
    """Return the loss of a batch from the logits of its images, (images, answers)."""
    recipe, device = lessons.recipe, logits.device
    examples = [lessons.examples[image] for image in batch.images]

    def cross_entropy(found: Tensor, labels: Sequence[float], smoothed: float) -> Tensor:
        target = torch.tensor(labels, dtype=torch.float32, device=device)
        target = target * (1 - smoothed) + smoothed / 2
        return functional.binary_cross_entropy_with_logits(found, target)

    about = batch.combining(logits)[:, 0]
    loss = cross_entropy(about, [unit.label for unit in batch.units], smoothing)
    # Of a slice nobody knows whether it shows what its study is labelled by.
    if recipe.about != "image" and recipe.network.image_weight and not recipe.is_of_phases:
        by_image = cross_entropy(logits[:, 0], [one.label for one in examples], smoothing)
        loss = loss + recipe.network.image_weight * by_image
    for answer, auxiliary in enumerate(recipe.labels.auxiliary, 1):
        known = [i for i, one in enumerate(examples) if auxiliary.column in one.auxiliary]
        if known:
            values = [examples[i].auxiliary[auxiliary.column] for i in known]
            loss = loss + auxiliary.weight * cross_entropy(logits[known, answer], values, 0)
    return loss


def rate_at(step: int, steps: int, warm_up: int) -> float:
    """Return the share of the highest rate at a step: it rises evenly, then falls as a cosine."""
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    share = (step - warm_up) / max(1, steps - warm_up)
    return 0.5 * (1 + math.cos(math.pi * share))


# --- learning ---------------------------------------------------------------------------------


@dataclass(slots=True)
class _State:
    """All that the next epoch begins with, beside the weights."""

    optimizer: torch.optim.Optimizer
    kept: dict[str, Tensor]
    """The moving average of what learns."""
    epoch: int = 0
    """How many are over."""
    step: int = 0


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a phase learns, from what, and how fast."""

    phase: Phase
    epochs: int
    features: KeptFeatures
    groups: Sequence[Mapping[str, Any]]
    """Groups of the optimiser's parameters; each has its highest rate as `highest`."""
    first_epoch: int
    """For what is random."""


class _Learner:
    """Both phases of one network, and the folder that they are in."""

    def __init__(
        self, lessons: NetworkLessons, network: LearningNetwork, folder: Path, on_epoch: OnEpoch
    ) -> None:
        self._lessons = lessons
        self._network = network
        self._folder = folder
        self._on_epoch = on_epoch
        self._schedule = lessons.recipe.schedule
        self._device = next(network.parameters()).device.type
        self._batches = Batches(
            lessons.units, lessons.recipe.labels, self._schedule.batch, self._schedule.seed
        )

    def learn(self) -> None:
        """Learn what an earlier run has not."""
        path = self._folder / LAST
        before = _load(path) if path.exists() else None
        if before is None or before["phase"] == "head":
            begin_head(self._lessons, self._network)
            self._learn(self._head_plan(), before)
            before = None
        else:
            self._take(_load(self._folder / _epoch_file(0))["weights"])
        if self._network.later and self._schedule.epochs:
            if before is None:
                check_step_0(self._network, self._lessons)
            self._learn(self._stages_plan(), before)

    def _head_plan(self) -> _Plan:
        self._network.requires_grad_(False)
        self._network.head.requires_grad_(True)
        return _Plan(
            "head",
            self._schedule.head_epochs,
            self._lessons.features.late,
            self._groups(self._network.head.parameters(), self._schedule.head_rate),
            first_epoch=0,
        )

    def _stages_plan(self) -> _Plan:
        learning = self._network.trunk.learning(self._network.later)
        self._network.head.requires_grad_(True)
        return _Plan(
            "stages",
            self._schedule.epochs,
            self._lessons.features.early,
            [
                *self._groups(learning, self._schedule.rate),
                *self._groups(self._network.head.parameters(), self._schedule.rate_of_head),
            ],
            first_epoch=self._schedule.head_epochs,
        )

    def _groups(
        self, parameters: Sequence[nn.Parameter] | Iterator[nn.Parameter], rate: float
    ) -> list[dict[str, Any]]:
        """Return groups of the optimiser: biases do not decay."""
        every = list(parameters)
        decays = {True: self._schedule.weight_decay, False: 0.0}
        return [
            {
                "params": [one for one in every if (one.ndim > 1) is is_weight],
                "weight_decay": decay,
                "lr": rate,
                "highest": rate,
            }
            for is_weight, decay in decays.items()
        ]

    def _learn(self, plan: _Plan, before: Mapping[str, Any] | None) -> None:
        """Learn the epochs of a phase that are not over."""
        state = _State(torch.optim.AdamW(plan.groups, lr=1e-3), self._learning())
        if before is not None:
            self._take(before["weights"])
            state.optimizer.load_state_dict(before["optimizer"])
            state.kept = {name: value.to(self._device) for name, value in before["kept"].items()}
            state.epoch, state.step = before["epoch"], before["step"]
        if plan.epochs == 0:
            self._end_epoch(plan, state)
        times = list[float]()
        while state.epoch < plan.epochs:
            begun = time.monotonic()
            loss = self._learn_epoch(plan, state)
            self._end_epoch(plan, state)
            times.append(time.monotonic() - begun)
            left = (plan.epochs - state.epoch) * sum(times) / len(times)
            self._on_epoch(Epoch(plan.phase, state.epoch, plan.epochs, loss, times[-1], left))
        self._take(state.kept)

    def _learn_epoch(self, plan: _Plan, state: _State) -> float:
        """Learn from each batch of an epoch once, and return the mean loss."""
        number = plan.first_epoch + state.epoch
        torch.manual_seed((self._schedule.seed << 20) + number)
        random = np.random.default_rng([self._schedule.seed, 1, number])
        steps = plan.epochs * len(self._batches)
        warm_up = round(self._schedule.warm_up_epochs * len(self._batches))
        self._network.train()
        losses = []
        for places in self._batches.epoch(number):
            for group in state.optimizer.param_groups:
                group["lr"] = group["highest"] * rate_at(state.step, steps, warm_up)
            units = [self._lessons.units[place] for place in places.tolist()]
            batch = _Batch(units, self._lessons)
            variants = random.integers(self._lessons.features.variants, size=len(batch.images))
            x = plan.features.batch(batch.images, variants.tolist(), self._device)
            logits = _judged(self._network, x, plan.features.stage)
            loss = _loss(logits, batch, self._lessons, self._schedule.label_smoothing)
            state.optimizer.zero_grad()
            loss.backward()
            for group in state.optimizer.param_groups:
                nn.utils.clip_grad_norm_(group["params"], LONGEST_GRADIENT)
            state.optimizer.step()
            state.step += 1
            self._average(state)
            losses.append(loss.detach())
        state.epoch += 1
        return float(torch.stack(losses).mean())

    def _average(self, state: _State) -> None:
        """Move the kept weights towards the present ones, faster at first."""
        remains = min(self._schedule.moving_average, state.step / (10 + state.step))
        present = self._network.state_dict()
        with torch.no_grad():
            for name, value in state.kept.items():
                value.lerp_(present[name], 1 - remains)

    def _end_epoch(self, plan: _Plan, state: _State) -> None:
        """Put on the disk what the next epoch begins with, and what this one has come to."""
        is_head, is_over = plan.phase == "head", state.epoch == plan.epochs
        if not is_head or is_over:
            present = self._learning()
            self._take(state.kept)
            logits = logits_by(self._network, plan.features, self._lessons.watched)[:, 0]
            self._take(present)
            _save(
                self._folder / _epoch_file(0 if is_head else state.epoch),
                {"weights": self._used(state), "logits": torch.from_numpy(logits.copy())},
            )
        _save(
            self._folder / LAST,
            {
                "phase": plan.phase,
                "epoch": state.epoch,
                "step": state.step,
                "weights": self._learning(),
                "kept": state.kept,
                "optimizer": state.optimizer.state_dict(),
            },
        )

    def _learning(self) -> dict[str, Tensor]:
        """Return a copy of what learns in this phase."""
        return {
            name: value.detach().clone()
            for name, value in self._network.named_parameters()
            if value.requires_grad
        }

    def _used(self, state: _State) -> dict[str, Tensor]:
        """Return the kept weights, and of the head what does not learn."""
        buffers = {f"head.{name}": value for name, value in self._network.head.named_buffers()}
        return {**buffers, **state.kept}

    def _take(self, weights: Mapping[str, Tensor]) -> None:
        found = self._network.load_state_dict(dict(weights), strict=False)
        assert not found.unexpected_keys


def begin_head(lessons: NetworkLessons, network: LearningNetwork) -> None:
    """Tell the head how the features are spread in the images to learn from."""
    late, device = lessons.features.late, next(network.parameters()).device.type
    images = sorted({image for unit in lessons.units for image in unit.images})
    means, squares = [], []
    network.eval()
    with torch.inference_mode():
        for first in range(0, len(images), LOOKED_AT):
            part = images[first : first + LOOKED_AT]
            x = late.batch(part, [0] * len(part), device)
            seen = between(network, x, late.stage, network.trunk.stages[-1]).double()
            means.append(seen.mean((2, 3)))
            squares.append((seen**2).mean((2, 3)))
        mean = torch.cat(means).mean(0)
        variance = (torch.cat(squares).mean(0) - mean**2).clamp(min=0)
    with torch.no_grad():
        network.head.begin(mean.float(), variance.sqrt().float())


# --- before a long run ------------------------------------------------------------------------


def check_step_0(network: LearningNetwork, lessons: NetworkLessons) -> float:
    """Return by how much the network differs from its head alone before a stage has learnt.

    Raise ConfigError if that is more than rounding: the two ways would not be one network.
    """
    images = sorted({image for unit in lessons.units for image in unit.images})[:LOOKED_AT]
    by_head = logits_by(network, lessons.features.late, images)
    by_all = logits_by(network, lessons.features.early, images)
    difference = float(np.abs(by_head - by_all).max(initial=0))
    if not difference < STEP_0_DIFFERENCE:
        raise ConfigError(
            f"the kept features contradict each other: logits differ by {difference:.3f}, expected "
            f"less than {STEP_0_DIFFERENCE}; delete the folder of features, and train again"
        )
    return difference


def require_overfitting(
    lessons: NetworkLessons, begun: Callable[[], LearningNetwork], work: Path
) -> None:
    """See before a long run that a few units can be learnt by heart, or raise ConfigError.

    Seen once in a work folder, it holds for all folds of these images, labels and rates.
    """
    path = work / LEARNT_BY_HEART
    seen = path.read_text("utf-8").split() if path.exists() else []
    key = lessons.key_of_any_fold()
    if key not in seen:
        check_overfits(lessons, begun())
        replaced(path, "".join(f"{one}\n" for one in [*seen, key]).encode())


def units_by_heart(units: Sequence[LearningUnit]) -> list[LearningUnit]:
    """Return a few units, as many positive as negative: at most 64, of 256 images in all."""
    found, images = list[LearningUnit](), 0
    by_label = [[unit for unit in units if (unit.label > 0.5) is is_so] for is_so in (True, False)]
    for pair in zip(*by_label, strict=False):
        images += sum(len(unit.images) for unit in pair)
        if found and (images > OVERFITTED_IMAGES or len(found) == OVERFITTED_UNITS):
            break
        found += pair
    return found


def check_overfits(
    lessons: NetworkLessons, network: LearningNetwork, steps: int | None = None
) -> float:
    """Return the loss on a few units after they were learnt by heart; the network is spoilt.

    Raise ConfigError if they cannot be: nothing would come of a long run.
    """
    units = units_by_heart(lessons.units)
    if steps is None:
        steps = OVERFITTED_STEPS * OVERFITTED_UNITS // max(1, len(units))
    schedule = lessons.recipe.schedule
    network = network.to(device_here())
    begin_head(lessons, network)
    kept = lessons.features.early if network.later else lessons.features.late
    groups = [{"params": list(network.head.parameters()), "lr": 10 * schedule.rate_of_head}]
    if network.later:
        groups.append({"params": network.trunk.learning(network.later), "lr": schedule.rate})
    network.head.requires_grad_(True)
    optimizer = torch.optim.AdamW(groups, weight_decay=0)
    network.eval()  # nothing is left out: by heart
    batch = _Batch(units, lessons)
    losses = list[float]()
    x = kept.batch(batch.images, [0] * len(batch.images), device_here())
    while len(losses) < steps and not (losses and losses[-1] < OVERFITTED_LOSS):
        logits = _judged(network, x, kept.stage)
        labels = torch.tensor([unit.label for unit in units], device=logits.device)
        loss = functional.binary_cross_entropy_with_logits(batch.combining(logits)[:, 0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    if not losses[-1] < OVERFITTED_LOSS:
        raise ConfigError(
            f"{len(units)} cases could not be learnt by heart in {steps} steps: loss "
            f"{losses[-1]:.2f}, expected less than {OVERFITTED_LOSS}; see that the images are not "
            "blank (two cases may be one image under two labels), or raise the rates: [schedule]"
        )
    return losses[-1]
