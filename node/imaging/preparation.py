"""Image -> the network's input, and the way back to the stored matrix; image -> picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from node import manifest
from node.errors import StudyError
from node.imaging.grey import Float32
from node.imaging.image import Image
from node.study import LONGEST_SIDE_PX, Laterality, Picture

Points = NDArray[np.float64]
"""Shape (n, 2): (column, row) from the top left corner of the top left pixel."""


_Value = TypeVar("_Value", bound=np.generic)


class Grid(Protocol):
    """How the network's input lies in what was stored."""

    def places(self, points: Points, /) -> Points:
        """Map points of the network's input to where they are."""
        ...


@dataclass(frozen=True, slots=True)
class PlaneGrid:
    """Of a plane image: the stored matrix, with mirroring and scale undone."""

    rows: int
    columns: int
    height: int
    """Rows of the network's input that the image fills; the rest is padding."""
    width: int
    is_mirrored: bool

    def places(self, points: Points) -> Points:
        """Map points of the network's input to the stored matrix."""
        stored = points * (self.columns / self.width, self.rows / self.height)
        return self._mirrored(stored)

    def to_model(self, points: Points) -> Points:
        """Map points of the stored matrix to the network's input."""
        return self._mirrored(points) * (self.width / self.columns, self.height / self.rows)

    def pixel_area_mm2(self, spacing_mm: tuple[float, float]) -> float:
        """Return how much of the breast one pixel of the network's input covers."""
        row_mm, column_mm = spacing_mm
        return (row_mm * self.rows / self.height) * (column_mm * self.columns / self.width)

    def _mirrored(self, stored: Points) -> Points:
        if not self.is_mirrored:
            return stored
        return np.column_stack((self.columns - stored[:, 0], stored[:, 1]))


def tensors(
    images: Mapping[str, Image], pixels: manifest.Pixels, laterality: Laterality | None
) -> tuple[dict[str, Float32], PlaneGrid]:
    """Return the network's inputs by the roles of a unit's images, and the grid they are on."""
    ((role, image),) = images.items()  # so far, what a model reads at once is one image
    tensor, grid = prepare(image, pixels, laterality)
    return {role: tensor}, grid


def prepare(
    image: Image, pixels: manifest.Pixels, laterality: Laterality | None
) -> tuple[Float32, PlaneGrid]:
    """Return the network's input, shape (1, channels, height, width), and its grid."""
    rows, columns = image.shape
    height, width = _fitted(rows, columns, pixels)
    is_mirrored = pixels.orientation == "chest wall left" and _is_chest_wall_right(
        image, laterality
    )
    grey = image.grey(pixels.grey)
    if is_mirrored:
        grey = np.ascontiguousarray(grey[:, ::-1])
    tensor = np.zeros((1, pixels.channels, pixels.height, pixels.width), np.float32)
    tensor[:, :, :height, :width] = _resized(grey, height, width)
    return tensor, PlaneGrid(rows, columns, height, width, is_mirrored)


def picture(image: Image, max_side: int = LONGEST_SIDE_PX) -> Picture:
    """Return the image as a display shows it, its longer side at most `max_side` pixels."""
    rows, columns = image.shape
    scale = min(1.0, max_side / max(rows, columns))
    table = np.round(np.clip(image.voi_grey, 0, 1) * 255).astype(np.uint8)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    return Picture(grey=_resized(table[image.values], height, width), scale=scale)


def _fitted(rows: int, columns: int, pixels: manifest.Pixels) -> tuple[int, int]:
    if pixels.fit == "stretch":
        return pixels.height, pixels.width
    scale = min(pixels.height / rows, pixels.width / columns)
    return max(1, round(rows * scale)), max(1, round(columns * scale))


def _resized(grey: NDArray[_Value], height: int, width: int) -> NDArray[_Value]:
    """Resize with a filter as wide as the reduction: no aliasing, no overshoot."""
    if grey.shape == (height, width):
        return grey
    resized = PIL.Image.fromarray(grey).resize((width, height), PIL.Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=grey.dtype)


def _is_chest_wall_right(image: Image, laterality: Laterality | None) -> bool:
    """Return whether rows run to the back of the patient (PS3.3 C.7.6.1.1.1)."""
    ahead, down = (value[:1] for value in (*image.patient_orientation, "", "")[:2])
    if ahead in ("A", "P") and len(image.patient_orientation) == 2:
        return ahead == "P"
    if down in ("A", "P"):
        raise StudyError("image rotated: its columns, not its rows, run between front and back")
    if laterality is None or laterality is Laterality.BOTH:
        raise StudyError("neither orientation nor laterality tells where the chest wall is")
    return laterality is Laterality.RIGHT  # as acquired, unmirrored
