"""A tensor of solids -> their sides, volumes, and voxels on the slices they were found in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from node.errors import ModelError
from node.imaging.breast_region import BreastLabel
from node.imaging.components import Bools
from node.imaging.grey import Float32
from node.imaging.solid_bits import packed
from node.inference.on_volumes import OnVolumes
from node.manifest import SolidsOutput
from node.result import OutputScore, SolidSaid
from node.study import Laterality

MOST_TELLING = 6
"""Slices of a solid that are named: hundreds are looked at by nobody."""


def score_solids(values: Float32, output: SolidsOutput, on: OnVolumes) -> OutputScore:
    """Measure what a tensor (parts, slices, rows, columns) marks; raise ModelError if it is none.

    What lies on what was filled up is no tissue.
    """
    if not np.all((values >= 0) & (values <= 1)):
        raise ModelError(f"output {output.tensor!r} holds values outside 0..1")
    covered = np.ix_(*on.covered())
    beside = np.ones(values.shape[1:], np.bool_)
    beside[covered] = False
    solids = []
    for at, part in enumerate(output.parts):
        if set(part.needs) <= on.roles:
            mask = (values[at] > output.threshold) & ~beside
            of_sides = _sides(mask, output, on)
            solids += [_said(at, side, of_side, output, on) for side, of_side in of_sides]
    return OutputScore(solids=tuple(solids))


def _sides(
    mask: Bools, output: SolidsOutput, on: OnVolumes
) -> Iterator[tuple[Laterality | None, Bools]]:
    """Yield what is marked, breast by breast: by its label, else by its side of the midline.

    Of a breast that was not read nothing is yielded: 0 ml would say that nothing is there.
    """
    region = on.phases.region
    if output.split == "none" or region is None:
        yield None, mask
        return
    places = np.argwhere(mask)
    is_left = _left_of_midline(places, on)
    labels = region.labels[mask]
    is_left = (is_left | (labels == BreastLabel.LEFT_BREAST)) & (labels != BreastLabel.RIGHT_BREAST)
    for side, of_side in ((Laterality.RIGHT, ~is_left), (Laterality.LEFT, is_left)):
        is_there = of_side.any() or region.midline.only in (None, side)
        if is_there and side not in on.phases.unread:
            found = np.zeros_like(mask)
            found[tuple(places[of_side].T)] = True
            yield side, found


def _left_of_midline(places: NDArray[np.int64], on: OnVolumes) -> Bools:
    region = on.phases.region
    assert region is not None, "whoever splits by breasts sees them"
    if region.midline.only is not None:
        return np.full(len(places), region.midline.only is Laterality.LEFT)
    at = places @ on.grid.affine[:3, :3].T + on.grid.affine[:3, 3]
    return np.asarray(region.midline.to_left_mm(at) > 0)


def _said(
    part: int,
    side: Laterality | None,
    mask: Bools,
    output: SolidsOutput,
    on: OnVolumes,
) -> SolidSaid:
    ml = float(np.count_nonzero(mask)) * on.voxel_ml
    if ml < output.smallest_ml:
        ml, mask = 0.0, np.zeros_like(mask)
    on_slices = on.on_slices(mask)
    counts = on_slices.sum(axis=(1, 2))
    most = np.argsort(-counts, kind="stable")[:MOST_TELLING]
    decisive = tuple(int(at) for at in most if counts[at])
    return SolidSaid(part, side, ml, packed(on_slices), decisive)
