"""Planes of one phase -> a stack: in which order slices lie, how far apart, and what is amiss.

Only where slices lie in the patient counts, never a file's name, an Instance Number or the order
of frames. Slices are counted as highdicom counts them (`highdicom.image.get_volume_from_series`):
so that slices, rows and columns are the axes of a right-handed system, from head to feet of axial
slices as they are usually stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from highdicom import VolumeGeometry
from numpy.typing import NDArray

from node.errors import StudyError
from node.imaging.planes import Plane, Vector

TURNED = 1e-3
"""As far as cosines of slices that lie parallel may differ: 0.06 degrees."""

SHIFTED_MM = 0.1
"""As far as slices of a stack may lie beside each other, and phases of one grid apart."""

_SAME_PLACE_MM = 0.01
_UNEVEN = 0.02
"""As far as the distances of neighbours may differ, relative to them; and _SAME_PLACE_MM more."""

_MOST_SAID = 3


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices of one phase as they lie."""

    planes: tuple[Plane, ...]
    """Along the stack, from the first slice of the volume to the last; doubled ones too."""
    step_mm: float
    """Between the centres of neighbours; 0.0 of a single slice."""
    amiss: tuple[str, ...] = ()
    """Why no volume can be made of them: "a slice is missing between 12.0 mm and 18.0 mm"."""
    doubts: tuple[str, ...] = ()
    """What should be known of a volume that can be made."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return len(self.planes), self.planes[0].rows, self.planes[0].columns

    @property
    def affine(self) -> NDArray[np.float64]:
        """From (slice, row, column, 1) to (x, y, z, 1), in mm of the patient's coordinates."""
        first, affine = self.planes[0], np.eye(4)
        affine[:3, 0] = -np.array(first.normal) * (self.step_mm or first.thickness or 1.0)
        affine[:3, 1] = np.array(first.down) * first.spacing[0]
        affine[:3, 2] = np.array(first.right) * first.spacing[1]
        affine[:3, 3] = first.position
        return affine

    @property
    def geometry(self) -> VolumeGeometry:
        """Where the voxels lie."""
        return VolumeGeometry(
            self.affine, self.shape, "PATIENT", self.planes[0].frame_of_reference or None
        )

    def require_whole(self) -> None:
        """Raise StudyError, saying what is amiss."""
        if self.amiss:
            raise StudyError("; ".join(self.amiss))


def stack_of(planes: Sequence[Plane]) -> Stack:
    """Put slices in order, and say what is amiss; raise StudyError if there are none."""
    if not planes:
        raise StudyError("no slices")
    alike = _unlike(planes)
    along = _stacking(planes[0])
    offsets = np.array([plane.position for plane in planes]) @ along
    order = np.argsort(offsets, kind="stable")
    ordered = tuple(planes[at] for at in order)
    if alike:
        return Stack(ordered, 0.0, alike)
    places = _places(ordered)
    gaps = np.abs(np.diff(places))
    amiss = _shifted(ordered, along) + _doubled(places, gaps) + _uneven(places, gaps)
    if len(planes) == 1:
        return Stack(ordered, 0.0, ("one slice is no volume",))
    step_mm = float(abs(places[-1] - places[0]) / len(gaps))
    return Stack(ordered, step_mm, amiss, () if amiss else _sparse(ordered, step_mm))


def difference_of_grids(one: Stack, other: Stack) -> str:
    """Return why voxels of two volumes do not lie in the same places, "" if they do."""
    if one.planes[0].frame_of_reference != other.planes[0].frame_of_reference:
        return "another frame of reference"
    if one.shape != other.shape:
        return f"{_sized(other.shape)} instead of {_sized(one.shape)}"
    sizes, others = (_voxel(stack) for stack in (one, other))
    if not np.allclose(sizes, others, rtol=1e-3):
        return f"voxels of {_in_mm(others)} instead of {_in_mm(sizes)}"
    turned = _turned(one.planes[0], other.planes[0])
    if turned > TURNED:
        return f"turned by {np.degrees(turned):.1f} degrees"
    return _elsewhere(one, other)


def require_one_grid(stacks: Mapping[str, Stack]) -> None:
    """Raise StudyError unless all phases, by name, have the grid of the first."""
    (name, first), *others = stacks.items()
    for other, stack in others:
        if why := difference_of_grids(first, stack):
            raise StudyError(f"{other} has another grid than {name}: {why}")


def _stacking(plane: Plane) -> NDArray[np.float64]:
    """Return the direction in which slices are counted."""
    return -np.array(plane.normal)


def _outward(plane: Plane) -> NDArray[np.float64]:
    """Return the normal as places are said: towards left, back or head, whichever is nearest."""
    normal = np.array(plane.normal)
    return np.asarray(normal * np.sign(normal[np.argmax(np.abs(normal))]), dtype=np.float64)


def _places(planes: Sequence[Plane]) -> NDArray[np.float64]:
    """Return where slices lie along the normal in mm, as it is said: z of axial ones."""
    return np.asarray([plane.position for plane in planes], np.float64) @ _outward(planes[0])


