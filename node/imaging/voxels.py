"""Phases of slices -> what the network gets of each, by the operations of its manifest.

What each operation does stands in models/README.md, section "Volumes". Whether all phases can be
made, and compared, is found out before a pixel is decoded. Memory is bounded: one phase in its own
resolution is there at a time, of the others what the network gets, and of that before contrast a
coarse copy against which displacement is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from highdicom import Volume, VolumeGeometry
from numpy.typing import NDArray

from node.errors import StudyError
from node.imaging.grey import Float32
from node.imaging.midline import midline_of
from node.imaging.motion import coarse, displacement_of
from node.imaging.signal_scale import ScaleSource, one_scale
from node.imaging.stack import Stack, require_one_grid, stack_of
from node.imaging.volume import Slice, volume_of
from node.imaging.volume_resampling import axis_of, resampled_count, resampled_volume
from node.manifest import pixels as words
from node.manifest.voxels import (
    MOST_VOXELS,
    OrientAxes,
    Percentiles,
    Signal,
    VolumeSize,
    VoxelSpacing,
)
from node.study import PRE_CONTRAST, Laterality

Phases = Mapping[str, Sequence[Slice]]
"""The slices of each, in any order, by role."""


@dataclass(frozen=True, slots=True)
class PreparedVolume:
    """What the network gets of a phase."""

    tensor: Float32
    """Shape (1, 1, slices, rows, columns)."""
    grid: VolumeGeometry
    """Where its voxels lie: (slice, row, column) to mm of the patient's coordinates (LPS)."""


@dataclass(frozen=True, slots=True)
class PreparedPhases:
    """What the network gets of all phases."""

    volumes: Mapping[str, PreparedVolume]
    """In the order of the roles."""
    displaced: tuple[tuple[str, float | None], ...]
    """How far, in mm, the body lies in a phase from where it was before contrast; None if that
    cannot be measured. Nothing where there is no phase before contrast."""
    breasts: Laterality | None
    """Which breasts are seen before contrast; None if that cannot be seen."""


@dataclass(frozen=True, slots=True)
class Stored:
    """How phases are stored that belong together."""

    stacks: Mapping[str, Stack]
    scale: ScaleSource
    """What their signal rests on."""
    geometry: VolumeGeometry
    """Where the voxels of each lie: as of the first says, that before contrast if there is one."""


def require_comparable(phases: Phases) -> Stored:
    """Return how phases are stored; raise StudyError, naming the phase, unless they go together.

    Each whole, all on one grid and one scale. No pixel is read.
    """
    stacks, first, source = dict[str, Stack](), "", ScaleSource.STORED
    for role in _pre_first(phases):
        slices = phases[role]
        with naming_phase(role):
            stacks[role] = stack_of([one.plane for one in slices])
            stacks[role].require_whole()
            source = one_scale(one.scale for one in slices)
        first = first or role
        with naming_phase(f"{first} and {role}"):
            source = one_scale(one.scale for of in (first, role) for one in phases[of])
    require_one_grid(stacks)
    return Stored({role: stacks[role] for role in phases}, source, stacks[first].geometry)


def prepare_phases(phases: Phases, operations: words.Operations) -> PreparedPhases:
    """Return what the network gets of each phase; raise StudyError, naming the phase.

    All lie where the first does: else a late digit of a header would turn, or cut, one of them
    otherwise than the others.
    """
    stored = require_comparable(phases)
    _require_pre(phases, operations)
    making = _Making(operations, stored.geometry)
    made = dict[str, PreparedVolume]()
    for role in _pre_first(phases):
        with naming_phase(role):
            made[role] = making.of(role, phases[role])
    in_order = {role: made[role] for role in phases}
    return PreparedPhases(in_order, tuple(making.displaced.items()), making.breasts)


@contextmanager
def naming_phase(phase: str) -> Iterator[None]:
    """Name the phase of which something is refused."""
    try:
        yield
    except StudyError as error:
        raise type(error)(f"{phase}: {error}") from error


def _pre_first(phases: Phases) -> list[str]:
    return sorted(phases, key=lambda role: role != PRE_CONTRAST)


def _require_pre(phases: Phases, operations: words.Operations) -> None:
    needs = any(isinstance(one, Percentiles) and one.of == PRE_CONTRAST for one in operations)
    if needs and PRE_CONTRAST not in phases:
        raise StudyError("there is no phase before contrast, by whose signal the others are scaled")


