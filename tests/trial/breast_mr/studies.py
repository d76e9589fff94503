"""Small generated studies, and how a plain reader finds things in them by their headers alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.study import StudyPlan, breast_mr

BEGUN_AT = datetime(2026, 3, 3, 10, 15)
SHAPE = (20, 48, 48)
SHORT = PhaseTimes(posts=3)


def small(study: str = "small", **words: object) -> list[Dataset]:
    """Return a study of few small slices, without what lies beside the dynamic series."""
    return breast_mr(study, small_plan(**words))


def small_plan(**words: object) -> StudyPlan:
    usual = {"shape": SHAPE, "schedule": SHORT, "beside": False, "begun_at": BEGUN_AT}
    return StudyPlan(**(usual | words))  # type: ignore[arg-type]


def frames(made: Iterable[Dataset]) -> list[tuple[Dataset, Dataset]]:
    """Return the frames of objects of many frames: the object and the frame's groups."""
    return [(one, frame) for one in made for frame in one.PerFrameFunctionalGroupsSequence]


def places(image: Dataset) -> NDArray[np.float64]:
    """Return where the pixels of a classic object lie (rows, columns, 3), PS3.3 C.7.6.2.1.1."""
    position = np.array(image.ImagePositionPatient, float)
    cosines = np.array(image.ImageOrientationPatient, float)
    row, column = map(float, image.PixelSpacing)
    down, across = np.mgrid[0 : image.Rows, 0 : image.Columns]
    there: NDArray[np.float64] = (
        position + across[..., None] * column * cosines[:3] + down[..., None] * row * cosines[3:]
    )
    return there


def centre_of_gain(pre: list[Dataset], post: list[Dataset], near: object) -> NDArray[np.float64]:
    """Return the centre of what got brighter within 25 mm of a place, weighted by how much."""
    weights, points = [], []
    for before, after in zip(pre, post, strict=True):
        assert before.ImagePositionPatient == after.ImagePositionPatient
        gain = after.pixel_array.astype(float) - before.pixel_array
        there = places(after)
        close = np.linalg.norm(there - np.asarray(near), axis=-1) < 25
        chosen = close & (gain > 60)
        weights.append(gain[chosen])
        points.append(there[chosen])
    centre: NDArray[np.float64] = np.average(
        np.concatenate(points), axis=0, weights=np.concatenate(weights)
    )
    return centre


def of_phase(made: Iterable[Dataset], position: int) -> list[Dataset]:
    """Return the images of a temporal position, in the order of their Instance Numbers."""
    found = [one for one in made if one.get("TemporalPositionIdentifier") == position]
    return sorted(found, key=lambda one: int(one.InstanceNumber))
