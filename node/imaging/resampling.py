"""Bringing an image to a size with a named filter; models/README.md has the arithmetic.

With antialias Pillow does it (`PIL.Image.resize`): the filter is as wide as the reduction. Without,
each pixel is interpolated between its nearest two (bilinear) or four (bicubic) neighbours a row, as
`torch.nn.functional.interpolate(..., align_corners=False, antialias=False)` and OpenCV's `resize`
do for float32 (INTER_LINEAR, INTER_CUBIC).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeVar

import numpy as np
import PIL.Image
from numpy.typing import NDArray

Filter = Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]
_Value = TypeVar("_Value", bound=np.generic)

OF_PILLOW = {
    "box": PIL.Image.Resampling.BOX,
    "bilinear": PIL.Image.Resampling.BILINEAR,
    "bicubic": PIL.Image.Resampling.BICUBIC,
    "lanczos": PIL.Image.Resampling.LANCZOS,
}
CUBIC = -0.75
"""The parameter of Keys' cubic without antialias: that of OpenCV and torch; Pillow's is -0.5."""


def resized(
    grey: NDArray[_Value], height: int, width: int, filter_name: Filter, antialias: bool
) -> NDArray[_Value]:
    """Return an image of a size; the same, if it has that size."""
    if grey.shape == (height, width):
        return grey
    if filter_name == "nearest":
        return grey[_nearest(grey.shape[0], height)[:, np.newaxis], _nearest(grey.shape[1], width)]
    if antialias:
        return _filtered(grey, height, width, OF_PILLOW[filter_name])
    across = _interpolated(grey, width, filter_name)
    both = _interpolated(across.T, height, filter_name).T
    if grey.dtype == np.uint8:
        both = np.clip(np.rint(both), 0, 255)
    return np.ascontiguousarray(both, dtype=grey.dtype)


_ROWS_AT_A_TIME = 128
"""So many rows of what is looked up stay in the processor's cache until they are resized."""


def looked_up(table: NDArray[_Value], values: NDArray[np.integer[Any]]) -> NDArray[_Value]:
    """Return what a table has for each value, which are all within it."""
    _require_within(table, values)
    found = np.empty(values.shape, table.dtype)
    for rows in _blocks(len(values)):
        np.take(table, values[rows], out=found[rows], mode="clip")
    return found


def resized_lookup(
    table: NDArray[_Value],
    values: NDArray[np.integer[Any]],
    height: int,
    width: int,
    filter_name: Filter,
) -> NDArray[_Value]:
    """Return `resized` with antialias, to the last bit, of what a table has for each value.

    Bytes are filtered across and then down, so that what is looked up need never lie in memory as
    a whole. Of numbers Pillow decides by the sizes which comes first, and it tells the last bit.
    """
    if table.dtype != np.uint8 or values.shape == (height, width) or filter_name == "nearest":
        return resized(looked_up(table, values), height, width, filter_name, antialias=True)
    _require_within(table, values)
    pillow = OF_PILLOW[filter_name]
    across = np.empty((len(values), width), table.dtype)
    block = np.empty((_ROWS_AT_A_TIME, values.shape[1]), table.dtype)
    for rows in _blocks(len(values)):
        part = block[: rows.stop - rows.start]
        np.take(table, values[rows], out=part, mode="clip")
        image = PIL.Image.fromarray(part)
        across[rows] = np.asarray(image.resize((width, len(part)), pillow))
    return _filtered(across, height, width, pillow)


def _require_within(table: NDArray[Any], values: NDArray[np.integer[Any]]) -> None:
    """Raise IndexError for what would be clipped: that is fast, and a wrong grey."""
    if values.size and (values.max() >= len(table) or values.min() < 0):
        raise IndexError(
            f"a table of {len(table)} has nothing for {values.min()} to {values.max()}"
        )


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _ROWS_AT_A_TIME):
        yield slice(start, min(start + _ROWS_AT_A_TIME, count))


def _filtered(
    grey: NDArray[_Value], height: int, width: int, pillow: PIL.Image.Resampling
) -> NDArray[_Value]:
    image = PIL.Image.fromarray(grey)
    if grey.dtype == np.uint8:  # rounded in between, so that the order counts: across, then down
        image = image.resize((width, grey.shape[0]), pillow)
    return np.asarray(image.resize((width, height), pillow), dtype=grey.dtype)


def _nearest(before: int, after: int) -> NDArray[np.intp]:
    """Return in which pixel the middle of each lies; of an edge between two, in the later one."""
    return (2 * np.arange(after) + 1) * before // (2 * after)


def _interpolated(
    grey: NDArray[np.generic], length: int, filter_name: Filter
) -> NDArray[np.float64]:
    """Interpolate along the rows at the middles of so many pixels; the edge pixel goes on."""
    columns = grey.shape[1]
    at = (np.arange(length) + 0.5) * (columns / length) - 0.5
    if filter_name == "bilinear":
        at = np.clip(at, 0, columns - 1)
    first = np.floor(at)
    share = at - first
    if filter_name == "bilinear":
        weights = {0: 1 - share, 1: share}
    else:
        weights = {step: _cubic(np.abs(share - step)) for step in (-1, 0, 1, 2)}
    result = np.zeros((grey.shape[0], length))
    for step, weight in weights.items():
        taken = np.clip(first.astype(np.intp) + step, 0, columns - 1)
        result += grey[:, taken] * weight
    return result


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution at a distance of 0 to 2."""
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = ((CUBIC * x - 5 * CUBIC) * x + 8 * CUBIC) * x - 4 * CUBIC
    return np.where(x <= 1, near, far)
