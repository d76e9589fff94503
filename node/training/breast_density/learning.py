"""How the five networks learn: other detectors are imagined, and each fold's women are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from node.training.breast_density.films import SIDE
from node.training.breast_density.network import BLOCKS, Grader, Preparation
from node.training.trunks import EfficientNetLite0, read_lite0, weights_path

VARIANTS = 6
"""How many times each film is imagined on another detector, once for all folds."""
SHARE_UNCHANGED = 0.5
"""Of what is learnt from; the rest is imagined."""
EPOCHS = 3
BATCH = 16
HIGHEST_RATE = 2e-4
PENALTY = 0.1
"""On the squared weights of the last layer where it begins."""
NEW = ("norm.", "head.")
"""Parts of a grader that the published network does not have."""
UNUSED = (
    *(f"_blocks.{number}." for number in range(len(BLOCKS), 16)),
    "_conv_head.",
    "_bn1.",
    "_fc.",
)
"""Parts of the published network that a grader does not have."""
SOFT_GRADES = ((0.92, 0.08, 0.0), (0.06, 0.88, 0.06), (0.0, 0.08, 0.92))
"""What is learnt for F, G and D: readers disagree, and then by one step."""

Progress = Callable[[str], None]


def _uniform(random: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=random))


def _blurred(image: Tensor, radius: float) -> Tensor:
    """Return a mean over about this radius, in pixels: three box filters, one after another."""
    if radius > 8:
        small = _blurred(functional.avg_pool2d(image, 8), radius / 8)
        return functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear")
    half = max(1, round(radius))
    for _ in range(3):
        image = functional.avg_pool2d(image, 2 * half + 1, 1, half, count_include_pad=False)
    return image


def varied(image: Tensor, random: torch.Generator) -> Tensor:
    """Return the film, (1, 1, SIDE, SIDE), as some other detector might have shown it."""
    steps = (_placed, _focused, _evened, _toned, _fogged, _grained)
    for step in steps:
        image = step(image, random).clamp(0, 1)
    return image


def _placed(image: Tensor, random: torch.Generator) -> Tensor:
    """Turn, scale, shift, and cut off above and below: another field of view."""
    angle = _uniform(random, -0.15, 0.15)
    scale = _uniform(random, 0.75, 1.25)
    aspect = _uniform(random, 0.93, 1.07)
    cos, sin = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
    theta = torch.tensor(
        [
            [cos / scale * aspect, -sin / scale, _uniform(random, -0.1, 0.1)],
            [sin / scale, cos / scale / aspect, _uniform(random, -0.15, 0.15)],
        ]
    )
    # The chest wall stays at the left edge, whatever the scale.
    theta[0, 2] += (theta[0, 0] - 1) + 0.05
    grid = functional.affine_grid(theta[None].float(), [1, 1, SIDE, SIDE], align_corners=False)
    placed = functional.grid_sample(image, grid, align_corners=False)
    top, bottom = int(_uniform(random, 0, 50)), int(_uniform(random, 0, 50))
    if _uniform(random, 0, 1) < 0.5:
        placed[:, :, :top] = 0
        placed[:, :, SIDE - bottom :] = 0
    return placed


def _focused(image: Tensor, random: torch.Generator) -> Tensor:
    """Blur by fewer pixels, or sharpen as processing for presentation does."""
    kind = _uniform(random, 0, 1)
    if kind < 0.35:
        size = int(SIDE * _uniform(random, 0.35, 0.9))
        small = functional.interpolate(image, size=(size, size), mode="area")
        return functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear")
    if kind < 0.7:
        detail = image - _blurred(image, _uniform(random, 1, 3))
        return image + _uniform(random, 0.2, 1.2) * detail
    return image


def _evened(image: Tensor, random: torch.Generator) -> Tensor:
    """Even out thickness towards the skin, or let brightness drift across the film."""
    if _uniform(random, 0, 1) < 0.4:
        around = _blurred(image, _uniform(random, 15, 40)) + 0.05
        image = image * (around.amax() / around) ** _uniform(random, 0.1, 0.6)
        image = image / image.amax().clamp(min=0.1)
    if _uniform(random, 0, 1) < 0.5:
        coarse = torch.rand((1, 1, 3, 3), generator=random) * 0.5 + 0.75
        image = image * functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")
    return image


def _toned(image: Tensor, random: torch.Generator) -> Tensor:
    """Change window, gamma or characteristic curve."""
    brightest = torch.quantile(image[0, 0, ::4, ::4].flatten(), 0.99).clamp(min=0.1)
    low, high = _uniform(random, -0.1, 0.2), _uniform(random, 0.9, 1.4)
    shown = ((image / brightest - low) / (high - low)).clamp(0, 1)
    if _uniform(random, 0, 1) < 0.3:
        steepness, centre = _uniform(random, 4, 9), _uniform(random, 0.35, 0.65)
        shown = torch.sigmoid(steepness * (shown - centre))
        shown = shown - torch.sigmoid(torch.tensor(-steepness * centre))
    return shown.clamp(0, 1) ** float(torch.exp(torch.tensor(_uniform(random, -0.7, 0.7))))


def _fogged(image: Tensor, random: torch.Generator) -> Tensor:
    """Raise the background as fog on film does, or take it away."""
    level = _uniform(random, -0.08, 0.15)
    return level + (1 - level) * image if level > 0 else image + level


def _grained(image: Tensor, random: torch.Generator) -> Tensor:
    """Add noise and keep few levels of grey."""
    if _uniform(random, 0, 1) < 0.5:
        noise = torch.randn(image.shape, generator=random)
        image = image + _uniform(random, 0, 0.03) * noise
    levels = 2 ** _uniform(random, 5, 12)
    return (image.clamp(0, 1) * levels).round() / levels


# --- what is learnt from ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Views:
    """Prepared images as bytes: ranks 0..255 and mask 0..1, each (films, 1, rows, columns)."""

    ranks: Tensor
    mask: Tensor

    def batch(self, films: Tensor) -> tuple[Tensor, Tensor]:
        """Return ranks and mask of some films as the network takes them."""
        return self.ranks[films].float() / 255, self.mask[films].float()


def seen(images: Tensor) -> Views:
    """Prepare images (n, 1, SIDE, SIDE) with the part of the network that learns nothing."""
    preparation = Preparation()
    with torch.inference_mode():
        parts = [preparation(part) for part in images.split(BATCH)]
    ranks, masks = (torch.cat(part) for part in zip(*parts, strict=True))
    return Views((ranks * 255).round().to(torch.uint8), masks.to(torch.uint8))


def imagined(images: Tensor) -> Iterator[Views]:
    """Yield all films as other detectors might have shown them, VARIANTS times."""
    random = torch.Generator().manual_seed(1)
    for _ in range(VARIANTS):
        yield seen(torch.cat([varied(image[None], random) for image in images]))


# --- learning ---------------------------------------------------------------------------------


def published_weights() -> Mapping[str, Tensor]:
    """Return the ImageNet weights that every network begins with."""
    return read_lite0(weights_path(EfficientNetLite0.name))


@dataclass(frozen=True, slots=True)
class Lessons:
    """What all networks learn from; each leaves out the films of its fold."""

    views: Sequence[Views]
    """First the films as they are, then as imagined."""
    grades: Tensor
    features: Sequence[Tensor]
    """Of some of the views, as the published weights see them."""


def lessons(views: Sequence[Views], grades: Tensor) -> Lessons:
    """Look at the films, and at half of those imagined, with the published weights."""
    grader = _beginning()
    batches = torch.arange(len(grades)).split(BATCH)
    with torch.no_grad():
        features = [
            torch.cat([grader.features(*view.batch(batch)) for batch in batches])
            for view in views[: 1 + VARIANTS // 2]
        ]
    return Lessons(views, grades, features)


def _beginning() -> Grader:
    return begun(published_weights())


def begun(published: Mapping[str, Tensor]) -> Grader:
    """Return a grader with the published weights of its blocks, or raise ValueError.

    Only the last layer and what normalises its input are new; only what comes after the eighth
    block is left unused.
    """
    grader = Grader()
    found = grader.load_state_dict(published, strict=False)
    missing = [name for name in found.missing_keys if not name.startswith(NEW)]
    unused = [name for name in found.unexpected_keys if not name.startswith(UNUSED)]
    if missing or unused:
        raise ValueError(f"not the published weights: without {missing}, with {unused}")
    return grader.eval()


def trained(learnt: Lessons, films: Tensor, seed: int, on_epoch: Progress) -> Grader:
    """Train one network on some films: first its last layer alone, then all of it, gently.

    The number of epochs is fixed beforehand; the films left out are not looked at. What is kept
    is the running mean of the weights over the last 40 % of the steps. Statistics of the batch
    normalisations stay as published: batches are too small for better ones.
    """
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    grader = _beginning()
    _begin_last_layer(grader, learnt, films)
    grader.to(device)
    grader.dropout.train()
    steps = len(films) // BATCH
    total = EPOCHS * steps
    optimizer = torch.optim.AdamW(grader.parameters(), lr=HIGHEST_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, HIGHEST_RATE, total_steps=total, pct_start=0.2
    )
    kept: dict[str, Tensor] = {}
    for epoch in range(EPOCHS):
        order = films[torch.randperm(len(films))][: steps * BATCH]
        losses = []
        for step, batch in enumerate(order.split(BATCH), epoch * steps + 1):
            ranks, mask = _mixed(learnt.views, batch, epoch)
            loss = _loss(grader(ranks.to(device), mask.to(device)), learnt.grades[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(grader.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if step >= 0.6 * total:
                _keep(kept, grader)
        on_epoch(f"loss {np.mean(losses):.2f}")
    grader.load_state_dict(kept)
    return grader.cpu().eval()


def _loss(logits: Tensor, grades: Tensor) -> Tensor:
    target = torch.tensor(SOFT_GRADES)[grades].to(logits.device)
    return -(target * logits.log_softmax(1)).sum(1).mean()


def _begin_last_layer(grader: Grader, learnt: Lessons, films: Tensor) -> None:
    """Fit the last layer as a logistic regression, films as they are counting half."""
    known, *imagined_features = (features[films] for features in learnt.features)
    rows = torch.cat([known] * len(imagined_features) + imagined_features)
    grades = learnt.grades[films].repeat(2 * len(imagined_features))
    grader.norm.running_mean.copy_(rows.mean(0))
    grader.norm.running_var.copy_(rows.var(0))
    nn.init.zeros_(grader.head.weight)
    nn.init.zeros_(grader.head.bias)
    with torch.no_grad():
        rows = grader.norm(rows)
    optimizer = torch.optim.LBFGS(
        grader.head.parameters(), max_iter=200, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = PENALTY * (grader.head.weight**2).sum()
        loss = functional.cross_entropy(grader.head(rows), grades) + penalty
        loss.backward()
        return loss

    optimizer.step(closure)


def _mixed(views: Sequence[Views], films: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
    """Return each film once, as itself or on one of the imagined detectors."""
    unchanged = torch.rand(len(films)) < SHARE_UNCHANGED
    turn = 1 + (films + epoch) % (len(views) - 1)
    parts = [
        views[0 if same else int(k)].batch(film[None])
        for film, same, k in zip(films, unchanged, turn, strict=True)
    ]
    ranks, masks = zip(*parts, strict=True)
    return torch.cat(ranks), torch.cat(masks)


def _keep(kept: dict[str, Tensor], grader: Grader) -> None:
    """Move the kept weights 5 % of the way to the present ones."""
    for name, value in grader.state_dict().items():
        if name in kept and value.dtype.is_floating_point:
            kept[name].lerp_(value, 0.05)
        else:
            kept[name] = value.clone()


def logits_of(grader: Grader, views: Views, films: Tensor) -> Tensor:
    """Return the logits (n, 3) of some films."""
    with torch.inference_mode():
        return torch.cat([grader(*views.batch(part)) for part in films.split(BATCH)])


def fitted_temperature(logits: Tensor, grades: Tensor) -> float:
    """Return the divisor of logits under which the grades are most likely."""
    candidates = torch.linspace(0.3, 4.0, 371)
    losses = [float(functional.cross_entropy(logits / t, grades)) for t in candidates]
    return float(candidates[int(np.argmin(losses))])
