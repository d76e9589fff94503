"""Solids that a body is made of: where each can be, and which points are inside.

Places are in the body's own millimetres, as in `body.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.trial.breast_mr.body import Millimetres

Sampled = NDArray[Any]
"""Coordinates in mm, or what is computed of them; as float32 where it matters for speed."""
Inside = Callable[[Sampled, Sampled, Sampled], Sampled]
"""Whether points of the body are in a shape."""
FAR_MM = 400.0
"""Beyond all that is imaged."""


@dataclass(frozen=True, slots=True)
class BodySolid:
    """Something to paint: where it can be (a box in the body), and over which tissues."""

    label: int
    low: Millimetres
    high: Millimetres
    inside: Inside
    over: tuple[int, ...] = ()


def trunk(label: int, wide: float, deep: float, middle: float) -> BodySolid:
    """Return a column about the long axis, a little squarer than an ellipse."""
    return BodySolid(
        label,
        (-wide, middle - deep, -FAR_MM),
        (wide, middle + deep, FAR_MM),
        lambda x, y, z: np.abs(x / wide) ** 2.4 + np.abs((y - middle) / deep) ** 2.4 + 0 * z < 1,
    )


def ellipsoid(
    label: int, at: Millimetres, radii: Millimetres, over: tuple[int, ...] = ()
) -> BodySolid:
    """Return an ellipsoid along the body's axes."""
    a, b, c = radii
    return BodySolid(
        label,
        (at[0] - a, at[1] - b, at[2] - c),
        (at[0] + a, at[1] + b, at[2] + c),
        lambda x, y, z: (
            ((x - at[0]) / a) ** 2 + ((y - at[1]) / b) ** 2 + ((z - at[2]) / c) ** 2 < 1
        ),
        over,
    )


def tube(
    label: int, ends: tuple[Millimetres, Millimetres], radius: float, over: tuple[int, ...] = ()
) -> BodySolid:
    """Return a straight tube with round ends."""
    begin, end = np.array(ends[0]), np.array(ends[1])
    way = end - begin
    length = float(way @ way)

    def inside(x: Sampled, y: Sampled, z: Sampled) -> Sampled:
        a, b, c = x - begin[0], y - begin[1], z - begin[2]
        along = np.clip((a * way[0] + b * way[1] + c * way[2]) / length, 0, 1)
        across = (a - along * way[0]) ** 2 + (b - along * way[1]) ** 2 + (c - along * way[2]) ** 2
        return np.asarray(across < radius**2)

    low, high = np.minimum(begin, end) - radius, np.maximum(begin, end) + radius
    return BodySolid(label, tuple(low.tolist()), tuple(high.tolist()), inside, over)