def _unlike(planes: Sequence[Plane]) -> tuple[str, ...]:
    """Return in what slices differ that are the same throughout a volume."""
    first = planes[0]
    sizes = sorted({(plane.rows, plane.columns) for plane in planes})
    spacings = sorted({plane.spacing for plane in planes})
    found = []
    if len({plane.frame_of_reference for plane in planes}) > 1:
        found.append("slices of different frames of reference")
    if any(_turned(first, plane) > TURNED for plane in planes):
        most = max(_turned(first, plane) for plane in planes)
        found.append(f"slices turned against each other by {np.degrees(most):.1f} degrees")
    if len(sizes) > 1:
        found.append(
            " and ".join(f"{a} x {b}" for a, b in sizes[:_MOST_SAID]) + " pixels in slices"
        )
    if not np.allclose(spacings, [spacings[0]] * len(spacings), rtol=1e-3):
        said = sorted({_in_mm(spacing) for spacing in spacings})
        found.append(f"pixels of {' and '.join(said[:_MOST_SAID])}")
    return tuple(found)


def _shifted(planes: Sequence[Plane], along: NDArray[np.float64]) -> tuple[str, ...]:
    """Say if slices do not lie over each other: a volume has right angles."""
    positions = np.array([plane.position for plane in planes])
    moved = positions - positions[0]
    beside = moved - np.outer(moved @ along, along)
    farthest = float(np.linalg.norm(beside, axis=1).max())
    return (f"slices lie up to {farthest:.1f} mm beside each other",) * (farthest > SHIFTED_MM)


def _doubled(places: NDArray[np.float64], gaps: NDArray[np.float64]) -> tuple[str, ...]:
    """Say where several slices lie in one place."""
    begins = np.flatnonzero([True, *(gaps > _SAME_PLACE_MM)])
    counts = np.diff([*begins, len(places)])
    found = zip(places[begins], counts, strict=True)
    return _shortened([f"{count} slices at {at:.1f} mm" for at, count in found if count > 1])


def _uneven(places: NDArray[np.float64], gaps: NDArray[np.float64]) -> tuple[str, ...]:
    """Say where slices are missing, or that they are not equally far apart."""
    real = gaps > _SAME_PLACE_MM
    if not real.any():
        return ()
    step = float(np.sort(gaps[real])[(int(real.sum()) - 1) // 2])
    found = []
    for at in np.flatnonzero(real):
        count = round(gaps[at] / step)
        if abs(gaps[at] - max(count, 1) * step) > _UNEVEN * step + _SAME_PLACE_MM:
            return (f"slices {_apart(step, float(gaps[at]))} mm apart",)
        if count > 1:
            between = " and ".join(f"{x:.1f} mm" for x in sorted(places[at : at + 2]))
            missing = "a slice is" if count == 2 else f"{count - 1} slices are"
            found.append(f"{missing} missing between {between}")
    return _shortened(found)


def _shortened(found: list[str]) -> tuple[str, ...]:
    if len(found) <= _MOST_SAID:
        return tuple(found)
    return (*found[:_MOST_SAID], f"{len(found) - _MOST_SAID} more of the kind")


def _apart(one: float, other: float) -> str:
    """Return two distances with as many decimals as tell them apart."""
    low, high = sorted((one, other))
    decimals = next((n for n in (1, 2) if f"{low:.{n}f}" != f"{high:.{n}f}"), 3)
    return f"{low:.{decimals}f} and {high:.{decimals}f}"


def _sparse(planes: Sequence[Plane], step_mm: float) -> tuple[str, ...]:
    """Say that between slices there is more that was not imaged than half a slice."""
    thickness = planes[0].thickness
    if thickness is None or step_mm <= 1.5 * thickness:
        return ()
    return (f"slices {step_mm:.1f} mm apart, but {thickness:.1f} mm thick",)


def _turned(one: Plane, other: Plane) -> float:
    """Return by how much one is turned against the other, in radians."""
    chords = [float(np.linalg.norm(np.subtract(*way))) for way in _ways(one, other)]
    return float(2 * np.arcsin(min(1.0, max(chords) / 2)))


def _ways(one: Plane, other: Plane) -> tuple[tuple[Vector, Vector], ...]:
    return (one.right, other.right), (one.down, other.down)


def _elsewhere(one: Stack, other: Stack) -> str:
    """Return by how much the second lies elsewhere, "" if that is next to nothing."""
    apart = np.linalg.norm(_corners(other) - _corners(one), axis=1)
    if apart[0] > SHIFTED_MM:
        return f"its first slice lies {apart[0]:.1f} mm elsewhere"
    return f"a corner lies {apart.max():.1f} mm elsewhere" if apart.max() > SHIFTED_MM else ""


def _corners(stack: Stack) -> NDArray[np.float64]:
    """Return where the eight voxels at the corners lie: nothing between them is farther off."""
    indices = [(*at, 1) for at in product(*((0, length - 1) for length in stack.shape))]
    return np.asarray((np.array(indices, np.float64) @ stack.affine.T)[:, :3])


def _voxel(stack: Stack) -> Vector:
    return (stack.step_mm, *stack.planes[0].spacing)


def _sized(shape: tuple[int, int, int]) -> str:
    slices, rows, columns = shape
    return f"{slices} slices of {rows} x {columns}"


def _in_mm(sizes: Sequence[float]) -> str:
    return " x ".join(f"{size:.3g}" for size in sizes) + " mm"
