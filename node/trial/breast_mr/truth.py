"""What really enhances in a generated study: no image is asked, only the body.

The truth is the set of voxels of a grid four times finer than the images whose enhancement at a
moment exceeds a threshold. It is of the phase before the injection's place of the body: motion is
what images have to be corrected for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from node.study import Laterality
from node.trial.breast_mr.anatomy import Tissue, core_of, paint, rim_of
from node.trial.breast_mr.body import Body, Lesion, Millimetres
from node.trial.breast_mr.raster import FINER, Raster
from node.trial.breast_mr.signal import enhancement

_GLANDS = (Tissue.GLAND_1, Tissue.GLAND_2, Tissue.GLAND_3, Tissue.GLAND_4)


@dataclass(frozen=True, slots=True)
class TrueLesion:
    """What of one lesion exceeds the threshold."""

    side: Laterality
    centre_mm: Millimetres
    """Mean of its voxels, in LPS of the patient; of the lesion itself if there are none."""
    volume_ml: float
    points_mm: NDArray[np.float64]
    """Centres of its voxels of the finer grid, in LPS (n, 3)."""


@dataclass(frozen=True, slots=True)
class TrueEnhancement:
    """What exceeds a threshold, in each lesion and elsewhere."""

    threshold: float
    seconds: float
    """After the injection."""
    voxel_ml: float
    """Of the finer grid."""
    lesions: tuple[TrueLesion, ...]

    def volume_ml(self, side: Laterality) -> float:
        """Return how much of the lesions of one side exceeds the threshold."""
        return sum(lesion.volume_ml for lesion in self.lesions if lesion.side is side)


def true_enhancement(
    body: Body, raster: Raster, seconds: float, threshold: float
) -> TrueEnhancement:
    """Return what of the lesions enhances by more than a threshold (0.5: 50 %) at a moment."""
    table = enhancement(body, seconds)
    lesions = tuple(
        _true_lesion(body, raster, number, table > threshold) for number in range(len(body.lesions))
    )
    return TrueEnhancement(threshold, seconds, _finer_ml(raster), lesions)


def enhancing_elsewhere_ml(
    body: Body, raster: Raster, seconds: float, threshold: float
) -> dict[str, float]:
    """Return what else exceeds the threshold, in ml: background, vessels, heart and so on.

    It paints the whole finer grid, slab by slab: seconds, not for every test.
    """
    table = enhancement(body, seconds)
    counts = np.zeros(256, np.int64)
    for slab in _slabs(raster.finer(FINER)):
        counts += np.bincount(paint(body.moved(0), slab).ravel(), minlength=256)
    above = counts * (table > threshold) * _finer_ml(raster)
    found = {tissue.name.lower(): float(above[tissue]) for tissue in Tissue}
    gland = sum(found.pop(tissue.name.lower()) for tissue in _GLANDS)
    return {name: ml for name, ml in {**found, "background": gland}.items() if ml}


def _true_lesion(body: Body, raster: Raster, number: int, above: NDArray[np.bool_]) -> TrueLesion:
    lesion = body.lesions[number]
    near, start = _around(body, raster.finer(FINER), lesion)
    # Lesions are painted last and the later over the earlier: all of them, nothing else matters.
    labels = _lesions_alone(body, near)
    shown = np.isin(labels, [rim_of(number), core_of(number)]) & above[labels]
    points = raster.finer(FINER).points(np.argwhere(shown) + np.asarray(start))
    centre = points.mean(0) if len(points) else body.placed(np.array([lesion.centre]))[0]
    x, y, z = map(float, centre)
    return TrueLesion(body.side_of(lesion), (x, y, z), len(points) * _finer_ml(raster), points)


def _lesions_alone(body: Body, near: Raster) -> NDArray[np.uint8]:
    labels = np.zeros(near.shape, np.uint8)
    for lesion in body.lesions:
        one = paint(body.moved(0), near, only=lesion)
        labels = np.where(one > 0, one, labels)
    return labels


def _around(body: Body, fine: Raster, lesion: Lesion) -> tuple[Raster, tuple[int, int, int]]:
    """Return the part of a grid that a lesion can be in, and the index it begins at."""
    reach = 2 * max(lesion.radii_mm) * (1 + lesion.lobes)
    centre = fine.indices(body.placed(np.array([lesion.centre])))[0]
    width = reach / np.asarray(fine.spacing_mm)
    low = np.clip(np.floor(centre - width), 0, fine.shape).astype(int)
    high = np.clip(np.ceil(centre + width) + 1, 0, fine.shape).astype(int)
    begin = (int(low[0]), int(low[1]), int(low[2]))
    x, y, z = map(float, fine.points(np.array([begin], float))[0])
    shape = tuple(int(end - start) for start, end in zip(low, high, strict=True))
    return replace(fine, first_mm=(x, y, z), shape=shape), begin  # type: ignore[arg-type]


def _slabs(fine: Raster) -> Iterator[Raster]:
    """Yield a grid in parts of a few slices."""
    step = 16
    for start in range(0, fine.shape[0], step):
        count = min(step, fine.shape[0] - start)
        yield replace(
            fine, first_mm=fine.position(start), shape=(count, fine.shape[1], fine.shape[2])
        )


def _finer_ml(raster: Raster) -> float:
    return raster.voxel_ml() / FINER**3
