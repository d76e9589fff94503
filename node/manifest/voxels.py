"""How a phase is prepared, which is a volume: operations of [[pixels]] that begin with "signal".

The exact arithmetic of each stands in models/README.md, section "Volumes"; `node.imaging.voxels`
does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from node.manifest.words import GrownSection
from node.toml_file import Place, Section, wrong

VoxelMillimetres = Annotated[float, Field(gt=0.05, le=50)]
HIGHEST = 3.4e38
"""The highest number in 32 bits, or next to it."""
VoxelCount = Annotated[int, Field(ge=4, le=1024)]

Whole = Literal["volume", "breasts"]
"""All voxels, or those that the phase before contrast shows to be of a breast."""
AxisName = Literal["slices", "rows", "columns"]
"""After "orient", which says where each is counted to."""

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


class VolumeSize(GrownSection):
    """Bring the volume to a size about a centre: what is too much is cut, the rest filled up."""

    LATER: ClassVar[frozenset[str]] = frozenset({"about"})

    op: Literal["size"]
    slices: VoxelCount
    rows: VoxelCount
    columns: VoxelCount
    fill: Annotated[float, Field(ge=-HIGHEST, le=HIGHEST)] = 0
    about: Whole = "volume"
    """Its own centre, or that of the box about both breasts and their skin."""


class Percentiles(GrownSection):
    """Scale so that two percentiles become 0 and 1, and what lies beyond them is held there."""

    LATER: ClassVar[frozenset[str]] = frozenset({"over"})

    op: Literal["percentiles"]
    low: Annotated[float, Field(ge=0, le=100)]
    high: Annotated[float, Field(ge=0, le=100)]
    of: Literal["pre", "each"]
    """Whose percentiles: those of the phase before contrast for all, so that uptake stays, or each
    phase's own."""
    over: Whole = "volume"
    """Of which voxels: all, or those of the breasts."""

    @model_validator(mode="after")
    def _low_is_lower(self) -> Self:
        if self.low >= self.high:
            raise wrong([(("low",), f"expected less than high = {self.high:g}")])
        return self


class Subtract(Section):
    """Subtract the phase before contrast from each other one; it stays itself."""

    op: Literal["subtract"]


class RelativeEnhancement(Section):
    """By which share of it each phase exceeds the one before contrast; that stays itself."""

    op: Literal["relative enhancement"]
    least: Annotated[float, Field(gt=0, le=1)]
    """What is divided by is at least this share of the 95th percentile over the breasts before
    contrast: of next to no signal everything is a large share."""


class Mip(Section):
    """Make an image of the volume: the highest value along an axis."""

    op: Literal["mip"]
    along: AxisName


class Slices(Section):
    """Make images of the volume: planes across an axis, evenly over its length, as a batch."""

    op: Literal["slices"]
    along: AxisName
    count: Annotated[int, Field(ge=1, le=1024)]


OF_VOLUMES = frozenset(
    {
        *("signal", "orient", "spacing", "size", "percentiles"),
        *("subtract", "relative enhancement", "mip", "slices"),
    }
)
"""Operations of volumes alone."""
SHARED = frozenset({"normalise", "z-score"})
"""Of images and volumes."""
FLATTEN = frozenset({"mip", "slices"})
"""Of a volume they make images."""
COMPARE = frozenset({"subtract", "relative enhancement"})
"""With the phase before contrast."""
_ONCE = frozenset({"signal", "orient", "spacing", "size", *FLATTEN, *COMPARE, "channels"})
_AXES: tuple[AxisName, ...] = ("slices", "rows", "columns")
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
        if isinstance(one, Slices):
            yield from _amiss_in_slices(one, place, of[:place])
    for needed, why in (
        ("orient", 'which way slices, rows and columns run: op = "orient", axes = "HPL"'),
        ("size", 'the input has no fixed size: op = "size", with slices, rows and columns'),
    ):
        if needed not in ops:
            yield (len(of) - 1,), f"missing: {why}"


def _amiss_in_slices(
    one: Slices, place: int, before: Sequence[Section]
) -> Iterator[tuple[Place, str]]:
    length = next((getattr(two, one.along) for two in before if isinstance(two, VolumeSize)), None)
    if length is not None and one.count > length:
        yield (place, one.op, "count"), f'there are only {length} {one.along} after "size"'


def needs_pre(of: Sequence[Section]) -> Iterator[tuple[int, str]]:
    """Yield where the phase before contrast is needed, and by which word."""
    for place, one in enumerate(of):
        op = str(getattr(one, "op", ""))
        if op in COMPARE:
            yield place, "op"
        if isinstance(one, Percentiles) and one.of == "pre":
            yield place, "of"
        if needs_region(one):
            yield place, "over" if hasattr(one, "over") else "about"


def needs_region(one: Section) -> bool:
    """Whether an operation looks where the breasts are."""
    words = (getattr(one, "over", ""), getattr(one, "about", ""))
    return "breasts" in words or isinstance(one, RelativeEnhancement)


def without(shape: tuple[int, ...], along: AxisName) -> tuple[int, ...]:
    """Return what is left of (slices, rows, columns) across one of the axes."""
    at = _AXES.index(along)
    return *shape[:at], *shape[at + 1 :]


def axis_number(along: AxisName) -> int:
    """Return which of the axes of a volume it is."""
    return _AXES.index(along)


def _why_not_here(op: str, before: Sequence[str]) -> str:
    """Return why an operation cannot follow these, "" if it can."""
    flat = next((one for one in before if one in FLATTEN), "")
    compared = next((one for one in before if one in COMPARE), "")
    known = OF_VOLUMES | SHARED | ({"channels"} if flat else set())
    rules = (
        (op not in known, f'"{op}" is of images, and "signal" begins those of volumes'),
        (op in before and op in _ONCE, f'"{op}" is there before; once is enough'),
        (op in FLATTEN and flat, f'"{flat}" is there before; once is enough'),
        (op in COMPARE and compared, f'"{compared}" is there before; once is enough'),
        (op in FLATTEN and "size" not in before, f'"{op}" must stand behind "size"'),
        (flat and op not in SHARED | {"channels"}, f'"{op}" must stand before "{flat}"'),
        (op in ("orient", "spacing") and "size" in before, f'"{op}" must stand before "size"'),
        (
            op == "orient" and "spacing" in before,
            '"orient" must stand before "spacing", which names its axes',
        ),
    )
    return next((why for is_so, why in rules if is_so), "")