@dataclass(slots=True)
class _Making:
    """Phases on their way, that before contrast first."""

    operations: words.Operations
    geometry: VolumeGeometry
    """Of them all."""
    displaced: dict[str, float | None] = field(default_factory=dict)
    breasts: Laterality | None = None
    _before: Volume | None = None
    """The phase before contrast, coarse."""
    _scales_of_pre: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Its percentiles, by the place of the operation."""

    def of(self, role: str, slices: Sequence[Slice]) -> PreparedVolume:
        """Return what the network gets of a phase; its own resolution is let go."""
        volume = self.geometry.with_array(volume_of(slices).array)
        if role == PRE_CONTRAST:
            self.breasts = _breasts_in(volume)
        self._measure(role, coarse(volume))
        for place, one in enumerate(self.operations):
            if isinstance(one, Percentiles):
                volume = _scaled(volume, self._scale(role, place, one, volume))
            else:
                volume = _STEPS[type(one)](volume, one)
        tensor = np.ascontiguousarray(volume.array[np.newaxis, np.newaxis], dtype=np.float32)
        frame_of_reference = volume.frame_of_reference_uid
        grid = VolumeGeometry(volume.affine, volume.shape, "PATIENT", frame_of_reference)
        return PreparedVolume(tensor, grid)

    def _measure(self, role: str, volume: Volume) -> None:
        if role == PRE_CONTRAST:
            self._before = volume
        elif self._before is not None:
            try:
                self.displaced[role] = displacement_of(self._before, volume).mm
            except StudyError:
                self.displaced[role] = None

    def _scale(
        self, role: str, place: int, one: Percentiles, volume: Volume
    ) -> tuple[float, float]:
        if one.of == PRE_CONTRAST and role != PRE_CONTRAST:
            return self._scales_of_pre[place]
        low, high = (float(x) for x in np.percentile(volume.array, [one.low, one.high]))
        if low >= high:
            raise StudyError(
                f"nothing to be seen: {one.low:g} % and {one.high:g} % of its voxels do not exceed "
                f"the same signal, {low:.6g}"
            )
        self._scales_of_pre[place] = low, high
        return low, high


def _breasts_in(volume: Volume) -> Laterality | None:
    """Return which breasts a volume shows: seen in it, wherever it lies; None if none is seen."""
    try:
        return midline_of(volume).only or Laterality.BOTH
    except StudyError:
        return None


def _scaled(volume: Volume, scale: tuple[float, float]) -> Volume:
    low, high = scale
    return _of_numbers(volume, lambda plane: np.clip((plane - low) / (high - low), 0, 1))


def _of_numbers(
    volume: Volume, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Volume:
    """Return other numbers in the same places, slice by slice in 64 bits."""
    made = np.empty(volume.shape, np.float32)
    for at, plane in enumerate(volume.array):
        made[at] = change(plane.astype(np.float64))
    return volume.with_array(made)


def _orient(volume: Volume, one: OrientAxes) -> Volume:
    return volume.to_patient_orientation(one.axes)


def _respace(volume: Volume, one: VoxelSpacing) -> Volume:
    sizes = list(zip(volume.shape, volume.spacing, one.mm, strict=True))
    counts = [resampled_count(*size) for size in sizes]
    if math.prod(counts) > MOST_VOXELS:
        many, mm = " x ".join(map(str, counts)), " x ".join(f"{mm:g}" for mm in one.mm)
        raise StudyError(f"{many} voxels of {mm} mm are more than 512 MiB")
    axes = [axis_of(*size) for size in sizes]
    values = resampled_volume(volume.array, axes)
    firsts, ratios = [axis.first for axis in axes], [axis.ratio for axis in axes]
    return _placed(volume, values, firsts, ratios)


def _resize(volume: Volume, one: VolumeSize) -> Volume:
    wanted = (one.slices, one.rows, one.columns)
    values = np.full(wanted, one.fill, np.float32)
    into, out_of, firsts = [], [], []
    for there, length in zip(volume.shape, wanted, strict=True):
        cut, before = max(there - length, 0) // 2, max(length - there, 0) // 2
        kept = min(there, length)
        out_of.append(slice(cut, cut + kept))
        into.append(slice(before, before + kept))
        firsts.append(float(cut - before))
    values[tuple(into)] = volume.array[tuple(out_of)]
    return _placed(volume, values, firsts, [1.0, 1.0, 1.0])


def _placed(
    volume: Volume, values: Float32, firsts: Sequence[float], ratios: Sequence[float]
) -> Volume:
    """Return values whose first voxel lies there in the volume, in so many of its steps."""
    within = np.diag([*ratios, 1.0])
    within[:3, 3] = firsts
    return Volume(values, volume.affine @ within, "PATIENT", volume.frame_of_reference_uid)


def _normalise(volume: Volume, one: words.Normalise) -> Volume:
    (subtract,), (divide,) = one.subtract, one.divide
    return _of_numbers(volume, lambda plane: (plane - subtract) / divide)


def _z_score(volume: Volume, one: words.ZScore) -> Volume:
    values = volume.array
    mean = sum(float(plane.sum(dtype=np.float64)) for plane in values) / values.size
    squares = sum(float(((plane.astype(np.float64) - mean) ** 2).sum()) for plane in values)
    deviation = max(math.sqrt(squares / values.size), one.least_deviation)
    return _of_numbers(volume, lambda plane: (plane - mean) / deviation)


_STEPS: Mapping[type[words.Operation], Callable[[Volume, Any], Volume]] = {
    Signal: lambda volume, _: volume,
    OrientAxes: _orient,
    VoxelSpacing: _respace,
    VolumeSize: _resize,
    words.Normalise: _normalise,
    words.ZScore: _z_score,
}
