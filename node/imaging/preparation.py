"""Image -> picture."""

from __future__ import annotations

import numpy as np

from node.imaging.image import Image
from node.imaging.resampling import resized_lookup
from node.study import LONGEST_SIDE_PX, Picture


def picture(image: Image, max_side: int = LONGEST_SIDE_PX) -> Picture:
    """Return the image as a display shows it, its longer side at most `max_side` pixels."""
    rows, columns = image.shape
    scale = min(1.0, max_side / max(rows, columns))
    table = np.round(np.clip(image.voi_grey, 0, 1) * 255).astype(np.uint8)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    grey = resized_lookup(table, image.values, height, width, "bilinear")
    return Picture(grey=grey, scale=scale)
