"""The operations that make of a phase what the network gets; models/README.md, "Volumes", tells.

Each takes the phase as it is then, and what it looks at beside it: of the phase before contrast,
and of where that shows the breasts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

from node.errors import StudyError
from node.imaging.breast_region import BreastLabel
from node.imaging.grey import Float32
from node.imaging.volume_resampling import axis_of, nearest_of, resampled_count, resampled_volume
from node.manifest.pixels import Channels, Normalise, Operation, Operations, ZScore
from node.manifest.voxels import (
    MOST_VOXELS,
    Mip,
    OrientAxes,
    Percentiles,
    RelativeEnhancement,
    Signal,
    Slices,
    Subtract,
    VolumeSize,
    VoxelSpacing,
    axis_number,
    needs_region,
)

LEAST_OF = 95.0
"""Percentile of the signal over the breasts, of which relative enhancement divides by a share at
least."""
_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True, slots=True)
class KeptOfPre:
    """What an operation looks at beside a phase."""

    pre: Volume | None = None
    """The phase before contrast, as it is there."""
    labels: Volume | None = None
    """`BreastLabel` of each voxel."""
    scale: tuple[float, float] | None = None
    """Its percentiles."""
    begins: tuple[int, ...] | None = None
    """Where the window begins."""
    least: float = 0.0
    """What is divided by at least."""


def kept_of(volume: Volume, labels: Volume | None, one: Operation) -> KeptOfPre:
    """Return what an operation looks at, of the phase before contrast as it is there."""
    over = labels if needs_region(one) else None
    kept = KeptOfPre(labels=over)
    match one:
        case Percentiles() if one.of == "pre":
            kept = KeptOfPre(scale=_percentiles(volume, over, one))
        case VolumeSize():
            kept = KeptOfPre(begins=_begins(volume.shape, one, over))
        case Subtract():
            kept = KeptOfPre(pre=volume)
        case RelativeEnhancement():
            assert over is not None, "the region is made where it is needed"
            least = one.least * float(np.percentile(_within(volume, over), LEAST_OF))
            if least <= 0:
                raise StudyError("no signal is seen in the breasts")
            kept = KeptOfPre(pre=volume, least=least)
        case _:
            pass
    return kept


def done(volume: Volume, one: Operation, kept: KeptOfPre, *, is_pre: bool) -> Volume:
    """Return a phase after an operation."""
    if is_pre and isinstance(one, Subtract | RelativeEnhancement):
        return volume
    return _STEPS[type(one)](volume, one, kept)


def labels_after(labels: Volume, one: Operation, kept: KeptOfPre) -> Volume:
    """Return the labels on the grid that there is after an operation."""
    if isinstance(one, VolumeSize):
        one = one.model_copy(update={"fill": BreastLabel.OUTSIDE})
    is_of_places = isinstance(one, OrientAxes | VoxelSpacing | VolumeSize)
    return done(labels, one, kept, is_pre=True) if is_of_places else labels


def images_of(values: Float32, operations: Operations) -> Float32:
    """Return what the network gets of a volume: itself with two axes more, or images of it."""
    if not operations:
        return np.ascontiguousarray(values[np.newaxis, np.newaxis], dtype=np.float32)
    images = _flattened(values, operations[0])[:, np.newaxis].astype(np.float64)
    for one in operations[1:]:
        match one:
            case Normalise():
                subtract, divide = (np.array(n)[:, None, None] for n in (one.subtract, one.divide))
                images = (images - subtract) / divide
            case ZScore():
                means = images.mean(axis=(1, 2, 3), keepdims=True)
                deviations = images.std(axis=(1, 2, 3), keepdims=True)
                images = (images - means) / np.maximum(deviations, one.least_deviation)
            case Channels():
                images = np.repeat(images, one.count, axis=1)
            case _:
                pass
        images = images.astype(np.float32).astype(np.float64)
    return np.ascontiguousarray(images, dtype=np.float32)


def labels_of_images(labels: NDArray[np.uint8], operations: Operations) -> Float32:
    """Return labels as the network gets them: no number of them is changed."""
    kept = [one for one in operations if not isinstance(one, Normalise | ZScore)]
    return images_of(labels.astype(np.float32), tuple(kept))


def plane_places(length: int, count: int) -> NDArray[np.intp]:
    """Return which planes of so many stand for all, evenly over the length."""
    return np.asarray((2 * np.arange(count) + 1) * length // (2 * count), np.intp)


def _flattened(values: Float32, one: Operation) -> Float32:
    """Return images (images, height, width) of a volume."""
    match one:
        case Mip():
            highest: Float32 = values.max(axis=axis_number(one.along))
            return highest[np.newaxis]
        case Slices():
            axis = axis_number(one.along)
            taken = np.take(values, plane_places(values.shape[axis], one.count), axis)
            return np.moveaxis(taken, axis, 0)
        case _:
            raise AssertionError("images are made by these")


def _percentiles(volume: Volume, labels: Volume | None, one: Percentiles) -> tuple[float, float]:
    values = volume.array if labels is None else _within(volume, labels)
    low, high = (float(x) for x in np.percentile(values, [one.low, one.high]))
    if low >= high:
        raise StudyError(
            f"nothing to be seen: {one.low:g} % and {one.high:g} % of its voxels do not exceed "
            f"the same signal, {low:.6g}"
        )
    return low, high


def _within(volume: Volume, labels: Volume) -> Float32:
    """Return the values in the breasts."""
    within: Float32 = volume.array[
        np.isin(labels.array, (BreastLabel.RIGHT_BREAST, BreastLabel.LEFT_BREAST))
    ]
    if not within.size:
        raise StudyError("no breast is found in what is left of the volume")
    return within


def _mean_and_deviation(volume: Volume, labels: Volume | None, one: ZScore) -> tuple[float, float]:
    values = volume.array if labels is None else _within(volume, labels)[np.newaxis]
    mean = sum(float(plane.sum(dtype=np.float64)) for plane in values) / values.size
    squares = sum(float(((plane.astype(np.float64) - mean) ** 2).sum()) for plane in values)
    return mean, max(math.sqrt(squares / values.size), one.least_deviation)


def _compared(volume: Volume, one: Operation, kept: KeptOfPre) -> Volume:
    assert kept.pre is not None, "a phase before contrast is required, and comes first"
    made = np.empty(volume.shape, np.float32)
    for at, (after, before) in enumerate(zip(volume.array, kept.pre.array, strict=True)):
        first = before.astype(np.float64)
        more = after.astype(np.float64) - first
        made[at] = more if isinstance(one, Subtract) else more / np.maximum(first, kept.least)
    return volume.with_array(made)


def _of_numbers(
    volume: Volume, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Volume:
    """Return other numbers in the same places, slice by slice in 64 bits."""
    made = np.empty(volume.shape, np.float32)
    for at, plane in enumerate(volume.array):
        made[at] = change(plane.astype(np.float64))
    return volume.with_array(made)


def _respace(volume: Volume, one: VoxelSpacing, _: KeptOfPre) -> Volume:
    sizes = list(zip(volume.shape, volume.spacing, one.mm, strict=True))
    counts = [resampled_count(*size) for size in sizes]
    if math.prod(counts) > MOST_VOXELS:
        many, mm = " x ".join(map(str, counts)), " x ".join(f"{mm:g}" for mm in one.mm)
        raise StudyError(f"{many} voxels of {mm} mm are more than 512 MiB")
    axes = [axis_of(*size) for size in sizes]
    are_labels = volume.array.dtype == np.uint8  # between which there is nothing
    values: NDArray[Any] = (nearest_of if are_labels else resampled_volume)(volume.array, axes)
    firsts, ratios = [axis.first for axis in axes], [axis.ratio for axis in axes]
    return _placed(volume, values, firsts, ratios)


def _resize(volume: Volume, one: VolumeSize, kept: KeptOfPre) -> Volume:
    begins = kept.begins or _begins(volume.shape, one, None)
    values = _window(volume.array, one, begins, one.fill)
    return _placed(volume, values, [*map(float, begins)], [1.0, 1.0, 1.0])


def _window(
    values: NDArray[_Number], one: VolumeSize, begins: Sequence[int], fill: float
) -> NDArray[_Number]:
    """Return what lies in a window that begins there; what lies outside is filled up."""
    wanted = (one.slices, one.rows, one.columns)
    window = np.full(wanted, fill, values.dtype)
    into, out_of = [], []
    for there, length, begin in zip(values.shape, wanted, begins, strict=True):
        first, last = max(begin, 0), min(begin + length, there)
        out_of.append(slice(first, last))
        into.append(slice(first - begin, last - begin))
    window[tuple(into)] = values[tuple(out_of)]
    return window


def _begins(shape: Sequence[int], one: VolumeSize, labels: Volume | None) -> tuple[int, ...]:
    """Return where the window begins along each axis: about the middle, or about the breasts.

    Of a volume that is longer than the window it is moved so far that it lies within.
    """
    lengths = (one.slices, one.rows, one.columns)
    middles = [
        (there - length) // 2 if there >= length else -((length - there) // 2)
        for there, length in zip(shape, lengths, strict=True)
    ]
    if labels is None:
        return tuple(middles)
    return tuple(
        min(max((first + last - length) // 2, 0), there - length) if there > length else middle
        for (first, last), there, length, middle in zip(
            _box(labels), shape, lengths, middles, strict=True
        )
    )


def _box(labels: Volume) -> list[tuple[int, int]]:
    """Return first and behind the last voxel of both breasts and their skin, along each axis."""
    within = np.isin(
        labels.array, (BreastLabel.RIGHT_BREAST, BreastLabel.LEFT_BREAST, BreastLabel.SKIN)
    )
    if not within.any():
        raise StudyError("no breast is found in what is left of the volume")
    found = [np.flatnonzero(within.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    return [(int(one[0]), int(one[-1]) + 1) for one in found]


def _placed(
    volume: Volume, values: NDArray[Any], firsts: Sequence[float], ratios: Sequence[float]
) -> Volume:
    """Return values whose first voxel lies there in the volume, in so many of its steps."""
    within = np.diag([*ratios, 1.0])
    within[:3, 3] = firsts
    return Volume(values, volume.affine @ within, "PATIENT", volume.frame_of_reference_uid)


def _normalise(volume: Volume, one: Normalise, _: KeptOfPre) -> Volume:
    (subtract,), (divide,) = one.subtract, one.divide
    return _of_numbers(volume, lambda plane: (plane - subtract) / divide)


def _z_score(volume: Volume, one: ZScore, kept: KeptOfPre) -> Volume:
    mean, deviation = _mean_and_deviation(volume, kept.labels, one)
    return _of_numbers(volume, lambda plane: (plane - mean) / deviation)


def _scaled(volume: Volume, one: Percentiles, kept: KeptOfPre) -> Volume:
    low, high = kept.scale or _percentiles(volume, kept.labels, one)
    return _of_numbers(volume, lambda plane: np.clip((plane - low) / (high - low), 0, 1))


_STEPS: Mapping[type[Operation], Callable[[Volume, Any, KeptOfPre], Volume]] = {
    Signal: lambda volume, _, __: volume,
    OrientAxes: lambda volume, one, _: volume.to_patient_orientation(one.axes),
    VoxelSpacing: _respace,
    VolumeSize: _resize,
    Percentiles: _scaled,
    Normalise: _normalise,
    ZScore: _z_score,
    Subtract: _compared,
    RelativeEnhancement: _compared,
}
