"""What the package is measured on: generated bodies whose enhancing volume is known, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import pi
from typing import Any

from node.study import Laterality
from node.trial.breast_mr.body import (
    IMPLANTS,
    ONE_BREAST,
    STRONG_BACKGROUND,
    USUAL,
    WITHOUT_LESION,
    Body,
    Lesion,
    Millimetres,
    Uptake,
)
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.study import StudyPlan
from node.trial.breast_mr.styles import SIEMENS

VOXELS: Mapping[str, tuple[int, int, int]] = {
    "1.0": (170, 250, 340),
    "1.3": (131, 193, 262),
    "2.0": (85, 125, 170),
    "2.0 x 1.3 x 1.3": (85, 193, 262),
}
"""By the edges of a voxel in mm: how many there are of what every generated series covers."""
LONG_PHASES = PhaseTimes(posts=2, phase_s=260.0)
"""Middles of 150 s and 410 s, and nothing between them that would be made for nothing."""
EARLY_PHASE = 1
_SHAPE: Millimetres = (1.12, 0.95, 0.94)
"""Radii of a lesion, as parts of that of a ball as large."""
_IN_RIGHT: Millimetres = (-70.0, -38.0, -8.0)
_IN_LEFT: Millimetres = (72.0, -40.0, 8.0)


@dataclass(frozen=True, slots=True)
class MeasuredBody:
    """One generated study."""

    varied: str
    """What is varied, which rows stand together by."""
    what: str
    """How."""
    plan: StudyPlan
    voxels_mm: str = "2.0"


@dataclass(frozen=True, slots=True)
class _Two:
    """A lesion in either breast."""

    right_ml: float
    left_ml: float
    at_right: Millimetres = _IN_RIGHT
    at_left: Millimetres = _IN_LEFT
    changes: Mapping[str, Any] = field(default_factory=dict)

    def body(self, of: Body = USUAL) -> Body:
        right = lesion_of(self.right_ml, self.at_right, **self.changes)
        left = lesion_of(self.left_ml, self.at_left, **self.changes)
        return replace(of, lesions=(right, left))


def lesion_of(ml: float, centre: Millimetres, **changes: Any) -> Lesion:
    """Return a lesion of about so many ml."""
    radius = (3000 * ml / (4 * pi)) ** (1 / 3)
    x, y, z = (radius * part for part in _SHAPE)
    return replace(Lesion(centre, (x, y, z), lobes=0.08), **changes)


def measured_bodies() -> Iterator[MeasuredBody]:
    """Yield all that the package is measured on."""
    yield from _of_sizes()
    yield from _of_images()
    yield from _of_motion_and_times()
    yield from _of_places()
    yield from _without_lesion()


def _of_sizes() -> Iterator[MeasuredBody]:
    pairs = {
        "2.0": ((0.3, 20.0), (0.5, 10.0), (1.0, 5.0), (3.0, 2.0)),
        "1.3": ((0.5, 10.0), (0.3, 5.0), (1.0, 2.0)),
        "1.0": ((0.5, 2.0),),
        "2.0 x 1.3 x 1.3": ((0.5, 2.0),),
    }
    for voxels_mm, of_voxels in pairs.items():
        for right, left in of_voxels:
            yield _study("size", "usual", _Two(right, left).body(), voxels_mm)
    rim = _Two(1.0, 5.0, changes={"core": 0.3})
    yield _study("size", "dark core", rim.body())
    plateau = _Two(1.0, 5.0, changes={"uptake": Uptake.PLATEAU, "enhancement": 1.2})
    yield _study("size", "plateau, 120 %", plateau.body())


def _of_images() -> Iterator[MeasuredBody]:
    body = _Two(0.7, 3.0).body()
    turned = replace(body, shift_mm=(40.0, 0.0, 0.0), rotation_degrees=10.0)
    yield _study("slices", "sagittal", body, orientation=Orientation.SAGITTAL)
    yield _study("slices", "coronal", body, orientation=Orientation.CORONAL)
    yield _study("slices", "oblique, turned", turned, orientation=Orientation.OBLIQUE)
    yield _study("fat", "not suppressed", body, fat_suppressed=False)
    yield _study("fat", "not suppressed", _Two(1.0, 2.0).body(), "1.3", fat_suppressed=False)
    for noise in (3.5, 14.0, 28.0):
        yield _study("noise", f"of {noise:g}", body, noise=noise)
    yield _study("noise", "of 14", _Two(0.5, 2.0).body(), "1.3", noise=14.0)


def _of_motion_and_times() -> Iterator[MeasuredBody]:
    body = _Two(0.7, 3.0).body()
    for mm in (1.0, 2.0, 3.0):
        y, z = -0.92 * mm, 0.39 * mm
        yield _study("motion", f"by {mm:g} mm", replace(body, motion_mm=(0.0, y, z)))
    yield _study("times", "injection not known", body, style=SIEMENS)


def _of_places() -> Iterator[MeasuredBody]:
    yield _study("place", "implants", IMPLANTS)
    yield _study("place", "one breast", _Two(0.7, 3.0).body(ONE_BREAST))
    at_wall, at_skin = (-72.0, 14.0, 0.0), (121.0, -30.0, 0.0)
    yield _study("place", "R at chest wall, L at skin", _Two(1.0, 2.0, at_wall, at_skin).body())
    middle = _Two(0.7, 1.0, _IN_RIGHT, (16.0, -1.0, 4.0))
    yield _study("place", "L at midline", middle.body())
    yield _study("place", "strong background", _Two(0.7, 3.0).body(STRONG_BACKGROUND))


def _without_lesion() -> Iterator[MeasuredBody]:
    yield _study("no lesion", "usual", WITHOUT_LESION)
    yield _study("no lesion", "strong background", replace(STRONG_BACKGROUND, lesions=()))
    yield _study("no lesion", "fat not suppressed", WITHOUT_LESION, fat_suppressed=False)
    yield _study("no lesion", "noise of 28", WITHOUT_LESION, noise=28.0)
    moved = replace(WITHOUT_LESION, motion_mm=(0.0, -1.84, 0.78))
    yield _study("no lesion", "moved by 2 mm", moved)


def _study(
    varied: str, what: str, body: Body, voxels_mm: str = "2.0", **changes: Any
) -> MeasuredBody:
    shown = tuple(one for one in body.lesions if body.side_of(one) in body.sides)
    plan = StudyPlan(
        body=replace(body, lesions=shown),
        shape=VOXELS[voxels_mm],
        schedule=LONG_PHASES,
        beside=False,
        **changes,
    )
    return MeasuredBody(varied, what, plan, voxels_mm)


def true_volumes(plan: StudyPlan, threshold: float) -> dict[Laterality, float]:
    """Return how many ml of the lesions of each breast that is there exceed a threshold."""
    truth = plan.truth(EARLY_PHASE, threshold)
    return {side: truth.volume_ml(side) for side in plan.body.sides}
