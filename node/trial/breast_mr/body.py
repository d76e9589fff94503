"""Who lies in the magnet: breasts, lesions with their curves, and how the body is placed.

All places are in the body's own millimetres: x towards the left, y towards the back, z towards the
head (as LPS, DICOM PS3.3 C.7.6.2.1.1), from a point on the breastbone between the breasts.
`Body.placed` and `Body.own` lead to the patient's LPS and back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from node.study import Laterality

Millimetres = tuple[float, float, float]
"""x, y, z in mm."""

_STEEP_S = 35.0
_SLOW_S = 200.0
_FALL_S = 500.0
_PEAK_S = 100.0


class Uptake(StrEnum):
    """How the signal follows the contrast agent: the three curves of BI-RADS, and blood."""

    PERSISTENT = "persistent"
    PLATEAU = "plateau"
    WASHOUT = "washout"
    BLOOD = "blood"

    def at(self, seconds: float) -> float:
        """Return which part of its full enhancement is there, so long after the injection."""
        if seconds <= 0:
            return 0.0
        if self is Uptake.PERSISTENT:
            return 1 - float(np.exp(-seconds / _SLOW_S))
        if self is Uptake.BLOOD:
            rise = 1 - float(np.exp(-seconds / 12.0))
            return rise * (0.55 + 0.45 * float(np.exp(-seconds / 150.0)))
        rise = 1 - float(np.exp(-seconds / _STEEP_S))
        if self is Uptake.PLATEAU:
            return rise
        return rise * float(np.exp(-max(0.0, seconds - _PEAK_S) / _FALL_S))


@dataclass(frozen=True, slots=True)
class Lesion:
    """Something that enhances: an ellipsoid with lobes, its rim and its core."""

    centre: Millimetres
    radii_mm: Millimetres
    uptake: Uptake = Uptake.WASHOUT
    enhancement: float = 1.6
    """Of the full signal over the signal before: 1.6 is 160 %."""
    core: float = 1.0
    """Enhancement of the inner half (by radius) as a part of that of the rim; 0 is necrotic."""
    lobes: float = 0.0
    """How far the surface goes in and out, as a part of the radius."""


@dataclass(frozen=True, slots=True)
class Body:
    """One woman. The usual one has a lesion of 2 ml in the left breast."""

    lesions: tuple[Lesion, ...] = (Lesion((72.0, -42.0, 8.0), (8.6, 7.4, 7.5), lobes=0.08),)
    sides: tuple[Laterality, ...] = (Laterality.RIGHT, Laterality.LEFT)
    """Which breasts there are."""
    implants: tuple[Laterality, ...] = ()
    density: float = 0.5
    """How much of the breast is gland: 0 is almost all fat, 1 almost none."""
    background: float = 0.12
    """Enhancement of the gland, where it is strongest; 0.9 is marked."""
    shift_mm: Millimetres = (0.0, 0.0, 0.0)
    """Where the point between the breasts lies, in LPS of the patient."""
    rotation_degrees: float = 0.0
    """About the long axis, counted from the left (x) towards the back (y)."""
    motion_mm: Millimetres = (0.0, 0.0, 0.0)
    """How far the whole body lies from where it was, from phase `moves_at` on."""
    moves_at: int = 1

    def placed(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points of the body (n, 3) in LPS of the patient, before any motion."""
        there: NDArray[np.float64] = points @ self.turn().T + np.asarray(self.shift_mm)
        return there

    def own(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points of the patient (n, 3; LPS) in the body's own coordinates."""
        here: NDArray[np.float64] = (points - np.asarray(self.shift_mm)) @ self.turn()
        return here

    def turn(self) -> NDArray[np.float64]:
        """Return the rotation matrix (3, 3) from the body's own axes to LPS."""
        angle = np.deg2rad(self.rotation_degrees)
        cosine, sine = float(np.cos(angle)), float(np.sin(angle))
        return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])

    def moved(self, phase: int) -> Body:
        """Return where the body is in a phase, counted from 0, the one before the injection."""
        if phase < self.moves_at or not any(self.motion_mm):
            return replace(self, motion_mm=(0.0, 0.0, 0.0))
        x, y, z = (a + b for a, b in zip(self.shift_mm, self.motion_mm, strict=True))
        return replace(self, shift_mm=(x, y, z), motion_mm=(0.0, 0.0, 0.0))

    def side_of(self, lesion: Lesion) -> Laterality:
        """Return the breast that a lesion is in."""
        return Laterality.LEFT if lesion.centre[0] > 0 else Laterality.RIGHT


USUAL = Body()
WITHOUT_LESION = Body(lesions=())
SHIFTED_AND_TURNED = replace(USUAL, shift_mm=(40.0, 0.0, 0.0), rotation_degrees=10.0)
NEAR_THE_MIDLINE = replace(USUAL, lesions=(Lesion((10.0, 1.0, 4.0), (4.2, 4.6, 5.0)),))
ONE_BREAST = replace(USUAL, sides=(Laterality.LEFT,))
IMPLANTS = replace(
    USUAL,
    implants=(Laterality.RIGHT, Laterality.LEFT),
    lesions=(Lesion((74.0, -56.0, 10.0), (8.0, 7.0, 8.0), lobes=0.1),),
)
STRONG_BACKGROUND = replace(USUAL, background=0.9, density=0.7)
MOVED = replace(USUAL, motion_mm=(1.0, -2.6, 1.1))
"""By 3 mm, from the first phase after the injection on."""
THREE_LESIONS = replace(
    USUAL,
    lesions=(
        Lesion((74.0, -45.0, 10.0), (9.0, 8.0, 8.0), lobes=0.15, core=0.5),
        Lesion((-62.0, -38.0, -14.0), (6.0, 5.0, 5.5), Uptake.PERSISTENT, 1.3),
        Lesion((-84.0, -28.0, 18.0), (6.5, 6.5, 6.0), Uptake.PLATEAU, 1.2),
    ),
)
BODIES = {
    "usual": USUAL,
    "without lesion": WITHOUT_LESION,
    "shifted and turned": SHIFTED_AND_TURNED,
    "near the midline": NEAR_THE_MIDLINE,
    "one breast": ONE_BREAST,
    "implants": IMPLANTS,
    "strong background": STRONG_BACKGROUND,
    "moved": MOVED,
    "three lesions": THREE_LESIONS,
}
"""Every variant, by name."""
