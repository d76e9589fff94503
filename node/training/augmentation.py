"""How an image differs from one sight to the next, as breasts and detectors do.

Images come with the chest wall on the left: they are never mirrored left to right, and the chest
wall stays at the edge. Upside down a breast is another breast: rows may be flipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, exp, log, radians, sin

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from node.training.recipe import Augmentation


@dataclass(frozen=True, slots=True)
class ImageChange:
    """What is done to an image."""

    is_flipped: bool = False
    """Upside down."""
    angle: float = 0.0
    """In radians, about the middle of the chest wall."""
    scale: float = 1.0
    gain: float = 1.0
    gamma: float = 1.0


UNCHANGED = ImageChange()
VARIANTS_DRAWN = 3
"""Of each image, beside the image as it is: changed once, for all epochs and folds."""


def variants_of(augmentation: Augmentation) -> int:
    """Return how many variants of an image there are, with the image as it is.

    Where rows are flipped and nothing else changes there are two, and where nothing does, one.
    """
    if augmentation.rotation_degrees or augmentation.scale or augmentation.grey:
        return 1 + VARIANTS_DRAWN
    return 1 + augmentation.flip_rows


def drawn_change(augmentation: Augmentation, random: np.random.Generator) -> ImageChange:
    """Return a change, as large as the recipe allows at most."""
    turn, share, grey = (
        radians(augmentation.rotation_degrees),
        log(1 + augmentation.scale),
        log(1 + augmentation.grey),
    )
    return ImageChange(
        is_flipped=augmentation.flip_rows and bool(random.integers(2)),
        angle=float(random.uniform(-turn, turn)),
        scale=exp(float(random.uniform(-share, share))),
        gain=exp(float(random.uniform(-grey, grey))),
        gamma=exp(float(random.uniform(-grey, grey))),
    )


def change_of(augmentation: Augmentation, seed: int, image: int, variant: int) -> ImageChange:
    """Return the change of one variant of an image; variant 0 is the image as it is."""
    if variant == 0:
        return UNCHANGED
    if variants_of(augmentation) == 2:
        return ImageChange(is_flipped=True)
    return drawn_change(augmentation, np.random.default_rng([seed, variant, image]))


def changed(image: Tensor, change: ImageChange, white: float = 1) -> Tensor:
    """Return an image (channels, rows, columns) of 0 to white, changed; what comes in is black."""
    if change.is_flipped:
        image = image.flip(-2)
    if (change.angle, change.scale) != (0, 1):
        image = _turned(image.float(), change)
    if (change.gain, change.gamma) != (1, 1):
        image = ((image / white).clamp(0, 1) ** change.gamma * change.gain).clamp(0, 1) * white
    return image


def _turned(image: Tensor, change: ImageChange) -> Tensor:
    """Turn and scale an image about the middle of its left edge, the chest wall."""
    rows, columns = image.shape[-2:]
    along, across = cos(change.angle) / change.scale, sin(change.angle) / change.scale
    # From a place in what comes out to one in what goes in, both from -1 to 1, (-1, 0) onto itself.
    theta = torch.tensor(
        [
            [along, -across * rows / columns, along - 1],
            [across * columns / rows, along, across * columns / rows],
        ]
    )
    grid = functional.affine_grid(theta[None], [1, 1, rows, columns], align_corners=False)
    return functional.grid_sample(image[None], grid, align_corners=False)[0]
