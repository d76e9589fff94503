"""Phases of slices -> what the network gets of each, by the operations of its manifest.

What each operation does stands in models/README.md, section "Volumes". Whether all phases can be
made, and compared, is found out before a pixel is decoded. Memory is bounded: one phase in its own
resolution is there at a time, of the others what the network gets, and of that before contrast a
coarse copy against which displacement is measured.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from highdicom import Volume, VolumeGeometry
from numpy.typing import NDArray

from node.errors import StudyError
from node.imaging.breast_region import LABEL_OF_SIDE, BreastLabel, BreastRegion, breast_region
from node.imaging.grey import Float32
from node.imaging.midline import Midline, midline_of
from node.imaging.motion import coarse, displacement_of
from node.imaging.signal_scale import ScaleSource, one_scale
from node.imaging.stack import Stack, require_one_grid, stack_of
from node.imaging.volume import Slice, volume_of
from node.imaging.voxel_steps import (
    KeptOfPre,
    done,
    images_of,
    kept_of,
    labels_after,
    labels_of_images,
)
from node.manifest import pixels as words
from node.manifest.inputs import REGION
from node.manifest.voxels import Mip, Slices, VolumeSize, needs_pre, needs_region
from node.study import PRE_CONTRAST, Laterality

Phases = Mapping[str, Sequence[Slice]]
"""The slices of each, in any order, by role."""


@dataclass(frozen=True, slots=True)
class PreparedVolume:
    """What the network gets of a phase."""

    tensor: Float32
    """Shape (1, 1, slices, rows, columns), or of images made of it (images, channels, height,
    width)."""
    grid: VolumeGeometry
    """Where its voxels lie, or lay before images were made: (slice, row, column) to mm of the
    patient's coordinates (LPS)."""


@dataclass(frozen=True, slots=True)
class PreparedRegion:
    """Where the breasts are, on the grid of what the network gets."""

    labels: NDArray[np.uint8]
    """`BreastLabel` of each voxel, shape (slices, rows, columns)."""
    tensor: Float32
    """The same as the network gets it."""
    midline: Midline
    doubts: tuple[str, ...]
    """What a reader should know."""


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
    region: PreparedRegion | None = None
    """None if nobody asked for it."""
    unread: tuple[Laterality, ...] = ()
    """Breasts of which nothing can be said: not found, or more of one than MOST_BEYOND lies outside
    of what the network sees. Nothing if nobody asked."""

    @property
    def tensors(self) -> dict[str, Float32]:
        """What the network may get, by the names that inputs have for it."""
        tensors = {role: one.tensor for role, one in self.volumes.items()}
        return tensors if self.region is None else {**tensors, REGION: self.region.tensor}


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


def prepare_phases(
    phases: Phases,
    operations: words.Operations,
    *,
    with_region: bool = False,
    with_unread: bool = False,
) -> PreparedPhases:
    """Return what the network gets of each phase; raise StudyError, naming the phase.

    All lie where the first does: else a late digit of a header would turn, or cut, one of them
    otherwise than the others. `with_region`: where the breasts are is wanted, too, whether or not
    an operation looks at it. `with_unread`: which of them are not read, too; where that cannot be
    seen, both.
    """
    stored = require_comparable(phases)
    with_region |= any(map(needs_region, operations))
    if PRE_CONTRAST not in phases and (with_region or any(needs_pre(operations))):
        raise StudyError("there is no phase before contrast, by which the others are prepared")
    making = _Making(operations, stored.geometry, with_region, with_unread)
    made = dict[str, PreparedVolume]()
    for role in _pre_first(phases):
        with naming_phase(role):
            made[role] = making.of(role, phases[role])
    in_order = {role: made[role] for role in phases}
    displaced = tuple(making.displaced.items())
    return PreparedPhases(in_order, displaced, making.breasts, making.region, making.unread)


@contextmanager
def naming_phase(phase: str) -> Iterator[None]:
    """Name the phase of which something is refused."""
    try:
        yield
    except StudyError as error:
        raise type(error)(f"{phase}: {error}") from error


MOST_BEYOND = 0.01
"""A breast of which a larger share lies outside of what the network sees is not measured."""


def _pre_first(phases: Phases) -> list[str]:
    return sorted(phases, key=lambda role: role != PRE_CONTRAST)


