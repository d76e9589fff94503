"""A unit's images -> the network's inputs by role; image -> picture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from node.imaging.grey import Float32
from node.imaging.grid import PlaneGrid
from node.imaging.image import Image
from node.imaging.operations import prepare
from node.imaging.resampling import resized
from node.manifest.pixels import Operations
from node.study import LONGEST_SIDE_PX, Laterality, Picture, View


def tensors(
    images: Mapping[str, Image], operations: Operations, laterality: Laterality | None
) -> tuple[dict[str, Float32], PlaneGrid, Float32]:
    """Return the network's inputs by the roles of a unit's images, their grid, and what is seen."""
    ((role, image),) = images.items()  # so far, what a model reads at once is one image
    prepared = prepare(image, operations, View(laterality, "") if laterality else None)
    assert prepared.grid is not None, "no manifest asks for a vector yet"
    return {role: prepared.tensor}, prepared.grid, prepared.seen


def picture(image: Image, max_side: int = LONGEST_SIDE_PX) -> Picture:
    """Return the image as a display shows it, its longer side at most `max_side` pixels."""
    rows, columns = image.shape
    scale = min(1.0, max_side / max(rows, columns))
    table = np.round(np.clip(image.voi_grey, 0, 1) * 255).astype(np.uint8)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    grey = resized(table[image.values], height, width, "bilinear", antialias=True)
    return Picture(grey=grey, scale=scale)
