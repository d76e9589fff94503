"""Generated exams with drawn lesions: discs of known place, size and brightness.

A lesion lies at one depth from the chest wall, on CC and on MLO, as the same place in a breast
does; how far up or down it lies differs between the two. Everything else in such an image is
darker than a lesion (the tissue of `node.trial.phantom` stays below 2800 of 4095).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import pi

import numpy as np
from factories import L_CC, L_MLO, R_CC, R_MLO, SMALL
from numpy.typing import NDArray
from pydicom import Dataset

from node.study import Laterality, View
from node.trial import phantom
from node.trial.phantom import Technique

BRIGHTEST = 4095
MIDDLE = 0.54
"""Of the rows: where the middle of a generated breast lies."""
OPPOSITE = {"A": "P", "P": "A", "L": "R", "R": "L", "FL": "FR", "FR": "FL", "F": "F"}
"""Of a direction, in an image that is turned over from left to right."""


@dataclass(frozen=True, slots=True)
class Lesion:
    """A disc in one breast."""

    side: Laterality
    depth_mm: float
    """Of its middle, from the chest wall's edge of the image."""
    below_mm: Mapping[str, float]
    """How far below the middle of the breast it lies on each projection that shows it."""
    radius_mm: float
    value: int
    """Stored value (MONOCHROME2) of its pixels."""

    @property
    def area_cm2(self) -> float:
        """As large as it is in the body."""
        return pi * self.radius_mm**2 / 100

    def is_on(self, view: View) -> bool:
        """Whether this view shows it."""
        return view.laterality is self.side and view.projection in self.below_mm

    def middle(self, view: View, technique: Technique = SMALL) -> tuple[float, float]:
        """Return its column and row in the stored matrix (corner coordinates, PS3.3 C.18.6)."""
        per_mm = _pixels_per_mm(technique)
        depth = self.depth_mm * per_mm
        column = depth if self.side is Laterality.LEFT else technique.columns - depth
        return column, MIDDLE * technique.rows + self.below_mm[view.projection] * per_mm

    def box(self, view: View, technique: Technique = SMALL) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom in the stored matrix."""
        (column, row), radius = self.middle(view, technique), self.radius_px(technique)
        return column - radius, row - radius, column + radius, row + radius

    def radius_px(self, technique: Technique = SMALL) -> float:
        """Return the radius in stored pixels."""
        return self.radius_mm * _pixels_per_mm(technique)


LARGE = Lesion(Laterality.RIGHT, 60, {"CC": -15, "MLO": 10}, 8, 3950)
DEEP = Lesion(Laterality.RIGHT, 38, {"CC": 22, "MLO": 30}, 5, 3750)
LEFT = Lesion(Laterality.LEFT, 50, {"CC": 8, "MLO": 15}, 6, 3850)
ONLY_ON_MLO = Lesion(Laterality.LEFT, 75, {"MLO": 20}, 4.5, 3700)
LESIONS = (LARGE, DEEP, LEFT, ONLY_ON_MLO)
"""Two pairs in the right breast; in the left one a pair, and one that only the MLO shows."""
SHOWN = {R_CC: (LARGE, DEEP), L_CC: (LEFT,), R_MLO: (LARGE, DEEP), L_MLO: (LEFT, ONLY_ON_MLO)}
"""The lesions by view, the brightest first."""

FAINT = Lesion(Laterality.RIGHT, 60, {"CC": -15, "MLO": 10}, 8, 3400)
"""Brighter than any tissue, but not by much."""
SPECK = Lesion(Laterality.RIGHT, 75, {"CC": 10}, 2, 3950)
"""Of 13 mm2."""


def exam(
    study: str = "lesions",
    lesions: Sequence[Lesion] = LESIONS,
    *,
    views: Iterable[View] = phantom.EXAM,
    technique: Technique = SMALL,
    magnified: View | None = None,
) -> list[Dataset]:
    """Return one object per view; without lesions it is a plain exam. `magnified` is 1.8 x."""
    views = tuple(views)
    used = [replace(technique, magnification=1.8) if v == magnified else technique for v in views]
    plain = {one: phantom.exam(study, views, technique=one) for one in set(used)}
    made = []
    for number, (view, one) in enumerate(zip(views, used, strict=True)):
        draw(plain[one][number], view, lesions, one)
        made.append(plain[one][number])
    return made


def draw(
    dataset: Dataset, view: View, lesions: Iterable[Lesion], technique: Technique = SMALL
) -> None:
    """Draw the lesions that the view shows into a generated mammogram."""
    stored = dataset.pixel_array
    values = (BRIGHTEST - stored if technique.monochrome1 else stored).astype(np.float64)
    for lesion in lesions:
        if lesion.is_on(view):
            share = _covered(lesion, view, technique)
            values = values * (1 - share) + lesion.value * share
    values = np.round(values)
    _set_values(dataset, BRIGHTEST - values if technique.monochrome1 else values)


def turn_over(dataset: Dataset) -> None:
    """Store the same view mirrored from left to right, and say so (PS3.3 C.7.6.1.1.1)."""
    _set_values(dataset, dataset.pixel_array[:, ::-1])
    dataset.PatientOrientation = [
        OPPOSITE[dataset.PatientOrientation[0]],
        dataset.PatientOrientation[1],
    ]


def turned_over(
    box: tuple[float, float, float, float], technique: Technique = SMALL
) -> tuple[float, float, float, float]:
    """Return where a box lies in a mirrored image."""
    left, top, right, bottom = box
    return technique.columns - right, top, technique.columns - left, bottom


def _covered(lesion: Lesion, view: View, technique: Technique) -> NDArray[np.float64]:
    """Return how much of each pixel a lesion covers: its edge is one pixel soft."""
    column, row = lesion.middle(view, technique)
    y, x = np.indices((technique.rows, technique.columns)) + 0.5
    inside = lesion.radius_px(technique) - np.hypot(x - column, y - row) + 0.5
    return np.asarray(np.clip(inside, 0, 1), dtype=np.float64)


def _pixels_per_mm(technique: Technique) -> float:
    return technique.magnification / technique.spacing_mm


def _set_values(dataset: Dataset, values: NDArray[np.float64] | NDArray[np.uint16]) -> None:
    dataset.PixelData = np.ascontiguousarray(values).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
