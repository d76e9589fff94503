"""An image -> what the network reads, by the operations of its manifest, one after the other.

What each does to the last digit stands in models/README.md, section "Pixels".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import StudyError
from node.imaging.chest_wall import ChestWall, chest_wall_of
from node.imaging.components import Bools, Component, eroded, largest_component
from node.imaging.grey import Float32
from node.imaging.grid import PlaneGrid
from node.imaging.image import Image
from node.imaging.resampling import resized, resized_lookup
from node.manifest import pixels as words
from node.study import View

Pixel = NDArray[np.float32] | NDArray[np.uint8]
"""Shape (height, width), or (channels, height, width); bytes after `quantise` to 8 bits."""

NO_FOREGROUND = "nothing in this image is brighter than its background"
STRIP_PX = 8
"""A region narrower than this is a label or a scratch."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the network reads of an image."""

    tensor: Float32
    """Shape (1, channels, height, width), or (1, n)."""
    grid: PlaneGrid | None
    """Where its pixels are in the stored matrix; None of a vector."""
    seen: Float32
    """The image as a person would look at it, shape (height, width), 0..1: in the size that it has
    before anything is cut off or filled up; the chest wall is left if the manifest cares for it."""
    is_against_laterality: bool = False
    """Whether it lies mirrored against its laterality, by its pixels; nothing else tells."""


def prepare(image: Image, operations: words.Operations, shows: View | None) -> Prepared:
    """Return the network's input of an image, which shows a view as far as that is known."""
    step, following = _begun(image, operations, shows)
    for operation in following:
        step = _STEPS[type(operation)](step, operation)
    tensor = np.ascontiguousarray(step.grey[np.newaxis], dtype=np.float32)
    if tensor.ndim == 3:
        tensor = tensor[np.newaxis]
    side = words.chest_wall(operations)
    is_against = side is not None and step.chest_wall().is_against_laterality
    return Prepared(tensor, step.grid, _seen(step, side), is_against)


@dataclass(frozen=True, slots=True)
class _Step:
    """An image on its way."""

    grey: NDArray[Any]
    grid: PlaneGrid | None
    shows: View | None
    highest: float
    """The brightest that `whole` can be."""
    chest_wall: Callable[[], ChestWall]
    """Where the chest wall is in the image as it is stored; asked only by what depends on it."""
    whole: NDArray[Any] | None = None
    """What it was before the first operation that took something away; None before that."""

    @property
    def plane(self) -> PlaneGrid:
        """The grid of what is no vector yet."""
        assert self.grid is not None, "amiss_in lets nothing follow that needs it"
        return self.grid

    @property
    def is_chest_wall_right(self) -> bool:
        """Whether the chest wall is at the right of the input so far."""
        return self.chest_wall().is_right != self.plane.is_mirrored

    @property
    def kept(self) -> NDArray[Any]:
        """What is to be looked at, if something is taken away now."""
        return self.grey if self.whole is None else self.whole


def _begun(
    image: Image, operations: words.Operations, shows: View | None
) -> tuple[_Step, Sequence[words.Operation]]:
    """Return the image in grey, and the operations that are still to follow.

    An image that is resized at once is mirrored before it is in grey, which is twice as large.
    """
    rows, columns = image.shape
    grid, grey = PlaneGrid.whole(rows, columns, rows, columns), words.grey_values(operations)
    laterality = shows.laterality if shows else None
    decide = partial(chest_wall_of, image, laterality, words.without_orientation(operations))
    unseen = _Step(_NOT_LOOKED_UP, grid, shows, 1.0, cache(decide))
    following = operations[1:]
    if grey.scale == "none":
        return replace(unseen, grey=image.steps, highest=image.highest_step), following
    mirror = next((one for one in following[:1] if isinstance(one, words.Mirror)), None)
    others = following[1:] if mirror else following
    one = others[0] if others else None
    if not (isinstance(one, words.Resize) and one.antialias):
        return replace(unseen, grey=image.grey(grey.values)), following
    values = image.values
    if mirror and unseen.is_chest_wall_right != (mirror.chest_wall == "right"):
        values = values[:, ::-1]
        unseen = replace(unseen, grid=grid.mirrored(columns))
    size = _fitted(rows, columns, one)
    small = resized_lookup(image.table(grey.values), values, *size, one.filter)
    return _fitted_in(unseen, (rows, columns), small, one), others[1:]


