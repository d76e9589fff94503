"""Which tissue is where: the labels of a body on any raster.

A label is a whole number: those of `Tissue`, and two for each lesion (`rim_of`, `core_of`). Shapes
are painted one after the other, each only inside its own box, so that small ones cost little.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from node.study import Laterality
from node.trial.breast_mr.body import Body, Lesion, Millimetres
from node.trial.breast_mr.raster import Raster
from node.trial.breast_mr.solids import (
    FAR_MM,
    BodySolid,
    Inside,
    Sampled,
    ellipsoid,
    trunk,
    tube,
)

_SLAB = 8
"""Slices that are painted at once: what is worked on stays small."""
_AT_MM = 72.0
"""From the breastbone to the middle of a breast."""
_FIRST_LESION = 32


class Tissue(IntEnum):
    """What the body is made of."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    LUNG = 4
    BONE = 5
    HEART = 6
    VESSEL = 7
    LIVER = 8
    NIPPLE = 9
    IMPLANT = 10
    CAPSULE = 11
    GLAND_1 = 12
    """Of four kinds of gland: this enhances least."""
    GLAND_2 = 13
    GLAND_3 = 14
    GLAND_4 = 15


_SOFT = (Tissue.AIR, Tissue.SKIN, Tissue.FAT)
_BREAST = (*_SOFT, Tissue.GLAND_1, Tissue.GLAND_2, Tissue.GLAND_3, Tissue.GLAND_4, Tissue.VESSEL)


def rim_of(lesion: int) -> int:
    """Return the label of the outer part of a lesion, counted from 0."""
    return _FIRST_LESION + 2 * lesion


def core_of(lesion: int) -> int:
    """Return the label of the inner part of a lesion."""
    return _FIRST_LESION + 2 * lesion + 1


def paint(body: Body, raster: Raster, *, only: Lesion | None = None) -> NDArray[np.uint8]:
    """Return the labels (slices, rows, columns) of a body on a raster, or of one lesion alone."""
    labels = np.zeros(raster.shape, np.uint8)
    shapes = list(_shapes(body))
    if only is not None:
        label = rim_of(body.lesions.index(only))
        shapes = [shape for shape in shapes if shape.label in (label, label + 1)]
    steps = body.own(body.placed(np.zeros((1, 3))) + raster.vectors()).astype(np.float32)
    first = body.own(np.array([raster.first_mm]))[0].astype(np.float32)
    boxes = [_box(body, raster, shape) for shape in shapes]
    for start in range(0, raster.shape[0], _SLAB):
        for shape, (low, high) in zip(shapes, boxes, strict=True):
            begin, end = max(start, low[0]), min(start + _SLAB, high[0])
            if begin < end:
                part = (slice(begin, end), slice(low[1], high[1]), slice(low[2], high[2]))
                _paint_shape(labels[part], shape, first, steps, (begin, low[1], low[2]))
    return labels


def _paint_shape(
    labels: NDArray[np.uint8],
    shape: BodySolid,
    first: NDArray[np.float32],
    steps: NDArray[np.float32],
    begin: tuple[int, int, int],
) -> None:
    """Paint a part of a raster, which begins at an index, in place."""
    counts = [
        np.arange(b, b + n, dtype=np.float32) for b, n in zip(begin, labels.shape, strict=True)
    ]
    index = np.ix_(*counts)
    x, y, z = (
        np.asarray(sum(along * steps[axis, at] for axis, along in enumerate(index)) + first[at])
        for at in range(3)
    )
    chosen = np.broadcast_to(shape.inside(x, y, z), labels.shape)
    if shape.over:
        allowed = np.zeros(256, bool)
        allowed[list(shape.over)] = True
        chosen = chosen & allowed[labels]
    labels[chosen] = shape.label


