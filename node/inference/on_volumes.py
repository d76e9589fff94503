"""The phases that a network has read, as places of its tensor lie on their own slices.

Volumes are turned, resampled and cut along their own axes, so that each axis of the tensor is one
of the slices', stretched and moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import VolumeGeometry

from node.imaging.components import Bools
from node.imaging.stack import Stack
from node.imaging.volume import Slice
from node.imaging.voxels import PreparedPhases
from node.study import PRE_CONTRAST


@dataclass(frozen=True, slots=True)
class OnVolumes:
    """What was read, and where."""

    roles: frozenset[str]
    """Those that have a phase."""
    phases: PreparedPhases
    grid: VolumeGeometry
    """Where voxels of the tensor lie, or lay before images were made."""
    stack: Stack
    """The slices of the phase before contrast; of the first there is without one."""
    order: tuple[int, ...]
    """For each slice as the node has them in order: its place in the stack."""

    @property
    def size(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the stack."""
        return self.stack.shape

    @property
    def voxel_ml(self) -> float:
        """Of the tensor."""
        return float(abs(np.linalg.det(self.grid.affine[:3, :3]))) / 1000

    def axis(self, of_grid: int) -> tuple[int, float, float]:
        """Return which axis of the stack one of the grid is, how it is stretched and where it is.

        Voxel i of the tensor lies at stretch x i + first of the stack's voxels.
        """
        within = np.linalg.inv(self.stack.geometry.affine) @ self.grid.affine
        of_stack = int(np.argmax(np.abs(within[:3, of_grid])))
        return of_stack, float(within[of_stack, of_grid]), float(within[of_stack, 3])

    def covered(self) -> tuple[Bools, Bools, Bools]:
        """Return along each axis of the tensor which voxels lie on the slices, not beside them."""
        found = []
        for axis, count in enumerate(self.grid.spatial_shape):
            of_stack, stretch, first = self.axis(axis)
            at = np.floor(stretch * np.arange(count) + first + 0.5)
            found.append((at >= 0) & (at < self.size[of_stack]))
        return found[0], found[1], found[2]

    def on_slices(self, mask: Bools) -> Bools:
        """Return which voxels of the slices, in the node's order, are marked: by the nearest.

        Of what is smaller than a voxel of the slices, those that it lies in.
        """
        axes = [self.axis(axis) for axis in range(3)]
        by_grid = np.transpose(mask, np.argsort([of_stack for of_stack, _, _ in axes]))
        by_axis = {of_stack: (stretch, first) for of_stack, stretch, first in axes}
        marked = np.zeros(self.size, np.bool_)
        taken, inside = [], []
        for axis, count in enumerate(self.size):
            stretch, first = by_axis[axis]
            at = np.floor((np.arange(count) - first) / stretch + 0.5).astype(np.intp)
            kept = np.flatnonzero((at >= 0) & (at < by_grid.shape[axis]))
            inside.append(kept)
            taken.append(at[kept])
        marked[np.ix_(*inside)] = by_grid[np.ix_(*taken)]
        if not marked.any() and mask.any():
            at = np.argwhere(by_grid)
            for axis in range(3):
                stretch, first = by_axis[axis]
                at[:, axis] = np.floor(at[:, axis] * stretch + first + 0.5)
            marked[tuple(np.clip(at, 0, np.array(self.size) - 1).T)] = True
        return marked[list(self.order)]

    def nearest_slice(self, of_grid: int, place: int) -> int | None:
        """Return the slice that lies nearest to a plane of the tensor.

        None if they lie across, or it is beside them all, where the tensor was filled up.
        """
        of_stack, stretch, first = self.axis(of_grid)
        if of_stack != 0:
            return None
        at = int(np.floor(stretch * place + first + 0.5))
        return self.order.index(at) if 0 <= at < self.size[0] else None


def on_volumes(
    slices: Mapping[str, Sequence[Slice]], stacks: Mapping[str, Stack], phases: PreparedPhases
) -> OnVolumes:
    """Return what was read, of slices in the order in which the node has them."""
    role = PRE_CONTRAST if PRE_CONTRAST in slices else next(iter(slices))
    stack = stacks[role]
    index = {(plane.sop_uid, plane.frame): at for at, plane in enumerate(stack.planes)}
    order = tuple(index[one.plane.sop_uid, one.plane.frame] for one in slices[role])
    grid = phases.volumes[role].grid
    return OnVolumes(frozenset(slices), phases, grid, stack, order)