_NOT_LOOKED_UP: NDArray[np.float32] = np.empty((0, 0), np.float32)


def _seen(step: _Step, chest_wall: str | None) -> Float32:
    seen = step.kept
    if chest_wall == "right":
        seen = seen[..., ::-1]
    shown = seen / step.highest if step.highest != 1 else seen
    return np.asarray(np.clip(shown, 0, 1), dtype=np.float32)  # some filters overshoot


def _mirror(step: _Step, one: words.Mirror) -> _Step:
    if step.is_chest_wall_right == (one.chest_wall == "right"):
        return step
    return replace(
        step,
        grey=np.ascontiguousarray(step.grey[:, ::-1]),
        grid=step.plane.mirrored(step.grey.shape[1]),
        whole=None if step.whole is None else np.ascontiguousarray(step.whole[:, ::-1]),
    )


def _crop(step: _Step, one: words.Crop) -> _Step:
    """As crop_mammogram.py of GMIC (Shen et al. 2021) does, with its numbers given as words."""
    left, top, right, bottom = _breast(step.grey > one.threshold, one, one.erosion_px).box
    rows, columns = step.grey.shape
    before = after = one.margin_px + one.erosion_px
    if one.margin_at_chest_wall_px is not None:
        at_wall = one.margin_at_chest_wall_px + one.erosion_px
        before, after = (before, at_wall) if step.is_chest_wall_right else (at_wall, after)
    left, right = max(left - before, 0), min(right + after, columns)
    around = one.margin_px + one.erosion_px
    top, bottom = max(top - around, 0), min(bottom + around, rows)
    return replace(
        step,
        grey=step.grey[top:bottom, left:right],
        grid=step.plane.moved(-left, -top, bottom - top, right - left),
        whole=step.kept,
    )


def _breast(mask: Bools, one: words.Crop | words.Rank, erosion_px: int = 0) -> Component:
    found = largest_component(eroded(mask, erosion_px), one.neighbours)
    if found is None and mask.any():
        raise StudyError(f"nothing in this image is thicker than {2 * erosion_px} pixels")
    if found is None:
        raise StudyError(NO_FOREGROUND)
    left, top, right, bottom = found.box
    if min(right - left, bottom - top) < STRIP_PX:
        raise StudyError("nothing in this image but strips of a few pixels on its background")
    return found


def _place(step: _Step, one: words.Placing) -> _Step:
    """As the windows of GMIC: rows and columns by themselves, never resized."""
    rows, columns = step.grey.shape
    projection = step.shows.projection if step.shows else ""
    down = _begin(rows, one.height, one.rows_of.get(projection, one.rows), one.centre[0])
    right = _begin(columns, one.width, one.columns, one.centre[1])
    return replace(
        step,
        grey=_in_window(step.grey, (down, right), (one.height, one.width), one.fill),
        grid=step.plane.moved(right, down, one.height, one.width),
        whole=step.kept,
    )