def _box(
    body: Body, raster: Raster, shape: BodySolid
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return between which indices a shape can lie."""
    corners = np.array(list(product(*zip(shape.low, shape.high, strict=True))))
    indices = raster.indices(body.placed(corners))
    low = np.clip(np.floor(indices.min(0)), 0, raster.shape).astype(int)
    high = np.clip(np.ceil(indices.max(0)) + 1, 0, raster.shape).astype(int)
    return (int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2]))


def _shapes(body: Body) -> Iterator[BodySolid]:
    """Yield what a body is made of, what lies behind first."""
    yield from _chest()
    for side in body.sides:
        yield from _breast(side, body)
    for number, lesion in enumerate(body.lesions):
        yield from _lesion(number, lesion)


def _chest() -> Iterator[BodySolid]:
    yield trunk(Tissue.SKIN, 163, 112, 110)
    yield trunk(Tissue.FAT, 160.5, 109.5, 110)
    yield trunk(Tissue.MUSCLE, 148, 98, 112)
    yield trunk(Tissue.FAT, 134, 85, 113)
    ribs = trunk(Tissue.BONE, 133, 84, 113)
    yield BodySolid(
        Tissue.BONE,
        ribs.low,
        ribs.high,
        lambda x, y, z: ribs.inside(x, y, z) & (np.sin((z - 0.35 * y) / 4.2) > -0.1),
    )
    yield trunk(Tissue.LUNG, 126, 77, 114)
    yield ellipsoid(Tissue.FAT, (6, 118, 0), (34, 86, FAR_MM))
    yield ellipsoid(Tissue.LIVER, (-58, 112, -92), (66, 70, 48))
    yield ellipsoid(Tissue.MUSCLE, (30, 84, -22), (56, 44, 52))
    yield ellipsoid(Tissue.HEART, (36, 84, -24), (45, 33, 42))
    yield ellipsoid(Tissue.HEART, (-2, 92, -10), (26, 24, 34))
    yield tube(Tissue.VESSEL, ((10, 80, 20), (4, 88, 110)), 13)
    yield tube(Tissue.VESSEL, ((22, 150, -110), (22, 150, 110)), 11)
    yield tube(Tissue.BONE, ((0, 176, -110), (0, 176, 110)), 19)
    for side in (-1, 1):
        yield tube(Tissue.VESSEL, ((side * 20, 29, -110), (side * 20, 27, 110)), 2.0)
    yield ellipsoid(Tissue.BONE, (0, 17, 20), (16, 6, FAR_MM))


def _breast(side: Laterality, body: Body) -> Iterator[BodySolid]:
    sign = 1 if side is Laterality.LEFT else -1
    # No two breasts are alike: the left one is the smaller.
    size = 0.97 if side is Laterality.LEFT else 1.0
    at = sign * _AT_MM
    yield _mound(Tissue.SKIN, at, size, 0.0)
    yield _mound(Tissue.FAT, at, size, 2.2)
    yield ellipsoid(Tissue.NIPPLE, (at, 15 - 99 * size, 0), (6, 6.5, 6), over=_SOFT)
    yield from _gland(at, size, body.density)
    yield from _vessel((at + sign * 52, 8, 26), (at + sign * 12, -66, 8), 1.4)
    yield from _vessel((at + sign * 47, 4, -18), (at + sign * 20, -52, -22), 1.1)
    yield from _vessel((at - sign * 46, 6, -24), (at - sign * 16, -50, -12), 1.2)
    if side in body.implants:
        yield ellipsoid(Tissue.CAPSULE, (at, -9, -2), (50, 31, 48), over=_BREAST)
        yield ellipsoid(Tissue.IMPLANT, (at, -9, -2), (48.6, 29.6, 46.6), over=(Tissue.CAPSULE,))


def _vessel(begin: Millimetres, end: Millimetres, radius: float) -> Iterator[BodySolid]:
    """Yield a vessel that winds from the chest wall forwards."""
    along = np.linspace(0, 1, 9)[:, np.newaxis]
    points = np.array(begin) * (1 - along) + np.array(end) * along
    points += np.sin(along * np.array([9.0, 5.0, 13.0])) * np.array([2.5, 1.5, 3.0])
    for here, there in pairwise(points.tolist()):
        yield tube(Tissue.VESSEL, (tuple(here), tuple(there)), radius, over=_BREAST)


def _gland(at: float, size: float, density: float) -> Iterator[BodySolid]:
    """Yield four kinds of gland, each where the one before it is and a cloud is brighter."""
    low, high = (at - 56.0, -84.0, -54.0), (at + 56.0, 14.0, 54.0)

    sign = 1 if at > 0 else -1  # the two sides are mirrored, and not quite

    def strength(x: Sampled, y: Sampled, z: Sampled) -> Sampled:
        # A cone that points to the nipple: wide at the chest wall.
        width = np.clip(0.62 + (y + 84 * size) / 150, 0.3, 1.1)
        around = ((x - at) / (46 * width)) ** 2 + (z / (44 * width)) ** 2
        along = ((y + 36) / 46) ** 2
        return (
            1.25
            - around
            - along
            + 0.85 * _clouds((x - at) * sign + 7, y, z + 4 * sign)
            - 1.35 * (1 - density)
        )

    for number, level in enumerate((0.0, 0.3, 0.62, 0.95)):
        yield BodySolid(
            Tissue.GLAND_1 + number,
            low,
            high,
            lambda x, y, z, level=level: strength(x, y, z) > level,  # type: ignore[misc]
            (Tissue.FAT, *range(Tissue.GLAND_1, Tissue.GLAND_4)),
        )


def _clouds(x: Sampled, y: Sampled, z: Sampled) -> Sampled:
    """Return smooth texture between about -1 and 1: waves of four lengths, bent by one another."""
    bent = x + 5 * np.sin(y / 9.0 + z / 13.0)
    coarse = np.sin(bent / 8.5 + 0.4) * np.sin(y / 7.3 - z / 21.0) * np.cos(z / 9.1)
    fine = np.sin(bent / 3.7 + y / 5.1) * np.sin(z / 3.9 - y / 6.7 + 1.0)
    return np.asarray(0.65 * coarse + 0.35 * fine)


def _lesion(number: int, lesion: Lesion) -> Iterator[BodySolid]:
    reach = 1 + lesion.lobes
    low = tuple(c - reach * r for c, r in zip(lesion.centre, lesion.radii_mm, strict=True))
    high = tuple(c + reach * r for c, r in zip(lesion.centre, lesion.radii_mm, strict=True))

    def within(part: float) -> Inside:
        def inside(x: Sampled, y: Sampled, z: Sampled) -> Sampled:
            a, b, c = (
                (value - np.float32(at)) / np.float32(radius)
                for value, at, radius in zip((x, y, z), lesion.centre, lesion.radii_mm, strict=True)
            )
            radius = np.sqrt(a**2 + b**2 + c**2)
            if not lesion.lobes:
                return np.asarray(radius < part)
            away = np.maximum(radius, np.float32(1e-3))
            waves = np.sin(5 * a / away + 1) * np.cos(6 * b / away) * np.cos(4 * c / away + 0.5)
            return np.asarray(radius < part * (1 + np.float32(lesion.lobes) * waves))

        return inside

    yield BodySolid(rim_of(number), low, high, within(1.0))  # type: ignore[arg-type]
    yield BodySolid(core_of(number), low, high, within(0.5))  # type: ignore[arg-type]


def _mound(label: Tissue, at: float, size: float, inset: float) -> BodySolid:
    """Return a breast: fuller than an ellipsoid, on the chest wall of a prone woman."""
    wide, high, long = 68 * size - inset, 69 * size - inset, 98 * size - inset
    return BodySolid(
        label,
        (at - wide, 15 - long, -high),
        (at + wide, 40, high),
        lambda x, y, z: (
            np.abs((x - at) / wide) ** 2.2
            + np.abs(z / high) ** 2.2
            + np.abs(np.minimum(y - 15, 0) / long) ** 2.2
            < 1
        ),
        _SOFT if label is Tissue.FAT else (Tissue.AIR, Tissue.SKIN),
    )
