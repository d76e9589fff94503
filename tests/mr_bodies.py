"""A body with two breasts, face down in a magnet, as a volume of any grid: for tests of geometry.

Made of ellipsoids in the body's own coordinates (mm; x to its left, y to its back, z to its head;
its midline is x = 0), which are turned and moved in the patient's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from highdicom import Volume
from mr_stacks import AXIAL, uid_of
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Body:
    """What is imaged, and where."""

    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turned_degrees: float = 0.0
    """About the axis from feet to head."""
    breasts: str = "RL"
    right_size: float = 1.0
    has_implant: bool = False
    """On the left."""
    is_fat_suppressed: bool = False
    uptake: float = 0.0
    """Of the heart, of vessels and of the left breast's gland, relative to before."""
    noise: float = 4.0
    seed: int = 0

    def of(self, **changes: object) -> Body:
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def left(self) -> Floats:
        """The body's own x axis in the patient's coordinates."""
        angle = np.radians(self.turned_degrees)
        return np.array([np.cos(angle), np.sin(angle), 0.0])

    def in_body(self, places: Floats) -> Floats:
        """Turn places (..., 3) of the patient into the body's own coordinates."""
        left = self.left
        axes = np.array([left, [-left[1], left[0], 0.0], [0.0, 0.0, 1.0]])
        return np.asarray((places - self.shift_mm) @ axes.T)

    def in_patient(self, places: Floats) -> Floats:
        left = self.left
        axes = np.array([left, [-left[1], left[0], 0.0], [0.0, 0.0, 1.0]])
        return np.asarray(places @ axes + self.shift_mm)

    def signal(self, places: Floats) -> Floats:
        """Return the signal at places (..., 3) of the patient, without noise."""
        x, y, z = np.moveaxis(self.in_body(places), -1, 0)
        fat, gland = (60.0, 110.0) if self.is_fat_suppressed else (300.0, 120.0)
        signal = np.zeros(x.shape)
        for side, sign in (("R", -1), ("L", 1)):
            if side not in self.breasts:
                continue
            size = self.right_size if side == "R" else 1.0
            skin = _in_ellipsoid((x, y, z), (sign * 78, 10, 0), (62, 80 * size, 70))
            inner = _in_ellipsoid((x, y, z), (sign * 78, 5, 0), (35, 50 * size, 40))
            signal = _laid(signal, skin, fat)
            signal = _laid(signal, inner, gland * (1 + self.uptake * (side == "L") / 4))
            if self.has_implant and side == "L":
                implant = _in_ellipsoid((x, y, z), (sign * 78, 0, 0), (45, 60, 50))
                signal = _laid(signal, implant, 15.0)
        signal = _laid(signal, _in_ellipsoid((x, y, 0 * z), (0, 100, 0), (165, 95, 1)), fat)
        signal = _laid(signal, _in_ellipsoid((x, y, 0 * z), (0, 105, 0), (145, 88, 1)), 90.0)
        for sign in (-1, 1):
            signal = _laid(signal, _in_ellipsoid((x, y, z), (sign * 75, 105, 0), (50, 65, 150)), 12)
        heart = 100.0 * (1 + self.uptake)
        signal = _laid(signal, _in_ellipsoid((x, y, z), (30, 75, -20), (45, 40, 45)), heart)
        rng = np.random.default_rng(18)  # of all bodies the same: what moves with it
        for _ in range(40):
            at = rng.uniform((-125, -60, -60), (125, 60, 60))
            blob = _in_ellipsoid((x, y, z), at.tolist(), rng.uniform(4, 14, 3).tolist())
            signal = _laid(signal, np.minimum(blob, signal > 5), rng.uniform(60, 260))
        return signal


def _in_ellipsoid(xyz: Sequence[Floats], centre: Sequence[float], half: Sequence[float]) -> Floats:
    """Return 1 inside, 0 outside, and between the two over about 2 mm."""
    squared = sum(((v - c) / h) ** 2 for v, c, h in zip(xyz, centre, half, strict=True))
    depth = (1 - np.sqrt(squared)) * min(h for h in half if h > 1)
    return np.clip(depth / 2 + 0.5, 0, 1)


def _laid(below: Floats, share: Floats, signal: float) -> Floats:
    return np.asarray(below * (1 - share) + signal * share)


@dataclass(frozen=True)
class Grid:
    """Voxels that cover so many mm around a centre in the patient."""

    orientation: tuple[float, ...] = AXIAL
    spacing: tuple[float, float, float] = (3.0, 2.0, 2.0)
    """Between slices, rows and columns."""
    size_mm: tuple[float, float, float] = (150.0, 210.0, 350.0)
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)


def volume_of_body(body: Body, grid: Grid = Grid()) -> Volume:
    """Return magnitude signal with the noise of magnitudes."""
    right, down = np.array(grid.orientation[:3]), np.array(grid.orientation[3:])
    right = right / np.linalg.norm(right)
    down = down - (down @ right) * right
    down = down / np.linalg.norm(down)
    axes = np.stack([np.cross(down, right), down, right], axis=1) * grid.spacing
    shape = [round(mm / step) for mm, step in zip(grid.size_mm, grid.spacing, strict=True)]
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = np.array(grid.centre) - axes @ ((np.array(shape) - 1) / 2)
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    signal = body.signal(indices @ axes.T + affine[:3, 3])
    rng = np.random.default_rng(body.seed)
    real, imaginary = rng.normal(0, body.noise, (2, *shape))
    magnitude = np.hypot(signal + real, imaginary).astype(np.float32)
    return Volume(magnitude, affine, "PATIENT", uid_of("frame of reference"))
