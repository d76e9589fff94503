"""How a phase is prepared, which is a volume: operations of [[pixels]] that begin with "signal".

The exact arithmetic of each stands in models/README.md, section "Volumes"; `node.imaging.voxels`
does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from node.toml_file import Place, Section, wrong

VoxelMillimetres = Annotated[float, Field(gt=0.05, le=50)]
VoxelCount = Annotated[int, Field(ge=4, le=1024)]

_OPPOSITE = {"L": "R", "R": "L", "P": "A", "A": "P", "H": "F", "F": "H"}


class Signal(Section):
    """What a number of the volume is: the signal, on the one scale that all phases have."""

    op: Literal["signal"]


class OrientAxes(Section):
    """Turn the axes to those of the patient that are nearest: flipped and swapped, never resampled.

    So that left and right follow from where slices lie, however they were acquired.
    """

    op: Literal["orient"]
    axes: Annotated[str, Field(min_length=3, max_length=3)]
    """Where slices, rows and columns are counted to, in letters of Patient Orientation (0020,0020):
    "HPL" counts slices to the head, rows to the back, columns to the left."""

    @model_validator(mode="after")
    def _axes_are_three(self) -> Self:
        along = {frozenset((letter, _OPPOSITE.get(letter, ""))) for letter in self.axes}
        if len(along) != 3 or not set(self.axes) <= _OPPOSITE.keys():
            words = 'expected one each of L or R, P or A, H or F: "HPL" for axial slices'
            raise wrong([(("axes",), f'{words}, found "{self.axes}"')])
        return self


class VoxelSpacing(Section):
    """Resample to a distance of voxels: linearly, as wide as the reduction where it is one."""

    op: Literal["spacing"]
    mm: Annotated[tuple[VoxelMillimetres, ...], Field(min_length=3, max_length=3)]
    """Between slices, between rows, between columns."""


class VolumeSize(Section):
    """Bring the volume to a size about its centre: what is too much is cut, the rest filled up."""

    op: Literal["size"]
    slices: VoxelCount
    rows: VoxelCount
    columns: VoxelCount
    fill: float = 0


class Percentiles(Section):
    """Scale so that two percentiles become 0 and 1, and what lies beyond them is held there."""

    op: Literal["percentiles"]
    low: Annotated[float, Field(ge=0, le=100)]
    high: Annotated[float, Field(ge=0, le=100)]
    of: Literal["pre", "each"]
    """Whose percentiles: those of the phase before contrast for all, so that uptake stays, or each
    phase's own."""

    @model_validator(mode="after")
    def _low_is_lower(self) -> Self:
        if self.low >= self.high:
            raise wrong([(("low",), f"expected less than high = {self.high:g}")])
        return self


OF_VOLUMES = frozenset({"signal", "orient", "spacing", "size", "percentiles"})
"""Operations of volumes alone."""
SHARED = frozenset({"normalise", "z-score"})
"""Of images and volumes."""
_ONCE = frozenset({"signal", "orient", "spacing", "size"})
MOST_VOXELS = 1 << 27
"""Of one phase as the network gets it: 512 MiB."""


def amiss_in_voxels(of: Sequence[Section]) -> Iterator[tuple[Place, str]]:
    """Yield what is wrong with a list of operations of volumes, each with its place in the list."""
    ops = [str(getattr(one, "op", "")) for one in of]
    for place, (one, op) in enumerate(zip(of, ops, strict=True)):
        if why := _why_not_here(op, ops[:place]):
            yield (place, op, "op"), why
        if isinstance(one, VolumeSize) and one.slices * one.rows * one.columns > MOST_VOXELS:
            words = f"{one.slices} x {one.rows} x {one.columns} voxels are more than 512 MiB"
            yield (place, op, "slices"), words
    for needed, why in (
        ("orient", 'which way slices, rows and columns run: op = "orient", axes = "HPL"'),
        ("size", 'the input has no fixed size: op = "size", with slices, rows and columns'),
    ):
        if needed not in ops:
            yield (len(of) - 1,), f"missing: {why}"


def _why_not_here(op: str, before: Sequence[str]) -> str:
    """Return why an operation cannot follow these, "" if it can."""
    if op not in OF_VOLUMES | SHARED:
        return f'"{op}" is of images, and "signal" begins those of volumes'
    if op in before and op in _ONCE:
        return f'"{op}" is there before; once is enough'
    if op in ("orient", "spacing") and "size" in before:
        return f'"{op}" must stand before "size"'
    if op == "orient" and "spacing" in before:
        return '"orient" must stand before "spacing", which names its axes'
    return ""