@dataclass(slots=True)
class _Making:
    """Phases on their way, that before contrast first."""

    operations: words.Operations
    geometry: VolumeGeometry
    """Of them all."""
    with_region: bool
    with_unread: bool
    displaced: dict[str, float | None] = field(default_factory=dict)
    breasts: Laterality | None = None
    region: PreparedRegion | None = None
    unread: tuple[Laterality, ...] = ()
    _before: Volume | None = None
    """The phase before contrast, coarse."""
    _kept: dict[int, KeptOfPre] = field(default_factory=dict)
    """What operations look at beside a phase, by their places."""

    def of(self, role: str, slices: Sequence[Slice]) -> PreparedVolume:
        """Return what the network gets of a phase; its own resolution is let go."""
        volume = self.geometry.with_array(volume_of(slices).array)
        if role == PRE_CONTRAST:
            self.breasts = _breasts_in(volume)
        self._measure(role, coarse(volume))
        if role == PRE_CONTRAST:
            volume = self._first(volume)
        else:
            for place, one in enumerate(self._of_volumes):
                volume = done(volume, one, self._kept.get(place, KeptOfPre()), is_pre=False)
        frame_of_reference = volume.frame_of_reference_uid
        grid = VolumeGeometry(volume.affine, volume.shape, "PATIENT", frame_of_reference)
        return PreparedVolume(images_of(volume.array, self._of_images), grid)

    def _first(self, volume: Volume) -> Volume:
        """Prepare the phase before contrast, and keep what operations look at of it."""
        found = self._region(volume)
        labels = whole = None if found is None else found.labels
        for place, one in enumerate(self._of_volumes):
            kept = self._kept[place] = kept_of(volume, labels, one)
            volume = done(volume, one, kept, is_pre=True)
            if labels is not None:
                whole = labels if isinstance(one, VolumeSize) else whole
                labels = labels_after(labels, one, kept)
        if found is not None and labels is not None and whole is not None:
            beyond = _beyond(whole, labels, found.unfound)
            doubts = (*found.doubts, *beyond.values())
            self.unread = tuple(one for one in LABEL_OF_SIDE if one in {*found.unfound, *beyond})
            tensor = labels_of_images(labels.array, self._of_images)
            self.region = PreparedRegion(labels.array, tensor, found.midline, doubts)
        return volume

    def _region(self, volume: Volume) -> BreastRegion | None:
        """Return where the breasts are, if somebody asks; raise StudyError if that must be seen."""
        try:
            return breast_region(volume) if self.with_region or self.with_unread else None
        except StudyError:
            if self.with_region:
                raise
            self.unread = tuple(LABEL_OF_SIDE)
            return None

    @property
    def _of_volumes(self) -> words.Operations:
        return self.operations[: self._flattened]

    @property
    def _of_images(self) -> words.Operations:
        return self.operations[self._flattened :]

    @property
    def _flattened(self) -> int:
        """The place of the operation that makes images of a volume; behind the last if none."""
        flat = (at for at, one in enumerate(self.operations) if isinstance(one, Mip | Slices))
        return next(flat, len(self.operations))

    def _measure(self, role: str, volume: Volume) -> None:
        if role == PRE_CONTRAST:
            self._before = volume
        elif self._before is not None:
            try:
                self.displaced[role] = displacement_of(self._before, volume).mm
            except StudyError:
                self.displaced[role] = None


def _beyond(labels: Volume, seen: Volume, unfound: Collection[Laterality]) -> dict[Laterality, str]:
    """Return in words how much of a breast the network does not see, if more than next to none."""
    beyond = dict[Laterality, str]()
    for side, region in LABEL_OF_SIDE.items():
        there, left = (_ml(one, region) for one in (labels, seen))
        if side not in unfound and there - left > MOST_BEYOND * there:
            part = f"{there - left:.0f} of {there:.0f} ml"
            beyond[side] = f"{part} of the {side.word} breast lie outside what the network sees"
    return beyond


def _ml(labels: Volume, region: BreastLabel) -> float:
    count = sum(np.count_nonzero(plane == region) for plane in labels.array)
    return count * float(np.prod(labels.spacing)) / 1000


def _breasts_in(volume: Volume) -> Laterality | None:
    """Return which breasts a volume shows: seen in it, wherever it lies; None if none is seen."""
    try:
        return midline_of(volume).only or Laterality.BOTH
    except StudyError:
        return None
