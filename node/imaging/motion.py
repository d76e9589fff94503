"""How far the body moved between two volumes of one grid: measured, not corrected.

By phase correlation (Kuglin and Hines 1975), which asks where edges lie and hardly how bright
they are: what takes up contrast changes little of it. Only what moved as a whole is seen: the
body, and what is to either side of its middle. A breast that changed its form has no one
displacement; then the measured is that of most of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

from node.errors import StudyError
from node.imaging.grey import Float32
from node.imaging.planes import Vector

CAUTION_MM = 2.0
"""Displacement above which a caution is printed: voxels of breast MRI are about 1 x 1 x 2 mm, and
what is subtracted at an edge that moved by more than one of them is no uptake."""

MOTION_ERROR_MM = 0.5
"""As far as a measured displacement may be off, of a body that moved as a whole up to 20 mm in the
generated images of the tests; a sixth of a coarse voxel, of _COARSE_MM or what is coarser itself.
Beside one breast only, half a coarse voxel: on the other side little is seen but blood, which takes
up contrast."""

_COARSE_MM = 3.0
"""Voxels are averaged to about this size: their noise is less, and so is the memory."""

_BLUR = 1.2
"""Standard deviation, in coarse voxels, of the Gaussian that the peak of correlation becomes."""

_LEAST_COHERENCE = 0.3
"""Of the peak: 1 if all frequencies agree on a shift, about 0.1 of two volumes of noise; above 0.6
in the generated images of the tests, with uptake and noise."""

_FEWEST = 8
"""Coarse voxels along each axis of a part that is measured."""


@dataclass(frozen=True, slots=True)
class Displacement:
    """By how much what is in the second volume lies elsewhere than in the first."""

    vector_mm: Vector
    """Towards left, back and head (LPS)."""
    coherence: float
    """0 to 1: how well one shift explains what differs."""

    @property
    def mm(self) -> float:
        """How far."""
        return float(np.linalg.norm(self.vector_mm))


def displacement_of(first: Volume, second: Volume) -> Displacement:
    """Return the displacement of most, or of one half's if that is larger.

    The volumes have one grid. Raises StudyError where no shift explains what differs: noise, or
    images of different things.
    """
    if first.shape != second.shape or not np.allclose(first.affine, second.affine, atol=0.1):
        raise ValueError("volumes of two grids")
    one, other = coarse(first), coarse(second)
    found = [
        Displacement(_in_patient(one, shift * one.spacing), coherence)
        for part in _parts(one)
        for shift, coherence in [_shift(one.array[part], other.array[part])]
        if coherence >= _LEAST_COHERENCE
    ]
    if not found:
        raise StudyError("displacement cannot be measured: the phases have too little in common")
    return max(found, key=lambda one: one.mm)


def caution_of(mm: float, earlier: str, later: str) -> str:
    """Return what is printed of a displacement between phases, by name: "" up to CAUTION_MM."""
    if mm <= CAUTION_MM:
        return ""
    return f"moved by {mm:.1f} mm between {earlier} and {later} (more than {CAUTION_MM:.0f} mm)"


def coarse(volume: Volume) -> Volume:
    """Return means over cells of about _COARSE_MM; of a coarse volume itself.

    As little as displacement is measured by: whoever compares several phases keeps one of this.
    """
    sizes = [max(1, round(_COARSE_MM / mm)) for mm in volume.spacing]
    means = cell_means(volume.array, sizes)
    cells = np.diag([*np.minimum(sizes, volume.shape), 1.0])
    cells[:3, 3] = (np.diag(cells)[:3] - 1) / 2
    return Volume(means, volume.affine @ cells, "PATIENT", volume.frame_of_reference_uid)


def cell_means(values: NDArray[np.float32], sizes: list[int]) -> Float32:
    """Return means over cells of so many voxels along each axis; what is over at the end is left.

    Slice by slice, so that no second volume is made.
    """
    deep, high, wide = (max(1, size) for size in sizes)
    count, rows, columns = (max(1, n // s) for n, s in zip(values.shape, sizes, strict=True))
    means = np.zeros((count, rows, columns), np.float32)
    for at in range(min(count * deep, len(values))):
        flat = values[at, : rows * high, : columns * wide]
        cells = flat.reshape(rows, flat.shape[0] // rows, columns, flat.shape[1] // columns)
        means[at // deep] += cells.mean(axis=(1, 3)) / deep
    return means


def _parts(volume: Volume) -> Iterator[tuple[slice, ...]]:
    """Yield all of it, and its halves to the right and to the left, if they are wide enough."""
    shape = volume.shape
    if min(shape) < _FEWEST:
        raise StudyError("displacement cannot be measured: too few slices or pixels")
    whole = (slice(None),) * 3
    yield whole
    axis = int(np.argmax(np.abs(volume.direction[0])))
    middle = shape[axis] // 2
    if middle >= _FEWEST:
        for half in (slice(None, middle), slice(middle, None)):
            yield (*whole[:axis], half, *whole[axis + 1 :])


def _in_patient(volume: Volume, along_axes: NDArray[np.float64]) -> Vector:
    x, y, z = (float(mm) for mm in volume.direction @ along_axes)
    return x, y, z


def _shift(one: Float32, other: Float32) -> tuple[NDArray[np.float64], float]:
    """Return the shift from one to the other in voxels along each axis, and its coherence.

    Twice: what a window hides changes with the shift, so that the rest is looked for between what
    overlaps once the whole voxels of it are undone.
    """
    total = np.zeros(3)
    coherence = 0.0
    for _ in range(2):
        whole = np.round(total).astype(int)
        if any(abs(step) > size - _FEWEST for step, size in zip(whole, one.shape, strict=True)):
            return total, 0.0
        here = tuple(_overlap(-step, size) for step, size in zip(whole, one.shape, strict=True))
        there = tuple(_overlap(step, size) for step, size in zip(whole, one.shape, strict=True))
        rest, coherence = _peak(_correlation(one[here], other[there]))
        total = whole + rest
    return total, coherence


def _overlap(step: int, size: int) -> slice:
    """Return what of an axis is left where its beginning, or its end, is cut off."""
    return slice(max(step, 0), size + min(step, 0))


def _correlation(one: Float32, other: Float32) -> NDArray[np.float32]:
    """Return how well each shift, in whole voxels from 0 and around, explains what differs."""
    spectra = [np.fft.rfftn(_windowed(part)) for part in (one, other)]
    cross = np.conj(spectra[0]) * spectra[1]
    weight = np.ones((), np.float64)
    for axis, size in enumerate(one.shape):
        last = axis == len(one.shape) - 1
        frequencies = np.fft.rfftfreq(size) if last else np.fft.fftfreq(size)
        gauss = np.exp(-2 * (np.pi * _BLUR * frequencies) ** 2)
        weight = weight * gauss.reshape([-1 if n == axis else 1 for n in range(3)])
    cross *= weight / np.maximum(np.abs(cross), np.finfo(np.float64).tiny)
    perfect = np.fft.irfftn(weight.astype(np.complex128), one.shape, (0, 1, 2))[0, 0, 0]
    return np.asarray(np.fft.irfftn(cross, one.shape, (0, 1, 2)) / perfect, dtype=np.float32)


def _windowed(part: Float32) -> NDArray[np.float64]:
    """Return it without its mean, bright parts held back, fading to 0 at its faces."""
    lowest = float(part.min())
    values = np.sqrt(part.astype(np.float64) - lowest)
    values -= values.mean()
    for axis, size in enumerate(part.shape):
        fading = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 0.5
        values *= fading.reshape([-1 if n == axis else 1 for n in range(3)])
    return values


def _peak(correlation: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Return where the highest peak is, between voxels too, and how high.

    A Gaussian's top is found from three values along each axis: their logarithms are a parabola.
    """
    at = np.unravel_index(int(np.argmax(correlation)), correlation.shape)
    found = np.zeros(3)
    for axis, size in enumerate(correlation.shape):
        beside = [
            correlation[(*at[:axis], (at[axis] + step) % size, *at[axis + 1 :])]
            for step in (-1, 0, 1)
        ]
        before, here, after = np.log(np.maximum(beside, 1e-6))
        bend = before - 2 * here + after
        whole = at[axis] if at[axis] <= size // 2 else at[axis] - size
        found[axis] = whole + (0.5 * (before - after) / bend if bend < 0 else 0.0)
    return found, float(correlation[at])
