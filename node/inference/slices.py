"""Answers for a batch of slices -> one, and the slice that decides it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from node.imaging.grey import Float32
from node.imaging.voxel_steps import plane_places
from node.inference.on_volumes import OnVolumes
from node.manifest import ClassesOutput, Manifest, ScoreOutput
from node.manifest.voxels import Slices, axis_number
from node.result import DecidingSlice, OutputScore


def score_slices(
    values: Float32,
    output: ScoreOutput | ClassesOutput,
    manifest: Manifest,
    on: OnVolumes | None,
    score: Callable[[Float32], OutputScore],
) -> OutputScore:
    """Return what is said of all slices, of answers (slices, n): the mean, or the highest's."""
    each = [score(one) for one in values]
    if output.over_slices == "mean":
        numbers = zip(*(one.measurements for one in each), strict=True)
        means = (
            replace(same[0], value=float(np.mean([one.value for one in same]))) for same in numbers
        )
        return OutputScore(tuple(means))
    by = output.deciding if isinstance(output, ClassesOutput) else 0
    number = int(np.argmax([one.measurements[by].value for one in each]))
    return replace(each[number], deciding=_lying(number, manifest, on))


def _lying(number: int, manifest: Manifest, on: OnVolumes | None) -> DecidingSlice | None:
    cut = next((one for one in manifest.operations if isinstance(one, Slices)), None)
    if cut is None or on is None:
        return None
    axis = axis_number(cut.along)
    place = plane_places(on.grid.spatial_shape[axis], cut.count)[number]
    return DecidingSlice(number, on.nearest_slice(axis, int(place)))