def _begin(length: int, window: int, where: str, centre: float) -> int:
    """Return where in a window an image begins; before it, if it is larger."""
    free = window - length
    if free < 0:
        wanted = math.floor(round(centre * length, 6)) - window // 2  # 0.29 * 100 is 29
        return -min(max(wanted, 0), -free)
    return {"centre": free // 2, "bottom": free, "right": free}.get(where, 0)


def _in_window(
    grey: NDArray[Any], begin: tuple[int, int], size: tuple[int, int], fill: float
) -> NDArray[Any]:
    """Return a window that an image begins in, cut at its edges and filled up."""
    window = np.full(size, fill, grey.dtype)
    into, out_of = [], []
    for first, length, room in zip(begin, grey.shape, size, strict=True):
        out_of.append(slice(max(-first, 0), min(length, room - first)))
        into.append(slice(max(first, 0), min(first + length, room)))
    window[tuple(into)] = grey[tuple(out_of)]
    return window


def _resize(step: _Step, one: words.Resize) -> _Step:
    rows, columns = step.grey.shape
    height, width = _fitted(rows, columns, one)
    grey = resized(step.grey, height, width, one.filter, one.antialias)
    return _fitted_in(step, (rows, columns), grey, one)


def _fitted_in(
    step: _Step, before: tuple[int, int], grey: NDArray[Any], one: words.Resize
) -> _Step:
    """Return an image that had a size before it was resized, in its window."""
    height, width = grey.shape
    grid = step.plane.resized(before, height, width)
    if (height, width) == (one.height, one.width):
        return replace(step, grey=grey, grid=grid)
    where = "centre" if one.align == "centre" else ""
    down, right = _begin(height, one.height, where, 0), _begin(width, one.width, where, 0)
    return replace(
        step,
        grey=_in_window(grey, (down, right), (one.height, one.width), one.fill),
        grid=grid.moved(right, down, one.height, one.width),
        whole=grey if step.whole is None else step.whole,
    )


def _fitted(rows: int, columns: int, one: words.Resize) -> tuple[int, int]:
    if one.fit == "stretch":
        return one.height, one.width
    scale = min(one.height / rows, one.width / columns)
    return max(1, round(rows * scale)), max(1, round(columns * scale))


SURELY = 1e-4
"""What lies by no more than this below a whole number is taken for it, where it is cut off: 32 bits
hold no more."""


def _quantise(step: _Step, one: words.Quantise) -> _Step:
    most = 2**one.bits - 1
    levels = step.grey.astype(np.float64) * most / one.of
    whole = np.rint(levels) if one.rounding == "nearest" else np.floor(levels + SURELY)
    kind = np.uint8 if one.bits == 8 else np.float32
    return replace(step, grey=np.clip(whole, 0, most).astype(kind), whole=step.kept)


def _rank(step: _Step, one: words.Rank) -> _Step:
    mask = step.grey > one.threshold
    if one.within == "largest component":
        mask = _breast(mask, one).mask(mask.shape)
    if not mask.any():
        raise StudyError(NO_FOREGROUND)
    _, which, counts = np.unique(step.grey[mask], return_inverse=True, return_counts=True)
    highest = np.cumsum(counts)
    lowest = highest - counts + 1
    ranks = {"highest": highest, "lowest": lowest, "average": (highest + lowest) / 2}[one.ties]
    grey = np.zeros(mask.shape, np.float32)
    grey[mask] = (ranks / len(which))[which]
    return replace(step, grey=grey, whole=step.kept)


def _histogram(step: _Step, one: words.Histogram) -> _Step:
    counts, _ = np.histogram(step.grey.astype(np.float64), bins=one.bins)
    return replace(step, grey=counts / step.grey.size, grid=None, whole=step.kept)


def _normalise(step: _Step, one: words.Normalise) -> _Step:
    ahead = (-1, *[1] * (step.grey.ndim - 1)) if step.grey.ndim == 3 else (-1,)
    subtract, divide = (np.reshape(n, ahead) for n in (one.subtract, one.divide))
    grey = ((step.grey - subtract) / divide).astype(np.float32)
    return replace(step, grey=grey, whole=step.kept)


def _z_score(step: _Step, one: words.ZScore) -> _Step:
    mean = step.grey.mean(dtype=np.float64)
    deviation = max(step.grey.std(dtype=np.float64), one.least_deviation)
    grey = ((step.grey - mean) / deviation).astype(np.float32)
    return replace(step, grey=grey, whole=step.kept)


def _repeat(step: _Step, one: words.Channels) -> _Step:
    grey = np.broadcast_to(step.grey, (one.count, *step.grey.shape))
    return replace(step, grey=grey, whole=step.kept)


_STEPS: Mapping[type[words.Operation], Callable[[_Step, Any], _Step]] = {
    words.Mirror: _mirror,
    words.Crop: _crop,
    words.Placing: _place,
    words.Resize: _resize,
    words.Quantise: _quantise,
    words.Rank: _rank,
    words.Histogram: _histogram,
    words.Normalise: _normalise,
    words.ZScore: _z_score,
    words.Channels: _repeat,
}
